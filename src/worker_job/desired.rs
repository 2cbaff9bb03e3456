//! The wish: a spec parsed once into types that cannot be wrong.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    ids::{InvalidId, Role, Uid, uids},
    worker_job::{crd::WorkerJobSpec, results::folder},
    workers::{
        ownership::{Owner, RESULT_TAG},
        parameters::Synced,
        preview::{PLAN_ONLY, is_plan_only},
        request::ShutdownBehavior,
        revision::Revision,
        supply::Supplied,
    },
};

/// Starts beside the machines of an earlier job of the same name, named by its uid.
pub(super) const IGNORE: &str = "muster.dev/ignore";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Desired {
    pub owner: Owner,
    /// Change nothing in AWS.
    pub suspended: bool,
    /// Tell what would be done, and do nothing.
    pub plan_only: bool,
    pub completions: u32,
    pub parallelism: u32,
    pub backoff_limit: u32,
    pub max_failed: Option<u32>,
    pub deadline: Option<Duration>,
    pub results: ResultsFrom,
    pub role: Role,
    /// What the template comes to: filled in once it is resolved.
    pub supplied: Supplied,
    /// Nothing is launched while these have a problem.
    pub parameters: Synced,
    pub ignore: BTreeSet<Uid>,
}

/// How workers tell their results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ResultsFrom {
    S3(ResultPlace),
    ShutdownReason,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ResultPlace {
    pub bucket: String,
    pub prefix: Option<String>,
}

/// A spec that the schema allows and that cannot be done.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum Invalid {
    #[error("spec.result: say how a worker tells its result: exactly one of s3 or shutdownReason")]
    Result,
    #[error("the annotation {IGNORE} must hold the uid of the earlier job, or several separated by commas: {0}")]
    Annotation(InvalidId),
}

impl Desired {
    pub(super) fn parse(
        spec: &WorkerJobSpec,
        owner: Owner,
        parameters: Synced,
        annotation: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Self, Invalid> {
        let results = results_from(spec)?;
        let plan_only = is_plan_only(annotation(PLAN_ONLY).as_deref());
        let whole = |number: i32| u32::try_from(number).unwrap_or_default();
        Ok(Self {
            suspended: spec.suspend || plan_only,
            plan_only: plan_only && !spec.suspend,
            completions: whole(spec.completions),
            parallelism: whole(spec.parallelism),
            backoff_limit: whole(spec.backoff_limit_per_index),
            max_failed: spec.max_failed_indexes.map(whole),
            deadline: spec.active_deadline_seconds.map(|seconds| Duration::from_secs(whole(seconds).into())),
            results,
            role: Role::main(),
            supplied: Supplied::default(),
            parameters,
            owner,
            ignore: uids(&annotation(IGNORE).unwrap_or_default()).map_err(Invalid::Annotation)?,
        })
    }
}

impl Desired {
    /// For a plan that is only told: as it is wanted once nothing holds it back.
    pub(super) fn freed(&self) -> Self {
        Self { suspended: false, parameters: self.parameters.once_written(), ..self.clone() }
    }

    /// Makes `revision` one of this job: how its machines tell their results. They read their index from their tags.
    pub(super) fn dress(&self, revision: &mut Revision) {
        let request = &mut revision.content.request;
        request.shutdown_behavior = Some(self.results.shutdown_behavior());
        request.metadata.instance_tags = Some(true);
        if let ResultsFrom::S3(at) = &self.results {
            let folder = folder(at.prefix.as_deref(), &self.owner.uid);
            request.tags.insert(RESULT_TAG.into(), format!("s3://{}/{}", at.bucket, folder.trim_end_matches('/')));
        }
    }
}

impl ResultsFrom {
    /// A machine that tells by how it ended must stay until that is on record; any other goes when it is done.
    fn shutdown_behavior(&self) -> ShutdownBehavior {
        match self {
            Self::S3(_) => ShutdownBehavior::Terminate,
            Self::ShutdownReason => ShutdownBehavior::Stop,
        }
    }
}

pub(super) fn results_from(spec: &WorkerJobSpec) -> Result<ResultsFrom, Invalid> {
    match (&spec.result.s3, &spec.result.shutdown_reason) {
        (Some(s3), None) => Ok(ResultsFrom::S3(ResultPlace { bucket: s3.bucket.clone(), prefix: s3.prefix.clone() })),
        (None, Some(_)) => Ok(ResultsFrom::ShutdownReason),
        (Some(_), Some(_)) | (None, None) => Err(Invalid::Result),
    }
}
