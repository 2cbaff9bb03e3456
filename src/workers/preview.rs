//! What would be done, told instead of done.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ids::{InstanceId, list},
    workers::{
        draft::{Action, Pass, Plan},
        indexes::clip,
        ledger::Ledger,
    },
};

/// With the value `true`: tell what would be done in `status.plan`, and do nothing.
pub const PLAN_ONLY: &str = "muster.dev/plan-only";

/// So many steps of a plan are shown.
const SHOWN: usize = 32;
/// So many ids are named in one.
const NAMED: usize = 20;

/// Whether the value of the annotation asks for the plan instead of the deed.
pub fn is_plan_only(annotation: Option<&str>) -> bool {
    annotation == Some("true")
}

/// What muster would do, were it not for the annotation `muster.dev/plan-only`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Preview {
    /// The steps that would be taken now, each in a line. Empty when there is nothing to do.
    #[schemars(length(max = 32), inner(length(max = 1024)), extend("x-kubernetes-list-type" = "atomic"))]
    pub steps: Vec<String>,
    /// True when there are more steps than are shown.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

impl Preview {
    fn new(mut steps: Vec<String>, truncated: bool) -> Self {
        let truncated = truncated || steps.len() > SHOWN;
        steps.truncate(SHOWN);
        Self { steps, truncated }
    }

    /// With a step before the others.
    pub fn begin_with(&mut self, step: String) {
        let Self { steps, truncated } = std::mem::take(self);
        *self = Self::new([step].into_iter().chain(steps).collect(), truncated);
    }
}

/// What `plan` comes to in a pass like `pass`, without anything that is drawn for it being used up.
pub fn dry<T>(pass: &Pass<'_>, plan: impl FnOnce(&mut Pass<'_>) -> T) -> T {
    let mut nonce = || 0;
    plan(&mut Pass { now: pass.now, holder: pass.holder, nonce: &mut nonce })
}

/// The steps in words of a plan that was made from the record `before` once the machines in `taken` are taken over.
pub fn preview(taken: &[InstanceId], before: &Ledger, plan: &Plan) -> Preview {
    let mut steps = Vec::new();
    if !taken.is_empty() {
        steps.push(format!("take over {}", list(taken.iter(), NAMED)));
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
            steps.push(format!("end {} ({:?})", list(new.into_iter(), NAMED), termination.reason));
        }
    }
    Preview::new(steps, false)
}
