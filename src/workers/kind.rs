//! What a kind that runs workers adds to the shared pass.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use k8s_openapi::NamespaceResourceScope;

use crate::{
    access::Claim,
    aws::Session,
    condition::Reason,
    crd::{
        fields::AwsRef,
        parameters::{Parameter, Parameters},
        workers_status::WorkersStatus,
    },
    ids::{InstanceId, Role, Uid},
    inventory::ownership::Owner,
    k8s::live::Live,
    reconcile::{Failure, Kind, Outcome, context::Context},
    workers::{
        launch_spec::{DesiredWorkers, LaunchSpecs},
        ledger::Ledger,
        memory::Memory,
        observe::{
            instances::{KnownInstance, ObservedInstances},
            observed::Observed,
        },
        parameters::Synced,
        plan::{Blocker, Plan, PlanContext, pools::Places, share::Share},
    },
};

/// The part of a spec that is the same for every kind that runs workers.
#[derive(Debug)]
pub struct WorkersSpec<'a> {
    pub aws: &'a AwsRef,
    pub suspend: bool,
    pub parameters: Option<&'a Parameters>,
    /// The parameters that each role adds or overrides.
    pub role_parameters: Vec<(&'a str, &'a [Parameter])>,
    pub claims: Vec<Claim>,
    /// How many unused revisions are kept.
    pub revision_history: usize,
}

/// What to observe and what may be launched.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// Whether the status checks are needed.
    pub status_checks: bool,
    pub places: &'a [&'a Places],
    pub revisions: &'a BTreeSet<String>,
    /// How many instances may be missing at once and still be replaced after the grace.
    pub max_missing: Share,
}

impl<'a> Scope<'a> {
    pub fn of(desired: &impl DesiredWorkers, launch_specs: &'a LaunchSpecs<'_>) -> Self {
        Self {
            status_checks: desired.needs_status_checks(),
            places: &launch_specs.places,
            revisions: &launch_specs.revisions,
            max_missing: desired.max_missing(),
        }
    }
}

/// The result of the rounds of a pass.
#[derive(Debug)]
pub struct PassResult<K: WorkerKind> {
    pub observed: Observed,
    /// When the observation was begun.
    pub begun: Instant,
    pub observation: K::Observation,
    pub assessment: Option<K::Assessment>,
    pub ledger: Ledger,
    pub blockers: BTreeMap<Role, Blocker>,
    /// The rate limit of EC2 is exhausted: how long until the next call.
    pub wait: Option<Duration>,
    /// Whether the record changed.
    pub moved: bool,
}

#[derive(Debug)]
pub struct Pass<'a, K: WorkerKind> {
    pub ctx: &'a Context,
    pub session: &'a Session,
    pub owner: &'a Owner,
    pub live: &'a mut Live<K>,
    pub memory: &'a mut K::Memory,
}

/// The input of a plan.
#[derive(Debug)]
pub struct Round<'a, K: WorkerKind> {
    pub desired: &'a K::Desired,
    pub inputs: &'a K::Inputs,
    pub observed: &'a Observed,
    pub observation: &'a K::Observation,
    pub ledger: &'a Ledger,
}

/// A kind that runs workers.
pub trait WorkerKind:
    Kind<Status: AsRef<WorkersStatus> + AsMut<WorkersStatus>, Memory: AsMut<Memory>>
    + kube::Resource<Scope = NamespaceResourceScope>
{
    type Desired: DesiredWorkers + std::fmt::Debug;

    /// What it looks up once, before planning.
    type Inputs: Send + Sync + std::fmt::Debug;

    /// What it observes besides its instances.
    type Observation: Default + Send + Sync + std::fmt::Debug;

    /// What it derives from the observation, as input of its plan.
    type Assessment: Send + Sync + std::fmt::Debug;

    /// The field manager of the objects that it owns.
    const FIELD_MANAGER: &'static str;

    fn workers_spec(&self) -> WorkersSpec<'_>;

    /// The earlier objects of this name whose instances `live` adopts.
    fn adopted_owners(_: &Live<Self>) -> BTreeSet<Uid> {
        BTreeSet::new()
    }

    /// # Errors
    /// [`Failure::InvalidSpec`] for a spec that the schema allows and that cannot work.
    fn desired(live: &Live<Self>, owner: Owner, parameters: Synced) -> Result<Self::Desired, Failure>;

    /// The record that `status` holds.
    fn ledger(status: &Self::Status) -> Ledger;

    /// `status` with `ledger` as its record, pinned to the account of `session`. Workers that are over according to
    /// `instances` are dropped from the record.
    fn with_ledger(
        status: Self::Status,
        session: &Session,
        instances: &ObservedInstances,
        ledger: Ledger,
    ) -> Self::Status;

    /// The workers that `status` lists.
    fn listed(status: &Self::Status) -> BTreeMap<InstanceId, KnownInstance>;

    /// `status` of an object that is being deleted, with the workers that are left.
    fn finalizing(status: Self::Status, instances: &ObservedInstances) -> Self::Status;

    fn look_up(
        pass: &mut Pass<'_, Self>,
        shared: &Self::Shared,
        desired: &Self::Desired,
    ) -> impl Future<Output = Result<Self::Inputs, Failure>> + Send;

    /// Observes what this kind needs besides its instances, after those were observed.
    fn observe(
        _ctx: &Context,
        _session: &Session,
        _live: &Live<Self>,
        _ledger: &Ledger,
        _instances: &ObservedInstances,
        _memory: &mut Self::Memory,
    ) -> impl Future<Output = Result<Self::Observation, Failure>> + Send {
        async { Ok(Self::Observation::default()) }
    }

    /// How many workers may exist besides the observed instances.
    fn hidden(_: &Self::Observation) -> u32 {
        0
    }

    /// Called before each plan. Keeps in `memory` what later observations need.
    fn assess(round: &Round<'_, Self>, memory: &mut Self::Memory, context: &PlanContext<'_>) -> Self::Assessment;

    /// Pure.
    fn plan(round: &Round<'_, Self>, assessment: &Self::Assessment, context: &mut PlanContext<'_>) -> Plan;

    /// Called after the last round: events, tags. Returns whether to reconcile again soon.
    fn follow_up(
        _pass: &mut Pass<'_, Self>,
        _desired: &Self::Desired,
        _recorded: &Ledger,
        _found: &PassResult<Self>,
    ) -> impl Future<Output = bool> + Send {
        async { false }
    }

    fn outcome(pass: &mut Pass<'_, Self>, desired: &Self::Desired, found: &PassResult<Self>) -> Outcome<Self::Status>;
}

/// The API server dropped fields of the record, so the calls that depend on it must not be made.
pub fn not_stored<K: WorkerKind>() -> Failure {
    Failure::Refused {
        reason: Reason::InvalidSpec,
        message: format!(
            "no AWS call was made, since the API server did not store the record of it: the CRD of {} is of another \
             version than this controller; apply the CRDs of this version",
            K::NAME
        ),
    }
}
