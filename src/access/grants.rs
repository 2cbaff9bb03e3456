//! Checks requests against the grants of an AwsAccount. Pure.

use std::collections::BTreeMap;

use crate::crd::{
    aws_account::{Grant, NamespaceGrant},
    parameters::Parameters,
    template::WorkerTemplate,
};

/// A namespace and its labels.
#[derive(Clone, Debug, Default)]
pub struct Namespace<'a> {
    pub name: &'a str,
    pub labels: BTreeMap<String, String>,
}

/// A resource that an object uses. Without a grant that names it, no call is made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Claim {
    InstanceProfile(String),
    /// By name or by id, as in the spec.
    LaunchTemplate(String),
    Bucket(String),
    /// A path of Parameter Store, without a trailing slash.
    ParameterPath(String),
}

impl Claim {
    /// The resources that workers of `template` use.
    pub fn of_template(template: &WorkerTemplate) -> impl Iterator<Item = Self> + '_ {
        let profile = template.instance_profile.iter().cloned().map(Self::InstanceProfile);
        profile.chain(template.launch_template.iter().map(|base| Self::LaunchTemplate(base.reference().to_owned())))
    }

    /// The store of `parameters`.
    pub fn of_parameters(parameters: &Parameters) -> Option<Self> {
        match (&parameters.store.s3, &parameters.store.parameter_store) {
            (Some(s3), _) => Some(Self::Bucket(s3.bucket.clone())),
            (None, Some(store)) => Some(Self::ParameterPath(store.path.clone())),
            (None, None) => None,
        }
    }
}

/// Checks that `grants` allow `kind` in `namespace` to use all of `claims`.
///
/// # Errors
/// The missing grant, with the lines to add to `spec.grants`.
pub fn check(grants: &[Grant], kind: &str, namespace: &Namespace<'_>, claims: &[Claim]) -> Result<(), String> {
    let ours: Vec<&Grant> =
        grants.iter().filter(|g| covers(&g.namespaces, namespace) && listed(&g.kinds, kind)).collect();
    let name = namespace.name;
    if ours.is_empty() {
        return Err(format!(
            "does not let namespace {name} use it for a {kind}; add to its spec.grants: \
             {{namespaces: {{names: [{name}]}}, kinds: [{kind}]}}"
        ));
    }
    for claim in claims {
        let (what, field, list, value): (_, _, fn(&Grant) -> &[String], _) = match claim {
            Claim::InstanceProfile(profile) => {
                ("instance profile", "instanceProfiles", |g| &g.instance_profiles, profile)
            }
            Claim::LaunchTemplate(template) => {
                ("launch template", "launchTemplates", |g| &g.launch_templates, template)
            }
            Claim::Bucket(bucket) => ("bucket", "buckets", |g| &g.buckets, bucket),
            Claim::ParameterPath(path) => ("parameter path", "parameterPaths", |g| &g.parameter_paths, path),
        };
        let is_granted = if matches!(claim, Claim::ParameterPath(_)) { covers_path } else { listed };
        if !ours.iter().any(|g| is_granted(list(g), value)) {
            return Err(format!(
                "does not grant {what} {value} to namespace {name}; add it to {field} of the grant for {kind}: \
                 {field}: [{value}]"
            ));
        }
    }
    Ok(())
}

fn listed(list: &[String], value: &str) -> bool {
    list.iter().any(|item| item == "*" || item == value)
}

/// A path covers itself and every path below it.
fn covers_path(list: &[String], path: &str) -> bool {
    let below =
        |item: &String| path.strip_prefix(item.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    list.iter().any(|item| item == "*" || below(item))
}

fn covers(grant: &NamespaceGrant, namespace: &Namespace<'_>) -> bool {
    if listed(&grant.names, namespace.name) {
        return true;
    }
    // An empty selector would match every namespace. The schema refuses it too.
    grant.selector.as_ref().is_some_and(|s| {
        !s.match_labels.is_empty() && s.match_labels.iter().all(|(k, v)| namespace.labels.get(k) == Some(v))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::aws_account::LabelGrant;

    fn grant(names: &[&str], kinds: &[&str]) -> Grant {
        let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        Grant {
            namespaces: NamespaceGrant { names: owned(names), selector: None },
            kinds: owned(kinds),
            instance_profiles: vec!["worker".into()],
            launch_templates: vec!["web".into()],
            buckets: vec![],
            parameter_paths: vec!["/app".into()],
        }
    }

    fn namespace(name: &str) -> Namespace<'_> {
        Namespace { name, labels: BTreeMap::from([("team".into(), "ml".into())]) }
    }

    #[test]
    fn without_a_grant_no_namespace_has_access() {
        let refused = check(&[], "WorkerFleet", &namespace("ml"), &[]).unwrap_err();
        assert!(refused.contains("{namespaces: {names: [ml]}, kinds: [WorkerFleet]}"), "{refused}");
    }

    #[test]
    fn namespace_and_kind_must_both_be_named() {
        let grants = [grant(&["ml"], &["WorkerFleet"])];
        assert!(check(&grants, "WorkerFleet", &namespace("ml"), &[]).is_ok());
        assert!(check(&grants, "FleetReport", &namespace("ml"), &[]).is_err());
        assert!(check(&grants, "WorkerFleet", &namespace("web"), &[]).is_err());
        assert!(check(&[grant(&["*"], &["*"])], "FleetReport", &namespace("web"), &[]).is_ok());
    }

    #[test]
    fn every_resource_that_is_used_must_be_granted() {
        let grants = [grant(&["ml"], &["*"])];
        let profile = |name: &str| [Claim::InstanceProfile(name.into())];
        assert!(check(&grants, "WorkerFleet", &namespace("ml"), &profile("worker")).is_ok());
        let refused = check(&grants, "WorkerFleet", &namespace("ml"), &profile("admin")).unwrap_err();
        assert!(refused.contains("instance profile admin"), "{refused}");
        assert!(refused.contains("instanceProfiles: [admin]"), "{refused}");
        assert!(check(&grants, "FleetReport", &namespace("ml"), &[Claim::Bucket("b".into())]).is_err());
        let based_on = |name: &str| [Claim::LaunchTemplate(name.into())];
        assert!(check(&grants, "WorkerFleet", &namespace("ml"), &based_on("web")).is_ok());
        let refused = check(&grants, "WorkerFleet", &namespace("ml"), &based_on("lt-00000001")).unwrap_err();
        assert!(refused.contains("launchTemplates: [lt-00000001]"), "{refused}");
    }

    #[test]
    fn a_path_grants_all_paths_below_it() {
        let grants = [grant(&["ml"], &["*"])];
        let checked =
            |path: &str| check(&grants, "WorkerFleet", &namespace("ml"), &[Claim::ParameterPath(path.into())]);
        assert!(checked("/app").is_ok() && checked("/app/prod").is_ok());
        assert!(checked("/application").is_err());
        let refused = checked("/").unwrap_err();
        assert!(refused.contains("does not grant parameter path / to namespace ml"), "{refused}");
        assert!(refused.contains("parameterPaths: [/]"), "{refused}");
    }

    #[test]
    fn claims_are_not_granted_across_namespaces() {
        let web = Grant { buckets: vec!["*".into()], ..grant(&["web"], &["*"]) };
        let grants = [grant(&["ml"], &["*"]), web];
        assert!(check(&grants, "FleetReport", &namespace("ml"), &[Claim::Bucket("b".into())]).is_err());
        assert!(check(&grants, "FleetReport", &namespace("web"), &[Claim::Bucket("b".into())]).is_ok());
    }

    #[test]
    fn labels_select_namespaces_and_an_empty_selector_selects_none() {
        let by_label = |labels: &[(&str, &str)]| {
            let match_labels = labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
            let namespaces = NamespaceGrant { names: vec![], selector: Some(LabelGrant { match_labels }) };
            [Grant { namespaces, ..grant(&[], &["*"]) }]
        };
        assert!(check(&by_label(&[("team", "ml")]), "WorkerFleet", &namespace("any"), &[]).is_ok());
        assert!(check(&by_label(&[("team", "web")]), "WorkerFleet", &namespace("any"), &[]).is_err());
        assert!(check(&by_label(&[]), "WorkerFleet", &namespace("any"), &[]).is_err());
    }
}
