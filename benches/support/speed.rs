//! Nanoseconds per check, beside a bare exact set.

use std::{
    collections::HashMap,
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
};

use kickout::{
    clock::Clock,
    ids::KeyId,
    revocation::{Cause, Checked, Checker, Presented, Tier, Verdict, filter::Filter},
};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use super::{
    exact::{Locked, Set, Swapped},
    ids::{Ids, Stream, keys},
    rounds::{Arm, Spread, Timed, float, interleave, nanos},
    states::{State, until},
    world::World,
};
use crate::Failure;

/// Slices per round.
const SLICES: usize = 16;

/// Revoked tokens that the rounds ask for: a quarter of the known answers that a node keeps.
const HITS: u64 = 16_384;

/// Signing keys that one of two nodes knows to be taken back: a few, since each is an emergency.
const REVOKED_KEYS: u8 = 3;

/// What the candidates work on.
pub(crate) struct Bench<'a> {
    pub(crate) runtime: &'a Runtime,
    pub(crate) world: &'a World,
    /// Over the node as after a start.
    pub(crate) loaded: Checker,
    /// Over the node in its worst state.
    pub(crate) aged: Checker,
    valid: Vec<Presented>,
    revoked: Vec<Presented>,
}

/// Two candidates, round by round.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Ratio {
    pub(crate) of: String,
    pub(crate) to: String,
    pub(crate) rounds: Spread,
}

impl Ratio {
    pub(crate) fn between(of: &Timed, to: &Timed) -> Self {
        Self { of: of.name.clone(), to: to.name.clone(), rounds: Spread::ratio(&of.ns, &to.ns) }
    }
}

/// What the look into the signing keys that were taken back costs a check.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RevokedKeysCost {
    pub(crate) timed: Vec<Timed>,
    pub(crate) ratio: Ratio,
}

/// Checks of tokens that were never seen before: false positives cost a look into the ledger here.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FirstSight {
    pub(crate) state: State,
    pub(crate) checks: u64,
    pub(crate) false_positives: u64,
    /// Mean of each round.
    pub(crate) ns: Spread,
}

/// What one entry costs a filter at its design load.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Insert {
    /// With its share of the merge.
    pub(crate) amortised_ns: Spread,
    /// Without.
    pub(crate) plain_ns: Spread,
    /// The merge itself: a writer waits so long, readers do not.
    pub(crate) merge_us: Spread,
}

/// The keys that were taken back; no token here was signed by one.
pub(crate) fn revoked_keys() -> impl Iterator<Item = KeyId> {
    (1..=REVOKED_KEYS).map(|n| KeyId::of([n; 32]))
}

/// Waits for a check. Most are answered from memory by the first poll, without the runtime.
pub(crate) fn wait(runtime: &Runtime, checker: &Checker, presented: &Presented) -> Checked {
    let mut check = pin!(checker.check(presented));
    match check.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => runtime.block_on(check),
    }
}

impl<'a> Bench<'a> {
    pub(crate) fn new(runtime: &'a Runtime, world: &'a World, loaded: Checker, aged: Checker, pool: u64) -> Self {
        let epoch = world.ledger.id();
        let valid = (0..pool).map(|n| world.ids.valid(Stream::Valid, n, epoch)).collect();
        let picks = world.ids.picks(HITS.min(pool), world.entries);
        let revoked = picks.into_iter().map(|n| world.ids.revoked(n, epoch)).collect();
        Self { runtime, world, loaded, aged, valid, revoked }
    }

    /// Refuses every revoked token, by the ledger at first and by a known answer then; says what the look took.
    pub(crate) fn verify_hits(&self) -> Result<Spread, Failure> {
        let mut looks = Vec::with_capacity(self.revoked.len());
        for checker in [&self.loaded, &self.aged] {
            for presented in &self.revoked {
                let since = Clock::System.boottime();
                let first = wait(self.runtime, checker, presented);
                looks.push(nanos(Clock::System.boottime().since(since)) / 1e3);
                let again = wait(self.runtime, checker, presented);
                let revoked = Verdict::Revoked(Cause::Token);
                if (first.verdict, first.tier, again.verdict) != (revoked, Tier::Ledger, revoked) {
                    return Err(format!("a revoked token was not refused: {first:?}, then {again:?}").into());
                }
            }
        }
        // All of them would fill the results' file; every 32nd is kept.
        looks.sort_by(f64::total_cmp);
        Ok(Spread::of(looks.into_iter().step_by(32).collect()))
    }

    /// The candidates in interleaved rounds.
    pub(crate) fn compare(&self, rounds: usize) -> Result<Vec<Timed>, Failure> {
        let ids = self.world.ids;
        let set: Set = (0..self.world.entries).map(|n| ids.key(Stream::Revoked, n)).collect();
        let swapped = Swapped::new(set.clone());
        let locked = Locked::new(set);
        let one = State::Loaded.build(ids, self.world.settings);
        let two = State::TwoFull.build(ids, self.world.settings);
        let (valid, revoked) = (&self.valid, &self.revoked);
        let arms = vec![
            Arm::new("reading the ids, nothing else", move |slice| {
                let mixed =
                    part(valid, slice).iter().map(keys).fold(0, |mixed, keys| mixed ^ keys[0] ^ keys[1] ^ keys[2]);
                black_box(mixed);
                Ok(part(valid, slice).len() as u64)
            }),
            Arm::new("exact set behind a lock, miss", |slice| none(part(valid, slice), |keys| locked.names_any(keys))),
            Arm::new("exact set behind a pointer, miss", |slice| {
                none(part(valid, slice), |keys| swapped.names_any(keys))
            }),
            Arm::new("probe, loaded, miss", |slice| few(part(valid, slice), &one)),
            Arm::new("probe, two full, miss", |slice| few(part(valid, slice), &two)),
            Arm::new("check, loaded, miss", |slice| self.all_active(&self.loaded, part(valid, slice))),
            Arm::new("check, two full, miss", |slice| self.all_active(&self.aged, part(valid, slice))),
            Arm::new("exact set behind a lock, hit", |slice| all(part(revoked, slice), |keys| locked.names_any(keys))),
            Arm::new("exact set behind a pointer, hit", |slice| {
                all(part(revoked, slice), |keys| swapped.names_any(keys))
            }),
            Arm::new("check, loaded, hit", |slice| self.all_revoked(&self.loaded, part(revoked, slice))),
            Arm::new("check, two full, hit", |slice| self.all_revoked(&self.aged, part(revoked, slice))),
        ];
        interleave(&Clock::System, rounds, SLICES, arms)
    }

    /// What the look into the signing keys that were taken back adds: nothing is looked at while there is none, so a
    /// node with `REVOKED_KEYS` of them is asked in turn with one that has none.
    pub(crate) fn with_revoked_keys(&self, keyed: &Checker, rounds: usize) -> Result<RevokedKeysCost, Failure> {
        let token = *self.valid.first().ok_or("no tokens")?;
        for key in revoked_keys() {
            let answer = wait(self.runtime, keyed, &Presented { key, ..token });
            if answer.verdict != Verdict::Revoked(Cause::Key) {
                return Err(format!("a token under a revoked key was not refused: {answer:?}").into());
            }
        }
        let valid = &self.valid;
        let arms = vec![
            Arm::new("check, loaded, miss, no revoked keys", |slice| self.all_active(&self.loaded, part(valid, slice))),
            Arm::new(format!("check, loaded, miss, {REVOKED_KEYS} revoked keys"), |slice| {
                self.all_active(keyed, part(valid, slice))
            }),
        ];
        let timed = interleave(&Clock::System, rounds, SLICES, arms)?;
        let ratio = Ratio::between(&timed[1], &timed[0]);
        Ok(RevokedKeysCost { timed, ratio })
    }

    fn all_active(&self, checker: &Checker, presented: &[Presented]) -> Result<u64, Failure> {
        let active = |presented: &&Presented| wait(self.runtime, checker, presented).verdict == Verdict::Active;
        complete(presented.iter().filter(active).count(), presented, "a valid token was refused")
    }

    fn all_revoked(&self, checker: &Checker, presented: &[Presented]) -> Result<u64, Failure> {
        let revoked = Verdict::Revoked(Cause::Token);
        let denied = |presented: &&Presented| wait(self.runtime, checker, presented).verdict == revoked;
        complete(presented.iter().filter(denied).count(), presented, "a revoked token was accepted")
    }

    /// Checks of tokens that nobody has asked for before, `checks` in each round.
    pub(crate) fn first_sight(&self, state: State, rounds: usize, checks: u64) -> Result<FirstSight, Failure> {
        let checker = if state == State::TwoFull { &self.aged } else { &self.loaded };
        let epoch = self.world.ledger.id();
        let mut false_positives = 0;
        let mut figures = Vec::with_capacity(rounds);
        for round in 0..rounds as u64 {
            let fresh = |n| self.world.ids.valid(Stream::Fresh, round * checks + n, epoch);
            let presented: Vec<Presented> = (0..checks).map(fresh).collect();
            let since = Clock::System.boottime();
            for presented in &presented {
                let answer = wait(self.runtime, checker, presented);
                if answer.verdict != Verdict::Active {
                    return Err(format!("a valid token was refused: {answer:?}").into());
                }
                false_positives += u64::from(answer.has_false_positive);
            }
            figures.push(nanos(Clock::System.boottime().since(since)) / float(checks));
        }
        Ok(FirstSight { state, checks: checks * rounds as u64, false_positives, ns: Spread::of(figures) })
    }
}

/// The part of a pool that belongs to a slice.
fn part(pool: &[Presented], slice: usize) -> &[Presented] {
    let size = (pool.len() / SLICES).max(1);
    &pool[slice * size..(slice + 1) * size]
}

fn complete(right: usize, presented: &[Presented], wrong: &str) -> Result<u64, Failure> {
    if right == presented.len() { Ok(right as u64) } else { Err(wrong.into()) }
}

fn none(presented: &[Presented], names: impl Fn(&[u128]) -> bool) -> Result<u64, Failure> {
    complete(presented.iter().filter(|one| !names(&keys(one))).count(), presented, "the set names a valid token")
}

fn all(presented: &[Presented], names: impl Fn(&[u128]) -> bool) -> Result<u64, Failure> {
    complete(presented.iter().filter(|one| names(&keys(one))).count(), presented, "the set misses a revoked token")
}

/// Probes of valid tokens: a "maybe" is allowed, but not often.
fn few(presented: &[Presented], filter: &Filter) -> Result<u64, Failure> {
    let maybe = presented.iter().filter(|one| filter.probe(&keys(one)) != 0).count();
    if maybe > 5 + presented.len() / 100 {
        Err("the filter says \"maybe\" too often".into())
    } else {
        Ok(presented.len() as u64)
    }
}

/// The cost of entries at a filter's design load, one at a time, over `merges` merges.
pub(crate) fn insert(ids: Ids, filter: &Filter, merges: usize) -> Insert {
    let clock = Clock::System;
    let mut n = 0;
    let mut add = |count: u64| {
        let since = clock.boottime();
        for _ in 0..count {
            filter.insert([(ids.key(Stream::Inserted, n), until())]);
            n += 1;
        }
        nanos(clock.boottime().since(since))
    };
    // How many entries wait for a merge is the filter's own affair: it shows when they are gone.
    let mut full = 0;
    loop {
        add(1);
        let waiting = filter.stats().delta as u64;
        if waiting < full {
            break;
        }
        full = waiting;
    }
    let (mut amortised, mut plain, mut merge) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..merges {
        let (rest, last) = (add(full - 1), add(1));
        amortised.push((rest + last) / float(full));
        plain.push(rest / float(full - 1));
        merge.push(last / 1e3);
    }
    Insert { amortised_ns: Spread::of(amortised), plain_ns: Spread::of(plain), merge_us: Spread::of(merge) }
}

/// The comparisons that the table shows.
pub(crate) fn ratios(timed: &[Timed]) -> Vec<Ratio> {
    const PAIRS: [(&str, &str); 7] = [
        ("probe, loaded, miss", "exact set behind a pointer, miss"),
        ("probe, two full, miss", "exact set behind a pointer, miss"),
        ("check, loaded, miss", "exact set behind a lock, miss"),
        ("check, loaded, miss", "exact set behind a pointer, miss"),
        ("check, two full, miss", "exact set behind a pointer, miss"),
        ("check, two full, miss", "check, loaded, miss"),
        ("check, loaded, hit", "exact set behind a pointer, hit"),
    ];
    let by_name: HashMap<&str, &Timed> = timed.iter().map(|timed| (timed.name.as_str(), timed)).collect();
    PAIRS.into_iter().filter_map(|(of, to)| Some(Ratio::between(by_name.get(of)?, by_name.get(to)?))).collect()
}
