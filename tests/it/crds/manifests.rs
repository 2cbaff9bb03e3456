//! Complete manifests: those of one kind together set every field of its spec.

use serde_json::{Value, json};

pub(super) fn all() -> Vec<Value> {
    let mut all = vec![
        aws_account(),
        fleet_report(),
        fleet_report_with(json!({"field": "moduleA", "oneOf": ["red-1.8.5", "red-1.8.6"]})),
        fleet_report_with(json!({"field": "app", "semver": ">=1.2.3"})),
        worker_fleet(),
        worker_fleet_with_parameter_store(1),
        worker_fleet_with_parameter_store(2),
        worker_fleet_with(json!({
            "ami": {"ssmParameter": "/ami/worker", "onChange": "Replace"},
            "subnets": {"tags": {"tier": "workers"}},
            "securityGroups": {"tags": {"app": "web"}},
            "userData": {"configMapKeyRef": {"name": "boot", "key": "script"}},
        })),
        worker_fleet_with(json!({
            "ami": {"selector": {"owners": ["self"], "name": "app-*", "description": "*", "tags": {"app": "web"}}},
            "launchTemplate": {"name": "web", "version": "$Latest", "onChange": "Keep"},
        })),
        worker_fleet_with(json!({"launchTemplate": {"id": "lt-0123456789abcdef0"}})),
    ];
    all.extend([
        launch_template_pin(json!({"id": "lt-0123456789abcdef0"})),
        launch_template_pin(json!({"name": "web"})),
        launch_template_pin(json!({"idFrom": {"ssmParameter": "/lt/web"}})),
    ]);
    let s3 = json!({"s3": {"bucket": "results", "prefix": "nightly"}});
    let fleets: Vec<_> = all.iter().filter(|manifest| manifest["kind"] == "WorkerFleet").cloned().collect();
    all.extend(fleets.iter().map(|fleet| worker_job(s3.clone(), fleet)));
    all.extend(fleets.first().map(|fleet| worker_job(json!({"shutdownReason": {}}), fleet)));
    all
}

/// The manifest that mistakes are applied to.
pub(super) fn first(kind: &str) -> Value {
    all().into_iter().find(|manifest| manifest["kind"] == kind).unwrap_or_else(|| panic!("there is no complete {kind}"))
}

fn aws_account() -> Value {
    json!({
        "apiVersion": "muster.dev/v1alpha1",
        "kind": "AwsAccount",
        "metadata": {"name": "whole"},
        "spec": {
            "roleARN": "arn:aws:iam::111111111111:role/muster",
            "externalID": "d3b07384",
            "regions": ["eu-west-1"],
            "suspend": true,
            "grants": [{
                "namespaces": {"names": ["ml"], "selector": {"matchLabels": {"team": "ml"}}},
                "kinds": ["WorkerFleet"],
                "instanceProfiles": ["worker"],
                "launchTemplates": ["web"],
                "subnets": ["subnet-00000001"],
                "securityGroups": ["sg-00000001"],
                "keyNames": ["ops"],
                "kmsKeys": ["alias/x"],
                "buckets": [{"name": "reports", "accountID": "222222222222", "prefix": "ml/", "uses": ["Reports"]}],
                "parameterPaths": ["/app"],
                "autoScalingGroups": ["web"],
                "topics": ["arn:aws:sns:eu-west-1:111111111111:ops"],
                "targetTags": {"team": "ml"},
            }],
        },
    })
}

fn launch_template_pin(launch_template: Value) -> Value {
    json!({
        "apiVersion": "muster.dev/v1alpha1",
        "kind": "LaunchTemplatePin",
        "metadata": {"name": "whole"},
        "spec": {
            "suspend": true,
            "aws": {"region": "eu-west-1", "accountRef": {"name": "default"}},
            "launchTemplate": launch_template,
            "ami": {
                "selector": {"owners": ["self"], "name": "web-*", "description": "*", "tags": {"app": "web"}},
                "minAge": "10m",
            },
            "rejectedAMIs": ["ami-0123456789abcdef0"],
            "setDefault": true,
            "retention": {"keepVersions": 3, "minAge": "24h", "versions": "All"},
            "autoScalingGroups": [{"name": "web", "version": "Pinned"}],
            "autoScalingGroupSelector": {"tags": {"app": "web"}, "version": "Pinned"},
            "refresh": {
                "enabled": true,
                "minHealthyPercentage": 90,
                "maxHealthyPercentage": 110,
                "instanceWarmup": "5m",
                "skipMatching": true,
                "bakeTime": "10m",
                "checkpoints": {"percentages": [20, 100], "delay": "1h"},
                "alarms": ["errors"],
                "autoRollback": true,
                "scaleInProtectedInstances": "Wait",
                "standbyInstances": "Ignore",
            },
            "window": {"schedule": "0 2 * * *", "timeZone": "Asia/Tokyo", "duration": "2h"},
            "approval": "Manual",
            "rollbackTo": 7,
            "notify": {"sns": {"topicARN": "arn:aws:sns:eu-west-1:111111111111:ops", "events": ["Failed"]}},
        },
    })
}

fn fleet_report() -> Value {
    json!({
        "apiVersion": "muster.dev/v1alpha1",
        "kind": "FleetReport",
        "metadata": {"name": "whole"},
        "spec": {
            "suspend": true,
            "sources": [{
                "name": "prod",
                "bucket": "app-report-bucket",
                "prefix": "prod/",
                "aws": {"region": "ap-northeast-1", "accountRef": {"name": "reports"}},
                "trust": "PerInstanceKey",
            }],
            "interval": "5m",
            "staleAfter": "2h",
            "limits": {"objectSize": "1Mi", "concurrency": 100},
            "timestamp": {"path": "$.update_date"},
            "identity": {"path": "$.instance_id"},
            "fields": [
                {"name": "app", "path": "$.app_version"},
                {"name": "moduleA", "path": "$.processes[*].module_A_filename"},
                {"name": "moduleB", "path": "$.processes[*].module_B_filename"},
            ],
            "groupBy": [{"name": "service", "path": "$.instance_name", "regex": "^([a-z]+_[a-z0-9]+)_"}],
            "expect": {
                "versions": [{"field": "app", "equals": "1.2.3"}],
                "instances": [{
                    "name": "core",
                    "aws": {"region": "ap-northeast-1", "accountRef": {"name": "reports"}},
                    "tags": {"app": "core"},
                    "gracePeriod": "15m",
                }],
            },
            "api": {"keySecretRefs": [{"name": "reader"}]},
        },
    })
}

/// With another kind of expected version.
fn fleet_report_with(expected: Value) -> Value {
    let mut manifest = fleet_report();
    manifest["spec"]["expect"]["versions"] = json!([expected]);
    manifest
}

/// With `fields` in place of other fields of the template.
fn worker_fleet_with(fields: Value) -> Value {
    let mut manifest = worker_fleet();
    let template = manifest["spec"]["template"].as_object_mut().expect("a template");
    template.extend(fields.as_object().expect("fields").clone());
    manifest["spec"]["roles"][0]["userData"] = json!({"configMapKeyRef": {"name": "boot", "key": "leader"}});
    manifest
}

fn worker_fleet() -> Value {
    json!({
        "apiVersion": "muster.dev/v1alpha1",
        "kind": "WorkerFleet",
        "metadata": {"name": "whole"},
        "spec": {
            "replicas": 3,
            "suspend": true,
            "aws": {"region": "eu-west-1", "accountRef": {"name": "default"}},
            "template": {
                "ami": {"id": "ami-0123456789abcdef0"},
                "instanceTypes": ["m6i.large", "m5.large"],
                "capacityType": "Spot",
                "keyName": "ops",
                "instanceProfile": "worker",
                "subnets": {"ids": ["subnet-0123456789abcdef0"]},
                "placement": "Spread",
                "securityGroups": {"ids": ["sg-0123456789abcdef0"]},
                "associatePublicIPAddress": false,
                "blockDeviceMappings": [{
                    "deviceName": "/dev/xvda",
                    "ebs": {
                        "volumeSize": "100Gi",
                        "volumeType": "gp3",
                        "encrypted": true,
                        "kmsKeyID": "alias/workers",
                        "iops": 3000,
                        "throughput": 125,
                        "deleteOnTermination": true,
                    },
                }],
                "metadataOptions": {
                    "httpTokens": "required",
                    "httpPutResponseHopLimit": 1,
                    "instanceMetadataTags": "enabled",
                },
                "userData": {"inline": "#!/bin/sh\n"},
                "tags": {"team": "ml"},
            },
            "parameters": {
                "store": {"s3": {"bucket": "my-parameters", "prefix": "prod/app"}},
                "values": [
                    {"name": "model", "value": "red-1.8.5"},
                    {"name": "dbPassword", "secure": true, "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
                    {"name": "region", "valueFrom": {"configMapKeyRef": {"name": "app", "key": "region"}}},
                ],
                "onChange": "Replace",
            },
            "readiness": {"check": "StatusChecks"},
            "metrics": {"cpu": {"period": "5m"}},
            "roles": [{
                "name": "leader",
                "replicas": 1,
                "userData": {"inline": "#!/bin/sh\n"},
                "instanceTypes": ["m6i.xlarge"],
                "parameters": [
                    {"name": "model", "value": "red-1.9"},
                    {"name": "dbPassword", "secure": true, "valueFrom": {"secretKeyRef": {"name": "db", "key": "leader"}}},
                    {"name": "region", "valueFrom": {"configMapKeyRef": {"name": "app", "key": "region"}}},
                ],
            }],
            "update": {"maxSurge": "25%", "maxUnavailable": 0, "minReadySeconds": 60, "progressDeadlineSeconds": 1800},
            "readiness": {"check": "Report", "reportRef": {"name": "prod"}, "startupDeadline": "15m"},
            "maxReplacementsPerHour": 100,
            "maxUnhealthy": "20%",
            "adopt": {"instanceIDs": ["i-0123456789abcdef0"]},
            "scaleDownPolicy": "Newest",
            "onStopped": "Ignore",
            "deletionPolicy": "Retain",
            "revisionHistoryLimit": 5,
        },
    })
}

/// With Parameter Store, and one of the sources of a value.
fn worker_fleet_with_parameter_store(value: usize) -> Value {
    let mut manifest = worker_fleet();
    let parameters = &mut manifest["spec"]["parameters"];
    parameters["store"] = json!({"parameterStore": {"path": "/app/prod", "kmsKeyID": "alias/parameters"}});
    parameters["values"] = json!([parameters["values"][value]]);
    let roles = &mut manifest["spec"]["roles"];
    roles[0]["parameters"] = json!([roles[0]["parameters"][value]]);
    manifest
}

/// With the template and the parameters of a fleet.
fn worker_job(result: Value, fleet: &Value) -> Value {
    let mut template = fleet["spec"]["template"].clone();
    if result.get("shutdownReason").is_some() {
        template["capacityType"] = json!("OnDemand");
    }
    let mut parameters = fleet["spec"]["parameters"].clone();
    for place in ["/ami/onChange", "/launchTemplate/onChange"] {
        template.pointer_mut(place).into_iter().for_each(|on_change| *on_change = json!("Keep"));
    }
    parameters.pointer_mut("/onChange").into_iter().for_each(|on_change| *on_change = json!("Keep"));
    json!({
        "apiVersion": "muster.dev/v1alpha1",
        "kind": "WorkerJob",
        "metadata": {"name": "whole"},
        "spec": {
            "completions": 10,
            "parallelism": 5,
            "backoffLimitPerIndex": 1,
            "maxFailedIndexes": 2,
            "activeDeadlineSeconds": 7200,
            "ttlSecondsAfterFinished": 600,
            "result": result,
            "suspend": true,
            "aws": {"region": "eu-west-1", "accountRef": {"name": "default"}},
            "template": template,
            "parameters": parameters,
        },
    })
}
