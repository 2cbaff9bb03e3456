//! The shell around every kind: what a kind must say of itself ([`Kind`]), how it is run ([`run`]), the finalizer, and
//! what each failure means for the user and for the next look.

mod finalizer;
mod policy;
mod shell;

use std::{fmt, future::Future, time::Duration};

use kube::Resource;
use serde::{Serialize, de::DeserializeOwned};

pub use self::{
    finalizer::ORPHAN,
    policy::Backoff,
    shell::{escape, run},
};
use crate::{
    aws,
    condition::{ConditionType, Reason, Verdict},
    context::Context,
    fields::CommonStatus,
    ids::Uid,
    live::Live,
    write_ahead::NotSent,
};

/// A kind that muster reconciles. Everything that is the same for all kinds is in this module.
pub trait Kind: Resource<DynamicType = ()> + DeserializeOwned + Clone + fmt::Debug + Send + Sync + 'static {
    type Status: Serialize
        + DeserializeOwned
        + Default
        + Clone
        + PartialEq
        + fmt::Debug
        + Send
        + Sync
        + AsMut<CommonStatus>;

    /// The kind's name.
    const NAME: &'static str;

    /// Whether objects live in a namespace.
    const NAMESPACED: bool = true;

    /// `muster.dev/<kind>`.
    const FINALIZER: &'static str;

    /// Where in the spec an `AwsRef` stands, as JSON pointers; `[]` after a list: `/sources[]/aws`.
    const AWS_REFS: &'static [&'static str];

    /// Conditions that are not known any more while somebody must mend something before the world can be looked at.
    const UNKNOWN_WHILE_STALLED: &'static [ConditionType] = &[];

    fn status(&self) -> Option<&Self::Status>;

    /// `spec.suspend`.
    fn suspended(&self) -> bool;

    /// What the schema cannot tell of its spec and annotations. Pure.
    ///
    /// # Errors
    /// [`Failure::InvalidSpec`], with what to write instead.
    fn check(_: &Live<Self>) -> Result<(), Failure> {
        Ok(())
    }

    /// One look at the world and what follows from it. While [`Kind::suspended`], nothing outside is changed; the status
    /// goes on. Intents are written on the way with [`Live::record`]; the status that is returned is written by the shell,
    /// which adds `observedGeneration`, the conditions and the echo of `requested-at`.
    fn reconcile(
        ctx: &Context,
        live: &mut Live<Self>,
    ) -> impl Future<Output = Result<Outcome<Self::Status>, Failure>> + Send;

    /// One step towards letting go. Must not rely on a valid spec, nor on `reconcile` ever having run.
    fn finalize(
        ctx: &Context,
        live: &mut Live<Self>,
    ) -> impl Future<Output = Result<Finalized<Self::Status>, Failure>> + Send;

    /// Drops all that this process remembers of an object that is gone, however it went: finalized, orphaned or torn away.
    fn forget(ctx: &Context, uid: &Uid);
}

/// What a reconcile found.
#[derive(Clone, Debug)]
pub struct Outcome<S> {
    pub status: S,
    /// The conditions of this kind, `Ready` among them. `Reconciling` and `Stalled` are said here too, when they hold.
    pub verdicts: Vec<Verdict>,
    /// Look again after this time, whatever happens.
    pub requeue: Duration,
}

/// Whether an object that is being deleted may go.
#[derive(Clone, Debug)]
pub enum Finalized<S> {
    Done,
    /// Not yet; `verdicts` say what blocks it and how to let go.
    Waiting(Outcome<S>),
}

/// Why a reconcile could not do its work. Each becomes a condition that tells the user what to do.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The spec is wrong in a way that the schema cannot tell. The message says how to mend it.
    #[error("{0}")]
    InvalidSpec(String),
    /// Something that the spec names is not there, perhaps not yet.
    #[error("{message}")]
    Missing { reason: Reason, message: String },
    /// Somebody must change something before any call is made.
    #[error("{message}")]
    Refused { reason: Reason, message: String },
    #[error(transparent)]
    Aws(#[from] aws::Error),
    #[error("cannot {operation}")]
    Kube { operation: String, source: Box<kube::Error> },
    #[error("cannot {operation}: the Kubernetes API server did not answer in time")]
    KubeDeadline { operation: String },
    #[error("the object does not have the shape that this version of muster knows")]
    Shape { source: serde_json::Error },
    /// The object changed since it was read. Nothing was done; look again.
    #[error("the object changed since it was read")]
    Stale,
    #[error(transparent)]
    NotSent(#[from] NotSent),
    /// This process has just started and has not looked at what is needed here. Nothing was done; look again.
    #[error("{0} was not looked at yet")]
    NotYet(String),
    #[error("the reconcile did not end in time and was stopped; it is safe to go on from what is stored")]
    Deadline,
}

/// An error and its causes in one line.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a dyn std::error::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
