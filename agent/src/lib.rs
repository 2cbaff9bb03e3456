//! The reporter that runs on workers: says which instance it is, and which versions of the application run on it.
//!
//! ```text
//! config ──► machine (IMDSv2, /proc) ─┐
//!            sources (command, files) ├─► report ──► cadence: is one due? ──► upload (S3)
//! ```
//!
//! A report is due at start, when a fact has changed, and once an interval at an offset that is the instance's own.

pub mod cadence;
pub mod cli;
pub mod clock;
pub mod config;
pub mod key;
pub mod machine;
pub mod report;
pub mod run;
pub mod sources;
pub mod upload;
