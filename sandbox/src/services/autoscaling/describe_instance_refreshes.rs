//! DescribeInstanceRefreshes

use jiff::{SignedDuration, Timestamp};

use super::call::{GroupCall, Operation, invalid, list, not_found, required};
use super::page::Page;
use super::{preferences, source};
use crate::error::ApiError;
use crate::protocol::xml::Xml;
use crate::state::autoscaling::refresh::Refresh;
use crate::state::throttle::NON_MUTATING;

pub(super) const OPERATION: Operation = Operation { name: "DescribeInstanceRefreshes", requests: NON_MUTATING, run };

/// AWS keeps the history of six weeks.
const KEPT: SignedDuration = SignedDuration::from_hours(6 * 7 * 24);

fn run(call: &GroupCall<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let name = required(&root, "AutoScalingGroupName")?;
    let ids = list(&root, "InstanceRefreshIds");
    let page = Page::read(&root)?;
    call.params.finish()?;
    call.with(|world| {
        let groups = &world.estate(&call.caller.id.account, &call.caller.region, call.now).groups;
        let group = groups.get(name).ok_or_else(|| not_found(name))?;
        let is_kept = |ended: Timestamp| call.now.duration_since(ended) < KEPT;
        let kept = group.refreshes.iter().filter(|refresh| refresh.ended.is_none_or(is_kept));
        let kept: Vec<&Refresh> = kept.collect();
        let known = |id: &&&str| kept.iter().any(|refresh| refresh.id == **id);
        if let Some(unknown) = ids.iter().find(|id| !known(id)) {
            return Err(invalid(format!("InstanceRefresh with id {unknown} was not found.")));
        }
        // The newest comes first.
        let rows = kept.into_iter().enumerate().rev();
        let rows = rows.filter(|(_, refresh)| ids.is_empty() || ids.contains(&refresh.id.as_str()));
        let (rows, next) = page.cut(rows.map(|(index, refresh)| (format!("{:020}", usize::MAX - index), refresh)));
        let mut xml = Xml::default();
        xml.members("InstanceRefreshes", rows, |xml, refresh| write(xml, name, refresh));
        xml.option("NextToken", next);
        Ok(xml)
    })
}

fn write(xml: &mut Xml, group: &str, refresh: &Refresh) {
    xml.text("InstanceRefreshId", &refresh.id);
    xml.text("AutoScalingGroupName", group);
    xml.text("Status", refresh.status.name());
    xml.option("StatusReason", refresh.status_reason.as_ref());
    if let Some(started) = refresh.started {
        xml.time("StartTime", started);
    }
    if let Some(ended) = refresh.ended {
        xml.time("EndTime", ended);
    }
    xml.option("PercentageComplete", refresh.percentage_complete);
    xml.option("InstancesToUpdate", refresh.instances_to_update);
    if refresh.percentage_complete.is_some() {
        xml.element("ProgressDetails", |xml| {
            xml.element("LivePoolProgress", |xml| {
                xml.option("PercentageComplete", refresh.percentage_complete);
                xml.option("InstancesToUpdate", refresh.instances_to_update);
            });
        });
    }
    xml.element("Preferences", |xml| preferences::write(xml, &refresh.preferences));
    if let Some(desired) = &refresh.desired {
        xml.element("DesiredConfiguration", |xml| source::write(xml, desired));
    }
    if let Some(rollback) = &refresh.rollback {
        xml.element("RollbackDetails", |xml| {
            xml.text("RollbackReason", &rollback.reason);
            xml.time("RollbackStartTime", rollback.started);
            xml.text("PercentageCompleteOnRollback", rollback.percentage_complete);
            xml.text("InstancesToUpdateOnRollback", rollback.instances_to_update);
        });
    }
    xml.text("Strategy", "Rolling");
}
