//! The states that an instance refresh passes through.

use jiff::{SignedDuration, Timestamp};

use super::config::LaunchSource;
use super::group::{AutoScalingGroup, Member, MemberState};
use super::keep::{Look, PENDING};
use super::refresh::{Refresh, RefreshStatus, Reluctant, Rollback};
use super::rollout::Rollout;
use crate::protocol::xml::iso;
use crate::state::ec2::launch_template::LaunchTemplates;

/// A refresh without progress fails after so long a time.
const STUCK: SignedDuration = SignedDuration::from_hours(1);
const LONGEST: SignedDuration = SignedDuration::from_hours(14 * 24);

impl Look<'_> {
    pub(super) fn refresh(&mut self, group: &mut AutoScalingGroup) {
        if group.active_refresh().is_none() {
            return;
        }
        let Some(mut refresh) = group.refreshes.pop() else { return };
        self.pass(&mut refresh, group);
        group.refreshes.push(refresh);
    }

    /// As long as one state leads to the next at this moment.
    fn pass(&mut self, refresh: &mut Refresh, group: &mut AutoScalingGroup) {
        loop {
            let before = refresh.status;
            match before {
                RefreshStatus::Pending => self.begin(refresh, group),
                RefreshStatus::InProgress | RefreshStatus::RollbackInProgress => self.replace(refresh, group),
                RefreshStatus::Baking => self.bake(refresh, group),
                RefreshStatus::Cancelling => self.wind_down(refresh, group),
                RefreshStatus::Successful
                | RefreshStatus::Failed
                | RefreshStatus::Cancelled
                | RefreshStatus::RollbackSuccessful
                | RefreshStatus::RollbackFailed => return,
            }
            if refresh.status == before {
                return;
            }
        }
    }

    fn begin(&mut self, refresh: &mut Refresh, group: &AutoScalingGroup) {
        let due = refresh.plan.requested + PENDING;
        if group.is_suspended("InstanceRefresh") {
            return;
        }
        if due > self.now {
            return self.again_at(due);
        }
        refresh.status = RefreshStatus::InProgress;
        refresh.started = Some(self.now);
        let goal = refresh.desired.as_ref().unwrap_or(&group.launch);
        let templates = self.world.estate_mut(self.account, self.region).map(|estate| &estate.launch_templates);
        let preferences = &refresh.preferences;
        let wanted = |member: &Member| {
            let ignored = (member.protected_from_scale_in && preferences.scale_in_protected == Reluctant::Ignore)
                || (member.state == MemberState::Standby && preferences.standby == Reluctant::Ignore);
            let matching = preferences.skip_matching && templates.is_some_and(|known| matches(member, goal, known));
            member.state != MemberState::Terminating && !ignored && !matching
        };
        let targets = group.members.iter().filter(|(_, member)| wanted(member)).map(|(sequence, _)| *sequence);
        let targets: Vec<u64> = targets.collect();
        set_out(refresh, targets, self.world.last_sequence(), self.now);
    }

    fn replace(&mut self, refresh: &mut Refresh, group: &mut AutoScalingGroup) {
        self.count(refresh, group);
        let rolling_back = refresh.status == RefreshStatus::RollbackInProgress;
        if let Some(alarm) = self.alarm_of(refresh).filter(|_| !rolling_back) {
            return self.fail(refresh, group, format!("The CloudWatch alarm {alarm} is in the ALARM state."));
        }
        if let Some(until) = refresh.plan.hold_until {
            if until > self.now {
                return self.again_at(until);
            }
            refresh.plan.hold_until = None;
            refresh.plan.checkpoints_passed += 1;
            refresh.plan.last_progress = self.now;
            refresh.status_reason = None;
        }
        let look = Rollout { refresh, group, now: self.now };
        let reached = look.checkpoint().filter(|percentage| look.percentage() >= *percentage && *percentage < 100);
        let last = look.checkpoint().is_none() && !refresh.preferences.checkpoint_percentages.is_empty();
        if look.is_done() || (last && !rolling_back && self.ends_at_last_checkpoint(refresh, group)) {
            return self.finish(refresh, group);
        }
        if let Some(percentage) = reached {
            let until = self.now + refresh.preferences.delay();
            refresh.plan.hold_until = Some(until);
            refresh.plan.surge = 0;
            refresh.status_reason = Some(format!("Waiting until {} at the checkpoint of {percentage}%.", iso(until)));
            return self.again_at(until);
        }
        if let Some(reason) = self.stuck(refresh, group) {
            return self.fail(refresh, group, reason);
        }
        if ["Launch", "Terminate", "InstanceRefresh"].into_iter().any(|process| group.is_suspended(process)) {
            refresh.plan.surge = 0;
            return;
        }
        while let Some(victim) = (Rollout { refresh, group, now: self.now }).next_victim() {
            let cause = format!(
                "At {} an instance was taken out of service in response to an instance refresh.",
                iso(self.now)
            );
            self.terminate(group, victim, cause);
            refresh.plan.targets.retain(|target| *target != victim);
        }
        refresh.plan.surge = Rollout { refresh, group, now: self.now }.surge();
        self.count(refresh, group);
    }

    /// Where the last checkpoint is below 100 percent, the rest stays as it is.
    fn ends_at_last_checkpoint(&self, refresh: &Refresh, group: &AutoScalingGroup) -> bool {
        let below = refresh.preferences.checkpoint_percentages.last().is_some_and(|percentage| *percentage < 100);
        let look = Rollout { refresh, group, now: self.now };
        below && look.coming() == 0 && look.missing() == 0
    }

    /// Takes stock: targets that have gone, progress, percentages.
    fn count(&mut self, refresh: &mut Refresh, group: &AutoScalingGroup) {
        let there =
            |target: &u64| group.members.get(target).is_some_and(|member| member.state != MemberState::Terminating);
        refresh.plan.targets.retain(there);
        let look = Rollout { refresh, group, now: self.now };
        let mark = (look.refresh.plan.targets.len(), look.coming() + look.going(), look.ready());
        let (percentage, left) = (look.percentage(), look.refresh.plan.total - look.updated());
        if let Some(at) = look.next_warm() {
            self.again_at(at);
        }
        if mark != refresh.plan.mark {
            refresh.plan.mark = mark;
            refresh.plan.last_progress = self.now;
        }
        match &refresh.rollback {
            Some(rollback) => {
                refresh.percentage_complete = Some(rollback.percentage_complete * (100 - percentage) / 100);
            }
            None => {
                refresh.percentage_complete = Some(percentage);
                refresh.instances_to_update = Some(left);
            }
        }
    }

    fn alarm_of(&self, refresh: &Refresh) -> Option<String> {
        let rings = |alarm: &&String| self.world.is_in_alarm(self.account, self.region, alarm);
        refresh.preferences.alarms.iter().find(rings).cloned()
    }

    /// Why the refresh fails now, if it made no progress for too long.
    fn stuck(&mut self, refresh: &mut Refresh, group: &AutoScalingGroup) -> Option<String> {
        let look = Rollout { refresh, group, now: self.now };
        let waits = look.waits_for_instances();
        let deadline = look.next_warm().unwrap_or(refresh.plan.last_progress).max(refresh.plan.last_progress) + STUCK;
        let deadline = deadline.min(refresh.started.unwrap_or(self.now) + LONGEST);
        if waits {
            let reason = "Waiting for instances that are protected from scale-in or in Standby.";
            refresh.status_reason = Some(reason.to_owned());
        }
        if deadline > self.now {
            self.again_at(deadline);
            return None;
        }
        Some(if waits {
            "Instances stayed protected from scale-in or in Standby for more than an hour.".to_owned()
        } else {
            let failed = group.activities.0.iter().rev().find_map(|activity| activity.message.clone());
            let why = failed.map(|message| format!(" {message}")).unwrap_or_default();
            format!("The refresh made no progress for more than an hour.{why}")
        })
    }

    fn finish(&mut self, refresh: &mut Refresh, group: &mut AutoScalingGroup) {
        refresh.plan.surge = 0;
        // Instances that went without a successor leave nothing to do either.
        if refresh.plan.targets.is_empty() {
            refresh.percentage_complete = Some(if refresh.rollback.is_some() { 0 } else { 100 });
            refresh.instances_to_update =
                refresh.instances_to_update.filter(|_| refresh.rollback.is_some()).or(Some(0));
        }
        if refresh.rollback.is_some() {
            return refresh.end(RefreshStatus::RollbackSuccessful, None, self.now);
        }
        match refresh.preferences.bake() {
            Some(time) => {
                refresh.status = RefreshStatus::Baking;
                refresh.plan.hold_until = Some(self.now + time);
                refresh.status_reason = Some(format!("Baking until {}.", iso(self.now + time)));
            }
            None => self.succeed(refresh, group),
        }
    }

    fn bake(&mut self, refresh: &mut Refresh, group: &mut AutoScalingGroup) {
        if let Some(alarm) = self.alarm_of(refresh) {
            return self.fail(refresh, group, format!("The CloudWatch alarm {alarm} is in the ALARM state."));
        }
        match refresh.plan.hold_until.filter(|until| *until > self.now) {
            Some(until) => self.again_at(until),
            None => self.succeed(refresh, group),
        }
    }

    /// The goal is the group's configuration from now on.
    fn succeed(&self, refresh: &mut Refresh, group: &mut AutoScalingGroup) {
        if let Some(desired) = &refresh.desired {
            group.launch = desired.clone();
        }
        refresh.status_reason = None;
        refresh.end(RefreshStatus::Successful, None, self.now);
    }

    fn fail(&mut self, refresh: &mut Refresh, group: &mut AutoScalingGroup, reason: String) {
        if refresh.rollback.is_some() {
            refresh.end(RefreshStatus::RollbackFailed, Some(reason), self.now);
        } else if refresh.preferences.auto_rollback {
            rollback(refresh, group, reason, self.world.last_sequence(), self.now);
        } else {
            refresh.end(RefreshStatus::Failed, Some(reason), self.now);
        }
    }

    /// Until the instances have come and gone that were on their way.
    fn wind_down(&mut self, refresh: &mut Refresh, group: &AutoScalingGroup) {
        self.count(refresh, group);
        let look = Rollout { refresh, group, now: self.now };
        if !refresh.plan.ends_with_transitions || look.coming() + look.going() == 0 {
            refresh.end(RefreshStatus::Cancelled, None, self.now);
        }
    }
}

fn set_out(refresh: &mut Refresh, targets: Vec<u64>, last_old: u64, now: Timestamp) {
    let plan = &mut refresh.plan;
    plan.total = targets.len();
    plan.targets = targets;
    plan.last_old = last_old;
    plan.hold_until = None;
    plan.surge = 0;
    plan.last_progress = now;
}

/// Turns a refresh back: what it launched is replaced. `last`: the last instance of all that was launched.
pub(crate) fn rollback(refresh: &mut Refresh, group: &AutoScalingGroup, reason: String, last: u64, now: Timestamp) {
    refresh.rollback = Some(Rollback {
        reason,
        started: now,
        percentage_complete: refresh.percentage_complete.unwrap_or(0),
        instances_to_update: refresh.instances_to_update.unwrap_or(0),
    });
    refresh.status = RefreshStatus::RollbackInProgress;
    refresh.status_reason = None;
    refresh.started.get_or_insert(now);
    let is_new = |(sequence, member): &(&u64, &Member)| {
        **sequence > refresh.plan.last_old && member.state != MemberState::Terminating
    };
    let targets = group.members.iter().filter(is_new).map(|(sequence, _)| *sequence).collect();
    set_out(refresh, targets, last, now);
}

/// Whether an instance is what the goal would launch.
fn matches(member: &Member, goal: &LaunchSource, templates: &LaunchTemplates) -> bool {
    goal.choices().iter().any(|choice| {
        let Ok((template, version)) = choice.template.resolve(templates) else { return false };
        let same = |from: &super::group::LaunchedFrom| from.id == template.id && from.version == version.number;
        member.template.as_ref().is_some_and(same)
            && choice.instance_type.is_none_or(|kind| kind == member.instance_type)
            && choice.image_id == member.image_id.as_deref()
    })
}
