//! The results of a run, as they stand in the JSON: what was measured, on what, and how. The report is made of nothing
//! else.
//!
//! Every figure is kept round by round; ratios are of two arms in the same round.

use serde::{Deserialize, Serialize};

use super::{super::machine::Machine, point::Point};
use crate::Failure;

/// The version of this form. A reader refuses others.
pub(crate) const SCHEMA: u32 = 1;

/// A run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) schema: u32,
    pub(crate) machine: Machine,
    pub(crate) redis: String,
    pub(crate) postgres: String,
    pub(crate) took_seconds: f64,
    /// What was measured again, or besides, in a later run.
    #[serde(default)]
    pub(crate) again: Vec<Again>,
    /// What the workload follows from.
    pub(crate) seed: u64,
    /// Rounds, windows, rates, connections: the plan as it was carried out.
    pub(crate) plan: Plan,
    /// Who was measured, and with which configuration.
    pub(crate) arms: Vec<Arm>,
    /// Requests: cost, latency, capacity.
    pub(crate) load: Vec<Cell>,
    /// Why the rivals' connections and concurrency are what they are.
    pub(crate) sweep: Vec<Swept>,
    /// From an act to the last accepted request.
    pub(crate) revoking: Vec<Revoking>,
    /// Asked of the stores per request.
    pub(crate) store_use: Vec<StoreUse>,
    /// Bytes per request and per login.
    pub(crate) bytes: Vec<Bytes>,
    /// What happens when a store is gone.
    pub(crate) outages: Vec<Outage>,
    /// Memory against live revocations.
    pub(crate) memory: Vec<Memory>,
}

/// A later run whose figures stand here, too.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Again {
    pub(crate) parts: Vec<String>,
    pub(crate) commit: String,
    pub(crate) date: String,
    pub(crate) took_seconds: f64,
}

impl Results {
    /// These results with what a later run has measured.
    pub(crate) fn with(mut self, later: Self, parts: &[String]) -> Result<Self, Failure> {
        let on = |results: &Self| {
            let machine = results.machine.clone();
            (machine.cpu, machine.kernel, machine.crates, results.redis.clone(), results.postgres.clone())
        };
        if on(&self) != on(&later) {
            return Err("the earlier results are of another machine or of other versions: measure it all again".into());
        }
        for cell in later.load {
            self.load.retain(|old| (&old.arm, &old.axis, &old.point) != (&cell.arm, &cell.axis, &cell.point));
            self.load.push(cell);
        }
        take(&mut self.sweep, later.sweep);
        take(&mut self.revoking, later.revoking);
        take(&mut self.store_use, later.store_use);
        take(&mut self.bytes, later.bytes);
        take(&mut self.outages, later.outages);
        for memory in later.memory {
            self.memory.retain(|old| (&old.arm, old.live) != (&memory.arm, memory.live));
            self.memory.push(memory);
        }
        self.memory.sort_by_key(|memory| memory.live);
        let Machine { commit, date, .. } = later.machine;
        self.again.push(Again { parts: parts.to_vec(), commit, date, took_seconds: later.took_seconds });
        Ok(self)
    }
}

/// Takes what was measured later, if anything was.
fn take<T>(old: &mut Vec<T>, new: Vec<T>) {
    if !new.is_empty() {
        *old = new;
    }
}

/// How the load was made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    /// Of a turn at the base point; on the axes it is half of that.
    pub(crate) window_seconds: f64,
    /// Requests per second of the open loop, the same for all; a point whose stores are far has fewer, and its rounds say
    /// how many.
    pub(crate) open_rate: u64,
    /// Connections of the closed loop.
    pub(crate) connections: usize,
    pub(crate) users: u64,
    pub(crate) devices_per_user: u64,
    pub(crate) zipf_exponent: f64,
    /// Which core the node has to itself, and which the generator and the stores share.
    pub(crate) pinning: String,
}

/// A candidate.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Arm {
    /// `stateless`, `hybrid`, `redis`, `exact`, `session-redis`, `session-sql`, `tower-sessions`, `empty handler`.
    pub(crate) name: String,
    /// Its configuration as the process got it, `SECTION.KEY = VALUE` a line, without secrets.
    pub(crate) configuration: Vec<String>,
}

/// One arm at one point.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Cell {
    pub(crate) arm: String,
    /// The axis that this cell is on: `base`, `live`, `redis_delay`, `cache`, `algorithm`, `arriving`, `revoked`, `nodes`.
    pub(crate) axis: String,
    pub(crate) point: Point,
    pub(crate) rounds: Vec<Round>,
}

/// One turn of one arm.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Round {
    /// Processor time of the node's process (user + system) per request, in the open loop, in microseconds; of several
    /// nodes, their sum over all requests.
    pub(crate) cpu_us: f64,
    /// What the process takes when nobody asks, in microseconds per second; it is not taken off.
    pub(crate) idle_us_per_second: f64,
    pub(crate) open: Open,
    /// `None` where only latency was wanted.
    pub(crate) closed: Option<Closed>,
    /// Requests whose answer was checked; each was right, or the run had failed.
    pub(crate) checked: u64,
    /// Of these, refused, as they had to be.
    pub(crate) refused: u64,
    /// Resident memory of the process at the end.
    pub(crate) resident_bytes: u64,
    /// Share of requests whose token the node knew as verified, by its own counters; `None` where it does not count.
    #[serde(default)]
    pub(crate) measured_hit_rate: Option<f64>,
}

/// The open loop: requests are due at fixed times, and latency counts from then.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Open {
    pub(crate) rate: u64,
    pub(crate) achieved: f64,
    pub(crate) p50_us: f64,
    pub(crate) p90_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
}

/// The closed loop: each connection asks again when it is answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Closed {
    pub(crate) connections: usize,
    pub(crate) per_second: f64,
    pub(crate) cpu_us: f64,
}

/// A step of a sweep over what a rival could be given.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Swept {
    pub(crate) arm: String,
    /// `connections to redis`, `pool size`, `concurrent requests`.
    pub(crate) knob: String,
    pub(crate) value: u64,
    pub(crate) redis_delay_ms: f64,
    pub(crate) per_second: Vec<f64>,
    pub(crate) p99_us: Vec<f64>,
    /// What the comparison uses.
    pub(crate) is_chosen: bool,
}

/// How long a revocation takes to bite.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Revoking {
    pub(crate) arm: String,
    pub(crate) nodes: u32,
    /// `session`, `all devices`, `ban`.
    pub(crate) act: String,
    /// From sending the act to the first refusal on the last node; `None` where it was not refused while watched.
    pub(crate) refused_ms: Vec<Option<f64>>,
    /// From sending the act to its receipt.
    pub(crate) receipt_ms: Vec<f64>,
    /// Whether the receipts said `complete`.
    pub(crate) complete: bool,
    /// What the receipt says of when it bites, if not at once: seconds from the act.
    pub(crate) in_force_after_s: Option<f64>,
    /// Accepted requests that were sent after the receipt. Where receipts are complete it is 0, or the run had failed.
    pub(crate) accepted_after_receipt: u64,
}

/// Store operations.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StoreUse {
    pub(crate) arm: String,
    pub(crate) nodes: u32,
    pub(crate) requests: u64,
    pub(crate) redis_per_request: f64,
    pub(crate) sql_per_request: f64,
    /// Operations per second of all nodes together when nobody asks.
    pub(crate) redis_idle_per_second: f64,
    pub(crate) sql_idle_per_second: f64,
}

/// Bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Bytes {
    pub(crate) arm: String,
    /// Where what decides about a request is.
    pub(crate) state: String,
    /// Of the `Cookie` header's value.
    pub(crate) client_bytes_per_request: u64,
    pub(crate) logins: u64,
    pub(crate) sql_bytes_per_login: f64,
    pub(crate) redis_bytes_per_login: f64,
    pub(crate) node_bytes_per_login: f64,
}

/// A store that is gone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Outage {
    pub(crate) arm: String,
    /// `redis` or `sql`.
    pub(crate) store: String,
    /// The status of a valid request, so many seconds after the store was stopped; 0 if no answer came in time.
    pub(crate) valid: Vec<(f64, u16)>,
    /// The status of a request whose token was taken back before.
    pub(crate) revoked: Vec<(f64, u16)>,
    /// The status of a logout.
    pub(crate) logout: u16,
    /// Of a revoked token after the store is back, empty if it kept nothing: 200 if it was ever accepted, else the last.
    pub(crate) revoked_after_return: Option<u16>,
    /// Of a valid token then: 200 once it was accepted, else the last.
    #[serde(default)]
    pub(crate) valid_after_return: Option<u16>,
}

/// Memory of a node process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) arm: String,
    pub(crate) live: u64,
    pub(crate) resident_bytes: u64,
    /// Of the store that keeps them, if it is Redis.
    pub(crate) redis_bytes: u64,
}
