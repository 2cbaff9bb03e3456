//! The API: the types of the custom resources, and nothing else.

pub mod aws_account;
pub mod fields;
pub mod fleet_report;
pub mod indexes;
pub mod launch_template_pin;
pub mod launches;
pub mod parameters;
pub mod schema;
pub mod template;
pub mod worker_fleet;
pub mod worker_job;
pub mod workers_status;
