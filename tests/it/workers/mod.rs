//! What WorkerFleet and WorkerJob share: the template of workers, and their parameters.

mod parameters;
mod template;
