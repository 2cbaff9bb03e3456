//! What a RunInstances request says by itself, before its launch template is looked at: a repeated client token is
//! compared with this.

use std::collections::BTreeMap;

use crate::error::ApiError;
use crate::protocol::params::{Params, Scope};
use crate::state::ec2::estate::{Estate, TokenKey};
use crate::state::ec2::launch::request;
use crate::state::ec2::launch_template::{LaunchTemplates, Reference};
use crate::state::ec2::tags::Tags;

#[derive(Debug)]
pub(crate) struct SentRequest<'a> {
    token: Option<&'a str>,
    subnet: Option<&'a str>,
    zone: Option<&'a str>,
    template: Option<(Reference<'a>, &'a str)>,
    pub(crate) dry_run: bool,
    /// All parameters but the token: what a repeated token must repeat.
    pub(crate) fingerprint: BTreeMap<String, String>,
    form: BTreeMap<String, String>,
}

/// A launch's parameters with those of its template, and the tags that EC2 adds to tell which template it was.
pub(crate) struct Completed {
    pub(crate) params: Params,
    pub(crate) template_tags: Tags,
}

impl<'a> SentRequest<'a> {
    pub(crate) fn read(root: &Scope<'a>, form: BTreeMap<String, String>) -> Result<Self, ApiError> {
        let of_interface = root.items("NetworkInterface").into_iter().find_map(|interface| interface.text("SubnetId"));
        Ok(Self {
            token: request::read_token(root)?,
            subnet: root.text("SubnetId").or(of_interface),
            zone: root.child("Placement").and_then(|placement| placement.text("AvailabilityZone")),
            template: root.child("LaunchTemplate").map(|scope| read_template(&scope)).transpose()?,
            dry_run: root.boolean("DryRun")?.unwrap_or(false),
            fingerprint: request::fingerprint(form.clone()),
            form,
        })
    }

    /// Where the use of the token is kept. A token counts for the zone that the request names, by its subnet or outright.
    pub(crate) fn token_key(&self, estate: &Estate) -> Option<TokenKey> {
        let token = self.token?.to_owned();
        let of_subnet = self.subnet.and_then(|id| estate.subnets.get(id)).map(|subnet| subnet.zone.clone());
        Some(TokenKey { token, zone: of_subnet.or_else(|| self.zone.map(str::to_owned)) })
    }

    pub(crate) fn complete(&self, templates: &LaunchTemplates) -> Result<Completed, ApiError> {
        let Some((reference, version)) = self.template else {
            return Ok(Completed { params: Params::new(&self.form), template_tags: Tags::new() });
        };
        let template = templates.find(reference)?;
        let version = template.version(version)?;
        let mut form = version.data.under(&self.form);
        for known in ["LaunchTemplateId", "LaunchTemplateName", "Version"] {
            form.remove(&format!("LaunchTemplate.{known}"));
        }
        let template_tags = template.tags_of_instances(version.number);
        Ok(Completed { params: Params::new(&form), template_tags })
    }
}

fn read_template<'a>(scope: &Scope<'a>) -> Result<(Reference<'a>, &'a str), ApiError> {
    Ok((Reference::read(scope)?, scope.text("Version").unwrap_or("$Default")))
}
