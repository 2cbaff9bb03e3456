//! Machines that are taken over: those that a spec names by id, and those of an earlier object of the same name.
//!
//! ```text
//!   named ──► described by id ──► recorded as adopted ──► tagged as the owner's ──► in the shared sweep
//!                   └──► refused: told why
//! ```
//!
//! The record makes a machine a worker. The tags follow it, so that a machine without a record never looks like one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Instant,
};

use crate::{
    aws::{self, Class, Session, ec2::Ec2},
    condition::{ConditionType, Reason, Verdict},
    context::Context,
    ids::{InstanceId, Role, Uid},
    live::Live,
    reconcile::Failure,
    workers::{
        instance::{Instance, InstanceState},
        look::WorkerKind,
        memory::Memory,
        ownership::{CLUSTER_TAG, Claim, JOB_TAG, OWNER_TAG, OWNER_UID_TAG, Owner, REVISION_TAG},
        revisions::Revisions,
        roster::Roster,
    },
};

/// So many machines are named in a message.
const NAMED: usize = 5;

/// What this process knows of machines to take over.
#[derive(Debug, Default)]
pub struct AdoptionMemory {
    looked: Option<Looked>,
    /// When this process tagged them. The sweep may be older.
    tagged: BTreeMap<InstanceId, Instant>,
    untaggable: Option<(Instant, aws::Error)>,
}

#[derive(Debug)]
struct Looked {
    generation: i64,
    requested_at: Option<String>,
    at: Instant,
    found: Candidates,
}

/// The machines that are to be taken over and are not yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidates {
    pub adoptable: BTreeMap<InstanceId, Instance>,
    refused: BTreeMap<InstanceId, Refused>,
}

/// Why a machine cannot be taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Refused {
    Unknown,
    Over(InstanceState),
    /// An earlier object of this name launched it.
    Earlier(Uid),
    Another {
        owner: String,
        cluster: String,
    },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("is not in this account and region"),
            Self::Over(state) => write!(f, "is {}", state.as_str()),
            Self::Earlier(uid) => write!(
                f,
                "belongs to an earlier object of this name: annotate this one with muster.dev/adopt={uid} to take over all \
                 that it left"
            ),
            Self::Another { owner, cluster } => write!(f, "belongs to {owner} of cluster {cluster}"),
        }
    }
}

/// Looks at the machines of `wanted` that are not recorded yet: once for each change of the spec, request and sweep.
pub async fn candidates<K: WorkerKind>(
    ctx: &Context,
    session: &Session,
    live: &Live<K>,
    owner: &Owner,
    wanted: &BTreeSet<InstanceId>,
    memory: &mut AdoptionMemory,
) -> Result<Candidates, Failure> {
    let ledger = K::ledger(&live.status());
    let mut known = ledger.adopted();
    known.extend(ledger.victims());
    let asked: Vec<_> = wanted.difference(&known).cloned().collect();
    if asked.is_empty() {
        memory.looked = None;
        return Ok(Candidates::default());
    }
    let (now, generation, requested_at) = (ctx.clock.monotonic(), live.generation(), live.requested_at());
    let period = ctx.config.timings.sweep.mul_f64(0.9);
    if let Some(looked) = &mut memory.looked
        && (looked.generation, &looked.requested_at) == (generation, &requested_at)
        && now.saturating_duration_since(looked.at) < period
    {
        // One that was taken over is not taken over again for what was seen before.
        looked.found.adoptable.retain(|id, _| !known.contains(id));
        return Ok(looked.found.clone());
    }
    let mut found = Candidates::default();
    for (id, instance) in Ec2::new(session).describe_by_id(&asked).await? {
        match judge(owner, instance.as_ref()) {
            Ok(true) => found.adoptable.extend(instance.map(|instance| (id, instance))),
            Ok(false) => {}
            Err(refused) => {
                found.refused.insert(id, refused);
            }
        }
    }
    memory.looked = Some(Looked { generation, requested_at, at: now, found: found.clone() });
    Ok(found)
}

/// Whether a machine is there to be taken over. One that is the owner's already is not.
fn judge(owner: &Owner, instance: Option<&Instance>) -> Result<bool, Refused> {
    let instance = instance.ok_or(Refused::Unknown)?;
    if instance.state.is_over() {
        return Err(Refused::Over(instance.state));
    }
    match owner.claim(instance, &BTreeSet::new()) {
        Claim::Owned => return Ok(false),
        Claim::Orphan(uid) => return Err(Refused::Earlier(uid)),
        Claim::Stranger | Claim::None => {}
    }
    let tag = |key: &str| instance.tags.get(key).cloned();
    let other = |uid: &str| uid != owner.uid.as_str();
    if instance.tags.get(OWNER_UID_TAG).is_some_and(|uid| other(uid)) {
        let owner = tag(OWNER_TAG).or_else(|| tag(JOB_TAG)).unwrap_or_default();
        return Err(Refused::Another { owner, cluster: tag(CLUSTER_TAG).unwrap_or_default() });
    }
    Ok(true)
}

/// Puts the owner's tags on machines that are recorded as taken over and lack them. `revision` is the current one of a
/// group. Tells whether any was tagged now.
pub async fn tag(
    ctx: &Context,
    session: &Session,
    owner: &Owner,
    recorded: &BTreeSet<InstanceId>,
    roster: &Roster,
    memory: &mut Memory,
    revision: impl Fn(&Role) -> Option<String>,
) -> bool {
    let (now, timings) = (ctx.clock.monotonic(), &ctx.config.timings);
    let Memory { adoption: AdoptionMemory { looked: _, tagged, untaggable }, revisions, .. } = memory;
    let lag = timings.sweep + timings.describe_grace;
    tagged.retain(|id, at| recorded.contains(id) && now.saturating_duration_since(*at) < lag);
    let mut lacking: BTreeMap<BTreeMap<String, String>, Vec<InstanceId>> = BTreeMap::new();
    let machines = roster.machines.values().map(|machine| &machine.instance);
    for instance in machines.filter(|instance| recorded.contains(&instance.id) && !instance.state.is_over()) {
        if let Some(tags) = missing_tags(owner, instance, revisions, &revision)
            && !tagged.contains_key(&instance.id)
        {
            lacking.entry(tags).or_default().push(instance.id.clone());
        }
    }
    if lacking.is_empty() {
        *untaggable = None;
        return false;
    }
    let waiting = untaggable.as_ref().is_some_and(|(at, _)| now.saturating_duration_since(*at) < timings.sweep);
    if waiting || !ctx.leadership.is_held(ctx.clock.monotonic()) {
        return false;
    }
    *untaggable = None;
    for (tags, ids) in lacking {
        match Ec2::new(session).tag_instances(&ids, &tags).await {
            Ok(()) => tagged.extend(ids.into_iter().map(|id| (id, now))),
            Err(error) => {
                tracing::info!(%error, "machines that were taken over were not tagged");
                *untaggable = Some((now, error));
                break;
            }
        }
    }
    untaggable.is_none()
}

/// The tags that a machine that was taken over is to get, or `None` when it has all of them.
fn missing_tags(
    owner: &Owner,
    instance: &Instance,
    revisions: &Revisions,
    revision: impl Fn(&Role) -> Option<String>,
) -> Option<BTreeMap<String, String>> {
    let has = |key: &str, value: &str| instance.tags.get(key).is_some_and(|tag| tag == value);
    let ours = has(CLUSTER_TAG, &owner.cluster) && has(owner.tag, &owner.path());
    let named = ours && instance.tags.contains_key(OWNER_UID_TAG);
    if named && revisions.knows(instance.revision()) {
        return None;
    }
    if named && !has(OWNER_UID_TAG, owner.uid.as_str()) {
        // Launched by an earlier object of this name: its uid stays with its token.
        let revision = revision(&Role::try_from(instance.role()).ok()?)?;
        return Some(BTreeMap::from([(REVISION_TAG.to_owned(), revision)]));
    }
    Some(owner.tags(&Role::main(), &revision(&Role::main())?))
}

impl AdoptionMemory {
    /// What keeps machines from being taken over; `None` when nothing does.
    pub fn verdict(&self) -> Option<Verdict> {
        let refused = self.looked.iter().flat_map(|looked| &looked.found.refused);
        let refused: Vec<_> = refused.map(|(id, why)| format!("{id} {why}")).collect();
        let say = |reason, message| Some(Verdict::new(ConditionType::AdoptionBlocked, true, reason, message));
        if !refused.is_empty() {
            let more = refused.len().saturating_sub(NAMED);
            let more = if more == 0 { String::new() } else { format!("; and {more} more") };
            let named = refused[..refused.len().min(NAMED)].join("; ");
            return say(Reason::NotAdoptable, format!("not taken over: {named}{more}; take them out of spec.adopt"));
        }
        let (_, error) = self.untaggable.as_ref()?;
        let advice = match error.class {
            Class::Denied => "; allow ec2:CreateTags on them to the role that muster uses here",
            Class::NotFound
            | Class::InvalidInput
            | Class::Throttled
            | Class::NoCapacity
            | Class::Conflict
            | Class::Transient => "; it is tried again",
        };
        say(Reason::TagsRefused, format!("machines that were taken over lack their tags: {error}{advice}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ids::ClientToken, workers::ownership::ROLE_TAG};

    const OURS: &str = "6b4d2a3e-9d0c-4f6e-8f0e-1f7a2b3c4d5e";
    const EARLIER: &str = "11111111-9d0c-4f6e-8f0e-1f7a2b3c4d5e";

    fn owner() -> Owner {
        let (namespace, name) = ("ns".into(), "web".into());
        Owner { cluster: "c".into(), tag: OWNER_TAG, namespace, name, uid: Uid::try_from(OURS).unwrap() }
    }

    fn instance(state: InstanceState, tags: &[(&str, &str)], token_of: Option<&str>) -> Instance {
        let token = token_of.map(|uid| ClientToken::new(&Uid::try_from(uid).unwrap(), 1).to_string());
        Instance {
            client_token: token.unwrap_or_default(),
            tags: tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ..Instance::sample(1, state)
        }
    }

    #[test]
    fn what_is_alive_and_nobody_elses_can_be_taken_over() {
        let tags = |path, uid| [(CLUSTER_TAG, "c"), (OWNER_TAG, path), (OWNER_UID_TAG, uid)];
        let another = Refused::Another { owner: "ns/db".into(), cluster: "c".into() };
        let running = InstanceState::Running;
        for (case, machine, judged) in [
            ("not there", None, Err(Refused::Unknown)),
            ("without tags", Some(instance(running, &[], None)), Ok(true)),
            ("stopped", Some(instance(InstanceState::Stopped, &[], None)), Ok(true)),
            (
                "over",
                Some(instance(InstanceState::Terminated, &[], None)),
                Err(Refused::Over(InstanceState::Terminated)),
            ),
            ("launched by us", Some(instance(running, &tags("ns/web", OURS), Some(OURS))), Ok(false)),
            ("taken over before the status was lost", Some(instance(running, &tags("ns/web", OURS), None)), Ok(true)),
            ("an earlier object's without its tags", Some(instance(running, &[], Some(EARLIER))), Ok(true)),
            ("another's", Some(instance(running, &tags("ns/db", EARLIER), Some(EARLIER))), Err(another.clone())),
            ("taken over by another", Some(instance(running, &tags("ns/db", EARLIER), None)), Err(another)),
            (
                "an earlier object's",
                Some(instance(running, &tags("ns/web", EARLIER), Some(EARLIER))),
                Err(Refused::Earlier(Uid::try_from(EARLIER).unwrap())),
            ),
        ] {
            assert_eq!(judge(&owner(), machine.as_ref()), judged, "{case}");
        }
    }

    #[test]
    fn who_is_taken_over_gets_the_owners_tags_and_an_orphan_keeps_its_uid() {
        let revision = |role: &Role| Some(format!("{role}-1"));
        let missing = |tags: &[(&str, &str)]| {
            missing_tags(&owner(), &instance(InstanceState::Running, tags, None), &Revisions::default(), revision)
        };
        assert_eq!(missing(&[]), Some(owner().tags(&Role::main(), "main-1")));
        let orphan = [(CLUSTER_TAG, "c"), (OWNER_TAG, "ns/web"), (OWNER_UID_TAG, EARLIER), (ROLE_TAG, "leader")];
        assert_eq!(missing(&orphan), Some(BTreeMap::from([(REVISION_TAG.to_owned(), "leader-1".to_owned())])));
    }
}
