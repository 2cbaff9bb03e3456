//! What AWS shows, shared by all objects: instances, CPU, lookups for templates; and who owns an instance.

pub mod cpu;
pub mod instances;
pub mod lookups;
pub mod ownership;
pub mod published;
pub mod reporters;
