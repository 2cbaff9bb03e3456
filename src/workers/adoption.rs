//! Adopts instances: those that a spec names by id, and those of an earlier object of the same name.
//!
//! ```text
//!   named ──► described by id, granted by tags ──► recorded as adopted ──► tagged as the owner's ──► in the sweep
//!                   └──► refused: reported with the reason
//! ```
//!
//! The record makes an instance a worker. Tags are added later, so that an unrecorded instance never looks like one.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use crate::{
    aws::{
        self, Session, advice,
        ec2::{
            Ec2,
            instance::{Instance, InstanceState},
        },
    },
    condition::{ConditionType, Reason, Verdict},
    crd::launches::Adopted,
    ids::{InstanceId, Uid, list},
    inventory::ownership::{Owner, Ownership, TargetTags},
    k8s::{live::Live, object::Object},
    reconcile::{Failure, context::Context},
    tags::{CLUSTER_TAG, OWNER_TAGS, OWNER_UID_TAG, quoted},
    workers::{ledger::Ledger, observe::instances::ObservedInstances},
};

/// How many instances a message names.
const NAMED: usize = 5;

/// What this process knows of instances to adopt.
#[derive(Debug, Default)]
pub struct AdoptionMemory {
    described: Option<DescribedCandidates>,
    /// When this process tagged them. The sweep may be older.
    tagged: BTreeMap<InstanceId, Instant>,
    tagging_failed: Option<(Instant, aws::Error)>,
}

#[derive(Debug)]
struct DescribedCandidates {
    generation: i64,
    requested_at: Option<String>,
    granted: TargetTags,
    at: Instant,
    found: Candidates,
}

/// The instances to adopt that are not recorded yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidates {
    pub adoptable: BTreeMap<InstanceId, Instance>,
    refused: BTreeMap<InstanceId, Refused>,
}

/// Why an instance cannot be adopted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Refused {
    /// It does not exist, or no grant covers it: whoever asks must not learn which.
    #[error("is no instance that a grant of AwsAccount {0} covers")]
    NotGranted(String),
    #[error("is {}", .0.as_str())]
    Over(InstanceState),
    #[error(
        "belongs to an earlier object of this name: annotate this one with muster.dev/adopt={0} to adopt all of its \
         instances"
    )]
    Earlier(Uid),
    #[error("belongs to another owner, which the tags {0} name")]
    Another(String),
}

/// Describes the instances of `wanted` that are not recorded yet: once for each change of the spec, the grants, request
/// and sweep. Without a grant of `account` by tags, no call is made.
pub async fn candidates<K: Object>(
    ctx: &Context,
    session: &Session,
    live: &Live<K>,
    (owner, account): (&Owner, &str),
    (wanted, ledger): (&BTreeSet<InstanceId>, &Ledger),
    memory: &mut AdoptionMemory,
) -> Result<Candidates, Failure> {
    let mut known = ledger.adopted();
    known.extend(ledger.victims());
    let unrecorded: Vec<_> = wanted.difference(&known).cloned().collect();
    if unrecorded.is_empty() {
        memory.described = None;
        return Ok(Candidates::default());
    }
    let (now, generation, requested_at) = (ctx.clock.monotonic(), live.generation(), live.requested_at());
    let granted = ctx.accounts.permits(live, account)?.target_tags();
    let period = ctx.config.timings.sweep.mul_f64(0.9);
    if let Some(last) = &mut memory.described
        && (last.generation, &last.requested_at, &last.granted) == (generation, &requested_at, &granted)
        && now.saturating_duration_since(last.at) < period
    {
        // An instance that is recorded now must not be adopted again from an older answer.
        last.found.adoptable.retain(|id, _| !known.contains(id));
        return Ok(last.found.clone());
    }
    let mut found = Candidates::default();
    let mut described =
        if granted.0.is_empty() { BTreeMap::new() } else { Ec2::new(session).describe_by_id(&unrecorded).await? };
    for id in unrecorded {
        let instance = described.remove(&id).flatten();
        match judge(owner, instance.as_ref(), &granted) {
            Some(Ok(true)) => found.adoptable.extend(instance.map(|instance| (id, instance))),
            Some(Ok(false)) => {}
            Some(Err(refused)) => {
                found.refused.insert(id, refused);
            }
            None => {
                found.refused.insert(id, Refused::NotGranted(account.to_owned()));
            }
        }
    }
    memory.described = Some(DescribedCandidates { generation, requested_at, granted, at: now, found: found.clone() });
    Ok(found)
}

/// Whether to adopt an instance: false for one that the owner already owns, `None` for one that is not granted.
fn judge(owner: &Owner, instance: Option<&Instance>, granted: &TargetTags) -> Option<Result<bool, Refused>> {
    let instance = instance?;
    match owner.claim(instance, &BTreeSet::new()) {
        Ownership::Owned => return Some(Ok(false)),
        Ownership::Orphan(uid) => return Some(Err(Refused::Earlier(uid))),
        Ownership::Foreign | Ownership::None => {}
    }
    if !granted.cover(instance) {
        return None;
    }
    let (path, uid) = (owner.path(), owner.uid.as_str());
    let own = [(CLUSTER_TAG, owner.cluster.as_str()), (owner.tag, &path), (OWNER_UID_TAG, uid)];
    let is_own = |key: &str, value: &str| own.contains(&(key, value));
    let owners = OWNER_TAGS.iter().chain([&CLUSTER_TAG, &OWNER_UID_TAG]);
    let owners = owners.filter_map(|key| Some((*key, instance.tags.get(*key)?)));
    let others: Vec<_> = owners.filter(|(key, value)| !is_own(key, value)).collect();
    Some(if instance.state.is_over() {
        Err(Refused::Over(instance.state))
    } else if others.is_empty() {
        Ok(true)
    } else {
        Err(Refused::Another(
            others.iter().map(|(key, value)| format!("{key}={}", quoted(value))).collect::<Vec<_>>().join(", "),
        ))
    })
}

/// Gives adopted instances the tags that the record says, and returns whether it did.
pub async fn tag(
    ctx: &Context,
    session: &Session,
    owner: &Owner,
    recorded: &[Adopted],
    instances: &ObservedInstances,
    memory: &mut AdoptionMemory,
) -> bool {
    let (now, timings) = (ctx.clock.monotonic(), &ctx.config.timings);
    let AdoptionMemory { described: _, tagged, tagging_failed } = memory;
    let lag = timings.sweep + timings.describe_grace;
    tagged.retain(|_, at| now.saturating_duration_since(*at) < lag);
    let mut lacking: BTreeMap<BTreeMap<String, String>, Vec<InstanceId>> = BTreeMap::new();
    for adopted in recorded.iter().filter(|adopted| !tagged.contains_key(&adopted.id)) {
        let Some(worker) = instances.shown.get(&adopted.id) else { continue };
        if let Some(tags) = missing_tags(owner, &worker.instance, adopted) {
            lacking.entry(tags).or_default().push(adopted.id.clone());
        }
    }
    if lacking.is_empty() {
        *tagging_failed = None;
        return false;
    }
    let waiting = tagging_failed.as_ref().is_some_and(|(at, _)| now.saturating_duration_since(*at) < timings.sweep);
    if waiting || !ctx.leadership.is_held(ctx.clock.monotonic()) {
        return false;
    }
    *tagging_failed = None;
    for (tags, ids) in lacking {
        match Ec2::new(session).tag_instances(&ids, &tags).await {
            Ok(()) => tagged.extend(ids.into_iter().map(|id| (id, now))),
            Err(error) => {
                tracing::info!(%error, "adopted instances were not tagged");
                *tagging_failed = Some((now, error));
                break;
            }
        }
    }
    tagging_failed.is_none()
}

/// The tags that an adopted instance lacks, or `None` when it has all of them or the record is not complete.
fn missing_tags(owner: &Owner, instance: &Instance, adopted: &Adopted) -> Option<BTreeMap<String, String>> {
    let mut tags = owner.tags(&adopted.role, adopted.revision.as_ref()?);
    // The token of an orphan seals its tags: only with them it is proven that it was launched for this name.
    if instance.state.is_over() || matches!(owner.claim(instance, &BTreeSet::new()), Ownership::Orphan(_)) {
        return None;
    }
    tags.retain(|key, value| instance.tags.get(key) != Some(value));
    (!tags.is_empty()).then_some(tags)
}

/// What to add to an AwsAccount.
const GRANT: &str =
    "add tags that they have to the grant for WorkerFleet, like targetTags: {team: ml}, if they may be adopted";

/// Adopted instances that no grant of `account` covers any more.
pub fn withheld_message(withheld: &BTreeSet<InstanceId>, account: &str) -> String {
    format!(
        "{} are recorded as adopted, and no grant of AwsAccount {account} covers them: they count as workers, and \
         muster neither tags nor terminates them; {GRANT}",
        list(withheld.iter(), NAMED)
    )
}

impl AdoptionMemory {
    /// Why instances are not adopted, not changed or not tagged; `None` when all are. `withheld` are recorded, and no
    /// grant of `account` covers them.
    pub fn verdict(&self, withheld: &BTreeSet<InstanceId>, account: &str) -> Option<Verdict> {
        let refused: Vec<_> = self.described.iter().flat_map(|last| &last.found.refused).collect();
        let verdict = |reason, message| Some(Verdict::new(ConditionType::AdoptionBlocked, true, reason, message));
        if !withheld.is_empty() {
            return verdict(Reason::NotAdoptable, withheld_message(withheld, account));
        }
        if !refused.is_empty() {
            let ungranted = refused.iter().any(|(_, why)| matches!(why, Refused::NotGranted(_)));
            let grant = if ungranted { format!(", or {GRANT}") } else { String::new() };
            let refused: Vec<_> = refused.iter().map(|(id, why)| format!("{id} {why}")).collect();
            let named = list(refused.iter(), NAMED);
            return verdict(Reason::NotAdoptable, format!("not adopted: {named}; remove them from spec.adopt{grant}"));
        }
        let (_, error) = self.tagging_failed.as_ref()?;
        let advice = advice::advice(error, &advice::Remedy::default());
        let advice = if advice.is_empty() { "; muster tries again".into() } else { advice };
        verdict(Reason::TagsRefused, format!("adopted instances lack their tags: {error}{advice}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::{ClientToken, LaunchTags, Role},
        tags::{FLEET_TAG, JOB_TAG, REVISION_TAG, ROLE_TAG},
    };

    const OURS: &str = "6b4d2a3e-9d0c-4f6e-8f0e-1f7a2b3c4d5e";
    const EARLIER: &str = "11111111-9d0c-4f6e-8f0e-1f7a2b3c4d5e";

    fn instance(state: InstanceState, tags: &[(&str, &str)], token_of: Option<&str>) -> Instance {
        let tag = |key| tags.iter().find(|(tag, _)| *tag == key).map_or("", |(_, value)| value);
        let sealed = LaunchTags { role: tag(ROLE_TAG), revision: tag(REVISION_TAG), indexes: None };
        let owner = Owner::sample(OURS).name_tag();
        let token = |uid| ClientToken::new(&Uid::try_from(uid).unwrap(), 1).sealed(b"", &owner, sealed).to_string();
        let token = token_of.map(token);
        Instance {
            client_token: token.unwrap_or_default(),
            tags: tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ..Instance::sample(1, state)
        }
    }

    #[test]
    fn a_running_instance_without_another_owner_can_be_adopted() {
        let tags = |path, uid| [(CLUSTER_TAG, "c"), (FLEET_TAG, path), (OWNER_UID_TAG, uid)];
        let uid = format!("{OWNER_UID_TAG}={EARLIER:?}");
        let another = Refused::Another(format!("{FLEET_TAG}=\"ns/db\", {uid}"));
        let running = InstanceState::Running;
        let granted = TargetTags(vec![BTreeMap::from([("team".to_owned(), "ml".to_owned())])]);
        for (case, worker, judged) in [
            ("without tags", instance(running, &[], None), Ok(true)),
            ("stopped", instance(InstanceState::Stopped, &[], None), Ok(true)),
            ("over", instance(InstanceState::Terminated, &[], None), Err(Refused::Over(InstanceState::Terminated))),
            ("launched by us", instance(running, &tags("ns/web", OURS), Some(OURS)), Ok(false)),
            ("adopted before the status was lost", instance(running, &tags("ns/web", OURS), None), Ok(true)),
            ("an earlier object's without its tags", instance(running, &[], Some(EARLIER)), Ok(true)),
            (
                "another's by name",
                instance(running, &[(CLUSTER_TAG, "c"), (FLEET_TAG, "ns/db")], None),
                Err(Refused::Another(format!("{FLEET_TAG}=\"ns/db\""))),
            ),
            (
                "a job's of the same name",
                instance(running, &[(CLUSTER_TAG, "c"), (JOB_TAG, "ns/web")], None),
                Err(Refused::Another(format!("{JOB_TAG}=\"ns/web\""))),
            ),
            (
                "another cluster's",
                instance(running, &[(CLUSTER_TAG, "d"), (FLEET_TAG, "ns/web")], None),
                Err(Refused::Another(format!("{CLUSTER_TAG}=\"d\""))),
            ),
            ("another's", instance(running, &tags("ns/db", EARLIER), Some(EARLIER)), Err(another.clone())),
            ("adopted by another", instance(running, &tags("ns/db", EARLIER), None), Err(another)),
            (
                "an earlier object's",
                instance(running, &tags("ns/web", EARLIER), Some(EARLIER)),
                Err(Refused::Earlier(Uid::try_from(EARLIER).unwrap())),
            ),
        ] {
            let mut worker: Instance = worker;
            let already_ours = matches!(judged, Ok(false) | Err(Refused::Earlier(_)));
            let ungranted = already_ours.then(|| judged.clone());
            assert_eq!(judge(&Owner::sample(OURS), Some(&worker), &granted), ungranted, "{case}, without the tag");
            worker.tags.insert("team".into(), "ml".into());
            assert_eq!(judge(&Owner::sample(OURS), Some(&worker), &granted), Some(judged), "{case}");
            let none = TargetTags::default();
            assert_eq!(judge(&Owner::sample(OURS), Some(&worker), &none), ungranted, "{case}, without a grant");
        }
    }

    #[test]
    fn adopted_instances_get_the_tags_of_the_record_and_orphans_keep_theirs() {
        let leader = Role::try_from("leader").unwrap();
        let adopted = |revision: Option<&str>| Adopted {
            id: InstanceId::try_from("i-00000001").unwrap(),
            role: leader.clone(),
            revision: revision.map(str::to_owned),
        };
        let missing = |tags: &[(&str, &str)], token_of, revision| {
            let instance = instance(InstanceState::Running, tags, token_of);
            missing_tags(&Owner::sample(OURS), &instance, &adopted(revision))
        };
        let ours = Owner::sample(OURS).tags(&leader, "leader-1");
        assert_eq!(missing(&[], None, None), None, "not before the template resolves");
        assert_eq!(missing(&[], None, Some("leader-1")), Some(ours.clone()));
        let mut tagged: Vec<_> = ours.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(missing(&tagged, None, Some("leader-1")), None);
        tagged.retain(|(key, _)| *key != ROLE_TAG);
        tagged.push((ROLE_TAG, "nope"));
        let role = BTreeMap::from([(ROLE_TAG.to_owned(), "leader".to_owned())]);
        assert_eq!(missing(&tagged, None, Some("leader-1")), Some(role), "somebody changed the role");
        let orphan = [(CLUSTER_TAG, "c"), (FLEET_TAG, "ns/web"), (OWNER_UID_TAG, EARLIER), (ROLE_TAG, "leader")];
        assert_eq!(missing(&orphan, Some(EARLIER), Some("leader-1")), None);
    }
}
