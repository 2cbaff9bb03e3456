//! Histories: what happens to an object, drawn from a seed, and how a bad one is made short.

use rand::{RngExt, SeedableRng, rngs::SmallRng};

use crate::workers::simulation::{
    Simulated,
    ec2::{BY_SPOT, BY_USER, LAG},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History<W, E> {
    pub spec: W,
    pub steps: Vec<Step<E>>,
}

pub type HistoryOf<K> = History<<K as Simulated>::Spec, <K as Simulated>::Event>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<E> {
    /// The leader reconciles, perhaps from a cache that is behind; what becomes of each of its calls in turn; and where
    /// it is paused.
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
    /// The n-th live instance is terminated; after how many seconds EC2 shows it, and with which reason.
    Death(usize, u64, &'static str),
    Stop(usize),
    /// The checks of an instance fail, or it never starts.
    Sicken(usize),
    /// EC2 shows nothing of a zone for a while.
    Darkness(usize),
    /// Somebody launches an instance by hand with the object's tags on it.
    Paste,
    /// Somebody changes the role of the n-th live instance.
    Tamper(usize),
    /// The n-th pool is out of capacity, or has some again.
    Capacity(usize, bool),
    Delete,
    /// The events of this kind only.
    Event(E),
}

/// The parts of a reconcile before which a process can be paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Record,
    Send,
    Finish,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
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
    /// One instance comes, whatever was asked for.
    Partial,
    CrashBefore,
    CrashAfter,
}

pub fn draw<K: Simulated>(seed: u64) -> HistoryOf<K> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let rng = &mut rng;
    let spec = K::draw(rng);
    // What the user does, in some histories: nothing, scaling, anything.
    let edits = rng.random_range(0..3);
    let dark = rng.random_bool(0.3);
    let steps = (0..rng.random_range(0..40)).map(|_| draw_step::<K>(rng, edits, dark)).collect();
    History { spec, steps }
}

fn draw_step<K: Simulated>(rng: &mut SmallRng, edits: u32, dark: bool) -> Step<K::Event> {
    match rng.random_range(0..91 + K::EVENTS) {
        0..55 => Step::Reconcile {
            stale: rng.random_bool(0.1),
            fates: std::array::from_fn(|_| Fate::draw(rng)),
            pause: rng.random_bool(0.15).then(|| pick(rng, &[Stage::Record, Stage::Send, Stage::Finish])),
        },
        55..59 => Step::Resume,
        59..62 => Step::Failover,
        62..65 => Step::Restart,
        65..79 => Step::Wait(pick(rng, &[5, 30, 100, 200, 2000])),
        79..83 => {
            let n = rng.random_range(0..6);
            Step::Death(n, pick(rng, &[0, LAG]), [BY_USER, BY_SPOT][n % 2])
        }
        83 => Step::Stop(rng.random_range(0..6)),
        84..86 => Step::Sicken(rng.random_range(0..6)),
        86 if dark => Step::Darkness(rng.random_range(0..2)),
        86 => Step::Paste,
        87..90 => Step::Capacity(rng.random_range(0..4), rng.random_bool(0.5)),
        90 => Step::Tamper(rng.random_range(0..6)),
        91 if edits == 2 => Step::Delete,
        _ => K::event(rng, edits),
    }
}

pub fn pick<T: Copy>(rng: &mut SmallRng, from: &[T]) -> T {
    from[rng.random_range(0..from.len())]
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

impl<W: Clone, E: Copy> History<W, E> {
    /// A short history that is had by leaving steps out, and then what is special of them, while it stays `bad`.
    pub fn shrink(mut self, bad: impl Fn(&Self) -> bool) -> Self {
        let mut steps = usize::MAX;
        while std::mem::replace(&mut steps, self.steps.len()) > self.steps.len() {
            for n in (0..self.steps.len()).rev() {
                let mut candidate = self.clone();
                candidate.steps.remove(n);
                self = if bad(&candidate) { candidate } else { self };
            }
        }
        for (n, part) in (0..steps).flat_map(|n| (0..6).map(move |part| (n, part))) {
            let mut candidate = self.clone();
            candidate.steps[n].simplify(part);
            self = if bad(&candidate) { candidate } else { self };
        }
        self
    }
}

impl<E> Step<E> {
    fn simplify(&mut self, part: usize) {
        if let Self::Reconcile { stale, fates, pause } = self {
            match part {
                0 => *stale = false,
                1 => *pause = None,
                _ => fates[part - 2] = Fate::Works,
            }
        }
    }
}
