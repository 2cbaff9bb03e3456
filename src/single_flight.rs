//! A request that is sent once for all callers: a caller that arrives during a request waits, and uses its result if it
//! began late enough.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use crate::clock::Clock;

/// A finished request.
#[derive(Clone, Debug)]
pub struct Attempt<T> {
    /// When it began: the result includes everything before this moment.
    pub begun: Instant,
    pub ended: Instant,
    pub outcome: T,
}

#[derive(Debug)]
pub struct SingleFlight<T> {
    turn: tokio::sync::Mutex<()>,
    last: Mutex<Option<Attempt<T>>>,
}

impl<T> Default for SingleFlight<T> {
    fn default() -> Self {
        Self { turn: tokio::sync::Mutex::default(), last: Mutex::default() }
    }
}

impl<T: Clone> SingleFlight<T> {
    /// The last attempt, without waiting for a running one.
    pub fn last(&self) -> Option<Attempt<T>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last outcome if it `serves`, or a new one. `request` gets the last attempt, and can set a later beginning if
    /// it has to wait before it sends.
    pub async fn get(
        &self,
        serves: impl Fn(&Attempt<T>) -> bool,
        request: impl AsyncFnOnce(Option<Attempt<T>>, &mut Instant) -> T,
    ) -> T {
        let _turn = self.turn.lock().await;
        let last = self.last();
        if let Some(last) = last.as_ref().filter(|last| serves(last)) {
            return last.outcome.clone();
        }
        let mut begun = Clock.monotonic();
        let outcome = request(last, &mut begun).await;
        let attempt = Attempt { begun, ended: Clock.monotonic(), outcome: outcome.clone() };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(attempt);
        outcome
    }
}
