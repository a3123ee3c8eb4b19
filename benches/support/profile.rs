//! Where the time of a logout goes, as the server sees it: its statements, and what its connections wait for.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::sync::Notify;

use super::{
    capacity::{self, Load},
    fleet::{Fleet, With},
    rounds::float,
    servers::Servers,
};
use crate::Failure;

/// The settings of a server that counts its statements.
pub(crate) const COUNTING: [&str; 2] = ["shared_preload_libraries=pg_stat_statements", "track_io_timing=on"];

/// Between two looks at what connections wait for.
const LOOK: Duration = Duration::from_millis(10);

/// Statements that are told of, those that took longest.
const STATEMENTS: usize = 14;

/// A statement's text is cut after so many characters.
const TEXT: usize = 110;

/// What a window has spent its time on.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    pub(crate) with: With,
    pub(crate) concurrency: usize,
    pub(crate) logouts: u64,
    /// Statements of all kinds, each of which is a way there and back.
    pub(crate) calls_per_logout: f64,
    pub(crate) statements: Vec<Statement>,
    /// What the nodes' connections did when they were looked at, as shares of all of them.
    pub(crate) waits: Vec<Wait>,
}

/// A statement, without its values.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Statement {
    pub(crate) text: String,
    pub(crate) calls_per_logout: f64,
    /// Within the server, parsing and planning not counted.
    pub(crate) mean_us: f64,
    pub(crate) us_per_logout: f64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wait {
    pub(crate) what: String,
    /// Connections in this state at a time, on average.
    pub(crate) connections: f64,
}

/// A window on a server of its own, which counts. The counting costs some of the throughput.
pub(crate) async fn measure(with: With, nodes: usize, concurrency: usize, load: Load) -> Result<Profile, Failure> {
    let servers = Servers::start(&COUNTING)?;
    let fleet = Fleet::start(&servers, with, nodes).await?;
    let mut connection = PgConnection::connect(fleet.url()).await?;
    sqlx::raw_sql("CREATE EXTENSION pg_stat_statements").execute(&mut connection).await?;
    sqlx::raw_sql("SELECT pg_stat_statements_reset()").execute(&mut connection).await?;
    let over = Arc::new(Notify::new());
    let (looking, window) = tokio::join!(look(fleet.url().to_owned(), Arc::clone(&over)), async {
        let window = capacity::run_window(&servers, &fleet, concurrency, load).await;
        over.notify_one();
        window
    });
    let (waits, (window, _)) = (looking?, window?);
    let rows = sqlx::query(
        "SELECT query, calls, total_exec_time FROM pg_stat_statements
         WHERE query NOT LIKE '%pg_stat_%' AND query NOT LIKE '%WITH people%'",
    )
    .fetch_all(&mut connection)
    .await?;
    let mut counted = BTreeMap::<String, (i64, f64)>::new();
    for row in rows {
        let (text, calls, ms): (String, i64, f64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let sum = counted.entry(squeezed(&text)).or_default();
        *sum = (sum.0 + calls, sum.1 + ms);
    }
    let logouts = float(window.logouts.max(1));
    let mut statements = Vec::with_capacity(counted.len());
    for (text, (calls, ms)) in counted {
        let calls = float(u64::try_from(calls)?);
        let (mean_us, us_per_logout) = (ms * 1e3 / calls.max(1.0), ms * 1e3 / logouts);
        statements.push(Statement { text, calls_per_logout: calls / logouts, mean_us, us_per_logout });
    }
    let calls_per_logout = statements.iter().map(|statement| statement.calls_per_logout).sum();
    statements.sort_by(|a, b| b.us_per_logout.total_cmp(&a.us_per_logout));
    statements.truncate(STATEMENTS);
    connection.close().await?;
    fleet.stop(&servers).await?;
    Ok(Profile { with, concurrency, logouts: window.logouts, calls_per_logout, statements, waits })
}

/// What tells a statement from others: its text on one line, up to the first list of values, which is of any length.
fn squeezed(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let head = line.split_once("($").map_or(line.as_str(), |(head, _)| head);
    head.chars().take(TEXT).collect()
}

/// Looks at the nodes' connections until it is told that this is over.
async fn look(url: String, over: Arc<Notify>) -> Result<Vec<Wait>, Failure> {
    let mut connection = PgConnection::connect(&url).await?;
    let (mut found, mut looks) = (BTreeMap::<String, u64>::new(), 0_u64);
    let mut over = std::pin::pin!(over.notified());
    while tokio::time::timeout(LOOK, over.as_mut()).await.is_err() {
        let rows = sqlx::query(
            "SELECT state || CASE WHEN wait_event IS NULL THEN ', on a processor or waiting for one'
                                  ELSE ', waits for ' || wait_event_type || '/' || wait_event END, count(*)
             FROM pg_stat_activity
             WHERE application_name = 'kickout' AND state <> 'idle' AND datname = current_database() GROUP BY 1",
        )
        .fetch_all(&mut connection)
        .await?;
        looks += 1;
        for row in rows {
            let (what, count): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
            *found.entry(what).or_default() += u64::try_from(count)?;
        }
    }
    connection.close().await?;
    let mut waits: Vec<Wait> =
        found.into_iter().map(|(what, count)| Wait { what, connections: float(count) / float(looks.max(1)) }).collect();
    waits.sort_by(|a, b| b.connections.total_cmp(&a.connections));
    Ok(waits)
}
