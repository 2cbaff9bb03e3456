//! The examples, each applied as its README says, to an account that meets the prerequisites of the README.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

use kube::Api;
use muster::{
    config::{Config, Namespaces},
    crd::{
        aws_account::AwsAccount, fleet_report::FleetReport, launch_template_pin::LaunchTemplatePin,
        worker_fleet::WorkerFleet, worker_job::WorkerJob,
    },
};
use muster_sandbox::{
    CallQuery, CapacitySpec, GroupSpec, ImageSpec, Instance, LaunchTemplateSpec, Market, RoleSpec, SandboxConfig,
    SubnetSpec, TopicSpec, WorkersConfig,
};
use muster_world::KubeApi;
use serde_json::{Value, json};

use crate::support::{
    aws_cli::Cli,
    fleet::{self, live, status},
    job,
    scene::{self, Controller, Namespaced, PATIENCE, Scene, condition},
};

/// An example in a scene with its AwsAccount.
struct Example {
    scene: Scene,
    region: String,
    folder: &'static str,
}

impl Example {
    async fn begin(folder: &'static str) -> Self {
        Self::begin_with(folder, WorkersConfig { user_data: true, ..WorkersConfig::default() }).await
    }

    async fn begin_with(folder: &'static str, workers: WorkersConfig) -> Self {
        let config = SandboxConfig { throttling: false, workers: Some(workers), ..SandboxConfig::default() };
        let scene = Scene::without_account(config).await;
        let mut account = manifest(folder, "10-account.yaml")["spec"].clone();
        let region = account["regions"][0].as_str().unwrap().to_owned();
        let grant = &mut account["grants"][0];
        for bucket in grant["buckets"].as_array().into_iter().flatten() {
            let bucket = bucket["name"].as_str().unwrap();
            scene.sandbox.s3().ensure_bucket(scene.account.as_str(), &region, bucket).unwrap();
        }
        for profile in grant["instanceProfiles"].as_array().into_iter().flatten() {
            scene.sandbox.put_instance_profile(&scene.account, profile.as_str().unwrap(), "worker");
        }
        // The namespace and the subnets of this test.
        grant["namespaces"]["names"] = json!([scene.namespace]);
        let subnets = scene.sandbox.subnets(&scene.account, &region).into_iter().map(|subnet| subnet.id);
        grant["subnets"] = subnets.collect();
        scene.create_account(account).await;
        Self { scene, region, folder }
    }

    /// The spec of one of its objects, with a reference to the AwsAccount of this scene.
    fn spec(&self, file: &str) -> Value {
        let mut spec = manifest(self.folder, file)["spec"].clone();
        spec["aws"]["accountRef"]["name"] = json!(self.scene.namespace);
        spec
    }

    /// A subnet of this scene, in place of those of the reader.
    fn subnets(&self) -> Value {
        json!([self.scene.sandbox.subnets(&self.scene.account, &self.region).remove(0).id])
    }

    /// Waits until all workers of a fleet are ready.
    async fn wait_ready(&self, name: &str, workers: usize) -> Vec<Instance> {
        let ready = |fleet: &WorkerFleet| {
            let status = status(fleet);
            condition(&status.common.conditions, "Ready").is_some_and(|(truth, ..)| truth == "True")
                && status.workers.instances_total as usize == workers
        };
        self.scene.wait::<WorkerFleet>(name, &format!("{workers} ready"), ready).await;
        live(&self.scene)
    }

    /// Waits until a file of a worker contains `expected`.
    async fn wait_written(&self, worker: &Instance, file: &str, expected: &str) {
        let is_it = |info: &muster_sandbox::WorkerInfo| info.instance_id == worker.id;
        let workers = self.scene.sandbox.wait_for_workers(|workers| workers.iter().any(is_it)).await;
        let file = workers.into_iter().find(is_it).unwrap().folder.join(file);
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        let written = async {
            while fs::read_to_string(&file).ok().as_deref() != Some(expected) {
                ticks.tick().await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, written).await;
        assert!(waited.is_ok(), "{}: {:?}", file.display(), fs::read_to_string(&file));
    }
}

fn manifest(folder: &str, file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(folder).join(file);
    serde_yaml::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[tokio::test]
async fn a_service_on_spot_uses_the_next_type_and_replaces_interrupted_instances() {
    let example = Example::begin("spot").await;
    let (scene, region) = (&example.scene, &example.region);
    let mut granted = Vec::new();
    for (zone, cidr) in [("a", "172.31.96.0/24"), ("b", "172.31.97.0/24")] {
        let subnet = SubnetSpec {
            account: scene.account.clone(),
            region: region.clone(),
            vpc_id: None,
            zone: zone.into(),
            cidr: cidr.into(),
            tags: [("tier".to_owned(), "workers".to_owned())].into(),
        };
        granted.push(scene.sandbox.add_subnet(subnet).unwrap().id);
        scene.sandbox.set_capacity(CapacitySpec {
            account: Some(scene.account.clone()),
            zone: format!("{region}{zone}"),
            instance_type: "m6i.large".into(),
            market: Some(Market::Spot),
            limit: Some(0),
        });
    }
    let mut account = manifest("spot", "10-account.yaml")["spec"].clone();
    account["grants"][0]["namespaces"]["names"] = json!([scene.namespace]);
    account["grants"][0]["subnets"] = json!(granted);
    scene.change_account(json!({"spec": account})).await;
    let _controller = scene.start().await;
    scene.create::<WorkerFleet>("crawler", example.spec("20-fleet.yaml")).await;
    let told = |fleet: &WorkerFleet| {
        let capacity = condition(&status(fleet).common.conditions, "CapacityAvailable");
        capacity.is_some_and(|(truth, _, message)| truth == "True" && message.contains("m6i.large in subnet-"))
    };
    scene.wait::<WorkerFleet>("crawler", "what there is no capacity for", told).await;
    let workers = example.wait_ready("crawler", 6).await;
    assert!(workers.iter().all(|w| w.market == Market::Spot && w.instance_type == "m5.large"), "{workers:#?}");
    let mut zones: BTreeMap<_, usize> = BTreeMap::new();
    workers.iter().for_each(|worker| *zones.entry(worker.zone.clone()).or_default() += 1);
    assert_eq!(zones, [(format!("{region}a"), 3), (format!("{region}b"), 3)].into());

    scene.sandbox.reclaim_spot_instance(&workers[0].id).unwrap();
    let replaced = |fleet: &WorkerFleet| {
        let status = status(fleet);
        let listed: BTreeSet<_> = status.instances.iter().map(|worker| worker.id.as_str()).collect();
        !listed.contains(workers[0].id.as_str()) && status.ready_replicas == 6 && listed.len() == 6
    };
    scene.wait::<WorkerFleet>("crawler", "another in its place", replaced).await;
    assert_eq!(live(scene).len(), 6);
}

#[tokio::test]
async fn roles_have_their_own_types_and_user_data_and_are_updated_separately() {
    let example = Example::begin("roles").await;
    let scene = &example.scene;
    let _controller = scene.start().await;
    let mut spec = example.spec("20-fleet.yaml");
    spec["template"]["subnets"]["ids"] = example.subnets();
    let leads = spec["roles"][0]["userData"]["inline"].as_str().unwrap().to_owned();
    scene.create::<WorkerFleet>("render", spec).await;
    let before = example.wait_ready("render", 4).await;
    let of = |role: &str, all: &[Instance]| -> Vec<Instance> {
        all.iter().filter(|worker| worker.tags["muster.dev:role"] == role).cloned().collect()
    };
    for (role, count, instance_type, text) in
        [("main", 3, "m6i.large", "mode = work\n"), ("leader", 1, "c6i.xlarge", "mode = lead\n")]
    {
        let workers = of(role, &before);
        assert_eq!(workers.len(), count, "{role}");
        for worker in workers {
            assert_eq!(worker.instance_type, instance_type, "{role}");
            example.wait_written(&worker, "opt/render/render.conf", text).await;
        }
    }
    let fleet = scene.api::<WorkerFleet>().get("render").await.unwrap();
    assert_eq!((status(&fleet).ready_replicas, status(&fleet).roles[0].ready_replicas), (3, 1));

    // The README: a change of the leader's user data replaces the leader only.
    let mut edit = example.spec("20-fleet.yaml")["roles"].clone();
    edit[0]["userData"]["inline"] = json!(leads.replace("mode = lead", "mode = lead, again"));
    scene.change::<WorkerFleet>("render", json!({"spec": {"roles": edit}})).await;
    let old = of("leader", &before).remove(0).id;
    let replaced = |fleet: &WorkerFleet| {
        let status = status(fleet);
        status.instances.len() == 4
            && status.workers.terminations.is_empty()
            && status.instances.iter().all(|worker| worker.ready && worker.id.as_str() != old)
    };
    scene.wait::<WorkerFleet>("render", "another leader", replaced).await;
    let after = live(scene);
    let ids = |all: Vec<Instance>| all.into_iter().map(|worker| worker.id).collect::<BTreeSet<_>>();
    assert_eq!(ids(of("main", &before)), ids(of("main", &after)), "the workers stay");
    example.wait_written(&of("leader", &after)[0], "opt/render/render.conf", "mode = lead, again\n").await;

    // A change of the template's user data replaces only the workers of main, since the leader has its own.
    let works = example.spec("20-fleet.yaml")["template"]["userData"]["inline"].as_str().unwrap().to_owned();
    let inline = works.replace("mode = work", "mode = work, again");
    scene.change::<WorkerFleet>("render", json!({"spec": {"template": {"userData": {"inline": inline}}}})).await;
    let old = ids(of("main", &after));
    let replaced = |fleet: &WorkerFleet| {
        let status = status(fleet);
        status.instances.len() == 4
            && status.workers.terminations.is_empty()
            && status.instances.iter().all(|worker| worker.ready && !old.contains(worker.id.as_str()))
    };
    scene.wait::<WorkerFleet>("render", "other workers", replaced).await;
    assert_eq!(ids(of("leader", &live(scene))), ids(of("leader", &after)), "the leader stays");
}

#[tokio::test]
async fn a_job_with_twenty_indexes_names_the_failed_one() {
    let cli = Cli::new();
    let example = Example::begin_with("job", cli.workers()).await;
    let scene = &example.scene;
    let mut spec = example.spec("20-job.yaml");
    spec["template"]["subnets"]["ids"] = example.subnets();
    let bucket = spec["result"]["s3"]["bucket"].as_str().unwrap().to_owned();
    let _carrier = cli.carry(scene, bucket.clone());
    let _controller = scene.start().await;
    scene.create::<WorkerJob>("squares", spec).await;
    let ended = job::wait_ended(scene, "squares", "Failed", "FailedIndexes").await;
    let status = job::status(&ended);
    assert_eq!((status.succeeded, status.failed), (19, 1));
    assert_eq!(
        (status.completed_indexes.to_string(), status.failed_indexes.to_string()),
        ("0-6,8-19".into(), "7".into())
    );
    assert_eq!(scene.sandbox.s3().keys(&bucket, "squares/").unwrap().len(), 21);
    assert_eq!(live(scene).len(), 0);
}

/// A tenant of the example, with a namespace of this test.
struct Tenant {
    namespace: String,
    account: String,
}

impl Tenant {
    /// Makes what the README requires. The policies of the sandbox know no resources, so `denied` stands for what the
    /// policy of the role leaves out.
    async fn begin(scene: &Scene, letter: &str, namespace: String, denied: &[&str]) -> Self {
        let mut spec = manifest("two-tenants", &format!("10-account-{letter}.yaml"))["spec"].clone();
        let name = spec["roleARN"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        let role = RoleSpec {
            allowed_principals: vec![scene.account.to_string()],
            denied_actions: denied.iter().map(|action| (*action).to_owned()).collect(),
            ..RoleSpec::new(&scene.account, &name)
        };
        spec["roleARN"] = json!(role.arn());
        scene.sandbox.put_role(role);
        let region = spec["regions"][0].as_str().unwrap().to_owned();
        let grant = &mut spec["grants"][0];
        let bucket = grant["buckets"][0]["name"].as_str().unwrap();
        scene.sandbox.s3().ensure_bucket(scene.account.as_str(), &region, bucket).unwrap();
        let key = format!("{letter}/i-0000000000000000{letter}.json");
        scene.sandbox.s3().put(bucket, &key, format!("{{\"app_version\": \"of-{letter}\"}}")).unwrap();
        let profile = grant["instanceProfiles"][0].as_str().unwrap();
        scene.sandbox.put_instance_profile(&scene.account, profile, "worker");
        grant["namespaces"]["names"] = json!([namespace]);
        grant["subnets"] = json!([scene.sandbox.subnets(&scene.account, &region)[0].id]);
        let account = format!("{}-{letter}", scene.namespace);
        scene.create_account_named(&account, spec).await;
        Self { namespace, account }
    }

    fn api<K: Namespaced>(&self, scene: &Scene) -> Api<K> {
        Api::namespaced(scene.kube.clone(), &self.namespace)
    }

    /// Creates the object of a file of the example, changed by `change`.
    async fn apply<K: Namespaced>(&self, scene: &Scene, file: &str, name: &str, change: impl FnOnce(&mut Value)) {
        let mut object = manifest("two-tenants", file);
        object["metadata"] = json!({"name": name, "namespace": self.namespace});
        for at in ["/spec/aws", "/spec/sources/0/aws"] {
            if let Some(aws) = object.pointer_mut(at) {
                aws["accountRef"]["name"] = json!(self.account);
            }
        }
        if let Some(subnets) = object.pointer_mut("/spec/template/subnets/ids") {
            *subnets = json!([scene.sandbox.subnets(&scene.account, "us-east-1")[0].id]);
        }
        change(&mut object);
        self.api::<K>(scene).create(&Default::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    }
}

#[tokio::test]
async fn tenants_with_a_role_each_are_held_apart_by_grants_and_by_iam() {
    let scene = Scene::without_account(SandboxConfig { throttling: false, ..SandboxConfig::default() }).await;
    let other = KubeApi::shared().await.namespace().await.unwrap();
    let a = Tenant::begin(&scene, "a", scene.namespace.clone(), &["s3:*"]).await;
    let b = Tenant::begin(&scene, "b", other.clone(), &[]).await;
    let namespaces = Namespaces::Only(vec![a.namespace.clone(), b.namespace.clone()]);
    let config = Config { namespaces, ..scene.config() };
    let _controller = Controller::start(config, scene.connection(), |client| client).await;

    for (tenant, letter) in [(&a, "a"), (&b, "b")] {
        tenant.apply::<WorkerFleet>(&scene, &format!("20-fleet-{letter}.yaml"), "web", |_| {}).await;
        let settled = |fleet: &WorkerFleet| fleet::settled(fleet, 2);
        scene::wait(tenant.api::<WorkerFleet>(&scene), "web", "two workers", settled).await;
        let launch = scene.sandbox.calls(&CallQuery::operation("ec2", "RunInstances")).pop().unwrap();
        let session = format!("assumed-role/muster-tenant-{letter}/muster-{}", tenant.namespace);
        assert!(launch.principal_arn.as_ref().unwrap().ends_with(&session), "{:?}", launch.principal_arn);
    }
    b.apply::<FleetReport>(&scene, "30-report-b.yaml", "web", |_| {}).await;
    let reports = |report: &FleetReport| report.status.clone().unwrap_or_default();
    let fresh = |report: &FleetReport| reports(report).reports.is_some_and(|counts| counts.fresh == 1);
    scene::wait(b.api::<FleetReport>(&scene), "web", "collected", fresh).await;

    // The grants: neither the AwsAccount nor the resources of the other tenant.
    let stalled = |conditions: &[_], reason: &str| {
        condition(conditions, "Stalled").is_some_and(|(truth, why, _)| truth == "True" && why == reason)
    };
    let refused = |report: &FleetReport| stalled(&reports(report).common.conditions, "NotGranted");
    let theirs = |object: &mut Value| object["spec"]["sources"][0]["aws"]["accountRef"]["name"] = json!(b.account);
    a.apply::<FleetReport>(&scene, "30-report-b.yaml", "their-account", theirs).await;
    scene::wait(a.api(&scene), "their-account", "refused", refused).await;
    a.apply::<FleetReport>(&scene, "30-report-b.yaml", "their-bucket", |_| {}).await;
    scene::wait(a.api(&scene), "their-bucket", "refused", refused).await;
    let theirs = |object: &mut Value| object["spec"]["aws"]["accountRef"]["name"] = json!(b.account);
    a.apply::<WorkerFleet>(&scene, "20-fleet-a.yaml", "their-account", theirs).await;
    let fleet_refused = |fleet: &WorkerFleet| stalled(&status(fleet).common.conditions, "NotGranted");
    scene::wait(a.api(&scene), "their-account", "refused", fleet_refused).await;
    let profile = |object: &mut Value| object["spec"]["template"]["instanceProfile"] = json!("tenant-b-worker");
    a.apply::<WorkerFleet>(&scene, "20-fleet-a.yaml", "their-profile", profile).await;
    scene::wait(a.api(&scene), "their-profile", "refused", fleet_refused).await;
    assert_eq!(live(&scene).len(), 4);

    // IAM: a grant that is too wide gives what the role may do, and nothing that the other role was answered.
    let accounts = Api::<AwsAccount>::all(scene.kube.clone());
    let mut wide = accounts.get(&a.account).await.unwrap();
    wide.spec.grants = serde_json::from_value(json!([scene.full_grant()])).unwrap();
    accounts.replace(&a.account, &Default::default(), &wide).await.unwrap();
    let denied = |report: &FleetReport| stalled(&reports(report).common.conditions, "NoSourceCollected");
    let report = scene::wait(a.api::<FleetReport>(&scene), "their-bucket", "denied", denied).await;
    let (_, _, message) = condition(&reports(&report).common.conditions, "Stalled").unwrap();
    assert!(message.contains("AccessDenied"), "{message}");
    assert!(!serde_json::to_string(&report.status).unwrap().contains("of-b"));
}

#[tokio::test]
async fn a_rotation_reaches_the_home_region_and_the_backup_region() {
    const HOME: &str = "us-east-1";
    const BACKUP: &str = "us-west-2";
    let example = Example::begin_with("rotation", WorkersConfig::default()).await;
    let scene = &example.scene;
    let topic = scene.sandbox.add_topic(&TopicSpec::new(&scene.account, HOME, "rotation")).unwrap();
    let image = |region: &str, name: &str| {
        let spec = ImageSpec::new(&scene.account, region, name);
        let description = (region == BACKUP).then(|| format!("Copied from us-east-1, {name}"));
        let tags = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
        scene.sandbox.add_image(ImageSpec { description, tags, ..spec }).id
    };
    for region in [HOME, BACKUP] {
        let first = image(region, "web-1");
        let template = LaunchTemplateSpec::new(&scene.account, region, "rotation-web", &first);
        let template = scene.sandbox.add_launch_template(&template).unwrap();
        let group = GroupSpec::new(&scene.account, region, "rotation-web", &template, 1);
        scene.sandbox.add_group(&GroupSpec { version: "1".into(), ..group }).unwrap();
        if region == BACKUP {
            scene.sandbox.set_parameter(&scene.account, region, "/rotation/launch-template", &template);
        }
    }
    let _controller = scene.start().await;
    // The topic of this account.
    let mut grant = manifest("rotation", "10-account.yaml")["spec"]["grants"][0].clone();
    (grant["namespaces"]["names"], grant["topics"]) = (json!([scene.namespace]), json!([topic]));
    scene.change_account(json!({"spec": {"grants": [grant]}})).await;
    let mut home = example.spec("20-pin-home.yaml");
    home["notify"]["sns"]["topicARN"] = json!(topic);
    scene.create::<LaunchTemplatePin>("home", home).await;
    scene.create::<LaunchTemplatePin>("backup", example.spec("21-pin-backup.yaml")).await;
    let mut report = manifest("rotation", "30-report.yaml")["spec"].clone();
    report["sources"][0]["aws"]["accountRef"]["name"] = json!(scene.namespace);
    scene.create::<FleetReport>("web", report).await;
    let stands_on = |version: i64, group: &'static str| {
        move |pin: &LaunchTemplatePin| {
            let status = pin.status.clone().unwrap_or_default();
            let follows = status.groups.first().is_some_and(|g| g.version.as_deref() == Some(group) && g.outdated == 0);
            status.default_version == Some(version) && (follows || group == "$Default")
        }
    };
    for version in [1, 2] {
        if version == 2 {
            let _ = [HOME, BACKUP].map(|region| image(region, "web-2"));
        }
        scene.wait::<LaunchTemplatePin>("home", &format!("version {version}"), stands_on(version, "$Latest")).await;
        scene.wait::<LaunchTemplatePin>("backup", &format!("version {version}"), stands_on(version, "$Default")).await;
    }
    let started = scene.sandbox.calls(&CallQuery::operation("autoscaling", "StartInstanceRefresh"));
    assert_eq!(started.iter().map(|call| call.region.as_str()).collect::<Vec<_>>(), [HOME]);
}
