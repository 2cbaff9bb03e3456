//! The script of docs/worker-job.md, as it stands there, on virtual workers.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use muster::worker_job::WorkerJob;
use muster_sandbox::{InstanceState, SandboxConfig, WorkersConfig};
use serde_json::json;
use tempfile::TempDir;

use crate::{job, scene::Scene};

/// What stands between the fences after the comment that names this file.
fn script() -> String {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/worker-job.md")).unwrap();
    let after = page.split_once("tests/it/job_script.rs runs this").unwrap().1;
    let script = after.split_once("```sh\n").unwrap().1.split_once("```").unwrap().0;
    let work = "echo \"working on $index\"         # your work; its exit code is the result";
    assert!(script.contains(work), "the page has no place for the work");
    // The work of this test fails at index 3.
    script.replace(work, "test \"$index\" != 3")
}

/// The AWS CLI of virtual workers: `aws s3 cp - s3://bucket/key` brings what it is given to the sandbox.
pub(crate) struct Cli {
    tools: TempDir,
    told: TempDir,
}

impl Cli {
    pub(crate) fn new() -> Self {
        let (tools, told) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let aws = format!("#!/bin/sh\ncat > \"{}/$(echo \"$4\" | tr / @)\"\n", told.path().display());
        let program = tools.path().join("aws");
        fs::write(&program, aws).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Self { tools, told }
    }

    /// Workers that run their user data with it.
    pub(crate) fn workers(&self) -> WorkersConfig {
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", self.tools.path().display());
        WorkersConfig { user_data: true, path: Some(path), ..WorkersConfig::default() }
    }

    /// Brings what workers wrote to the bucket. A machine that is ending has told its result before.
    pub(crate) fn carry(&self, scene: &Scene, bucket: String) -> Carrier {
        let mut events = scene.sandbox.instance_events();
        let control = scene.sandbox.control();
        let folder = self.told.path().to_owned();
        Carrier(tokio::spawn(async move {
            while let Ok(event) = events.recv().await {
                if event.state != InstanceState::ShuttingDown {
                    continue;
                }
                for entry in fs::read_dir(&folder).unwrap() {
                    let entry = entry.unwrap();
                    let name = entry.file_name().into_string().unwrap().replace('@', "/");
                    let key = name.strip_prefix(&format!("s3://{bucket}/")).unwrap().to_owned();
                    control.s3().put(&bucket, &key, fs::read(entry.path()).unwrap()).unwrap();
                }
            }
        }))
    }
}

/// Carries until it is dropped.
pub(crate) struct Carrier(tokio::task::JoinHandle<()>);

impl Drop for Carrier {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[tokio::test]
async fn the_script_of_the_page_finds_its_index_and_tells_its_result() {
    let cli = Cli::new();
    let config = SandboxConfig { throttling: false, workers: Some(cli.workers()), ..SandboxConfig::default() };
    let scene = Scene::with(config).await;
    let _carrier = cli.carry(&scene, job::bucket(&scene));
    let _controller = scene.start().await;
    let template = json!({"template": {"userData": {"inline": script()}}});
    scene.create::<WorkerJob>("work", job::spec(&scene, 5, 5, template)).await;
    let ended = job::wait_ended(&scene, "work", "Failed", "FailedIndexes").await;
    let status = job::status(&ended);
    assert_eq!((status.completed_indexes.to_string(), status.failed_indexes.to_string()), ("0-2,4".into(), "3".into()));
    let results = scene.sandbox.s3().keys(&job::bucket(&scene), "nightly/").unwrap();
    assert_eq!(results.len(), 5);
}
