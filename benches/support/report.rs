//! A run's results, as they are kept.

use serde::{Deserialize, Serialize};

use super::{
    accuracy::Accuracy,
    filter_crates::FilterCrates,
    machine::Machine,
    memory::Memory,
    rounds::{Spread, Timed},
    speed::{FirstSight, Insert, Ratio, RevokedKeysCost},
    tokens::Tokens,
    world::Recording,
};

/// Everything that one run has found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) plan: Planned,
    pub(crate) sizes: Vec<Size>,
    /// At the largest size.
    pub(crate) tokens: Option<Tokens>,
    /// At sizes of its own. Earlier results have none.
    #[serde(default)]
    pub(crate) filter_crates: Vec<FilterCrates>,
    /// How long the run took, in seconds.
    pub(crate) took_seconds: f64,
}

/// What was asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Planned {
    pub(crate) seed: u64,
    pub(crate) sizes: Vec<u64>,
    pub(crate) rounds: usize,
    /// False positives per check that the filters were made for.
    pub(crate) target: f64,
}

/// What was found with so many live revocations.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Size {
    pub(crate) entries: u64,
    pub(crate) recording: Recording,
    /// Seconds from opening the file to answering checks.
    pub(crate) ready_seconds: Spread,
    pub(crate) accuracy: Vec<Accuracy>,
    pub(crate) memory: Vec<Memory>,
    /// Microseconds of a look into the ledger: a sample of the single looks, and not rounds.
    pub(crate) look_us: Spread,
    pub(crate) first_sight: Vec<FirstSight>,
    pub(crate) timed: Vec<Timed>,
    pub(crate) ratios: Vec<Ratio>,
    /// Earlier results have none.
    #[serde(default)]
    pub(crate) revoked_keys: Option<RevokedKeysCost>,
    pub(crate) insert: Insert,
}
