//! Whether an object makes progress towards the desired state.

use std::time::{Duration, Instant};

/// The progress at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgressMark {
    /// Differs for each desired state.
    pub desired: u64,
    pub updated: u32,
    pub available: u32,
    /// How many still have to be removed: those of older revisions and surplus ones.
    pub leaving: u32,
}

impl ProgressMark {
    fn best(self, other: Self) -> Self {
        Self {
            desired: self.desired,
            updated: self.updated.max(other.updated),
            available: self.available.max(other.available),
            leaving: self.leaving.min(other.leaving),
        }
    }
}

/// The best progress towards the current desired state, and since when. Instances that come and go are no progress.
#[derive(Debug, Default)]
pub struct ProgressTracker(Option<(ProgressMark, Instant)>);

impl ProgressTracker {
    /// Whether it has made no progress for `deadline`.
    pub fn is_late(&mut self, mark: ProgressMark, now: Instant, deadline: Duration) -> bool {
        match self.0 {
            Some((best, since)) if best.desired == mark.desired && best.best(mark) == best => {
                now.saturating_duration_since(since) >= deadline
            }
            Some((best, _)) if best.desired == mark.desired => {
                self.0 = Some((best.best(mark), now));
                false
            }
            Some(_) | None => {
                self.0 = Some((mark, now));
                false
            }
        }
    }

    /// The desired state is reached. A later loss starts a new deadline.
    pub fn rest(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_improvement_over_the_best_state_is_progress() {
        let mark = |desired, updated, available, leaving| ProgressMark { desired, updated, available, leaving };
        let deadline = Duration::from_secs(10);
        let late = |marks: &[ProgressMark]| {
            let (mut tracker, begun) = (ProgressTracker::default(), Instant::now());
            // One mark each six seconds.
            let at = |n: usize| begun + Duration::from_secs(6) * n as u32;
            marks.iter().enumerate().map(|(n, mark)| tracker.is_late(*mark, at(n), deadline)).collect::<Vec<_>>()
        };
        for (case, marks, expected) in [
            ("nothing moves", [mark(1, 0, 0, 0); 4], [false, false, true, true]),
            (
                "one is launched and dies, again and again",
                [mark(1, 0, 0, 0), mark(1, 1, 0, 0), mark(1, 0, 0, 0), mark(1, 1, 0, 0)],
                [false, false, false, true],
            ),
            (
                "a new one is replaced at each startup deadline",
                [mark(1, 1, 3, 3), mark(1, 0, 3, 3), mark(1, 1, 3, 3), mark(1, 0, 3, 3)],
                [false, false, true, true],
            ),
            (
                "one more is up to date, then available, then an old one gone",
                [mark(1, 0, 3, 3), mark(1, 1, 3, 3), mark(1, 1, 4, 3), mark(1, 1, 3, 2)],
                [false; 4],
            ),
            (
                "late, and then progress again",
                [mark(1, 0, 0, 2), mark(1, 0, 0, 2), mark(1, 0, 0, 2), mark(1, 0, 0, 1)],
                [false, false, true, false],
            ),
            (
                "another desired state",
                [mark(1, 3, 3, 0), mark(1, 3, 3, 0), mark(2, 0, 3, 3), mark(2, 0, 3, 3)],
                [false; 4],
            ),
        ] {
            assert_eq!(late(&marks), expected, "{case}");
        }
    }

    #[test]
    fn after_a_loss_the_progress_deadline_starts_again() {
        let (mut tracker, begun, deadline) = (ProgressTracker::default(), Instant::now(), Duration::from_secs(10));
        let mark = |available| ProgressMark { desired: 1, updated: 3, available, leaving: 0 };
        assert!(!tracker.is_late(mark(3), begun, deadline));
        tracker.rest();
        let lost = begun + Duration::from_hours(1);
        assert!(!tracker.is_late(mark(2), lost, deadline));
        assert!(tracker.is_late(mark(2), lost + deadline, deadline));
    }
}
