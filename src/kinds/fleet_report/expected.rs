//! The instances that should report, as EC2 shows them.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};

use crate::{
    access::Claim,
    aws::{
        Session,
        advice::{Remedy, advice, stalls},
    },
    crd::{
        fields::AwsStatus,
        fleet_report::{FleetReport, FleetReportStatus},
    },
    error_chain::Chain,
    k8s::live::Live,
    kinds::fleet_report::{
        desired::{Desired, ExpectedInstances},
        problem::Problem,
    },
    reconcile::{Failure, context::Context},
};

/// What one of `expect.instances` selects.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub(super) name: String,
    /// Absent if no call was allowed.
    pub(super) aws: Option<AwsStatus>,
    pub(super) found: Result<Selected, Problem>,
}

/// The running instances of an account and region that a namespace may see.
#[derive(Clone, Debug)]
pub(super) struct Selected {
    /// When EC2 was asked.
    at: Timestamp,
    /// When each was launched, and whether the tags select it.
    instances: HashMap<Box<str>, (Timestamp, bool)>,
    grace: SignedDuration,
}

impl Selected {
    pub(super) fn new(
        at: Timestamp,
        grace: Duration,
        instances: impl IntoIterator<Item = (Box<str>, Timestamp, bool)>,
    ) -> Self {
        let instances = instances.into_iter().map(|(id, launched, selected)| (id, (launched, selected))).collect();
        Self { at, instances, grace: SignedDuration::try_from(grace).unwrap_or(SignedDuration::MAX) }
    }

    /// The instances that should report, each with whether it is old enough for a missing report to be a fault.
    pub(super) fn due(&self) -> impl Iterator<Item = (&str, bool)> {
        let selected = self.instances.iter().filter(|(_, (_, selected))| *selected);
        selected.map(|(id, (launched, _))| (&**id, self.at.duration_since(*launched) >= self.grace))
    }

    fn runs(&self, instance: &str) -> bool {
        self.instances.contains_key(instance)
    }
}

/// EC2 may not show an instance for so long after its launch.
const LAG: SignedDuration = SignedDuration::from_mins(1);

/// Whether an instance with a report of `stored` is known not to run. Only a look at all accounts and regions that was made
/// after the report proves that.
pub(super) fn is_gone(expected: &[Expected], instance: &str, stored: Timestamp) -> bool {
    let looked = |one: &Expected| one.found.as_ref().is_ok_and(|seen| seen.at.duration_since(stored) > LAG);
    crate::ids::InstanceId::try_from(instance).is_ok()
        && !expected.is_empty()
        && expected.iter().all(looked)
        && !expected.iter().any(|one| one.found.as_ref().is_ok_and(|seen| seen.runs(instance)))
}

/// What the spec selects now. All objects that use the same identity share the calls.
pub(super) async fn expected(
    ctx: &Context,
    live: &Live<FleetReport>,
    desired: &Desired,
    not_before: Instant,
) -> Vec<Expected> {
    let status = live.status();
    join_all(desired.instances.iter().map(|one| select(ctx, live, one, &status, not_before))).await
}

async fn select(
    ctx: &Context,
    live: &Live<FleetReport>,
    one: &ExpectedInstances,
    status: &FleetReportStatus,
    not_before: Instant,
) -> Expected {
    let pinned = status.expected.iter().find(|known| known.name == one.name).and_then(|known| known.aws.as_ref());
    let claim = Claim::TargetTags(one.tags.clone());
    let name = one.name.clone();
    let session = match ctx.authorize(live, &one.aws, pinned, &[claim]).await {
        Ok(session) => session,
        Err(failure) => {
            let lasting = matches!(failure, Failure::Refused { .. } | Failure::InvalidSpec(_));
            let problem = Problem { message: Chain(&failure).to_string(), lasting };
            return Expected { name, aws: None, found: Err(problem) };
        }
    };
    let found = running(ctx, live, one, &session, not_before).await;
    Expected { name, aws: Some(session.place()), found }
}

async fn running(
    ctx: &Context,
    live: &Live<FleetReport>,
    one: &ExpectedInstances,
    session: &Session,
    not_before: Instant,
) -> Result<Selected, Problem> {
    let account = &one.aws.account_ref.name;
    let seen = ctx.sweeps.running(session, not_before).await.map_err(|error| {
        let remedy = Remedy {
            denied: Some(format!("allow {} for the identity of AwsAccount {account}", error.operation)),
            not_found: None,
            invalid: None,
        };
        Problem { message: format!("{error}{}", advice(&error, &remedy)), lasting: stalls(&error) }
    })?;
    let permits = ctx.accounts.permits(live, account).map_err(|error| {
        let failure = Failure::from(error);
        Problem { message: Chain(&failure).to_string(), lasting: false }
    })?;
    // Whether an instance of others runs is told to nobody.
    let granted = permits.target_tags();
    let visible = seen.instances.iter().filter(|instance| granted.0.iter().any(|tags| instance.has(tags)));
    let rows = visible.map(|row| (Box::from(row.id.as_str()), row.launched_at, row.has(&one.tags)));
    Ok(Selected::new(seen.at, one.grace, rows))
}
