//! Collects sources: lists the objects, and reads the changed ones.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::{
    aws::{
        self, Session, SessionIdentity,
        advice::{Remedy, advice, other_owner, stalls},
        s3::{Listed, Read, S3},
    },
    clock::Clock,
    ids::{AccountId, Region},
    kinds::fleet_report::{
        index::{Admitted, Entry, Fetched, Index, LeftOut, cost, held},
        memory_budget::{Members, Room},
        problem::Problem,
        read_budget::ReadBudget,
        status::SourceTotals,
    },
    single_flight::{Attempt, SingleFlight},
};

/// The maximum duration of a collection, and of pages that one lists. What was read until then is kept.
const LONGEST: Duration = Duration::from_mins(15);
const PAGES: usize = 1000;

/// Why a place could not be collected.
#[derive(Debug, thiserror::Error)]
enum CollectError {
    #[error(transparent)]
    Aws(#[from] aws::Error),
    #[error(
        "bucket {bucket} lists key {key:?} after a larger one under prefix {prefix:?}; use a general purpose bucket, \
         whose keys are sorted"
    )]
    Unsorted { bucket: String, prefix: String, key: String },
    #[error("bucket {bucket} has more than {} objects under prefix {prefix:?}; give the source a longer prefix",
            PAGES * 1000)]
    TooMany { bucket: String, prefix: String },
    #[error("the collection of bucket {bucket} under prefix {prefix:?} took longer than {} minutes; the next one \
             continues with the objects that were not read yet", LONGEST.as_secs() / 60)]
    Slow { bucket: String, prefix: String },
    #[error(
        "not all objects fit into the memory: {objects} with {bytes} bytes are left out, beginning with {first:?}. The \
         FleetReports of this namespace may hold {share} MiB and {count} objects; give the source a longer prefix, \
         remove objects, lower limits.objectSize, or raise --report-memory-mib and --report-objects of the controller"
    )]
    LeftOut { objects: u64, bytes: u64, first: String, share: u64, count: u64 },
}

/// The place of objects, and who reads them: another identity may see other objects in the same bucket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct SourcePlace {
    pub(super) aws_account: String,
    pub(super) identity: SessionIdentity,
    pub(super) region: Region,
    pub(super) bucket: String,
    pub(super) prefix: String,
    /// The account that must own the bucket.
    pub(super) owner: AccountId,
}

/// Collects one place, one collection at a time.
#[derive(Debug)]
pub(super) struct Collector {
    place: SourcePlace,
    reads: ReadBudget,
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
    /// Whose share of the memory is used.
    pub(super) members: Members,
    /// A collection that began then or later is recent enough.
    pub(super) since: Option<Instant>,
    /// The largest object to read, in bytes.
    pub(super) object_size: u64,
    pub(super) concurrency: usize,
    /// Of each call to S3.
    pub(super) deadline: Duration,
}

impl Collector {
    pub(super) fn new(place: SourcePlace, reads: ReadBudget) -> Self {
        Self { place, reads, collections: SingleFlight::default() }
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
                (index, Ok(fetched)) => {
                    let (objects, bytes) = index.totals();
                    let known = Some(SourceTotals { objects, bytes, fetched, at: Clock.now() });
                    let problem = left_out(&index.left_out, &request.members).map(|error| self.problem(&error));
                    Latest { index: Arc::new(index), begun, known, problem, object_size }
                }
                (index, Err(error)) => {
                    let problem = Some(self.problem(&error));
                    Latest { index: Arc::new(index), begun, problem, object_size, ..latest }
                }
            }
        };
        self.collections.get(serves, collect).await
    }

    /// Lists page by page, and reads the objects of a page while the next one is listed. Returns what is known after it,
    /// also after an error, so that the next collection does not read it again.
    async fn collect_once(&self, before: &Index, request: &Request) -> (Index, Result<usize, CollectError>) {
        let (mut entries, mut left_out, mut reads) = (Vec::new(), LeftOut::default(), 0);
        match self.pages(before, request, &mut entries, &mut left_out, &mut reads).await {
            Ok(()) => (Index::complete(entries, left_out), Ok(reads)),
            Err(error) => (before.interrupted(entries, left_out), Err(error)),
        }
    }

    async fn pages(
        &self,
        before: &Index,
        request: &Request,
        entries: &mut Vec<Arc<Entry>>,
        left_out: &mut LeftOut,
        reads: &mut usize,
    ) -> Result<(), CollectError> {
        let SourcePlace { bucket, prefix, .. } = &self.place;
        let named = || (bucket.clone(), prefix.clone());
        // Other namespaces get the answers too.
        let s3 = S3::new(&request.session.shared(), self.place.owner.clone(), request.deadline);
        let (limit, begun) = (request.object_size, Clock.monotonic());
        let mut excess = request.members.excess();
        let (mut failures, mut last) = (Failures::default(), String::new());
        let mut page = s3.list(bucket, prefix, None).await?;
        for _ in 0..PAGES {
            for Listed { key, .. } in &page.objects {
                if *key <= last {
                    let (bucket, prefix) = named();
                    return Err(CollectError::Unsorted { bucket, prefix, key: key.clone() });
                }
                last.clone_from(key);
            }
            let Admitted { reads: rooms, others } =
                before.admit(&mut page.objects, limit, &request.members, &mut excess, left_out);
            *reads += rooms.len();
            failures.listed += page.objects.len();
            let next = page.next.take();
            let following = async {
                match &next {
                    Some(next) => Some(s3.list(bucket, prefix, Some(next)).await),
                    None => None,
                }
            };
            let fetched = self.fetch(&s3, &page.objects, rooms, request, &mut failures);
            let (fetched, following) = tokio::join!(fetched, following);
            drop(others);
            entries.append(&mut before.after(page.objects, limit, fetched, &request.members));
            page = match following {
                Some(page) => page?,
                None => return failures.verdict().map_err(CollectError::Aws),
            };
            if Clock.monotonic().saturating_duration_since(begun) > LONGEST {
                let (bucket, prefix) = named();
                return Err(CollectError::Slow { bucket, prefix });
            }
        }
        let (bucket, prefix) = named();
        Err(CollectError::TooMany { bucket, prefix })
    }

    /// Reads the objects at the places of `rooms`. An object that cannot be read does not affect the others.
    async fn fetch(
        &self,
        s3: &S3,
        page: &[Listed],
        rooms: Vec<(usize, Option<Room>)>,
        request: &Request,
        failures: &mut Failures,
    ) -> Vec<(usize, Fetched)> {
        let mut reads = JoinSet::new();
        let mut fetched = Vec::with_capacity(rooms.len());
        for (place, room) in rooms {
            let Some(room) = room else {
                fetched.push((place, Err("there is no memory for its new content".into())));
                continue;
            };
            if reads.len() >= request.concurrency
                && let Some(Ok((place, read))) = reads.join_next().await
            {
                fetched.push((place, failures.note(read)));
            }
            let (s3, bucket, key) = (s3.clone(), self.place.bucket.clone(), page[place].key.clone());
            let (budget, size, limit) = (self.reads.clone(), page[place].size, request.object_size);
            reads.spawn(async move {
                let read = budget.read(size, limit, |allowed| s3.read(&bucket, &key, allowed)).await;
                (place, read.map(|read| in_room(&key, read, room)))
            });
        }
        while let Some(read) = reads.join_next().await {
            if let Ok((place, read)) = read {
                fetched.push((place, failures.note(read)));
            }
        }
        fetched.sort_by_key(|(place, _)| *place);
        fetched
    }

    /// The problem that the status shows, with what to do.
    fn problem(&self, error: &CollectError) -> Problem {
        let error = match error {
            CollectError::Aws(error) => error,
            CollectError::Slow { .. } => return Problem { message: error.to_string(), lasting: false },
            CollectError::Unsorted { .. } | CollectError::TooMany { .. } | CollectError::LeftOut { .. } => {
                return Problem { message: error.to_string(), lasting: true };
            }
        };
        let SourcePlace { aws_account, region, bucket, .. } = &self.place;
        let remedy = Remedy {
            denied: Some(format!(
                "allow {} on bucket {bucket} for the identity of AwsAccount {aws_account}, in the policies of \
                 both{}",
                error.operation,
                other_owner(error)
            )),
            not_found: Some(format!("create bucket {bucket}, or name another one in the source")),
            invalid: Some(format!("check that bucket {bucket} is in region {region}")),
        };
        Problem { message: format!("{error}{}", advice(error, &remedy)), lasting: stalls(error) }
    }
}

/// The reads that failed. If nearly all fail, the source fails.
#[derive(Debug, Default)]
struct Failures {
    listed: usize,
    read: usize,
    failed: usize,
    last: Option<aws::Error>,
}

impl Failures {
    fn note(&mut self, read: Result<Read, aws::Error>) -> Fetched {
        self.read += 1;
        read.map_err(|error| {
            self.failed += 1;
            self.last.insert(error).to_string().into()
        })
    }

    fn verdict(self) -> Result<(), aws::Error> {
        match self.last {
            Some(error) if self.failed == self.read && self.failed * 2 >= self.listed => Err(error),
            Some(_) | None => Ok(()),
        }
    }
}

fn in_room(key: &str, read: Read, mut room: Room) -> Read {
    match read {
        Read::Body { body, tag, stored } => {
            room.resize(cost(key, body.len() as u64));
            Read::Body { body: held(body, room), tag, stored }
        }
        Read::TooLarge | Read::Parameters | Read::Gone => read,
    }
}

fn left_out(left_out: &LeftOut, members: &Members) -> Option<CollectError> {
    let share = members.share();
    let first = left_out.first.as_ref()?.to_string();
    let LeftOut { objects, bytes, .. } = *left_out;
    Some(CollectError::LeftOut { objects, bytes, first, share: share.bytes >> 20, count: share.objects })
}
