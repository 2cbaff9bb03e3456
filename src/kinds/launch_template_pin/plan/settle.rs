//! What becomes of recorded calls whose outcome is not certain. Pure.

use jiff::SignedDuration;

use crate::{
    aws::{
        autoscaling::{RefreshRow, RefreshState},
        ec2::template_versions::TemplateHead,
    },
    crd::launch_template_pin::{GroupStatus, LaunchTemplatePinStatus, PinIntent, PinOperation},
    ids::Uid,
    kinds::launch_template_pin::observed::{Observed, marker},
};

/// How far the clocks of AWS and of this process may differ.
const CLOCKS: SignedDuration = SignedDuration::from_mins(1);

/// What to do with an intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Fate {
    /// It took effect, or it does not matter any more.
    Over,
    /// It is sent again: the same token makes the same version, and all other calls are idempotent, but for the start of a
    /// refresh. Of that, no trace was found just before, and AWS refuses a second one while the first runs.
    Resend,
    /// AWS does not show its outcome yet.
    Wait,
}

/// How long ago this process first saw an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Age {
    /// AWS may not show yet what it did.
    Young,
    /// AWS shows all that it did.
    Old,
}

/// What this process knows about an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Knowledge {
    pub(in super::super) age: Age,
    /// The same call would be planned now.
    pub(in super::super) is_wanted: bool,
    /// EC2 said that the token was used.
    pub(in super::super) token_is_used: bool,
}

/// Settles `intent`, and adds its effect to the record.
pub(in super::super) fn settle(
    record: &mut LaunchTemplatePinStatus,
    intent: &PinIntent,
    observed: &Observed,
    uid: &Uid,
    Knowledge { age, is_wanted, token_is_used }: Knowledge,
) -> Fate {
    match intent.operation {
        PinOperation::CreateVersion => {
            let description = description(uid, intent);
            let made = observed.versions.iter().find(|row| row.description == description);
            let made = made.map(|row| row.version).or(intent.created_version);
            match (made, age) {
                (Some(made), _) if observed.version(made).is_some() => Fate::Over,
                // It was made, and somebody deleted it.
                (Some(_), Age::Old) => Fate::Over,
                (Some(_), Age::Young) => Fate::Wait,
                // What was to hold it back since then holds back a repetition too.
                (None, _) if is_wanted && !token_is_used => Fate::Resend,
                (None, Age::Young) => Fate::Wait,
                (None, Age::Old) => Fate::Over,
            }
        }
        PinOperation::StartRefresh => {
            let group = intent.group.as_deref().unwrap_or_default();
            let Some(refreshes) = observed.groups.get(group).map(|group| group.refreshes.as_deref()) else {
                return if age == Age::Old { Fate::Over } else { Fate::Wait };
            };
            let Some(refreshes) = refreshes else { return Fate::Wait };
            let before = intent.refresh_id.as_deref();
            // The first one after that which may be its own: somebody else may have started others.
            let since = refreshes.iter().take_while(|row| Some(row.id.as_str()) != before);
            match since.filter(|row| may_be_of(intent, row, &observed.template)).last() {
                Some(row) => {
                    started(record, group, &row.id, intent.version);
                    Fate::Over
                }
                None if is_wanted => Fate::Resend,
                None if age == Age::Old => Fate::Over,
                None => Fate::Wait,
            }
        }
        PinOperation::Claim if observed.claimed_by().is_some() => Fate::Over,
        PinOperation::Claim => Fate::Resend,
        PinOperation::CancelRefresh if is_in_effect(intent, observed) => {
            cancelled(record, intent);
            Fate::Over
        }
        _ if is_in_effect(intent, observed) => Fate::Over,
        // Sent late, they would undo what is wanted now; so what is not wanted any more is waited for.
        PinOperation::SetDefault
        | PinOperation::UpdateGroup
        | PinOperation::CancelRefresh
        | PinOperation::DeleteVersions => match (is_wanted, age) {
            (true, _) => Fate::Resend,
            (false, Age::Old) => Fate::Over,
            (false, Age::Young) => Fate::Wait,
        },
    }
}

/// Whether a refresh may be the one that `intent` started. A refresh has no name of the caller, so it is compared with
/// what the intent asks for.
fn may_be_of(intent: &PinIntent, row: &RefreshRow, template: &TemplateHead) -> bool {
    let begun = row.started_at.is_none_or(|at| at.duration_since(intent.started_at.0) > -CLOCKS);
    let mut ours = row.desired.iter().filter(|place| place.is_of(&template.id, &template.name)).peekable();
    let is_as_asked = match &intent.follow {
        None => row.desired.is_empty(),
        Some(version) => ours.peek().is_some() && ours.all(|place| place.version == *version),
    };
    begun && is_as_asked
}

/// Whether AWS shows what the call asked for.
fn is_in_effect(intent: &PinIntent, observed: &Observed) -> bool {
    let group = || intent.group.as_ref().and_then(|name| observed.groups.get(name));
    match intent.operation {
        PinOperation::SetDefault => Some(observed.template.default) == intent.version,
        PinOperation::DeleteVersions => intent.versions.iter().all(|&version| observed.version(version).is_none()),
        PinOperation::UpdateGroup => group().is_some_and(|group| {
            let ours =
                group.row.places.iter().filter(|place| place.is_of(&observed.template.id, &observed.template.name));
            ours.map(|place| Some(&place.version)).all(|version| version == intent.follow.as_ref())
        }),
        PinOperation::CancelRefresh => group().and_then(|group| group.refreshes.as_ref()).is_some_and(|refreshes| {
            let named = refreshes.iter().find(|row| Some(&row.id) == intent.refresh_id.as_ref());
            named.is_none_or(|row| row.state != RefreshState::Active)
        }),
        PinOperation::Claim | PinOperation::CreateVersion | PinOperation::StartRefresh => false,
    }
}

/// Remembers the refresh that muster started.
pub(in super::super) fn started(
    record: &mut LaunchTemplatePinStatus,
    group: &str,
    refresh: &str,
    version: Option<i64>,
) {
    let known = record.groups.iter().position(|row| row.name == group);
    let place = known.unwrap_or_else(|| {
        record.groups.push(GroupStatus { name: group.to_owned(), ..GroupStatus::default() });
        record.groups.len() - 1
    });
    let row = &mut record.groups[place];
    (row.refresh_id, row.refresh_version) = (Some(refresh.to_owned()), version);
    (row.refresh_status, row.percent_complete, row.left) = (Some("Pending".to_owned()), None, None);
}

/// A refresh that muster cancelled itself did not fail: another one to the same version may start.
pub(in super::super) fn cancelled(record: &mut LaunchTemplatePinStatus, intent: &PinIntent) {
    let row = record.groups.iter_mut().find(|row| Some(&row.name) == intent.group.as_ref());
    if let Some(row) = row.filter(|row| row.refresh_id == intent.refresh_id) {
        row.refresh_version = None;
    }
}

/// The description of the version that `intent` makes, by which it is found again.
pub(in super::super) fn description(uid: &Uid, intent: &PinIntent) -> String {
    format!("{}{}", marker(uid), intent.nonce)
}
