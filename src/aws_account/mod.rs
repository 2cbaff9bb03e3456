//! AwsAccount: this identity in this account, and what each namespace may do with it.

mod crd;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

pub use self::crd::{AwsAccount, AwsAccountSpec, AwsAccountStatus, Grant, NamespaceGrant};
use crate::{
    aws::Session,
    context::Context,
    fields::{AwsRef, AwsStatus},
    reconcile::Failure,
};

/// The AwsAccounts as last seen, and who they proved to be.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    proven: Arc<Mutex<HashMap<String, ()>>>,
}

/// What an object is about to use in an account. What no grant names is refused before any call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Claim {
    InstanceProfile(String),
    Bucket(String),
}

/// The session for an object of kind `kind` in `namespace`. No account, no grant: no call.
///
/// `pinned` is `status.aws` of the object. An account or region that differs from it is refused.
///
/// # Errors
/// [`Failure::Missing`] while the AwsAccount does not exist or has not proven its identity; [`Failure::Refused`] when it
/// does not grant what is asked, with the line to add, or when it is another account than the pinned one.
pub async fn authorize(
    ctx: &Context,
    kind: &str,
    namespace: &str,
    aws: &AwsRef,
    pinned: Option<&AwsStatus>,
    claims: &[Claim],
) -> Result<Session, Failure> {
    let _ = (ctx, kind, namespace, aws, pinned, claims);
    Err(Failure::InvalidSpec("not yet".into()))
}
