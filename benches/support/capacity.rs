//! How many logouts a cluster acknowledges, in a closed loop: so many callers, each waiting for its complete receipt
//! before it asks for the next one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use kickout::{
    clock::{BootInstant, Clock},
    revocation::Patience,
    sessions::Sessions,
};
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection};
use tokio::task::JoinSet;

use super::{
    fleet::{Fleet, Ticket, With, complete, refuses},
    latencies::{Latencies, Percentiles},
    rounds::{Spread, float},
    servers::{Redis, Servers, own_cpu_us},
};
use crate::Failure;

/// Checks at once, after a window.
const CHECKERS: usize = 16;

/// What was found at one concurrency.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Capacity {
    pub(crate) with: With,
    pub(crate) nodes: usize,
    pub(crate) concurrency: usize,
    /// Complete receipts.
    pub(crate) per_second: Spread,
    /// From the call to the complete receipt.
    pub(crate) receipt_ms: Percentiles,
    pub(crate) p50_ms: Spread,
    pub(crate) p99_ms: Spread,
    /// Processor time per logout: of the nodes and the callers, which are one process, …
    pub(crate) process_us: Spread,
    /// … of PostgreSQL …
    pub(crate) postgres_us: Spread,
    /// … and of Redis.
    pub(crate) redis_us: Option<Spread>,
}

/// What a window has cost and brought.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) logouts: u64,
    per_second: f64,
    latencies: Latencies,
    process_us: f64,
    postgres_us: f64,
    redis_us: Option<f64>,
}

/// Figures as they come in.
#[derive(Debug)]
pub(crate) struct Gathered {
    pub(crate) with: With,
    pub(crate) concurrency: usize,
    nodes: usize,
    windows: Vec<Window>,
}

impl Gathered {
    pub(crate) const fn new(with: With, nodes: usize, concurrency: usize) -> Self {
        Self { with, concurrency, nodes, windows: Vec::new() }
    }

    /// A window on a running cluster, and the checks after it.
    pub(crate) async fn round(&mut self, servers: &Servers, fleet: &Fleet, load: Load) -> Result<(), Failure> {
        let (window, revoked) = run_window(servers, fleet, self.concurrency, load).await?;
        check(fleet, revoked, self.concurrency, load.checked).await?;
        self.windows.push(window);
        Ok(())
    }

    pub(crate) fn found(self) -> Result<Capacity, Failure> {
        let spread = |of: &dyn Fn(&Window) -> f64| Spread::of(self.windows.iter().map(of).collect());
        let mut all = Latencies::new()?;
        for window in &self.windows {
            all.add(&window.latencies)?;
        }
        let redis: Option<Vec<f64>> = self.windows.iter().map(|window| window.redis_us).collect();
        Ok(Capacity {
            with: self.with,
            nodes: self.nodes,
            concurrency: self.concurrency,
            per_second: spread(&|window| window.per_second),
            receipt_ms: all.percentiles(),
            p50_ms: spread(&|window| window.latencies.percentiles().p50),
            p99_ms: spread(&|window| window.latencies.percentiles().p99),
            process_us: spread(&|window| window.process_us),
            postgres_us: spread(&|window| window.postgres_us),
            redis_us: redis.map(Spread::of),
        })
    }
}

/// How much a window does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// How long it lasts …
    pub(crate) window: Duration,
    /// … if there are sessions for so long, for each caller at most.
    pub(crate) per_caller: usize,
    /// No more sessions than this are made for one window.
    pub(crate) most: usize,
    /// Logouts that are checked on all nodes at once, after the window, at the same concurrency.
    pub(crate) checked: usize,
}

/// One window: callers, and nothing else. Also returns what they have revoked.
pub(crate) async fn run_window(
    servers: &Servers,
    fleet: &Fleet,
    concurrency: usize,
    load: Load,
) -> Result<(Window, Vec<Ticket>), Failure> {
    let tickets = Arc::new(fleet.mint((load.per_caller * concurrency).min(load.most)).await?);
    fleet.is_accepted(&tickets[0]).await?;
    let nodes = fleet.all();
    let (own, postgres) = (own_cpu_us(), servers.postgres.cpu_us()?);
    let redis = servers.redis.as_ref().map(Redis::cpu_us).transpose()?;
    let next = Arc::new(AtomicUsize::new(0));
    let begun = Clock::System.boottime();
    let end = begun + load.window;
    let mut callers = JoinSet::new();
    for n in 0..concurrency {
        let caller = Caller { node: nodes[n % nodes.len()].clone(), of: nodes.len(), end };
        callers.spawn(caller.run(Arc::clone(&tickets), Arc::clone(&next)));
    }
    let (mut done, mut over) = (Vec::new(), end);
    while let Some(caller) = callers.join_next().await {
        let (more, dry) = caller??;
        over = over.min(dry.unwrap_or(end));
        done.extend(more);
    }
    let logouts = u64::try_from(done.len())?;
    let per_logout = |us: u64| float(us) / float(logouts.max(1));
    let (process_us, postgres_us) = (per_logout(own_cpu_us() - own), per_logout(servers.postgres.cpu_us()? - postgres));
    let redis_us = match (&servers.redis, redis) {
        (Some(server), Some(before)) => Some(per_logout(server.cpu_us()? - before)),
        _ => None,
    };
    let within = done.iter().filter(|(_, at, _)| *at <= over).count();
    let per_second = float(u64::try_from(within)?) / over.since(begun).as_secs_f64();
    let mut latencies = Latencies::new()?;
    for (_, _, took) in &done {
        latencies.record(*took)?;
    }
    let revoked: Vec<Ticket> = done.iter().map(|(n, _, _)| tickets[*n].clone()).collect();
    Ok((Window { logouts, per_second, latencies, process_us, postgres_us, redis_us }, revoked))
}

/// Somebody who logs people out, one after the other, at one node.
struct Caller {
    node: Sessions,
    of: usize,
    end: BootInstant,
}

/// Which session, when the receipt was there, and how long it took.
type Logout = (usize, BootInstant, Duration);

impl Caller {
    /// Returns when there was no session left, if that was so.
    async fn run(
        self,
        tickets: Arc<Vec<Ticket>>,
        next: Arc<AtomicUsize>,
    ) -> Result<(Vec<Logout>, Option<BootInstant>), Failure> {
        let clock = Clock::System;
        let mut done = Vec::new();
        loop {
            let called = clock.boottime();
            if called >= self.end {
                return Ok((done, None));
            }
            let n = next.fetch_add(1, Ordering::Relaxed);
            let Some(ticket) = tickets.get(n) else { return Ok((done, Some(called))) };
            let receipt = self.node.end_session(ticket.session, ticket.subject, Patience::Complete).await?;
            let at = clock.boottime();
            complete(&receipt, self.of)?;
            done.push((n, at, at.since(called)));
        }
    }
}

/// Every token that was revoked is refused, by one node or another; and of some more logouts at the same concurrency
/// each is refused by every node as soon as its receipt is there.
async fn check(fleet: &Fleet, revoked: Vec<Ticket>, concurrency: usize, more: usize) -> Result<(), Failure> {
    let (nodes, revoked) = (Arc::new(fleet.all()), Arc::new(revoked));
    let mut checkers = JoinSet::new();
    for first in 0..CHECKERS {
        let (nodes, revoked) = (Arc::clone(&nodes), Arc::clone(&revoked));
        checkers.spawn(async move {
            for n in (first..revoked.len()).step_by(CHECKERS) {
                refuses(&nodes[(n / CHECKERS) % nodes.len()], &revoked[n]).await?;
            }
            Ok::<(), Failure>(())
        });
    }
    let (tickets, next) = (Arc::new(fleet.mint(more).await?), Arc::new(AtomicUsize::new(0)));
    for first in 0..concurrency.min(more) {
        let (nodes, tickets, next) = (Arc::clone(&nodes), Arc::clone(&tickets), Arc::clone(&next));
        checkers.spawn(async move {
            let node = &nodes[first % nodes.len()];
            while let Some(ticket) = tickets.get(next.fetch_add(1, Ordering::Relaxed)) {
                let receipt = node.end_session(ticket.session, ticket.subject, Patience::Complete).await?;
                complete(&receipt, nodes.len())?;
                for node in nodes.iter() {
                    refuses(node, ticket).await?;
                }
            }
            Ok::<(), Failure>(())
        });
    }
    while let Some(checked) = checkers.join_next().await {
        checked??;
    }
    Ok(())
}

/// What bounds the figures from above.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bounds {
    /// Commits of one small row on one connection, one after the other: what the disk gives.
    pub(crate) commits_per_second: Spread,
    pub(crate) commit_ms: Percentiles,
    /// Turns of callers who call nothing, at the highest concurrency: what the loop itself takes.
    pub(crate) idle_turns_per_second: Spread,
}

/// Bounds as they come in.
#[derive(Debug)]
pub(crate) struct Floor {
    commits: Vec<f64>,
    latencies: Latencies,
    turns: Vec<f64>,
}

impl Floor {
    pub(crate) fn new() -> Result<Self, Failure> {
        Ok(Self { commits: Vec::new(), latencies: Latencies::new()?, turns: Vec::new() })
    }

    pub(crate) async fn round(&mut self, url: &str, window: Duration, concurrency: usize) -> Result<(), Failure> {
        let clock = Clock::System;
        let mut connection = PgConnection::connect(url).await?;
        sqlx::raw_sql("CREATE TABLE IF NOT EXISTS floor (n bigint)").execute(&mut connection).await?;
        let begun = clock.boottime();
        let mut count = 0;
        while clock.boottime() < begun + window {
            let since = clock.boottime();
            sqlx::query("INSERT INTO floor VALUES ($1)").bind(1_i64).execute(&mut connection).await?;
            self.latencies.record(clock.boottime().since(since))?;
            count += 1;
        }
        self.commits.push(float(count) / clock.boottime().since(begun).as_secs_f64());
        connection.close().await?;
        let (end, begun) = (clock.boottime() + window / 4, clock.boottime());
        let mut callers = JoinSet::new();
        for _ in 0..concurrency {
            callers.spawn(async move {
                let mut turns = 0_u64;
                while Clock::System.boottime() < end {
                    tokio::task::yield_now().await;
                    turns += 1;
                }
                turns
            });
        }
        let mut turns = 0;
        while let Some(more) = callers.join_next().await {
            turns += more?;
        }
        self.turns.push(float(turns) / clock.boottime().since(begun).as_secs_f64());
        Ok(())
    }

    pub(crate) fn found(self) -> Bounds {
        Bounds {
            commits_per_second: Spread::of(self.commits),
            commit_ms: self.latencies.percentiles(),
            idle_turns_per_second: Spread::of(self.turns),
        }
    }
}
