//! Readiness over time, and across a restart.

use std::collections::BTreeSet;

use super::*;
use crate::workers::{instance::Instance, roster::Sighting};

const MINUTE: Duration = Duration::from_secs(60);

fn id(n: u32) -> InstanceId {
    InstanceId::try_from(format!("i-{n:08x}")).unwrap()
}

fn roster(state: InstanceState, checks_passed: bool) -> Roster {
    let instance = Instance::sample(1, state);
    let machines = BTreeMap::from([(id(1), Sighting { instance, swept: true, checks_passed })]);
    Roster { machines, ..Roster::default() }
}

fn criteria(check: ReadinessCheck) -> Criteria {
    Criteria { check, startup_deadline: 15 * MINUTE, min_ready: 2 * MINUTE }
}

#[derive(Debug, Default)]
struct Reports(BTreeSet<InstanceId>);

impl Reporting for Reports {
    fn is_fresh(&self, id: &InstanceId) -> bool {
        self.0.contains(id)
    }
}

/// A process, and the minutes that it has run.
struct Watch {
    pulse: Pulse,
    begun: Instant,
    listed: BTreeMap<InstanceId, Option<Timestamp>>,
    truncated: bool,
    reports: Option<Reports>,
    check: ReadinessCheck,
}

impl Watch {
    fn new(check: ReadinessCheck) -> Self {
        let (pulse, begun) = (Pulse::default(), Instant::now());
        Self { pulse, begun, listed: BTreeMap::new(), truncated: false, reports: None, check }
    }

    fn at(&mut self, minute: u32, roster: &Roster) -> (Health, Option<Duration>) {
        let sight = Sight {
            roster,
            reporting: self.reports.as_ref().map(|reports| reports as &dyn Reporting),
            listed: &self.listed,
            truncated: self.truncated,
            now: self.begun + minute * MINUTE,
            wall: wall(i64::from(minute)),
        };
        let (all, next) = self.pulse.feel(&sight, &criteria(self.check));
        (all[&id(1)], next)
    }
}

fn wall(minute: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + 60 * minute).unwrap()
}

#[test]
fn a_worker_is_available_once_it_has_been_ready_for_long_enough() {
    let mut watch = Watch::new(ReadinessCheck::Running);
    let (starting, running) = (roster(InstanceState::Pending, false), roster(InstanceState::Running, false));
    assert_eq!(watch.at(0, &starting).0, Health::default());
    let (health, next) = watch.at(1, &running);
    assert_eq!((health.ready, health.available, health.ready_at), (true, false, Some(wall(1))));
    assert_eq!(next, Some(2 * MINUTE), "it is looked at again when it counts");
    assert!(watch.at(3, &running).0.available);
}

#[test]
fn a_restart_neither_forgets_for_how_long_a_worker_was_ready_nor_makes_it_up() {
    let running = roster(InstanceState::Running, false);
    let mut known = Watch::new(ReadinessCheck::Running);
    known.listed.insert(id(1), Some(wall(-1)));
    assert!(!known.at(0, &running).0.available, "ready for a minute");
    assert!(known.at(1, &running).0.available);

    // Launched by a process that died before it listed the worker.
    let mut unlisted = Watch::new(ReadinessCheck::Running);
    unlisted.listed.insert(id(2), Some(wall(-60)));
    assert!(!unlisted.at(0, &running).0.available);
    let mut cut = Watch { truncated: true, ..unlisted };
    cut.pulse = Pulse::default();
    assert!(cut.at(0, &running).0.available, "who is left out of a cut list is in order");
}

#[test]
fn a_worker_that_never_starts_fails_at_the_deadline_which_begins_anew_after_a_restart() {
    let running = roster(InstanceState::Running, false);
    let mut watch = Watch::new(ReadinessCheck::StatusChecks);
    watch.at(0, &running);
    assert_eq!(watch.at(14, &running).0.failed, None);
    assert_eq!(watch.at(15, &running).0.failed, Some(Failed::ToStart));
    watch.pulse = Pulse::default();
    watch.listed.insert(id(1), None);
    assert_eq!(watch.at(16, &running).0.failed, None);
    assert_eq!(watch.at(31, &running).0.failed, Some(Failed::ToStart));
}

#[test]
fn checks_that_fail_for_long_enough_are_a_failure_and_a_silent_reporter_is_left_alone() {
    let (passed, failed) = (roster(InstanceState::Running, true), roster(InstanceState::Running, false));
    let mut checked = Watch::new(ReadinessCheck::StatusChecks);
    assert!(checked.at(0, &passed).0.ready);
    assert_eq!(checked.at(1, &failed).0.failed, None);
    let health = checked.at(16, &failed).0;
    assert_eq!((health.failed, health.was_ready), (Some(Failed::Checks), true));

    let mut reporting = Watch::new(ReadinessCheck::Report);
    reporting.reports = Some(Reports(BTreeSet::from([id(1)])));
    assert!(reporting.at(0, &passed).0.ready);
    reporting.reports = Some(Reports::default());
    reporting.at(1, &passed);
    let health = reporting.at(60, &passed).0;
    assert_eq!((health.ready, health.failed, health.is_sick()), (false, None, true));
}

#[test]
fn nobody_is_late_while_nobody_collects() {
    let running = roster(InstanceState::Running, true);
    let mut watch = Watch::new(ReadinessCheck::Report);
    watch.at(0, &running);
    assert_eq!(watch.at(60, &running).0.failed, None);
    watch.reports = Some(Reports::default());
    assert_eq!(watch.at(61, &running).0.failed, None);
    assert_eq!(watch.at(75, &running).0.failed, Some(Failed::ToStart));
}
