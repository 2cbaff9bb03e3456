//! Rules that can be switched off, to see that they are missed.

use super::{
    super::sample::{UID, uid},
    wish::boundless,
};
use crate::{
    ids::{ClientToken, SubnetId},
    worker_fleet::desired::Desired,
    workers::{launch::LaunchIntent, share::Share},
};

/// A rule that is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// Rule 1: the record is written after the calls.
    RecordLast,
    /// Rule 1: the record is written whatever version there is by now.
    BlindWrites,
    /// Rule 2: a launch is repeated with what is wanted today.
    RepeatOfToday,
    /// Rule 3: a launch is repeated under a new token.
    NewToken,
    /// Rule 3: a launch is repeated in another subnet.
    OtherSubnet,
    /// Rule 4: a call is made however long ago it was recorded, and by whoever leads no longer.
    SendLate,
    /// Rule 5: a launch without an answer is taken for one that did nothing.
    NoAnswerIsNo,
    /// Rule 5: the refusal of a repeated launch is taken for one of the first.
    RefusalIsNo,
    /// Rule 5: a launch is struck once it is answered, before it is seen.
    AnsweredIsSeen,
    /// Rule 5: a search is believed before its wait is over.
    SearchAtOnce,
    /// Rule 6: who carries the tags is ours.
    TagIsEnough,
    /// Rule 7: what is not shown is gone.
    UnseenIsGone,
    /// Rule 7: a fresh process believes only in those that the status lists.
    CountIsForgotten,
    /// Rule 7: whoever is not shown for the grace is gone, however many there are.
    ManyAreGone,
    SurgeBound,
    UnavailabilityBound,
    ReplacementLimit,
    UnhealthyLimit,
}

pub(super) const BROKEN: [Broken; 18] = [
    Broken::RecordLast,
    Broken::BlindWrites,
    Broken::RepeatOfToday,
    Broken::NewToken,
    Broken::OtherSubnet,
    Broken::SendLate,
    Broken::NoAnswerIsNo,
    Broken::RefusalIsNo,
    Broken::AnsweredIsSeen,
    Broken::SearchAtOnce,
    Broken::TagIsEnough,
    Broken::UnseenIsGone,
    Broken::CountIsForgotten,
    Broken::ManyAreGone,
    Broken::SurgeBound,
    Broken::UnavailabilityBound,
    Broken::ReplacementLimit,
    Broken::UnhealthyLimit,
];

impl Broken {
    /// The wish that a planner without one of its guards would follow.
    pub(super) fn unguarded(self, desired: &Desired) -> Option<Desired> {
        let free = |change: fn(&mut Desired)| {
            let mut desired = desired.clone();
            change(&mut desired);
            Some(desired)
        };
        match self {
            Self::SurgeBound => free(|desired| desired.update = boundless(true)),
            Self::UnavailabilityBound => free(|desired| desired.update = boundless(false)),
            Self::ReplacementLimit => free(|desired| desired.max_replacements = 1000),
            Self::UnhealthyLimit => free(|desired| desired.max_unhealthy = Share::Percent(100)),
            Self::RecordLast
            | Self::BlindWrites
            | Self::RepeatOfToday
            | Self::NewToken
            | Self::OtherSubnet
            | Self::SendLate
            | Self::NoAnswerIsNo
            | Self::RefusalIsNo
            | Self::AnsweredIsSeen
            | Self::SearchAtOnce
            | Self::TagIsEnough
            | Self::UnseenIsGone
            | Self::CountIsForgotten
            | Self::ManyAreGone => None,
        }
    }

    /// The call that an intent becomes.
    pub(super) fn rendered(self, intent: &LaunchIntent, desired: &Desired, nonce: &mut u64) -> LaunchIntent {
        let mut sent = intent.clone();
        if intent.attempts == 1 {
            return sent;
        }
        match self {
            Self::RepeatOfToday => {
                let group = desired.groups.iter().find(|group| group.role == intent.role);
                if let Some(supply) = group.and_then(|group| group.supplied.supply.as_ref()) {
                    sent.revision = supply.revision.name.clone();
                    sent.image_id = supply.image.id.clone();
                }
            }
            Self::NewToken => {
                *nonce += 1_000_000;
                sent.token = ClientToken::new(&uid(UID), *nonce);
            }
            Self::OtherSubnet => {
                let subnets = ["subnet-0000000a", "subnet-0000000b"];
                let other = subnets.into_iter().find(|subnet| *subnet != intent.subnet.as_str());
                sent.subnet = SubnetId::try_from(other.unwrap_or_default()).unwrap();
            }
            Self::RecordLast
            | Self::BlindWrites
            | Self::SendLate
            | Self::NoAnswerIsNo
            | Self::RefusalIsNo
            | Self::AnsweredIsSeen
            | Self::SearchAtOnce
            | Self::TagIsEnough
            | Self::UnseenIsGone
            | Self::CountIsForgotten
            | Self::ManyAreGone
            | Self::SurgeBound
            | Self::UnavailabilityBound
            | Self::ReplacementLimit
            | Self::UnhealthyLimit => {}
        }
        sent
    }
}
