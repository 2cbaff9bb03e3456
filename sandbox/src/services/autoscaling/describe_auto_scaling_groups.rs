//! DescribeAutoScalingGroups

use super::call::{GroupCall, Operation, invalid, items, list, required};
use super::group_xml;
use super::page::Page;
use crate::error::ApiError;
use crate::protocol::params::Scope;
use crate::protocol::xml::Xml;
use crate::state::autoscaling::group::AutoScalingGroup;
use crate::state::throttle::NON_MUTATING;

pub(super) const OPERATION: Operation = Operation { name: "DescribeAutoScalingGroups", requests: NON_MUTATING, run };

/// A row must have one of the values.
struct Filter<'a> {
    name: &'a str,
    values: Vec<&'a str>,
}

impl<'a> Filter<'a> {
    fn read(scope: &Scope<'a>) -> Result<Self, ApiError> {
        let name = required(scope, "Name")?;
        if !["tag-key", "tag-value"].contains(&name) && !name.starts_with("tag:") {
            return Err(invalid(format!(
                "Filter type {name} is not correct. Allowed Filter types are: tag-key, tag-value, tag:<key>"
            )));
        }
        Ok(Self { name, values: list(scope, "Values") })
    }

    fn matches(&self, group: &AutoScalingGroup) -> bool {
        let has = |value: &str| self.values.contains(&value);
        match self.name.strip_prefix("tag:") {
            Some(key) => group.tags.get(key).is_some_and(|tag| has(&tag.value)),
            None if self.name == "tag-key" => group.tags.keys().any(|key| has(key)),
            None => group.tags.values().any(|tag| has(&tag.value)),
        }
    }
}

fn run(call: &GroupCall<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let names = list(&root, "AutoScalingGroupNames");
    let filters = items(&root, "Filters").iter().map(Filter::read).collect::<Result<Vec<_>, _>>()?;
    let instances = root.boolean("IncludeInstances")?.unwrap_or(true);
    let page = Page::read(&root)?;
    call.params.finish()?;
    call.with(|world| {
        let groups = &world.estate(&call.caller.id.account, &call.caller.region, call.now).groups;
        let rows = groups
            .values()
            .filter(|group| names.is_empty() || names.contains(&group.name.as_str()))
            .filter(|group| filters.iter().all(|filter| filter.matches(group)));
        let (rows, next) = page.cut(rows.map(|group| (group.name.clone(), group)));
        let mut xml = Xml::default();
        xml.members("AutoScalingGroups", rows, |xml, group| group_xml::group(xml, group, instances));
        xml.option("NextToken", next);
        Ok(xml)
    })
}
