//! The reporter that runs on workers: reports the instance and the versions of the application that run on it.
//!
//! ```text
//! config ──► instance (IMDSv2, /proc) ─┐
//!            sources (command, files)  ├─► report ──► cadence: is one due? ──► upload (S3)
//! ```
//!
//! A report is due at start, when a fact has changed, and once an interval at an offset derived from the instance ID.

pub mod cadence;
pub mod cli;
pub mod clock;
pub mod config;
pub mod instance;
pub mod key;
pub mod report;
pub mod run;
pub mod sources;
pub mod upload;
