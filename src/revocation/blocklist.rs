//! The blocklist: Redis, which nodes share for speed. **A hit means revoked; a miss means nothing.**
//!
//! It holds an entry per live revocation, so that a "maybe" of the filter is often resolved without the ledger, and
//! carries what nodes tell each other: a push for every recorded transaction, and acknowledgements. All of it is a hint
//! but for the acknowledgements; losing any of it costs milliseconds and no revocation:
//!
//! - Entries can vanish (eviction, a flush, a failover, a clock that leaps): a miss is never an answer, and the ledger
//!   is asked.
//! - Entries cannot say more than the ledger: each is a row of it, under its ledger's id, and lives as long as that row.
//!   Anything else that stands there counts as a miss.
//! - An older floor of a subject can overwrite a newer, higher one when two nodes publish at once. Both are true for as
//!   long as they live; the lower one just hits less often, and what it misses the ledger knows.
//! - Pushes can be lost: nodes pull when they are silent, and a batch is applied only where its links fit.
//!
//! Acknowledgements are believed: Redis is inside the trust boundary. Give it a password, and this program a user that
//! can do just this (`kickout` stands for `redis.prefix`):
//!
//! ```text
//! ACL SETUSER kickout on >PASSWORD resetkeys ~kickout:* resetchannels &kickout:*
//!     -@all +get +mget +set +del +eval +multi +exec +publish +subscribe +ping +info +unwatch +hello
//! ```
//!
//! Without `+eval` and `+del` each node counts tries ([`limits`](crate::limits)) for itself. Where every request asks Redis
//! ([`asked`]), it takes these and `+pttl +scan`. A database other than 0 in the URL takes `+select`, too.
//!
//! # Keys and channels
//!
//! | | holds |
//! |---|---|
//! | `{prefix}:{ledger id}:t:{jti}`, `…:s:{sid}` | `1`: revoked |
//! | `{prefix}:{ledger id}:u:{sub}` | `floor`, or `floor sid`: generations below are dead, but for that session; with the nil UUID, sessions are not |
//! | `{prefix}:{limits}:…` | counts of tries, as [`limits`](crate::limits) keeps them |
//! | `{prefix}:{ledger id}:f:{sub}`, `…:all`, `…:a:{sid}` | where every check asks Redis: [`asked`] |
//! | `{prefix}:deployment` | whose prefix this is: two deployments would mistake each other's acknowledgements |
//! | channel `{prefix}:feed`, `{prefix}:ack` | pushes and acknowledgements, in the words of [`message`] |
//!
//! # Time
//!
//! Every call has the limit of [`Settings::timeout`], the wait for a connection included. After a call that nobody
//! answered, calls fail at once for 100 ms to 2 s ([`BlocklistError::Away`]); then one tries. The life of an entry is
//! measured by Redis, from the ledger's own reading of what is left of it.

pub mod asked;
mod circuit;
mod entry;
mod error;
mod inspect;
mod listener;
pub mod message;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use deadpool_redis::{
    Connection, Manager, Pool, Runtime,
    redis::{
        AsyncConnectionConfig, Client, Cmd, ConnectionInfo, FromRedisValue, IntoConnectionInfo as _, ProtocolVersion,
        aio::MultiplexedConnection, cmd, io::tcp::TcpSettings, pipe,
    },
};
use tokio::time::timeout;

use crate::{
    clock::{Clock, Timestamp},
    ids::{DeploymentId, LedgerId, NodeId},
};

use super::{
    Cause, Presented,
    feed::{Batch, Cursor, Row},
};

pub use self::{error::BlocklistError, listener::Listener, message::Message};

use self::circuit::Circuit;

/// How long a connection may take when the program starts or listens: names are looked up, TCP tries again after a
/// second and after three.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Connections, the listener's not counted: one that all looks share, one each for what the recorder publishes and what
/// is acknowledged, and one to spare for a transaction of many rows. 100 nodes hold 500, of the 10 000 that Redis allows
/// by default.
const CONNECTIONS: usize = 4;

/// Entries that one pipeline sets: 256 × 200 B are 50 KiB, about 1 ms of a server's time, which is one thread.
const ENTRIES: usize = 256;

/// Which Redis, and how.
#[derive(Clone)]
pub struct Settings {
    /// Its URL: `redis://…` or `unix://…`.
    pub url: String,
    /// What all keys and channels begin with.
    pub prefix: String,
    /// How long one call may take.
    pub timeout: Duration,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A URL holds a password.
        let mut shown = f.debug_struct("Settings");
        shown.field("prefix", &self.prefix).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// The blocklist. Clones are the same one.
#[derive(Clone)]
pub struct Blocklist(Arc<Inner>);

struct Inner {
    prefix: String,
    timeout: Duration,
    deployment: DeploymentId,
    clock: Clock,
    circuit: Circuit,
    pool: Pool,
    /// For listeners.
    client: Client,
    /// The connection that all looks share: the driver sends them one after another without waiting for answers, so a
    /// look takes one round trip and never queues for a connection. The pool would try it before each use, which is a
    /// round trip more.
    line: Mutex<Option<Connection>>,
    /// Held by the one that connects.
    connecting: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Blocklist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Blocklist");
        shown.field("prefix", &self.0.prefix).field("is_healthy", &self.is_healthy()).finish_non_exhaustive()
    }
}

impl Blocklist {
    /// Connects to a server, within 5 s, and sees that it will do. Also returns what whoever operates it should know.
    ///
    /// A server that does not allow `INFO` is taken as it is, with a warning.
    ///
    /// # Errors
    /// [`BlocklistError`].
    pub async fn open(settings: Settings, deployment: DeploymentId) -> Result<(Self, Vec<String>), BlocklistError> {
        let Settings { url, prefix, timeout: patience } = settings;
        let info = address(&url)?;
        let client = |protocol| {
            let redis = info.redis_settings().clone().set_protocol(protocol).set_skip_set_lib_name();
            // A look is one small packet that somebody waits for.
            let tcp = TcpSettings::default().set_nodelay(true);
            Client::open(info.clone().set_redis_settings(redis).set_tcp_settings(tcp)).map_err(BlocklistError::from)
        };
        // Both limits are this module's own: they include the wait for a connection, and its first words.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let first = client(ProtocolVersion::RESP2)?;
        let inspect = async {
            let mut connection = first.get_multiplexed_async_connection_with_config(&config).await?;
            let warnings = inspect::server(&mut connection).await?;
            inspect::claim(&mut connection, &prefix, deployment).await?;
            Ok::<_, BlocklistError>(warnings)
        };
        let warnings = timeout(CONNECT_LIMIT, inspect).await.unwrap_or(Err(BlocklistError::Late))?;
        let manager = Manager::new_with_config(first.get_connection_info().clone(), config)?;
        let pool = Pool::builder(manager)
            .max_size(CONNECTIONS)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| BlocklistError::Protocol(error.to_string()))?;
        let inner = Inner {
            prefix,
            timeout: patience,
            deployment,
            clock: Clock::System,
            circuit: Circuit::new(patience),
            pool,
            // What is pushed comes beside the answers to pings.
            client: client(ProtocolVersion::RESP3)?,
            line: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
        };
        Ok((Self(Arc::new(inner)), warnings))
    }

    /// Whether the last call was answered.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.0.circuit.is_closed()
    }

    /// Whether an entry denies a token, in one round trip. `None` means nothing.
    ///
    /// # Errors
    /// [`BlocklistError`]; it means nothing either.
    pub async fn look(&self, presented: &Presented) -> Result<Option<Cause>, BlocklistError> {
        self.call(async {
            let mut get = cmd("MGET");
            get.arg(&entry::keys(&self.0.prefix, presented));
            let values: Vec<Option<Vec<u8>>> = self.ask(&get).await?;
            let values = <[_; 3]>::try_from(values)
                .map_err(|values| BlocklistError::Protocol(format!("{} values for 3 keys", values.len())))?;
            Ok(entry::cause(presented, &values))
        })
        .await
    }

    /// Tells all nodes of a transaction, and enters its rows. `now` is ledger time.
    ///
    /// What has to be told goes first: receipts wait for it, and a Redis whose memory is full still carries it. A
    /// transaction of many rows is entered in several steps, each with the limit of its own.
    ///
    /// # Errors
    /// [`BlocklistError`]: nodes that have not heard of it will pull it.
    pub async fn publish(&self, batch: &Batch, now: Timestamp) -> Result<(), BlocklistError> {
        let (first, others) = batch.rows.split_at(batch.rows.len().min(ENTRIES));
        self.call(self.enter(batch, first, now, true)).await?;
        for rows in others.chunks(ENTRIES) {
            self.call(self.enter(batch, rows, now, false)).await?;
        }
        Ok(())
    }

    /// Runs a script on keys of this deployment: what else nodes share that may be lost. It may run twice.
    ///
    /// # Errors
    /// [`BlocklistError`].
    pub async fn run(&self, script: &str, keys: &[String], arguments: &[i64]) -> Result<Vec<i64>, BlocklistError> {
        let mut eval = cmd("EVAL");
        eval.arg(script).arg(keys.len());
        for key in keys {
            eval.arg(format!("{}:{key}", self.0.prefix));
        }
        eval.arg(arguments);
        self.call(self.ask(&eval)).await
    }

    async fn enter(&self, batch: &Batch, rows: &[Row], now: Timestamp, is_first: bool) -> Result<(), BlocklistError> {
        let Inner { prefix, deployment, .. } = &*self.0;
        let mut pipeline = pipe();
        if is_first {
            pipeline.cmd("PUBLISH").arg(feed(prefix)).arg(message::push(batch)).ignore();
            // A flush takes the marker, too.
            pipeline.add_command(inspect::mark(prefix, *deployment)).ignore();
        }
        for row in rows {
            let key = entry::key(prefix, batch.ledger, row.target);
            if let Some((key, (value, life_ms))) = key.zip(entry::value(row, now)) {
                pipeline.cmd("SET").arg(key).arg(value).arg("PX").arg(life_ms).ignore();
            }
        }
        if pipeline.is_empty() {
            return Ok(());
        }
        Ok(pipeline.query_async(&mut self.connection().await?).await?)
    }

    /// Tells whoever waits that a node has applied everything up to a place in the ledger's history.
    ///
    /// # Errors
    /// [`BlocklistError`]: they will read it in the ledger.
    pub async fn acknowledge(&self, id: NodeId, ledger: LedgerId, at: Cursor) -> Result<(), BlocklistError> {
        self.call(async {
            let mut publish = cmd("PUBLISH");
            publish.arg(ack(&self.0.prefix)).arg(message::ack(id, ledger, at));
            Ok(publish.query_async(&mut self.connection().await?).await?)
        })
        .await
    }

    /// Listens to what all nodes say, this one included, on a connection of its own. Takes 5 s at most.
    ///
    /// # Errors
    /// [`BlocklistError`].
    pub async fn listen(&self) -> Result<Listener, BlocklistError> {
        let start = Listener::start(&self.0.client, &self.0.prefix);
        timeout(CONNECT_LIMIT, start).await.unwrap_or(Err(BlocklistError::Late))
    }

    /// Makes a call within the limit, if it is any use to call.
    async fn call<T>(&self, ask: impl Future<Output = Result<T, BlocklistError>>) -> Result<T, BlocklistError> {
        let Inner { circuit, clock, .. } = &*self.0;
        let pass = circuit.enter(clock.boottime()).ok_or(BlocklistError::Away)?;
        let answer = timeout(self.0.timeout, ask).await.unwrap_or(Err(BlocklistError::Late));
        match &answer {
            Err(error) if error.is_outage() => {
                if circuit.failed(pass, clock.boottime()) {
                    self.hang_up();
                }
            }
            // An error that was said is an answer, too.
            _ => circuit.succeeded(),
        }
        answer
    }

    /// Asks on the connection that all looks share, once more if it turns out to be dead.
    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, BlocklistError> {
        match command.query_async(&mut self.line().await?).await {
            // The server has closed it while nobody asked, or was started again.
            Err(error) if error.is_connection_dropped() => {
                self.hang_up();
                Ok(command.query_async(&mut self.line().await?).await?)
            }
            answer => Ok(answer?),
        }
    }

    /// The connection of looks, made by one of those that need it.
    async fn line(&self) -> Result<MultiplexedConnection, BlocklistError> {
        if let Some(line) = self.open_line() {
            return Ok(line);
        }
        let _alone = self.0.connecting.lock().await;
        if let Some(line) = self.open_line() {
            return Ok(line);
        }
        let connection = self.connection().await?;
        let line = MultiplexedConnection::clone(&connection);
        *self.lock_line() = Some(connection);
        Ok(line)
    }

    fn open_line(&self) -> Option<MultiplexedConnection> {
        self.lock_line().as_deref().cloned()
    }

    /// A connection of the pool, tried or new.
    async fn connection(&self) -> Result<Connection, BlocklistError> {
        // Getting one takes 10 KB of state, which must not be part of every check.
        Ok(Box::pin(self.0.pool.get()).await?)
    }

    /// Lets go of all connections that are not in use: whatever cut one off has most likely cut off all.
    fn hang_up(&self) {
        // Taken from the pool, so that it does not come back there.
        drop(self.lock_line().take().map(Connection::take));
        self.0.pool.retain(|_, _| false);
    }

    fn lock_line(&self) -> MutexGuard<'_, Option<Connection>> {
        // Nothing panics while it holds the lock.
        self.0.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The channel of pushes.
fn feed(prefix: &str) -> String {
    format!("{prefix}:feed")
}

/// The channel of acknowledgements.
fn ack(prefix: &str) -> String {
    format!("{prefix}:ack")
}

/// Reads a URL. What the driver says of one that is wrong is not passed on: it could quote it.
fn address(url: &str) -> Result<ConnectionInfo, BlocklistError> {
    url.into_connection_info()
        .map_err(|_| BlocklistError::Address("it is not of the form redis://user:password@host:port/database"))
}
