//! What the kinds that run EC2 workers share: the template, what it renders to, the intents of the write protocol, and
//! whose machine is whose.

pub mod launch;
pub mod template;
