//! The time that everything in the sandbox lives on.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::config::ClockMode;
use crate::duration::CENTURY;

/// Wall time plus the sum of all steps, or the steps alone.
#[derive(Debug)]
pub struct Clock {
    mode: ClockMode,
    started: Timestamp,
    started_monotonic: Instant,
    stepped: Mutex<Duration>,
    steps: watch::Sender<u64>,
}

impl Clock {
    pub fn new(mode: ClockMode) -> Self {
        Self {
            mode,
            started: wall_now(),
            started_monotonic: Instant::now(),
            stepped: Mutex::new(Duration::ZERO),
            steps: watch::Sender::new(0),
        }
    }

    pub fn mode(&self) -> ClockMode {
        self.mode
    }

    pub fn now(&self) -> Timestamp {
        self.started + self.since_start()
    }

    fn since_start(&self) -> Duration {
        let stepped = *self.stepped();
        match self.mode {
            ClockMode::Real => self.started_monotonic.elapsed() + stepped,
            ClockMode::Manual => stepped,
        }
    }

    /// Time for rates (throttling): it always runs, so that a client that waits for a bucket to refill is served even
    /// while a manual clock stands still.
    pub(crate) fn monotonic(&self) -> Duration {
        self.started_monotonic.elapsed() + *self.stepped()
    }

    pub(crate) fn step(&self, by: Duration) {
        let mut stepped = self.stepped();
        *stepped = stepped.saturating_add(by).min(CENTURY * 10);
        drop(stepped);
        self.steps.send_modify(|n| *n += 1);
    }

    /// Returns when `due` has come. Without a time it returns only when `changed` fires.
    pub(crate) async fn sleep_until(&self, due: Option<Timestamp>, changed: &mut watch::Receiver<u64>) {
        let mut steps = self.steps.subscribe();
        loop {
            let now = self.now();
            if due.is_some_and(|due| due <= now) {
                return;
            }
            let timer = async {
                match (self.mode, due) {
                    (ClockMode::Real, Some(due)) => {
                        let wait = Duration::try_from(due.duration_since(now)).unwrap_or_default();
                        tokio::time::sleep(wait).await;
                    }
                    (ClockMode::Real, None) | (ClockMode::Manual, _) => std::future::pending().await,
                }
            };
            tokio::select! {
                () = timer => {}
                _ = steps.changed() => {}
                _ = changed.changed() => return,
            }
        }
    }

    fn stepped(&self) -> MutexGuard<'_, Duration> {
        self.stepped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock that everybody else in the sandbox asks")]
pub(crate) fn wall_now() -> Timestamp {
    Timestamp::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_step_leads_out_of_the_calendar() {
        for mode in [ClockMode::Real, ClockMode::Manual] {
            let clock = Clock::new(mode);
            clock.step(Duration::MAX);
            clock.step(Duration::MAX);
            assert!(clock.now() + CENTURY > clock.now());
        }
    }
}
