//! The specs of the histories of a fleet.

/// What the user asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spec {
    pub replicas: u32,
    /// The second role, if there is one.
    pub side: Option<u32>,
    pub template: usize,
    pub bounds: usize,
    pub replacements: u32,
    pub max_unhealthy: u32,
    pub status_checks: bool,
    pub min_ready: u64,
    pub newest_first: bool,
}

pub(super) const SIDE: &str = "side";
/// The surge and the unavailability of an update.
pub(super) const BOUNDS: [(u32, u32); 6] = [(1, 0), (0, 1), (2, 0), (1, 1), (0, 2), (3, 2)];
