//! Histories: what happens to a fleet, drawn from a seed, and how a bad one is made short.

use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::wish::Wish;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct History {
    pub wish: Wish,
    pub steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The leader looks, perhaps at a cache that is behind; what becomes of each of its calls in turn; and where it is
    /// paused.
    Reconcile {
        stale: bool,
        fates: [Fate; 4],
        pause: Option<Stage>,
    },
    /// The leader, or else the longest paused former leader, goes on.
    Resume,
    /// The leader's lease runs out, and a fresh process takes over. One that is paused does not notice.
    Failover,
    /// The leader dies, and a fresh process takes over at once.
    Restart,
    /// Seconds go by.
    Wait(u64),
    /// The n-th live machine dies; EC2 shows it at once or after a while.
    Death(usize, Lag),
    Stop(usize),
    /// The checks of a machine fail, or it never starts.
    Sicken(usize),
    /// EC2 shows nothing of a zone for a while.
    Darkness(usize),
    /// Somebody launches a machine by hand with the fleet's tags on it.
    Paste,
    /// The n-th pool is out of capacity, or has some again.
    Capacity(usize, bool),
    Edit(Edit),
    Delete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edit {
    Replicas(u32),
    Side(Option<u32>),
    Template(usize),
    Bounds(usize),
}

/// Whether EC2 tells of something at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lag {
    None,
    Some,
}

/// The parts of a reconcile before which a process can be paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Record,
    Send,
    Finish,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Works,
    /// It works, and its effect is not shown for a while.
    Lags,
    /// It never arrives.
    LostBefore,
    /// It takes effect, its answer does not arrive.
    LostAfter,
    /// No answer, and it takes effect later.
    Late,
    NoCapacity,
    Denied,
    Throttled,
    /// It is not made now: EC2's rate is used up.
    NoPermit,
    /// One machine comes, whatever was asked for.
    Partial,
    CrashBefore,
    CrashAfter,
}

impl History {
    pub(super) fn draw(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let rng = &mut rng;
        let wish = Wish {
            replicas: rng.random_range(0..7),
            side: rng.random_bool(0.2).then(|| rng.random_range(0..3)),
            template: 0,
            bounds: rng.random_range(0..Wish::BOUNDS.len()),
            replacements: pick(rng, &[1, 2, 3, 100]),
            max_unhealthy: pick(rng, &[1, 2, 100]),
            status_checks: rng.random_bool(0.5),
            min_ready: pick(rng, &[0, 0, 20]),
            newest_first: rng.random_bool(0.5),
        };
        // What the user does, in some histories: nothing, scaling, anything.
        let edits = rng.random_range(0..3);
        let dark = rng.random_bool(0.3);
        let steps = (0..rng.random_range(0..40)).map(|_| Step::draw(rng, edits, dark)).collect();
        Self { wish, steps }
    }

    /// The shortest history that can be had by leaving steps out while it stays `bad`.
    pub(super) fn shrink(mut self, bad: impl Fn(&Self) -> bool) -> Self {
        let mut size = self.steps.len() / 2;
        while size > 0 {
            let mut start = 0;
            let mut shorter = false;
            while start < self.steps.len() {
                let mut candidate = self.clone();
                candidate.steps.drain(start..(start + size).min(self.steps.len()));
                if bad(&candidate) {
                    self = candidate;
                    shorter = true;
                } else {
                    start += size;
                }
            }
            if !shorter || size > 1 {
                size /= 2;
            }
        }
        for n in 0..self.steps.len() {
            for simpler in self.steps[n].simpler() {
                let mut candidate = self.clone();
                candidate.steps[n] = simpler;
                if bad(&candidate) {
                    self = candidate;
                }
            }
        }
        self
    }
}

impl Step {
    fn draw(rng: &mut SmallRng, edits: u32, dark: bool) -> Self {
        match rng.random_range(0..100) {
            0..55 => Self::Reconcile {
                stale: rng.random_bool(0.1),
                fates: std::array::from_fn(|_| Fate::draw(rng)),
                pause: rng.random_bool(0.15).then(|| pick(rng, &[Stage::Record, Stage::Send, Stage::Finish])),
            },
            55..59 => Self::Resume,
            59..62 => Self::Failover,
            62..65 => Self::Restart,
            65..79 => Self::Wait(pick(rng, &[5, 30, 100, 200, 2000])),
            79..83 => Self::Death(rng.random_range(0..6), pick(rng, &[Lag::None, Lag::Some])),
            83..84 => Self::Stop(rng.random_range(0..6)),
            84..86 => Self::Sicken(rng.random_range(0..6)),
            86 if dark => Self::Darkness(rng.random_range(0..2)),
            86 => Self::Paste,
            87..90 => Self::Capacity(rng.random_range(0..4), rng.random_bool(0.5)),
            90 if edits == 2 => Self::Delete,
            _ if edits == 0 => Self::Wait(5),
            _ => Self::Edit(match (edits, rng.random_range(0..10)) {
                (1, _) | (_, 0..3) => Edit::Replicas(rng.random_range(0..7)),
                (_, 3..7) => Edit::Template(rng.random_range(0..3)),
                (_, 7..9) => Edit::Side(pick(rng, &[None, Some(1), Some(2)])),
                _ => Edit::Bounds(rng.random_range(0..Wish::BOUNDS.len())),
            }),
        }
    }

    fn simpler(self) -> Vec<Self> {
        match self {
            Self::Reconcile { stale, fates, pause } => {
                let works = [Fate::Works; 4];
                let mut simpler = vec![
                    Self::Reconcile { stale: false, fates: works, pause: None },
                    Self::Reconcile { stale, fates: works, pause },
                    Self::Reconcile { stale: false, fates, pause: None },
                ];
                simpler.extend((1..4).map(|n| {
                    let fates = std::array::from_fn(|m| if m < n { fates[m] } else { Fate::Works });
                    Self::Reconcile { stale: false, fates, pause }
                }));
                simpler
            }
            Self::Resume
            | Self::Failover
            | Self::Restart
            | Self::Wait(_)
            | Self::Death(..)
            | Self::Stop(_)
            | Self::Sicken(_)
            | Self::Darkness(_)
            | Self::Paste
            | Self::Capacity(..)
            | Self::Edit(_)
            | Self::Delete => vec![],
        }
    }
}

impl Fate {
    fn draw(rng: &mut SmallRng) -> Self {
        match rng.random_range(0..21) {
            0..8 => Self::Works,
            8..10 => Self::Lags,
            10 => Self::LostBefore,
            11..13 => Self::LostAfter,
            13 => Self::Late,
            14 => Self::NoCapacity,
            15 => Self::Denied,
            16 => Self::Throttled,
            17 => Self::Partial,
            18 => Self::NoPermit,
            19 => Self::CrashBefore,
            _ => Self::CrashAfter,
        }
    }
}

fn pick<T: Copy>(rng: &mut SmallRng, from: &[T]) -> T {
    from[rng.random_range(0..from.len())]
}
