//! Which machine image a worker starts from.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{OnChange, selector_tags_schema};

/// Which machine image. Exactly one of `id`, `ssmParameter` and `selector`.
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
    /// The name of a public or own parameter in Parameter Store whose value is the id of the image. It is read about once
    /// a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), extend("x-kubernetes-validations" = [{
        "rule": "self.matches('^[A-Za-z0-9_.:/-]+$')",
        "message": "write the name of a parameter in Parameter Store, like /ami/worker",
    }]))]
    pub ssm_parameter: Option<String>,
    /// The newest available image with these marks. It is looked for about once a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<AmiSelector>,
    /// What becomes of running workers when `ssmParameter` or `selector` comes to another image: `Keep` leaves them, and
    /// new workers start from the new image; `Replace` rolls them. `Keep` when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_change: Option<OnChange>,
}

/// Marks of a machine image. An image must have all of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.name) || has(self.description) || has(self.tags)",
    "message": "say which images of these owners: add name, description or tags",
}]))]
pub struct AmiSelector {
    /// Whose images: `self`, `amazon` or ids of AWS accounts. Anybody can publish an image under a likely name, so nobody
    /// else's is ever used.
    #[schemars(
        length(min = 1, max = 16),
        inner(length(max = 12)),
        extend("x-kubernetes-list-type" = "set", "x-kubernetes-validations" = [{
            "rule": "self.all(o, o.matches('^(self|amazon|[0-9]{12})$'))",
            "message": "write owners as self, amazon or ids of AWS accounts (12 digits)",
        }])
    )]
    pub owners: Vec<String>,
    /// The name of the image; `*` stands for any text, `?` for any character.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub name: Option<String>,
    /// The description of the image; `*` stands for any text, `?` for any character.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub description: Option<String>,
    /// Tags of the image, as this account sees them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "selector_tags_schema")]
    pub tags: Option<BTreeMap<String, String>>,
}
