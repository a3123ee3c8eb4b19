//! What else is compared: how long taking back takes, what the stores are asked, bytes, outages, memory.
//!
//! One arm at a time, but for outages, which all arms meet at once. Nodes share their core, as under load, and the stores
//! and whoever asks have the others. Each part has its own account of what it does.

use std::time::Duration;

use super::{
    super::servers::Servers,
    arms::Kind,
    bytes,
    counters::{COUNTING, SqlCounters},
    memory,
    outages::{self, Store, Times},
    results::{Bytes, Memory, Outage, Revoking, StoreUse},
    revoking,
    scene::Site,
    scope::Scope,
    store_use,
};
use crate::Failure;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) revoking: Vec<Revoking>,
    pub(crate) store_use: Vec<StoreUse>,
    pub(crate) bytes: Vec<Bytes>,
    pub(crate) outages: Vec<Outage>,
    pub(crate) memory: Vec<Memory>,
}

/// How much of everything.
struct Plan {
    /// All but the ceiling.
    kinds: Vec<Kind>,
    /// Those of which everything else is measured.
    watched: Vec<Kind>,
    nodes: Vec<usize>,
    /// Acts of each kind that count.
    repeats: usize,
    store_use: store_use::Amount,
    logins: usize,
    times: Times,
    live: Vec<u64>,
}

impl Plan {
    fn of(scope: &Scope) -> Self {
        let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Empty).collect();
        if scope.is_smoke {
            return Self {
                // Those that differ most; the verdicts of all are checked under load, too.
                kinds: vec![Kind::Stateless, Kind::Hybrid, Kind::SessionRedis, Kind::TowerSessions],
                watched: vec![Kind::Hybrid],
                nodes: vec![2],
                repeats: 1,
                store_use: store_use::Amount { requests: 20, idle: Duration::from_millis(50) },
                logins: 20,
                times: Times { seconds: vec![0.1], has_logout: false, after_return: Duration::from_millis(100) },
                live: vec![1000],
            };
        }
        Self {
            watched: kinds.clone(),
            kinds,
            nodes: vec![1, 2, 4],
            repeats: 20,
            store_use: store_use::Amount { requests: 2000, idle: Duration::from_secs(3) },
            logins: 5000,
            times: Times { seconds: vec![0.2, 2.0, 5.0], has_logout: true, after_return: Duration::from_secs(3) },
            live: scope.live.clone(),
        }
    }
}

/// What there is to measure, each by itself.
pub(crate) const PARTS: [&str; 5] = ["revoking", "bytes", "memory", "outages", "stores"];

/// Measures these [`PARTS`]. `progress` is told of each step when its answers were found right.
pub(crate) async fn measure(
    scope: &Scope,
    servers: &Servers,
    parts: &[&str],
    progress: &mut dyn FnMut(&str) -> Result<(), Failure>,
) -> Result<Facts, Failure> {
    let (plan, mut facts) = (Plan::of(scope), Facts::default());
    let site = Site::of(servers, &scope.pins)?;
    if parts.contains(&"revoking") {
        facts.revoking = all_revoking(site, &plan, progress).await?;
    }
    if parts.contains(&"bytes") {
        for &kind in &plan.watched {
            facts.bytes.push(bytes::measure(site, kind, plan.logins).await?);
            progress(&format!("bytes, {}", kind.name()))?;
        }
    }
    if parts.contains(&"memory") {
        let kinds: Vec<Kind> = memory::KEEPERS.into_iter().filter(|kind| plan.watched.contains(kind)).collect();
        for &live in &plan.live {
            facts.memory.extend(memory::measure(site, &kinds, live).await?);
            progress(&format!("memory with {live} live revocations"))?;
        }
    }
    if parts.contains(&"outages") {
        for store in Store::ALL {
            let kinds: Vec<Kind> = plan.watched.iter().copied().filter(|kind| store.is_of(*kind)).collect();
            facts.outages.extend(outages::measure(site, &kinds, store, &plan.times).await?);
            progress(&format!("outage of {}", store.name()))?;
        }
    }
    if parts.contains(&"stores") {
        facts.store_use = all_store_use(scope, servers, &plan, progress).await?;
    }
    Ok(facts)
}

async fn all_revoking(
    site: Site<'_>,
    plan: &Plan,
    progress: &mut dyn FnMut(&str) -> Result<(), Failure>,
) -> Result<Vec<Revoking>, Failure> {
    let mut found = Vec::new();
    for &kind in &plan.kinds {
        // What is still accepted is watched to the end each time, and is so every time.
        let repeats = if kind.takes_back() { plan.repeats } else { plan.repeats.min(5) };
        for &nodes in &plan.nodes {
            found.extend(revoking::measure(site, kind, nodes, repeats).await?);
        }
        progress(&format!("taking back, {}", kind.name()))?;
    }
    Ok(found)
}

/// On a server that counts its statements: the run's own, or one more.
async fn all_store_use(
    scope: &Scope,
    servers: &Servers,
    plan: &Plan,
    progress: &mut dyn FnMut(&str) -> Result<(), Failure>,
) -> Result<Vec<StoreUse>, Failure> {
    let is_counting = SqlCounters::is_counting(&servers.postgres).await?;
    let counting = if is_counting { None } else { Some(Servers::start(&[COUNTING])?) };
    let site = Site::of(counting.as_ref().unwrap_or(servers), &scope.pins)?;
    let mut found = Vec::new();
    for &kind in &plan.watched {
        for &nodes in &plan.nodes {
            found.push(store_use::measure(site, kind, nodes, plan.store_use).await?);
        }
        progress(&format!("what stores are asked, {}", kind.name()))?;
    }
    Ok(found)
}
