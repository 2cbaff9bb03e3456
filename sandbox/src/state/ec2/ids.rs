//! Identifiers as EC2 makes them: a prefix and 17 hex digits.

use sha2::{Digest, Sha256};

use crate::error::ApiError;

pub(crate) fn random(prefix: &str) -> String {
    let digits = uuid::Uuid::new_v4().simple().to_string();
    format!("{prefix}-{}", &digits[..17])
}

/// The same parts make the same id, in every sandbox.
pub(crate) fn derived(prefix: &str, parts: &[&str]) -> String {
    let digits = hex::encode(Sha256::digest(parts.join("/").as_bytes()));
    format!("{prefix}-{}", &digits[..17])
}

/// Whether this is an id at all: 8 or 17 hex digits after the prefix.
pub(crate) fn is_well_formed(id: &str, prefix: &str) -> bool {
    id.strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('-'))
        .is_some_and(|digits| matches!(digits.len(), 8 | 17) && digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

pub(crate) fn check_instance_id(id: &str) -> Result<(), ApiError> {
    if is_well_formed(id, "i") {
        return Ok(());
    }
    Err(ApiError::new("InvalidInstanceID.Malformed", format!("Invalid id: \"{id}\"")))
}

pub(crate) fn instances_not_found(ids: &[&str]) -> ApiError {
    let message = match ids {
        [one] => format!("The instance ID '{one}' does not exist"),
        many => format!("The instance IDs '{}' do not exist", many.join(", ")),
    };
    ApiError::new("InvalidInstanceID.NotFound", message)
}

pub(crate) fn check_image_id(id: &str) -> Result<(), ApiError> {
    if is_well_formed(id, "ami") {
        return Ok(());
    }
    Err(ApiError::new("InvalidAMIID.Malformed", format!("Invalid id: \"{id}\" (expecting \"ami-...\")")))
}

pub(crate) fn images_not_found(ids: &[&str]) -> ApiError {
    let plural = if ids.len() == 1 { ("id", "does") } else { ("ids", "do") };
    let message = format!("The image {} '[{}]' {} not exist", plural.0, ids.join(", "), plural.1);
    ApiError::new("InvalidAMIID.NotFound", message)
}

pub(crate) fn subnet_not_found(id: &str) -> ApiError {
    ApiError::new("InvalidSubnetID.NotFound", format!("The subnet ID '{id}' does not exist"))
}

pub(crate) fn group_not_found(id: &str) -> ApiError {
    ApiError::new("InvalidGroup.NotFound", format!("The security group '{id}' does not exist"))
}
