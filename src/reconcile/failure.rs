//! Why a reconcile failed.

use crate::{access::NoSession, aws, condition::Reason, k8s::cluster::Error, write_ahead::NotSent};

/// Why a reconcile failed. Each failure becomes a condition that tells the user what to do.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The spec is invalid in a way that the schema cannot express. The message says how to fix it.
    #[error("{0}")]
    InvalidSpec(String),
    /// An object that the spec refers to does not exist, or not yet.
    #[error("{message}")]
    Missing { reason: Reason, message: String },
    /// No call is made before a user changes something.
    #[error("{message}")]
    Refused { reason: Reason, message: String },
    #[error(transparent)]
    Aws(#[from] aws::Error),
    #[error(transparent)]
    Kubernetes(#[from] Error),
    #[error(transparent)]
    NotSent(#[from] NotSent),
    /// This process has just started and has not read the data that it needs. Nothing was done; reconcile again.
    #[error("{0} was not read yet")]
    NotYet(String),
    #[error("the reconcile did not finish in time and was stopped; the next one continues from the stored status")]
    Deadline,
}

impl From<NoSession> for Failure {
    fn from(error: NoSession) -> Self {
        match error {
            NoSession::NotYet(what) => Self::NotYet(what),
            NoSession::Missing { reason, message } => Self::Missing { reason, message },
            NoSession::Refused { reason, message } => Self::Refused { reason, message },
            NoSession::InvalidSpec(message) => Self::InvalidSpec(message),
        }
    }
}
