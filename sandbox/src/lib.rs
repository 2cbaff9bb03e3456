//! AWS on loopback: an HTTP endpoint that unmodified AWS SDKs, boto3 and the AWS CLI talk to (`AWS_ENDPOINT_URL`).
//!
//! The layers. Each uses those below it, and none above:
//!
//! ```text
//! main, sandbox      start and stop
//! server, front      connections; one call: who calls, journal, faults
//! workers            a folder, a metadata service and processes for each running instance
//! control            what tests and demos do beside AWS's API, in process and under /_sandbox/
//! services           ec2, autoscaling, s3, sns, ssm, sts, cloudwatch: a file for each operation, and a router over them
//! state              what the sandbox knows: of each service, and journal, faults, rates, identities
//! protocol           Query, JSON and CBOR; signatures
//! caller, clock, config, duration, error
//! ```
//!
//! One request passes through these:
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

mod caller;
mod clock;
mod config;
mod control;
mod duration;
mod error;
mod front;
pub mod process_group;
mod protocol;
mod sandbox;
mod server;
mod services;
mod state;
mod workers;

pub use caller::{AccountId, Caller, CallerId};
pub use clock::Clock;
pub use config::{ClockMode, Lifecycle, SandboxConfig, WorkersConfig};
pub use control::{
    CapacitySpec, Control, GroupSpec, ImageSpec, LaunchTemplateSpec, ReportsSpec, SecurityGroupSpec, Settings,
    SubnetSpec, TopicSpec,
};
pub use error::ApiError;
pub use sandbox::Sandbox;
pub use state::accounts::{Credentials, RoleSpec};
pub use state::autoscaling::activity::{Activities, Activity, ActivityStatus};
pub use state::autoscaling::config::{
    Distribution, LaunchSource, MixedInstancesPolicy, TemplateOverride, TemplateSpecification,
};
pub use state::autoscaling::group::{AutoScalingGroup, GroupTag, LaunchedFrom, MaintenancePolicy, Member, MemberState};
pub use state::autoscaling::refresh::{Refresh, RefreshPreferences, RefreshStatus, Reluctant, Rollback};
pub use state::ec2::event::InstanceEvent;
pub use state::ec2::image::{Image, ImageState};
pub use state::ec2::instance::{
    BlockDevice, HealthStatus, Instance, InstanceState, Market, MetadataOptions, ShutdownBehavior, StateReason,
};
pub use state::ec2::network::{SecurityGroup, Subnet};
pub use state::ec2::seed::{AMAZON_LINUX_ARM64, AMAZON_LINUX_X86_64, INSTANCE_PROFILE, KEY_PAIR};
pub use state::faults::{Fault, FaultAction, FaultId, FaultStatus, Moment};
pub use state::journal::{Call, CallQuery, Outcome};
pub use state::s3::{
    Access, Algorithm, BucketInfo, Conditions, Content, Match, Object, ObjectHeaders, S3Caller, S3State, StoreError,
    Sum,
};
pub use state::sns::{Message, Topic};
pub use state::ssm::{Kind as ParameterKind, Parameter, Tier as ParameterTier, Version as ParameterVersion};
pub use state::workers::{WorkerError, WorkerInfo, WorkerOutput};
