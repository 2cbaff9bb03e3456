//! Somebody who may tag instances changes the tags of workers.

use std::collections::{BTreeMap, BTreeSet};

use kube::api::DeleteParams;
use muster::crd::worker_fleet::WorkerFleet;
use serde_json::json;

use crate::support::{
    fleet::{calls_at_rest, ever, ids, is, live, spec, status, terminations, wait_settled, with},
    scene::{Scene, condition},
};

/// Changes a tag of all workers, and returns the old values.
fn tag_all(scene: &Scene, tag: &str, value: &str) -> BTreeMap<String, Option<String>> {
    let change = BTreeMap::from([(tag.to_owned(), value.to_owned())]);
    let changed = live(scene).into_iter().map(|worker| {
        scene.sandbox.tag_instance(&worker.id, &change).unwrap();
        (worker.id, worker.tags.get(tag).cloned())
    });
    changed.collect()
}

fn told(fleet: &WorkerFleet) -> Option<String> {
    let (truth, reason, message) = condition(&status(fleet).common.conditions, "OrphansFound")?;
    (truth == "True" && reason == "TagsChanged").then_some(message)
}

#[tokio::test]
async fn no_changed_tag_of_all_workers_ends_or_replaces_one_and_it_is_told() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    let side = json!({"roles": [{"name": "side", "replicas": 1}]});
    scene.create::<WorkerFleet>("web", with(spec(&scene, 3, json!({})), side)).await;
    wait_settled(&scene, "web", 3).await;
    let workers = ids(&live(&scene));
    for (tag, value) in [
        ("muster.dev:role", "nope"),
        ("muster.dev:role", "side"),
        ("muster.dev:revision", "web-000000000000"),
        ("muster.dev:revision", "a/b"),
        ("muster.dev:indexes", "0"),
        ("muster.dev:fleet", "default/other"),
        ("muster.dev:owner-uid", "11111111-9d0c-4f6e-8f0e-1f7a2b3c4d5e"),
    ] {
        let before = tag_all(&scene, tag, value);
        let names = |fleet: &WorkerFleet| {
            told(fleet).is_some_and(|message| message.contains(&format!("{tag} is {value:?} (launched with")))
        };
        scene.wait::<WorkerFleet>("web", tag, names).await;
        assert_eq!(calls_at_rest(&scene).await, BTreeSet::from(["DescribeInstances".to_owned()]), "{tag}={value}");
        wait_settled(&scene, "web", 3).await;
        for (id, value) in before {
            scene.sandbox.untag_instance(&id, tag).unwrap();
            let restored = value.map(|value| BTreeMap::from([(tag.to_owned(), value)]));
            restored.into_iter().for_each(|tags| scene.sandbox.tag_instance(&id, &tags).unwrap());
        }
        scene
            .wait::<WorkerFleet>("web", "restored tags", |fleet| is(fleet, "OrphansFound", "False", "NoOrphans"))
            .await;
    }
    assert_eq!((ids(&live(&scene)), ever(&scene), terminations(&scene)), (workers, 4, 0));
}

#[tokio::test]
async fn workers_with_a_changed_role_survive_scaling_and_an_update_and_end_with_their_fleet() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 3, json!({}))).await;
    wait_settled(&scene, "web", 3).await;
    let first = ids(&live(&scene));
    tag_all(&scene, "muster.dev:role", "nope\u{202e}\n");
    let fleet = scene.wait::<WorkerFleet>("web", "a warning", |fleet| told(fleet).is_some()).await;
    let message = told(&fleet).unwrap();
    assert!(message.contains(r#"muster.dev:role is "nope\u{202e}\n" (launched with "main")"#), "{message}");
    assert!(first.iter().all(|id| message.contains(id)) && message.contains("restore the tags"), "{message}");

    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 4}})).await;
    wait_settled(&scene, "web", 4).await;
    scene.change::<WorkerFleet>("web", json!({"spec": {"template": {"tags": {"edit": "1"}}}})).await;
    scene.wait::<WorkerFleet>("web", "an update", |fleet| status(fleet).updated_replicas > 0).await;
    calls_at_rest(&scene).await;
    assert!(ids(&live(&scene)).is_superset(&first), "an update");
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 0}})).await;
    scene.wait::<WorkerFleet>("web", "only they are left", |fleet| status(fleet).replicas == 3).await;
    calls_at_rest(&scene).await;
    assert_eq!(ids(&live(&scene)), first);

    scene.api::<WorkerFleet>().delete("web", &DeleteParams::default()).await.unwrap();
    scene.wait_gone::<WorkerFleet>("web").await;
    assert_eq!(live(&scene).len(), 0);
}

#[tokio::test]
async fn workers_that_leave_the_sweep_are_not_terminated_and_replaced_only_within_the_limit() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    let limit = json!({"maxReplacementsPerHour": 1});
    scene.create::<WorkerFleet>("web", with(spec(&scene, 3, json!({})), limit)).await;
    wait_settled(&scene, "web", 3).await;
    let first = ids(&live(&scene));
    tag_all(&scene, "muster.dev:cluster", "other");
    let warned = |fleet: &WorkerFleet| {
        let lost = condition(&status(fleet).common.conditions, "OrphansFound").filter(|(_, r, _)| r == "TagsLost");
        lost.is_some_and(|(_, _, message)| first.iter().all(|id| message.contains(id)))
            && is(fleet, "Healthy", "False", "ReplacementLimitReached")
    };
    scene.wait::<WorkerFleet>("web", "a warning and the limit", warned).await;
    calls_at_rest(&scene).await;
    assert!(ids(&live(&scene)).is_superset(&first));
    assert_eq!((ever(&scene), terminations(&scene)), (4, 0));
}

#[tokio::test]
async fn a_revision_tag_that_is_no_valid_name_stops_neither_scaling_nor_deletion() {
    let long = "a".repeat(256);
    for revision in ["a/b", "..", "../../secrets/x", "%2e%2e", "a\u{1}\n", &long] {
        let scene = Scene::new().await;
        let _controller = scene.start().await;
        scene.create::<WorkerFleet>("web", spec(&scene, 2, json!({}))).await;
        wait_settled(&scene, "web", 2).await;
        let tags = BTreeMap::from([("muster.dev:revision".to_owned(), revision.to_owned())]);
        scene.sandbox.tag_instance(&live(&scene)[0].id, &tags).unwrap();
        calls_at_rest(&scene).await;
        scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 3}})).await;
        wait_settled(&scene, "web", 3).await;
        scene.api::<WorkerFleet>().delete("web", &DeleteParams::default()).await.unwrap();
        scene.wait_gone::<WorkerFleet>("web").await;
        assert_eq!(live(&scene).len(), 0, "{revision:?}");
    }
}

/// A worker that may tag itself could hold up the launches of another fleet, or let another fleet adopt it.
#[tokio::test]
async fn a_worker_with_the_name_of_another_fleet_stops_no_launch_and_cannot_be_adopted_by_it() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("good", spec(&scene, 1, json!({}))).await;
    let good = wait_settled(&scene, "good", 1).await;
    let worker = live(&scene).remove(0);
    let path = format!("{}/evil", scene.namespace);
    let renamed = BTreeMap::from([("muster.dev:fleet".to_owned(), path)]);
    scene.sandbox.tag_instance(&worker.id, &renamed).unwrap();
    scene.create::<WorkerFleet>("evil", spec(&scene, 1, json!({}))).await;
    let evil = wait_settled(&scene, "evil", 1).await;
    let (_, reason, message) = condition(&status(&evil).common.conditions, "OrphansFound").unwrap();
    assert_eq!(reason, "ForeignInstancesFound", "{message}");
    assert!(!message.contains("muster.dev/adopt"), "{message}");
    let adopt = json!({"metadata": {"annotations": {"muster.dev/adopt": good.metadata.uid}}, "spec": {"replicas": 0}});
    scene.change::<WorkerFleet>("evil", adopt).await;
    wait_settled(&scene, "evil", 0).await;
    assert_eq!(ids(&live(&scene)), BTreeSet::from([worker.id]));
}
