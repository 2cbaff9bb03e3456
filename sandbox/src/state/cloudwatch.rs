//! How busy instances are, and what CloudWatch knows of it when.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

/// EC2 reports this often without detailed monitoring, and this often with it.
pub(crate) const BASIC: i64 = 300;
pub(crate) const DETAILED: i64 = 60;

#[derive(Debug, Default)]
pub(crate) struct CloudWatch {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    cpu: HashMap<String, Course>,
    lag: Duration,
}

/// The CPU of an instance over time: each value holds until the next. `None`: nothing is reported.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Course(Vec<(Timestamp, Option<f64>)>);

/// What EC2 reported for one interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Report {
    /// The begin of the interval.
    pub(crate) at: i64,
    pub(crate) percent: f64,
}

impl CloudWatch {
    /// From `since` on, the instance is so busy. What was said of later times is forgotten.
    pub(crate) fn set(&self, instance_id: &str, percent: Option<f64>, since: Timestamp) {
        let mut inner = self.lock();
        let course = inner.cpu.entry(instance_id.to_owned()).or_default();
        course.0.retain(|(at, _)| *at < since);
        course.0.push((since, percent));
    }

    pub(crate) fn set_lag(&self, lag: Duration) {
        self.lock().lag = lag;
    }

    pub(crate) fn lag(&self) -> Duration {
        self.lock().lag
    }

    pub(crate) fn course(&self, instance_id: &str) -> Course {
        self.lock().cpu.get(instance_id).cloned().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Course {
    /// What was reported from `start` to before `end` and is known at `known`: of intervals that were over by then.
    pub(crate) fn reports(&self, interval: i64, start: i64, end: i64, known: i64) -> Vec<Report> {
        let Some((first, _)) = self.0.first() else { return Vec::new() };
        let first = first.as_second().div_euclid(interval) * interval;
        let from = (-(-start).div_euclid(interval) * interval).max(first);
        let until = end.min(known.saturating_sub(interval - 1));
        let begins = (0..).map(|n| from + n * interval).take_while(|at| *at < until);
        begins.filter_map(|at| Some(Report { at, percent: self.mean(at, at + interval)? })).collect()
    }

    /// The mean over the seconds from `start` to before `end`, as far as anything was reported.
    fn mean(&self, start: i64, end: i64) -> Option<f64> {
        let (mut sum, mut seconds) = (0.0, 0);
        for (index, (from, percent)) in self.0.iter().enumerate() {
            let until = self.0.get(index + 1).map_or(i64::MAX, |(next, _)| next.as_second());
            let length = until.min(end) - from.as_second().max(start);
            if let (Some(percent), true) = (percent, length > 0) {
                sum += percent * length as f64;
                seconds += length;
            }
        }
        (seconds > 0).then(|| sum / seconds as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn course(values: &[(i64, Option<f64>)]) -> Course {
        Course(values.iter().map(|(second, percent)| (at(*second), *percent)).collect())
    }

    fn seen(course: &Course, start: i64, end: i64, known: i64) -> Vec<(i64, f64)> {
        course.reports(BASIC, start, end, known).iter().map(|report| (report.at, report.percent)).collect()
    }

    #[test]
    fn an_interval_is_reported_once_it_is_over() {
        let steady = course(&[(0, Some(40.0))]);
        assert_eq!(seen(&steady, 0, 900, 599), [(0, 40.0)]);
        assert_eq!(seen(&steady, 0, 900, 600), [(0, 40.0), (300, 40.0)]);
        assert_eq!(seen(&steady, 300, 600, 9000), [(300, 40.0)]);
        assert_eq!(seen(&steady, 0, 900, 299), []);
    }

    #[test]
    fn a_change_within_an_interval_shows_in_its_mean() {
        let rising = course(&[(0, Some(0.0)), (450, Some(100.0))]);
        assert_eq!(seen(&rising, 0, 900, 900), [(0, 0.0), (300, 50.0), (600, 100.0)]);
    }

    #[test]
    fn before_and_after_reports_there_is_nothing() {
        let ended = course(&[(300, Some(10.0)), (600, None)]);
        assert_eq!(seen(&ended, 0, 1200, 1200), [(300, 10.0)]);
        assert_eq!(seen(&course(&[]), 0, 1200, 1200), []);
    }
}
