//! One sweep of all instances of an account and region, shared by all objects of the same identity.
//!
//! A snapshot records when it was begun, so that a reconcile can ask for one that was begun after a write. Only a
//! complete sweep makes a snapshot: a failed one proves nothing, least of all that something is gone.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use jiff::Timestamp;

use crate::{
    aws::{
        Bucket, Error, LONGEST_WAIT, Session, SessionIdentity,
        autoscaling::{AutoScaling, GROUPS_PER_PAGE, group::GroupRow},
        ec2::{
            Ec2, PAGE, RunningInstance,
            instance::Instance,
            template_versions::{TEMPLATES_PER_PAGE, TemplateHead},
        },
    },
    clock::{Clock, Timings},
    ids::{InstanceId, Uid},
    inventory::{
        cpu::{CpuCache, CpuKnown, CpuRequest, Pace},
        ownership::Owner,
    },
    single_flight::{Attempt, SingleFlight},
    tags::{OWNER_TAGS, OWNER_UID_TAG},
};

/// All instances of a cluster in one account and region, except terminated ones.
#[derive(Debug)]
pub struct Snapshot {
    pub begun: Instant,
    /// By the owner's name and by its uid, from their tags.
    by_tag: HashMap<String, Vec<Arc<Instance>>>,
    size: usize,
}

impl Snapshot {
    fn new(begun: Instant, instances: Vec<Instance>) -> Self {
        let size = instances.len();
        let mut by_tag: HashMap<String, Vec<Arc<Instance>>> = HashMap::new();
        for instance in instances.into_iter().map(Arc::new) {
            for value in OWNER_TAGS.iter().chain([&OWNER_UID_TAG]).filter_map(|tag| instance.tags.get(*tag)) {
                by_tag.entry(value.clone()).or_default().push(instance.clone());
            }
        }
        Self { begun, by_tag, size }
    }

    /// The owner uids that tags name, with the instances that carry each.
    pub fn owners(&self) -> impl Iterator<Item = (Uid, &[Arc<Instance>])> {
        self.by_tag
            .iter()
            .filter_map(|(tag, instances)| Some((Uid::try_from(tag.as_str()).ok()?, instances.as_slice())))
    }

    /// The instances whose tags name `owner`, by its name or by its uid.
    pub fn naming(&self, owner: &Owner) -> BTreeMap<InstanceId, Arc<Instance>> {
        let tags = [owner.path(), owner.uid.to_string()];
        let found = tags.iter().filter_map(|tag| self.by_tag.get(tag)).flatten();
        found.map(|instance| (instance.id.clone(), instance.clone())).collect()
    }
}

/// Whether each running instance passed both status checks.
pub type StatusChecks = HashMap<InstanceId, bool>;

/// All running instances of an account and region, whoever launched them.
#[derive(Debug)]
pub struct Running {
    /// When EC2 was asked.
    pub at: Timestamp,
    pub instances: Vec<RunningInstance>,
}

/// All launch templates of an account and region.
pub type Templates = Vec<TemplateHead>;

/// All Auto Scaling groups of an account and region, by name.
pub type Groups = BTreeMap<String, GroupRow>;

/// The sweeps of all identities.
#[derive(Debug, Default)]
pub struct Sweeps(Mutex<HashMap<SessionIdentity, Arc<RegionCache>>>);

#[derive(Debug, Default)]
struct RegionCache {
    instances: SingleFlight<Swept<Snapshot>>,
    checks: SingleFlight<Swept<StatusChecks>>,
    running: SingleFlight<Swept<Running>>,
    templates: SingleFlight<Swept<Templates>>,
    groups: SingleFlight<Swept<Groups>>,
    cpu: tokio::sync::Mutex<CpuCache>,
    /// The owners that request CPU samples. One that stops is forgotten at the next refresh.
    cpu_owners: Mutex<HashSet<Uid>>,
}

type Swept<T> = Result<Arc<T>, Error>;

/// What a sweep costs.
#[derive(Clone, Copy, Debug)]
struct Cost {
    operation: &'static str,
    bucket: Bucket,
    /// How many rows one call returns.
    page: i32,
}

const INSTANCES: Cost = Cost { operation: "ec2:DescribeInstances", bucket: Bucket::Describe, page: PAGE };
const TEMPLATES: Cost =
    Cost { operation: "ec2:DescribeLaunchTemplates", bucket: Bucket::Describe, page: TEMPLATES_PER_PAGE };
const GROUPS: Cost =
    Cost { operation: "autoscaling:DescribeAutoScalingGroups", bucket: Bucket::AutoScaling, page: GROUPS_PER_PAGE };

impl Sweeps {
    /// A snapshot that was begun at `not_before` or later.
    pub async fn instances(
        &self,
        session: &Session,
        cluster: &str,
        not_before: Instant,
    ) -> Result<Arc<Snapshot>, Error> {
        let sweep = |begun| async move { Ok(Snapshot::new(begun, Ec2::new(&session.shared()).sweep(cluster).await?)) };
        shared(&self.cache(session).instances, (INSTANCES, |seen| seen.size), session, not_before, sweep).await
    }

    /// The last snapshot, without a call.
    pub fn last_seen(&self, session: &Session) -> Option<Arc<Snapshot>> {
        self.cache(session).instances.last()?.outcome.ok()
    }

    /// The status checks as they were at `not_before` or later.
    pub async fn status_checks(&self, session: &Session, not_before: Instant) -> Result<Arc<StatusChecks>, Error> {
        let sweep = |_| async move { Ec2::new(&session.shared()).status_checks().await };
        shared(&self.cache(session).checks, (INSTANCES, HashMap::len), session, not_before, sweep).await
    }

    /// All running instances as they were at `not_before` or later.
    pub async fn running(&self, session: &Session, not_before: Instant) -> Result<Arc<Running>, Error> {
        let sweep = |_| async move {
            let at = Clock.now();
            Ok(Running { at, instances: Ec2::new(&session.shared()).running().await? })
        };
        let size = |seen: &Running| seen.instances.len();
        shared(&self.cache(session).running, (INSTANCES, size), session, not_before, sweep).await
    }

    /// The launch templates as they were at `not_before` or later.
    pub async fn templates(&self, session: &Session, not_before: Instant) -> Result<Arc<Templates>, Error> {
        let sweep = |_| async move { Ec2::new(&session.shared()).launch_templates().await };
        shared(&self.cache(session).templates, (TEMPLATES, Vec::len), session, not_before, sweep).await
    }

    /// The Auto Scaling groups as they were at `not_before` or later.
    pub async fn groups(&self, session: &Session, not_before: Instant) -> Result<Arc<Groups>, Error> {
        let sweep = |_| async move {
            let rows = AutoScaling::new(&session.shared()).groups().await?;
            Ok(rows.into_iter().map(|row| (row.name.clone(), row)).collect())
        };
        shared(&self.cache(session).groups, (GROUPS, BTreeMap::len), session, not_before, sweep).await
    }

    /// The known CPU samples for `request`. It costs one call a period for each 500 instances that are requested.
    pub async fn cpu(&self, session: &Session, request: CpuRequest<'_>, timings: &Timings) -> CpuKnown {
        let cache = self.cache(session);
        let mut cpu = cache.cpu.lock().await;
        {
            let mut owners = cache.cpu_owners.lock().unwrap_or_else(PoisonError::into_inner);
            owners.insert(request.owner.clone());
            cpu.keep_only(&owners);
        }
        cpu.refresh(&session.shared(), request, Pace::of(timings)).await
    }

    /// `owner` is gone, or does not need CPU samples any more.
    pub fn forget_cpu(&self, owner: &Uid) {
        for cache in self.0.lock().unwrap_or_else(PoisonError::into_inner).values() {
            cache.cpu_owners.lock().unwrap_or_else(PoisonError::into_inner).remove(owner);
        }
    }

    fn cache(&self, session: &Session) -> Arc<RegionCache> {
        let mut caches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        caches.entry(session.identity()).or_default().clone()
    }
}

/// The last sweep if it is recent enough, otherwise a new one. `size` counts its rows.
async fn shared<T, F: Future<Output = Result<T, Error>>>(
    sweeps: &SingleFlight<Swept<T>>,
    (cost, size): (Cost, fn(&T) -> usize),
    session: &Session,
    not_before: Instant,
    sweep: impl FnOnce(Instant) -> F,
) -> Swept<T> {
    let arrived = Clock.monotonic();
    // An error is shared with the callers that waited for that attempt, so that they do not each try in turn.
    let serves = |last: &Attempt<Swept<T>>| match &last.outcome {
        Ok(_) => last.begun >= not_before,
        Err(_) => last.ended >= arrived,
    };
    let ask = async |last: Option<Attempt<Swept<T>>>, begun: &mut Instant| {
        // As many calls as it took the last time.
        let rows = last.and_then(|last| last.outcome.ok()).map_or(0, |seen| size(&seen));
        let calls = u32::try_from(rows.div_ceil(cost.page as usize)).unwrap_or(u32::MAX).max(1);
        // Callers that arrive while this one waits for its permit share the sweep.
        let _permit = session.turn_at(cost.bucket, cost.operation, calls, arrived + LONGEST_WAIT).await?;
        *begun = Clock.monotonic();
        sweep(*begun).await.map(Arc::new)
    };
    sweeps.get(serves, ask).await
}
