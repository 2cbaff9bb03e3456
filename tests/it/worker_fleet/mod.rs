//! WorkerFleet: what becomes of its instances, from its creation to its deletion.

mod adoption;
mod adoption_grants;
mod console_output;
mod cpu_metrics;
mod hostile_tags;
mod killed_at_every_call;
mod launch_faults;
mod lifecycle;
mod lost_instances;
mod missing_instances;
mod orphaned_instances;
mod plan_only;
mod replacement_limits;
mod report_readiness;
mod roles;
mod rolling_update;
mod scale;
mod termination_faults;
mod two_leaders;
