//! Whatever a worker writes is shown in one line, with its invisible characters escaped: no terminal obeys it, and nobody
//! reads another text than the one that is there.

use muster::crd::fleet_report::FleetReport;
use serde_json::json;

use super::{bucket, collect_now, events, id, message, put, report, spec, status, versions, with};
use crate::support::scene::Scene;

/// Clears the screen, begins a line that looks like another one, and turns the direction of the rest.
const HOSTILE: &str = "1.0\u{1b}[2J\u{9b}31m\nReady\u{202e}0.2\u{200b}";
const SHOWN: &str = r"1.0\u{1b}[2J\u{9b}31m\nReady\u{202e}0.2\u{200b}";

#[tokio::test]
async fn text_of_workers_is_escaped_in_versions_outliers_rejected_keys_conditions_and_events() {
    let scene = Scene::new().await;
    let prod = bucket(&scene, "prod");
    put(&scene, &prod, 1, "2.0");
    let expected = json!({"expect": {"versions": [{"field": "app", "equals": "2.0"}]}});
    scene.create::<FleetReport>("all", with(spec(&scene, &["prod"]), expected)).await;
    let _controller = scene.start().await;
    collect_now(&scene, "all", "first").await;

    let s3 = scene.sandbox.s3();
    put(&scene, &prod, 2, HOSTILE);
    // The name of an instance comes from its key. The identity of the other report is not that of its key.
    let name = "web\u{202e}\u{2066}";
    s3.put(&prod, &format!("{name}.json"), report(2, "1.0").replace(&id(2), name)).unwrap();
    s3.put(&prod, "forged\u{202e}\u{2028}.json", report(4, "1.0")).unwrap();
    let told = collect_now(&scene, "all", "second").await;
    let now = status(&told);
    assert!(versions(&told).iter().any(|(version, _)| *version == format!("app {SHOWN}")), "{:?}", now.versions);
    let outliers: Vec<_> = now.outliers.iter().map(|o| (o.instance.as_str(), o.value.as_str())).collect();
    assert!(outliers.contains(&(&id(2), SHOWN)) && outliers.contains(&(r"web\u{202e}\u{2066}", "1.0")), "{outliers:?}");
    let keys: Vec<_> = now.rejected.iter().map(|r| r.key.as_str()).collect();
    assert_eq!(keys, [r"forged\u{202e}\u{2028}.json"]);
    assert!(message(&told, "UpToDate").contains(r"\u{202e}"), "{}", message(&told, "UpToDate"));
    let events = events(&scene, "all").await;
    assert!(events.iter().any(|event| event.contains(SHOWN)), "{events:?}");
    assert!(events.iter().any(|event| event.contains(r"forged\u{202e}\u{2028}.json")), "{events:?}");

    let invisible = |text: &str| text.chars().any(|c| c.is_control() || "\u{202e}\u{2066}\u{2028}\u{200b}".contains(c));
    let whole = serde_json::to_value(&now).unwrap();
    let mut texts = vec![&whole];
    while let Some(next) = texts.pop() {
        match next {
            serde_json::Value::String(text) => assert!(!invisible(text), "{text:?}"),
            serde_json::Value::Array(items) => texts.extend(items),
            serde_json::Value::Object(fields) => texts.extend(fields.values()),
            serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
        }
    }
    assert!(events.iter().all(|event| !invisible(event)), "{events:?}");
}
