//! Launch templates: numbered versions of launch parameters under one name.

mod data;
mod fields;

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

pub(crate) use data::TemplateData;

use super::ids;
use super::tags::{self, Tags};
use crate::caller::CallerId;
use crate::error::ApiError;
use crate::protocol::params::{Scope, invalid};
use crate::protocol::xml::Xml;

const NAME_LENGTH: std::ops::RangeInclusive<usize> = 3..=128;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LaunchTemplate {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) created: Timestamp,
    pub(crate) created_by: String,
    pub(crate) default_version: u64,
    pub(crate) tags: Tags,
    pub(crate) versions: BTreeMap<u64, TemplateVersion>,
    /// Of the newest version that ever was: numbers are not given twice.
    pub(crate) last_number: u64,
    /// Versions that DeleteLaunchTemplateVersions fails to delete, as control says.
    pub(crate) undeletable: Vec<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TemplateVersion {
    pub(crate) number: u64,
    pub(crate) description: Option<String>,
    pub(crate) created: Timestamp,
    pub(crate) created_by: String,
    pub(crate) data: TemplateData,
}

/// What one account has in one region.
#[derive(Debug, Default)]
pub(crate) struct LaunchTemplates {
    pub(crate) by_id: BTreeMap<String, LaunchTemplate>,
    /// What was made for a client token, by operation.
    tokens: HashMap<(&'static str, String), Made>,
}

#[derive(Debug, Clone)]
struct Made {
    fingerprint: BTreeMap<String, String>,
    template: String,
    version: u64,
}

/// How a request names a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reference<'a> {
    Id(&'a str),
    Name(&'a str),
}

impl<'a> Reference<'a> {
    /// `LaunchTemplateId` or `LaunchTemplateName`, if any.
    pub(crate) fn find(scope: &Scope<'a>) -> Result<Option<Self>, ApiError> {
        match (scope.text("LaunchTemplateId"), scope.text("LaunchTemplateName")) {
            (Some(_), Some(_)) => Err(ApiError::new(
                "InvalidParameterCombination",
                "Either a launch template ID or a launch template name may be specified in the request, but not both.",
            )),
            (Some(id), None) if ids::is_well_formed(id, "lt") => Ok(Some(Self::Id(id))),
            (Some(id), None) => {
                let message = format!("The specified launch template ID, {id}, is not valid.");
                Err(ApiError::new("InvalidLaunchTemplateId.Malformed", message))
            }
            (None, Some(name)) => {
                check_name(name)?;
                Ok(Some(Self::Name(name)))
            }
            (None, None) => Ok(None),
        }
    }

    pub(crate) fn read(scope: &Scope<'a>) -> Result<Self, ApiError> {
        Self::find(scope)?.ok_or_else(|| {
            let message = "Either a launch template ID or a launch template name must be specified in the request.";
            ApiError::new("MissingParameter", message)
        })
    }
}

impl LaunchTemplates {
    pub(crate) fn find(&self, reference: Reference<'_>) -> Result<&LaunchTemplate, ApiError> {
        match reference {
            Reference::Id(id) => self.by_id.get(id).ok_or_else(|| id_not_found(id)),
            Reference::Name(name) => {
                self.by_id.values().find(|template| template.name == name).ok_or_else(|| name_not_found(name))
            }
        }
    }

    pub(crate) fn find_mut(&mut self, reference: Reference<'_>) -> Result<&mut LaunchTemplate, ApiError> {
        match reference {
            Reference::Id(id) => self.by_id.get_mut(id).ok_or_else(|| id_not_found(id)),
            Reference::Name(name) => {
                self.by_id.values_mut().find(|template| template.name == name).ok_or_else(|| name_not_found(name))
            }
        }
    }

    /// What a repeated request made when it was first sent.
    pub(crate) fn made_by(
        &self,
        operation: &'static str,
        token: Option<&str>,
        fingerprint: &BTreeMap<String, String>,
    ) -> Result<Option<(&LaunchTemplate, &TemplateVersion)>, ApiError> {
        let made = token.and_then(|token| self.tokens.get(&(operation, token.to_owned())));
        let Some(made) = made else { return Ok(None) };
        if made.fingerprint != *fingerprint {
            return Err(ApiError::new(
                "IdempotentParameterMismatch",
                "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
            ));
        }
        let template = self.by_id.get(&made.template);
        Ok(template.and_then(|template| Some((template, template.versions.get(&made.version)?))))
    }

    pub(crate) fn remember(
        &mut self,
        operation: &'static str,
        token: Option<&str>,
        fingerprint: BTreeMap<String, String>,
        template: &str,
        version: u64,
    ) {
        if let Some(token) = token {
            let made = Made { fingerprint, template: template.to_owned(), version };
            self.tokens.insert((operation, token.to_owned()), made);
        }
    }
}

impl LaunchTemplate {
    /// One with its first version.
    pub(crate) fn new(
        name: &str,
        tags: Tags,
        description: Option<&str>,
        data: TemplateData,
        caller: &CallerId,
        now: Timestamp,
    ) -> Self {
        let mut template = Self {
            id: ids::random("lt"),
            name: name.to_owned(),
            created: now,
            created_by: caller.principal_arn.clone(),
            default_version: 1,
            tags,
            versions: BTreeMap::new(),
            last_number: 0,
            undeletable: Vec::new(),
        };
        template.add(description, data, caller, now);
        template
    }

    /// Makes the next version and gives its number.
    pub(crate) fn add(
        &mut self,
        description: Option<&str>,
        data: TemplateData,
        caller: &CallerId,
        now: Timestamp,
    ) -> u64 {
        self.last_number += 1;
        let number = self.last_number;
        let created_by = caller.principal_arn.clone();
        let version =
            TemplateVersion { number, description: description.map(str::to_owned), created: now, created_by, data };
        self.versions.insert(number, version);
        number
    }

    /// What EC2 tags an instance with that was launched from a version.
    pub(crate) fn tags_of_instances(&self, version: u64) -> Tags {
        Tags::from([
            ("aws:ec2launchtemplate:id".to_owned(), self.id.clone()),
            ("aws:ec2launchtemplate:version".to_owned(), version.to_string()),
        ])
    }

    /// The newest version that is there.
    pub(crate) fn latest_version(&self) -> u64 {
        // The default version cannot be deleted, so there is one.
        self.versions.keys().next_back().copied().unwrap_or(self.default_version)
    }

    /// `$Latest`, `$Default` or a number.
    pub(crate) fn version(&self, version: &str) -> Result<&TemplateVersion, ApiError> {
        let number = match version {
            "$Latest" => self.latest_version(),
            "$Default" => self.default_version,
            number => parse_number(number)?,
        };
        self.versions.get(&number).ok_or_else(|| {
            let message =
                format!("Could not find the specified version {number} for the launch template with ID {}.", self.id);
            ApiError::new("InvalidLaunchTemplateId.VersionNotFound", message)
        })
    }

    /// The content of `<launchTemplate>`.
    pub(crate) fn write(&self, xml: &mut Xml) {
        xml.text("launchTemplateId", &self.id);
        xml.text("launchTemplateName", &self.name);
        xml.time("createTime", self.created);
        xml.text("createdBy", &self.created_by);
        xml.text("defaultVersionNumber", self.default_version);
        xml.text("latestVersionNumber", self.latest_version());
        tags::write(xml, &self.tags);
    }

    /// The content of `<launchTemplateVersion>`.
    pub(crate) fn write_version(&self, xml: &mut Xml, version: &TemplateVersion) {
        xml.text("launchTemplateId", &self.id);
        xml.text("launchTemplateName", &self.name);
        xml.text("versionNumber", version.number);
        xml.option("versionDescription", version.description.as_ref());
        xml.time("createTime", version.created);
        xml.text("createdBy", &version.created_by);
        xml.text("defaultVersion", version.number == self.default_version);
        version.data.write(xml);
    }
}

pub(crate) fn parse_number(version: &str) -> Result<u64, ApiError> {
    version.parse().map_err(|_not_a_number| {
        invalid("Invalid launch template version: either '$Default', '$Latest', or a numeric version are allowed.")
    })
}

pub(crate) fn id_not_found(id: &str) -> ApiError {
    let message = format!("The specified launch template, with template ID {id}, does not exist.");
    ApiError::new("InvalidLaunchTemplateId.NotFound", message)
}

pub(crate) fn name_not_found(name: &str) -> ApiError {
    let message = format!("The specified launch template, with template name {name}, does not exist.");
    ApiError::new("InvalidLaunchTemplateName.NotFoundException", message)
}

pub(crate) fn check_name(name: &str) -> Result<(), ApiError> {
    let good = |c: char| c.is_ascii_alphanumeric() || "().-/_".contains(c);
    if NAME_LENGTH.contains(&name.len()) && name.chars().all(good) {
        return Ok(());
    }
    let message = "A launch template name must be between 3 and 128 characters, and may contain letters, numbers, and \
                   the following characters: - ( ) . / _";
    Err(ApiError::new("InvalidLaunchTemplateName.MalformedException", message))
}
