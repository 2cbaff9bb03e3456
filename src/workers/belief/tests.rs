use super::*;
use crate::workers::instance::InstanceState;

fn machine(n: u32) -> Instance {
    Instance {
        id: InstanceId::try_from(format!("i-{n:08x}")).unwrap(),
        state: InstanceState::Running,
        subnet: None,
        zone: "a".into(),
        instance_type: "m6i.large".into(),
        launched_at: None,
        client_token: String::new(),
        tags: BTreeMap::new(),
        launch_index: 0,
        state_reason: String::new(),
        state_reason_message: String::new(),
    }
}

/// A look of `belief` at four machines of which the sweep shows `shown`, and of the others EC2 says what `said` says.
fn look(belief: &mut Belief, shown: &[u32], said: impl Fn(&InstanceId) -> Described, seconds: u64) -> Roster {
    let (timings, ledger) = (Timings::default(), Ledger::default());
    static BEGINNING: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    let now = *BEGINNING + Duration::from_secs(seconds);
    let may_vanish = Share::Number(1);
    let moment = Moment { begun: now, now, wall: Timestamp::UNIX_EPOCH, timings: &timings, may_vanish };
    let machines = shown.iter().map(|n| machine(*n));
    let sighting = |instance| Sighting { instance, swept: true, checks_passed: false };
    let machines = machines.map(|instance| (instance.id.clone(), sighting(instance))).collect();
    let mut roster = Roster { machines, ..Roster::default() };
    let missing = belief.missing(&roster, &ledger, BTreeMap::new, moment);
    let described = missing.asked.iter().flat_map(said).collect();
    belief.conclude(missing, described, |_| true, &mut roster, &ledger, moment);
    roster
}

#[test]
fn only_what_ec2_says_it_does_not_know_is_given_up() {
    let gone = machine(4).id;
    let nothing = |_: &InstanceId| Described::new();
    let unknown = |id: &InstanceId| Described::from([(id.clone(), None)]);
    let mut belief = Belief::default();
    look(&mut belief, &[1, 2, 3, 4], nothing, 0);
    for seconds in [1, 61, 3_601, 10_000] {
        let roster = look(&mut belief, &[1, 2, 3], nothing, seconds);
        assert!(roster.unseen.contains_key(&gone) && roster.vanished.is_empty(), "{seconds}: {roster:?}");
    }

    let mut belief = Belief::default();
    look(&mut belief, &[1, 2, 3, 4], nothing, 0);
    assert!(look(&mut belief, &[1, 2, 3], unknown, 1).unseen.contains_key(&gone), "within the grace");
    assert!(look(&mut belief, &[1, 2, 3], unknown, 62).gone.contains(&gone));
}
