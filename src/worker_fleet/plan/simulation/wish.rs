//! What the user asks for. Parsing is slow, so every template is parsed once.

use std::{sync::LazyLock, time::Duration};

use serde_json::json;

use super::super::sample::desired;
use crate::{
    ids::MAIN_ROLE,
    worker_fleet::{
        crd::ScaleDownPolicy,
        desired::{Desired, Update},
    },
    workers::{
        health::{Criteria, ReadinessCheck},
        share::Share,
    },
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub replicas: u32,
    /// The second group, if there is one.
    pub side: Option<u32>,
    pub template: usize,
    pub bounds: usize,
    pub replacements: u32,
    pub max_unhealthy: u32,
    pub status_checks: bool,
    pub min_ready: u64,
    pub newest_first: bool,
}

pub(super) const SIDE: &str = "side";
/// Seconds that a machine has to become ready.
pub(super) const STARTUP_DEADLINE: u64 = 90;

static TEMPLATES: LazyLock<Vec<Desired>> = LazyLock::new(|| {
    let template = |n: u32| {
        let template = json!({
            "ami": {"id": format!("ami-0000000{n}")},
            "instanceTypes": ["m6i.large", "m5.large"],
            "subnets": {"ids": ["subnet-0000000a", "subnet-0000000b"]},
            "keyName": format!("key-{n}"),
        });
        desired(1, json!({"template": template, "roles": [{"name": SIDE, "replicas": 1}]}))
    };
    (1..4).map(template).collect()
});

static UPDATES: LazyLock<Vec<Update>> = LazyLock::new(|| {
    let update =
        |(surge, unavailable)| desired(1, json!({"update": {"maxSurge": surge, "maxUnavailable": unavailable}})).update;
    Wish::BOUNDS.into_iter().map(update).collect()
});

impl Wish {
    pub(super) const BOUNDS: [(u32, u32); 6] = [(1, 0), (0, 1), (2, 0), (1, 1), (0, 2), (3, 2)];

    pub(super) fn desired(&self) -> Desired {
        let mut desired = TEMPLATES[self.template].clone();
        desired.groups.retain_mut(|group| {
            let replicas = if group.role.as_str() == MAIN_ROLE { Some(self.replicas) } else { self.side };
            group.replicas = replicas.unwrap_or_default();
            replicas.is_some()
        });
        desired.update = UPDATES[self.bounds];
        desired.max_replacements = self.replacements;
        desired.max_unhealthy = Share::Number(self.max_unhealthy);
        desired.readiness.criteria = Criteria {
            check: if self.status_checks { ReadinessCheck::StatusChecks } else { ReadinessCheck::Running },
            startup_deadline: Duration::from_secs(STARTUP_DEADLINE),
            min_ready: Duration::from_secs(self.min_ready),
        };
        desired.scale_down = if self.newest_first { ScaleDownPolicy::Newest } else { ScaleDownPolicy::Oldest };
        desired
    }
}

/// The bounds that let an update do as it likes.
pub(super) fn boundless(surge: bool) -> Update {
    static BOUNDLESS: LazyLock<[Update; 2]> = LazyLock::new(|| {
        [(0, 100), (100, 0)].map(|(surge, unavailable)| {
            desired(1, json!({"update": {"maxSurge": surge, "maxUnavailable": unavailable}})).update
        })
    });
    BOUNDLESS[usize::from(surge)]
}
