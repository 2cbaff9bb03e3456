//! What the spec asks for, with the checks that the schema cannot express. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    aws::autoscaling::{Preferences, group::GroupRow},
    crd::{
        fields::duration,
        launch_template_pin::{
            Approval, Follow, LaunchTemplatePin, LaunchTemplatePinSpec, PinNotice, PinnedAmi, Refresh,
            RetainedVersions, Retention, SnsTopic, Window,
        },
        template::AmiSelector,
    },
    ids::ImageId,
    k8s::live::Live,
    reconcile::Failure,
    schedule::Schedule,
    text::visible,
};

/// The annotation that approves an image.
pub(super) const APPROVE: &str = "muster.dev/approve";

#[derive(Clone, Debug, Default)]
pub(super) struct Desired {
    pub(super) ami: Option<Selected>,
    pub(super) rejected: BTreeSet<ImageId>,
    pub(super) set_default: bool,
    pub(super) keep: Option<Keep>,
    pub(super) named: BTreeMap<String, Follow>,
    pub(super) selector: Option<(BTreeMap<String, String>, Follow)>,
    /// `None` if instances are not replaced.
    pub(super) refresh: Option<Preferences>,
    pub(super) window: Option<Open>,
    /// `None` if images need no approval.
    pub(super) approved: Option<BTreeSet<ImageId>>,
    /// What is wrong with the annotation.
    pub(super) approval_problem: Option<String>,
    pub(super) rollback_to: Option<i64>,
    pub(super) topic: Option<Topic>,
}

/// Which image is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selected {
    pub(super) selector: AmiSelector,
    pub(super) min_age: Duration,
}

/// Which versions are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Keep {
    pub(super) newest: usize,
    pub(super) min_age: Duration,
    pub(super) of: RetainedVersions,
}

/// When roll-outs may begin.
#[derive(Clone, Debug)]
pub(super) struct Open {
    schedule: Schedule,
    lasts: Duration,
}

/// Who is notified of what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Topic {
    pub(super) arn: String,
    pub(super) events: BTreeSet<PinNotice>,
}

impl Open {
    pub(super) fn is_open(&self, now: Timestamp) -> bool {
        let before = now.checked_sub(self.lasts).unwrap_or_default();
        self.schedule.next_after(before).is_some_and(|begins| begins <= now)
    }

    pub(super) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        self.schedule.next_after(now)
    }
}

/// # Errors
/// The field, what is wrong with it, and what to write instead.
pub(super) fn desired(live: &Live<LaunchTemplatePin>) -> Result<Desired, Failure> {
    Desired::parse(&live.object().spec, live.annotation(APPROVE)).map_err(Failure::InvalidSpec)
}

impl Desired {
    /// # Errors
    /// The field, what is wrong with it, and what to write instead.
    pub(super) fn parse(spec: &LaunchTemplatePinSpec, approve: Option<&str>) -> Result<Self, String> {
        let refresh = spec.refresh.as_ref().filter(|refresh| refresh.enabled);
        let (approved, approval_problem) = approved(spec.approval, approve);
        Ok(Self {
            ami: spec.ami.as_ref().map(selected).transpose()?,
            rejected: spec.rejected_amis.iter().filter_map(|id| ImageId::try_from(id.as_str()).ok()).collect(),
            set_default: spec.set_default,
            keep: spec.retention.as_ref().map(keep).transpose()?,
            named: spec.auto_scaling_groups.iter().map(|group| (group.name.clone(), group.version)).collect(),
            selector: spec.auto_scaling_group_selector.as_ref().map(|s| (s.tags.clone(), s.version)),
            refresh: refresh.map(preferences).transpose()?,
            window: spec.window.as_ref().map(open).transpose()?,
            approved,
            approval_problem,
            rollback_to: spec.rollback_to,
            topic: spec.notify.as_ref().map(|notify| topic(&notify.sns, &spec.aws.region)).transpose()?,
        })
    }

    /// How this group should follow, if it should.
    pub(super) fn follow(&self, group: &GroupRow) -> Option<Follow> {
        if let Some(named) = self.named.get(&group.name) {
            return Some(*named);
        }
        let (tags, follow) = self.selector.as_ref()?;
        tags.iter().all(|(key, value)| group.tags.get(key) == Some(value)).then_some(*follow)
    }
}

fn time(field: &str, text: &str) -> Result<Duration, String> {
    duration(text).map_err(|error| format!("{field}: {error}"))
}

fn selected(ami: &PinnedAmi) -> Result<Selected, String> {
    let min_age = ami.min_age.as_deref().map(|text| time("spec.ami.minAge", text)).transpose()?;
    Ok(Selected { selector: ami.selector.clone(), min_age: min_age.unwrap_or_default() })
}

fn keep(retention: &Retention) -> Result<Keep, String> {
    Ok(Keep {
        newest: usize::try_from(retention.keep_versions).unwrap_or(usize::MAX),
        min_age: time("spec.retention.minAge", &retention.min_age)?,
        of: retention.versions,
    })
}

/// In whole seconds, as AWS takes it.
fn seconds(field: &str, text: Option<&String>) -> Result<Option<i32>, String> {
    let Some(text) = text else { return Ok(None) };
    let span = time(field, text)?;
    let whole = i32::try_from(span.as_secs()).ok().filter(|_| span.subsec_nanos() == 0);
    whole.map(Some).ok_or_else(|| format!("{field}: AWS takes whole seconds; write it like 90s or 5m"))
}

fn preferences(refresh: &Refresh) -> Result<Preferences, String> {
    let checkpoints = refresh.checkpoints.as_ref();
    Ok(Preferences {
        min_healthy_percentage: refresh.min_healthy_percentage,
        max_healthy_percentage: refresh.max_healthy_percentage,
        instance_warmup: seconds("spec.refresh.instanceWarmup", refresh.instance_warmup.as_ref())?,
        skip_matching: refresh.skip_matching,
        bake_time: seconds("spec.refresh.bakeTime", refresh.bake_time.as_ref())?,
        checkpoint_percentages: checkpoints.map(|c| c.percentages.clone()).unwrap_or_default(),
        checkpoint_delay: seconds("spec.refresh.checkpoints.delay", checkpoints.and_then(|c| c.delay.as_ref()))?,
        alarms: refresh.alarms.clone(),
        auto_rollback: refresh.auto_rollback,
        scale_in_protected_instances: refresh.scale_in_protected_instances,
        standby_instances: refresh.standby_instances,
    })
}

fn open(window: &Window) -> Result<Open, String> {
    let schedule = Schedule::parse(&window.schedule, &window.time_zone);
    let schedule = schedule.map_err(|error| format!("spec.window: {error}"))?;
    if schedule.next_after(Timestamp::UNIX_EPOCH).is_none() {
        return Err(format!("spec.window.schedule: {:?} never comes; write another day", window.schedule));
    }
    Ok(Open { schedule, lasts: time("spec.window.duration", &window.duration)? })
}

/// What is approved. A wrong annotation approves nothing, and is in the way of nothing else.
fn approved(approval: Approval, annotation: Option<&str>) -> (Option<BTreeSet<ImageId>>, Option<String>) {
    match (approval, annotation.map(str::trim)) {
        (Approval::Automatic, _) => (None, None),
        (Approval::Manual, None) => (Some(BTreeSet::new()), None),
        (Approval::Manual, Some(text)) => match ImageId::try_from(text) {
            Ok(id) => (Some(BTreeSet::from([id])), None),
            Err(_) => (
                Some(BTreeSet::new()),
                Some(format!("its present value {:?} is not the id of an image", visible(text, 64))),
            ),
        },
    }
}

fn topic(sns: &SnsTopic, region: &str) -> Result<Topic, String> {
    let theirs = sns.topic_arn.split(':').nth(3).unwrap_or_default();
    if theirs != region {
        return Err(format!(
            "spec.notify.sns.topicARN is in {theirs}, and SNS takes notifications only in the region of the object, {region}: \
             name a topic there"
        ));
    }
    let all = [PinNotice::RolledBack, PinNotice::Failed, PinNotice::Blocked];
    let events = if sns.events.is_empty() { all.to_vec() } else { sns.events.clone() };
    Ok(Topic { arn: sns.topic_arn.clone(), events: events.into_iter().collect() })
}
