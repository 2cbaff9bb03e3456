//! Two AwsAccounts of one AWS account, each with a role of its own: neither sees what only the other may see.

use kube::ResourceExt;
use muster::crd::{fleet_report::FleetReport, worker_fleet::WorkerFleet};
use muster_sandbox::{AMAZON_LINUX_X86_64, Call, CallQuery, RoleSpec, SandboxConfig};
use serde_json::{Value, json};

use crate::support::{
    fleet::{ready, spec, status, wait_settled, with},
    scene::{PATIENCE, REGION, Scene, condition},
};

/// The names of AwsAccounts with the same grants: the role of the second is denied some actions.
struct Roles {
    wide: String,
    narrow: String,
}

async fn roles(scene: &Scene, denied: &[&str]) -> Roles {
    let account = async |name: &str, denied: &[&str]| {
        let denied_actions = denied.iter().map(|action| (*action).to_owned()).collect();
        let role = RoleSpec { denied_actions, ..RoleSpec::new(&scene.account, name) };
        let name = format!("{}-{name}", scene.namespace);
        let spec = json!({"roleARN": role.arn(), "regions": [REGION], "grants": [scene.full_grant()]});
        scene.sandbox.put_role(role);
        scene.create_account_named(&name, spec).await;
        name
    };
    Roles { wide: account("wide", &[]).await, narrow: account("narrow", denied).await }
}

fn of(account: &str, spec: Value) -> Value {
    with(spec, json!({"aws": {"accountRef": {"name": account}}}))
}

async fn denied(scene: &Scene, name: &str, type_: &str, action: &str) {
    let is_denied = |fleet: &WorkerFleet| {
        condition(&status(fleet).common.conditions, type_)
            .is_some_and(|(_, reason, message)| reason == "AwsDenied" && message.contains(action))
    };
    scene.wait::<WorkerFleet>(name, "the denial", is_denied).await;
}

/// Waits until the narrow role was refused a few times more. A new object asks anew, but an object at rest is satisfied
/// with a cached answer; the answers to the other role are newer all the time.
async fn refused_again_and_again(scene: &Scene, service: &str, operation: &str) {
    let last = scene.sandbox.calls(&CallQuery::default()).last().map_or(0, |call| call.number);
    let query = CallQuery { after: Some(last), ..CallQuery::operation(service, operation) };
    let is_narrow = |call: &&Call| call.principal_arn.as_ref().is_some_and(|arn| arn.contains("/narrow/"));
    let refused = scene.sandbox.wait_for_calls(&query, |calls| calls.iter().filter(is_narrow).count() >= 3);
    let refused = tokio::time::timeout(PATIENCE, refused).await;
    assert!(refused.is_ok(), "it is satisfied with the answers to another role");
}

#[tokio::test]
async fn a_lookup_of_one_role_does_not_answer_for_a_role_that_is_denied_it() {
    let scene = Scene::without_account(SandboxConfig::default()).await;
    let roles = roles(&scene, &["ssm:GetParameter"]).await;
    scene.sandbox.put_public_parameter(REGION, "/aws/service/app/latest", AMAZON_LINUX_X86_64);
    let _controller = scene.start().await;
    let mut by_parameter = spec(&scene, 1, json!({}));
    by_parameter["template"]["ami"] = json!({"ssmParameter": "/aws/service/app/latest"});
    scene.create::<WorkerFleet>("wide", of(&roles.wide, by_parameter.clone())).await;
    wait_settled(&scene, "wide", 1).await;
    scene.create::<WorkerFleet>("narrow", of(&roles.narrow, by_parameter)).await;
    denied(&scene, "narrow", "AmiResolved", "ssm:GetParameter").await;
    refused_again_and_again(&scene, "ssm", "GetParameter").await;
    denied(&scene, "narrow", "AmiResolved", "ssm:GetParameter").await;
}

#[tokio::test]
async fn a_sweep_of_one_role_does_not_answer_for_a_role_that_is_denied_it() {
    let scene = Scene::without_account(SandboxConfig::default()).await;
    let roles = roles(&scene, &["ec2:DescribeInstances"]).await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("wide", of(&roles.wide, spec(&scene, 1, json!({})))).await;
    wait_settled(&scene, "wide", 1).await;
    scene.create::<WorkerFleet>("narrow", of(&roles.narrow, spec(&scene, 1, json!({})))).await;
    denied(&scene, "narrow", "Ready", "ec2:DescribeInstances").await;
    refused_again_and_again(&scene, "ec2", "DescribeInstances").await;
    // The denial of the other role changes nothing for this one.
    let wide = wait_settled(&scene, "wide", 1).await;
    assert_eq!(ready(&wide).unwrap().0, "True");
    let role = |call: &str| {
        let calls = scene.sandbox.calls(&CallQuery::operation("ec2", call));
        calls.into_iter().filter_map(|call| call.principal_arn).collect::<std::collections::BTreeSet<_>>()
    };
    let session = |role: &str, name: &str| format!("arn:aws:sts::{}:assumed-role/{role}/{name}", scene.account);
    // A call for several namespaces is of no namespace's session.
    assert!(role("DescribeInstances").contains(&session("wide", "muster.sweep")), "{:?}", role("DescribeInstances"));
    let own = session("wide", &format!("muster-{}", wide.namespace().unwrap()));
    assert_eq!(role("RunInstances").into_iter().collect::<Vec<_>>(), [own]);
}

#[tokio::test]
async fn cpu_samples_of_one_role_are_not_shown_to_a_role_that_is_denied_them() {
    let scene = Scene::without_account(SandboxConfig::default()).await;
    let roles = roles(&scene, &["cloudwatch:*"]).await;
    let _controller = scene.start().await;
    let measured = with(spec(&scene, 1, json!({})), json!({"metrics": {"cpu": {"period": "5m"}}}));
    scene.create::<WorkerFleet>("wide", of(&roles.wide, measured.clone())).await;
    scene.create::<WorkerFleet>("narrow", of(&roles.narrow, measured)).await;
    denied(&scene, "narrow", "CpuUnknown", "cloudwatch:GetMetricData").await;
    for worker in status(&wait_settled(&scene, "wide", 1).await).instances {
        let since = scene.sandbox.now() - jiff::SignedDuration::from_hours(1);
        scene.sandbox.set_cpu(worker.id.as_str(), Some(40.0), Some(since)).unwrap();
    }
    let shown = |fleet: &WorkerFleet| status(fleet).cpu.is_some_and(|cpu| cpu.average_percent == 40);
    scene.wait::<WorkerFleet>("wide", "CPU", shown).await;
    denied(&scene, "narrow", "CpuUnknown", "cloudwatch:GetMetricData").await;
}

#[tokio::test]
async fn reports_that_one_role_collects_are_not_shown_to_a_role_that_is_denied_them() {
    let scene = Scene::without_account(SandboxConfig::default()).await;
    let roles = roles(&scene, &["s3:GetObject"]).await;
    let s3 = scene.sandbox.s3();
    s3.ensure_bucket(scene.account.as_str(), REGION, "reports").unwrap();
    s3.put("reports", "i-00000000000000001.json", json!({"app": "1.0.0-wide"}).to_string()).unwrap();
    let _controller = scene.start().await;
    let collects = |account: &str| {
        json!({
            "sources": [{"name": "all", "bucket": "reports", "aws": with(scene.aws(), json!({"accountRef": {"name": account}}))}],
            "interval": "1s",
            "fields": [{"name": "app", "path": "$.app"}],
        })
    };
    let collected = |report: &FleetReport, truth: &str| {
        let conditions = report.status.clone().unwrap_or_default().common.conditions;
        condition(&conditions, "Collected").is_some_and(|(found, ..)| found == truth)
    };
    scene.create::<FleetReport>("wide", collects(&roles.wide)).await;
    scene.wait::<FleetReport>("wide", "collected", |report| collected(report, "True")).await;
    scene.create::<FleetReport>("narrow", collects(&roles.narrow)).await;
    scene.wait::<FleetReport>("narrow", "not collected", |report| collected(report, "False")).await;
    refused_again_and_again(&scene, "s3", "GetObject").await;
    let narrow = scene.wait::<FleetReport>("narrow", "not collected", |report| collected(report, "False")).await;
    let shown = serde_json::to_string(&narrow.status).unwrap();
    assert!(shown.contains("s3:GetObject") && !shown.contains("1.0.0-wide"), "{shown}");
}
