//! Many workers and many fleets: API calls grow with the number of instances only, and stay within EC2's rate limits.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use http::{Method, Request};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams},
    client::Body,
};
use muster::{
    clock::Timings,
    crd::worker_fleet::WorkerFleet,
    ids::{ClientToken, LaunchTags, Role, Uid},
    inventory::ownership::Owner,
    workers::launch_spec::{
        resolve::resolution::Resolution,
        revision::{Revision, Workers},
    },
};
use muster_sandbox::{AMAZON_LINUX_X86_64, Call, CallQuery, Outcome, SandboxConfig};
use serde_json::json;

use crate::support::{
    fleet::{launches, live, settled, spec, wait_settled},
    scene::{self, Controller, REGION, Scene},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_workers_are_launched_and_terminated_within_ec2s_rate_limits() {
    let scene = Scene::with(SandboxConfig { throttling: true, ..SandboxConfig::default() }).await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("web", spec(&scene, 1000, json!({"maxReplacementsPerHour": 0}))).await;
    wait_settled(&scene, "web", 1000).await;

    let mut zones = BTreeMap::<_, usize>::new();
    live(&scene).into_iter().for_each(|worker| *zones.entry(worker.zone).or_default() += 1);
    assert_eq!(zones.into_values().collect::<Vec<_>>(), [334, 333, 333]);
    assert!(launches(&scene) <= 13, "{} RunInstances calls", launches(&scene));

    scene.change::<WorkerFleet>("web", json!({"spec": {"replicas": 0}})).await;
    wait_settled(&scene, "web", 0).await;
    assert!(live(&scene).is_empty());
    let terminations = scene.sandbox.calls(&CallQuery::operation("ec2", "TerminateInstances")).len();
    assert!(terminations <= 2, "{terminations} TerminateInstances calls");
    assert_eq!(scene.sandbox.throttled(), BTreeMap::new());
    let calls = scene.sandbox.calls(&CallQuery::default()).into_iter();
    let failed = calls.filter(|call| !matches!(call.outcome, Outcome::Ok | Outcome::Open));
    assert_eq!(failed.map(|call| (call.operation, call.outcome)).collect::<Vec<_>>(), []);
}

/// Hundreds of fleets take a while on a computer that also does other things.
const LONG: Duration = Duration::from_secs(240);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_idle_fleets_make_as_many_calls_as_one() {
    // Long enough for a debug build to reconcile all of them.
    let sweep = Duration::from_secs(5);
    for fleets in [1, 100] {
        assert_rest(fleets, 2000, sweep).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes in a debug build: `make scale` runs it"]
async fn a_thousand_idle_fleets_make_as_many_calls_as_one() {
    for fleets in [1, 1000] {
        assert_rest(fleets, 10_000, Timings::default().sweep).await;
    }
}

/// At rest, a sweep takes one call per thousand instances, however many fleets they belong to, and nothing is written.
async fn assert_rest(fleets: usize, instances: usize, sweep: Duration) {
    let crowd = Crowd::settle(fleets, instances, sweep).await;
    let (calls, writes) = crowd.rest(sweep).await;
    assert_eq!(writes, Vec::<String>::new(), "{fleets} fleets: writes to the API server at rest");
    assert_eq!(crowd.scene.sandbox.throttled(), BTreeMap::new());
    let subnets = crowd.scene.sandbox.calls(&CallQuery::operation("ec2", "DescribeSubnets")).len();
    assert_eq!(subnets, 1, "all that launch in the same subnets share what is known of them");
    let pages = instances.div_ceil(1000);
    assert_eq!(calls, BTreeMap::from([("DescribeInstances".to_owned(), pages)]), "{fleets} fleets");
}

/// Fleets with all their instances, and a controller at rest.
struct Crowd {
    scene: Scene,
    writes: Arc<Mutex<Vec<String>>>,
    _controller: Controller,
}

impl Crowd {
    /// Creates everything as an earlier controller would have left it. Launching within EC2's rate limits would take hours.
    async fn settle(fleets: usize, instances: usize, sweep: Duration) -> Self {
        let scene = Scene::with(SandboxConfig { throttling: false, ..SandboxConfig::default() }).await;
        let each = instances / fleets;
        let names = (0..fleets).map(|n| format!("web-{n}"));
        stream::iter(names).for_each_concurrent(16, |name| scene.create_with_instances(name, each)).await;
        scene.sandbox.set_throttling(true);

        let writes = Arc::new(Mutex::new(Vec::new()));
        let mut config = scene.config();
        config.timings = Timings { sweep, ..scene::timings() };
        let told = writes.clone();
        let wrap = move |client| recording_writes(client, told);
        let controller = Controller::start(config, scene.connection(), wrap).await;
        let crowd = Self { scene, writes, _controller: controller };
        let all = async {
            let replicas = i32::try_from(each).unwrap();
            while !crowd.fleets().await.iter().all(|fleet| settled(fleet, replicas)) {
                crowd.next_sweep().await;
            }
        };
        tokio::time::timeout(LONG, all).await.expect("all fleets settled");
        assert_eq!(live(&crowd.scene).len(), instances, "none was launched and none terminated");
        crowd
    }

    async fn fleets(&self) -> Vec<WorkerFleet> {
        self.scene.api::<WorkerFleet>().list(&ListParams::default()).await.unwrap().items
    }

    /// Waits until the next sweep begins, and returns its number.
    async fn next_sweep(&self) -> u64 {
        let last = self.scene.sandbox.calls(&CallQuery::default()).last().map_or(0, |call| call.number);
        self.sweep_after(last).await
    }

    /// Returns the calls to AWS and the writes to the API server of one period, from sweep to sweep.
    async fn rest(&self, sweep: Duration) -> (BTreeMap<String, usize>, Vec<String>) {
        let first = self.next_sweep().await;
        self.writes.lock().unwrap().clear();
        let began = Instant::now();
        let next = self.sweep_after(first).await;
        assert!(began.elapsed() >= sweep.mul_f64(0.9), "two sweeps within {:?}, not {sweep:?}", began.elapsed());
        let mut calls = BTreeMap::new();
        for call in self.scene.sandbox.calls(&CallQuery::default()) {
            if (first..next).contains(&call.number) {
                *calls.entry(call.operation).or_default() += 1;
            }
        }
        (calls, self.writes.lock().unwrap().clone())
    }

    /// Waits until the next sweep begins, and returns the number of its first page.
    async fn sweep_after(&self, number: u64) -> u64 {
        let query = CallQuery { after: Some(number), ..CallQuery::operation("ec2", "DescribeInstances") };
        let first =
            |calls: &[Call]| calls.iter().find(|call| !call.parameters.contains_key("NextToken")).map(|c| c.number);
        let calls = self.scene.sandbox.wait_for_calls(&query, |calls| first(calls).is_some());
        first(&tokio::time::timeout(LONG, calls).await.expect("a sweep")).unwrap()
    }
}

impl Scene {
    /// Creates a fleet with all its instances, as if it had launched them itself.
    async fn create_with_instances(&self, name: String, replicas: usize) {
        let finalizers = json!(["muster.dev/workerfleet"]);
        let fleet = json!({
            "apiVersion": "muster.dev/v1alpha1", "kind": "WorkerFleet", "spec": spec(self, replicas as u32, json!({})),
            "metadata": {"name": name, "finalizers": finalizers},
        });
        let fleets: Api<WorkerFleet> = self.api();
        let fleet = serde_json::from_value(fleet).unwrap();
        let fleet = fleets.create(&PostParams::default(), &fleet).await.unwrap();
        let seen = Patch::Merge(json!({"status": {"observedGeneration": fleet.metadata.generation}}));
        fleets.patch_status(&name, &PatchParams::default(), &seen).await.unwrap();

        let uid = Uid::try_from(fleet.uid().unwrap().as_str()).unwrap();
        let owner = Owner {
            cluster: "test".into(),
            tag: muster::tags::FLEET_TAG,
            namespace: self.namespace.clone(),
            name,
            uid: uid.clone(),
        };
        let (role, template) = (Role::main(), &fleet.spec.template);
        let workers = Workers { owner: &owner, role: &role, template, parameters: None };
        let revision = Revision::new(workers, &Resolution::of_ids(template).unwrap()).unwrap();
        let tags = LaunchTags { role: role.as_str(), revision: &revision.name, indexes: None };
        let token = ClientToken::new(&uid, 1).sealed(b"", &owner.name_tag(), tags);
        let mut form: Vec<(String, String)> = vec![
            ("ImageId".into(), AMAZON_LINUX_X86_64.into()),
            ("InstanceType".into(), "m6i.large".into()),
            ("ClientToken".into(), token.to_string()),
            ("TagSpecification.1.ResourceType".into(), "instance".into()),
        ];
        for (index, (key, value)) in owner.tags(&role, &revision.name).into_iter().enumerate() {
            let tag = format!("TagSpecification.1.Tag.{}", index + 1);
            form.extend([(format!("{tag}.Key"), key), (format!("{tag}.Value"), value)]);
        }
        // A subnet has about four thousand addresses.
        let subnets = self.sandbox.subnets(&self.account, REGION);
        for (index, subnet) in subnets.iter().enumerate() {
            let share = (replicas / subnets.len() + usize::from(index < replicas % subnets.len())).to_string();
            let place = [("SubnetId", subnet.id.as_str()), ("MinCount", &share), ("MaxCount", &share)];
            let form: Vec<_> = form.iter().map(|(key, value)| (key.as_str(), value.as_str())).chain(place).collect();
            self.sandbox.launch(&self.account, REGION, &form).unwrap();
        }
    }
}

/// Sits between a controller and the API server, and records every write, including events.
fn recording_writes(client: Client, writes: Arc<Mutex<Vec<String>>>) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |request: Request<Body>| {
        if request.method() != Method::GET {
            writes.lock().unwrap().push(format!("{} {}", request.method(), request.uri().path()));
        }
        let client = client.clone();
        async move { client.send(request).await }
    });
    Client::new(service, namespace)
}
