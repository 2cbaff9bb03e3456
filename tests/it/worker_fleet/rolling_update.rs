//! Rolling updates stay within maxSurge and maxUnavailable, and can be rolled back.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use muster::crd::worker_fleet::WorkerFleet;
use muster_sandbox::{CallQuery, Fault, FaultAction, InstanceEvent, InstanceState, Lifecycle, Moment, Outcome};
use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::support::{
    fleet::{ids, launches, live, set_lifecycle, settled, spec, status, wait_settled, with},
    scene::{Scene, condition},
};

/// Records every state of every instance from its creation.
struct Film {
    events: broadcast::Receiver<InstanceEvent>,
    states: BTreeMap<String, InstanceState>,
}

impl Film {
    fn begin(scene: &Scene) -> Self {
        let events = scene.sandbox.instance_events();
        let states = scene.sandbox.instances_of(&scene.account).into_iter().map(|i| (i.id, i.state)).collect();
        Self { events, states }
    }

    /// The events, each with the number of existing and of running instances after it.
    fn watch(mut self) -> Vec<(InstanceEvent, usize, usize)> {
        let mut seen = Vec::new();
        while let Ok(event) = self.events.try_recv() {
            self.states.insert(event.instance_id.clone(), event.state);
            let there =
                |state: &&InstanceState| !matches!(state, InstanceState::ShuttingDown | InstanceState::Terminated);
            let existing = self.states.values().filter(there).count();
            let running = self.states.values().filter(|state| **state == InstanceState::Running).count();
            seen.push((event, existing, running));
        }
        seen
    }
}

fn edit(number: u32) -> Value {
    json!({"spec": {"template": {"tags": {"edit": number.to_string()}}}})
}

/// All workers have the newest revision, which is not that of `earlier`.
fn rolled(earlier: &WorkerFleet, replicas: i32) -> impl Fn(&WorkerFleet) -> bool + use<> {
    let earlier = status(earlier).update_revision;
    move |fleet| {
        let now = status(fleet);
        settled(fleet, replicas) && now.update_revision != earlier && now.updated_replicas == replicas
    }
}

#[tokio::test]
async fn an_edit_replaces_all_workers_within_the_update_limits() {
    for (surge, unavailable, most, fewest) in
        [(json!("25%"), json!(0), 5, 4), (json!(0), json!("25%"), 4, 3), (json!(2), json!(1), 6, 3)]
    {
        let scene = Scene::new().await;
        let _controller = scene.start().await;
        let update = json!({"update": {"maxSurge": surge, "maxUnavailable": unavailable}});
        scene.create::<WorkerFleet>("web", with(spec(&scene, 4, json!({})), update)).await;
        let before = wait_settled(&scene, "web", 4).await;
        let earlier = ids(&live(&scene));
        let film = Film::begin(&scene);
        scene.change::<WorkerFleet>("web", edit(1)).await;
        let after = scene.wait::<WorkerFleet>("web", "the edit", rolled(&before, 4)).await;
        let workers = live(&scene);
        assert!(workers.len() == 4 && ids(&workers).is_disjoint(&earlier));
        assert!(workers.iter().all(|worker| worker.tags["edit"] == "1"));
        assert_eq!(status(&after).current_revision, status(&after).update_revision);
        let seen = film.watch();
        assert!(seen.len() >= 12, "no event is missing: {seen:#?}");
        for (event, existing, running) in &seen {
            assert!(*existing <= most && *running >= fewest, "{existing} there, {running} running at {event:?}");
        }
        let surged = seen.iter().any(|(_, existing, _)| *existing > 4);
        assert_eq!(surged, most > 4, "a surge of {surge}");
    }
}

#[tokio::test]
async fn a_new_worker_is_available_only_after_min_ready_seconds() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    let update = json!({"update": {"maxSurge": 1, "maxUnavailable": 0, "minReadySeconds": 1}});
    scene.create::<WorkerFleet>("web", with(spec(&scene, 2, json!({})), update)).await;
    let before = wait_settled(&scene, "web", 2).await;
    let earlier = ids(&live(&scene));
    let film = Film::begin(&scene);
    scene.change::<WorkerFleet>("web", edit(1)).await;
    scene.wait::<WorkerFleet>("web", "the edit", rolled(&before, 2)).await;
    let mut running: Vec<Timestamp> = Vec::new();
    let mut ended = 0;
    for (event, _, _) in film.watch() {
        match (earlier.contains(&event.instance_id), event.state) {
            (false, InstanceState::Running) => running.push(event.at),
            (true, InstanceState::ShuttingDown) => {
                ended += 1;
                let proven = running.iter().filter(|at| event.at.duration_since(**at).as_secs() >= 1).count();
                assert!(proven >= ended, "{ended} terminated, {proven} new ones had run for a second");
            }
            _ => {}
        }
    }
    assert_eq!(ended, 2);
}

/// New instances never get beyond `pending`.
fn keep_new_instances_pending(scene: &Scene) {
    let lifecycle = Lifecycle { pending: Duration::from_secs(3600), ..Lifecycle::default() };
    set_lifecycle(scene, lifecycle);
}

#[tokio::test]
async fn a_revision_that_never_becomes_ready_replaces_no_worker_and_can_be_rolled_back() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    let update = json!({"update": {"maxSurge": 1, "maxUnavailable": 0, "progressDeadlineSeconds": 1}});
    scene.create::<WorkerFleet>("web", with(spec(&scene, 3, json!({})), update)).await;
    let before = wait_settled(&scene, "web", 3).await;
    let earlier = ids(&live(&scene));
    keep_new_instances_pending(&scene);
    scene.change::<WorkerFleet>("web", edit(1)).await;
    let failed = scene
        .wait::<WorkerFleet>("web", "the deadline", |fleet| {
            condition(&status(fleet).common.conditions, "Progressing")
                .is_some_and(|(truth, reason, _)| truth == "False" && reason == "ProgressDeadlineExceeded")
        })
        .await;
    let available = condition(&status(&failed).common.conditions, "Available").unwrap();
    assert_eq!(available.0, "True", "{available:?}");
    assert!(condition(&status(&failed).common.conditions, "Stalled").is_some());
    let now = ids(&live(&scene));
    assert!(now.len() == 4 && now.is_superset(&earlier), "one more, and none fewer");

    let made = launches(&scene);
    scene.change::<WorkerFleet>("web", json!({"spec": {"template": {"tags": null}}})).await;
    let back = wait_settled(&scene, "web", 3).await;
    assert_eq!(status(&back).update_revision, status(&before).update_revision);
    assert_eq!(ids(&live(&scene)), earlier);
    assert_eq!(launches(&scene), made, "a rollback launches no worker");
}

#[tokio::test]
async fn an_edit_during_an_update_takes_effect_after_the_open_launch() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    let update = json!({"update": {"maxSurge": 1, "maxUnavailable": 0}});
    scene.create::<WorkerFleet>("web", with(spec(&scene, 2, json!({})), update)).await;
    let before = wait_settled(&scene, "web", 2).await;
    let film = Film::begin(&scene);
    let hold = scene.sandbox.add_fault(Fault::once("ec2", "RunInstances", FaultAction::Hold { moment: Moment::After }));
    scene.change::<WorkerFleet>("web", edit(1)).await;
    scene.sandbox.wait_for_hits(hold, 1).await;
    scene.change::<WorkerFleet>("web", edit(2)).await;
    scene.sandbox.release_fault(hold);
    scene.wait::<WorkerFleet>("web", "the second edit", rolled(&before, 2)).await;
    assert!(live(&scene).iter().all(|worker| worker.tags["edit"] == "2"));
    for (event, existing, running) in film.watch() {
        assert!(existing <= 3 && running >= 2, "{existing} there, {running} running at {event:?}");
    }
    let calls = scene.sandbox.calls(&CallQuery::operation("ec2", "RunInstances"));
    assert!(calls.iter().all(|call| call.outcome != Outcome::Error("IdempotentParameterMismatch".into())));
}

#[tokio::test]
async fn an_edit_of_one_role_replaces_the_workers_of_that_role_only() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    let leader = |text: &str| json!({"name": "leader", "replicas": 1, "userData": {"inline": text}});
    let helper = json!({"name": "helper", "replicas": 1});
    let desired = with(spec(&scene, 2, json!({})), json!({"roles": [leader("#!/bin/sh\n"), helper]}));
    scene.create::<WorkerFleet>("web", desired).await;
    wait_settled(&scene, "web", 2).await;
    let by_role = || {
        let mut roles: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for worker in live(&scene) {
            roles.entry(worker.tags["muster.dev:role"].clone()).or_default().insert(worker.id);
        }
        roles
    };
    let before = by_role();
    assert_eq!(before.values().map(BTreeSet::len).collect::<Vec<_>>(), [1, 1, 2]);
    scene.change::<WorkerFleet>("web", json!({"spec": {"roles": [leader("#!/bin/sh\nexit 0\n"), helper]}})).await;
    let gone = before["leader"].clone();
    scene
        .wait::<WorkerFleet>("web", "another leader", |fleet| {
            let leaders = by_role().remove("leader").unwrap_or_default();
            settled(fleet, 2) && leaders.len() == 1 && leaders.is_disjoint(&gone)
        })
        .await;
    let after = by_role();
    assert_eq!((&after["main"], &after["helper"]), (&before["main"], &before["helper"]));
}
