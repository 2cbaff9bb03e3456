//! The trait that a kind must implement to be reconciled.

use std::{fmt, future::Future, time::Duration};

use crate::{
    aws::Aws,
    condition::{ConditionType, Verdict},
    config::Config,
    k8s::{live::Live, object::Object},
    reconcile::{context::Context, failure::Failure},
};

/// A kind that muster reconciles.
pub trait Kind: Object {
    /// Data about an object that this process keeps between reconciles. It is dropped when the object is gone:
    /// finalized, orphaned, or with its finalizer removed by another client.
    type Memory: Default + Send + 'static;

    /// Data that all objects of this kind share.
    type Shared: Clone + Send + Sync + fmt::Debug + 'static;

    /// Conditions that are unknown while a user must fix the object before AWS can be observed.
    const UNKNOWN_WHILE_STALLED: &'static [ConditionType] = &[];

    /// Called once, before the first reconcile.
    fn shared(ctx: &Context) -> Self::Shared;

    /// Only objects that this label selector matches are reconciled.
    fn selector(_: &Config) -> Option<&str> {
        None
    }

    /// Checks of the spec and annotations that the schema cannot express. Pure.
    ///
    /// # Errors
    /// [`Failure::InvalidSpec`], with what to write instead.
    fn check(_: &Live<Self>) -> Result<(), Failure> {
        Ok(())
    }

    /// What would be done now, as the caller's own identity sees AWS. `None` if the kind cannot tell without a cluster.
    fn preview(_: &Aws, _: &Live<Self>) -> impl Future<Output = Result<Option<Forecast>, Failure>> + Send {
        std::future::ready(Ok(None))
    }

    /// Observes, plans and applies. While [`Object::suspended`], only the status is changed. Intents are written with
    /// [`Live::record`] during the reconcile. The controller writes the returned status and adds `observedGeneration`,
    /// the conditions and `lastHandledRequestedAt`.
    fn reconcile(
        ctx: &Context,
        shared: &Self::Shared,
        live: &mut Live<Self>,
        memory: &mut Self::Memory,
    ) -> impl Future<Output = Result<Outcome<Self::Status>, Failure>> + Send;

    /// One step of the clean-up before the finalizer is removed. Must work with an invalid spec, and without an earlier
    /// `reconcile`.
    fn finalize(
        ctx: &Context,
        shared: &Self::Shared,
        live: &mut Live<Self>,
        memory: &mut Self::Memory,
    ) -> impl Future<Output = Result<Finalized<Self::Status>, Failure>> + Send;
}

/// The result of a reconcile.
#[derive(Clone, Debug)]
pub struct Outcome<S> {
    pub status: S,
    /// The conditions of this kind, including `Ready`, and `Reconciling` and `Stalled` while they are true.
    pub verdicts: Vec<Verdict>,
    /// The next reconcile is due after this time at the latest.
    pub requeue: Duration,
}

/// Whether the finalizer of an object that is being deleted can be removed.
#[derive(Clone, Debug)]
pub enum Finalized<S> {
    Done,
    /// Not yet; the verdicts name what blocks it, and how to delete the object without clean-up.
    Waiting(Outcome<S>),
}

/// What would be done for an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forecast {
    /// In the words of a plan.
    pub steps: Vec<String>,
    /// What is in the way of something that the spec asks for.
    pub notes: Vec<String>,
    /// Nothing is done before somebody changes something.
    pub is_stalled: bool,
}
