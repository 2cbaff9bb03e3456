//! DescribeLaunchTemplateVersions

use super::call::{Ec2Call, Operation};
use super::filter::Filters;
use super::launch_template_request;
use super::page::{Page, number_key};
use crate::error::ApiError;
use crate::protocol::params::{Scope, invalid};
use crate::protocol::xml::{Xml, iso};
use crate::state::ec2::launch_template::{self, LaunchTemplate, LaunchTemplates, Reference, TemplateVersion};
use crate::state::throttle::NON_MUTATING;

pub(super) const OPERATION: Operation =
    Operation { name: "DescribeLaunchTemplateVersions", requests: NON_MUTATING, run };

const FILTERS: &[&str] = &[
    "create-time",
    "ebs-optimized",
    "http-endpoint",
    "http-tokens",
    "iam-instance-profile",
    "image-id",
    "instance-type",
    "is-default-version",
];

/// Which versions a request asks for.
enum Wanted<'a> {
    /// `$Latest` and `$Default` of all templates.
    OfAll(Vec<&'a str>),
    Named(Reference<'a>, Vec<&'a str>),
    Within(Reference<'a>, Option<u64>, Option<u64>),
}

impl<'a> Wanted<'a> {
    fn read(root: &Scope<'a>) -> Result<Self, ApiError> {
        let reference = Reference::find(root)?;
        let versions = root.list("LaunchTemplateVersion");
        let bound = |name: &str| root.text(name).map(launch_template::parse_number).transpose();
        let (least, most) = (bound("MinVersion")?, bound("MaxVersion")?);
        match reference {
            None if !versions.is_empty()
                && versions.iter().all(|version| ["$Latest", "$Default"].contains(version)) =>
            {
                Ok(Self::OfAll(versions))
            }
            None => Err(ApiError::new(
                if versions.is_empty() { "MissingParameter" } else { "InvalidParameterValue" },
                "To describe the launch template data for all your launch templates, specify '$Latest', '$Default', or \
                 both as versions, and omit the launch template ID, name and version numbers. To describe the launch \
                 template data for a specific launch template, specify its ID or name.",
            )),
            Some(_) if !versions.is_empty() && (least.is_some() || most.is_some()) => {
                Err(invalid("Specify either versions or a range of versions, but not both."))
            }
            Some(reference) if versions.is_empty() => Ok(Self::Within(reference, least, most)),
            Some(reference) => Ok(Self::Named(reference, versions)),
        }
    }

    fn find<'t>(&self, templates: &'t LaunchTemplates) -> Result<Vec<Row<'t>>, ApiError> {
        let named = |template: &'t LaunchTemplate, versions: &[&str]| {
            versions.iter().map(|version| Ok((template, template.version(version)?))).collect::<Result<Vec<_>, _>>()
        };
        let mut rows = match self {
            Self::OfAll(versions) => {
                let all = templates.by_id.values().map(|template| named(template, versions));
                all.collect::<Result<Vec<_>, ApiError>>()?.concat()
            }
            Self::Named(reference, versions) => named(templates.find(*reference)?, versions)?,
            Self::Within(reference, least, most) => {
                let template = templates.find(*reference)?;
                let range = least.unwrap_or(0)..=most.unwrap_or(u64::MAX);
                template.versions.values().filter(|v| range.contains(&v.number)).map(|v| (template, v)).collect()
            }
        };
        rows.sort_by_key(key);
        rows.dedup_by_key(|row| key(row));
        Ok(rows)
    }
}

type Row<'a> = (&'a LaunchTemplate, &'a TemplateVersion);

/// The newest version of a template comes first.
fn key((template, version): &Row<'_>) -> String {
    format!("{}/{}", template.id, number_key(u64::MAX - version.number))
}

fn run(call: &Ec2Call<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let wanted = Wanted::read(&root)?;
    let filters = Filters::read(&root, FILTERS)?;
    let page = Page::read_within(&root, launch_template_request::PAGE_SIZES)?;
    let resolves = root.boolean("ResolveAlias")?.unwrap_or(false);
    let dry_run = call.finish()?;
    dry_run.end()?;
    call.with(|world| {
        let templates = &world.estate(&call.caller.id.account, &call.caller.region, call.now).launch_templates;
        let rows = wanted.find(templates)?.into_iter().filter(|row| filters.match_row(|name| values(row, name)));
        let rows = rows.map(|(template, version)| (key(&(template, version)), (template.clone(), version.clone())));
        let (rows, next) = page.cut(rows);
        let shown = rows.into_iter().map(|(template, version)| {
            Ok((template, launch_template_request::shown(world, call, &version, resolves)?))
        });
        let shown = shown.collect::<Result<Vec<_>, ApiError>>()?;
        let mut xml = Xml::default();
        xml.list("launchTemplateVersionSet", shown, |xml, (template, version)| template.write_version(xml, &version));
        xml.option("nextToken", next);
        Ok(xml)
    })
}

fn values((template, version): &Row<'_>, filter: &str) -> Vec<String> {
    let of_data = |name: &str| version.data.get(name).cloned().into_iter().collect::<Vec<_>>();
    match filter {
        "create-time" => vec![iso(version.created)],
        "ebs-optimized" => of_data("EbsOptimized"),
        "http-endpoint" => of_data("MetadataOptions.HttpEndpoint"),
        "http-tokens" => of_data("MetadataOptions.HttpTokens"),
        "iam-instance-profile" => of_data("IamInstanceProfile.Arn"),
        "image-id" => of_data("ImageId"),
        "instance-type" => of_data("InstanceType"),
        "is-default-version" => vec![(version.number == template.default_version).to_string()],
        _unknown => Vec::new(),
    }
}
