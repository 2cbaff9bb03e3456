//! What a template cannot be made into, and what to do about it.

use crate::{
    aws,
    condition::Reason,
    workers::{refusal, request::Unrenderable, resolve::Image},
};

/// The field of a template that came to nothing.
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
    /// It will pass by itself, or somebody is at it.
    Pending(String),
    /// Somebody must change something: the message says what.
    Nothing(String),
    /// What it came to cannot be made into a request.
    Unrenderable(Unrenderable),
    /// Something in Kubernetes is not there, perhaps not yet, or cannot be read.
    Kubernetes(String),
}

/// While a template is unresolved nothing is launched from it, and what runs is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    pub field: Field,
    pub why: Why,
    /// The image, where it was found before something else failed.
    pub image: Option<Image>,
}

impl Unresolved {
    pub fn reason(&self) -> Reason {
        match (&self.why, self.field) {
            (Why::Aws(error), _) => refusal::reason(error),
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
                format!("template.{field}: {error}{}", refusal::advice_for(error, &format!("spec.template.{field}")))
            }
            Why::Unrenderable(error) => error.to_string(),
            Why::Pending(message) | Why::Nothing(message) | Why::Kubernetes(message) => {
                format!("template.{field}: {message}")
            }
        }
    }

    /// Whether somebody has to change something.
    pub fn stalls(&self) -> bool {
        match &self.why {
            Why::Aws(error) => refusal::stalls(error),
            Why::Nothing(_) | Why::Unrenderable(_) => true,
            Why::Pending(_) | Why::Kubernetes(_) => false,
        }
    }

    /// Whether it is the image that is missing.
    pub fn is_about_image(&self) -> bool {
        self.image.is_none()
    }
}
