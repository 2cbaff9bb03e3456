use super::*;
use crate::aws::ec2::instance::InstanceState;

fn worker(n: u32) -> Instance {
    Instance::sample(n, InstanceState::Running)
}

/// The sweep shows `shown`, and EC2 answers `answer` for each other id. The first sweep takes some time.
fn observe(
    missing: &mut MissingInstances,
    (ledger, listed): (&Ledger, &[u32]),
    shown: &[u32],
    answer: impl Fn(&InstanceId) -> Described,
    seconds: u64,
) -> ObservedInstances {
    let begun = seconds * 1_000;
    let now = begun + if seconds == 0 { 1_500 } else { 100 };
    observe_at(missing, (ledger, listed), shown, answer, (begun, now))
}

/// With a sweep that begins at `begun`, in a pass that began at `now`, in milliseconds.
fn observe_at(
    missing: &mut MissingInstances,
    (ledger, listed): (&Ledger, &[u32]),
    shown: &[u32],
    answer: impl Fn(&InstanceId) -> Described,
    (begun, now): (u64, u64),
) -> ObservedInstances {
    let timings = Timings::default();
    static BEGINNING: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    let [begun, now] = [begun, now].map(|millis| *BEGINNING + Duration::from_millis(millis));
    let max_missing = Share::Number(1);
    let moment = Moment { begun, now, wall: Timestamp::UNIX_EPOCH, timings: &timings, max_missing };
    let shown = shown.iter().map(|n| worker(*n));
    let shown = shown.map(|instance| (instance.id.clone(), ObservedInstance::sample(instance))).collect();
    let mut instances = ObservedInstances { shown, ..ObservedInstances::default() };
    let listed = || listed.iter().map(|n| (worker(*n).id, KnownInstance::default())).collect();
    let not_shown = missing.missing(&instances, ledger, listed, moment);
    let described = not_shown.asked.iter().flat_map(answer).collect();
    missing.conclude(
        not_shown,
        described,
        |i| Some(ObservedInstance::sample(i.clone())),
        &mut instances,
        ledger,
        moment,
    );
    instances
}

fn nothing(_: &InstanceId) -> Described {
    Described::new()
}

fn unknown(id: &InstanceId) -> Described {
    Described::from([(id.clone(), None)])
}

#[test]
fn only_instances_that_ec2_confirms_as_unknown_count_as_gone() {
    let gone = worker(4).id;
    let none = (&Ledger::default(), &[][..]);
    let mut missing = MissingInstances::default();
    observe(&mut missing, none, &[1, 2, 3, 4], nothing, 0);
    for seconds in [1, 61, 3_601, 10_000] {
        let instances = observe(&mut missing, none, &[1, 2, 3], nothing, seconds);
        assert!(instances.missing.contains_key(&gone) && instances.gone.is_empty(), "{seconds}: {instances:?}");
        assert_eq!(instances.overdue.contains(&gone), seconds > 60, "it is reported after the grace period");
    }

    let mut missing = MissingInstances::default();
    observe(&mut missing, none, &[1, 2, 3, 4], nothing, 0);
    assert!(observe(&mut missing, none, &[1, 2, 3], unknown, 1).missing.contains_key(&gone), "within the grace");
    assert!(observe(&mut missing, none, &[1, 2, 3], unknown, 62).gone.contains(&gone));
}

#[test]
fn unlisted_workers_do_not_count_as_gone_before_missing_ones() {
    let mut ledger = Ledger::default();
    ledger.set_existing(&Role::main(), 6);
    let record = (&ledger, &[1, 2, 3, 4, 5][..]);
    for answer in [nothing, unknown] {
        let mut missing = MissingInstances::default();
        for seconds in [0, 59, 60, 61, 62, 63, 3_000] {
            let instances = observe(&mut missing, record, &[1, 2, 3], answer, seconds);
            let unlisted: u32 = instances.unlisted.values().sum();
            assert_eq!((instances.missing.len(), unlisted), (2, 1), "{seconds}");
        }
    }
}

#[test]
fn unlisted_workers_do_not_count_as_gone_because_a_sweep_began_late() {
    let mut ledger = Ledger::default();
    ledger.set_existing(&Role::main(), 6);
    let record = (&ledger, &[1, 2, 3, 4, 5][..]);
    let mut missing = MissingInstances::default();
    // Seconds pass in a pass before its sweep may begin.
    for pass in [(0, 0), (61_000, 59_000), (63_000, 62_000), (122_000, 119_000)] {
        let instances = observe_at(&mut missing, record, &[1, 2, 3], unknown, pass);
        let unlisted: u32 = instances.unlisted.values().sum();
        assert_eq!((instances.missing.len(), unlisted), (2, 1), "{pass:?}");
    }
}
