//! The state machine of groups and refreshes, call by call. The scenarios in `conformance/` hold the same against boto3.

use std::time::Duration;

use crate::caller::{AccountId, Caller};
use crate::config::{ClockMode, Lifecycle, SandboxConfig};
use crate::control::{Control, GroupSpec, ImageSpec, LaunchTemplateSpec};
use crate::error::ApiError;
use crate::state::State;
use crate::state::autoscaling::group::{AutoScalingGroup, Member, MemberState};
use crate::state::autoscaling::refresh::{Refresh, RefreshStatus};
use crate::state::ec2::seed::AMAZON_LINUX_X86_64;

const REGION: &str = "eu-west-1";

struct Bench {
    control: Control,
    caller: Caller,
    template: String,
}

impl Bench {
    /// A template with two versions, and a group on the first.
    fn new(desired: u32) -> Self {
        let second = Duration::from_secs(1);
        let lifecycle = Lifecycle { pending: 10 * second, shutting_down: 20 * second, ..Lifecycle::default() };
        let config =
            SandboxConfig { clock: ClockMode::Manual, throttling: false, lifecycle, ..SandboxConfig::default() };
        let state = State::new(&config);
        let account: AccountId = "111111111111".parse().expect("an account id");
        let id = state.accounts.authenticate(&account.root_access_key(), None).expect("a root user");
        let control = Control::new(state.into());
        let spec = LaunchTemplateSpec::new(&account, REGION, "base", AMAZON_LINUX_X86_64);
        let template = control.add_launch_template(&spec).expect("a template");
        let bench = Self { control, caller: Caller { id, region: REGION.to_owned() }, template };
        bench.version(&[("InstanceType", "t3.small")]);
        let spec = GroupSpec::new(&account, REGION, "web", &bench.template, desired);
        bench.control.add_group(&GroupSpec { version: "1".to_owned(), max: 20, ..spec }).expect("a group");
        bench.step(10);
        bench
    }

    fn version(&self, data: &[(&str, &str)]) {
        let data: Vec<(String, &str)> =
            data.iter().map(|(name, value)| (format!("LaunchTemplateData.{name}"), *value)).collect();
        let mut form = vec![("LaunchTemplateId", self.template.as_str()), ("SourceVersion", "1")];
        form.extend(data.iter().map(|(name, value)| (name.as_str(), *value)));
        let form = form.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let operation = "CreateLaunchTemplateVersion";
        let response = crate::services::ec2::handle(&self.control.state, &self.caller, operation, &form, "request");
        assert!(response.status().is_success(), "{response:?}");
    }

    fn call(&self, operation: &str, parameters: &[(&str, &str)]) -> Result<String, ApiError> {
        let mut form = vec![("AutoScalingGroupName", "web")];
        form.extend_from_slice(parameters);
        let form = form.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        super::carry_out(&self.control.state, &self.caller, operation, &form)
            .map(crate::protocol::xml::Xml::into_string)
    }

    /// Starts a refresh to version 2.
    fn start(&self, preferences: &[(&str, &str)]) -> Result<String, ApiError> {
        let version = [
            ("DesiredConfiguration.LaunchTemplate.LaunchTemplateId", self.template.as_str()),
            ("DesiredConfiguration.LaunchTemplate.Version", "2"),
        ];
        self.call("StartInstanceRefresh", &[&version, preferences].concat())
    }

    fn step(&self, seconds: u64) {
        self.control.step(Duration::from_secs(seconds));
    }

    fn group(&self) -> AutoScalingGroup {
        self.control.group(&self.caller.id.account, REGION, "web").expect("the group")
    }

    fn refresh(&self) -> Refresh {
        self.group().refreshes.pop().expect("a refresh")
    }

    fn count(&self, wanted: impl Fn(&Member) -> bool) -> usize {
        self.group().members.values().filter(|member| wanted(member)).count()
    }

    /// Instances in service on the old version and on the new one, and those that come and that go.
    fn counts(&self) -> (usize, usize, usize, usize) {
        let serves = |version: u64| {
            self.count(|member| {
                member.state == MemberState::InService
                    && member.template.as_ref().is_some_and(|template| template.version == version)
            })
        };
        let coming = self.count(|member| member.state == MemberState::Pending);
        let going = self.count(|member| member.state == MemberState::Terminating);
        (serves(1), serves(2), coming, going)
    }
}

const WARM_AT_ONCE: (&str, &str) = ("Preferences.InstanceWarmup", "0");

#[test]
fn a_refresh_never_has_fewer_or_more_than_its_percentages_allow() {
    for (min, max, least, most) in
        [(100, 110, 10, 11), (90, 110, 9, 11), (50, 100, 5, 10), (0, 100, 0, 10), (100, 200, 10, 20)]
    {
        let bench = Bench::new(10);
        let (min, max) = (min.to_string(), max.to_string());
        let percentages =
            [("Preferences.MinHealthyPercentage", min.as_str()), ("Preferences.MaxHealthyPercentage", max.as_str())];
        bench.start(&[&percentages[..], &[("Preferences.InstanceWarmup", "30")]].concat()).expect("a refresh");
        let (mut fewest, mut largest) = (usize::MAX, 0);
        for _second in 0..2000 {
            bench.step(1);
            let (old, new, coming, _) = bench.counts();
            (fewest, largest) = (fewest.min(old + new), largest.max(old + new + coming));
            if bench.refresh().status.has_ended() {
                break;
            }
        }
        assert_eq!(bench.refresh().status, RefreshStatus::Successful, "{min}..{max}");
        assert_eq!((fewest, largest), (least, most), "{min}..{max}");
        let (old, new, coming, _) = bench.counts();
        assert_eq!((old, new, coming), (0, 10, 0), "{min}..{max}");
    }
}

#[test]
fn a_maximum_of_a_hundred_ends_an_instance_before_the_next_comes() {
    let maximum = ("Preferences.MaxHealthyPercentage", "100");
    for (max, together) in [(None, (3, 0, 1, 1)), (Some(maximum), (3, 0, 0, 1))] {
        let bench = Bench::new(4);
        let percentages = [("Preferences.MinHealthyPercentage", "75"), WARM_AT_ONCE];
        bench.start(&percentages.into_iter().chain(max).collect::<Vec<_>>()).expect("a refresh");
        bench.step(2);
        assert_eq!(bench.counts(), together, "{max:?}");
        bench.step(20);
        assert!(bench.counts().1 + bench.counts().2 > 0, "the next has come");
        bench.step(200);
        assert_eq!(bench.refresh().status, RefreshStatus::Successful, "{max:?}");
    }
}

#[test]
fn one_long_step_ends_as_many_short_ones_do() {
    let preferences = [
        ("Preferences.MinHealthyPercentage", "100"),
        ("Preferences.MaxHealthyPercentage", "125"),
        ("Preferences.InstanceWarmup", "60"),
        ("Preferences.CheckpointPercentages.member.1", "50"),
        ("Preferences.CheckpointPercentages.member.2", "100"),
        ("Preferences.CheckpointDelay", "600"),
        ("Preferences.BakeTime", "300"),
    ];
    let ended = |steps: u64, seconds: u64| {
        let bench = Bench::new(4);
        let began = bench.control.now();
        bench.start(&preferences).expect("a refresh");
        (0..steps).for_each(|_| bench.step(seconds));
        let refresh = bench.refresh();
        assert_eq!(refresh.status, RefreshStatus::Successful);
        refresh.ended.expect("an end").duration_since(began)
    };
    assert_eq!(ended(1, 7200), ended(720, 10));
}

#[test]
fn a_state_leads_to_the_next_at_its_time() {
    let bench = Bench::new(2);
    bench.start(&[WARM_AT_ONCE, ("Preferences.BakeTime", "100")]).expect("a refresh");
    let mut passed = Vec::new();
    for second in 0..200 {
        let status = bench.refresh().status;
        if passed.last().is_none_or(|(_, last)| *last != status) {
            passed.push((second, status));
        }
        bench.step(1);
    }
    assert_eq!(
        passed,
        [
            (0, RefreshStatus::Pending),
            (1, RefreshStatus::InProgress),
            // Each instance takes ten seconds to come.
            (21, RefreshStatus::Baking),
            (121, RefreshStatus::Successful),
        ]
    );
}

#[test]
fn a_cancelled_refresh_leaves_what_it_did() {
    let bench = Bench::new(4);
    bench.start(&[WARM_AT_ONCE]).expect("a refresh");
    bench.step(5);
    assert_eq!(bench.counts(), (3, 0, 1, 1));
    bench.call("CancelInstanceRefresh", &[]).expect("a cancel");
    assert_eq!(bench.refresh().status, RefreshStatus::Cancelling);
    bench.step(100);
    assert_eq!(bench.refresh().status, RefreshStatus::Cancelled);
    assert_eq!(bench.counts(), (3, 1, 0, 0));
    let gone = bench.call("RollbackInstanceRefresh", &[]).expect_err("it has ended");
    assert_eq!(gone.code, "ActiveInstanceRefreshNotFound");
}

#[test]
fn a_rollback_turns_every_new_instance_back() {
    let bench = Bench::new(4);
    bench.start(&[WARM_AT_ONCE]).expect("a refresh");
    bench.step(25);
    assert_eq!(bench.refresh().percentage_complete, Some(50));
    bench.call("RollbackInstanceRefresh", &[]).expect("a rollback");
    let mut percentages = vec![];
    for _second in 0..200 {
        bench.step(1);
        percentages.extend(bench.refresh().percentage_complete);
    }
    percentages.dedup();
    assert!(percentages.is_sorted_by(|one, next| one >= next), "{percentages:?}");
    assert_eq!(percentages.last(), Some(&0));
    assert_eq!(bench.refresh().status, RefreshStatus::RollbackSuccessful);
    assert_eq!(bench.counts(), (4, 0, 0, 0));
}

#[test]
fn a_rollback_that_cannot_launch_fails() {
    let bench = Bench::new(2);
    bench.start(&[WARM_AT_ONCE, ("Preferences.BakeTime", "600")]).expect("a refresh");
    bench.step(60);
    assert_eq!(bench.refresh().status, RefreshStatus::Baking);
    let broken = ApiError::new("InternalError", "No luck.");
    bench.control.fail_launches(REGION, AMAZON_LINUX_X86_64, Some(broken));
    bench.call("RollbackInstanceRefresh", &[]).expect("a rollback");
    bench.step(4000);
    let refresh = bench.refresh();
    assert_eq!(refresh.status, RefreshStatus::RollbackFailed);
    assert!(refresh.status_reason.as_ref().is_some_and(|reason| reason.contains("No luck.")), "{refresh:?}");
}

#[test]
fn a_group_without_instances_refreshes_at_once_and_is_pinned() {
    let bench = Bench::new(0);
    bench.start(&[]).expect("a refresh");
    bench.step(1);
    assert_eq!(bench.refresh().status, RefreshStatus::Successful);
    assert_eq!(bench.refresh().percentage_complete, Some(100));
    assert_eq!(bench.group().launch.templates()[0].version, "2");
}

#[test]
fn a_group_shrinks_during_a_refresh_by_what_is_outdated() {
    let bench = Bench::new(4);
    bench.start(&[WARM_AT_ONCE, ("Preferences.CheckpointPercentages.member.1", "50")]).expect("a refresh");
    bench.step(60);
    assert_eq!(bench.counts(), (2, 2, 0, 0));
    bench.call("SetDesiredCapacity", &[("DesiredCapacity", "2")]).expect("a size");
    bench.step(60);
    assert_eq!(bench.counts(), (0, 2, 0, 0));
    assert_eq!(bench.refresh().status, RefreshStatus::InProgress, "the checkpoint holds");
    bench.step(3600);
    assert_eq!(bench.refresh().status, RefreshStatus::Successful);
}

#[test]
fn an_image_that_comes_back_lets_a_refresh_go_on() {
    let bench = Bench::new(2);
    let image = bench.control.add_image(ImageSpec::new(&bench.caller.id.account, REGION, "mine")).id;
    bench.version(&[("ImageId", &image)]);
    let version = ("DesiredConfiguration.LaunchTemplate.Version", "3");
    let template = ("DesiredConfiguration.LaunchTemplate.LaunchTemplateId", bench.template.as_str());
    bench.call("StartInstanceRefresh", &[template, version, WARM_AT_ONCE]).expect("a refresh");
    bench.control.fail_launches(REGION, &image, Some(ApiError::new("InternalError", "No luck.")));
    bench.step(1800);
    assert_eq!(bench.refresh().status, RefreshStatus::InProgress);
    let failed = bench.group().activities.0.iter().filter(|activity| activity.message.is_some()).count();
    assert!((5..20).contains(&failed), "launches are tried again, ever more seldom: {failed}");
    bench.control.fail_launches(REGION, &image, None);
    bench.step(600);
    assert_eq!(bench.refresh().status, RefreshStatus::Successful);
}

#[test]
fn wrong_preferences_are_refused() {
    let bench = Bench::new(1);
    for (wrong, words) in [
        (vec![("MaxHealthyPercentage", "110")], "MinHealthyPercentage must be specified"),
        (vec![("MinHealthyPercentage", "90"), ("MaxHealthyPercentage", "99")], "greater than or equal to 100"),
        (vec![("MinHealthyPercentage", "90"), ("MaxHealthyPercentage", "201")], "less than or equal to 200"),
        (vec![("MinHealthyPercentage", "-1")], "greater than or equal to 0"),
        (vec![("MinHealthyPercentage", "0"), ("MaxHealthyPercentage", "110")], "cannot be greater than 100"),
        (vec![("CheckpointPercentages.member.1", "0")], "from 1 to 100"),
        (vec![("CheckpointDelay", "1")], "checkpointPercentages"),
        (vec![("Speed", "1")], "not recognized"),
    ] {
        let wrong: Vec<(String, &str)> =
            wrong.into_iter().map(|(name, value)| (format!("Preferences.{name}"), value)).collect();
        let preferences: Vec<(&str, &str)> = wrong.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let refused = bench.start(&preferences).expect_err("a refusal");
        assert_eq!(refused.code, "ValidationError", "{refused}");
        assert!(refused.message.contains(words), "{refused}");
    }
    assert!(bench.group().refreshes.is_empty());
}

#[test]
fn a_goal_is_a_template_or_a_policy() {
    let bench = Bench::new(1);
    let named = [("DesiredConfiguration.LaunchConfigurationName", "old")];
    let refused = bench.call("StartInstanceRefresh", &named).expect_err("a refusal");
    assert_eq!(refused.code, "ValidationError");
    assert!(refused.message.contains("either a LaunchTemplate or a MixedInstancesPolicy"), "{refused}");
}

#[test]
fn a_maintenance_policy_sets_the_pace() {
    let bench = Bench::new(4);
    let policy = [
        ("InstanceMaintenancePolicy.MinHealthyPercentage", "100"),
        ("InstanceMaintenancePolicy.MaxHealthyPercentage", "150"),
    ];
    bench.call("UpdateAutoScalingGroup", &policy).expect("an update");
    bench.start(&[WARM_AT_ONCE]).expect("a refresh");
    bench.step(2);
    assert_eq!(bench.counts(), (4, 0, 2, 0));
    bench.step(100);
    assert_eq!(bench.counts(), (0, 4, 0, 0));
}

#[test]
fn too_many_calls_are_refused() {
    let bench = Bench::new(0);
    bench.control.set_throttling(true);
    let refused = (0..200).find_map(|_| bench.call("SetDesiredCapacity", &[("DesiredCapacity", "0")]).err());
    assert_eq!(refused.expect("a refusal"), ApiError::new("Throttling", "Rate exceeded"));
    assert!(bench.control.throttled()["SetDesiredCapacity"] > 0);
}

#[test]
fn history_is_kept_for_six_weeks() {
    let bench = Bench::new(0);
    for day in [1, 30, 30] {
        bench.start(&[]).expect("a refresh");
        bench.step(day * 24 * 3600);
    }
    let shown = bench.call("DescribeInstanceRefreshes", &[]).expect("an answer");
    assert_eq!(shown.matches("<InstanceRefreshId>").count(), 1, "{shown}");
}
