//! Why parameters are not in the store, and what the user can do.

use crate::{
    aws::{self, advice},
    condition::Reason,
    crd::fields::PLAN_ONLY,
    error_chain::Chain,
    ids::list,
    k8s::sources::Source,
    workers::parameters::values::Unresolved,
};

/// Why the parameters are not as specified. Until it is solved nothing is launched, and running workers stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A Secret, a ConfigMap or a key in it does not exist.
    Missing {
        what: String,
        /// It has been missing for so long that somebody must create it.
        waited: bool,
    },
    /// Kubernetes did not return the source.
    Unreadable {
        source: Source,
        message: String,
        /// A retry may succeed.
        passing: bool,
    },
    /// The store does not accept the values.
    Unusable(String),
    /// Parameters of these names exist and were not created for this object.
    Taken {
        names: Vec<String>,
        /// The earlier object of the same name that some of them were created for.
        earlier: Option<String>,
    },
    /// Some parameters in an earlier store are not removed yet.
    StoreChanged,
    /// AWS refused a call or did not answer.
    Aws(aws::Error),
    /// Some are written; the rest follows.
    Unfinished,
    /// Nothing may be written. The references show the state after the write.
    Held {
        why: Held,
        /// The roles of workers whose values are not written.
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
        if suspended { Some(Self::Suspended) } else { plan_only.then_some(Self::PlanOnly) }
    }
}

/// How many names a message lists.
const NAMED: usize = 5;

impl Problem {
    pub(super) fn unresolved(unresolved: &Unresolved, waited: bool) -> Self {
        match unresolved {
            Unresolved::Missing { .. } | Unresolved::MissingKey { .. } => {
                Self::Missing { what: unresolved.to_string(), waited }
            }
            Unresolved::NotText { .. } => Self::Unusable(unresolved.to_string()),
        }
    }

    pub(super) fn unreadable(source: &Source, cause: &kube::Error) -> Self {
        let (message, passing) = match cause {
            kube::Error::Api(status) => (status.message.clone(), matches!(status.code, 408 | 429 | 500..)),
            // The error may quote the value.
            kube::Error::SerdeError(_) => {
                ("the answer is not valid: check proxies between muster and the API server".into(), false)
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
            Self::Aws(error) => advice::reason(error),
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
                let named = list(names.iter(), NAMED);
                let or = earlier.as_ref().map_or_else(String::new, |uid| {
                    format!(
                        ", or, since an earlier object of this name created them, annotate a WorkerFleet with \
                         muster.dev/adopt={uid} to adopt its instances and parameters"
                    )
                });
                format!(
                    "{named} exist in Parameter Store and were not created for this object, so they are not changed: \
                     delete them, or create a new object with another path{or}"
                )
            }
            Self::StoreChanged => {
                "the store of the earlier spec.parameters is still in use: wait until all workers that \
                read it are terminated, or create a new object"
                    .into()
            }
            Self::Aws(error) => format!("{error}{}", advice::advice(error, &remedy())),
            Self::Unfinished => "the parameters are being written".into(),
            Self::Held { why, roles, values } => {
                let why = match why {
                    Held::Suspended => "spec.suspend".into(),
                    Held::PlanOnly => format!("the annotation {PLAN_ONLY}"),
                };
                let to_write = to_write(roles, *values);
                format!("spec.parameters is not written yet ({to_write}), because {why} is true")
            }
        }
    }

    /// Whether somebody must change something.
    pub fn is_stalled(&self) -> bool {
        match self {
            Self::Missing { what: _, waited } => *waited,
            Self::Unreadable { passing, .. } => !passing,
            Self::Unusable(_) | Self::Taken { .. } | Self::StoreChanged => true,
            Self::Aws(error) => advice::stalls(error),
            Self::Unfinished | Self::Held { .. } => false,
        }
    }
}

/// How many values are to be written, and for which roles.
pub(super) fn to_write(roles: &[String], values: usize) -> String {
    let plural = if values == 1 { "" } else { "s" };
    format!("{values} value{plural} for {}", list(roles.iter(), NAMED))
}

fn remedy() -> advice::Remedy {
    let or = "or create a new object with another store: the store of an object cannot change";
    advice::Remedy {
        denied: None,
        not_found: Some(format!("create what is missing, {or}")),
        invalid: Some(format!("change spec.parameters.values, {or}")),
    }
}
