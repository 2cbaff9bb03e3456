//! The buckets of all accounts, in memory. Bucket names are one space, as in AWS; who may use a bucket goes by account.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::content::Content;
use super::listing::{self, ListRequest, Page};
use super::sum::Sum;

/// Who asks: the account that the access key belongs to, and the region that the request is signed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Caller {
    pub account: String,
    pub region: String,
    /// `x-amz-expected-bucket-owner`: a bucket of another account is refused.
    pub expected_owner: Option<String>,
}

/// What an account that does not own a bucket may do with it, as a bucket policy would say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Access {
    Read,
    ReadWrite,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("{0:?} is no bucket name: write 3 to 63 lower-case letters, digits, dots and hyphens")]
    InvalidBucketName(String),
    #[error("the bucket {0} does not exist")]
    NoSuchBucket(String),
    #[error("the key {0} does not exist")]
    NoSuchKey(String),
    #[error("the account {account} is not allowed to do this with the bucket {bucket}")]
    AccessDenied { account: String, bucket: String },
    #[error("the bucket {0} belongs to another account")]
    BucketAlreadyExists(String),
    #[error("the bucket {0} exists and already belongs to this account")]
    BucketAlreadyOwnedByYou(String),
    #[error("the bucket {0} is not empty")]
    BucketNotEmpty(String),
    #[error("the bucket is in {region}")]
    WrongRegion { region: String },
    #[error("the condition {0} does not hold")]
    PreconditionFailed(&'static str),
}

/// An `If-Match` or `If-None-Match` value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    Any,
    ETag(String),
}

impl Match {
    fn holds(&self, object: &Object) -> bool {
        match self {
            Self::Any => true,
            Self::ETag(etag) => *etag == object.etag,
        }
    }
}

/// Conditions of a write.
#[derive(Debug, Clone, Default)]
pub struct Conditions {
    pub if_match: Option<Match>,
    pub if_none_match: Option<Match>,
}

#[derive(Debug, Clone)]
pub struct Object {
    pub content: Content,
    /// Without quotes.
    pub etag: String,
    /// In whole seconds, as S3 keeps it.
    pub last_modified: Timestamp,
    pub headers: Option<Arc<ObjectHeaders>>,
}

impl Object {
    /// The storage class, unless it is `STANDARD`.
    pub fn storage_class(&self) -> Option<&str> {
        self.headers.as_ref()?.storage_class.as_deref().filter(|class| *class != "STANDARD")
    }

    /// Whether it must be restored before it can be read. It is listed all the same.
    pub fn is_archived(&self) -> bool {
        matches!(self.storage_class(), Some("GLACIER" | "DEEP_ARCHIVE"))
    }
}

/// What came with a put and goes back with a get.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectHeaders {
    pub content_type: Option<String>,
    pub content_encoding: Option<String>,
    pub cache_control: Option<String>,
    pub metadata: BTreeMap<String, String>,
    /// The checksum that the writer sent.
    pub checksum: Option<Sum>,
    /// None is `STANDARD`.
    pub storage_class: Option<String>,
}

impl ObjectHeaders {
    /// None for an object that came without any, which is what a hundred thousand generated ones are.
    pub fn boxed(self) -> Option<Arc<Self>> {
        (self != Self::default()).then(|| Arc::new(self))
    }
}

#[derive(Debug)]
pub(super) struct Bucket {
    owner: String,
    region: String,
    created: Timestamp,
    pub(super) opened: BTreeMap<String, Access>,
    pub(super) objects: BTreeMap<String, Object>,
}

impl Bucket {
    fn check(&self, name: &str, caller: &S3Caller, wanted: Access) -> Result<(), StoreError> {
        let granted = self.owner == caller.account || self.opened.get(&caller.account) >= Some(&wanted);
        let expected = caller.expected_owner.as_ref().is_none_or(|owner| *owner == self.owner);
        if !granted || !expected {
            return Err(StoreError::AccessDenied { account: caller.account.clone(), bucket: name.to_owned() });
        }
        if self.region != caller.region {
            return Err(StoreError::WrongRegion { region: self.region.clone() });
        }
        Ok(())
    }

    pub(super) fn object(&self, key: &str) -> Result<&Object, StoreError> {
        self.objects.get(key).ok_or_else(|| StoreError::NoSuchKey(key.to_owned()))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketInfo {
    pub name: String,
    pub region: String,
    pub created: Timestamp,
}

type Now = Box<dyn Fn() -> Timestamp + Send + Sync>;

/// All buckets. What tests do with them beside the S3 API is in [`super::owner`].
pub struct S3State {
    now: Now,
    buckets: RwLock<BTreeMap<String, Bucket>>,
}

impl fmt::Debug for S3State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3State").field("buckets", &self.read().len()).finish_non_exhaustive()
    }
}

impl S3State {
    /// `now` tells the time for LastModified.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self { now: Box::new(now), buckets: RwLock::default() }
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Bucket>> {
        self.buckets.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Bucket>> {
        self.buckets.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        let now = (self.now)();
        Timestamp::from_second(now.as_second()).unwrap_or(now)
    }

    fn with<T>(
        &self,
        bucket: &str,
        caller: &S3Caller,
        wanted: Access,
        look: impl FnOnce(&Bucket) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let buckets = self.read();
        let found = buckets.get(bucket).ok_or_else(|| StoreError::NoSuchBucket(bucket.to_owned()))?;
        found.check(bucket, caller, wanted)?;
        look(found)
    }

    fn with_mut<T>(
        &self,
        bucket: &str,
        caller: &S3Caller,
        change: impl FnOnce(&mut Bucket) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut buckets = self.write();
        let found = buckets.get_mut(bucket).ok_or_else(|| StoreError::NoSuchBucket(bucket.to_owned()))?;
        found.check(bucket, caller, Access::ReadWrite)?;
        change(found)
    }

    pub(super) fn with_owner<T>(
        &self,
        bucket: &str,
        change: impl FnOnce(&mut Bucket) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut buckets = self.write();
        change(buckets.get_mut(bucket).ok_or_else(|| StoreError::NoSuchBucket(bucket.to_owned()))?)
    }

    pub fn create_bucket(&self, caller: &S3Caller, name: &str) -> Result<(), StoreError> {
        let named = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
        if !(3..=63).contains(&name.len()) || !name.bytes().all(named) {
            return Err(StoreError::InvalidBucketName(name.to_owned()));
        }
        let created = self.now();
        let mut buckets = self.write();
        if let Some(existing) = buckets.get(name) {
            return Err(if existing.owner == caller.account {
                StoreError::BucketAlreadyOwnedByYou(name.to_owned())
            } else {
                StoreError::BucketAlreadyExists(name.to_owned())
            });
        }
        let bucket = Bucket {
            owner: caller.account.clone(),
            region: caller.region.clone(),
            created,
            opened: BTreeMap::new(),
            objects: BTreeMap::new(),
        };
        buckets.insert(name.to_owned(), bucket);
        Ok(())
    }

    /// The region of the bucket. Asked from another region this still answers, as GetBucketLocation does.
    pub fn locate_bucket(&self, caller: &S3Caller, name: &str) -> Result<String, StoreError> {
        match self.with(name, caller, Access::Read, |bucket| Ok(bucket.region.clone())) {
            Err(StoreError::WrongRegion { region }) => Ok(region),
            other => other,
        }
    }

    pub fn head_bucket(&self, caller: &S3Caller, name: &str) -> Result<String, StoreError> {
        self.with(name, caller, Access::Read, |bucket| Ok(bucket.region.clone()))
    }

    pub fn list_buckets(&self, caller: &S3Caller) -> Vec<BucketInfo> {
        let buckets = self.read();
        let own = buckets.iter().filter(|(_, bucket)| bucket.owner == caller.account);
        own.map(|(name, bucket)| BucketInfo {
            name: name.clone(),
            region: bucket.region.clone(),
            created: bucket.created,
        })
        .collect()
    }

    pub fn delete_bucket(&self, caller: &S3Caller, name: &str) -> Result<(), StoreError> {
        let mut buckets = self.write();
        let bucket = buckets.get(name).ok_or_else(|| StoreError::NoSuchBucket(name.to_owned()))?;
        bucket.check(name, caller, Access::ReadWrite)?;
        // Whoever else may write does not own it.
        if bucket.owner != caller.account {
            return Err(StoreError::AccessDenied { account: caller.account.clone(), bucket: name.to_owned() });
        }
        if !bucket.objects.is_empty() {
            return Err(StoreError::BucketNotEmpty(name.to_owned()));
        }
        buckets.remove(name);
        Ok(())
    }

    pub fn put_object(
        &self,
        caller: &S3Caller,
        bucket: &str,
        key: &str,
        content: Content,
        headers: ObjectHeaders,
        conditions: &Conditions,
    ) -> Result<Object, StoreError> {
        let object = self.new_object(content, headers);
        self.with_mut(bucket, caller, |bucket| {
            check_write(bucket.objects.get(key), key, conditions)?;
            bucket.objects.insert(key.to_owned(), object.clone());
            Ok(object)
        })
    }

    pub fn get_object(&self, caller: &S3Caller, bucket: &str, key: &str) -> Result<Object, StoreError> {
        self.with(bucket, caller, Access::Read, |bucket| bucket.object(key).cloned())
    }

    /// Deleting what is not there succeeds, as in S3.
    pub fn delete_object(
        &self,
        caller: &S3Caller,
        bucket: &str,
        key: &str,
        if_match: Option<&Match>,
    ) -> Result<(), StoreError> {
        self.with_mut(bucket, caller, |bucket| {
            if let (Some(wanted), Some(object)) = (if_match, bucket.objects.get(key))
                && !wanted.holds(object)
            {
                return Err(StoreError::PreconditionFailed("If-Match"));
            }
            bucket.objects.remove(key);
            Ok(())
        })
    }

    /// Lists one page and hands it to `look` while the bucket is locked for reading.
    pub(crate) fn list_objects<T>(
        &self,
        caller: &S3Caller,
        bucket: &str,
        request: &ListRequest,
        look: impl FnOnce(Page<'_, Object>) -> T,
    ) -> Result<T, StoreError> {
        self.with(bucket, caller, Access::Read, |bucket| Ok(look(listing::list(&bucket.objects, request))))
    }

    pub(super) fn new_object(&self, content: Content, headers: ObjectHeaders) -> Object {
        Object { etag: content.etag(), content, last_modified: self.now(), headers: headers.boxed() }
    }
}

fn check_write(existing: Option<&Object>, key: &str, conditions: &Conditions) -> Result<(), StoreError> {
    let Conditions { if_match, if_none_match } = conditions;
    if let Some(wanted) = if_match {
        let object = existing.ok_or_else(|| StoreError::NoSuchKey(key.to_owned()))?;
        if !wanted.holds(object) {
            return Err(StoreError::PreconditionFailed("If-Match"));
        }
    }
    if let (Some(unwanted), Some(object)) = (if_none_match, existing)
        && unwanted.holds(object)
    {
        return Err(StoreError::PreconditionFailed("If-None-Match"));
    }
    Ok(())
}
