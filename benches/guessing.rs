//! Whether the time of a refused login tells if the name exists.
//!
//! ```text
//! cargo bench --bench guessing                               the full run, minutes: tables, target/bench/guessing.json
//! cargo bench --bench guessing -- --out FILE --blocks 2000
//! cargo bench --bench guessing -- --table FILE               the tables of an earlier run
//! cargo bench --bench guessing -- --smoke                    seconds: checks the answers, prints no figures
//! cargo test --bench guessing                                the same
//! ```
//!
//! # What is measured
//!
//! A whole service over HTTP on loopback, on SQLite, under the settings that are shipped but for the limits of tries,
//! which would end the run after a few; logins that all get the same answer, each timed from the first byte sent to the
//! last byte read. Five kinds of them: a known name with a wrong password; a name that nobody has; a banned user's name
//! with a wrong password; a name that nobody can have; and a known name with a password that is too long for any. First
//! one at a time on one connection, then several at once on a connection each, so that computations wait for each other.
//!
//! # How
//!
//! In every block each kind has its turn once, in a new random order, so no drift of the machine falls on one of them
//! alone. Names of one kind are drawn from many. Every answer is checked: the same status, the same headers but those
//! that name the request and its time, and the same body, byte by byte.
//!
//! Against the wrong password of a known name, each other kind has the difference of medians with a bootstrap interval
//! (95 %, whole blocks drawn), and the Mann-Whitney test, which sees any shift of the whole distribution. The figure
//! that matters to an attacker follows from it: how many tries one name costs until they know, with 5 % of error either
//! way, whether it exists.
//!
//! # What is enough
//!
//! The whole interval within 1 % of the hash's time. One name then costs hundreds of tries, or thousands, even on
//! loopback, without the network's noise; and an address has ten for one name in an hour (`limits.wrong_per_account`). A
//! tighter bound would measure this machine: the hash's own time varies by more from one to the next.
//!
//! An interval that reaches over the bound says nothing, and wants more logins or a quieter machine; several logins at a
//! time wait for each other, which is far more noise than one at a time. Of the eight intervals, each at 95 %, one misses
//! what is true in every third run: the Mann-Whitney test beside it, which knows nothing of that, has its say as well.

mod support {
    //! What the benchmarks share.

    pub(crate) mod command;
    pub(crate) mod guessing_report;
    pub(crate) mod guessing_run;
    pub(crate) mod guessing_statistics;
    pub(crate) mod machine;
    #[expect(dead_code, reason = "other benchmarks use the rest of it")]
    pub(crate) mod rounds;
}

use std::{error::Error, path::PathBuf, process::ExitCode};

use clap::Parser;
use tokio::runtime::Builder;

use support::{
    command::{exit, options, read, say, tell, write},
    guessing_report::{Report, markdown},
    guessing_run::{Plan, measure},
};

/// Whatever ends a run early; a wrong answer above all.
type Failure = Box<dyn Error + Send + Sync>;

/// How long refused logins take.
#[derive(Debug, Parser)]
struct Options {
    /// Check the answers with few of each kind, and print no figures.
    #[arg(long, alias = "test")]
    smoke: bool,
    /// Where the results go, as JSON.
    #[arg(long, default_value = "target/bench/guessing.json")]
    out: PathBuf,
    /// Print the tables of these results and measure nothing.
    #[arg(long)]
    table: Option<PathBuf>,
    /// Logins of each kind, one at a time; and as many again, several at once.
    #[arg(long, default_value_t = 2000)]
    blocks: usize,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    exit(start(&options("guessing")))
}

fn start(options: &Options) -> Result<(), Failure> {
    if let Some(file) = &options.table {
        return say(&markdown(&read(file)?));
    }
    // As the service has it.
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    if options.smoke || !options.bench {
        let report = runtime.block_on(measure(&Plan::smoke(), |line| say(&format!("ok  {line}"))))?;
        // The way to the tables is part of what must work; its figures mean nothing here.
        let again: Report = serde_json::from_str(&serde_json::to_string(&report)?)?;
        again.check()?;
        if markdown(&again).is_empty() {
            return Err("the tables are empty".into());
        }
        return say("ok  report and tables");
    }
    let report = runtime.block_on(measure(&Plan::full(options.blocks), tell))?;
    report.check()?;
    write(&options.out, &report)?;
    say(&markdown(&read(&options.out)?))
}
