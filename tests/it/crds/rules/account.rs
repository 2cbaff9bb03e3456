//! What is wrong with an AwsAccount.

use serde_json::json;

use super::{Mistake, create, update};

pub(super) fn mistakes() -> Vec<Mistake> {
    let account = "the account of an AwsAccount cannot change: make a new AwsAccount with another name and point accountRef at it";
    vec![
        create(&[("/metadata/name", json!("a".repeat(64)))], "metadata.name must be at most 63 characters"),
        update(&[("/spec/roleARN", json!("arn:aws:iam::222222222222:role/muster"))], account),
        create(
            &[("/spec/grants/0/namespaces", json!({}))],
            "name the namespaces: names: [a, b], names: [\"*\"] for all, or selector",
        ),
    ]
}
