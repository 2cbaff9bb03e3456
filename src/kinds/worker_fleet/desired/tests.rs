//! The defaults of a spec.

use serde_json::{Value, json};

use super::*;

fn parse(fields: Value) -> Result<Desired, Invalid> {
    let mut spec = json!({
        "replicas": 4,
        "aws": {"region": "eu-west-1"},
        "template": {
            "ami": {"id": "ami-00000001"}, "instanceTypes": ["m6i.large"], "subnets": {"ids": ["subnet-0000000a"]},
        },
    });
    spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let owner = Owner {
        cluster: "c".into(),
        tag: crate::tags::FLEET_TAG,
        namespace: "ns".into(),
        name: "web".into(),
        uid: Uid::try_from("6b4d2a3e-9d0c-4f6e-8f0e-1f7a2b3c4d5e").unwrap(),
    };
    Desired::parse(&serde_json::from_value(spec).unwrap(), owner, Synced::default(), |_| None)
}

#[test]
fn what_is_left_out_is_as_the_reference_says() {
    let desired = parse(json!({})).unwrap();
    assert_eq!(desired.readiness.criteria.check, ReadinessCheck::Running);
    assert_eq!(desired.readiness.criteria.startup_deadline, Duration::from_secs(15 * 60));
    assert_eq!(desired.readiness.criteria.min_ready, Duration::ZERO);
    assert_eq!(desired.update.progress_deadline, Duration::from_secs(30 * 60));
    assert_eq!(
        (desired.update.bounds(4), desired.update.bounds(10)),
        ((1, 0), (3, 0)),
        "a quarter more, and none fewer"
    );
    assert_eq!((desired.max_unhealthy, desired.max_replacements), (Share::Percent(20), 100));
    assert_eq!((desired.on_stopped, desired.scale_down), (OnStopped::Replace, ScaleDownPolicy::Oldest));
    assert_eq!((desired.suspended, desired.plan_only, desired.cpu), (false, false, None));
}

#[test]
fn large_fleets_may_replace_twice_their_number() {
    let roles = json!([{"name": "leader", "replicas": 100}]);
    assert_eq!(parse(json!({"replicas": 400, "roles": roles})).unwrap().max_replacements, 1000);
    assert_eq!(parse(json!({"replicas": 400, "maxReplacementsPerHour": 0})).unwrap().max_replacements, 0);
}

#[test]
fn an_update_whose_bounds_come_to_nothing_takes_one_at_a_time() {
    let none = json!({"maxSurge": 0, "maxUnavailable": "10%"});
    assert_eq!(parse(json!({"update": none})).unwrap().update.bounds(4), (0, 1));
}

#[test]
fn a_number_is_a_number_and_a_share_is_rounded_in_favour_of_safety() {
    let bounds = |surge: Value, unavailable: Value| {
        let update = json!({"maxSurge": surge, "maxUnavailable": unavailable});
        parse(json!({"update": update})).unwrap().update.bounds(7)
    };
    assert_eq!(bounds(json!(2), json!(1)), (2, 1));
    assert_eq!(bounds(json!("10%"), json!("30%")), (1, 2), "up for surge, down for unavailable");
}
