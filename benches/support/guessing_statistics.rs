//! Two samples of times, compared as somebody would who wants to tell them apart.

use serde::{Deserialize, Serialize};

use super::rounds::float;

/// Samples that the bootstrap draws: the 2.5th of a hundred is the 50th of these.
const DRAWS: usize = 2000;

/// What one sample is beside another, in microseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Difference {
    /// Of the medians: this one's less the other's.
    pub(crate) median_us: f64,
    /// Where that lies with 95 % confidence.
    pub(crate) low_us: f64,
    pub(crate) high_us: f64,
    /// How often one of this sample takes longer than one of the other, if one of each is drawn: 0.5 if they are alike.
    pub(crate) longer: f64,
    /// The Mann-Whitney test of that: its normal deviate, and how likely so large a one is with samples that are alike.
    pub(crate) z: f64,
    pub(crate) p: f64,
    /// Tries of one name until its kind is known with 5 % of error either way. As few as `longer` allows for, at the far
    /// end of its 95 % interval.
    pub(crate) tries: f64,
}

impl Difference {
    /// Of two samples that belong together pair by pair.
    pub(crate) fn of(this: &[u32], other: &[u32], seed: u64) -> Self {
        let (low_us, high_us) = interval(this, other, seed);
        let (longer, deviation) = mann_whitney(this, other);
        let z = (longer - 0.5) / deviation;
        Self {
            median_us: quantile(this, 50) - quantile(other, 50),
            low_us,
            high_us,
            longer,
            z,
            p: two_sided(z),
            tries: tries((longer - 0.5).abs() + 1.96 * deviation),
        }
    }

    /// Whether the difference is within a bound: only if the whole interval is. One that reaches over it says nothing
    /// either way: more logins would, or a quieter machine.
    pub(crate) fn verdict(&self, largest_us: f64) -> &'static str {
        match (self.low_us, self.high_us) {
            _ if self.largest_us() <= largest_us => "passes",
            (low, high) if low > largest_us || high < -largest_us => "**too far**",
            _ => "undecided",
        }
    }

    /// The end of the interval that is further from nothing.
    pub(crate) const fn largest_us(&self) -> f64 {
        self.low_us.abs().max(self.high_us.abs())
    }
}

/// A percentile.
pub(crate) fn quantile(sample: &[u32], percent: usize) -> f64 {
    let mut sample = sample.to_vec();
    let at = (sample.len() * percent / 100).min(sample.len().saturating_sub(1));
    if sample.is_empty() { 0.0 } else { f64::from(*sample.select_nth_unstable(at).1) }
}

/// The 95 % interval of the difference of medians. Pairs are drawn together, since they have the machine's state in
/// common.
fn interval(this: &[u32], other: &[u32], mut state: u64) -> (f64, f64) {
    let pairs: Vec<(u32, u32)> = this.iter().copied().zip(other.iter().copied()).collect();
    let mut found: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let drawn = (0..pairs.len()).map(|_| pairs[below(&mut state, pairs.len())]);
            let (this, other): (Vec<u32>, Vec<u32>) = drawn.unzip();
            quantile(&this, 50) - quantile(&other, 50)
        })
        .collect();
    found.sort_by(f64::total_cmp);
    (found[DRAWS / 40], found[DRAWS - 1 - DRAWS / 40])
}

/// The share of pairs in which the first takes longer, ties counted half, and the standard deviation that it would have
/// with samples that are alike (Mann and Whitney 1947; ties make it smaller, which is left out and errs to one side).
fn mann_whitney(this: &[u32], other: &[u32]) -> (f64, f64) {
    let mut all: Vec<(u32, bool)> =
        this.iter().map(|&time| (time, true)).chain(other.iter().map(|&time| (time, false))).collect();
    all.sort_unstable();
    let mut ranks = 0.0;
    let mut before = 0;
    for tied in all.chunk_by(|a, b| a.0 == b.0) {
        let middle = count(before) + f64::midpoint(count(tied.len()), 1.0);
        ranks += middle * count(tied.iter().filter(|(_, is_this)| *is_this).count());
        before += tied.len();
    }
    let (n, m) = (count(this.len()), count(other.len()));
    let u = ranks - n * (n + 1.0) / 2.0;
    (u / (n * m), ((n + m + 1.0) / (12.0 * n * m)).sqrt())
}

/// How likely a normal deviate is at least so far from nothing, either way (Abramowitz and Stegun 7.1.26; exact to
/// seven places).
fn two_sided(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / 0.327_591_1f64.mul_add(x, 1.0);
    let terms = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    terms.iter().fold(0.0, |sum: f64, term| (sum + term) * t) * (-x * x).exp()
}

/// Tries of each of two kinds until their means tell them apart, 5 % wrong either way, if one of the one takes longer
/// than one of the other with a probability of 0.5 and so much.
///
/// For normal noise of the same width that is a shift of `2 √π · more` widths if it is small, and a mean of n tries has
/// √n times less noise: n = (2 · 1.645 / shift)² for one name against a known pattern.
fn tries(more: f64) -> f64 {
    let shift = 2.0 * std::f64::consts::PI.sqrt() * more;
    (2.0 * 1.645 / shift).powi(2)
}

fn count(n: usize) -> f64 {
    float(n as u64)
}

/// A number below `limit`, from the low bits of a xorshift generator (Marsaglia 2003).
fn below(state: &mut u64, limit: usize) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    usize::try_from(*state % (limit as u64)).unwrap_or_default()
}

/// Checks the sums on samples whose answers are known.
pub(crate) fn check() -> Result<(), crate::Failure> {
    let alike: Vec<u32> = (0..400).map(|n| 1000 + n * 7919 % 400).collect();
    let later: Vec<u32> = alike.iter().map(|time| time + 100).collect();
    let same = Difference::of(&alike, &alike, 1);
    let shifted = Difference::of(&later, &alike, 1);
    let is_right = same.median_us == 0.0
        && (same.longer - 0.5).abs() < 1e-9
        && (same.p - 1.0).abs() < 1e-6
        && (shifted.median_us - 100.0).abs() < 1e-9
        && shifted.low_us > 0.0
        && shifted.p < 1e-6
        && shifted.tries < 40.0
        && (shifted.verdict(99.0), shifted.verdict(101.0)) == ("**too far**", "passes")
        && Difference { low_us: -50.0, high_us: 150.0, ..same.clone() }.verdict(100.0) == "undecided"
        && (two_sided(1.96) - 0.05).abs() < 1e-3;
    if is_right { Ok(()) } else { Err(format!("the statistics are wrong: {same:?} {shifted:?}").into()) }
}
