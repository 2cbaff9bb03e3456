//! `make demo`: shows muster in two minutes.

use std::{path::Path, time::Duration};

use anyhow::{Result, anyhow, bail};

use crate::{
    logs::Logs,
    objects::{Object, is},
    progress::{Progress, Unread, print},
    rotation,
    versions::{count, version_table},
    world::{Options, World},
};

const NAMESPACE: &str = "quickstart";
const NAME: &str = "web";
const WORKERS: i64 = 4;
/// The file with the version is last, so that the other files have changed when it changes.
const UPDATE: &str = "grep -q 1.8.5 opt/web/release \
    && echo module_A_filename = module_a-1.9.0.jar >opt/web/conf/worker.conf \
    && echo version = 1.9.0 >opt/web/release";
const WITHIN: Duration = Duration::from_secs(90);

/// How the demo ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Done,
    Interrupted,
}

/// Runs the demo, and stops everything that it started, also after an error.
pub async fn demo(root: &Path, stop: impl Future<Output = ()>) -> Result<Ending> {
    let logs = Logs::make("demo")?;
    let progress = Progress::new();
    let options = Options {
        root: root.to_owned(),
        logs: logs.folder().to_owned(),
        controller_manager: false,
        user_data: true,
        agent_config: None,
        muster: None,
    };
    // Outside of the future, so that it can be stopped after an interruption.
    let mut world = None;
    let shown = tokio::select! {
        shown = show(&options, &progress, &mut world) => Some(shown),
        () = stop => None,
    };
    if shown.is_none() {
        let _ = print("\nStopping ...");
    }
    let stopped = match world {
        Some(world) => progress.step("Stopping everything", async |_| world.stop().await).await,
        None => Ok(()),
    };
    match shown {
        // The reader of the output is gone, which is handled like Ctrl-C.
        Some(Err(error)) if error.chain().any(|cause| cause.is::<Unread>()) => stopped.map(|()| Ending::Interrupted),
        Some(shown) => {
            shown.and(stopped).map_err(|error| anyhow!("{error:#}\nEverything is stopped. Logs: {}", logs.keep()))?;
            let _ = print("Everything is stopped.");
            Ok(Ending::Done)
        }
        None => {
            let _ = print("Stopped; nothing is left running.");
            Ok(Ending::Interrupted)
        }
    }
}

async fn show(options: &Options, progress: &Progress, world: &mut Option<World>) -> Result<()> {
    let world = &*world.insert(World::start(options, progress).await?);

    progress
        .step("Applying examples/quickstart: four workers and a report", async |_| {
            world.prepare_quickstart()?;
            let examples = options.root.join("examples/quickstart").display().to_string();
            world.kube.kubectl(&["apply", "-f", &examples]).await
        })
        .await?;
    let client = world.kube.admin().await?;
    let fleet = Object::namespaced(client.clone(), "WorkerFleet", NAMESPACE, NAME);
    let report = Object::namespaced(client, "FleetReport", NAMESPACE, NAME);
    progress
        .step("Waiting for four workers", async |step| {
            fleet
                .wait(WITHIN, |status| {
                    let ready = status["readyReplicas"].as_i64().unwrap_or_default();
                    step.say(format!("{ready} of {WORKERS} are ready"));
                    ready == WORKERS && is(status, "Ready")
                })
                .await
        })
        .await?;
    let first = progress
        .step("Waiting until each has reported", async |step| {
            report
                .wait(WITHIN, |status| {
                    let fresh = status["reports"]["fresh"].as_i64().unwrap_or_default();
                    step.say(format!("{fresh} of {WORKERS} have reported"));
                    fresh == WORKERS
                })
                .await
        })
        .await?;

    print("\n$ kubectl get muster --all-namespaces")?;
    print(world.kube.kubectl(&["get", "muster", "--all-namespaces"]).await?)?;
    print(format_args!("Which versions run where, from the FleetReport's status:\n\n{}", version_table(&first)))?;

    let changed = update_one_worker(world).await?;
    let expected = count(&first, "app", "1.9.0") + 1;
    let second = progress
        .step(&format!("Updating {changed} by hand, and waiting for the report"), async |_| {
            report.wait(WITHIN, |status| count(status, "app", "1.9.0") == expected).await
        })
        .await?;
    print(format_args!("\n{}", version_table(&second)))?;
    rotation::show(options, progress, world).await?;
    print(
        "What to try next: the same, but kept running.\n\n    \
         make dev USER_DATA=1                                       # in one shell\n    \
         . .dev/env                                                 # in another, for all that follows\n    \
         kubectl apply -f examples/quickstart\n    \
         kubectl scale -n quickstart workerfleet/web --replicas=6\n    \
         kubectl get muster -A --watch\n    \
         kubectl explain workerfleet.spec\n\n\
         examples/quickstart/README.md describes how to follow the scenario on a cluster and AWS account of your own.\n",
    )?;
    Ok(())
}

/// Updates one worker with the older version, as in a shell on it.
async fn update_one_worker(world: &World) -> Result<String> {
    for worker in world.sandbox.workers() {
        let update = world.sandbox.run_in_worker(&worker.instance_id, UPDATE, Duration::from_secs(10)).await?;
        if update.exit_code == Some(0) {
            return Ok(worker.instance_id);
        }
    }
    bail!("no worker runs version 1.8.5")
}
