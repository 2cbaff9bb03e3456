//! Objects in S3: list, read up to a size, create and delete.

use std::{
    hash::{BuildHasher, RandomState},
    sync::OnceLock,
    time::Duration,
};

use aws_sdk_s3::{
    Client,
    config::Builder,
    error::{ProvideErrorMetadata, SdkError},
    operation::{get_object::GetObjectError, put_object::builders::PutObjectFluentBuilder},
    types::EncodingType,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use bytes::Bytes;
use jiff::Timestamp;
use percent_encoding::percent_decode_str;

use crate::{
    aws::{Class, Error, Session, within},
    error_chain::Chain,
    ids::AccountId,
};

/// The IAM actions of the calls, which errors name too.
const LIST: &str = "s3:ListBucket";
const GET: &str = "s3:GetObject";
const PUT: &str = "s3:PutObject";
const DELETE: &str = "s3:DeleteObject";

/// The metadata of a document that muster wrote for workers, and its value: such a document may hold secret values, so it
/// is neither a report nor a result. (On the wire: `x-amz-meta-muster-document`.)
const DOCUMENT: &str = "muster-document";
const PARAMETERS: &str = "parameters";

/// The SDK does not retry when a body is truncated.
const BODY_ATTEMPTS: u32 = 2;

/// The result of creating an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    Created,
    /// An object with this key exists, whatever its content. It is not changed.
    Exists,
}

/// S3 with one identity, for the buckets of one account. A call fails when S3 refuses or does not answer, after the
/// retries of the SDK.
#[derive(Clone, Debug)]
pub struct S3 {
    client: Client,
    /// Every call names it, and S3 refuses the call if another account owns the bucket: whoever finds a name free may
    /// create the bucket.
    owner: AccountId,
    deadline: Duration,
}

/// An object as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub key: String,
    /// Identifies the content: a hash of the ETag, only comparable within this process.
    pub tag: u64,
    /// In whole seconds, as in the response of a read.
    pub stored: Timestamp,
    pub size: u64,
}

/// Up to 1,000 objects, and the token of the next page.
#[derive(Clone, Debug)]
pub struct Page {
    pub objects: Vec<Listed>,
    pub next: Option<String>,
}

/// The result of reading an object.
#[derive(Clone, Debug)]
pub enum Read {
    /// The complete body, its tag and when it was stored. It may be newer than what was listed.
    Body { body: Bytes, tag: Option<u64>, stored: Option<Timestamp> },
    /// It is larger than the limit. Reading was stopped.
    TooLarge,
    /// It holds the parameters that muster wrote for workers. The body was not read.
    Parameters,
    /// It does not exist, or no longer.
    Gone,
}

/// Who wrote what is read.
#[derive(Clone, Copy, Debug)]
enum Writer {
    Worker,
    Muster,
}

impl S3 {
    /// `deadline` bounds each call, all attempts together.
    pub fn new(session: &Session, owner: AccountId, deadline: Duration) -> Self {
        let config = session.sdk();
        // Only AWS itself has a host name for each bucket.
        let path_style = config.endpoint_url().is_some();
        let config = Builder::from(config).force_path_style(path_style).interceptor(session.call_counter()).build();
        Self { client: Client::from_conf(config), owner, deadline }
    }

    /// The error of a call. S3 denies a call to a bucket of another account with the code of any other denial.
    fn error<E>(&self, operation: &'static str, bucket: &str, error: &SdkError<E, HttpResponse>) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let mut error = Error::from_sdk(operation, error);
        if error.class == Class::Denied {
            let message = error.message.trim_end_matches('.');
            error.message = format!("{message} (bucket {bucket} must belong to account {})", self.owner);
        }
        error
    }

    /// One page of the objects whose keys start with `prefix`, sorted by key. Folder markers, whose keys end in a
    /// slash, are omitted.
    pub async fn list(&self, bucket: &str, prefix: &str, page: Option<&str>) -> Result<Page, Error> {
        // XML has no control characters, so without the encoding one key with such a character fails the whole page.
        let call = self.client.list_objects_v2().bucket(bucket).prefix(prefix).encoding_type(EncodingType::Url);
        let call = call.set_continuation_token(page.map(Into::into)).expected_bucket_owner(self.owner.as_str());
        let answer = within(LIST, self.deadline, call.send()).await?.map_err(|e| self.error(LIST, bucket, &e))?;
        let next = match answer.is_truncated() {
            Some(true) => answer.next_continuation_token.clone(),
            Some(false) | None => None,
        };
        let objects = answer.contents.unwrap_or_default().into_iter().filter_map(|object| {
            let stored = object.last_modified().map_or(0, |t| t.secs());
            let size = u64::try_from(object.size().unwrap_or_default()).unwrap_or_default();
            let stored = Timestamp::from_second(stored).unwrap_or(Timestamp::UNIX_EPOCH);
            // Without an ETag, the time and the size identify the content.
            let tag = object.e_tag().map_or_else(|| hasher().hash_one((stored, size)), tag);
            let key = object.key.as_deref().map(decoded).filter(|key| !key.ends_with('/'));
            key.map(|key| Listed { key, tag, stored, size })
        });
        Ok(Page { objects: objects.collect(), next })
    }

    /// Reads an object of at most `limit` bytes. Never holds more than that, even if the announced size is wrong. Fails
    /// also when S3 truncates the body in several attempts.
    pub async fn read(&self, bucket: &str, key: &str, limit: u64) -> Result<Read, Error> {
        self.read_of(Writer::Worker, bucket, key, limit).await
    }

    /// Reads a document of [`S3::put`]. `None`: nothing is stored, or something else.
    pub async fn read_document(&self, bucket: &str, key: &str, limit: u64) -> Result<Option<Bytes>, Error> {
        Ok(match self.read_of(Writer::Muster, bucket, key, limit).await? {
            Read::Body { body, tag: _, stored: _ } => Some(body),
            Read::TooLarge | Read::Parameters | Read::Gone => None,
        })
    }

    async fn read_of(&self, writer: Writer, bucket: &str, key: &str, limit: u64) -> Result<Read, Error> {
        let mut attempt = 1;
        loop {
            match within(GET, self.deadline, self.read_once(writer, bucket, key, limit)).await? {
                Err(error) if error.code == BROKEN_OFF && attempt < BODY_ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }

    /// Creates a document for workers, which [`S3::read`] does not read, unless an object with this key exists.
    pub async fn put_new(&self, bucket: &str, key: &str, json: String) -> Result<Put, Error> {
        match self.send(bucket, self.put_object(bucket, key, json).if_none_match("*")).await {
            // 412: it exists.
            Err(error) if error.code == "PreconditionFailed" => Ok(Put::Exists),
            // A 409 is an error: the conflict may be a deletion, so the call must be repeated.
            answer => answer.map(|()| Put::Created),
        }
    }

    /// Creates or replaces a document for workers.
    pub async fn put(&self, bucket: &str, key: &str, json: String) -> Result<(), Error> {
        self.send(bucket, self.put_object(bucket, key, json)).await
    }

    fn put_object(&self, bucket: &str, key: &str, json: String) -> PutObjectFluentBuilder {
        let call = self.client.put_object().bucket(bucket).key(key).expected_bucket_owner(self.owner.as_str());
        call.metadata(DOCUMENT, PARAMETERS).content_type("application/json").body(json.into_bytes().into())
    }

    async fn send(&self, bucket: &str, call: PutObjectFluentBuilder) -> Result<(), Error> {
        let answer = within(PUT, self.deadline, Box::pin(call.send())).await?;
        answer.map(drop).map_err(|e| self.error(PUT, bucket, &e))
    }

    /// Deletes an object. It is no error if the object or its bucket does not exist.
    pub async fn delete(&self, bucket: &str, key: &str) -> Result<(), Error> {
        let call = self.client.delete_object().bucket(bucket).key(key).expected_bucket_owner(self.owner.as_str());
        let answer = within(DELETE, self.deadline, Box::pin(call.send())).await?.map(drop);
        match answer.map_err(|e| self.error(DELETE, bucket, &e)) {
            // The bucket does not exist.
            Err(error) if error.class == Class::NotFound => Ok(()),
            answer => answer,
        }
    }

    async fn read_once(&self, writer: Writer, bucket: &str, key: &str, limit: u64) -> Result<Read, Error> {
        let call = self.client.get_object().bucket(bucket).key(key).expected_bucket_owner(self.owner.as_str());
        let answer = match call.send().await {
            Ok(answer) => answer,
            Err(SdkError::ServiceError(error)) if matches!(error.err(), GetObjectError::NoSuchKey(_)) => {
                return Ok(Read::Gone);
            }
            Err(error) => return Err(self.error(GET, bucket, &error)),
        };
        match (writer, answer.metadata().is_some_and(|metadata| metadata.contains_key(DOCUMENT))) {
            (Writer::Worker, true) => return Ok(Read::Parameters),
            (Writer::Muster, false) => return Ok(Read::Gone),
            (Writer::Worker, false) | (Writer::Muster, true) => {}
        }
        let announced = u64::try_from(answer.content_length().unwrap_or_default()).unwrap_or_default();
        if announced > limit {
            return Ok(Read::TooLarge);
        }
        let tag = answer.e_tag().map(tag);
        let stored = answer.last_modified().and_then(|t| Timestamp::from_second(t.secs()).ok());
        let mut body = Vec::with_capacity(usize::try_from(announced).unwrap_or_default());
        let mut stream = answer.body;
        while let Some(chunk) = stream.try_next().await.map_err(|e| Error::transient(GET, BROKEN_OFF, Chain(&e)))? {
            if (body.len() + chunk.len()) as u64 > limit {
                return Ok(Read::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Read::Body { body: body.into_boxed_slice().into(), tag, stored })
    }
}

/// A key of a listing with `encoding-type=url`, in which a space is `+`.
fn decoded(key: &str) -> String {
    percent_decode_str(&key.replace('+', " ")).decode_utf8_lossy().into_owned()
}

const BROKEN_OFF: &str = "BrokenOff";

fn tag(etag: &str) -> u64 {
    hasher().hash_one(etag)
}

/// With random keys in each process, so that nobody can construct two contents with the same tag.
fn hasher() -> &'static RandomState {
    static HASHER: OnceLock<RandomState> = OnceLock::new();
    HASHER.get_or_init(RandomState::new)
}
