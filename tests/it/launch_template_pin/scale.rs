//! Many pins and many groups at rest: the calls of a sweep depend on the groups and the launch templates, and not on the
//! pins.

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt, stream};
use kube::{ResourceExt, api::ListParams};
use muster::{clock::Timings, config::Config, crd::launch_template_pin::LaunchTemplatePin};
use muster_sandbox::{CallQuery, GroupSpec, LaunchTemplateSpec, SandboxConfig};
use serde_json::json;

use super::{BACKUP, image, is_ready, status};
use crate::support::scene::{Controller, REGION, Scene};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_pins_at_rest_make_as_many_calls_as_one() {
    let sweep = Duration::from_secs(5);
    let one = at_rest(1, 100, sweep).await;
    let many = at_rest(50, 100, sweep).await;
    assert_eq!(one, many);
    assert_eq!(many["DescribeAutoScalingGroups"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes in a debug build: `make scale` runs it"]
async fn five_hundred_pins_and_a_thousand_groups_at_rest() {
    let calls = at_rest(500, 1000, Timings::default().sweep).await;
    let expected = [("DescribeAutoScalingGroups", 10), ("DescribeImages", 1), ("DescribeLaunchTemplates", 3)];
    assert_eq!(calls, expected.map(|(name, count)| (name.to_owned(), count)).into());
}

/// The calls of one sweep, while nothing is written.
async fn at_rest(pins: usize, groups: usize, sweep: Duration) -> BTreeMap<String, usize> {
    let scene = Scene::with(SandboxConfig { throttling: false, ..SandboxConfig::default() }).await;
    let newest = image(&scene, "newest", 10);
    for pin in 0..pins {
        let spec = LaunchTemplateSpec::new(&scene.account, REGION, &format!("web-{pin}"), &newest);
        let template = scene.sandbox.add_launch_template(&spec).unwrap();
        for group in (0..groups).filter(|group| group % pins == pin) {
            let spec = GroupSpec::new(&scene.account, REGION, &format!("web-{pin}-{group}"), &template, 0);
            let tags = [("app".to_owned(), format!("web-{pin}"))].into();
            scene.sandbox.add_group(&GroupSpec { version: "$Latest".into(), max: 1, tags, ..spec }).unwrap();
        }
    }
    let config = scene.config();
    // As in production: with a period of milliseconds, each new object would ask for a sweep of its own.
    let progress = if pins > 50 { Timings::default().progress } else { config.timings.progress };
    let timings = Timings { sweep, progress, ..config.timings };
    let _controller = Controller::start(Config { timings, ..config }, scene.connection(), |client| client).await;
    stream::iter(0..pins)
        .for_each_concurrent(16, async |pin| {
            let spec = json!({
                "aws": scene.aws(),
                "launchTemplate": {"name": format!("web-{pin}")},
                "ami": {"selector": {"owners": ["self"], "description": BACKUP}},
                "autoScalingGroupSelector": {"tags": {"app": format!("web-{pin}")}, "version": "Latest"},
                "retention": {"keepVersions": 3},
                "refresh": {},
            });
            scene.create::<LaunchTemplatePin>(&format!("web-{pin}"), spec).await;
        })
        .await;
    let all = async || scene.api::<LaunchTemplatePin>().list(&ListParams::default()).await.unwrap().items;
    let settled = |pin: &LaunchTemplatePin| is_ready(pin) && !status(pin).groups.is_empty();
    let deadline = tokio::time::Instant::now() + Duration::from_mins(30);
    while !all().await.iter().all(settled) {
        assert!(tokio::time::Instant::now() < deadline, "{:#?}", all().await.iter().find(|pin| !settled(pin)));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // From sweep to sweep. A change asks for new data, so the first sweep may be an additional one.
    let mut from = next_sweep(&scene, 0).await;
    from = next_sweep(&scene, from).await;
    let versions = async || -> Vec<_> { all().await.iter().map(|pin| pin.resource_version()).collect() };
    let before = versions().await;
    let to = next_sweep(&scene, from).await;
    assert_eq!(before, versions().await, "written at rest");
    let mut calls = BTreeMap::new();
    for call in scene.sandbox.calls(&CallQuery::default()) {
        if (from..to).contains(&call.number) && call.operation != "GetCallerIdentity" {
            *calls.entry(call.operation).or_default() += 1;
        }
    }
    calls
}

/// The number of the first page of the next sweep of groups.
async fn next_sweep(scene: &Scene, number: u64) -> u64 {
    let last = scene.sandbox.calls(&CallQuery::default()).last().map_or(0, |call| call.number);
    let after = Some(number.max(last));
    let query = CallQuery { after, ..CallQuery::operation("autoscaling", "DescribeAutoScalingGroups") };
    let first = |calls: &[muster_sandbox::Call]| {
        calls.iter().find(|call| !call.parameters.contains_key("NextToken")).map(|call| call.number)
    };
    let calls = scene.sandbox.wait_for_calls(&query, |calls| first(calls).is_some());
    first(&tokio::time::timeout(Duration::from_secs(240), calls).await.expect("a sweep")).unwrap()
}
