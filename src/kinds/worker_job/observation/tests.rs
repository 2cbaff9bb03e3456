//! The rules of an observation, one case each.

use super::*;
use crate::{
    ids::ClientToken,
    workers::observe::instances::{KnownInstance, ObservedInstance},
};

#[test]
fn only_what_ec2_says_it_does_not_know_has_ended_after_the_grace() {
    let id = InstanceId::try_from("i-00000001").unwrap();
    let (start, grace) = (Instant::now(), Duration::from_secs(60));
    let ended = |answer: &Described, gone: &BTreeSet<InstanceId>| {
        let mut memory = Memory { holders: [(id.clone(), Some(7))].into(), ..Memory::default() };
        let mut see = |now| {
            let asked = std::slice::from_ref(&id);
            memory.see((asked, answer), gone, &Ledger::default(), Progress::default(), (now, grace))
        };
        assert_eq!(see(start).ends.len(), gone.len());
        let observation = see(start + grace);
        assert_eq!(observation.holders.contains_key(&id), observation.ends.is_empty());
        observation.ends.len()
    };
    let (unknown, none) = (Described::from([(id.clone(), None)]), BTreeSet::new());
    assert_eq!(ended(&unknown, &none), 1);
    assert_eq!(ended(&Described::new(), &none), 0, "the answer left it out");
    assert_eq!(ended(&Described::new(), &BTreeSet::from([id.clone()])), 1, "it is known to be gone");
}

#[test]
fn what_was_shutting_down_may_write_a_result_until_the_grace_is_over() {
    let instance = Instance::sample(1, InstanceState::ShuttingDown);
    let id = instance.id.clone();
    let shown = ObservedInstance { instance, swept: true, checks_passed: false };
    let (mut memory, ledger, before) = (Memory::default(), Ledger::default(), Progress::default());
    let instances = ObservedInstances { shown: [(id.clone(), shown)].into(), ..ObservedInstances::default() };
    assert!(memory.follow(&instances, &ledger, &before).is_empty());
    let gone = BTreeSet::from([id.clone()]);
    let instances = ObservedInstances { gone: gone.clone(), ..ObservedInstances::default() };
    let (start, grace) = (Instant::now(), Duration::from_secs(60));
    for (seconds, ends) in [(0, 0), (59, 0), (60, 1)] {
        let asked = memory.follow(&instances, &ledger, &before);
        let answer = Described::from([(id.clone(), None)]);
        let now = start + Duration::from_secs(seconds);
        let observation = memory.see((&asked, &answer), &gone, &ledger, before.clone(), (now, grace));
        assert_eq!(observation.ends.len(), ends, "after {seconds} s");
    }
}

#[test]
fn an_instance_that_is_first_seen_when_it_has_ended_is_accounted_for() {
    let instance = Instance { client_token: "token".into(), ..Instance::sample(1, InstanceState::Terminated) };
    let id = instance.id.clone();
    let shown = ObservedInstance { instance, swept: true, checks_passed: false };
    let instances = ObservedInstances { shown: [(id.clone(), shown)].into(), ..ObservedInstances::default() };
    let intent = LaunchIntent {
        instance_ids: vec![id.clone()],
        ..LaunchIntent::sample(ClientToken::try_from("token").unwrap(), 1)
    };
    let ledger = Ledger { launches: vec![intent], ..Ledger::default() };
    assert_eq!(Memory::default().follow(&instances, &ledger, &Progress::default()), [id]);
}

/// How many are missing at each observation, given as seconds since the first and the instances that are shown. One
/// is listed, and nine are not.
fn hidden(observations: &[(u64, std::ops::Range<u32>)]) -> Vec<u32> {
    let (mut memory, start) = (Memory::default(), Instant::now());
    let id = |n: u32| InstanceId::try_from(format!("i-{n:08x}")).unwrap();
    let before = Progress { holders: BTreeMap::from([(id(0), Some(0))]), unlisted: 9, ..Progress::default() };
    // Instance 20 belongs to an open launch.
    let intent =
        LaunchIntent { instance_ids: vec![id(20)], ..LaunchIntent::sample(ClientToken::try_from("token").unwrap(), 1) };
    let ledger = Ledger { launches: vec![intent], ..Ledger::default() };
    let hidden = observations.iter().map(|(seconds, shown)| {
        let mut observation = JobObservation { before: before.clone(), ..JobObservation::default() };
        observation.holders = shown.clone().chain([0]).map(|n| (id(n), Some(n))).collect();
        let mut instances = ObservedInstances::default();
        if !shown.contains(&0) {
            instances.missing.insert(id(0), KnownInstance::default());
        }
        memory.miss(
            &mut observation,
            (&instances, &ledger),
            (start + Duration::from_secs(*seconds), &Timings::default()),
        );
        observation.hidden
    });
    hidden.collect()
}

#[test]
fn those_of_whom_only_the_number_is_on_record_are_believed_in_until_they_are_seen_or_for_long() {
    assert_eq!(hidden(&[(0, 0..10), (1, 0..5)]), [0, 0], "all were seen");
    assert_eq!(hidden(&[(0, 0..5), (59, 0..5), (60, 0..5), (61, 0..4)]), [5, 5, 0, 0], "they ended meanwhile");
    assert_eq!(hidden(&[(0, 1..7), (60, 1..7), (3599, 1..7), (3600, 1..7)]), [3, 3, 3, 0], "not even the listed one");
    assert_eq!(hidden(&[(0, 1..7), (60, 1..7), (61, 0..10)]), [3, 3, 0], "EC2 shows them again");
    assert_eq!(hidden(&[(0, 1..5), (60, 5..8), (61, 8..10)]), [5, 2, 0], "seen one by one");
    assert_eq!(hidden(&[(0, 20..21), (30, 20..21)]), [9, 9], "a new one does not count");
}
