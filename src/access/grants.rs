//! Checks requests against the grants of an AwsAccount. Pure.

use std::{collections::BTreeMap, fmt, sync::Arc};

use crate::{
    aws::ec2::launch_request::LaunchRequest,
    crd::{
        aws_account::{AwsAccountSpec, BucketGrant, BucketUse, Grant, NamespaceGrant},
        launches::LaunchIntent,
        parameters::{Parameters, Store},
        template::WorkerTemplate,
    },
    ids::{AccountId, LaunchTemplateId},
    inventory::ownership::TargetTags,
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
    /// By name or by id, as a spec names it. A grant that names it the other way covers it only once it is resolved.
    LaunchTemplate(String),
    ResolvedTemplate {
        id: LaunchTemplateId,
        name: Option<String>,
    },
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
    AutoScalingGroup(String),
    /// A topic of SNS, by its ARN.
    Topic(String),
    /// The instances that have all of these tags.
    TargetTags(BTreeMap<String, String>),
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

    /// What a call sends that launches `intent` with `request`.
    pub fn of_launch(intent: &LaunchIntent, request: &LaunchRequest) -> Vec<Self> {
        let LaunchRequest {
            launch_template_id,
            key_name,
            instance_profile,
            network: _,
            security_groups,
            associate_public_ip_address: _,
            devices,
            metadata: _,
            spot: _,
            user_data: _,
            shutdown_behavior: _,
            tags: _,
        } = request;
        let base = launch_template_id.iter().map(|id| Self::ResolvedTemplate { id: id.clone(), name: None });
        let keys = devices.iter().filter_map(|device| device.kms_key_id.clone());
        let claims = base
            .chain(instance_profile.iter().cloned().map(Self::InstanceProfile))
            .chain(key_name.iter().cloned().map(Self::KeyName))
            .chain(keys.map(Self::KmsKey))
            .chain([Self::Subnet(intent.subnet.to_string())])
            .chain(security_groups.iter().map(|id| Self::SecurityGroup(id.to_string())));
        claims.collect()
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
            Self::LaunchTemplate(template) => {
                let is_id = |text: &str| LaunchTemplateId::try_from(text).is_ok();
                let other_form = |item: &String| is_id(item) != is_id(template);
                listed(&grant.launch_templates, template) || grant.launch_templates.iter().any(other_form)
            }
            Self::ResolvedTemplate { id, name } => {
                let names = [Some(id.as_str()), name.as_deref()];
                names.into_iter().flatten().any(|name| listed(&grant.launch_templates, name))
            }
            Self::Subnet(id) => listed(&grant.subnets, id),
            Self::SecurityGroup(id) => listed(&grant.security_groups, id),
            Self::KeyName(name) => listed(&grant.key_names, name),
            Self::KmsKey(key) => listed(&grant.kms_keys, key),
            Self::Bucket { .. } => grant.buckets.iter().any(|bucket| self.is_covered_by(bucket)),
            Self::ParameterPath(path) => covers_path(&grant.parameter_paths, path),
            Self::AutoScalingGroup(name) => listed(&grant.auto_scaling_groups, name),
            Self::Topic(arn) => listed(&grant.topics, arn),
            Self::TargetTags(tags) => {
                let named = |(key, value): (&String, &String)| tags.get(key) == Some(value);
                !grant.target_tags.is_empty() && grant.target_tags.iter().all(named)
            }
        }
    }

    fn is_covered_by(&self, bucket: &BucketGrant) -> bool {
        let Self::Bucket { name, prefix, used_for } = self else { return false };
        (bucket.name == "*" || bucket.name == *name)
            && prefix.starts_with(&bucket.prefix)
            && bucket.uses.contains(used_for)
    }

    /// What to do instead of adding the line, which would grant a whole bucket with the keys of all other tenants.
    fn hint(&self, ours: &[&Grant]) -> String {
        let Self::Bucket { name, prefix, used_for } = self else { return String::new() };
        if prefix.contains('/') {
            return String::new();
        }
        let granted = ours.iter().flat_map(|grant| &grant.buckets);
        let mut granted = granted.filter(|bucket| bucket.name == *name && bucket.uses.contains(used_for));
        match granted.find(|bucket| bucket.prefix.starts_with(prefix.as_str())) {
            Some(BucketGrant { prefix, .. }) => format!("use the granted prefix {prefix}, or, for the whole bucket, "),
            None => "name a prefix that ends in a slash or, for the whole bucket, ".into(),
        }
    }

    /// The field of a grant that lists what this is, and the item to add to it.
    fn line(&self) -> (&'static str, String) {
        match self {
            Self::InstanceProfile(profile) => ("instanceProfiles", profile.clone()),
            Self::LaunchTemplate(template) => ("launchTemplates", template.clone()),
            Self::ResolvedTemplate { id, name } => ("launchTemplates", name.clone().unwrap_or_else(|| id.to_string())),
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
            Self::AutoScalingGroup(name) => ("autoScalingGroups", name.clone()),
            Self::Topic(arn) => ("topics", arn.clone()),
            Self::TargetTags(tags) => ("targetTags", listing(tags)),
        }
    }
}

/// As a message names it.
impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InstanceProfile(profile) => write!(f, "instance profile {profile}"),
            Self::LaunchTemplate(template) => write!(f, "launch template {template}"),
            Self::ResolvedTemplate { id, name: None } => write!(f, "launch template {id}"),
            Self::ResolvedTemplate { id, name: Some(name) } => write!(f, "launch template {name} ({id})"),
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
            Self::AutoScalingGroup(name) => write!(f, "Auto Scaling group {name}"),
            Self::Topic(arn) => write!(f, "topic {arn}"),
            Self::TargetTags(tags) => write!(f, "instances with the tags {}", listing(tags)),
        }
    }
}

/// What the grants of an AwsAccount, as they are now, let a kind do in a namespace.
#[derive(Clone, Debug)]
pub struct Permits<'a> {
    pub account: &'a str,
    pub spec: Arc<AwsAccountSpec>,
    pub kind: &'static str,
    pub namespace: Namespace<'a>,
}

impl Permits<'_> {
    /// See [`check`].
    ///
    /// # Errors
    /// What is not granted, with the line to add.
    pub fn check(&self, claims: &[Claim]) -> Result<(), String> {
        let Self { account, spec, kind, namespace } = self;
        check(&spec.grants, kind, namespace, claims).map_err(|ungranted| format!("AwsAccount {account} {ungranted}"))
    }

    /// Checks what a search found. `what` are subnets or security groups.
    ///
    /// # Errors
    /// How many are not granted. Not which: whoever searches may not be allowed to know them.
    pub fn check_found(&self, what: Found, claims: &[Claim]) -> Result<(), String> {
        let Self { account, spec, kind, namespace } = self;
        let ours: Vec<_> = ours(&spec.grants, kind, namespace).collect();
        let missing = claims.iter().filter(|claim| !ours.iter().any(|grant| claim.is_granted_by(grant))).count();
        if missing == 0 {
            return Ok(());
        }
        let (all, name) = (claims.len(), namespace.name);
        let (what, field) = match what {
            Found::Subnets => ("subnets", "subnets"),
            Found::SecurityGroups => ("security groups", "securityGroups"),
        };
        Err(format!(
            "it selects {all} {what}, and AwsAccount {account} does not grant {missing} of them to namespace {name}; \
             select only granted ones, or add their ids to {field} of the grant for {kind}: {field}: [<id>]"
        ))
    }

    /// The account that must own the bucket of `claim`, if a grant names it. The most specific grant counts.
    pub fn bucket_owner(&self, claim: &Claim) -> Option<AccountId> {
        let Claim::Bucket { name, .. } = claim else { return None };
        let buckets = ours(&self.spec.grants, self.kind, &self.namespace).flat_map(|grant| &grant.buckets);
        let covering = buckets.filter(|bucket| claim.is_covered_by(bucket));
        let bucket = covering.max_by_key(|bucket| (bucket.name == *name, bucket.prefix.len()))?;
        AccountId::try_from(bucket.account_id.as_deref()?).ok()
    }

    pub fn target_tags(&self) -> TargetTags {
        let grants = ours(&self.spec.grants, self.kind, &self.namespace).map(|grant| &grant.target_tags);
        TargetTags(grants.filter(|tags| !tags.is_empty()).cloned().collect())
    }
}

/// What tags select.
#[derive(Clone, Copy, Debug)]
pub enum Found {
    Subnets,
    SecurityGroups,
}

/// Checks that `grants` allow `kind` in `namespace` to use all of `claims`.
///
/// # Errors
/// The missing grant, with the lines to add to `spec.grants`.
pub fn check(grants: &[Grant], kind: &str, namespace: &Namespace<'_>, claims: &[Claim]) -> Result<(), String> {
    let ours: Vec<&Grant> = ours(grants, kind, namespace).collect();
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
            let line = match claim {
                Claim::TargetTags(_) => format!("{{{item}}}"),
                _ => format!("[{item}]"),
            };
            let hint = claim.hint(&ours);
            Err(format!(
                "does not grant {claim} to namespace {name}; {hint}add it to {field} of the grant for {kind}: \
                 {field}: {line}"
            ))
        }
    }
}

fn ours<'a>(grants: &'a [Grant], kind: &'a str, namespace: &'a Namespace<'_>) -> impl Iterator<Item = &'a Grant> {
    grants.iter().filter(move |grant| covers(&grant.namespaces, namespace) && listed(&grant.kinds, kind))
}

/// Tags as YAML writes them.
fn listing(tags: &BTreeMap<String, String>) -> String {
    tags.iter().map(|(key, value)| format!("{key}: {value}")).collect::<Vec<_>>().join(", ")
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
