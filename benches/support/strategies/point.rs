//! A point of the comparison: the value of every axis.

use serde::{Deserialize, Serialize};

/// Where a cell stands on each axis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    /// `EdDSA`, `ES256`, `RS256`, `HS256`.
    pub(crate) algorithm: String,
    /// Share of requests whose token the node has verified lately: 0, 0.5, 0.95.
    pub(crate) cache_hit_rate: f64,
    /// Live revocations.
    pub(crate) live: u64,
    /// Revocations that arrive per second.
    pub(crate) arriving_per_second: u64,
    /// Share of requests with a token that was taken back.
    pub(crate) revoked_share: f64,
    /// Round trip to Redis and to SQL beyond loopback, in milliseconds.
    pub(crate) redis_delay_ms: f64,
    /// Nodes.
    pub(crate) nodes: u32,
}

impl Default for Point {
    fn default() -> Self {
        Self {
            algorithm: "EdDSA".to_owned(),
            cache_hit_rate: 0.95,
            live: 10_000,
            arriving_per_second: 0,
            revoked_share: 0.01,
            redis_delay_ms: 0.25,
            nodes: 1,
        }
    }
}
