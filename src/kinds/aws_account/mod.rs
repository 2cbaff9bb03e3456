//! AwsAccount: an identity in an AWS account, and what namespaces may use it for.
//!
//! An account is Ready once STS has confirmed that its role is in the account of its ARN. Other kinds get a session
//! only from [`Context::authorize`]; there is no fallback to another identity.

mod identity;
mod unowned;

use crate::{
    access::{Entry, State},
    condition::{ConditionType, Reason, Verdict},
    config::Config,
    crd::aws_account::{AwsAccount, AwsAccountStatus},
    error_chain::Chain,
    ids::list,
    k8s::{
        live::Live,
        object::{COMMON_LISTS, Object, StatusList},
    },
    kinds::aws_account::identity::{PROOF_PERIOD_IN_SWEEPS, Unproven, prove},
    reconcile::{Failure, Finalized, Kind, Outcome, context::Context},
};

impl Object for AwsAccount {
    type Status = AwsAccountStatus;

    const NAME: &'static str = "AwsAccount";
    const NAMESPACED: bool = false;
    const FINALIZER: &'static str = "muster.dev/awsaccount";
    const AWS_REFS: &'static [&'static str] = &[];
    const STATUS_LISTS: &'static [&'static [StatusList]] = &[COMMON_LISTS];

    fn status(&self) -> Option<&AwsAccountStatus> {
        self.status.as_ref()
    }

    fn suspended(&self) -> bool {
        self.spec.suspend
    }
}

impl Kind for AwsAccount {
    /// The entry through which other objects use the account. It is removed with the object.
    type Memory = Option<Entry>;
    type Shared = ();

    fn shared(_: &Context) {}

    fn selector(config: &Config) -> Option<&str> {
        config.account_selector.as_deref()
    }

    async fn reconcile(
        ctx: &Context,
        (): &(),
        live: &mut Live<Self>,
        entry: &mut Option<Entry>,
    ) -> Result<Outcome<AwsAccountStatus>, Failure> {
        let account = live.object();
        entry.get_or_insert_with(|| ctx.accounts.entry(live.uid()));
        ctx.accounts.renew(account);
        let mut status = live.status();
        let proof = prove(ctx, account, status.account_id.as_deref()).await;
        let ready = |truth, reason, message| Verdict::new(ConditionType::Ready, truth, reason, message);
        let (state, verdicts) = match proof {
            Ok(identity) => {
                status.account_id = Some(identity.account.to_string());
                let mut verdicts = vec![ready(true, Reason::IdentityVerified, format!("acts as {}", identity.arn))];
                verdicts.extend(unowned::verdict(ctx, account, &identity.account, &status.common.conditions).await);
                (State::Proven(identity.account), verdicts)
            }
            // A temporary error does not revoke a proven identity.
            Err(Unproven::ForNow(error)) if ctx.accounts.is_proven(live.name()) => return Err(error.into()),
            Err(Unproven::ForNow(error)) => {
                ctx.accounts.set(account, State::Unproven(Chain(&error).to_string()));
                return Err(error.into());
            }
            Err(Unproven::Stays(reason, message)) => {
                let stalled = Verdict::new(ConditionType::Stalled, true, reason, message.clone());
                (State::Unproven(message.clone()), vec![ready(false, reason, message), stalled])
            }
        };
        ctx.accounts.set(account, state);
        let requeue = live.spread(ctx.config.timings.sweep * PROOF_PERIOD_IN_SWEEPS);
        Ok(Outcome { status, verdicts, requeue })
    }

    async fn finalize(
        ctx: &Context,
        (): &(),
        live: &mut Live<Self>,
        entry: &mut Option<Entry>,
    ) -> Result<Finalized<AwsAccountStatus>, Failure> {
        entry.get_or_insert_with(|| ctx.accounts.entry(live.uid()));
        // Other objects still need the account for their clean-up, so a controller that has just started proves it
        // again.
        let wait = |message: String| {
            Finalized::Waiting(Outcome {
                status: live.status(),
                verdicts: vec![Verdict::new(ConditionType::Ready, false, Reason::InUse, message)],
                requeue: ctx.config.timings.progress,
            })
        };
        // Anybody who may create an object can refer to the account. Only an object that is granted something needs it.
        let is_granted = |kind: &str, namespace: &str| ctx.accounts.lets(&live.object().spec, kind, namespace);
        let Ok(users) = ctx.references.to_account(live.name(), is_granted) else {
            let message = "The caches are not filled yet, so it is not known which objects refer to this AwsAccount";
            return Ok(wait(message.into()));
        };
        if users.is_empty() {
            return Ok(Finalized::Done);
        }
        ctx.accounts.renew(live.object());
        if !ctx.accounts.is_proven(live.name())
            && let Ok(identity) = prove(ctx, live.object(), live.status().account_id.as_deref()).await
        {
            ctx.accounts.set(live.object(), State::Proven(identity.account));
        }
        Ok(wait(format!(
            "The finalizer stays while objects that its grants cover refer to this AwsAccount: {}. Delete them, or \
             change their accountRef",
            list(users.iter(), 5)
        )))
    }
}
