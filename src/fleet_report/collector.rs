//! Looking at sources: list what is there, read what changed. One collector serves all FleetReports that read the same
//! place.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::Mutex as TurnMutex, task::JoinSet};

use super::{
    flight::Flight,
    index::{Fetched, Index},
    status::{Known, Problem, Since},
    view::View,
};
use crate::{
    aws::{
        self, Class, Session,
        s3::{Listed, Read, S3},
    },
    clock::Clock,
    ids::{AccountId, Region, Uid},
};

/// What is held of one place, in bytes. More is no collection of reports, but most likely the wrong prefix.
const HELD: u64 = 256 << 20;

/// Why a place could not be looked at.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error(transparent)]
    Aws(#[from] aws::Error),
    #[error("bucket {bucket} holds {mebibytes} MiB of objects that would be read under prefix {prefix:?}, and at most {} MiB are \
             held; give the source a longer prefix, or lower limits.objectSize", HELD >> 20)]
    TooMuch { bucket: String, prefix: String, mebibytes: u64 },
}

/// What all FleetReports of this process share. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Collectors(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    places: Mutex<HashMap<Place, Visited>>,
    memories: Mutex<HashMap<Uid, Arc<Mutex<Option<Memory>>>>>,
    flight: Flight,
}

#[derive(Debug)]
struct Visited {
    collector: Arc<Collector>,
    /// Who reads here, and the largest object they want, in bytes.
    readers: HashMap<Uid, u64>,
}

/// What is remembered for one FleetReport from look to look.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) view: View,
    pub(super) since: Since,
}

/// Where objects are, and as whom they are read: another AwsAccount may see other things in the same bucket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) aws_account: String,
    pub(super) account: AccountId,
    pub(super) region: Region,
    pub(super) bucket: String,
    pub(super) prefix: String,
}

impl Collectors {
    /// The collectors of `places`, each with the largest object that anyone wants of it. What `reader` read before and
    /// nobody else does is forgotten.
    pub(super) fn of(&self, reader: &Uid, places: &[Place], object_size: u64) -> Vec<(Arc<Collector>, u64)> {
        let mut visited = lock(&self.0.places);
        for (place, visited) in visited.iter_mut() {
            if !places.contains(place) {
                visited.readers.remove(reader);
            }
        }
        let collectors = places
            .iter()
            .map(|place| {
                let visited = visited.entry(place.clone()).or_insert_with(|| Visited {
                    collector: Arc::new(Collector::new(place.clone(), self.0.flight.clone())),
                    readers: HashMap::new(),
                });
                visited.readers.insert(reader.clone(), object_size);
                let largest = visited.readers.values().copied().max().unwrap_or(object_size);
                (visited.collector.clone(), largest)
            })
            .collect();
        visited.retain(|_, visited| !visited.readers.is_empty());
        collectors
    }

    pub(super) fn memory(&self, reader: &Uid) -> Arc<Mutex<Option<Memory>>> {
        lock(&self.0.memories).entry(reader.clone()).or_default().clone()
    }

    /// Forgets a FleetReport that is gone.
    pub(super) fn forget(&self, reader: &Uid) {
        lock(&self.0.memories).remove(reader);
        self.of(reader, &[], 0);
    }
}

/// Looks at one place, one look at a time.
#[derive(Debug)]
pub(super) struct Collector {
    place: Place,
    flight: Flight,
    turn: TurnMutex<()>,
    latest: Mutex<Latest>,
}

/// What the last look gave.
#[derive(Clone, Debug, Default)]
pub(super) struct Latest {
    pub(super) index: Arc<Index>,
    /// When it began.
    pub(super) looked: Option<Instant>,
    /// Of the last look that went well. What the index holds is from then.
    pub(super) known: Option<Known>,
    pub(super) problem: Option<Problem>,
    object_size: u64,
}

/// How a look is done.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) session: Session,
    /// A look that began then or later will do.
    pub(super) since: Option<Instant>,
    /// In bytes; nothing larger is read.
    pub(super) object_size: u64,
    pub(super) concurrency: usize,
    /// For each request.
    pub(super) deadline: Duration,
}

impl Collector {
    fn new(place: Place, flight: Flight) -> Self {
        Self { place, flight, turn: TurnMutex::default(), latest: Mutex::default() }
    }

    pub(super) fn latest(&self) -> Latest {
        lock(&self.latest).clone()
    }

    /// Looks, unless another has just done so.
    pub(super) async fn collect(&self, ask: Ask) -> Latest {
        let _turn = self.turn.lock().await;
        let latest = self.latest();
        let recent = latest.looked.zip(ask.since).is_some_and(|(looked, since)| looked >= since);
        if recent && latest.object_size >= ask.object_size {
            return latest;
        }
        let looked = Some(Clock.monotonic());
        let object_size = ask.object_size;
        let latest = match self.look(&latest.index, &ask).await {
            Ok((index, fetched)) => {
                let (objects, bytes, at) = (index.entries().len(), index.bytes(), Clock.now());
                let known = Some(Known { objects, bytes, fetched, at });
                Latest { index: Arc::new(index), looked, known, problem: None, object_size }
            }
            Err(error) => {
                let problem = Some(self.problem(&error));
                Latest { looked, problem, object_size, ..latest }
            }
        };
        *lock(&self.latest) = latest.clone();
        latest
    }

    async fn look(&self, before: &Index, ask: &Ask) -> Result<(Index, usize), LookError> {
        let s3 = S3::new(&ask.session, ask.deadline);
        let listed = self.list(&s3).await?;
        let readable: u64 = listed.iter().map(|object| object.size).filter(|size| *size <= ask.object_size).sum();
        if readable > HELD {
            let Place { bucket, prefix, .. } = self.place.clone();
            return Err(LookError::TooMuch { bucket, prefix, mebibytes: readable >> 20 });
        }
        let wanted = before.to_fetch(&listed, ask.object_size);
        let fetched = self.fetch(&s3, &listed, &wanted, ask).await?;
        let reads = wanted.len();
        Ok((before.after(listed, ask.object_size, fetched), reads))
    }

    async fn list(&self, s3: &S3) -> Result<Vec<Listed>, aws::Error> {
        let mut listed: Vec<Listed> = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let page = s3.list(&self.place.bucket, &self.place.prefix, next.as_deref()).await?;
            listed.extend(page.objects);
            match page.next {
                Some(token) => next = Some(token),
                None => break,
            }
        }
        // S3 lists in this order but for directory buckets, which have none.
        listed.sort_by(|a, b| a.key.cmp(&b.key));
        listed.dedup_by(|a, b| a.key == b.key);
        Ok(listed)
    }

    /// Reads each of `wanted`. One that cannot be read does not keep the others from it; but where hardly any can, it is
    /// the source that fails.
    async fn fetch(
        &self,
        s3: &S3,
        listed: &[Listed],
        wanted: &[usize],
        ask: &Ask,
    ) -> Result<Vec<(usize, Fetched)>, aws::Error> {
        let mut reads = JoinSet::new();
        let mut fetched = Vec::with_capacity(wanted.len());
        let mut failure = None;
        let mut failed = 0;
        let mut note = |place, read: Result<Read, aws::Error>| {
            let outcome = match read {
                Ok(Read::Body { body, tag, stored }) => Fetched::Body { body, tag, stored },
                Ok(Read::TooLarge) => Fetched::Beyond(ask.object_size),
                Ok(Read::Gone) => Fetched::Gone,
                Err(error) => {
                    failed += 1;
                    let message = error.to_string().into();
                    failure = Some(error);
                    Fetched::Failed(message)
                }
            };
            fetched.push((place, outcome));
        };
        for &place in wanted {
            if reads.len() >= ask.concurrency
                && let Some(Ok((place, read))) = reads.join_next().await
            {
                note(place, read);
            }
            let (s3, bucket, key) = (s3.clone(), self.place.bucket.clone(), listed[place].key.clone());
            let (flight, size, limit) = (self.flight.clone(), listed[place].size, ask.object_size);
            reads.spawn(
                async move { (place, flight.read(size, limit, |allowed| s3.read(&bucket, &key, allowed)).await) },
            );
        }
        while let Some(read) = reads.join_next().await {
            if let Ok((place, read)) = read {
                note(place, read);
            }
        }
        match failure {
            Some(error) if failed == wanted.len() && failed * 2 >= listed.len() => return Err(error),
            Some(_) | None => {}
        }
        fetched.sort_by_key(|(place, _)| *place);
        Ok(fetched)
    }

    /// What to tell of an error, and what to do about it.
    fn problem(&self, error: &LookError) -> Problem {
        let error = match error {
            LookError::Aws(error) => error,
            LookError::TooMuch { .. } => return Problem { message: error.to_string(), lasting: true },
        };
        let Place { aws_account, region, bucket, .. } = &self.place;
        let (lasting, hint) = match error.class {
            Class::Denied => (
                true,
                format!(
                    "; allow {} on bucket {bucket} to the identity of AwsAccount {aws_account}, in its policy and in that \
                     of the bucket",
                    error.operation
                ),
            ),
            Class::NotFound => (true, format!("; make bucket {bucket}, or name another in the source")),
            Class::InvalidInput => (true, format!("; check that bucket {bucket} is in region {region}")),
            Class::Throttled | Class::NoCapacity | Class::Conflict | Class::Transient => (false, String::new()),
        };
        Problem { message: format!("{error}{hint}"), lasting }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
