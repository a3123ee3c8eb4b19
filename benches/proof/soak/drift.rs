//! Whether a series of readings drifts.
//!
//! The run is cut in three. The first third is warm-up: caches fill, allocators and pools take what they need. Of the
//! other two only comparable moments count: none from a fault's beginning until a while after its end, none within a
//! burst. Two questions are asked of them, and a series drifts if both answers are yes:
//!
//! - *Does it rise?* The slope of Theil and Sen, the median over all pairs of readings of the slope between them, times
//!   the length of the two thirds. A quarter of the readings may be wild without moving it, and a single step, such as an
//!   allocator's next arena, moves it little; what leaks rises all the time.
//! - *Is it higher?* The median of the last third over that of the second.
//!
//! Of what comes with each burst and goes again, the readings that count are the lowest of each cycle: most of the time
//! they would tell of the bursts alone.
//!
//! What is allowed is a share of the level, the second third's median, or an amount, whichever is more: a share alone
//! would forbid a level of nothing to have any noise. The rise must be over the bound, and the step between medians over
//! a third of it: a steady rise over both thirds moves the medians by half of itself. So the least steady rise that is
//! found is the bound itself; the report gives it by the hour.

use serde::{Deserialize, Serialize};

use crate::Failure;

/// Most readings whose pairs are looked at: 600 are 180 thousand pairs.
const MOST: usize = 600;

/// Readings over time, and whether each was made in a comparable moment.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) unit: String,
    /// Seconds since the run's beginning, value, comparable.
    pub(crate) readings: Vec<(f64, f64, bool)>,
    /// What it may rise by from the second third to the end.
    pub(crate) bound: Bound,
    /// Only the lowest reading of each so many seconds counts.
    pub(crate) lowest_of: Option<f64>,
}

/// What is allowed.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Bound {
    /// Of the level.
    pub(crate) share: f64,
    /// In the series' own unit.
    pub(crate) amount: f64,
}

/// What was found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Drift {
    pub(crate) name: String,
    pub(crate) unit: String,
    /// Comparable readings of the last two thirds.
    pub(crate) readings: usize,
    pub(crate) warm_up: f64,
    pub(crate) second: f64,
    pub(crate) last: f64,
    /// By the slope, over the last two thirds.
    pub(crate) rise: f64,
    pub(crate) allowed: f64,
    /// The least that it would have had to rise by in an hour, steadily, to be found.
    pub(crate) least_per_hour: f64,
    pub(crate) is_drifting: bool,
    /// The machine had other work, or has changed as well: nothing can be said.
    pub(crate) is_excused: bool,
}

impl Series {
    pub(crate) fn new(name: impl Into<String>, unit: &str, share: f64, amount: f64) -> Self {
        let bound = Bound { share, amount };
        Self { name: name.into(), unit: unit.to_owned(), readings: Vec::new(), bound, lowest_of: None }
    }

    pub(crate) fn push(&mut self, second: f64, value: f64, is_comparable: bool) {
        self.readings.push((second, value, is_comparable));
    }

    /// Whether it drifts; an error if there is too little to say so.
    pub(crate) fn drift(&self, length: f64) -> Result<Drift, Failure> {
        let points = self.points(length);
        let within = |from: f64, to: f64| -> Vec<(f64, f64)> {
            points.iter().copied().filter(|(second, _)| *second >= length * from && *second <= length * to).collect()
        };
        let level = |points: &[(f64, f64)]| median(points.iter().map(|(_, value)| *value).collect());
        let (third, two_thirds) = (1.0 / 3.0, 2.0 / 3.0);
        let both = within(third, 1.0);
        let (warm_up, second, last) =
            (level(&within(0.0, third)), level(&within(third, two_thirds)), level(&within(two_thirds, 1.0)));
        let (Some(second), Some(last)) = (second, last) else {
            return Err(format!("{}: too few readings", self.name).into());
        };
        let rise = slope(&both) * length * two_thirds;
        let allowed = (self.bound.share * second.abs()).max(self.bound.amount);
        Ok(Drift {
            name: self.name.clone(),
            unit: self.unit.clone(),
            readings: both.len(),
            warm_up: warm_up.unwrap_or(f64::NAN),
            second,
            last,
            rise,
            allowed,
            least_per_hour: allowed * 3600.0 / (length * two_thirds),
            is_excused: false,
            is_drifting: rise > allowed && last - second > allowed / 3.0,
        })
    }

    /// Its levels, whatever moments they are of, and no verdict.
    pub(crate) fn not_judged(&self) -> Drift {
        let all = median(self.readings.iter().map(|(_, value, _)| *value).collect()).unwrap_or_default();
        Drift {
            name: self.name.clone(),
            unit: self.unit.clone(),
            readings: 0,
            warm_up: all,
            second: all,
            last: all,
            rise: 0.0,
            allowed: (self.bound.share * all).max(self.bound.amount),
            least_per_hour: 0.0,
            is_drifting: false,
            is_excused: true,
        }
    }

    /// The comparable readings; or the lowest of each piece that is over, in the middle of it.
    fn points(&self, length: f64) -> Vec<(f64, f64)> {
        let all = self.readings.iter().filter(|(_, _, is_comparable)| *is_comparable);
        let all = all.map(|(second, value, _)| (*second, *value));
        let Some(every) = self.lowest_of else { return all.collect() };
        let mut points: Vec<(f64, f64)> = Vec::new();
        for (second, value) in all {
            let middle = ((second / every).floor() + 0.5) * every;
            match points.last_mut() {
                Some((last, lowest)) if *last >= middle => *lowest = lowest.min(value),
                // A second less: the run may be over a little before.
                _ if middle + every / 2.0 <= length + 1.0 => points.push((middle, value)),
                _ => {}
            }
        }
        points
    }

    /// At most so many readings: the median of each piece.
    pub(crate) fn thinned(&self, most: usize) -> Self {
        let piece = self.readings.len().div_ceil(most).max(1);
        let reading = |piece: &[(f64, f64, bool)]| {
            let value = median(piece.iter().map(|(_, value, _)| *value).collect()).unwrap_or_default();
            let is_comparable = piece.iter().all(|(_, _, is_comparable)| *is_comparable);
            (piece[piece.len() / 2].0, value, is_comparable)
        };
        Self { readings: self.readings.chunks(piece).map(reading).collect(), ..self.clone() }
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        length if length % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

/// Theil's and Sen's: per second.
fn slope(points: &[(f64, f64)]) -> f64 {
    let step = points.len().div_ceil(MOST).max(1);
    let points: Vec<_> = points.iter().step_by(step).collect();
    let mut slopes = Vec::with_capacity(points.len() * points.len() / 2);
    for (at, (x, y)) in points.iter().enumerate() {
        slopes.extend(
            points[at + 1..].iter().filter(|(other, _)| other > x).map(|(other, value)| (value - y) / (other - x)),
        );
    }
    median(slopes).unwrap_or_default()
}

/// A series that is made up: its name, its value over time, and the noise on it.
type Made<'a> = (&'a str, &'a dyn Fn(f64) -> f64, f64);

/// The verdict on series that are made up: it must find those that drift, and no others.
pub(crate) fn check_itself() -> Result<(), Failure> {
    let length = 1200.0;
    // Noise of a fixed kind, between -1 and 1.
    let noise = |second: u32| f64::from((second.wrapping_mul(2_654_435_761) >> 16) % 2001) / 1000.0 - 1.0;
    let made = |name: &str, value: &dyn Fn(f64) -> f64, noisy: f64| {
        let mut series = Series::new(name, "MiB", 0.1, 2.0);
        for second in 0..1200 {
            let at = f64::from(second);
            // Faults now and then, in which anything may be read.
            let is_comparable = second % 100 > 20;
            let wild = if is_comparable { 0.0 } else { 500.0 };
            series.push(at, value(at) + noisy * noise(second) + wild, is_comparable);
        }
        series
    };
    let warm_up = |at: f64| if at < 400.0 { at / 10.0 } else { 40.0 };
    let steady: [Made<'_>; 6] = [
        ("steady", &|_| 50.0, 0.0),
        ("noisy", &|_| 50.0, 10.0),
        ("warming up", &warm_up, 1.0),
        ("falling", &|at| 50.0 - at / 100.0, 1.0),
        ("a saw", &|at| 50.0 + (at % 60.0) / 6.0, 1.0),
        ("one step within the noise", &|at| if at < 900.0 { 50.0 } else { 53.0 }, 1.0),
    ];
    let drifting: [Made<'_>; 5] = [
        ("a leak", &|at| 50.0 + at / 100.0, 1.0),
        ("a leak in the noise", &|at| 50.0 + at / 80.0, 8.0),
        ("a leak under a saw", &|at| 50.0 + at / 60.0 + (at % 60.0) / 6.0, 1.0),
        ("a leak in steps", &|at| 50.0 + 4.0 * (at / 120.0).floor(), 0.5),
        ("from nothing", &|at| at / 100.0, 0.0),
    ];
    for (expected, kinds) in [(false, steady.as_slice()), (true, drifting.as_slice())] {
        for (name, value, noisy) in kinds {
            let found = made(name, value, *noisy).drift(length)?;
            if found.is_drifting != expected {
                return Err(format!("the verdict is wrong: {found:?}").into());
            }
        }
    }
    // What comes and goes with a burst, and a leak of a tenth of it below.
    for leak in [0.0, 0.25] {
        let value = |at: f64| 300.0 + at * leak + if at % 120.0 < 80.0 { 3000.0 } else { 0.0 };
        let found = Series { lowest_of: Some(120.0), ..made("with bursts", &value, 20.0) }.drift(length)?;
        if found.is_drifting != (leak > 0.0) {
            return Err(format!("the verdict on what comes and goes is wrong: {found:?}").into());
        }
    }
    if Series::new("nothing", "", 0.1, 1.0).drift(length).is_ok() {
        return Err("nothing is not enough for a verdict".into());
    }
    Ok(())
}
