//! Parameters that operations on launch templates share.

use super::call::Ec2Call;
use crate::error::ApiError;
use crate::protocol::params::{Scope, invalid, missing};
use crate::state::ec2::launch_template::{TemplateData, TemplateVersion};
use crate::state::ec2::tags::{self, Tags};
use crate::state::ec2::world::World;

const LONGEST_DESCRIPTION: usize = 255;
const LONGEST_TOKEN: usize = 128;
/// What the describe calls of templates give at most.
pub(crate) const PAGE_SIZES: std::ops::RangeInclusive<usize> = 1..=200;

/// `ClientToken` and `VersionDescription`, which the operations that make a version share.
pub(crate) fn read_token_and_description<'a>(root: &Scope<'a>) -> Result<(Option<&'a str>, Option<&'a str>), ApiError> {
    let token = root.text("ClientToken").filter(|token| !token.is_empty());
    if token.is_some_and(|token| token.len() > LONGEST_TOKEN || !token.is_ascii()) {
        return Err(invalid(format!("ClientToken must have at most {LONGEST_TOKEN} ASCII characters.")));
    }
    let description = root.text("VersionDescription");
    if description.is_some_and(|text| text.chars().count() > LONGEST_DESCRIPTION) {
        return Err(invalid(format!("VersionDescription must have at most {LONGEST_DESCRIPTION} characters.")));
    }
    Ok((token, description))
}

/// `LaunchTemplateData`, which must have something in it.
pub(crate) fn read_data(root: &Scope<'_>) -> Result<TemplateData, ApiError> {
    let data = root.child("LaunchTemplateData").map(|scope| TemplateData::read(&scope)).transpose()?;
    data.filter(|data| !data.is_empty()).ok_or_else(|| missing("LaunchTemplateData"))
}

/// A version as an answer shows it. If the caller wants it, an image that a parameter names is looked up.
pub(crate) fn shown(
    world: &World,
    call: &Ec2Call<'_>,
    version: &TemplateVersion,
    resolves: bool,
) -> Result<TemplateVersion, ApiError> {
    let mut shown = version.clone();
    if let Some(image) = version.data.get("ImageId").filter(|_| resolves) {
        let image = world.resolve_alias(&call.caller.id.account, &call.caller.region, image)?;
        shown.data = shown.data.with("ImageId", image);
    }
    Ok(shown)
}

/// Tags for a new template.
pub(crate) fn read_tags(root: &Scope<'_>) -> Result<Tags, ApiError> {
    let mut found = Tags::new();
    for specification in root.items("TagSpecification") {
        let resource = specification.required("ResourceType")?;
        if resource != "launch-template" {
            return Err(invalid(format!("'{resource}' is not a valid taggable resource type for this operation.")));
        }
        found = tags::read(&specification)?;
    }
    Ok(found)
}
