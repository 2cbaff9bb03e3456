//! Why a template cannot be resolved, and what to do.

use std::collections::BTreeMap;

use crate::{
    aws::{self, advice},
    condition::Reason,
    ids::InvalidId,
    workers::launch_spec::{render::Unrenderable, resolve::resolution::Image},
};

/// How many items a message names.
pub(super) const NAMED: usize = 5;

/// Tags for messages.
pub(super) fn marks(tags: &BTreeMap<String, String>) -> String {
    tags.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", ")
}

/// The field of a template that cannot be resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Ami,
    LaunchTemplate,
    InstanceTypes,
    CapacityType,
    Subnets,
    SecurityGroups,
    UserData,
}

impl Field {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ami => "ami",
            Self::LaunchTemplate => "launchTemplate",
            Self::InstanceTypes => "instanceTypes",
            Self::CapacityType => "capacityType",
            Self::Subnets => "subnets",
            Self::SecurityGroups => "securityGroups",
            Self::UserData => "userData",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    Aws(aws::Error),
    /// It resolves itself, or somebody is working on it.
    Pending(String),
    /// Somebody must change something: the message says what.
    Nothing(String),
    /// It resolves to something that the AwsAccount does not grant: the message says what to add.
    NotGranted(String),
    /// The resolved template cannot be rendered.
    Unrenderable(Unrenderable),
    /// An object in Kubernetes does not exist, perhaps not yet, or cannot be read.
    Kubernetes(String),
}

impl From<aws::Error> for Why {
    fn from(error: aws::Error) -> Self {
        Self::Aws(error)
    }
}

impl From<InvalidId> for Why {
    fn from(error: InvalidId) -> Self {
        Self::Nothing(error.to_string())
    }
}

/// While a template is unresolved, nothing is launched from it and running workers stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    pub field: Field,
    pub why: Why,
    /// The image, if it was found before something else failed.
    pub image: Option<Image>,
}

impl Unresolved {
    pub fn reason(&self) -> Reason {
        match (&self.why, self.field) {
            (Why::Aws(error), _) => advice::reason(error),
            (Why::NotGranted(_), _) => Reason::NotGranted,
            (Why::Pending(_), Field::Ami) => Reason::AmiNotAvailable,
            (Why::Nothing(_), Field::Ami) => Reason::AmiNotFound,
            (Why::Pending(_) | Why::Nothing(_) | Why::Unrenderable(_) | Why::Kubernetes(_), _) => {
                Reason::TemplateUnresolved
            }
        }
    }

    pub fn message(&self) -> String {
        let field = self.field.as_str();
        match &self.why {
            Why::Aws(error) => {
                let remedy = advice::Remedy::change(&format!("spec.template.{field}"));
                format!("template.{field}: {error}{}", advice::advice(error, &remedy))
            }
            Why::Unrenderable(error) => error.to_string(),
            Why::Pending(message) | Why::Nothing(message) | Why::NotGranted(message) | Why::Kubernetes(message) => {
                format!("template.{field}: {message}")
            }
        }
    }

    /// Whether somebody must change something.
    pub fn stalls(&self) -> bool {
        match &self.why {
            Why::Aws(error) => advice::stalls(error),
            Why::Nothing(_) | Why::NotGranted(_) | Why::Unrenderable(_) => true,
            Why::Pending(_) | Why::Kubernetes(_) => false,
        }
    }

    /// Whether the image is what cannot be resolved.
    pub fn is_about_image(&self) -> bool {
        self.image.is_none()
    }
}
