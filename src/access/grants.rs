//! Checks requests against the grants of an AwsAccount. Pure.

use std::{collections::BTreeMap, fmt};

use crate::crd::{
    aws_account::{BucketUse, Grant, NamespaceGrant},
    parameters::{Parameters, Store},
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
    Subnet(String),
    SecurityGroup(String),
    KeyName(String),
    /// A KMS key, as in the spec.
    KmsKey(String),
    /// The keys in a bucket that start with `prefix`.
    Bucket {
        name: String,
        prefix: String,
        used_for: BucketUse,
    },
    /// A path of Parameter Store, without a trailing slash.
    ParameterPath(String),
}

impl Claim {
    /// The resources that `template` names.
    pub fn of_template(template: &WorkerTemplate) -> impl Iterator<Item = Self> + '_ {
        let WorkerTemplate {
            ami: _,
            launch_template,
            instance_types: _,
            capacity_type: _,
            key_name,
            instance_profile,
            subnets,
            placement: _,
            security_groups,
            associate_public_ip_address: _,
            block_device_mappings,
            metadata_options: _,
            user_data: _,
            tags: _,
        } = template;
        let base = launch_template.iter().map(|base| Self::LaunchTemplate(base.reference().to_owned()));
        let keys = block_device_mappings.iter().filter_map(|mapping| mapping.ebs.kms_key_id.clone());
        let subnets = subnets.iter().flat_map(|subnets| subnets.ids.iter().cloned());
        let groups = security_groups.iter().flat_map(|groups| groups.ids.iter().cloned());
        instance_profile
            .iter()
            .cloned()
            .map(Self::InstanceProfile)
            .chain(base)
            .chain(key_name.iter().cloned().map(Self::KeyName))
            .chain(keys.map(Self::KmsKey))
            .chain(subnets.map(Self::Subnet))
            .chain(groups.map(Self::SecurityGroup))
    }

    /// The store of `parameters`.
    pub fn of_parameters(parameters: &Parameters) -> impl Iterator<Item = Self> + '_ {
        let Store { s3, parameter_store } = &parameters.store;
        let bucket = s3.iter().map(|s3| Self::folder(&s3.bucket, s3.prefix.as_deref(), BucketUse::Parameters));
        let path = parameter_store.iter().map(|store| Self::ParameterPath(store.path.clone()));
        let key = parameter_store.iter().filter_map(|store| store.kms_key_id.clone());
        bucket.chain(path).chain(key.map(Self::KmsKey))
    }

    /// The keys `<folder>/...` of a bucket; without a folder, all keys.
    pub fn folder(bucket: &str, folder: Option<&str>, used_for: BucketUse) -> Self {
        let prefix = folder.map(|folder| format!("{folder}/")).unwrap_or_default();
        Self::Bucket { name: bucket.to_owned(), prefix, used_for }
    }

    fn is_granted_by(&self, grant: &Grant) -> bool {
        match self {
            Self::InstanceProfile(profile) => listed(&grant.instance_profiles, profile),
            Self::LaunchTemplate(template) => listed(&grant.launch_templates, template),
            Self::Subnet(id) => listed(&grant.subnets, id),
            Self::SecurityGroup(id) => listed(&grant.security_groups, id),
            Self::KeyName(name) => listed(&grant.key_names, name),
            Self::KmsKey(key) => listed(&grant.kms_keys, key),
            Self::Bucket { name, prefix, used_for } => grant.buckets.iter().any(|bucket| {
                (bucket.name == "*" || bucket.name == *name)
                    && prefix.starts_with(&bucket.prefix)
                    && bucket.uses.contains(used_for)
            }),
            Self::ParameterPath(path) => covers_path(&grant.parameter_paths, path),
        }
    }

    /// The field of a grant that lists what this is, and the item to add to it.
    fn line(&self) -> (&'static str, String) {
        match self {
            Self::InstanceProfile(profile) => ("instanceProfiles", profile.clone()),
            Self::LaunchTemplate(template) => ("launchTemplates", template.clone()),
            Self::Subnet(id) => ("subnets", id.clone()),
            Self::SecurityGroup(id) => ("securityGroups", id.clone()),
            Self::KeyName(name) => ("keyNames", name.clone()),
            Self::KmsKey(key) => ("kmsKeys", key.clone()),
            Self::Bucket { name, prefix, used_for } => {
                // A granted prefix ends in a slash.
                let folder = prefix.rfind('/').map(|end| &prefix[..=end]).filter(|folder| !folder.is_empty());
                let prefix = folder.map(|folder| format!(", prefix: {folder}")).unwrap_or_default();
                ("buckets", format!("{{name: {name}{prefix}, uses: [{used_for}]}}"))
            }
            Self::ParameterPath(path) => ("parameterPaths", path.clone()),
        }
    }
}

/// As a message names it.
impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InstanceProfile(profile) => write!(f, "instance profile {profile}"),
            Self::LaunchTemplate(template) => write!(f, "launch template {template}"),
            Self::Subnet(id) => write!(f, "subnet {id}"),
            Self::SecurityGroup(id) => write!(f, "security group {id}"),
            Self::KeyName(name) => write!(f, "key pair {name}"),
            Self::KmsKey(key) => write!(f, "KMS key {key}"),
            Self::Bucket { name, prefix, used_for } if prefix.is_empty() => {
                write!(f, "all keys of bucket {name} for {used_for}")
            }
            Self::Bucket { name, prefix, used_for } => {
                write!(f, "bucket {name} with prefix {prefix} for {used_for}")
            }
            Self::ParameterPath(path) => write!(f, "parameter path {path}"),
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
    match claims.iter().find(|claim| !ours.iter().any(|grant| claim.is_granted_by(grant))) {
        None => Ok(()),
        Some(claim) => {
            let (field, item) = claim.line();
            Err(format!(
                "does not grant {claim} to namespace {name}; add it to {field} of the grant for {kind}: \
                 {field}: [{item}]"
            ))
        }
    }
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
mod tests;
