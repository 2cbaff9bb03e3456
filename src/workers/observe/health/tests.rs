//! Readiness over time, and across a restart.

use jiff::Timestamp;

use super::*;
use crate::{
    aws::ec2::instance::Instance, inventory::reporters::Reported, workers::observe::instances::ObservedInstance,
};

const MINUTE: Duration = Duration::from_secs(60);

fn id(n: u32) -> InstanceId {
    InstanceId::try_from(format!("i-{n:08x}")).unwrap()
}

fn instances(state: InstanceState, checks_passed: bool) -> ObservedInstances {
    let instance = Instance::sample(1, state);
    let shown = BTreeMap::from([(id(1), ObservedInstance { checks_passed, ..ObservedInstance::sample(instance) })]);
    ObservedInstances { shown, ..ObservedInstances::default() }
}

fn criteria(check: ReadinessCheck) -> Criteria {
    Criteria { check, startup_deadline: 15 * MINUTE, min_ready: 2 * MINUTE }
}

/// A process, and the minutes that it has run.
struct Watch {
    tracker: ReadinessTracker,
    begun: Instant,
    listed: BTreeMap<InstanceId, Option<Timestamp>>,
    truncated: bool,
    reports: Option<Fresh>,
    check: ReadinessCheck,
}

impl Watch {
    fn new(check: ReadinessCheck) -> Self {
        let (tracker, begun) = (ReadinessTracker::default(), Instant::now());
        Self { tracker, begun, listed: BTreeMap::new(), truncated: false, reports: None, check }
    }

    fn at(&mut self, minute: u32, instances: &ObservedInstances) -> (Health, Option<Duration>) {
        let input = HealthInput {
            instances,
            reporting: self.reports.as_ref(),
            listed: &self.listed,
            truncated: self.truncated,
            now: self.begun + minute * MINUTE,
            wall: wall(i64::from(minute)),
        };
        let (all, next) = self.tracker.observe(&input, &criteria(self.check));
        (all[&id(1)], next)
    }
}

fn wall(minute: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + 60 * minute).unwrap()
}

#[test]
fn a_worker_is_available_once_it_has_been_ready_for_long_enough() {
    let mut watch = Watch::new(ReadinessCheck::Running);
    let (starting, running) = (instances(InstanceState::Pending, false), instances(InstanceState::Running, false));
    assert_eq!(watch.at(0, &starting).0, Health::default());
    let (health, next) = watch.at(1, &running);
    assert_eq!((health.ready, health.available, health.ready_at), (true, false, Some(wall(1))));
    assert_eq!(next, Some(2 * MINUTE), "the next reconcile is when it is available");
    assert!(watch.at(3, &running).0.available);
}

#[test]
fn a_restart_keeps_the_time_at_which_a_worker_became_ready() {
    let running = instances(InstanceState::Running, false);
    let mut known = Watch::new(ReadinessCheck::Running);
    known.listed.insert(id(1), Some(wall(-1)));
    assert!(!known.at(0, &running).0.available, "ready for a minute");
    assert!(known.at(1, &running).0.available);

    // Launched by a process that died before it listed the worker.
    let mut unlisted = Watch::new(ReadinessCheck::Running);
    unlisted.listed.insert(id(2), Some(wall(-60)));
    assert!(!unlisted.at(0, &running).0.available);
    let mut cut = Watch { truncated: true, ..unlisted };
    cut.tracker = ReadinessTracker::default();
    assert!(cut.at(0, &running).0.available, "a worker that a truncated list leaves out is ready");
}

#[test]
fn a_worker_that_never_starts_fails_at_the_deadline_which_restarts_with_the_process() {
    let running = instances(InstanceState::Running, false);
    let mut watch = Watch::new(ReadinessCheck::StatusChecks);
    watch.at(0, &running);
    assert_eq!(watch.at(14, &running).0.failed, None);
    assert_eq!(watch.at(15, &running).0.failed, Some(Failed::ToStart));
    watch.tracker = ReadinessTracker::default();
    watch.listed.insert(id(1), None);
    assert_eq!(watch.at(16, &running).0.failed, None);
    assert_eq!(watch.at(31, &running).0.failed, Some(Failed::ToStart));
}

#[test]
fn failing_checks_are_a_failure_after_a_while_and_missing_reports_are_not() {
    let (passed, failed) = (instances(InstanceState::Running, true), instances(InstanceState::Running, false));
    let mut checked = Watch::new(ReadinessCheck::StatusChecks);
    assert!(checked.at(0, &passed).0.ready);
    assert_eq!(checked.at(1, &failed).0.failed, None);
    let health = checked.at(16, &failed).0;
    assert_eq!((health.failed, health.was_ready), (Some(Failed::Checks), true));

    let mut reporting = Watch::new(ReadinessCheck::Report);
    let reported = Reported { at: Timestamp::UNIX_EPOCH, is_behind: false };
    reporting.reports = Some(Fresh::from_iter([(Box::from(id(1).as_str()), reported)]));
    assert!(reporting.at(0, &passed).0.ready);
    reporting.reports = Some(Fresh::default());
    reporting.at(1, &passed);
    let health = reporting.at(60, &passed).0;
    assert_eq!((health.ready, health.failed, health.is_sick()), (false, None, true));
}

#[test]
fn the_startup_deadline_does_not_run_without_collections() {
    let running = instances(InstanceState::Running, true);
    let mut watch = Watch::new(ReadinessCheck::Report);
    watch.at(0, &running);
    assert_eq!(watch.at(60, &running).0.failed, None);
    watch.reports = Some(Fresh::default());
    assert_eq!(watch.at(61, &running).0.failed, None);
    assert_eq!(watch.at(75, &running).0.failed, Some(Failed::ToStart));
}
