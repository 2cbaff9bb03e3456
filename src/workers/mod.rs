//! What the kinds that run EC2 workers share: the template, what it renders to, the intents of the write protocol, and
//! whose machine is whose.

pub mod cpu;
pub mod instance;
pub mod launch;
pub mod ledger;
pub mod ownership;
pub mod parameters;
pub mod pools;
pub mod request;
pub mod resolve;
pub mod revision;
pub mod revisions;
pub mod roster;
pub mod settle;
pub mod template;
