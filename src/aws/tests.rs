//! The adapters against an AWS on loopback: what the SDKs write and read is what AWS's own models say.

use std::{collections::BTreeMap, time::Duration};

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use muster_sandbox::{ParameterKind, Sandbox, SandboxConfig};

use super::{cloudwatch::CloudWatch, ssm::*, *};
use crate::{
    clock::Clock,
    ids::{InstanceId, ParameterName},
    workers::cpu::Period,
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
    let tags = BTreeMap::from([("muster.dev:fleet-uid".to_owned(), "u-1".to_owned())]);
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
    let tagged = ssm.names_by_tags(&BTreeMap::from([("muster.dev:fleet-uid".into(), "u-1".into())])).await.unwrap();
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
