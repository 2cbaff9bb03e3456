//! Objects that are no reports of workers, or that were written to harm: each is rejected alone and by name.

use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use muster::crd::{
    fleet_report::{FleetReport, RejectionReason},
    worker_fleet::WorkerFleet,
};
use serde_json::json;

use super::{bucket, calls, collected, counts, events, jiff_now, put, rejected, spec, with};
use crate::support::{fleet, scene::Scene};

#[tokio::test]
async fn keys_with_any_characters_are_listed_and_read() {
    let scene = Scene::new().await;
    let prod = bucket(&scene, "prod");
    let names = ["a\u{1}b", "a\rb", "a\u{fffe}b", "a b+c%41", "<&>\"'é", "..", "a?b#c"];
    for name in names {
        let body = json!({"update_date": jiff_now().to_string(), "instance_id": name, "app_version": "1.0.0"});
        scene.sandbox.s3().put(&prod, &format!("fleet/{name}.json"), body.to_string()).unwrap();
    }
    scene.create::<FleetReport>("prod", spec(&scene, &["prod"])).await;
    let _controller = scene.start().await;
    let found = collected(&scene, "prod").await;
    assert_eq!(counts(&found), [7, 0, 0, 0, 0, 0], "{:#?}", found.status);
    assert_eq!(calls(&scene, "GetObject"), names.len());
}

#[tokio::test]
async fn parameters_that_muster_wrote_are_never_a_report() {
    const VALUE: &str = "hunter2-hunter2";
    let scene = Scene::new().await;
    let shared = bucket(&scene, "shared");
    put(&scene, &shared, 1, "1.0.0");
    let secret = json!({"metadata": {"name": "db"}, "stringData": {"password": VALUE}});
    scene.api::<Secret>().create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
    let parameters = json!({
        "store": {"s3": {"bucket": shared}},
        "values": [{"name": "password", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}],
    });
    let worker = json!({"instanceProfile": muster_sandbox::INSTANCE_PROFILE});
    let fleet = with(fleet::spec(&scene, 1, worker), json!({"parameters": parameters}));
    scene.create::<WorkerFleet>("web", fleet).await;
    let _controller = scene.start().await;
    fleet::wait_settled(&scene, "web", 1).await;
    let documents = || scene.sandbox.s3().keys(&shared, "").unwrap().into_iter().filter(|key| key.contains('/'));
    assert_eq!(documents().count(), 1);

    let everything = json!({"fields": [{"name": "all", "path": "$.*"}], "groupBy": [{"name": "g", "path": "$..*"}]});
    let mut reading = with(spec(&scene, &["shared"]), everything);
    ["timestamp", "identity"].into_iter().for_each(|path| drop(reading.as_object_mut().unwrap().remove(path)));
    scene.create::<FleetReport>("curious", reading).await;
    let found = collected(&scene, "curious").await;
    assert_eq!(counts(&found), [1, 0, 1, 0, 0, 0]);
    assert_eq!(rejected(&found), [(documents().next().unwrap(), RejectionReason::ParametersDocument)]);
    let shown = serde_json::to_string(&found).unwrap() + &events(&scene, "curious").await.join(" ");
    assert!(!shown.contains(VALUE), "{shown}");
}
