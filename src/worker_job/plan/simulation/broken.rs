//! The rules that the histories need.

/// A rule that is not kept. The histories must find out, or they prove nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// The record is written after the calls.
    RecordLast,
    /// A launch is repeated under a new token.
    NewToken,
    /// A launch without an answer is taken for one that did nothing.
    NoAnswerIsNo,
    /// A launch is struck once it is answered, before it is seen.
    AnsweredIsSeen,
    /// What is not shown is taken for gone.
    UnseenIsGone,
    /// What is on its way out is taken for gone.
    LeavingIsGone,
    /// An end is accounted for at each look.
    CountedAgain,
    /// The first indexes of a launch are taken to be running, whatever the launch indexes say.
    LaunchIndexIgnored,
    /// An end is a failure whatever caused it.
    EveryEndCounts,
    /// Results that cannot be read are taken for none.
    UnreadIsNone,
    /// A result counts wherever it is.
    AnyPlaceCounts,
    /// A process that starts believes in nobody whom it does not see.
    NobodyListed,
}

pub(super) const BROKEN: &[Broken] = &[
    Broken::RecordLast,
    Broken::NewToken,
    Broken::NoAnswerIsNo,
    Broken::AnsweredIsSeen,
    Broken::UnseenIsGone,
    Broken::LeavingIsGone,
    Broken::CountedAgain,
    Broken::LaunchIndexIgnored,
    Broken::EveryEndCounts,
    Broken::NobodyListed,
    Broken::AnyPlaceCounts,
    Broken::UnreadIsNone,
];
