//! A cluster under faults, alone and in pairs: real nodes, PostgreSQL and Redis, clients that use them all the time, and
//! a history of everything that was asked and answered, which is judged against the promises.
//!
//! An episode: a fresh cluster, clients, its faults, then everything is healed and must be ready again, and the clients
//! go on until no fault excuses anything any more and what they have done shows something: receipts, checks of what these
//! ended, refreshes. All tokens are asked about everywhere. Then every process is killed, in the middle of all that, and
//! started again. When the clients have gone, all tokens are asked about once more, with the newest refresh tokens of
//! sessions that must have lived on, and with those that should be worth nothing. The plan of an episode follows from
//! the seed of the run and the number of the episode alone; what the machine makes of it differs from run to run.
//!
//! Where the machine has not run the processes for more than a fifth of an episode, P2 and P6 count as not judged in it.
//! Such an episode is held a second time, and so is one whose fault has not shown what it was for. What is not shown
//! then is an error; and so is a run of which more than a tenth stays unjudged.
//!
//! A broken promise ends no run: the history is kept, the command that repeats the episode is told, and the exit code is
//! 1 in the end.
//!
//! | module | what it does |
//! |---|---|
//! | [`plan`] | which faults, which cluster: from the seed |
//! | [`world`], [`node`] | starts and kills the real things |
//! | [`net`] | a network of a node's own, which loses packets |
//! | [`clients`], [`calls`], [`tables`] | who uses it; what is said and answered; what the clients know |
//! | [`faults`], [`clock`] | what is done to it |
//! | [`bites`] | whether it has shown anything |
//! | [`watch`] | notices when the machine itself stood still |
//! | [`episode`] | one of them, from start to verdict |

mod bites;
mod calls;
mod clients;
mod clock;
mod episode;
mod faults;
mod net;
mod node;
mod plan;
mod tables;
mod watch;
mod world;

use std::{collections::BTreeMap, fs, path::PathBuf, process::Command, sync::Arc, time::Duration};

use clap::Args;
use kickout::clock::Clock;
use tokio::{
    signal::{
        self,
        unix::{SignalKind, signal},
    },
    task::{JoinSet, block_in_place},
};

use self::{
    clock::Wall,
    episode::Ended,
    net::{Between, Net},
    plan::{Kind, Plan, brief, plan},
};
use crate::{
    Failure, command,
    judge::{
        self, report,
        results::{EpisodeSummary, Results},
    },
    machine::Machine,
    support::{postgres::Server, system},
};

/// Now, on the clock of all histories.
fn moment() -> u64 {
    Clock::System.boottime().as_nanos()
}

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Seconds, and no figures.
    #[arg(long)]
    pub(crate) smoke: bool,
    /// What the plans follow from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many episodes; without this and `--minutes`, every fault alone once.
    #[arg(long)]
    episodes: Option<u32>,
    /// As many episodes as begin within this time.
    #[arg(long, conflicts_with = "episodes")]
    minutes: Option<u64>,
    /// Only these faults, alone and in pairs.
    #[arg(long, value_delimiter = ',', value_name = "FAULT")]
    only: Vec<Kind>,
    /// The first episode of the run; those before it are passed over.
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    from: u32,
    /// Only this episode of the run.
    #[arg(long, value_name = "NUMBER")]
    episode: Option<u32>,
    /// What lies between the processes; with `--smoke` always proxies.
    #[arg(long, value_enum, default_value_t = Between::Auto)]
    net: Between,
    /// Where the results go.
    #[arg(long, default_value = "target/bench/nemesis.json")]
    out: PathBuf,
    /// Only prints the report of such results.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Keep the history of every episode here, not only of those that broke a promise.
    #[arg(long, value_name = "FOLDER")]
    keep_histories: Option<PathBuf>,
}

/// Where the histories of episodes go that have broken a promise.
const BROKEN: &str = "target/nemesis";

/// Runs it. When it is interrupted, everything that it has made is taken away.
pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        ended = Box::pin(episodes(options)) => ended,
        interrupted = signal::ctrl_c() => interrupted.map_err(Into::into).and(Err("it was interrupted".into())),
        _ = terminated.recv() => Err("it was terminated".into()),
    }
}

async fn episodes(options: &Options) -> Result<(), Failure> {
    if let Some(file) = &options.report {
        return command::say(&report::report(&command::read::<Results>(file)?)?);
    }
    net::sweep();
    clock::sweep();
    let net = match options.net {
        _ if options.smoke => Err("--smoke".to_owned()),
        Between::Proxy => Err("--net proxy".to_owned()),
        Between::Netns | Between::Auto => Net::can_be_had(),
    };
    if let (Between::Netns, false, Err(why)) = (options.net, options.smoke, &net) {
        return Err(why.clone().into());
    }
    // What is planned does not depend on what this machine can do: the same number is the same episode everywhere.
    let kinds = if options.only.is_empty() { Kind::all() } else { options.only.clone() };
    let skipped = missing(&kinds, &net);
    for (kind, why) in skipped.iter().filter(|_| !options.smoke) {
        command::tell(&format!("without {kind}: {why}"))?;
    }
    if skipped.len() == kinds.len() && !options.smoke {
        return Err("nothing of this can be had here".into());
    }
    judge::self_check()?;
    let mut server = Arc::new(block_in_place(Server::start));
    let mut results = Results {
        machine: Machine::look(&Clock::System),
        versions: versions(),
        seed: options.seed,
        net: if net.is_ok() { "netns" } else { "proxy" }.to_owned(),
        took_seconds: 0.0,
        episodes: Vec::new(),
        skipped: skipped.iter().map(|(kind, why)| (kind.to_string(), why.clone())).collect(),
    };
    let (mut number, mut failed, since) = (options.episode.unwrap_or(options.from), 0, moment());
    while goes_on(options, number, kinds.len(), since) {
        let plan = if options.smoke { brief(options.seed) } else { plan(options.seed, number, &kinds) };
        number += 1;
        if !options.smoke && plan.faults.iter().any(|planned| skipped.iter().any(|(kind, _)| *kind == planned.kind)) {
            continue;
        }
        let ended = held(&plan, &mut server, net.is_ok()).await;
        if !tell(options, &plan, ended, &mut results)? {
            failed += 1;
        }
    }
    clock::sweep();
    results.took_seconds = Duration::from_nanos(moment() - since).as_secs_f64();
    if !options.smoke {
        command::write(&options.out, &results)?;
    }
    verdict(&results, failed, options.smoke)
}

/// What a run has come to.
fn verdict(results: &Results, failed: u32, is_smoke: bool) -> Result<(), Failure> {
    if results.are_receipts_slow() {
        return Err("too many receipts were slow though no fault made them: acknowledgements do nothing".into());
    }
    let unjudged = results.episodes.iter().filter(|episode| !episode.is_judged_whole()).count();
    if unjudged > 0 && !is_smoke {
        command::tell(&format!("P2 and P6 are not judged in {unjudged} of {} episodes", results.episodes.len()))?;
    }
    if unjudged > 1 && 10 * unjudged > results.episodes.len() {
        return Err("too much stays unjudged: the machine has too much to do beside".into());
    }
    if failed == 0 { Ok(()) } else { Err(format!("{failed} episodes broke a promise, or could not be held").into()) }
}

/// Holds an episode, and once more if it has broken nothing and shown too little.
async fn held(plan: &Plan, server: &mut Arc<Server>, has_nets: bool) -> Result<Ended, Failure> {
    let mut is_first = !plan.is_brief;
    loop {
        let mut ended = held_once(plan, server, has_nets).await;
        if ended.is_err() && !plan.is_brief {
            // Who knows what has become of it.
            *server = Arc::new(block_in_place(Server::start));
        }
        if let Ok(ended) = &mut ended {
            let is_clean = ended.summary.is_clean();
            if is_first && is_clean && !(ended.missing.is_empty() && ended.summary.is_judged_whole()) {
                let why = if ended.missing.is_empty() { ended.summary.verdict() } else { ended.missing.join("; ") };
                command::tell(&format!("episode {} is held again: {why}", plan.episode))?;
                is_first = false;
                continue;
            }
            ended.summary.trouble.append(&mut ended.missing);
        }
        return ended;
    }
}

/// Holds an episode; what panics in it is an error here.
async fn held_once(plan: &Plan, server: &Arc<Server>, has_nets: bool) -> Result<Ended, Failure> {
    let (plan, server) = (plan.clone(), Arc::clone(server));
    let mut task = JoinSet::new();
    task.spawn(async move { Box::pin(episode::run(&plan, &server, has_nets)).await });
    task.join_next().await.ok_or("nothing was held")??
}

/// The faults that cannot be had here, and why.
fn missing(kinds: &[Kind], net: &Result<(), String>) -> Vec<(Kind, String)> {
    let had = |kind: Kind| match kind {
        Kind::SqlClockAhead | Kind::SqlClockBack | Kind::NodeClock => Wall::new().map(drop),
        Kind::Network(_) => net.clone(),
        _ => Ok(()),
    };
    kinds.iter().filter_map(|&kind| Some((kind, had(kind).err()?))).collect()
}

fn goes_on(options: &Options, number: u32, kinds: usize, since: u64) -> bool {
    if options.smoke {
        return number == 0;
    }
    if let Some(only) = options.episode {
        return number == only;
    }
    match (options.episodes, options.minutes) {
        (Some(episodes), _) => number - options.from < episodes,
        (_, Some(minutes)) => Duration::from_nanos(moment() - since) < Duration::from_mins(minutes),
        _ => usize::try_from(number).is_ok_and(|number| number < kinds),
    }
}

/// Says how an episode ended, and keeps what is to be kept; whether it was as promised.
fn tell(options: &Options, plan: &Plan, ended: Result<Ended, Failure>, results: &mut Results) -> Result<bool, Failure> {
    let faults: Vec<String> = plan.faults.iter().map(|planned| planned.kind.to_string()).collect();
    let name = format!("episode {} ({})", plan.episode, faults.join(" and "));
    let net = results.net.clone();
    let again = || {
        if plan.is_brief {
            return format!("cargo bench --profile dev --bench proof -- nemesis --smoke --seed {}", plan.seed);
        }
        let only: Vec<String> = options.only.iter().map(ToString::to_string).collect();
        let only = if only.is_empty() { String::new() } else { format!(" --only {}", only.join(",")) };
        format!(
            "cargo bench --profile dev --bench proof -- nemesis --net {net} --seed {} --episode {}{only}",
            plan.seed, plan.episode
        )
    };
    let ended = match ended {
        Ok(ended) => ended,
        Err(error) => {
            command::tell(&format!("{name}: it could not be held: {error}\n  again: {}", again()))?;
            return Ok(false);
        }
    };
    let is_clean = ended.summary.is_clean();
    let folder = options.keep_histories.clone().or_else(|| (!is_clean).then(|| PathBuf::from(BROKEN)));
    if let Some(folder) = folder {
        let folder = folder.join(format!("{}-{}", plan.seed, plan.episode));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("history.json"), serde_json::to_vec(&ended.history)?)?;
        command::write(&folder.join("plan.json"), &plan)?;
        for node in ended.world.nodes() {
            node.keep_logs(&folder)?;
        }
        if !is_clean {
            command::tell(&format!("kept in {}", folder.display()))?;
        }
    }
    let operations = (!options.smoke).then_some(ended.history.events.len());
    command::tell(&format!("{name}: {}", line(&ended.summary, operations)))?;
    if !is_clean {
        command::tell(&format!(
            "{}{}\n  again: {}",
            ended.summary.findings.tell(&ended.history),
            ended.summary.trouble.join("\n"),
            again()
        ))?;
    }
    results.episodes.push(ended.summary);
    Ok(is_clean)
}

/// What an episode was, in a line.
fn line(summary: &EpisodeSummary, operations: Option<usize>) -> String {
    let receipts = summary.findings.figures.complete_receipts;
    let figures =
        |operations| format!("{operations} operations, {receipts} receipts in {:.0} s, ", summary.took_seconds);
    operations.map(figures).unwrap_or_default() + &summary.verdict()
}

/// Of the servers that are used.
fn versions() -> BTreeMap<String, String> {
    let said = |program: PathBuf| {
        let output = Command::new(program).arg("--version").output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let is_version = |word: &&str| word.starts_with("v=") || word.starts_with(|first: char| first.is_ascii_digit());
        text.split_whitespace().find(is_version).unwrap_or("unknown").trim_start_matches("v=").to_owned()
    };
    let postgres = system::postgres("postgres").unwrap_or_default();
    [("PostgreSQL", postgres), ("Redis", "redis-server".into())]
        .map(|(name, program)| (name.to_owned(), said(program)))
        .into()
}
