//! Invalid FleetReports.

use serde_json::json;

use super::{Mistake, create, update};

pub(super) fn mistakes() -> Vec<Mistake> {
    vec![
        create(&[("/metadata/name", json!("a".repeat(64)))], "metadata.name must be at most 63 characters"),
        create(&[("/spec/staleAfter", json!("1m"))], "staleAfter must not be shorter than interval"),
        create(
            &[("/spec/expect/versions/0/field", json!("ap"))],
            "expect.versions[].field must be the name of one of spec.fields: add that field",
        ),
        create(
            &[("/spec/interval", json!("25h")), ("/spec/staleAfter", json!("26h"))],
            "interval must be between 1s and 24h, for example 5m",
        ),
        create(&[("/spec/staleAfter", json!("9000h"))], "staleAfter must be between 1s and 8760h, for example 2h"),
        create(
            &[("/spec/sources/0/prefix", json!("/prod"))],
            "prefix must not start with '/', because keys in S3 do not: write it like reports/prod/",
        ),
        update(
            &[("/spec/sources/0/aws/region", json!("us-east-1"))],
            "the aws of a source cannot change: add a source with another name and remove this one",
        ),
        update(
            &[("/spec/expect/instances/0/aws/region", json!("us-east-1"))],
            "the aws of expected instances cannot change: add others with another name and remove these",
        ),
        create(
            &[("/spec/expect/instances/0/gracePeriod", json!("25h"))],
            "gracePeriod must be at most 24h, for example 15m",
        ),
        create(&[("/spec/expect/instances/0/tags", json!({"": "core"}))], "tag keys must have 1 to 128 characters"),
        create(&[("/spec/limits/objectSize", json!("17Mi"))], "objectSize must be at most 16Mi, for example 1Mi"),
        create(
            &[("/spec/timestamp/path", json!("update_date"))],
            "a path is a JSONPath and starts with '$', for example $.update_date",
        ),
        create(
            &[("/spec/fields/0/path", json!("app_version"))],
            "a path is a JSONPath and starts with '$', for example $.app_version",
        ),
        create(
            &[("/spec/groupBy/0/path", json!("instance_name"))],
            "a path is a JSONPath and starts with '$', for example $.instance_name",
        ),
        create(
            &[("/spec/expect/versions/0/semver", json!(">=1.2.3"))],
            "an expected version needs exactly one of equals, oneOf or semver",
        ),
        create(
            &[("/spec/expect/versions/0/equals", json!(null))],
            "an expected version needs exactly one of equals, oneOf or semver",
        ),
    ]
}
