//! The environment of one test: a namespace of the shared API server, its own AWS sandbox on loopback, an AwsAccount with
//! all grants for the namespace, and controllers that can be started and killed.

use std::{
    fmt::Debug,
    num::NonZeroU16,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams, PostParams},
    runtime::wait::{Condition, await_condition, conditions},
};
use muster::{
    aws::Connection,
    clock::Timings,
    config::{Config, Namespaces, ReportLimits, SecretName},
    controller,
    crd::aws_account::AwsAccount,
};
use muster_sandbox::{Sandbox, SandboxConfig};
use muster_world::KubeApi;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::chart;

pub(crate) const REGION: &str = "eu-west-1";
/// Whatever takes longer is stuck.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Scene {
    pub(crate) kube: Client,
    pub(crate) sandbox: Sandbox,
    pub(crate) namespace: String,
    /// The AWS account of the AwsAccount.
    pub(crate) account: muster_sandbox::AccountId,
}

/// Namespaced objects that tests create and change.
pub(crate) trait Namespaced:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Serialize
    + DeserializeOwned
    + Clone
    + Debug
    + Send
    + 'static
{
}

impl<K> Namespaced for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Serialize
        + DeserializeOwned
        + Clone
        + Debug
        + Send
        + 'static
{
}

/// All durations of the protocol, about a hundred times shorter.
pub(crate) fn timings() -> Timings {
    Timings {
        lease: Duration::from_secs(2),
        call_deadline: Duration::from_secs(10),
        send_window: Duration::from_secs(3),
        describe_grace: Duration::from_millis(500),
        overdue: Duration::from_secs(3600),
        sweep: Duration::from_millis(1000),
        progress: Duration::from_millis(100),
        reference_grace: Duration::from_millis(1500),
        exit_grace: Duration::from_millis(1000),
        capacity_cooldown: Duration::from_millis(1500),
        minute: Duration::from_millis(300),
    }
}

impl Scene {
    /// A namespace, a sandbox and an AwsAccount with the name of the namespace. No controller runs yet.
    pub(crate) async fn new() -> Self {
        Self::with(SandboxConfig { throttling: false, ..SandboxConfig::default() }).await
    }

    pub(crate) async fn with(config: SandboxConfig) -> Self {
        let scene = Self::without_account(config).await;
        scene.create_account(json!({"regions": [REGION], "grants": [scene.full_grant()]})).await;
        scene
    }

    pub(crate) async fn without_account(config: SandboxConfig) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(100_000_000_001);
        let api = KubeApi::shared().await;
        let kube = api.admin().await.unwrap();
        install_crds(&kube).await;
        let namespace = api.namespace().await.unwrap();
        let sandbox = Sandbox::start(config).await.unwrap();
        let account = NEXT.fetch_add(1, Ordering::Relaxed).to_string().parse().unwrap();
        Self { kube, sandbox, namespace, account }
    }

    pub(crate) fn full_grant(&self) -> Value {
        json!({
            "namespaces": {"names": [self.namespace]}, "kinds": ["*"], "instanceProfiles": ["*"],
            "launchTemplates": ["*"], "subnets": ["*"], "securityGroups": ["*"], "keyNames": ["*"], "kmsKeys": ["*"],
            "buckets": [{"name": "*", "uses": ["Reports", "Results", "Parameters"]}], "parameterPaths": ["*"],
            "autoScalingGroups": ["*"], "topics": ["*"], "targetTags": {"team": "ml"},
        })
    }

    /// Creates the AwsAccount that the controllers of this scene reconcile, with the name of the namespace.
    pub(crate) async fn create_account(&self, spec: Value) -> AwsAccount {
        self.create_account_named(&self.namespace, spec).await
    }

    pub(crate) async fn create_account_named(&self, name: &str, spec: Value) -> AwsAccount {
        let mut account = AwsAccount::new(name, serde_json::from_value(spec).unwrap());
        account.labels_mut().insert("muster.test/scene".into(), self.namespace.clone());
        Api::all(self.kube.clone()).create(&PostParams::default(), &account).await.unwrap()
    }

    /// Merges `change` into the AwsAccount of this scene.
    pub(crate) async fn change_account(&self, change: Value) {
        let accounts = Api::<AwsAccount>::all(self.kube.clone());
        accounts.patch(&self.namespace, &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    }

    /// A `spec.aws` that refers to the AwsAccount of this scene.
    pub(crate) fn aws(&self) -> Value {
        json!({"region": REGION, "accountRef": {"name": self.namespace}})
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.kube.clone(), &self.namespace)
    }

    /// Creates an object of kind `K` in the namespace.
    pub(crate) async fn create<K: Namespaced>(&self, name: &str, spec: Value) -> K {
        self.create_annotated(name, json!({}), spec).await
    }

    /// Creates an object with `muster.dev/plan-only`.
    pub(crate) async fn create_plan_only<K: Namespaced>(&self, name: &str, spec: Value) -> K {
        self.create_annotated(name, json!({"muster.dev/plan-only": "true"}), spec).await
    }

    async fn create_annotated<K: Namespaced>(&self, name: &str, annotations: Value, spec: Value) -> K {
        let object = json!({
            "apiVersion": K::api_version(&()), "kind": K::kind(&()), "spec": spec,
            "metadata": {"name": name, "annotations": annotations},
        });
        let object = serde_json::from_value(object).unwrap();
        self.api::<K>().create(&PostParams::default(), &object).await.unwrap()
    }

    /// Merges `change` into an object.
    pub(crate) async fn change<K: Namespaced>(&self, name: &str, change: Value) {
        self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    }

    /// Waits until an object meets `condition`, and returns it.
    pub(crate) async fn wait<K: Namespaced>(&self, name: &str, what: &str, condition: impl Fn(&K) -> bool) -> K {
        wait(self.api::<K>(), name, what, condition).await
    }

    /// Waits until an object is deleted.
    pub(crate) async fn wait_gone<K: Namespaced>(&self, name: &str) {
        let api = self.api::<K>();
        let uid = match api.get_opt(name).await.unwrap() {
            Some(object) => object.uid().unwrap(),
            None => return,
        };
        let gone = await_condition(api.clone(), name, conditions::is_deleted(&uid));
        if tokio::time::timeout(PATIENCE, gone).await.is_err() {
            panic!("{name} still exists: {:#?}", api.get_opt(name).await);
        }
    }

    /// The configuration of the controllers of this scene.
    pub(crate) fn config(&self) -> Config {
        Config {
            cluster_name: "test".into(),
            namespaces: Namespaces::Only(vec![self.namespace.clone()]),
            account_selector: Some(format!("muster.test/scene={}", self.namespace)),
            lease: None,
            key_secret: None,
            pod_name: "muster-0".into(),
            metrics_addr: ([127, 0, 0, 1], 0).into(),
            api: None,
            concurrency: NonZeroU16::new(4).unwrap(),
            timings: timings(),
            report_limits: ReportLimits { bytes: 192 << 20, objects: 250_000 },
        }
    }

    /// The connection to the sandbox of this scene with the credentials of the controller.
    pub(crate) fn connection(&self) -> Connection {
        let keys = Credentials::new(format!("AKIASANDBOX{}", self.account), "sandbox", None, None, "test");
        Connection {
            endpoint_url: Some(self.sandbox.endpoint()),
            http_client: None,
            credentials: Some(SharedCredentialsProvider::new(keys)),
        }
    }

    /// Starts a controller with the default configuration.
    pub(crate) async fn start(&self) -> Controller {
        Controller::start(self.config(), self.connection(), |client| client).await
    }
}

/// Waits until an object meets `condition`, and returns it.
pub(crate) async fn wait<K>(api: Api<K>, name: &str, what: &str, condition: impl Fn(&K) -> bool) -> K
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    struct Holds<F>(F);
    impl<K, F: Fn(&K) -> bool> Condition<K> for Holds<F> {
        fn matches_object(&self, object: Option<&K>) -> bool {
            object.is_some_and(&self.0)
        }
    }
    let found = tokio::time::timeout(PATIENCE, await_condition(api.clone(), name, Holds(condition))).await;
    match found {
        Ok(object) => object.unwrap().unwrap(),
        Err(_) => panic!("timed out waiting for {name}: {what}\nit is now: {:#?}", api.get_opt(name).await),
    }
}

/// The condition `type_` as `(status, reason, message)`.
pub(crate) fn condition(
    conditions: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition],
    type_: &str,
) -> Option<(String, String, String)> {
    let found = conditions.iter().find(|c| c.type_ == type_)?;
    Some((found.status.clone(), found.reason.clone(), found.message.clone()))
}

/// A controller in its own runtime, so that it can be killed: dropping the runtime drops every task immediately, including
/// requests in flight.
pub(crate) struct Controller {
    runtime: Option<tokio::runtime::Runtime>,
    shutdown: CancellationToken,
    ended: tokio::sync::oneshot::Receiver<Result<(), controller::Error>>,
}

impl Controller {
    /// Signs in as the ServiceAccount of the chart, so that a permission missing in the chart fails the test. `wrap` can
    /// intercept requests between the controller and the API server.
    pub(crate) async fn start(
        mut config: Config,
        connection: Connection,
        wrap: impl FnOnce(Client) -> Client + Send + 'static,
    ) -> Self {
        let kube_config = match &config.lease {
            None => chart::identity().await,
            Some(lease) => chart::identity_in(&lease.namespace).await,
        };
        let release = kube_config.default_namespace.clone();
        config.key_secret.get_or_insert(SecretName { namespace: release, name: "muster-key".into() });
        Self::start_as(kube_config, config, connection, wrap)
    }

    /// Signs in to the API server with `kube_config`.
    pub(crate) fn start_as(
        mut kube_config: kube::Config,
        config: Config,
        connection: Connection,
        wrap: impl FnOnce(Client) -> Client + Send + 'static,
    ) -> Self {
        kube_config.default_retry = false;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let shutdown = CancellationToken::new();
        let (tell, ended) = tokio::sync::oneshot::channel();
        let until = shutdown.clone();
        runtime.spawn(async move {
            let client = wrap(Client::try_from(kube_config).unwrap());
            let _ = tell.send(controller::run(config, client, connection, until).await);
        });
        Self { runtime: Some(runtime), shutdown, ended }
    }

    /// Stops it as SIGTERM does, and returns its result.
    pub(crate) async fn stop(mut self) -> Result<(), controller::Error> {
        self.shutdown.cancel();
        let ended = tokio::time::timeout(PATIENCE, &mut self.ended).await;
        ended.expect("the controller did not stop").expect("the controller panicked")
    }

    /// Waits until it stops by itself.
    pub(crate) async fn ended(mut self) -> Result<(), controller::Error> {
        let ended = tokio::time::timeout(PATIENCE, &mut self.ended).await;
        ended.expect("the controller did not stop").expect("the controller panicked")
    }

    /// Kills it as SIGKILL does. On return, none of its tasks runs any more.
    pub(crate) async fn kill(mut self) {
        let runtime = self.runtime.take();
        tokio::task::spawn_blocking(move || drop(runtime)).await.unwrap();
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Installs the CRDs once for all tests of this process.
pub(crate) async fn install_crds(kube: &Client) {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    INSTALLED
        .get_or_init(async || {
            use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
            let api = Api::<CustomResourceDefinition>::all(kube.clone());
            for crd in muster::kinds::crds() {
                let name = crd.name_any();
                api.patch(&name, &PatchParams::apply("muster-tests").force(), &Patch::Apply(&crd)).await.unwrap();
                let established = await_condition(api.clone(), &name, conditions::is_crd_established());
                tokio::time::timeout(PATIENCE, established).await.expect("the CRD is established").unwrap();
            }
        })
        .await;
}
