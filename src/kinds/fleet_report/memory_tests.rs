//! What FleetReports hold in memory, against the S3 of a sandbox on loopback. The budget's own accounting is asserted.

use std::{sync::Arc, time::Duration};

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use bytes::Bytes;
use muster_sandbox::{CallQuery, Fault, FaultAction, Sandbox, SandboxConfig};
use serde_json::json;

use crate::{
    aws::{Aws, Connection, Session},
    clock::{Clock, Timings},
    config::ReportLimits,
    crd::fleet_report::Trust,
    ids::{AccountId, Region, Uid},
    kinds::fleet_report::{
        aggregate::{aggregate, newest},
        collector::{Latest, Request, SourcePlace},
        desired::Desired,
        readers::{Collectors, Reader},
        view::View,
    },
};

const ACCOUNT: &str = "111111111111";
const REGION: &str = "eu-west-1";
const BUCKET: &str = "reports";
const LIMITS: ReportLimits = ReportLimits { bytes: 192 << 20, objects: 250_000 };

struct Setup {
    sandbox: Sandbox,
    session: Session,
    collectors: Collectors,
}

impl Setup {
    async fn new(limits: ReportLimits) -> Self {
        let sandbox = Sandbox::start(SandboxConfig { throttling: false, ..SandboxConfig::default() }).await.unwrap();
        let keys = Credentials::new(format!("AKIASANDBOX{ACCOUNT}"), "any", None, None, "test");
        let connection = Connection {
            endpoint_url: Some(sandbox.endpoint()),
            http_client: None,
            credentials: Some(SharedCredentialsProvider::new(keys)),
        };
        let aws = Aws::connect(connection, &Timings::default(), Arc::default()).await;
        let (account, region) = (AccountId::try_from(ACCOUNT).unwrap(), Region::try_from(REGION).unwrap());
        sandbox.s3().ensure_bucket(ACCOUNT, REGION, BUCKET).unwrap();
        Self { sandbox, session: aws.session(account, region, None).await, collectors: Collectors::new(limits) }
    }

    fn reader(&self, namespace: &str, uid: u32) -> Reader {
        Reader::new(
            &self.collectors,
            namespace,
            &Uid::try_from(format!("{uid:08}-0000-4000-8000-000000000000")).unwrap(),
        )
    }

    async fn collect(&self, reader: &Reader, prefixes: &[&str]) -> Vec<Latest> {
        let place = |prefix: &&str| SourcePlace {
            aws_account: "default".into(),
            identity: self.session.identity(),
            region: self.session.region.clone(),
            bucket: BUCKET.into(),
            prefix: (*prefix).into(),
            owner: self.session.account.clone(),
        };
        let mut latest = Vec::new();
        for (collector, object_size, members) in reader.of(&prefixes.iter().map(place).collect::<Vec<_>>(), 1 << 20) {
            let (session, since) = (self.session.clone(), Some(Clock.monotonic()));
            let deadline = Duration::from_secs(30);
            let request = Request { session, members, since, object_size, concurrency: 100, deadline };
            latest.push(collector.collect(request).await);
        }
        latest
    }

    fn fill(&self, prefix: &str, count: usize, body: &Bytes) {
        let objects = (0..count).map(|n| (format!("{prefix}{n:05}.json"), body.clone()));
        self.sandbox.s3().fill(BUCKET, objects).unwrap();
    }

    fn reads(&self) -> usize {
        self.sandbox.calls(&CallQuery::operation("s3", "GetObject")).len()
    }
}

/// A JSON object of almost `size` bytes.
fn body(size: usize) -> Bytes {
    let texts: Vec<_> = (0..size / 1100).map(|n| format!("{n:x>1024}")).collect();
    json!({ "texts": texts }).to_string().into()
}

fn kept(latest: &[Latest]) -> Vec<usize> {
    latest.iter().map(|latest| latest.index.entries().len()).collect()
}

#[tokio::test]
async fn four_prefixes_of_240_objects_of_a_mebibyte_stay_within_the_share_of_their_namespace() {
    let setup = Setup::new(LIMITS).await;
    setup.fill("prod/", 240, &body(1 << 20));
    let greedy = setup.reader("greedy", 1);
    let latest = setup.collect(&greedy, &["", "p", "pr", "prod/"]).await;
    let desired = Desired::sample(json!({"fields": [{"name": "a", "path": "$.*"}, {"name": "b", "path": "$..*"}]}));
    let desired = desired.unwrap();
    let mut view = View::new(desired.reading.clone(), greedy.member().clone());
    let sources: Vec<_> =
        latest.iter().enumerate().map(|(n, l)| (n.to_string(), Trust::AnyKey, l.index.clone())).collect();
    view.update(&desired.reading, &sources, &mut || {});
    let held = setup.collectors.memory().held();
    assert!(held.bytes <= 144 << 20, "{held:?}");
    assert!(held.bytes > 130 << 20, "as much is used as allowed: {held:?}");
    assert!(kept(&latest).iter().sum::<usize>() < 160 && setup.reads() < 160, "{:?}", kept(&latest));
    for latest in &latest[1..] {
        let message = &latest.problem.as_ref().unwrap().message;
        assert!(message.contains("are left out") && message.contains("give the source a longer prefix"), "{message}");
        assert_eq!(latest.known.unwrap().objects, 240, "they are counted without being kept");
    }
    assert!(aggregate(&desired, &view, (&[], true), &newest(&view), Clock.now()).counts.fresh < 160);

    // Another namespace is not harmed, and then gets an equal share.
    setup.fill("other/", 40, &body(1 << 20));
    let modest = setup.reader("modest", 2);
    let others = setup.collect(&modest, &["other/"]).await;
    assert_eq!((kept(&others), others[0].problem.is_none()), (vec![40], true), "{:?}", others[0].problem);
    assert!(setup.collectors.memory().held().bytes <= 192 << 20);
    drop((view, sources, latest));
    let latest = setup.collect(&greedy, &["", "p", "pr", "prod/"]).await;
    let held = setup.collectors.memory().held();
    assert!(held.bytes <= (72 + 41) << 20, "{held:?} {:?}", kept(&latest));

    drop((greedy, modest, latest, others));
    assert_eq!(setup.collectors.memory().held(), Default::default(), "all is given back");
}

#[tokio::test]
async fn the_number_of_objects_that_are_kept_is_limited() {
    let setup = Setup::new(ReportLimits { bytes: 192 << 20, objects: 2000 }).await;
    setup.fill("prod/", 2500, &Bytes::from_static(b"oops"));
    let reader = setup.reader("ml", 1);
    let latest = setup.collect(&reader, &["prod/"]).await;
    assert_eq!((kept(&latest), latest[0].known.unwrap().objects), (vec![1500], 2500));
    assert_eq!(setup.reads(), 1500);
    let again = setup.collect(&reader, &["prod/"]).await;
    assert_eq!((kept(&again), setup.reads()), (vec![1500], 1500), "what is left out is not read again and again");
}

#[tokio::test]
async fn an_interrupted_collection_continues_with_what_it_did_not_read() {
    let setup = Setup::new(LIMITS).await;
    setup.fill("prod/", 2500, &body(2200));
    let refused = FaultAction::Error { code: "InternalError".into(), message: None, status: Some(500) };
    // The SDK makes three attempts.
    setup.sandbox.add_fault(Fault::always("s3", "ListObjectsV2", refused).skip(1).count(3));
    let reader = setup.reader("ml", 1);
    let first = setup.collect(&reader, &["prod/"]).await;
    assert!(first[0].problem.is_some() && first[0].known.is_none(), "an incomplete collection is not shown");
    assert_eq!(setup.reads(), 1000);
    let second = setup.collect(&reader, &["prod/"]).await;
    assert!(second[0].problem.is_none(), "{:?}", second[0].problem);
    assert_eq!((kept(&second), setup.reads()), (vec![2500], 2500));
}
