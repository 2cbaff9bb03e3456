//! The only reads: what EC2 shows of an object's machines, and what follows for those that it does not show.

use std::{collections::BTreeSet, time::Instant};

use crate::{
    aws::{Session, ec2::Ec2, sweep::Snapshot},
    context::Context,
    live::Live,
    reconcile::Failure,
    workers::{
        belief::Moment,
        draft::{Observed, Zones},
        instance::Instance,
        ledger::Ledger,
        look::WorkerKind,
        memory::Memory,
        ownership::{Claim, Owner},
        pools::Places,
        resolve,
        roster::{Roster, Sighting},
        share::Share,
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
    /// How many machines may be missing at once, to be given up after the grace.
    pub may_vanish: Share,
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
    let (begun, may_vanish) = (snapshot.begun, question.may_vanish);
    let moment = Moment { begun, now, wall: ctx.clock.now(), timings: &ctx.config.timings, may_vanish };
    let lost = resolve_missing(&ec2, live, ledger, memory, &mut roster, question.owner, moment).await?;
    let wall = ctx.clock.now();
    lost.iter().for_each(|instance| memory.lost(instance, question.places, (now, wall), &ctx.config.timings));
    if question.status_checks && !roster.machines.is_empty() {
        let checks = ctx.sweeps.status_checks(session, question.not_before).await?;
        for (id, machine) in &mut roster.machines {
            machine.checks_passed = checks.passed(id);
        }
    }
    for intent in ledger.launches.iter().filter(|intent| intent.instance_ids.is_empty()) {
        if !intent.is_repeatable(ctx.clock.now()) || memory.revisions.find(ctx, live, &intent.revision).await?.is_none()
        {
            memory.cannot_be_repeated(&intent.token);
        }
    }
    search(ctx, &ec2, memory).await?;
    let zones = zones(ctx, session, memory, question.places).await;
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

/// Machines that are believed in and not in the sweep are asked for by id. Returns those that were lost.
async fn resolve_missing<K: WorkerKind>(
    ec2: &Ec2,
    live: &Live<K>,
    ledger: &Ledger,
    memory: &mut Memory,
    roster: &mut Roster,
    owner: &Owner,
    moment: Moment<'_>,
) -> Result<Vec<Instance>, Failure> {
    let missing = memory.belief.missing(roster, ledger, || K::listed(&live.status()), moment);
    let mut asked = missing.asked.clone();
    asked.extend(memory.losses.estranged().cloned());
    let found = ec2.describe_by_id(&Vec::from_iter(asked)).await?;
    let adopted = ledger.adopted();
    let is_owned = |instance: &Instance| owner.claim(instance, &adopted) == Claim::Owned;
    let is_over = |instance: &&Instance| instance.state.is_over();
    let shown = roster.machines.values().map(|machine| &machine.instance);
    let over = shown.chain(found.values().flatten().filter(|instance| is_owned(instance))).filter(is_over);
    let lost = memory.losses.note(over, &ledger.victims(), moment.now).into_iter().cloned().collect();
    // Of one that was taken over by two, it is the other's.
    let estranged = |i: &&Instance| !i.state.is_over() && !adopted.contains(&i.id) && !is_owned(i);
    memory.losses.estrange(found.values().flatten().filter(estranged).map(|instance| instance.id.clone()).collect());
    memory.belief.conclude(missing, found, is_owned, roster, ledger, moment);
    Ok(lost)
}

pub fn live_owner<K: WorkerKind>(ctx: &Context, live: &Live<K>) -> Owner {
    owner(ctx.config.cluster_name.clone(), live)
}

pub fn owner<K: WorkerKind>(cluster: String, live: &Live<K>) -> Owner {
    Owner {
        cluster,
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
        // Those that are over already were launched all the same: what replaces them is a replacement.
        let of_token = |instance: &&Instance| instance.client_token == token.as_str();
        let ids = found.iter().filter(of_token).map(|instance| instance.id.clone()).collect();
        memory.found(&token, ids);
    }
    Ok(())
}

async fn zones(ctx: &Context, session: &Session, memory: &mut Memory, places: &[&Places]) -> Zones {
    let spread = places.iter().filter(|places| match places.placement {
        Placement::Spread => true,
        Placement::Ordered => false,
    });
    let subnets: BTreeSet<_> = spread.flat_map(|places| &places.subnets).collect();
    let unknown: BTreeSet<_> =
        subnets.into_iter().filter(|subnet| !memory.zones.contains_key(*subnet)).cloned().collect();
    if !unknown.is_empty() {
        match resolve::zones(ctx, session, unknown).await {
            Ok(found) => memory.zones.extend(found),
            Err(error) => return Zones::Unknown(error),
        }
    }
    Zones::Known(memory.zones.clone())
}
