//! Whether an object gets on with what is wanted of it.

use std::time::{Duration, Instant};

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Differs when something else is wanted.
    pub wish: u64,
    pub updated: u32,
    pub available: u32,
    /// How many are still to go: those of older revisions, and those beyond what is wanted.
    pub leaving: u32,
}

impl Mark {
    fn best(self, other: Self) -> Self {
        Self {
            wish: self.wish,
            updated: self.updated.max(other.updated),
            available: self.available.max(other.available),
            leaving: self.leaving.min(other.leaving),
        }
    }
}

/// How far it was at best since the wish is what it is, and since when. Machines that come and go are no progress.
#[derive(Debug, Default)]
pub struct Advance(Option<(Mark, Instant)>);

impl Advance {
    /// Whether it has not got on for `deadline`.
    pub fn is_late(&mut self, mark: Mark, now: Instant, deadline: Duration) -> bool {
        match self.0 {
            Some((best, since)) if best.wish == mark.wish && best.best(mark) == best => {
                now.saturating_duration_since(since) >= deadline
            }
            Some((best, _)) if best.wish == mark.wish => {
                self.0 = Some((best.best(mark), now));
                false
            }
            Some(_) | None => {
                self.0 = Some((mark, now));
                false
            }
        }
    }

    /// There is nothing to get on with. What is lost from here on is missed anew.
    pub fn rest(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_better_than_ever_before_is_progress() {
        let mark = |wish, updated, available, leaving| Mark { wish, updated, available, leaving };
        let deadline = Duration::from_secs(10);
        let late = |marks: &[Mark]| {
            let (mut advance, begun) = (Advance::default(), Instant::now());
            // One mark each six seconds.
            let at = |n: usize| begun + Duration::from_secs(6) * n as u32;
            marks.iter().enumerate().map(|(n, mark)| advance.is_late(*mark, at(n), deadline)).collect::<Vec<_>>()
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
                "late, and then on the way again",
                [mark(1, 0, 0, 2), mark(1, 0, 0, 2), mark(1, 0, 0, 2), mark(1, 0, 0, 1)],
                [false, false, true, false],
            ),
            (
                "something else is wanted",
                [mark(1, 3, 3, 0), mark(1, 3, 3, 0), mark(2, 0, 3, 3), mark(2, 0, 3, 3)],
                [false; 4],
            ),
        ] {
            assert_eq!(late(&marks), expected, "{case}");
        }
    }

    #[test]
    fn what_is_lost_after_all_was_there_is_missed_from_then_on() {
        let (mut advance, begun, deadline) = (Advance::default(), Instant::now(), Duration::from_secs(10));
        let mark = |available| Mark { wish: 1, updated: 3, available, leaving: 0 };
        assert!(!advance.is_late(mark(3), begun, deadline));
        advance.rest();
        let lost = begun + Duration::from_hours(1);
        assert!(!advance.is_late(mark(2), lost, deadline));
        assert!(advance.is_late(mark(2), lost + deadline, deadline));
    }
}
