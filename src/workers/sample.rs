//! Identifiers and inputs of plans for the tests of all kinds that run workers.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    aws,
    ids::{InstanceId, Role, SubnetId, Uid, Zone},
    workers::{
        observe::{instances::Orphan, observed::Zones},
        plan::PlanContext,
    },
};

pub const UID: &str = "6b4d2a3e-9d0c-4f6e-8f0e-1f7a2b3c4d5e";
pub const EARLIER: &str = "11111111-9d0c-4f6e-8f0e-1f7a2b3c4d5e";

pub fn uid(text: &str) -> Uid {
    Uid::try_from(text).unwrap()
}

pub fn id(n: u32) -> InstanceId {
    InstanceId::try_from(format!("i-{n:08x}")).unwrap()
}

/// An instance of the role `main` of an earlier object.
pub fn orphan() -> Orphan {
    Orphan { uid: uid(EARLIER), role: Role::main() }
}

pub fn subnet(name: char) -> SubnetId {
    SubnetId::try_from(format!("subnet-0000000{name}")).unwrap()
}

pub fn zones() -> Zones {
    let zone = |name: char| (subnet(name), Zone::try_from(format!("eu-west-1{name}")).unwrap());
    Zones::Known(BTreeMap::from([zone('a'), zone('b')]))
}

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// The error of a launch.
pub fn cause(class: aws::Class, code: &str) -> aws::Error {
    aws::Error { operation: "ec2:RunInstances", class, code: code.into(), message: "no".into() }
}

/// The spec of a worker kind with two pools in each of two subnets, overridden by `fields`.
pub fn spec<T: serde::de::DeserializeOwned>(kind: serde_json::Value, fields: serde_json::Value) -> T {
    let mut spec = serde_json::json!({
        "aws": {"region": "eu-west-1"},
        "template": {
            "ami": {"id": "ami-00000001"},
            "instanceTypes": ["m6i.large", "m5.large"],
            "subnets": {"ids": ["subnet-0000000a", "subnet-0000000b"]},
        },
    });
    for fields in [kind, fields] {
        spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    }
    serde_json::from_value(spec).unwrap()
}

/// Runs `plan` at `second`, with nonces that count from 1.
pub fn in_context<R>(second: i64, plan: impl FnOnce(&mut PlanContext<'_>) -> R) -> R {
    let mut numbers = 1..;
    let mut nonce = || numbers.next().unwrap();
    plan(&mut PlanContext { now: at(second), holder: "me", nonce: &mut nonce })
}
