//! What the stores say of themselves: what they were asked, and how much they hold.

use std::{collections::BTreeMap, time::Duration};

use deadpool_redis::redis::{Client, Connection, cmd, pipe};
use sqlx::{Connection as _, PgConnection};

use super::super::servers::{Postgres, Redis, run};
use crate::Failure;

/// With this setting PostgreSQL counts its statements as they end. Its other counters are up to ten seconds late.
pub(crate) const COUNTING: &str = "shared_preload_libraries=pg_stat_statements";

/// How long one answer of Redis may take.
const LIMIT: Duration = Duration::from_mins(1);

/// A connection to Redis, on which nothing is said but this.
pub(crate) struct RedisCounters(Connection);

impl RedisCounters {
    pub(crate) fn of(redis: &Redis) -> Result<Self, Failure> {
        let connection = Client::open(redis.url())?.get_connection_with_timeout(LIMIT)?;
        connection.set_read_timeout(Some(LIMIT))?;
        Ok(Self(connection))
    }

    /// Commands so far, as Redis counts them: those within a transaction or a script each by itself. Questions like this
    /// one are left out.
    pub(crate) fn commands(&mut self) -> Result<u64, Failure> {
        let stats = self.info("commandstats")?;
        let calls = |(name, value): (&String, &String)| {
            let calls = value.strip_prefix("calls=")?.split(',').next()?;
            if name == "cmdstat_info" { None } else { calls.parse::<u64>().ok() }
        };
        Ok(stats.iter().filter_map(calls).sum())
    }

    /// Memory that Redis has given out.
    pub(crate) fn used_memory(&mut self) -> Result<u64, Failure> {
        let info = self.info("memory")?;
        Ok(info.get("used_memory").ok_or("Redis does not tell its memory")?.parse()?)
    }

    /// How many keys it holds.
    pub(crate) fn keys(&mut self) -> Result<u64, Failure> {
        Ok(cmd("DBSIZE").query(&mut self.0)?)
    }

    /// Sets these keys until those times, in milliseconds since 1970, as a revocation is set: in one breath.
    pub(crate) fn set_all(&mut self, entries: &[(String, i64)]) -> Result<(), Failure> {
        let mut pipeline = pipe();
        for (key, until) in entries {
            pipeline.cmd("SET").arg(key).arg("1").arg("PXAT").arg(*until).ignore();
        }
        Ok(pipeline.query(&mut self.0)?)
    }

    /// Removes everything.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        Ok(cmd("FLUSHALL").arg("SYNC").query(&mut self.0)?)
    }

    fn info(&mut self, section: &str) -> Result<BTreeMap<String, String>, Failure> {
        let text: String = cmd("INFO").arg(section).query(&mut self.0)?;
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        Ok(lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

/// A connection to PostgreSQL that asks for nothing but figures of one database.
#[derive(Debug)]
pub(crate) struct SqlCounters {
    connection: PgConnection,
}

impl SqlCounters {
    pub(crate) async fn of(postgres: &Postgres, database: &str) -> Result<Self, Failure> {
        Ok(Self { connection: PgConnection::connect(&postgres.url(database)).await? })
    }

    /// Whether the server counts statements.
    pub(crate) async fn is_counting(postgres: &Postgres) -> Result<bool, Failure> {
        let mut connection = PgConnection::connect(&postgres.url("postgres")).await?;
        let loaded: String = sqlx::query_scalar("SHOW shared_preload_libraries").fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok(loaded.contains("pg_stat_statements"))
    }

    /// Begins to count statements.
    pub(crate) async fn count(&mut self) -> Result<(), Failure> {
        sqlx::raw_sql("CREATE EXTENSION IF NOT EXISTS pg_stat_statements").execute(&mut self.connection).await?;
        Ok(())
    }

    /// Statements so far in this database, the beginnings and ends of transactions among them. Questions like this one
    /// are left out.
    pub(crate) async fn statements(&mut self) -> Result<u64, Failure> {
        let calls: i64 = sqlx::query_scalar(
            "SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements
             WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
               AND query NOT LIKE '%pg_stat_%'",
        )
        .fetch_one(&mut self.connection)
        .await?;
        Ok(u64::try_from(calls)?)
    }

    /// Bytes of all tables, with their indexes.
    pub(crate) async fn bytes(&mut self) -> Result<u64, Failure> {
        let bytes: i64 = sqlx::query_scalar(
            "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
             WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace",
        )
        .fetch_one(&mut self.connection)
        .await?;
        Ok(u64::try_from(bytes)?)
    }

    pub(crate) async fn close(self) -> Result<(), Failure> {
        Ok(self.connection.close().await?)
    }
}

/// Puts tables in order, as the server does by itself after a while.
pub(crate) async fn vacuum(postgres: &Postgres, database: &str) -> Result<(), Failure> {
    run(&postgres.url(database), "VACUUM (ANALYZE)").await
}
