use super::*;
use crate::{
    aws::ec2::instance::InstanceState,
    crd::launches::LaunchIntent,
    ids::{ClientToken, Uid},
    tags::{CLUSTER_TAG, FLEET_TAG},
    workers::sample::{EARLIER, UID, uid},
};

/// An instance of `ns/web` as it was launched, and the intent of its launch.
fn launched(role: &str, indexes: Option<&str>) -> (Instance, LaunchIntent) {
    launched_by(&uid(UID), role, indexes)
}

fn launched_by(owner: &Uid, role: &str, indexes: Option<&str>) -> (Instance, LaunchIntent) {
    let role = Role::try_from(role).unwrap();
    let intent = LaunchIntent {
        role: role.clone(),
        indexes: indexes.map(|indexes| indexes.parse().unwrap()),
        ..LaunchIntent::sample(ClientToken::new(owner, 7), 1)
    };
    let sample = Owner::sample(owner.as_str());
    let intent = intent.sealed(&sample.name_tag());
    let mut tags = sample.tags(&role, &intent.revision);
    tags.extend(indexes.map(|indexes| (INDEXES_TAG.to_owned(), indexes.to_owned())));
    let token = intent.token.to_string();
    (Instance { tags, client_token: token, ..Instance::sample(1, InstanceState::Running) }, intent)
}

fn known(role: &str, revision: &str) -> KnownInstance {
    KnownInstance { role: Role::try_from(role).unwrap(), revision: revision.into() }
}

fn sorted(instance: &Instance, ledger: &Ledger, stored: Vec<KnownInstance>) -> ObservedInstances {
    let owner = Owner::sample(UID);
    let mut instances = ObservedInstances::default();
    Identities::new(&owner, ledger, stored).sort(instance, &mut instances);
    instances
}

fn only(instances: ObservedInstances) -> (KnownInstance, Option<Tampered>) {
    let worker = instances.shown.into_values().next().expect("an instance of the owner");
    (worker.known, worker.tampered)
}

fn changed(mut instance: Instance, tag: &str, value: Option<&str>) -> Instance {
    match value {
        Some(value) => drop(instance.tags.insert(tag.into(), value.into())),
        None => drop(instance.tags.remove(tag)),
    }
    instance
}

#[test]
fn no_tag_of_a_worker_changes_what_it_is_and_each_change_is_told() {
    let (fleets, _) = launched("leader", None);
    let (jobs, _) = launched("main", Some("0-4"));
    let stored = || vec![known("main", "web-2"), known("main", "web-1"), known("leader", "web-1")];
    let leader = known("leader", "web-1");
    assert_eq!(only(sorted(&fleets, &Ledger::default(), stored())), (leader.clone(), None));
    assert_eq!(only(sorted(&jobs, &Ledger::default(), stored())), (known("main", "web-1"), None));
    for (tag, value, told) in [
        (ROLE_TAG, Some("nope"), r#"muster.dev:role is "nope" (launched with "leader")"#),
        (ROLE_TAG, Some("main"), r#"muster.dev:role is "main" (launched with "leader")"#),
        (ROLE_TAG, None, r#"muster.dev:role is missing (launched with "leader")"#),
        (REVISION_TAG, Some("../x\n"), r#"muster.dev:revision is "../x\n" (launched with "web-1")"#),
        (REVISION_TAG, None, r#"muster.dev:revision is missing (launched with "web-1")"#),
        (INDEXES_TAG, Some("0"), r#"muster.dev:indexes is "0" (launched without it)"#),
        (FLEET_TAG, Some("ns/db"), r#"muster.dev:fleet is "ns/db" (launched with "ns/web")"#),
        (OWNER_UID_TAG, Some(EARLIER), "muster.dev:owner-uid is "),
        (OWNER_UID_TAG, None, "muster.dev:owner-uid is missing"),
    ] {
        let (is, tampered) = only(sorted(&changed(fleets.clone(), tag, value), &Ledger::default(), stored()));
        let tampered = tampered.unwrap_or_else(|| panic!("{tag} {value:?} is not told"));
        assert_eq!((is, tampered.is_identified), (leader.clone(), true), "{tag} {value:?}");
        assert!(tampered.to_string().starts_with(told), "{tag} {value:?}: {tampered}");
    }
}

#[test]
fn what_was_launched_is_unknown_only_if_no_record_and_no_revision_tells_it() {
    let (instance, intent) = launched("leader", Some("3"));
    let forged = changed(changed(instance.clone(), ROLE_TAG, Some("main")), INDEXES_TAG, Some("0"));
    let stored = || vec![known("leader", "web-1")];
    let recorded = Ledger { launches: vec![intent], ..Ledger::default() };
    let (is, tampered) = only(sorted(&forged, &recorded, vec![]));
    assert_eq!((is, tampered.unwrap().is_identified), (known("leader", "web-1"), true));
    for stored in [vec![], stored()] {
        let (is, tampered) = only(sorted(&forged, &Ledger::default(), stored));
        assert_eq!((is, tampered.unwrap().is_identified), (KnownInstance::default(), false));
    }
    let role_alone = changed(instance, ROLE_TAG, Some("main"));
    let (is, tampered) = only(sorted(&role_alone, &Ledger::default(), stored()));
    assert_eq!((is, tampered.unwrap().is_identified), (known("leader", "web-1"), true));
}

#[test]
fn an_adopted_instance_is_what_the_record_says() {
    let instance = changed(launched_by(&uid(UID), "main", None).0, ROLE_TAG, Some("nope"));
    let role = Role::try_from("leader").unwrap();
    let adopted = Adopted { id: instance.id.clone(), role, revision: Some("web-2".into()) };
    let ledger = Ledger { adopted: vec![adopted], ..Ledger::default() };
    assert_eq!(only(sorted(&instance, &ledger, vec![])), (known("leader", "web-2"), None));
}

#[test]
fn an_instance_is_an_orphan_only_if_its_token_proves_its_name_and_its_role() {
    let (instance, _) = launched_by(&uid(EARLIER), "leader", None);
    let sorted = |instance: &Instance| sorted(instance, &Ledger::default(), vec![]);
    let orphan = Orphan { uid: uid(EARLIER), role: Role::try_from("leader").unwrap() };
    assert_eq!(sorted(&instance).orphans, BTreeMap::from([(instance.id.clone(), orphan)]));
    let forged = changed(instance, ROLE_TAG, Some("main"));
    assert!(sorted(&forged).orphans.is_empty() && sorted(&forged).foreign.contains(&forged.id));
    assert_eq!(forged.tags[CLUSTER_TAG], "c");
}
