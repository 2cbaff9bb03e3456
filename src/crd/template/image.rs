//! The machine image (AMI) of a worker.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::crd::{parameters::OnChange, template::tags::selector_tags_schema};

/// The machine image: exactly one of `id`, `ssmParameter` and `selector`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "[has(self.id), has(self.ssmParameter), has(self.selector)].filter(x, x).size() == 1",
    "message": "ami needs exactly one of id, ssmParameter or selector, for example id: ami-0123456789abcdef0",
}]))]
pub struct Ami {
    /// The id of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 21), extend("x-kubernetes-validations" = [{
        "rule": "self.matches('^ami-([0-9a-f]{8}|[0-9a-f]{17})$')",
        "message": "write the id of an image, like ami-0123456789abcdef0",
    }]))]
    pub id: Option<String>,
    /// The name of a parameter in Parameter Store, public or of this account, whose value is the id of the image. It is
    /// read about once a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), extend("x-kubernetes-validations" = [{
        "rule": "self.matches('^[A-Za-z0-9_.:/-]+$')",
        "message": "write the name of a parameter in Parameter Store, like /ami/worker",
    }]))]
    pub ssm_parameter: Option<String>,
    /// Uses the newest available image that matches. It is looked up about once a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<AmiSelector>,
    /// What happens to running workers when `ssmParameter` or `selector` gives another image: `Keep` (the default)
    /// keeps them, and only new workers start from the new image; `Replace` replaces them by a rolling update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_change: Option<OnChange>,
}

/// Selects machine images. An image must match all fields.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.name) || has(self.description) || has(self.tags)",
    "message": "selector needs name, description or tags in addition to owners",
}]))]
pub struct AmiSelector {
    /// The owners of the images: `self`, `amazon` or ids of AWS accounts. Images of other owners are never used,
    /// because anybody can publish an image with a similar name.
    #[schemars(
        length(min = 1, max = 16),
        inner(length(max = 12)),
        extend("x-kubernetes-list-type" = "set", "x-kubernetes-validations" = [{
            "rule": "self.all(o, o.matches('^(self|amazon|[0-9]{12})$'))",
            "message": "write owners as self, amazon or ids of AWS accounts (12 digits)",
        }])
    )]
    pub owners: Vec<String>,
    /// The name of the image; `*` matches any text, `?` matches one character.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub name: Option<String>,
    /// The description of the image; `*` matches any text, `?` matches one character.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub description: Option<String>,
    /// The tags of the image that this account sees. An image must have all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "selector_tags_schema")]
    pub tags: Option<BTreeMap<String, String>>,
}
