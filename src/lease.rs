//! Leadership: until when this process surely is the only one that acts.

use std::time::Instant;

use tokio::sync::watch;

/// A view of the lease. Cheap to clone; always current.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<Held>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    No,
    Until(Instant),
    /// No lease is configured: there is nobody else.
    Alone,
}

impl Leadership {
    fn fixed(held: Held) -> Self {
        Self(watch::channel(held).1)
    }

    /// Not leading.
    pub fn none() -> Self {
        Self::fixed(Held::No)
    }

    /// Leading without a lease, forever.
    pub fn alone() -> Self {
        Self::fixed(Held::Alone)
    }

    /// Leading until `instant`.
    pub fn until(instant: Instant) -> Self {
        Self::fixed(Held::Until(instant))
    }

    /// The moment before which nobody else can have the lease; `None` when it is not held.
    pub fn held_until(&self) -> Option<Instant> {
        match *self.0.borrow() {
            Held::No => None,
            Held::Until(instant) => Some(instant),
            Held::Alone => Some(Instant::now() + std::time::Duration::from_secs(86_400)),
        }
    }
}
