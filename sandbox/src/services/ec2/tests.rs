//! Rules that need a world: tokens, life cycles, lag. The scenarios in `conformance/` hold the same against boto3.

use std::collections::BTreeMap;
use std::time::Duration;

use http_body_util::BodyExt;

use crate::caller::{AccountId, Caller};
use crate::config::{ClockMode, Lifecycle, SandboxConfig};
use crate::control::{CapacitySpec, Control};
use crate::state::State;
use crate::state::ec2::instance::{Instance, InstanceState};
use crate::state::ec2::seed::AMAZON_LINUX_X86_64;

struct Bench {
    control: Control,
    caller: Caller,
}

impl Bench {
    fn new() -> Self {
        let lifecycle = Lifecycle {
            pending: Duration::from_secs(10),
            initializing: Duration::from_secs(60),
            stopping: Duration::from_secs(20),
            shutting_down: Duration::from_secs(30),
            terminated_tags: Duration::from_secs(600),
            terminated_rows: Duration::from_secs(3600),
            ..Lifecycle::default()
        };
        let config =
            SandboxConfig { clock: ClockMode::Manual, throttling: false, lifecycle, ..SandboxConfig::default() };
        let state = State::new(&config);
        let account: AccountId = "111111111111".parse().expect("an account id");
        let id = state.accounts.authenticate(&account.root_access_key(), None).expect("a root user");
        Self { control: Control::new(state.into()), caller: Caller { id, region: "eu-west-1".to_owned() } }
    }

    /// The answer's text, or the error code.
    fn call(&self, operation: &str, parameters: &[(&str, &str)]) -> Result<String, String> {
        let form = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let response = super::handle(&self.control.state, &self.caller, operation, &form, "request");
        let status = response.status();
        let body = futures::executor::block_on(response.into_body().collect()).expect("a body").to_bytes();
        let text = String::from_utf8(body.to_vec()).expect("text");
        if status.is_success() { Ok(text) } else { Err(all(&text, "Code").remove(0)) }
    }

    /// The ids that RunInstances gives.
    fn run(&self, parameters: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let mut form = BTreeMap::from([
            ("ImageId", AMAZON_LINUX_X86_64),
            ("InstanceType", "t3.micro"),
            ("MinCount", "1"),
            ("MaxCount", "1"),
        ]);
        form.extend(parameters.iter().copied());
        let form: Vec<(&str, &str)> = form.into_iter().collect();
        self.call("RunInstances", &form).map(|text| all(&text, "instanceId"))
    }

    fn described(&self, parameters: &[(&str, &str)]) -> Result<Vec<String>, String> {
        self.call("DescribeInstances", parameters).map(|text| all(&text, "instanceId"))
    }

    fn instance(&self, id: &str) -> Instance {
        self.control.instance(id).expect("the instance")
    }

    fn step(&self, seconds: u64) {
        self.control.step(Duration::from_secs(seconds));
    }

    fn subnet(&self, index: usize) -> String {
        self.control.subnets(&self.caller.id.account, &self.caller.region)[index].id.clone()
    }
}

/// The contents of all elements with this name.
fn all(text: &str, element: &str) -> Vec<String> {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    text.split(&open).skip(1).filter_map(|rest| rest.split(&close).next()).map(str::to_owned).collect()
}

#[test]
fn a_token_launches_once_for_a_request_and_a_zone() {
    enum Then {
        Launches,
        Repeats(usize),
        Mismatches,
    }
    use Then::{Launches, Mismatches, Repeats};
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], Then);
    let bench = Bench::new();
    let (a, b) = (bench.subnet(0), bench.subnet(1));
    let (zone_a, zone_b) = ("eu-west-1a", "eu-west-1b");
    let table: &[Row<'_>] = &[
        ("the first", &[("ClientToken", "t"), ("SubnetId", &a)], Launches),
        ("the same", &[("ClientToken", "t"), ("SubnetId", &a)], Repeats(0)),
        ("another count", &[("ClientToken", "t"), ("SubnetId", &a), ("MaxCount", "2")], Mismatches),
        ("another user data", &[("ClientToken", "t"), ("SubnetId", &a), ("UserData", "YQ==")], Mismatches),
        ("another zone", &[("ClientToken", "t"), ("SubnetId", &b)], Launches),
        ("the other zone again", &[("ClientToken", "t"), ("SubnetId", &b)], Repeats(4)),
        ("the first zone again", &[("ClientToken", "t"), ("SubnetId", &a)], Repeats(0)),
        ("no zone at all", &[("ClientToken", "t")], Launches),
        ("no zone again", &[("ClientToken", "t")], Repeats(7)),
        ("the zone by name", &[("ClientToken", "t"), ("Placement.AvailabilityZone", zone_a)], Mismatches),
        ("a zone by name", &[("ClientToken", "u"), ("Placement.AvailabilityZone", zone_b)], Launches),
        ("another token", &[("ClientToken", "v"), ("SubnetId", &a)], Launches),
        ("no token", &[("SubnetId", &a)], Launches),
        ("no token again", &[("SubnetId", &a)], Launches),
    ];
    let mut answers: Vec<Result<Vec<String>, String>> = Vec::new();
    for (name, parameters, then) in table {
        let answer = bench.run(parameters);
        match then {
            Launches => {
                let launched = answer.as_ref().expect(name);
                assert!(answers.iter().flatten().all(|earlier| earlier != launched), "{name} must launch");
            }
            Repeats(index) => assert_eq!(answer, answers[*index], "{name} must repeat"),
            Mismatches => assert_eq!(answer, Err("IdempotentParameterMismatch".to_owned()), "{name} must mismatch"),
        }
        answers.push(answer);
    }
    assert_eq!(bench.control.instances().len(), 7);
}

#[test]
fn a_repeated_token_shows_the_instances_as_they_are() {
    let bench = Bench::new();
    let ids = bench.run(&[("ClientToken", "t")]).expect("a launch");
    for (seconds, state) in [(10, "running"), (0, "shutting-down"), (30, "terminated"), (3600, "terminated")] {
        bench.step(seconds);
        if state == "shutting-down" {
            bench.control.terminate_instance(&ids[0]).expect("an instance");
        }
        let form =
            [("ImageId", AMAZON_LINUX_X86_64), ("InstanceType", "t3.micro"), ("MinCount", "1"), ("MaxCount", "1")];
        let answer = bench.call("RunInstances", &[&form[..], &[("ClientToken", "t")]].concat()).expect("a repetition");
        assert_eq!(all(&answer, "instanceId"), ids);
        assert_eq!(all(&all(&answer, "instanceState")[0], "name"), [state]);
    }
    bench.step(24 * 3600);
    assert_ne!(bench.run(&[("ClientToken", "t")]).expect("a launch"), ids);
    assert_eq!(bench.control.instances().len(), 1, "nothing is left of the first");
}

#[test]
fn states_follow_the_clock_to_the_second() {
    let bench = Bench::new();
    let id = bench
        .run(&[("TagSpecification.1.ResourceType", "instance"), ("TagSpecification.1.Tag.1.Key", "a")])
        .expect("a launch")
        .remove(0);
    let launched = bench.control.now();
    for (seconds, state) in [(9, InstanceState::Pending), (1, InstanceState::Running), (500, InstanceState::Running)] {
        bench.step(seconds);
        assert_eq!(bench.instance(&id).state, state);
    }
    assert_eq!(bench.instance(&id).running_since, Some(launched + Duration::from_secs(10)));
    bench.control.stop_instance(&id).expect("an instance");
    for (seconds, state) in [(19, InstanceState::Stopping), (1, InstanceState::Stopped), (99, InstanceState::Stopped)] {
        bench.step(seconds);
        assert_eq!(bench.instance(&id).state, state);
    }
    bench.control.terminate_instance(&id).expect("an instance");
    for (seconds, state) in [(29, InstanceState::ShuttingDown), (1, InstanceState::Terminated)] {
        bench.step(seconds);
        assert_eq!(bench.instance(&id).state, state);
    }
    for (seconds, tags) in [(599, 1), (1, 0)] {
        bench.step(seconds);
        assert_eq!(bench.instance(&id).tags.len(), tags);
    }
    bench.step(2999);
    assert_eq!(bench.described(&[]), Ok(vec![id.clone()]));
    bench.step(1);
    assert_eq!(bench.described(&[]), Ok(vec![]));
    assert_eq!(bench.control.instance(&id), None);
}

#[test]
fn one_long_step_passes_every_state_in_order() {
    let bench = Bench::new();
    let mut events = bench.control.instance_events();
    let id = bench.run(&[]).expect("a launch").remove(0);
    let launched = bench.control.now();
    bench.step(1000);
    bench.control.terminate_instance(&id).expect("an instance");
    bench.step(1000);
    let heard: Vec<_> = std::iter::from_fn(|| events.try_recv().ok()).map(|event| (event.state, event.at)).collect();
    let after = |seconds| launched + Duration::from_secs(seconds);
    assert_eq!(
        heard,
        [
            (InstanceState::Pending, launched),
            (InstanceState::Running, after(10)),
            (InstanceState::ShuttingDown, after(1000)),
            (InstanceState::Terminated, after(1030)),
        ]
    );
}

#[test]
fn a_termination_cancels_the_start() {
    let bench = Bench::new();
    let id = bench.run(&[]).expect("a launch").remove(0);
    bench.step(9);
    bench.control.terminate_instance(&id).expect("an instance");
    bench.step(5);
    assert_eq!(bench.instance(&id).state, InstanceState::ShuttingDown);
}

#[test]
fn a_write_is_unseen_while_describe_lags() {
    let bench = Bench::new();
    bench.control.set_describe_lag(Duration::from_secs(60));
    let token = [("ClientToken", "t")];
    let id = bench.run(&token).expect("a launch").remove(0);
    let by_token = [("Filter.1.Name", "client-token"), ("Filter.1.Value.1", "t")];
    let by_id = [("InstanceId.1", id.as_str())];
    bench.step(59);
    assert_eq!(bench.described(&by_token), Ok(vec![]));
    assert_eq!(bench.described(&by_id), Err("InvalidInstanceID.NotFound".to_owned()));
    assert_eq!(bench.run(&token), Ok(vec![id.clone()]));
    bench.step(1);
    assert_eq!(bench.described(&by_token), Ok(vec![id.clone()]));
    assert_eq!(bench.described(&by_id), Ok(vec![id.clone()]));

    let tag = [("ResourceId.1", id.as_str()), ("Tag.1.Key", "app"), ("Tag.1.Value", "core")];
    bench.call("CreateTags", &tag).expect("a tag");
    let by_tag = [("Filter.1.Name", "tag:app"), ("Filter.1.Value.1", "core")];
    bench.step(30);
    // A second write meanwhile does not make the first one visible, nor hide it for longer.
    bench.control.terminate_instance(&id).expect("an instance");
    assert_eq!(bench.described(&by_tag), Ok(vec![]));
    bench.step(30);
    assert_eq!(bench.described(&by_tag), Ok(vec![id.clone()]));
}

#[test]
fn capacity_is_shared_or_an_accounts_own() {
    let bench = Bench::new();
    let subnet = bench.subnet(0);
    let here: &[(&str, &str)] = &[("SubnetId", &subnet), ("MinCount", "2"), ("MaxCount", "5")];
    let limit = |account: Option<&AccountId>, limit| CapacitySpec {
        account: account.cloned(),
        zone: "eu-west-1a".to_owned(),
        instance_type: "t3.micro".to_owned(),
        market: None,
        limit,
    };
    let own = bench.caller.id.account.clone();
    let other: AccountId = "222222222222".parse().expect("an account id");
    bench.control.set_capacity(limit(Some(&other), Some(0)));
    assert_eq!(bench.run(here).map(|ids| ids.len()), Ok(5));
    bench.control.set_capacity(limit(None, Some(8)));
    assert_eq!(bench.run(here).map(|ids| ids.len()), Ok(3));
    assert_eq!(bench.run(here), Err("InsufficientInstanceCapacity".to_owned()));
    bench.control.set_capacity(limit(None, Some(20)));
    bench.control.set_capacity(limit(Some(&own), Some(9)));
    assert_eq!(bench.run(here), Err("InsufficientInstanceCapacity".to_owned()));
    bench.control.set_capacity(limit(Some(&own), None));
    assert_eq!(bench.run(here).map(|ids| ids.len()), Ok(5));
}

#[test]
fn filters_are_all_of_any() {
    let bench = Bench::new();
    let tag = |value| {
        [
            ("TagSpecification.1.ResourceType", "instance"),
            ("TagSpecification.1.Tag.1.Key", "app"),
            ("TagSpecification.1.Tag.1.Value", value),
        ]
    };
    let core = bench.run(&tag("core")).expect("a launch").remove(0);
    let edge = bench.run(&tag("edge")).expect("a launch").remove(0);
    bench.control.terminate_instance(&edge).expect("an instance");
    type Filter<'a> = (&'a str, &'a [&'a str]);
    let table: &[(&[Filter<'_>], &[&String])] = &[
        (&[("tag:app", &["core"])], &[&core]),
        (&[("tag:app", &["core", "edge"])], &[&core, &edge]),
        (&[("tag:app", &["*"]), ("instance-state-name", &["pending"])], &[&core]),
        (&[("tag:app", &["core"]), ("instance-state-name", &["shutting-down"])], &[]),
        (&[("tag-key", &["app"])], &[&core, &edge]),
        (&[("tag-key", &["App"])], &[]),
        (&[("instance-id", &[&core, &edge])], &[&core, &edge]),
        (&[("instance-lifecycle", &["spot"])], &[]),
    ];
    for (filters, wanted) in table {
        let mut form = BTreeMap::new();
        for (n, (name, values)) in filters.iter().enumerate() {
            form.insert(format!("Filter.{}.Name", n + 1), (*name).to_owned());
            for (m, value) in values.iter().enumerate() {
                form.insert(format!("Filter.{}.Value.{}", n + 1, m + 1), (*value).to_owned());
            }
        }
        let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let wanted: Vec<String> = wanted.iter().map(|id| (*id).clone()).collect();
        assert_eq!(bench.described(&form), Ok(wanted), "{filters:?}");
    }
    for bad in [&[("Filter.1.Name", "colour"), ("Filter.1.Value.1", "red")][..], &[("Filter.1.Name", "tag:app")]] {
        assert_eq!(bench.described(bad), Err("InvalidParameterValue".to_owned()), "{bad:?}");
    }
}

#[test]
fn a_private_address_that_would_not_be_given_is_refused() {
    let bench = Bench::new();
    assert_eq!(bench.run(&[("PrivateIpAddress", "172.31.0.77")]), Err("UnknownParameter".to_owned()));
    let interface = [("NetworkInterface.1.DeviceIndex", "0"), ("NetworkInterface.1.PrivateIpAddress", "172.31.0.77")];
    assert_eq!(bench.run(&interface), Err("UnknownParameter".to_owned()));
}

#[test]
fn volumes_have_a_size_that_ec2_makes() {
    let bench = Bench::new();
    let with = |name: &str, size: &str| {
        let device = [("BlockDeviceMapping.1.DeviceName", name), ("BlockDeviceMapping.1.Ebs.VolumeSize", size)];
        bench.run(&device).map(|ids| ids.len())
    };
    assert_eq!(with("/dev/xvda", "8"), Ok(1));
    assert_eq!(with("/dev/xvda", "1"), Err("InvalidBlockDeviceMapping".to_owned()));
    assert_eq!(with("/dev/sdb", "1"), Ok(1));
    for size in ["0", "65537", "-1"] {
        assert_eq!(with("/dev/sdb", size), Err("InvalidParameterValue".to_owned()), "{size}");
    }
}

#[test]
fn a_tag_that_no_answer_could_show_is_refused() {
    let bench = Bench::new();
    let tag = |value| {
        [
            ("TagSpecification.1.ResourceType", "instance"),
            ("TagSpecification.1.Tag.1.Key", "a"),
            ("TagSpecification.1.Tag.1.Value", value),
        ]
    };
    assert_eq!(bench.run(&tag("x\u{b}y")), Err("InvalidParameterValue".to_owned()));
    assert_eq!(bench.run(&tag("x\ty")).map(|ids| ids.len()), Ok(1));
}
