//! The `aws-chunked` encoding, in which the SDKs send bodies with a checksum in the trailer.

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderMap, HeaderName, HeaderValue};

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum ChunkedError {
    #[error("the aws-chunked body ends inside a chunk")]
    Incomplete,
    #[error("the aws-chunked body has a chunk header that is not `<hex size>[;chunk-signature=...]`")]
    BadSize,
    #[error("the aws-chunked body has a trailer that is not `name:value`")]
    BadTrailer,
    #[error("x-amz-decoded-content-length is not the number of bytes sent")]
    WrongLength,
}

/// Whether the body of a request with these headers is encoded.
pub(super) fn is_chunked(headers: &HeaderMap) -> bool {
    headers.get("x-amz-content-sha256").is_some_and(|value| value.as_bytes().starts_with(b"STREAMING-"))
}

/// Decodes the body and makes the headers those of a plain upload: the trailers become headers, the length is that of
/// the content, and `aws-chunked` is gone from the content encoding. Chunk signatures are not verified.
pub(super) fn decode(headers: &mut HeaderMap, body: &Bytes) -> Result<Bytes, ChunkedError> {
    let (content, trailers) = split(body)?;
    if let Some(length) = headers.remove("x-amz-decoded-content-length")
        && length.to_str().ok().and_then(|text| text.parse::<usize>().ok()) != Some(content.len())
    {
        return Err(ChunkedError::WrongLength);
    }
    headers.extend(trailers);
    headers.remove("x-amz-content-sha256");
    headers.remove("x-amz-trailer");
    headers.insert(CONTENT_LENGTH, HeaderValue::from(content.len()));
    plain_encoding(headers);
    Ok(content)
}

fn plain_encoding(headers: &mut HeaderMap) {
    let Some(encoding) = headers.remove(CONTENT_ENCODING) else { return };
    let rest: Vec<&str> = encoding
        .to_str()
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty() && *name != "aws-chunked")
        .collect();
    if let Ok(value) = HeaderValue::from_str(&rest.join(","))
        && !value.is_empty()
    {
        headers.insert(CONTENT_ENCODING, value);
    }
}

fn split(body: &Bytes) -> Result<(Bytes, HeaderMap), ChunkedError> {
    let mut rest = body.clone();
    let mut content = BytesMut::new();
    loop {
        let header = line(&mut rest).ok_or(ChunkedError::Incomplete)?;
        let size = chunk_size(&header)?;
        if size == 0 {
            return Ok((content.freeze(), trailers(&mut rest)?));
        }
        if rest.len() < size.saturating_add(2) {
            return Err(ChunkedError::Incomplete);
        }
        content.extend_from_slice(&rest.split_to(size));
        if rest.split_to(2) != "\r\n" {
            return Err(ChunkedError::BadSize);
        }
    }
}

fn chunk_size(header: &[u8]) -> Result<usize, ChunkedError> {
    let text = std::str::from_utf8(header).map_err(|_| ChunkedError::BadSize)?;
    let size = text.split(';').next().unwrap_or_default();
    let size = size.trim();
    if !size.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(ChunkedError::BadSize);
    }
    usize::from_str_radix(size, 16).map_err(|_| ChunkedError::BadSize)
}

fn trailers(rest: &mut Bytes) -> Result<HeaderMap, ChunkedError> {
    let mut trailers = HeaderMap::new();
    while let Some(text) = line(rest) {
        if text.is_empty() {
            break;
        }
        let text = std::str::from_utf8(&text).map_err(|_| ChunkedError::BadTrailer)?;
        let (name, value) = text.split_once(':').ok_or(ChunkedError::BadTrailer)?;
        let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| ChunkedError::BadTrailer)?;
        let value = HeaderValue::from_str(value.trim()).map_err(|_| ChunkedError::BadTrailer)?;
        if name != "x-amz-trailer-signature" {
            trailers.insert(name, value);
        }
    }
    Ok(trailers)
}

/// Takes a line off the front, without its end. Some clients end the last trailer with a bare newline.
fn line(rest: &mut Bytes) -> Option<Bytes> {
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let line = rest.split_to(end + 1);
    let line = line.slice(..end);
    Some(line.strip_suffix(b"\r").map_or_else(|| line.clone(), |text| line.slice_ref(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn unsigned_chunks_with_a_trailer_become_a_plain_upload() {
        let mut headers = headers(&[
            ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
            ("x-amz-decoded-content-length", "9"),
            ("x-amz-trailer", "x-amz-checksum-crc32"),
            ("content-encoding", "gzip,aws-chunked"),
            ("content-length", "60"),
        ]);
        assert!(is_chunked(&headers));
        let body = Bytes::from_static(b"5\r\nhello\r\n4\r\nabcd\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n");
        assert_eq!(decode(&mut headers, &body).unwrap(), "helloabcd");
        assert_eq!(headers["content-length"], "9");
        assert_eq!(headers["content-encoding"], "gzip");
        assert_eq!(headers["x-amz-checksum-crc32"], "AAAAAA==");
        assert!(!is_chunked(&headers));
    }

    #[test]
    fn signed_chunks_are_read() {
        let mut headers = headers(&[("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")]);
        let body = Bytes::from_static(b"2;chunk-signature=ab\r\nhi\r\n0;chunk-signature=cd\r\n\r\n");
        assert_eq!(decode(&mut headers, &body).unwrap(), "hi");
    }

    #[test]
    fn broken_bodies_are_refused() {
        let cases: [(&'static [u8], ChunkedError); 7] = [
            (b"", ChunkedError::Incomplete),
            (b"5\r\nhel", ChunkedError::Incomplete),
            (b"ffffffffffffffff\r\nab", ChunkedError::Incomplete),
            (b"+5\r\nhello\r\n0\r\n\r\n", ChunkedError::BadSize),
            (b"zz\r\nhello\r\n", ChunkedError::BadSize),
            (b"2\r\nhello\r\n0\r\n\r\n", ChunkedError::BadSize),
            (b"0\r\nno colon\r\n\r\n", ChunkedError::BadTrailer),
        ];
        for (body, expected) in cases {
            let mut headers = HeaderMap::new();
            assert_eq!(decode(&mut headers, &Bytes::from_static(body)), Err(expected), "{body:?}");
        }
    }

    #[test]
    fn a_length_that_is_not_the_contents_is_refused() {
        let mut headers = headers(&[("x-amz-decoded-content-length", "3")]);
        let body = Bytes::from_static(b"2\r\nhi\r\n0\r\n\r\n");
        assert_eq!(decode(&mut headers, &body), Err(ChunkedError::WrongLength));
    }
}
