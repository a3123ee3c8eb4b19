//! What it costs to be able to take a credential back, strategy by strategy.
//!
//! ```text
//! cargo bench --bench strategies                             the full run, minutes: target/bench/strategies.json
//! cargo bench --bench strategies -- --out FILE --rounds 5 --window 2s --live 0,10000,1000000 --parts load,sweep,facts
//! cargo bench --bench strategies -- --report FILE --to FOLDER       the report of an earlier run
//! cargo bench --bench strategies -- --compare A B                   two runs beside each other
//! cargo bench --bench strategies -- --smoke                  seconds: checks the answers, prints no figures
//! cargo test --bench strategies                              the same
//! ```

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

    #[expect(dead_code, reason = "the parts of the comparison that use the rest of it are not there yet")]
    pub(crate) mod strategies {
        //! Of the comparison of strategies.

        pub(crate) mod arms;
        pub(crate) mod compare;
        pub(crate) mod facts;
        pub(crate) mod peers;
        pub(crate) mod point;
        pub(crate) mod process;
        pub(crate) mod proxy;
        pub(crate) mod report;
        pub(crate) mod results;
        pub(crate) mod scope;
        pub(crate) mod workload;
    }
}

use std::{error::Error, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use kickout::clock::Clock;
use tokio::runtime::Builder;

use support::{
    command::{exit, options, read, say, tell, write},
    machine::Machine,
    servers::{Redis, Servers},
    strategies::{
        compare::compare,
        facts, peers, report,
        results::{Plan, Results, SCHEMA},
        scope::{Pins, Scope},
        workload,
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
    /// What to measure: load, sweep, facts.
    #[arg(long, value_delimiter = ',', default_value = "load,sweep,facts")]
    parts: Vec<String>,
    /// Rounds of each comparison.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long a turn takes at the base point, such as 2s or 500ms; on the axes it is half of that.
    #[arg(long, default_value = "2s", value_parser = window)]
    window: Duration,
    /// Numbers of live revocations.
    #[arg(long, value_delimiter = ',', default_value = "0,10000,1000000")]
    live: Vec<u64>,
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
        return say(&report::write(&read(file)?, &options.to)?);
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
        seed: options.seed,
        pins,
    };
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let parts: Vec<&str> = options.parts.iter().map(String::as_str).collect();
    if is_smoke {
        let results = runtime.block_on(measure(&scope, &parts, &mut |line| say(&format!("ok  {line}"))))?;
        // The way to the report is part of what must work; its figures mean nothing here.
        let _: Results = serde_json::from_str(&serde_json::to_string(&results)?)?;
        report::self_check()?;
        return say("ok  report");
    }
    let results = runtime.block_on(measure(&scope, &parts, &mut |line| tell(line)))?;
    write(&options.out, &results)?;
    say(&report::write(&read(&options.out)?, &options.to)?)
}

async fn measure(
    scope: &Scope,
    parts: &[&str],
    progress: &mut dyn FnMut(&str) -> Result<(), Failure>,
) -> Result<Results, Failure> {
    let begun = Clock::System.boottime();
    let servers = Servers::start(&[])?;
    if servers.redis.is_none() {
        return Err("Redis is not installed: apt-get install redis-server".into());
    }
    let (postgres, _) = servers.postgres.describe().await?;
    let mut results = Results {
        schema: SCHEMA,
        machine: Machine::look(&Clock::System),
        redis: Redis::version(),
        postgres,
        took_seconds: 0.0,
        seed: scope.seed,
        plan: Plan {
            rounds: scope.rounds,
            window_seconds: scope.window.as_secs_f64(),
            open_rate: 0,
            connections: 0,
            users: 0,
            devices_per_user: 0,
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
    if parts.contains(&"facts") {
        let found = facts::measure(scope, &servers, progress).await?;
        results.revoking = found.revoking;
        results.store_use = found.store_use;
        results.bytes = found.bytes;
        results.outages = found.outages;
        results.memory = found.memory;
    }
    results.took_seconds = Clock::System.boottime().since(begun).as_secs_f64();
    Ok(results)
}
