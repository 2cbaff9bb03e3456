//! A group looks at its instances, replaces those that are not well, and keeps as many as are desired.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::activity::{Activity, ActivityStatus};
use super::group::{AutoScalingGroup, MemberState, Retry};
use super::launching;
use super::rollout::Rollout;
use crate::caller::AccountId;
use crate::protocol::xml::iso;
use crate::state::ec2::instance::{HealthStatus, Instance, InstanceState};
use crate::state::ec2::lifecycle::Ending;
use crate::state::ec2::world::World;

const FIRST_RETRY: SignedDuration = SignedDuration::from_secs(30);
const LAST_RETRY: SignedDuration = SignedDuration::from_mins(5);
/// After so long a time of failed launches AWS suspends a group without instances.
const SUSPENDED_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// One look at a group, at a moment.
pub(super) struct Look<'a> {
    pub(super) world: &'a mut World,
    pub(super) account: &'a AccountId,
    pub(super) region: &'a str,
    pub(super) now: Timestamp,
    /// When to look again.
    pub(super) next: Option<Timestamp>,
}

impl World {
    /// Lets a group do what is to be done at this moment.
    pub(crate) fn keep_group(&mut self, account: &AccountId, region: &str, name: &str, now: Timestamp) {
        let Some(estate) = self.estate_mut(account, region) else { return };
        // Out of the world while it works on the world.
        let Some(mut group) = estate.groups.remove(name) else { return };
        let mut look = Look { world: self, account, region, now, next: None };
        look.observe(&mut group);
        look.replace_unhealthy(&mut group);
        look.refresh(&mut group);
        look.keep_capacity(&mut group);
        let next = look.next;
        if group.deleting && group.members.is_empty() {
            return;
        }
        if let Some(estate) = self.estate_mut(account, region) {
            estate.groups.insert(name.to_owned(), group);
        }
        if let Some(at) = next.filter(|at| *at > now) {
            self.wake_group(at, account, region, name);
        }
    }
}

impl World {
    /// Ends an instance of a group on request, and tells of it.
    pub(crate) fn dismiss(
        &mut self,
        account: &AccountId,
        region: &str,
        name: &str,
        sequence: u64,
        cause: String,
        now: Timestamp,
    ) -> Option<Activity> {
        let mut group = self.estate_mut(account, region)?.groups.remove(name)?;
        let mut look = Look { world: self, account, region, now, next: None };
        look.terminate(&mut group, sequence, cause);
        let told = group.activities.0.last().cloned();
        self.estate_mut(account, region)?.groups.insert(name.to_owned(), group);
        self.keep_group(account, region, name, now);
        told
    }
}

impl Look<'_> {
    pub(super) fn again_at(&mut self, at: Timestamp) {
        if at > self.now {
            self.next = Some(self.next.map_or(at, |next| next.min(at)));
        }
    }

    fn observe(&mut self, group: &mut AutoScalingGroup) {
        let (checks, grace) = (!group.is_suspended("HealthCheck"), group.grace());
        let (mut gone, mut entered) = (Vec::new(), Vec::new());
        let mut looks = Vec::new();
        for (sequence, member) in &mut group.members {
            let instance = self.world.instance_mut(self.account, self.region, *sequence);
            let state = instance.as_ref().map_or(InstanceState::Terminated, |instance| instance.state);
            match state {
                InstanceState::Terminated => gone.push(*sequence),
                InstanceState::ShuttingDown => member.state = MemberState::Terminating,
                InstanceState::Running if member.state == MemberState::Pending => {
                    member.state = MemberState::InService;
                    member.in_service_since = Some(self.now);
                    entered.push(member.instance_id.clone());
                }
                InstanceState::Running | InstanceState::Pending => {}
                InstanceState::Stopping | InstanceState::Stopped => member.healthy &= !checks,
            }
            if checks && state == InstanceState::Running && instance.is_some_and(|instance| is_impaired(instance)) {
                match member.in_service_since.map(|since| since + grace) {
                    Some(known) if known > self.now => looks.push(known),
                    Some(_) | None => member.healthy = false,
                }
            }
        }
        looks.into_iter().for_each(|at| self.again_at(at));
        for id in entered {
            group.activities.succeed(&id, self.now);
        }
        for sequence in gone {
            let Some(member) = group.members.remove(&sequence) else { continue };
            if member.state != MemberState::Terminating {
                let cause = format!(
                    "At {} an instance was taken out of service in response to an EC2 health check indicating it has \
                     been terminated or stopped.",
                    iso(self.now)
                );
                self.tell_end(group, &member.instance_id, cause);
            }
            group.activities.succeed(&member.instance_id, self.now);
        }
    }

    fn replace_unhealthy(&mut self, group: &mut AutoScalingGroup) {
        if group.is_suspended("ReplaceUnhealthy") || group.is_suspended("Terminate") {
            return;
        }
        let unhealthy = group.members.iter().filter(|(_, member)| !member.healthy && member.is_active());
        for sequence in unhealthy.map(|(sequence, _)| *sequence).collect::<Vec<_>>() {
            let cause =
                format!("At {} an instance was taken out of service in response to a health check.", iso(self.now));
            self.terminate(group, sequence, cause);
        }
    }

    fn keep_capacity(&mut self, group: &mut AutoScalingGroup) {
        if group.deleting {
            for sequence in group.members.keys().copied().collect::<Vec<_>>() {
                self.terminate(group, sequence, format!("At {} the group was deleted.", iso(self.now)));
            }
            return;
        }
        let wanted = group.desired() + group.active_refresh().map_or(0, |refresh| refresh.plan.surge);
        if !group.is_suspended("Launch") {
            let rollout = group.active_refresh().map(|refresh| Rollout { refresh, group, now: self.now });
            let held_back = rollout.map_or(0, Rollout::held_back);
            self.launch_up_to(group, wanted.saturating_sub(held_back));
        }
        let surplus = group.active().saturating_sub(wanted);
        if surplus > 0 && !group.is_suspended("Terminate") {
            for sequence in victims(group, surplus) {
                let active = group.active();
                let cause = format!(
                    "At {} an instance was taken out of service in response to a difference between desired and actual \
                     capacity, shrinking the capacity from {active} to {}.",
                    iso(self.now),
                    active - 1
                );
                self.terminate(group, sequence, cause);
            }
        }
    }

    fn launch_up_to(&mut self, group: &mut AutoScalingGroup, wanted: usize) {
        if let Some(retry) = group.retry.filter(|retry| retry.at > self.now && group.active() < wanted) {
            return self.again_at(retry.at);
        }
        while group.active() < wanted {
            let active = group.active();
            let cause = format!(
                "At {} an instance was started in response to a difference between desired and actual capacity, \
                 increasing the capacity from {active} to {}.",
                iso(self.now),
                active + 1
            );
            match launching::launch(self.world, (self.account, self.region), group, self.now) {
                Ok(id) => {
                    let mut activity = Activity::new(format!("Launching a new EC2 instance: {id}"), cause, self.now);
                    activity.status = ActivityStatus::PreInService;
                    group.activities.add(activity.of(&id));
                    group.retry = None;
                }
                Err(refused) => {
                    let description = format!(
                        "Launching a new EC2 instance.  Status Reason: {}.  Launching EC2 instance failed.",
                        refused.message.trim_end_matches('.')
                    );
                    let mut activity = Activity::new(description, cause, self.now);
                    activity.end(ActivityStatus::Failed, self.now);
                    activity.message = Some(refused.message);
                    group.activities.add(activity);
                    return self.retry_later(group);
                }
            }
        }
    }

    fn retry_later(&mut self, group: &mut AutoScalingGroup) {
        let (failures, since) = group.retry.map_or((0, self.now), |retry| (retry.failures, retry.since));
        if self.now.duration_since(since) >= SUSPENDED_AFTER && group.active() == 0 {
            let reason = format!("Auto Scaling suspended this process at {}: its launches failed.", iso(self.now));
            group.suspended.insert("Launch".to_owned(), reason);
            group.retry = None;
            return;
        }
        let wait = FIRST_RETRY.saturating_mul(1 << failures.min(8)).min(LAST_RETRY);
        group.retry = Some(Retry { at: self.now + wait, failures: failures + 1, since });
        self.again_at(self.now + wait);
    }

    pub(super) fn terminate(&mut self, group: &mut AutoScalingGroup, sequence: u64, cause: String) {
        let Some(member) = group.members.get_mut(&sequence).filter(|m| m.state != MemberState::Terminating) else {
            return;
        };
        member.state = MemberState::Terminating;
        let id = member.instance_id.clone();
        self.tell_end(group, &id, cause);
        self.world.end(sequence, self.account, self.region, Ending::UserTerminates, self.now);
    }

    fn tell_end(&self, group: &mut AutoScalingGroup, id: &str, cause: String) {
        group.activities.add(Activity::new(format!("Terminating EC2 instance: {id}"), cause, self.now).of(id));
    }
}

fn is_impaired(instance: &Instance) -> bool {
    [instance.system_status, instance.instance_status].contains(&Some(HealthStatus::Impaired))
}

/// Which instances go when there are too many: those that a refresh would replace first, then by the group's policy.
fn victims(group: &AutoScalingGroup, count: usize) -> Vec<u64> {
    let outdated =
        |sequence: &u64| group.active_refresh().is_some_and(|refresh| refresh.plan.targets.contains(sequence));
    let removable = group.members.iter().filter(|(_, member)| member.is_active() && !member.protected_from_scale_in);
    let mut found: Vec<u64> = removable.map(|(sequence, _)| *sequence).collect();
    if group.termination_policies.first().is_some_and(|policy| policy == "NewestInstance") {
        found.reverse();
    }
    found.sort_by_key(|sequence| !outdated(sequence));
    found.truncate(count);
    found
}

/// How long an instance refresh is pending.
pub(super) const PENDING: Duration = Duration::from_secs(1);
