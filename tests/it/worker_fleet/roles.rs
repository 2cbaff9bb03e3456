//! Roles other than main: their number, type and user data, and replacement within a role.

use std::collections::BTreeMap;

use kube::api::{DeleteParams, Patch, PatchParams};
use muster::crd::worker_fleet::{WorkerFleet, WorkerFleetStatus};
use muster_sandbox::Instance;
use serde_json::json;

use crate::support::{
    fleet::{ids, live, settled, spec, status, wait_settled, with},
    scene::Scene,
};

fn by_role(scene: &Scene) -> BTreeMap<String, Vec<Instance>> {
    let mut roles: BTreeMap<String, Vec<Instance>> = BTreeMap::new();
    for worker in live(scene) {
        roles.entry(worker.tags["muster.dev:role"].clone()).or_default().push(worker);
    }
    roles
}

/// The existing, ready, updated, available and desired workers of each role.
fn counts(status: &WorkerFleetStatus) -> Vec<(&str, [i32; 5])> {
    let of = |role: &'_ _| {
        let muster::crd::worker_fleet::RoleStatus { name: _, replicas, ready_replicas, updated_replicas, .. } = role;
        let muster::crd::worker_fleet::RoleStatus { available_replicas, desired_replicas, .. } = role;
        [*replicas, *ready_replicas, *updated_replicas, *available_replicas, *desired_replicas]
    };
    status.roles.iter().map(|role| (role.name.as_str(), of(role))).collect()
}

#[tokio::test]
async fn roles_have_their_own_number_type_and_user_data_and_removed_roles_are_terminated() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    let leader =
        json!({"name": "leader", "userData": {"inline": "#!/bin/sh\n: leader\n"}, "instanceTypes": ["m5.large"]});
    let helper = json!({"name": "helper", "replicas": 2, "userData": {"inline": "#!/bin/sh\n: helper\n"}});
    let template = json!({"userData": {"inline": "#!/bin/sh\n: main\n"}});
    let desired = with(spec(&scene, 3, template), json!({"roles": [leader, helper]}));
    scene.create::<WorkerFleet>("web", desired).await;
    let fleet = wait_settled(&scene, "web", 3).await;
    let expected = [("helper", 2, "m6i.large"), ("leader", 1, "m5.large"), ("main", 3, "m6i.large")];
    let roles = by_role(&scene);
    for ((name, workers), (role, count, kind)) in roles.iter().zip(expected) {
        assert_eq!((name.as_str(), workers.len()), (role, count));
        for worker in workers {
            assert_eq!(worker.instance_type, kind);
            assert_eq!(worker.decoded_user_data().unwrap(), format!("#!/bin/sh\n: {role}\n").into_bytes());
        }
    }
    assert_eq!(roles.len(), 3);
    assert_eq!(counts(&status(&fleet)), [("leader", [1; 5]), ("helper", [2; 5])]);
    assert_eq!(status(&fleet).workers.instances_total, 6);

    // The scale subresource refers to the main role.
    let before = (ids(&roles["leader"]), ids(&roles["helper"]));
    let fleets = scene.api::<WorkerFleet>();
    let scale = Patch::Merge(json!({"spec": {"replicas": 1}}));
    fleets.patch_scale("web", &PatchParams::default(), &scale).await.unwrap();
    let scaled = wait_settled(&scene, "web", 1).await;
    let roles = by_role(&scene);
    assert_eq!((ids(&roles["leader"]), ids(&roles["helper"])), before);
    assert_eq!(roles["main"].len(), 1);
    assert_eq!(fleets.get_scale("web").await.unwrap().status.unwrap().replicas, 1);
    assert_eq!(counts(&status(&scaled)), [("leader", [1; 5]), ("helper", [2; 5])]);

    let main = ids(&roles["main"]);
    scene.change::<WorkerFleet>("web", json!({"spec": {"roles": [leader]}})).await;
    let fewer = scene
        .wait::<WorkerFleet>("web", "no helpers", |f| settled(f, 1) && !by_role(&scene).contains_key("helper"))
        .await;
    let roles = by_role(&scene);
    assert_eq!((ids(&roles["main"]), ids(&roles["leader"])), (main, before.0));
    assert_eq!(counts(&status(&fewer)), [("leader", [1; 5])]);

    scene.api::<WorkerFleet>().delete("web", &DeleteParams::default()).await.unwrap();
    scene.wait_gone::<WorkerFleet>("web").await;
    assert_eq!(live(&scene).len(), 0);
}

#[tokio::test]
async fn a_lost_worker_of_a_role_is_replaced_in_that_role() {
    let scene = Scene::new().await;
    let _controller = scene.start().await;
    let desired = with(spec(&scene, 2, json!({})), json!({"roles": [{"name": "leader", "replicas": 1}]}));
    scene.create::<WorkerFleet>("web", desired).await;
    wait_settled(&scene, "web", 2).await;
    let before = by_role(&scene);
    let leader = &before["leader"][0].id;
    scene.sandbox.terminate_instance(leader).unwrap();
    scene
        .wait::<WorkerFleet>("web", "another leader", |fleet| {
            let leaders = by_role(&scene).remove("leader").unwrap_or_default();
            settled(fleet, 2) && leaders.len() == 1 && leaders[0].id != *leader
        })
        .await;
    assert_eq!(ids(&by_role(&scene)["main"]), ids(&before["main"]));
}
