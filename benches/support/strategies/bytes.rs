//! Bytes: what a client sends with each request, and what a login leaves behind.
//!
//! Accounts are there before; then so many of their owners log in. In SQL that is what all tables and their indexes have
//! grown by, both times tidied up; in Redis the memory that it has given out. In a node's process it is what has become
//! resident once each of the credentials was sent to it, after others like them had been: what it remembers of those
//! that it has seen, an allocator's habits included.

use super::{
    super::rounds::float,
    arms::Kind,
    counters::{RedisCounters, SqlCounters, vacuum},
    results::Bytes,
    scene::{Person, Scene, Site},
};
use crate::Failure;

/// Logins before those that count, of which as many credentials are sent to the node.
const WARM_UPS: usize = 500;

/// How often a node is sent the credentials of the warm-up: its buffers are as large then as they get.
const TIMES: usize = 4;

/// What is held, and where.
#[derive(Debug, Clone, Copy)]
struct Held {
    sql: u64,
    redis: u64,
    node: u64,
}

/// Where what decides about a request is.
const fn state_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Stateless => "in the token alone, until it expires",
        Kind::Hybrid => "in each node's memory: a filter of what was taken back; what it is not sure of, in SQL",
        Kind::Exact => "in each node's memory: all that was taken back; the truth of it in SQL",
        Kind::Redis => "in Redis: all that was taken back; the truth of it in SQL",
        Kind::SessionRedis | Kind::TowerSessions => "in Redis: every session",
        Kind::SessionSql => "in SQL: every session",
        Kind::Empty => "nowhere",
    }
}

/// One arm, on one node.
pub(crate) async fn measure(site: Site<'_>, kind: Kind, logins: usize) -> Result<Bytes, Failure> {
    let mut redis = RedisCounters::of(site.redis)?;
    // Its tables are as small as at a start then, and none grows by the leavings of another measurement.
    redis.flush()?;
    let scene = Scene::start(site, kind, 1, &[]).await?;
    let warm = scene.people(WARM_UPS.min(logins), 1).await?;
    let subjects = scene.accounts(logins).await?;
    for _ in 0..TIMES {
        ask(&scene, &warm).await?;
    }
    let before = look(site, &scene, &mut redis).await?;
    let people = scene.log_in(&subjects, 1).await?;
    ask(&scene, &people).await?;
    let after = look(site, &scene, &mut redis).await?;
    scene.stop().await?;
    let each = |before: u64, after: u64| (float(after) - float(before)) / float(logins as u64);
    Ok(Bytes {
        arm: kind.name().to_owned(),
        state: state_of(kind).to_owned(),
        client_bytes_per_request: people.first().ok_or("nobody has logged in")?.cookie().len() as u64,
        logins: logins as u64,
        sql_bytes_per_login: each(before.sql, after.sql),
        redis_bytes_per_login: each(before.redis, after.redis),
        node_bytes_per_login: each(before.node, after.node),
    })
}

async fn ask(scene: &Scene<'_>, people: &[Person]) -> Result<(), Failure> {
    for person in people {
        scene.accepts(0, person.cookie()).await?;
    }
    Ok(())
}

async fn look(site: Site<'_>, scene: &Scene<'_>, redis: &mut RedisCounters) -> Result<Held, Failure> {
    vacuum(site.postgres, scene.database()).await?;
    let mut sql = SqlCounters::of(site.postgres, scene.database()).await?;
    let held = Held { sql: sql.bytes().await?, redis: redis.used_memory()?, node: scene.node(0).resident_bytes()? };
    sql.close().await?;
    Ok(held)
}
