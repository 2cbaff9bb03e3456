//! The HTTP server.

pub mod health;
