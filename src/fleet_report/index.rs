//! What is known of the objects of one source: small, and shared by all that read it.

use std::{cmp::Ordering, sync::Arc};

use bytes::Bytes;
use jiff::Timestamp;

use crate::aws::s3::Listed;

/// One object. Goal: at most 200 bytes beyond the body.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: Box<str>,
    /// What the content is known by.
    tag: u64,
    /// When S3 stored it, in seconds.
    stored: i64,
    /// In bytes, as listed.
    pub(super) size: u64,
    pub(super) content: Content,
    /// Why the newest content could not be read. `content` is then an older one, or [`Content::Never`].
    pub(super) fault: Option<Box<str>>,
}

/// What was read of an object.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// Byte for byte as it is in S3.
    Body(Bytes),
    /// It has more bytes than this, and none of them were kept.
    Beyond(u64),
    /// It could not be read yet.
    Never,
}

/// What came of reading one object.
#[derive(Clone, Debug)]
pub(super) enum Fetched {
    Body {
        body: Bytes,
        tag: Option<u64>,
        stored: Option<Timestamp>,
    },
    Beyond(u64),
    /// It went away after it was listed.
    Gone,
    Failed(Box<str>),
}

impl Entry {
    pub(super) fn stored(&self) -> Timestamp {
        Timestamp::from_second(self.stored).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Whether the object must be read, to know what it holds now. The same ETag means the same content, whenever it was
    /// stored: a rewrite of the same bytes only moves the time.
    fn outdated(&self, listed: &Listed, limit: u64) -> bool {
        self.tag != listed.tag
            || self.fault.is_some()
            || match self.content {
                Content::Body(_) => false,
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

    /// All bytes as listed.
    pub(super) fn bytes(&self) -> u64 {
        self.entries.iter().map(|e| e.size).sum()
    }

    /// Which of `listed`, by place, have to be read. What is listed as larger than `limit` is not.
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

    /// The index after a look: `listed`, sorted by key, and what came of reading those that [`Index::to_fetch`] named, in
    /// that order. Keys that are not listed any more are gone.
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
        (Some(Fetched::Gone), _) => return None,
        (Some(Fetched::Body { body, tag, stored }), _) => {
            // Written again since it was listed: its own time is not ahead of when this was stored.
            listed.stored = stored.unwrap_or(listed.stored);
            (tag.unwrap_or(listed.tag), Content::Body(body), None)
        }
        (Some(Fetched::Beyond(limit)), _) => (listed.tag, Content::Beyond(limit), None),
        // What is known is old, and so stays its time.
        (Some(Fetched::Failed(fault)), Some(before)) => {
            let Entry { tag, stored, size, .. } = **before;
            let content = before.content.clone();
            return Some(Arc::new(Entry { key: listed.key.into(), tag, stored, size, content, fault: Some(fault) }));
        }
        (Some(Fetched::Failed(fault)), None) => (listed.tag, Content::Never, Some(fault)),
        (None, Some(before)) if before.tag == listed.tag && before.fault.is_none() => {
            let stored = listed.stored.as_second();
            if before.stored == stored && before.size == listed.size {
                return Some(before.clone());
            }
            (before.tag, before.content.clone(), None)
        }
        (None, _) => (listed.tag, Content::Beyond(limit), None),
    };
    let stored = listed.stored.as_second();
    Some(Arc::new(Entry { key: listed.key.into(), tag, stored, size: listed.size, content, fault }))
}

/// The entry of `key`, in a walk over both in the order of keys.
fn seek<'a>(known: &mut std::iter::Peekable<std::slice::Iter<'a, Arc<Entry>>>, key: &str) -> Option<&'a Arc<Entry>> {
    while let Some(entry) = known.peek() {
        match (*entry.key).cmp(key) {
            Ordering::Less => drop(known.next()),
            Ordering::Equal => return known.next(),
            Ordering::Greater => return None,
        }
    }
    None
}
