//! The promises under attack: real programs, real stores, faults, and checks of everything that was answered.
//!
//! ```text
//! cargo bench --profile dev --bench proof -- nemesis       a cluster under faults, alone and in pairs
//! cargo bench --profile dev --bench proof -- judge         histories that were kept, judged again
//! cargo bench --profile dev --bench proof -- crash         kill -9 at random moments, over and over
//! cargo bench --profile dev --bench proof -- soak          load, rotations and faults for long: nothing may drift
//! cargo bench --profile dev --bench proof -- mutants       rules broken on purpose: each must be caught
//! ```
//!
//! `nemesis`, `crash` and `soak` have a form of seconds, `--smoke`, which checks the same verdicts and prints no figures;
//! a run of `nemesis` shows the judge what it has to find before it begins. That each mutant still applies is a test. The
//! long forms write their raw results to `target/bench/`; those of the last full runs are in `benches/results/`.
//!
//! | module | what it does |
//! |---|---|
//! | [`history`] | what was asked, what was answered, and when: the language between those who act and those who judge |
//! | [`judge`] | what a history may not hold: the promises, said once, as checks |
//! | [`nemesis`] | clusters, clients and faults; writes histories |
//! | [`crash`] | the embedded default, killed thousands of times |
//! | [`soak`] | the same for long, and what must not grow |
//! | [`mutants`] | builds each patch of `tests/mutants/` and runs what must catch it |

#[path = "../support/command.rs"]
#[expect(dead_code, reason = "other benchmarks use the rest of it")]
mod command;
mod crash;
mod history;
mod judge;
#[path = "../support/machine.rs"]
#[expect(dead_code, reason = "the head is that of the other benchmarks")]
mod machine;
mod mutants;
mod nemesis;
mod soak;
#[expect(dead_code, unused_imports, reason = "the integration tests use the rest of it")]
mod support;

use std::{error::Error, process::ExitCode};

use clap::{Parser, Subcommand};
use tokio::runtime::Builder;

/// Whatever ends a run early; a broken promise above all.
type Failure = Box<dyn Error + Send + Sync>;

/// The promises under attack.
#[derive(Debug, Parser)]
struct Options {
    #[command(subcommand)]
    part: Part,
    /// Given by `cargo bench`.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// A cluster under faults, alone and in pairs.
    Nemesis(nemesis::Options),
    /// Histories that were kept, judged again.
    Judge(judge::Options),
    /// kill -9 at random moments, over and over.
    Crash(crash::Options),
    /// Load, rotations and faults for long: nothing may drift.
    Soak(soak::Options),
    /// Rules broken on purpose: each must be caught.
    Mutants(mutants::Options),
}

fn main() -> ExitCode {
    let options = Options::parse();
    command::exit(start(&options.part))
}

fn start(part: &Part) -> Result<(), Failure> {
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    match part {
        Part::Nemesis(options) => runtime.block_on(nemesis::run(options)),
        Part::Judge(options) => judge::run(options),
        Part::Crash(options) => runtime.block_on(crash::run(options)),
        Part::Soak(options) => runtime.block_on(soak::run(options)),
        Part::Mutants(options) => mutants::run(options),
    }
}
