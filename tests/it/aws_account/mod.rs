//! AwsAccount: whose credentials are used, for whom, and until when.

mod buckets;
mod grants;
mod identity;
mod orphaned_instances;
mod revoked_credentials;
mod two_roles;

use kube::Api;
use muster::crd::aws_account::AwsAccount;

use crate::support::scene::{self, Scene, condition};

fn is(account: &AwsAccount, type_: &str, status: &str, reason: &str) -> bool {
    let conditions = account.status.iter().flat_map(|s| &s.common.conditions);
    conditions.into_iter().any(|c| c.type_ == type_ && c.status == status && c.reason == reason)
}

fn message(account: &AwsAccount, type_: &str) -> String {
    let conditions = account.status.as_ref().map(|s| s.common.conditions.clone()).unwrap_or_default();
    condition(&conditions, type_).map(|(_, _, message)| message).unwrap_or_default()
}

async fn wait(scene: &Scene, what: &str, test: impl Fn(&AwsAccount) -> bool) -> AwsAccount {
    scene::wait(Api::all(scene.kube.clone()), &scene.namespace, what, test).await
}
