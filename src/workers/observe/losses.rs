//! Instances that were terminated outside muster or that lost their tags, as far as this process saw it. They are
//! reported, and launches that fail at once are delayed. No other decision depends on this. Pure.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use crate::{
    aws::ec2::instance::Instance,
    ids::{InstanceId, list},
};

/// How many terminations are remembered, and how many untagged instances.
const REMEMBERED: usize = 100;
const LATELY: Duration = Duration::from_hours(1);
/// How many ids are named for each reason.
const NAMED: usize = 5;

#[derive(Debug, Default)]
pub struct Losses {
    /// The instances that were over at the last observation. `None` before the first one.
    over: Option<BTreeSet<InstanceId>>,
    lately: VecDeque<Lost>,
    /// Running instances without the tags of their owner, and whether they were reported.
    untagged: BTreeMap<InstanceId, bool>,
}

#[derive(Debug)]
struct Lost {
    id: InstanceId,
    reason: String,
    at: Instant,
    reported: bool,
}

impl Losses {
    /// Records the instances that are `over`, and returns those lost since the last call. muster terminated `victims`.
    pub fn note<'a>(
        &mut self,
        over: impl Iterator<Item = &'a Instance>,
        victims: &BTreeSet<InstanceId>,
        now: Instant,
    ) -> Vec<&'a Instance> {
        let over: BTreeMap<_, _> = over.map(|instance| (instance.id.clone(), instance)).collect();
        let ids: BTreeSet<_> = over.keys().cloned().collect();
        // It is not known who terminated instances that were over before this process started.
        let before = self.over.replace(ids.clone()).unwrap_or(ids);
        let new: Vec<_> = over.into_values().filter(|i| !before.contains(&i.id) && !victims.contains(&i.id)).collect();
        for instance in &new {
            let lost = Lost { id: instance.id.clone(), reason: reason(instance), at: now, reported: false };
            self.lately.push_back(lost);
        }
        let excess = self.lately.len().saturating_sub(REMEMBERED);
        self.lately.drain(..excess);
        new
    }

    /// The instances that were lost within the hour, with reasons; empty if there are none.
    pub fn lately(&self, now: Instant) -> String {
        words(self.lately.iter().filter(|lost| now.saturating_duration_since(lost.at) < LATELY))
    }

    /// The same for those that were not reported yet. It marks them as reported.
    pub fn newly_lost(&mut self) -> String {
        let new = words(self.lately.iter().filter(|lost| !lost.reported));
        self.lately.iter_mut().for_each(|lost| lost.reported = true);
        new
    }

    /// The instances to describe by id, since no sweep shows them.
    pub fn untagged(&self) -> impl Iterator<Item = &InstanceId> {
        self.untagged.keys()
    }

    /// Replaces the untagged instances: one that is not in `found` is terminated or has its tags again.
    pub fn note_untagged(&mut self, found: BTreeSet<InstanceId>) {
        self.untagged.retain(|id, _| found.contains(id));
        let room = REMEMBERED.saturating_sub(self.untagged.len());
        let new: Vec<_> = found.into_iter().filter(|id| !self.untagged.contains_key(id)).take(room).collect();
        self.untagged.extend(new.into_iter().map(|id| (id, false)));
    }

    /// The untagged instances that were not reported yet. It marks them as reported.
    pub fn newly_untagged(&mut self) -> Vec<InstanceId> {
        let all = self.untagged.iter_mut();
        all.filter_map(|(id, reported)| (!std::mem::replace(reported, true)).then(|| id.clone())).collect()
    }
}

fn reason(instance: &Instance) -> String {
    let (code, message) = (&instance.state_reason, &instance.state_reason_message);
    match (code.is_empty(), message.is_empty() || message.starts_with(code.as_str())) {
        (true, true) => "EC2 gives no reason".into(),
        (_, true) if message.is_empty() => code.clone(),
        (_, true) => message.clone(),
        (_, false) => format!("{code}: {message}"),
    }
}

fn words<'a>(lost: impl Iterator<Item = &'a Lost>) -> String {
    let mut by_reason: BTreeMap<&str, Vec<&InstanceId>> = BTreeMap::new();
    for lost in lost {
        by_reason.entry(&lost.reason).or_default().push(&lost.id);
    }
    let named = by_reason.into_iter().map(|(why, ids)| format!("{} ({why})", list(ids.into_iter(), NAMED)));
    named.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::aws::{Class, ec2::instance::InstanceState};

    fn id(n: u32) -> InstanceId {
        InstanceId::try_from(format!("i-{n:08x}")).unwrap()
    }

    fn ended(n: u32, code: &str, message: &str) -> Instance {
        Instance {
            launched_at: Some(Timestamp::from_second(1_000).unwrap()),
            state_reason: code.into(),
            state_reason_message: message.into(),
            ..Instance::sample(n, InstanceState::ShuttingDown)
        }
    }

    #[test]
    fn each_loss_is_reported_once_and_kept_for_an_hour() {
        let (mut losses, begun, none) = (Losses::default(), Instant::now(), BTreeSet::new());
        let before = ended(1, "Client.UserInitiatedShutdown", "");
        let dead = ended(2, "Client.InternalError", "Client.InternalError: Client error on launch");
        let taken = ended(3, "Server.SpotInstanceTermination", "Spot instance termination");
        let ours = ended(4, "Client.UserInitiatedShutdown", "");
        assert_eq!(losses.note([&before].into_iter(), &none, begun).len(), 0, "it ended before this process started");
        let victims = BTreeSet::from([id(4)]);
        let new = losses.note([&before, &dead, &ours].into_iter(), &victims, begun);
        assert_eq!(new, [&dead]);
        // The victim is removed from the record, and is still shutting down.
        let later = begun + Duration::from_mins(1);
        assert_eq!(losses.note([&dead, &taken, &ours].into_iter(), &none, later), [&taken]);
        let (first, second) = (
            "i-00000002 (Client.InternalError: Client error on launch)",
            "i-00000003 (Server.SpotInstanceTermination: Spot instance termination)",
        );
        assert_eq!(losses.newly_lost(), format!("{first}, {second}"));
        assert_eq!(losses.newly_lost(), "");
        assert_eq!(losses.lately(later), format!("{first}, {second}"));
        assert_eq!(losses.lately(begun + LATELY), second);
        assert_eq!(losses.lately(later + LATELY), "");
    }

    #[test]
    fn the_kept_losses_are_bounded() {
        let (mut losses, none) = (Losses::default(), BTreeSet::new());
        losses.note([].into_iter(), &none, Instant::now());
        let many: Vec<_> = (0..500).map(|n| ended(n, "Server.InternalError", "")).collect();
        assert_eq!(losses.note(many.iter(), &none, Instant::now()).len(), 500);
        losses.note_untagged((0..500).map(id).collect());
        assert_eq!((losses.lately.len(), losses.untagged.len()), (REMEMBERED, REMEMBERED));
        assert!(losses.newly_lost().ends_with(" and 95 more (Server.InternalError)"));
    }

    #[test]
    fn an_untagged_worker_is_reported_once_and_named_until_it_ends_or_is_tagged_again() {
        let mut losses = Losses::default();
        losses.note_untagged(BTreeSet::from([id(1)]));
        assert_eq!((losses.newly_untagged(), losses.newly_untagged()), (vec![id(1)], vec![]));
        losses.note_untagged(BTreeSet::from([id(1), id(2)]));
        assert_eq!(losses.newly_untagged(), [id(2)]);
        losses.note_untagged(BTreeSet::from([id(2)]));
        assert_eq!(losses.untagged().collect::<Vec<_>>(), [&id(2)]);
    }

    #[test]
    fn a_termination_right_after_the_launch_counts_as_a_rejection() {
        for (code, age, expected) in [
            ("Client.InternalError", 20, Some(Class::InvalidInput)),
            ("Client.VolumeLimitExceeded", 20, Some(Class::InvalidInput)),
            ("Client.InvalidSnapshot.NotFound", 20, Some(Class::InvalidInput)),
            ("Client.InternalError", 3600, None),
            ("Server.InsufficientInstanceCapacity", 20, Some(Class::NoCapacity)),
            ("Server.InternalError", 20, None),
            ("Server.SpotInstanceTermination", 20, None),
            ("Client.UserInitiatedShutdown", 20, None),
            ("Client.InstanceInitiatedShutdown", 20, None),
            ("", 20, None),
        ] {
            let found = ended(1, code, "").refusal(Timestamp::from_second(1_000 + age).unwrap());
            assert_eq!(found.map(|error| error.class), expected, "{code} after {age} s");
        }
    }
}
