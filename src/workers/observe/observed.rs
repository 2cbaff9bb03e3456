//! The observation that a plan starts from.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    aws,
    ids::{ClientToken, InstanceId, SubnetId, Zone},
    workers::{ledger::settle::Standing, observe::instances::ObservedInstances, plan::pools::Pool},
};

/// The observation that a plan starts from.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    pub instances: ObservedInstances,
    /// The zones of the subnets, or why they are not known.
    pub zones: Zones,
    /// What this process learned from its calls.
    pub feedback: LaunchFeedback,
}

#[derive(Clone, Debug)]
pub enum Zones {
    Known(BTreeMap<SubnetId, Zone>),
    Unknown(aws::Error),
}

impl Default for Zones {
    fn default() -> Self {
        Self::Known(BTreeMap::new())
    }
}

#[derive(Clone, Debug, Default)]
pub struct LaunchFeedback {
    /// How to treat each open launch.
    pub standing: BTreeMap<ClientToken, Standing>,
    /// Pools not to use now, with the error of EC2.
    pub unavailable: BTreeMap<Pool, aws::Error>,
    /// Revisions whose launch EC2 refused for another reason than capacity.
    pub refusals: BTreeMap<String, Refusal>,
    /// Victims whose termination was just requested.
    pub asked: BTreeSet<InstanceId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub cause: aws::Error,
    /// Whether to try again now.
    pub retry: bool,
}
