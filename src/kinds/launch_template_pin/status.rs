//! The status, from what was found. Pure, but for the time of the next reconcile.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    aws::{Session, autoscaling::SUCCESSFUL, ec2::ImageRow},
    condition::second,
    crd::{
        fields::Preview,
        launch_template_pin::{GroupStatus, ImageSummary, LaunchTemplatePin, LaunchTemplatePinStatus, RetainedVersion},
    },
    ids::ImageId,
    k8s::live::Live,
    kinds::launch_template_pin::{
        conditions::verdicts,
        found::Found,
        memory::PinMemory,
        plan::{
            Assessment, Call,
            groups::{Finding, GroupState},
            target::{Wanted, recent},
        },
    },
    reconcile::{Outcome, context::Context},
    text::visible,
};

/// How many refreshes are looked at each time.
const FEW: usize = 5;
/// How many versions the status lists.
const LISTED: usize = 32;
/// The length of a name of AWS.
const NAME_LIMIT: usize = 256;

pub(super) fn outcome(
    ctx: &Context,
    live: &Live<LaunchTemplatePin>,
    (found, before): (&Found<'_>, LaunchTemplatePinStatus),
    memory: &PinMemory,
    session: &Session,
    plan: Option<Vec<Call>>,
) -> Outcome<LaunchTemplatePinStatus> {
    let now = ctx.clock.now();
    let mut status = status(before, found, now);
    status.aws = Some(session.place());
    let template = found.observed.template.id.as_str();
    status.plan = plan.map(|calls| Preview::new(calls.iter().map(|call| call.describe(template)).collect(), false));
    let verdicts = verdicts(found, &status, memory);
    let timings = &ctx.config.timings;
    let is_refreshing = |group: &&Finding| matches!(group.state, GroupState::Refreshing | GroupState::OtherRefresh(_));
    let refreshing = found.assessment.findings.values().filter(is_refreshing).count();
    let requeue = match (found.acts, status.intents.is_empty() && found.planned.is_empty(), refreshing) {
        (true, false, _) => timings.progress,
        (_, _, 0) => live.spread(timings.sweep),
        // Each is a call.
        (_, _, 1..=FEW) => timings.progress,
        (..) => timings.progress * 6,
    };
    Outcome { status, verdicts, requeue: requeue.min(until_open(found, now)) }
}

fn until_open(found: &Found<'_>, now: Timestamp) -> Duration {
    let next = found.desired.window.as_ref().and_then(|window| window.next(now));
    let wait = next.and_then(|next| Duration::try_from(next.duration_since(now)).ok());
    wait.filter(|_| found.assessment.target.is_closed).unwrap_or(Duration::MAX)
}

fn summary(row: &ImageRow) -> ImageSummary {
    ImageSummary {
        id: row.id.clone(),
        name: row.name.as_deref().map(|name| visible(name, NAME_LIMIT)),
        created_at: Some(Time(second(row.created_at))),
    }
}

/// The status without conditions.
pub(super) fn status(before: LaunchTemplatePinStatus, found: &Found<'_>, now: Timestamp) -> LaunchTemplatePinStatus {
    let Found { desired, observed, assessment, .. } = found;
    let target = &assessment.target;
    let in_place = observed.version(assessment.in_place(desired, observed));
    let runs = in_place.and_then(|row| ImageId::try_from(row.image.as_deref()?).ok());
    let known = |id: &ImageId| match &target.wanted {
        Wanted::Image(row) if row.id == *id => Some(summary(row)),
        _ => {
            let looked_up = observed.current.iter().flatten().find(|row| row.id == *id).map(summary);
            looked_up.or_else(|| before.current_ami.clone().filter(|image| image.id == *id))
        }
    };
    let bare = |id: ImageId| ImageSummary { id, name: None, created_at: None };
    let current = runs.map(|id| known(&id).unwrap_or_else(|| bare(id)));
    let candidate = match &target.wanted {
        Wanted::Image(row) if current.as_ref().is_none_or(|current| current.id != row.id) => Some(summary(row)),
        _ => None,
    };
    let retained = observed.versions.iter().take(LISTED).map(|row| RetainedVersion {
        version: row.version,
        image_id: row.image.as_deref().map(|image| visible(image, NAME_LIMIT)),
        protected_by: assessment.retention.protected.get(&row.version).into_iter().flatten().copied().collect(),
    });
    let groups: Vec<_> =
        assessment.findings.iter().map(|(name, finding)| group_status(&before, name, finding)).collect();
    LaunchTemplatePinStatus {
        launch_template_id: Some(observed.template.id.to_string()),
        candidate_ami: candidate,
        current_ami: current,
        latest_version: Some(observed.template.latest),
        default_version: Some(observed.template.default),
        overridden_at: recent(&before, now).into_iter().map(Time).collect(),
        refresh_summary: refresh_summary(assessment),
        retained: retained.collect(),
        versions_total: i32::try_from(observed.versions.len()).unwrap_or(i32::MAX),
        groups,
        ..before
    }
}

fn group_status(before: &LaunchTemplatePinStatus, name: &str, finding: &Finding) -> GroupStatus {
    let known = before.groups.iter().find(|group| group.name == name);
    let refresh = finding.refresh.as_ref();
    let last = refresh.map(|row| row.status.as_str()).or(known.and_then(|known| known.refresh_status.as_deref()));
    let is_successful = last == Some(SUCCESSFUL);
    GroupStatus {
        name: name.to_owned(),
        via: Some(finding.via),
        version: finding.version.as_deref().map(|version| visible(version, 20)),
        outdated: i32::try_from(finding.outdated).unwrap_or(i32::MAX),
        refresh_id: known.and_then(|known| known.refresh_id.clone()),
        refresh_version: known.and_then(|known| known.refresh_version),
        refresh_status: refresh
            .map(|row| row.status.clone())
            .or_else(|| known.and_then(|known| known.refresh_status.clone())),
        left: match &finding.state {
            GroupState::LeftOver | GroupState::Follows if is_successful => {
                let now = i32::try_from(finding.outdated).unwrap_or(i32::MAX);
                Some(known.and_then(|known| known.left).map_or(now, |before| before.min(now)))
            }
            _ => known.and_then(|known| known.left),
        },
        percent_complete: match refresh {
            Some(row) => row.percent,
            None => known.and_then(|known| known.percent_complete),
        },
    }
}

/// In a few words, for the column.
fn refresh_summary(assessment: &Assessment) -> Option<String> {
    let active: Vec<_> = assessment.findings.values().filter(|group| group.state == GroupState::Refreshing).collect();
    let failed = assessment.findings.values().filter(|g| matches!(g.state, GroupState::RefreshFailed(_))).count();
    match (active.as_slice(), failed) {
        ([], 0) => None,
        ([], failed) => Some(format!("Failed ({failed})")),
        ([one], 0) => {
            let row = one.refresh.as_ref()?;
            Some(row.percent.map_or_else(|| row.status.clone(), |percent| format!("{} {percent}%", row.status)))
        }
        (many, _) => Some(format!("InProgress ({} of {})", many.len(), assessment.findings.len())),
    }
}
