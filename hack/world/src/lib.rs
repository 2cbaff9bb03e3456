//! A whole world for muster on one machine: a Kubernetes API server, AWS on loopback, and the controller between them.
//! Tests take the pieces, `make demo` and `make dev` run all of it.

pub mod controller;
pub mod demo;
pub mod dev;
mod environment;
pub mod kubernetes;
pub mod objects;
pub mod progress;
pub mod world;

pub use muster_sandbox::process_group;

pub use self::{environment::cache_folder, kubernetes::KubeApi};
