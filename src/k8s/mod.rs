//! Kubernetes: objects, status writes, finalizers, events and watches.

pub mod cached;
pub mod callers;
pub mod changes;
pub mod cluster;
pub mod events;
pub mod finalizer;
pub mod live;
pub mod object;
pub mod references;
pub mod release_key;
pub mod sources;
pub mod written;
