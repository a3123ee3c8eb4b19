//! Kickout.
pub mod clock;
pub mod ids;
pub mod secret;
