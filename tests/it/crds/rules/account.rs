//! Invalid AwsAccounts.

use serde_json::json;

use super::{Mistake, create, update};

pub(super) fn mistakes() -> Vec<Mistake> {
    let account = "the account of an AwsAccount cannot change: create a new AwsAccount with another name and refer to it in accountRef";
    vec![
        create(&[("/metadata/name", json!("a".repeat(64)))], "metadata.name must be at most 63 characters"),
        update(&[("/spec/roleARN", json!("arn:aws:iam::222222222222:role/muster"))], account),
        create(
            &[("/spec/grants/0/namespaces", json!({}))],
            "namespaces needs names or a selector: names: [a, b], names: [\"*\"] for all, or selector",
        ),
        create(
            &[("/spec/grants/0/buckets/0/prefix", json!("ml"))],
            "write a prefix that ends in '/', like ml/, or leave it out for the whole bucket",
        ),
        create(&[("/spec/grants/0/targetTags", json!({"": "ml"}))], "tag keys must have 1 to 128 characters"),
        create(&[("/spec/grants/0/buckets/0/prefix", json!("/"))], "write a prefix that ends in '/', like ml/"),
    ]
}
