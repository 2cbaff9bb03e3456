//! Tests of the adapters against an AWS sandbox on loopback.

use std::{collections::BTreeMap, time::Duration};

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use muster_sandbox::{AMAZON_LINUX_X86_64, CallQuery, Fault, FaultAction, ParameterKind, Sandbox, SandboxConfig};

use super::*;
use crate::{
    aws::{cloudwatch::CloudWatch, cpu_samples::Period, ssm::*},
    clock::Clock,
    ids::{InstanceId, ParameterName},
};

const ACCOUNT: &str = "111111111111";
const REGION: &str = "eu-west-1";

async fn sandbox(throttling: bool) -> (Sandbox, Session) {
    let sandbox = Sandbox::start(SandboxConfig { throttling, ..SandboxConfig::default() }).await.unwrap();
    let keys = Credentials::new(format!("AKIASANDBOX{ACCOUNT}"), "any", None, None, "test");
    let connection = Connection {
        endpoint_url: Some(sandbox.endpoint()),
        http_client: None,
        credentials: Some(SharedCredentialsProvider::new(keys)),
    };
    let aws = Aws::connect(connection, &Timings::default(), Arc::default()).await;
    let (account, region) = (AccountId::try_from(ACCOUNT).unwrap(), Region::try_from(REGION).unwrap());
    (sandbox, aws.session(account, region, None).await)
}

fn error(code: &str, message: Option<&str>, status: Option<u16>) -> FaultAction {
    FaultAction::Error { code: code.into(), message: message.map(Into::into), status }
}

fn name(text: &str) -> ParameterName {
    ParameterName::try_from(text).unwrap()
}

fn wanted(path: &str, value: &str, protection: Protection) -> WantedParameter {
    WantedParameter { name: name(path), value: ParameterValue::new(value), protection }
}

#[tokio::test]
async fn parameters_are_created_compared_changed_and_removed() {
    let (sandbox, session) = sandbox(false).await;
    let ssm = Ssm::new(&session);
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
    let (sandbox, session) = sandbox(false).await;
    let names: Vec<_> = (0..23).map(|n| name(&format!("/app/p{n:02}"))).collect();
    let other = aws_sdk_ssm::Client::new(session.sdk());
    for name in &names {
        let call = other.put_parameter().name(name.as_str()).value("v");
        call.r#type(aws_sdk_ssm::types::ParameterType::String).send().await.unwrap();
    }
    let ssm = Ssm::new(&session);
    assert_eq!(ssm.get_parameters(&names).await.unwrap().len(), 23);
    assert_eq!(ssm.existing(&names).await.unwrap().len(), 23);
    assert_eq!(sandbox.call_counts(&CallQuery::default())["ssm:GetParameters"], 6);
}

#[tokio::test]
async fn more_writes_than_the_rate_allows_wait_for_their_turn() {
    let (sandbox, session) = sandbox(true).await;
    let ssm = Ssm::new(&session);
    for n in 0..6 {
        let parameter = wanted(&format!("/app/p{n}"), "v", Protection::Plain);
        assert_eq!(ssm.create(&parameter, &BTreeMap::new()).await, Ok(1));
    }
    assert_eq!(sandbox.throttled(), BTreeMap::new());
}

async fn launch(session: &Session, zone: &str, count: i32) -> Vec<InstanceId> {
    let client = aws_sdk_ec2::Client::new(session.sdk());
    let place = aws_sdk_ec2::types::Placement::builder().availability_zone(format!("{REGION}{zone}")).build();
    let call = client.run_instances().image_id(AMAZON_LINUX_X86_64).placement(place);
    let call = call.instance_type(aws_sdk_ec2::types::InstanceType::T3Micro).min_count(count).max_count(count);
    let launched = call.send().await.unwrap();
    launched.instances().iter().map(|i| InstanceId::try_from(i.instance_id().unwrap()).unwrap()).collect()
}

fn not_found(message: &str) -> FaultAction {
    error("InvalidInstanceID.NotFound", Some(message), Some(400))
}

#[tokio::test]
async fn unknown_instance_ids_cost_one_further_call_regardless_of_their_number() {
    let (sandbox, session) = sandbox(false).await;
    let ec2 = ec2::Ec2::new(&session);
    let (hidden, shown) = (launch(&session, "a", 130).await, launch(&session, "b", 20).await);
    sandbox.set_zone_dark(&ACCOUNT.parse().unwrap(), REGION, &format!("{REGION}a"), true);
    let all: Vec<_> = hidden.iter().chain(&shown).cloned().collect();
    let described = ec2.describe_by_id(&all).await.unwrap();
    let all_known =
        |of: &[InstanceId], known| of.iter().all(|id| described.get(id).is_some_and(|d| d.is_some() == known));
    assert!(described.len() == 150 && all_known(&hidden, false) && all_known(&shown, true), "{described:?}");
    let calls = || sandbox.call_counts(&CallQuery::default())["ec2:DescribeInstances"];
    assert_eq!(calls(), 3, "one for a hundred that are all unknown, two for the rest");

    sandbox.add_fault(Fault::once("ec2", "DescribeInstances", not_found("some of these do not exist")));
    let described = ec2.describe_by_id(&[hidden[0].clone(), shown[0].clone()]).await.unwrap();
    assert!(described[&hidden[0]].is_none() && described[&shown[0]].is_some());
    assert_eq!(calls(), 6, "the refused one, and one for each half");
    assert!(ec2.describe_by_id(&[]).await.unwrap().is_empty());
    assert_eq!(calls(), 6);
}

#[tokio::test]
async fn an_instance_that_was_not_asked_for_is_not_reported_as_missing() {
    let (sandbox, session) = sandbox(true).await;
    let ec2 = ec2::Ec2::new(&session);
    for operation in ["DescribeInstances", "DescribeInstanceStatus"] {
        let spurious = not_found("The instance ID 'i-6381a3fa' does not exist");
        sandbox.add_fault(Fault::once("ec2", operation, spurious));
    }
    let (swept, checked) = (ec2.sweep("c").await.unwrap_err(), ec2.status_checks().await.unwrap_err());
    for error in [swept, checked] {
        assert_eq!((error.class, error.code.as_str()), (Class::Transient, "InvalidInstanceID.NotFound"));
    }
}

#[tokio::test]
async fn an_existing_object_is_told_and_not_changed_and_a_conflict_is_an_error() {
    let (sandbox, session) = sandbox(true).await;
    sandbox.s3().ensure_bucket(ACCOUNT, REGION, "values").unwrap();
    let s3 = s3::S3::new(&session, session.account.clone(), Duration::from_secs(30));
    sandbox.add_fault(Fault::once("s3", "PutObject", error("ConditionalRequestConflict", None, Some(409))));
    assert_eq!(s3.put_new("values", "k", "{}".into()).await.unwrap_err().class, Class::Conflict);
    assert!(sandbox.s3().get("values", "k").is_err());
    let content = || match sandbox.s3().get("values", "k").unwrap().content {
        muster_sandbox::Content::Bytes(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        muster_sandbox::Content::Generated { .. } => panic!("nobody generates it"),
    };
    for (json, expected) in [("1", s3::Put::Created), ("2", s3::Put::Exists)] {
        assert_eq!(s3.put_new("values", "k", json.into()).await, Ok(expected));
        assert_eq!(content(), "1");
    }
    s3.put("values", "k", "3".into()).await.unwrap();
    assert_eq!(content(), "3");
}

#[tokio::test]
async fn a_read_waits_for_the_rate_limit_and_a_long_wait_has_a_constant_message() {
    let (_sandbox, session) = sandbox(true).await;
    let _all = session.limits.take(&session.account, &session.region, Bucket::Describe, 100).unwrap();
    let turn = |patience| session.turn("ec2:DescribeImages", 1, Clock.monotonic() + patience);
    let refused = turn(Duration::ZERO).await.unwrap_err();
    assert_eq!(turn(Duration::from_millis(1)).await.unwrap_err(), refused);
    assert_eq!(refused.class, Class::Throttled);
    assert!(turn(LONGEST_WAIT).await.is_ok());
}

#[tokio::test]
async fn an_image_id_is_read_from_a_parameter() {
    let (_sandbox, session) = sandbox(true).await;
    let ssm = Ssm::new(&session);
    let public = name("/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64");
    assert_eq!(ssm.get_parameter(&public, false).await.unwrap().expose(), AMAZON_LINUX_X86_64);
    assert_eq!(ssm.get_parameter(&name("/none"), true).await.unwrap_err().class, Class::NotFound);
}

#[tokio::test]
async fn cpu_is_that_of_the_newest_complete_period_and_unknown_values_are_omitted() {
    let (sandbox, session) = sandbox(false).await;
    let ids = launch(&session, "a", 501).await;
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
    assert_eq!(sandbox.call_counts(&CallQuery::default())["cloudwatch:GetMetricData"], 2);

    sandbox.add_fault(Fault::always("cloudwatch", "GetMetricData", error("AccessDenied", None, None)));
    let refused = cloudwatch.cpu(&wanted, now).await.unwrap_err();
    assert_eq!((refused.class, refused.code.as_str()), (Class::Denied, "AccessDenied"));
}
