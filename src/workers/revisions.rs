//! Revisions as they are stored: one ControllerRevision each, owned by the object whose workers they describe.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::{
    api::apps::v1::ControllerRevision,
    apimachinery::pkg::{apis::meta::v1::OwnerReference, runtime::RawExtension},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, Preconditions},
};

use serde_json::Value;

use crate::{
    condition::Reason,
    context::Context,
    ids::Uid,
    live::Live,
    reconcile::{Failure, Kind},
    workers::{
        ownership::OWNER_UID_TAG,
        revision::{Revision, RevisionContent},
    },
};

/// The stored revisions of one object, as far as this process knows them. They never change, so what is known stays true
/// until it is deleted.
#[derive(Debug, Default)]
pub struct Revisions {
    listed: bool,
    stored: BTreeMap<String, Stored>,
    /// Named by machines, and lost.
    lost: BTreeSet<String>,
    /// Of this object and not understood: a newer version of muster wrote them.
    foreign: BTreeSet<String>,
}

#[derive(Clone, Debug)]
struct Stored {
    number: i64,
    /// The name that the cluster had then.
    cluster: String,
    uid: Option<String>,
    content: Arc<RevisionContent>,
}

impl Revisions {
    /// That the cluster has the name that is on the machines' tags. Under another name none of them would be found, and
    /// all of them would be launched again.
    pub async fn check_cluster<K>(&mut self, ctx: &Context, live: &Live<K>) -> Result<(), Failure>
    where
        K: Kind + kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
    {
        self.list(ctx, live).await?;
        let now = &ctx.config.cluster_name;
        match self.stored.values().find(|stored| stored.cluster != *now) {
            None => Ok(()),
            Some(stored) => Err(Failure::Refused {
                reason: Reason::ClusterNameChanged,
                message: format!(
                    "the machines of this object are tagged with the cluster name {}, and muster now runs with {now}, so \
                     it would not find them: set the cluster name back",
                    stored.cluster
                ),
            }),
        }
    }

    /// The stored content of `wanted`, which is stored first where it is not. What is stored wins over what would be
    /// rendered now.
    pub async fn ensure<K>(
        &mut self,
        ctx: &Context,
        live: &Live<K>,
        wanted: &Revision,
        manager: &str,
    ) -> Result<Arc<RevisionContent>, Failure>
    where
        K: Kind + kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
    {
        self.list(ctx, live).await?;
        if let Some(stored) = self.stored.get(&wanted.name) {
            return Ok(stored.content.clone());
        }
        if self.foreign.contains(&wanted.name) {
            return Err(newer(&wanted.name));
        }
        let number = self.stored.values().map(|stored| stored.number).max().unwrap_or_default() + 1;
        let manifest = manifest(live, wanted, number)?;
        let operation = format!("write the ControllerRevision {}", wanted.name);
        let params = PatchParams::apply(manager).force();
        let api: Api<ControllerRevision> = live.api(ctx);
        let written = ctx.kube_call(&operation, api.patch(&wanted.name, &params, &Patch::Apply(&manifest))).await?;
        self.remember(live, &written);
        match self.stored.get(&wanted.name) {
            Some(stored) => Ok(stored.content.clone()),
            None if self.foreign.contains(&wanted.name) => Err(newer(&wanted.name)),
            None => Err(Failure::InvalidSpec(format!(
                "the ControllerRevision {} is not one that muster made for this object: delete it",
                wanted.name
            ))),
        }
    }

    /// The request that a launch on record names. `None` when it is lost for good.
    pub async fn find<K>(
        &mut self,
        ctx: &Context,
        live: &Live<K>,
        name: &str,
    ) -> Result<Option<Arc<RevisionContent>>, Failure>
    where
        K: Kind + kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
    {
        self.list(ctx, live).await?;
        if !self.stored.contains_key(name) {
            let api: Api<ControllerRevision> = live.api(ctx);
            let operation = format!("read the ControllerRevision {name}");
            let found = ctx.kube_call(&operation, api.get_opt(name)).await?;
            found.iter().for_each(|revision| self.remember(live, revision));
        }
        Ok(self.stored.get(name).map(|stored| stored.content.clone()))
    }

    /// Reads a revision that a machine names, where this process does not know it yet.
    pub async fn learn<K>(&mut self, ctx: &Context, live: &Live<K>, name: &str) -> Result<(), Failure>
    where
        K: Kind + kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
    {
        if !self.lost.contains(name) && self.find(ctx, live, name).await?.is_none() {
            self.lost.insert(name.into());
        }
        Ok(())
    }

    /// Whether `name` is a revision of this object.
    pub fn knows(&self, name: &str) -> bool {
        self.stored.contains_key(name)
    }

    /// What the parameters of workers of this revision are known by, if they have any. `None` when it is not known.
    pub fn parameters_of(&self, name: &str) -> Option<Option<&str>> {
        let stored = self.stored.get(name)?;
        Some(stored.content.resolved.parameters.as_ref().map(|parameters| parameters.hash.as_str()))
    }

    /// What the parameters of these revisions are known by. `None` when not all of the revisions are known.
    pub fn parameters(&self, named: &BTreeSet<String>) -> Option<BTreeSet<String>> {
        let stored: Option<Vec<_>> = named.iter().map(|name| self.stored.get(name)).collect();
        let known = stored?.into_iter().filter_map(|stored| stored.content.resolved.parameters.as_ref());
        Some(known.map(|parameters| parameters.hash.clone()).collect())
    }

    /// Which of `names` are superseded by `wanted`. One that is lost for good tells nothing, so its workers are; those of one
    /// that a newer version wrote are not, as a return to an older version is no reason to replace anybody.
    pub fn superseded<'a>(&self, wanted: &Revision, names: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
        let superseded = |name: &&str| {
            let stored = self.stored.get(*name);
            *name != wanted.name
                && !self.foreign.contains(*name)
                && stored.is_none_or(|stored| stored.content.is_superseded_by(&wanted.content))
        };
        names.filter(|name| !name.is_empty()).filter(superseded).map(str::to_owned).collect()
    }

    /// Deletes the oldest revisions that nothing names, but for the last `limit` of them.
    pub async fn prune<K>(
        &mut self,
        ctx: &Context,
        live: &Live<K>,
        named: &BTreeSet<String>,
        limit: usize,
    ) -> Result<(), Failure>
    where
        K: Kind + kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
    {
        let api: Api<ControllerRevision> = live.api(ctx);
        for name in self.prunable(named, limit) {
            let uid = self.stored.get(&name).and_then(|stored| stored.uid.clone());
            let params = DeleteParams::default().preconditions(Preconditions { uid, resource_version: None });
            let operation = format!("delete the ControllerRevision {name}");
            match ctx.kube_call(&operation, api.delete(&name, &params)).await {
                Ok(_) => {}
                Err(Failure::Kube { source, .. }) if matches!(&*source, kube::Error::Api(s) if s.code == 404) => {}
                Err(error) => return Err(error),
            }
            self.stored.remove(&name);
        }
        Ok(())
    }

    fn prunable(&self, named: &BTreeSet<String>, limit: usize) -> Vec<String> {
        let mut idle: Vec<_> = self.stored.iter().filter(|(name, _)| !named.contains(*name)).collect();
        idle.sort_by_key(|(_, stored)| stored.number);
        let surplus = idle.len().saturating_sub(limit);
        idle.into_iter().take(surplus).map(|(name, _)| name.clone()).collect()
    }

    async fn list<K>(&mut self, ctx: &Context, live: &Live<K>) -> Result<(), Failure>
    where
        K: Kind + kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
    {
        if self.listed {
            return Ok(());
        }
        let api: Api<ControllerRevision> = live.api(ctx);
        let params = ListParams::default().labels(&format!("{}={}", LABEL, live.uid()));
        let found = ctx.kube_call("list the ControllerRevisions", api.list(&params)).await?;
        found.items.iter().for_each(|revision| self.remember(live, revision));
        self.listed = true;
        Ok(())
    }

    /// Takes in what is of this object.
    fn remember<K: Kind>(&mut self, live: &Live<K>, revision: &ControllerRevision) {
        match read(live.uid(), revision) {
            Some(Ok(stored)) => drop(self.stored.insert(revision.name_any(), stored)),
            Some(Err(_)) => drop(self.foreign.insert(revision.name_any())),
            None => {}
        }
    }
}

/// The label that finds an object's revisions: the uid of the object.
pub const LABEL: &str = "muster.dev/fleet-uid";

/// `None` for what is not of this object; an error for what is, and has content that this version does not know.
fn read(uid: &Uid, revision: &ControllerRevision) -> Option<Result<Stored, serde_json::Error>> {
    let ours = |tag: Option<&str>| tag == Some(uid.as_str());
    let owned = revision.owner_references().iter().any(|owner| ours(Some(&owner.uid)));
    let Value::Object(request) = &revision.data.0["request"] else { return None };
    if !owned || !ours(request.get("tags").and_then(|tags| tags[OWNER_UID_TAG].as_str())) {
        return None;
    }
    let content = serde_json::from_value::<RevisionContent>(revision.data.0.clone());
    Some(content.map(|content| Stored {
        number: revision.revision.unwrap_or_default(),
        cluster: content.resolved.cluster.clone(),
        uid: revision.uid(),
        content: Arc::new(content),
    }))
}

fn newer(name: &str) -> Failure {
    Failure::Refused {
        reason: Reason::InvalidSpec,
        message: format!(
            "the ControllerRevision {name} was written by a newer version of muster, and this one does not understand it: \
             go back to that version, or change the template"
        ),
    }
}

fn manifest<K: Kind>(live: &Live<K>, revision: &Revision, number: i64) -> Result<ControllerRevision, Failure> {
    let owner = OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::NAME.into(),
        name: live.name().into(),
        uid: live.uid().to_string(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    };
    let content = serde_json::to_value(&revision.content).map_err(|source| Failure::Shape { source })?;
    Ok(ControllerRevision {
        metadata: ObjectMeta {
            name: Some(revision.name.clone()),
            namespace: Some(live.namespace().into()),
            labels: Some(BTreeMap::from([(LABEL.into(), live.uid().to_string())])),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        data: RawExtension(content),
        revision: Some(number),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::Role,
        workers::{ownership::Owner, resolve::Resolution},
    };

    fn owner() -> Owner {
        Owner {
            cluster: "c".into(),
            tag: crate::workers::ownership::OWNER_TAG,
            namespace: "ns".into(),
            name: "web".into(),
            uid: Uid::try_from("6b4d2a3e-9d0c-4f6e-8f0e-1f7a2b3c4d5e").unwrap(),
        }
    }

    fn revision() -> Revision {
        let template = serde_json::json!({
            "ami": {"id": "ami-00000001"}, "instanceTypes": ["m6i.large"], "subnets": {"ids": ["subnet-00000001"]},
        });
        let template = serde_json::from_value(template).unwrap();
        let resolution = Resolution::of_ids(&template).unwrap();
        Revision::new(&owner(), &Role::main(), &template, &resolution, None).unwrap()
    }

    #[test]
    fn what_a_newer_version_wrote_supersedes_nobody() {
        let (uid, wanted) = (owner().uid, revision());
        let stored = |owner: &Uid, change: &dyn Fn(&mut Value)| {
            let mut data = serde_json::to_value(&wanted.content).unwrap();
            change(&mut data);
            let owner = OwnerReference { uid: owner.to_string(), ..OwnerReference::default() };
            let metadata = ObjectMeta { owner_references: Some(vec![owner]), ..ObjectMeta::default() };
            ControllerRevision { metadata, data: RawExtension(data), revision: Some(1) }
        };
        let another = Uid::try_from("11111111-9d0c-4f6e-8f0e-1f7a2b3c4d5e").unwrap();
        let newer = |data: &mut Value| data["request"]["tomorrow"] = true.into();
        assert!(matches!(read(&uid, &stored(&uid, &|_| {})), Some(Ok(_))));
        assert!(matches!(read(&uid, &stored(&uid, &newer)), Some(Err(_))));
        assert!(read(&uid, &stored(&another, &newer)).is_none());
        assert!(read(&another, &stored(&another, &newer)).is_none(), "its machines would carry another's tag");

        let foreign = BTreeSet::from(["of-tomorrow".to_owned()]);
        let revisions = Revisions { listed: true, foreign, ..Revisions::default() };
        let superseded = revisions.superseded(&wanted, ["of-tomorrow", "lost", &wanted.name].into_iter());
        assert_eq!(superseded, BTreeSet::from(["lost".to_owned()]));
    }

    #[test]
    fn the_oldest_that_nothing_names_go_first() {
        let content = Arc::new(revision().content);
        let stored = [("e", 1), ("d", 2), ("c", 3), ("b", 4), ("a", 5)];
        let stored = stored.map(|(name, number)| {
            (name.into(), Stored { number, cluster: "c".into(), uid: None, content: content.clone() })
        });
        let revisions = Revisions { listed: true, stored: BTreeMap::from(stored), ..Revisions::default() };
        let named = BTreeSet::from(["a".to_owned(), "d".to_owned()]);
        for (limit, expected) in [(0, &["e", "c", "b"][..]), (1, &["e", "c"]), (3, &[]), (9, &[])] {
            assert_eq!(revisions.prunable(&named, limit), expected, "{limit}");
        }
    }
}
