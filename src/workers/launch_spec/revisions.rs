//! Stores revisions: each is a ControllerRevision, owned by the object whose workers it describes.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions},
};

use crate::{
    aws::ec2::launch_request::LaunchRequest,
    condition::Reason,
    crd::{template::WorkerTemplate, workers_status::RevisionDigest},
    ids::Role,
    k8s::live::Live,
    reconcile::{Failure, Kind, context::Context},
    tags::ROLE_TAG,
    workers::{
        launch_spec::{
            revision::{Revision, RevisionContent},
            stored::{LABEL, Stored, manifest, read},
        },
        observe::instances::KnownInstance,
    },
};

/// How many digests a status holds.
const MAX_RECORDED: usize = 128;
/// Anybody who may write ControllerRevisions can make many large ones with the label of an object. So few are in memory
/// at the same time, and of those that are not on record only some are kept. What is not listed is read by its name.
const PAGE: u32 = 3;
const PAGES: usize = 100;
const UNRECORDED: usize = 16;

/// The stored revisions of one object that this process knows. They are immutable, so they stay valid.
#[derive(Debug, Default)]
pub struct Revisions {
    listed: bool,
    /// Boxed, because a map allocates room for eleven entries at once.
    stored: BTreeMap<String, Box<Stored>>,
    /// Named by instances, but deleted.
    lost: BTreeSet<String>,
    /// Revisions of this object that a newer version of muster wrote.
    foreign: BTreeSet<String>,
    /// The digests in the status. Whoever may write ControllerRevisions can make one with any content, so a stored
    /// revision is used only if it has this digest.
    recorded: BTreeMap<String, String>,
}

impl Revisions {
    /// Checks that the cluster has the name in the tags of the instances. Under another name muster would not find
    /// them, and would launch all of them again.
    pub async fn check_cluster<K: Kind>(&mut self, ctx: &Context, live: &Live<K>) -> Result<(), Failure> {
        self.list(ctx, live).await?;
        let now = &ctx.config.cluster_name;
        match self.stored.values().find(|stored| stored.cluster() != now.as_str()) {
            None => Ok(()),
            Some(stored) => Err(Failure::Refused {
                reason: Reason::ClusterNameChanged,
                message: format!(
                    "the instances of this object are tagged with the cluster name {}, but muster runs with {now} and \
                     would not find them: set the cluster name back",
                    stored.cluster()
                ),
            }),
        }
    }

    /// The status as stored.
    pub fn follow(&mut self, recorded: &[RevisionDigest]) {
        self.recorded = recorded.iter().map(|of| (of.name.clone(), of.digest.clone())).collect();
    }

    /// What the status must record before `wanted` is used. What is stored and recorded takes precedence over what is
    /// rendered now; what is stored and not recorded is used only if it is what is rendered now.
    pub fn unrecorded(&self, wanted: &Revision) -> Result<Option<RevisionDigest>, Failure> {
        let (name, digest) = (wanted.name.clone(), wanted.content.digest());
        let recorded = self.recorded.get(&name);
        if self.is_stored(&name)? {
            if self.trusted(&name).is_some() {
                return Ok(None);
            }
            if self.stored[&name].digest != digest {
                return Err(conflict(&name));
            }
        }
        Ok((recorded != Some(&digest)).then_some(RevisionDigest { name, digest }))
    }

    /// Stores `wanted`, whose digest is recorded, if it is not stored yet.
    pub async fn ensure<K: Kind>(
        &mut self,
        ctx: &Context,
        live: &Live<K>,
        wanted: &Revision,
        manager: &str,
    ) -> Result<(), Failure> {
        if self.is_stored(&wanted.name)? {
            return Ok(());
        }
        let number = self.stored.values().map(|stored| stored.number).max().unwrap_or_default() + 1;
        let manifest = manifest(live, wanted, number)?;
        let operation = format!("write the ControllerRevision {}", wanted.name);
        let params = PatchParams::apply(manager).force();
        let api: Api<ControllerRevision> = live.api(&ctx.cluster);
        match ctx.cluster.call(&operation, api.patch(&wanted.name, &params, &Patch::Apply(&manifest))).await {
            Ok(written) => self.remember(live, &written),
            // There is one with other data, which cannot change.
            Err(error) if error.is_invalid() => return Err(conflict(&wanted.name)),
            Err(error) => return Err(error.into()),
        }
        self.trusted(&wanted.name).map(drop).ok_or_else(|| conflict(&wanted.name))
    }

    /// The stored revision of this name, if it holds what muster stored.
    fn trusted(&self, name: &str) -> Option<&Stored> {
        let stored = self.stored.get(name)?;
        (self.recorded.get(name) == Some(&stored.digest)).then_some(stored)
    }

    /// The digests of the revisions that are stored or `named`, for the status. If they are too many, the newest.
    pub fn kept(&self, recorded: Vec<RevisionDigest>, named: &BTreeSet<String>) -> Vec<RevisionDigest> {
        let is_named = |of: &RevisionDigest| named.contains(&of.name);
        let number = |of: &RevisionDigest| self.stored.get(&of.name).map(|stored| stored.number);
        let mut kept: Vec<_> = recorded.into_iter().filter(|of| is_named(of) || number(of).is_some()).collect();
        kept.sort_by_key(|of| Reverse((is_named(of), number(of))));
        kept.truncate(MAX_RECORDED);
        kept.sort_by(|a, b| a.name.cmp(&b.name));
        kept
    }

    /// Whether a revision of this object is stored. It is an error if this version of muster cannot read it.
    fn is_stored(&self, name: &str) -> Result<bool, Failure> {
        if !self.foreign.contains(name) || self.stored.contains_key(name) {
            return Ok(self.stored.contains_key(name));
        }
        Err(Failure::Refused {
            reason: Reason::InvalidSpec,
            message: format!(
                "the ControllerRevision {name} was written by a newer version of muster, which this version cannot \
                 read: upgrade muster again, or change the template"
            ),
        })
    }

    /// The stored content of a revision. `None` if it is deleted or is not what muster stored.
    pub async fn find<K: Kind>(
        &mut self,
        ctx: &Context,
        live: &Live<K>,
        name: &str,
    ) -> Result<Option<Arc<LaunchRequest>>, Failure> {
        self.list(ctx, live).await?;
        if !self.stored.contains_key(name) {
            let api: Api<ControllerRevision> = live.api(&ctx.cluster);
            let found = ctx.cluster.find(&api, name).await?;
            found.iter().for_each(|revision| self.remember(live, revision));
        }
        Ok(self.trusted(name).map(|stored| stored.request.clone()))
    }

    /// Reads a revision that an instance names, if this process does not know it yet.
    pub async fn learn<K: Kind>(&mut self, ctx: &Context, live: &Live<K>, name: &str) -> Result<(), Failure> {
        if !self.lost.contains(name) && !self.stored.contains_key(name) {
            self.find(ctx, live, name).await?;
            if !self.stored.contains_key(name) {
                self.lost.insert(name.into());
            }
        }
        Ok(())
    }

    /// The launches that the stored revisions describe.
    pub fn launches(&self) -> Vec<KnownInstance> {
        let launch = |name: &String, stored: &Stored| {
            let role = Role::try_from(stored.request.tags.get(ROLE_TAG)?.as_str()).ok()?;
            Some(KnownInstance { role, revision: name.clone() })
        };
        self.stored.iter().filter_map(|(name, stored)| launch(name, stored)).collect()
    }

    /// Whether `name` is a revision of this object.
    pub fn knows(&self, name: &str) -> bool {
        self.stored.contains_key(name)
    }

    /// The stored revision of this name, if it is one of `template`.
    pub fn revision(&self, name: &str, template: &WorkerTemplate) -> Option<Revision> {
        let stored = self.stored.get(name).filter(|stored| stored.outline.template == template.digest())?;
        let (resolved, request) = (stored.outline.resolved.clone(), LaunchRequest::clone(&stored.request));
        let content = RevisionContent { template: template.clone(), resolved, request };
        Some(Revision { name: name.into(), content })
    }

    /// The hash of the revision's parameters, if it has any. `None` if the revision is not known.
    pub fn parameters_of(&self, name: &str) -> Option<Option<&str>> {
        self.trusted(name).map(|stored| stored.parameters())
    }

    /// The hashes of the parameters of these revisions. `None` if not all of the revisions are known.
    pub fn parameters(&self, named: &BTreeSet<String>) -> Option<BTreeSet<String>> {
        let stored: Option<Vec<_>> = named.iter().map(|name| self.trusted(name)).collect();
        Some(stored?.into_iter().filter_map(|stored| stored.parameters()).map(str::to_owned).collect())
    }

    /// Which of `names` are superseded by `wanted`. A deleted revision is, since it cannot be compared. One that a
    /// newer version of muster wrote is not: a downgrade of muster replaces no workers.
    pub fn superseded<'a>(&self, wanted: &Revision, names: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
        let superseded = |name: &&str| {
            let stored = self.stored.get(*name);
            *name != wanted.name
                && !self.foreign.contains(*name)
                && stored.is_none_or(|stored| stored.outline.is_superseded_by(&wanted.content))
        };
        names.filter(|name| !name.is_empty()).filter(superseded).map(str::to_owned).collect()
    }

    /// Deletes the oldest revisions that are not `named`, except the last `limit`.
    pub async fn prune<K: Kind>(
        &mut self,
        ctx: &Context,
        live: &Live<K>,
        named: &BTreeSet<String>,
        limit: usize,
    ) -> Result<(), Failure> {
        let api: Api<ControllerRevision> = live.api(&ctx.cluster);
        for name in self.prunable(named, limit) {
            let uid = self.stored.get(&name).and_then(|stored| stored.uid.clone());
            let params = DeleteParams::default().preconditions(Preconditions { uid, resource_version: None });
            let operation = format!("delete the ControllerRevision {name}");
            match ctx.cluster.call(&operation, api.delete(&name, &params)).await {
                Ok(_) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
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

    async fn list<K: Kind>(&mut self, ctx: &Context, live: &Live<K>) -> Result<(), Failure> {
        if self.listed {
            return Ok(());
        }
        let api: Api<ControllerRevision> = live.api(&ctx.cluster);
        let mut params = ListParams::default().labels(&format!("{}={}", LABEL, live.uid())).limit(PAGE);
        for _ in 0..PAGES {
            let found = ctx.cluster.call("list the ControllerRevisions", api.list(&params)).await?;
            for revision in &found.items {
                if self.recorded.contains_key(&revision.name_any()) || self.stored.len() < UNRECORDED {
                    self.remember(live, revision);
                }
            }
            match found.metadata.continue_.filter(|next| !next.is_empty()) {
                Some(next) => params.continue_token = Some(next),
                None => break,
            }
        }
        self.listed = true;
        Ok(())
    }

    /// Remembers a revision of this object.
    fn remember<K: Kind>(&mut self, live: &Live<K>, revision: &ControllerRevision) {
        match read(live.uid(), revision) {
            Some(Ok(stored)) => drop(self.stored.insert(revision.name_any(), Box::new(stored))),
            Some(Err(_)) => drop(self.foreign.insert(revision.name_any())),
            None => {}
        }
    }
}

fn conflict(name: &str) -> Failure {
    Failure::Refused {
        reason: Reason::RevisionConflict,
        message: format!(
            "the ControllerRevision {name} is not the one that muster stored or would store for this object, so nothing \
             is launched from it: delete it (kubectl delete controllerrevision {name}), and find out who made it"
        ),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::{apis::meta::v1::OwnerReference, runtime::RawExtension};
    use kube::api::ObjectMeta;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        ids::Uid,
        workers::launch_spec::sample::{ANOTHER, UID, revision},
    };

    fn stored(owner: &str, revision: &Revision, change: impl Fn(&mut Value)) -> ControllerRevision {
        let mut data = serde_json::to_value(&revision.content).unwrap();
        change(&mut data);
        let owner = OwnerReference { uid: owner.into(), ..OwnerReference::default() };
        let metadata = ObjectMeta { owner_references: Some(vec![owner]), ..ObjectMeta::default() };
        ControllerRevision { metadata, data: RawExtension(data), revision: Some(1) }
    }

    #[test]
    fn a_revision_of_a_newer_version_supersedes_no_worker() {
        let wanted = revision(json!({}));
        let newer = |data: &mut Value| data["request"]["tomorrow"] = true.into();
        let [uid, another] = [UID, ANOTHER].map(|uid| Uid::try_from(uid).unwrap());
        assert!(matches!(read(&uid, &stored(UID, &wanted, |_| {})), Some(Ok(_))));
        assert!(matches!(read(&uid, &stored(UID, &wanted, newer)), Some(Err(_))));
        assert!(read(&uid, &stored(ANOTHER, &wanted, newer)).is_none());
        let foreign = read(&another, &stored(ANOTHER, &wanted, newer));
        assert!(foreign.is_none(), "its instances would carry the tag of another object");

        let foreign = BTreeSet::from(["of-tomorrow".to_owned()]);
        let revisions = Revisions { listed: true, foreign, ..Revisions::default() };
        let superseded = revisions.superseded(&wanted, ["of-tomorrow", "lost", &wanted.name].into_iter());
        assert_eq!(superseded, BTreeSet::from(["lost".to_owned()]));
    }

    #[test]
    fn a_revision_that_is_larger_than_any_of_muster_is_not_kept() {
        let wanted = revision(json!({}));
        let large = |data: &mut Value| data["request"]["userData"] = "x".repeat(200_000).into();
        assert!(read(&Uid::try_from(UID).unwrap(), &stored(UID, &wanted, large)).is_none());
    }

    #[test]
    fn of_a_stored_revision_only_the_request_is_kept_in_memory() {
        let user_data = "#!/bin/sh\necho a script that may be long\n";
        let revision = revision(json!({"userData": {"inline": user_data}}));
        let stored = read(&Uid::try_from(UID).unwrap(), &stored(UID, &revision, |_| {}));
        let stored = BTreeMap::from([(revision.name.clone(), Box::new(stored.unwrap().unwrap()))]);
        let revisions = Revisions { listed: true, stored, ..Revisions::default() };
        let (remembered, sent) = (format!("{revisions:?}"), revision.content.request.user_data.clone().unwrap());
        assert_eq!((remembered.matches(&sent).count(), remembered.matches("a script that").count()), (1, 0));

        let template = &revision.content.template;
        assert_eq!(revisions.revision(&revision.name, template), Some(revision.clone()));
        let mut another = template.clone();
        another.key_name = Some("ops".into());
        assert_eq!(revisions.revision(&revision.name, &another), None);
    }

    #[test]
    fn the_oldest_unused_revisions_are_deleted_first() {
        let content = revision(json!({})).content;
        let stored = [("e", 1), ("d", 2), ("c", 3), ("b", 4), ("a", 5)];
        let stored = stored.map(|(name, number)| {
            let (outline, request) = (content.outline(), Arc::new(content.request.clone()));
            (name.into(), Box::new(Stored { number, uid: None, digest: String::new(), outline, request }))
        });
        let revisions = Revisions { listed: true, stored: BTreeMap::from(stored), ..Revisions::default() };
        let named = BTreeSet::from(["a".to_owned(), "d".to_owned()]);
        for (limit, expected) in [(0, &["e", "c", "b"][..]), (1, &["e", "c"]), (3, &[]), (9, &[])] {
            assert_eq!(revisions.prunable(&named, limit), expected, "{limit}");
        }
    }

    #[test]
    fn a_stored_revision_is_used_only_if_its_digest_is_recorded_or_it_is_what_is_rendered_now() {
        let wanted = revision(json!({}));
        let name = wanted.name.clone();
        let granted = |_: &mut Value| {};
        let forged = |data: &mut Value| data["request"]["instanceProfile"] = "admin".into();
        let digest = |change: &dyn Fn(&mut Value)| {
            read(&Uid::try_from(UID).unwrap(), &stored(UID, &wanted, change)).unwrap().unwrap().digest
        };
        let (today, other) = (digest(&granted), digest(&forged));
        assert_eq!(today, wanted.content.digest());
        assert_ne!(today, other);
        let to_record = Ok(Some(today.clone()));
        for (case, kept, recorded, expected) in [
            ("nothing is stored", None, None, to_record.clone()),
            ("recorded, not stored yet", None, Some(&today), Ok(None)),
            ("stored and recorded", Some(&granted as &dyn Fn(&mut Value)), Some(&today), Ok(None)),
            ("stored, and the status was lost", Some(&granted), None, to_record),
            ("an earlier version of muster rendered it in another way", Some(&forged), Some(&other), Ok(None)),
            ("somebody made it before muster", Some(&forged), None, Err(())),
            ("somebody made it anew", Some(&forged), Some(&today), Err(())),
        ] {
            let mut revisions = Revisions { listed: true, ..Revisions::default() };
            let kept = kept.map(|change| read(&Uid::try_from(UID).unwrap(), &stored(UID, &wanted, change)));
            revisions.stored.extend(kept.map(|kept| (name.clone(), Box::new(kept.unwrap().unwrap()))));
            revisions.recorded.extend(recorded.map(|digest| (name.clone(), digest.clone())));
            let unrecorded = revisions.unrecorded(&wanted).map(|of| of.map(|of| of.digest)).map_err(drop);
            assert_eq!(unrecorded, expected, "{case}");
            let is_used = revisions.trusted(&name).is_some();
            assert_eq!(is_used, expected == Ok(None) && !revisions.stored.is_empty(), "{case}");
        }
    }
}
