//! A revision as a ControllerRevision stores it.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    api::apps::v1::ControllerRevision,
    apimachinery::pkg::{apis::meta::v1::OwnerReference, runtime::RawExtension},
};
use kube::{ResourceExt, api::ObjectMeta};
use serde_json::Value;

use crate::{
    aws::ec2::launch_request::LaunchRequest,
    ids::Uid,
    k8s::{cluster::Error, live::Live},
    reconcile::{Failure, Kind},
    tags::OWNER_UID_TAG,
    workers::launch_spec::revision::{Outline, Revision, RevisionContent, digest},
};

/// The label of an object's revisions. Its value is the uid of the object.
pub const LABEL: &str = "muster.dev/owner-uid";

/// In bytes of JSON. User data, which is the largest part, has 16 KiB at most, and is there twice.
const MAX_SIZE: usize = 128 << 10;

#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub number: i64,
    pub uid: Option<String>,
    /// Of its whole data.
    pub digest: String,
    pub outline: Outline,
    pub request: Arc<LaunchRequest>,
}

impl Stored {
    /// The name that the cluster had then.
    pub(super) fn cluster(&self) -> &str {
        &self.outline.resolved.cluster
    }

    pub(super) fn parameters(&self) -> Option<&str> {
        self.outline.resolved.parameters.as_ref().map(|parameters| parameters.hash.as_str())
    }
}

/// `None` if it is not of this object, or larger than any that muster writes; an error if this version does not understand its content.
pub(super) fn read(uid: &Uid, revision: &ControllerRevision) -> Option<Result<Stored, serde_json::Error>> {
    let ours = |tag: Option<&str>| tag == Some(uid.as_str());
    let owned = revision.owner_references().iter().any(|owner| ours(Some(&owner.uid)));
    let Value::Object(request) = &revision.data.0["request"] else { return None };
    if is_larger_than(MAX_SIZE, &revision.data.0) {
        return None;
    }
    if !owned || !ours(request.get("tags").and_then(|tags| tags[OWNER_UID_TAG].as_str())) {
        return None;
    }
    let content = serde_json::from_value::<RevisionContent>(revision.data.0.clone());
    Some(content.map(|content| Stored {
        number: revision.revision.unwrap_or_default(),
        uid: revision.uid(),
        digest: digest(&revision.data.0),
        outline: content.outline(),
        request: Arc::new(content.request),
    }))
}

fn is_larger_than(limit: usize, data: &Value) -> bool {
    // Values always serialise.
    serde_json::to_string(data).is_ok_and(|json| json.len() > limit)
}

pub(super) fn manifest<K: Kind>(
    live: &Live<K>,
    revision: &Revision,
    number: i64,
) -> Result<ControllerRevision, Failure> {
    let owner = OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::NAME.into(),
        name: live.name().into(),
        uid: live.uid().to_string(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    };
    let content = serde_json::to_value(&revision.content).map_err(|source| Error::Shape { source })?;
    Ok(ControllerRevision {
        metadata: ObjectMeta {
            name: Some(revision.name.clone()),
            namespace: Some(live.namespace().into()),
            labels: Some(BTreeMap::from([(LABEL.into(), live.uid().to_string())])),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        data: RawExtension(content),
        revision: Some(number),
    })
}
