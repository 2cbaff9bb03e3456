//! Collects sources: lists the objects, and reads the changed ones. All FleetReports that read the same place share one
//! collector.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::{
    aws::{
        self, Session,
        advice::{Remedy, advice, stalls},
        s3::{Listed, Read, S3},
    },
    clock::Clock,
    ids::{AccountId, Region, Uid},
    kinds::fleet_report::{
        index::{Fetched, Index},
        read_budget::ReadBudget,
        status::{Problem, Since, SourceTotals},
        view::View,
    },
    single_flight::{Attempt, SingleFlight},
};

/// The maximum number of bytes of one place. More is most likely a wrong prefix.
const HELD: u64 = 256 << 20;

/// Why a place could not be collected.
#[derive(Debug, thiserror::Error)]
enum CollectError {
    #[error(transparent)]
    Aws(#[from] aws::Error),
    #[error("bucket {bucket} has {mebibytes} MiB of objects to read under prefix {prefix:?}, more than the limit of {} MiB; \
             give the source a longer prefix, or lower limits.objectSize", HELD >> 20)]
    TooMuch { bucket: String, prefix: String, mebibytes: u64 },
}

/// The collectors of all FleetReports. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Collectors(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    places: Mutex<HashMap<SourcePlace, SharedCollector>>,
    budget: ReadBudget,
}

#[derive(Debug)]
struct SharedCollector {
    collector: Arc<Collector>,
    /// The FleetReports that read the place, and the largest object that each reads, in bytes.
    readers: HashMap<Uid, u64>,
}

/// The memory of one FleetReport.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) view: View,
    pub(super) since: Since,
}

/// The place of objects, and the AwsAccount that reads them: another AwsAccount may see other objects in the same
/// bucket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct SourcePlace {
    pub(super) aws_account: String,
    pub(super) account: AccountId,
    pub(super) region: Region,
    pub(super) bucket: String,
    pub(super) prefix: String,
}

/// A FleetReport as a reader. Dropping it drops the collectors that no other FleetReport uses.
#[derive(Debug)]
pub(super) struct Reader {
    collectors: Collectors,
    uid: Uid,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.of(&[], 0);
    }
}

impl Reader {
    pub(super) fn new(collectors: &Collectors, uid: &Uid) -> Self {
        Self { collectors: collectors.clone(), uid: uid.clone() }
    }

    /// The collectors of `places`, each with the largest object that any reader wants. Other places, which only
    /// this reader has read, are dropped.
    pub(super) fn of(&self, places: &[SourcePlace], object_size: u64) -> Vec<(Arc<Collector>, u64)> {
        let Shared { places: shared, budget } = &*self.collectors.0;
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        for (place, shared) in shared.iter_mut() {
            if !places.contains(place) {
                shared.readers.remove(&self.uid);
            }
        }
        let collectors = places
            .iter()
            .map(|place| {
                let shared = shared.entry(place.clone()).or_insert_with(|| SharedCollector {
                    collector: Arc::new(Collector::new(place.clone(), budget.clone())),
                    readers: HashMap::new(),
                });
                shared.readers.insert(self.uid.clone(), object_size);
                let largest = shared.readers.values().copied().max().unwrap_or(object_size);
                (shared.collector.clone(), largest)
            })
            .collect();
        shared.retain(|_, shared| !shared.readers.is_empty());
        collectors
    }
}

/// The memory of one FleetReport, shared with the thread that sums up.
pub(super) type SharedMemory = Arc<Mutex<Option<Memory>>>;

/// Collects one place, one collection at a time.
#[derive(Debug)]
pub(super) struct Collector {
    place: SourcePlace,
    budget: ReadBudget,
    collections: SingleFlight<Latest>,
}

/// The result of the last collection.
#[derive(Clone, Debug, Default)]
pub(super) struct Latest {
    pub(super) index: Arc<Index>,
    /// When it began.
    pub(super) begun: Option<Instant>,
    /// Of the last successful collection, which the index is from.
    pub(super) known: Option<SourceTotals>,
    pub(super) problem: Option<Problem>,
    object_size: u64,
}

/// A request to collect.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) session: Session,
    /// A collection that began then or later is recent enough.
    pub(super) since: Option<Instant>,
    /// The largest object to read, in bytes.
    pub(super) object_size: u64,
    pub(super) concurrency: usize,
    /// Of each call to S3.
    pub(super) deadline: Duration,
}

impl Collector {
    fn new(place: SourcePlace, budget: ReadBudget) -> Self {
        Self { place, budget, collections: SingleFlight::default() }
    }

    pub(super) fn latest(&self) -> Latest {
        self.collections.last().map(|last| last.outcome).unwrap_or_default()
    }

    /// Collects, unless the last collection is recent enough.
    pub(super) async fn collect(&self, request: Request) -> Latest {
        let serves = |last: &Attempt<Latest>| {
            request.since.is_some_and(|since| last.begun >= since) && last.outcome.object_size >= request.object_size
        };
        let collect = async |last: Option<Attempt<Latest>>, begun: &mut Instant| {
            let latest = last.map(|last| last.outcome).unwrap_or_default();
            let (begun, object_size) = (Some(*begun), request.object_size);
            match self.collect_once(&latest.index, &request).await {
                Ok((index, fetched)) => {
                    let (objects, bytes, at) = (index.entries().len(), index.bytes(), Clock.now());
                    let known = Some(SourceTotals { objects, bytes, fetched, at });
                    Latest { index: Arc::new(index), begun, known, problem: None, object_size }
                }
                Err(error) => {
                    let problem = Some(self.problem(&error));
                    Latest { begun, problem, object_size, ..latest }
                }
            }
        };
        self.collections.get(serves, collect).await
    }

    async fn collect_once(&self, before: &Index, request: &Request) -> Result<(Index, usize), CollectError> {
        let s3 = S3::new(&request.session, request.deadline);
        let listed = self.list(&s3).await?;
        let readable: u64 = listed.iter().map(|object| object.size).filter(|size| *size <= request.object_size).sum();
        if readable > HELD {
            let SourcePlace { bucket, prefix, .. } = self.place.clone();
            return Err(CollectError::TooMuch { bucket, prefix, mebibytes: readable >> 20 });
        }
        let wanted = before.to_fetch(&listed, request.object_size);
        let fetched = self.fetch(&s3, &listed, &wanted, request).await?;
        let reads = wanted.len();
        Ok((before.after(listed, request.object_size, fetched), reads))
    }

    async fn list(&self, s3: &S3) -> Result<Vec<Listed>, aws::Error> {
        let mut page = s3.list(&self.place.bucket, &self.place.prefix, None).await?;
        let mut listed = page.objects;
        while let Some(next) = page.next {
            page = s3.list(&self.place.bucket, &self.place.prefix, Some(&next)).await?;
            listed.append(&mut page.objects);
        }
        // S3 lists in this order, except for directory buckets.
        listed.sort_by(|a, b| a.key.cmp(&b.key));
        listed.dedup_by(|a, b| a.key == b.key);
        Ok(listed)
    }

    /// Reads all of `wanted`. An object that cannot be read does not affect the others; but if all reads of many fail,
    /// the source fails.
    async fn fetch(
        &self,
        s3: &S3,
        listed: &[Listed],
        wanted: &[usize],
        request: &Request,
    ) -> Result<Vec<(usize, Fetched)>, aws::Error> {
        let mut reads = JoinSet::new();
        let mut fetched = Vec::with_capacity(wanted.len());
        let mut failure = None;
        let mut failed = 0;
        let mut note = |place, read: Result<Read, aws::Error>| {
            let outcome = read.map_err(|error| {
                failed += 1;
                failure.insert(error).to_string().into()
            });
            fetched.push((place, outcome));
        };
        for &place in wanted {
            if reads.len() >= request.concurrency
                && let Some(Ok((place, read))) = reads.join_next().await
            {
                note(place, read);
            }
            let (s3, bucket, key) = (s3.clone(), self.place.bucket.clone(), listed[place].key.clone());
            let (budget, size, limit) = (self.budget.clone(), listed[place].size, request.object_size);
            reads.spawn(
                async move { (place, budget.read(size, limit, |allowed| s3.read(&bucket, &key, allowed)).await) },
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

    /// The problem that the status shows, with what to do.
    fn problem(&self, error: &CollectError) -> Problem {
        let error = match error {
            CollectError::Aws(error) => error,
            CollectError::TooMuch { .. } => return Problem { message: error.to_string(), lasting: true },
        };
        let SourcePlace { aws_account, region, bucket, .. } = &self.place;
        let remedy = Remedy {
            denied: Some(format!(
                "allow {} on bucket {bucket} for the identity of AwsAccount {aws_account}, in the policies of both",
                error.operation
            )),
            not_found: Some(format!("create bucket {bucket}, or name another one in the source")),
            invalid: Some(format!("check that bucket {bucket} is in region {region}")),
        };
        Problem { message: format!("{error}{}", advice(error, &remedy)), lasting: stalls(error) }
    }
}
