//! Kills while expired revocations are pruned.
//!
//! A revocation expires a quarter of an hour after it was recorded, and its row goes a day later. Nobody waits for that
//! here: between two starts the rows of a bulk revocation are made two days older, in the file, while no process has it.
//! From then on everything is the program's own doing: half a minute after its start it prunes, in many small steps.

use std::time::Duration;

use kickout::clock::Clock;
use rand::RngExt as _;
use serde_json::json;
use sqlx::{Connection as _, SqliteConnection};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{
    life::{Life, Tally, pause},
    service::{Line, Place},
    verify::Depth,
};
use crate::Failure;

/// What is due: at 500 rows a step and a pause of 30 ms this takes about two seconds.
const ROWS: usize = 20_000;

/// Ids of one command: a machine that is busy with other things has them in time, too.
const BULK: usize = 2000;

/// How long pruning may take to begin: it is looked at every half minute.
const BEGINNING: Duration = Duration::from_secs(90);

/// Within what time after its beginning it is killed.
const WITHIN: Duration = Duration::from_millis(1500);

const TWO_DAYS_MS: i64 = 2 * 24 * 60 * 60 * 1000;

const PRUNED: &str = "kickout_pruned_total{table=\"revocations\"} ";

/// Lives of this kind until it is over. Each lets the service prune what it was killed at.
pub(super) async fn run(seed: u64, number: u64, over: &CancellationToken) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    while !over.is_cancelled() {
        let home = Life::new(Place::new()?, seed, number.wrapping_add(tally.lives));
        tally.add(Box::pin(prune(home, over)).await?);
    }
    Ok(tally)
}

async fn prune(mut home: Life, over: &CancellationToken) -> Result<Tally, Failure> {
    let (program, line) = home.start(Depth::Some).await?;
    for _ in 0..ROWS / BULK {
        let ids: Vec<_> = (0..BULK).map(|_| kickout::ids::TokenId::random().to_string()).collect();
        let said = line.command(&json!({"command": "revoke_bulk", "kind": "token", "ids": ids})).await;
        if !said.as_ref().is_some_and(|said| said.status == 200 && said.body["value"]["complete"] == true) {
            return Err(format!("a bulk revocation: {said:?}").into());
        }
    }
    home.stop(program).await?;
    age(&home.place).await?;
    let mut left = due(&home.place).await?;
    if left < ROWS as u64 {
        return Err(format!("{left} rows are due").into());
    }
    for _ in 0..4 {
        let (mut program, line) = home.start(Depth::Some).await?;
        // Some acts that must outlive it, and then nobody asks anything, so that nothing is old when it is killed.
        let crowd = home.crowd(&line, 2);
        pause(Duration::from_millis(200)).await;
        crowd.end(&program).await?;
        if over.run_until_cancelled(begun(&line)).await.transpose()?.is_none() {
            break;
        }
        let after = WITHIN.mul_f64(home.draw().random());
        let crowd = home.crowd(&line, 1);
        pause(after).await;
        crowd.over.cancel();
        if !program.kill_9()? {
            return Err(format!("it ended by itself\n{}", program.said()).into());
        }
        home.killed_in("prune");
        crowd.end(&program).await?;
        home.world().book().died();
        let now = due(&home.place).await?;
        if now > left {
            return Err(format!("{now} rows are due after {left}").into());
        }
        left = now;
        if left == 0 {
            break;
        }
    }
    let (program, _line) = home.start(Depth::All).await?;
    home.stop(program).await?;
    Ok(home.end())
}

/// Waits until it has pruned something.
async fn begun(line: &Line) -> Result<(), Failure> {
    let begun = Clock::System.boottime();
    while Clock::System.boottime().since(begun) < BEGINNING {
        if line.metric(PRUNED).await.is_some_and(|rows| rows > 0.0) {
            return Ok(());
        }
        sleep(Duration::from_millis(20)).await;
    }
    Err("nothing is pruned".into())
}

async fn open(place: &Place) -> Result<SqliteConnection, Failure> {
    let file = place.data().join("kickout.db");
    Ok(SqliteConnection::connect(&format!("sqlite://{}", file.display())).await?)
}

/// Makes all rows that there are two days older.
async fn age(place: &Place) -> Result<(), Failure> {
    let mut database = open(place).await?;
    sqlx::query("UPDATE revocations SET until = until - $1").bind(TWO_DAYS_MS).execute(&mut database).await?;
    Ok(database.close().await?)
}

/// How many rows are due.
async fn due(place: &Place) -> Result<u64, Failure> {
    let mut database = open(place).await?;
    let statement = "SELECT count(*) FROM revocations WHERE until < (SELECT clock FROM head) - 86400000";
    let rows: i64 = sqlx::query_scalar(statement).fetch_one(&mut database).await?;
    database.close().await?;
    Ok(rows.unsigned_abs())
}
