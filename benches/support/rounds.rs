//! Interleaved rounds: every candidate works in many short slices, in turn.

use std::{borrow::Cow, time::Duration};

use kickout::clock::Clock;
use serde::{Deserialize, Serialize};

use crate::Failure;

/// Median, lowest and highest over rounds, and the rounds themselves.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// In the order in which they were measured.
    pub(crate) rounds: Vec<f64>,
}

impl Spread {
    pub(crate) fn of(rounds: Vec<f64>) -> Self {
        let mut sorted = rounds.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |i: usize| sorted.get(i).copied().unwrap_or_default();
        Self { median: median(&sorted), low: at(0), high: at(sorted.len().saturating_sub(1)), rounds }
    }

    /// The ratio of two candidates, round by round.
    pub(crate) fn ratio(a: &Self, b: &Self) -> Self {
        Self::of(a.rounds.iter().zip(&b.rounds).map(|(a, b)| a / b).collect())
    }
}

/// The middle of sorted values.
fn median(sorted: &[f64]) -> f64 {
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// One candidate.
pub(crate) struct Arm<'a> {
    pub(crate) name: Cow<'static, str>,
    work: Box<dyn FnMut(usize) -> Result<u64, Failure> + 'a>,
}

impl<'a> Arm<'a> {
    /// A candidate: given the number of a slice, it does that slice's work and says how many operations that were.
    pub(crate) fn new(
        name: impl Into<Cow<'static, str>>,
        work: impl FnMut(usize) -> Result<u64, Failure> + 'a,
    ) -> Self {
        Self { name: name.into(), work: Box::new(work) }
    }
}

/// Nanoseconds per operation of one candidate.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Timed {
    pub(crate) name: String,
    pub(crate) ns: Spread,
}

/// Runs `rounds` rounds of `slices` slices each, after one round that does not count.
pub(crate) fn interleave(
    clock: &Clock,
    rounds: usize,
    slices: usize,
    mut arms: Vec<Arm<'_>>,
) -> Result<Vec<Timed>, Failure> {
    let mut figures = vec![Vec::with_capacity(rounds); arms.len()];
    for round in 0..=rounds {
        let mut taken = vec![Vec::with_capacity(slices); arms.len()];
        for slice in 0..slices {
            for turn in 0..arms.len() {
                // Nobody always goes first, and nobody always follows the same one's leavings in the cache.
                let i = (round + slice + turn) % arms.len();
                let since = clock.boottime();
                let done = (arms[i].work)(slice)?;
                taken[i].push(nanos(clock.boottime().since(since)) / float(done));
            }
        }
        if round > 0 {
            for (figures, mut taken) in figures.iter_mut().zip(taken) {
                taken.sort_by(f64::total_cmp);
                figures.push(median(&taken));
            }
        }
    }
    Ok(arms
        .iter()
        .zip(figures)
        .map(|(arm, rounds)| Timed { name: arm.name.clone().into_owned(), ns: Spread::of(rounds) })
        .collect())
}

/// A duration in nanoseconds.
pub(crate) fn nanos(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e9
}

/// A count as a number to compute with.
#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
pub(crate) const fn float(count: u64) -> f64 {
    count as f64
}
