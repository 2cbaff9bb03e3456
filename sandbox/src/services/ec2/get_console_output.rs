//! GetConsoleOutput

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::call::{Ec2Call, Operation};
use crate::error::ApiError;
use crate::protocol::xml::Xml;
use crate::state::ec2::instance::{HealthStatus, Instance};
use crate::state::ec2::{console, ids, lifecycle};
use crate::state::throttle::NON_MUTATING;

pub(super) const OPERATION: Operation = Operation { name: "GetConsoleOutput", requests: NON_MUTATING, run };

fn run(call: &Ec2Call<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let id = root.required("InstanceId")?;
    let latest = root.boolean("Latest")?.unwrap_or(false);
    let dry_run = call.finish()?;
    ids::check_instance_id(id)?;
    dry_run.end()?;
    let (account, region) = (&call.caller.id.account, &call.caller.region);
    let (posted, kept) = call.with(|world| {
        let initializing = world.lifecycle.initializing;
        let estate = world.estate(account, region, call.now);
        let instance = estate.instance(id).ok_or_else(|| ids::instances_not_found(&[id]))?;
        let settled = lifecycle::health(instance, initializing, call.now) != STARTING && has_run(instance);
        Ok::<_, ApiError>((latest || settled, estate.consoles.get(id).cloned()))
    })?;
    let output = kept.or_else(|| call.state.workers.console(id)).filter(|text| posted && !text.is_empty());
    let mut xml = Xml::default();
    xml.text("instanceId", id);
    xml.time("timestamp", call.now);
    xml.option("output", output.map(|text| BASE64_STANDARD.encode(console::tail(&text))));
    Ok(xml)
}

/// Without `Latest` there is nothing yet: EC2 posts the output some time after the start.
const STARTING: (HealthStatus, HealthStatus) = (HealthStatus::Initializing, HealthStatus::Initializing);

fn has_run(instance: &Instance) -> bool {
    instance.running_since.is_some()
}
