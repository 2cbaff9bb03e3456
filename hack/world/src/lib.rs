//! A whole world for muster on one machine: a Kubernetes API server, AWS on loopback, and the controller between them.
//! Tests take the pieces, `make demo` and `make dev` run all of it.

mod environment;
pub mod kubernetes;
pub mod process_group;

pub use self::{environment::cache_folder, kubernetes::KubeApi};
