//! What revocation costs in a cluster: how long, how many, and how soon after a start.
//!
//! ```text
//! cargo bench --bench cluster                                the full run, minutes: tables, target/bench/cluster.json
//! cargo bench --bench cluster -- --out FILE --rounds 5 --rows 1000000
//! cargo bench --bench cluster -- --table FILE                the tables of an earlier run
//! cargo bench --bench cluster -- --profile                   only where the time of a logout goes
//! cargo bench --bench cluster -- --smoke                     seconds: checks the answers, prints no figures
//! cargo test --bench cluster                                 the same
//! ```
//!
//! # What is measured
//!
//! Nodes are whole services without their listeners ([`App::build`], [`App::start`]) in this process, each with its own
//! pools, filter and tasks, under the settings that are shipped. PostgreSQL and Redis are servers of the run's own, on
//! loopback; PostgreSQL as it is shipped, every commit durable. With `redis` nodes tell each other of revocations by
//! Redis, with `notify` by the database's channels, and with `pull` every push is lost.
//!
//! - *One logout at a time*, on 1, 3 and 8 nodes: from the call to the acknowledged commit, from there until each other
//!   node has applied it, and from the call to the complete receipt.
//! - *Many at once*, on 3 nodes: a closed loop of 1, 16 and 256 callers, each waiting for its complete receipt; and the
//!   processor time that a logout takes.
//! - *What bounds them*: durable commits of one row, one after the other; and callers that call nothing.
//! - *From start to ready*, on a ledger with a million live rows.
//! - *Where the time goes*: one window more on a server that counts its statements.
//!
//! # How
//!
//! In every round each candidate has its turn on a fresh cluster and database, so no drift of the machine falls on one
//! of them alone. Sessions are opened by what a login does after the password, [`Sessions::open_for`]: hashing one would
//! take longer than everything else. Logouts are the service's own, [`Sessions::end_session`], past HTTP.
//!
//! Nodes, callers and servers share the machine's cores here. What nodes take from each other they would not take on
//! machines of their own; what the network between those takes is missing.
//!
//! Every answer is checked: a token that any node accepts after its complete receipt, or a valid one that is refused,
//! ends the run with an error. One at a time each token is shown to every node before and after; in a window it is
//! shown to one of them after the window, and after that some more logouts, as many at once, are each shown to every
//! node as soon as their receipts are there.
//!
//! [`App::build`]: kickout::app::App::build
//! [`App::start`]: kickout::app::App::start
//! [`Sessions::open_for`]: kickout::sessions::Sessions::open_for
//! [`Sessions::end_session`]: kickout::sessions::Sessions::end_session

mod support {
    //! What the benchmarks share.

    pub(crate) mod bulk;
    pub(crate) mod capacity;
    pub(crate) mod cluster_report;
    pub(crate) mod cluster_run;
    pub(crate) mod cluster_table;
    pub(crate) mod command;
    pub(crate) mod fleet;
    pub(crate) mod latencies;
    pub(crate) mod machine;
    pub(crate) mod profile;
    pub(crate) mod propagation;
    pub(crate) mod readiness;
    #[expect(dead_code, reason = "other benchmarks use the rest of it")]
    pub(crate) mod rounds;
    #[expect(dead_code, reason = "the comparison of strategies stops them, too")]
    pub(crate) mod servers;
    #[path = "../../tests/it/support/system.rs"]
    pub(crate) mod system;
}

use std::{error::Error, path::PathBuf, process::ExitCode};

use clap::Parser;
use tokio::runtime::Builder;

use support::{
    cluster_report::Report,
    cluster_run::{Plan, measure},
    cluster_table,
    command::{exit, options, read, say, tell, write},
};

/// Whatever ends a run early; a wrong answer above all.
type Failure = Box<dyn Error + Send + Sync>;

/// Benchmarks of a cluster.
#[derive(Debug, Parser)]
struct Options {
    /// Check the answers with few of everything, and print no figures.
    #[arg(long, alias = "test")]
    smoke: bool,
    /// Where the results go, as JSON.
    #[arg(long, default_value = "target/bench/cluster.json")]
    out: PathBuf,
    /// Print the tables of these results and measure nothing.
    #[arg(long)]
    table: Option<PathBuf>,
    /// Measure only where the time of a logout goes.
    #[arg(long)]
    profile: bool,
    /// Rounds of each comparison.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Live rows that a node starts with; 0 to leave that out.
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    exit(start(&options("cluster")))
}

fn start(options: &Options) -> Result<(), Failure> {
    if let Some(file) = &options.table {
        return say(&cluster_table::markdown(&read(file)?));
    }
    // As the service has it.
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    if options.smoke || !options.bench {
        let report = runtime.block_on(measure(&Plan::smoke(), |line| say(&format!("ok  {line}"))))?;
        // The way to the tables is part of what must work; its figures mean nothing here.
        let again: Report = serde_json::from_str(&serde_json::to_string(&report)?)?;
        if cluster_table::markdown(&again).is_empty() {
            return Err("the tables are empty".into());
        }
        return say("ok  report and tables");
    }
    let plan = if options.profile { Plan::profile() } else { Plan::full(options.rounds, options.rows) };
    let report = runtime.block_on(measure(&plan, tell))?;
    write(&options.out, &report)?;
    say(&cluster_table::markdown(&read(&options.out)?))
}
