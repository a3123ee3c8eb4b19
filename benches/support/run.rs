//! A whole run, from an empty folder to a report.

use kickout::{clock::Clock, revoked_keys::RevokedKeys};
use tokio::runtime::{Builder, Runtime};

use super::{
    accuracy,
    filter_crates::{self, Effort, FilterCrates},
    ids::Ids,
    machine::Machine,
    memory,
    report::{Planned, Report, Size},
    rounds::Spread,
    speed::{self, Bench},
    states::State,
    tokens::{self, Tokens},
    world::World,
};
use crate::Failure;

/// How much a run does.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    seed: u64,
    sizes: Vec<u64>,
    /// Entries at which the filter's crate is compared with others.
    filter_sizes: Vec<u64>,
    rounds: usize,
    /// Starts on the ledger as it is.
    starts: usize,
    /// Checks over which false positives are counted, in each state.
    checks: u64,
    /// The same of each crate's filter.
    filter_checks: u64,
    /// Valid tokens that the rounds ask for.
    pool: u64,
    /// Tokens that are issued and verified.
    tokens: u64,
    merges: usize,
}

impl Plan {
    /// Everything, at sizes that mean something.
    pub(crate) fn full(seed: u64, sizes: Vec<u64>, filter_sizes: Vec<u64>, rounds: usize) -> Self {
        Self {
            seed,
            sizes,
            filter_sizes,
            rounds,
            starts: 7,
            checks: 5_000_000,
            filter_checks: 2_000_000,
            pool: 1 << 18,
            tokens: 4096,
            merges: 16,
        }
    }

    /// The same way once through, for its answers only: a few seconds in an unoptimised build too.
    pub(crate) fn smoke(seed: u64) -> Self {
        Self {
            seed,
            sizes: vec![4_000],
            filter_sizes: vec![4_000],
            rounds: 1,
            starts: 1,
            checks: 100_000,
            filter_checks: 20_000,
            pool: 4096,
            tokens: 64,
            merges: 1,
        }
    }
}

/// Runs a plan. `progress` is told of each step when its answers were found right.
pub(crate) fn measure(plan: &Plan, progress: impl Fn(&str) -> Result<(), Failure>) -> Result<Report, Failure> {
    let begun = Clock::System.boottime();
    let machine = Machine::look(&Clock::System);
    let runtime = Builder::new_current_thread().enable_all().build()?;
    // A check that must look into the ledger is polled outside `block_on` first.
    let _inside = runtime.enter();
    let mut sizes = Vec::with_capacity(plan.sizes.len());
    let mut tokens = None;
    for &entries in &plan.sizes {
        let is_largest = plan.sizes.iter().max() == Some(&entries);
        let (size, with_tokens) = at(plan, &runtime, entries, is_largest, &progress)?;
        sizes.push(size);
        tokens = with_tokens.or(tokens);
    }
    let filter_crates = filter_crates(plan, &progress)?;
    let settings = memory::settings(1)?;
    let planned =
        Planned { seed: plan.seed, sizes: plan.sizes.clone(), rounds: plan.rounds, target: settings.false_positives };
    let took_seconds = Clock::System.boottime().since(begun).as_secs_f64();
    Ok(Report { machine, plan: planned, sizes, tokens, filter_crates, took_seconds })
}

/// Everything at one size; the tokens too, if it is the largest.
fn at(
    plan: &Plan,
    runtime: &Runtime,
    entries: u64,
    is_largest: bool,
    progress: &impl Fn(&str) -> Result<(), Failure>,
) -> Result<(Size, Option<Tokens>), Failure> {
    let say = |step: &str| progress(&format!("{entries} live revocations: {step}"));
    let ids = Ids::new(plan.seed);
    let settings = memory::settings(entries)?;
    let mut kinds = Vec::new();
    for kind in memory::Kind::ALL {
        kinds.push(memory::measure(kind, plan.seed, entries)?);
    }
    say("memory")?;
    let accuracy = accuracies(plan, ids, entries)?;
    say("every revoked id is found, false positives are within bounds")?;
    let filter = State::Full.build(ids, settings);
    let insert = speed::insert(ids, &filter, plan.merges);
    drop(filter);
    let (mut world, recording) = runtime.block_on(World::fill(ids, entries, settings))?;
    say("recorded and applied")?;
    let mut seconds = Vec::with_capacity(plan.starts);
    let (mut loaded, took) = runtime.block_on(world.start())?;
    seconds.push(took.as_secs_f64());
    for _ in 1..plan.starts {
        let (again, took) = runtime.block_on(world.start())?;
        loaded = again;
        seconds.push(took.as_secs_f64());
    }
    let revoked_keys = RevokedKeys::default();
    revoked_keys.insert(speed::revoked_keys());
    let (keyed, _) = runtime.block_on(world.start_with(revoked_keys))?;
    say("a node has started with all of them")?;
    runtime.block_on(world.age())?;
    let bench = Bench::new(runtime, &world, world.checker(&loaded), world.checker(&world.follower), plan.pool);
    let look_us = bench.verify_hits()?;
    say("revoked tokens are refused, by the ledger and by a known answer")?;
    let first_sight = [State::Loaded, State::TwoFull]
        .into_iter()
        .map(|state| bench.first_sight(state, plan.rounds, plan.pool))
        .collect::<Result<Vec<_>, _>>()?;
    say("valid tokens are accepted")?;
    let timed = bench.compare(plan.rounds)?;
    say("filter, exact sets and checks agree")?;
    let revoked_keys = Some(bench.with_revoked_keys(&world.checker(&keyed), plan.rounds)?);
    say("tokens under revoked keys are refused")?;
    let tokens = if is_largest { Some(tokens::measure(&bench, plan.rounds, plan.tokens)?) } else { None };
    say("tokens are verified and checked")?;
    drop(bench);
    runtime.block_on(world.close());
    let ratios = speed::ratios(&timed);
    let ready_seconds = Spread::of(seconds);
    let size = Size {
        entries,
        recording,
        ready_seconds,
        accuracy,
        memory: kinds,
        look_us,
        first_sight,
        timed,
        ratios,
        revoked_keys,
        insert,
    };
    Ok((size, tokens))
}

/// The filter's crate beside others, without a ledger.
fn filter_crates(plan: &Plan, progress: &impl Fn(&str) -> Result<(), Failure>) -> Result<Vec<FilterCrates>, Failure> {
    let effort = Effort { seed: plan.seed, rounds: plan.rounds, checks: plan.filter_checks, pool: plan.pool };
    let mut found = Vec::with_capacity(plan.filter_sizes.len());
    for &entries in &plan.filter_sizes {
        found.push(filter_crates::measure(effort, entries)?);
        progress(&format!("{entries} entries: the filters of all crates find each of them, and so does an exact set"))?;
    }
    Ok(found)
}

/// False positives in each state, none of them far above the target.
fn accuracies(plan: &Plan, ids: Ids, entries: u64) -> Result<Vec<accuracy::Accuracy>, Failure> {
    let settings = memory::settings(entries)?;
    let mut found = Vec::with_capacity(State::ALL.len());
    for state in State::ALL {
        let filter = state.build(ids, settings);
        accuracy::contains_all(&filter, state, ids, entries)?;
        let accuracy = accuracy::count(&filter, state, ids, settings, plan.checks);
        // Not a figure of merit: three times the target means that something is broken.
        if accuracy.low > 3.0 * settings.false_positives {
            return Err(format!("far too many false positives: {accuracy:?}").into());
        }
        found.push(accuracy);
    }
    Ok(found)
}
