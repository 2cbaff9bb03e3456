use super::*;
use crate::workers::instance::InstanceState;

fn machine(n: u32) -> Instance {
    Instance::sample(n, InstanceState::Running)
}

/// A look of `belief` at machines of which the sweep shows `shown`, and of the others EC2 says what `said` says. The
/// first sweep took some time.
fn look(
    belief: &mut Belief,
    (ledger, listed): (&Ledger, &[u32]),
    shown: &[u32],
    said: impl Fn(&InstanceId) -> Described,
    seconds: u64,
) -> Roster {
    let timings = Timings::default();
    static BEGINNING: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    let begun = *BEGINNING + Duration::from_secs(seconds);
    let may_vanish = Share::Number(1);
    let now = begun + Duration::from_millis(if seconds == 0 { 1_500 } else { 100 });
    let moment = Moment { begun, now, wall: Timestamp::UNIX_EPOCH, timings: &timings, may_vanish };
    let sighting = |instance| Sighting { instance, swept: true, checks_passed: false };
    let machines = shown.iter().map(|n| machine(*n));
    let machines = machines.map(|instance| (instance.id.clone(), sighting(instance))).collect();
    let mut roster = Roster { machines, ..Roster::default() };
    let listed = || listed.iter().map(|n| (machine(*n).id, Known::default())).collect();
    let missing = belief.missing(&roster, ledger, listed, moment);
    let described = missing.asked.iter().flat_map(said).collect();
    belief.conclude(missing, described, |_| true, &mut roster, ledger, moment);
    roster
}

fn nothing(_: &InstanceId) -> Described {
    Described::new()
}

fn unknown(id: &InstanceId) -> Described {
    Described::from([(id.clone(), None)])
}

#[test]
fn only_what_ec2_says_it_does_not_know_is_given_up() {
    let gone = machine(4).id;
    let none = (&Ledger::default(), &[][..]);
    let mut belief = Belief::default();
    look(&mut belief, none, &[1, 2, 3, 4], nothing, 0);
    for seconds in [1, 61, 3_601, 10_000] {
        let roster = look(&mut belief, none, &[1, 2, 3], nothing, seconds);
        assert!(roster.unseen.contains_key(&gone) && roster.gone.is_empty(), "{seconds}: {roster:?}");
        assert_eq!(roster.vanished.contains(&gone), seconds > 60, "it is told of after the grace");
    }

    let mut belief = Belief::default();
    look(&mut belief, none, &[1, 2, 3, 4], nothing, 0);
    assert!(look(&mut belief, none, &[1, 2, 3], unknown, 1).unseen.contains_key(&gone), "within the grace");
    assert!(look(&mut belief, none, &[1, 2, 3], unknown, 62).gone.contains(&gone));
}

#[test]
fn those_of_whom_only_the_count_tells_are_not_given_up_sooner_than_those_that_are_known_by_id() {
    let mut ledger = Ledger::default();
    ledger.set_existing(&Role::main(), 6);
    let record = (&ledger, &[1, 2, 3, 4, 5][..]);
    for said in [nothing, unknown] {
        let mut belief = Belief::default();
        for seconds in [0, 59, 60, 61, 62, 63, 3_000] {
            let roster = look(&mut belief, record, &[1, 2, 3], said, seconds);
            let nameless: u32 = roster.nameless.values().sum();
            assert_eq!((roster.unseen.len(), nameless), (2, 1), "{seconds}");
        }
    }
}
