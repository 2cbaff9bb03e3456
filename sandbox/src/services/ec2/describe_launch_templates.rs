//! DescribeLaunchTemplates

use super::call::{Ec2Call, Operation};
use super::filter::{self, Filters};
use super::launch_template_request;
use super::page::Page;
use crate::error::ApiError;
use crate::protocol::xml::{Xml, iso};
use crate::state::ec2::launch_template::{LaunchTemplate, Reference};
use crate::state::throttle::NON_MUTATING;

pub(super) const OPERATION: Operation = Operation { name: "DescribeLaunchTemplates", requests: NON_MUTATING, run };

const FILTERS: &[&str] = &["create-time", "launch-template-name", "tag-key"];

fn run(call: &Ec2Call<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let ids = root.list("LaunchTemplateId");
    let names = root.list("LaunchTemplateName");
    let filters = Filters::read(&root, FILTERS)?;
    let page = Page::read_within(&root, launch_template_request::PAGE_SIZES)?;
    let dry_run = call.finish()?;
    dry_run.end()?;
    call.with(|world| {
        let templates = &world.estate(&call.caller.id.account, &call.caller.region, call.now).launch_templates;
        ids.iter().try_for_each(|id| templates.find(Reference::Id(id)).map(|_| ()))?;
        names.iter().try_for_each(|name| templates.find(Reference::Name(name)).map(|_| ()))?;
        let rows = templates
            .by_id
            .values()
            .filter(|template| ids.is_empty() || ids.contains(&template.id.as_str()))
            .filter(|template| names.is_empty() || names.contains(&template.name.as_str()))
            .filter(|template| filters.match_row(|name| values(template, name)));
        let (rows, next) = page.cut(rows.map(|template| (template.id.clone(), template)));
        let mut xml = Xml::default();
        xml.list("launchTemplates", rows, |xml, template| template.write(xml));
        xml.option("nextToken", next);
        Ok(xml)
    })
}

fn values(template: &LaunchTemplate, filter: &str) -> Vec<String> {
    match filter {
        "create-time" => vec![iso(template.created)],
        "launch-template-name" => vec![template.name.clone()],
        tags => filter::tag_values(&template.tags, tags),
    }
}
