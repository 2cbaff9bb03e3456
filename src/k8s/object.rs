//! The static properties of a kind.

use std::fmt;

use kube::Resource;
use serde::{Serialize, de::DeserializeOwned};

use crate::crd::fields::CommonStatus;

/// The static properties of a kind: its names, and the places in its JSON that muster reads.
pub trait Object: Resource<DynamicType = ()> + DeserializeOwned + Clone + fmt::Debug + Send + Sync + 'static {
    type Status: Serialize
        + DeserializeOwned
        + Default
        + Clone
        + PartialEq
        + fmt::Debug
        + Send
        + Sync
        + AsMut<CommonStatus>;

    /// The name of the kind.
    const NAME: &'static str;

    /// Whether objects have a namespace.
    const NAMESPACED: bool = true;

    /// `muster.dev/<kind>`.
    const FINALIZER: &'static str;

    /// The places of `AwsRef`s in the spec, as JSON pointers, with `[]` after a list: `/sources[]/aws`.
    const AWS_REFS: &'static [&'static str];

    /// The tag with which instances name their owner, if the kind runs workers. It is one of [`crate::tags::OWNER_TAGS`].
    const OWNER_TAG: Option<&'static str> = None;

    /// Every list of objects in the status.
    const STATUS_LISTS: &'static [&'static [StatusList]];

    fn status(&self) -> Option<&Self::Status>;

    /// `spec.suspend`.
    fn suspended(&self) -> bool;
}

/// A list in a status: the name of its field, and the field that identifies an item. An item with the same key keeps
/// the fields that another version of muster wrote. Without a key, the list is replaced as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusList {
    pub field: &'static str,
    pub key: Option<&'static str>,
}

impl StatusList {
    pub const fn keyed(field: &'static str, key: &'static str) -> Self {
        Self { field, key: Some(key) }
    }

    pub const fn replaced(field: &'static str) -> Self {
        Self { field, key: None }
    }
}

/// The lists that the status of every kind has.
pub const COMMON_LISTS: &[StatusList] = &[StatusList::keyed("conditions", "type")];
