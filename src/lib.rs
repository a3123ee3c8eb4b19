//! Kickout.
pub mod clock;
pub mod config;
pub mod cookies;
pub mod csrf;
pub mod database;
pub mod ids;
pub mod lifecycle;
pub mod passwords;
pub mod revocation;
pub mod secret;
pub mod sessions;
pub mod telemetry;
pub mod tokens;
pub mod users;
