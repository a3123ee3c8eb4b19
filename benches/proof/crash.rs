//! The embedded default, killed over and over: one process, SQLite, key files, and everything as it is shipped but the
//! ports and the limits of tries.
//!
//! ```text
//! cargo bench --profile dev --bench proof -- crash                        3000 kills: target/bench/crash.json
//! cargo bench --profile dev --bench proof -- crash --rounds N --seed S
//! cargo bench --profile dev --bench proof -- crash --seed S --life L      one folder's life again
//! cargo bench --profile dev --bench proof -- crash --disk-full            only the full disk
//! cargo bench --profile dev --bench proof -- crash --report FILE          the report of earlier results
//! cargo bench --profile dev --bench proof -- crash --smoke                seconds
//! ```
//!
//! A *life* is that of one data folder: first starts that are killed while they make database, keys and secret; then
//! clients that sign up, log in, refresh, log out here and everywhere, change passwords; operators that revoke, ban,
//! change roles, make and retire keys; and kills at moments drawn evenly from the start, from the work, from one certain
//! act, from the stop, and from a command that works in the folder by itself. A life of its own has kills while rows are
//! pruned ([`prune`]), and another one a full disk ([`disk`]).
//!
//! After each kill the program is started again on the same folder, with no word of repair. It must become ready within
//! a bound, and then [`verify`] asks it for all that [`book`] knows to be true. Several lives go on at once.
//!
//! A life follows from the seed and its number, as far as the timing of a machine allows. A life that fails is named.
//!
//! A kill ends the process and no more: what it has given to the kernel is kept. What a power cut does to a disk is not
//! shown here; against that stand SQLite's `synchronous=FULL` and the synced writes of key files.
//!
//! | module | what it does |
//! |---|---|
//! | [`acts`] | what can be asked, and what is made of the answers |
//! | [`book`] | what must be true, by those answers |
//! | [`disk`] | a disk without room |
//! | [`lies`] | the verdict tried on what is not true |
//! | [`life`] | one folder: kills and starts |
//! | [`operators`], [`tickets`], [`users`] | the acts of each |
//! | [`prune`] | kills while expired rows go |
//! | [`report`] | results and their table |
//! | [`service`] | folder, process, requests |
//! | [`verify`] | what is looked at after each start |

mod acts;
mod book;
mod disk;
mod lies;
mod life;
mod operators;
mod prune;
mod report;
mod service;
mod tickets;
mod users;
mod verify;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use clap::Args;
use kickout::clock::Clock;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::{
    life::{Life, Tally},
    report::Results,
    service::Place,
};
use crate::{
    Failure,
    command::{read, say, tell, write},
    machine::Machine,
};

/// Lives at once: each waits for its process and its disk half of the time.
const LANES: usize = 3;

/// When the form of seconds begins no more: on a machine that is busy with other things it has done less by then.
const SMOKE: Duration = Duration::from_secs(5);

/// Numbers of lives of another kind: no ordinary life comes so far.
const PRUNING: u64 = 1 << 32;
const FULL_DISK: u64 = 1 << 33;

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Seconds, and no figures.
    #[arg(long)]
    pub(crate) smoke: bool,
    /// Kills, at least.
    #[arg(long, default_value_t = 3000)]
    rounds: u64,
    /// What moments and acts follow from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// This life alone.
    #[arg(long)]
    life: Option<u64>,
    /// The full disk alone.
    #[arg(long)]
    disk_full: bool,
    /// Where the raw results go.
    #[arg(long, default_value = "target/bench/crash.json")]
    out: PathBuf,
    /// Print the report of these results, and run nothing.
    #[arg(long)]
    report: Option<PathBuf>,
}

/// Runs it.
pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    if let Some(file) = &options.report {
        return say(&read::<Results>(file)?.markdown()?);
    }
    if options.smoke {
        return Box::pin(smoke(options.seed)).await;
    }
    if options.life.is_none() {
        lies_are_found(options.seed).await?;
    }
    let clock = Clock::System;
    let machine = Machine::look(&clock);
    let begun = clock.boottime();
    let (tally, disk_full) = match options.life {
        Some(number) => (live(options.seed, number).await?, false),
        None if options.disk_full => {
            let tally = full_disk(options.seed).await?;
            (tally.ok_or("the full disk needs a root that may mount")?, true)
        }
        None => Box::pin(lives(options)).await?,
    };
    let took = clock.boottime().since(begun).as_secs_f64();
    let results = Results::of(machine, options.seed, took, tally, disk_full);
    if options.life.is_none() && !options.disk_full {
        results.says_something()?;
        write(&options.out, &results)?;
    }
    say(&results.markdown()?)
}

/// Lives until there were as many kills as were asked for.
async fn lives(options: &Options) -> Result<(Tally, bool), Failure> {
    let (rounds, seed) = (options.rounds, options.seed);
    let (next, total) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Tally::default())));
    let over = CancellationToken::new();
    let mut lanes = JoinSet::new();
    for _ in 0..LANES {
        let (next, total) = (Arc::clone(&next), Arc::clone(&total));
        lanes.spawn(async move {
            let lock = || total.lock().unwrap_or_else(PoisonError::into_inner);
            while lock().kills() < rounds {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let tally = live(seed, number).await?;
                let mut all = lock();
                let before = all.kills();
                all.add(tally);
                let kills = all.kills();
                drop(all);
                if kills / 100 > before / 100 {
                    tell(&format!("{kills} kills"))?;
                }
            }
            Ok::<_, Failure>(())
        });
    }
    let mut pruning = JoinSet::new();
    {
        let over = over.clone();
        pruning.spawn(async move {
            let pruned = Box::pin(prune::run(seed, PRUNING, &over)).await;
            pruned.map_err(|error| format!("seed {seed}, while rows were pruned: {error}"))
        });
    }
    let full = full_disk(seed).await?;
    let disk_full = full.is_some();
    total.lock().unwrap_or_else(PoisonError::into_inner).add(full.unwrap_or_default());
    while let Some(ended) = lanes.join_next().await {
        ended??;
    }
    over.cancel();
    let mut tally = std::mem::take(&mut *total.lock().unwrap_or_else(PoisonError::into_inner));
    while let Some(ended) = pruning.join_next().await {
        tally.add(ended??);
    }
    Ok((tally, disk_full))
}

/// A life that is killed in its first starts, one that is killed later, and the verdict on lies; for as long as there is.
async fn smoke(seed: u64) -> Result<(), Failure> {
    let begun = Clock::System.boottime();
    let life = async |number, first, later| {
        let life = Life::new(Place::new()?, seed, number);
        Box::pin(life.through(first, later, SMOKE)).await
    };
    let (first, later, lies) = tokio::join!(life(0, 3, 1), life(1, 0, 8), lies_are_found(seed));
    let mut tally = first?;
    tally.add(later?);
    lies?;
    let took = Clock::System.boottime().since(begun).as_secs_f64();
    let results = Results::of(Machine::look(&Clock::System), seed, took, tally, false);
    let again: Results = serde_json::from_str(&serde_json::to_string(&results)?)?;
    if results.rounds < 4 || again.markdown()?.is_empty() {
        return Err(format!("a run that shows nothing: {} kills", results.rounds).into());
    }
    say("ok  killed at random moments: it starts again, nothing acknowledged is lost, and lies are found")
}

async fn lies_are_found(seed: u64) -> Result<(), Failure> {
    let found = Box::pin(lies::are_found(seed)).await;
    found.map_err(|error| format!("the verdict is wrong: {error}").into())
}

async fn live(seed: u64, number: u64) -> Result<Tally, Failure> {
    let life = Life::new(Place::new()?, seed, number);
    let ended = Box::pin(life.run()).await;
    ended.map_err(|error| format!("seed {seed}, life {number}: {error}").into())
}

async fn full_disk(seed: u64) -> Result<Option<Tally>, Failure> {
    let ended = Box::pin(disk::run(seed, FULL_DISK)).await;
    ended.map_err(|error| format!("seed {seed}, with a full disk: {error}").into())
}
