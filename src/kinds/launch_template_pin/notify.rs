//! Tells a topic of SNS what somebody should know, at least once: what was sent is recorded afterwards.

use std::collections::BTreeMap;

use crate::{
    aws::{
        Session,
        sns::{Notification, publish},
    },
    condition::{ConditionType, Reason, Verdict},
    crd::launch_template_pin::{LaunchTemplatePin, LaunchTemplatePinStatus, PinNotice},
    k8s::live::Live,
    kinds::launch_template_pin::{
        desired::{Desired, Topic},
        found::Found,
        memory::PinMemory,
        plan::groups::GroupState,
    },
    reconcile::{Outcome, context::Context},
};

/// How many notifications the status remembers.
const MOST: usize = 64;

pub(super) async fn notify(
    ctx: &Context,
    session: &Session,
    live: &Live<LaunchTemplatePin>,
    (desired, found): (&Desired, &Found<'_>),
    memory: &mut PinMemory,
    outcome: &mut Outcome<LaunchTemplatePinStatus>,
) {
    let Some(Topic { arn, events }) = &desired.topic else {
        memory.notified();
        return;
    };
    let mut notices = notices(found, outcome);
    notices.retain(|_, (notice, _)| events.contains(notice));
    // What is over may be told again when it happens again.
    outcome.status.notified.retain(|key| notices.contains_key(key));
    notices.retain(|key, _| !outcome.status.notified.contains(key));
    let room = MOST.saturating_sub(outcome.status.notified.len());
    let notices: BTreeMap<_, _> = notices.into_iter().take(room).collect();
    let now = ctx.clock.monotonic();
    if notices.is_empty() {
        memory.notified();
    }
    if memory.notify_waits(now) {
        return;
    }
    for (key, (notice, text)) in notices {
        let name = format!("{}/{}", live.namespace(), live.name());
        let subject = format!("LaunchTemplatePin {name}: {notice:?}");
        let body = serde_json::json!({
            "kind": "LaunchTemplatePin",
            "namespace": live.namespace(),
            "name": live.name(),
            "cluster": ctx.config.cluster_name,
            "event": format!("{notice:?}"),
            "launchTemplateID": outcome.status.launch_template_id,
            "message": text,
        });
        // Another one after it was over has another generation.
        let key_of_all = format!("{}-{}-{key}", live.uid(), live.generation());
        let notification = Notification {
            topic: arn,
            subject: &subject,
            body: &body.to_string(),
            object: live.uid(),
            key: &key_of_all,
        };
        match publish(session, &notification).await {
            Ok(()) => {
                memory.notified();
                outcome.status.notified.push(key);
            }
            Err(error) => memory.not_notified(error, now, &ctx.config.timings),
        }
    }
}

/// What there is to tell: a key that is the same while it lasts, and the text.
fn notices(found: &Found<'_>, outcome: &Outcome<LaunchTemplatePinStatus>) -> BTreeMap<String, (PinNotice, String)> {
    let message = |of: ConditionType| {
        outcome.verdicts.iter().find(|verdict| verdict.condition == of).map(|verdict| verdict.message.clone())
    };
    let mut notices = BTreeMap::new();
    if let (Some(to), Some(text)) = (found.desired.rollback_to, message(ConditionType::RolledBack)) {
        notices.insert(format!("RolledBack-{to}"), (PinNotice::RolledBack, text));
    }
    for group in &outcome.status.groups {
        let state = found.assessment.findings.get(&group.name).map(|finding| &finding.state);
        if let (Some(GroupState::RefreshFailed(why)), Some(id)) = (state, &group.refresh_id) {
            let text = format!("the instance refresh {id} of Auto Scaling group {} ended as {why}", group.name);
            notices.insert(format!("Failed-{id}"), (PinNotice::Failed, text));
        }
    }
    let is_stalled = |verdict: &&Verdict| verdict.condition == ConditionType::Stalled;
    // A refresh that failed is told already.
    let stalled = outcome.verdicts.iter().find(is_stalled).filter(|verdict| verdict.reason != Reason::RefreshFailed);
    if let Some(verdict) = stalled {
        let key = format!("Blocked-{}", verdict.reason.as_str());
        notices.insert(key, (PinNotice::Blocked, verdict.message.clone()));
    }
    notices
}
