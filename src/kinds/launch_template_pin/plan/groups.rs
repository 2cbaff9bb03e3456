//! How the groups follow, and when their instances are replaced. Pure.

use crate::{
    aws::{
        Error,
        autoscaling::{
            RefreshRow, RefreshState, SUCCESSFUL,
            group::{At, GroupRow},
            is_over,
        },
    },
    crd::launch_template_pin::{Follow, GroupStatus, GroupVia, LaunchTemplatePinStatus},
    kinds::launch_template_pin::{
        desired::Desired,
        observed::{Group, Observed},
        plan::{
            call::Call,
            target::{Target, is_rejected},
        },
    },
};

/// Processes of a group without which a refresh does nothing.
const NEEDED: [&str; 3] = ["InstanceRefresh", "Launch", "Terminate"];

/// What was found about a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Finding {
    pub(in super::super) via: GroupVia,
    /// The version, as the group names it.
    pub(in super::super) version: Option<String>,
    /// The number of its instances of other versions than it should run.
    pub(in super::super) outdated: usize,
    /// It names the version that it should name.
    pub(in super::super) is_set: bool,
    pub(in super::super) state: GroupState,
    /// What to do next.
    pub(in super::super) call: Option<Call>,
    /// The refresh that was started by muster, as AWS shows it now.
    pub(in super::super) refresh: Option<RefreshRow>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum GroupState {
    /// It launches what it should, and so do its instances, or nobody asks to replace them.
    Follows,
    /// It cannot follow.
    Left,
    /// It is being changed.
    Moving,
    /// Its instances are being replaced.
    Refreshing,
    /// It waits for the refresh of somebody else.
    OtherRefresh(String),
    /// The last refresh did not succeed: its status and the reason.
    RefreshFailed(String),
    /// The refresh succeeded, and instances of other versions are left.
    LeftOver,
    /// Its refreshes could not be read.
    Unreadable(Error),
    /// A refresh would do nothing while these processes are suspended.
    Suspended(Vec<String>),
    /// It waits for what holds the roll-out.
    Held,
}

/// Whether the refreshes of a group must be read to know what to do.
pub(in super::super) fn needs_refreshes(
    desired: &Desired,
    observed: &Observed,
    record: &LaunchTemplatePinStatus,
    group: &Group,
    version: i64,
) -> bool {
    let recorded = recorded(record, &group.row.name);
    let is_open = recorded.is_some_and(|r| r.refresh_id.is_some() && !is_over(r.refresh_status.as_deref()));
    let started = record.intents.iter().any(|intent| intent.group.as_deref() == Some(&group.row.name));
    is_open || started || (desired.refresh.is_some() && group.outdated(&observed.template, version) > 0)
}

fn recorded<'a>(record: &'a LaunchTemplatePinStatus, name: &str) -> Option<&'a GroupStatus> {
    record.groups.iter().find(|group| group.name == name)
}

/// Whether there are more instances of other versions than the last refresh left.
fn has_more(record: Option<&GroupStatus>, outdated: usize) -> bool {
    let left = record.and_then(|record| record.left).and_then(|left| usize::try_from(left).ok());
    left.is_some_and(|left| outdated > left)
}

/// The version that a group should name, and its number.
pub(in super::super) fn aim(desired: &Desired, observed: &Observed, follow: Follow, target: &Target) -> (String, i64) {
    let template = &observed.template;
    match follow {
        Follow::Latest if desired.rollback_to.is_none() && !target.latest_is_barred => {
            ("$Latest".into(), template.latest)
        }
        Follow::Default => ("$Default".into(), template.default),
        Follow::Latest | Follow::Pinned => (target.version.to_string(), target.version),
    }
}

/// Where the group names the launch template, or why it cannot follow it.
fn via(group: &GroupRow, observed: &Observed) -> (GroupVia, bool) {
    if group.operator.is_some() {
        return (GroupVia::Operator, false);
    }
    if group.has_launch_configuration {
        return (GroupVia::LaunchConfiguration, false);
    }
    let ours = group.places.iter().filter(|place| place.is_of(&observed.template.id, &observed.template.name));
    let places: Vec<At> = ours.map(|place| place.at).collect();
    match places.first() {
        None => (GroupVia::OtherTemplate, false),
        Some(_) if group.has_override_image => (GroupVia::OverrideImage, false),
        Some(At::Template) => (GroupVia::Template, true),
        Some(At::MixedPolicy) => (GroupVia::MixedPolicy, true),
        Some(At::Override) => (GroupVia::Override, true),
    }
}

/// What to do with a group. `retries`: whether a refresh that did not succeed is started again.
pub(in super::super) fn finding(
    desired: &Desired,
    observed: &Observed,
    record: &LaunchTemplatePinStatus,
    target: &Target,
    group: &Group,
    retries: bool,
) -> Finding {
    let (via, follows) = via(&group.row, observed);
    let template = &observed.template;
    let ours: Vec<_> = group.row.places.iter().filter(|p| p.is_of(&template.id, &template.name)).collect();
    let (want, number) = aim(desired, observed, group.follow, target);
    let outdated = group.outdated(template, number);
    let is_rejected =
        desired.rollback_to.is_none() && observed.version(number).is_some_and(|row| is_rejected(desired, row));
    let version = ours.first().map(|place| place.version.clone());
    let record = recorded(record, &group.row.name);
    let refreshes = group.refreshes.as_deref().unwrap_or_default();
    let known = record.and_then(|record| record.refresh_id.as_deref());
    let last = refreshes.iter().find(|row| Some(row.id.as_str()) == known);
    let leads_to = record.and_then(|record| record.refresh_version);
    let is_set = ours.iter().all(|place| place.version == want);
    let found = |state, call| {
        let (version, refresh) = (version.clone(), last.cloned());
        Finding { via, version, outdated, is_set, state, call, refresh }
    };
    if !follows || group.row.is_being_deleted {
        return found(GroupState::Left, None);
    }
    // A refresh sets a pinned group to its new version, so that AWS can go back. Going back is not to wait for it.
    let by_refresh =
        group.follow == Follow::Pinned && desired.refresh.is_some() && desired.rollback_to.is_none() && outdated > 0;
    // To follow by name what is the default already is no roll-out.
    let is_new = group.follow == Follow::Pinned || number != template.default;
    let waits = target.is_closed && is_new && desired.rollback_to.is_none() && version.is_some();
    let active = refreshes.iter().find(|row| matches!(row.state, RefreshState::Active | RefreshState::Ending));
    let cancel = |row: &RefreshRow| Call::CancelRefresh { group: group.row.name.clone(), refresh: row.id.clone() };
    if let Some(row) = active {
        let is_ours = known == Some(row.id.as_str());
        if is_ours && row.state == RefreshState::Active && (leads_to != Some(number) || is_rejected) {
            return found(GroupState::Refreshing, Some(cancel(row)));
        }
        // Somebody has set the group back meanwhile, and what the refresh launches has that version.
        if is_ours && !is_set && row.desired.is_empty() && !waits && !is_rejected {
            let call = Call::UpdateGroup { group: group.row.name.clone(), follow: want, version: number };
            return found(GroupState::Refreshing, Some(call));
        }
        if is_ours {
            return found(GroupState::Refreshing, None);
        }
        return found(GroupState::OtherRefresh(row.id.clone()), None);
    }
    // Nothing leads to a rejected image.
    if is_rejected {
        return found(GroupState::Held, None);
    }
    if let Some(error) = &group.unreadable {
        return found(GroupState::Unreadable(error.clone()), None);
    }
    // The group was read before its refresh, which has just ended.
    let has_just_ended = last.is_some_and(|row| row.state == RefreshState::Successful)
        && leads_to == Some(number)
        && record.is_some_and(|record| record.refresh_status.as_deref() != Some(SUCCESSFUL));
    if has_just_ended && (!is_set || outdated > 0) {
        return found(GroupState::Refreshing, None);
    }
    if !is_set && !by_refresh {
        if waits {
            return found(GroupState::Held, None);
        }
        let call = Call::UpdateGroup { group: group.row.name.clone(), follow: want, version: number };
        return found(GroupState::Moving, Some(call));
    }
    let is_done = is_set && outdated == 0;
    let Some(_) = desired.refresh.as_ref().filter(|_| !is_done) else { return found(GroupState::Follows, None) };
    let ended = last.filter(|_| leads_to == Some(number)).map(|row| row.state);
    match ended {
        // Instances that appeared later are replaced too.
        Some(RefreshState::Successful) if is_set && !retries && !has_more(record, outdated) => {
            return found(GroupState::LeftOver, None);
        }
        Some(RefreshState::Unsuccessful) if !retries => {
            let told = last.map(|row| format!("{}: {}", row.status, row.reason.as_deref().unwrap_or("no reason")));
            return found(GroupState::RefreshFailed(told.unwrap_or_default()), None);
        }
        Some(_) | None => {}
    }
    let suspended: Vec<_> =
        NEEDED.iter().filter(|name| group.row.suspended.contains(**name)).map(|&n| n.into()).collect();
    if !suspended.is_empty() {
        return found(GroupState::Suspended(suspended), None);
    }
    if target.is_closed {
        return found(GroupState::Held, None);
    }
    let start = Call::StartRefresh {
        group: group.row.name.clone(),
        version: number,
        after: refreshes.first().map(|row| row.id.clone()),
        pins: by_refresh && !is_set,
    };
    found(GroupState::Moving, Some(start).filter(|_| group.refreshes.is_some()))
}
