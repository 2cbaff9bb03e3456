//! What can happen to a job, in any order.

use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// A reconcile; what becomes of each of its calls in turn.
    Reconcile([Fate; 3]),
    /// The controller restarts: what it learned is gone, the record stays.
    Restart,
    /// What the n-th running machine does, or what is done to it.
    Deed(usize, Deed),
    /// The n-th machine that is on its way out has ended.
    Ends(usize),
    /// All that lagged is shown.
    Reveal,
    /// EC2 shows nothing for a while.
    Dark,
    /// The results cannot be read for a while.
    Unreadable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Succeeds,
    SucceedsAndStays,
    Fails,
    FailsAndStays,
    EndsWithoutAWord,
    Reclaimed,
    TerminatedByUser,
    StoppedByUser,
    /// It tells a success of another index.
    ClaimsAnother,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    Works,
    /// The machines of this launch are not shown for a while.
    Lags,
    /// The call takes effect, its answer does not arrive.
    AnswerLost,
    /// The call is refused for want of capacity.
    Refused,
    /// Fewer come than were asked for.
    Partial,
    /// The process ends before this call.
    CrashBefore,
    /// The process ends after this call.
    CrashAfter,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Works),
        2 => Just(Fate::Lags),
        2 => Just(Fate::AnswerLost),
        1 => Just(Fate::Refused),
        2 => Just(Fate::Partial),
        1 => Just(Fate::CrashBefore),
        1 => Just(Fate::CrashAfter),
    ]
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        2 => Just(Deed::Succeeds),
        1 => Just(Deed::SucceedsAndStays),
        2 => Just(Deed::Fails),
        1 => Just(Deed::FailsAndStays),
        2 => Just(Deed::EndsWithoutAWord),
        1 => Just(Deed::Reclaimed),
        1 => Just(Deed::TerminatedByUser),
        1 => Just(Deed::StoppedByUser),
        1 => Just(Deed::ClaimsAnother),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => [fate(), fate(), fate()].prop_map(Step::Reconcile),
        1 => Just(Step::Restart),
        3 => (0usize..3, deed()).prop_map(|(n, deed)| Step::Deed(n, deed)),
        2 => (0usize..3).prop_map(Step::Ends),
        2 => Just(Step::Reveal),
        1 => Just(Step::Dark),
        1 => Just(Step::Unreadable),
    ]
}

pub(super) fn histories() -> impl Strategy<Value = (bool, Vec<Step>)> {
    (any::<bool>(), prop::collection::vec(step(), 0..40))
}
