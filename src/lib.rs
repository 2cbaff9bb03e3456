//! muster: a Kubernetes controller for fleets of EC2 workers.
//!
//! The layers, from the top. A file imports only its own module and the layers below (`make house` shows it):
//!
//! ```text
//! main, cli, logs
//! controller, manifests     what the program does
//! client                    what it shows of a cluster, or of the API
//! http                      health, metrics, the API: certificate, rates, the way to the leader
//! kinds                     the one list of kinds, and a folder for each; they never import each other
//! workers                   what WorkerFleet and WorkerJob share
//! reconcile                 the trait of a kind, the controller around it, the error policy
//! access                    AwsAccounts and their grants
//! inventory                 data from AWS, shared by all objects
//! aws                       adapters; no SDK types above
//! k8s                       objects, status writes, finalizers, events, watches
//! write_ahead               the crash-safe order of writes
//! crd                       the API: types only
//! lease, metrics, config
//! ids, clock, condition, schedule, tags, text, error_chain, single_flight
//! ```
//!
//! A kind that changes AWS is reconciled in passes:
//!
//! ```text
//!   spec ──► desired, launch specs ──┐
//!                                    ├──► plan (pure) ──► apply: record the intents, send ──► status (pure)
//!   AWS + record ──► observed ───────┘         ▲                        │
//!                                              └──────── rounds ◄───────┘
//! ```
//!
//! In a kind that runs workers, parameters are written and revisions stored before the rounds; after them, events are
//! published, adopted instances tagged and old revisions pruned. AwsAccount and FleetReport change nothing outside of
//! Kubernetes, so they have no plan.

pub mod access;
pub mod aws;
pub mod cli;
pub mod client;
pub mod clock;
pub mod condition;
pub mod config;
pub mod controller;
pub mod crd;
pub mod error_chain;
pub mod http;
pub mod ids;
pub mod inventory;
pub mod k8s;
pub mod kinds;
pub mod lease;
pub mod logs;
pub mod manifests;
pub mod metrics;
pub mod reconcile;
pub mod schedule;
pub mod single_flight;
pub mod tags;
pub mod text;
pub mod workers;
pub mod write_ahead;
