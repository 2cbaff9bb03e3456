//! Parameters: values that every worker reads at boot, kept in S3 or Parameter Store, some of them from Secrets.
//!
//! ```text
//!  spec + Secrets + ConfigMaps ──► values ──► hash ──► what to write ──► store ──► ParametersRef ──► user data
//! ```
//!
//! What a revision, a user data or a status holds is the place of the values and their hash, never a value.

mod crd;
mod reference;
mod user_data;

pub use self::{
    crd::{
        KeyRef, OnChange, Parameter, ParameterStore, Parameters, ParametersRecord, ParametersStatus, RoleHash, S3Store,
        Store, ValueFrom,
    },
    reference::{ParametersRef, Place},
    user_data::{Uncombinable, compose},
};
