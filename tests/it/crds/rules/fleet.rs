//! Invalid WorkerFleets, except for their template and parameters.

use serde_json::json;

use super::{Mistake, create, update};

pub(super) fn mistakes() -> Vec<Mistake> {
    vec![
        create(&[("/metadata/name", json!("a".repeat(64)))], "metadata.name must be at most 63 characters"),
        update(
            &[("/spec/aws/region", json!("us-east-1"))],
            "aws cannot change: create a new WorkerFleet with another name, and delete this one",
        ),
        update(&[("/spec/aws/accountRef/name", json!("other"))], "aws cannot change: create a new WorkerFleet"),
        create(
            &[("/spec/scaleDownPolicy", json!("LowestCpu")), ("/spec/metrics", json!(null))],
            "scaleDownPolicy LowestCpu needs CPU metrics: add metrics: {cpu: {period: 5m}}",
        ),
        create(
            &[("/spec/readiness/startupDeadline", json!("0s"))],
            "startupDeadline must be at least 1s, for example 15m",
        ),
        create(
            &[("/spec/roles/0/name", json!("main"))],
            "main is the role that spec.replicas counts: give this role another name",
        ),
        create(
            &[("/spec/metrics/cpu/period", json!("90s"))],
            "period must be a whole number of minutes from 1m to 1h, for example 5m",
        ),
        create(
            &[("/spec/update/maxSurge", json!(0))],
            "maxSurge and maxUnavailable cannot both be 0: no worker could ever be replaced",
        ),
        create(
            &[("/spec/update/maxSurge", json!("a quarter"))],
            "write a number of workers from 0 to 10000, or a percentage from 0% to 100%",
        ),
        create(
            &[("/spec/update/maxUnavailable", json!(10001))],
            "write a number of workers from 0 to 10000, or a percentage from 0% to 100%",
        ),
        create(
            &[("/spec/maxUnhealthy", json!("101%"))],
            "write a number of workers from 0 to 10000, or a percentage from 0% to 100%",
        ),
        create(
            &[("/spec/readiness/reportRef", json!(null))],
            "set reportRef, the name of the FleetReport to read, if check is Report, and only then",
        ),
        create(
            &[("/spec/readiness/check", json!("Running"))],
            "set reportRef, the name of the FleetReport to read, if check is Report, and only then",
        ),
        create(
            &[("/spec/adopt/instanceIDs/0", json!("my-instance"))],
            "write ids of instances, like i-0123456789abcdef0",
        ),
        create(
            &[("/spec/template/ami/ssmParameter", json!("/ami"))],
            "ami needs exactly one of id, ssmParameter or selector",
        ),
        create(
            &[("/spec/parameters", json!(null))],
            "parameters of a role need spec.parameters, which defines the store",
        ),
    ]
}
