//! Every rule that is more than a bound, broken once, by somebody who has to understand the refusal.

use std::collections::BTreeSet;

use http::Method;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::{Value, json};

use super::{Kind, bounds, installed, kinds, manifests, offer, offer_new};

/// A whole manifest with some fields changed, and the message that must come back.
#[derive(Clone)]
struct Mistake {
    kind: &'static str,
    /// Whether the object is there already, as the whole manifest has it.
    on: On,
    /// JSON pointers and what is written there; null removes the field.
    edits: Vec<(&'static str, Value)>,
    message: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    Create,
    Update,
}

fn mistakes() -> Vec<Mistake> {
    use On::{Create, Update};
    let mistake =
        |kind, on, edits: &[(&'static str, Value)], message| Mistake { kind, on, edits: edits.to_vec(), message };
    let account = "the account of an AwsAccount cannot change: make a new AwsAccount with another name and point accountRef at it";
    let mut all = vec![
        mistake(
            "AwsAccount",
            Create,
            &[("/metadata/name", json!("a".repeat(64)))],
            "metadata.name must be at most 63 characters",
        ),
        mistake("AwsAccount", Update, &[("/spec/roleARN", json!("arn:aws:iam::222222222222:role/muster"))], account),
        mistake(
            "AwsAccount",
            Create,
            &[("/spec/grants/0/namespaces", json!({}))],
            "name the namespaces: names: [a, b], names: [\"*\"] for all, or selector",
        ),
        mistake(
            "FleetReport",
            Create,
            &[("/metadata/name", json!("a".repeat(64)))],
            "metadata.name must be at most 63 characters",
        ),
        mistake(
            "FleetReport",
            Create,
            &[("/spec/staleAfter", json!("1m"))],
            "staleAfter must not be shorter than interval",
        ),
        mistake(
            "FleetReport",
            Create,
            &[("/spec/expect/versions/0/field", json!("ap"))],
            "expect.versions[].field must be the name of one of spec.fields: add that field",
        ),
        mistake(
            "FleetReport",
            Create,
            &[("/spec/interval", json!("25h")), ("/spec/staleAfter", json!("26h"))],
            "interval must be between 1s and 24h, for example 5m",
        ),
        mistake(
            "FleetReport",
            Create,
            &[("/spec/staleAfter", json!("9000h"))],
            "staleAfter must be between 1s and 8760h, for example 2h",
        ),
        mistake(
            "FleetReport",
            Create,
            &[("/spec/sources/0/prefix", json!("/prod"))],
            "prefix must not start with '/': keys in S3 do not; write it like reports/prod/",
        ),
        mistake(
            "FleetReport",
            Update,
            &[("/spec/sources/0/aws/region", json!("us-east-1"))],
            "the aws of a source cannot change: add a source with another name and remove this one",
        ),
        mistake(
            "FleetReport",
            Create,
            &[("/spec/limits/objectSize", json!("17Mi"))],
            "objectSize must be at most 16Mi, for example 1Mi",
        ),
        mistake(
            "FleetReport",
            Create,
            &[("/spec/timestamp/path", json!("update_date"))],
            "a path is a JSONPath and starts with '$', for example $.update_date",
        ),
        mistake(
            "FleetReport",
            Create,
            &[("/spec/fields/0/path", json!("app_version"))],
            "a path is a JSONPath and starts with '$', for example $.app_version",
        ),
        mistake(
            "FleetReport",
            Create,
            &[("/spec/groupBy/0/path", json!("instance_name"))],
            "a path is a JSONPath and starts with '$', for example $.instance_name",
        ),
        mistake(
            "FleetReport",
            Create,
            &[("/spec/expect/versions/0/semver", json!(">=1.2.3"))],
            "an expected version needs exactly one of equals, oneOf or semver",
        ),
        mistake(
            "FleetReport",
            Create,
            &[("/spec/expect/versions/0/equals", json!(null))],
            "an expected version needs exactly one of equals, oneOf or semver",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/metadata/name", json!("a".repeat(64)))],
            "metadata.name must be at most 63 characters",
        ),
        mistake(
            "WorkerFleet",
            Update,
            &[("/spec/aws/region", json!("us-east-1"))],
            "aws cannot change: make a new WorkerFleet with another name, and delete this one",
        ),
        mistake(
            "WorkerFleet",
            Update,
            &[("/spec/aws/accountRef/name", json!("other"))],
            "aws cannot change: make a new WorkerFleet",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/scaleDownPolicy", json!("LowestCpu")), ("/spec/metrics", json!(null))],
            "scaleDownPolicy LowestCpu needs to know how busy the workers are: add metrics: {cpu: {period: 5m}}",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/roles/0/name", json!("main"))],
            "main is the group that spec.replicas counts: give this role another name",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/metrics/cpu/period", json!("90s"))],
            "period must be a whole number of minutes from 1m to 1h, for example 5m",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/update/maxSurge", json!(0))],
            "maxSurge and maxUnavailable cannot both be 0: no worker could ever be replaced",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/update/maxSurge", json!("a quarter"))],
            "write a number of workers from 0 to 10000, or a share from 0% to 100%",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/update/maxUnavailable", json!(10001))],
            "write a number of workers from 0 to 10000, or a share from 0% to 100%",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/maxUnhealthy", json!("101%"))],
            "write a number of workers from 0 to 10000, or a share from 0% to 100%",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/readiness/reportRef", json!(null))],
            "check: Report needs a reportRef that names the FleetReport to read, and only that",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/readiness/check", json!("Running"))],
            "check: Report needs a reportRef that names the FleetReport to read, and only that",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/adopt/instanceIDs/0", json!("my-machine"))],
            "write ids of instances, like i-0123456789abcdef0",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/template/tags", json!({"cost center": "7"}))],
            "tag keys may hold only letters, digits and + - = . , _ : @ while metadataOptions.instanceMetadataTags is enabled",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/template/tags", json!({"cost/center": "7"})), ("/spec/template/metadataOptions", json!(null))],
            "rename the key, or set instanceMetadataTags to disabled",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/template/tags", json!({"a".repeat(129): "7"}))],
            "tag keys must have 1 to 128 characters",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/template/tags", json!({"": "7"}))],
            "tag keys must have 1 to 128 characters",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/template/tags", json!({"AWS:team": "ml"}))],
            "tag keys must not start with aws:, which AWS keeps for itself",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/template/tags", json!({"muster.dev:fleet": "x"}))],
            "tag keys must not start with muster.dev:, which muster uses to know its own machines",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/template/ami", json!(null))],
            "say which image: add ami with id, ssmParameter or selector, or a launchTemplate that has an image",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/template/instanceTypes", json!(null))],
            "say which machines: add instanceTypes, like [m6i.large], or a launchTemplate that has an instance type",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/template/subnets", json!(null))],
            "say where: add subnets with ids or tags, or a launchTemplate that has a subnet",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/template/ami", json!({}))],
            "ami needs exactly one of id, ssmParameter or selector",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/template/ami/ssmParameter", json!("/ami"))],
            "ami needs exactly one of id, ssmParameter or selector",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/template/ami", json!({"selector": {"owners": ["self"]}}))],
            "say which images of these owners: add name, description or tags",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/template/ami", json!({"selector": {"name": "app-*"}}))],
            "owners: Required value",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/template/ami", json!({"selector": {"owners": ["*"], "name": "app-*"}}))],
            "write owners as self, amazon or ids of AWS accounts (12 digits)",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/template/ami", json!({"selector": {"owners": ["self"], "tags": {"": "x"}}}))],
            "tag keys must have 1 to 128 characters",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/template/ami", json!({"ssmParameter": "{{resolve:ssm:/ami}}"}))],
            "write the name of a parameter in Parameter Store, like /ami/worker",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/template/launchTemplate", json!({"version": "7"}))],
            "launchTemplate needs exactly one of name or id",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/template/launchTemplate", json!({"name": "web", "id": "lt-0123456789abcdef0"}))],
            "launchTemplate needs exactly one of name or id",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/template/launchTemplate", json!({"name": "web", "version": "latest"}))],
            "write the version as a number, $Default or $Latest",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/template/subnets", json!({}))],
            "subnets needs exactly one of ids or tags",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/template/subnets/tags", json!({"tier": "workers"}))],
            "subnets needs exactly one of ids or tags",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/template/subnets", json!({"tags": {"a".repeat(129): "x"}}))],
            "tag keys must have 1 to 128 characters",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/template/securityGroups", json!({}))],
            "securityGroups needs exactly one of ids or tags",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/template/securityGroups/tags", json!({"app": "web"}))],
            "securityGroups needs exactly one of ids or tags",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/template/securityGroups", json!({"tags": {"": "x"}}))],
            "tag keys must have 1 to 128 characters",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/template/userData", json!({}))],
            "userData needs exactly one of inline or configMapKeyRef",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/template/userData/configMapKeyRef", json!({"name": "boot", "key": "script"}))],
            "userData needs exactly one of inline or configMapKeyRef",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/template/userData", json!({"secretKeyRef": {"name": "s", "key": "k"}}))],
            "unknown field",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/template/subnets/ids/0", json!("my-subnet"))],
            "write ids of subnets, like subnet-0123456789abcdef0",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/template/securityGroups/ids/0", json!("default"))],
            "write ids of security groups, like sg-0123456789abcdef0",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[
                ("/spec/template/blockDeviceMappings/0/ebs/volumeType", json!("st1")),
                ("/spec/template/blockDeviceMappings/0/ebs/throughput", json!(null)),
            ],
            "iops can be set for volumeType gp3, io1 and io2 only: set volumeType, or remove iops",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[
                ("/spec/template/blockDeviceMappings/0/ebs/volumeType", json!(null)),
                ("/spec/template/blockDeviceMappings/0/ebs/throughput", json!(null)),
            ],
            "iops can be set for volumeType gp3, io1 and io2 only",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[
                ("/spec/template/blockDeviceMappings/0/ebs/volumeType", json!("io2")),
                ("/spec/template/blockDeviceMappings/0/ebs/iops", json!(null)),
                ("/spec/template/blockDeviceMappings/0/ebs/throughput", json!(null)),
            ],
            "volumeType io1 and io2 need iops: set it, or use gp3",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/template/blockDeviceMappings/0/ebs/volumeType", json!("io2"))],
            "throughput can be set for volumeType gp3 only: set volumeType to gp3, or remove throughput",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/template/blockDeviceMappings/0/ebs/encrypted", json!(false))],
            "a kmsKeyID needs encrypted: true",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/template/blockDeviceMappings/0/ebs/encrypted", json!(null))],
            "a kmsKeyID needs encrypted: true",
        ),
        mistake(
            "WorkerFleet",
            Update,
            &[("/spec/parameters/store/s3/bucket", json!("my-other-parameters"))],
            "store cannot change: make a new object with another name, and delete this one",
        ),
        mistake(
            "WorkerFleet",
            Update,
            &[("/spec/parameters/store", json!({"parameterStore": {"path": "/app"}}))],
            "store cannot change: make a new object with another name, and delete this one",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/parameters", json!(null))],
            "parameters of a role need spec.parameters, whose store says where they are kept",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/parameters/store/s3", json!(null))],
            "a store needs exactly one of s3 or parameterStore",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/parameters/store/parameterStore", json!({"path": "/app"}))],
            "a store needs exactly one of s3 or parameterStore",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/parameters/store", json!({"parameterStore": {"path": "/AWS/app"}}))],
            "path must not start with /aws or /ssm, which AWS keeps for itself",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/parameters/values/0/value", json!(null))],
            "a parameter needs exactly one of value or valueFrom",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/parameters/values/1/value", json!("x"))],
            "a parameter needs exactly one of value or valueFrom",
        ),
        mistake(
            "WorkerFleet",
            Create,
            &[("/spec/parameters/values/1/valueFrom/secretKeyRef", json!(null))],
            "valueFrom needs exactly one of secretKeyRef or configMapKeyRef",
        ),
        mistake(
            "WorkerJob",
            Create,
            &[("/metadata/name", json!("a".repeat(64)))],
            "metadata.name must be at most 63 characters",
        ),
        mistake(
            "WorkerJob",
            Create,
            &[("/spec/maxFailedIndexes", json!(11))],
            "maxFailedIndexes must not be more than completions",
        ),
        mistake(
            "WorkerJob",
            Create,
            &[("/spec/template/metadataOptions/instanceMetadataTags", json!("disabled"))],
            "a worker of a WorkerJob reads its index from its tags: remove template.metadataOptions.instanceMetadataTags",
        ),
        mistake(
            "WorkerJob",
            Create,
            &[("/spec/result", json!({"shutdownReason": {}})), ("/spec/template/capacityType", json!("Spot"))],
            "result.shutdownReason needs On-Demand machines, since Spot ones are never stopped",
        ),
        mistake(
            "WorkerJob",
            Create,
            &[("/spec/result", json!({}))],
            "say how a worker tells its result: exactly one of s3 or shutdownReason",
        ),
        mistake(
            "WorkerJob",
            Create,
            &[("/spec/result/shutdownReason", json!({}))],
            "say how a worker tells its result: exactly one of s3 or shutdownReason",
        ),
        mistake(
            "WorkerJob",
            Update,
            &[("/spec/result/s3/bucket", json!("another"))],
            "result cannot change: make a new WorkerJob with another name",
        ),
        mistake(
            "WorkerJob",
            Update,
            &[("/spec/aws/region", json!("us-east-1"))],
            "aws cannot change: make a new WorkerJob with another name",
        ),
        mistake(
            "WorkerJob",
            Update,
            &[("/spec/template/keyName", json!("another"))],
            "template cannot change: make a new WorkerJob with another name",
        ),
        mistake(
            "WorkerJob",
            Update,
            &[("/spec/parameters/values/0/value", json!("another"))],
            "parameters cannot change: make a new WorkerJob with another name",
        ),
    ];
    let frozen = "only suspend and parallelism of a WorkerJob can change: make a new one with another name";
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
        all.push(mistake("WorkerJob", Update, &[(field, value)], frozen));
    }
    // A job has the template and the parameters of a fleet.
    let of_template = |m: &&Mistake| {
        m.kind == "WorkerFleet"
            && m.edits
                .iter()
                .all(|(place, _)| place.starts_with("/spec/template/") || place.starts_with("/spec/parameters/"))
    };
    let of_template: Vec<_> = all.iter().filter(of_template).cloned().collect();
    all.extend(of_template.into_iter().map(|m| Mistake { kind: "WorkerJob", ..m }));
    all
}

fn edited(mut manifest: Value, edits: &[(&str, Value)]) -> Value {
    for (pointer, value) in edits {
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        let parent = manifest.pointer_mut(parent).unwrap_or_else(|| panic!("the manifest has no {parent}"));
        match (parent, value) {
            (Value::Object(fields), Value::Null) => {
                fields.remove(key).unwrap_or_else(|| panic!("there is no {pointer} to remove"));
            }
            (Value::Object(fields), value) => {
                fields.insert(key.to_owned(), value.clone());
            }
            (Value::Array(list), value) => list[key.parse::<usize>().expect("an index")] = value.clone(),
            (other, _) => panic!("{pointer}: {other} has no fields"),
        }
    }
    manifest
}

#[tokio::test]
async fn every_mistake_is_refused_with_what_to_write() {
    let kube = installed().await;
    let client = kube.admin().await.expect("a client");
    let namespace = kube.namespace().await.expect("a namespace");
    let mut wrong = Vec::new();
    for (number, Mistake { kind, on, edits, message }) in mistakes().into_iter().enumerate() {
        let mut whole = manifests::first(kind);
        let answer = match on {
            On::Create => offer_new(&client, &namespace, &edited(whole, &edits)).await,
            On::Update => {
                let kind = Kind::of(&whole);
                let name = format!("{namespace}-{number}");
                whole["metadata"]["name"] = json!(name);
                let path = kind.path(&namespace);
                let stored = offer(&client, Method::POST, &path, &whole).await.expect("a whole manifest");
                let path = format!("{path}/{name}");
                let answer = offer(&client, Method::PUT, &format!("{path}?dryRun=All"), &edited(stored, &edits)).await;
                offer(&client, Method::DELETE, &path, &json!({})).await.expect("a deletion");
                answer
            }
        };
        match answer {
            Ok(_) => wrong.push(format!("{kind} with {edits:?} is accepted")),
            Err(refusal) if refusal.contains(message) => {}
            Err(refusal) => wrong.push(format!("{kind} with {edits:?} is refused with {refusal:?}, not {message:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_rule_has_a_mistake() {
    let tried: BTreeSet<_> = mistakes().into_iter().map(|m| (m.kind, m.message)).collect();
    for kind in kinds() {
        let mut rules = Vec::new();
        collect(&kind.schema, &mut rules);
        assert!(!rules.is_empty(), "{} has no rule at all", kind.name);
        for (rule, message) in rules {
            // bounds.rs tries these.
            if bounds::pattern(&rule).is_none() {
                let tried = tried.iter().any(|(k, part)| *k == kind.name && message.contains(part));
                assert!(tried, "no {} breaks {rule}: {message}", kind.name);
            }
        }
    }
}

fn collect(schema: &JSONSchemaProps, rules: &mut Vec<(String, String)>) {
    for rule in schema.x_kubernetes_validations.iter().flatten() {
        rules.push((rule.rule.clone(), rule.message.clone().expect("a message")));
    }
    schema.properties.iter().flatten().for_each(|(_, property)| collect(property, rules));
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
        collect(items, rules);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
        collect(values, rules);
    }
}
