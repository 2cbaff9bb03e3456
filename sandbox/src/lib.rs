//! AWS on loopback: an HTTP endpoint that unmodified AWS SDKs, boto3 and the AWS CLI talk to (`AWS_ENDPOINT_URL`).
//!
//! One request passes through these rooms:
//!
//! ```text
//! server ──► front ──► scope + accounts (who calls) ──► faults ──► service ──► faults ──► answer
//!              │                                                                        │
//!              └──────────────────────────────── journal ───────────────────────────────┘
//! ```
//!
//! A sandbox holds no global state: a process may run as many as it likes, each on a port of its own.
//!
//! **Credentials.** The access key id `AKIASANDBOX` followed by twelve digits is the root user of the account with
//! these digits; any secret will do, signatures are not checked. `AssumeRole` gives temporary `ASIA...` credentials,
//! which count only with their session token. Every other key is refused, as AWS refuses it.
//!
//! **A new AWS operation** is one file in its service's folder and one line in that folder's table of operations.

mod accounts;
mod caller;
mod cbor;
mod clock;
mod cloudwatch;
mod config;
mod control;
mod ec2;
mod error;
mod faults;
mod front;
mod journal;
mod json;
pub mod process_group;
mod query;
mod s3;
mod sandbox;
mod scope;
mod server;
mod ssm;
mod state;
mod sts;
mod throttle;
mod workers;

pub use accounts::{Credentials, RoleSpec};
pub use caller::{AccountId, Caller, CallerId};
pub use clock::{Clock, ClockMode};
pub use config::{Lifecycle, SandboxConfig};
pub use control::{CapacitySpec, Control, ImageSpec, SecurityGroupSpec, Settings, SubnetSpec};
pub use ec2::event::InstanceEvent;
pub use ec2::image::{Image, ImageState};
pub use ec2::instance::{
    BlockDevice, HealthStatus, Instance, InstanceState, Market, MetadataOptions, ShutdownBehavior, StateReason,
};
pub use ec2::network::{SecurityGroup, Subnet};
pub use ec2::seed::{AMAZON_LINUX_ARM64, AMAZON_LINUX_X86_64, INSTANCE_PROFILE, KEY_PAIR};
pub use error::ApiError;
pub use faults::{Fault, FaultAction, FaultId, FaultStatus, Moment};
pub use journal::{Call, CallQuery, Outcome};
pub use s3::{
    Access, Algorithm, BucketInfo, Conditions, Content, Match, Object, ObjectHeaders, S3Caller, S3State, StoreError,
    Sum,
};
pub use sandbox::Sandbox;
pub use ssm::{Kind as ParameterKind, Parameter, Tier as ParameterTier, Version as ParameterVersion};
pub use workers::{ReportsSpec, WorkerError, WorkerInfo, WorkerOutput, WorkersConfig};
