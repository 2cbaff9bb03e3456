//! The environment that tests run in, and functions that several of them use.

pub(crate) mod aws_cli;
pub(crate) mod crash;
pub(crate) mod fleet;
pub(crate) mod job;
pub(crate) mod scene;
pub(crate) mod tap;
