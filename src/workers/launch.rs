//! The records of the write protocol: what is about to be launched and what is about to end.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ids::{ClientToken, ImageId, InstanceId, InstanceType, Role, SubnetId},
    workers::indexes::Indexes,
};

/// A RunInstances call that was made, is being made or is about to be made. It stays until its outcome is certain. With
/// the revision that it names it is the whole request, and is repeated from these alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LaunchIntent {
    /// The ClientToken of the call.
    #[schemars(with = "String", length(max = 64))]
    pub token: ClientToken,
    /// Which start of the controller made the call last.
    #[schemars(length(max = 300))]
    pub holder: String,
    /// How many times the call was recorded as about to be made.
    #[schemars(with = "i32", range(min = 1))]
    pub attempts: u32,
    /// The group that the workers are for.
    #[serde(default)]
    #[schemars(with = "String", length(max = 63))]
    pub role: Role,
    /// The ControllerRevision that holds the rest of the request.
    #[schemars(length(max = 253))]
    pub revision: String,
    /// The subnet to launch into.
    #[schemars(with = "String", length(max = 24))]
    pub subnet: SubnetId,
    /// The instance type to launch.
    #[schemars(with = "String", length(max = 64))]
    pub instance_type: InstanceType,
    /// The image to launch from.
    #[serde(rename = "imageID")]
    #[schemars(with = "String", length(max = 21))]
    pub image_id: ImageId,
    /// The version of the launch template to launch from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub launch_template_version: Option<i64>,
    /// The indexes that the workers run, one each: a worker's AmiLaunchIndex says which is its own. Of jobs only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indexes: Option<Indexes>,
    /// How many to launch at most; at least one.
    #[schemars(with = "i32", range(min = 1, max = 100))]
    pub count: u32,
    /// How many of them replace workers that were lost.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(with = "i32", range(min = 0, max = 100))]
    pub replaces: u32,
    /// What the call answered. Absent while there is no answer.
    #[serde(rename = "instanceIDs", default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        with = "Vec<String>",
        length(max = 100),
        inner(length(max = 19)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub instance_ids: Vec<InstanceId>,
    /// When the intent was made.
    pub started_at: Time,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// EC2 remembers a ClientToken for at least 24 hours ("Ensuring idempotency"). Half of that leaves room for clocks that
/// differ.
const TOKEN_MEMORY: SignedDuration = SignedDuration::from_hours(12);

impl LaunchIntent {
    /// Whether EC2 surely still knows the token, so that to repeat the call cannot launch again.
    pub fn is_remembered(&self, now: Timestamp) -> bool {
        now.duration_since(self.started_at.0) < TOKEN_MEMORY
    }
}

/// Instances that were chosen to end. They count as gone from the moment they are listed here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Termination {
    /// Which start of the controller chose them.
    #[schemars(length(max = 300))]
    pub holder: String,
    /// Why they end.
    pub reason: TerminationReason,
    /// When they were chosen.
    pub started_at: Time,
    /// The instances.
    #[serde(rename = "instanceIDs")]
    #[schemars(
        with = "Vec<String>",
        length(max = 1000),
        inner(length(max = 19)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub instance_ids: Vec<InstanceId>,
}

/// Why instances end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum TerminationReason {
    ScaleDown,
    Stopped,
    /// It never became ready within the startup deadline.
    StartupDeadline,
    /// EC2's status checks failed for too long.
    ChecksFailed,
    /// A newer revision takes its place.
    Update,
    /// Its work is done or wanted no longer.
    Finished,
    Deleted,
}
