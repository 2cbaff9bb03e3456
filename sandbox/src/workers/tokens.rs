//! The session tokens of IMDSv2.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

/// Six hours.
const LONGEST: u64 = 21_600;

#[derive(Debug, Default)]
pub(super) struct Tokens {
    until: Mutex<HashMap<String, Instant>>,
}

impl Tokens {
    /// A token that lives so many seconds, or none if that is not a number from 1 to six hours.
    pub(super) fn issue(&self, seconds: &str, now: Instant) -> Option<String> {
        let seconds: u64 = seconds.trim().parse().ok().filter(|seconds| (1..=LONGEST).contains(seconds))?;
        let token = format!("AQAE{}", Uuid::new_v4().simple());
        let mut tokens = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.retain(|_, until| *until > now);
        tokens.insert(token.clone(), now + Duration::from_secs(seconds));
        Some(token)
    }

    pub(super) fn is_good(&self, token: &str, now: Instant) -> bool {
        let tokens = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(token).is_some_and(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_lives_as_long_as_asked() {
        let (tokens, now) = (Tokens::default(), Instant::now());
        let token = tokens.issue("60", now).unwrap();
        assert!(tokens.is_good(&token, now + Duration::from_secs(59)));
        assert!(!tokens.is_good(&token, now + Duration::from_secs(60)));
        assert!(!tokens.is_good("another", now));
    }

    #[test]
    fn lives_that_the_service_does_not_give_are_refused() {
        for seconds in ["0", "21601", "-1", "soon", ""] {
            assert_eq!(Tokens::default().issue(seconds, Instant::now()), None, "{seconds}");
        }
    }
}
