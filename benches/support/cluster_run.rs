//! A whole run of the cluster's figures: fresh clusters in turn, round by round.

use std::time::Duration;

use kickout::clock::Clock;

use super::{
    bulk,
    capacity::{self, Floor, Load},
    cluster_report::{About, Planned, Report},
    fleet::{Fleet, With},
    machine::Machine,
    profile, propagation,
    readiness::{Full, Kind},
    servers::{Redis, SETTINGS, Servers},
};
use crate::Failure;

/// How much a run does.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    rounds: usize,
    /// Sizes of clusters for the time that a revocation takes.
    nodes: Vec<usize>,
    /// The size for capacity.
    three: usize,
    /// Logouts of a round, one after the other: where they are pushed, and where they are pulled.
    logouts: (usize, usize),
    concurrency: Vec<usize>,
    load: Load,
    /// Ids of a bulk revocation.
    bulk: usize,
    rows: u64,
    profiles: bool,
}

impl Plan {
    /// Everything.
    pub(crate) fn full(rounds: usize, rows: u64) -> Self {
        let load = Load { window: Duration::from_millis(1200), per_caller: 600, most: 8000, checked: 256 };
        Self {
            rounds,
            nodes: vec![1, 3, 8],
            three: 3,
            logouts: (60, 8),
            concurrency: vec![1, 16, 256],
            load,
            bulk: 100_000,
            rows,
            profiles: true,
        }
    }

    /// The same way once through, for its answers only.
    pub(crate) fn smoke() -> Self {
        let load = Load { window: Duration::from_millis(200), per_caller: 8, most: 32, checked: 16 };
        Self {
            rounds: 1,
            nodes: vec![2],
            three: 2,
            logouts: (3, 1),
            concurrency: vec![4],
            load,
            bulk: 2_000,
            rows: 2_000,
            profiles: false,
        }
    }

    /// Only where the time of a logout goes.
    pub(crate) fn profile() -> Self {
        Self { rounds: 0, rows: 0, ..Self::full(0, 0) }
    }
}

/// Runs a plan. `progress` is told of each step when its answers were found right.
pub(crate) async fn measure(
    plan: &Plan,
    mut progress: impl FnMut(&str) -> Result<(), Failure>,
) -> Result<Report, Failure> {
    let begun = Clock::System.boottime();
    let machine = Machine::look(&Clock::System);
    let servers = Servers::start(&[])?;
    let (postgresql, file_system) = servers.postgres.describe().await?;
    let about = About {
        postgresql,
        postgresql_settings: SETTINGS.map(str::to_owned).into(),
        file_system,
        redis: servers.redis.as_ref().map(|_| Redis::version()),
    };
    let has_redis = servers.redis.is_some();
    let ways: Vec<With> = With::ALL.into_iter().filter(|with| has_redis || !with.needs_redis()).collect();
    let mut missing = Vec::new();
    if !has_redis {
        missing.push("with Redis, and without any push: redis-server is not installed".to_owned());
    }
    let mut bulk: Vec<_> = ways
        .iter()
        .filter(|with| **with != With::Pull)
        .map(|&with| bulk::Gathered::new(with, plan.three, plan.bulk))
        .collect();
    let mut propagation = Vec::new();
    for &nodes in &plan.nodes {
        for &with in &ways {
            propagation.push(propagation::Gathered::new(with, nodes)?);
        }
    }
    let mut capacity = Vec::new();
    for &with in ways.iter().filter(|with| **with != With::Pull) {
        let at = |&concurrency: &usize| capacity::Gathered::new(with, plan.three, concurrency);
        capacity.extend(plan.concurrency.iter().map(at));
    }
    let mut bounds = Floor::new()?;
    let database = servers.postgres.create().await?;
    let most = plan.concurrency.iter().copied().max().unwrap_or(1);
    for round in 1..=plan.rounds {
        for gathered in &mut propagation {
            let logouts = if gathered.with == With::Pull { plan.logouts.1 } else { plan.logouts.0 };
            gathered.round(&servers, logouts).await?;
        }
        progress(&format!(
            "round {round}: a revoked token is refused on each node as soon as its receipt is complete"
        ))?;
        for &with in &ways {
            let mut here: Vec<_> = capacity.iter_mut().filter(|gathered| gathered.with == with).collect();
            if here.is_empty() {
                continue;
            }
            let fleet = Fleet::start(&servers, with, plan.three).await?;
            for gathered in &mut here {
                gathered.round(&servers, &fleet, plan.load).await?;
            }
            for gathered in bulk.iter_mut().filter(|gathered| gathered.with == with) {
                gathered.round(&fleet).await?;
            }
            fleet.stop(&servers).await?;
        }
        bounds.round(&servers.postgres.url(&database), plan.load.window / 2, most).await?;
        progress(&format!("round {round}: so it is with many at once"))?;
    }
    let ready = ready(plan, &servers, &mut progress).await?;
    drop(servers);
    let mut profiles = Vec::new();
    for &with in ways.iter().filter(|with| plan.profiles && **with != With::Pull) {
        profiles.push(profile::measure(with, plan.three, most, plan.load).await?);
        progress(&format!("where the time goes, with {}", with.name()))?;
    }
    Ok(Report {
        machine,
        servers: about,
        plan: Planned { rounds: plan.rounds, window_seconds: plan.load.window.as_secs_f64(), rows: plan.rows },
        propagation: propagation.into_iter().map(propagation::Gathered::found).collect(),
        capacity: capacity.into_iter().map(capacity::Gathered::found).collect::<Result<_, _>>()?,
        bulk: bulk.into_iter().map(bulk::Gathered::found).collect(),
        bounds: bounds.found(),
        ready,
        profiles,
        missing,
        took_seconds: Clock::System.boottime().since(begun).as_secs_f64(),
    })
}

/// The time to ready, on both databases in turn.
async fn ready(
    plan: &Plan,
    servers: &Servers,
    progress: &mut impl FnMut(&str) -> Result<(), Failure>,
) -> Result<Vec<super::readiness::Ready>, Failure> {
    if plan.rows == 0 {
        return Ok(Vec::new());
    }
    let mut ledgers = Vec::new();
    for kind in Kind::ALL {
        ledgers.push(Full::fill(&servers.postgres, kind, plan.rows).await?);
        progress(&format!("{} holds {} live rows", kind.name(), plan.rows))?;
    }
    for _ in 0..plan.rounds {
        for ledger in &mut ledgers {
            ledger.round().await?;
        }
    }
    progress("a node that starts on them refuses what is revoked, and nothing else")?;
    Ok(ledgers.into_iter().map(Full::found).collect())
}
