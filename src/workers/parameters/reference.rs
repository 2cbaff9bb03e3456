//! Where a worker finds its parameters.

use serde::{Deserialize, Serialize};

use crate::{crd::parameters::OnChange, ids::Region};

/// What user data needs to fetch the parameters. It is part of a revision, so it holds no value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ParametersRef {
    pub place: ParametersPlace,
    pub region: Region,
    /// Identifies the values.
    pub hash: String,
    pub on_change: OnChange,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum ParametersPlace {
    /// One immutable JSON document: other values have another key.
    S3 { bucket: String, key: String },
    /// Everything directly below the path.
    ParameterStore { path: String },
}

impl ParametersRef {
    /// Whether workers that were launched with `earlier` must be replaced.
    pub fn supersedes(&self, earlier: Option<&Self>) -> bool {
        match self.on_change {
            OnChange::Keep => false,
            OnChange::Replace => earlier.is_none_or(|earlier| earlier.hash != self.hash),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_values_supersede_only_with_replace() {
        let reference = |hash: &str, on_change| ParametersRef {
            place: ParametersPlace::ParameterStore { path: "/app".into() },
            region: Region::try_from("eu-west-1").unwrap(),
            hash: hash.into(),
            on_change,
        };
        let earlier = reference("1", OnChange::Keep);
        for (new, supersedes) in [
            (reference("2", OnChange::Keep), false),
            (reference("2", OnChange::Replace), true),
            (reference("1", OnChange::Replace), false),
        ] {
            assert_eq!(new.supersedes(Some(&earlier)), supersedes, "{new:?}");
        }
        assert!(reference("1", OnChange::Replace).supersedes(None));
        assert!(!reference("1", OnChange::Keep).supersedes(None));
    }
}
