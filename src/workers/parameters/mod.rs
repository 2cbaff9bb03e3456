//! Parameters: values that every worker reads at boot from S3 or Parameter Store. Some of them come from Secrets.
//!
//! ```text
//!  spec + Secrets + ConfigMaps ──► values ──► hash ──► what to write ──► store ──► ParametersRef ──► user data
//! ```
//!
//! Revisions, user data and the status hold the place and the hash of the values, never a value.

mod document;
mod memory;
mod plan;
mod problem;
mod recognize;
mod reference;
mod remove;
mod store;
mod sync;
mod synced;
mod user_data;
mod values;

pub use crate::workers::parameters::{
    memory::Memory,
    plan::MAIN,
    problem::{Held, Problem},
    reference::{ParametersPlace, ParametersRef},
    remove::{conclude, remove},
    store::Site,
    sync::{Ask, sync},
    synced::Synced,
    user_data::{Uncombinable, compose},
};
