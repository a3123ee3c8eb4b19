//! A run's results, as they are kept.

use serde::{Deserialize, Serialize};

use super::{
    bulk::Bulk,
    capacity::{Bounds, Capacity},
    fleet::With,
    machine::Machine,
    profile::Profile,
    propagation::Propagation,
    readiness::{Kind, Ready},
};

/// Everything that one run has found.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) servers: About,
    pub(crate) plan: Planned,
    pub(crate) propagation: Vec<Propagation>,
    pub(crate) capacity: Vec<Capacity>,
    pub(crate) bulk: Vec<Bulk>,
    pub(crate) bounds: Bounds,
    pub(crate) ready: Vec<Ready>,
    pub(crate) profiles: Vec<Profile>,
    /// What was not measured, and why.
    pub(crate) missing: Vec<String>,
    /// How long the run took, in seconds.
    pub(crate) took_seconds: f64,
}

/// The servers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct About {
    pub(crate) postgresql: String,
    /// What differs from the settings that it is shipped with.
    pub(crate) postgresql_settings: Vec<String>,
    /// That commits are durable on.
    pub(crate) file_system: String,
    pub(crate) redis: Option<String>,
}

/// What was asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Planned {
    pub(crate) rounds: usize,
    pub(crate) window_seconds: f64,
    pub(crate) rows: u64,
}

/// A figure that was aimed at.
#[derive(Debug, Clone)]
pub(crate) struct Aim {
    pub(crate) what: String,
    pub(crate) wanted: String,
    pub(crate) found: String,
    pub(crate) is_met: bool,
}

/// Most milliseconds of a complete receipt on three nodes.
const RECEIPT_P50_MS: f64 = 10.0;
const RECEIPT_P99_MS: f64 = 50.0;
/// Least acknowledged logouts per second at this concurrency.
const LOGOUTS: (usize, f64) = (256, 2000.0);
/// Most seconds to ready with a million live rows.
const READY: (u64, f64) = (1_000_000, 3.0);

impl Report {
    /// The aims that this run has something to say about. The worst round decides.
    pub(crate) fn aims(&self) -> Vec<Aim> {
        let mut aims = Vec::new();
        let at_most = |what: String, aim: f64, found: f64, unit: &str| Aim {
            what,
            wanted: format!("≤ {aim:.0} {unit}"),
            found: format!("{found:.1} {unit}"),
            is_met: found <= aim,
        };
        for row in self.propagation.iter().filter(|row| row.nodes == 3 && row.with != With::Pull) {
            let what = |quantile| format!("receipt on 3 nodes, {}, {quantile}", row.with.name());
            aims.push(at_most(what("p50, worst round"), RECEIPT_P50_MS, row.receipt_p50_ms.high, "ms"));
            aims.push(at_most(what("p99 of all"), RECEIPT_P99_MS, row.receipt_ms.p99, "ms"));
        }
        for row in self.capacity.iter().filter(|row| row.concurrency == LOGOUTS.0) {
            aims.push(Aim {
                what: format!("logouts, {} at once, {}, worst round", LOGOUTS.0, row.with.name()),
                wanted: format!("≥ {:.0} /s", LOGOUTS.1),
                found: format!("{:.0} /s", row.per_second.low),
                is_met: row.per_second.low >= LOGOUTS.1,
            });
        }
        for row in self.ready.iter().filter(|row| row.rows == READY.0) {
            let database = match row.database {
                Kind::Postgresql => "PostgreSQL",
                Kind::Sqlite => "SQLite",
            };
            let found = (row.open_ms.high + row.load_ms.high) / 1e3;
            aims.push(at_most(format!("ready with 1 M live, {database}, worst round"), READY.1, found, "s"));
        }
        aims
    }
}
