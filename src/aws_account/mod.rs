//! AwsAccount: an identity in an AWS account, and what each namespace may do with it.
//!
//! An account is Ready once STS has answered through its role with the account in the role's ARN. Other kinds get a
//! session only from [`authorize`]; there is no fall-back to another identity.

mod accounts;
mod crd;
mod grants;
mod unowned;

use self::accounts::State;
pub use self::{
    accounts::{Accounts, Claim, authorize},
    crd::{AwsAccount, AwsAccountSpec, AwsAccountStatus, Grant, LabelGrant, NamespaceGrant},
};
use crate::{
    aws,
    condition::{ConditionType, Reason, Verdict},
    context::Context,
    ids::{Region, Uid},
    live::Live,
    reconcile::{Chain, Failure, Finalized, Kind, Outcome},
};

/// In place of a namespace, in the name of the role session that an account itself uses.
const OWN_SESSION: &str = "aws-account";
/// How many sweeps pass between two proofs of identity.
const PROOF_PERIOD_IN_SWEEPS: u32 = 10;

impl Kind for AwsAccount {
    type Status = AwsAccountStatus;
    const NAME: &'static str = "AwsAccount";
    const NAMESPACED: bool = false;
    const FINALIZER: &'static str = "muster.dev/awsaccount";
    const AWS_REFS: &'static [&'static str] = &[];

    fn status(&self) -> Option<&AwsAccountStatus> {
        self.status.as_ref()
    }

    fn suspended(&self) -> bool {
        self.spec.suspend
    }

    async fn reconcile(ctx: &Context, live: &mut Live<Self>) -> Result<Outcome<AwsAccountStatus>, Failure> {
        let account = live.object();
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
            // A passing fault takes nothing away from an identity that was proven.
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

    async fn finalize(ctx: &Context, live: &mut Live<Self>) -> Result<Finalized<AwsAccountStatus>, Failure> {
        // While it goes, those that need it for their own clean-up still do; a controller started now proves it again.
        let wait = |message: String| {
            Finalized::Waiting(Outcome {
                status: live.status(),
                verdicts: vec![Verdict::new(ConditionType::Ready, false, Reason::InUse, message)],
                requeue: ctx.config.timings.progress,
            })
        };
        let users = match ctx.references.to_account(live.name()) {
            Ok(users) => users,
            Err(_) => return Ok(wait("waiting to know which objects refer to it".into())),
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
        let shown = users.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        let more = users.len().saturating_sub(5);
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        Ok(wait(format!("kept while objects refer to it: {shown}{rest}; delete them or point them elsewhere")))
    }

    fn forget(ctx: &Context, uid: &Uid) {
        ctx.accounts.remove(uid);
    }
}

enum Unproven {
    /// Worth another try.
    ForNow(aws::Error),
    /// Somebody has to change something.
    Stays(Reason, String),
}

async fn prove(ctx: &Context, account: &AwsAccount, pinned: Option<&str>) -> Result<aws::Identity, Unproven> {
    let spec = &account.spec;
    let region = spec.regions.first().map(String::as_str).unwrap_or_default();
    let region = Region::try_from(region).map_err(|e| Unproven::Stays(Reason::InvalidSpec, e.to_string()))?;
    let role = spec.role_session(OWN_SESSION, &region);
    let identity = ctx.aws.identity(role.as_ref(), &region).await.map_err(|error| match error.class {
        aws::Class::Denied | aws::Class::InvalidInput | aws::Class::NotFound => {
            let hint = match &spec.role_arn {
                Some(role) => format!("; let muster's identity take on {role} in the role's trust policy"),
                None => "; give muster credentials, or name a role in spec.roleARN".into(),
            };
            Unproven::Stays(Reason::AwsDenied, format!("{}{hint}", Chain(&error)))
        }
        aws::Class::Throttled | aws::Class::NoCapacity | aws::Class::Conflict | aws::Class::Transient => {
            Unproven::ForNow(error)
        }
    })?;
    spec.expects(&identity).map_err(|message| Unproven::Stays(Reason::WrongAccount, message))?;
    if let Some(pinned) = pinned
        && pinned != identity.account.as_str()
    {
        let message = format!(
            "this AwsAccount was account {pinned} and its identity is now in {}; make a new AwsAccount",
            identity.account
        );
        return Err(Unproven::Stays(Reason::AccountChanged, message));
    }
    Ok(identity)
}
