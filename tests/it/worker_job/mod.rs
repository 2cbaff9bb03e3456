//! WorkerJob: which indexes are run, how often, and what counts as their result.

mod documented_script;
mod faults;
mod forged_results;
mod hostile_tags;
mod killed_at_every_call;
mod lifecycle;
mod plan_only;
mod trusted_results;
mod unreadable_results;
