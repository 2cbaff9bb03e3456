//! WorkerFleet: keep N of these EC2 workers running, with these parameters.

mod crd;
mod desired;
mod plan;

pub use self::crd::{
    DeletionPolicy, OnStopped, Readiness, ReadinessCheck, ScaleDownPolicy, WorkerFleet, WorkerFleetSpec,
    WorkerFleetStatus, WorkerSummary,
};
