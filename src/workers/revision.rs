//! Revisions: what workers are launched with, frozen, named by content. One is stored as a ControllerRevision, as
//! StatefulSets have them, so its data cannot change.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    ids::{ImageId, Role},
    workers::{
        ownership::Owner,
        parameters::{ParametersRef, compose},
        request::{LaunchRequest, Unrenderable, render},
        resolve::Resolution,
        template::WorkerTemplate,
    },
};

/// A template, what it resolved to, and the request rendered from both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// `<owner>-<hash>`, with the role in between where it is not the main one. The fields that the user set and what they resolved to decide it, not the rendering: an upgrade
    /// of muster that renders the same fields differently makes no new revision, and launches with the stored one.
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

/// What the world added to the template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resolved {
    #[serde(rename = "imageID")]
    pub image_id: ImageId,
    /// Machines carry the name of the cluster as a tag, and whoever has another name does not find them.
    pub cluster: String,
    /// Where workers read their parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<ParametersRef>,
}

impl Revision {
    /// # Errors
    /// See [`render`].
    pub fn new(
        owner: &Owner,
        role: &Role,
        template: &WorkerTemplate,
        resolution: &Resolution,
        parameters: Option<&ParametersRef>,
    ) -> Result<Self, Unrenderable> {
        let resolved = Resolved {
            image_id: resolution.image.id.clone(),
            cluster: owner.cluster.clone(),
            parameters: parameters.cloned(),
        };
        let name = name(owner, role, template, &resolved);
        let user_data = match parameters {
            Some(parameters) => Some(compose(parameters, resolution.user_data.as_deref())?),
            None => resolution.user_data.clone(),
        };
        let request = render(template, &Resolution { user_data, ..resolution.clone() }, owner.tags(role, &name))?;
        Ok(Self { name, content: RevisionContent { template: template.clone(), resolved, request } })
    }
}

impl RevisionContent {
    /// Whether a worker of this revision is to give way to one of `newer`. What the user wrote decides. That a part of it
    /// came to something else in the meantime is for new launches only.
    pub fn is_superseded_by(&self, newer: &Self) -> bool {
        let parameters = newer.resolved.parameters.as_ref();
        self.template != newer.template
            || parameters.is_some_and(|newer| newer.supersedes(self.resolved.parameters.as_ref()))
    }
}

/// The uid is part of the content: tags hold it, and an object made again under the same name must not launch with what
/// its forerunner left.
fn name(owner: &Owner, role: &Role, template: &WorkerTemplate, resolved: &Resolved) -> String {
    let mut hash = Sha256::new();
    hash.update(owner.uid.as_str());
    // Neither type can fail to serialise: their maps have text for keys.
    for part in [serde_json::to_vec(template), serde_json::to_vec(resolved)] {
        hash.update([0]);
        hash.update(part.unwrap_or_default());
    }
    let hash = hex::encode(hash.finalize());
    let group = if *role == Role::main() { owner.name.clone() } else { format!("{}-{role}", owner.name) };
    format!("{group}-{}", &hash[..12])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ids::Uid;

    fn owner(uid: &str) -> Owner {
        Owner { cluster: "c".into(), namespace: "ns".into(), name: "web".into(), uid: Uid::try_from(uid).unwrap() }
    }

    fn template(types: &[&str]) -> WorkerTemplate {
        let template =
            json!({"ami": {"id": "ami-00000001"}, "instanceTypes": types, "subnets": {"ids": ["subnet-00000001"]}});
        serde_json::from_value(template).unwrap()
    }

    fn revision(owner: &Owner, role: &Role, template: &WorkerTemplate) -> Revision {
        Revision::new(owner, role, template, &Resolution::of_ids(template).unwrap(), None).unwrap()
    }

    #[test]
    fn a_revision_is_named_by_content_and_owner() {
        let ours = owner("6b4d2a3e-9d0c-4f6e-8f0e-1f7a2b3c4d5e");
        let name = |owner: &Owner, types: &[&str]| revision(owner, &Role::main(), &template(types)).name;
        let first = name(&ours, &["m6i.large"]);
        assert_eq!(first, "web-346293f26ac0", "a name that changes with the code makes all fleets roll");
        assert_eq!(name(&ours, &["m6i.large"]), first);
        assert_ne!(name(&ours, &["m5.large"]), first);
        assert_ne!(name(&owner("11111111-9d0c-4f6e-8f0e-1f7a2b3c4d5e"), &["m6i.large"]), first);
    }

    #[test]
    fn its_machines_are_tagged_with_it() {
        let leader = Role::try_from("leader").unwrap();
        let revision = revision(&owner("6b4d2a3e-9d0c-4f6e-8f0e-1f7a2b3c4d5e"), &leader, &template(&["m6i.large"]));
        assert!(revision.name.starts_with("web-leader-"), "{}", revision.name);
        assert_eq!(revision.content.request.tags["muster.dev:role"], "leader");
        assert_eq!(revision.content.request.tags["muster.dev:revision"], revision.name);
        let stored = serde_json::to_value(&revision.content).unwrap();
        assert_eq!(serde_json::from_value::<RevisionContent>(stored).unwrap(), revision.content);
    }

    #[test]
    fn what_the_user_wrote_supersedes() {
        let owner = owner("6b4d2a3e-9d0c-4f6e-8f0e-1f7a2b3c4d5e");
        let content = |types: &[&str]| revision(&owner, &Role::main(), &template(types)).content;
        assert!(!content(&["m6i.large"]).is_superseded_by(&content(&["m6i.large"])));
        assert!(content(&["m6i.large"]).is_superseded_by(&content(&["m5.large"])));
    }
}
