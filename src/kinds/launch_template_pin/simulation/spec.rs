//! What the user asks for, and what she changes.

use rand::{RngExt, rngs::SmallRng};
use serde_json::json;

use crate::{
    crd::launch_template_pin::Follow, ids::ImageId, kinds::launch_template_pin::desired::Desired,
    workers::simulation::history::pick,
};

/// The tag of the groups that are selected.
pub(super) const TAG: &str = "follows";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spec {
    pub(super) ami: bool,
    pub(super) rejected: Vec<usize>,
    pub(super) set_default: bool,
    /// How many versions are kept, whether all count, and whether for an hour at least.
    pub(super) keep: Option<(usize, bool, bool)>,
    /// How each of the two named groups follows.
    pub(super) named: [Option<Follow>; 2],
    pub(super) selected: Option<Follow>,
    pub(super) refresh: bool,
    pub(super) window: bool,
    pub(super) manual: bool,
    pub(super) approved: Option<usize>,
    pub(super) rollback_to: Option<i64>,
    pub(super) suspend: bool,
}

/// What the user does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edit {
    /// To the n-th version, or to following again.
    Rollback(Option<usize>),
    /// Rejects the n-th last image, or accepts it again.
    Reject(usize),
    /// Approves the newest image.
    Approve,
    Refresh,
    Window,
    SetDefault,
    Suspend,
    Follow(usize, Option<Follow>),
    /// Asks for a reconcile.
    Request,
}

impl Edit {
    pub(super) fn draw(rng: &mut SmallRng) -> Self {
        match rng.random_range(0..15) {
            0..2 => Self::Rollback(Some(rng.random_range(0..5))),
            2..4 => Self::Rollback(None),
            4..6 => Self::Reject(rng.random_range(0..2)),
            6..9 => Self::Approve,
            9 => Self::Refresh,
            10 => Self::Window,
            11 => Self::SetDefault,
            12 => Self::Suspend,
            13 => Self::Follow(rng.random_range(0..2), follow(rng)),
            _ => Self::Request,
        }
    }
}

fn follow(rng: &mut SmallRng) -> Option<Follow> {
    pick(rng, &[None, Some(Follow::Latest), Some(Follow::Default), Some(Follow::Pinned)])
}

pub(super) fn image_id(n: usize) -> ImageId {
    ImageId::try_from(format!("ami-{n:08x}")).unwrap()
}

impl Spec {
    pub(super) fn draw(rng: &mut SmallRng) -> Self {
        let ami = rng.random_bool(0.9);
        let keep = rng.random_bool(0.8);
        Self {
            ami,
            rejected: vec![],
            set_default: rng.random_bool(0.8),
            keep: keep.then(|| (rng.random_range(1..3), rng.random_bool(0.5), rng.random_bool(0.2))),
            named: [follow(rng), follow(rng)],
            selected: follow(rng),
            refresh: rng.random_bool(0.6),
            window: rng.random_bool(0.2),
            manual: ami && rng.random_bool(0.2),
            approved: None,
            rollback_to: None,
            suspend: false,
        }
    }

    pub(super) fn desired(&self) -> Desired {
        let image = |n: &usize| image_id(*n).to_string();
        let mut spec = json!({
            "aws": {"region": "eu-west-1"},
            "launchTemplate": {"id": super::aws::TEMPLATE},
            "rejectedAMIs": self.rejected.iter().map(image).collect::<Vec<_>>(),
            "setDefault": self.set_default,
        });
        if self.ami {
            spec["ami"] = json!({"selector": {"owners": ["self"]}});
            spec["approval"] = json!(if self.manual { "Manual" } else { "Automatic" });
        }
        if let Some((newest, all, aged)) = self.keep {
            let (of, age) = (if all { "All" } else { "Managed" }, if aged { "1h" } else { "0s" });
            spec["retention"] = json!({"keepVersions": newest, "minAge": age, "versions": of});
        }
        let named = (0..2).filter_map(|n| Some(json!({"name": format!("g{n}"), "version": self.named[n]?})));
        spec["autoScalingGroups"] = named.collect();
        if let Some(follow) = self.selected {
            spec["autoScalingGroupSelector"] = json!({"tags": {TAG: "yes"}, "version": follow});
        }
        if self.refresh {
            spec["refresh"] = json!({"enabled": true});
        }
        if self.window {
            spec["window"] = json!({"schedule": "0 * * * *", "timeZone": "UTC", "duration": "30m"});
        }
        spec["rollbackTo"] = json!(self.rollback_to);
        let approved = self.approved.as_ref().map(image);
        Desired::parse(&serde_json::from_value(spec).unwrap(), approved.as_deref()).unwrap()
    }
}
