//! What can go wrong, sorted by whose fault it is.

use std::io;

use sqlx::{error::DatabaseError as _, postgres::PgDatabaseError, sqlite::SqliteError};

/// The database could not do what was asked. Whose fault it is decides what the caller is told.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// Busy, full, or out of reach: it may work later. Nothing was written.
    #[error("the database cannot be used now: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// The server takes no writes: a standby, or one that was made read-only. It may work later.
    #[error("the database server takes no writes now: it is a standby, or was set to read-only: {0}")]
    ReadOnly(#[source] sqlx::Error),
    /// The answer to a commit was lost, and what became of it could not be read. It may have happened.
    #[error("whether it was written is not known: the database did not answer: {0}")]
    Unsettled(#[source] Box<Self>),
    /// Another process uses the file. What it writes would stay unseen here.
    #[error("another process uses this database: stop it, or give this one another database.url")]
    InUse,
    /// The file cannot be made or locked, or the URL names none.
    #[error("the database file cannot be used: {0}")]
    File(#[source] io::Error),
    /// The server does not let this user in, or has no such database.
    #[error("the database server refuses: {0}. Check database.url, and what its user may do")]
    Refused(#[source] sqlx::Error),
    /// The server is set up in a way that this program cannot work with.
    #[error("the database server cannot be used as it is set up: {0}")]
    Setup(String),
    /// The file is not a database, or its pages contradict each other.
    #[error("the database is damaged: {0}")]
    Damaged(#[source] sqlx::Error),
    /// A row holds something that no version of this program writes.
    #[error("the database holds a value that does not belong there: {0}")]
    Foreign(String),
    /// The schema has a step that this program does not know.
    #[error("a newer version of kickout has used this database (its schema is at step {0}): start that version")]
    Newer(i64),
    /// The schema could not be brought up to date.
    #[error("the database's schema cannot be migrated: {0}")]
    Migration(#[source] sqlx::migrate::MigrateError),
    /// A unique key is in use.
    #[error("a row with this key is there already: {0}")]
    Duplicate(#[source] sqlx::Error),
    /// A statement is wrong: our fault.
    #[error("a statement failed: {0}")]
    Statement(#[source] sqlx::Error),
}

impl DatabaseError {
    /// What whoever operates this can do about it.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => {
                "Nothing was written. See that the place exists, that this user may write there, and that the disk is \
                 neither full nor read-only, or that the server runs; then try again"
            }
            Self::ReadOnly(_) => "Nothing was written: try again when the server takes writes",
            Self::Unsettled(_) => {
                "It may have been done: try again when the database answers; revoking twice does no harm"
            }
            Self::InUse | Self::File(_) => "Nothing was done",
            Self::Damaged(_) | Self::Foreign(_) => {
                "Stop the service and restore the database from a backup, or move the file away to begin with an empty \
                 one: all accounts are gone then, and every token ever issued is dead"
            }
            Self::Refused(_) | Self::Setup(_) => {
                "See that database.url is right and that its user may use the database"
            }
            Self::Migration(_) | Self::Newer(_) => "Run the version that wrote this database, or a newer one",
            Self::Statement(_) | Self::Duplicate(_) => "This is a fault of kickout: please report it",
        }
    }

    /// Whether the same may work a moment later.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::ReadOnly(_) | Self::Unsettled(_))
    }

    /// Whether the database has undone this transaction for the sake of another one: the same works when it is tried
    /// again.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        // serialization_failure, deadlock_detected
        matches!(self, Self::Unavailable(error) if ["40001", "40P01"].contains(&sqlstate(error)))
    }

    /// The server that answered knows less than this node does: an old primary that nobody has stopped.
    #[must_use]
    pub fn behind() -> Self {
        let problem = "the server that answered knows less than this node has applied; is it an old primary?";
        Self::Unavailable(io::Error::other(problem).into())
    }

    /// Nodes are registered that answer in another way than this process.
    #[must_use]
    pub fn others(name: &str) -> Self {
        let problem = format!(
            "node {name} of this database checks in another way than revocation.strategy says here; give all nodes the same \
             strategy"
        );
        Self::Unavailable(io::Error::other(problem).into())
    }

    /// No answer came within the limit.
    pub(super) fn late() -> Self {
        Self::Unavailable(io::Error::new(io::ErrorKind::TimedOut, "no answer in time").into())
    }
}

impl From<sqlx::Error> for DatabaseError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(inner) if inner.is_unique_violation() => Self::Duplicate(error),
            sqlx::Error::Database(inner) => match inner.try_downcast_ref::<SqliteError>() {
                Some(sqlite) => of_sqlite(sqlite)(error),
                None => of_postgres(sqlstate(&error))(error),
            },
            sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_) => Self::Unavailable(error),
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Self::Foreign(error.to_string()),
            sqlx::Error::Configuration(_) => Self::Refused(error),
            _ => Self::Statement(error),
        }
    }
}

type Kind = fn(sqlx::Error) -> DatabaseError;

/// By the primary result codes of <https://sqlite.org/rescode.html>; the extended ones carry it in the low byte.
fn of_sqlite(error: &SqliteError) -> Kind {
    match error.code().and_then(|code| code.parse::<u32>().ok()).map_or(0, |code| code & 0xff) {
        11 | 26 => DatabaseError::Damaged,
        // BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, FULL, CANTOPEN
        5..=10 | 13 | 14 => DatabaseError::Unavailable,
        _ => DatabaseError::Statement,
    }
}

/// By the codes of <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn of_postgres(code: &str) -> Kind {
    match code {
        "25006" => DatabaseError::ReadOnly,
        // data_corrupted, index_corrupted
        "XX001" | "XX002" => DatabaseError::Damaged,
        // insufficient_privilege, no such database
        "42501" | "3D000" => DatabaseError::Refused,
        // lock_not_available, object_in_use, idle_in_transaction_session_timeout
        "55P03" | "55006" | "25P03" => DatabaseError::Unavailable,
        _ => match code.get(..2) {
            // Connections, rollbacks for the sake of others, resources, an operator's hand, the server's system.
            Some("08" | "40" | "53" | "57" | "58") => DatabaseError::Unavailable,
            // Who are you?
            Some("28") => DatabaseError::Refused,
            _ => DatabaseError::Statement,
        },
    }
}

fn sqlstate(error: &sqlx::Error) -> &str {
    let error = error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    error.map_or("", PgDatabaseError::code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_error_is_sorted_by_whose_fault_it_is() {
        let kind = |code| {
            let error = of_postgres(code)(sqlx::Error::RowNotFound);
            let debug = format!("{error:?}");
            debug.split('(').next().unwrap_or_default().to_owned()
        };
        for (codes, expected) in [
            (
                ["08006", "57P01", "57P03", "53300", "40P01", "57014", "55P03", "25P03", "58030"].as_slice(),
                "Unavailable",
            ),
            (&["25006"], "ReadOnly"),
            (&["28P01", "28000", "3D000", "42501"], "Refused"),
            (&["XX001", "XX002"], "Damaged"),
            (&["42601", "22P02", "XX000", "23503", "", "é"], "Statement"),
        ] {
            for code in codes {
                assert_eq!(kind(code), expected, "{code}");
            }
        }
    }
}
