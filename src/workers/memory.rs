//! What this process learned about an object's workers by its own calls. Lost with the process, and nothing that safety rests on may
//! need it to be there: without it, muster only waits longer before it believes that something is gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use crate::{
    aws::{self, Class},
    clock::Timings,
    ids::{ClientToken, InstanceId, InstanceType, Role, SubnetId, Zone},
    workers::{
        adoption::AdoptionMemory,
        advance::Advance,
        belief::Belief,
        draft::{Lessons, Refusal},
        health::Pulse,
        instance::Instance,
        ledger::Ledger,
        losses::{self, Losses},
        pools::{Places, Pool},
        revisions::Revisions,
        settle::Standing,
        supply::Supplies,
    },
};

#[derive(Debug, Default)]
pub struct Memory {
    pub belief: Belief,
    pub revisions: Revisions,
    pub pulse: Pulse,
    pub adoption: AdoptionMemory,
    /// Since when the FleetReport that tells who is ready does not exist.
    pub report_absent_since: Option<Instant>,
    pub advance: Advance,
    pub losses: Losses,
    pub zones: BTreeMap<SubnetId, Zone>,
    /// What the template of each group came to last.
    pub supplies: BTreeMap<Role, Supplies>,
    /// How often in a row nothing happened although something was awaited.
    pub idle_looks: u32,
    launches: BTreeMap<ClientToken, Launch>,
    asked: BTreeMap<InstanceId, Instant>,
    /// Of whose end for want of readiness this process has told.
    pub told: BTreeSet<InstanceId>,
    /// EC2 refused to end these.
    pub undying: BTreeMap<InstanceId, aws::Error>,
    cooling: BTreeMap<Pool, (Instant, aws::Error)>,
    refusals: BTreeMap<String, Refused>,
}

#[derive(Debug)]
struct Launch {
    /// When this process first saw it, or last had a call for it end without an answer that tells what it came to.
    uncertain_since: Instant,
    /// Repeating it tells nothing: only a search after the full wait does.
    must_search: bool,
    not_before: Option<Instant>,
    found: Option<Vec<InstanceId>>,
}

#[derive(Debug)]
struct Refused {
    cause: aws::Error,
    until: Instant,
    wait: Duration,
    /// What was launched was ended at once. Then another launch that is taken tells nothing.
    after_launch: bool,
}

impl Refused {
    fn tell(&self, now: Instant) -> Refusal {
        Refusal { cause: self.cause.clone(), retry: self.until <= now }
    }
}

impl Memory {
    /// Looks at the launches on record: those that are new to this process begin their wait, those that are settled are
    /// forgotten.
    pub fn follow(&mut self, ledger: &Ledger, now: Instant) {
        self.launches.retain(|token, _| ledger.launch(token).is_some());
        for intent in &ledger.launches {
            self.launches.entry(intent.token.clone()).or_insert(Launch {
                uncertain_since: now,
                must_search: false,
                not_before: None,
                found: None,
            });
        }
        let victims = ledger.victims();
        self.asked.retain(|id, _| victims.contains(id));
        self.undying.retain(|id, _| victims.contains(id));
    }

    /// `revisions` are those that may be launched now; refusals of others are of no interest any more.
    pub fn lessons(&mut self, revisions: &BTreeSet<String>, now: Instant, timings: &Timings) -> Lessons {
        self.cooling.retain(|_, (until, _)| *until > now);
        let quiet = timings.sweep.saturating_mul(5);
        let is_past = |refused: &Refused| refused.after_launch && now >= refused.until + quiet;
        self.refusals.retain(|revision, refused| revisions.contains(revision) && !is_past(refused));
        let standing = |launch: &Launch| match (&launch.found, launch.must_search, launch.not_before) {
            (Some(found), true, _) => Standing::Searched(found.clone()),
            (None, true, _) => Standing::Waiting,
            (_, false, Some(time)) if time > now => Standing::Waiting,
            (_, false, _) => Standing::Repeatable,
        };
        Lessons {
            standing: self.launches.iter().map(|(token, launch)| (token.clone(), standing(launch))).collect(),
            cooling: self.cooling.iter().map(|(pool, (_, cause))| (pool.clone(), cause.clone())).collect(),
            refusals: self.refusals.iter().map(|(revision, refused)| (revision.clone(), refused.tell(now))).collect(),
            asked: self
                .asked
                .iter()
                .filter(|(_, asked)| now.saturating_duration_since(**asked) < timings.describe_grace)
                .map(|(id, _)| id.clone())
                .collect(),
        }
    }

    /// When a hold that these lessons make may end. One that has ended and is not tried, because nothing is wanted any
    /// more, is no reason to look again.
    pub fn next_change(&self, now: Instant) -> Option<Duration> {
        let cooling = self.cooling.values().map(|(until, _)| *until);
        let refused = self.refusals.values().map(|refused| refused.until);
        cooling.chain(refused).filter(|time| *time > now).min().map(|time| time.saturating_duration_since(now))
    }

    pub fn cannot_be_repeated(&mut self, token: &ClientToken) {
        if let Some(launch) = self.launches.get_mut(token) {
            launch.must_search = true;
        }
    }

    /// A call for it ended at `now` without an answer: it may still take effect, so the full wait begins again.
    pub fn unanswered(&mut self, token: &ClientToken, now: Instant, retry: Instant) {
        if let Some(launch) = self.launches.get_mut(token) {
            launch.uncertain_since = now;
            launch.not_before = Some(retry);
        }
    }

    pub fn not_before(&mut self, token: &ClientToken, time: Instant) {
        if let Some(launch) = self.launches.get_mut(token) {
            launch.not_before = Some(time);
        }
    }

    /// The launches whose full wait is over, so that a search may be believed.
    pub fn searches(&self, now: Instant, timings: &Timings) -> Vec<ClientToken> {
        let due = |launch: &&Launch| {
            launch.must_search && now.saturating_duration_since(launch.uncertain_since) >= timings.settle_by_search()
        };
        self.launches.iter().filter(|(_, launch)| due(launch)).map(|(token, _)| token.clone()).collect()
    }

    pub fn found(&mut self, token: &ClientToken, ids: Vec<InstanceId>) {
        if let Some(launch) = self.launches.get_mut(token) {
            launch.found = Some(ids);
        }
    }

    pub fn launched(&mut self, revision: &str, pool: &Pool) {
        self.cooling.remove(pool);
        self.refusals.retain(|refused, refusal| refused != revision || refusal.after_launch);
    }

    /// A machine was ended without anybody's wish. Where that was its launch's fault, the next one waits.
    pub fn lost(&mut self, instance: &Instance, places: &[&Places], moment: (Instant, Timestamp), timings: &Timings) {
        let (now, wall) = moment;
        let Some(cause) = losses::refusal(instance, wall) else { return };
        match (cause.class, &instance.subnet, InstanceType::try_from(instance.instance_type.as_str())) {
            (Class::NoCapacity, Some(subnet), Ok(instance_type)) => {
                let pool = Pool { subnet: subnet.clone(), instance_type };
                self.cool(&pool, places, &cause, now + timings.capacity_cooldown);
            }
            _ => {
                self.refused(instance.revision(), &cause, now, timings);
                self.refusals.entry(instance.revision().into()).and_modify(|refused| refused.after_launch = true);
            }
        }
    }

    /// A pool has no capacity; or, where the subnet itself is full, none of its pools has.
    pub fn cool(&mut self, pool: &Pool, places: &[&Places], cause: &aws::Error, until: Instant) {
        let whole_subnet = cause.code == "InsufficientFreeAddressesInSubnet";
        let pools =
            places.iter().flat_map(|places| places.pools()).filter(|other| whole_subnet && other.subnet == pool.subnet);
        for pool in pools.chain([pool.clone()]) {
            self.cooling.insert(pool, (until, cause.clone()));
        }
    }

    /// EC2 refuses a launch for a reason that another pool does not mend. The wait doubles while it goes on.
    pub fn refused(&mut self, revision: &str, cause: &aws::Error, now: Instant, timings: &Timings) {
        let wait = match self.refusals.get(revision) {
            Some(before) if before.until > now => return,
            Some(before) => before.wait.saturating_mul(2).min(timings.sweep.saturating_mul(5)),
            None if cause.class == Class::Throttled => timings.progress,
            None => timings.progress.saturating_mul(2),
        };
        self.refusals
            .insert(revision.into(), Refused { cause: cause.clone(), until: now + wait, wait, after_launch: false });
    }

    pub fn asked(&mut self, id: &InstanceId, now: Instant) {
        self.asked.insert(id.clone(), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Uid;

    fn error(class: Class) -> aws::Error {
        aws::Error { operation: "ec2:RunInstances", class, code: "X".into(), message: "no".into() }
    }

    #[test]
    fn a_refusal_whose_wait_is_over_is_no_reason_to_look_again_at_once() {
        let (mut memory, timings, start) = (Memory::default(), Timings::default(), Instant::now());
        let revisions = BTreeSet::from(["web-1".to_owned()]);
        memory.refused("web-1", &error(Class::InvalidInput), start, &timings);
        let wait = memory.next_change(start).unwrap();
        assert_eq!(memory.next_change(start + wait), None);
        assert!(memory.lessons(&revisions, start + wait, &timings).refusals["web-1"].retry);
    }

    #[test]
    fn what_dies_at_once_waits_longer_each_time_although_ec2_takes_the_launches() {
        use crate::workers::{instance::InstanceState, ownership::REVISION_TAG};
        let (mut memory, timings, mut now) = (Memory::default(), Timings::default(), Instant::now());
        let revisions = BTreeSet::from(["web-1".to_owned()]);
        let pool = Pool {
            subnet: SubnetId::try_from("subnet-0000000a").unwrap(),
            instance_type: InstanceType::try_from("m6i.large").unwrap(),
        };
        let dead = |code: &str| Instance {
            subnet: Some(pool.subnet.clone()),
            instance_type: pool.instance_type.to_string(),
            launched_at: Some(Timestamp::UNIX_EPOCH),
            tags: BTreeMap::from([(REVISION_TAG.into(), "web-1".to_owned())]),
            state_reason: code.into(),
            ..Instance::sample(1, InstanceState::Terminated)
        };
        let mut waits = Vec::new();
        for _ in 0..8 {
            memory.lost(&dead("Client.InternalError"), &[], (now, Timestamp::UNIX_EPOCH), &timings);
            assert!(!memory.lessons(&revisions, now, &timings).refusals["web-1"].retry);
            let wait = memory.next_change(now).unwrap();
            waits.push(wait.as_secs());
            now += wait;
            assert!(memory.lessons(&revisions, now, &timings).refusals["web-1"].retry);
            memory.launched("web-1", &pool);
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300, 300]);
        now += timings.sweep * 5;
        assert_eq!(memory.lessons(&revisions, now, &timings).refusals.len(), 0);

        memory.lost(&dead("Server.InsufficientInstanceCapacity"), &[], (now, Timestamp::UNIX_EPOCH), &timings);
        let lessons = memory.lessons(&revisions, now, &timings);
        assert_eq!(lessons.cooling.keys().collect::<Vec<_>>(), [&pool]);
        assert_eq!(lessons.refusals.len(), 0);
    }

    #[test]
    fn the_wait_for_a_search_begins_with_the_last_call_that_had_no_answer() {
        use crate::workers::launch::LaunchIntent;
        let (mut memory, timings, start) = (Memory::default(), Timings::default(), Instant::now());
        let uid = Uid::try_from("6b4d2a3e-9d0c-4f6e-8f0e-1f7a2b3c4d5e").unwrap();
        let intent = LaunchIntent::sample(ClientToken::new(&uid, 7), 1);
        let ledger = Ledger { launches: vec![intent.clone()], ..Ledger::default() };
        memory.follow(&ledger, start);
        let last = start + timings.settle_by_search();
        memory.unanswered(&intent.token, last, last + timings.progress);
        memory.cannot_be_repeated(&intent.token);
        assert_eq!(memory.searches(last, &timings), []);
        assert_eq!(memory.searches(last + timings.settle_by_search(), &timings), [intent.token]);
    }
}
