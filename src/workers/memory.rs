//! What this process learned about an object's workers from its own calls. It is lost with the process, and no safety
//! depends on it: without it, muster only waits longer before it assumes that something is gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use crate::{
    aws::{self, Class, ec2::instance::Instance},
    clock::Timings,
    ids::{ClientToken, InstanceId, InstanceType, Role, SubnetId, Zone},
    workers::{
        adoption::AdoptionMemory,
        launch_spec::{Remembered, revisions::Revisions},
        ledger::{Ledger, settle::Standing},
        observe::{
            losses::Losses,
            missing::MissingInstances,
            observed::{LaunchFeedback, Refusal},
        },
        parameters,
        plan::pools::{Places, Pool},
    },
};

#[derive(Debug, Default)]
pub struct Memory {
    pub missing: MissingInstances,
    pub revisions: Revisions,
    pub adoption: AdoptionMemory,
    pub losses: Losses,
    pub zones: BTreeMap<SubnetId, Zone>,
    /// What the template of each role resolved to last.
    pub launch_specs: BTreeMap<Role, Remembered>,
    pub parameters: parameters::Memory,
    /// How many passes in a row changed nothing although something is pending.
    pub idle_passes: u32,
    launches: BTreeMap<ClientToken, Launch>,
    asked: BTreeMap<InstanceId, Instant>,
    /// EC2 refused to terminate these.
    pub termination_failed: BTreeMap<InstanceId, aws::Error>,
    unavailable: BTreeMap<Pool, (Instant, aws::Error)>,
    refusals: BTreeMap<String, Refused>,
}

#[derive(Debug)]
struct Launch {
    /// When this process first saw it, or last got no answer to a call for it.
    uncertain_since: Instant,
    /// Repeating the call cannot show the result: only a search after the full wait can.
    must_search: bool,
    not_before: Option<Instant>,
    found: Option<Vec<InstanceId>>,
}

#[derive(Debug)]
struct Refused {
    cause: aws::Error,
    until: Instant,
    wait: Duration,
    /// An instance was terminated right after its launch, so a launch that EC2 accepts proves nothing.
    after_launch: bool,
}

impl Memory {
    /// Starts the wait of recorded launches that are new to this process, and forgets what is settled.
    pub fn follow(&mut self, ledger: &Ledger, now: Instant) {
        self.launches.retain(|token, _| ledger.launch(token).is_some());
        for intent in &ledger.launches {
            let new = Launch { uncertain_since: now, must_search: false, not_before: None, found: None };
            self.launches.entry(intent.token.clone()).or_insert(new);
        }
        let victims = ledger.victims();
        self.asked.retain(|id, _| victims.contains(id));
        self.termination_failed.retain(|id, _| victims.contains(id));
    }

    /// `revisions` are those that may be launched now; refusals of others are forgotten.
    pub fn feedback(&mut self, revisions: &BTreeSet<String>, now: Instant, timings: &Timings) -> LaunchFeedback {
        self.unavailable.retain(|_, (until, _)| *until > now);
        let quiet = timings.sweep.saturating_mul(5);
        let is_past = |refused: &Refused| refused.after_launch && now >= refused.until + quiet;
        self.refusals.retain(|revision, refused| revisions.contains(revision) && !is_past(refused));
        let standing = |launch: &Launch| match (&launch.found, launch.must_search, launch.not_before) {
            (Some(found), true, _) => Standing::Searched(found.clone()),
            (None, true, _) => Standing::Waiting,
            (_, false, Some(time)) if time > now => Standing::Waiting,
            (_, false, _) => Standing::Repeatable,
        };
        let refusal = |refused: &Refused| Refusal { cause: refused.cause.clone(), retry: refused.until <= now };
        let is_recent =
            |(_, asked): &(&InstanceId, &Instant)| now.saturating_duration_since(**asked) < timings.describe_grace;
        LaunchFeedback {
            standing: self.launches.iter().map(|(token, launch)| (token.clone(), standing(launch))).collect(),
            unavailable: self.unavailable.iter().map(|(pool, (_, cause))| (pool.clone(), cause.clone())).collect(),
            refusals: self.refusals.iter().map(|(revision, refused)| (revision.clone(), refusal(refused))).collect(),
            asked: self.asked.iter().filter(is_recent).map(|(id, _)| id.clone()).collect(),
        }
    }

    /// When the next blocker from this feedback ends. One that has ended is no reason to reconcile.
    pub fn next_change(&self, now: Instant) -> Option<Duration> {
        let unavailable = self.unavailable.values().map(|(until, _)| *until);
        let refused = self.refusals.values().map(|refused| refused.until);
        unavailable.chain(refused).filter(|time| *time > now).min().map(|time| time.saturating_duration_since(now))
    }

    pub fn cannot_be_repeated(&mut self, token: &ClientToken) {
        self.launches.entry(token.clone()).and_modify(|launch| launch.must_search = true);
    }

    /// A call for it got no answer by `now`: it may still take effect, so the full wait begins again.
    pub fn unanswered(&mut self, token: &ClientToken, now: Instant, retry: Instant) {
        if let Some(launch) = self.launches.get_mut(token) {
            launch.uncertain_since = now;
            launch.not_before = Some(retry);
        }
    }

    pub fn not_before(&mut self, token: &ClientToken, time: Instant) {
        self.launches.entry(token.clone()).and_modify(|launch| launch.not_before = Some(time));
    }

    /// The launches whose full wait is over, so that a search is conclusive.
    pub fn searches(&self, now: Instant, timings: &Timings) -> Vec<ClientToken> {
        let due = |launch: &&Launch| {
            launch.must_search && now.saturating_duration_since(launch.uncertain_since) >= timings.settle_by_search()
        };
        self.launches.iter().filter(|(_, launch)| due(launch)).map(|(token, _)| token.clone()).collect()
    }

    pub fn found(&mut self, token: &ClientToken, ids: Vec<InstanceId>) {
        self.launches.entry(token.clone()).and_modify(|launch| launch.found = Some(ids));
    }

    pub fn launched(&mut self, revision: &str, pool: &Pool) {
        self.unavailable.remove(pool);
        self.refusals.retain(|refused, refusal| refused != revision || refusal.after_launch);
    }

    /// An instance was terminated outside muster. If its launch caused that, the next launch waits.
    pub fn lost(&mut self, instance: &Instance, places: &[&Places], moment: (Instant, Timestamp), timings: &Timings) {
        let (now, wall) = moment;
        let Some(cause) = instance.refusal(wall) else { return };
        match (cause.class, &instance.subnet, InstanceType::try_from(instance.instance_type.as_str())) {
            (Class::NoCapacity, Some(subnet), Ok(instance_type)) => {
                let pool = Pool { subnet: subnet.clone(), instance_type };
                self.mark_unavailable(&pool, places, &cause, now + timings.capacity_cooldown);
            }
            _ => {
                let Some(tags) = instance.launched_as_named() else { return };
                self.refused(tags.revision, &cause, now, timings);
                self.refusals.entry(tags.revision.into()).and_modify(|refused| refused.after_launch = true);
            }
        }
    }

    /// A pool has no capacity or, if the subnet has no free addresses, no pool of the subnet has.
    pub fn mark_unavailable(&mut self, pool: &Pool, places: &[&Places], cause: &aws::Error, until: Instant) {
        let whole_subnet = cause.code == "InsufficientFreeAddressesInSubnet";
        let pools =
            places.iter().flat_map(|places| places.pools()).filter(|other| whole_subnet && other.subnet == pool.subnet);
        for pool in pools.chain([pool.clone()]) {
            self.unavailable.insert(pool, (until, cause.clone()));
        }
    }

    /// EC2 refused a launch for a reason that another pool does not fix. The wait doubles with each refusal.
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
    fn a_rejection_whose_delay_is_over_triggers_no_immediate_reconcile() {
        let (mut memory, timings, start) = (Memory::default(), Timings::default(), Instant::now());
        let revisions = BTreeSet::from(["web-1".to_owned()]);
        memory.refused("web-1", &error(Class::InvalidInput), start, &timings);
        let wait = memory.next_change(start).unwrap();
        assert_eq!(memory.next_change(start + wait), None);
        assert!(memory.feedback(&revisions, start + wait, &timings).refusals["web-1"].retry);
    }

    #[test]
    fn the_launch_delay_grows_while_instances_are_terminated_right_after_launch() {
        use crate::{
            aws::ec2::instance::InstanceState,
            ids::{LaunchTags, Uid},
            tags::{FLEET_TAG, REVISION_TAG, ROLE_TAG},
        };
        let (mut memory, timings, mut now) = (Memory::default(), Timings::default(), Instant::now());
        let revisions = BTreeSet::from(["web-1".to_owned()]);
        let pool = Pool {
            subnet: SubnetId::try_from("subnet-0000000a").unwrap(),
            instance_type: InstanceType::try_from("m6i.large").unwrap(),
        };
        let tags = LaunchTags { role: "main", revision: "web-1", indexes: None };
        let uid = Uid::try_from("6b4d2a3e-9d0c-4f6e-8f0e-1f7a2b3c4d5e").unwrap();
        let token = ClientToken::new(&uid, 7).sealed(b"", "muster.dev:fleet=ns/web", tags);
        let dead = |code: &str| Instance {
            client_token: token.to_string(),
            subnet: Some(pool.subnet.clone()),
            instance_type: pool.instance_type.to_string(),
            launched_at: Some(Timestamp::UNIX_EPOCH),
            tags: BTreeMap::from([
                (FLEET_TAG.into(), "ns/web".into()),
                (ROLE_TAG.into(), "main".into()),
                (REVISION_TAG.into(), "web-1".into()),
            ]),
            state_reason: code.into(),
            ..Instance::sample(1, InstanceState::Terminated)
        };
        let mut waits = Vec::new();
        for _ in 0..8 {
            memory.lost(&dead("Client.InternalError"), &[], (now, Timestamp::UNIX_EPOCH), &timings);
            assert!(!memory.feedback(&revisions, now, &timings).refusals["web-1"].retry);
            let wait = memory.next_change(now).unwrap();
            waits.push(wait.as_secs());
            now += wait;
            assert!(memory.feedback(&revisions, now, &timings).refusals["web-1"].retry);
            memory.launched("web-1", &pool);
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300, 300]);
        now += timings.sweep * 5;
        assert_eq!(memory.feedback(&revisions, now, &timings).refusals.len(), 0);

        memory.lost(&dead("Server.InsufficientInstanceCapacity"), &[], (now, Timestamp::UNIX_EPOCH), &timings);
        let feedback = memory.feedback(&revisions, now, &timings);
        assert_eq!(feedback.unavailable.keys().collect::<Vec<_>>(), [&pool]);
        assert_eq!(feedback.refusals.len(), 0);
    }

    #[test]
    fn the_wait_before_a_search_starts_at_the_last_call_without_a_response() {
        use crate::crd::launches::LaunchIntent;
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
