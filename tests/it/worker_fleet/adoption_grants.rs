//! A fleet adopts only instances that a grant covers by their tags. A record of an adoption or a termination that
//! somebody wrote into the status permits nothing.

use kube::api::{DeleteParams, Patch};
use muster::crd::worker_fleet::WorkerFleet;
use muster_sandbox::{AMAZON_LINUX_X86_64, CallQuery, Instance};
use serde_json::{Value, json};

use crate::support::{
    fleet::{calls_at_rest, ids, launches, live, settled, spec, status, terminations, wait_settled, with},
    scene::{REGION, Scene, condition},
};

/// Launches an instance with the tag `team`, which no fleet manages.
fn launch_of(scene: &Scene, team: &str) -> String {
    let subnet = scene.sandbox.subnets(&scene.account, REGION).remove(0).id;
    let parameters = [
        ("ImageId", AMAZON_LINUX_X86_64),
        ("InstanceType", "m6i.large"),
        ("MinCount", "1"),
        ("MaxCount", "1"),
        ("SubnetId", &subnet),
        ("TagSpecification.1.ResourceType", "instance"),
        ("TagSpecification.1.Tag.1.Key", "team"),
        ("TagSpecification.1.Tag.1.Value", team),
    ];
    scene.sandbox.launch(&scene.account, REGION, &parameters).unwrap().remove(0)
}

fn adopting(scene: &Scene, replicas: u32, ids: &[&str]) -> Value {
    with(spec(scene, replicas, json!({})), json!({"adopt": {"instanceIDs": ids}}))
}

/// Waits until AdoptionBlocked says `text` without `absent`, and returns its message.
async fn blocked(scene: &Scene, text: &str, absent: &str) -> String {
    let blocked = |fleet: &WorkerFleet| {
        let (_, reason, message) = condition(&status(fleet).common.conditions, "AdoptionBlocked")?;
        (reason == "NotAdoptable" && message.contains(text) && !message.contains(absent)).then_some(message)
    };
    let fleet = scene.wait::<WorkerFleet>("web", text, |fleet| blocked(fleet).is_some()).await;
    blocked(&fleet).unwrap()
}

fn grants(scene: &Scene, change: Value) -> Value {
    json!({"spec": {"grants": [with(scene.full_grant(), change)]}})
}

/// How many calls name the instance.
fn calls_naming(scene: &Scene, id: &str) -> usize {
    let calls = scene.sandbox.calls(&CallQuery { service: Some("ec2".into()), ..CallQuery::default() });
    calls.iter().filter(|call| call.parameters.values().any(|value| value == id)).count()
}

fn instance(scene: &Scene, id: &str) -> Instance {
    live(scene).into_iter().find(|instance| instance.id == id).expect("it runs")
}

/// Writes into the status, as somebody who may do so.
async fn forge(scene: &Scene, record: Value) {
    let fleets = scene.api::<WorkerFleet>();
    fleets.patch_status("web", &Default::default(), &Patch::Merge(json!({"status": record}))).await.unwrap();
}

#[tokio::test]
async fn an_instance_that_no_grant_covers_is_neither_adopted_nor_described() {
    let scene = Scene::without_account(Default::default()).await;
    let (theirs, ours) = (launch_of(&scene, "web"), launch_of(&scene, "ml"));
    let unknown = "i-0123456789abcdef0";
    let grant = json!({"namespaces": {"names": [scene.namespace]}, "kinds": ["WorkerFleet"], "subnets": ["*"]});
    scene.create_account(json!({"regions": [REGION], "grants": [grant]})).await;
    let tags = |id: &str| instance(&scene, id).tags;
    let before = (tags(&theirs), tags(&ours));
    let _controller = scene.start().await;
    // Without a worker to keep, an adopted instance would be terminated.
    scene.create::<WorkerFleet>("web", adopting(&scene, 0, &[&theirs, &ours, unknown])).await;
    blocked(&scene, "targetTags: {", "recorded").await;
    calls_at_rest(&scene).await;
    assert_eq!(calls_naming(&scene, &theirs) + calls_naming(&scene, &ours) + calls_naming(&scene, unknown), 0);
    assert_eq!((tags(&theirs), tags(&ours)), before);

    // With a grant, the granted one is adopted. What is not granted looks the same as what does not exist.
    scene.change_account(grants(&scene, json!({}))).await;
    let told = blocked(&scene, &format!("not adopted: {unknown} "), &ours).await;
    let (refused, _) = told.split_once("; ").unwrap();
    let (first, second) = refused.split_once(", ").unwrap();
    let about = |text: &str| text.split_once(" is ").map(|(_, about)| about.to_owned());
    assert_eq!(about(first), about(second), "{told}");
    assert!(told.contains(&theirs) && !told.contains(&ours), "{told}");
    let terminated = |fleet: &WorkerFleet| settled(fleet, 0) && terminations(&scene) == 1;
    scene.wait::<WorkerFleet>("web", "the adopted one terminated", terminated).await;
    assert_eq!(tags(&theirs), before.0);
    assert_eq!(live(&scene).len(), 1);
}

#[tokio::test]
async fn a_record_that_was_forged_neither_tags_nor_terminates_an_instance() {
    let scene = Scene::new().await;
    let theirs = launch_of(&scene, "web");
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 1, json!({}))).await;
    wait_settled(&scene, "web", 1).await;
    let before = instance(&scene, &theirs);
    let termination = json!({"holder": "me", "reason": "ScaleDown", "startedAt": "2026-01-01T00:00:00Z",
        "instanceIDs": [theirs]});
    forge(&scene, json!({"terminations": [termination]})).await;
    calls_at_rest(&scene).await;
    assert_eq!((terminations(&scene), instance(&scene, &theirs)), (0, before.clone()));

    forge(&scene, json!({"terminations": [], "adopted": [{"id": theirs, "role": "main"}]})).await;
    let told = blocked(&scene, "recorded as adopted", "not adopted").await;
    assert!(told.contains(&theirs) && told.contains("targetTags"), "{told}");
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 0}})).await;
    calls_at_rest(&scene).await;
    calls_at_rest(&scene).await;
    assert_eq!(instance(&scene, &theirs), before);
    let fleet = scene.api::<WorkerFleet>().get("web").await.unwrap();
    assert!(status(&fleet).instances.iter().all(|worker| worker.id.as_str() != theirs), "nothing is shown of it");

    scene.api::<WorkerFleet>().delete("web", &DeleteParams::default()).await.unwrap();
    let held = |fleet: &WorkerFleet| {
        condition(&status(fleet).common.conditions, "Ready").is_some_and(|(_, _, message)| {
            message.contains("no grant of AwsAccount") && message.contains("muster.dev/orphan=true")
        })
    };
    scene.wait::<WorkerFleet>("web", "held, with the way out", held).await;
    scene.change::<WorkerFleet>("web", json!({"metadata": {"annotations": {"muster.dev/orphan": "true"}}})).await;
    scene.wait_gone::<WorkerFleet>("web").await;
    assert_eq!(instance(&scene, &theirs), before);
}

#[tokio::test]
async fn an_adopted_instance_whose_grant_is_removed_counts_and_is_left_alone_until_it_is_granted_again() {
    let scene = Scene::new().await;
    let adopted = launch_of(&scene, "ml");
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", adopting(&scene, 2, &[&adopted])).await;
    let tagged =
        |fleet: &WorkerFleet| settled(fleet, 2) && status(fleet).instances.iter().all(|w| !w.revision.is_empty());
    scene.wait::<WorkerFleet>("web", "adopted and tagged", tagged).await;
    let (before, launched) = (ids(&live(&scene)), launches(&scene));

    scene.change_account(grants(&scene, json!({"targetTags": {"team": "another"}}))).await;
    blocked(&scene, &format!("{adopted} are recorded as adopted"), "not adopted").await;
    // It is no worker that could be kept, so the launched one is.
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 1}})).await;
    calls_at_rest(&scene).await;
    calls_at_rest(&scene).await;
    assert_eq!((ids(&live(&scene)), launches(&scene)), (before, launched));
    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 0}})).await;
    let alone = |_: &WorkerFleet| live(&scene).iter().all(|instance| instance.id == adopted);
    scene.wait::<WorkerFleet>("web", "the launched one terminated", alone).await;
    calls_at_rest(&scene).await;
    calls_at_rest(&scene).await;
    assert_eq!((live(&scene).len(), launches(&scene)), (1, launched));

    scene.change_account(grants(&scene, json!({}))).await;
    scene.wait::<WorkerFleet>("web", "no workers", |fleet| settled(fleet, 0) && live(&scene).is_empty()).await;
}
