//! Integration tests: one binary, so that the SDKs are linked once and all tests share one API server.
//!
//! | Folder | What its tests prove |
//! |---|---|
//! | `worker_fleet/` | instances of a WorkerFleet: launch, replacement, scaling, updates, adoption, termination |
//! | `worker_job/` | indexes of a WorkerJob: how often each is run, and what counts as its result |
//! | `workers/` | what both kinds share: `template/` (how workers are launched), `parameters/` (what they read) |
//! | `fleet_report/` | collection and evaluation of reports from S3 |
//! | `launch_template_pin/` | versions of a launch template, the groups that follow it, and their instance refreshes |
//! | `aws_account/` | credentials, grants, and instances whose owner is gone |
//! | `controller/` | leadership, shutdown, clock skew, ended watches, hung requests, SIGKILL, older CRDs, restored backups |
//! | `chart/` | what the Helm chart renders, rejects, installs and permits |
//! | `crds/` | validation by the API server, `kubectl`, and the YAML in the documentation |
//! | `examples.rs` | the examples do what their READMEs say |
//! | `support/` | no tests: the environment of a test (`scene`), and control over the calls of a controller (`tap`, `crash`) |
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod aws_account;
mod chart;
mod controller;
mod crds;
mod examples;
mod fleet_report;
mod launch_template_pin;
mod support;
mod worker_fleet;
mod worker_job;
mod workers;
