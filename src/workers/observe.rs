//! The only reads: what EC2 shows of an object's machines, and what follows for those that it does not show.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use crate::{
    aws::{Session, ec2::Ec2, sweep::Snapshot},
    context::Context,
    ids::{InstanceId, SubnetId},
    live::Live,
    reconcile::Failure,
    workers::{
        draft::{Observed, Zones},
        instance::Instance,
        ledger::Ledger,
        look::WorkerKind,
        memory::Memory,
        ownership::{Claim, Owner},
        pools::Places,
        roster::{Known, Roster, Sighting},
        template::Placement,
    },
};

/// What is to be found out.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub owner: &'a Owner,
    /// Whether EC2's status checks are of interest.
    pub status_checks: bool,
    /// Where something may be launched.
    pub places: &'a [&'a Places],
    /// And of which revisions.
    pub revisions: &'a BTreeSet<String>,
    /// A look that was begun before this moment is too old.
    pub not_before: Instant,
}

/// What was found out, and how fresh it is.
#[derive(Debug)]
pub struct Answer {
    pub observed: Observed,
    /// When the look was begun.
    pub begun: Instant,
}

pub async fn observe<K: WorkerKind>(
    ctx: &Context,
    session: &Session,
    live: &Live<K>,
    ledger: &Ledger,
    memory: &mut Memory,
    question: Question<'_>,
) -> Result<Answer, Failure> {
    let ec2 = Ec2::new(session);
    let now = ctx.clock.monotonic();
    memory.follow(ledger, now);
    let cluster = &question.owner.cluster;
    let snapshot = ctx.sweeps.instances(session, cluster, question.not_before).await?;
    let mut roster = sort_out(question.owner, &snapshot, ledger);
    resolve_missing(ctx, &ec2, live, ledger, memory, &mut roster).await?;
    if question.status_checks && !roster.machines.is_empty() {
        let checks = ctx.sweeps.status_checks(session, question.not_before).await?;
        for (id, machine) in &mut roster.machines {
            machine.checks_passed = checks.passed(id);
        }
    }
    for intent in ledger.launches.iter().filter(|intent| intent.instance_ids.is_empty()) {
        let remembered = intent.is_remembered(ctx.clock.now());
        if !remembered || memory.revisions.find(ctx, live, &intent.revision).await?.is_none() {
            memory.cannot_be_repeated(&intent.token);
        }
    }
    search(ctx, &ec2, memory).await?;
    let zones = zones(&ec2, memory, question.places).await;
    let lessons = memory.lessons(question.revisions, now, &ctx.config.timings);
    Ok(Answer { observed: Observed { roster, zones, lessons }, begun: snapshot.begun })
}

fn sort_out(owner: &Owner, snapshot: &Snapshot, ledger: &Ledger) -> Roster {
    let adopted = ledger.adopted();
    let mut roster = Roster::default();
    for (id, instance) in snapshot.naming(owner) {
        let over = instance.state.is_over();
        match owner.claim(&instance, &adopted) {
            Claim::Owned => {
                let instance = Instance::clone(&instance);
                roster.machines.insert(id, Sighting { instance, swept: true, checks_passed: false });
            }
            Claim::Orphan(uid) if !over => {
                roster.orphans.insert(id, uid);
            }
            Claim::Stranger if !over => {
                roster.strangers.insert(id);
            }
            Claim::Orphan(_) | Claim::Stranger | Claim::None => {}
        }
    }
    roster
}

/// Machines that are believed in and not in the sweep are asked for by id. Only then, and after the grace, is one gone.
async fn resolve_missing<K: WorkerKind>(
    ctx: &Context,
    ec2: &Ec2,
    live: &Live<K>,
    ledger: &Ledger,
    memory: &mut Memory,
    roster: &mut Roster,
) -> Result<(), Failure> {
    let now = ctx.clock.monotonic();
    let grace = ctx.config.timings.describe_grace;
    // A fresh process knows of those that the status lists.
    let known = memory.known.clone().unwrap_or_else(|| K::listed(&live.status()));
    let launched: BTreeSet<_> = ledger.launches.iter().flat_map(|intent| intent.instance_ids.iter().cloned()).collect();
    let mut missing: BTreeMap<InstanceId, Known> = ledger.named();
    missing.extend(known.clone());
    missing.retain(|id, _| !roster.machines.contains_key(id));
    memory.missing_since.retain(|id, _| missing.contains_key(id));
    let waited = |memory: &mut Memory, id: &InstanceId| {
        now.saturating_duration_since(*memory.missing_since.entry(id.clone()).or_insert(now)) >= grace
    };
    // A machine that was launched a moment ago is expected to be missing.
    let asked: Vec<_> = missing
        .keys()
        .filter(|id| waited(memory, id) || known.contains_key(*id) || !launched.contains(*id))
        .cloned()
        .collect();
    let mut found: BTreeMap<InstanceId, Instance> = BTreeMap::new();
    if !asked.is_empty() {
        found.extend(ec2.describe_by_id(&asked).await?.into_iter().map(|instance| (instance.id.clone(), instance)));
    }
    let adopted = ledger.adopted();
    for (id, facts) in missing {
        match found.remove(&id) {
            Some(instance) if instance.state.is_over() => {
                roster.gone.insert(id);
            }
            Some(instance) => {
                let owner = live_owner(ctx, live);
                if owner.claim(&instance, &adopted) == Claim::Owned {
                    roster.machines.insert(id, Sighting { instance, swept: false, checks_passed: false });
                } else {
                    // Somebody took our tags off: it is no longer ours.
                    roster.gone.insert(id);
                }
            }
            None if asked.contains(&id) && waited(memory, &id) => {
                roster.gone.insert(id);
            }
            None => {
                roster.unseen.insert(id, facts);
            }
        }
    }
    let alive = roster.machines.values().map(|machine| &machine.instance).filter(|instance| !instance.state.is_over());
    let alive = alive.map(|instance| (instance.id.clone(), Known::of(instance)));
    memory.known = Some(alive.chain(roster.unseen.clone()).collect());
    Ok(())
}

pub fn live_owner<K: WorkerKind>(ctx: &Context, live: &Live<K>) -> Owner {
    Owner {
        cluster: ctx.config.cluster_name.clone(),
        tag: K::OWNER_TAG,
        namespace: live.namespace().into(),
        name: live.name().into(),
        uid: live.uid().clone(),
    }
}

/// Looks by token for what launches that cannot be repeated came to, once their full wait is over.
async fn search(ctx: &Context, ec2: &Ec2, memory: &mut Memory) -> Result<(), Failure> {
    let due = memory.searches(ctx.clock.monotonic(), &ctx.config.timings);
    if due.is_empty() {
        return Ok(());
    }
    let found = ec2.find_by_token(&due).await?;
    for token in due {
        let of_token = |instance: &&Instance| instance.client_token == token.as_str() && !instance.state.is_over();
        let ids = found.iter().filter(of_token).map(|instance| instance.id.clone()).collect();
        memory.found(&token, ids);
    }
    Ok(())
}

async fn zones(ec2: &Ec2, memory: &mut Memory, places: &[&Places]) -> Zones {
    let spread = places.iter().filter(|places| match places.placement {
        Placement::Spread => true,
        Placement::Ordered => false,
    });
    let subnets: BTreeSet<_> = spread.flat_map(|places| &places.subnets).collect();
    let unknown: Vec<SubnetId> =
        subnets.into_iter().filter(|subnet| !memory.zones.contains_key(*subnet)).cloned().collect();
    if !unknown.is_empty() {
        match ec2.zones(&unknown).await {
            Ok(found) => memory.zones.extend(found),
            Err(error) => return Zones::Unknown(error),
        }
    }
    Zones::Known(memory.zones.clone())
}
