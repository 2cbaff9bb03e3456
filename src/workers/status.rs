//! What the statuses of all kinds that run workers hold.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    aws::Session,
    fields::AwsStatus,
    workers::{
        ami::AmiStatus,
        launch::{LaunchIntent, Termination},
        ledger::Ledger,
        parameters::ParametersRecord,
        preview::Preview,
    },
};

/// What is known of an object's workers, and the record that is written before the calls.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkersStatus {
    /// The AWS account and region that the first call went to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsStatus>,
    /// Launches whose outcome is not certain yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 256),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["token"])
    )]
    pub launches: Vec<LaunchIntent>,
    /// Workers that were chosen to end and are not seen to have ended yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "atomic"))]
    pub terminations: Vec<Termination>,
    /// What muster would do now. Present while the annotation `muster.dev/plan-only` is `true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Preview>,
    /// The machine image that new workers start from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ami: Option<AmiStatus>,
    #[serde(flatten)]
    pub parameters: ParametersRecord,
    /// How many workers there are to list.
    #[serde(default)]
    pub instances_total: i32,
    /// True when `instances` shows only some of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub instances_truncated: bool,
}

impl WorkersStatus {
    /// The record, as far as all kinds have it.
    pub fn ledger(&self) -> Ledger {
        Ledger { launches: self.launches.clone(), terminations: self.terminations.clone(), ..Ledger::default() }
    }

    /// With `ledger` as its record, and the account of `session` as the one that it is about.
    pub fn record(&mut self, session: &Session, ledger: &Ledger) {
        self.aws.get_or_insert_with(|| session.into());
        self.launches.clone_from(&ledger.launches);
        self.terminations.clone_from(&ledger.terminations);
    }
}
