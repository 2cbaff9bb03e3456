//! Invalid LaunchTemplatePins.

use serde_json::json;

use super::{Mistake, create, update};

pub(super) fn mistakes() -> Vec<Mistake> {
    vec![
        create(&[("/metadata/name", json!("a".repeat(64)))], "metadata.name must be at most 63 characters"),
        create(
            &[("/spec/autoScalingGroups/0/version", json!("Latest"))],
            "refresh.autoRollback needs version: Pinned for all groups",
        ),
        create(&[("/spec/ami", json!(null))], "approval: Manual needs ami, because an image is what is approved"),
        update(
            &[("/spec/aws/region", json!("us-east-1"))],
            "aws cannot change: create a LaunchTemplatePin with another name",
        ),
        update(
            &[("/spec/launchTemplate", json!({"name": "other"}))],
            "launchTemplate cannot change: create a LaunchTemplatePin with another name",
        ),
        create(&[("/spec/rejectedAMIs/0", json!("web-1"))], "write the ids of images, like ami-0123456789abcdef0"),
        create(
            &[("/spec/launchTemplate/name", json!("web"))],
            "launchTemplate needs exactly one of id, name or idFrom",
        ),
        create(&[("/spec/launchTemplate/id", json!("web"))], "write the id of a launch template, like lt-"),
        create(
            &[("/spec/launchTemplate", json!({"name": "we b"}))],
            "write the name of a launch template: letters, digits and ( ) . / _ - only",
        ),
        create(
            &[("/spec/ami/selector", json!({"owners": ["self"]}))],
            "selector needs name, description or tags in addition to owners",
        ),
        create(
            &[("/spec/ami/selector/owners/0", json!("me"))],
            "write owners as self, amazon or ids of AWS accounts (12 digits)",
        ),
        create(&[("/spec/ami/selector/tags", json!({"": "web"}))], "tag keys must have 1 to 128 characters"),
        create(
            &[("/spec/autoScalingGroupSelector/tags", json!({"": "web"}))],
            "tag keys must have 1 to 128 characters",
        ),
        create(&[("/spec/ami/minAge", json!("9000h"))], "minAge must be at most 8760h, for example 10m"),
        create(
            &[("/spec/refresh/minHealthyPercentage", json!(null))],
            "maxHealthyPercentage needs minHealthyPercentage",
        ),
        create(
            &[("/spec/refresh/minHealthyPercentage", json!(0))],
            "maxHealthyPercentage may be at most 100 more than minHealthyPercentage",
        ),
        create(&[("/spec/refresh/bakeTime", json!("49h"))], "bakeTime must be at most 48h, for example 10m"),
        create(
            &[("/spec/refresh/checkpoints/percentages", json!([50, 20]))],
            "percentages must ascend, for example [20, 50, 100]",
        ),
        create(&[("/spec/refresh/checkpoints/delay", json!("49h"))], "delay must be at most 48h, for example 1h"),
        create(&[("/spec/window/duration", json!("10s"))], "duration must be between 1m and 744h, for example 2h"),
    ]
}
