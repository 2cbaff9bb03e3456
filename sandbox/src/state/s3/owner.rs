//! What tests and the control API do with buckets, with the rights of the bucket's owner.

use bytes::Bytes;
use jiff::Timestamp;

use super::content::Content;
use super::store::{Access, Object, ObjectHeaders, S3Caller, S3State, StoreError};

impl S3State {
    /// Creates a bucket of `account` in `region`, unless the account has it already.
    pub fn ensure_bucket(&self, account: &str, region: &str, name: &str) -> Result<(), StoreError> {
        let caller = S3Caller { account: account.to_owned(), region: region.to_owned(), expected_owner: None };
        match self.create_bucket(&caller, name) {
            Err(StoreError::BucketAlreadyOwnedByYou(_)) => Ok(()),
            other => other,
        }
    }

    /// Grants another account access to the bucket.
    pub fn open_bucket(&self, bucket: &str, account: &str, access: Access) -> Result<(), StoreError> {
        self.with_owner(bucket, |bucket| {
            bucket.opened.insert(account.to_owned(), access);
            Ok(())
        })
    }

    /// Revokes what `open_bucket` granted.
    pub fn close_bucket(&self, bucket: &str, account: &str) -> Result<(), StoreError> {
        self.with_owner(bucket, |bucket| {
            bucket.opened.remove(account);
            Ok(())
        })
    }

    pub fn put(&self, bucket: &str, key: &str, body: impl Into<Bytes>) -> Result<Object, StoreError> {
        let object = self.new_object(Content::Bytes(body.into()), ObjectHeaders::default());
        self.with_owner(bucket, |bucket| {
            bucket.objects.insert(key.to_owned(), object.clone());
            Ok(object)
        })
    }

    /// Puts an object of another storage class than `STANDARD`.
    pub fn put_in_class(
        &self,
        bucket: &str,
        key: &str,
        body: impl Into<Bytes>,
        class: &str,
    ) -> Result<Object, StoreError> {
        let headers = ObjectHeaders { storage_class: Some(class.to_owned()), ..ObjectHeaders::default() };
        let object = self.new_object(Content::Bytes(body.into()), headers);
        self.with_owner(bucket, |bucket| {
            bucket.objects.insert(key.to_owned(), object.clone());
            Ok(object)
        })
    }

    /// Copies an object with its metadata within a bucket.
    pub fn copy(&self, bucket: &str, from: &str, to: &str) -> Result<Object, StoreError> {
        self.with_owner(bucket, |bucket| {
            let object = bucket.objects.get(from).cloned().ok_or_else(|| StoreError::NoSuchKey(from.to_owned()))?;
            bucket.objects.insert(to.to_owned(), object.clone());
            Ok(object)
        })
    }

    /// Puts an object of `size` bytes that starts with `head` and goes on with `x`, and that takes no memory.
    pub fn put_generated(&self, bucket: &str, key: &str, head: Bytes, size: u64) -> Result<Object, StoreError> {
        let object = self.new_object(Content::Generated { head, size }, ObjectHeaders::default());
        self.with_owner(bucket, |bucket| {
            bucket.objects.insert(key.to_owned(), object.clone());
            Ok(object)
        })
    }

    /// Puts many objects under one lock.
    pub fn fill(&self, bucket: &str, objects: impl IntoIterator<Item = (String, Bytes)>) -> Result<usize, StoreError> {
        let made: Vec<(String, Object)> = objects
            .into_iter()
            .map(|(key, body)| (key, self.new_object(Content::Bytes(body), ObjectHeaders::default())))
            .collect();
        let count = made.len();
        self.with_owner(bucket, |bucket| {
            bucket.objects.extend(made);
            Ok(count)
        })
    }

    /// Changes when an object says it was written.
    pub fn touch(&self, bucket: &str, key: &str, last_modified: Timestamp) -> Result<(), StoreError> {
        self.with_owner(bucket, |bucket| {
            let object = bucket.objects.get_mut(key).ok_or_else(|| StoreError::NoSuchKey(key.to_owned()))?;
            object.last_modified = last_modified;
            Ok(())
        })
    }

    pub fn get(&self, bucket: &str, key: &str) -> Result<Object, StoreError> {
        self.with_owner(bucket, |bucket| bucket.object(key).cloned())
    }

    pub fn remove(&self, bucket: &str, key: &str) -> Result<(), StoreError> {
        self.with_owner(bucket, |bucket| {
            bucket.objects.remove(key);
            Ok(())
        })
    }

    pub fn keys(&self, bucket: &str, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.with_owner(bucket, |bucket| {
            let from = bucket.objects.range(prefix.to_owned()..);
            Ok(from.map(|(key, _)| key).take_while(|key| key.starts_with(prefix)).cloned().collect())
        })
    }
}
