//! SQLite: one file, one process.

use std::{
    fs::{self, TryLockError},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sqlx::{
    Connection as _, Sqlite, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{DatabaseError, migration_error};

/// How long a statement waits for a connection. Beyond it the caller is better served by a 503 than by the wait.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Readers at once. Each is a thread of its own with its own page cache; reads take microseconds.
const READERS: u32 = 4;

const NAME_A_FILE: &str = "database.url must name a file, like sqlite:///var/lib/kickout/kickout.db";

/// The pools of one file.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) readers: SqlitePool,
    pub(super) writer: SqlitePool,
    /// Held while the database is open: one process per file, also if two data folders name the same one.
    lock: Arc<Mutex<Option<fs::File>>>,
}

impl File {
    pub(super) async fn open(file: &Path) -> Result<Self, DatabaseError> {
        Self::with(SqliteConnectOptions::new().filename(file)).await
    }

    pub(super) async fn open_url(url: &str) -> Result<Self, DatabaseError> {
        // What is kept in memory is gone after a restart: no receipt could be given for it.
        if url.contains(":memory:") || url.contains("mode=memory") {
            return Err(refused(NAME_A_FILE.to_owned()));
        }
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
        let pool = |connections| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(ACQUIRE_TIMEOUT)
                .idle_timeout(None)
                .max_lifetime(None)
        };
        // What is wrong with a disk makes SQLite undo a transaction by itself. The driver goes on counting it then, and would
        // begin no other on that connection.
        let writer = pool(1)
            .min_connections(1)
            .before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
            .connect_with(options.clone())
            .await?;
        sqlx::migrate!("migrations/sqlite").run(&writer).await.map_err(migration_error)?;
        let readers = pool(READERS).connect_with(options.read_only(true)).await?;
        Ok(Self { readers, writer, lock })
    }

    /// A transaction that holds the write lock from its start, so that what it reads stays true until it commits.
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Sqlite>, DatabaseError> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    pub(super) async fn close(&self) {
        super::close([&self.readers, &self.writer]).await;
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// Makes the file if it is missing, readable by its owner alone (SQLite gives its log files the same mode), and takes
/// the lock beside it. The lock is not on the file itself, where SQLite keeps locks of its own; it is found by the
/// file's one real path, however it was spelled.
fn take(file: &Path) -> Result<fs::File, DatabaseError> {
    let name = file.to_string_lossy();
    if name.is_empty() {
        return Err(refused(NAME_A_FILE.to_owned()));
    }
    let private = |path: &Path| {
        let mut options = fs::File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.open(path).map_err(DatabaseError::File)
    };
    let found = private(file)?.metadata().map_err(DatabaseError::File)?;
    let real = fs::canonicalize(file).map_err(DatabaseError::File)?;
    let shown = real.display();
    let mode = found.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(refused(format!("{shown} can be read by others (mode {mode:03o}). Run: chmod 600 {shown}")));
    }
    if found.nlink() > 1 {
        return Err(refused(format!("{shown} has more than one name (hard links). Leave it only one")));
    }
    let mut beside = real.into_os_string();
    beside.push(".lock");
    let lock = private(Path::new(&beside))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(DatabaseError::InUse),
        Err(TryLockError::Error(error)) => Err(DatabaseError::File(error)),
    }
}

fn refused(problem: String) -> DatabaseError {
    DatabaseError::File(io::Error::new(io::ErrorKind::InvalidInput, problem))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[tokio::test]
    async fn one_process_has_a_file_under_whatever_name_and_nobody_else_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let (file, other) = (folder.path().join("a.db"), folder.path().join("b.db"));
        let open = File::open(&file).await.unwrap();
        symlink(&file, &other).unwrap();
        assert!(matches!(File::open(&other).await, Err(DatabaseError::InUse)), "a symbolic link is the same file");
        open.close().await;
        File::open(&other).await.unwrap().close().await;

        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let refused = File::open(&file).await.unwrap_err().to_string();
        assert!(refused.contains("chmod 600"), "{refused}");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::hard_link(&file, folder.path().join("c.db")).unwrap();
        let refused = File::open(&file).await.unwrap_err().to_string();
        assert!(refused.contains("hard links"), "{refused}");
    }

    /// What a power cut would lose no test here can see, so the setting itself is read: 2 is FULL.
    #[tokio::test]
    async fn every_commit_is_flushed_to_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let open = File::open(&folder.path().join("a.db")).await.unwrap();
        for pool in [&open.writer, &open.readers] {
            let mut connection = pool.acquire().await.unwrap();
            let set = |pragma: &'static str| sqlx::query_scalar::<_, String>(pragma);
            let mode = set("SELECT journal_mode FROM pragma_journal_mode").fetch_one(&mut *connection).await.unwrap();
            let level = sqlx::query_scalar::<_, i64>("SELECT synchronous FROM pragma_synchronous");
            assert_eq!((mode.as_str(), level.fetch_one(&mut *connection).await.unwrap()), ("wal", 2));
        }
    }

    #[tokio::test]
    async fn after_a_transaction_that_a_full_disk_has_undone_comes_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let file = File::open(&folder.path().join("a.db")).await.unwrap();
        let write = "INSERT INTO users (id, name, name_key, password, created_at)
                     VALUES (randomblob(16), 'ada', hex(randomblob(8)), hex(randomblob(500000)), 0)";
        for _ in 0..2 {
            let mut transaction = file.begin().await.unwrap();
            // No less than there is: the next page is one too many.
            sqlx::query("PRAGMA max_page_count = 1").execute(&mut *transaction).await.unwrap();
            let full = DatabaseError::from(sqlx::query(write).execute(&mut *transaction).await.unwrap_err());
            assert!(full.is_temporary(), "{full}");
            drop(transaction);
            let mut next = file.begin().await.unwrap();
            sqlx::query(write).execute(&mut *next).await.unwrap();
            next.commit().await.unwrap();
        }
        let mut transaction = file.begin().await.unwrap();
        let rows = sqlx::query("SELECT * FROM users").fetch_all(&mut *transaction).await.unwrap();
        assert_eq!(rows.len(), 2, "what was undone is undone");
    }

    #[tokio::test]
    async fn a_database_in_memory_is_refused() {
        for url in ["sqlite::memory:", "sqlite://:memory:", "sqlite:file?mode=memory"] {
            let refused = File::open_url(url).await.unwrap_err();
            assert!(matches!(refused, DatabaseError::File(_)), "{url}: {refused}");
        }
    }
}
