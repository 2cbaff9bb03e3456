//! Auto Scaling groups: what they launch, their instances, and their instance refreshes.
//!
//! Groups live in the [`World`](super::ec2::world::World), since they launch and end instances there. A group looks at
//! its instances whenever one of them enters a state, whenever it is changed, and when a time that it waits for has come.

pub(crate) mod activity;
pub(crate) mod config;
pub(crate) mod group;
pub(crate) mod keep;
pub(crate) mod launching;
pub(crate) mod refresh;
pub(crate) mod rolling;
mod rollout;
