//! LaunchTemplatePin: this launch template follows the newest image, and these Auto Scaling groups follow it.
//!
//! ```text
//!   new image ──► version made ──► it is the default ──► groups name it ──► instances replaced ──► old versions deleted
//!                 (intent, token)  (idempotent)          (idempotent)       (found again by the     (never one in use)
//!                                                                            refresh before it)
//! ```
//!
//! Each arrow is a call whose intent is recorded first. Everything else follows from what AWS shows.

mod apply;
mod claims;
mod conditions;
mod desired;
mod found;
mod memory;
mod metrics;
mod notify;
mod observe;
mod observed;
mod plan;
mod preview;
#[cfg(test)]
mod simulation;
mod status;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    access::Claim,
    aws::{
        Aws, Session,
        autoscaling::{SUCCESSFUL, is_over},
        ec2::Ec2,
    },
    condition::{ConditionType, Reason, Verdict, second},
    crd::{
        fields::{PLAN_ONLY, is_plan_only},
        launch_template_pin::{LaunchTemplatePin, LaunchTemplatePinStatus, PinIntent},
    },
    ids::LaunchTemplateId,
    k8s::{
        live::{Live, REQUESTED_AT},
        object::{COMMON_LISTS, Object, StatusList},
    },
    kinds::launch_template_pin::{
        claims::Claims,
        desired::{Desired, desired},
        found::Found,
        memory::PinMemory,
        metrics::PinSeries,
        observe::{Freshness, Reader, moving, observe, read_refreshes, template_id},
        observed::Observed,
        plan::{
            Assessment, Call, PlanContext, calls,
            settle::{Age, Fate, Knowledge, settle},
            subject,
            target::target,
        },
    },
    reconcile::{
        Failure, Finalized, Forecast, Kind, Outcome,
        context::{Context, Demand},
    },
    tags::OWNER_UID_TAG,
};

/// How many times a reconcile looks, decides and acts.
const MOST_ROUNDS: usize = 4;

impl Object for LaunchTemplatePin {
    type Status = LaunchTemplatePinStatus;

    const NAME: &'static str = "LaunchTemplatePin";
    const FINALIZER: &'static str = "muster.dev/launchtemplatepin";
    const AWS_REFS: &'static [&'static str] = &["/aws"];
    const STATUS_LISTS: &'static [&'static [StatusList]] = &[
        COMMON_LISTS,
        &[
            StatusList::keyed("intents", "nonce"),
            StatusList::keyed("groups", "name"),
            StatusList::keyed("retained", "version"),
        ],
    ];

    fn status(&self) -> Option<&LaunchTemplatePinStatus> {
        self.status.as_ref()
    }

    fn suspended(&self) -> bool {
        self.spec.suspend
    }
}

impl Kind for LaunchTemplatePin {
    type Memory = PinMemory;
    type Shared = Shared;

    const UNKNOWN_WHILE_STALLED: &'static [ConditionType] = &[
        ConditionType::AmiResolved,
        ConditionType::TemplateUpdated,
        ConditionType::GroupsFollowing,
        ConditionType::Refreshing,
    ];

    fn shared(ctx: &Context) -> Shared {
        Shared { series: PinSeries::registered(&ctx.metrics), claims: Claims::default() }
    }

    fn check(live: &Live<Self>) -> Result<(), Failure> {
        desired(live).map(drop)
    }

    async fn reconcile(
        ctx: &Context,
        shared: &Shared,
        live: &mut Live<Self>,
        memory: &mut PinMemory,
    ) -> Result<Outcome<LaunchTemplatePinStatus>, Failure> {
        Box::pin(reconcile(ctx, shared, live, memory)).await
    }

    async fn preview(aws: &Aws, live: &Live<Self>) -> Result<Option<Forecast>, Failure> {
        Box::pin(preview::preview(aws, live)).await.map(Some)
    }

    async fn finalize(
        ctx: &Context,
        _: &Shared,
        live: &mut Live<Self>,
        memory: &mut PinMemory,
    ) -> Result<Finalized<LaunchTemplatePinStatus>, Failure> {
        let mut status = live.status();
        // What is recorded and not settled may still arrive at AWS.
        let (now, timings) = (ctx.clock.monotonic(), &ctx.config.timings);
        status.intents.retain(|intent| memory.age(intent, &ctx.holder, now, timings) == Age::Young);
        if !status.intents.is_empty() {
            let message = format!("{} calls to AWS are being settled", status.intents.len());
            let verdicts = vec![
                Verdict::new(ConditionType::Ready, false, Reason::Deleting, message.clone()),
                Verdict::new(ConditionType::Reconciling, true, Reason::Deleting, message),
            ];
            return Ok(Finalized::Waiting(Outcome { status, verdicts, requeue: timings.progress }));
        }
        let Some(id) = status.launch_template_id.and_then(|id| LaunchTemplateId::try_from(id).ok()) else {
            return Ok(Finalized::Done);
        };
        let session = ctx.authorize(live, &live.object().spec.aws, status.aws.as_ref(), &[]).await?;
        let ec2 = Ec2::new(&session);
        // AWS stays as it is, but the launch template is free for another object.
        match ec2.template_head(&id).await {
            Ok(head) if head.tags.get(OWNER_UID_TAG).is_some_and(|uid| uid == live.uid().as_str()) => {
                ec2.untag_template(&id, OWNER_UID_TAG, live.uid().as_str()).await?;
            }
            Err(error) if error.class != crate::aws::Class::NotFound => return Err(error.into()),
            Ok(_) | Err(_) => {}
        }
        Ok(Finalized::Done)
    }
}

/// What all objects share.
#[derive(Clone, Debug)]
pub struct Shared {
    series: PinSeries,
    claims: Claims,
}

fn claims(live: &Live<LaunchTemplatePin>) -> Vec<Claim> {
    let spec = &live.object().spec;
    let template = &spec.launch_template;
    let named = template.id.iter().chain(&template.name).cloned().map(Claim::LaunchTemplate);
    let parameter = template.id_from.iter().map(|from| Claim::ParameterPath(from.ssm_parameter.clone()));
    let groups = spec.auto_scaling_groups.iter().map(|group| Claim::AutoScalingGroup(group.name.clone()));
    let topic = spec.notify.iter().map(|notify| Claim::Topic(notify.sns.topic_arn.clone()));
    named.chain(parameter).chain(groups).chain(topic).collect()
}

async fn reconcile(
    ctx: &Context,
    shared: &Shared,
    live: &mut Live<LaunchTemplatePin>,
    memory: &mut PinMemory,
) -> Result<Outcome<LaunchTemplatePinStatus>, Failure> {
    let started = ctx.clock.monotonic();
    let desired = desired(live)?;
    let aws = live.object().spec.aws.clone();
    let session = ctx.authorize(live, &aws, live.status().aws.as_ref(), &claims(live)).await?;
    let account = aws.account_ref.name.clone();
    let is_plan_only = is_plan_only(live.annotation(PLAN_ONLY));
    let acts = !live.object().spec.suspend && !is_plan_only;
    let retries = retries(live, memory);
    let mut freshness = Freshness { not_before: not_before(ctx, live, started), own: is_refreshing(live) };
    let claims = acts.then_some(&shared.claims);
    let mut found = look(ctx, &session, live, (&desired, &account, claims), memory, (freshness, retries)).await?;
    for _ in 0..MOST_ROUNDS {
        if !acts || found.is_at_rest() {
            break;
        }
        // The sweeps may be older than the record that was read, so nothing is decided by them alone.
        if !freshness.own {
            freshness.own = true;
            found = look(ctx, &session, live, (&desired, &account, claims), memory, (freshness, retries)).await?;
            continue;
        }
        let Step { record, send } = found.step.clone();
        let template = &found.observed.template;
        Box::pin(apply::apply(ctx, &session, live, (&desired, template), memory, (record, send))).await?;
        found = look(ctx, &session, live, (&desired, &account, claims), memory, (freshness, retries)).await?;
    }
    memory.keep_seen(&live.status().intents);
    if live.is_reconcile_requested() {
        memory.retried_at = live.annotation(REQUESTED_AT).map(str::to_owned);
    }
    let Look { observed, assessment, planned, step } = found;
    let report = Found { desired: &desired, observed: &observed, assessment: &assessment, planned: &planned, acts };
    let plan = is_plan_only.then(|| preview::steps(live, &desired, &observed));
    // What was settled without a call is stored with the status.
    let before = if acts && step.send.is_empty() { step.record } else { live.status() };
    let mut outcome = status::outcome(ctx, live, (&report, before), memory, &session, plan);
    shared.series.show(live, &report, &outcome.status, &mut memory.shown);
    if acts {
        notify::notify(ctx, &session, live, (&desired, &report), memory, &mut outcome).await;
    }
    Ok(outcome)
}

/// What was found, and what to do.
struct Look {
    observed: Observed,
    assessment: Assessment,
    /// All calls that would be made now.
    planned: Vec<Call>,
    step: Step,
}

/// The record to write, and the nonces of its intents to send.
#[derive(Clone)]
struct Step {
    record: LaunchTemplatePinStatus,
    send: Vec<String>,
}

impl Look {
    fn is_at_rest(&self) -> bool {
        self.step.send.is_empty()
    }
}

async fn look(
    ctx: &Context,
    session: &Session,
    live: &Live<LaunchTemplatePin>,
    (desired, account, claims): (&Desired, &str, Option<&Claims>),
    memory: &mut PinMemory,
    (freshness, retries): (Freshness, bool),
) -> Result<Look, Failure> {
    let permits = ctx.accounts.permits(live, account)?;
    let reader = Reader::new(ctx);
    let id = template_id(&reader, session, live, &permits, freshness.not_before).await?;
    let mut observed = observe(&reader, session, live, (desired, &permits, &id), memory, freshness).await?;
    let place = (session.identity(), observed.template.id.clone());
    match claims {
        Some(claims) => observed.claimed_here = claims.claim(place, live.uid(), &mut memory.claim).err(),
        // Who changes nothing is in nobody's way.
        None => memory.claim = None,
    }
    let target = target(desired, &observed, &live.status(), live.uid(), ctx.clock.now());
    read_refreshes(session, live, desired, &mut observed, &target).await?;
    let (mut assessment, mut planned, mut step) = decide_now(ctx, live, (desired, &observed), memory, retries);
    if freshness.own && planned.iter().any(|call| matches!(call, Call::DeleteVersions(_))) {
        match moving(session, &observed).await {
            Ok(versions) => observed.of_groups.extend(versions),
            Err(error) => observed.unread_refreshes = Some(error),
        }
        (assessment, planned, step) = decide_now(ctx, live, (desired, &observed), memory, retries);
    }
    Ok(Look { observed, assessment, planned, step })
}

/// Decides with what this process remembers, and forgets what was refused and is not wanted any more.
fn decide_now(
    ctx: &Context,
    live: &Live<LaunchTemplatePin>,
    (desired, observed): (&Desired, &Observed),
    memory: &mut PinMemory,
    retries: bool,
) -> (Assessment, Vec<Call>, Step) {
    let monotonic = ctx.clock.monotonic();
    let (waits, refused) = (memory.waits(monotonic), memory.not_deletable(monotonic));
    let mut nonce = rand::random::<u64>;
    let mut context = PlanContext {
        uid: live.uid(),
        now: ctx.clock.now(),
        holder: &ctx.holder,
        nonce: &mut nonce,
        waits: &waits,
        refused: &refused,
        retries,
    };
    let mut known = |intent: &PinIntent| {
        let token_is_used = memory.used_tokens.contains(&intent.nonce);
        (memory.age(intent, &ctx.holder, monotonic, &ctx.config.timings), token_is_used)
    };
    let (assessment, planned, step) = decide(desired, observed, live.status(), &mut context, &mut known);
    let none = BTreeSet::new();
    let patient = PlanContext { waits: &none, ..context };
    let idle = LaunchTemplatePinStatus { intents: vec![], ..step.record.clone() };
    let wanted = calls(desired, observed, &idle, &assessment, &patient);
    let wanted = wanted.iter().map(Call::subject).chain(step.record.intents.iter().map(subject)).collect();
    memory.keep_refused(&wanted, &assessment.retention.surplus);
    (assessment, planned, step)
}

/// Settles the open intents, and adds those of the calls to make now. Pure.
fn decide(
    desired: &Desired,
    observed: &Observed,
    stored: LaunchTemplatePinStatus,
    context: &mut PlanContext<'_>,
    known: &mut dyn FnMut(&PinIntent) -> (Age, bool),
) -> (Assessment, Vec<Call>, Step) {
    let mut record = stored;
    let open = std::mem::take(&mut record.intents);
    let is_open = |name: &String| open.iter().any(|intent| intent.group.as_ref() == Some(name));
    record.groups.retain(|row| observed.groups.contains_key(&row.name) || is_open(&row.name));
    // What would be planned if nothing were open.
    let idle = Assessment::of(desired, observed, &record, context);
    let wanted = calls(desired, observed, &record, &idle, context);
    let mut send = Vec::new();
    for mut intent in open {
        let (age, token_is_used) = known(&intent);
        let is_wanted = wanted.iter().any(|call| call.subject() == subject(&intent) && call.is_as(&intent));
        let knowledge = Knowledge { age, is_wanted, token_is_used };
        match settle(&mut record, &intent, observed, context.uid, knowledge) {
            Fate::Over => {}
            Fate::Wait => record.intents.push(intent),
            Fate::Resend if context.waits.contains(&subject(&intent)) => record.intents.push(intent),
            Fate::Resend => {
                // Each repetition is written, so that whoever has read an older object gets a conflict.
                context.holder.clone_into(&mut intent.holder);
                intent.started_at = Time(second(context.now));
                send.push(intent.nonce.clone());
                record.intents.push(intent);
            }
        }
    }
    let assessment = Assessment::of(desired, observed, &record, context);
    let planned = calls(desired, observed, &record, &assessment, context);
    for call in &planned {
        call.note(&mut record, observed, context.now);
        let intent = call.intent(context);
        send.push(intent.nonce.clone());
        record.intents.push(intent);
    }
    (assessment, planned, Step { record, send })
}

/// After a change or a request the data must be new. At rest, all objects share one sweep per period.
fn not_before(ctx: &Context, live: &Live<LaunchTemplatePin>, started: Instant) -> Instant {
    let timings = &ctx.config.timings;
    let age = match ctx.demand(live) {
        Demand::Now => Duration::ZERO,
        Demand::None if live.status().intents.is_empty() => timings.sweep,
        Demand::Soon | Demand::None => timings.progress,
    };
    started.checked_sub(age).unwrap_or(started)
}

/// Whether a refresh is in progress, or what it left is not known yet: a shared sweep may be older than its end.
fn is_refreshing(live: &Live<LaunchTemplatePin>) -> bool {
    let groups = live.status().groups;
    groups.iter().filter(|group| group.refresh_id.is_some()).any(|group| match group.refresh_status.as_deref() {
        Some(SUCCESSFUL) => group.left.is_none(),
        status => !is_over(status),
    })
}

/// A request for a reconcile starts refreshes again that did not succeed, or left instances.
fn retries(live: &Live<LaunchTemplatePin>, memory: &PinMemory) -> bool {
    live.is_reconcile_requested() && memory.retried_at.as_deref() != live.annotation(REQUESTED_AT)
}
