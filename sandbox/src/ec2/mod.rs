//! EC2.

mod create_launch_template;
mod create_launch_template_version;
mod create_tags;
mod delete_launch_template;
mod delete_launch_template_versions;
mod deregister_image;
mod describe_images;
mod describe_instance_status;
mod describe_instances;
mod describe_launch_template_versions;
mod describe_launch_templates;
mod describe_security_groups;
mod describe_subnets;
pub(crate) mod estate;
pub(crate) mod event;
mod filter;
pub(crate) mod get_console_output;
pub(crate) mod ids;
pub(crate) mod image;
pub(crate) mod instance;
mod instance_types;
mod instance_xml;
pub(crate) mod launch;
mod launch_request;
pub(crate) mod launch_template;
pub(crate) mod lifecycle;
mod modify_launch_template;
pub(crate) mod network;
mod page;
mod placement;
mod register_image;
pub(crate) mod run_instances;
pub(crate) mod seed;
mod sent_request;
mod start_instances;
mod state_changes;
mod stop_instances;
pub(crate) mod tags;
mod terminate_instances;
#[cfg(test)]
mod tests;
pub(crate) mod world;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Response;
use jiff::Timestamp;
use tokio::sync::{broadcast, watch};

use crate::caller::Caller;
use crate::config::Lifecycle;
use crate::error::ApiError;
use crate::front::{Body, ErrorCode};
use crate::query;
use crate::query::params::{Params, Scope};
use crate::query::xml::Xml;
use crate::state::State;
use crate::throttle::{self, BucketSize, Charge};
use event::InstanceEvent;
use world::World;

/// Subscribers that lag further behind than this miss events, and list the instances again.
const EVENTS_KEPT: usize = 16 * 1024;

/// All accounts and regions of one sandbox.
#[derive(Debug)]
pub(crate) struct Ec2 {
    world: Mutex<World>,
    changed: watch::Sender<u64>,
    events: broadcast::Sender<InstanceEvent>,
}

impl Ec2 {
    pub(crate) fn new(lifecycle: Lifecycle, describe_lag: Duration) -> Self {
        Self {
            world: Mutex::new(World::new(lifecycle, describe_lag)),
            changed: watch::Sender::new(0),
            events: broadcast::Sender::new(EVENTS_KEPT),
        }
    }

    /// Works on the world as it is at `now`, then tells subscribers what happened.
    pub(crate) fn with<T>(&self, now: Timestamp, work: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.lock();
        world.tick(now);
        let due = world.next_due();
        let result = work(&mut world);
        // Sent under the lock, so that events come in the order in which things happened.
        let events = world.take_events();
        let changed = !events.is_empty() || world.next_due() != due;
        for event in events {
            // Nobody listens: nothing to do.
            let _receivers = self.events.send(event);
        }
        drop(world);
        if changed {
            self.changed.send_modify(|n| *n += 1);
        }
        result
    }

    /// Lets everything happen that is due, and tells when the next thing will be.
    pub(crate) fn tick(&self, now: Timestamp) -> Option<Timestamp> {
        self.with(now, |world| world.next_due())
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(crate) fn events(&self) -> broadcast::Receiver<InstanceEvent> {
        self.events.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that is about to be carried out.
pub(crate) struct Ec2Call<'a> {
    pub(crate) state: &'a State,
    pub(crate) caller: &'a Caller,
    pub(crate) params: Params,
    pub(crate) now: Timestamp,
}

impl Ec2Call<'_> {
    pub(crate) fn root(&self) -> Scope<'_> {
        self.params.root()
    }

    /// To be called when all parameters were read, before anything is done.
    pub(crate) fn finish(&self) -> Result<DryRun, ApiError> {
        DryRun::finish(&self.params)
    }

    /// Works on the caller's own account and region.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut World) -> T) -> T {
        self.state.ec2.with(self.now, work)
    }

    /// Takes tokens for the resources that the call makes or ends.
    pub(crate) fn charge(&self, operation: &'static str, charge: Charge) -> Result<(), ApiError> {
        let Caller { id, region } = self.caller;
        self.state.throttle.take(&id.account, region, operation, &[charge], self.state.clock.monotonic())
    }
}

/// Whether the caller only asks if it might.
#[must_use]
#[derive(Debug)]
pub(crate) struct DryRun(bool);

impl DryRun {
    fn finish(params: &Params) -> Result<Self, ApiError> {
        let dry_run = params.root().boolean("DryRun")?.unwrap_or(false);
        params.finish()?;
        Ok(Self(dry_run))
    }

    /// To be called when the request was found good.
    pub(crate) fn end(self) -> Result<(), ApiError> {
        if self.0 {
            return Err(ApiError::new("DryRunOperation", "Request would have succeeded, but DryRun flag is set."));
        }
        Ok(())
    }
}

/// An operation and the bucket that its requests are taken from.
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    pub(crate) requests: BucketSize,
    pub(crate) run: fn(&Ec2Call<'_>) -> Result<Xml, ApiError>,
}

/// A new operation is a file of its own and a line here.
const OPERATIONS: &[Operation] = &[
    create_launch_template::OPERATION,
    create_launch_template_version::OPERATION,
    create_tags::OPERATION,
    delete_launch_template::OPERATION,
    delete_launch_template_versions::OPERATION,
    deregister_image::OPERATION,
    describe_images::OPERATION,
    describe_instance_status::OPERATION,
    describe_instances::OPERATION,
    describe_launch_template_versions::OPERATION,
    describe_launch_templates::OPERATION,
    describe_security_groups::OPERATION,
    describe_subnets::OPERATION,
    get_console_output::OPERATION,
    modify_launch_template::OPERATION,
    register_image::OPERATION,
    run_instances::OPERATION,
    start_instances::OPERATION,
    stop_instances::OPERATION,
    terminate_instances::OPERATION,
];

pub(crate) fn has(operation: &str) -> bool {
    OPERATIONS.iter().any(|known| known.name == operation)
}

pub(crate) fn handle(
    state: &State,
    caller: &Caller,
    operation: &str,
    form: &BTreeMap<String, String>,
    request_id: &str,
) -> Response<Body> {
    let call = Ec2Call { state, caller, params: Params::new(form), now: state.clock.now() };
    match run(&call, operation, form) {
        Ok(content) => {
            let mut xml = Xml::document();
            let namespace = "xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"";
            xml.element_with(&format!("{operation}Response"), namespace, |xml| {
                xml.text("requestId", request_id);
                xml.append(&content);
            });
            query::respond(http::StatusCode::OK, request_id, xml.into_string())
        }
        Err(refused) => {
            let mut response = error(&refused, request_id);
            response.extensions_mut().insert(ErrorCode(refused.code));
            response
        }
    }
}

fn run(call: &Ec2Call<'_>, operation: &str, form: &BTreeMap<String, String>) -> Result<Xml, ApiError> {
    let known = OPERATIONS.iter().find(|known| known.name == operation).ok_or_else(|| {
        ApiError::new("InvalidAction", format!("The action {operation} is not valid for this web service."))
    })?;
    let (bucket, size) = if known.requests == throttle::NON_MUTATING && is_unfiltered(form) {
        (UNFILTERED_BUCKETS, throttle::UNFILTERED_UNPAGINATED)
    } else {
        (known.name, known.requests)
    };
    call.charge(known.name, Charge { bucket, size, tokens: 1 })?;
    (known.run)(call)
}

const UNFILTERED_BUCKETS: &str = "unfiltered and unpaginated";

fn is_unfiltered(form: &BTreeMap<String, String>) -> bool {
    let narrows = |name: &str| name.starts_with("Filter.") || name.contains("Id") || name.contains("Name");
    form.keys().all(|name| !narrows(name) && name != "MaxResults")
}

/// An error in EC2's shape.
pub(crate) fn error(error: &ApiError, request_id: &str) -> Response<Body> {
    let mut xml = Xml::document();
    xml.element("Response", |xml| {
        xml.element("Errors", |xml| {
            xml.element("Error", |xml| {
                xml.text("Code", &error.code);
                xml.text("Message", &error.message);
            });
        });
        xml.text("RequestID", request_id);
    });
    query::respond(error.status, request_id, xml.into_string())
}
