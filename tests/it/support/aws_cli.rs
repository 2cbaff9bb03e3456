//! A replacement of the AWS CLI for workers that run their user data.

use std::{fs, os::unix::fs::PermissionsExt};

use muster_sandbox::{InstanceState, WorkersConfig};
use tempfile::TempDir;

use crate::support::scene::Scene;

/// Supports `aws s3 cp - s3://bucket/key`, which writes its input to the S3 of the sandbox.
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

    /// Workers that run their user data with this CLI.
    pub(crate) fn workers(&self) -> WorkersConfig {
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", self.tools.path().display());
        WorkersConfig { user_data: true, path: Some(path), ..WorkersConfig::default() }
    }

    /// Copies what workers wrote to the bucket. An instance that shuts down has written its result before.
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

/// Copies until it is dropped.
pub(crate) struct Carrier(tokio::task::JoinHandle<()>);

impl Drop for Carrier {
    fn drop(&mut self) {
        self.0.abort();
    }
}
