//! Parameters: values that every worker reads at boot, kept in S3 or Parameter Store, some of them from Secrets.
//!
//! ```text
//!  spec + Secrets + ConfigMaps ──► values ──► hash ──► what to write ──► store ──► ParametersRef ──► user data
//! ```
//!
//! What a revision, a user data or a status holds is the place of the values and their hash, never a value.

mod crd;
mod memory;
mod plan;
mod problem;
mod redact;
mod reference;
mod sources;
mod store;
mod sync;
mod user_data;
mod values;

pub use self::{
    crd::{
        KeyRef, OnChange, Parameter, ParameterStore, Parameters, ParametersRecord, ParametersStatus, RoleHash, S3Store,
        Store, ValueFrom,
    },
    memory::Memories,
    plan::MAIN,
    problem::Problem,
    reference::{ParametersRef, Place},
    sources::{Changed, Source, WATCH_LABEL, Watched, referring},
    sync::{Ask, Synced, WithParameters, remove, sync, tidy},
    user_data::{Uncombinable, compose},
};
