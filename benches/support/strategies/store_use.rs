//! What a request asks of the stores.
//!
//! First nobody asks for a while: what the nodes say to the stores by themselves is told per second. Then valid requests
//! go round the nodes, one after the other, and what they took beyond that is told per request. Each node has seen each
//! credential before; a verdict that it need not ask for again is not asked for.

use std::time::Duration;

use kickout::clock::Clock;

use super::{
    super::rounds::float,
    arms::Kind,
    counters::{RedisCounters, SqlCounters},
    results::StoreUse,
    scene::{Scene, Site},
};
use crate::Failure;

/// Sessions that are asked for in turn.
const SESSIONS: usize = 200;

/// Requests, and how long the nodes are left alone before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amount {
    pub(crate) requests: usize,
    pub(crate) idle: Duration,
}

/// What the stores were asked so far.
#[derive(Debug, Clone, Copy)]
struct Asked {
    redis: u64,
    sql: u64,
}

/// The counters of both stores.
struct Counters {
    redis: RedisCounters,
    sql: SqlCounters,
}

impl Counters {
    async fn look(&mut self) -> Result<Asked, Failure> {
        Ok(Asked { redis: self.redis.commands()?, sql: self.sql.statements().await? })
    }
}

/// One arm on so many nodes. The server has to count statements.
pub(crate) async fn measure(site: Site<'_>, kind: Kind, nodes: usize, amount: Amount) -> Result<StoreUse, Failure> {
    let scene = Scene::start(site, kind, nodes, &[]).await?;
    let people = scene.people(SESSIONS.min(amount.requests), 1).await?;
    let mut sql = SqlCounters::of(site.postgres, scene.database()).await?;
    sql.count().await?;
    let mut counters = Counters { redis: RedisCounters::of(site.redis)?, sql };
    for node in 0..nodes {
        for person in &people {
            scene.accepts(node, person.cookie()).await?;
        }
    }
    let clock = Clock::System;
    let (since, first) = (clock.boottime(), counters.look().await?);
    tokio::time::sleep(amount.idle).await;
    let (begun, before) = (clock.boottime(), counters.look().await?);
    for n in 0..amount.requests {
        scene.accepts(n % nodes, people[(n / nodes) % people.len()].cookie()).await?;
    }
    let (ended, after) = (clock.boottime(), counters.look().await?);
    let (idle, busy) = (begun.since(since).as_secs_f64(), ended.since(begun).as_secs_f64());
    let figures = |first: u64, before: u64, after: u64| {
        let per_second = float(before - first) / idle;
        ((float(after - before) - per_second * busy) / float(amount.requests as u64), per_second)
    };
    let (redis_per_request, redis_idle_per_second) = figures(first.redis, before.redis, after.redis);
    let (sql_per_request, sql_idle_per_second) = figures(first.sql, before.sql, after.sql);
    counters.sql.close().await?;
    scene.stop().await?;
    Ok(StoreUse {
        arm: kind.name().to_owned(),
        nodes: u32::try_from(nodes)?,
        requests: amount.requests as u64,
        redis_per_request,
        sql_per_request,
        redis_idle_per_second,
        sql_idle_per_second,
    })
}
