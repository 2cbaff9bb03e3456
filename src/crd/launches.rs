//! The records of the write protocol: intents to launch and to terminate.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    crd::indexes::Indexes,
    ids::{ClientToken, ImageId, InstanceId, InstanceType, LaunchTags, Role, SubnetId},
};

/// A RunInstances call that was made or is about to be made. The record stays until the outcome is certain. Together
/// with the named revision it is the complete request, from which the call can be repeated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LaunchIntent {
    /// The ClientToken of the call: the uid of the owner, a random number, and digests of the request and of the tags
    /// of its instances.
    #[schemars(with = "String", length(max = 64))]
    pub token: ClientToken,
    /// The controller process that recorded the call last.
    #[schemars(length(max = 300))]
    pub holder: String,
    /// How many times the call was recorded.
    #[schemars(with = "i32", range(min = 1))]
    pub attempts: u32,
    /// The role of the workers.
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
    /// The indexes that the workers run, one each, in the order of their AmiLaunchIndex. Only for a WorkerJob.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indexes: Option<Indexes>,
    /// The maximum number of workers to launch. The minimum is 1.
    #[schemars(with = "i32", range(min = 1, max = 100))]
    pub count: u32,
    /// The number of workers that replace lost workers.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(with = "i32", range(min = 0, max = 100))]
    pub replaces: u32,
    /// The instance ids in the response, in the order of AmiLaunchIndex. Absent while there is no response.
    #[serde(rename = "instanceIDs", default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        with = "Vec<String>",
        length(max = 100),
        inner(length(max = 19)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub instance_ids: Vec<InstanceId>,
    /// When the intent was recorded first.
    pub started_at: Time,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// EC2 remembers a ClientToken for at least 24 hours ("Ensuring idempotency"). Half of that allows for clocks that
/// differ.
const TOKEN_MEMORY: SignedDuration = SignedDuration::from_hours(12);

impl LaunchIntent {
    /// The intent with the digests of its request and of its tags in the token. `owner` is the tag that names the owner.
    pub fn sealed(mut self, owner: &str) -> Self {
        let indexes = self.indexes.as_ref().map(ToString::to_string);
        self.token = self.token.sealed(&self.request(), owner, self.tags(indexes.as_deref()));
        self
    }

    /// Whether the call can be repeated without launching twice: the record still matches the digests in its token (an
    /// older CRD may have pruned fields, which would make another request), and EC2 still remembers the token.
    pub fn is_repeatable(&self, owner: &str, now: Timestamp) -> bool {
        let indexes = self.indexes.as_ref().map(ToString::to_string);
        self.token.seals_request(&self.request())
            && self.token.seals_tags(owner, self.tags(indexes.as_deref()))
            && now.duration_since(self.started_at.0) < TOKEN_MEMORY
    }

    fn tags<'a>(&'a self, indexes: Option<&'a str>) -> LaunchTags<'a> {
        LaunchTags { role: self.role.as_str(), revision: &self.revision, indexes }
    }

    /// The fields that make the request, which never change.
    fn request(&self) -> Vec<u8> {
        let Self {
            token: _,
            holder: _,
            attempts: _,
            instance_ids: _,
            started_at: _,
            role,
            revision,
            subnet,
            instance_type,
            image_id,
            launch_template_version,
            indexes,
            count,
            replaces,
        } = self;
        let place = (subnet, instance_type, image_id, launch_template_version);
        // Strings and numbers always serialise.
        serde_json::to_vec(&(role, revision, place, indexes, count, replaces)).unwrap_or_default()
    }
}

/// An instance that was adopted. Its role and its revision are these, whatever its tags say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Adopted {
    /// The id of the instance.
    #[schemars(with = "String", length(max = 19))]
    pub id: InstanceId,
    /// The role that the instance has.
    #[schemars(with = "String", length(max = 63))]
    pub role: Role,
    /// The revision that the instance counts as. Absent until the template resolves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub revision: Option<String>,
}

#[cfg(test)]
impl LaunchIntent {
    /// A launch of `count` equal instances that was never sent.
    pub fn sample(token: ClientToken, count: u32) -> Self {
        Self {
            token,
            holder: "me".into(),
            attempts: 1,
            role: Role::main(),
            revision: "web-1".into(),
            subnet: SubnetId::try_from("subnet-0000000a").unwrap(),
            instance_type: InstanceType::try_from("m6i.large").unwrap(),
            image_id: ImageId::try_from("ami-00000001").unwrap(),
            launch_template_version: None,
            indexes: None,
            count,
            replaces: 0,
            instance_ids: Vec::new(),
            started_at: Time(Timestamp::UNIX_EPOCH),
        }
    }
}

/// Instances to terminate. They no longer count as workers from the moment they are listed here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Termination {
    /// The controller process that recorded the termination.
    #[schemars(length(max = 300))]
    pub holder: String,
    /// The reason for the termination.
    pub reason: TerminationReason,
    /// When the termination was recorded.
    pub started_at: Time,
    /// The instance ids.
    #[serde(rename = "instanceIDs")]
    #[schemars(
        with = "Vec<String>",
        length(max = 1000),
        inner(length(max = 19)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub instance_ids: Vec<InstanceId>,
}

/// Why instances are terminated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum TerminationReason {
    ScaleDown,
    Stopped,
    /// It never became ready within the startup deadline.
    StartupDeadline,
    /// EC2's status checks failed for too long.
    ChecksFailed,
    /// A worker of a newer revision replaces it.
    Update,
    /// Its work is done or no longer needed.
    Finished,
    Deleted,
}

/// How many workers a role has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Provisioned {
    /// The role.
    #[schemars(with = "String", length(max = 63))]
    pub role: Role,
    /// The largest number of workers that the role has reached, up to the desired number.
    #[schemars(with = "i32", range(min = 0))]
    pub replicas: u32,
    /// The number of existing workers, including those being launched and those missing from DescribeInstances.
    #[serde(default)]
    #[schemars(with = "i32", range(min = 0))]
    pub existing: u32,
}

/// The number of workers that were replaced within ten minutes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Replacements {
    /// When the ten minutes began.
    pub since: Time,
    /// The number of workers.
    #[schemars(with = "i32", range(min = 0))]
    pub count: u32,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::ids::Uid;

    const OWNER: &str = "muster.dev:fleet=ns/web";

    /// `intent`, read back from a record that was changed.
    fn recorded(intent: &LaunchIntent, change: impl Fn(&mut Value)) -> LaunchIntent {
        let mut record = serde_json::to_value(intent).unwrap();
        change(&mut record);
        serde_json::from_value(record).unwrap()
    }

    #[test]
    fn only_an_intent_that_was_recorded_completely_is_repeatable() {
        let uid = Uid::try_from("6b4d2a3e-9d0c-4f6e-8f0e-1f7a2b3c4d5e").unwrap();
        let made = LaunchIntent {
            role: Role::try_from("leader").unwrap(),
            launch_template_version: Some(3),
            indexes: Some("0-4".parse().unwrap()),
            replaces: 1,
            ..LaunchIntent::sample(ClientToken::new(&uid, 7), 5)
        };
        let at = |hours| made.started_at.0 + SignedDuration::from_hours(hours);
        assert!(!made.is_repeatable(OWNER, at(0)));
        let sealed = made.clone().sealed(OWNER);
        assert!(sealed.token.as_str().len() <= 64);
        assert!(sealed.is_repeatable(OWNER, at(11)));
        assert!(!sealed.is_repeatable(OWNER, at(12)));
        assert!(!sealed.is_repeatable("muster.dev:fleet=ns/db", at(0)));

        for field in ["role", "launchTemplateVersion", "indexes", "replaces"] {
            let cut = recorded(&sealed, |record| drop(record.as_object_mut().unwrap().remove(field)));
            assert!(!cut.is_repeatable(OWNER, at(0)), "{field}");
        }
        for (field, value, repeatable) in [
            ("role", json!("web"), false),
            ("revision", json!("web-2"), false),
            ("subnet", json!("subnet-0000000b"), false),
            ("instanceType", json!("m5.large"), false),
            ("imageID", json!("ami-00000002"), false),
            ("indexes", json!("0-3,5"), false),
            ("count", json!(6), false),
            ("holder", json!("another"), true),
            ("attempts", json!(2), true),
            ("instanceIDs", json!(["i-00000001"]), true),
        ] {
            let changed = recorded(&sealed, |record| record[field] = value.clone());
            assert_eq!(changed.is_repeatable(OWNER, at(0)), repeatable, "{field}");
        }
    }
}
