//! Invalid templates and parameters of the kinds that run workers.

use serde_json::json;

use super::{Mistake, create, update};

pub(super) fn mistakes() -> Vec<Mistake> {
    vec![
        create(
            &[("/spec/template/tags", json!({"cost center": "7"}))],
            "tag keys may hold only letters, digits and + - = . , _ : @ while metadataOptions.instanceMetadataTags is enabled",
        ),
        create(
            &[("/spec/template/tags", json!({"cost/center": "7"})), ("/spec/template/metadataOptions", json!(null))],
            "rename the key, or set instanceMetadataTags to disabled",
        ),
        create(&[("/spec/template/tags", json!({"a".repeat(129): "7"}))], "tag keys must have 1 to 128 characters"),
        create(&[("/spec/template/tags", json!({"": "7"}))], "tag keys must have 1 to 128 characters"),
        create(
            &[("/spec/template/tags", json!({"AWS:team": "ml"}))],
            "tag keys must not start with aws:, which AWS reserves",
        ),
        create(
            &[("/spec/template/tags", json!({"muster.dev:fleet": "x"}))],
            "tag keys must not start with muster.dev:, which muster reserves",
        ),
        create(
            &[("/spec/template/ami", json!(null))],
            "template needs an image: add ami with id, ssmParameter or selector, or a launchTemplate that has an image",
        ),
        create(
            &[("/spec/template/instanceTypes", json!(null))],
            "template needs an instance type: add instanceTypes, like [m6i.large], or a launchTemplate that has one",
        ),
        create(
            &[("/spec/template/subnets", json!(null))],
            "template needs subnets: add subnets with ids or tags, or a launchTemplate that has a subnet",
        ),
        create(&[("/spec/template/ami", json!({}))], "ami needs exactly one of id, ssmParameter or selector"),
        create(
            &[("/spec/template/ami", json!({"selector": {"owners": ["self"]}}))],
            "selector needs name, description or tags in addition to owners",
        ),
        create(&[("/spec/template/ami", json!({"selector": {"name": "app-*"}}))], "owners: Required value"),
        create(
            &[("/spec/template/ami", json!({"selector": {"owners": ["*"], "name": "app-*"}}))],
            "write owners as self, amazon or ids of AWS accounts (12 digits)",
        ),
        create(
            &[("/spec/template/ami", json!({"selector": {"owners": ["self"], "tags": {"": "x"}}}))],
            "tag keys must have 1 to 128 characters",
        ),
        create(
            &[("/spec/template/ami", json!({"ssmParameter": "{{resolve:ssm:/ami}}"}))],
            "write the name of a parameter in Parameter Store, like /ami/worker",
        ),
        create(
            &[("/spec/template/launchTemplate", json!({"version": "7"}))],
            "launchTemplate needs exactly one of name or id",
        ),
        create(
            &[("/spec/template/launchTemplate", json!({"name": "web", "id": "lt-0123456789abcdef0"}))],
            "launchTemplate needs exactly one of name or id",
        ),
        create(
            &[("/spec/template/launchTemplate", json!({"name": "web", "version": "latest"}))],
            "write the version as a number, $Default or $Latest",
        ),
        create(&[("/spec/template/subnets", json!({}))], "subnets needs exactly one of ids or tags"),
        create(
            &[("/spec/template/subnets/tags", json!({"tier": "workers"}))],
            "subnets needs exactly one of ids or tags",
        ),
        create(
            &[("/spec/template/subnets", json!({"tags": {"a".repeat(129): "x"}}))],
            "tag keys must have 1 to 128 characters",
        ),
        create(&[("/spec/template/securityGroups", json!({}))], "securityGroups needs exactly one of ids or tags"),
        create(
            &[("/spec/template/securityGroups/tags", json!({"app": "web"}))],
            "securityGroups needs exactly one of ids or tags",
        ),
        create(
            &[("/spec/template/securityGroups", json!({"tags": {"": "x"}}))],
            "tag keys must have 1 to 128 characters",
        ),
        create(&[("/spec/template/userData", json!({}))], "userData needs exactly one of inline or configMapKeyRef"),
        create(
            &[("/spec/template/userData/configMapKeyRef", json!({"name": "boot", "key": "script"}))],
            "userData needs exactly one of inline or configMapKeyRef",
        ),
        create(&[("/spec/template/userData", json!({"secretKeyRef": {"name": "s", "key": "k"}}))], "unknown field"),
        create(
            &[("/spec/template/subnets/ids/0", json!("my-subnet"))],
            "write ids of subnets, like subnet-0123456789abcdef0",
        ),
        create(
            &[("/spec/template/securityGroups/ids/0", json!("default"))],
            "write ids of security groups, like sg-0123456789abcdef0",
        ),
        create(
            &[
                ("/spec/template/blockDeviceMappings/0/ebs/volumeType", json!("st1")),
                ("/spec/template/blockDeviceMappings/0/ebs/throughput", json!(null)),
            ],
            "iops can be set for volumeType gp3, io1 and io2 only: set volumeType, or remove iops",
        ),
        create(
            &[
                ("/spec/template/blockDeviceMappings/0/ebs/volumeType", json!(null)),
                ("/spec/template/blockDeviceMappings/0/ebs/throughput", json!(null)),
            ],
            "iops can be set for volumeType gp3, io1 and io2 only",
        ),
        create(
            &[
                ("/spec/template/blockDeviceMappings/0/ebs/volumeType", json!("io2")),
                ("/spec/template/blockDeviceMappings/0/ebs/iops", json!(null)),
                ("/spec/template/blockDeviceMappings/0/ebs/throughput", json!(null)),
            ],
            "volumeType io1 and io2 need iops: set it, or use gp3",
        ),
        create(
            &[("/spec/template/blockDeviceMappings/0/ebs/volumeType", json!("io2"))],
            "throughput can be set for volumeType gp3 only: set volumeType to gp3, or remove throughput",
        ),
        create(
            &[("/spec/template/blockDeviceMappings/0/ebs/encrypted", json!(false))],
            "a kmsKeyID needs encrypted: true",
        ),
        create(
            &[("/spec/template/blockDeviceMappings/0/ebs/encrypted", json!(null))],
            "a kmsKeyID needs encrypted: true",
        ),
        update(
            &[("/spec/parameters/store/s3/bucket", json!("my-other-parameters"))],
            "store cannot change: create a new object with another name, and delete this one",
        ),
        update(
            &[("/spec/parameters/store", json!({"parameterStore": {"path": "/app"}}))],
            "store cannot change: create a new object with another name, and delete this one",
        ),
        create(&[("/spec/parameters/store/s3", json!(null))], "a store needs exactly one of s3 or parameterStore"),
        create(
            &[("/spec/parameters/store/parameterStore", json!({"path": "/app"}))],
            "a store needs exactly one of s3 or parameterStore",
        ),
        create(
            &[("/spec/parameters/store", json!({"parameterStore": {"path": "/AWS/app"}}))],
            "path must not start with /aws or /ssm, which AWS reserves",
        ),
        create(
            &[("/spec/parameters/values/0/value", json!(null))],
            "a parameter needs exactly one of value or valueFrom",
        ),
        create(
            &[("/spec/parameters/values/1/value", json!("x"))],
            "a parameter needs exactly one of value or valueFrom",
        ),
        create(
            &[("/spec/parameters/values/1/valueFrom/secretKeyRef", json!(null))],
            "valueFrom needs exactly one of secretKeyRef or configMapKeyRef",
        ),
    ]
}
