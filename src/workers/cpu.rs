//! How busy workers are: what CloudWatch tells, and what of it goes into a status. Pure.
//!
//! What is not known is absent, and never 0: a worker that was launched a moment ago, that is stopped, or that CloudWatch
//! knows nothing of. EC2 reports every five minutes (with detailed monitoring every minute), and values take some minutes
//! more to settle.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use crate::ids::InstanceId;

/// A value in a status is left as it is until it has moved by so many points, so that nothing is written at rest.
const NOTICEABLE: i32 = 5;
/// CloudWatch may need so long until a value is there (AWS: "up to 10 minutes"), and so long until the next one is.
const SETTLING: Duration = Duration::from_secs(15 * 60);

/// What one value is the mean of: a whole number of minutes, as CloudWatch has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period {
    minutes: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it must be a whole number of minutes, from 1m to 1h")]
pub struct InvalidPeriod;

impl TryFrom<Duration> for Period {
    type Error = InvalidPeriod;

    fn try_from(span: Duration) -> Result<Self, InvalidPeriod> {
        let minutes = u32::try_from(span.as_secs() / 60).map_err(|_| InvalidPeriod)?;
        let whole = Duration::from_secs(u64::from(minutes) * 60) == span;
        if whole && (1..=60).contains(&minutes) { Ok(Self { minutes }) } else { Err(InvalidPeriod) }
    }
}

impl Period {
    pub fn minutes(self) -> u32 {
        self.minutes
    }

    pub fn duration(self) -> Duration {
        Duration::from_secs(u64::from(self.minutes) * 60)
    }

    /// A value whose period began longer ago than this tells nothing of today.
    pub fn memory(self) -> Duration {
        self.duration() * 2 + SETTLING
    }
}

/// The mean of one period.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CpuSample {
    pub percent: f64,
    /// The end of the period.
    pub at: Timestamp,
}

/// What is known of some workers. Who is not in it is unknown.
pub type CpuSamples = BTreeMap<InstanceId, CpuSample>;

/// Of all workers of a fleet that anything is known of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    pub average: f64,
    pub maximum: f64,
    /// The end of the newest period.
    pub at: Timestamp,
}

/// `None` when nothing is known of anybody.
pub fn summary<'a>(samples: impl IntoIterator<Item = &'a CpuSample>) -> Option<Summary> {
    let (mut sum, mut count) = (0.0, 0u32);
    let mut summary: Option<Summary> = None;
    for CpuSample { percent, at } in samples {
        sum += percent;
        count += 1;
        let so_far = summary.get_or_insert(Summary { average: 0.0, maximum: *percent, at: *at });
        so_far.maximum = so_far.maximum.max(*percent);
        so_far.at = so_far.at.max(*at);
    }
    summary.map(|summary| Summary { average: sum / f64::from(count), ..summary })
}

/// A share in whole percent.
pub fn whole(percent: f64) -> i32 {
    percent.round().clamp(0.0, 100.0) as i32
}

/// What a status that says `before` is to say of a value that is `now` so: the same, unless it moved by enough.
pub fn steady(before: Option<i32>, now: Option<i32>) -> Option<i32> {
    match (before, now) {
        (Some(before), Some(now)) if (now - before).abs() < NOTICEABLE => Some(before),
        (_, now) => now,
    }
}

/// Where a worker stands among those that may end: the lowest known CPU first, what is unknown last, since it may be as
/// busy as can be.
pub fn idleness(sample: Option<&CpuSample>) -> (bool, u64) {
    match sample {
        // In hundredths, so that it can be compared. CloudWatch's own values have no more digits than that to tell.
        Some(sample) => (false, (sample.percent.max(0.0) * 100.0).round() as u64),
        None => (true, 0),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(percent: f64, second: i64) -> CpuSample {
        CpuSample { percent, at: Timestamp::from_second(second).unwrap() }
    }

    #[test]
    fn a_period_is_some_whole_minutes() {
        for (seconds, minutes) in [(60, Some(1)), (300, Some(5)), (3600, Some(60)), (90, None), (0, None), (3660, None)]
        {
            let period = Period::try_from(Duration::from_secs(seconds)).ok().map(Period::minutes);
            assert_eq!(period, minutes, "{seconds}s");
        }
        assert_eq!(Period::try_from(Duration::from_millis(60_001)), Err(InvalidPeriod));
    }

    #[test]
    fn a_fleet_is_as_busy_as_its_known_workers() {
        let known = [sample(10.0, 300), sample(40.0, 600), sample(70.0, 300)];
        let of_three = summary(&known).unwrap();
        assert_eq!((of_three.average, of_three.maximum, of_three.at.as_second()), (40.0, 70.0, 600));
        assert_eq!(summary(&[]), None);
    }

    #[test]
    fn a_value_is_written_when_it_moved_by_five_points() {
        for (before, now, written) in [
            (Some(40), Some(44), Some(40)),
            (Some(40), Some(36), Some(40)),
            (Some(40), Some(45), Some(45)),
            (Some(40), Some(35), Some(35)),
            (None, Some(1), Some(1)),
            (Some(40), None, None),
            (None, None, None),
        ] {
            assert_eq!(steady(before, now), written, "{before:?} {now:?}");
        }
    }

    #[test]
    fn the_least_busy_ends_first_and_the_unknown_last() {
        let mut order = [None, Some(sample(90.5, 0)), Some(sample(0.0, 0)), Some(sample(90.25, 0))];
        order.sort_by_key(|sample| idleness(sample.as_ref()));
        assert_eq!(order.map(|sample| sample.map(|s| s.percent)), [Some(0.0), Some(90.25), Some(90.5), None]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_never_five_points_off(values in prop::collection::vec(0i32..=100, 1..50)) {
            let (mut written, mut writes) = (None, 0);
            for now in values {
                let next = steady(written, Some(now));
                writes += usize::from(next != written);
                written = next;
                prop_assert!((written.unwrap() - now).abs() < NOTICEABLE);
                prop_assert_eq!(steady(written, Some(now)), written, "nothing more to write");
            }
            prop_assert!(writes >= 1);
        }
    }
}
