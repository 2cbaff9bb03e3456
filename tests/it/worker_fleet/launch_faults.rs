//! Faults between muster and EC2 while instances are launched and described, one case each.

use std::collections::BTreeSet;

use futures::future::join_all;
use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use muster::{clock::Timings, config::Config, crd::worker_fleet::WorkerFleet};
use muster_sandbox::{AMAZON_LINUX_X86_64, CallQuery, Fault, FaultAction, Moment, Outcome};
use serde_json::json;

use crate::support::{
    fleet::{LAG, error, ever, launches, live, one_call, settled, spec, status, wait_settled, with},
    scene::{Controller, PATIENCE, Scene, condition},
};

#[tokio::test]
async fn a_launch_whose_response_is_lost_is_repeated_with_its_token() {
    let lose = |action: FaultAction| async move {
        let scene = Scene::new().await;
        // So that the call is repeated before its instances are visible, however slow this computer is.
        scene.sandbox.set_describe_lag(LAG * 8);
        let timings = Timings { describe_grace: PATIENCE, ..scene.config().timings };
        let config = Config { timings, ..scene.config() };
        let _controller = Controller::start(config, scene.connection(), |client| client).await;
        scene.sandbox.add_fault(Fault::once("ec2", "RunInstances", action.clone()));
        scene.create::<WorkerFleet>("web", one_call(&scene, 4)).await;
        wait_settled(&scene, "web", 4).await;
        assert_eq!(ever(&scene), 4, "{action:?}");
        let calls = scene.sandbox.calls(&CallQuery::operation("ec2", "RunInstances"));
        let tokens: BTreeSet<_> = calls.iter().map(|call| call.parameters["ClientToken"].clone()).collect();
        assert_eq!((calls.len(), tokens.len()), (2, 1), "{action:?}");
    };
    let lost = FaultAction::Truncate { bytes: 100 };
    join_all([FaultAction::DropAfter, FaultAction::DropBefore, lost, error("InternalError")].map(lose)).await;
}

#[tokio::test]
async fn while_describe_shows_nothing_no_instance_is_launched_twice_or_counts_as_gone() {
    let scene = Scene::new().await;
    scene.sandbox.set_describe_lag(LAG);
    let controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 5, json!({}))).await;
    scene
        .wait::<WorkerFleet>("web", "the answers on record", |fleet| {
            let launches = status(fleet).workers.launches;
            !launches.is_empty() && launches.iter().all(|intent| !intent.instance_ids.is_empty())
        })
        .await;
    controller.kill().await;
    let _successor = scene.start().await;
    wait_settled(&scene, "web", 5).await;
    assert_eq!(ever(&scene), 5);
}

#[tokio::test]
async fn an_edit_during_a_launch_changes_only_later_launches() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    let hold =
        scene.sandbox.add_fault(Fault::once("ec2", "RunInstances", FaultAction::Hold { moment: Moment::Before }));
    scene.create::<WorkerFleet>("web", one_call(&scene, 2)).await;
    scene.sandbox.wait_for_hits(hold, 1).await;
    let edit = json!({"spec": {"replicas": 3, "template": {"tags": {"edit": "1"}}}});
    scene.change::<WorkerFleet>("web", edit).await;
    scene.sandbox.release_fault(hold);
    wait_settled(&scene, "web", 3).await;
    assert!(live(&scene).iter().all(|worker| worker.tags.contains_key("edit")));
    let all = scene.sandbox.instances_of(&scene.account);
    assert_eq!(all.len(), 5, "the launch under way was carried out as it was recorded, and then replaced");
    assert_eq!(all.iter().filter(|worker| worker.tags.contains_key("edit")).count(), 3);
    let calls = scene.sandbox.calls(&CallQuery::operation("ec2", "RunInstances"));
    assert!(calls.iter().all(|call| call.outcome != Outcome::Error("IdempotentParameterMismatch".into())));
}

#[tokio::test]
async fn a_response_that_could_not_be_recorded_is_requested_again() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    let hold =
        scene.sandbox.add_fault(Fault::once("ec2", "RunInstances", FaultAction::Hold { moment: Moment::Before }));
    scene.create::<WorkerFleet>("web", one_call(&scene, 2)).await;
    scene.sandbox.wait_for_hits(hold, 1).await;
    // When the answer arrives, the copy of the object that the controller holds is outdated.
    scene.change::<WorkerFleet>("web", json!({"metadata": {"labels": {"seen": "yes"}}})).await;
    scene.sandbox.release_fault(hold);
    wait_settled(&scene, "web", 2).await;
    assert_eq!(ever(&scene), 2);
}

#[tokio::test]
async fn a_launched_and_terminated_instance_is_replaced_with_a_new_token() {
    let scene = Scene::new().await;
    // So long that the launch is repeated before a sweep shows its instance, also on a busy machine.
    scene.sandbox.set_describe_lag(LAG * 8);
    let timings = Timings { describe_grace: PATIENCE, ..scene.config().timings };
    let config = Config { timings, ..scene.config() };
    let controller = Controller::start(config, scene.connection(), |client| client).await;
    scene.sandbox.add_fault(Fault::once("ec2", "RunInstances", FaultAction::DropAfter));
    let dead = scene.sandbox.add_fault(Fault::always("ec2", "RunInstances", FaultAction::DropBefore));
    scene.create::<WorkerFleet>("web", one_call(&scene, 1)).await;
    scene.sandbox.wait_for_hits(dead, 1).await;
    controller.kill().await;
    let first = live(&scene).remove(0);
    scene.sandbox.terminate_instance(&first.id).unwrap();
    scene.sandbox.clear_faults();
    scene.sandbox.set_describe_lag(LAG);
    let _successor = scene.start().await;
    wait_settled(&scene, "web", 1).await;
    assert_eq!(ever(&scene), 2);
    assert_ne!(live(&scene)[0].client_token, first.client_token);
}

#[tokio::test]
async fn a_token_that_was_used_for_another_request_is_searched_for_and_never_dropped() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    // The launch succeeds and its answer is lost. Then EC2 reports that the token belongs to another request.
    scene.sandbox.add_fault(Fault::once("ec2", "RunInstances", FaultAction::DropAfter));
    scene.sandbox.add_fault(Fault::once("ec2", "RunInstances", error("IdempotentParameterMismatch")));
    scene.sandbox.set_describe_lag(LAG);
    scene.create::<WorkerFleet>("web", one_call(&scene, 3)).await;
    wait_settled(&scene, "web", 3).await;
    assert_eq!(ever(&scene), 3);
}

#[tokio::test]
async fn a_launch_whose_token_may_have_expired_is_searched_for_and_not_repeated() {
    let scene = Scene::new().await;
    let controller = scene.start().await;
    let lost = scene.sandbox.add_fault(Fault::always("ec2", "RunInstances", FaultAction::DropBefore));
    scene.create::<WorkerFleet>("web", one_call(&scene, 2)).await;
    scene.sandbox.wait_for_hits(lost, 1).await;
    controller.kill().await;
    scene.sandbox.remove_fault(lost);
    // As if no controller had run for a long time.
    let fleets = scene.api::<WorkerFleet>();
    let mut launches = json!(status(&fleets.get("web").await.unwrap()).workers.launches);
    launches[0]["startedAt"] = json!("2020-01-01T00:00:00Z");
    let token = launches[0]["token"].clone();
    let aged = Patch::Merge(json!({"status": {"launches": launches}}));
    fleets.patch_status("web", &PatchParams::default(), &aged).await.unwrap();
    scene.sandbox.clear_calls();
    let _successor = scene.start().await;
    wait_settled(&scene, "web", 2).await;
    assert_eq!(ever(&scene), 2);
    let calls = scene.sandbox.calls(&CallQuery::operation("ec2", "RunInstances"));
    assert!(!calls.is_empty());
    assert!(calls.iter().all(|call| token != call.parameters["ClientToken"]), "sent again: {calls:#?}");
}

#[tokio::test]
async fn a_launch_whose_revision_is_lost_is_settled_by_a_search_after_the_full_wait() {
    let scene = Scene::new().await;
    let controller = scene.start().await;
    let hold =
        scene.sandbox.add_fault(Fault::once("ec2", "RunInstances", FaultAction::Hold { moment: Moment::Before }));
    scene.create::<WorkerFleet>("web", one_call(&scene, 2)).await;
    scene.sandbox.wait_for_hits(hold, 1).await;
    controller.kill().await;
    scene.sandbox.remove_fault(hold);
    let open = status(&scene.api::<WorkerFleet>().get("web").await.unwrap()).workers.launches.remove(0);
    // The held call was carried out when the fault was removed. Now the template changes, and the revision is deleted.
    scene.change::<WorkerFleet>("web", json!({"spec": {"template": {"tags": {"edit": "1"}}}})).await;
    scene.api::<ControllerRevision>().delete(&open.revision, &DeleteParams::default()).await.unwrap();
    let _successor = scene.start().await;
    wait_settled(&scene, "web", 2).await;
    assert_eq!(ever(&scene), 4, "two that were found, and two of the new revision in their place");
    let calls = scene.sandbox.calls(&CallQuery::operation("ec2", "RunInstances"));
    let repeated = calls.iter().filter(|call| call.parameters["ClientToken"] == open.token.as_str());
    assert_eq!(repeated.count(), 1, "it was not repeated with anything else: {calls:#?}");
}

#[tokio::test]
async fn a_failed_sweep_does_not_prove_that_instances_are_gone() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 3, json!({}))).await;
    wait_settled(&scene, "web", 3).await;
    // The SDK makes three attempts per call.
    let failing = scene.sandbox.add_fault(Fault::always("ec2", "DescribeInstances", error("InternalError")).count(9));
    scene.sandbox.wait_for_hits(failing, 9).await;
    wait_settled(&scene, "web", 3).await;
    assert_eq!((launches(&scene), ever(&scene)), (3, 3));
}

#[tokio::test]
async fn only_lost_workers_are_replaced() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", one_call(&scene, 6)).await;
    wait_settled(&scene, "web", 6).await;
    for worker in live(&scene).iter().take(2) {
        scene.sandbox.fail_instance(&worker.id).unwrap();
    }
    scene.wait::<WorkerFleet>("web", "six again", |fleet| settled(fleet, 6) && ever(&scene) == 8).await;
    assert_eq!(live(&scene).len(), 6);
}

#[tokio::test]
async fn a_fleet_with_a_revision_keeps_it_while_a_worker_runs_it() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    let desired = with(one_call(&scene, 1), json!({"revisionHistoryLimit": 0}));
    scene.create::<WorkerFleet>("web", desired).await;
    let first = status(&wait_settled(&scene, "web", 1).await).update_revision;
    // The new revision is never launched, so the old one stays.
    let refused = scene.sandbox.add_fault(Fault::always("ec2", "RunInstances", error("InsufficientInstanceCapacity")));
    let edit = json!({"spec": {"template": {"tags": {"edit": "1"}, "ami": {"id": AMAZON_LINUX_X86_64}}}});
    scene.change::<WorkerFleet>("web", edit).await;
    let held = |f: &WorkerFleet| {
        status(f).update_revision != first
            && condition(&status(f).common.conditions, "CapacityAvailable").is_some_and(|c| c.0 == "False")
    };
    scene.wait::<WorkerFleet>("web", "a new revision that cannot be launched", held).await;
    let stored = scene.api::<ControllerRevision>().list(&ListParams::default()).await.unwrap();
    assert_eq!(stored.items.len(), 2);
    assert_eq!(live(&scene).len(), 1);
    scene.sandbox.remove_fault(refused);
    scene
        .wait::<WorkerFleet>("web", "replaced", |f| {
            status(f).current_revision == status(f).update_revision && settled(f, 1)
        })
        .await;
    scene.wait_gone::<ControllerRevision>(&first.unwrap()).await;
}
