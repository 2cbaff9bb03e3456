//! The script in docs/worker-job.md works as it is printed there, on workers that run their user data.

use std::{fs, path::Path};

use muster::crd::worker_job::WorkerJob;
use muster_sandbox::SandboxConfig;
use serde_json::json;

use crate::support::{aws_cli::Cli, job, scene::Scene};

/// The code block after the comment that names this file.
fn script() -> String {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/worker-job.md")).unwrap();
    let after = page.split_once("tests/it/worker_job/documented_script.rs runs this").unwrap().1;
    let script = after.split_once("```sh\n").unwrap().1.split_once("```").unwrap().0;
    let work = "echo \"working on $index\"         # your work; its exit code is the result";
    assert!(script.contains(work), "the page has no place for the work");
    // In this test the work fails at index 3.
    script.replace(work, "test \"$index\" != 3")
}

#[tokio::test]
async fn the_documented_script_finds_its_index_and_writes_its_result() {
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
