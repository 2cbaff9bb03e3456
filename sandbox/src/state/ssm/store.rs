//! What one account finds under a name.

use std::collections::BTreeMap;

use super::parameter::{Parameter, Version};
use crate::error::ApiError;

/// The parameters that one account sees in one region.
pub(crate) struct Store<'a> {
    pub(crate) own: &'a mut BTreeMap<String, Parameter>,
    pub(crate) public: &'a mut BTreeMap<String, Parameter>,
}

impl Store<'_> {
    /// What a name stands for that may carry a version (`/app/model:3`) or be an ARN: the parameter, the version, and the
    /// selector that chose it.
    pub(crate) fn find<'n>(&self, name: &'n str) -> Result<(&Parameter, &Version, Option<&'n str>), ApiError> {
        let missing = || ApiError::new("ParameterNotFound", format!("Parameter {name} not found."));
        // arn:aws:ssm:eu-west-1:111111111111:parameter/app/model
        let (arn, path) = match name.strip_prefix("arn:") {
            Some(rest) => (true, rest.split_once(":parameter").ok_or_else(missing)?.1),
            None => (false, name),
        };
        let (path, selector) = match path.split_once(':') {
            Some((path, selector)) => (path, Some(selector)),
            None => (path, None),
        };
        let parameter = self.named(path).or_else(|| self.named(path.strip_prefix('/')?).filter(|_| arn));
        let parameter = parameter.ok_or_else(missing)?;
        let version = match selector {
            None => parameter.latest(),
            Some(selector) => parameter.versions.iter().find(|version| version.number.to_string() == selector),
        };
        let version = version.ok_or_else(|| {
            let message = format!(
                "Systems Manager could not find version {} of {path}. Verify the version and try again.",
                selector.unwrap_or_default()
            );
            ApiError::new("ParameterVersionNotFound", message)
        })?;
        Ok((parameter, version, selector))
    }

    fn named(&self, name: &str) -> Option<&Parameter> {
        self.own.get(name).or_else(|| self.public.get(name))
    }
}
