//! Parameters: values that every worker reads at boot, kept in S3 or Parameter Store, some of them from Secrets.
//!
//! ```text
//!  spec + Secrets + ConfigMaps ──► values ──► hash ──► what to write ──► store ──► ParametersRef ──► user data
//! ```
//!
//! What a revision, a user data or a status holds is the place of the values and their hash, never a value.

mod conclude;
mod crd;
mod memory;
mod plan;
mod problem;
mod reference;
mod remove;
mod sources;
mod store;
mod sync;
mod synced;
mod user_data;
mod values;

pub use self::{
    conclude::conclude,
    crd::{
        KeyRef, OnChange, Parameter, ParameterStore, Parameters, ParametersRecord, ParametersStatus, RoleHash, S3Store,
        Store, ValueFrom,
    },
    memory::Memory,
    plan::MAIN,
    problem::{Held, Problem},
    reference::{ParametersRef, Place},
    remove::{remove, tidy},
    sources::{Changed, Source, WATCH_LABEL, Watched, referring},
    sync::{Ask, WithParameters, sync},
    synced::Synced,
    user_data::{Uncombinable, compose},
};
