//! The checksums that writers send and readers get back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use s3s::crypto::{Checksum, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256};
use s3s::dto::{GetObjectOutput, PutObjectInput, PutObjectOutput};
use s3s::{S3Result, s3_error};

use crate::state::s3::{Algorithm, Object, Sum};

/// Takes the checksum that came with a put, in a header or in the trailer.
pub(super) fn take(input: &mut PutObjectInput) -> Option<Sum> {
    let found = [
        (Algorithm::Crc32, input.checksum_crc32.take()),
        (Algorithm::Crc32c, input.checksum_crc32c.take()),
        (Algorithm::Crc64Nvme, input.checksum_crc64nvme.take()),
        (Algorithm::Sha1, input.checksum_sha1.take()),
        (Algorithm::Sha256, input.checksum_sha256.take()),
    ];
    found.into_iter().find_map(|(algorithm, value)| Some(Sum { algorithm, value: value? }))
}

/// Refuses a body that does not have the checksum it came with.
pub(super) fn verify(sent: Option<&Sum>, body: &[u8]) -> S3Result<()> {
    let Some(sent) = sent else { return Ok(()) };
    let computed = match sent.algorithm {
        Algorithm::Crc32 => STANDARD.encode(Crc32::checksum(body)),
        Algorithm::Crc32c => STANDARD.encode(Crc32c::checksum(body)),
        Algorithm::Crc64Nvme => STANDARD.encode(Crc64Nvme::checksum(body)),
        Algorithm::Sha1 => STANDARD.encode(Sha1::checksum(body)),
        Algorithm::Sha256 => STANDARD.encode(Sha256::checksum(body)),
    };
    if computed != sent.value {
        let name = format!("{:?}", sent.algorithm).to_uppercase();
        return Err(s3_error!(BadDigest, "The {name} you specified did not match the calculated checksum."));
    }
    Ok(())
}

pub(super) fn verify_md5(sent: Option<&str>, body: &[u8]) -> S3Result<()> {
    let Some(sent) = sent else { return Ok(()) };
    if sent != STANDARD.encode(Md5::checksum(body)) {
        return Err(s3_error!(BadDigest, "The Content-MD5 you specified did not match what we received."));
    }
    Ok(())
}

/// Answers that can show the checksum of an object.
pub(super) trait WithChecksum {
    fn show(&mut self, sum: Sum);
}

macro_rules! with_checksum {
    ($($output:ty),*) => {$(
        impl WithChecksum for $output {
            fn show(&mut self, Sum { algorithm, value }: Sum) {
                match algorithm {
                    Algorithm::Crc32 => self.checksum_crc32 = Some(value),
                    Algorithm::Crc32c => self.checksum_crc32c = Some(value),
                    Algorithm::Crc64Nvme => self.checksum_crc64nvme = Some(value),
                    Algorithm::Sha1 => self.checksum_sha1 = Some(value),
                    Algorithm::Sha256 => self.checksum_sha256 = Some(value),
                }
            }
        }
    )*};
}

with_checksum!(GetObjectOutput, PutObjectOutput);

pub(super) fn answered<O: WithChecksum>(object: &Object, mut output: O) -> O {
    if let Some(sum) = object.headers.as_deref().and_then(|headers| headers.checksum.clone()) {
        output.show(sum);
    }
    output
}
