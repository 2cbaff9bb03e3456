//! Which instance was launched for which index: only its result at that index counts. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    ids::InstanceId,
    kinds::worker_job::{
        observation::{JobObservation, index_of},
        results::{Rejection, ResultKey},
    },
    workers::{
        ledger::{Ledger, progress::Progress},
        observe::instances::ObservedInstances,
    },
};

/// What a job knows of its launches, from EC2 and from its record.
#[derive(Clone, Debug, Default)]
pub(super) struct Launched {
    /// `None`: it belongs to the job, and its index is not known yet.
    known: BTreeMap<InstanceId, Option<u32>>,
    launching: BTreeSet<u32>,
    before: Progress,
}

/// What to do with the object at a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Its writer was launched for the index.
    Counts,
    /// It does not count now, and is not reported.
    Ignored,
    /// It does not count, and is reported.
    Rejected(Rejection),
}

impl Launched {
    pub(super) fn new(
        observation: &JobObservation,
        instances: &ObservedInstances,
        ledger: &Ledger,
        proven: &BTreeMap<InstanceId, Option<u32>>,
    ) -> Self {
        let proven = proven.iter().filter(|(_, index)| index.is_some()).map(|(id, index)| (id, *index));
        let answered = ledger.launches.iter().flat_map(|intent| &intent.instance_ids);
        let answered = answered.filter_map(|id| Some((id, Some(ledger.index_of_launched(id)?))));
        let shown = instances.shown.iter();
        let shown = shown.filter_map(|(id, worker)| Some((id, Some(index_of(&worker.instance, ledger)?))));
        let holders = observation.holders.iter().map(|(id, index)| (id, *index));
        let ended = observation.ends.iter().filter_map(|end| Some((&end.id, Some(end.index?))));
        let known =
            proven.chain(answered).chain(shown).chain(holders).chain(ended).map(|(id, index)| (id.clone(), index));
        Self { known: known.collect(), launching: observation.launching.clone(), before: observation.before.clone() }
    }

    /// Whether the result at `key` counts, by its name alone. Nobody knows who wrote an object, so it counts for the
    /// instance that the key names, if that was launched for the index that the key names.
    pub(super) fn judge(&self, key: &ResultKey) -> Judgement {
        let ResultKey { index, instance } = key;
        match self.known.get(instance) {
            _ if self.before.is_final(*index) => Judgement::Ignored,
            Some(Some(own)) if own == index => Judgement::Counts,
            Some(Some(own)) => Judgement::Rejected(Rejection::AnotherIndexIsItsOwn(*own)),
            Some(None) => Judgement::Ignored,
            None if self.before.is_sealed(*index, instance) => Judgement::Counts,
            // Its instance may not be known yet.
            None if self.launching.contains(index) => Judgement::Ignored,
            // It may be of a run that failed and was counted.
            None if self.before.failures.contains_key(index) => Judgement::Ignored,
            None => Judgement::Rejected(Rejection::NotKnown),
        }
    }

    /// The keys of the results that may count, of instances whose ids are known.
    pub(super) fn expected(&self) -> impl Iterator<Item = ResultKey> {
        let known = self.known.iter().filter_map(|(id, index)| Some((id, (*index)?)));
        let open = known.filter(|(_, index)| !self.before.is_final(*index));
        open.map(|(id, index)| ResultKey { index, instance: id.clone() })
    }

    /// The indexes of which only the record knows the instance.
    pub(super) fn sealed(&self) -> impl Iterator<Item = u32> {
        let held: BTreeSet<u32> = self.known.values().copied().flatten().collect();
        self.before.sealed.keys().copied().filter(move |index| !held.contains(index) && !self.before.is_final(*index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        aws::ec2::instance::InstanceState,
        crd::launches::LaunchIntent,
        ids::ClientToken,
        kinds::worker_job::sample::{UID, ended, id, result, uid, world},
        workers::ledger::progress::Seal,
    };

    #[test]
    fn a_result_counts_only_for_an_index_that_was_launched_from_its_own_instance() {
        let (observed, mut observation) = world(&[(1, InstanceState::Running, ""), (3, InstanceState::Running, "")]);
        observation.holders.insert(id(10), None);
        observation.ends.push(ended(4, 4, ""));
        observation.launching.extend([6, 7]);
        let Progress { completed, failures, sealed, .. } = &mut observation.before;
        completed.insert(0);
        failures.insert(2, 1);
        sealed.insert(8, Seal::new(8, &id(8)));
        let intent = LaunchIntent::sample(ClientToken::new(&uid(UID), 9), 2);
        let intent = LaunchIntent { indexes: "6,7".parse().ok(), instance_ids: vec![id(16), id(17)], ..intent };
        let ledger = Ledger { launches: vec![intent], ..Ledger::default() };
        let launched =
            Launched::new(&observation, &observed.instances, &ledger, &[(id(5), Some(5)), (id(11), None)].into());
        let rejected = Judgement::Rejected;
        for (case, index, n, expected) in [
            ("a running worker", 1, 1, Judgement::Counts),
            ("a worker that has just ended", 4, 4, Judgement::Counts),
            ("a worker of a launch that EC2 answered", 7, 17, Judgement::Counts),
            ("a worker that only the record knows", 8, 8, Judgement::Counts),
            ("a worker that EC2 showed when asked for its id", 5, 5, Judgement::Counts),
            ("an instance that is not of this job", 9, 11, rejected(Rejection::NotKnown)),
            ("another worker there", 8, 9, rejected(Rejection::NotKnown)),
            ("a worker at the index of another one", 3, 1, rejected(Rejection::AnotherIndexIsItsOwn(1))),
            ("a worker at the index of another one of its launch", 6, 17, rejected(Rejection::AnotherIndexIsItsOwn(7))),
            ("an instance that never was, at an index that never ran", 9, 99, rejected(Rejection::NotKnown)),
            ("an instance that never was, at an index that runs", 1, 99, rejected(Rejection::NotKnown)),
            ("an index whose worker is not known yet", 6, 99, Judgement::Ignored),
            ("a worker whose index is not known yet", 9, 10, Judgement::Ignored),
            ("an index that failed before", 2, 99, Judgement::Ignored),
            ("an index that is done", 0, 99, Judgement::Ignored),
        ] {
            assert_eq!(launched.judge(&result(index, n)), expected, "{case}");
        }
        let expected: Vec<_> = launched.expected().map(|key| key.index).collect();
        assert_eq!(expected, [1, 3, 4, 5, 6, 7], "which is what is read, however many others there are");
        assert_eq!(launched.sealed().collect::<Vec<_>>(), [8]);
    }
}
