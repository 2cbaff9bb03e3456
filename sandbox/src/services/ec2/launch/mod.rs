//! Launching on request: honours the request's token, completes the request from its launch template, and launches.

pub(super) mod sent;

use super::call::{DryRun, Ec2Call};
use crate::error::ApiError;
use crate::state::ec2::estate::TokenUse;
use crate::state::ec2::launch::Prepared;
use crate::state::ec2::launch::request::LaunchRequest;
use crate::state::ec2::world::World;
use crate::state::throttle::{Charge, RUN_INSTANCES_RESOURCES};
use sent::{Completed, SentRequest};

/// Launches, or answers a repeated token. Gives the instances' sequence numbers.
pub(crate) fn launch(world: &mut World, call: &Ec2Call<'_>, sent: &SentRequest<'_>) -> Result<Vec<u64>, ApiError> {
    let Ec2Call { caller, now, .. } = *call;
    let estate = world.estate(&caller.id.account, &caller.region, now);
    let token_key = sent.token_key(estate);
    if let Some(used) = token_key.as_ref().and_then(|key| estate.tokens.get(key)) {
        if used.fingerprint != sent.fingerprint {
            return Err(ApiError::new(
                "IdempotentParameterMismatch",
                "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
            ));
        }
        charge(call, used.instances.len())?;
        DryRun(sent.dry_run).end()?;
        return Ok(used.instances.clone());
    }

    let Completed { params, template_tags } = sent.complete(&estate.launch_templates)?;
    let request = LaunchRequest::read(&params.root())?;
    let dry_run = DryRun::finish(&params)?;
    charge(call, request.max as usize)?;
    let prepared = Prepared::new(world, caller, &request, template_tags, now)?;
    dry_run.end()?;
    let launched = prepared.launch(world, caller, now)?;
    if let Some(key) = token_key {
        let used = TokenUse { fingerprint: sent.fingerprint.clone(), instances: launched.clone(), used_at: now };
        world.estate(&caller.id.account, &caller.region, now).tokens.insert(key, used);
    }
    Ok(launched)
}

fn charge(call: &Ec2Call<'_>, instances: usize) -> Result<(), ApiError> {
    let tokens = u32::try_from(instances).unwrap_or(u32::MAX);
    call.charge("RunInstances", Charge { bucket: "RunInstances/resources", size: RUN_INSTANCES_RESOURCES, tokens })
}
