//! PostgreSQL: one primary, any number of nodes.
//!
//! # Time limits, and why a commit has none of the server's
//!
//! A commit that waits for a standby and is cancelled by a `statement_timeout` (or by hand) reports *success*, though
//! the standby has nothing. So only readers have that setting. A writer has `lock_timeout`, which no commit waits
//! under, and this side's own limit for each answer: when it is over the connection is given up, which cancels nothing
//! at the server, and the outcome of a commit is settled on another connection.
//!
//! A node that dies or stands still in the middle of a transaction would hold its locks for as long as TCP takes to
//! notice, hours by default; `idle_in_transaction_session_timeout` ends that. Everybody who records waits for one row, so
//! this time is a part of how long a receipt can take while another node is paused. It is less than a waiter's
//! `lock_timeout`, or all of them would give up while one node stands still.

use std::{str::FromStr, time::Duration};

use sqlx::{
    ConnectOptions, Connection as _, PgConnection, PgPool, Postgres, Row as _,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};

use super::{DatabaseError, migration_error};

/// How long a statement waits for a connection. Beyond it the caller is better served by a 503 than by the wait.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections that read, and as many that write, so that a load of the ledger never waits behind logins or they behind
/// it. A node's renewals have a connection of their own, and what it hears another. A node's revocations share one transaction at a time, a login holds a connection for one statement and a commit:
/// 4 at 5 ms are 800 logins per second, more than a machine can hash passwords for. The server must allow 10 per node, and 16 more where every request looks into the database.
const READERS: u32 = 4;
const WRITERS: u32 = 4;

/// Connections for looks at every request, made when there are any: of a strategy that has them. Each look holds one for a
/// round trip: 16 at 1 ms are 16 000 looks per second.
const LOOKERS: u32 = 16;

/// How long a connection for a renewal may take to be made. The old one is not tried first: a renewal that meets a dead
/// connection gives it up at its limit, and the next one must not wait for that again.
const RENEWER_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a commit may take before its outcome is asked for on another connection.
const COMMIT_LIMIT: Duration = Duration::from_secs(10);

/// The settings of a connection that reads. Its limit is the one of this side: what nobody waits for need not go on.
const READING: [(&str, &str); 2] = [("default_transaction_read_only", "on"), ("statement_timeout", "10s")];

/// The settings of a connection that writes. No statement's limit of the role or the server may reach a commit. Between two
/// statements a node does nothing but that: two seconds are a process that is stopped, or a machine that cannot go on.
const WRITING: [(&str, &str); 3] =
    [("statement_timeout", "0"), ("lock_timeout", "5s"), ("idle_in_transaction_session_timeout", "2s")];

/// The pools of one server.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) readers: PgPool,
    pub(super) writers: PgPool,
    pub(super) lookers: PgPool,
    pub(super) renewer: PgPool,
}

impl Server {
    pub(super) async fn open(url: &str) -> Result<Self, DatabaseError> {
        let options = PgConnectOptions::from_str(url)?.application_name("kickout");
        // On a connection of its own: a pool tries again until its time is over, and then does not say why.
        let connecting = tokio::time::timeout(ACQUIRE_TIMEOUT, options.connect()).await;
        let mut connection = connecting.map_err(|_| DatabaseError::late())??;
        inspect(&mut connection).await?;
        // Nodes that start at once wait for each other here: the migrator holds an advisory lock.
        sqlx::migrate!("migrations/postgres").run(&mut connection).await.map_err(migration_error)?;
        connection.close().await?;
        let pool = |connections, settings: &[(&'static str, &'static str)]| {
            PgPoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(ACQUIRE_TIMEOUT)
                .after_connect(|connection, _| Box::pin(prepare(connection)))
                .connect_lazy_with(options.clone().options(settings.iter().copied()))
        };
        let renewer = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(RENEWER_TIMEOUT)
            .test_before_acquire(false)
            .after_connect(|connection, _| Box::pin(prepare(connection)))
            .connect_lazy_with(options.clone().options(WRITING));
        // Not tried before each use: that is a round trip, and whoever looks at every request looks again if one is dead.
        let lookers = PgPoolOptions::new()
            .max_connections(LOOKERS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(false)
            .after_connect(|connection, _| Box::pin(prepare(connection)))
            .connect_lazy_with(options.clone().options(READING));
        Ok(Self { readers: pool(READERS, &READING), writers: pool(WRITERS, &WRITING), lookers, renewer })
    }

    pub(super) async fn begin(&self) -> Result<Transaction, DatabaseError> {
        let mut connection = self.writers.acquire().await?;
        command(LIMIT, &mut connection, "BEGIN ISOLATION LEVEL READ COMMITTED").await?;
        Ok(Transaction { connection, is_over: false })
    }

    pub(super) async fn listen(&self, channels: &[&str]) -> Result<PgListener, DatabaseError> {
        let mut listener = PgListener::connect_with(&self.writers).await?;
        listener.listen_all(channels.iter().copied()).await?;
        Ok(listener)
    }

    pub(super) async fn close(&self) {
        super::close([&self.renewer, &self.lookers, &self.readers, &self.writers]).await;
    }
}

/// Whether this server can hold a ledger.
async fn inspect(connection: &mut PgConnection) -> Result<(), DatabaseError> {
    let row = sqlx::query(
        "SELECT current_setting('server_encoding') AS encoding, current_setting('fsync') AS fsync,
                pg_is_in_recovery() AS standby",
    )
    .fetch_one(connection)
    .await?;
    if row.try_get::<bool, _>("standby")? {
        return Err(DatabaseError::ReadOnly(standby()));
    }
    let encoding: &str = row.try_get("encoding")?;
    if encoding != "UTF8" {
        let problem = format!("this database's encoding is {encoding}. Make one with ENCODING 'UTF8'");
        return Err(DatabaseError::Setup(problem));
    }
    if row.try_get::<&str, _>("fsync")? == "off" {
        tracing::warn!(
            "this PostgreSQL server runs with fsync = off: after a crash of its machine, acknowledged revocations can \
             be gone. Never in production"
        );
    }
    Ok(())
}

/// Makes a new connection's commits durable, whatever its server, database or user have as their default. What is more
/// than `on` stays.
async fn prepare(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let row = sqlx::query(
        "SELECT pg_is_in_recovery() AS standby, set_config('synchronous_commit',
            CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false)",
    )
    .fetch_one(connection)
    .await?;
    // A standby knows what was true. Nothing is read there, lest somebody lives on who was revoked.
    if row.try_get("standby")? { Err(standby()) } else { Ok(()) }
}

fn standby() -> sqlx::Error {
    sqlx::Error::Protocol("this server is a standby; database.url must name the primary".into())
}

/// How long `BEGIN` and `ROLLBACK` may take.
const LIMIT: Duration = Duration::from_secs(5);

/// A transaction. One that is dropped before its end ends with its connection, because nobody knows how it stands.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) connection: PoolConnection<Postgres>,
    is_over: bool,
}

impl Transaction {
    pub(super) async fn commit(self) -> Result<(), DatabaseError> {
        self.end(COMMIT_LIMIT, "COMMIT").await
    }

    pub(super) async fn rollback(self) -> Result<(), DatabaseError> {
        self.end(LIMIT, "ROLLBACK").await
    }

    async fn end(mut self, limit: Duration, statement: &'static str) -> Result<(), DatabaseError> {
        command(limit, &mut self.connection, statement).await?;
        self.is_over = true;
        Ok(())
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.is_over {
            self.connection.close_on_drop();
        }
    }
}

async fn command(
    limit: Duration,
    connection: &mut PoolConnection<Postgres>,
    statement: &'static str,
) -> Result<(), DatabaseError> {
    within(limit, connection, async |link| sqlx::raw_sql(statement).execute(link).await).await?;
    Ok(())
}

/// Waits for an answer, but not for ever: the machine of a server that is cut off or gone sends no word of it. The
/// connection is of no use then.
pub(super) async fn within<T>(
    limit: Duration,
    connection: &mut PoolConnection<Postgres>,
    ask: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
) -> Result<T, DatabaseError> {
    if let Ok(answer) = tokio::time::timeout(limit, ask(connection)).await {
        return Ok(answer?);
    }
    connection.close_on_drop();
    Err(DatabaseError::late())
}
