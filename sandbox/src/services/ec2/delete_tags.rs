//! DeleteTags

use super::call::{Ec2Call, Operation};
use super::create_tags::estate_tags;
use crate::error::ApiError;
use crate::protocol::params::missing;
use crate::protocol::xml::Xml;
use crate::state::ec2::lifecycle;
use crate::state::throttle::CREATE_TAGS;

pub(super) const OPERATION: Operation = Operation { name: "DeleteTags", requests: CREATE_TAGS, run };

/// Removes tags by key; with a value, only those that have it. Without tags, all of them.
fn run(call: &Ec2Call<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let resources = root.list("ResourceId");
    let tags: Vec<(String, Option<String>)> = root
        .items("Tag")
        .into_iter()
        .map(|tag| Ok((tag.required("Key")?.to_owned(), tag.text("Value").map(str::to_owned))))
        .collect::<Result<_, ApiError>>()?;
    let dry_run = call.finish()?;
    if resources.is_empty() {
        return Err(missing("ResourceId"));
    }
    let (account, region) = (&call.caller.id.account, &call.caller.region);
    call.with(|world| {
        let lag = world.describe_lag;
        let is_named = |key: &str, value: &str| {
            tags.is_empty() || tags.iter().any(|(named, of)| named == key && of.as_deref().is_none_or(|of| of == value))
        };
        for id in resources.iter().filter(|id| !id.starts_with("ami-")) {
            estate_tags(world.estate(account, region, call.now), id)?;
        }
        dry_run.end()?;
        for id in &resources {
            let sequence = world.estate(account, region, call.now).sequences.get(*id).copied();
            if let Some(instance) = sequence.and_then(|sequence| world.instance_mut(account, region, sequence)) {
                lifecycle::remember(instance, lag, call.now);
            }
            let of_image = world.images(region, call.now).get_mut(*id).filter(|image| image.owner == *account);
            if let Some(image) = of_image {
                image.tags.retain(|key, value| !is_named(key, value));
            } else if let Ok(of_resource) = estate_tags(world.estate(account, region, call.now), id) {
                of_resource.retain(|key, value| !is_named(key, value) || key.starts_with("aws:"));
            }
        }
        let mut xml = Xml::default();
        xml.text("return", true);
        Ok(xml)
    })
}
