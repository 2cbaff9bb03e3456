//! Observes the instances of an object: what EC2 shows, and what follows for those that it does not show.

pub mod counts;
pub mod health;
pub mod identity;
pub mod instances;
pub mod losses;
pub mod missing;
pub mod observed;
pub mod tampered;

use std::{collections::BTreeSet, time::Instant};

use crate::{
    aws::{
        Session,
        ec2::{Ec2, instance::Instance},
    },
    crd::template::Placement,
    inventory::ownership::{Owner, TargetTags},
    k8s::live::Live,
    reconcile::{Failure, context::Context},
    workers::{
        kind::{Pass, Scope, WorkerKind},
        launch_spec::{granted, resolve},
        ledger::Ledger,
        memory::Memory,
        observe::{
            identity::Identities,
            instances::ObservedInstances,
            missing::Moment,
            observed::{Observed, Zones},
        },
        plan::pools::Places,
    },
};

/// What EC2 shows, and when the sweep was begun: not before `not_before`.
pub async fn observe<K: WorkerKind>(
    pass: &mut Pass<'_, K>,
    scope: Scope<'_>,
    ledger: &Ledger,
    not_before: Instant,
) -> Result<(Observed, Instant), Failure> {
    let Pass { ctx, session, owner, live, memory } = pass;
    let (memory, timings): (&mut Memory, _) = (memory.as_mut(), &ctx.config.timings);
    let ec2 = Ec2::new(session);
    let now = ctx.clock.monotonic();
    memory.follow(ledger, now);
    let snapshot = ctx.sweeps.instances(session, &owner.cluster, not_before).await?;
    let account = &live.object().workers_spec().aws.account_ref.name;
    let permits = ctx.accounts.permits(live, account)?;
    let granted = if ledger.adopted.is_empty() { TargetTags::default() } else { permits.target_tags() };
    let identities = Identities::new(owner, ledger, memory.revisions.launches()).granting(granted);
    let mut instances = ObservedInstances::default();
    snapshot.naming(owner).values().for_each(|instance| identities.sort(instance, &mut instances));
    let (begun, max_missing) = (snapshot.begun, scope.max_missing);
    let moment = Moment { begun, now, wall: ctx.clock.now(), timings, max_missing };
    let lost = resolve_missing(&ec2, live, ledger, memory, &mut instances, &identities, moment).await?;
    let wall = ctx.clock.now();
    lost.iter().for_each(|instance| memory.lost(instance, scope.places, (now, wall), timings));
    if scope.status_checks && !instances.shown.is_empty() {
        let checks = ctx.sweeps.status_checks(session, not_before).await?;
        for (id, worker) in &mut instances.shown {
            worker.checks_passed = checks.get(id) == Some(&true);
        }
    }
    for intent in ledger.launches.iter().filter(|intent| intent.instance_ids.is_empty()) {
        let request = memory.revisions.find(ctx, live, &intent.revision).await?;
        let may_be_sent = match request.filter(|_| intent.is_repeatable(&owner.name_tag(), ctx.clock.now())) {
            Some(request) => granted::check(ctx, (session, owner), &permits, intent, &request).await?.is_ok(),
            None => false,
        };
        if !may_be_sent {
            memory.cannot_be_repeated(&intent.token);
        }
    }
    // Those are searched for by token, once their full wait is over.
    let due = memory.searches(ctx.clock.monotonic(), timings);
    let found = if due.is_empty() { Vec::new() } else { ec2.find_by_token(&due).await? };
    for token in due {
        // Instances that are over were launched too: what replaces them counts as a replacement.
        let mut of_token: Vec<_> = found.iter().filter(|instance| instance.client_token == token.as_str()).collect();
        of_token.sort_by_key(|instance| instance.launch_index);
        memory.found(&token, of_token.into_iter().map(|instance| instance.id.clone()).collect());
    }
    let zones = zones(ctx, session, memory, scope.places).await;
    let feedback = memory.feedback(scope.revisions, now, timings);
    Ok((Observed { instances, zones, feedback }, begun))
}

/// Describes known instances by id that the sweep does not show. Returns those that were lost.
async fn resolve_missing<K: WorkerKind>(
    ec2: &Ec2,
    live: &Live<K>,
    ledger: &Ledger,
    memory: &mut Memory,
    instances: &mut ObservedInstances,
    identities: &Identities<'_>,
    moment: Moment<'_>,
) -> Result<Vec<Instance>, Failure> {
    let mut missing = memory.missing.missing(instances, ledger, || K::listed(&live.status()), moment);
    let mut asked = missing.asked.clone();
    asked.extend(memory.losses.untagged().cloned());
    let found = ec2.describe_by_id(&Vec::from_iter(asked)).await?;
    let withheld = found.values().flatten().filter(|instance| identities.is_withheld(instance));
    instances.withheld.extend(withheld.map(|instance| instance.id.clone()));
    missing.remove(&instances.withheld);
    let adopted = ledger.adopted();
    let is_owned = |instance: &Instance| identities.is_owned(instance);
    let is_over = |instance: &&Instance| instance.state.is_over();
    let shown = instances.shown.values().map(|worker| &worker.instance);
    let over = shown.chain(found.values().flatten().filter(|instance| is_owned(instance))).filter(is_over);
    let lost = memory.losses.note(over, &ledger.victims(), moment.now).into_iter().cloned().collect();
    // An adopted instance that is not owned belongs to another object that adopted it too.
    let untagged = |i: &&Instance| !i.state.is_over() && !adopted.contains(&i.id) && !is_owned(i);
    let untagged = found.values().flatten().filter(untagged).map(|instance| instance.id.clone());
    memory.losses.note_untagged(untagged.collect());
    memory.missing.conclude(missing, found, |instance| identities.described(instance), instances, ledger, moment);
    Ok(lost)
}

pub fn live_owner<K: WorkerKind>(ctx: &Context, live: &Live<K>) -> Owner {
    owner(ctx.config.cluster_name.clone(), live)
}

pub fn owner<K: WorkerKind>(cluster: String, live: &Live<K>) -> Owner {
    Owner {
        cluster,
        tag: const {
            match K::OWNER_TAG {
                Some(tag) => tag,
                None => panic!("a kind that runs workers has an owner tag"),
            }
        },
        namespace: live.namespace().into(),
        name: live.name().into(),
        uid: live.uid().clone(),
    }
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
