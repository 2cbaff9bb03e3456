//! Whose machine is whose.
//!
//! A machine is ours when it carries the uid tag *and* was launched with a client token that starts with that uid, or
//! when its id was recorded as adopted. The token is set at launch only, so it cannot be pasted on later as a tag can.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    ids::{ClientToken, InstanceId, Role, Uid},
    workers::instance::Instance,
};

/// Every tag of muster starts with this; users' tags must not.
pub const TAG_PREFIX: &str = "muster.dev:";
pub const CLUSTER_TAG: &str = "muster.dev:cluster";
/// Namespace and name of the owner, if that is a WorkerFleet.
pub const OWNER_TAG: &str = "muster.dev:fleet";
/// The same of a WorkerJob, so that a fleet and a job of one name are not taken for one another.
pub const JOB_TAG: &str = "muster.dev:job";
pub const OWNER_UID_TAG: &str = "muster.dev:fleet-uid";
/// The group of the owner that a machine is for.
pub const ROLE_TAG: &str = "muster.dev:role";
pub const REVISION_TAG: &str = "muster.dev:revision";
/// The indexes that the machines of one launch run, as a list of ranges.
pub const INDEXES_TAG: &str = "muster.dev:indexes";
/// Where a machine writes what came of its index.
pub const RESULT_TAG: &str = "muster.dev:result";

/// Who launches, as the tags of its machines name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub cluster: String,
    /// The tag that holds its namespace and name.
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

    /// The tags that every machine of this owner is launched with.
    pub fn tags(&self, role: &Role, revision: &str) -> BTreeMap<String, String> {
        BTreeMap::from([
            (CLUSTER_TAG.into(), self.cluster.clone()),
            (self.tag.into(), self.path()),
            (OWNER_UID_TAG.into(), self.uid.to_string()),
            (ROLE_TAG.into(), role.to_string()),
            (REVISION_TAG.into(), revision.into()),
        ])
    }

    pub fn claim(&self, instance: &Instance, adopted: &BTreeSet<InstanceId>) -> Claim {
        let tag = |key| instance.tags.get(key).map(String::as_str);
        if adopted.contains(&instance.id) {
            // Of two that took it over at once, it is the one's whose tags it has.
            let ours = tag(CLUSTER_TAG) == Some(self.cluster.as_str()) && tag(self.tag) == Some(self.path().as_str());
            let anothers = tag(OWNER_UID_TAG).is_some_and(|uid| uid != self.uid.as_str()) && !ours;
            return if anothers { Claim::None } else { Claim::Owned };
        }
        if tag(CLUSTER_TAG) != Some(self.cluster.as_str()) {
            return Claim::None;
        }
        let token = ClientToken::try_from(instance.client_token.as_str()).ok();
        let launched_by = |uid: &Uid| token.as_ref().is_some_and(|token| token.belongs_to(uid));
        match tag(OWNER_UID_TAG).map(Uid::try_from) {
            Some(Ok(uid)) if uid == self.uid => {
                if launched_by(&uid) {
                    Claim::Owned
                } else {
                    Claim::Stranger
                }
            }
            Some(Ok(uid)) if tag(self.tag) == Some(self.path().as_str()) => {
                if launched_by(&uid) {
                    Claim::Orphan(uid)
                } else {
                    Claim::Stranger
                }
            }
            Some(Ok(_)) => Claim::None,
            Some(Err(_)) | None => {
                if tag(self.tag) == Some(self.path().as_str()) {
                    Claim::Stranger
                } else {
                    Claim::None
                }
            }
        }
    }
}

/// What a machine is to an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    Owned,
    /// Launched by an earlier object of the same name, which had this uid.
    Orphan(Uid),
    /// Carries our tags and was not launched by us: reported, never counted, never touched.
    Stranger,
    /// Nothing.
    None,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workers::instance::InstanceState;

    const OURS: &str = "6b4d2a3e-9d0c-4f6e-8f0e-1f7a2b3c4d5e";
    const EARLIER: &str = "11111111-9d0c-4f6e-8f0e-1f7a2b3c4d5e";

    fn owner() -> Owner {
        Owner {
            cluster: "c".into(),
            tag: OWNER_TAG,
            namespace: "ns".into(),
            name: "web".into(),
            uid: Uid::try_from(OURS).unwrap(),
        }
    }

    fn instance(cluster: &str, path: &str, uid: &str, token_uid: Option<&str>) -> Instance {
        let token = token_uid.map(|uid| ClientToken::new(&Uid::try_from(uid).unwrap(), 1).to_string());
        let tags = [(CLUSTER_TAG, cluster), (OWNER_TAG, path), (OWNER_UID_TAG, uid)];
        Instance {
            client_token: token.unwrap_or_default(),
            tags: tags.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            ..Instance::sample(1, InstanceState::Running)
        }
    }

    #[test]
    fn only_a_launch_with_our_token_makes_a_machine_ours() {
        let orphan = Claim::Orphan(Uid::try_from(EARLIER).unwrap());
        for (case, machine, claim) in [
            ("launched by us", instance("c", "ns/web", OURS, Some(OURS)), Claim::Owned),
            ("our tags pasted on a machine without a token", instance("c", "ns/web", OURS, None), Claim::Stranger),
            ("our tags pasted on another's machine", instance("c", "ns/web", OURS, Some(EARLIER)), Claim::Stranger),
            ("launched by an earlier object of our name", instance("c", "ns/web", EARLIER, Some(EARLIER)), orphan),
            ("an earlier object's tags pasted on", instance("c", "ns/web", EARLIER, None), Claim::Stranger),
            ("our name and no valid uid", instance("c", "ns/web", "x", None), Claim::Stranger),
            ("another fleet's", instance("c", "ns/db", EARLIER, Some(EARLIER)), Claim::None),
            ("another cluster's", instance("d", "ns/web", EARLIER, Some(EARLIER)), Claim::None),
            ("another cluster's with our uid", instance("d", "ns/web", OURS, Some(OURS)), Claim::None),
        ] {
            assert_eq!(owner().claim(&machine, &BTreeSet::new()), claim, "{case}");
        }
    }

    #[test]
    fn an_adopted_machine_is_ours_whoever_launched_it_but_not_once_another_tagged_it() {
        for (case, machine, claim) in [
            ("of an earlier object of our name", instance("c", "ns/web", EARLIER, Some(EARLIER)), Claim::Owned),
            ("launched by other means", Instance { tags: BTreeMap::new(), ..instance("", "", "", None) }, Claim::Owned),
            ("tagged by us", instance("c", "ns/web", OURS, None), Claim::Owned),
            ("tagged by another that took it over", instance("c", "ns/db", EARLIER, None), Claim::None),
            ("tagged by one of our name in another cluster", instance("d", "ns/web", EARLIER, None), Claim::None),
        ] {
            assert_eq!(owner().claim(&machine, &BTreeSet::from([machine.id.clone()])), claim, "{case}");
        }
    }
}
