//! A WorkerFleet from its creation to its deletion, against the API server and EC2.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::{
    ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use muster::crd::worker_fleet::WorkerFleet;
use muster_sandbox::{AMAZON_LINUX_X86_64, CallQuery, CapacitySpec, Outcome};
use serde_json::json;

use crate::support::{
    fleet::{calls_at_rest, ids, is, launches, live, ready, settled, spec, status, wait_settled, with},
    scene::{self, REGION, Scene, condition},
};

#[tokio::test]
async fn workers_are_launched_tagged_and_spread_and_then_kept() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    let template = json!({
        "tags": {"team": "ml"}, "userData": {"inline": "#!/bin/sh\n"}, "associatePublicIPAddress": false,
        "metadataOptions": {"httpPutResponseHopLimit": 2},
        "blockDeviceMappings": [{"deviceName": "/dev/xvda", "ebs": {"volumeSize": "20Gi"}}],
    });
    scene.create::<WorkerFleet>("web", spec(&scene, 5, template)).await;
    let fleet = wait_settled(&scene, "web", 5).await;

    let workers = live(&scene);
    assert_eq!(workers.len(), 5);
    let zones: BTreeSet<_> = workers.iter().map(|worker| worker.zone.clone()).collect();
    assert_eq!(zones.len(), 3);
    let uid = fleet.uid().unwrap();
    let revision = status(&fleet).update_revision.unwrap();
    for worker in &workers {
        let tags: Vec<_> = worker.tags.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let path = format!("{}/web", scene.namespace);
        let expected = [
            ("muster.dev:cluster", "test"),
            ("muster.dev:fleet", &path),
            ("muster.dev:owner-uid", &uid),
            ("muster.dev:revision", &revision),
            ("muster.dev:role", "main"),
            ("team", "ml"),
        ];
        assert_eq!(tags, expected);
        assert!(worker.client_token.as_ref().unwrap().starts_with(&uid.replace('-', "")));
        assert!(worker.metadata_options.tokens_required && worker.metadata_options.tags_enabled);
        assert_eq!(worker.metadata_options.hop_limit, 2);
        assert_eq!(worker.block_devices[0].size_gib, 20);
        assert_eq!(worker.public_ip, None);
        assert_eq!(worker.decoded_user_data().unwrap(), b"#!/bin/sh\n");
    }
    assert_eq!(launches(&scene), 3, "one call a zone");
    let status = status(&fleet);
    assert_eq!((status.updated_replicas, status.available_replicas, status.desired_replicas), (5, 5, 5));
    assert_eq!(status.instances.len(), 5);
    assert_eq!(status.current_revision, status.update_revision);
    assert_eq!(status.workers.aws.unwrap().account_id, scene.account.to_string());
    let stored = scene.api::<ControllerRevision>().get(&revision).await.unwrap();
    assert_eq!(stored.metadata.owner_references.unwrap()[0].uid, uid);

    assert_eq!(calls_at_rest(&scene).await, BTreeSet::from(["DescribeInstances".to_owned()]));
    let later = scene.api::<WorkerFleet>().get("web").await.unwrap();
    assert_eq!(later.resource_version(), fleet.resource_version(), "nothing is written at rest");
}

#[tokio::test]
async fn the_scale_subresource_scales_both_ways() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 1, json!({}))).await;
    wait_settled(&scene, "web", 1).await;
    let first = ids(&live(&scene));
    let fleets = scene.api::<WorkerFleet>();
    let scale = async |replicas: u32| {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        fleets.patch_scale("web", &PatchParams::default(), &patch).await.unwrap();
    };
    // Launch times have a resolution of one second.
    scene.sandbox.step(Duration::from_secs(5));
    scale(4).await;
    wait_settled(&scene, "web", 4).await;
    let four = ids(&live(&scene));
    assert!(four.len() == 4 && four.is_superset(&first));
    scale(2).await;
    wait_settled(&scene, "web", 2).await;
    let two = ids(&live(&scene));
    assert!(two.len() == 2 && two.is_subset(&four), "{two:?}");
    assert!(two.is_disjoint(&first), "the oldest are terminated first");
    let seen = fleets.get_scale("web").await.unwrap();
    assert_eq!(seen.status.unwrap().replicas, 2);
    scale(0).await;
    wait_settled(&scene, "web", 0).await;
    assert_eq!(live(&scene).len(), 0);
}

#[tokio::test]
async fn terminated_and_stopped_workers_are_replaced() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 3, json!({}))).await;
    let fleet = wait_settled(&scene, "web", 3).await;
    let before = live(&scene);
    scene.sandbox.terminate_instance(&before[0].id).unwrap();
    let replaced = |gone: String| {
        move |fleet: &WorkerFleet| {
            settled(fleet, 3) && status(fleet).instances.iter().all(|worker| worker.id.as_str() != gone)
        }
    };
    scene.wait("web", "a replacement", replaced(before[0].id.clone())).await;
    scene.sandbox.stop_instance(&before[1].id).unwrap();
    scene.wait("web", "a replacement", replaced(before[1].id.clone())).await;
    let after = ids(&live(&scene));
    assert_eq!(after.len(), 3);
    assert!(after.contains(&before[2].id));
    assert_ne!(Some(fleet.resource_version()), None);
}

#[tokio::test]
async fn an_edit_replaces_running_workers_and_old_revisions_are_deleted() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    let mut desired = with(spec(&scene, 1, json!({})), json!({"revisionHistoryLimit": 0}));
    scene.create::<WorkerFleet>("web", desired.clone()).await;
    let first = status(&wait_settled(&scene, "web", 1).await).update_revision.unwrap();
    desired["template"]["tags"] = json!({"edit": "1"});
    scene.change::<WorkerFleet>("web", json!({"spec": desired})).await;
    let revised =
        |fleet: &WorkerFleet| status(fleet).update_revision.is_some_and(|name| name != first) && settled(fleet, 1);
    let fleet = scene.wait("web", "the worker of the new revision", revised).await;
    let second = status(&fleet).update_revision.unwrap();
    assert_eq!(status(&fleet).current_revision.as_ref(), Some(&second));
    let workers = live(&scene);
    assert_eq!(workers.len(), 1);
    assert_eq!(workers[0].tags["edit"], "1");
    // Once EC2 no longer returns the worker that ran it.
    scene.wait_gone::<ControllerRevision>(&first).await;
    assert_eq!(scene.api::<ControllerRevision>().list(&Default::default()).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn without_capacity_the_next_pool_is_used_immediately_and_the_condition_shows_it() {
    let scene = Scene::new().await;
    let full = |zone: &str, instance_type: &str, limit| CapacitySpec {
        account: None,
        zone: format!("{REGION}{zone}"),
        instance_type: instance_type.into(),
        market: None,
        limit,
    };
    for zone in ["a", "b"] {
        scene.sandbox.set_capacity(full(zone, "m6i.large", Some(0)));
    }
    let _controller = scene.start().await;
    let mut desired = spec(&scene, 4, json!({}));
    // Two rejected calls and two launches: muster uses four of the five calls that EC2 allows in a burst.
    desired["template"]["subnets"]["ids"].as_array_mut().unwrap().truncate(2);
    scene.create::<WorkerFleet>("web", desired).await;
    let told = scene
        .wait::<WorkerFleet>("web", "the pools in use", |fleet| {
            let condition = condition(&status(fleet).common.conditions, "CapacityAvailable");
            condition
                .is_some_and(|(truth, _, message)| truth == "True" && message.contains("InsufficientInstanceCapacity"))
        })
        .await;
    assert_eq!(status(&told).replicas, 4, "all in the same reconcile");
    wait_settled(&scene, "web", 4).await;
    let workers = live(&scene);
    assert!(workers.iter().all(|worker| worker.instance_type == "m5.large"));

    for zone in ["a", "b"] {
        scene.sandbox.set_capacity(full(zone, "m5.large", Some(2)));
    }
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 6}})).await;
    let none = scene
        .wait::<WorkerFleet>("web", "no capacity", |fleet| is(fleet, "CapacityAvailable", "False", "NoCapacity"))
        .await;
    assert!(is(&none, "Ready", "False", "NoCapacity"));
    scene.sandbox.set_capacity(full("b", "m6i.large", None));
    wait_settled(&scene, "web", 6).await;
}

#[tokio::test]
async fn a_suspended_fleet_changes_nothing_in_aws() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 2, json!({}))).await;
    wait_settled(&scene, "web", 2).await;
    scene.change::<WorkerFleet>("web", json!({"spec": {"suspend": true}})).await;
    scene.wait::<WorkerFleet>("web", "Suspended", |fleet| is(fleet, "Suspended", "True", "Suspended")).await;
    scene.sandbox.terminate_instance(&live(&scene)[0].id).unwrap();
    scene.wait::<WorkerFleet>("web", "the loss", |fleet| status(fleet).replicas == 1).await;
    assert_eq!(calls_at_rest(&scene).await, BTreeSet::from(["DescribeInstances".to_owned()]));
    assert_eq!(live(&scene).len(), 1);
    scene.change::<WorkerFleet>("web", json!({"spec": {"suspend": false}})).await;
    wait_settled(&scene, "web", 2).await;
}

#[tokio::test]
async fn deletion_terminates_all_workers_or_retains_them() {
    for (policy, left) in [("Terminate", 0), ("Retain", 3)] {
        let scene = Scene::new().await;
        let _controller = scene.start().await;
        let desired = with(spec(&scene, 3, json!({})), json!({"deletionPolicy": policy}));
        scene.create::<WorkerFleet>("web", desired).await;
        wait_settled(&scene, "web", 3).await;
        scene.api::<WorkerFleet>().delete("web", &DeleteParams::default()).await.unwrap();
        scene.wait_gone::<WorkerFleet>("web").await;
        assert_eq!(live(&scene).len(), left, "{policy}");
    }
}

#[tokio::test]
async fn a_fleet_that_lost_its_status_terminates_its_workers_on_deletion() {
    let scene = Scene::new().await;
    let controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 2, json!({}))).await;
    wait_settled(&scene, "web", 2).await;
    controller.stop().await.unwrap();
    // As when etcd is restored from a backup that was made before the launch.
    let lost = Patch::Merge(json!({"status": null}));
    let fleets = scene.api::<WorkerFleet>();
    fleets.patch_status("web", &PatchParams::default(), &lost).await.unwrap();
    fleets.delete("web", &DeleteParams::default()).await.unwrap();

    let _successor = scene.start().await;
    scene.wait_gone::<WorkerFleet>("web").await;
    assert_eq!(live(&scene).len(), 0);
}

#[tokio::test]
async fn readiness_waits_for_both_status_checks() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    let desired = with(spec(&scene, 2, json!({})), json!({"readiness": {"check": "StatusChecks"}}));
    scene.create::<WorkerFleet>("web", desired).await;
    wait_settled(&scene, "web", 2).await;
    let worker = &live(&scene)[0];
    let impaired = Some(muster_sandbox::HealthStatus::Impaired);
    scene.sandbox.set_health(&worker.id, impaired, None).unwrap();
    scene.wait::<WorkerFleet>("web", "one impaired", |fleet| is(fleet, "Ready", "False", "WorkersNotReady")).await;
    scene.sandbox.set_health(&worker.id, None, None).unwrap();
    wait_settled(&scene, "web", 2).await;
    assert_eq!(launches(&scene), 2, "not ready is not gone");
}

#[tokio::test]
async fn a_rejected_launch_is_shown_with_its_code_and_not_repeated_continuously() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 1, json!({"ami": {"id": "ami-0123456789abcdef0"}}))).await;
    let fleet = scene.wait::<WorkerFleet>("web", "Stalled", |f| is(f, "Stalled", "True", "AwsNotFound")).await;
    let (_, _, message) = ready(&fleet).unwrap();
    assert!(message.contains("InvalidAMIID.NotFound") && message.contains("ami-0123456789abcdef0"), "{message}");
    let refused = launches(&scene);
    assert!(refused <= 2, "{refused}");
    scene.change::<WorkerFleet>("web", json!({"spec": {"template": {"ami": {"id": AMAZON_LINUX_X86_64}}}})).await;
    wait_settled(&scene, "web", 1).await;
    let calls = scene.sandbox.calls(&CallQuery::operation("ec2", "RunInstances"));
    assert_eq!(calls.iter().filter(|call| call.outcome == Outcome::Ok).count(), 1);
}

#[tokio::test]
async fn user_data_over_16_kb_is_rejected_with_its_size() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    let desired = spec(&scene, 1, json!({"userData": {"inline": "x".repeat(20_000)}}));
    scene.create::<WorkerFleet>("web", desired).await;
    let fleet = scene.wait::<WorkerFleet>("web", "Stalled", |f| is(f, "Stalled", "True", "InvalidSpec")).await;
    assert!(ready(&fleet).unwrap().2.contains("20000 bytes"));
    assert_eq!(scene.sandbox.calls(&CallQuery { service: Some("ec2".into()), ..CallQuery::default() }), []);
    scene.api::<WorkerFleet>().delete("web", &DeleteParams::default()).await.unwrap();
    scene.wait_gone::<WorkerFleet>("web").await;
}

#[tokio::test]
async fn an_instance_profile_that_is_not_granted_is_never_used() {
    let scene = Scene::without_account(Default::default()).await;
    let grant =
        json!({"namespaces": {"names": [scene.namespace]}, "kinds": ["WorkerFleet"], "instanceProfiles": ["a"]});
    scene.create_account(json!({"regions": [REGION], "grants": [grant]})).await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 1, json!({"instanceProfile": "b"}))).await;
    scene.wait::<WorkerFleet>("web", "Stalled", |f| is(f, "Stalled", "True", "NotGranted")).await;
    assert_eq!(scene.sandbox.calls(&CallQuery { service: Some("ec2".into()), ..CallQuery::default() }), []);
}

#[tokio::test]
async fn many_fleets_share_one_sweep() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    let names: Vec<_> = (0..12).map(|n| format!("web-{n}")).collect();
    for name in &names {
        scene.create::<WorkerFleet>(name, spec(&scene, 1, json!({}))).await;
    }
    for name in &names {
        wait_settled(&scene, name, 1).await;
    }
    calls_at_rest(&scene).await;
    let last = scene.sandbox.calls(&CallQuery::default()).last().unwrap().number;
    let query = CallQuery { after: Some(last), ..CallQuery::operation("ec2", "DescribeInstances") };
    let sweeps = scene.sandbox.wait_for_calls(&query, |calls| calls.len() >= 4);
    let sweeps = tokio::time::timeout(scene::PATIENCE, sweeps).await.expect("four sweeps");
    let between = sweeps[3].started.duration_since(sweeps[0].started).unsigned_abs();
    let fair = scene::timings().sweep * 3;
    assert!(between >= fair.mul_f64(0.95), "{} fleets: four sweeps within {between:?}, not {fair:?}", names.len());
}
