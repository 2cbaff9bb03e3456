//! The image of new workers in a status and a condition.

use crate::{
    condition::{ConditionType, Reason, Truth, Verdict},
    crd::workers_status::AmiStatus,
    text::visible,
    workers::launch_spec::{Resolved, resolve::resolution::Image},
};

/// The longest name that EC2 allows.
const NAME_LIMIT: usize = 128;

impl From<&Image> for AmiStatus {
    fn from(image: &Image) -> Self {
        let name = image.name.as_deref().map(|name| visible(name, NAME_LIMIT));
        Self { id: image.id.clone(), name, deprecated: image.deprecated }
    }
}

/// `AmiResolved`, from the resolved templates of all roles, the main one first.
pub fn resolved<'a>(roles: impl IntoIterator<Item = &'a Resolved> + Clone) -> Verdict {
    let verdict =
        |truth: Truth, reason, message: String| Verdict::new(ConditionType::AmiResolved, truth, reason, message);
    let failed = roles.clone().into_iter().filter_map(|resolved| resolved.unresolved.as_ref());
    if let Some(unresolved) = failed.into_iter().find(|unresolved| unresolved.is_about_image()) {
        let message = format!("{}; until then no worker is launched, and running workers stay", unresolved.message());
        return verdict(Truth::False, unresolved.reason(), message);
    }
    let Some(image) = roles.into_iter().next().and_then(Resolved::image) else {
        return verdict(Truth::Unknown, Reason::TemplateUnresolved, "not resolved yet".into());
    };
    let name = image.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let deprecated =
        if image.deprecated { ", which is deprecated: use a newer image before it is deregistered" } else { "" };
    verdict(Truth::True, Reason::AmiFound, format!("new workers start from {}{name}{deprecated}", image.id))
}
