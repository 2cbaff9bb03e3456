//! How every kind is run: the trait of a kind ([`Kind`]), the controller around it ([`run`]), and what each failure
//! means for the user and for the next reconcile.

pub mod context;
mod controller;
mod error_policy;
mod failure;
mod kind;
pub mod memories;
mod requests;

pub use crate::reconcile::{
    controller::run,
    error_policy::{Backoff, escape},
    failure::Failure,
    kind::{Finalized, Forecast, Kind, Outcome},
    requests::Requests,
};
