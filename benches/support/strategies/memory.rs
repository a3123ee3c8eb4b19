//! Memory against live revocations.
//!
//! The ledger is filled before the nodes start, so that each begins with all of it, as after a restart; every arm has a
//! copy of the same one. Redis gets what the nodes that recorded them would have put there; where every check asks it,
//! the node fills it. Then a few credentials are shown to the node, those that were taken back among them, and what its
//! process and Redis hold is read.

use std::time::Duration;

use kickout::{
    database::{Database, Query},
    ids::TokenId,
};
use uuid::Uuid;

use super::{
    super::fleet::{Ticket, ledger_id},
    arms::{Kind, Setup},
    counters::RedisCounters,
    results::Memory,
    scene::{Person, Scene, Site, setup},
    workload::{Host, prepare},
};
use crate::Failure;

/// Sessions that are shown to each node.
const SESSIONS: usize = 64;

/// The arms that keep what was taken back.
pub(crate) const KEEPERS: [Kind; 3] = [Kind::Hybrid, Kind::Exact, Kind::Redis];

/// Filling and loading ten million takes minutes, and none may expire meanwhile.
const LIFE: &[(&str, &str)] = &[("tokens.access_ttl", "4h")];

/// Entries of one pipeline to Redis.
const PIPELINE: i64 = 10_000;

/// How long reading one page of live revocations may take.
const PAGE: Duration = Duration::from_mins(1);

/// How long nodes are left alone before they are looked at: what a load has freed goes back to the system by then.
const REST: Duration = Duration::from_millis(500);

/// Each of these arms with so many live revocations.
pub(crate) async fn measure(site: Site<'_>, kinds: &[Kind], live: u64) -> Result<Vec<Memory>, Failure> {
    let database = site.postgres.create().await?;
    let first = with_live(setup(site, Kind::Hybrid, &database, LIFE), live);
    Box::pin(prepare(&first, live)).await?;
    let tickets = Box::pin(tickets(&first)).await?;
    let (revoked, valid) = tickets.split_at(SESSIONS / 2);
    let people = |tickets: &[_]| -> Vec<Person> { tickets.chunks(1).map(Person::of).collect() };
    let (revoked, valid) = (people(revoked), people(valid));
    let mut found = Vec::with_capacity(kinds.len());
    for &kind in kinds {
        let copy = site.postgres.copy(&database).await?;
        let setup = with_live(setup(site, kind, &copy, LIFE), live);
        let mut counters = RedisCounters::of(site.redis)?;
        counters.flush()?;
        // Where each check asks Redis, a node fills it by itself.
        if kind != Kind::Redis {
            publish(&setup, &mut counters).await?;
        }
        let scene = Scene::start_on(site, setup, copy, 1).await?;
        for (valid, revoked) in valid.iter().zip(&revoked) {
            scene.accepts(0, valid.cookie()).await?;
            scene.refuses(0, revoked.cookie()).await?;
        }
        tokio::time::sleep(REST).await;
        let keys = counters.keys()?;
        if keys < live {
            return Err(format!("{}: {keys} keys in Redis of {live} live revocations", kind.name()).into());
        }
        found.push(Memory {
            arm: kind.name().to_owned(),
            live,
            resident_bytes: scene.node(0).resident_bytes()?,
            redis_bytes: counters.used_memory()?,
        });
        scene.stop().await?;
    }
    RedisCounters::of(site.redis)?.flush()?;
    site.postgres.drop_database(&database).await?;
    Ok(found)
}

fn with_live(setup: Setup, live: u64) -> Setup {
    Setup { live, ..setup }
}

/// Sessions, of which the first half has ended.
async fn tickets(setup: &Setup) -> Result<Vec<Ticket>, Failure> {
    let host = Host::start(setup).await?;
    let tickets = host.mint(SESSIONS, 1).await?;
    host.revoke(&tickets[..SESSIONS / 2]).await?;
    host.stop().await?;
    Ok(tickets)
}

/// Writes the live revocations of tokens into Redis, as the nodes that recorded them would have.
async fn publish(setup: &Setup, redis: &mut RedisCounters) -> Result<(), Failure> {
    let database = Database::open_url(&setup.database).await?;
    let ledger = ledger_id(&database).await?;
    let mut seq = 0;
    loop {
        // By whole transactions: those of a bench have 256 rows at most.
        let page = "SELECT seq, id, until FROM revocations WHERE kind = 1 AND seq >= $1 AND seq < $2";
        let mut reader = database.read().await?;
        let step = PIPELINE / 256;
        let query = Query::assembled(page.to_owned()).bind(seq).bind(seq + step).within(PAGE);
        let rows = query.fetch_all(&mut reader).await?;
        drop(reader);
        if rows.is_empty() && seq > 0 {
            return Ok(());
        }
        let mut entries = Vec::with_capacity(rows.len());
        for row in &rows {
            let id = TokenId::from(Uuid::from_slice(&row.bytes("id")?)?);
            entries.push((format!("{}:{ledger}:t:{id}", setup.prefix), row.int("until")?));
        }
        if !entries.is_empty() {
            redis.set_all(&entries)?;
        }
        seq += step;
    }
}
