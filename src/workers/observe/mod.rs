//! Observes the instances of an object: what EC2 shows, and what follows for those that it does not show.

pub mod counts;
pub mod health;
pub mod instances;
pub mod losses;
pub mod missing;
pub mod observed;

use std::{collections::BTreeSet, time::Instant};

use crate::{
    aws::{
        Session,
        ec2::{Ec2, instance::Instance},
    },
    crd::template::Placement,
    inventory::{
        instances::Snapshot,
        ownership::{Owner, Ownership},
    },
    k8s::live::Live,
    reconcile::{Failure, context::Context},
    workers::{
        kind::{Scope, WorkerKind},
        launch_spec::resolve,
        ledger::Ledger,
        memory::Memory,
        observe::{
            instances::{ObservedInstance, ObservedInstances},
            missing::Moment,
            observed::{Answer, Observed, Zones},
        },
        plan::pools::Places,
    },
};

/// What to observe.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub owner: &'a Owner,
    pub scope: Scope<'a>,
    /// A sweep that was begun earlier is too old.
    pub not_before: Instant,
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
    let mut instances = claim(question.owner, &snapshot, ledger);
    let (begun, max_missing) = (snapshot.begun, question.scope.max_missing);
    let moment = Moment { begun, now, wall: ctx.clock.now(), timings: &ctx.config.timings, max_missing };
    let lost = resolve_missing(&ec2, live, ledger, memory, &mut instances, question.owner, moment).await?;
    let wall = ctx.clock.now();
    lost.iter().for_each(|instance| memory.lost(instance, question.scope.places, (now, wall), &ctx.config.timings));
    if question.scope.status_checks && !instances.shown.is_empty() {
        let checks = ctx.sweeps.status_checks(session, question.not_before).await?;
        for (id, worker) in &mut instances.shown {
            worker.checks_passed = checks.get(id) == Some(&true);
        }
    }
    for intent in ledger.launches.iter().filter(|intent| intent.instance_ids.is_empty()) {
        if !intent.is_repeatable(ctx.clock.now()) || memory.revisions.find(ctx, live, &intent.revision).await?.is_none()
        {
            memory.cannot_be_repeated(&intent.token);
        }
    }
    search(ctx, &ec2, memory).await?;
    let zones = zones(ctx, session, memory, question.scope.places).await;
    let feedback = memory.feedback(question.scope.revisions, now, &ctx.config.timings);
    Ok(Answer { observed: Observed { instances, zones, feedback }, begun: snapshot.begun })
}

fn claim(owner: &Owner, snapshot: &Snapshot, ledger: &Ledger) -> ObservedInstances {
    let adopted = ledger.adopted();
    let mut instances = ObservedInstances::default();
    for (id, instance) in snapshot.naming(owner) {
        let over = instance.state.is_over();
        match owner.claim(&instance, &adopted) {
            Ownership::Owned => {
                let instance = Instance::clone(&instance);
                instances.shown.insert(id, ObservedInstance { instance, swept: true, checks_passed: false });
            }
            Ownership::Orphan(uid) if !over => {
                instances.orphans.insert(id, uid);
            }
            Ownership::Foreign if !over => {
                instances.foreign.insert(id);
            }
            Ownership::Orphan(_) | Ownership::Foreign | Ownership::None => {}
        }
    }
    instances
}

/// Describes known instances by id that the sweep does not show. Returns those that were lost.
async fn resolve_missing<K: WorkerKind>(
    ec2: &Ec2,
    live: &Live<K>,
    ledger: &Ledger,
    memory: &mut Memory,
    instances: &mut ObservedInstances,
    owner: &Owner,
    moment: Moment<'_>,
) -> Result<Vec<Instance>, Failure> {
    let missing = memory.missing.missing(instances, ledger, || K::listed(&live.status()), moment);
    let mut asked = missing.asked.clone();
    asked.extend(memory.losses.untagged().cloned());
    let found = ec2.describe_by_id(&Vec::from_iter(asked)).await?;
    let adopted = ledger.adopted();
    let is_owned = |instance: &Instance| owner.claim(instance, &adopted) == Ownership::Owned;
    let is_over = |instance: &&Instance| instance.state.is_over();
    let shown = instances.shown.values().map(|worker| &worker.instance);
    let over = shown.chain(found.values().flatten().filter(|instance| is_owned(instance))).filter(is_over);
    let lost = memory.losses.note(over, &ledger.victims(), moment.now).into_iter().cloned().collect();
    // An adopted instance that is not owned belongs to another object that adopted it too.
    let untagged = |i: &&Instance| !i.state.is_over() && !adopted.contains(&i.id) && !is_owned(i);
    let untagged = found.values().flatten().filter(untagged).map(|instance| instance.id.clone());
    memory.losses.note_untagged(untagged.collect());
    memory.missing.conclude(missing, found, is_owned, instances, ledger, moment);
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

/// Searches by token for the results of launches that cannot be repeated, once their full wait is over.
async fn search(ctx: &Context, ec2: &Ec2, memory: &mut Memory) -> Result<(), Failure> {
    let due = memory.searches(ctx.clock.monotonic(), &ctx.config.timings);
    if due.is_empty() {
        return Ok(());
    }
    let found = ec2.find_by_token(&due).await?;
    for token in due {
        // Instances that are over were launched too: what replaces them counts as a replacement.
        let of_token = |instance: &&Instance| instance.client_token == token.as_str();
        let ids = found.iter().filter(of_token).map(|instance| instance.id.clone()).collect();
        memory.found(&token, ids);
    }
    Ok(())
}

async fn zones(ctx: &Context, session: &Session, memory: &mut Memory, places: &[&Places]) -> Zones {
    let spread = places.iter().filter(|places| places.placement == Placement::Spread);
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
