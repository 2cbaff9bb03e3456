//! The controller itself: leadership, shutdown, and what it survives.

mod clock_skew;
mod health_and_metrics;
mod hung_requests;
mod leadership;
mod lease;
mod older_crds;
mod requests;
mod restored_backup;
mod sigkill;
mod slow_clients;
mod watches;

use muster::crd::aws_account::AwsAccount;

fn ready(account: &AwsAccount) -> bool {
    let conditions = account.status.iter().flat_map(|s| &s.common.conditions);
    conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
}
