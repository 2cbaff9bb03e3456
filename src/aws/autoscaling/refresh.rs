//! Instance refreshes.

use std::time::Duration;

use aws_sdk_autoscaling::types::{
    AlarmSpecification, DesiredConfiguration, InstanceRefresh, InstanceRefreshStatus, RefreshPreferences,
    ScaleInProtectedInstances, StandbyInstances,
};

use jiff::Timestamp;

use crate::{
    aws::{
        Error,
        autoscaling::{
            AutoScaling,
            group::{Aim, Place, at, places, policy_at},
        },
        within,
    },
    clock::Clock,
    crd::launch_template_pin::{Held, PinIntent},
    write_ahead::Acknowledged,
};

const DESCRIBE: &str = "autoscaling:DescribeInstanceRefreshes";

/// An instance refresh as AWS shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshRow {
    pub id: String,
    /// As AWS names it.
    pub status: String,
    pub state: RefreshState,
    /// Why it is in that state, and why it was rolled back.
    pub reason: Option<String>,
    pub percent: Option<i32>,
    pub started_at: Option<Timestamp>,
    /// Everywhere its desired configuration names a launch template, if it has one.
    pub desired: Vec<Place>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshState {
    /// It replaces instances, or watches the last ones.
    Active,
    /// It is being cancelled, or rolled back: no other one can start.
    Ending,
    Successful,
    /// It ended otherwise.
    Unsuccessful,
}

/// The status of a refresh that replaced what it should.
pub const SUCCESSFUL: &str = "Successful";

/// Whether a refresh with this status has ended.
pub fn is_over(status: Option<&str>) -> bool {
    matches!(status, Some(SUCCESSFUL | "Failed" | "Cancelled" | "RollbackSuccessful" | "RollbackFailed"))
}

/// The preferences of a refresh. What is `None` has the default of AWS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preferences {
    pub min_healthy_percentage: Option<i32>,
    pub max_healthy_percentage: Option<i32>,
    pub instance_warmup: Option<i32>,
    pub skip_matching: Option<bool>,
    pub bake_time: Option<i32>,
    pub checkpoint_percentages: Vec<i32>,
    pub checkpoint_delay: Option<i32>,
    pub alarms: Vec<String>,
    pub auto_rollback: bool,
    pub scale_in_protected_instances: Option<Held>,
    pub standby_instances: Option<Held>,
}

impl AutoScaling {
    /// The last refreshes of a group, the newest first.
    pub async fn refreshes(&self, group: &str) -> Result<Vec<RefreshRow>, Error> {
        let _permit = self.wait(DESCRIBE).await?;
        let call = self.client.describe_instance_refreshes().auto_scaling_group_name(group).max_records(100);
        let answer = call.send().await.map_err(|e| Error::from_sdk(DESCRIBE, &e))?;
        Ok(answer.instance_refreshes().iter().filter_map(row).collect())
    }

    /// Starts the refresh of `intent`. With `aim`, the group gets its version when the refresh succeeds, and keeps the
    /// earlier one if AWS rolls it back. Not idempotent: the caller compares the last refresh of the group with that of the
    /// intent.
    pub async fn start_refresh(
        &self,
        intent: &Acknowledged<PinIntent>,
        aim: Option<&Aim<'_>>,
        preferences: &Preferences,
        budget: Duration,
    ) -> Result<String, Error> {
        const OPERATION: &str = "autoscaling:StartInstanceRefresh";
        let name = intent.intent().group.as_deref().unwrap_or_default();
        let end = Clock.monotonic() + budget;
        let desired = match aim {
            None => None,
            Some(aim) => {
                let group = within(OPERATION, budget, self.described(OPERATION, name)).await??;
                let template = group.launch_template().and_then(|spec| at(spec, aim));
                let policy = group.mixed_instances_policy().and_then(|policy| policy_at(policy, aim));
                let desired = DesiredConfiguration::builder();
                Some(desired.set_launch_template(template).set_mixed_instances_policy(policy).build())
            }
        };
        let call = self.once.start_instance_refresh().auto_scaling_group_name(name);
        let call = call.set_desired_configuration(desired).preferences(preferences.sdk()).send();
        let left = end.saturating_duration_since(Clock.monotonic());
        let answer = within(OPERATION, left, call).await?.map_err(|e| Error::from_sdk(OPERATION, &e))?;
        answer.instance_refresh_id.ok_or_else(|| Error::garbled(OPERATION, "a refresh without an id"))
    }

    /// Cancels the active refresh of the group of `intent`, if it is still that of `intent`. Returns the id of the
    /// cancelled one.
    pub async fn cancel_refresh(
        &self,
        intent: &Acknowledged<PinIntent>,
        budget: Duration,
    ) -> Result<Option<String>, Error> {
        const OPERATION: &str = "autoscaling:CancelInstanceRefresh";
        let PinIntent { group, refresh_id, .. } = intent.intent();
        let name = group.as_deref().unwrap_or_default();
        let end = Clock.monotonic() + budget;
        let found = within(DESCRIBE, budget, self.refreshes(name)).await??;
        let active = found.first().filter(|refresh| refresh.state == RefreshState::Active);
        if active.map(|refresh| &refresh.id) != refresh_id.as_ref() {
            return Ok(None);
        }
        let left = end.saturating_duration_since(Clock.monotonic());
        let call = self.once.cancel_instance_refresh().auto_scaling_group_name(name).send();
        let answer = within(OPERATION, left, call).await?.map_err(|e| Error::from_sdk(OPERATION, &e))?;
        Ok(answer.instance_refresh_id)
    }
}

impl Preferences {
    fn sdk(&self) -> RefreshPreferences {
        let alarms = AlarmSpecification::builder().set_alarms(Some(self.alarms.clone())).build();
        let checkpoints = Some(self.checkpoint_percentages.clone()).filter(|list| !list.is_empty());
        RefreshPreferences::builder()
            .set_min_healthy_percentage(self.min_healthy_percentage)
            .set_max_healthy_percentage(self.max_healthy_percentage)
            .set_instance_warmup(self.instance_warmup)
            .set_skip_matching(self.skip_matching)
            .set_bake_time(self.bake_time)
            .set_checkpoint_percentages(checkpoints)
            .set_checkpoint_delay(self.checkpoint_delay)
            .set_alarm_specification(Some(alarms).filter(|_| !self.alarms.is_empty()))
            .set_auto_rollback(self.auto_rollback.then_some(true))
            .set_scale_in_protected_instances(self.scale_in_protected_instances.map(|held| match held {
                Held::Wait => ScaleInProtectedInstances::Wait,
                Held::Ignore => ScaleInProtectedInstances::Ignore,
                Held::Refresh => ScaleInProtectedInstances::Refresh,
            }))
            .set_standby_instances(self.standby_instances.map(|held| match held {
                Held::Wait => StandbyInstances::Wait,
                Held::Ignore => StandbyInstances::Ignore,
                Held::Refresh => StandbyInstances::Terminate,
            }))
            .build()
    }
}

fn reason(row: &InstanceRefresh) -> Option<String> {
    let rollback = row.rollback_details().and_then(|details| details.rollback_reason());
    let both: Vec<_> =
        [row.status_reason(), rollback].into_iter().flatten().map(|text| text.trim_end_matches('.')).collect();
    (!both.is_empty()).then(|| both.join("; "))
}

fn row(row: &InstanceRefresh) -> Option<RefreshRow> {
    let status = row.status()?;
    let state = match status {
        InstanceRefreshStatus::Pending | InstanceRefreshStatus::InProgress | InstanceRefreshStatus::Baking => {
            RefreshState::Active
        }
        InstanceRefreshStatus::Successful => RefreshState::Successful,
        InstanceRefreshStatus::Cancelled
        | InstanceRefreshStatus::Failed
        | InstanceRefreshStatus::RollbackFailed
        | InstanceRefreshStatus::RollbackSuccessful => RefreshState::Unsuccessful,
        // Cancelling, RollbackInProgress, and what AWS may add.
        _ => RefreshState::Ending,
    };
    Some(RefreshRow {
        id: row.instance_refresh_id()?.to_owned(),
        status: status.as_str().to_owned(),
        state,
        reason: reason(row),
        percent: row.percentage_complete(),
        started_at: row.start_time().and_then(|time| Timestamp::from_second(time.secs()).ok()),
        desired: row
            .desired_configuration()
            .map(|desired| places(desired.launch_template(), desired.mixed_instances_policy()))
            .unwrap_or_default(),
    })
}
