//! Tests of the adapters against an AWS sandbox on loopback.

use std::{collections::BTreeMap, time::Duration};

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use muster_sandbox::{ParameterKind, Sandbox, SandboxConfig};

use super::*;
use crate::{
    aws::{cloudwatch::CloudWatch, cpu_samples::Period, ssm::*},
    clock::Clock,
    ids::{InstanceId, ParameterName},
};

const ACCOUNT: &str = "111111111111";
const REGION: &str = "eu-west-1";

async fn session(sandbox: &Sandbox) -> Session {
    let keys = Credentials::new(format!("AKIASANDBOX{ACCOUNT}"), "any", None, None, "test");
    let connection = Connection {
        endpoint_url: Some(sandbox.endpoint()),
        http_client: None,
        credentials: Some(SharedCredentialsProvider::new(keys)),
    };
    let aws = Aws::connect(connection, &Timings::default(), Arc::default()).await;
    aws.session(AccountId::try_from(ACCOUNT).unwrap(), Region::try_from(REGION).unwrap(), None).await
}

fn name(text: &str) -> ParameterName {
    ParameterName::try_from(text).unwrap()
}

fn wanted(path: &str, value: &str, protection: Protection) -> WantedParameter {
    WantedParameter { name: name(path), value: ParameterValue::new(value), protection }
}

#[tokio::test]
async fn parameters_are_made_compared_changed_and_removed() {
    let sandbox = Sandbox::start(SandboxConfig { throttling: false, ..SandboxConfig::default() }).await.unwrap();
    let ssm = Ssm::new(&session(&sandbox).await);
    let tags = BTreeMap::from([("muster.dev:owner-uid".to_owned(), "u-1".to_owned())]);
    let secret = wanted("/app/password", "hunter2", Protection::Encrypted { kms_key_id: Some("alias/mine".into()) });
    assert_eq!(ssm.create(&secret, &tags).await, Ok(1));
    let again = ssm.create(&secret, &tags).await.unwrap_err();
    assert_eq!((again.class, again.code.as_str()), (Class::Conflict, "ParameterAlreadyExists"));
    assert_eq!(ssm.create(&wanted("/app/model", "red", Protection::Plain), &BTreeMap::new()).await, Ok(1));
    assert_eq!(ssm.overwrite(&wanted("/app/model", "blue", Protection::Plain)).await, Ok(2));

    let found = ssm.get_parameters(&[name("/app/password"), name("/app/model"), name("/app/none")]).await.unwrap();
    let shown: Vec<_> = found.iter().map(|(n, p)| (n.as_str(), p.value.expose(), p.encrypted, p.version)).collect();
    assert_eq!(shown, [("/app/model", "blue", false, 2), ("/app/password", "hunter2", true, 1)]);
    let kept = sandbox.parameter(&ACCOUNT.parse().unwrap(), REGION, "/app/password").unwrap();
    let latest = kept.latest().unwrap();
    assert_eq!((latest.kind, latest.key_id.as_deref()), (ParameterKind::SecureString, Some("alias/mine")));

    assert_eq!(ssm.list_tags(&name("/app/password")).await, Ok(tags.clone()));
    let more = BTreeMap::from([("team".to_owned(), "ml".to_owned())]);
    assert_eq!(ssm.add_tags(&name("/app/password"), &more).await, Ok(()));
    assert_eq!(ssm.list_tags(&name("/app/password")).await.unwrap().len(), 2);
    assert_eq!(ssm.list_tags(&name("/app/none")).await.unwrap_err().class, Class::NotFound);
    let tagged = ssm.names_by_tags(&BTreeMap::from([("muster.dev:owner-uid".into(), "u-1".into())])).await.unwrap();
    assert_eq!(tagged.into_iter().collect::<Vec<_>>(), [name("/app/password")]);

    ssm.delete(&[name("/app/password"), name("/app/none")]).await.unwrap();
    let left = ssm.existing(&[name("/app/password"), name("/app/model")]).await.unwrap();
    assert_eq!(left.into_iter().collect::<Vec<_>>(), [name("/app/model")]);
}

#[tokio::test]
async fn parameters_go_in_batches_of_ten() {
    let sandbox = Sandbox::start(SandboxConfig { throttling: false, ..SandboxConfig::default() }).await.unwrap();
    let session = session(&sandbox).await;
    let names: Vec<_> = (0..23).map(|n| name(&format!("/app/p{n:02}"))).collect();
    let other = aws_sdk_ssm::Client::new(session.sdk());
    for name in &names {
        let call = other.put_parameter().name(name.as_str()).value("v");
        call.r#type(aws_sdk_ssm::types::ParameterType::String).send().await.unwrap();
    }
    let ssm = Ssm::new(&session);
    assert_eq!(ssm.get_parameters(&names).await.unwrap().len(), 23);
    assert_eq!(ssm.existing(&names).await.unwrap().len(), 23);
    let counts = sandbox.call_counts(&muster_sandbox::CallQuery::default());
    assert_eq!(counts["ssm:GetParameters"], 6);
}

#[tokio::test]
async fn more_writes_than_the_rate_allows_wait_for_their_turn() {
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    let ssm = Ssm::new(&session(&sandbox).await);
    for n in 0..6 {
        let parameter = wanted(&format!("/app/p{n}"), "v", Protection::Plain);
        assert_eq!(ssm.create(&parameter, &BTreeMap::new()).await, Ok(1));
    }
    assert_eq!(sandbox.throttled(), BTreeMap::new());
}

async fn launch(session: &Session, zone: &str, count: i32) -> Vec<InstanceId> {
    let client = aws_sdk_ec2::Client::new(session.sdk());
    let place = aws_sdk_ec2::types::Placement::builder().availability_zone(format!("{REGION}{zone}")).build();
    let call = client.run_instances().image_id(muster_sandbox::AMAZON_LINUX_X86_64).placement(place);
    let call = call.instance_type(aws_sdk_ec2::types::InstanceType::T3Micro).min_count(count).max_count(count);
    let launched = call.send().await.unwrap();
    launched.instances().iter().map(|i| InstanceId::try_from(i.instance_id().unwrap()).unwrap()).collect()
}

fn not_found(message: &str) -> muster_sandbox::FaultAction {
    let code = "InvalidInstanceID.NotFound".into();
    muster_sandbox::FaultAction::Error { code, message: Some(message.into()), status: Some(400) }
}

#[tokio::test]
async fn ids_that_ec2_does_not_know_cost_one_call_more_however_many_they_are() {
    let sandbox = Sandbox::start(SandboxConfig { throttling: false, ..SandboxConfig::default() }).await.unwrap();
    let session = session(&sandbox).await;
    let ec2 = ec2::Ec2::new(&session);
    let (hidden, shown) = (launch(&session, "a", 130).await, launch(&session, "b", 20).await);
    sandbox.set_zone_dark(&ACCOUNT.parse().unwrap(), REGION, &format!("{REGION}a"), true);
    let all: Vec<_> = hidden.iter().chain(&shown).cloned().collect();
    let described = ec2.describe_by_id(&all).await.unwrap();
    let all_known =
        |of: &[InstanceId], known| of.iter().all(|id| described.get(id).is_some_and(|d| d.is_some() == known));
    assert!(described.len() == 150 && all_known(&hidden, false) && all_known(&shown, true), "{described:?}");
    let calls = || sandbox.call_counts(&muster_sandbox::CallQuery::default())["ec2:DescribeInstances"];
    assert_eq!(calls(), 3, "one for a hundred that are all unknown, two for the rest");

    let unnamed = not_found("some of these do not exist");
    sandbox.add_fault(muster_sandbox::Fault::once("ec2", "DescribeInstances", unnamed));
    let described = ec2.describe_by_id(&[hidden[0].clone(), shown[0].clone()]).await.unwrap();
    assert!(described[&hidden[0]].is_none() && described[&shown[0]].is_some());
    assert_eq!(calls(), 6, "the refused one, and one for each half");
    assert!(ec2.describe_by_id(&[]).await.unwrap().is_empty());
    assert_eq!(calls(), 6);
}

#[tokio::test]
async fn what_nobody_named_cannot_be_missing() {
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    let ec2 = ec2::Ec2::new(&session(&sandbox).await);
    for operation in ["DescribeInstances", "DescribeInstanceStatus"] {
        let spurious = not_found("The instance ID 'i-6381a3fa' does not exist");
        sandbox.add_fault(muster_sandbox::Fault::once("ec2", operation, spurious));
    }
    let (swept, checked) = (ec2.sweep("c").await.unwrap_err(), ec2.status_checks().await.unwrap_err());
    for error in [swept, checked] {
        assert_eq!((error.class, error.code.as_str()), (Class::Transient, "InvalidInstanceID.NotFound"));
    }
}

#[tokio::test]
async fn a_document_that_is_there_is_as_good_as_written_and_a_conflict_is_not() {
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    sandbox.s3().ensure_bucket(ACCOUNT, REGION, "values").unwrap();
    let s3 = s3::S3::new(&session(&sandbox).await, Duration::from_secs(30));
    let code = "ConditionalRequestConflict".into();
    let conflict = muster_sandbox::FaultAction::Error { code, message: None, status: Some(409) };
    sandbox.add_fault(muster_sandbox::Fault::once("s3", "PutObject", conflict));
    assert_eq!(s3.put_new("values", "k", "{}".into()).await.unwrap_err().class, Class::Conflict);
    assert!(sandbox.s3().get("values", "k").is_err());
    for _ in 0..2 {
        assert_eq!(s3.put_new("values", "k", "{}".into()).await, Ok(()));
    }
    assert!(sandbox.s3().get("values", "k").is_ok());
}

#[tokio::test]
async fn a_read_waits_for_its_turn_and_what_is_told_of_a_long_wait_is_always_the_same() {
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    let session = session(&sandbox).await;
    let _all = session.limits.take(&session.account, &session.region, Bucket::Describe, 100).unwrap();
    let turn = |patience| session.turn("ec2:DescribeImages", 1, Clock.monotonic() + patience);
    let refused = turn(Duration::ZERO).await.unwrap_err();
    assert_eq!(turn(Duration::from_millis(1)).await.unwrap_err(), refused);
    assert_eq!(refused.class, Class::Throttled);
    assert!(turn(LONGEST_WAIT).await.is_ok());
}

#[tokio::test]
async fn an_image_is_named_by_a_parameter() {
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    let ssm = Ssm::new(&session(&sandbox).await);
    let public = name("/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64");
    assert_eq!(ssm.get_parameter(&public).await.unwrap().expose(), muster_sandbox::AMAZON_LINUX_X86_64);
    assert_eq!(ssm.get_parameter(&name("/none")).await.unwrap_err().class, Class::NotFound);
}

#[tokio::test]
async fn cpu_is_the_newest_whole_period_and_what_is_unknown_is_left_out() {
    let sandbox = Sandbox::start(SandboxConfig { throttling: false, ..SandboxConfig::default() }).await.unwrap();
    let session = session(&sandbox).await;
    let client = aws_sdk_ec2::Client::new(session.sdk());
    let launch = client.run_instances().image_id(muster_sandbox::AMAZON_LINUX_X86_64).min_count(501).max_count(501);
    let launched = launch.instance_type(aws_sdk_ec2::types::InstanceType::T3Micro).send().await.unwrap();
    let ids: Vec<_> =
        launched.instances().iter().map(|i| InstanceId::try_from(i.instance_id().unwrap()).unwrap()).collect();
    let now = Clock.now();
    for (id, percent) in [(&ids[0], 40.0), (&ids[500], 0.0)] {
        sandbox.set_cpu(id.as_str(), Some(percent), Some(now - Duration::from_secs(3600))).unwrap();
    }
    let cloudwatch = CloudWatch::new(&session);
    let period = Period::try_from(Duration::from_secs(300)).unwrap();
    let wanted = ids.iter().map(|id| (id.clone(), period)).collect();
    let found = cloudwatch.cpu(&wanted, now).await.unwrap();
    let expected = BTreeMap::from([(ids[0].clone(), 40.0), (ids[500].clone(), 0.0)]);
    assert_eq!(found.iter().map(|(id, sample)| (id.clone(), sample.percent)).collect::<BTreeMap<_, _>>(), expected);
    for sample in found.values() {
        assert!(sample.at <= now && sample.at > now - period.duration(), "{sample:?} is not of the newest period");
    }
    assert_eq!(sandbox.call_counts(&muster_sandbox::CallQuery::default())["cloudwatch:GetMetricData"], 2);

    let denied = muster_sandbox::FaultAction::Error { code: "AccessDenied".into(), message: None, status: None };
    sandbox.add_fault(muster_sandbox::Fault::always("cloudwatch", "GetMetricData", denied));
    let refused = cloudwatch.cpu(&wanted, now).await.unwrap_err();
    assert_eq!((refused.class, refused.code.as_str()), (Class::Denied, "AccessDenied"));
}
