//! A local environment for muster: a Kubernetes API server, AWS on loopback, and the controller. Tests use the parts;
//! `make demo`, `make dev` and `make memory` run all of it.

pub mod controller;
pub mod demo;
pub mod dev;
mod environment;
pub mod kubernetes;
mod logs;
pub mod memory;
pub mod objects;
pub mod progress;
mod rotation;
mod versions;
pub mod world;

pub use muster_sandbox::process_group;

pub use self::{environment::cache_folder, kubernetes::KubeApi};
