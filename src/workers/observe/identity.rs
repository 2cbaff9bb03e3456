//! What an instance was launched as. Its tags say so, but whoever may tag instances can change them. Its client token is
//! set only at launch and seals them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    aws::ec2::instance::Instance,
    crd::launches::Adopted,
    ids::{InstanceId, LaunchTags, Role},
    inventory::ownership::{Owner, Ownership, TargetTags},
    tags::{INDEXES_TAG, OWNER_UID_TAG, REVISION_TAG, ROLE_TAG},
    workers::{
        ledger::Ledger,
        observe::{
            instances::{KnownInstance, ObservedInstance, ObservedInstances, Orphan},
            tampered::{Change, Tampered},
        },
    },
};

/// What an owner knows of its instances beside their tags.
#[derive(Debug)]
pub struct Identities<'a> {
    owner: &'a Owner,
    ledger: &'a Ledger,
    adopted: BTreeMap<&'a InstanceId, &'a Adopted>,
    adopted_ids: BTreeSet<InstanceId>,
    /// The stored revisions, each with its role.
    stored: Vec<KnownInstance>,
    /// The tags of the instances that grants let the owner adopt.
    granted: TargetTags,
}

impl<'a> Identities<'a> {
    pub fn new(owner: &'a Owner, ledger: &'a Ledger, stored: Vec<KnownInstance>) -> Self {
        let adopted = ledger.adopted.iter().map(|adopted| (&adopted.id, adopted)).collect();
        let granted = TargetTags::default();
        Self { owner, ledger, adopted, adopted_ids: ledger.adopted(), stored, granted }
    }

    /// Lets the owner keep what it has adopted, as far as `granted` covers it.
    pub fn granting(self, granted: TargetTags) -> Self {
        Self { granted, ..self }
    }

    /// Whether the instance is recorded as adopted, and neither its launch nor a grant proves that it may be.
    pub fn is_withheld(&self, instance: &Instance) -> bool {
        !instance.state.is_over() && self.owner.is_withheld(instance, &self.adopted_ids, &self.granted)
    }

    /// Adds an instance of the sweep to `instances`.
    pub fn sort(&self, instance: &Instance, instances: &mut ObservedInstances) {
        let (id, over) = (instance.id.clone(), instance.state.is_over());
        match self.owner.claim(instance, &self.adopted_ids) {
            Ownership::Owned if self.is_withheld(instance) => {
                instances.withheld.insert(id);
            }
            Ownership::Owned => {
                instances.shown.insert(id, self.identified(instance.clone(), true));
            }
            Ownership::Orphan(uid) if !over => {
                // Its token seals the tag.
                if let Ok(role) = Role::try_from(instance.tagged_as().role) {
                    instances.orphans.insert(id, Orphan { uid, role });
                }
            }
            Ownership::Foreign if !over => {
                instances.foreign.insert(id);
            }
            Ownership::Orphan(_) | Ownership::Foreign | Ownership::None => {}
        }
    }

    pub fn is_owned(&self, instance: &Instance) -> bool {
        self.owner.claim(instance, &self.adopted_ids) == Ownership::Owned
    }

    /// An instance that was described by its id; `None` if it is not the owner's.
    pub fn described(&self, instance: &Instance) -> Option<ObservedInstance> {
        self.is_owned(instance).then(|| self.identified(instance.clone(), false))
    }

    fn identified(&self, instance: Instance, swept: bool) -> ObservedInstance {
        let (known, tampered) = match self.adopted.get(&instance.id) {
            Some(adopted) => (KnownInstance::from(*adopted), None),
            None => self.launched(&instance),
        };
        ObservedInstance { instance, known, tampered, swept, checks_passed: false }
    }

    fn launched(&self, instance: &Instance) -> (KnownInstance, Option<Tampered>) {
        let tags = instance.tagged_as();
        let found = |tag: &str| instance.tags.get(tag).cloned();
        let mut changes = Vec::new();
        let mut compare = |tag, launched: Option<Option<&str>>| {
            if launched.is_none_or(|launched| found(tag).as_deref() != launched) {
                let launched = launched.map(|launched| launched.unwrap_or_default().to_owned());
                changes.push(Change { tag, found: found(tag), launched });
            }
        };
        compare(self.owner.tag, Some(Some(&self.owner.path())));
        compare(OWNER_UID_TAG, Some(Some(self.owner.uid.as_str())));
        let found = self.launch_of(instance);
        match &found {
            Some((known, indexes)) => {
                compare(ROLE_TAG, Some(Some(known.role.as_str())));
                compare(REVISION_TAG, Some(Some(&known.revision)));
                compare(INDEXES_TAG, Some(indexes.as_deref()));
            }
            None => {
                compare(ROLE_TAG, None);
                compare(REVISION_TAG, None);
                if tags.indexes.is_some() {
                    compare(INDEXES_TAG, None);
                }
            }
        }
        let is_identified = found.is_some();
        let tampered = (!changes.is_empty()).then_some(Tampered { changes, is_identified });
        (found.map(|(known, _)| known).unwrap_or_default(), tampered)
    }

    /// The role, the revision and the indexes that the token of an instance seals: what its tags say or, if they were
    /// changed, what the record or a stored revision says.
    fn launch_of(&self, instance: &Instance) -> Option<(KnownInstance, Option<String>)> {
        let (token, owner) = (instance.token()?, self.owner.name_tag());
        let known = |role: &str, revision: &str| {
            Some(KnownInstance { role: Role::try_from(role).ok()?, revision: revision.to_owned() })
        };
        if let Some(LaunchTags { role, revision, indexes }) = instance.launched_as(&owner) {
            return Some((known(role, revision)?, indexes.map(str::to_owned)));
        }
        if let Some(intent) = self.ledger.launch(&token) {
            let indexes = intent.indexes.as_ref().map(ToString::to_string);
            return Some((known(intent.role.as_str(), &intent.revision)?, indexes));
        }
        let tagged = instance.tagged_as().indexes;
        self.stored.iter().find_map(|known| {
            let seals = |indexes: &Option<&str>| {
                let (role, revision) = (known.role.as_str(), known.revision.as_str());
                token.seals_tags(&owner, LaunchTags { role, revision, indexes: *indexes })
            };
            let indexes = [tagged, None].into_iter().find(seals)?;
            Some((known.clone(), indexes.map(str::to_owned)))
        })
    }
}

#[cfg(test)]
mod tests;
