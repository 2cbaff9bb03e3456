//! When a report is due. Pure: the time is an argument.

use jiff::{SignedDuration, Timestamp};

use crate::report::Facts;

/// This number of consecutive changes is reported immediately, and then one per pause, so that a fact that keeps
/// changing does not cause a storm of reports.
const CHANGES_AT_ONCE: i32 = 6;
const PAUSE: SignedDuration = SignedDuration::from_mins(5);

/// Why a report is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The agent has just started, which it cannot distinguish from a boot.
    Start,
    Changed,
    Interval,
}

/// The report time of the instance in each interval, and the facts that were sent last.
#[derive(Debug, Clone)]
pub struct Cadence {
    interval: SignedDuration,
    offset: SignedDuration,
    sent: Option<Sent>,
}

#[derive(Debug, Clone)]
struct Sent {
    facts: Facts,
    next: Timestamp,
    /// The end of the pauses of all changes that were reported so far.
    rested: Timestamp,
}

impl Sent {
    /// The remaining pauses. More than possible means that the clock was set back, so they are unknown.
    fn pauses(&self, now: Timestamp) -> SignedDuration {
        let left = self.rested.duration_since(now);
        if left > PAUSE * CHANGES_AT_ONCE { SignedDuration::ZERO } else { left.max(SignedDuration::ZERO) }
    }

    fn takes_a_change(&self, now: Timestamp) -> bool {
        self.pauses(now) <= PAUSE * (CHANGES_AT_ONCE - 1)
    }

    /// Whether the report time of the instance is reached, or so far away that the clock must have been set back.
    fn is_over(&self, interval: SignedDuration, now: Timestamp) -> bool {
        self.next <= now || self.next.duration_since(now) > interval
    }
}

impl Cadence {
    pub fn new(instance_id: &str, interval: SignedDuration) -> Self {
        Self { interval, offset: offset(instance_id, interval), sent: None }
    }

    pub fn due(&self, facts: &Facts, now: Timestamp) -> Option<Why> {
        match &self.sent {
            None => Some(Why::Start),
            Some(sent) if sent.facts != *facts && sent.takes_a_change(now) => Some(Why::Changed),
            Some(sent) if sent.is_over(self.interval, now) => Some(Why::Interval),
            Some(_) => None,
        }
    }

    pub fn sent(&mut self, facts: Facts, now: Timestamp) {
        let next = self.next_after(now);
        let pauses = match &self.sent {
            Some(before) if before.facts != facts => before.pauses(now) + PAUSE,
            Some(before) => before.pauses(now),
            None => SignedDuration::ZERO,
        };
        let rested = now.checked_add(pauses).unwrap_or(Timestamp::MAX);
        self.sent = Some(Sent { facts, next, rested });
    }

    /// The next report time of the instance after `now`.
    pub fn next_after(&self, now: Timestamp) -> Timestamp {
        let interval = self.interval.as_millis().max(1);
        let offset = self.offset.as_millis();
        let passed = (i128::from(now.as_millisecond()) - offset).div_euclid(interval);
        let next = (passed + 1) * interval + offset;
        i64::try_from(next).ok().and_then(|next| Timestamp::from_millisecond(next).ok()).unwrap_or(Timestamp::MAX)
    }
}

/// Spreads instances over the interval, each always at the same offset: FNV-1a of the ID, mixed so that IDs that differ
/// only in the last digit are far apart.
fn offset(instance_id: &str, interval: SignedDuration) -> SignedDuration {
    let mut hash = instance_id
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^= hash >> 31;
    let millis = u64::try_from(interval.as_millis()).unwrap_or(1).max(1);
    SignedDuration::from_millis(i64::try_from(hash % millis).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::facts;

    const HOUR: SignedDuration = SignedDuration::from_hours(1);

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_first_report_is_due_immediately() {
        assert_eq!(Cadence::new("i-1", HOUR).due(&facts(), at("2026-01-01T00:00:00Z")), Some(Why::Start));
    }

    #[test]
    fn no_report_is_due_before_the_report_time_of_the_instance() {
        let mut cadence = Cadence::new("i-1", HOUR);
        let start = at("2026-01-01T00:00:00Z");
        cadence.sent(facts(), start);
        let next = cadence.next_after(start);
        assert_eq!(cadence.due(&facts(), next - SignedDuration::from_millis(1)), None);
        assert_eq!(cadence.due(&facts(), next), Some(Why::Interval));
        cadence.sent(facts(), next);
        assert_eq!(cadence.due(&facts(), next), None);
        assert_eq!(cadence.next_after(next), next + HOUR);
    }

    #[test]
    fn a_changed_fact_is_reported_immediately_and_only_once() {
        let mut cadence = Cadence::new("i-1", HOUR);
        let start = at("2026-01-01T00:00:00Z");
        cadence.sent(facts(), start);
        let changed = Facts { app_version: Some("2.0.0".into()), ..facts() };
        assert_eq!(cadence.due(&changed, start), Some(Why::Changed));
        cadence.sent(changed.clone(), start);
        assert_eq!(cadence.due(&changed, start), None);
    }

    #[test]
    fn facts_that_keep_changing_are_reported_a_few_times_and_then_at_intervals() {
        let mut cadence = Cadence::new("i-1", SignedDuration::from_hours(24));
        let start = at("2026-01-01T00:00:00Z");
        cadence.sent(facts(), start);
        let mut reported = Vec::new();
        for minute in 0..60 {
            let now = start + SignedDuration::from_mins(minute);
            let flapping = Facts { app_version: Some(minute.to_string()), ..facts() };
            if let Some(why) = cadence.due(&flapping, now) {
                assert_eq!(why, Why::Changed);
                cadence.sent(flapping, now);
                reported.push(minute);
            }
        }
        assert_eq!(reported, [0, 1, 2, 3, 4, 5, 6, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55]);
        // After a while without changes, they are reported immediately again.
        let later = start + SignedDuration::from_hours(3);
        assert_eq!(cadence.due(&facts(), later), Some(Why::Changed));
    }

    #[test]
    fn reports_continue_when_the_clock_is_set_back() {
        let (wrong, right) = (at("2036-01-01T00:00:00Z"), at("2026-01-01T00:00:00Z"));
        let mut cadence = Cadence::new("i-1", HOUR);
        cadence.sent(facts(), wrong);
        assert_eq!(cadence.due(&facts(), right), Some(Why::Interval));
        let changed = |version: &str| Facts { app_version: Some(version.into()), ..facts() };
        for version in ["1", "2", "3", "4", "5", "6", "7"] {
            cadence.sent(changed(version), wrong);
        }
        assert_eq!(cadence.due(&changed("8"), right), Some(Why::Changed));
        cadence.sent(changed("8"), right);
        assert_eq!(cadence.due(&changed("8"), right), None);
    }

    #[test]
    fn an_instance_keeps_its_report_time_across_restarts() {
        let (first, second) = (Cadence::new("i-0abc", HOUR), Cadence::new("i-0abc", HOUR));
        let now = at("2026-01-01T12:34:56Z");
        assert_eq!(first.next_after(now), second.next_after(now));
        // Fixed values: other ones would change the report time of all instances at an upgrade.
        assert_eq!(offset("i-0abc", HOUR), SignedDuration::from_millis(2_057_701));
    }

    #[test]
    fn instances_are_spread_over_the_interval() {
        let mut minutes = [0_u32; 60];
        for n in 0..6000 {
            let offset = offset(&format!("i-{n:017x}"), HOUR);
            assert!(offset < HOUR && offset >= SignedDuration::ZERO);
            minutes[usize::try_from(offset.as_mins()).unwrap()] += 1;
        }
        let (least, most) = (minutes.iter().min().unwrap(), minutes.iter().max().unwrap());
        assert!(*least > 60 && *most < 150, "{minutes:?}");
    }
}
