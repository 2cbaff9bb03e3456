//! Why parameters are not where workers read them, for the user and for what is done meanwhile.

use super::{sources::Source, values::Unresolved};
use crate::{
    aws::{self, Class},
    condition::Reason,
    reconcile::Chain,
    workers::preview::PLAN_ONLY,
};

/// Why the parameters are not as they are to be. While there is one nothing new is launched, and running workers stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A Secret, a ConfigMap or a key of one is not there.
    Missing {
        what: String,
        /// It has not been there for so long that it will hardly come by itself.
        waited: bool,
    },
    /// Kubernetes does not let muster read it.
    Unreadable {
        source: Source,
        message: String,
        /// It may do so the next moment.
        passing: bool,
    },
    /// The values are such that they cannot be kept there.
    Unusable(String),
    /// Parameters of these names are there, and muster did not make them.
    Taken {
        names: Vec<String>,
        /// The earlier object of the same name that some of them were made for.
        earlier: Option<String>,
    },
    /// What was written to an earlier store is not all removed.
    StoreChanged,
    /// AWS refused or did not answer.
    Aws(aws::Error),
    /// Some are written, and the rest follows.
    Unfinished,
    /// Nothing may be written. What is told of the parameters is how they will be once it is.
    Held {
        why: Held,
        /// The groups of workers whose values are not written.
        roles: Vec<String>,
        values: usize,
    },
}

/// Why nothing in AWS may be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    Suspended,
    PlanOnly,
}

impl Held {
    pub fn of(suspended: bool, plan_only: bool) -> Option<Self> {
        match (suspended, plan_only) {
            (true, _) => Some(Self::Suspended),
            (false, true) => Some(Self::PlanOnly),
            (false, false) => None,
        }
    }
}

/// So many names are told.
const NAMED: usize = 5;

impl Problem {
    pub(super) fn unresolved(unresolved: &Unresolved, waited: bool) -> Self {
        match unresolved {
            Unresolved::Missing { .. } => Self::Missing { what: unresolved.to_string(), waited },
            Unresolved::NotText { .. } => Self::Unusable(unresolved.to_string()),
        }
    }

    pub(super) fn unreadable(source: &Source, cause: &kube::Error) -> Self {
        let (message, passing) = match cause {
            kube::Error::Api(status) => (status.message.clone(), matches!(status.code, 408 | 429 | 500..)),
            // It may quote what it cannot read, and so the value.
            kube::Error::SerdeError(_) => {
                let lead = "see what stands between muster and the API server";
                (format!("the answer is not one that Kubernetes gives: {lead}"), false)
            }
            other => (Chain(other).to_string(), true),
        };
        Self::Unreadable { source: source.clone(), message, passing }
    }

    pub fn reason(&self) -> Reason {
        match self {
            Self::Missing { .. } => Reason::ValueMissing,
            Self::Unreadable { .. } => Reason::KubernetesError,
            Self::Unusable(_) => Reason::InvalidSpec,
            Self::Taken { .. } => Reason::ParameterTaken,
            Self::StoreChanged => Reason::StoreChanged,
            Self::Aws(error) => match error.class {
                Class::Denied => Reason::AwsDenied,
                Class::InvalidInput => Reason::AwsInvalid,
                Class::NotFound => Reason::AwsNotFound,
                Class::Throttled => Reason::AwsThrottled,
                Class::NoCapacity | Class::Conflict | Class::Transient => Reason::AwsUnavailable,
            },
            Self::Unfinished => Reason::Reconciling,
            Self::Held { why: Held::Suspended, .. } => Reason::Suspended,
            Self::Held { why: Held::PlanOnly, .. } => Reason::PlanOnly,
        }
    }

    pub fn message(&self) -> String {
        match self {
            Self::Missing { what, waited: _ } => what.clone(),
            Self::Unreadable { source, message, passing: _ } => format!("{source} cannot be read: {message}"),
            Self::Unusable(what) => what.clone(),
            Self::Taken { names, earlier } => {
                let more = names.len().saturating_sub(NAMED);
                let more = if more == 0 { String::new() } else { format!(" and {more} more") };
                let named = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
                let or = earlier.as_ref().map_or_else(String::new, |uid| {
                    format!(
                        ", or, since an earlier object of this name made them, annotate a WorkerFleet with \
                         muster.dev/adopt={uid} to take over all that it left"
                    )
                });
                format!(
                    "{named}{more} exist in Parameter Store and were not made for this object, so they are not touched: \
                     delete them, or make a new object with another path{or}"
                )
            }
            Self::StoreChanged => {
                "what was written to the store of the earlier spec.parameters is still in use: wait until \
                                   no worker of that time runs, or make a new object"
                    .into()
            }
            Self::Aws(error) => format!("{error}{}", advice(error)),
            Self::Unfinished => "the parameters are being written".into(),
            Self::Held { why, roles, values } => {
                let why = match why {
                    Held::Suspended => "spec.suspend".into(),
                    Held::PlanOnly => format!("the annotation {PLAN_ONLY}"),
                };
                let to_write = to_write(roles, *values);
                format!("the parameters are not written as spec.parameters has them ({to_write}), as {why} is true")
            }
        }
    }

    /// Whether somebody has to change something.
    pub fn is_stalled(&self) -> bool {
        match self {
            Self::Missing { what: _, waited } => *waited,
            Self::Unreadable { passing, .. } => !passing,
            Self::Unusable(_) | Self::Taken { .. } | Self::StoreChanged => true,
            Self::Aws(error) => match error.class {
                Class::Denied | Class::InvalidInput | Class::NotFound => true,
                Class::Throttled | Class::NoCapacity | Class::Conflict | Class::Transient => false,
            },
            Self::Unfinished | Self::Held { .. } => false,
        }
    }
}

/// How much there is to be written, and for whom.
pub(super) fn to_write(roles: &[String], values: usize) -> String {
    let more = roles.len().saturating_sub(NAMED);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let named = roles.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    let plural = if values == 1 { "" } else { "s" };
    format!("{values} value{plural} for {named}{more}")
}

fn advice(error: &aws::Error) -> String {
    match error.class {
        Class::Denied => format!("; allow {} to the role that muster uses here", error.operation),
        Class::NotFound => {
            "; make what is missing, or make a new object with another store, as this one's cannot change".into()
        }
        Class::InvalidInput => {
            "; change spec.parameters.values, or make a new object with another store, as this one's cannot change"
                .into()
        }
        Class::Throttled | Class::NoCapacity | Class::Conflict | Class::Transient => String::new(),
    }
}
