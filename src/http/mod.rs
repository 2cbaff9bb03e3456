//! The HTTP servers: health and metrics, and the API.

pub mod forward;
pub mod health;
pub mod rates;
pub mod server;
pub mod tls;
