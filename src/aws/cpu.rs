//! One shared look at how busy the machines of an account and region are, however many objects want to know.
//!
//! Whoever wants to know says so again at each of its looks, and gets what is known. Whoever finds that something is due
//! asks CloudWatch for all that is due or soon will be, of everybody, so that machines that were first asked for at
//! different moments come to be asked for together.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use crate::{
    aws::{Class, Error, Session, cloudwatch::CloudWatch},
    clock::{Clock, Timings},
    ids::{InstanceId, Uid},
    workers::cpu::{CpuSample, CpuSamples, Period},
};

/// Whose machines somebody wants to know of.
#[derive(Clone, Debug)]
pub struct CpuWish<'a> {
    pub owner: &'a Uid,
    pub period: Period,
    /// Those that run.
    pub machines: BTreeSet<InstanceId>,
}

/// What is known.
#[derive(Clone, Debug, Default)]
pub struct CpuKnown {
    pub samples: CpuSamples,
    /// Why the last look failed. The samples are of earlier looks, then.
    pub failure: Option<Error>,
}

/// What one account and region is known of.
#[derive(Debug, Default)]
pub(super) struct CpuLane {
    wishes: HashMap<Uid, (Period, BTreeSet<InstanceId>)>,
    looked: BTreeMap<InstanceId, Looked>,
    last: Option<Instant>,
    /// When the first of those that were looked at is due again.
    next: Option<Instant>,
    /// Why the last look failed, for everybody.
    failure: Option<(Instant, Error)>,
    /// A denial is only for those who got it.
    denied: HashMap<Uid, (Instant, Error)>,
}

#[derive(Clone, Copy, Debug)]
struct Looked {
    begun: Instant,
    sample: Option<CpuSample>,
}

/// How often one asks. A minute is one of the periods, shorter in tests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    minute: Duration,
    /// Between two looks, however much is due.
    apart: Duration,
    /// After a failure.
    pause: Duration,
}

impl Pace {
    pub(super) fn of(timings: &Timings) -> Self {
        Self { minute: timings.minute, apart: timings.progress, pause: timings.sweep }
    }

    fn between(self, period: Period) -> Duration {
        self.minute * period.minutes()
    }
}

impl CpuLane {
    /// What is known of `wish`, after a look if one is due.
    pub(super) async fn look(&mut self, session: &Session, wish: CpuWish<'_>, pace: Pace) -> CpuKnown {
        let (owner, period, machines) = (wish.owner.clone(), wish.period, wish.machines);
        self.wishes.insert(owner.clone(), (period, machines.clone()));
        let now = Clock.monotonic();
        let due = self.due(&owner, now, pace);
        if !due.is_empty() {
            self.last = Some(now);
            let outcome = CloudWatch::new(session).cpu(&due, Clock.now()).await;
            self.keep(&owner, now, due.into_keys(), outcome, pace);
        }
        let failure = self.failure(&owner, now, pace).cloned();
        CpuKnown { samples: self.known(period, &machines, Clock.now()), failure }
    }

    /// Forgets everybody else.
    pub(super) fn keep_only(&mut self, wishing: &HashSet<Uid>) {
        if self.wishes.len() + self.denied.len() > wishing.len() {
            self.wishes.retain(|owner, _| wishing.contains(owner));
            self.denied.retain(|owner, _| wishing.contains(owner));
        }
    }

    /// What to ask for now: nothing, or all that is due, with what will be due within half of its time.
    fn due(&self, owner: &Uid, now: Instant, pace: Pace) -> BTreeMap<InstanceId, Period> {
        let too_soon = self.last.is_some_and(|last| now.saturating_duration_since(last) < pace.apart);
        if too_soon || self.failure(owner, now, pace).is_some() {
            return BTreeMap::new();
        }
        // Most looks end here, without going through the machines of all others.
        let new = self.wishes.get(owner).is_some_and(|(_, ids)| ids.iter().any(|id| !self.looked.contains_key(id)));
        if !new && self.next.is_none_or(|next| now < next) {
            return BTreeMap::new();
        }
        let wanted = self.wanted();
        let share = |id: &InstanceId, period: Period| match self.looked.get(id) {
            None => f64::INFINITY,
            Some(looked) => {
                let waited = now.saturating_duration_since(looked.begun).as_secs_f64();
                waited / pace.between(period).as_secs_f64().max(f64::MIN_POSITIVE)
            }
        };
        let shares: Vec<_> = wanted.into_iter().map(|(id, period)| (id, period, share(id, period))).collect();
        if !shares.iter().any(|(_, _, share)| *share >= 1.0) {
            return BTreeMap::new();
        }
        let soon = shares.into_iter().filter(|(_, _, share)| *share >= 0.5);
        soon.map(|(id, period, _)| (id.clone(), period)).collect()
    }

    /// All machines that anybody wishes to know of, with the shortest period that is asked for.
    fn wanted(&self) -> BTreeMap<&InstanceId, Period> {
        let mut wanted: BTreeMap<&InstanceId, Period> = BTreeMap::new();
        for (period, machines) in self.wishes.values() {
            for id in machines {
                // One machine has one owner, but for a moment when it passes from one to another.
                let shortest = wanted.entry(id).or_insert(*period);
                *shortest = (*shortest).min(*period);
            }
        }
        wanted
    }

    fn failure(&self, owner: &Uid, now: Instant, pace: Pace) -> Option<&Error> {
        let holds = |(at, _): &&(Instant, Error)| now.saturating_duration_since(*at) < pace.pause;
        let failure = self.denied.get(owner).filter(holds).or_else(|| self.failure.as_ref().filter(holds));
        failure.map(|(_, error)| error)
    }

    fn keep(
        &mut self,
        owner: &Uid,
        begun: Instant,
        asked: impl Iterator<Item = InstanceId>,
        outcome: Result<CpuSamples, Error>,
        pace: Pace,
    ) {
        match outcome {
            Ok(samples) => {
                self.failure = None;
                self.denied.remove(owner);
                for id in asked {
                    let sample = samples.get(&id).copied();
                    self.looked.insert(id, Looked { begun, sample });
                }
                // What nobody asks for any more has gone.
                let wanted: BTreeMap<InstanceId, Period> =
                    self.wanted().into_iter().map(|(id, period)| (id.clone(), period)).collect();
                self.looked.retain(|id, _| wanted.contains_key(id));
                let due = wanted.iter().map(|(id, period)| match self.looked.get(id) {
                    Some(looked) => looked.begun + pace.between(*period),
                    None => begun,
                });
                self.next = due.min();
            }
            Err(error) if error.class == Class::Denied => {
                self.denied.insert(owner.clone(), (begun, error));
            }
            Err(error) => self.failure = Some((begun, error)),
        }
    }

    /// Without what is too old to tell anything.
    fn known(&self, period: Period, machines: &BTreeSet<InstanceId>, now: Timestamp) -> CpuSamples {
        let fresh = |sample: &CpuSample| sample.at >= now - period.memory();
        let known = |id: &InstanceId| self.looked.get(id)?.sample.filter(fresh);
        machines.iter().filter_map(|id| Some((id.clone(), known(id)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace =
        Pace { minute: Duration::from_secs(60), apart: Duration::from_secs(5), pause: Duration::from_secs(60) };

    fn uid(n: usize) -> Uid {
        Uid::try_from(format!("6b4d2a3e-9d0c-4f6e-8f0e-{n:012x}")).unwrap()
    }

    fn id(n: usize) -> InstanceId {
        InstanceId::try_from(format!("i-{n:017x}")).unwrap()
    }

    fn period(minutes: u64) -> Period {
        Period::try_from(Duration::from_secs(minutes * 60)).unwrap()
    }

    /// An owner looks: what is asked for, and answered with 40 % for all.
    fn look(
        lane: &mut CpuLane,
        owner: usize,
        machines: impl IntoIterator<Item = usize>,
        at: Instant,
    ) -> Vec<InstanceId> {
        let machines: BTreeSet<_> = machines.into_iter().map(id).collect();
        lane.wishes.insert(uid(owner), (period(5), machines));
        let due = lane.due(&uid(owner), at, PACE);
        if !due.is_empty() {
            lane.last = Some(at);
            let sample = CpuSample { percent: 40.0, at: Timestamp::UNIX_EPOCH };
            let samples = due.keys().map(|id| (id.clone(), sample)).collect();
            lane.keep(&uid(owner), at, due.keys().cloned(), Ok(samples), PACE);
        }
        due.into_keys().collect()
    }

    fn refused(class: Class) -> Error {
        Error { operation: "cloudwatch:GetMetricData", class, code: "X".into(), message: "no".into() }
    }

    #[test]
    fn many_owners_make_one_look_a_period() {
        let (mut lane, start) = (CpuLane::default(), Instant::now());
        let mut looks = Vec::new();
        for second in (0..3600).step_by(20) {
            let at = start + Duration::from_secs(second);
            for owner in 0..10 {
                let asked = look(&mut lane, owner, owner * 10..owner * 10 + 10, at);
                if !asked.is_empty() {
                    looks.push((second, asked.len()));
                }
            }
        }
        // Each owner comes to know of its machines at its first look, or at the second if that is within five seconds.
        let settled: Vec<_> = looks.iter().filter(|(second, _)| *second > 600).collect();
        assert!(settled.iter().all(|(_, machines)| *machines == 100), "{looks:?}");
        assert_eq!(settled.len(), 9, "one each 5 minutes, from the 15th to the 55th: {looks:?}");
    }

    #[test]
    fn new_machines_are_asked_for_soon_and_then_together_with_the_others() {
        let (mut lane, start) = (CpuLane::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(look(&mut lane, 0, [1], at(0)), [id(1)]);
        assert_eq!(look(&mut lane, 0, [1, 2], at(3)), [], "too soon after the last look");
        assert_eq!(look(&mut lane, 0, [1, 2], at(6)), [id(2)]);
        assert_eq!(look(&mut lane, 0, [1, 2], at(299)), []);
        assert_eq!(look(&mut lane, 0, [1, 2], at(300)), [id(1), id(2)]);
        assert_eq!(look(&mut lane, 0, [2], at(306)), [], "nothing is due");
        assert_eq!(look(&mut lane, 0, [2], at(600)), [id(2)]);
        assert_eq!(lane.looked.len(), 1, "what has gone is forgotten");
    }

    #[test]
    fn a_failure_is_told_to_all_and_tried_again_after_a_pause() {
        let (mut lane, start) = (CpuLane::default(), Instant::now());
        lane.keep(&uid(0), start, [id(1)].into_iter(), Err(refused(Class::Transient)), PACE);
        assert_eq!(lane.failure(&uid(1), start, PACE), Some(&refused(Class::Transient)));
        assert_eq!(look(&mut lane, 1, [2], start + Duration::from_secs(59)), []);
        assert_eq!(look(&mut lane, 1, [2], start + Duration::from_secs(60)), [id(2)]);
        assert_eq!(lane.failure(&uid(0), start + Duration::from_secs(60), PACE), None);
    }

    #[test]
    fn a_denial_holds_back_only_who_got_it() {
        let (mut lane, start) = (CpuLane::default(), Instant::now());
        lane.keep(&uid(0), start, [id(1)].into_iter(), Err(refused(Class::Denied)), PACE);
        assert_eq!(lane.failure(&uid(0), start, PACE), Some(&refused(Class::Denied)));
        assert_eq!(lane.failure(&uid(1), start, PACE), None);
        assert_eq!(look(&mut lane, 0, [1], start), []);
        assert_eq!(look(&mut lane, 1, [2], start), [id(1), id(2)]);
    }

    #[test]
    fn what_is_too_old_is_unknown() {
        let (mut lane, start) = (CpuLane::default(), Instant::now());
        look(&mut lane, 0, [1], start);
        let known = |minutes: i64| {
            let now = Timestamp::from_second(minutes * 60).unwrap();
            lane.known(period(5), &BTreeSet::from([id(1), id(2)]), now).into_keys().collect::<Vec<_>>()
        };
        assert_eq!(known(25), [id(1)]);
        assert_eq!(known(26), []);
    }
}
