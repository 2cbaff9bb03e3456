//! How far a refresh is: counts that its next steps are decided by.

use jiff::{SignedDuration, Timestamp};

use super::group::{AutoScalingGroup, Member, MemberState};
use super::refresh::{Refresh, Reluctant};

/// AWS's default where neither the refresh nor its group says.
const MIN_HEALTHY: u32 = 90;

/// A refresh and its group at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rollout<'a> {
    pub(super) refresh: &'a Refresh,
    pub(super) group: &'a AutoScalingGroup,
    pub(super) now: Timestamp,
}

impl<'a> Rollout<'a> {
    fn is_new(self, sequence: u64) -> bool {
        sequence > self.refresh.plan.last_old
    }

    fn warmup(self) -> SignedDuration {
        let own = self.refresh.preferences.instance_warmup.or(self.group.default_instance_warmup);
        SignedDuration::from_secs(i64::from(own.unwrap_or(self.group.health_check_grace_period)))
    }

    /// How many instances must stay healthy, and how many there may be beyond the desired capacity: as the refresh says,
    /// or the group's policy.
    fn pace(self) -> (usize, usize) {
        let (preferences, policy) = (&self.refresh.preferences, self.group.maintenance_policy);
        let of_policy = |percentage: i32| u32::try_from(percentage).ok();
        let least = preferences.min_healthy_percentage;
        let least = least.or_else(|| policy.and_then(|policy| of_policy(policy.min_healthy_percentage)));
        let desired = self.group.desired_capacity;
        let least = (desired * least.unwrap_or(MIN_HEALTHY)).div_ceil(100);
        let surge = match self.most() {
            Some(most) if most > 100 => (desired * (most - 100) / 100).max(1),
            Some(_) | None => 0,
        };
        (least as usize, surge as usize)
    }

    fn most(self) -> Option<u32> {
        let policy = self.group.maintenance_policy.map(|policy| policy.max_healthy_percentage);
        let policy = policy.and_then(|percentage| u32::try_from(percentage).ok());
        self.refresh.preferences.max_healthy_percentage.or(policy)
    }

    /// How many instances are not launched yet: where 100 percent was asked for outright, one ends before the next comes.
    /// Without a maximum, they come and go at the same time.
    pub(super) fn held_back(self) -> usize {
        let begun = self.refresh.started.is_some();
        if begun && self.most() == Some(100) { self.going() } else { 0 }
    }

    /// When an instance is warm that serves since then.
    fn warm_at(self, member: &Member) -> Option<Timestamp> {
        member.in_service_since.map(|since| since + self.warmup())
    }

    fn is_ready(self, sequence: u64, member: &Member) -> bool {
        let warm = !self.is_new(sequence) || self.warm_at(member).is_some_and(|at| at <= self.now);
        member.state == MemberState::InService && member.healthy && warm
    }

    fn new_members(self) -> impl Iterator<Item = (u64, &'a Member)> {
        let active = self.group.members.iter().filter(|(_, member)| member.is_active());
        active.map(|(sequence, member)| (*sequence, member)).filter(move |(sequence, _)| self.is_new(*sequence))
    }

    /// Healthy instances that serve, and are warm if they are new.
    pub(super) fn ready(self) -> usize {
        self.group.members.iter().filter(|(sequence, member)| self.is_ready(**sequence, member)).count()
    }

    /// New instances that are not ready yet.
    pub(super) fn coming(self) -> usize {
        self.new_members().filter(|(sequence, member)| !self.is_ready(*sequence, member)).count()
    }

    pub(super) fn going(self) -> usize {
        self.group.members.values().filter(|member| member.state == MemberState::Terminating).count()
    }

    pub(super) fn missing(self) -> usize {
        self.group.desired().saturating_sub(self.group.active())
    }

    pub(super) fn next_warm(self) -> Option<Timestamp> {
        let served = self.new_members().filter_map(|(_, member)| self.warm_at(member));
        served.filter(|at| *at > self.now).min()
    }

    /// How many were replaced by instances that are ready.
    pub(super) fn updated(self) -> usize {
        let plan = &self.refresh.plan;
        let ready = self.new_members().filter(|(sequence, member)| self.is_ready(*sequence, member)).count();
        ready.min(plan.total - plan.targets.len())
    }

    pub(super) fn percentage(self) -> u32 {
        let total = self.refresh.plan.total;
        let percentage = (self.updated() * 100).checked_div(total).unwrap_or(100);
        u32::try_from(percentage).unwrap_or(100)
    }

    /// Everything that was to be replaced was, and serves.
    pub(super) fn is_done(self) -> bool {
        self.refresh.plan.targets.is_empty() && self.coming() == 0 && self.missing() == 0
    }

    /// The checkpoint that comes next, if the refresh has one and is no rollback.
    pub(super) fn checkpoint(self) -> Option<u32> {
        let percentages = &self.refresh.preferences.checkpoint_percentages;
        percentages.get(self.refresh.plan.checkpoints_passed).copied().filter(|_| self.refresh.rollback.is_none())
    }

    /// How many may have been replaced until the next checkpoint.
    fn allowed(self) -> usize {
        let total = self.refresh.plan.total;
        self.checkpoint().map_or(total, |percentage| (total * percentage as usize).div_ceil(100))
    }

    fn may_go(self, sequence: u64) -> bool {
        let Some(member) = self.group.members.get(&sequence) else { return false };
        let preferences = &self.refresh.preferences;
        let standby = member.state != MemberState::Standby || preferences.standby == Reluctant::Replace;
        let protected = !member.protected_from_scale_in || preferences.scale_in_protected == Reluctant::Replace;
        standby && protected
    }

    /// Instances that may be replaced now, before the next checkpoint.
    fn replaceable(self) -> impl Iterator<Item = u64> {
        let plan = &self.refresh.plan;
        let left = self.allowed().saturating_sub(plan.total - plan.targets.len());
        plan.targets.iter().copied().filter(move |sequence| self.may_go(*sequence)).take(left)
    }

    /// Instances that are protected or in standby hold the refresh up.
    pub(super) fn waits_for_instances(self) -> bool {
        let plan = &self.refresh.plan;
        !plan.targets.is_empty() && plan.targets.iter().all(|sequence| !self.may_go(*sequence))
    }

    /// How many instances beyond the desired capacity are wanted now.
    pub(super) fn surge(self) -> usize {
        let (_, surge) = self.pace();
        surge.min(self.replaceable().count())
    }

    /// The next instance to be replaced, if one may go now.
    pub(super) fn next_victim(self) -> Option<u64> {
        let (least, surge) = self.pace();
        let victim = self.replaceable().next()?;
        let member = self.group.members.get(&victim)?;
        let serves = self.is_ready(victim, member);
        let after = self.ready() - usize::from(serves);
        // At least one at a time, even where the percentage leaves no room.
        let stuck = surge == 0 && self.coming() == 0 && self.missing() == 0;
        (!serves || after >= least || stuck).then_some(victim)
    }
}
