//! What an object holds: bytes, or a promise of many bytes that are made while they are read.

use std::ops::Range;

use bytes::Bytes;
use futures::Stream;
use s3s::crypto::{Checksum, Md5};

/// How much of a generated object one poll yields.
const CHUNK: usize = 64 * 1024;
static FILLER: [u8; CHUNK] = [b'x'; CHUNK];

/// The body of an object.
#[derive(Debug, Clone)]
pub enum Content {
    Bytes(Bytes),
    /// `head`, then `x` up to `size` bytes: an object of any size that takes no memory.
    Generated {
        head: Bytes,
        size: u64,
    },
}

impl Content {
    pub fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Generated { size, head: _ } => *size,
        }
    }

    /// The ETag without quotes: the MD5 as for a plain put, or the form of a multipart upload, which is no MD5 of the
    /// content, for what is generated.
    pub fn etag(&self) -> String {
        match self {
            Self::Bytes(bytes) => hex::encode(Md5::checksum(bytes)),
            Self::Generated { head, size } => {
                let mut md5 = Md5::new();
                md5.update(head);
                md5.update(&size.to_be_bytes());
                format!("{}-1", hex::encode(md5.finalize()))
            }
        }
    }

    /// The bytes of `range` (which must lie within the object), a chunk at a time.
    pub fn stream(
        &self,
        range: Range<u64>,
    ) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send + Sync + 'static {
        let content = self.clone();
        futures::stream::iter(Chunks { content, at: range.start, end: range.end })
    }

    fn chunk(&self, at: u64, end: u64) -> Bytes {
        match self {
            Self::Bytes(bytes) => bytes.slice(at as usize..end as usize),
            Self::Generated { head, size: _ } => {
                let head_end = head.len() as u64;
                if at < head_end {
                    return head.slice(at as usize..end.min(head_end) as usize);
                }
                let length = (end - at).min(CHUNK as u64) as usize;
                Bytes::from_static(&FILLER).slice(..length)
            }
        }
    }
}

struct Chunks {
    content: Content,
    at: u64,
    end: u64,
}

impl Iterator for Chunks {
    type Item = Result<Bytes, std::io::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.end {
            return None;
        }
        let chunk = self.content.chunk(self.at, self.end);
        self.at += chunk.len() as u64;
        Some(Ok(chunk))
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt as _;

    use super::*;

    async fn read(content: &Content, range: Range<u64>) -> Vec<u8> {
        let chunks: Vec<Bytes> = content.stream(range).try_collect().await.unwrap();
        chunks.concat()
    }

    #[tokio::test]
    async fn a_range_of_bytes_is_cut_out_exactly() {
        let content = Content::Bytes(Bytes::from_static(b"0123456789"));
        assert_eq!(read(&content, 0..10).await, b"0123456789");
        assert_eq!(read(&content, 3..5).await, b"34");
        assert_eq!(read(&content, 4..4).await, b"");
    }

    #[tokio::test]
    async fn generated_content_starts_with_its_head_and_has_its_size() {
        let content = Content::Generated { head: Bytes::from_static(b"{\"a\":\""), size: 200_000 };
        let all = read(&content, 0..content.size()).await;
        assert_eq!(all.len(), 200_000);
        assert_eq!(&all[..8], b"{\"a\":\"xx");
        assert_eq!(read(&content, 4..8).await, &all[4..8]);
    }

    #[test]
    fn the_etag_of_bytes_is_their_md5() {
        assert_eq!(Content::Bytes(Bytes::new()).etag(), "d41d8cd98f00b204e9800998ecf8427e");
    }

    #[test]
    fn the_etag_of_generated_content_is_no_md5_of_a_body() {
        let etag = Content::Generated { head: Bytes::new(), size: 2_000_000_000 }.etag();
        assert!(etag.ends_with("-1"), "{etag}");
    }
}
