//! The known objects of one source, shared by all FleetReports that read it.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use crate::aws::s3::{Listed, Read};

/// An object. It must not need more than 200 bytes in addition to the body.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: Box<str>,
    /// Identifies the content.
    tag: u64,
    /// When S3 stored it, in seconds.
    stored: i64,
    /// In bytes, as listed.
    pub(super) size: u64,
    pub(super) content: Content,
    /// Why the newest content could not be read. Then `content` is older, or [`Content::Never`].
    pub(super) fault: Option<Box<str>>,
}

/// The content of an object.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// The bytes in S3.
    Body(Bytes),
    /// The object is larger than this limit, and was not kept.
    Beyond(u64),
    /// The object holds the parameters of workers, and was not read.
    Parameters,
    /// The object could not be read yet.
    Never,
}

/// The result of reading an object, or why it failed.
pub(super) type Fetched = Result<Read, Box<str>>;

impl Entry {
    pub(super) fn stored(&self) -> Timestamp {
        Timestamp::from_second(self.stored).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Whether the object must be read again. The same ETag means the same content: a rewrite of the same bytes only
    /// changes the time.
    fn outdated(&self, listed: &Listed, limit: u64) -> bool {
        self.tag != listed.tag
            || self.fault.is_some()
            || match self.content {
                Content::Body(_) | Content::Parameters => false,
                Content::Beyond(read) => read < limit,
                Content::Never => true,
            }
    }
}

/// The objects of one source, by key.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    entries: Vec<Arc<Entry>>,
}

impl Index {
    pub(super) fn entries(&self) -> &[Arc<Entry>] {
        &self.entries
    }

    /// The size of all objects, as listed.
    pub(super) fn bytes(&self) -> u64 {
        self.entries.iter().map(|e| e.size).sum()
    }

    /// The positions in `listed` of the objects to read. Objects that are larger than `limit` are not read.
    pub(super) fn to_fetch(&self, listed: &[Listed], limit: u64) -> Vec<usize> {
        let mut known = self.entries.iter().peekable();
        let mut fetch = Vec::new();
        for (place, object) in listed.iter().enumerate() {
            let entry = seek(&mut known, &object.key);
            if object.size <= limit && entry.is_none_or(|e| e.outdated(object, limit)) {
                fetch.push(place);
            }
        }
        fetch
    }

    /// The index after a collection: `listed`, sorted by key, with the results of reading the objects of
    /// [`Index::to_fetch`], in that order. Keys that are no longer listed are removed.
    pub(super) fn after(&self, listed: Vec<Listed>, limit: u64, fetched: Vec<(usize, Fetched)>) -> Self {
        let mut known = self.entries.iter().peekable();
        let mut fetched = fetched.into_iter().peekable();
        let mut entries = Vec::with_capacity(listed.len());
        for (place, object) in listed.into_iter().enumerate() {
            let before = seek(&mut known, &object.key);
            let outcome = fetched.next_if(|(fetched, _)| *fetched == place).map(|(_, outcome)| outcome);
            entries.extend(entry(before, object, limit, outcome));
        }
        entries.shrink_to_fit();
        Self { entries }
    }
}

fn entry(before: Option<&Arc<Entry>>, mut listed: Listed, limit: u64, fetched: Option<Fetched>) -> Option<Arc<Entry>> {
    let (tag, content, fault) = match (fetched, before) {
        (Some(Ok(Read::Gone)), _) => return None,
        (Some(Ok(Read::Body { body, tag, stored })), _) => {
            // The object may have been written again since it was listed, so the time of the read counts.
            listed.stored = stored.unwrap_or(listed.stored);
            (tag.unwrap_or(listed.tag), Content::Body(body), None)
        }
        (Some(Ok(Read::Parameters)), _) => (listed.tag, Content::Parameters, None),
        // The known content is old, so its time does not change.
        (Some(Err(fault)), Some(before)) => {
            let Entry { tag, stored, size, .. } = **before;
            let content = before.content.clone();
            return Some(Arc::new(Entry { key: listed.key.into(), tag, stored, size, content, fault: Some(fault) }));
        }
        (Some(Err(fault)), None) => (listed.tag, Content::Never, Some(fault)),
        (None, Some(before)) if before.tag == listed.tag && before.fault.is_none() => {
            let stored = listed.stored.as_second();
            if before.stored == stored && before.size == listed.size {
                return Some(before.clone());
            }
            (before.tag, before.content.clone(), None)
        }
        (Some(Ok(Read::TooLarge)) | None, _) => (listed.tag, Content::Beyond(limit), None),
    };
    let stored = listed.stored.as_second();
    Some(Arc::new(Entry { key: listed.key.into(), tag, stored, size: listed.size, content, fault }))
}

/// The entry of `key`. Both are sorted by key.
fn seek<'a>(known: &mut std::iter::Peekable<std::slice::Iter<'a, Arc<Entry>>>, key: &str) -> Option<&'a Arc<Entry>> {
    while known.next_if(|entry| *entry.key < *key).is_some() {}
    known.next_if(|entry| *entry.key == *key)
}
