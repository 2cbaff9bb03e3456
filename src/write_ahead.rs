//! The crash-safe order of writes.
//!
//! AWS has few transactions. Before a call that launches or terminates, its intent is written to the status of the
//! object. Only the response to that write gives an [`Acknowledged`] value, and only an `Acknowledged` value can be
//! sent, so no code can send a call first and record it later.

use std::time::{Duration, Instant};

use crate::{clock::Timings, lease::Leadership};

/// The response of the API server to a write of a status.
#[derive(Clone, Debug)]
pub struct Acknowledgement<S> {
    status: S,
    since: Instant,
}

impl<S> Acknowledgement<S> {
    /// `since` is when the write began, so that the send window is never too long.
    pub(crate) fn new(status: S, since: Instant) -> Self {
        Self { status, since }
    }

    /// The status as the API server stored it.
    pub fn status(&self) -> &S {
        &self.status
    }

    /// `intent`, if the response contains it completely. The status 200 is no proof: an older CRD prunes unknown
    /// fields.
    pub fn confirm<T: PartialEq>(&self, intent: T, find: impl FnOnce(&S) -> Option<&T>) -> Option<Acknowledged<T>> {
        (find(&self.status) == Some(&intent)).then_some(Acknowledged { intent, since: self.since })
    }
}

/// An intent that is known to be stored. Only [`Acknowledgement::confirm`] makes one.
#[derive(Clone, Debug)]
pub struct Acknowledged<T> {
    intent: T,
    since: Instant,
}

/// Why an acknowledged intent may not be sent now. It stays stored, and the next reconcile settles it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    #[error("too much time has passed since the intent was stored")]
    WindowPassed,
    #[error("the lease is not held for long enough to complete the call")]
    NotLeading,
}

impl<T> Acknowledged<T> {
    pub fn intent(&self) -> &T {
        &self.intent
    }

    /// The maximum duration of a call for this intent that begins at `now`, all attempts together.
    ///
    /// # Errors
    /// The intent is too old, or another replica could get the lease before the call has ended.
    pub fn sendable(&self, now: Instant, leadership: &Leadership, timings: &Timings) -> Result<Duration, NotSent> {
        if now.saturating_duration_since(self.since) > timings.send_window {
            return Err(NotSent::WindowPassed);
        }
        let budget = match leadership.held_until() {
            None => return Err(NotSent::NotLeading),
            Some(until) => until.saturating_duration_since(now).min(timings.call_deadline),
        };
        // With less time, the call would probably be cut off after it took effect, and a search would be needed to
        // settle it.
        if budget < timings.call_deadline / 4 { Err(NotSent::NotLeading) } else { Ok(budget) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acknowledged() -> (Acknowledged<u8>, Instant) {
        let since = Instant::now();
        let answer = Acknowledgement::new(vec![1u8, 2], since);
        (answer.confirm(2, |s| s.iter().find(|i| **i == 2)).unwrap(), since)
    }

    #[test]
    fn an_intent_that_is_missing_from_the_response_is_not_acknowledged() {
        let answer = Acknowledgement::new(vec![1u8], Instant::now());
        assert!(answer.confirm(2, |s| s.iter().find(|i| **i == 2)).is_none());
        assert!(answer.confirm(2, |s| s.first()).is_none());
    }

    #[test]
    fn an_intent_is_sent_only_within_its_window_and_while_the_lease_is_held() {
        let timings = Timings::default();
        let (intent, since) = acknowledged();
        let leading = |seconds| Leadership::until(since + Duration::from_secs(seconds));
        let after = |seconds| since + Duration::from_secs(seconds);
        assert_eq!(intent.sendable(after(1), &leading(60), &timings), Ok(Duration::from_secs(30)));
        assert_eq!(intent.sendable(after(9), &leading(30), &timings), Ok(Duration::from_secs(21)));
        assert_eq!(intent.sendable(after(11), &leading(60), &timings), Err(NotSent::WindowPassed));
        assert_eq!(intent.sendable(after(1), &leading(5), &timings), Err(NotSent::NotLeading));
        assert_eq!(intent.sendable(after(1), &Leadership::none(), &timings), Err(NotSent::NotLeading));
    }
}
