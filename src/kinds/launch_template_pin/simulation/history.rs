//! Histories: what happens to a launch template, drawn from a seed, and how a bad one is made short.

use rand::{RngExt, SeedableRng, rngs::SmallRng};

use crate::{
    kinds::launch_template_pin::simulation::spec::{Edit, Spec},
    workers::simulation::history::pick,
};

/// How many calls of a reconcile have a fate of their own. All others work.
const FATES: usize = 4;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct History {
    pub(super) spec: Spec,
    pub(super) start: Start,
    pub(super) steps: Vec<Step>,
}

/// The launch template in the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// How many versions of others it has.
    pub(super) versions: usize,
    /// Another object manages it.
    pub(super) taken: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The leader reconciles, perhaps from a cache that is behind; what becomes of each of its calls in turn; and where
    /// it is paused.
    Reconcile {
        stale: bool,
        fates: [Fate; FATES],
        pause: Option<Stage>,
    },
    /// The leader, or else the longest paused former leader, goes on.
    Resume,
    /// A read or a write of the leader fails, so that it begins anew.
    Abort,
    /// The leader's lease runs out, and a fresh process takes over. One that is paused does not notice.
    Failover,
    /// The leader dies, and a fresh process takes over at once.
    Restart,
    /// Seconds go by.
    Wait(u64),
    /// An image is made; whether it is available at once.
    Image(bool),
    /// The images that are pending become available.
    Available,
    /// The n-th last image is deregistered.
    Deregister(usize),
    /// Somebody else makes a version, with a new image or that of the n-th last version.
    Version(Option<usize>),
    /// Somebody else makes the n-th last version the default.
    Default(usize),
    /// Somebody else deletes the n-th last version.
    Delete(usize),
    /// EC2 refuses to delete the n-th last version.
    Stick(usize),
    /// Somebody else sets a group to the n-th last version, or lets it follow.
    Group(usize, Option<usize>),
    /// A group gets an instance, or loses one.
    Scale(usize, bool),
    /// A group is made, following a name or pinned to the oldest version; or it is deleted.
    Made(usize, bool),
    Gone(usize),
    /// A group gets the tag that is selected, or loses it.
    Tag(usize),
    /// A process of a group is suspended, or resumed.
    Process(usize),
    /// The refresh of a group goes on.
    Progress(usize),
    Fails(usize),
    /// Somebody else starts a refresh, or cancels one.
    Start(usize),
    Cancel(usize),
    /// An instance without a group is launched from the n-th last version, or all of them end.
    Instance(Option<usize>),
    /// A fleet names the n-th last version, or none any more.
    Fleet(Option<usize>),
    User(Edit),
}

/// The parts of a reconcile before which a process can be paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Look,
    Record,
    Send,
    Answer,
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
    Denied,
    Throttled,
    CrashBefore,
    CrashAfter,
}

pub(super) fn draw(seed: u64) -> History {
    let mut rng = SmallRng::seed_from_u64(seed);
    let rng = &mut rng;
    let spec = Spec::draw(rng);
    let start = Start { versions: rng.random_range(1..4), taken: rng.random_bool(0.02) };
    // Whether others, and the user, do something.
    let (others, edits) = (rng.random_bool(0.6), rng.random_bool(0.6));
    let steps = (0..rng.random_range(0..50)).map(|_| draw_step(rng, others, edits)).collect();
    History { spec, start, steps }
}

fn draw_step(rng: &mut SmallRng, others: bool, edits: bool) -> Step {
    let group = rng.random_range(0..4);
    let nth = rng.random_range(0..4);
    match rng.random_range(0..120) {
        0..50 => Step::Reconcile {
            stale: rng.random_bool(0.1),
            fates: std::array::from_fn(|_| Fate::draw(rng)),
            pause: rng
                .random_bool(0.2)
                .then(|| pick(rng, &[Stage::Look, Stage::Record, Stage::Send, Stage::Answer, Stage::Finish])),
        },
        50..54 => Step::Resume,
        54..56 => Step::Abort,
        56..58 => Step::Failover,
        58..61 => Step::Restart,
        61..71 => Step::Wait(pick(rng, &[5, 20, 60, 200, 2000])),
        71..77 => Step::Image(rng.random_bool(0.8)),
        77 => Step::Available,
        78 => Step::Deregister(nth),
        79..89 => Step::Progress(group),
        89 => Step::Fails(group),
        90..92 => Step::Scale(group, rng.random_bool(0.7)),
        92 => Step::Instance(rng.random_bool(0.7).then_some(nth)),
        93 => Step::Fleet(rng.random_bool(0.7).then_some(nth)),
        94 => Step::Process(group),
        95 => Step::Made(group, rng.random_bool(0.5)),
        96 => Step::Gone(group),
        97..109 if edits => Step::User(Edit::draw(rng)),
        109..111 if others => Step::Version(rng.random_bool(0.3).then_some(nth)),
        111..113 if others => Step::Default(nth),
        113 if others => Step::Delete(nth),
        114 if others => Step::Stick(nth),
        115 if others => Step::Group(group, rng.random_bool(0.7).then_some(nth)),
        116 if others => Step::Tag(group),
        117 if others => Step::Start(group),
        118 if others => Step::Cancel(group),
        _ => Step::Wait(5),
    }
}

impl Fate {
    fn draw(rng: &mut SmallRng) -> Self {
        match rng.random_range(0..20) {
            0..9 => Self::Works,
            9..12 => Self::Lags,
            12 => Self::LostBefore,
            13..15 => Self::LostAfter,
            15 => Self::Late,
            16 => Self::Denied,
            17 => Self::Throttled,
            18 => Self::CrashBefore,
            _ => Self::CrashAfter,
        }
    }
}

impl History {
    /// A short history that is had by leaving steps out, and then what is special of them, while it stays `bad`.
    pub(super) fn shrink(mut self, bad: impl Fn(&Self) -> bool) -> Self {
        let mut steps = usize::MAX;
        while std::mem::replace(&mut steps, self.steps.len()) > self.steps.len() {
            for n in (0..self.steps.len()).rev() {
                let mut candidate = self.clone();
                candidate.steps.remove(n);
                self = if bad(&candidate) { candidate } else { self };
            }
        }
        for (n, part) in (0..steps).flat_map(|n| (0..FATES + 2).map(move |part| (n, part))) {
            let mut candidate = self.clone();
            candidate.steps[n].simplify(part);
            self = if bad(&candidate) { candidate } else { self };
        }
        for part in 0..8 {
            let mut candidate = self.clone();
            candidate.spec.simplify(part);
            self = if bad(&candidate) { candidate } else { self };
        }
        self
    }
}

impl Step {
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

impl Spec {
    fn simplify(&mut self, part: usize) {
        match part {
            0 => self.keep = None,
            1 => self.named[0] = None,
            2 => self.named[1] = None,
            3 => self.selected = None,
            4 => self.refresh = false,
            5 => self.window = false,
            6 => self.manual = false,
            _ => self.set_default = true,
        }
    }
}
