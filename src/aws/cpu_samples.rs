//! The CPU utilization of workers: the samples of CloudWatch, and the values in a status. Pure.
//!
//! An unknown value is absent, never 0: for example of a new worker, of a stopped one, or if CloudWatch has no data.
//! EC2 reports every five minutes (with detailed monitoring every minute), and values are complete some minutes later.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use crate::ids::InstanceId;

/// A value in a status is updated only if it changed by this many points, so that small changes cause no writes.
const NOTICEABLE: i32 = 5;
/// How long CloudWatch may take until a value is available (AWS: "up to 10 minutes"), plus the time until the next one.
const SETTLING: Duration = Duration::from_secs(15 * 60);

/// The period of one value: a whole number of minutes, as CloudWatch requires.
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

    /// A value whose period began longer ago than this is outdated.
    pub fn memory(self) -> Duration {
        self.duration() * 2 + SETTLING
    }
}

/// The average of one period.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CpuSample {
    pub percent: f64,
    /// The end of the period.
    pub at: Timestamp,
}

/// The known values of workers. A worker that is not in the map is unknown.
pub type CpuSamples = BTreeMap<InstanceId, CpuSample>;

/// The values of all known workers of a fleet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    pub average: f64,
    pub maximum: f64,
    /// The end of the newest period.
    pub at: Timestamp,
}

/// `None` if no worker is known.
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

/// A percentage as an integer.
pub fn whole(percent: f64) -> i32 {
    percent.round().clamp(0.0, 100.0) as i32
}

/// The value to store in a status: `before`, unless `now` differs by [`NOTICEABLE`] points.
pub fn steady(before: Option<i32>, now: Option<i32>) -> Option<i32> {
    match (before, now) {
        (Some(before), Some(now)) if (now - before).abs() < NOTICEABLE => Some(before),
        (_, now) => now,
    }
}

/// The sort key of a worker for termination: the lowest known CPU first, unknown workers last, because they may be
/// busy.
pub fn idleness(sample: Option<&CpuSample>) -> (bool, u64) {
    match sample {
        // In hundredths, to be an integer. More digits of CloudWatch mean nothing.
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
    fn a_period_is_a_whole_number_of_minutes() {
        for (seconds, minutes) in [(60, Some(1)), (300, Some(5)), (3600, Some(60)), (90, None), (0, None), (3660, None)]
        {
            let period = Period::try_from(Duration::from_secs(seconds)).ok().map(Period::minutes);
            assert_eq!(period, minutes, "{seconds}s");
        }
        assert_eq!(Period::try_from(Duration::from_millis(60_001)), Err(InvalidPeriod));
    }

    #[test]
    fn the_average_and_maximum_of_a_fleet_are_those_of_its_known_workers() {
        let known = [sample(10.0, 300), sample(40.0, 600), sample(70.0, 300)];
        let of_three = summary(&known).unwrap();
        assert_eq!((of_three.average, of_three.maximum, of_three.at.as_second()), (40.0, 70.0, 600));
        assert_eq!(summary(&[]), None);
    }

    #[test]
    fn a_value_is_written_when_it_changed_by_five_points() {
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
    fn the_least_busy_worker_is_terminated_first_and_unknown_ones_last() {
        let mut order = [None, Some(sample(90.5, 0)), Some(sample(0.0, 0)), Some(sample(90.25, 0))];
        order.sort_by_key(|sample| idleness(sample.as_ref()));
        assert_eq!(order.map(|sample| sample.map(|s| s.percent)), [Some(0.0), Some(90.25), Some(90.5), None]);
    }

    proptest! {
        #[test]
        fn a_written_value_is_never_wrong_by_five_points(values in prop::collection::vec(0i32..=100, 1..50)) {
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
