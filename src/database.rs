//! The SQL database: opening, migrating, asking, and telling its troubles apart.
//!
//! One set of statements serves SQLite and PostgreSQL; [`query`] says how. `ledger`, `users` and `sessions` hold the
//! statements, and no other module knows which database it is. A check of a token does not come here at all, so
//! choosing between the two at each statement costs nothing that matters.
//!
//! | | SQLite | PostgreSQL |
//! |---|---|---|
//! | who | one process, by a lock beside the file | any number of nodes |
//! | reads | a pool of its own, read only | the same, on the primary |
//! | writes | one connection: waiting in the pool's queue is fair, where waiting for SQLite's own lock is polling | a pool |
//! | a transaction | holds the write lock from its start: what it reads stays true until it commits | READ COMMITTED: what must stay true has to be locked |
//! | durable | write-ahead log, `synchronous=FULL` | `synchronous_commit` is `on` or `remote_apply` on every connection |
//! | time | this machine's | the server's |

mod error;
mod postgres;
pub mod query;
mod sqlite;

use std::path::Path;

use sqlx::{
    Sqlite,
    pool::{Pool, PoolConnection},
};

pub use self::{
    error::DatabaseError,
    query::{Query, Row, Value, placeholders, sql},
};

/// The channel on which a change of the [vault](crate::vault) is told; there is no payload.
pub const VAULT_CHANNEL: &str = "kickout_vault";

/// An open database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Database(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Sqlite(sqlite::File),
    Postgres(postgres::Server),
}

/// A connection, for single statements.
#[derive(Debug)]
pub struct Connection(Link);

#[derive(Debug)]
enum Link {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<sqlx::Postgres>),
}

/// A transaction. It is undone when it is dropped without [`commit`](Self::commit).
#[derive(Debug)]
pub struct Transaction(Work);

#[derive(Debug)]
enum Work {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(postgres::Transaction),
}

impl Database {
    /// Opens an SQLite file, creates it if it is missing, and brings its schema up to date.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn open(file: &Path) -> Result<Self, DatabaseError> {
        Ok(Self(Kind::Sqlite(sqlite::File::open(file).await?)))
    }

    /// Opens what a `sqlite:`, `postgres://` or `postgresql://` URL names, and brings its schema up to date. Several
    /// nodes may do so at once.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn open_url(url: &str) -> Result<Self, DatabaseError> {
        Ok(Self(if is_postgres(url) {
            Kind::Postgres(postgres::Server::open(url).await?)
        } else {
            Kind::Sqlite(sqlite::File::open_url(url).await?)
        }))
    }

    /// A connection that only reads.
    ///
    /// # Errors
    /// [`DatabaseError::Unavailable`] when none comes free in time.
    pub async fn read(&self) -> Result<Connection, DatabaseError> {
        Ok(Connection(match &self.0 {
            Kind::Sqlite(file) => Link::Sqlite(file.readers.acquire().await?),
            Kind::Postgres(server) => Link::Postgres(server.readers.acquire().await?),
        }))
    }

    /// A connection for a look that every request has. It may turn out to be dead: look once more then.
    ///
    /// # Errors
    /// [`DatabaseError::Unavailable`] when none comes free in time.
    pub async fn look(&self) -> Result<Connection, DatabaseError> {
        Ok(Connection(match &self.0 {
            Kind::Sqlite(file) => Link::Sqlite(file.readers.acquire().await?),
            Kind::Postgres(server) => Link::Postgres(server.lookers.acquire().await?),
        }))
    }

    /// A connection that writes. A single statement is durable when it has succeeded.
    ///
    /// # Errors
    /// [`DatabaseError::Unavailable`] when none comes free in time.
    pub async fn write(&self) -> Result<Connection, DatabaseError> {
        Ok(Connection(match &self.0 {
            Kind::Sqlite(file) => Link::Sqlite(file.writer.acquire().await?),
            Kind::Postgres(server) => Link::Postgres(server.writers.acquire().await?),
        }))
    }

    /// The connection of a node's renewals: its own, so that no user's request makes them late. On SQLite there are no
    /// renewals, and it is the one that writes.
    ///
    /// # Errors
    /// [`DatabaseError::Unavailable`] when it does not come free in time, or cannot be made.
    pub async fn renew(&self) -> Result<Connection, DatabaseError> {
        Ok(Connection(match &self.0 {
            Kind::Sqlite(file) => Link::Sqlite(file.writer.acquire().await?),
            Kind::Postgres(server) => Link::Postgres(server.renewer.acquire().await?),
        }))
    }

    /// Whether any number of nodes can share it.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        matches!(self.0, Kind::Postgres(_))
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn begin(&self) -> Result<Transaction, DatabaseError> {
        Ok(Transaction(match &self.0 {
            Kind::Sqlite(file) => Work::Sqlite(file.begin().await?),
            Kind::Postgres(server) => Work::Postgres(server.begin().await?),
        }))
    }

    /// Listens to what is said on channels. Only PostgreSQL has any.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn listen(&self, channels: &[&str]) -> Result<Listener, DatabaseError> {
        match &self.0 {
            Kind::Sqlite(_) => Err(DatabaseError::Setup("SQLite has no channels".into())),
            Kind::Postgres(server) => Ok(Listener(server.listen(channels).await?)),
        }
    }

    /// Closes all connections after their current statement.
    pub async fn close(&self) {
        match &self.0 {
            Kind::Sqlite(file) => file.close().await,
            Kind::Postgres(server) => server.close().await,
        }
    }
}

impl Transaction {
    /// Makes it durable. Must not be cancelled: whoever does not hear the answer does not know the outcome.
    ///
    /// # Errors
    /// [`DatabaseError`]: whether it was committed is not known.
    pub async fn commit(self) -> Result<(), DatabaseError> {
        match self.0 {
            Work::Sqlite(transaction) => Ok(transaction.commit().await?),
            Work::Postgres(transaction) => transaction.commit().await,
        }
    }

    /// Undoes it now, and not when its connection is looked at next.
    pub async fn rollback(self) {
        // A transaction whose rollback fails is over with its connection.
        let _ = match self.0 {
            Work::Sqlite(transaction) => transaction.rollback().await.map_err(DatabaseError::from),
            Work::Postgres(transaction) => transaction.rollback().await,
        };
    }

    /// Whether nobody else can write until this transaction is over.
    #[must_use]
    pub const fn is_alone(&self) -> bool {
        matches!(self.0, Work::Sqlite(_))
    }
}

/// Hears what is said on channels, from when it was made.
#[derive(Debug)]
pub struct Listener(sqlx::postgres::PgListener);

/// What was said: the channel, and the words.
pub type Heard = (String, String);

impl Listener {
    /// The next that is said; `None` when the connection was lost, and perhaps something with it. It is made again by
    /// itself.
    ///
    /// # Errors
    /// [`DatabaseError`] when it cannot be made again.
    pub async fn next(&mut self) -> Result<Option<Heard>, DatabaseError> {
        let said = self.0.try_recv().await?;
        Ok(said.map(|said| (said.channel().to_owned(), said.payload().to_owned())))
    }
}

/// Whether a URL names a PostgreSQL server.
fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

/// A migrator's error: whose fault it is.
fn migration_error(error: sqlx::migrate::MigrateError) -> DatabaseError {
    use sqlx::migrate::MigrateError;
    match error {
        MigrateError::VersionMissing(version) => DatabaseError::Newer(version),
        MigrateError::Execute(error) => match DatabaseError::from(error) {
            DatabaseError::Statement(error) => DatabaseError::Migration(MigrateError::Execute(error)),
            other => other,
        },
        other => DatabaseError::Migration(other),
    }
}

/// Closes pools one after the other.
async fn close<DB: sqlx::Database>(pools: impl IntoIterator<Item = &Pool<DB>>) {
    for pool in pools {
        pool.close().await;
    }
}
