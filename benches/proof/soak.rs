//! A cluster in use for long: memory, descriptors, connections, rows and latency must not drift.
//!
//! ```text
//! cargo bench --profile dev --bench proof -- soak                    20 minutes: target/bench/soak.json
//! cargo bench --profile dev --bench proof -- soak --minutes M --seed S
//! cargo bench --profile dev --bench proof -- soak --report FILE      the report of earlier results
//! cargo bench --profile dev --bench proof -- soak --smoke            seconds
//! ```
//!
//! Three nodes share PostgreSQL and Redis. People log in, are checked, refresh and leave, with pauses, so that the machine
//! is not worked to its limit. Access tokens live for ten seconds, so filters rotate all the time; bursts of revocations
//! make them grow; keys rotate by themselves, which a run has to show, and are taken back; what has expired is pruned,
//! after a day that is over sooner here than elsewhere ([`conductor`]). Now and then there is a fault, and after each one
//! descriptors and connections must come back to what they were.
//!
//! Every answer is checked ([`load`]): an ended token that is accepted anywhere ends the run, and so does one that is
//! refused for another reason while it has surely not expired, and a good one that is refused; "not now" is allowed
//! around faults alone ([`weather`]).
//!
//! Everything is read once a second: processes, their metrics and how long answers take ([`readings`]), PostgreSQL and
//! Redis ([`stores`]), and whether the machine had other work ([`others`]). [`drift`] says what drifting is. Its verdict is itself tried on series that are made up, in every
//! run.

mod conductor;
mod drift;
mod load;
mod others;
mod readings;
mod report;
mod stores;
mod weather;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64},
    },
    time::Duration,
};

use clap::Args;
use kickout::clock::Clock;
use tokio::{
    task::{JoinSet, block_in_place},
    time::sleep,
};

use self::{
    conductor::{Conductor, FAULTS, Fault},
    load::{ACCESS_TTL, Crowd},
    readings::{Probe, Reader, Readings},
    report::Results,
    weather::Weather,
};
use crate::{
    Failure,
    command::{read, say, tell, write},
    machine::Machine,
    support::{client::Net, cluster::Plan, postgres, redis::Redis},
};

/// Who uses it.
const PEOPLE: u64 = 8;

/// One round of everything that is done now and then.
const CYCLE: Duration = Duration::from_mins(2);

/// Readings that are kept of each series.
const KEPT: usize = 300;

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Seconds, and no figures.
    #[arg(long)]
    pub(crate) smoke: bool,
    /// How long, after the start: a cycle in each third at least.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(6..))]
    minutes: u64,
    /// What the order of things follows from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the raw results go.
    #[arg(long, default_value = "target/bench/soak.json")]
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
    drift::check_itself()?;
    let machine = Machine::look(&Clock::System);
    let nodes = if options.smoke { 2 } else { 3 };
    let mut conductor = Box::pin(start(nodes, options.seed)).await?;
    let crowd = Arc::clone(&conductor.reader.crowd);
    let mut tasks = crowd.begin(PEOPLE, options.seed);
    tasks.spawn(Arc::clone(&conductor.reader).run());
    tasks.spawn(Arc::clone(&conductor.reader).watch_the_machine());
    let ended = {
        let play = async {
            if options.smoke { brief(&mut conductor).await } else { long(&mut conductor, options.minutes).await }
        };
        tokio::select! {
            ended = play => ended,
            failed = first_failure(&mut tasks) => failed,
        }
    };
    let length = conductor.weather.now().as_secs_f64();
    crowd.over.cancel();
    let mut ended = ended;
    while let Some(task) = tasks.join_next().await {
        // The first failure is the one to tell of.
        ended = ended.and_then(|()| task.map_err(Failure::from).flatten());
    }
    ended.map_err(|error| format!("seed {}: {error}\n{}", options.seed, conductor.troubles()))?;
    finish(options, machine, &conductor, length)
}

/// Says and keeps what has come of it.
fn finish(options: &Options, machine: Machine, conductor: &Conductor, length: f64) -> Result<(), Failure> {
    let reader = &conductor.reader;
    let (keys_over_by_themselves, most_in_the_vault) = {
        let readings = reader.readings.lock().unwrap_or_else(PoisonError::into_inner);
        (readings.over_by_themselves, readings.most_in_the_vault)
    };
    let results = Results {
        machine,
        seed: options.seed,
        nodes: conductor.cluster.nodes.len(),
        length_seconds: length,
        answers: reader.crowd.counts.all().into_iter().map(|(name, count)| (name.to_owned(), count)).collect(),
        counters: reader.counters(),
        retired_keys: conductor.retired_keys,
        signing_keys: reader.crowd.signing_keys(),
        keys_over_by_themselves,
        most_in_the_vault,
        bursts: conductor.bursts,
        faults: conductor.struck.clone(),
        // In seconds there is nothing to compare.
        drifts: if options.smoke { Vec::new() } else { reader.drifts(length)? },
        series: reader.series(KEPT),
    };
    if options.smoke {
        if let Some((what, _)) =
            results.answers.iter().find(|(what, count)| **count == 0 && !what.starts_with("not now"))
        {
            return Err(format!("a run that shows nothing: no {what}").into());
        }
        let again: Results = serde_json::from_str(&serde_json::to_string(&results)?)?;
        if again.markdown()?.is_empty() || again.series.is_empty() {
            return Err("the report is empty".into());
        }
        return say("ok  in use, with a key taken back and a fault: every answer right, and what drifts is found");
    }
    write(&options.out, &results)?;
    say(&results.markdown()?)?;
    results.verdict()
}

/// Servers, nodes, and who reads them.
async fn start(nodes: usize, seed: u64) -> Result<Conductor, Failure> {
    let server = block_in_place(postgres::Server::start);
    let redis = block_in_place(Redis::start);
    let database = server.database().await;
    let plan = Plan::new(&database, nodes)
        .with_redis(redis.port())
        // As it is shipped. A shorter one can be over for want of processor time alone, on a machine with other work.
        .set("REVOCATION__LEASE", "10s")
        .set("REVOCATION__PULL", "250ms")
        .set("TOKENS__ACCESS_TTL", ACCESS_TTL)
        // As soon as keys may, where nodes share them.
        .set("TOKENS__KEY_LEAD", "1m")
        .set("TOKENS__KEY_ROTATION", "90s")
        // Full within the warm-up.
        .set("TOKENS__VERIFIED_CACHE", "256")
        // Sessions are new all the time: each would touch two more pages of that limit's table, a node's memory would rise
        // by its 4 MiB all through the run, and a leak of as much would go unseen. The keys of the other limits, people
        // and their address, are the same throughout.
        .set("LIMITS__REFRESHES_PER_SESSION", "0")
        .set("SESSIONS__IDLE", "1m")
        .set("SESSIONS__ABSOLUTE", "2m");
    let cluster = plan.start().await;
    let weather = Arc::new(Weather::new());
    let probe = |(at, node): (usize, &crate::support::cluster::Node)| Probe {
        name: node.name.clone(),
        net: Net::clone(node),
        process: Arc::new(AtomicU32::new(node.pid())),
        is_elder: at + 1 < nodes,
    };
    let probes: Vec<Probe> = cluster.nodes.iter().enumerate().map(probe).collect();
    let crowd = Crowd::new(probes.iter().map(|probe| probe.net.clone()).collect(), Arc::clone(&weather));
    let (readings, lateness) = (Mutex::new(Readings::default()), Mutex::default());
    let (redis_url, taken_back) = (redis.url(), AtomicU64::new(0));
    let reader = Arc::new(Reader { probes, database, redis: redis_url, crowd, readings, taken_back, lateness });
    let random = Conductor::random(seed);
    let (struck, retired_keys, bursts) = (Vec::new(), 0, 0);
    Ok(Conductor { cluster, server, redis, reader, weather, random, struck, retired_keys, bursts })
}

/// A key, a burst, a fault.
async fn brief(conductor: &mut Conductor) -> Result<(), Failure> {
    sleep(Duration::from_secs(2)).await;
    conductor.burst().await?;
    conductor.retire_a_key().await?;
    conductor.let_a_day_pass().await?;
    conductor.strike(Fault::NodeKill).await?;
    sleep(Duration::from_secs(1)).await;
    Ok(())
}

/// Cycles of bursts, keys and faults.
async fn long(conductor: &mut Conductor, minutes: u64) -> Result<(), Failure> {
    let end = Duration::from_mins(minutes);
    let mut faults = FAULTS.iter().cycle();
    let mut number = 0;
    while conductor.weather.now() < end {
        let begun = conductor.weather.now();
        tell(&format!("{} s", begun.as_secs()))?;
        let until = |share: f64| (begun + CYCLE.mul_f64(share)).min(end);
        rest(conductor, until(0.1)).await?;
        conductor.burst().await?;
        for share in [0.3, 0.6] {
            rest(conductor, until(share)).await?;
            if let Some(fault) = faults.next().filter(|_| conductor.weather.now() < end) {
                conductor.strike(*fault).await?;
            }
        }
        rest(conductor, until(0.8)).await?;
        if number % 2 == 0 && conductor.weather.now() < end {
            conductor.retire_a_key().await?;
        }
        rest(conductor, until(1.0)).await?;
        number += 1;
    }
    Ok(())
}

/// Lets time pass, and days with it.
async fn rest(conductor: &Conductor, until: Duration) -> Result<(), Failure> {
    while conductor.weather.now() < until {
        let left = until.saturating_sub(conductor.weather.now());
        sleep(left.min(Duration::from_secs(10))).await;
        conductor.let_a_day_pass().await?;
    }
    Ok(())
}

/// Waits for a task that fails. None ends otherwise.
async fn first_failure(tasks: &mut JoinSet<Result<(), Failure>>) -> Result<(), Failure> {
    match tasks.join_next().await {
        Some(Ok(Ok(()))) | None => Err("somebody has left early".into()),
        Some(Ok(failed)) => failed,
        Some(Err(error)) => Err(error.into()),
    }
}
