//! The conditions, from what was found. Pure.

use crate::{
    aws::{
        Error,
        advice::{Remedy, advice, stalls},
    },
    condition::{ConditionType, Reason, Truth, Verdict},
    crd::launch_template_pin::LaunchTemplatePinStatus,
    ids::list,
    kinds::launch_template_pin::{
        desired::APPROVE,
        found::Found,
        memory::PinMemory,
        observe::MOST_GROUPS,
        observed::Observed,
        plan::{
            Assessment, Subject,
            groups::{Finding, GroupState},
            target::{Hold, Nothing, Target, Wanted},
        },
    },
    text::visible,
};

/// How many names a message has.
const NAMED: usize = 5;
/// The length of names and values of AWS in a message.
const NAME_LIMIT: usize = 256;

/// The conditions that were found.
pub(super) fn verdicts(found: &Found<'_>, status: &LaunchTemplatePinStatus, memory: &PinMemory) -> Vec<Verdict> {
    let mut verdicts = vec![ami(found), updated(found, memory), groups(found), refreshing(found)];
    verdicts.extend(prune_blocked(found, memory));
    verdicts.extend(rolled_back(found));
    verdicts.extend(conflict(found));
    if let Some(error) = &memory.unsent {
        let message = format!("{error}{}", advice(error, &Remedy::change("spec.notify.sns.topicARN")));
        verdicts.push(Verdict::new(ConditionType::NotifyFailed, true, Reason::NotDelivered, message));
    }
    let ready = ready(found, status, memory);
    verdicts.extend(ready);
    verdicts
}

/// The first problem, or what is in progress.
fn ready(found: &Found<'_>, status: &LaunchTemplatePinStatus, memory: &PinMemory) -> Vec<Verdict> {
    let not = |condition: ConditionType, reason: Reason, message: String| {
        vec![
            Verdict::new(ConditionType::Ready, false, reason, message.clone()),
            Verdict::new(condition, true, reason, message),
        ]
    };
    let stalled = |reason, message| not(ConditionType::Stalled, reason, message);
    let moving = |reason, message| not(ConditionType::Reconciling, reason, message);
    let Assessment { target, findings, .. } = found.assessment;
    if let Some(verdict) = conflict(found) {
        return stalled(verdict.reason, verdict.message);
    }
    if let Some(missing) = target.missing {
        return stalled(
            Reason::VersionNotFound,
            format!("version {missing} of spec.rollbackTo does not exist: name one of status.retained"),
        );
    }
    if let Some((subject, error)) = memory.problems().next() {
        let message = refused(subject, error);
        return if stalls(error) {
            stalled(Reason::CallRefused, message)
        } else {
            moving(Reason::CallRefused, message)
        };
    }
    // To go back needs no image.
    if let (Wanted::Nothing(nothing), Verdict { reason, message, .. }) = (&target.wanted, ami(found))
        && found.desired.rollback_to.is_none()
    {
        let waits =
            matches!(nothing, Nothing::Unmatched { pending, young, .. } if pending.is_some() || young.is_some());
        return if waits { moving(reason, message) } else { stalled(reason, message) };
    }
    let following = groups(found);
    if following.reason == Reason::GroupsNotFollowing {
        return stalled(following.reason, following.message);
    }
    let refresh = refreshing(found);
    if matches!(refresh.reason, Reason::RefreshFailed | Reason::RefreshBlocked) {
        return stalled(refresh.reason, refresh.message);
    }
    if !found.acts && !found.planned.is_empty() {
        let reason = if status.plan.is_some() { Reason::PlanOnly } else { Reason::Suspended };
        let message = {
            let steps = status.plan.as_ref().map_or(found.planned.len(), |plan| plan.steps.len());
            format!("nothing is changed; calls that would be made: {steps}")
        };
        return vec![Verdict::new(ConditionType::Ready, false, reason, message)];
    }
    if !status.intents.is_empty() || !found.planned.is_empty() {
        let template = found.observed.template.id.as_str();
        let next = found.planned.first().map(|call| call.describe(template));
        let next = next.unwrap_or_else(|| "wait until AWS shows the last change".into());
        return moving(Reason::Reconciling, format!("in progress: {next}"));
    }
    if refresh.truth == Truth::True || findings.values().any(|f| matches!(f.state, GroupState::OtherRefresh(_))) {
        return moving(Reason::RefreshInProgress, refresh.message);
    }
    let updated = updated(found, memory);
    let version = found.assessment.in_place(found.desired, found.observed);
    let message = match updated.truth {
        Truth::True => format!("version {version} is in place; groups that follow: {}", findings.len()),
        _ => format!("version {version} is in place; {}", updated.message),
    };
    let reason = if updated.truth == Truth::True { Reason::Ready } else { updated.reason };
    vec![Verdict::new(ConditionType::Ready, true, reason, message)]
}

fn refused(subject: &Subject, error: &Error) -> String {
    let about = match subject {
        Subject::Template => "the launch template".to_owned(),
        Subject::Group(name) => format!("Auto Scaling group {name}"),
    };
    format!("a change of {about} failed: {error}{}", advice(error, &Remedy::default()))
}

fn ami(found: &Found<'_>) -> Verdict {
    let verdict =
        |truth: bool, reason, message: String| Verdict::new(ConditionType::AmiResolved, truth, reason, message);
    match &found.assessment.target.wanted {
        Wanted::Any => {
            let image = found.observed.version(found.assessment.target.version).and_then(|row| row.image.as_deref());
            let message = match image {
                Some(image) if image.starts_with("resolve:ssm:") => format!(
                    "the launch template follows the parameter of {} by itself; without spec.ami it is left as it is",
                    visible(image, NAME_LIMIT)
                ),
                _ => "spec.ami is not set, so the versions of others are followed".to_owned(),
            };
            verdict(true, Reason::AmiFound, message)
        }
        Wanted::Image(row) => {
            let name = row.name.as_deref().map(|name| format!(" ({})", visible(name, NAME_LIMIT)));
            let message = format!("{}{} of {}", row.id, name.unwrap_or_default(), row.created_at);
            verdict(true, Reason::AmiFound, message)
        }
        Wanted::Nothing(Nothing::Rejected) => verdict(
            false,
            Reason::AmiRejected,
            "all images that match spec.ami.selector are in spec.rejectedAMIs: make another image".into(),
        ),
        Wanted::Nothing(Nothing::Older { gone, newest }) => verdict(
            false,
            Reason::AmiGone,
            format!(
                "image {gone}, which is in use, cannot be launched any more, and the newest image that is left, {newest}, is \
                 older; the launch template is left as it is: make a new image, add {gone} to spec.rejectedAMIs to go back to \
                 {newest}, or set spec.rollbackTo"
            ),
        ),
        Wanted::Nothing(Nothing::Unmatched { pending: Some(id), .. }) => {
            verdict(false, Reason::AmiNotAvailable, format!("{id} is still pending: it is used once it is available"))
        }
        Wanted::Nothing(Nothing::Unmatched { young: Some(id), .. }) => verdict(
            false,
            Reason::AmiNotAvailable,
            format!("{id} is younger than spec.ami.minAge: it is used once it is old enough"),
        ),
        Wanted::Nothing(Nothing::Unmatched { unusable, unusable_total, .. }) => {
            let hidden = match unusable_total {
                0 => String::new(),
                n => format!(" ({n} that match cannot be launched: {})", list(unusable.iter(), NAMED)),
            };
            let message = format!(
                "no image matches spec.ami.selector{hidden}; the launch template is left as it is: make an image, share one \
                 with this account, or change the selector. An image that is disabled, or not allowed by the account's \
                 Allowed AMIs, is not shown"
            );
            verdict(false, Reason::AmiNotFound, message)
        }
    }
}

fn updated(found: &Found<'_>, memory: &PinMemory) -> Verdict {
    let Found { desired, observed, assessment, .. } = found;
    let verdict =
        |truth: bool, reason, message: String| Verdict::new(ConditionType::TemplateUpdated, truth, reason, message);
    let Target { create, hold, version, is_closed, .. } = &assessment.target;
    match (create, hold) {
        (_, Some(Hold::Approval(image))) => {
            return verdict(
                false,
                Reason::AwaitingApproval,
                format!(
                    "image {image} waits for approval: set the annotation {APPROVE}={image}{}",
                    desired.approval_problem.as_ref().map(|problem| format!("; {problem}")).unwrap_or_default()
                ),
            );
        }
        (Some((_, image)), Some(Hold::Window(next))) => {
            let next = next.map(|next| format!(", at {next}")).unwrap_or_default();
            return verdict(false, Reason::WindowClosed, format!("image {image} waits until the window opens{next}"));
        }
        (Some((_, image)), Some(Hold::Fight)) => {
            return verdict(false, Reason::OtherWriter, format!("image {image} is not used: see Conflict"));
        }
        (Some((source, image)), None) => {
            let message = format!("a version with image {image} is to be made from version {source}");
            return verdict(false, Reason::VersionPending, message);
        }
        (None, _) => {}
    }
    if let Some(next) = assessment.new_default(desired, observed) {
        let reason = if *is_closed { Reason::WindowClosed } else { Reason::VersionPending };
        return verdict(false, reason, format!("version {next} is to become the default"));
    }
    let foreign = match assessment.target.foreign {
        Some(foreign) => format!("; version {foreign} was made by somebody else"),
        None => String::new(),
    };
    let warnings = match memory.warnings.as_slice() {
        [] => String::new(),
        warnings => format!("; EC2 warned: {}", visible(&warnings.join(", "), 500)),
    };
    verdict(true, Reason::VersionMade, format!("version {version} is in place{foreign}{warnings}"))
}

fn groups(found: &Found<'_>) -> Verdict {
    let Found { desired, observed, assessment, .. } = found;
    let verdict =
        |truth: bool, reason, message: String| Verdict::new(ConditionType::GroupsFollowing, truth, reason, message);
    if desired.named.is_empty() && desired.selector.is_none() {
        return verdict(true, Reason::NoGroups, "the spec has no groups".into());
    }
    let mut left: Vec<String> = observed.absent.iter().map(|name| format!("{name} does not exist")).collect();
    let cannot = assessment.findings.iter().filter(|(_, finding)| finding.state == GroupState::Left);
    left.extend(cannot.map(|(name, finding)| format!("{name}: {}", why_left(observed, name, finding))));
    if observed.left_out > 0 {
        left.push(format!("{} more groups, because one object changes at most {MOST_GROUPS}", observed.left_out));
    }
    let ungranted = match observed.ungranted {
        0 => String::new(),
        n => format!(
            "; groups that are selected and not granted: {n} (add their names to autoScalingGroups of the grant, or select \
             others)"
        ),
    };
    if !left.is_empty() {
        let message = format!("groups that cannot follow: {}{ungranted}", list(left.iter(), NAMED));
        return verdict(false, Reason::GroupsNotFollowing, message);
    }
    let waiting = assessment.findings.iter().filter(|(_, f)| matches!(f.state, GroupState::Held) || !f.is_set);
    let waiting: Vec<_> = waiting.map(|(name, _)| name).collect();
    if !waiting.is_empty() {
        let failed = |name: &&String| matches!(assessment.findings[*name].state, GroupState::RefreshFailed(_));
        let why = match assessment.target.is_closed {
            true => "wait until the window opens",
            false if waiting.iter().all(failed) => "keep their version, because the refresh failed",
            false => "to be changed",
        };
        let message = format!("{why}: {}{ungranted}", list(waiting.iter(), NAMED));
        return verdict(false, Reason::GroupsMoving, message);
    }
    if assessment.findings.is_empty() {
        return verdict(false, Reason::NoGroups, format!("no group is selected{ungranted}"));
    }
    verdict(true, Reason::AllGroupsFollow, format!("groups that follow: {}{ungranted}", assessment.findings.len()))
}

fn why_left(observed: &Observed, name: &str, finding: &Finding) -> String {
    use crate::crd::launch_template_pin::GroupVia::{
        LaunchConfiguration, MixedPolicy, Operator, OtherTemplate, Override, OverrideImage, Template,
    };
    match finding.via {
        LaunchConfiguration => "it has a launch configuration; give it a launch template".into(),
        OverrideImage => "an override has an image of its own; remove it".into(),
        Operator => {
            let operator = observed.groups.get(name).and_then(|group| group.row.operator.as_deref());
            format!("only {} may change it", visible(operator.unwrap_or("a service of AWS"), 100))
        }
        OtherTemplate => format!("it does not name launch template {}", observed.template.id),
        Template | MixedPolicy | Override => "it is being deleted".into(),
    }
}

fn refreshing(found: &Found<'_>) -> Verdict {
    let verdict =
        |truth: bool, reason, message: String| Verdict::new(ConditionType::Refreshing, truth, reason, message);
    let of = |test: &dyn Fn(&GroupState) -> Option<String>| -> Vec<String> {
        let rows = found.assessment.findings.iter();
        rows.filter_map(|(name, finding)| Some(format!("{name}: {}", test(&finding.state)?))).collect()
    };
    let failed = of(&|state| match state {
        GroupState::RefreshFailed(why) => Some(visible(why, 300)),
        _ => None,
    });
    if !failed.is_empty() {
        let message = format!(
            "{}. A new version starts another refresh, and so does a new value of the annotation muster.dev/requested-at",
            list(failed.iter(), NAMED)
        );
        return verdict(false, Reason::RefreshFailed, message);
    }
    let unreadable = of(&|state| match state {
        GroupState::Unreadable(error) => Some(format!("{error}{}", advice(error, &Remedy::default()))),
        _ => None,
    });
    if !unreadable.is_empty() {
        let message = format!("the refreshes of groups cannot be read: {}", list(unreadable.iter(), NAMED));
        return verdict(false, Reason::RefreshBlocked, message);
    }
    let suspended = of(&|state| match state {
        GroupState::Suspended(processes) => Some(format!("{} suspended", processes.join(", "))),
        _ => None,
    });
    if !suspended.is_empty() {
        let message = format!(
            "a refresh would do nothing while these processes are suspended: {}; resume them",
            list(suspended.iter(), NAMED)
        );
        return verdict(false, Reason::RefreshBlocked, message);
    }
    let active = found.assessment.findings.iter().filter(|(_, finding)| finding.state == GroupState::Refreshing);
    let active: Vec<_> = active
        .map(|(name, finding)| {
            let row = finding.refresh.as_ref();
            let percent = row.and_then(|row| row.percent).map(|percent| format!(" {percent}%")).unwrap_or_default();
            let reason = row.and_then(|row| row.reason.as_deref()).map(|why| format!(" ({})", visible(why, 200)));
            let status = row.map(|row| row.status.as_str()).unwrap_or("Pending");
            format!("{name}: {status}{percent}{}", reason.unwrap_or_default())
        })
        .collect();
    if !active.is_empty() {
        return verdict(true, Reason::RefreshInProgress, list(active.iter(), NAMED));
    }
    let others = of(&|state| match state {
        GroupState::OtherRefresh(id) => Some(format!("waits for the refresh {id} of somebody else")),
        _ => None,
    });
    if !others.is_empty() {
        return verdict(true, Reason::RefreshInProgress, list(others.iter(), NAMED));
    }
    let left = of(&|state| {
        match state {
        GroupState::LeftOver => Some(
            "the refresh ended and left instances of other versions: protected, in standby, or beyond the last checkpoint"
                .into(),
        ),
        _ => None,
    }
    });
    if !left.is_empty() {
        return verdict(false, Reason::NoRefresh, list(left.iter(), NAMED));
    }
    verdict(false, Reason::NoRefresh, "no instance refresh is in progress".into())
}

fn prune_blocked(found: &Found<'_>, memory: &PinMemory) -> Option<Verdict> {
    if let Some(error) = &found.observed.unread_refreshes {
        let message = format!(
            "no version is deleted, because it is not known where instance refreshes lead: {error}{}",
            advice(error, &Remedy::default())
        );
        return Some(Verdict::new(ConditionType::PruneBlocked, true, Reason::DeletionRefused, message));
    }
    let refused: Vec<_> =
        memory.why_undeleted().map(|(version, why)| format!("{version} ({})", visible(why, 200))).collect();
    if !refused.is_empty() {
        let message = format!("EC2 did not delete the versions {}; muster tries again", list(refused.iter(), NAMED));
        return Some(Verdict::new(ConditionType::PruneBlocked, true, Reason::DeletionRefused, message));
    }
    let blocked = &found.assessment.retention.blocked;
    if blocked.is_empty() {
        return None;
    }
    let message = format!(
        "versions beyond retention.keepVersions are in use: {}; see status.retained for what uses them",
        list(blocked.iter(), NAMED)
    );
    Some(Verdict::new(ConditionType::PruneBlocked, true, Reason::VersionsInUse, message))
}

fn rolled_back(found: &Found<'_>) -> Option<Verdict> {
    let Found { desired, observed, assessment, .. } = found;
    let is_free = assessment.target.missing.is_none() && assessment.taken_by.is_none();
    let to = desired.rollback_to.filter(|to| is_free && *to == observed.template.default)?;
    let message =
        format!("spec.rollbackTo pins default and groups to version {to}; remove it to follow new images again");
    Some(Verdict::new(ConditionType::RolledBack, true, Reason::PinnedByRollback, message))
}

fn conflict(found: &Found<'_>) -> Option<Verdict> {
    let (reason, message) = match (&found.assessment.taken_by, &found.assessment.target.hold) {
        (Some(uid), _) => (
            Reason::TemplateTaken,
            format!(
                "launch template {} is managed by the LaunchTemplatePin with uid {}: delete one of both, or, if that one does \
                 not exist any more, remove the tag muster.dev:owner-uid from the launch template",
                found.observed.template.id,
                visible(uid, 64)
            ),
        ),
        (None, Some(Hold::Fight)) => (
            Reason::OtherWriter,
            "somebody else has made versions on top of those of this object three times within an hour, so none is made \
             for an hour: let one of both make versions"
                .into(),
        ),
        (None, _) => return None,
    };
    Some(Verdict::new(ConditionType::Conflict, true, reason, message))
}
