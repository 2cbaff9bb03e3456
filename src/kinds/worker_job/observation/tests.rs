//! The rules of an observation, one case each.

use super::*;
use crate::{
    ids::ClientToken,
    kinds::worker_job::sample::id,
    workers::observe::instances::{KnownInstance, ObservedInstance},
};

/// A record of an open launch of this instance.
fn launched(id: &InstanceId) -> Ledger {
    let intent = LaunchIntent::sample(ClientToken::try_from("token").unwrap(), 1);
    let intent = LaunchIntent { instance_ids: vec![id.clone()], ..intent };
    Ledger { launches: vec![intent], ..Ledger::default() }
}

#[test]
fn only_an_instance_that_ec2_confirms_as_unknown_counts_as_ended_after_the_grace_period() {
    let id = id(1);
    let (start, grace) = (Instant::now(), Duration::from_secs(60));
    let ended = |answer: &Described, gone: &BTreeSet<InstanceId>| {
        let mut memory = Memory { holders: BTreeMap::from([(id.clone(), Some(7))]), ..Memory::default() };
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
fn a_worker_that_shuts_down_can_write_a_result_until_the_grace_period_ends() {
    let instance = Instance::sample(1, InstanceState::ShuttingDown);
    let id = instance.id.clone();
    let shown = ObservedInstance::sample(instance);
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
fn an_instance_first_observed_after_its_termination_is_counted() {
    let instance = Instance { client_token: "token".into(), ..Instance::sample(1, InstanceState::Terminated) };
    let id = instance.id.clone();
    let shown = ObservedInstance::sample(instance);
    let instances = ObservedInstances { shown: [(id.clone(), shown)].into(), ..ObservedInstances::default() };
    assert_eq!(Memory::default().follow(&instances, &launched(&id), &Progress::default()), [id]);
}

/// How many are missing at each observation, given as seconds since the first and the instances that are shown. One
/// is listed, and nine are not.
fn hidden(observations: &[(u64, std::ops::Range<u32>)]) -> Vec<u32> {
    let (mut memory, start) = (Memory::default(), Instant::now());
    let before = Progress { holders: BTreeMap::from([(id(0), Some(0))]), unlisted: 9, ..Progress::default() };
    let ledger = launched(&id(20));
    let hidden = observations.iter().map(|(seconds, shown)| {
        let mut observation = JobObservation { before: before.clone(), ..JobObservation::default() };
        observation.holders = shown.clone().chain([0]).map(|n| (id(n), Some(n))).collect();
        let mut instances = ObservedInstances::default();
        if !shown.contains(&0) {
            instances.missing.insert(id(0), KnownInstance::default());
        }
        let now = start + Duration::from_secs(*seconds);
        memory.miss(&mut observation, (&instances, &ledger), (now, &Timings::default()));
        observation.hidden
    });
    hidden.collect()
}

#[test]
fn unlisted_workers_count_until_they_are_observed_or_the_wait_is_over() {
    assert_eq!(hidden(&[(0, 0..10), (1, 0..5)]), [0, 0], "all were seen");
    assert_eq!(hidden(&[(0, 0..5), (59, 0..5), (60, 0..5), (61, 0..4)]), [5, 5, 0, 0], "they ended meanwhile");
    let missing = hidden(&[(0, 1..7), (60, 1..7), (3599, 1..7), (3600, 1..7)]);
    assert_eq!(missing, [3, 3, 3, 0], "not even the listed one");
    assert_eq!(hidden(&[(0, 1..7), (60, 1..7), (61, 0..10)]), [3, 3, 0], "EC2 shows them again");
    assert_eq!(hidden(&[(0, 1..5), (60, 5..8), (61, 8..10)]), [5, 2, 0], "seen one by one");
    assert_eq!(hidden(&[(0, 20..21), (30, 20..21)]), [9, 9], "a new one does not count");
}
