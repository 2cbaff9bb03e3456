//! The code that the kinds that run EC2 workers share.
//!
//! ```text
//! reconcile ──► launch_spec (resolve, render, revision) ──► pass: observe ──► plan ──► apply ──► status
//! finalize ───────────────────────────────────────────────►      ▲                      │
//!                                                                └──── rounds ◄─────────┘
//! ```
//!
//! [`kind`] is what each kind adds. [`ledger`] is the part of a status that safety depends on.

pub mod adoption;
pub mod apply;
pub mod finalize;
pub mod kind;
pub mod launch_spec;
pub mod ledger;
pub mod memory;
pub mod observe;
pub mod parameters;
pub mod pass;
pub mod plan;
pub mod reconcile;
#[cfg(test)]
pub mod sample;
#[cfg(test)]
pub mod simulation;
pub mod status;
