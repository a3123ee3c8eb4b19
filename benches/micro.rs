//! What revocation costs on one node, in memory and in time.
//!
//! ```text
//! cargo bench --bench micro                                  the full run, minutes: table, target/bench/micro.json
//! cargo bench --bench micro -- --out FILE --sizes 10000 --filter-sizes 10000 --rounds 5 --seed 1
//! cargo bench --bench micro -- --table FILE                  the table of an earlier run
//! cargo bench --bench micro -- --criterion                   distributions per operation, in target/criterion
//! cargo bench --bench micro -- --smoke                       seconds: checks the answers, prints no figures
//! cargo test --bench micro                                   the same
//! ```
//!
//! # What is measured
//!
//! At each size, with so many live revocations of tokens in a ledger on disk, written by [`Ledger::record`] in
//! transactions of 256 acts as the recorder writes them:
//!
//! - *False positives per check*: a check asks for three ids, in up to two generations. Checks of random ids that
//!   nobody revoked, with a 95 % interval (Wilson), beside what theory expects and the target.
//! - *Bytes per live entry*: what the filter says of itself, and what the system says of a process of its own that
//!   builds that filter and nothing else; beside the theory of a Bloom filter, 1.44 · log2(1/p) bits.
//! - *Nanoseconds per check*: the whole [`Checker::check`] and [`Filter::probe`] alone, beside a bare exact set behind
//!   a lock and behind a swapped pointer. One thread. A miss is a valid token, a hit a revoked one.
//! - *Time to ready*: open the database file, open the ledger, load the filter. The file is in the system's page cache.
//! - *What a write costs*: a recorded row, an applied row, an entry of the filter with its share of merges.
//! - *What revocation adds to a stateless check*: a token's signature verified and its ids checked, beside the former
//!   alone; and what a few revoked signing keys, among which a check then has to look, add to a check.
//! - *What the filter's crate costs*: checks of `bloomfilter`, which the product uses, beside `fastbloom` with two
//!   hashers and an exact set, with their bytes, false positives and time to build. Without a ledger, so at larger sizes
//!   too.
//!
//! The filter is seen in three states. *Loaded*: one generation with room for half as much again, as after a start.
//! *Full*: one generation at its design load. *Two full*: the worst, just before the older of two full generations is
//! dropped. Only the younger one's entries are still of use then, but both are asked and both take memory. Up to 2 047
//! entries are in an exact set and not yet in their generation, which at small sizes makes "full" less than full.
//!
//! # How
//!
//! Ratios come from one run: in every round each candidate works on the same ids in many short slices, in turn, and a
//! round's figure is the median of its slices, so that neither a drift nor a slice that was interrupted decides. The
//! table shows median, lowest and highest over the rounds. Criterion measures one candidate after the other, minutes
//! apart, which on a shared machine compares moments and not candidates; so it is used for distributions only.
//!
//! The ids are random, a round's working set is larger than the L2 cache at the largest size, and ids follow from the
//! seed. The filter's own hash key is random by design, so two runs differ in which ids are false positives.
//!
//! Every answer is checked: a revoked token accepted, or a valid one refused, ends the run with an error.
//!
//! [`Ledger::record`]: kickout::revocation::ledger::Ledger::record
//! [`Checker::check`]: kickout::revocation::Checker::check
//! [`Filter::probe`]: kickout::revocation::filter::Filter::probe

mod support {
    //! What the benchmarks share.

    pub(crate) mod accuracy;
    pub(crate) mod command;
    pub(crate) mod distributions;
    pub(crate) mod exact;
    pub(crate) mod filter_crates;
    pub(crate) mod ids;
    pub(crate) mod machine;
    pub(crate) mod memory;
    pub(crate) mod report;
    pub(crate) mod rounds;
    pub(crate) mod run;
    pub(crate) mod sieves;
    pub(crate) mod speed;
    pub(crate) mod states;
    pub(crate) mod table;
    pub(crate) mod tokens;
    pub(crate) mod world;
}

use std::{error::Error, path::PathBuf, process::ExitCode};

use clap::Parser;

use support::{
    command::{exit, options, read, say, tell, write},
    distributions, memory,
    report::Report,
    run,
    run::Plan,
    table,
};

/// Whatever ends a run early; a wrong answer above all.
type Failure = Box<dyn Error + Send + Sync>;

/// Micro-benchmarks of revocation.
#[derive(Debug, Parser)]
struct Options {
    /// Check the answers at small sizes, and print no figures.
    #[arg(long, alias = "test")]
    smoke: bool,
    /// Where the results go, as JSON.
    #[arg(long, default_value = "target/bench/micro.json")]
    out: PathBuf,
    /// Print the table of these results and measure nothing.
    #[arg(long)]
    table: Option<PathBuf>,
    /// Measure distributions per operation with criterion.
    #[arg(long)]
    criterion: bool,
    /// Live revocations, instead of 10 000, 100 000 and 1 000 000.
    #[arg(long, value_delimiter = ',')]
    sizes: Option<Vec<u64>>,
    /// Entries at which the filter's crate is compared with others: those of `--sizes`, or else 10 000, 1 000 000 and
    /// 10 000 000.
    #[arg(long, value_delimiter = ',')]
    filter_sizes: Option<Vec<u64>>,
    /// Rounds of each comparison.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// What the ids follow from.
    #[arg(long, default_value_t = 20_260_101)]
    seed: u64,
    /// Build one structure and tell its resident size: how the full run measures memory.
    #[arg(long, hide = true)]
    resident: Option<memory::Kind>,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    exit(start(&options("micro")))
}

fn start(options: &Options) -> Result<(), Failure> {
    if let Some(kind) = options.resident {
        let entries = options.sizes.iter().flatten().next().copied().unwrap_or_default();
        return say(&serde_json::to_string(&memory::resident(kind, options.seed, entries)?)?);
    }
    if let Some(file) = &options.table {
        return say(&table::markdown(&read(file)?));
    }
    if options.criterion {
        return distributions::measure(
            options.seed,
            options.sizes.iter().flatten().copied().max().unwrap_or(1_000_000),
        );
    }
    if options.smoke || !options.bench {
        let report = run::measure(&Plan::smoke(options.seed), |line| say(&format!("ok  {line}")))?;
        // The way to the table is part of what must work; its figures mean nothing here.
        let again: Report = serde_json::from_str(&serde_json::to_string(&report)?)?;
        if table::markdown(&again).is_empty() {
            return Err("the table is empty".into());
        }
        return say("ok  report and table");
    }
    let asked = options.filter_sizes.as_ref().or(options.sizes.as_ref());
    let filter_sizes = asked.cloned().unwrap_or_else(|| vec![10_000, 1_000_000, 10_000_000]);
    let sizes = options.sizes.clone().unwrap_or_else(|| vec![10_000, 100_000, 1_000_000]);
    let plan = Plan::full(options.seed, sizes, filter_sizes, options.rounds);
    let report = run::measure(&plan, tell)?;
    write(&options.out, &report)?;
    say(&table::markdown(&read(&options.out)?))
}
