//! The SQL database: opening, migrating, and telling its troubles apart.
//!
//! Reads go to a small pool. Writes go through one connection, because SQLite has one writer: waiting in the pool's
//! queue is fair, where waiting for SQLite's own lock is polling. `ledger`, `users` and `sessions` hold the statements.

use std::{
    fs::{File, TryLockError},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sqlx::{
    Connection, Sqlite, SqliteConnection, SqlitePool, Transaction,
    pool::PoolConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

/// How long a statement waits for a connection. Beyond it the caller is better served by a 503 than by the wait.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Readers at once. Each is a thread of its own with its own page cache; reads take microseconds.
const READERS: u32 = 4;

/// The database could not do what was asked. Whose fault it is decides what the caller is told.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// Busy, full, or out of reach: it may work later. Nothing was written.
    #[error("the database cannot be used now: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// Another process uses the file. What it writes would stay unseen here.
    #[error("another process uses this database: stop it, or give this one another database.url")]
    InUse,
    /// The file cannot be made or locked, or the URL names none.
    #[error("the database file cannot be used: {0}")]
    File(#[source] io::Error),
    /// The file is not a database, or its pages contradict each other.
    #[error("the database is damaged: {0}")]
    Damaged(#[source] sqlx::Error),
    /// A row holds something that no version of this program writes.
    #[error("the database holds a value that does not belong there: {0}")]
    Foreign(String),
    /// The schema could not be brought up to date.
    #[error("the database's schema cannot be migrated: {0}")]
    Migration(#[source] sqlx::migrate::MigrateError),
    /// A statement is wrong: our fault.
    #[error("a statement failed: {0}")]
    Statement(#[source] sqlx::Error),
}

impl DatabaseError {
    /// Whether the same may work a moment later.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

impl From<sqlx::Error> for DatabaseError {
    fn from(error: sqlx::Error) -> Self {
        if let sqlx::Error::Database(inner) = &error {
            // Primary result codes of https://sqlite.org/rescode.html; the extended ones carry it in the low byte.
            let code = inner.code().and_then(|code| code.parse::<u32>().ok()).map_or(0, |code| code & 0xff);
            return match code {
                11 | 26 => Self::Damaged(error),
                // BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, FULL, CANTOPEN
                5..=10 | 13 | 14 => Self::Unavailable(error),
                _ => Self::Statement(error),
            };
        }
        match error {
            sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_) => Self::Unavailable(error),
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Self::Foreign(error.to_string()),
            other => Self::Statement(other),
        }
    }
}

/// Whether a statement failed because a unique key was there already.
#[must_use]
pub fn is_duplicate(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}

/// The pools of one SQLite file.
#[derive(Debug, Clone)]
pub struct Database {
    readers: SqlitePool,
    writer: SqlitePool,
    /// Held while the database is open: one process per file, also if two data folders name the same one.
    lock: Arc<Mutex<Option<File>>>,
}

impl Database {
    /// Opens the file, creates it if it is missing, and brings its schema up to date.
    ///
    /// Commits are durable when they are acknowledged: write-ahead log, `synchronous=FULL`.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn open(file: &Path) -> Result<Self, DatabaseError> {
        Self::with(SqliteConnectOptions::new().filename(file)).await
    }

    /// Opens what a `sqlite:` URL names, as [`open`](Self::open).
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn open_url(url: &str) -> Result<Self, DatabaseError> {
        Self::with(SqliteConnectOptions::from_str(url)?).await
    }

    async fn with(options: SqliteConnectOptions) -> Result<Self, DatabaseError> {
        let lock = Arc::new(Mutex::new(Some(take(options.get_filename())?)));
        let options = options
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(ACQUIRE_TIMEOUT)
            .optimize_on_close(true, Some(400));
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .min_connections(1)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options.clone())
            .await?;
        sqlx::migrate!("migrations/sqlite").run(&writer).await.map_err(migration_error)?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options.read_only(true))
            .await?;
        Ok(Self { readers, writer, lock })
    }

    /// A connection that only reads.
    ///
    /// # Errors
    /// [`DatabaseError::Unavailable`] when none comes free in time.
    pub async fn read(&self) -> Result<PoolConnection<Sqlite>, DatabaseError> {
        Ok(self.readers.acquire().await?)
    }

    /// The writing connection.
    ///
    /// # Errors
    /// [`DatabaseError::Unavailable`] when it does not come free in time.
    pub async fn write(&self) -> Result<Writing, DatabaseError> {
        Ok(Writing(self.writer.acquire().await?))
    }

    /// Closes all connections after their current statement.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// Makes the file if it is missing, readable by its owner alone (SQLite gives its log files the same mode), and takes
/// the lock beside it. The lock is not on the file itself, where SQLite keeps locks of its own.
fn take(file: &Path) -> Result<File, DatabaseError> {
    if file.as_os_str().is_empty() || file == Path::new(":memory:") || file.starts_with("file:") {
        let problem = "database.url must name a file, like sqlite:///var/lib/kickout/kickout.db";
        return Err(DatabaseError::File(io::Error::new(io::ErrorKind::InvalidInput, problem)));
    }
    let private = |path: &Path| {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.open(path).map_err(DatabaseError::File)
    };
    private(file)?;
    let mut beside = file.as_os_str().to_owned();
    beside.push(".lock");
    let lock = private(Path::new(&beside))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(DatabaseError::InUse),
        Err(TryLockError::Error(error)) => Err(DatabaseError::File(error)),
    }
}

/// The one writing connection, for as long as it is held.
#[derive(Debug)]
pub struct Writing(PoolConnection<Sqlite>);

impl Writing {
    /// A transaction that holds the write lock from its start, so that what it reads stays true until it commits.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn begin(&mut self) -> Result<Transaction<'_, Sqlite>, DatabaseError> {
        Ok(self.0.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// The connection itself, for a single statement.
    pub fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.0
    }
}

fn migration_error(error: sqlx::migrate::MigrateError) -> DatabaseError {
    match error {
        sqlx::migrate::MigrateError::Execute(error) => match DatabaseError::from(error) {
            DatabaseError::Statement(error) => DatabaseError::Migration(sqlx::migrate::MigrateError::Execute(error)),
            other => other,
        },
        other => DatabaseError::Migration(other),
    }
}
