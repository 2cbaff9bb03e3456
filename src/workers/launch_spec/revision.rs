//! Revisions: immutable launch specs, named by content. Each is stored as a ControllerRevision, like those of
//! StatefulSets, so its data cannot change.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    aws::ec2::launch_request::LaunchRequest,
    crd::template::{OnChange, TemplateDigest, WorkerTemplate},
    ids::{ImageId, LaunchTemplateId, Role, SecurityGroupId},
    inventory::ownership::Owner,
    workers::{
        launch_spec::{
            render::{Unrenderable, check_size, render},
            resolve::resolution::Resolution,
        },
        parameters::{ParametersRef, compose},
    },
};

/// The workers that a revision describes.
#[derive(Clone, Copy, Debug)]
pub struct Workers<'a> {
    pub owner: &'a Owner,
    pub role: &'a Role,
    pub template: &'a WorkerTemplate,
    pub parameters: Option<&'a ParametersRef>,
}

/// A template, what it resolved to, and the request rendered from both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// `<owner>-<hash>`, with the role in between if it is not the main one. The hash covers the user's fields and what
    /// they resolved to, not the request: an upgrade of muster that renders the same fields differently creates no new
    /// revision, and launches with the stored one.
    pub name: String,
    pub content: RevisionContent,
}

/// The data of a ControllerRevision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RevisionContent {
    pub template: WorkerTemplate,
    pub resolved: Resolved,
    pub request: LaunchRequest,
}

/// What the resolution added to the template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resolved {
    #[serde(rename = "imageID")]
    pub image_id: ImageId,
    /// Instances are tagged with the name of the cluster, and cannot be found under another name.
    pub cluster: String,
    /// Where workers read their parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<ParametersRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch_template: Option<TemplateVersion>,
    /// Those that were found by tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<SecurityGroupId>,
    /// The SHA-256 of the text from a ConfigMap, in hex; the request has the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TemplateVersion {
    pub id: LaunchTemplateId,
    pub version: i64,
}

impl Resolved {
    /// Only what the template itself does not contain.
    fn new(Workers { owner, role: _, template, parameters }: Workers<'_>, resolution: &Resolution) -> Self {
        let by_tags = template.security_groups.as_ref().is_some_and(|groups| groups.tags.is_some());
        let from_config_map = template.user_data.as_ref().is_some_and(|data| data.config_map_key_ref.is_some());
        let text = resolution.user_data.as_ref().filter(|_| from_config_map);
        let base = resolution.base.as_ref();
        Self {
            image_id: resolution.image.id.clone(),
            cluster: owner.cluster.clone(),
            launch_template: base.map(|base| TemplateVersion { id: base.id.clone(), version: base.version }),
            security_groups: if by_tags { resolution.security_groups.clone() } else { Vec::new() },
            parameters: parameters.cloned(),
            user_data: text.map(|text| hex::encode(Sha256::digest(text))),
        }
    }
}

impl Revision {
    pub fn new(workers: Workers<'_>, resolution: &Resolution) -> Result<Self, Unrenderable> {
        let Workers { owner, role, template, parameters } = workers;
        let resolved = Resolved::new(workers, resolution);
        let name = name(workers, &resolved);
        let user_data = match parameters {
            Some(parameters) => {
                let own = resolution.user_data.as_deref();
                // The part that fetches the parameters replaces it in the request, and combining both would store it.
                if own.is_none() && resolution.base.as_ref().is_some_and(|base| base.has_user_data) {
                    return Err(Unrenderable::UserDataOfLaunchTemplate);
                }
                let text = compose(parameters, own)?;
                check_size(&text, text.len() - own.map_or(0, str::len))?;
                Some(text)
            }
            None => resolution.user_data.clone(),
        };
        let request = render(template, &Resolution { user_data, ..resolution.clone() }, owner.tags(role, &name))?;
        Ok(Self { name, content: RevisionContent { template: template.clone(), resolved, request } })
    }
}

impl RevisionContent {
    pub fn digest(&self) -> String {
        // Serializing cannot fail: the keys of all maps are strings.
        digest(&serde_json::to_value(self).unwrap_or_default())
    }

    pub fn outline(&self) -> Outline {
        Outline { template: self.template.digest(), resolved: self.resolved.clone() }
    }
}

/// The SHA-256 of the data of a ControllerRevision, in hex. The API server may change the order of keys.
pub fn digest(data: &Value) -> String {
    fn sorted(value: &Value) -> Value {
        match value {
            Value::Object(fields) => {
                let fields: BTreeMap<_, _> = fields.iter().map(|(key, value)| (key.clone(), sorted(value))).collect();
                fields.into_iter().collect()
            }
            Value::Array(items) => items.iter().map(sorted).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
        }
    }
    hex::encode(Sha256::digest(sorted(data).to_string()))
}

/// A revision without its launch request.
#[derive(Clone, Debug)]
pub struct Outline {
    pub template: TemplateDigest,
    pub resolved: Resolved,
}

impl Outline {
    /// Whether workers of this revision are replaced by workers of `newer`. Changes of the template or of its ConfigMap
    /// replace them. A changed resolution affects only new launches, unless `newer` has `onChange: Replace` for it.
    pub fn is_superseded_by(&self, newer: &RevisionContent) -> bool {
        let (old, new) = (&self.resolved, &newer.resolved);
        let base = newer.template.launch_template.as_ref().and_then(|base| base.on_change);
        // Without one in the template, the image is that of the launch template.
        let image = newer.template.ami.as_ref().map_or(base, |ami| ami.on_change);
        let replaces = |on_change: Option<OnChange>| on_change == Some(OnChange::Replace);
        self.template != newer.template.digest()
            || old.user_data != new.user_data
            || (replaces(image) && old.image_id != new.image_id)
            || (replaces(base) && old.launch_template != new.launch_template)
            || new.parameters.as_ref().is_some_and(|new| new.supersedes(old.parameters.as_ref()))
    }
}

/// The uid is part of the content: tags contain it, and a new object of the same name must not reuse a revision.
fn name(Workers { owner, role, template, .. }: Workers<'_>, resolved: &Resolved) -> String {
    let mut hash = Sha256::new();
    hash.update(owner.uid.as_str());
    // Serializing cannot fail: the keys of all maps are strings.
    for part in [serde_json::to_vec(template), serde_json::to_vec(resolved)] {
        hash.update([0]);
        hash.update(part.unwrap_or_default());
    }
    let hash = hex::encode(hash.finalize());
    let prefix = if *role == Role::main() { owner.name.clone() } else { format!("{}-{role}", owner.name) };
    format!("{prefix}-{}", &hash[..12])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        ids::Region,
        workers::{
            launch_spec::{
                resolve::resolution::{Base, Image},
                sample::{ANOTHER, UID, revision, revision_of, template},
            },
            parameters::ParametersPlace,
        },
    };

    #[test]
    fn a_revision_is_named_by_content_and_owner() {
        let name = |uid: &str, types: &[&str]| revision_of(uid, &Role::main(), json!({"instanceTypes": types})).name;
        let first = name(UID, &["m6i.large"]);
        assert_eq!(first, "web-346293f26ac0", "a name that changes with the code makes all fleets roll");
        assert_eq!(name(UID, &["m6i.large"]), first);
        assert_ne!(name(UID, &["m5.large"]), first);
        assert_ne!(name(ANOTHER, &["m6i.large"]), first);
    }

    #[test]
    fn instances_are_tagged_with_their_revision() {
        let revision = revision_of(UID, &Role::try_from("leader").unwrap(), json!({}));
        assert!(revision.name.starts_with("web-leader-"), "{}", revision.name);
        assert_eq!(revision.content.request.tags["muster.dev:role"], "leader");
        assert_eq!(revision.content.request.tags["muster.dev:revision"], revision.name);
        let stored = serde_json::to_value(&revision.content).unwrap();
        assert_eq!(serde_json::from_value::<RevisionContent>(stored).unwrap(), revision.content);
    }

    /// The content for a template with these fields, which resolved to images, groups and versions with the number `n`.
    fn content(extra: Value, n: u32) -> RevisionContent {
        let template = template(extra);
        let base = template.launch_template.as_ref().map(|_| Base {
            id: LaunchTemplateId::try_from("lt-00000001").unwrap(),
            version: n.into(),
            interface: None,
            has_user_data: false,
        });
        let resolution = Resolution {
            image: Image { id: ImageId::try_from(format!("ami-{n:08x}")).unwrap(), name: None, deprecated: false },
            base,
            instance_types: vec![],
            subnets: vec![],
            zones: Default::default(),
            security_groups: vec![SecurityGroupId::try_from(format!("sg-{n:08x}")).unwrap()],
            user_data: template.user_data.as_ref().map(|_| format!("#!/bin/sh\n: {n}\n")),
        };
        let (owner, role) = (&Owner::sample(UID), &Role::main());
        Revision::new(Workers { owner, role, template: &template, parameters: None }, &resolution).unwrap().content
    }

    #[test]
    fn user_data_of_a_launch_template_is_never_stored() {
        let parameters = ParametersRef {
            place: ParametersPlace::ParameterStore { path: "/app".into() },
            region: Region::try_from("eu-west-1").unwrap(),
            hash: "1".into(),
            on_change: OnChange::Keep,
        };
        let template = template(json!({"launchTemplate": {"name": "web"}}));
        let rendered = |parameters: Option<&ParametersRef>, own: Option<&str>| {
            let id = LaunchTemplateId::try_from("lt-00000001").unwrap();
            let base = Base { id, version: 1, interface: None, has_user_data: true };
            let user_data = own.map(str::to_owned);
            let resolution = Resolution { base: Some(base), user_data, ..Resolution::of_ids(&template).unwrap() };
            let (owner, role) = (&Owner::sample(UID), &Role::main());
            let revision = Revision::new(Workers { owner, role, template: &template, parameters }, &resolution)?;
            Ok::<_, Unrenderable>(revision.content.request.user_data.is_some())
        };
        assert_eq!(rendered(None, None), Ok(false), "EC2 takes it from the launch template");
        assert_eq!(rendered(Some(&parameters), None), Err(Unrenderable::UserDataOfLaunchTemplate));
        assert_eq!(rendered(Some(&parameters), Some("#!/bin/sh\n")), Ok(true));
    }

    #[test]
    fn changed_fields_supersede_and_changed_references_only_with_replace() {
        let parameter = |on_change: &str| json!({"ami": {"ssmParameter": "/ami", "onChange": on_change}});
        let base = |on_change: &str| {
            json!({"ami": {"ssmParameter": "/ami"},
            "launchTemplate": {"name": "web", "onChange": on_change}})
        };
        let groups = json!({"ami": {"ssmParameter": "/ami"}, "securityGroups": {"tags": {"app": "web"}}});
        let script = json!({"ami": {"ssmParameter": "/ami"},
            "userData": {"configMapKeyRef": {"name": "boot", "key": "sh"}}});
        for (case, old, new, superseded) in [
            ("nothing", content(json!({}), 1), content(json!({}), 1), false),
            ("a field", content(json!({}), 1), content(json!({"keyName": "ops"}), 1), true),
            ("another image", content(parameter("Keep"), 1), content(parameter("Keep"), 2), false),
            ("another image, to replace", content(parameter("Replace"), 1), content(parameter("Replace"), 2), true),
            ("from now on to replace", content(parameter("Keep"), 1), content(parameter("Replace"), 1), false),
            (
                "it was replaced, and is kept from now on",
                content(parameter("Replace"), 1),
                content(parameter("Keep"), 2),
                false,
            ),
            ("another version", content(base("Keep"), 1), content(base("Keep"), 2), false),
            ("another version, to replace", content(base("Replace"), 1), content(base("Replace"), 2), true),
            ("other groups by tag", content(groups.clone(), 1), content(groups, 2), false),
            ("another text in the ConfigMap", content(script.clone(), 1), content(script, 2), true),
        ] {
            assert_eq!(old.outline().is_superseded_by(&new), superseded, "{case}");
        }
    }

    #[test]
    fn a_revision_of_an_earlier_version_is_not_superseded_by_the_same_fields() {
        let stored = json!({
            "template": {"ami": {"id": "ami-00000001"}, "instanceTypes": ["m6i.large"],
                "subnets": {"ids": ["subnet-00000001"]}},
            "resolved": {"imageID": "ami-00000001", "cluster": "c"},
            "request": {"metadata": {"httpTokensRequired": true, "hopLimit": 1, "instanceTags": true},
                "tags": {"muster.dev:cluster": "c"}},
        });
        let stored: RevisionContent = serde_json::from_value(stored).unwrap();
        assert!(!stored.outline().is_superseded_by(&revision(json!({})).content));
    }
}
