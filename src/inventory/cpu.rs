//! The CPU utilization of the instances of an account and region, shared by all objects of the same identity.
//!
//! Each reconcile registers its request and gets the known samples. When a sample is due, that reconcile asks
//! CloudWatch for all that are due or soon will be, for all owners, so that instances that were first requested at
//! different times end up in the same call.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use crate::{
    aws::{
        Error, Session,
        cloudwatch::CloudWatch,
        cpu_samples::{CpuSample, CpuSamples, Period},
    },
    clock::{Clock, Timings},
    ids::{InstanceId, Uid},
};

/// The instances of an owner.
#[derive(Clone, Debug)]
pub struct CpuRequest<'a> {
    pub owner: &'a Uid,
    pub period: Period,
    /// The running ones.
    pub instances: BTreeSet<InstanceId>,
}

/// The known samples.
#[derive(Clone, Debug, Default)]
pub struct CpuKnown {
    pub samples: CpuSamples,
    /// Why the last call failed. The samples are then of earlier calls.
    pub failure: Option<Error>,
}

/// The samples of one account and region.
#[derive(Debug, Default)]
pub struct CpuCache {
    requests: HashMap<Uid, (Period, BTreeSet<InstanceId>)>,
    fetched: BTreeMap<InstanceId, Fetched>,
    last: Option<Instant>,
    /// When the first sample is due again.
    next: Option<Instant>,
    /// Why the last call failed, for all owners.
    failure: Option<(Instant, Error)>,
}

#[derive(Clone, Copy, Debug)]
struct Fetched {
    begun: Instant,
    sample: Option<CpuSample>,
}

/// How often CloudWatch is called. Tests use a shorter minute.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    minute: Duration,
    /// The least time between two calls.
    apart: Duration,
    /// After a failure.
    pause: Duration,
}

impl Pace {
    pub fn of(timings: &Timings) -> Self {
        Self { minute: timings.minute, apart: timings.progress, pause: timings.sweep }
    }

    fn between(self, period: Period) -> Duration {
        self.minute * period.minutes()
    }
}

impl CpuCache {
    /// The known samples for `request`, after a call if one is due.
    pub async fn refresh(&mut self, session: &Session, request: CpuRequest<'_>, pace: Pace) -> CpuKnown {
        let CpuRequest { owner, period, instances } = request;
        self.requests.insert(owner.clone(), (period, instances.clone()));
        let now = Clock.monotonic();
        let due = self.due(owner, now, pace);
        if !due.is_empty() {
            self.last = Some(now);
            let outcome = CloudWatch::new(session).cpu(&due, Clock.now()).await;
            self.keep(now, due.into_keys(), outcome, pace);
        }
        let failure = self.failure(now, pace).cloned();
        CpuKnown { samples: self.known(period, &instances, Clock.now()), failure }
    }

    /// Forgets all other owners.
    pub fn keep_only(&mut self, owners: &HashSet<Uid>) {
        if self.requests.len() > owners.len() {
            self.requests.retain(|owner, _| owners.contains(owner));
        }
    }

    /// What to request now: nothing, or all that is due and all for which half of the period has passed.
    fn due(&self, owner: &Uid, now: Instant, pace: Pace) -> BTreeMap<InstanceId, Period> {
        let too_soon = self.last.is_some_and(|last| now.saturating_duration_since(last) < pace.apart);
        if too_soon || self.failure(now, pace).is_some() {
            return BTreeMap::new();
        }
        // Most calls end here, without going through the instances of all owners.
        let new = self.requests.get(owner).is_some_and(|(_, ids)| ids.iter().any(|id| !self.fetched.contains_key(id)));
        if !new && self.next.is_none_or(|next| now < next) {
            return BTreeMap::new();
        }
        let wanted = self.wanted();
        let is_due = |id: &InstanceId, period: Period, share: f64| match self.fetched.get(id) {
            None => true,
            Some(fetched) => now.saturating_duration_since(fetched.begun) >= pace.between(period).mul_f64(share),
        };
        if !wanted.iter().any(|(id, period)| is_due(id, *period, 1.0)) {
            return BTreeMap::new();
        }
        let soon = wanted.into_iter().filter(|(id, period)| is_due(id, *period, 0.5));
        soon.map(|(id, period)| (id.clone(), period)).collect()
    }

    /// All requested instances, each with the shortest of its requested periods.
    fn wanted(&self) -> BTreeMap<&InstanceId, Period> {
        let mut wanted: BTreeMap<&InstanceId, Period> = BTreeMap::new();
        for (period, instances) in self.requests.values() {
            for id in instances {
                // An instance has one owner, except for a moment while another one adopts it.
                let shortest = wanted.entry(id).or_insert(*period);
                *shortest = (*shortest).min(*period);
            }
        }
        wanted
    }

    fn failure(&self, now: Instant, pace: Pace) -> Option<&Error> {
        let recent = self.failure.as_ref().filter(|(at, _)| now.saturating_duration_since(*at) < pace.pause);
        recent.map(|(_, error)| error)
    }

    fn keep(
        &mut self,
        begun: Instant,
        asked: impl Iterator<Item = InstanceId>,
        outcome: Result<CpuSamples, Error>,
        pace: Pace,
    ) {
        match outcome {
            Ok(samples) => {
                self.failure = None;
                for id in asked {
                    let sample = samples.get(&id).copied();
                    self.fetched.insert(id, Fetched { begun, sample });
                }
                // An instance that nobody requests any more is gone.
                let wanted: BTreeMap<_, _> =
                    self.wanted().into_iter().map(|(id, period)| (id.clone(), period)).collect();
                self.fetched.retain(|id, _| wanted.contains_key(id));
                let due = |(id, period): (&InstanceId, &Period)| {
                    self.fetched.get(id).map_or(begun, |fetched| fetched.begun + pace.between(*period))
                };
                self.next = wanted.iter().map(due).min();
            }
            Err(error) => self.failure = Some((begun, error)),
        }
    }

    /// The samples that are recent enough.
    fn known(&self, period: Period, instances: &BTreeSet<InstanceId>, now: Timestamp) -> CpuSamples {
        let fresh = |sample: &CpuSample| sample.at >= now - period.memory();
        let known = |id: &InstanceId| self.fetched.get(id)?.sample.filter(fresh);
        instances.iter().filter_map(|id| Some((id.clone(), known(id)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::Class;

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

    /// One refresh of an owner: the requested ids, which CloudWatch answers with 40 % for all.
    fn refresh(
        cache: &mut CpuCache,
        owner: usize,
        instances: impl IntoIterator<Item = usize>,
        at: Instant,
    ) -> Vec<InstanceId> {
        let instances: BTreeSet<_> = instances.into_iter().map(id).collect();
        cache.requests.insert(uid(owner), (period(5), instances));
        let due = cache.due(&uid(owner), at, PACE);
        if !due.is_empty() {
            cache.last = Some(at);
            let sample = CpuSample { percent: 40.0, at: Timestamp::UNIX_EPOCH };
            let samples = due.keys().map(|id| (id.clone(), sample)).collect();
            cache.keep(at, due.keys().cloned(), Ok(samples), PACE);
        }
        due.into_keys().collect()
    }

    fn refused(class: Class) -> Error {
        Error { operation: "cloudwatch:GetMetricData", class, code: "X".into(), message: "no".into() }
    }

    #[test]
    fn many_owners_share_one_request_per_period() {
        let (mut cache, start) = (CpuCache::default(), Instant::now());
        let mut calls = Vec::new();
        for second in (0..3600).step_by(20) {
            let at = start + Duration::from_secs(second);
            for owner in 0..10 {
                let asked = refresh(&mut cache, owner, owner * 10..owner * 10 + 10, at);
                if !asked.is_empty() {
                    calls.push((second, asked.len()));
                }
            }
        }
        // Each owner gets samples with its first call, or with the second if that is within five seconds.
        let settled: Vec<_> = calls.iter().filter(|(second, _)| *second > 600).collect();
        assert!(settled.iter().all(|(_, instances)| *instances == 100), "{calls:?}");
        assert_eq!(settled.len(), 9, "one each 5 minutes, from the 15th to the 55th: {calls:?}");
    }

    #[test]
    fn new_instances_are_requested_soon_and_then_together_with_the_others() {
        let (mut cache, start) = (CpuCache::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(refresh(&mut cache, 0, [1], at(0)), [id(1)]);
        assert_eq!(refresh(&mut cache, 0, [1, 2], at(3)), [], "too soon after the last call");
        assert_eq!(refresh(&mut cache, 0, [1, 2], at(6)), [id(2)]);
        assert_eq!(refresh(&mut cache, 0, [1, 2], at(299)), []);
        assert_eq!(refresh(&mut cache, 0, [1, 2], at(300)), [id(1), id(2)]);
        assert_eq!(refresh(&mut cache, 0, [2], at(306)), [], "nothing is due");
        assert_eq!(refresh(&mut cache, 0, [2], at(600)), [id(2)]);
        assert_eq!(cache.fetched.len(), 1, "what is gone is forgotten");
    }

    #[test]
    fn a_failure_is_returned_to_all_callers_and_retried_after_a_delay() {
        let (mut cache, start) = (CpuCache::default(), Instant::now());
        cache.keep(start, [id(1)].into_iter(), Err(refused(Class::Transient)), PACE);
        assert_eq!(cache.failure(start, PACE), Some(&refused(Class::Transient)));
        assert_eq!(refresh(&mut cache, 1, [2], start + Duration::from_secs(59)), []);
        assert_eq!(refresh(&mut cache, 1, [2], start + Duration::from_secs(60)), [id(2)]);
        assert_eq!(cache.failure(start + Duration::from_secs(60), PACE), None);
    }

    #[test]
    fn a_value_that_is_too_old_is_unknown() {
        let (mut cache, start) = (CpuCache::default(), Instant::now());
        refresh(&mut cache, 0, [1], start);
        let known = |minutes: i64| {
            let now = Timestamp::from_second(minutes * 60).unwrap();
            cache.known(period(5), &BTreeSet::from([id(1), id(2)]), now).into_keys().collect::<Vec<_>>()
        };
        assert_eq!(known(25), [id(1)]);
        assert_eq!(known(26), []);
    }
}
