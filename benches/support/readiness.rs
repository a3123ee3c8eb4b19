//! How long a node takes from its start to its first answer, with many live revocations in its ledger.

use std::{sync::Arc, time::Duration};

use kickout::{
    app::{App, database_file},
    clock::Clock,
    config::Config,
    database::{Database, Query, sql},
    ids::{SessionId, Subject},
    instance::DataFolder,
    lifecycle::{Shutdown, Tasks},
};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::{
    fleet::{Mint, Ticket, accepts, ledger_id, refuses, settings},
    rounds::Spread,
    servers::{Postgres, run},
};
use crate::Failure;

/// Rows of one transaction: as many as the recorder lets share one.
const BATCH: u64 = 256;

/// Between the tags of neighbours. Tags are random; here they only have to be different, and to link.
const STRIDE: i64 = 1_000_000_000_039;

/// How long a node may take to end.
const STOP: Duration = Duration::from_secs(10);

/// How long filling may take: a million rows with their indexes are some 20 s.
const FILLING: Duration = Duration::from_mins(10);

/// Rows that are sessions with a token to be refused.
const TICKETS: usize = 32;

/// The same ledger on either database, row by row: transactions of 256 revoked tokens, linked by their tags, and one of
/// sessions. `$1` is the number of the last of the former, `$2` how many rows they have, `$3` until when they live.
const FILL: &str = "
    WITH RECURSIVE
        numbers(n) AS (SELECT CAST(0 AS bigint) UNION ALL SELECT n + 1 FROM numbers WHERE n < 255),
        heads(s, op) AS (SELECT CAST(1 AS bigint), {id} UNION ALL SELECT s + 1, {id} FROM heads WHERE s < $1)
    INSERT INTO revocations (seq, n, prev, tag, op, kind, id, until)
    SELECT s, n, CASE WHEN s = 1 THEN (SELECT tag FROM head) ELSE (s - 1) * {stride} END, s * {stride}, op, 1, {bytes},
           $3
    FROM heads CROSS JOIN numbers WHERE (s - 1) * 256 + n < $2";

/// Opening took so long, and being ready after that.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ready {
    pub(crate) database: Kind,
    pub(crate) rows: u64,
    /// From opening the database to everything put together.
    pub(crate) open_ms: Spread,
    /// From there to live.
    pub(crate) load_ms: Spread,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Sqlite,
    Postgresql,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Postgresql, Self::Sqlite];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgresql => "PostgreSQL",
        }
    }
}

/// A ledger that is full, and a folder for the node that reads it.
#[derive(Debug)]
pub(crate) struct Full {
    kind: Kind,
    rows: u64,
    config: Config,
    revoked: Vec<Ticket>,
    valid: Vec<Ticket>,
    open_ms: Vec<f64>,
    load_ms: Vec<f64>,
    _folder: TempDir,
}

impl Full {
    /// Fills a ledger with so many live rows.
    pub(crate) async fn fill(postgres: &Postgres, kind: Kind, rows: u64) -> Result<Self, Failure> {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let mut config = match kind {
            Kind::Postgresql => settings(&postgres.url(&postgres.create().await?)),
            Kind::Sqlite => Config::default(),
        };
        config.data_dir = folder.path().join("data");
        let data = DataFolder::open(&config.data_dir)?;
        let file = database_file(&data);
        let app = App::build(config.clone(), Clock::System, data).await?;
        let (keys, now) = (Arc::clone(app.keys()), app.sessions().clock().now());
        app.close().await;
        let database = match kind {
            Kind::Postgresql => Database::open_url(config.database.url.expose()).await?,
            Kind::Sqlite => Database::open(&file).await?,
        };
        let mint = Mint::new(&keys, ledger_id(&database).await?, config.tokens.clone());
        let draw = || mint.ticket(now, SessionId::random(), Subject::random());
        let revoked: Vec<Ticket> = (0..TICKETS).map(|_| draw()).collect();
        let valid: Vec<Ticket> = (0..TICKETS).map(|_| draw()).collect();
        let until = (now + config.tokens.access_ttl.duration()).as_millis();
        fill(&database, kind, rows, until, &revoked).await?;
        database.close().await;
        if kind == Kind::Postgresql {
            // What the server does by itself to a table that has grown, if a little later.
            run(config.database.url.expose(), "VACUUM (ANALYZE) revocations").await?;
            run(config.database.url.expose(), "CHECKPOINT").await?;
        }
        Ok(Self { kind, rows, config, revoked, valid, open_ms: Vec::new(), load_ms: Vec::new(), _folder: folder })
    }

    /// Starts a node on it, checks its first answers, and ends it.
    pub(crate) async fn round(&mut self) -> Result<(), Failure> {
        let clock = Clock::System;
        let folder = DataFolder::open(&self.config.data_dir)?;
        let since = clock.boottime();
        let app = App::build(self.config.clone(), clock.clone(), folder).await?;
        let opened = clock.boottime();
        let tasks = Tasks::new(Shutdown::new());
        app.start(&tasks).await?;
        let ready = clock.boottime();
        for ticket in &self.revoked {
            refuses(app.sessions(), ticket).await?;
        }
        for ticket in &self.valid {
            accepts(app.sessions(), ticket).await?;
        }
        tasks.shutdown().drain();
        app.end(&tasks, STOP).await;
        self.open_ms.push(opened.since(since).as_secs_f64() * 1e3);
        self.load_ms.push(ready.since(opened).as_secs_f64() * 1e3);
        Ok(())
    }

    pub(crate) fn found(self) -> Ready {
        let (open_ms, load_ms) = (Spread::of(self.open_ms), Spread::of(self.load_ms));
        Ready { database: self.kind, rows: self.rows, open_ms, load_ms }
    }
}

/// Writes the ledger of a fresh database, past the recorder, which would take minutes: so many revoked tokens, and the
/// sessions of these tickets, of which there has to be one.
pub(crate) async fn fill(
    database: &Database,
    kind: Kind,
    rows: u64,
    until: i64,
    revoked: &[Ticket],
) -> Result<(), Failure> {
    let (id, bytes) = match kind {
        Kind::Postgresql => ("gen_random_uuid()", "uuid_send(gen_random_uuid())"),
        Kind::Sqlite => ("randomblob(16)", "randomblob(16)"),
    };
    let text = FILL.replace("{id}", id).replace("{bytes}", bytes).replace("{stride}", &STRIDE.to_string());
    let last = i64::try_from(rows.div_ceil(BATCH))?;
    let mut writer = database.write().await?;
    let query = Query::assembled(text).bind(last).bind(i64::try_from(rows)?).bind(until).within(FILLING);
    if query.execute(&mut writer).await? != rows {
        return Err("not as many rows as there should be".into());
    }
    let end = (last + 1) * STRIDE;
    for (n, ticket) in revoked.iter().enumerate() {
        sql("INSERT INTO revocations (seq, n, prev, tag, op, kind, id, until) VALUES ($1, $2, $3, $4, $5, 2, $6, $7)")
            .bind(last + 1)
            .bind(i64::try_from(n)?)
            .bind(last * STRIDE)
            .bind(end)
            .bind(ticket.subject.uuid())
            .bind(ticket.session.uuid().as_bytes().to_vec())
            .bind(until)
            .execute(&mut writer)
            .await?;
    }
    sql("UPDATE head SET seq = $1, tag = $2").bind(last + 1).bind(end).execute(&mut writer).await?;
    Ok(())
}
