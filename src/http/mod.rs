//! The HTTP server.

pub mod health;
pub mod server;
