//! muster: a Kubernetes controller for fleets of EC2 workers.
//!
//! Every kind is reconciled by the same five steps, one file each. Data flows one way, in rounds:
//!
//! ```text
//! CR + cluster ──► desired ──┐
//!                            ├──► plan (pure) ──► apply (AWS and Kubernetes writes) ──► status (pure) ──► CR.status
//! AWS + cluster ─► observed ─┘
//! ```
//!
//! - [`reconcile`] is the shell around every kind: span, finalizer, suspend, deadlines, error policy, events.
//! - [`write_ahead`] makes the order of writes that no crash can break: an intent is acknowledged before it is sent.
//! - [`aws`] is where SDK types stop. Kinds see domain types only.
//! - [`worker_fleet`], [`fleet_report`] and [`aws_account`] are the kinds. They do not import each other.

pub mod aws;
pub mod aws_account;
pub mod cli;
pub mod clock;
pub mod condition;
pub mod config;
pub mod context;
pub mod controller;
pub mod crds;
pub mod fields;
pub mod fleet_report;
pub mod health;
pub mod ids;
pub mod lease;
pub mod live;
pub mod logs;
pub mod manifests;
pub mod memories;
pub mod metrics;
pub mod reconcile;
pub mod references;
pub mod reporting;
pub mod worker_fleet;
pub mod worker_job;
pub mod workers;
pub mod write_ahead;
