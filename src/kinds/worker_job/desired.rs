//! The desired state: a spec parsed once into types that cannot be invalid.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    aws::ec2::launch_request::ShutdownBehavior,
    crd::{
        fields,
        worker_job::{S3Result, WorkerJobSpec},
    },
    ids::{InvalidId, Role, Uid, uids},
    inventory::ownership::Owner,
    kinds::worker_job::results::folder,
    tags::RESULT_TAG,
    workers::{
        launch_spec::{DesiredRole, DesiredWorkers, Resolved, revision::Revision},
        parameters::Synced,
        plan::share::Share,
    },
};

/// Ignores the instances of an earlier job of the same name, given by its uid.
pub(super) const IGNORE: &str = "muster.dev/ignore";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    pub(super) owner: Owner,
    /// Change nothing in AWS.
    pub(super) suspended: bool,
    /// Show the plan, and change nothing.
    pub(super) plan_only: bool,
    pub(super) completions: u32,
    pub(super) parallelism: u32,
    pub(super) backoff_limit: u32,
    pub(super) max_failed: Option<u32>,
    pub(super) deadline: Option<Duration>,
    pub(super) results: ResultsFrom,
    pub(super) role: DesiredRole,
    /// Nothing is launched while these have a problem.
    pub(super) parameters: Synced,
    pub(super) ignore: BTreeSet<Uid>,
}

/// How workers report their results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ResultsFrom {
    S3(S3Result),
    ShutdownReason,
}

/// A spec that the schema allows but that cannot be carried out.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum Invalid {
    #[error("spec.result: set exactly one of s3 or shutdownReason")]
    Result,
    #[error("the annotation {IGNORE} must be the uid of the earlier job, or uids separated by commas: {0}")]
    Annotation(InvalidId),
}

impl Desired {
    pub(super) fn parse<'a>(
        spec: &WorkerJobSpec,
        owner: Owner,
        parameters: Synced,
        annotation: impl Fn(&'static str) -> Option<&'a str>,
    ) -> Result<Self, Invalid> {
        let plan_only = fields::is_plan_only(annotation(fields::PLAN_ONLY));
        let whole = |number: i32| u32::try_from(number).unwrap_or_default();
        Ok(Self {
            suspended: spec.suspend || plan_only,
            plan_only: plan_only && !spec.suspend,
            completions: whole(spec.completions),
            parallelism: whole(spec.parallelism),
            backoff_limit: whole(spec.backoff_limit_per_index),
            max_failed: spec.max_failed_indexes.map(whole),
            deadline: spec.active_deadline_seconds.map(|seconds| Duration::from_secs(whole(seconds).into())),
            results: results_from(spec)?,
            role: DesiredRole {
                role: Role::main(),
                replicas: whole(spec.parallelism),
                template: spec.template.clone(),
                resolved: Resolved::default(),
            },
            parameters,
            owner,
            ignore: uids(annotation(IGNORE).unwrap_or_default()).map_err(Invalid::Annotation)?,
        })
    }

    /// For a plan that is only shown: the desired state without suspension and unwritten parameters.
    pub(super) fn freed(&self) -> Self {
        Self { suspended: false, parameters: self.parameters.once_written(), ..self.clone() }
    }
}

impl DesiredWorkers for Desired {
    fn roles(&self) -> &[DesiredRole] {
        std::slice::from_ref(&self.role)
    }

    fn roles_mut(&mut self) -> &mut [DesiredRole] {
        std::slice::from_mut(&mut self.role)
    }

    fn parameters(&self) -> &Synced {
        &self.parameters
    }

    /// Adds to `revision` how this job's instances report their results. They read their index from their tags.
    fn adjust(&self, revision: &mut Revision) {
        let request = &mut revision.content.request;
        request.metadata.instance_tags = Some(true);
        request.shutdown_behavior = Some(match &self.results {
            ResultsFrom::S3(at) => {
                let folder = folder(at.prefix.as_deref(), &self.owner.uid);
                request.tags.insert(RESULT_TAG.into(), format!("s3://{}/{}", at.bucket, folder.trim_end_matches('/')));
                ShutdownBehavior::Terminate
            }
            // The instance is kept until its shutdown reason is recorded.
            ResultsFrom::ShutdownReason => ShutdownBehavior::Stop,
        });
    }

    fn max_missing(&self) -> Share {
        Share::Percent(20)
    }
}

pub(super) fn results_from(spec: &WorkerJobSpec) -> Result<ResultsFrom, Invalid> {
    match (&spec.result.s3, &spec.result.shutdown_reason) {
        (Some(s3), None) => Ok(ResultsFrom::S3(s3.clone())),
        (None, Some(_)) => Ok(ResultsFrom::ShutdownReason),
        (Some(_), Some(_)) | (None, None) => Err(Invalid::Result),
    }
}
