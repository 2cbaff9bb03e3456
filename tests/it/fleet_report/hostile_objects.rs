//! Objects that are no reports of workers, or that were written to harm: each is rejected alone and by name.

use muster::crd::fleet_report::FleetReport;
use serde_json::json;

use super::{bucket, calls, collected, counts, jiff_now, spec};
use crate::support::scene::Scene;

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
