//! Who owns an instance.
//!
//! An object owns an instance that carries its uid tag *and* was launched with a client token that starts with that
//! uid, or whose id is recorded as adopted. The token is set only at launch, so it cannot be added later as a tag can.
//! An instance with this token that still names the object in another tag is owned even if its uid tag was changed. An
//! instance of an earlier object of the same name is an orphan only if its token seals that name: otherwise whoever may
//! tag an instance could give it to an object of another namespace.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    aws::ec2::instance::Instance,
    ids::{InstanceId, Role, Uid},
    tags::{CLUSTER_TAG, OWNER_UID_TAG, REVISION_TAG, ROLE_TAG},
};

/// An owner of instances, as their tags name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub cluster: String,
    /// The key of the tag that holds its namespace and name.
    pub tag: &'static str,
    pub namespace: String,
    pub name: String,
    pub uid: Uid,
}

impl Owner {
    /// Namespace and name.
    pub fn path(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// The tag that names it, as `key=value`. The token of each launch seals it.
    pub fn name_tag(&self) -> String {
        format!("{}={}", self.tag, self.path())
    }

    /// The tags that every instance of this owner is launched with.
    pub fn tags(&self, role: &Role, revision: &str) -> BTreeMap<String, String> {
        BTreeMap::from([
            (CLUSTER_TAG.into(), self.cluster.clone()),
            (self.tag.into(), self.path()),
            (OWNER_UID_TAG.into(), self.uid.to_string()),
            (ROLE_TAG.into(), role.to_string()),
            (REVISION_TAG.into(), revision.into()),
        ])
    }

    /// Whether the instance is the owner's only because it is recorded as adopted, and no grant covers it. Whoever may
    /// write the status can add ids to the record, so the record alone permits no write.
    pub fn is_withheld(&self, instance: &Instance, adopted: &BTreeSet<InstanceId>, targets: &TargetTags) -> bool {
        adopted.contains(&instance.id)
            && self.claim(instance, adopted) == Ownership::Owned
            && match self.claim(instance, &BTreeSet::new()) {
                Ownership::Owned | Ownership::Orphan(_) => false,
                Ownership::Foreign | Ownership::None => !targets.cover(instance),
            }
    }

    pub fn claim(&self, instance: &Instance, adopted: &BTreeSet<InstanceId>) -> Ownership {
        let tag = |key| instance.tags.get(key).map(String::as_str);
        let in_cluster = tag(CLUSTER_TAG) == Some(self.cluster.as_str());
        let names_us = tag(self.tag) == Some(self.path().as_str());
        if adopted.contains(&instance.id) {
            // If two objects adopted it at once, its tags decide.
            let is_anothers =
                tag(OWNER_UID_TAG).is_some_and(|uid| uid != self.uid.as_str()) && !(in_cluster && names_us);
            return if is_anothers { Ownership::None } else { Ownership::Owned };
        }
        if !in_cluster {
            return Ownership::None;
        }
        let token = instance.token();
        let launched_by = |uid: &Uid| token.as_ref().is_some_and(|token| token.belongs_to(uid));
        match tag(OWNER_UID_TAG).map(Uid::try_from) {
            Some(Ok(uid)) if uid == self.uid && launched_by(&uid) => Ownership::Owned,
            _ if names_us && launched_by(&self.uid) => Ownership::Owned,
            Some(Ok(uid)) if uid == self.uid => Ownership::Foreign,
            Some(Ok(uid)) if names_us && launched_by(&uid) && instance.launched_as(&self.name_tag()).is_some() => {
                Ownership::Orphan(uid)
            }
            Some(Ok(_) | Err(_)) | None if names_us => Ownership::Foreign,
            Some(Ok(_) | Err(_)) | None => Ownership::None,
        }
    }
}

/// The tags of instances that grants let an owner adopt. Each entry holds the tags of one grant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetTags(pub Vec<BTreeMap<String, String>>);

impl TargetTags {
    /// Whether the instance has all tags of one grant.
    pub fn cover(&self, instance: &Instance) -> bool {
        let has = |(key, value): (&String, &String)| instance.tags.get(key) == Some(value);
        self.0.iter().any(|tags| !tags.is_empty() && tags.iter().all(has))
    }
}

/// The relation of an instance to an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ownership {
    Owned,
    /// Launched by an earlier object of the same name, which had this uid.
    Orphan(Uid),
    /// It carries the tags of the owner but was not launched by it: reported, never counted, never touched.
    Foreign,
    None,
}

#[cfg(test)]
impl Owner {
    /// The fleet `ns/web` of the cluster `c`.
    pub fn sample(uid: &str) -> Self {
        let (cluster, namespace, name) = ("c".into(), "ns".into(), "web".into());
        Self { cluster, tag: crate::tags::FLEET_TAG, namespace, name, uid: Uid::try_from(uid).unwrap() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        aws::ec2::instance::InstanceState,
        ids::{ClientToken, LaunchTags},
        tags::FLEET_TAG,
    };

    const OURS: &str = "6b4d2a3e-9d0c-4f6e-8f0e-1f7a2b3c4d5e";
    const EARLIER: &str = "11111111-9d0c-4f6e-8f0e-1f7a2b3c4d5e";

    fn instance(cluster: &str, path: &str, uid: &str, token_uid: Option<&str>) -> Instance {
        launched_for(path, cluster, path, uid, token_uid)
    }

    /// An instance that was launched for `launched`, and is tagged with `path` now.
    fn launched_for(launched: &str, cluster: &str, path: &str, uid: &str, token_uid: Option<&str>) -> Instance {
        let tags = LaunchTags { role: "", revision: "", indexes: None };
        let owner = format!("{FLEET_TAG}={launched}");
        let token = |uid| ClientToken::new(&Uid::try_from(uid).unwrap(), 1).sealed(b"", &owner, tags).to_string();
        let token = token_uid.map(token);
        let tags = [(CLUSTER_TAG, cluster), (FLEET_TAG, path), (OWNER_UID_TAG, uid)];
        Instance {
            client_token: token.unwrap_or_default(),
            tags: tags.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            ..Instance::sample(1, InstanceState::Running)
        }
    }

    #[test]
    fn only_a_launch_with_the_owners_token_proves_ownership() {
        let orphan = Ownership::Orphan(Uid::try_from(EARLIER).unwrap());
        for (case, worker, claim) in [
            ("launched by us", instance("c", "ns/web", OURS, Some(OURS)), Ownership::Owned),
            ("our tags on an instance without a token", instance("c", "ns/web", OURS, None), Ownership::Foreign),
            ("our tags on an instance of another", instance("c", "ns/web", OURS, Some(EARLIER)), Ownership::Foreign),
            ("launched by an earlier object of our name", instance("c", "ns/web", EARLIER, Some(EARLIER)), orphan),
            (
                "launched for another, our name later",
                launched_for("other/web", "c", "ns/web", EARLIER, Some(EARLIER)),
                Ownership::Foreign,
            ),
            ("the tags of an earlier object", instance("c", "ns/web", EARLIER, None), Ownership::Foreign),
            ("our name and no valid uid", instance("c", "ns/web", "x", None), Ownership::Foreign),
            ("launched by us, another uid later", instance("c", "ns/web", EARLIER, Some(OURS)), Ownership::Owned),
            ("launched by us, no valid uid later", instance("c", "ns/web", "x", Some(OURS)), Ownership::Owned),
            ("launched by us, another name later", instance("c", "ns/db", OURS, Some(OURS)), Ownership::Owned),
            ("launched by us, released to another", instance("c", "ns/db", EARLIER, Some(OURS)), Ownership::None),
            ("another fleet's", instance("c", "ns/db", EARLIER, Some(EARLIER)), Ownership::None),
            ("another cluster's", instance("d", "ns/web", EARLIER, Some(EARLIER)), Ownership::None),
            ("another cluster's with our uid", instance("d", "ns/web", OURS, Some(OURS)), Ownership::None),
        ] {
            assert_eq!(Owner::sample(OURS).claim(&worker, &BTreeSet::new()), claim, "{case}");
        }
    }

    #[test]
    fn an_instance_that_is_only_recorded_as_adopted_is_withheld_without_a_grant_that_covers_it() {
        let targets = |tags: &[(&str, &str)]| {
            TargetTags(vec![tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()])
        };
        let tagged = |mut worker: Instance| {
            worker.tags.extend([("team".to_owned(), "ml".to_owned()), ("tier".to_owned(), "web".to_owned())]);
            worker
        };
        let (team, both) = ([("team", "ml")], [("team", "ml"), ("tier", "web")]);
        let bare = Instance { tags: BTreeMap::new(), ..instance("", "", "", None) };
        for (case, worker, targets, withheld) in [
            ("granted", tagged(bare.clone()), targets(&team), false),
            ("granted by two tags", tagged(bare.clone()), targets(&both), false),
            ("another value", tagged(bare.clone()), targets(&[("team", "web")]), true),
            ("one of two tags", tagged(bare.clone()), targets(&[("team", "ml"), ("a", "b")]), true),
            ("without the tag", bare.clone(), targets(&team), true),
            ("no grant", tagged(bare.clone()), TargetTags::default(), true),
            ("an empty entry", tagged(bare), targets(&[]), true),
            ("tagged by us, no grant", instance("c", "ns/web", OURS, None), TargetTags::default(), true),
            ("launched by us", instance("c", "ns/web", OURS, Some(OURS)), TargetTags::default(), false),
            (
                "launched by an earlier one",
                instance("c", "ns/web", EARLIER, Some(EARLIER)),
                TargetTags::default(),
                false,
            ),
        ] {
            let adopted = BTreeSet::from([worker.id.clone()]);
            assert_eq!(Owner::sample(OURS).is_withheld(&worker, &adopted, &targets), withheld, "{case}");
            assert!(!Owner::sample(OURS).is_withheld(&worker, &BTreeSet::new(), &targets), "{case}, not recorded");
        }
    }

    #[test]
    fn an_adopted_instance_is_owned_until_another_owner_tags_it() {
        for (case, worker, claim) in [
            ("of an earlier object of our name", instance("c", "ns/web", EARLIER, Some(EARLIER)), Ownership::Owned),
            (
                "launched by other means",
                Instance { tags: BTreeMap::new(), ..instance("", "", "", None) },
                Ownership::Owned,
            ),
            ("tagged by us", instance("c", "ns/web", OURS, None), Ownership::Owned),
            ("tagged by another that adopted it", instance("c", "ns/db", EARLIER, None), Ownership::None),
            ("tagged by one of our name in another cluster", instance("d", "ns/web", EARLIER, None), Ownership::None),
        ] {
            assert_eq!(Owner::sample(OURS).claim(&worker, &BTreeSet::from([worker.id.clone()])), claim, "{case}");
        }
    }
}
