//! The known objects of one source, shared by all FleetReports that read it.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    aws::s3::{Listed, Read},
    kinds::fleet_report::memory_budget::{Held, Members, OVERHEAD, Room},
};

/// An object. It must not need more than [`OVERHEAD`] in addition to its key and its body.
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
    /// Of an entry without a body. The room of a body is for the entry too.
    _room: Option<Room>,
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
    /// The object does not start as a JSON object does, so no FleetReport needs its body.
    NotAnObject,
    /// The object could not be read yet.
    Never,
}

/// The result of reading an object, or why it failed.
pub(super) type Fetched = Result<Read, Box<str>>;

/// A body that gives its room back when the last reader drops it.
pub(super) fn held(body: Bytes, room: Room) -> Bytes {
    struct InRoom {
        body: Bytes,
        _room: Room,
    }
    impl AsRef<[u8]> for InRoom {
        fn as_ref(&self) -> &[u8] {
            &self.body
        }
    }
    Bytes::from_owner(InRoom { body, _room: room })
}

/// What an object takes of the budget: without its body if that is not read.
pub(super) fn cost(key: &str, body: u64) -> Held {
    Held { bytes: OVERHEAD + key.len() as u64 + body, objects: 1 }
}

impl Entry {
    /// Changes with the content.
    pub(super) fn tag(&self) -> u64 {
        self.tag
    }

    pub(super) fn body(&self) -> Option<Bytes> {
        match &self.content {
            Content::Body(body) => Some(body.clone()),
            Content::Beyond(_) | Content::Parameters | Content::NotAnObject | Content::Never => None,
        }
    }

    pub(super) fn stored(&self) -> Timestamp {
        Timestamp::from_second(self.stored).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Whether the object must be read again. The same ETag means the same content: a rewrite of the same bytes only
    /// changes the time.
    fn outdated(&self, listed: &Listed, limit: u64) -> bool {
        self.tag != listed.tag
            || self.fault.is_some()
            || match self.content {
                Content::Body(_) | Content::Parameters | Content::NotAnObject => false,
                Content::Beyond(read) => read < limit,
                Content::Never => true,
            }
    }
}

/// The objects of one source, by key.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    entries: Vec<Arc<Entry>>,
    pub(super) left_out: LeftOut,
}

/// What of a page may be held.
#[derive(Debug, Default)]
pub(super) struct Admitted {
    /// The positions of the objects to read; `None` if there is no room for the new content of a known object.
    pub(super) reads: Vec<(usize, Option<Room>)>,
    /// For the new objects that are not read, until they have entries.
    pub(super) others: Vec<Room>,
}

/// The objects that were listed and not kept, because the memory for reports is used up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub(super) objects: u64,
    pub(super) bytes: u64,
    /// The key of the first one.
    pub(super) first: Option<Box<str>>,
}

impl LeftOut {
    fn add(&mut self, object: &Listed) {
        self.objects += 1;
        self.bytes += object.size;
        self.first.get_or_insert_with(|| object.key.as_str().into());
    }
}

impl Index {
    pub(super) fn entries(&self) -> &[Arc<Entry>] {
        &self.entries
    }

    /// The number of all objects and their size, as listed.
    pub(super) fn totals(&self) -> (u64, u64) {
        let kept: u64 = self.entries.iter().map(|e| e.size).sum();
        (self.entries.len() as u64 + self.left_out.objects, kept + self.left_out.bytes)
    }

    /// The positions in `page` of the objects to read. Objects that are larger than `limit` are not read.
    pub(super) fn to_fetch(&self, page: &[Listed], limit: u64) -> Vec<usize> {
        let mut known = self.from(page);
        let mut fetch = Vec::new();
        for (place, object) in page.iter().enumerate() {
            let entry = seek(&mut known, &object.key);
            let wanted = object.size <= limit && !names_parameters(&object.key);
            if wanted && entry.is_none_or(|e| e.outdated(object, limit)) {
                fetch.push(place);
            }
        }
        fetch
    }

    /// Removes from `page` what there is no memory for, and records it in `left_out`: new objects if the share of the
    /// namespace is used up, and known ones while it holds more than its share.
    pub(super) fn admit(
        &self,
        page: &mut Vec<Listed>,
        limit: u64,
        members: &Members,
        excess: &mut Held,
        left_out: &mut LeftOut,
    ) -> Admitted {
        let wanted = self.to_fetch(page, limit);
        let mut wanted = wanted.into_iter().peekable();
        let mut known = self.from(page);
        let mut admitted = Admitted::default();
        let mut kept = Vec::with_capacity(page.len());
        for (place, object) in std::mem::take(page).into_iter().enumerate() {
            let before = seek(&mut known, &object.key);
            let read = wanted.next_if_eq(&place).is_some();
            if before.is_some() && (excess.bytes > 0 || excess.objects > 0) {
                let cost = cost(&object.key, object.size);
                excess.bytes = excess.bytes.saturating_sub(cost.bytes);
                excess.objects = excess.objects.saturating_sub(cost.objects);
                left_out.add(&object);
                continue;
            }
            let room = || members.take(cost(&object.key, if read { object.size } else { 0 }), before.is_some());
            match (before, read) {
                // The old content is kept if there is no room for the new one.
                (Some(_), true) => admitted.reads.push((kept.len(), room())),
                (Some(_), false) => {}
                (None, _) => {
                    let Some(room) = room() else {
                        left_out.add(&object);
                        continue;
                    };
                    if read {
                        admitted.reads.push((kept.len(), Some(room)));
                    } else {
                        admitted.others.push(room);
                    }
                }
            }
            kept.push(object);
        }
        *page = kept;
        admitted
    }

    /// The entries of `page`, sorted by key, with the results of reading some of them, in its order.
    pub(super) fn after(
        &self,
        page: Vec<Listed>,
        limit: u64,
        fetched: Vec<(usize, Fetched)>,
        members: &Members,
    ) -> Vec<Arc<Entry>> {
        let mut known = self.from(&page);
        let mut fetched = fetched.into_iter().peekable();
        let mut entries = Vec::with_capacity(page.len());
        for (place, object) in page.into_iter().enumerate() {
            let before = seek(&mut known, &object.key);
            let outcome = fetched.next_if(|(fetched, _)| *fetched == place).map(|(_, outcome)| outcome);
            entries.extend(entry(before, object, limit, outcome, members));
        }
        entries
    }

    /// The index after a complete listing.
    pub(super) fn complete(mut entries: Vec<Arc<Entry>>, left_out: LeftOut) -> Self {
        entries.shrink_to_fit();
        Self { entries, left_out }
    }

    /// The index after a listing that ended early: what follows the last of `entries` is as before.
    pub(super) fn interrupted(&self, mut entries: Vec<Arc<Entry>>, left_out: LeftOut) -> Self {
        let from = entries.last().map_or(0, |last| self.entries.partition_point(|e| e.key <= last.key));
        entries.extend(self.entries[from..].iter().cloned());
        Self { entries, left_out }
    }

    /// The entries from the first key of `page` on.
    fn from(&self, page: &[Listed]) -> std::iter::Peekable<std::slice::Iter<'_, Arc<Entry>>> {
        let from = page.first().map_or(0, |first| self.entries.partition_point(|e| *e.key < *first.key));
        self.entries[from..].iter().peekable()
    }
}

/// Whether it is the key of a document with parameters, `<uid>/<role>/<hash>.json`, which has no metadata if an earlier
/// version wrote it.
fn names_parameters(key: &str) -> bool {
    let mut parts = key.rsplit('/');
    let hash = parts.next().and_then(|file| file.strip_suffix(".json"));
    let uid = parts.nth(1);
    hash.is_some_and(|hash| hash.len() >= 32 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
        && uid.is_some_and(|uid| uid.len() == 36 && Uuid::try_parse(uid).is_ok())
}

/// A byte order mark is rejected with a message of its own.
fn starts_as_object(body: &[u8]) -> bool {
    let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
    body.trim_ascii_start().first() == Some(&b'{')
}

fn entry(
    before: Option<&Arc<Entry>>,
    mut listed: Listed,
    limit: u64,
    fetched: Option<Fetched>,
    members: &Members,
) -> Option<Arc<Entry>> {
    let room = |key: &str, content: &Content| match content {
        Content::Body(_) => None,
        Content::Beyond(_) | Content::Parameters | Content::NotAnObject | Content::Never => {
            members.take(cost(key, 0), true)
        }
    };
    let (tag, content, fault) = match (fetched, before) {
        (Some(Ok(Read::Gone)), _) => return None,
        (Some(Ok(Read::Body { body, tag, stored })), _) => {
            // The object may have been written again since it was listed, so the time of the read counts.
            listed.stored = stored.unwrap_or(listed.stored);
            let content = if starts_as_object(&body) { Content::Body(body) } else { Content::NotAnObject };
            (tag.unwrap_or(listed.tag), content, None)
        }
        (None, _) if names_parameters(&listed.key) => (listed.tag, Content::Parameters, None),
        (Some(Ok(Read::Parameters)), _) => (listed.tag, Content::Parameters, None),
        // The known content is old, so its time does not change.
        (Some(Err(fault)), Some(before)) => {
            let Entry { tag, stored, size, .. } = **before;
            let content = before.content.clone();
            let (_room, key) = (room(&listed.key, &content), listed.key.into());
            return Some(Arc::new(Entry { key, tag, stored, size, content, fault: Some(fault), _room }));
        }
        (Some(Err(fault)), None) => (listed.tag, Content::Never, Some(fault)),
        (None, Some(before)) if before.tag == listed.tag && before.fault.is_none() => {
            let content = match &before.content {
                // No reader wants it any more.
                Content::Body(body) if body.len() as u64 > limit => Content::Beyond(limit),
                _ if before.stored == listed.stored.as_second() && before.size == listed.size => {
                    return Some(before.clone());
                }
                content => content.clone(),
            };
            (before.tag, content, None)
        }
        (Some(Ok(Read::TooLarge)) | None, _) => (listed.tag, Content::Beyond(limit), None),
    };
    let stored = listed.stored.as_second();
    let (_room, key) = (room(&listed.key, &content), listed.key.into());
    Some(Arc::new(Entry { key, tag, stored, size: listed.size, content, fault, _room }))
}

/// The entry of `key`. Both are sorted by key.
fn seek<'a>(known: &mut std::iter::Peekable<std::slice::Iter<'a, Arc<Entry>>>, key: &str) -> Option<&'a Arc<Entry>> {
    while known.next_if(|entry| *entry.key < *key).is_some() {}
    known.next_if(|entry| *entry.key == *key)
}
