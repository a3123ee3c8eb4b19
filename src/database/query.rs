//! Statements: written once, understood by both databases.
//!
//! Both take `$1` for a value. What they spell differently is written in braces, and stands here and nowhere else:
//!
//! | in a statement | SQLite | PostgreSQL |
//! |---|---|---|
//! | `{least}(a, b)`, `{greatest}(a, b)` | `min`, `max` | `least`, `greatest` |
//! | `{wall}` | `$1`: the caller's wall clock, bound as the first value | the server's `clock_timestamp()` |
//! | `{durability}` | what the connection was opened with | the setting that this very statement runs under |
//! | `{for update}`, `{for update skip locked}`, `{for share of u}` | nothing: who writes is alone | the row lock |
//!
//! Numbers are 64 bits wide, ids are UUIDs, times are milliseconds as numbers, in both.

use std::{borrow::Cow, time::Duration};

use sqlx::{
    AssertSqlSafe, ColumnIndex, Decode, Encode, Sqlite, SqliteConnection, Type, pool::PoolConnection, postgres::PgRow,
    sqlite::SqliteRow,
};
use uuid::Uuid;

use super::{Connection, DatabaseError, Link, Transaction, Work, postgres};

/// What is spelled differently: in statements, in SQLite, in PostgreSQL.
const DIALECT: [(&str, &str, &str); 7] = [
    ("{least}", "min", "least"),
    ("{greatest}", "max", "greatest"),
    ("{wall}", "$1", "floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint"),
    ("{durability}", "'on'", "current_setting('synchronous_commit')"),
    ("{for update}", "", "FOR UPDATE"),
    ("{for update skip locked}", "", "FOR UPDATE SKIP LOCKED"),
    ("{for share of u}", "", "FOR SHARE OF u"),
];

/// How long a server may take to answer one statement, the time of its journey included. What is asked here takes
/// milliseconds; beyond this the server is gone, and nobody is going to say so.
const LIMIT: Duration = Duration::from_secs(10);

/// A value of a statement. Each kind has its own NULL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A whole number; also a time, in milliseconds.
    Int(Option<i64>),
    /// An id.
    Uuid(Option<Uuid>),
    /// Bytes.
    Bytes(Option<Vec<u8>>),
    /// A text.
    Text(Option<String>),
}

macro_rules! value {
    ($($type:ty => $kind:ident: $into:expr),* $(,)?) => {
        $(
            impl From<$type> for Value {
                fn from(value: $type) -> Self {
                    Self::$kind(Some($into(value)))
                }
            }

            impl From<Option<$type>> for Value {
                fn from(value: Option<$type>) -> Self {
                    Self::$kind(value.map($into))
                }
            }
        )*
    };
}

value!(
    i64 => Int: |value| value,
    u32 => Int: i64::from,
    Uuid => Uuid: |value| value,
    Vec<u8> => Bytes: |value| value,
    &[u8] => Bytes: <[u8]>::to_vec,
    String => Text: |value| value,
    &str => Text: str::to_owned,
);

/// A statement and its values.
#[derive(Debug, Clone)]
#[must_use = "a statement does nothing until it is run"]
pub struct Query {
    text: Cow<'static, str>,
    values: Vec<Value>,
    limit: Duration,
}

/// A statement, in the words of both databases.
pub fn sql(text: &'static str) -> Query {
    Query { text: Cow::Borrowed(text), values: Vec::new(), limit: LIMIT }
}

/// Parameters for a list of values: `$3, $4, $5` for three from the third on.
#[must_use]
pub fn placeholders(first: usize, count: usize) -> String {
    let list: Vec<String> = (first..first + count).map(|n| format!("${n}")).collect();
    list.join(", ")
}

impl Query {
    /// A statement whose length depends on how many values it takes. Nothing but [`placeholders`] may be put into it.
    pub fn assembled(text: String) -> Self {
        Self { text: Cow::Owned(text), values: Vec::new(), limit: LIMIT }
    }

    /// Adds the next value.
    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Adds the next values.
    pub fn bind_all(mut self, values: impl IntoIterator<Item = impl Into<Value>>) -> Self {
        self.values.extend(values.into_iter().map(Into::into));
        self
    }

    /// Allows a server more time than usual: for a statement that works on as many rows as there are.
    pub const fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// All rows.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn fetch_all<'a>(self, on: impl Into<Handle<'a>>) -> Result<Vec<Row>, DatabaseError> {
        match on.into().0 {
            At::Sqlite(connection) => {
                let rows = self.of::<Sqlite>(in_sqlite).fetch_all(connection).await?;
                Ok(rows.into_iter().map(|row| Row(Line::Sqlite(row))).collect())
            }
            At::Postgres(connection) => {
                let query = self.of::<sqlx::Postgres>(in_postgres);
                let rows = postgres::within(self.limit, connection, async |link| query.fetch_all(link).await).await?;
                Ok(rows.into_iter().map(|row| Row(Line::Postgres(row))).collect())
            }
        }
    }

    /// The one row, if there is one.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn fetch_optional<'a>(self, on: impl Into<Handle<'a>>) -> Result<Option<Row>, DatabaseError> {
        // Not the driver's own: that answers with the first row, when a statement that writes is not over yet.
        Ok(self.fetch_all(on).await?.pop())
    }

    /// The one row.
    ///
    /// # Errors
    /// [`DatabaseError`]; [`DatabaseError::Statement`] if there is none.
    pub async fn fetch_one<'a>(self, on: impl Into<Handle<'a>>) -> Result<Row, DatabaseError> {
        self.fetch_optional(on).await?.ok_or(DatabaseError::Statement(sqlx::Error::RowNotFound))
    }

    /// Runs it and says how many rows it has changed.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn execute<'a>(self, on: impl Into<Handle<'a>>) -> Result<u64, DatabaseError> {
        match on.into().0 {
            At::Sqlite(connection) => Ok(self.of::<Sqlite>(in_sqlite).execute(connection).await?.rows_affected()),
            At::Postgres(connection) => {
                let query = self.of::<sqlx::Postgres>(in_postgres);
                let done = postgres::within(self.limit, connection, async |link| query.execute(link).await).await?;
                Ok(done.rows_affected())
            }
        }
    }

    /// The statement as one database takes it.
    fn of<DB>(&self, word: fn(&Word) -> &'static str) -> sqlx::query::Query<'static, DB, DB::Arguments>
    where
        for<'v> Option<i64>: Encode<'v, DB> + Type<DB>,
        for<'v> Option<Uuid>: Encode<'v, DB> + Type<DB>,
        for<'v> Option<Vec<u8>>: Encode<'v, DB> + Type<DB>,
        for<'v> Option<String>: Encode<'v, DB> + Type<DB>,
        DB: sqlx::Database + sqlx::database::HasStatementCache,
        DB::Arguments: sqlx::IntoArguments<DB>,
    {
        // Assembled ones have many lengths: a connection does not keep them prepared.
        let is_fixed = matches!(self.text, Cow::Borrowed(_));
        let text = AssertSqlSafe(translated(&self.text, word));
        let mut query = sqlx::query(text).persistent(is_fixed);
        for value in self.values.iter().cloned() {
            query = match value {
                Value::Int(value) => query.bind(value),
                Value::Uuid(value) => query.bind(value),
                Value::Bytes(value) => query.bind(value),
                Value::Text(value) => query.bind(value),
            };
        }
        query
    }
}

/// A line of [`DIALECT`].
type Word = (&'static str, &'static str, &'static str);

fn in_sqlite(word: &Word) -> &'static str {
    word.1
}

fn in_postgres(word: &Word) -> &'static str {
    word.2
}

fn translated(text: &str, word: fn(&Word) -> &'static str) -> String {
    if !text.contains('{') {
        return text.to_owned();
    }
    DIALECT.iter().fold(text.to_owned(), |text, entry| text.replace(entry.0, word(entry)))
}

/// Where a statement runs: on a [`Connection`] or in a [`Transaction`].
#[derive(Debug)]
pub struct Handle<'a>(At<'a>);

#[derive(Debug)]
enum At<'a> {
    Sqlite(&'a mut SqliteConnection),
    Postgres(&'a mut PoolConnection<sqlx::Postgres>),
}

impl<'a> From<&'a mut Connection> for Handle<'a> {
    fn from(connection: &'a mut Connection) -> Self {
        Self(match &mut connection.0 {
            Link::Sqlite(connection) => At::Sqlite(connection),
            Link::Postgres(connection) => At::Postgres(connection),
        })
    }
}

impl<'a> From<&'a mut Transaction> for Handle<'a> {
    fn from(transaction: &'a mut Transaction) -> Self {
        Self(match &mut transaction.0 {
            Work::Sqlite(transaction) => At::Sqlite(transaction),
            Work::Postgres(transaction) => At::Postgres(&mut transaction.connection),
        })
    }
}

/// A row that was read. Columns are named as the statement names them; a value of another type is
/// [`DatabaseError::Foreign`].
#[derive(Debug)]
pub struct Row(Line);

#[derive(Debug)]
enum Line {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

macro_rules! column {
    ($($(#[$docs:meta])* $name:ident: $type:ty),* $(,)?) => {
        $(
            $(#[$docs])*
            ///
            /// # Errors
            /// [`DatabaseError`].
            pub fn $name(&self, column: &'static str) -> Result<$type, DatabaseError> {
                match &self.0 {
                    Line::Sqlite(row) => get(row, column),
                    Line::Postgres(row) => get(row, column),
                }
            }
        )*
    };
}

impl Row {
    column!(
        /// A number.
        int: i64,
        /// A number or NULL.
        opt_int: Option<i64>,
        /// An id.
        uuid: Uuid,
        /// An id or NULL.
        opt_uuid: Option<Uuid>,
        /// Bytes.
        bytes: Vec<u8>,
        /// A text.
        text: String,
        /// A text or NULL.
        opt_text: Option<String>,
    );

    /// Words: a text that has them separated by spaces.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub fn words(&self, column: &'static str) -> Result<Vec<String>, DatabaseError> {
        Ok(self.text(column)?.split_ascii_whitespace().map(str::to_owned).collect())
    }
}

fn get<'r, R, T>(row: &'r R, column: &'static str) -> Result<T, DatabaseError>
where
    R: sqlx::Row,
    &'static str: ColumnIndex<R>,
    T: Decode<'r, R::Database> + Type<R::Database>,
{
    Ok(row.try_get(column)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_database_reads_its_own_words() {
        let text = "UPDATE head SET clock = {greatest}(clock, {wall}) WHERE {least}(1, 2) = 1 {for update}";
        assert_eq!(translated(text, in_sqlite), "UPDATE head SET clock = max(clock, $1) WHERE min(1, 2) = 1 ");
        let postgres = translated(text, in_postgres);
        assert!(postgres.contains("clock_timestamp()") && postgres.ends_with("FOR UPDATE"), "{postgres}");
        for word in DIALECT {
            for other in DIALECT.iter().filter(|other| other.0 != word.0) {
                assert!(!other.0.contains(word.0), "{} hides {}", word.0, other.0);
            }
        }
    }

    #[test]
    fn a_list_of_values_is_numbered_from_where_it_begins() {
        assert_eq!(placeholders(3, 3), "$3, $4, $5");
        assert_eq!(placeholders(1, 0), "");
    }
}
