//! Sends what the plan asks for, each call after its intent is recorded.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use crate::{
    aws::{
        Class, Error, Session,
        autoscaling::{AutoScaling, Preferences, group::Aim},
        ec2::{
            Ec2,
            template_versions::{Deleted, TemplateHead},
        },
    },
    clock::{Clock, Timings},
    crd::launch_template_pin::{LaunchTemplatePin, LaunchTemplatePinStatus, PinIntent, PinOperation},
    k8s::live::Live,
    kinds::launch_template_pin::{
        desired::Desired,
        memory::PinMemory,
        observe::of_groups,
        plan::{
            settle::{cancelled, description, started},
            subject,
        },
    },
    reconcile::{Failure, context::Context},
    tags::OWNER_UID_TAG,
    write_ahead::Acknowledged,
};

/// What the response to a call means.
pub(super) enum Effect {
    /// It took effect, and AWS shows that at once or it does not matter.
    Done,
    CreatedVersion(i64, Vec<String>),
    StartedRefresh(String),
    Deleted(BTreeMap<i64, Deleted>),
}

/// Writes `record`, which contains the intents with the nonces `send`, sends them, and writes what became of them.
///
/// # Errors
/// When the status cannot be written: nothing was sent, or the next reconcile settles what was.
pub(super) async fn apply(
    ctx: &Context,
    session: &Session,
    live: &mut Live<LaunchTemplatePin>,
    (desired, template): (&Desired, &TemplateHead),
    memory: &mut PinMemory,
    (mut record, send): (LaunchTemplatePinStatus, Vec<String>),
) -> Result<(), Failure> {
    record.aws = Some(session.place());
    record.launch_template_id = Some(template.id.to_string());
    let earlier: BTreeSet<_> = live.status().intents.into_iter().map(|intent| intent.nonce).collect();
    let acknowledged = live.record(&ctx.cluster, record).await?;
    let timings = &ctx.config.timings;
    for nonce in send {
        let recorded = acknowledged.status().intents.iter().find(|intent| intent.nonce == nonce).cloned();
        let confirmed = recorded.and_then(|intent| {
            acknowledged.confirm(intent, |status| status.intents.iter().find(|intent| intent.nonce == nonce))
        });
        let Some(intent) = confirmed else { continue };
        let budget = match intent.sendable(ctx.clock.monotonic(), &ctx.leadership, timings) {
            Ok(budget) => budget,
            Err(error) => {
                tracing::debug!(%error, "a recorded call was not sent");
                continue;
            }
        };
        let outcome = Box::pin(send_one(session, live, (desired, template), &intent, budget)).await;
        memory.doubt();
        let now = ctx.clock.monotonic();
        let call = (intent.intent(), earlier.contains(&nonce));
        let Some(after) = answered(live.status(), call, outcome, memory, (now, timings)) else { continue };
        live.record(&ctx.cluster, after).await?;
    }
    Ok(())
}

/// The record after the response to the call of `intent`; `None` while its outcome is not known. `resent`: it may have been
/// sent before. Pure, but for `memory`.
pub(super) fn answered(
    mut after: LaunchTemplatePinStatus,
    (intent, resent): (&PinIntent, bool),
    outcome: Result<Effect, Error>,
    memory: &mut PinMemory,
    (now, timings): (Instant, &Timings),
) -> Option<LaunchTemplatePinStatus> {
    let about = subject(intent);
    memory.sent(intent, now);
    match outcome {
        Ok(effect) => {
            memory.succeeded(&about);
            take_effect(&mut after, intent, effect, memory, |memory, version, why| {
                memory.undeleted(version, why, now, timings);
            });
        }
        // It may have taken effect.
        Err(error) if error.class == Class::Transient => {
            tracing::debug!(%error, "the outcome of a call is not known");
            memory.refused(about, error, now, timings);
            return None;
        }
        // The token was used: an earlier call took effect, and EC2 does not show the version yet.
        Err(error) if error.class == Class::Conflict && makes_version(intent) => {
            memory.used_tokens.insert(intent.nonce.clone());
            return None;
        }
        Err(error) => {
            memory.refused(about, error, now, timings);
            // The refusal is not about an earlier call, which may have taken effect and is not shown yet.
            let is_certain =
                !resent || !matches!(intent.operation, PinOperation::CreateVersion | PinOperation::StartRefresh);
            after.intents.retain(|open| open.nonce != intent.nonce || !is_certain);
        }
    }
    Some(after)
}

async fn send_one(
    session: &Session,
    live: &Live<LaunchTemplatePin>,
    (desired, template): (&Desired, &TemplateHead),
    acknowledged: &Acknowledged<PinIntent>,
    budget: std::time::Duration,
) -> Result<Effect, Error> {
    let (ec2, auto_scaling) = (Ec2::new(session), AutoScaling::new(session));
    let intent = acknowledged.intent();
    let aim = |version| Aim { template: &template.id, name: &template.name, version };
    match intent.operation {
        PinOperation::Claim => {
            let claim = async {
                // Another object may have claimed it since.
                let head = ec2.template_head(&template.id).await?;
                match head.tags.get(OWNER_UID_TAG) {
                    Some(uid) if uid != live.uid().as_str() => Err(taken()),
                    Some(_) | None => ec2.tag_template(&template.id, OWNER_UID_TAG, live.uid().as_str()).await,
                }
            };
            let answer = tokio::time::timeout(budget, claim).await;
            answer.unwrap_or_else(|_| Err(Error::timed_out("ec2:CreateTags")))?;
            Ok(Effect::Done)
        }
        PinOperation::CreateVersion => {
            let description = description(live.uid(), intent);
            let call = ec2.create_template_version(&template.id, &description, acknowledged, budget);
            let made = Box::pin(call).await?;
            Ok(Effect::CreatedVersion(made.0, made.1))
        }
        PinOperation::SetDefault => {
            ec2.set_default_version(&template.id, acknowledged, budget).await?;
            Ok(Effect::Done)
        }
        PinOperation::DeleteVersions => {
            let end = Clock.monotonic() + budget;
            // A group may have begun to name a version since it was looked at.
            let groups = tokio::time::timeout(budget, auto_scaling.groups()).await;
            let groups = groups.unwrap_or_else(|_| Err(Error::timed_out("autoscaling:DescribeAutoScalingGroups")))?;
            let used = of_groups(template, groups.iter());
            if let Some(version) = intent.versions.iter().find(|version| used.contains(version)) {
                return Err(in_use(*version));
            }
            let left = end.saturating_duration_since(Clock.monotonic());
            Ok(Effect::Deleted(ec2.delete_template_versions(&template.id, acknowledged, left).await?))
        }
        PinOperation::UpdateGroup => {
            let version = intent.follow.as_deref().unwrap_or("$Default");
            Box::pin(auto_scaling.update_group(acknowledged, &aim(version), budget)).await?;
            Ok(Effect::Done)
        }
        PinOperation::StartRefresh => {
            let aim = intent.follow.as_deref().map(aim);
            let preferences = desired.refresh.clone().unwrap_or_default();
            // AWS can go back only to the version that the group keeps until the refresh succeeds.
            let auto_rollback = preferences.auto_rollback && aim.is_some();
            let preferences = Preferences { auto_rollback, ..preferences };
            let id = auto_scaling.start_refresh(acknowledged, aim.as_ref(), &preferences, budget).await?;
            Ok(Effect::StartedRefresh(id))
        }
        PinOperation::CancelRefresh => {
            let cancelled = auto_scaling.cancel_refresh(acknowledged, budget).await?;
            if let Some(other) = cancelled.filter(|id| intent.refresh_id.as_ref() != Some(id)) {
                let group = intent.group.as_deref().unwrap_or_default();
                tracing::warn!(group, refresh = other, "a refresh that had just begun was cancelled instead");
            }
            Ok(Effect::Done)
        }
    }
}

fn in_use(version: i64) -> Error {
    Error {
        operation: "ec2:DeleteLaunchTemplateVersions",
        class: Class::Conflict,
        code: "InUse".into(),
        message: format!("an Auto Scaling group has just begun to use version {version}"),
    }
}

fn taken() -> Error {
    Error {
        operation: "ec2:CreateTags",
        class: Class::Conflict,
        code: "Claimed".into(),
        message: "another object has just claimed the launch template".into(),
    }
}

fn makes_version(intent: &PinIntent) -> bool {
    intent.operation == PinOperation::CreateVersion
}

fn take_effect(
    after: &mut LaunchTemplatePinStatus,
    intent: &PinIntent,
    effect: Effect,
    memory: &mut PinMemory,
    undeleted: impl Fn(&mut PinMemory, i64, String),
) {
    match effect {
        // It stays open until EC2 shows the version.
        Effect::CreatedVersion(version, warnings) => {
            memory.warnings = warnings;
            for open in after.intents.iter_mut().filter(|open| open.nonce == intent.nonce) {
                open.created_version = Some(version);
            }
            return;
        }
        Effect::StartedRefresh(id) => {
            started(after, intent.group.as_deref().unwrap_or_default(), &id, intent.version);
        }
        Effect::Deleted(outcomes) => {
            for (version, outcome) in outcomes {
                match outcome {
                    Deleted::Gone => memory.deleted(version),
                    Deleted::Refused(why) => undeleted(memory, version, why),
                }
            }
        }
        Effect::Done if intent.operation == PinOperation::CancelRefresh => cancelled(after, intent),
        Effect::Done => {}
    }
    after.intents.retain(|open| open.nonce != intent.nonce);
}
