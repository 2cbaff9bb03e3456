//! Which instance runs which index, and how earlier instances ended.
//!
//! EC2 is the source: an instance has the indexes of its launch as a tag, and its launch index selects its own. What is
//! remembered here only bridges the time until EC2 reports that an instance has ended.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use crate::{
    aws::{
        self,
        ec2::instance::{Described, Instance, InstanceState},
    },
    clock::Timings,
    crd::{indexes::Indexes, launches::LaunchIntent},
    ids::InstanceId,
    inventory::ownership::{Owner, Ownership},
    kinds::worker_job::results::{Cache, Results, UNKNOWN},
    workers::{
        ledger::{Ledger, progress::Progress},
        observe::instances::ObservedInstances,
    },
};

/// What a job observes besides its instances.
#[derive(Clone, Debug, Default)]
pub struct JobObservation {
    /// The progress on record at the observation. A plan starts from it, so that planning twice counts nothing twice.
    pub before: Progress,
    /// The instances that run or may run an index, including those that shut down. `None`: the index is unknown.
    pub(super) holders: BTreeMap<InstanceId, Option<u32>>,
    /// The instances that have ended for certain and are not accounted for.
    pub(super) ends: Vec<End>,
    /// The indexes of open launches whose instances are not known yet.
    pub(super) launching: BTreeSet<u32>,
    pub(super) results: Results,
    /// Why the results are not known.
    pub(super) unread: Option<aws::Error>,
    /// Instances that their index has not needed for the exit grace period.
    pub(super) lingering: BTreeSet<InstanceId>,
    /// Indexes that wait before they are run again.
    pub(super) resting: BTreeSet<u32>,
    /// The number of instances that were on record when this process started and that it has not seen.
    pub(super) hidden: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub id: InstanceId,
    pub index: Option<u32>,
    /// The code of EC2's StateReason; empty if EC2 no longer reports it.
    pub reason: String,
}

/// What this process remembers of a job. Lost with the process.
#[derive(Debug, Default)]
pub(super) struct Memory {
    holders: BTreeMap<InstanceId, Option<u32>>,
    /// The holders and the launched instances that the record listed when it was last read.
    listed: BTreeSet<InstanceId>,
    /// Missing instances that have left the record, so that they are accounted for.
    accounted: BTreeSet<InstanceId>,
    /// What the last observation started with: the progress on record, and the ends that it did not include.
    begun: Option<(Progress, BTreeSet<InstanceId>)>,
    /// The progress that followed from the last observation.
    expected: Option<Progress>,
    /// Since when an instance is known to be no longer needed.
    done_since: BTreeMap<InstanceId, Instant>,
    /// The holders that were shutting down when they were last shown. They may still write a result.
    leaving: BTreeSet<InstanceId>,
    /// Since when a holder is not shown.
    missing_since: BTreeMap<InstanceId, Instant>,
    rests: BTreeMap<u32, Rest>,
    /// `None` before the first observation.
    beginning: Option<Beginning>,
    /// The results that were read, by key.
    pub(super) read: Cache,
    /// The indexes of instances that only keys of results named, by EC2's answer for their ids; `None` if they are not of
    /// this job.
    pub(super) proven: BTreeMap<InstanceId, Option<u32>>,
}

/// The instances on record when this process started.
#[derive(Debug)]
struct Beginning {
    at: Instant,
    /// The number of instances. A long list is truncated.
    were: u32,
    /// Those that were seen, running or ended.
    seen: BTreeSet<InstanceId>,
    /// Instances that were launched since.
    launched: BTreeSet<InstanceId>,
}

#[derive(Clone, Copy, Debug)]
struct Rest {
    until: Instant,
    wait: Duration,
}

impl JobObservation {
    /// Adds the results that count. A sealed instance that holds its index no more has ended, and its end is accounted for
    /// with its result.
    pub(super) fn take(&mut self, results: Results) {
        let is_open = |id: &InstanceId| self.holders.contains_key(id) || self.ends.iter().any(|end| &end.id == id);
        let sealed = results.all().map(|(key, _)| key).filter(|key| self.before.is_sealed(key.index, &key.instance));
        let ended = sealed.filter(|key| !is_open(&key.instance));
        let ended = ended.map(|key| End { id: key.instance, index: Some(key.index), reason: String::new() });
        let ended: Vec<_> = ended.collect();
        self.ends.extend(ended);
        self.results = results;
    }
}

impl Memory {
    /// Takes in what EC2 shows. Returns the instances to describe by id: those that are no longer shown.
    pub(super) fn follow(
        &mut self,
        instances: &ObservedInstances,
        ledger: &Ledger,
        before: &Progress,
    ) -> Vec<InstanceId> {
        // A record that this process wrote since includes these ends; if the record is as the last observation
        // expected, they changed nothing.
        let on_record = |then: &Progress| then != before || self.expected.as_ref() == Some(before);
        if let Some((_, accounted)) = self.begun.take().filter(|(then, _)| on_record(then)) {
            self.holders.retain(|id, _| !accounted.contains(id));
        }
        self.expected = None;
        // A newer record accounts for the instances that only an older one lists, unless EC2 shows them.
        let launched: BTreeSet<_> = ledger.launches.iter().flat_map(|intent| &intent.instance_ids).collect();
        let listed = before.holders.keys().chain(launched.iter().copied()).cloned().collect();
        let before_that = std::mem::replace(&mut self.listed, listed);
        if before.unlisted == 0 {
            self.accounted.extend(before_that);
        }
        self.accounted.retain(|id| !self.listed.contains(id) && !instances.shown.contains_key(id));
        self.holders.retain(|id, _| !self.accounted.contains(id));
        self.accounted.retain(|id| instances.missing.contains_key(id));
        // The holders that another process knew. They are accounted for when they leave the record.
        for (id, index) in &before.holders {
            let known = self.holders.entry(id.clone()).or_default();
            *known = known.or(*index);
        }
        for (id, worker) in &instances.shown {
            if worker.instance.state != InstanceState::Terminated {
                let known = self.holders.get(id).copied().flatten();
                self.holders.insert(id.clone(), known.or_else(|| index_of(&worker.instance, ledger)));
            }
            if worker.instance.state == InstanceState::ShuttingDown {
                self.leaving.insert(id.clone());
            }
        }
        self.leaving.retain(|id| self.holders.contains_key(id));
        for id in instances.missing.keys().filter(|id| !launched.contains(id) && !self.accounted.contains(*id)) {
            self.holders.entry(id.clone()).or_insert(None);
        }
        let shown = |id: &InstanceId| {
            instances.missing.contains_key(id)
                || instances.shown.get(id).is_some_and(|m| m.instance.state != InstanceState::Terminated)
        };
        // Those that ended before they were observed as holders.
        let ended_early = launched.iter().copied().filter(|id| instances.is_over(id));
        // Ends are counted in the write that removes their launch from the record. Earlier, each observation until then
        // would count them again.
        let unsettled = |intent: &&LaunchIntent| !intent.instance_ids.iter().all(|id| instances.is_settled(id));
        let unsettled: BTreeSet<_> =
            ledger.launches.iter().filter(unsettled).flat_map(|intent| &intent.instance_ids).collect();
        let asked = self.holders.keys().chain(ended_early).filter(|id| !shown(id) && !unsettled.contains(id));
        BTreeSet::from_iter(asked.cloned()).into_iter().collect()
    }

    /// Combines what is observed. `described` is the answer for the ids that [`Memory::follow`] returned. An instance
    /// that was shutting down and is not shown has ended after the grace period; `gone` are the instances that have
    /// ended by the rules for all others.
    pub(super) fn see(
        &mut self,
        (asked, described): (&[InstanceId], &Described),
        gone: &BTreeSet<InstanceId>,
        ledger: &Ledger,
        before: Progress,
        (now, grace): (Instant, Duration),
    ) -> JobObservation {
        let shown = |id: &InstanceId| described.get(id).is_some_and(Option::is_some);
        self.missing_since.retain(|id, _| asked.contains(id) && !shown(id));
        // The answer of a launch may still name instances that have ended, so these are counted after it.
        let unanswered = || ledger.launches.iter().filter(|intent| intent.instance_ids.is_empty());
        let may_be_named = |instance: &Instance| unanswered().any(|i| i.token.as_str() == instance.client_token);
        let mut holders = self.holders.clone();
        let mut ends = Vec::new();
        for id in asked {
            let known = holders.get(id).copied().flatten().or_else(|| ledger.index_of_launched(id));
            match described.get(id) {
                Some(Some(instance)) if instance.state != InstanceState::Terminated || may_be_named(instance) => {
                    holders.insert(id.clone(), known.or_else(|| index_of(instance, ledger)));
                }
                Some(Some(instance)) => {
                    holders.remove(id);
                    let index = known.or_else(|| index_of(instance, ledger));
                    ends.push(End { id: id.clone(), index, reason: instance.state_reason.clone() });
                }
                answer @ (Some(None) | None) => {
                    let since = *self.missing_since.entry(id.clone()).or_insert(now);
                    // An id that is left out of the answer is not reported as unknown.
                    let overdue = answer.is_some() && now.saturating_duration_since(since) >= grace;
                    let is_gone = gone.contains(id) && !self.leaving.contains(id);
                    if (is_gone || overdue) && unanswered().next().is_none() {
                        holders.remove(id);
                        ends.push(End { id: id.clone(), index: known, reason: String::new() });
                    }
                }
            }
        }
        self.begun = Some((before.clone(), ends.iter().map(|end| end.id.clone()).collect()));
        let launching = ledger.launches.iter().filter_map(|intent| intent.indexes.as_ref()).flat_map(Indexes::iter);
        let launching = launching.collect();
        JobObservation { before, holders, ends, launching, ..JobObservation::default() }
    }

    /// The instances that only keys of results name and that EC2 was not asked about, unless these were too many already.
    /// A record that was lost or is older than its instances does not know them.
    pub(super) fn unproven(&self, named: &BTreeSet<InstanceId>) -> Vec<InstanceId> {
        let room = UNKNOWN.saturating_sub(self.proven.len());
        named.iter().filter(|id| !self.proven.contains_key(*id)).take(room).cloned().collect()
    }

    /// Takes in EC2's answer for the ids that [`Memory::unproven`] returned. Returns whether one is of `owner`.
    pub(super) fn prove(&mut self, asked: Vec<InstanceId>, found: &[Instance], owner: &Owner, ledger: &Ledger) -> bool {
        let index = |id: &InstanceId| {
            let instance = found.iter().find(|instance| &instance.id == id)?;
            let owned = owner.claim(instance, &BTreeSet::new()) == Ownership::Owned;
            owned.then(|| index_of(instance, ledger)).flatten()
        };
        let answers: Vec<_> = asked.into_iter().map(|id| (index(&id), id)).collect();
        let any = answers.iter().any(|(index, _)| index.is_some());
        self.proven.extend(answers.into_iter().map(|(index, id)| (id, index)));
        any
    }

    /// Without results the state of an index is unknown, so ended instances keep holding theirs. Deadlines and the
    /// number of workers need no results.
    pub(super) fn cannot_read(&mut self, observation: &mut JobObservation, error: aws::Error) {
        self.begun = None;
        observation.holders.extend(observation.ends.drain(..).map(|end| (end.id, end.index)));
        observation.unread = Some(error);
    }

    /// Counts the instances on record at the start of this process that it has not seen since. They are presumed to
    /// exist for the grace period, in which instances that ended meanwhile disappear; and for as long as listed
    /// instances are missing from EC2, too, because then the cause is probably not the instances.
    pub(super) fn miss(
        &mut self,
        observation: &mut JobObservation,
        (instances, ledger): (&ObservedInstances, &Ledger),
        (now, timings): (Instant, &Timings),
    ) {
        let beginning = self.beginning.get_or_insert_with(|| Beginning {
            at: now,
            were: observation.before.holders.len() as u32 + observation.before.unlisted,
            seen: observation.before.holders.keys().cloned().collect(),
            launched: BTreeSet::new(),
        });
        let answered = ledger.launches.iter().flat_map(|intent| &intent.instance_ids);
        let launched = ledger.launches.iter().flat_map(|intent| instances.launched_with(&intent.token));
        let launched = answered.chain(launched.map(|worker| &worker.instance.id));
        beginning.launched.extend(launched.filter(|id| !beginning.seen.contains(*id)).cloned());
        let shown = observation.holders.keys().chain(observation.ends.iter().map(|end| &end.id));
        beginning.seen.extend(shown.filter(|id| !beginning.launched.contains(*id)).cloned());
        let listed_are_missing = observation.before.holders.keys().any(|id| instances.missing.contains_key(id));
        let patience = if listed_are_missing { timings.overdue } else { timings.describe_grace };
        if now.saturating_duration_since(beginning.at) < patience {
            observation.hidden = beginning.were.saturating_sub(beginning.seen.len() as u32);
        } else {
            beginning.were = 0;
        }
    }

    /// Remembers since when instances are no longer needed, and selects those that had enough time to exit. An index
    /// whose instance ended without a result waits longer each time before it is run again.
    pub(super) fn wait(&mut self, observation: &mut JobObservation, now: Instant, grace: Duration) {
        let done = |id: &InstanceId, index: u32| {
            observation.before.is_final(index) || observation.results.of(index, id).is_some()
        };
        let done = observation.holders.iter().filter(|(id, index)| index.is_some_and(|index| done(id, index)));
        let done: BTreeSet<_> = done.map(|(id, _)| id.clone()).collect();
        self.done_since.retain(|id, _| done.contains(id));
        for id in done {
            let since = *self.done_since.entry(id.clone()).or_insert(now);
            if now.saturating_duration_since(since) >= grace {
                observation.lingering.insert(id);
            }
        }
        self.rests.retain(|index, _| !observation.before.is_final(*index));
        observation.resting = self.rests.iter().filter(|(_, rest)| rest.until > now).map(|(index, _)| *index).collect();
    }

    /// Remembers the progress that followed from an observation.
    pub(super) fn told(&mut self, observation: &JobObservation, progress: &Progress, now: Instant, timings: &Timings) {
        for index in observation.ends.iter().filter_map(|end| end.index) {
            let wait = self.rests.get(&index).map_or(timings.progress, |rest| rest.wait.saturating_mul(2));
            let wait = wait.min(timings.sweep.saturating_mul(5));
            self.rests.insert(index, Rest { until: now + wait, wait });
        }
        self.expected = Some(progress.clone());
    }
}

/// The index that an instance runs, by its launch. The record of the launch decides and, once that is gone, the tag if it
/// is the one of the launch.
pub(super) fn index_of(instance: &Instance, ledger: &Ledger) -> Option<u32> {
    let intent = ledger.launches.iter().find(|intent| intent.token.as_str() == instance.client_token);
    let indexes = match intent.and_then(|intent| intent.indexes.clone()) {
        Some(indexes) => indexes,
        None => instance.launched_as_named()?.indexes?.parse::<Indexes>().ok()?,
    };
    indexes.nth(instance.launch_index)
}

#[cfg(test)]
mod tests;
