//! Instances that were launched by other means are adopted with `spec.adopt`.

use std::collections::BTreeSet;

use kube::{ResourceExt, api::DeleteParams};
use muster::crd::worker_fleet::WorkerFleet;
use muster_sandbox::{AMAZON_LINUX_X86_64, CallQuery, Fault, FaultAction, Instance};
use serde_json::{Value, json};

use crate::support::{
    fleet::{calls_at_rest, ids, live, settled, spec, status, wait_settled, with},
    scene::{PATIENCE, REGION, Scene, condition},
};

/// Launches instances that nobody manages, and that the grant of the scene lets fleets adopt.
fn launch_unmanaged(scene: &Scene, count: usize) -> Vec<String> {
    let subnet = scene.sandbox.subnets(&scene.account, REGION).remove(0).id;
    let count = count.to_string();
    let parameters = [
        ("ImageId", AMAZON_LINUX_X86_64),
        ("InstanceType", "m6i.large"),
        ("MinCount", &count),
        ("MaxCount", &count),
        ("SubnetId", &subnet),
        ("TagSpecification.1.ResourceType", "instance"),
        ("TagSpecification.1.Tag.1.Key", "team"),
        ("TagSpecification.1.Tag.1.Value", "ml"),
    ];
    scene.sandbox.launch(&scene.account, REGION, &parameters).unwrap()
}

fn adopting(scene: &Scene, replicas: u32, ids: &[String]) -> Value {
    with(spec(scene, replicas, json!({})), json!({"adopt": {"instanceIDs": ids}}))
}

fn blocked(fleet: &WorkerFleet) -> Option<(String, String)> {
    let (_, reason, message) = condition(&status(fleet).common.conditions, "AdoptionBlocked")?;
    Some((reason, message))
}

fn named(scene: &Scene, ids: &[String]) -> Vec<Instance> {
    live(scene).into_iter().filter(|instance| ids.contains(&instance.id)).collect()
}

/// The calls that changed something.
fn writes(scene: &Scene) -> BTreeSet<String> {
    let calls = scene.sandbox.calls(&CallQuery { service: Some("ec2".into()), ..CallQuery::default() });
    calls.into_iter().map(|call| call.operation).filter(|name| !name.starts_with("Describe")).collect()
}

#[tokio::test]
async fn named_instances_are_planned_then_adopted_and_tagged_as_normal_workers() {
    let scene = Scene::new().await;
    let instances = launch_unmanaged(&scene, 2);
    let _controller = scene.start().await;
    scene.create_plan_only::<WorkerFleet>("web", adopting(&scene, 3, &instances)).await;
    let previewed = scene
        .wait::<WorkerFleet>("web", "a plan", |f| status(f).workers.plan.is_some_and(|p| p.steps.len() == 2))
        .await;
    let steps = status(&previewed).workers.plan.unwrap().steps;
    assert!(steps[0].starts_with("adopt ") && instances.iter().all(|id| steps[0].contains(id)), "{steps:?}");
    assert!(steps[1].starts_with("launch 1 "), "{steps:?}");
    assert_eq!(writes(&scene), BTreeSet::new());
    for (type_, message) in [("Ready", "0 of 3 workers are ready; "), ("Progressing", "")] {
        let (truth, reason, told) = condition(&status(&previewed).common.conditions, type_).unwrap();
        assert_eq!((truth.as_str(), reason.as_str()), ("False", "PlanOnly"), "{type_}: {told}");
        assert!(told.starts_with(message) && told.contains("muster.dev/plan-only"), "{type_}: {told}");
    }

    scene.change::<WorkerFleet>("web", json!({"metadata": {"annotations": {"muster.dev/plan-only": null}}})).await;
    let fleet = wait_settled(&scene, "web", 3).await;
    let adopted: BTreeSet<_> = status(&fleet).adopted.iter().map(|adopted| adopted.id.to_string()).collect();
    assert_eq!(adopted, instances.iter().cloned().collect());
    let tagged = |fleet: &WorkerFleet| {
        status(fleet).instances.iter().filter(|w| instances.contains(&w.id.to_string())).all(|w| !w.revision.is_empty())
    };
    let fleet = scene.wait::<WorkerFleet>("web", "the tags", |fleet| settled(fleet, 3) && tagged(fleet)).await;
    for instance in named(&scene, &instances) {
        let tags: Vec<_> = instance.tags.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let (path, uid) = (format!("{}/web", scene.namespace), fleet.uid().unwrap());
        let revision = status(&fleet).update_revision.unwrap();
        let expected = [
            ("muster.dev:cluster", "test"),
            ("muster.dev:fleet", &path),
            ("muster.dev:owner-uid", &uid),
            ("muster.dev:revision", &revision),
            ("muster.dev:role", "main"),
            ("team", "ml"),
        ];
        assert_eq!(tags, expected);
    }
    assert_eq!(live(&scene).len(), 3);
    assert_eq!(blocked(&fleet), None);
    assert_eq!(calls_at_rest(&scene).await, BTreeSet::from(["DescribeInstances".to_owned()]));

    // A later change replaces them, and then they no longer exist to be adopted.
    scene.change::<WorkerFleet>("web", json!({"spec": {"template": {"tags": {"edit": "1"}}}})).await;
    let fleet = scene
        .wait::<WorkerFleet>("web", "others", |f| {
            settled(f, 3) && status(f).updated_replicas == 3 && blocked(f).is_some()
        })
        .await;
    assert_eq!((named(&scene, &instances).len(), status(&fleet).adopted.len()), (0, 0));
    scene.api::<WorkerFleet>().delete("web", &DeleteParams::default()).await.unwrap();
    scene.wait_gone::<WorkerFleet>("web").await;
    assert_eq!(live(&scene).len(), 0);
}

#[tokio::test]
async fn the_plan_of_an_adoption_names_the_terminations_that_follow() {
    let scene = Scene::new().await;
    let instances = launch_unmanaged(&scene, 2);
    let _controller = scene.start().await;
    let readiness = json!({"readiness": {"check": "StatusChecks"}});
    scene.create::<WorkerFleet>("web", with(spec(&scene, 2, json!({})), readiness)).await;
    wait_settled(&scene, "web", 2).await;
    let before = ids(&live(&scene));
    let annotations = |plan_only: Value| json!({"metadata": {"annotations": {"muster.dev/plan-only": plan_only}}});
    let preview = with(annotations(json!("true")), json!({"spec": {"adopt": {"instanceIDs": instances}}}));
    scene.change::<WorkerFleet>("web", preview).await;
    let shown = |fleet: &WorkerFleet| status(fleet).workers.plan.is_some_and(|plan| plan.steps.len() == 2);
    let steps = status(&scene.wait::<WorkerFleet>("web", "a plan", shown).await).workers.plan.unwrap().steps;
    assert!(steps[0].starts_with("adopt ") && steps[1].starts_with("terminate "), "{steps:?}");
    let named: BTreeSet<_> = before.iter().filter(|id| steps[1].contains(*id)).cloned().collect();
    assert_eq!((named.len(), ids(&live(&scene))), (2, before.clone()), "{steps:?}");

    scene.change::<WorkerFleet>("web", annotations(Value::Null)).await;
    let kept = instances.iter().filter(|id| !named.contains(*id)).count();
    let left = &before - &named;
    let ended =
        |fleet: &WorkerFleet| ids(&live(&scene)) == left && settled(fleet, 2) && status(fleet).adopted.len() == kept;
    scene.wait::<WorkerFleet>("web", "two of four", ended).await;
}

#[tokio::test]
async fn an_instance_that_cannot_be_adopted_is_named_with_the_reason_and_not_changed() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("db", spec(&scene, 1, json!({}))).await;
    wait_settled(&scene, "db", 1).await;
    let anothers = live(&scene).remove(0);
    let over = launch_unmanaged(&scene, 1).remove(0);
    scene.sandbox.terminate_instance(&over).unwrap();
    let unknown = "i-0123456789abcdef0".to_owned();
    let wanted = [anothers.id.clone(), over.clone(), unknown.clone()];
    scene.create::<WorkerFleet>("web", adopting(&scene, 1, &wanted)).await;
    wait_settled(&scene, "web", 1).await;
    let says = [
        format!("{} is no instance that a grant of AwsAccount {} covers", anothers.id, scene.namespace),
        format!("{unknown} is no instance that a grant of AwsAccount {} covers", scene.namespace),
        format!("{over} is terminated"),
        "targetTags: {team: ml}".to_owned(),
    ];
    let told = |fleet: &WorkerFleet| {
        let (reason, message) = blocked(fleet)?;
        (reason == "NotAdoptable" && says.iter().all(|text| message.contains(text))).then_some(())
    };
    let fleet = scene.wait::<WorkerFleet>("web", "the reasons", |fleet| told(fleet).is_some()).await;
    assert_eq!(status(&fleet).adopted, []);
    assert_eq!(named(&scene, &wanted)[0].tags, anothers.tags);
    assert_eq!(live(&scene).len(), 2);
    let rest = calls_at_rest(&scene).await;
    assert_eq!(rest, BTreeSet::from(["DescribeInstances".to_owned()]));
}

#[tokio::test]
async fn an_instance_named_by_two_fleets_is_adopted_by_exactly_one() {
    let scene = Scene::new().await;
    let instance = launch_unmanaged(&scene, 1);
    let _controller = scene.start().await;
    for name in ["web", "db"] {
        scene.create::<WorkerFleet>(name, adopting(&scene, 1, &instance)).await;
    }
    let one_each =
        |fleet: &WorkerFleet| settled(fleet, 1) && (blocked(fleet).is_some() != (status(fleet).adopted.len() == 1));
    let owners = async || {
        let mut owners = Vec::new();
        for name in ["web", "db"] {
            let fleet = scene.wait::<WorkerFleet>(name, "the instance or another", one_each).await;
            owners.extend((status(&fleet).adopted.len() == 1).then(|| fleet.uid().unwrap()));
        }
        owners
    };
    // The second fleet may take it from the first as long as no tag of either is visible.
    let agreed = async {
        while owners().await.len() != 1 {
            calls_at_rest(&scene).await;
        }
    };
    tokio::time::timeout(PATIENCE, agreed).await.expect("one fleet has adopted it");
    calls_at_rest(&scene).await;
    let owners = owners().await;
    assert_eq!(owners.len(), 1);
    assert_eq!(named(&scene, &instance)[0].tags["muster.dev:owner-uid"], owners[0]);
    assert_eq!(live(&scene).len(), 2);
}

#[tokio::test]
async fn an_adopted_instance_that_cannot_be_tagged_is_a_worker_and_the_error_is_shown() {
    let scene = Scene::new().await;
    let instance = launch_unmanaged(&scene, 1);
    let denied = FaultAction::Error { code: "UnauthorizedOperation".into(), message: None, status: None };
    let fault = scene.sandbox.add_fault(Fault::always("ec2", "CreateTags", denied));
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", adopting(&scene, 2, &instance)).await;
    let told = scene
        .wait::<WorkerFleet>("web", "the refusal", |f| {
            blocked(f).is_some_and(|(r, _)| r == "TagsRefused") && settled(f, 2)
        })
        .await;
    let (_, message) = blocked(&told).unwrap();
    assert!(message.contains("UnauthorizedOperation") && message.contains("ec2:CreateTags"), "{message}");
    assert!(ids(&live(&scene)).contains(&instance[0]) && live(&scene).len() == 2);
    scene.sandbox.remove_fault(fault);
    scene.wait::<WorkerFleet>("web", "no complaint", |fleet| blocked(fleet).is_none() && settled(fleet, 2)).await;
    assert!(named(&scene, &instance)[0].tags.contains_key("muster.dev:revision"));
}
