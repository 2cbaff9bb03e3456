//! What Parameter Store takes as a name.

use super::validation::{constraint, validation};
use crate::error::ApiError;

const MAX_LENGTH: usize = 1011;
const MAX_LEVELS: usize = 15;

/// Checks the name of a parameter that is to be made.
pub(super) fn check(name: &str) -> Result<(), ApiError> {
    if name.is_empty() || name.len() > 2048 {
        let length = "Member must have length less than or equal to 2048, and greater than or equal to 1";
        return Err(constraint(name, "name", length));
    }
    let path = name.contains('/');
    let bare = name.trim_start_matches('/').to_ascii_lowercase();
    if bare.starts_with("aws") && name.starts_with('/') {
        return Err(ApiError::new("AccessDeniedException", format!("No access to reserved parameter name: {name}.")));
    }
    if bare.starts_with("aws") || bare.starts_with("ssm") {
        return Err(validation(if path {
            "Parameter name: can't be prefixed with \"ssm\" (case-insensitive). If formed as a path, it can consist of \
             sub-paths divided by slash symbol; each sub-path can be formed as a mix of letters, numbers and the \
             following 3 symbols .-_"
        } else {
            "Parameter name: can't be prefixed with \"aws\" or \"ssm\" (case-insensitive)."
        }));
    }
    let fits = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
    };
    let levels = name.strip_prefix('/').unwrap_or(name).split('/');
    if name.len() > MAX_LENGTH || !levels.clone().all(fits) {
        return Err(validation(
            "Parameter name must not end with slash, must be at most 1011 characters long, and each part of it must be \
             a mix of letters, numbers and the following 3 symbols .-_",
        ));
    }
    if path && !name.starts_with('/') {
        return Err(validation("Parameter name must be a fully qualified name."));
    }
    if levels.count() > MAX_LEVELS {
        return Err(ApiError::new(
            "HierarchyLevelLimitExceededException",
            format!("A hierarchy can have a maximum of {MAX_LEVELS} levels."),
        ));
    }
    Ok(())
}

/// Checks a path to look below, and gives what every name below it starts with.
pub(super) fn below(path: &str) -> Result<String, ApiError> {
    let fits = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-/".contains(&byte));
    if !path.starts_with('/') || path.contains("//") || !fits {
        return Err(validation(
            "The parameter doesn't meet the parameter name requirements. The parameter name must begin with a forward \
             slash \"/\". It can't be prefixed with \"aws\" or \"ssm\" (case-insensitive). It must use only letters, \
             numbers, or the following symbols: . (period), - (hyphen), _ (underscore). Special characters are not \
             allowed. All sub-paths, if specified, must use the forward slash symbol \"/\". Valid example: \
             /get/parameters2-/by1./path0_.",
        ));
    }
    Ok(if path.ends_with('/') { path.to_owned() } else { format!("{path}/") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        let deep = |levels: usize| "/a".repeat(levels);
        for (name, code) in [
            ("model", None),
            ("/app/model.v1_x-2", None),
            ("/awkward", None),
            (&deep(15), None),
            (&deep(16), Some("HierarchyLevelLimitExceededException")),
            ("app/model", Some("ValidationException")),
            ("/app/", Some("ValidationException")),
            ("/app//model", Some("ValidationException")),
            ("two words", Some("ValidationException")),
            ("", Some("ValidationException")),
            (&"a".repeat(1012), Some("ValidationException")),
            ("awsome", Some("ValidationException")),
            ("/SSM/x", Some("ValidationException")),
            ("/aws/x", Some("AccessDeniedException")),
        ] {
            assert_eq!(check(name).err().map(|error| error.code).as_deref(), code, "{name}");
        }
    }
}
