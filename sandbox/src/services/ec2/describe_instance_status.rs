//! DescribeInstanceStatus

use super::call::{Ec2Call, Operation};
use super::filter::{self, Filters};
use super::instance_xml;
use super::page::{Page, number_key};
use crate::error::ApiError;
use crate::protocol::xml::Xml;
use crate::state::ec2::instance::{HealthStatus, Instance, InstanceState};
use crate::state::ec2::lifecycle;
use crate::state::throttle::NON_MUTATING;

pub(super) const OPERATION: Operation = Operation { name: "DescribeInstanceStatus", requests: NON_MUTATING, run };

const FILTERS: &[&str] = &[
    "availability-zone",
    "availability-zone-id",
    "instance-state-code",
    "instance-state-name",
    "instance-status.reachability",
    "instance-status.status",
    "system-status.reachability",
    "system-status.status",
    "tag-key",
];

fn run(call: &Ec2Call<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let ids = root.list("InstanceId");
    let filters = Filters::read(&root, FILTERS)?;
    let page = Page::read(&root)?;
    let all = root.boolean("IncludeAllInstances")?.unwrap_or(false);
    root.boolean("IncludeManagedResources")?;
    let dry_run = call.finish()?;
    page.check_with(&ids)?;
    dry_run.end()?;

    call.with(|world| {
        let initializing = world.lifecycle.initializing;
        let estate = world.estate(&call.caller.id.account, &call.caller.region, call.now);
        let rows = estate
            .visible(&ids, page.first_number(), call.now)?
            .filter(|instance| all || instance.state == InstanceState::Running)
            .map(|instance| (instance, lifecycle::health(instance, initializing, call.now)))
            .filter(|(instance, health)| filters.match_row(|name| values(instance, *health, name)))
            .map(|row| (number_key(row.0.sequence), row));
        let (rows, next) = page.cut(rows);
        let mut xml = Xml::default();
        xml.list("instanceStatusSet", rows, |xml, (instance, (system, own))| {
            xml.text("instanceId", &instance.id);
            xml.text("availabilityZone", &instance.zone);
            xml.text("availabilityZoneId", &instance.zone_id);
            instance_xml::state(xml, "instanceState", instance.state);
            status(xml, "systemStatus", system);
            status(xml, "instanceStatus", own);
        });
        xml.option("nextToken", next);
        Ok(xml)
    })
}

fn status(xml: &mut Xml, name: &str, health: HealthStatus) {
    xml.element(name, |xml| {
        xml.text("status", health.name());
        if let Some(reachability) = reachability(health) {
            xml.list("details", [reachability], |xml, reachability| {
                xml.text("name", "reachability");
                xml.text("status", reachability);
            });
        }
    });
}

fn reachability(health: HealthStatus) -> Option<&'static str> {
    match health {
        HealthStatus::Ok => Some("passed"),
        HealthStatus::Impaired => Some("failed"),
        HealthStatus::Initializing => Some("initializing"),
        HealthStatus::InsufficientData => Some("insufficient-data"),
        HealthStatus::NotApplicable => None,
    }
}

fn values(instance: &Instance, (system, own): (HealthStatus, HealthStatus), filter: &str) -> Vec<String> {
    match filter {
        "availability-zone" => vec![instance.zone.clone()],
        "availability-zone-id" => vec![instance.zone_id.clone()],
        "instance-state-code" => vec![instance.state.code().to_string()],
        "instance-state-name" => vec![instance.state.name().to_owned()],
        "instance-status.status" => vec![own.name().to_owned()],
        "system-status.status" => vec![system.name().to_owned()],
        "instance-status.reachability" => reachability(own).map(str::to_owned).into_iter().collect(),
        "system-status.reachability" => reachability(system).map(str::to_owned).into_iter().collect(),
        tags => filter::tag_values(&instance.tags, tags),
    }
}
