//! The state machine of groups and refreshes.
