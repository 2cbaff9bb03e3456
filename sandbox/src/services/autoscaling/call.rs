//! One call of an Auto Scaling operation.

use jiff::Timestamp;

use crate::caller::Caller;
use crate::error::ApiError;
use crate::protocol::params::{Params, Scope};
use crate::protocol::xml::Xml;
use crate::state::State;
use crate::state::autoscaling::group::AutoScalingGroup;
use crate::state::ec2::world::World;
use crate::state::throttle::BucketSize;

/// A call that is about to be carried out.
pub(crate) struct GroupCall<'a> {
    pub(crate) state: &'a State,
    pub(crate) caller: &'a Caller,
    pub(crate) params: Params,
    pub(crate) now: Timestamp,
}

impl GroupCall<'_> {
    pub(crate) fn root(&self) -> Scope<'_> {
        self.params.root()
    }

    /// Works on the caller's own account and region.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut World) -> T) -> T {
        self.state.ec2.with(self.now, work)
    }

    /// Changes a group, which then does at once what follows from it.
    pub(crate) fn change<T>(
        &self,
        name: &str,
        work: impl FnOnce(&mut AutoScalingGroup) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        self.with(|world| self.change_in(world, name, work))
    }

    pub(crate) fn change_in<T>(
        &self,
        world: &mut World,
        name: &str,
        work: impl FnOnce(&mut AutoScalingGroup) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let Caller { id, region } = self.caller;
        let groups = &mut world.estate(&id.account, region, self.now).groups;
        let group = groups.get_mut(name).ok_or_else(|| not_found(name))?;
        if let Some(operator) = &group.operator {
            return Err(invalid(format!("The Auto Scaling group '{name}' can be changed by {operator} only.")));
        }
        let result = work(group)?;
        world.keep_group(&id.account, region, name, self.now);
        Ok(result)
    }
}

pub(crate) fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("ValidationError", message)
}

pub(crate) fn not_found(name: &str) -> ApiError {
    invalid(format!("AutoScalingGroup name not found - AutoScalingGroup '{name}' not found"))
}

/// A parameter that must be there.
pub(crate) fn required<'a>(scope: &Scope<'a>, field: &str) -> Result<&'a str, ApiError> {
    scope.text(field).filter(|value| !value.is_empty()).ok_or_else(|| null(&scope.name(field)))
}

pub(crate) fn null(name: &str) -> ApiError {
    let part = |part: &str| {
        let mut chars = part.chars();
        chars.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(chars).collect::<String>()
    };
    let small = name.split('.').map(part).collect::<Vec<_>>().join(".");
    invalid(format!(
        "1 validation error detected: Value null at '{small}' failed to satisfy constraint: Member must not be null"
    ))
}

/// A list of texts. SDKs send an empty one as an empty parameter.
pub(crate) fn list<'a>(scope: &Scope<'a>, field: &str) -> Vec<&'a str> {
    scope.text(field);
    scope.list(&format!("{field}.member"))
}

pub(crate) fn items<'a>(scope: &Scope<'a>, field: &str) -> Vec<Scope<'a>> {
    scope.text(field);
    scope.items(&format!("{field}.member"))
}

/// An operation and the bucket that its requests are taken from.
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    pub(crate) requests: BucketSize,
    pub(crate) run: fn(&GroupCall<'_>) -> Result<Xml, ApiError>,
}
