//! DescribeScalingActivities

use super::call::{GroupCall, Operation, list, not_found};
use super::group_xml;
use super::page::Page;
use crate::error::ApiError;
use crate::protocol::xml::Xml;
use crate::state::throttle::NON_MUTATING;

pub(super) const OPERATION: Operation = Operation { name: "DescribeScalingActivities", requests: NON_MUTATING, run };

fn run(call: &GroupCall<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let name = root.text("AutoScalingGroupName");
    let ids = list(&root, "ActivityIds");
    // Deleted groups leave nothing.
    root.boolean("IncludeDeletedGroups")?;
    let page = Page::read(&root)?;
    call.params.finish()?;
    call.with(|world| {
        let groups = &world.estate(&call.caller.id.account, &call.caller.region, call.now).groups;
        if let Some(missing) = name.filter(|name| !groups.contains_key(*name)) {
            return Err(not_found(missing));
        }
        let groups = groups.values().filter(|group| name.is_none_or(|name| name == group.name));
        // The newest of a group comes first.
        let rows = groups.flat_map(|group| {
            let newest = group.activities.0.iter().rev().enumerate();
            newest.map(move |(index, activity)| (format!("{}/{index:04}", group.name), (group, activity)))
        });
        let rows = rows.filter(|(_, (_, activity))| ids.is_empty() || ids.contains(&activity.id.as_str()));
        let (rows, next) = page.cut(rows);
        let mut xml = Xml::default();
        xml.members("Activities", rows, |xml, (group, activity)| group_xml::activity(xml, &group.name, activity));
        xml.option("NextToken", next);
        Ok(xml)
    })
}
