//! The defaults of a spec.

use serde_json::{Value, json};

use super::*;
use crate::kinds::worker_fleet::sample::desired;

#[test]
fn omitted_fields_have_the_documented_defaults() {
    let desired = desired(4, json!({}));
    assert_eq!(desired.criteria.check, ReadinessCheck::Running);
    assert_eq!(desired.criteria.startup_deadline, Duration::from_secs(15 * 60));
    assert_eq!(desired.criteria.min_ready, Duration::ZERO);
    assert_eq!(desired.update.progress_deadline, Duration::from_secs(30 * 60));
    let bounds = [4, 10].map(|replicas| desired.update.bounds(replicas));
    assert_eq!(bounds, [(1, 0), (3, 0)], "a quarter more, and none fewer");
    assert_eq!((desired.max_unhealthy, desired.max_replacements), (Share::Percent(20), 100));
    assert_eq!((desired.on_stopped, desired.scale_down), (OnStopped::Replace, ScaleDownPolicy::Oldest));
    assert_eq!((desired.suspended, desired.plan_only, desired.cpu), (false, false, None));
}

#[test]
fn large_fleets_may_replace_twice_their_number() {
    let roles = json!([{"name": "leader", "replicas": 100}]);
    assert_eq!(desired(400, json!({"roles": roles})).max_replacements, 1000);
    assert_eq!(desired(400, json!({"maxReplacementsPerHour": 0})).max_replacements, 0);
}

#[test]
fn an_update_with_both_bounds_zero_replaces_one_worker_at_a_time() {
    let none = json!({"maxSurge": 0, "maxUnavailable": "10%"});
    assert_eq!(desired(4, json!({"update": none})).update.bounds(4), (0, 1));
}

#[test]
fn percentages_are_rounded_to_the_safe_side() {
    let bounds = |surge: Value, unavailable: Value| {
        let update = json!({"maxSurge": surge, "maxUnavailable": unavailable});
        desired(4, json!({"update": update})).update.bounds(7)
    };
    assert_eq!(bounds(json!(2), json!(1)), (2, 1));
    assert_eq!(bounds(json!("10%"), json!("30%")), (1, 2), "up for surge, down for unavailable");
}
