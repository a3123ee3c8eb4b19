//! Distributions per operation, by criterion. It measures one after the other, so compare nothing here.

use std::hint::black_box;

use criterion::Criterion;
use kickout::revocation::Presented;
use tokio::runtime::Builder;

use super::{
    ids::{Ids, Stream, keys},
    memory,
    speed::wait,
    states::State,
    world::World,
};
use crate::Failure;

/// Valid tokens that are asked for in turn: their part of a large filter is larger than an L2 cache.
const POOL: u64 = 1 << 18;

/// Measures the probe and the check of a valid token with `entries` live revocations.
pub(crate) fn measure(seed: u64, entries: u64) -> Result<(), Failure> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let _inside = runtime.enter();
    let ids = Ids::new(seed);
    let settings = memory::settings(entries)?;
    let (mut world, _) = runtime.block_on(World::fill(ids, entries, settings))?;
    let (loaded, _) = runtime.block_on(world.start())?;
    runtime.block_on(world.age())?;
    let epoch = world.ledger.id();
    let valid: Vec<Presented> = (0..POOL).map(|n| ids.valid(Stream::Valid, n, epoch)).collect();
    let mut criterion = Criterion::default().without_plots();
    let mut group = criterion.benchmark_group(format!("{entries} live"));
    for state in [State::Loaded, State::TwoFull] {
        let filter = state.build(ids, settings);
        let mut turn = valid.iter().cycle();
        group.bench_function(format!("probe, {}, miss", state.name()), |bencher| {
            bencher.iter(|| turn.next().map(|one| filter.probe(black_box(&keys(one)))));
        });
        let checker = world.checker(if state == State::TwoFull { &world.follower } else { &loaded });
        let mut turn = valid.iter().cycle();
        group.bench_function(format!("check, {}, miss", state.name()), |bencher| {
            bencher.iter(|| turn.next().map(|one| wait(&runtime, &checker, black_box(one))));
        });
    }
    group.finish();
    runtime.block_on(world.close());
    Ok(())
}
