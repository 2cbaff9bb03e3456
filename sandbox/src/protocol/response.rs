//! What every answer has, whatever its protocol.

use bytes::Bytes;

pub(crate) type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Put on failed answers as an extension, for the journal.
#[derive(Debug, Clone)]
pub(crate) struct ErrorCode(pub(crate) String);
