//! Integration tests: one binary, so that the SDKs are linked once and all tests share one API server.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod account;
mod adopt;
mod chart;
mod cpu;
mod crash;
mod crds;
mod dark;
mod examples;
mod fleet;
mod fleet_ends;
mod fleet_faults;
mod fleet_losses;
mod fleet_orphans;
mod fleet_two;
mod grants;
mod guards;
mod hung;
mod job;
mod job_crash;
mod job_faults;
mod job_plan;
mod job_results;
mod job_script;
mod lease;
mod parameters;
mod report;
mod roles;
mod restored;
mod revoked;
mod rolling;
mod scale;
mod scene;
mod shell;
mod tap;
mod template;
