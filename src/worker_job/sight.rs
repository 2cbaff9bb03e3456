//! Who runs which index, and what came of those who ran one before.
//!
//! EC2 tells it: a machine has the indexes of its launch as a tag, and its launch index says which of them is its own.
//! What is remembered here only bridges the time until EC2 says that a machine has ended.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use crate::{
    aws,
    clock::Timings,
    ids::InstanceId,
    worker_job::{
        reader::Cache,
        results::{Judgement, Rejection, Results, Told},
    },
    workers::{
        indexes::Indexes,
        instance::{Described, Instance, InstanceState},
        ledger::Ledger,
        ownership::INDEXES_TAG,
        progress::Progress,
        roster::Roster,
    },
};

/// What a job sees beside its machines.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// The progress on record when this was seen. A plan starts from it, so that planning twice counts nothing twice.
    pub before: Progress,
    /// The machines that run an index or may, those on their way out included. `None`: nobody knows which index.
    pub(super) holders: BTreeMap<InstanceId, Option<u32>>,
    /// The machines that have ended for certain and are not accounted for.
    pub(super) ends: Vec<End>,
    /// The indexes of the launches that were open then, of which nobody knows yet which machines they brought.
    pub(super) launching: BTreeSet<u32>,
    pub(super) results: Results,
    /// Why the results are not known.
    pub(super) unread: Option<aws::Error>,
    /// Machines whose index needs them no longer, for a while already.
    pub(super) lingering: BTreeSet<InstanceId>,
    /// Indexes that are not run again at once.
    pub(super) resting: BTreeSet<u32>,
    /// A machine wrote a result at another index than its own.
    pub(super) misplaced: bool,
    /// So many machines may be there of which nobody knows: when this process began more were on record than it has seen.
    pub(super) hidden: u32,
}

/// A machine that is no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub id: InstanceId,
    pub index: Option<u32>,
    /// The code of EC2's StateReason; empty where EC2 does not tell any more.
    pub reason: String,
}

/// What this process remembers of a job. Lost with the process.
#[derive(Debug, Default)]
pub struct Memory {
    holders: BTreeMap<InstanceId, Option<u32>>,
    /// What the last look began with: the progress on record, and the ends that it did not have in it.
    begun: Option<(Progress, BTreeSet<InstanceId>)>,
    /// The progress that the last look came to.
    expected: Option<Progress>,
    /// Since when a machine is known to be needed no longer.
    done_since: BTreeMap<InstanceId, Instant>,
    /// Since when a machine that was on its way out is not shown.
    missing_since: BTreeMap<InstanceId, Instant>,
    rests: BTreeMap<u32, Rest>,
    /// `None` before the first look.
    beginning: Option<Beginning>,
    /// What was read of each result, by key.
    pub(super) read: Cache,
}

/// What this process began with.
#[derive(Debug)]
struct Beginning {
    at: Instant,
    /// How many machines there were. Not all are listed where there are many.
    were: u32,
    /// Those of them that were seen, or seen to have ended.
    seen: BTreeSet<InstanceId>,
    /// Those that were launched since.
    launched: BTreeSet<InstanceId>,
}

#[derive(Clone, Copy, Debug)]
struct Rest {
    until: Instant,
    wait: Duration,
}

impl Memory {
    /// Takes in what EC2 shows. Returns the machines to ask for by id: those that are not shown any more.
    pub(super) fn follow(&mut self, roster: &Roster, ledger: &Ledger, before: &Progress) -> Vec<InstanceId> {
        // Whatever this process put on record since has these ends in it; and if the look came to what is on record, they
        // changed nothing.
        let on_record = |then: &Progress| then != before || self.expected.as_ref() == Some(before);
        if let Some((_, accounted)) = self.begun.take().filter(|(then, _)| on_record(then)) {
            self.holders.retain(|id, _| !accounted.contains(id));
        }
        self.expected = None;
        // Those that another process knew of. What became of them is accounted for as they go from the record.
        for (id, index) in &before.holders {
            let known = self.holders.entry(id.clone()).or_default();
            *known = known.or(*index);
        }
        for (id, machine) in &roster.machines {
            if machine.instance.state != InstanceState::Terminated {
                let known = self.holders.get(id).copied().flatten();
                self.holders.insert(id.clone(), known.or_else(|| index_of(&machine.instance, ledger)));
            }
        }
        let launched: BTreeSet<_> = ledger.launches.iter().flat_map(|intent| &intent.instance_ids).collect();
        for id in roster.unseen.keys().filter(|id| !launched.contains(id)) {
            self.holders.entry(id.clone()).or_insert(None);
        }
        let shown = |id: &InstanceId| {
            roster.unseen.contains_key(id)
                || roster.machines.get(id).is_some_and(|m| m.instance.state != InstanceState::Terminated)
        };
        let died_young = roster.gone.iter().filter(|id| launched.contains(id));
        let asked: BTreeSet<_> = self.holders.keys().chain(died_young).filter(|id| !shown(id)).cloned().collect();
        asked.into_iter().collect()
    }

    /// Puts together what is seen. `described` is what EC2 answered for the ids that [`Memory::follow`] asked for. Of one
    /// that was on its way out and is not shown, only the grace tells that it has ended, as of any other, which the roster
    /// tells as `gone`.
    pub(super) fn see(
        &mut self,
        (asked, described): (&[InstanceId], &Described),
        gone: &BTreeSet<InstanceId>,
        ledger: &Ledger,
        before: Progress,
        (now, grace): (Instant, Duration),
    ) -> Sight {
        let shown = |id: &InstanceId| described.get(id).is_some_and(Option::is_some);
        self.missing_since.retain(|id, _| asked.contains(id) && !shown(id));
        let mut holders = self.holders.clone();
        let mut ends = Vec::new();
        for id in asked {
            let known = holders.get(id).copied().flatten();
            match described.get(id) {
                Some(Some(instance)) if instance.state != InstanceState::Terminated => {
                    holders.insert(id.clone(), known.or_else(|| index_of(instance, ledger)));
                }
                Some(Some(instance)) => {
                    holders.remove(id);
                    let index = known.or_else(|| index_of(instance, ledger));
                    ends.push(End { id: id.clone(), index, reason: instance.state_reason.clone() });
                }
                said @ (Some(None) | None) => {
                    let since = *self.missing_since.entry(id.clone()).or_insert(now);
                    // What is merely left out of an answer is not said to be unknown.
                    let overdue = said.is_some() && now.saturating_duration_since(since) >= grace;
                    if gone.contains(id) || overdue {
                        holders.remove(id);
                        ends.push(End { id: id.clone(), index: known, reason: String::new() });
                    }
                }
            }
        }
        self.begun = Some((before.clone(), ends.iter().map(|end| end.id.clone()).collect()));
        let launching =
            ledger.launches.iter().filter_map(|intent| intent.indexes.as_ref()).flat_map(Indexes::iter).collect();
        Sight { before, holders, ends, launching, ..Sight::default() }
    }

    /// Whose result counts: of a machine of which EC2 or the record tells what it runs, the one at its own index. Of one of
    /// which nothing is known, because it ended long ago or the status was lost, what it wrote at the only place that it
    /// wrote to; but once a machine of this job has written where it should not have, nothing of such ones.
    pub(super) fn judge(sight: &mut Sight, (roster, ledger): (&Roster, &Ledger), folder: &str, results: Results) {
        let shown = roster.machines.iter();
        let shown = shown.filter_map(|(id, machine)| Some((id, Some(index_of(&machine.instance, ledger)?))));
        let ended = sight.ends.iter().filter_map(|end| Some((&end.id, Some(end.index?))));
        let known: BTreeMap<&InstanceId, Option<u32>> =
            shown.chain(sight.holders.iter().map(|(id, index)| (id, *index))).chain(ended).collect();
        let mut misplaced = false;
        let passed = results.only(folder, |claim| match known.get(claim.instance) {
            Some(Some(own)) if *own == claim.index => Judgement::Counts,
            Some(Some(own)) => {
                misplaced = true;
                Judgement::Rejected(Rejection::AnotherIndexIsItsOwn(*own))
            }
            // It will be known.
            Some(None) => Judgement::Ignored,
            None if !sight.launching.is_empty() => Judgement::Ignored,
            None if claim.places > 1 => Judgement::Rejected(Rejection::SeveralIndexes),
            None if sight.before.misplaced => match claim.told {
                Told::Succeeded => Judgement::Rejected(Rejection::NotKnown),
                // Accounted for when it ended.
                Told::Failed => Judgement::Ignored,
            },
            None => Judgement::Counts,
        });
        sight.misplaced = misplaced;
        sight.results = passed;
    }

    /// Without the results nobody knows what became of an index, so whoever ran one goes on holding it. Deadlines and the
    /// number of workers need no results.
    pub(super) fn cannot_read(&mut self, sight: &mut Sight, error: aws::Error) {
        self.begun = None;
        sight.holders.extend(sight.ends.drain(..).map(|end| (end.id, end.index)));
        sight.unread = Some(error);
    }

    /// Counts the machines that were there when this process began and that it has not seen since. They are believed in for
    /// the grace, which those have had that ended meanwhile; and for as long as listed ones are that EC2 does not show
    /// either, as then what describes them is broken.
    pub(super) fn miss(
        &mut self,
        sight: &mut Sight,
        (roster, ledger): (&Roster, &Ledger),
        (now, timings): (Instant, &Timings),
    ) {
        let beginning = self.beginning.get_or_insert_with(|| Beginning {
            at: now,
            were: sight.before.holders.len() as u32 + sight.before.unlisted,
            seen: sight.before.holders.keys().cloned().collect(),
            launched: BTreeSet::new(),
        });
        let answered = ledger.launches.iter().flat_map(|intent| &intent.instance_ids);
        let launched = ledger.launches.iter().flat_map(|intent| roster.launched_with(&intent.token));
        let launched = answered.chain(launched.map(|machine| &machine.instance.id));
        beginning.launched.extend(launched.filter(|id| !beginning.seen.contains(*id)).cloned());
        let shown = sight.holders.keys().chain(sight.ends.iter().map(|end| &end.id));
        beginning.seen.extend(shown.filter(|id| !beginning.launched.contains(*id)).cloned());
        let is_dark = sight.before.holders.keys().any(|id| roster.unseen.contains_key(id));
        let patience = if is_dark { timings.vanished } else { timings.describe_grace };
        if now.saturating_duration_since(beginning.at) < patience {
            sight.hidden = beginning.were.saturating_sub(beginning.seen.len() as u32);
        } else {
            beginning.were = 0;
        }
    }

    /// Remembers since when machines are needed no longer, and names those that had time enough to end by themselves.
    pub(super) fn linger(&mut self, sight: &mut Sight, now: Instant, grace: Duration) {
        let done = |id: &InstanceId, index: u32| sight.before.is_final(index) || sight.results.of(index, id).is_some();
        let holders = sight.holders.iter();
        let done: BTreeSet<_> =
            holders.filter(|(id, i)| i.is_some_and(|i| done(id, i))).map(|(id, _)| id.clone()).collect();
        self.done_since.retain(|id, _| done.contains(id));
        for id in done {
            let since = *self.done_since.entry(id.clone()).or_insert(now);
            if now.saturating_duration_since(since) >= grace {
                sight.lingering.insert(id);
            }
        }
    }

    /// Indexes whose machine has ended without a result wait a little longer each time before they are run again.
    pub(super) fn rest(&mut self, sight: &mut Sight, now: Instant) {
        self.rests.retain(|index, _| !sight.before.is_final(*index));
        sight.resting = self.rests.iter().filter(|(_, rest)| rest.until > now).map(|(index, _)| *index).collect();
    }

    /// Remembers what a look came to.
    pub(super) fn told(&mut self, sight: &Sight, progress: &Progress, now: Instant, timings: &Timings) {
        for index in sight.ends.iter().filter_map(|end| end.index) {
            let wait = self.rests.get(&index).map_or(timings.progress, |rest| rest.wait.saturating_mul(2));
            let wait = wait.min(timings.sweep.saturating_mul(5));
            self.rests.insert(index, Rest { until: now + wait, wait });
        }
        self.expected = Some(progress.clone());
    }
}

/// Which index a machine runs, as its launch says. While the launch is on record that tells, too, whatever became of the
/// tag since.
fn index_of(instance: &Instance, ledger: &Ledger) -> Option<u32> {
    let intent = ledger.launches.iter().find(|intent| intent.token.as_str() == instance.client_token);
    let indexes = match intent.and_then(|intent| intent.indexes.clone()) {
        Some(indexes) => indexes,
        None => instance.tags.get(INDEXES_TAG)?.parse::<Indexes>().ok()?,
    };
    indexes.nth(instance.launch_index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::ClientToken,
        workers::{launch::LaunchIntent, roster::Known},
    };

    #[test]
    fn only_what_ec2_says_it_does_not_know_has_ended_after_the_grace() {
        let id = InstanceId::try_from("i-00000001").unwrap();
        let (start, grace) = (Instant::now(), Duration::from_secs(60));
        let ended = |said: &Described, gone: &BTreeSet<InstanceId>| {
            let mut memory = Memory { holders: BTreeMap::from([(id.clone(), Some(7))]), ..Memory::default() };
            let mut see = |now| {
                let asked = std::slice::from_ref(&id);
                memory.see((asked, said), gone, &Ledger::default(), Progress::default(), (now, grace))
            };
            assert_eq!(see(start).ends.len(), gone.len());
            let sight = see(start + grace);
            assert_eq!(sight.holders.contains_key(&id), sight.ends.is_empty());
            sight.ends.len()
        };
        let (unknown, none) = (Described::from([(id.clone(), None)]), BTreeSet::new());
        assert_eq!(ended(&unknown, &none), 1);
        assert_eq!(ended(&Described::new(), &none), 0, "it was merely left out");
        assert_eq!(ended(&Described::new(), &BTreeSet::from([id.clone()])), 1, "the roster knows");
    }

    /// How many are missing at each of `looks`, by the seconds since the first and the machines that are shown then. One is
    /// listed, and nine are not.
    fn hidden(looks: &[(u64, std::ops::Range<u32>)]) -> Vec<u32> {
        let (mut memory, start) = (Memory::default(), Instant::now());
        let id = |n: u32| InstanceId::try_from(format!("i-{n:08x}")).unwrap();
        let before = Progress { holders: BTreeMap::from([(id(0), Some(0))]), unlisted: 9, ..Progress::default() };
        // The machine 20 is of a launch that is open.
        let intent = LaunchIntent {
            instance_ids: vec![id(20)],
            ..LaunchIntent::sample(ClientToken::try_from("token").unwrap(), 1)
        };
        let ledger = Ledger { launches: vec![intent], ..Ledger::default() };
        let hidden = looks.iter().map(|(seconds, shown)| {
            let mut sight = Sight { before: before.clone(), ..Sight::default() };
            sight.holders = shown.clone().chain([0]).map(|n| (id(n), Some(n))).collect();
            let mut roster = Roster::default();
            if !shown.contains(&0) {
                roster.unseen.insert(id(0), Known::default());
            }
            memory.miss(&mut sight, (&roster, &ledger), (start + Duration::from_secs(*seconds), &Timings::default()));
            sight.hidden
        });
        hidden.collect()
    }

    #[test]
    fn those_of_whom_only_the_number_is_on_record_are_believed_in_until_they_are_seen_or_for_long() {
        assert_eq!(hidden(&[(0, 0..10), (1, 0..5)]), [0, 0], "all were seen");
        assert_eq!(hidden(&[(0, 0..5), (59, 0..5), (60, 0..5), (61, 0..4)]), [5, 5, 0, 0], "they ended meanwhile");
        assert_eq!(
            hidden(&[(0, 1..7), (60, 1..7), (3599, 1..7), (3600, 1..7)]),
            [3, 3, 3, 0],
            "not even the listed one"
        );
        assert_eq!(hidden(&[(0, 1..7), (60, 1..7), (61, 0..10)]), [3, 3, 0], "EC2 shows them again");
        assert_eq!(hidden(&[(0, 1..5), (60, 5..8), (61, 8..10)]), [5, 2, 0], "seen one by one");
        assert_eq!(hidden(&[(0, 20..21), (30, 20..21)]), [9, 9], "a new one is none of them");
    }
}
