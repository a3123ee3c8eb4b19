//! What it costs to be able to take a credential back, strategy by strategy.
//!
//! ```text
//! cargo bench --bench strategies                             the full run, minutes: target/bench/strategies.json
//! cargo bench --bench strategies -- --out FILE --rounds 5 --window 1500ms --live 0,10000,1000000 --parts load,sweep,facts
//! cargo bench --bench strategies -- --report FILE --to FOLDER       the report of an earlier run
//! cargo bench --bench strategies -- --compare A B                   two runs beside each other
//! cargo bench --bench strategies -- --smoke                  seconds: checks the answers, prints no figures
//! cargo test --bench strategies                              the same
//! ```
//!
//! # Who is compared
//!
//! The six strategies of Kickout, each as its own program has it under `revocation.strategy`: `stateless`, `hybrid`,
//! `exact`, `redis`, `session-redis`, `session-sql`. Beside them somebody else's sessions, the crate `tower-sessions` with
//! its Redis store, and an *empty handler*, which looks at nothing and sends the same answer: the ceiling. All answer the
//! same request, `GET /v1/auth/verify` with a cookie, as a proxy asks it.
//!
//! # What is measured
//!
//! *Load.* At the base point (the defaults of `Point`) everybody is there; then one axis at a time
//! leaves it, with those for whom it means something: live revocations, the distance of Redis and PostgreSQL, the share
//! of tokens that the node has verified before, the algorithm, revocations that arrive meanwhile, the share of requests
//! with a revoked credential, the number of nodes. Each turn is an open loop at one rate for all, for processor time per
//! request and latency; on some axes a closed loop follows, for capacity.
//!
//! *Sweep.* What the rivals are given, more and less of it, so that one can see that it is enough.
//!
//! *Facts.* What else a choice depends on: how long a revocation takes to bite, what the stores are asked and hold, what
//! happens when they are gone, memory.
//!
//! # How
//!
//! A node is a process of its own, with the settings that are shipped but for those that the results list. PostgreSQL and
//! Redis are servers of the run's own, on loopback. Nodes are pinned to the first core, one worker thread each; the
//! generator, the stores and the proxies share the others. The primary figure is *processor time of the node's process
//! per request*, from the scheduler's account in nanoseconds: on two cores the generator's share pulls every ratio of
//! throughput toward 1, and the stores' own work is nobody's here.
//!
//! At each point all candidates are alive at once. In each round each has its turn, in another order, and is asked the
//! same: draws follow from the seed and the round's number. Users come by Zipf's law, their devices alike.
//!
//! Distance is made by a proxy with threads of its own, half the round trip each way. It runs on the generator's core:
//! *capacity* of whoever asks a store is bounded by that core where there is a distance, and is to be read at no
//! distance, where there is no proxy. Processor time of the node and latency below saturation are not touched by it.
//!
//! What a node has *verified before* is a matter of how often a token comes: with 0.95, each token is shown twenty times
//! on average, as a page does within a token's life. To have the share that a point names, that many requests carry a
//! token that was shown before, and the others one that the runner has signed just now, as a refresh would; the results
//! have the share that the node itself counted. With 0 the cache is off. Sessions have nothing like it.
//!
//! Live revocations stand in the ledger before the node starts, put there by SQL, and in Redis for `redis`. They are
//! tokens of nobody: what a check costs depends on how many there are, not on whose. For sessions they mean nothing: one
//! that has ended is gone. Ten million are a rate of 11 000 per second over a token's 15 minutes; two thousand per second
//! are 1.8 million. Tokens live for hours here, so that none ends during the run.
//!
//! Revocations that arrive are logouts at another node of the same ledger, which is in this process, in bursts.
//!
//! Keys of HS256 are not shared through PostgreSQL, so with that algorithm the node has SQLite, as shipped for one node.
//!
//! Every answer is checked: a revoked credential that is accepted where that must not be, a valid one that is refused,
//! or any other status ends the run with an error.

mod support {
    //! What the benchmarks share.

    pub(crate) mod command;
    #[expect(dead_code, reason = "other benchmarks use the rest of it")]
    pub(crate) mod fleet;
    pub(crate) mod machine;
    #[expect(dead_code, reason = "other benchmarks use the rest of it")]
    pub(crate) mod readiness;
    #[expect(dead_code, reason = "other benchmarks use the rest of it")]
    pub(crate) mod rounds;
    #[expect(dead_code, reason = "other benchmarks use the rest of it")]
    pub(crate) mod servers;
    #[path = "../../tests/it/support/system.rs"]
    pub(crate) mod system;

    pub(crate) mod strategies {
        //! Of the comparison of strategies.

        pub(crate) mod advice;
        pub(crate) mod arms;
        pub(crate) mod arrivals;
        pub(crate) mod asking;
        pub(crate) mod bytes;
        pub(crate) mod chart;
        pub(crate) mod check;
        pub(crate) mod compare;
        pub(crate) mod counters;
        pub(crate) mod document;
        pub(crate) mod facts;
        pub(crate) mod facts_table;
        pub(crate) mod figures;
        pub(crate) mod html;
        pub(crate) mod load;
        pub(crate) mod losses;
        pub(crate) mod memory;
        pub(crate) mod old;
        pub(crate) mod outages;
        pub(crate) mod peers;
        pub(crate) mod plots;
        pub(crate) mod point;
        pub(crate) mod process;
        pub(crate) mod proxy;
        pub(crate) mod report;
        pub(crate) mod results;
        pub(crate) mod revoking;
        pub(crate) mod run_load;
        pub(crate) mod sample;
        pub(crate) mod scene;
        pub(crate) mod scope;
        pub(crate) mod stage;
        pub(crate) mod store_use;
        pub(crate) mod sweep;
        pub(crate) mod table;
        pub(crate) mod workload;
    }
}

use std::{error::Error, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use kickout::clock::Clock;
use tokio::runtime::Builder;

use support::{
    command::{exit, options, say, tell, write},
    machine::Machine,
    servers::{Redis, Servers},
    strategies::{
        compare::compare,
        counters::COUNTING,
        facts, peers, report,
        results::{Plan, Results, SCHEMA},
        run_load,
        scope::{Pins, Scope},
        stage::{Crowd, Ground, Stages},
        sweep, workload,
    },
};

/// Whatever ends a run early; a wrong answer above all.
type Failure = Box<dyn Error + Send + Sync>;

/// Benchmarks of strategies.
#[derive(Debug, Parser)]
struct Options {
    /// Check the answers with few of everything, and print no figures.
    #[arg(long, alias = "test")]
    smoke: bool,
    /// Where the results go, as JSON.
    #[arg(long, default_value = "target/bench/strategies.json")]
    out: PathBuf,
    /// What to measure: load, sweep, facts; or of the facts only some: revoking, bytes, memory, outages, stores.
    #[arg(long, value_delimiter = ',', default_value = "load,sweep,facts")]
    parts: Vec<String>,
    /// Rounds of each comparison.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long a turn takes at the base point, such as 2s or 500ms; on the axes it is half of that.
    #[arg(long, default_value = "1500ms", value_parser = window)]
    window: Duration,
    /// Numbers of live revocations.
    #[arg(long, value_delimiter = ',', default_value = "0,10000,1000000")]
    live: Vec<u64>,
    /// Of the load only these axes: base, live, `redis_delay`, cache, algorithm, arriving, revoked, nodes. All if left out.
    #[arg(long, value_delimiter = ',')]
    axes: Vec<String>,
    /// Put what is measured into these earlier results of the same machine and versions; the report says so.
    #[arg(long)]
    into: Option<PathBuf>,
    /// What the workload follows from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the report of these results and measure nothing.
    #[arg(long)]
    report: Option<PathBuf>,
    /// Where the report goes.
    #[arg(long, default_value = "target/bench")]
    to: PathBuf,
    /// Tell what differs between two files of results, and measure nothing.
    #[arg(long, num_args = 2, value_names = ["A", "B"])]
    compare: Vec<PathBuf>,
    /// Be one of the servers that are measured.
    #[arg(long, hide = true)]
    serve: Option<String>,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A whole number with `ms` or `s`.
fn window(text: &str) -> Result<Duration, String> {
    let number = |digits: &str| digits.parse::<u64>().map_err(|error| error.to_string());
    match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(ms), _) => Ok(Duration::from_millis(number(ms)?)),
        (None, Some(seconds)) => Ok(Duration::from_secs(number(seconds)?)),
        (None, None) => Err("a whole number with ms or s, such as 2s".to_owned()),
    }
}

fn main() -> ExitCode {
    exit(start(&options("strategies")))
}

fn start(options: &Options) -> Result<(), Failure> {
    if let Some(kind) = &options.serve {
        return peers::serve(kind);
    }
    if let Some(file) = &options.report {
        return say(&report::write(&report::load(file)?, &options.to)?);
    }
    if let [a, b] = options.compare.as_slice() {
        return say(&compare(a, b)?);
    }
    let is_smoke = options.smoke || !options.bench;
    // Before there are threads.
    let pins = if is_smoke { Pins::none() } else { Pins::take()? };
    let scope = Scope {
        is_smoke,
        rounds: if is_smoke { 1 } else { options.rounds },
        window: if is_smoke { Duration::from_millis(200) } else { options.window },
        live: if is_smoke { vec![0, 1000] } else { options.live.clone() },
        axes: if is_smoke { Vec::new() } else { options.axes.clone() },
        seed: options.seed,
        pins,
    };
    // Before anything is measured in vain.
    let earlier = options.into.as_deref().map(report::load).transpose()?;
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let parts: Vec<&str> = options.parts.iter().map(String::as_str).collect();
    if is_smoke {
        let results = runtime.block_on(measure(&scope, &parts, &mut |line| say(&format!("ok  {line}"))))?;
        // The way to the report is part of what must work; its figures mean nothing here.
        report::readable(&results)?;
        report::self_check()?;
        return say("ok  report");
    }
    let results = runtime.block_on(measure(&scope, &parts, &mut |line| tell(line)))?;
    let results = match earlier {
        Some(earlier) => earlier.with(results, &options.parts)?,
        None => results,
    };
    write(&options.out, &results)?;
    say(&report::write(&report::load(&options.out)?, &options.to)?)
}

async fn measure(
    scope: &Scope,
    parts: &[&str],
    progress: &mut dyn FnMut(&str) -> Result<(), Failure>,
) -> Result<Results, Failure> {
    let begun = Clock::System.boottime();
    // Counting costs the server something, so where figures matter what needs it has a server of its own.
    let servers = Servers::start(if scope.is_smoke { &[COUNTING] } else { &[] })?;
    if servers.redis.is_none() {
        return Err("Redis is not installed: apt-get install redis-server".into());
    }
    let (postgres, _) = servers.postgres.describe().await?;
    let crowd = Crowd::of(scope);
    let mut results = Results {
        schema: SCHEMA,
        machine: Machine::look(&Clock::System),
        redis: Redis::version(),
        postgres,
        took_seconds: 0.0,
        again: Vec::new(),
        seed: scope.seed,
        plan: Plan {
            rounds: scope.rounds,
            window_seconds: scope.window.as_secs_f64(),
            open_rate: run_load::RATE,
            connections: run_load::CONNECTIONS,
            users: u64::try_from(crowd.users)?,
            devices_per_user: u64::try_from(crowd.devices)?,
            zipf_exponent: workload::ZIPF_EXPONENT,
            pinning: scope.pins.describe(),
        },
        arms: Vec::new(),
        load: Vec::new(),
        sweep: Vec::new(),
        revoking: Vec::new(),
        store_use: Vec::new(),
        bytes: Vec::new(),
        outages: Vec::new(),
        memory: Vec::new(),
    };
    let (mut ground, mut stages) = (Ground::new(scope, &servers), Stages::default());
    let has = |part: &str| parts.contains(&part);
    if has("load") {
        (results.load, results.arms) = run_load::measure(&mut ground, &mut stages, progress).await?;
    }
    if has("sweep") && !scope.is_smoke {
        results.sweep = sweep::measure(&mut ground, &mut stages, progress).await?;
    }
    let facts: Vec<&str> = facts::PARTS.into_iter().filter(|part| has("facts") || has(part)).collect();
    if !facts.is_empty() {
        let found = facts::measure(scope, &servers, &facts, progress).await?;
        results.revoking = found.revoking;
        results.store_use = found.store_use;
        results.bytes = found.bytes;
        results.outages = found.outages;
        results.memory = found.memory;
    }
    results.took_seconds = Clock::System.boottime().since(begun).as_secs_f64();
    Ok(results)
}
