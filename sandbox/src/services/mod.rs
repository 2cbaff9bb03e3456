//! AWS's services: each answers a call from [`crate::state`].

pub(crate) mod autoscaling;
pub(crate) mod cloudwatch;
pub(crate) mod dispatch;
pub(crate) mod ec2;
pub(crate) mod s3;
pub(crate) mod service;
pub(crate) mod sns;
pub(crate) mod ssm;
pub(crate) mod sts;
