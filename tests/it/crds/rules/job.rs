//! Invalid WorkerJobs, except for their template and parameters.

use serde_json::json;

use super::{Mistake, create, update};

pub(super) fn mistakes() -> Vec<Mistake> {
    let mut all = vec![
        create(&[("/metadata/name", json!("a".repeat(64)))], "metadata.name must be at most 63 characters"),
        create(&[("/spec/maxFailedIndexes", json!(11))], "maxFailedIndexes must not be more than completions"),
        create(
            &[("/spec/template/metadataOptions/instanceMetadataTags", json!("disabled"))],
            "a worker of a WorkerJob reads its index from its tags: remove template.metadataOptions.instanceMetadataTags",
        ),
        create(
            &[("/spec/parameters/onChange", json!("Replace"))],
            "a WorkerJob never replaces a running worker: remove onChange, or set it to Keep",
        ),
        create(
            &[("/spec/template/ami", json!({"ssmParameter": "/ami/worker", "onChange": "Replace"}))],
            "a WorkerJob never replaces a running worker: remove onChange, or set it to Keep",
        ),
        create(
            &[("/spec/template/launchTemplate", json!({"name": "web", "onChange": "Replace"}))],
            "a WorkerJob never replaces a running worker: remove onChange, or set it to Keep",
        ),
        create(
            &[("/spec/result", json!({"shutdownReason": {}})), ("/spec/template/capacityType", json!("Spot"))],
            "result.shutdownReason needs On-Demand instances, because Spot instances are never stopped",
        ),
        create(&[("/spec/result", json!({}))], "result needs exactly one of s3 or shutdownReason"),
        create(&[("/spec/result/shutdownReason", json!({}))], "result needs exactly one of s3 or shutdownReason"),
        update(
            &[("/spec/result/s3/bucket", json!("another"))],
            "result cannot change: create a new WorkerJob with another name",
        ),
        update(
            &[("/spec/aws/region", json!("us-east-1"))],
            "aws cannot change: create a new WorkerJob with another name",
        ),
        update(
            &[("/spec/template/keyName", json!("another"))],
            "template cannot change: create a new WorkerJob with another name",
        ),
        update(
            &[("/spec/parameters/values/0/value", json!("another"))],
            "parameters cannot change: create a new WorkerJob with another name",
        ),
    ];
    let frozen = "only suspend and parallelism of a WorkerJob can change: create a new one with another name";
    for (field, value) in [
        ("/spec/completions", json!(11)),
        ("/spec/backoffLimitPerIndex", json!(2)),
        ("/spec/maxFailedIndexes", json!(3)),
        ("/spec/maxFailedIndexes", json!(null)),
        ("/spec/activeDeadlineSeconds", json!(1)),
        ("/spec/activeDeadlineSeconds", json!(null)),
        ("/spec/ttlSecondsAfterFinished", json!(1)),
        ("/spec/ttlSecondsAfterFinished", json!(null)),
    ] {
        all.push(update(&[(field, value)], frozen));
    }
    all
}
