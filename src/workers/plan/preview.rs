//! Describes a plan in words instead of applying it.

use crate::{
    crd::{fields::Preview, indexes::clip},
    ids::{InstanceId, list},
    workers::{
        ledger::Ledger,
        plan::{Action, Plan, PlanContext},
    },
};

/// How many ids a step names.
const NAMED: usize = 20;

/// Runs `plan` in a copy of `context` that does not draw nonces.
pub fn dry<T>(context: &PlanContext<'_>, plan: impl FnOnce(&mut PlanContext<'_>) -> T) -> T {
    let mut nonce = || 0;
    plan(&mut PlanContext { now: context.now, holder: context.holder, nonce: &mut nonce })
}

/// Describes the adoption of `adopted`, and then `plan`, which was made from the record `before`.
pub fn preview(adopted: &[InstanceId], before: &Ledger, plan: &Plan) -> Preview {
    let mut steps = Vec::new();
    if !adopted.is_empty() {
        steps.push(format!("adopt {}", list(adopted.iter(), NAMED)));
    }
    for action in &plan.actions {
        match action {
            Action::Launch(intent) => {
                let what = match &intent.indexes {
                    Some(indexes) => format!("for the indexes {}", clip(&indexes.to_string())),
                    None => format!("of role {}", intent.role),
                };
                steps.push(format!(
                    "launch {} {} {what} in {} from {}",
                    intent.count, intent.instance_type, intent.subnet, intent.image_id
                ));
            }
            Action::Terminate(_) => {}
        }
    }
    let known = before.victims();
    for termination in &plan.ledger.terminations {
        let new: Vec<_> = termination.instance_ids.iter().filter(|id| !known.contains(id)).collect();
        if !new.is_empty() {
            steps.push(format!("terminate {} ({:?})", list(new.into_iter(), NAMED), termination.reason));
        }
    }
    Preview::new(steps, false)
}
