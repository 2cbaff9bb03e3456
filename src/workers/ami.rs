//! The image that new workers start from, told in a status and a condition.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    condition::{ConditionType, Reason, Truth, Verdict},
    ids::ImageId,
    workers::{resolve::Image, supply::Supplied},
};

/// A machine image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AmiStatus {
    /// The id of the image.
    #[schemars(with = "String", length(max = 21))]
    pub id: ImageId,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub name: Option<String>,
    /// Whether its owner advises against it. It can still be launched.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deprecated: bool,
}

impl From<&Image> for AmiStatus {
    fn from(image: &Image) -> Self {
        Self { id: image.id.clone(), name: image.name.clone(), deprecated: image.deprecated }
    }
}

/// `AmiResolved` of groups that are supplied like this, the main one first.
pub fn resolved<'a>(groups: impl IntoIterator<Item = &'a Supplied> + Clone) -> Verdict {
    let say = |truth: bool, reason, message| Verdict::new(ConditionType::AmiResolved, truth, reason, message);
    let failed = groups.clone().into_iter().filter_map(|supplied| supplied.unresolved.as_ref());
    if let Some(unresolved) = failed.into_iter().find(|unresolved| unresolved.is_about_image()) {
        let message = format!("{}; none is launched meanwhile, and running workers stay", unresolved.message());
        return say(false, unresolved.reason(), message);
    }
    let Some(image) = groups.into_iter().next().and_then(Supplied::image) else {
        return Verdict::new(ConditionType::AmiResolved, Truth::Unknown, Reason::TemplateUnresolved, "not known yet");
    };
    let name = image.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let deprecated = if image.deprecated {
        ", which its owner has deprecated: name a newer one before it is deregistered"
    } else {
        ""
    };
    say(true, Reason::AmiFound, format!("new workers start from {}{name}{deprecated}", image.id))
}
