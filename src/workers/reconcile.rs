//! The reconcile of all kinds that run workers.

use crate::{
    crd::{
        fields::{PLAN_ONLY, is_plan_only},
        workers_status::WorkersStatus,
    },
    k8s::live::Live,
    reconcile::{Failure, Outcome, context::Context},
    workers::{
        kind::{Pass, Round, Scope, WorkerKind, WorkersSpec, not_stored},
        launch_spec::{self, DesiredWorkers, LaunchSpecs},
        memory::Memory,
        observe::live_owner,
        parameters::{self, Ask, Held, Site},
    },
};

pub async fn reconcile<K: WorkerKind>(
    ctx: &Context,
    shared: &K::Shared,
    live: &mut Live<K>,
    memory: &mut K::Memory,
) -> Result<Outcome<K::Status>, Failure> {
    let object = live.object().clone();
    let WorkersSpec { aws, suspend, parameters, role_parameters, claims, revision_history } = object.workers_spec();
    let owner = live_owner(ctx, live);
    let pinned = live.status().as_ref().aws.clone();
    let session = ctx.authorize(live, aws, pinned.as_ref(), &claims).await?;
    memory.as_mut().revisions.follow(&live.status().as_ref().revisions);
    memory.as_mut().revisions.check_cluster(ctx, live).await?;

    let held = Held::of(suspend, is_plan_only(live.annotation(PLAN_ONLY)));
    let earlier = K::adopted_owners(live);
    let site = Site { ctx, session: &session, owner: &owner };
    let ask = Ask { site, parameters, roles: role_parameters, earlier: &earlier, held };
    let synced = parameters::sync(live, &ask, &mut memory.as_mut().parameters).await?;
    let mut desired = K::desired(live, owner.clone(), synced)?;

    let mut pass = Pass { ctx, session: &session, owner: &owner, live, memory };
    resolve(&mut pass, &mut desired, &aws.account_ref.name).await?;
    let inputs = K::look_up(&mut pass, shared, &desired).await?;
    let recorded = K::ledger(&pass.live.status());
    let launch_specs = LaunchSpecs::of(desired.roles());
    let scope = Scope::of(&desired, &launch_specs);
    let found = pass.rounds(scope, |(observed, observation, ledger), memory, context| {
        let round = Round { desired: &desired, inputs: &inputs, observed, observation, ledger };
        let assessment = K::assess(&round, memory, context);
        (K::plan(&round, &assessment, context), Some(assessment))
    });
    let found = found.await?;

    let again = K::follow_up(&mut pass, &desired, &recorded, &found).await;
    let in_use = pass.prune(&found, &launch_specs.revisions, revision_history).await?;
    desired.roles().iter().for_each(|role| role.resolved.doubt(ctx, &session, &found.observed.feedback));
    let mut outcome = K::outcome(&mut pass, &desired, &found);
    let status: &mut WorkersStatus = outcome.status.as_mut();
    let recorded = std::mem::take(&mut status.revisions);
    let named = &found.ledger.revisions() | &launch_specs.revisions;
    status.revisions = pass.memory.as_mut().revisions.kept(recorded, &named);
    if again {
        outcome.requeue = outcome.requeue.min(ctx.config.timings.progress);
    }
    let synced = desired.parameters().clone();
    parameters::conclude(pass.live, &ask, in_use.as_ref(), synced, &mut outcome).await?;
    Ok(outcome)
}

/// Resolves the template of each role, and stores the resulting revisions.
async fn resolve<K: WorkerKind>(
    pass: &mut Pass<'_, K>,
    desired: &mut K::Desired,
    account: &str,
) -> Result<(), Failure> {
    let not_before = pass.live.is_reconcile_requested().then(|| pass.ctx.clock.monotonic());
    for at in 0..desired.roles().len() {
        let role = &desired.roles()[at];
        let parameters = desired.parameters().reference(role.role.as_str());
        let workers = launch_spec::revision::Workers {
            owner: pass.owner,
            role: &role.role,
            template: &role.template,
            parameters,
        };
        let Memory { launch_specs, zones, revisions, .. } = pass.memory.as_mut();
        let permits = pass.ctx.accounts.permits(pass.live, account)?;
        let access = (pass.session, &permits);
        let mut resolved =
            launch_spec::resolved(pass.ctx, access, workers, not_before, (launch_specs, zones), revisions).await;
        if let Some(launch_spec) = &mut resolved.launch_spec {
            desired.adjust(&mut launch_spec.revision);
        }
        desired.roles_mut()[at].resolved = resolved;
    }
    store(pass, desired).await
}

/// Stores the revisions of all roles that resolve now, after their digests are recorded.
async fn store<K: WorkerKind>(pass: &mut Pass<'_, K>, desired: &K::Desired) -> Result<(), Failure> {
    let Pass { ctx, live, memory, .. } = pass;
    let memory: &mut Memory = memory.as_mut();
    let revisions = &mut memory.revisions;
    // One that does not resolve now is stored already.
    let rendered = desired.roles().iter().filter(|role| role.resolved.unresolved.is_none());
    let rendered: Vec<_> = rendered.filter_map(|role| Some(&role.resolved.launch_spec.as_ref()?.revision)).collect();
    let new: Vec<_> = rendered.iter().map(|revision| revisions.unrecorded(revision)).collect::<Result<_, _>>()?;
    let new: Vec<_> = new.into_iter().flatten().collect();
    if !new.is_empty() {
        let mut status = live.status();
        let workers: &mut WorkersStatus = status.as_mut();
        workers.revisions.retain(|recorded| new.iter().all(|new| new.name != recorded.name));
        workers.revisions.extend(new.clone());
        workers.revisions.sort_by(|a, b| a.name.cmp(&b.name));
        let answer = live.record(&ctx.cluster, status).await?;
        let stored = &answer.status().as_ref().revisions;
        if !new.iter().all(|new| stored.contains(new)) {
            return Err(not_stored::<K>());
        }
        revisions.follow(stored);
    }
    for revision in rendered {
        revisions.ensure(ctx, live, revision, K::FIELD_MANAGER).await?;
    }
    Ok(())
}
