//! One shared look at all machines of an account and region, however many objects want to know.
//!
//! A snapshot tells when it was begun, so that whoever needs to know what became of a write can ask for one that was begun
//! after it. Only a complete sweep makes a snapshot: a failed one proves nothing, least of all that something is gone.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use crate::{
    aws::{
        Class, Error, LONGEST_WAIT, Session,
        cpu::{CpuKnown, CpuLane, CpuWish, Pace},
        ec2::{Ec2, PAGE},
    },
    clock::{Clock, Timings},
    ids::{AccountId, InstanceId, Region, Uid},
    workers::{
        instance::Instance,
        ownership::{JOB_TAG, OWNER_TAG, OWNER_UID_TAG, Owner},
    },
};

/// All machines of a cluster in one account and region, but for terminated ones.
#[derive(Debug)]
pub struct Snapshot {
    pub begun: Instant,
    /// By owner's name and by owner's uid, as their tags say.
    by_tag: HashMap<String, Vec<Arc<Instance>>>,
    size: usize,
}

impl Snapshot {
    fn new(begun: Instant, instances: Vec<Instance>) -> Self {
        let size = instances.len();
        let mut by_tag: HashMap<String, Vec<Arc<Instance>>> = HashMap::new();
        for instance in instances.into_iter().map(Arc::new) {
            for value in [OWNER_TAG, JOB_TAG, OWNER_UID_TAG].iter().filter_map(|tag| instance.tags.get(*tag)) {
                by_tag.entry(value.clone()).or_default().push(instance.clone());
            }
        }
        Self { begun, by_tag, size }
    }

    /// The uids that tags name as owners, with the machines that carry each.
    pub fn owners(&self) -> impl Iterator<Item = (Uid, &[Arc<Instance>])> {
        self.by_tag.iter().filter_map(|(tag, machines)| Some((Uid::try_from(tag.as_str()).ok()?, machines.as_slice())))
    }

    /// The machines whose tags name `owner`, by its name or by its uid.
    pub fn naming(&self, owner: &Owner) -> BTreeMap<InstanceId, Arc<Instance>> {
        let tags = [owner.path(), owner.uid.to_string()];
        let found = tags.iter().filter_map(|tag| self.by_tag.get(tag)).flatten();
        found.map(|instance| (instance.id.clone(), instance.clone())).collect()
    }
}

/// Which running machines passed both status checks.
#[derive(Debug)]
pub struct StatusChecks {
    passed: HashMap<InstanceId, bool>,
}

impl StatusChecks {
    pub fn passed(&self, id: &InstanceId) -> bool {
        self.passed.get(id).copied().unwrap_or_default()
    }
}

/// What takes a call for each thousand.
trait Paged {
    fn size(&self) -> usize;
}

impl Paged for Snapshot {
    fn size(&self) -> usize {
        self.size
    }
}

impl Paged for StatusChecks {
    fn size(&self) -> usize {
        self.passed.len()
    }
}

/// The sweeps of all accounts and regions.
#[derive(Debug, Default)]
pub struct Sweeps(Mutex<HashMap<(AccountId, Region), Arc<Lane>>>);

#[derive(Debug, Default)]
struct Lane {
    instances: tokio::sync::Mutex<Option<Last<Snapshot>>>,
    checks: tokio::sync::Mutex<Option<Last<StatusChecks>>>,
    cpu: tokio::sync::Mutex<CpuLane>,
    /// Who wishes to know of CPU. Whoever leaves is forgotten at the next look.
    wishing: Mutex<HashSet<Uid>>,
}

/// What came of the last attempt.
#[derive(Debug)]
struct Last<T> {
    begun: Instant,
    ended: Instant,
    outcome: Result<Arc<T>, Error>,
}

impl<T> Last<T> {
    /// The outcome, for somebody who came at `arrived` and wants a look that was begun at `not_before` or later. An error
    /// is for those who waited for that very attempt, so that they do not each try in turn; a denial is only for the
    /// identity that got it.
    fn serves(&self, arrived: Instant, not_before: Instant) -> bool {
        match &self.outcome {
            Ok(_) => self.begun >= not_before,
            Err(error) => self.ended >= arrived && error.class != Class::Denied,
        }
    }
}

impl Sweeps {
    /// A snapshot that was begun at `not_before` or later.
    pub async fn instances(
        &self,
        session: &Session,
        cluster: &str,
        not_before: Instant,
    ) -> Result<Arc<Snapshot>, Error> {
        let lane = self.lane(session);
        shared(&lane.instances, session, not_before, |begun| async move {
            Ok(Snapshot::new(begun, Ec2::new(session).sweep(cluster).await?))
        })
        .await
    }

    /// What was seen last, without looking again.
    pub fn last_seen(&self, session: &Session) -> Option<Arc<Snapshot>> {
        let lane = self.lane(session);
        let last = lane.instances.try_lock().ok()?;
        last.as_ref()?.outcome.as_ref().ok().cloned()
    }

    /// The status checks as they were at `not_before` or later.
    pub async fn status_checks(&self, session: &Session, not_before: Instant) -> Result<Arc<StatusChecks>, Error> {
        let lane = self.lane(session);
        shared(&lane.checks, session, not_before, |_| async move {
            Ok(StatusChecks { passed: Ec2::new(session).status_checks().await? })
        })
        .await
    }

    /// How busy the machines of `wish` are, as far as is known. One call for each 500 machines that anybody wishes to know
    /// of, as often as their period says.
    pub async fn cpu(&self, session: &Session, wish: CpuWish<'_>, timings: &Timings) -> CpuKnown {
        let lane = self.lane(session);
        let mut cpu = lane.cpu.lock().await;
        {
            let mut wishing = lane.wishing.lock().unwrap_or_else(PoisonError::into_inner);
            wishing.insert(wish.owner.clone());
            cpu.keep_only(&wishing);
        }
        cpu.look(session, wish, Pace::of(timings)).await
    }

    /// `owner` has gone, or wishes to know no more.
    pub fn forget_cpu(&self, owner: &Uid) {
        for lane in self.0.lock().unwrap_or_else(PoisonError::into_inner).values() {
            lane.wishing.lock().unwrap_or_else(PoisonError::into_inner).remove(owner);
        }
    }

    fn lane(&self, session: &Session) -> Arc<Lane> {
        let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.entry((session.account.clone(), session.region.clone())).or_default().clone()
    }
}

/// What is there if it is recent enough, or a new look. Whoever comes while a look is under way waits for it, and takes it
/// if it was begun late enough.
async fn shared<T: Paged, F>(
    last: &tokio::sync::Mutex<Option<Last<T>>>,
    session: &Session,
    not_before: Instant,
    look: impl FnOnce(Instant) -> F,
) -> Result<Arc<T>, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let arrived = Clock.monotonic();
    let mut last = last.lock().await;
    if let Some(recent) = last.as_ref().filter(|last| last.serves(arrived, not_before)) {
        return recent.outcome.clone();
    }
    // As many calls as it took the last time.
    let size = last.as_ref().and_then(|last| last.outcome.as_ref().ok()).map_or(0, |seen| seen.size());
    let calls = u32::try_from(size.div_ceil(PAGE as usize)).unwrap_or(u32::MAX).max(1);
    // Whoever comes while this one waits for its turn is served by the same look.
    let _permit = session.turn("ec2:DescribeInstances", calls, arrived + LONGEST_WAIT).await?;
    let begun = Clock.monotonic();
    let outcome = look(begun).await.map(Arc::new);
    *last = Some(Last { begun, ended: Clock.monotonic(), outcome: outcome.clone() });
    outcome
}
