//! `make memory`: what many objects at rest cost the controller. It takes minutes, and other programs make it take longer,
//! so it is no test.

use std::{
    collections::HashSet,
    fmt, fs,
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::{Value, json};

use crate::{
    controller::Controller,
    logs::Logs,
    objects::{Object, is, resource},
    progress::{Progress, Step, print},
    world::{Options, World},
};

/// Of examples/quickstart.
const NAMESPACE: &str = "quickstart";
const REQUESTS_AT_ONCE: usize = 32;
const WITHIN: Duration = Duration::from_secs(30);
/// The number of objects between two progress messages.
const SAY_EVERY: usize = 1000;
const POLL: Duration = Duration::from_secs(1);
/// The number of reconciles of each object after which all changes are complete.
const SWEEPS: u64 = 2;

/// What is measured.
#[derive(Debug, Clone)]
pub struct Measurement {
    /// The checkout, which has the chart and the examples.
    pub root: PathBuf,
    /// The controller's program; without it, the one that was built beside this one.
    pub muster: Option<PathBuf>,
    /// So many WorkerFleets without workers.
    pub objects: usize,
    /// The most that the controller may take at rest, in MiB.
    pub max_rss: Option<f64>,
    /// The most that each object may add to that, in KiB.
    pub max_per_object: Option<f64>,
}

/// Fails when more is taken than may be, and when `stop` resolves before it is known.
pub async fn memory(measurement: &Measurement, stop: impl Future<Output = ()>) -> Result<()> {
    let logs = Logs::make("memory")?;
    let options = Options {
        root: measurement.root.clone(),
        logs: logs.folder().to_owned(),
        controller_manager: false,
        user_data: false,
        agent_config: None,
        muster: measurement.muster.clone(),
    };
    let work = async {
        let progress = Progress::new();
        let world = World::start(&options, &progress).await?;
        let (world, measured) = measure(measurement, world, &progress).await?;
        progress.step("Stopping everything", async |_| world.stop().await).await?;
        anyhow::Ok(measured)
    };
    let measured = tokio::select! {
        measured = work => measured.map_err(|error| anyhow!("{error:#}\nLogs: {}", logs.keep()))?,
        () = stop => return Err(anyhow!("stopped; nothing is left running")),
    };
    print(format_args!("\n{measured}"))?;
    measured.check(measurement)
}

async fn measure(wanted: &Measurement, world: World, progress: &Progress) -> Result<(World, Measured)> {
    let objects = wanted.objects;
    let client = world.kube.admin().await?;
    progress.step("Granting AWS to the namespace", async |_| grant(&world, &wanted.root, client.clone()).await).await?;
    let mut measured = Measured { objects, idle: Memory::of(world.controller())?, rows: Vec::new() };
    let fleet = fleet(&world, &wanted.root).await?;
    progress
        .step(&format!("Making {objects} WorkerFleets without workers"), async |step| {
            make(client.clone(), &fleet, objects, step).await
        })
        .await?;
    progress
        .step("Waiting until all of them are Ready", async |step| until_ready(client.clone(), objects, step).await)
        .await?;
    measured.take("all are Ready", world.controller())?;
    progress.step("Waiting for two sweeps", async |step| sweeps(world.controller(), objects, step).await).await?;
    measured.take("after two sweeps", world.controller())?;
    let world = progress
        .step("Starting the controller again, and waiting for two sweeps", async |step| {
            let world = world.restart_controller().await?;
            sweeps(world.controller(), objects, step).await?;
            Ok(world)
        })
        .await?;
    measured.take("after a restart", world.controller())?;
    Ok((world, measured))
}

async fn grant(world: &World, root: &Path, client: Client) -> Result<()> {
    world.prepare_quickstart()?;
    for file in ["00-namespace.yaml", "10-account.yaml"] {
        world.kube.kubectl(&["apply", "-f", &example(root, file)]).await?;
    }
    Object::cluster_wide(client, "AwsAccount", NAMESPACE).wait(WITHIN, |status| is(status, "Ready")).await?;
    Ok(())
}

/// The fleet of the example, without workers.
async fn fleet(world: &World, root: &Path) -> Result<Value> {
    let path = example(root, "20-fleet.yaml");
    let read = world.kube.kubectl(&["create", "--dry-run=client", "--output=json", "-f", &path]).await?;
    let mut fleet: Value = serde_json::from_str(&read).with_context(|| format!("cannot read {path}"))?;
    fleet["spec"]["replicas"] = json!(0);
    Ok(fleet)
}

fn example(root: &Path, file: &str) -> String {
    root.join("examples/quickstart").join(file).display().to_string()
}

/// As `kubectl apply` does, which leaves all of a manifest in an annotation.
async fn make(client: Client, fleet: &Value, objects: usize, step: &Step) -> Result<()> {
    let api = fleets(client);
    let params = PostParams { field_manager: Some("kubectl-client-side-apply".to_owned()), ..PostParams::default() };
    let make = |number: usize| {
        let (api, params) = (&api, &params);
        let mut fleet = fleet.clone();
        fleet["metadata"] = json!({"name": format!("web-{number}"), "namespace": NAMESPACE, "annotations": {}});
        let applied = format!("{fleet}\n");
        fleet["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration": applied});
        async move {
            api.create(params, &serde_json::from_value(fleet)?)
                .await
                .with_context(|| format!("cannot make the WorkerFleet web-{number}"))
        }
    };
    let mut made = stream::iter((0..objects).map(make)).buffer_unordered(REQUESTS_AT_ONCE).enumerate();
    while let Some((before, one)) = made.next().await {
        one?;
        say(step, before + 1, "there");
    }
    Ok(())
}

async fn until_ready(client: Client, objects: usize, step: &Step) -> Result<()> {
    let mut ready = HashSet::new();
    let fleets = watcher(fleets(client), watcher::Config::default()).default_backoff().applied_objects();
    let mut fleets = pin!(fleets);
    while ready.len() < objects {
        let fleet = fleets.try_next().await.context("cannot watch WorkerFleets")?.context("the watch ended")?;
        let status = &fleet.data["status"];
        let current = status["observedGeneration"].as_i64() == fleet.metadata.generation;
        if current && is(status, "Ready") && ready.insert(fleet.name_any()) {
            say(step, ready.len(), "are Ready");
        }
    }
    Ok(())
}

/// Returns when the controller has reconciled each object a few more times.
async fn sweeps(controller: &Controller, objects: usize, step: &Step) -> Result<()> {
    let reconciles = || controller.metric("muster_reconcile_total{kind=\"WorkerFleet\"}");
    let (first, objects) = (reconciles().await?, objects as u64);
    loop {
        let since = reconciles().await?.saturating_sub(first);
        if since >= objects * SWEEPS {
            return Ok(());
        }
        let each = since / objects.max(1);
        if each > 0 {
            step.say(format!("each was reconciled {each} times"));
        }
        // The controller tells its counts only when it is asked for /metrics.
        tokio::time::sleep(POLL).await;
    }
}

fn say(step: &Step, count: usize, what: &str) {
    if count.is_multiple_of(SAY_EVERY) {
        step.say(format!("{count} {what}"));
    }
}

fn fleets(client: Client) -> Api<DynamicObject> {
    Api::namespaced_with(client, NAMESPACE, &resource("WorkerFleet"))
}

/// Of the process, in KiB.
#[derive(Debug, Clone, Copy)]
struct Memory {
    rss: u64,
    peak: u64,
}

impl Memory {
    fn of(controller: &Controller) -> Result<Self> {
        let path = format!("/proc/{}/status", controller.process().id());
        let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let kib = |field: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
            line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok())
                .with_context(|| format!("{path} has no {field}"))
        };
        Ok(Self { rss: kib("VmRSS")?, peak: kib("VmHWM")? })
    }
}

#[derive(Debug)]
struct Measured {
    objects: usize,
    idle: Memory,
    rows: Vec<(&'static str, Memory)>,
}

impl Measured {
    fn take(&mut self, when: &'static str, controller: &Controller) -> Result<()> {
        self.rows.push((when, Memory::of(controller)?));
        Ok(())
    }

    /// What each object adds, in KiB.
    fn per_object(&self, memory: Memory) -> f64 {
        memory.rss.saturating_sub(self.idle.rss) as f64 / self.objects.max(1) as f64
    }

    fn check(&self, wanted: &Measurement) -> Result<()> {
        for &(when, memory) in &self.rows {
            let (rss, each) = (mib(memory.rss), self.per_object(memory));
            let (most, most_each) =
                (wanted.max_rss.unwrap_or(f64::INFINITY), wanted.max_per_object.unwrap_or(f64::INFINITY));
            ensure!(rss <= most, "{when}: the controller takes {rss:.1} MiB, and may take {most} MiB");
            ensure!(each <= most_each, "{when}: each object takes {each:.1} KiB, and may take {most_each} KiB");
        }
        Ok(())
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:26}  {:>10}  {:>10}  {:>12}", "WorkerFleets", "RSS", "peak", "each")?;
        write!(f, "{:26}  {:>6.1} MiB  {:>6.1} MiB", "0", mib(self.idle.rss), mib(self.idle.peak))?;
        for &(when, memory) in &self.rows {
            let (rss, peak) = (mib(memory.rss), mib(memory.peak));
            let label = format!("{}, {when}", self.objects);
            write!(f, "\n{label:26}  {rss:>6.1} MiB  {peak:>6.1} MiB  {:>8.1} KiB", self.per_object(memory))?;
        }
        Ok(())
    }
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
