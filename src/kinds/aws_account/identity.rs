//! The identity of an AwsAccount, as STS reports it.

use crate::{
    access::role_session,
    aws::{self, Identity, advice},
    condition::Reason,
    crd::aws_account::AwsAccount,
    error_chain::Chain,
    ids::Region,
    reconcile::context::Context,
};

/// The role session that the account itself uses, instead of that of a namespace, whose name has no dot.
pub(super) const OWN_SESSION: &str = "aws.account";

/// The number of sweeps between two checks of the identity.
pub(super) const PROOF_PERIOD_IN_SWEEPS: u32 = 10;

pub(super) enum Unproven {
    /// It may be temporary.
    ForNow(aws::Error),
    /// It stays until a user changes something.
    Stays(Reason, String),
}

pub(super) async fn prove(ctx: &Context, account: &AwsAccount, pinned: Option<&str>) -> Result<Identity, Unproven> {
    let spec = &account.spec;
    let region = spec.regions.first().map(String::as_str).unwrap_or_default();
    let region = Region::try_from(region).map_err(|e| Unproven::Stays(Reason::InvalidSpec, e.to_string()))?;
    let role = role_session(spec, OWN_SESSION, &region);
    let identity = ctx.aws.identity(role.as_ref(), &region).await.map_err(|error| {
        if !advice::stalls(&error) {
            return Unproven::ForNow(error);
        }
        let allow = match &spec.role_arn {
            Some(role) => format!("allow muster's identity to assume {role} in the trust policy of that role"),
            None => "give muster AWS credentials, or name a role in spec.roleARN".to_owned(),
        };
        let remedy =
            advice::Remedy { denied: Some(allow.clone()), not_found: Some(allow.clone()), invalid: Some(allow) };
        Unproven::Stays(Reason::AwsDenied, format!("{}{}", Chain(&error), advice::advice(&error, &remedy)))
    })?;
    let account = identity.account.as_str();
    let of_role = spec.role_arn.as_ref().map(|role| role.split(':').nth(4).unwrap_or("the one in its ARN"));
    if let Some(expected) = of_role.filter(|expected| *expected != account) {
        let message = format!("the role is in account {expected}, not in {account}");
        return Err(Unproven::Stays(Reason::WrongAccount, message));
    }
    if let Some(pinned) = pinned
        && pinned != account
    {
        let message = format!(
            "this AwsAccount was in account {pinned}, but its identity is now in {account}; create a new AwsAccount"
        );
        return Err(Unproven::Stays(Reason::AccountChanged, message));
    }
    Ok(identity)
}
