//! What the kinds that run EC2 workers share: the template, what it renders to, the write protocol, whose machine is
//! whose, and one look at all of it.

pub mod adoption;
pub mod advance;
pub mod ami;
pub mod apply;
pub mod belief;
pub mod conditions;
pub mod cpu;
pub mod draft;
pub mod headcount;
pub mod health;
pub mod indexes;
pub mod instance;
pub mod launch;
pub mod ledger;
pub mod look;
pub mod losses;
pub mod memory;
pub mod observe;
pub mod ownership;
pub mod parameters;
pub mod parting;
pub mod pools;
pub mod preview;
pub mod progress;
pub mod refusal;
pub mod request;
pub mod resolve;
pub mod revision;
pub mod revisions;
pub mod roster;
pub mod settle;
pub mod share;
pub mod status;
pub mod supply;
pub mod template;
