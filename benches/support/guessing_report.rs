//! What refused logins took, as it is kept and shown.

use std::fmt::{Result as Written, Write as _};

use serde::{Deserialize, Serialize};

use super::{
    guessing_run::Kind,
    guessing_statistics::{Difference, quantile},
    machine::Machine,
};
use crate::Failure;

/// The largest difference of medians that passes, as a part of the hash's time. `benches/guessing.rs` says why.
const LARGEST: f64 = 0.01;

/// Everything that one run has found.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) plan: Planned,
    pub(crate) runs: Vec<Run>,
    /// How long the run took, in seconds.
    pub(crate) took_seconds: f64,
}

/// What was asked for, and the work of one hash.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Planned {
    pub(crate) blocks: usize,
    pub(crate) accounts: usize,
    pub(crate) memory_kib: u32,
    pub(crate) iterations: u32,
    pub(crate) parallelism: u32,
}

/// Logins of so many callers at a time.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Run {
    pub(crate) callers: usize,
    pub(crate) kinds: Vec<Figures>,
}

/// The times of one kind.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Figures {
    pub(crate) kind: Kind,
    pub(crate) count: usize,
    pub(crate) median_us: f64,
    pub(crate) p90_us: f64,
    /// The 1st to the 99th percentile.
    pub(crate) percentiles_us: Vec<f64>,
    /// Beside the wrong password of a known name; `None` for that itself.
    pub(crate) difference: Option<Difference>,
}

impl Run {
    /// What was found. The first kind is what the others are compared with.
    pub(crate) fn of(callers: usize, times: &[Vec<u32>; Kind::ALL.len()]) -> Self {
        let [known, ..] = times;
        let figures = |(kind, times): (Kind, &Vec<u32>)| Figures {
            kind,
            count: times.len(),
            median_us: quantile(times, 50),
            p90_us: quantile(times, 90),
            percentiles_us: (1..100).map(|percent| quantile(times, percent)).collect(),
            difference: (kind != Kind::WrongPassword).then(|| Difference::of(times, known, 20_260_101)),
        };
        Self { callers, kinds: Kind::ALL.into_iter().zip(times).map(figures).collect() }
    }
}

impl Report {
    /// Whether everything is there.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let is_whole = |run: &Run| {
            run.kinds.iter().map(|figures| figures.kind).eq(Kind::ALL)
                && run.kinds.iter().all(|figures| {
                    figures.count >= self.plan.blocks
                        && figures.median_us > 0.0
                        && figures.percentiles_us.is_sorted()
                        && figures.difference.is_some() == (figures.kind != Kind::WrongPassword)
                })
        };
        let callers: Vec<usize> = self.runs.iter().map(|run| run.callers).collect();
        if matches!(callers[..], [1, more] if more > 1) && self.runs.iter().all(is_whole) {
            return Ok(());
        }
        Err("the report is not complete".into())
    }

    /// A refused login's time when nobody else logs in: the hash's, but for its last percents.
    fn hash_us(&self) -> f64 {
        self.runs.first().and_then(|run| run.kinds.first()).map_or(0.0, |figures| figures.median_us)
    }
}

/// The results as Markdown.
pub(crate) fn markdown(report: &Report) -> String {
    let mut text = String::from("# What refused logins take\n\n");
    // Writing into a string does not fail.
    let _ =
        header(&mut text, report).and_then(|()| report.runs.iter().try_for_each(|run| table(&mut text, report, run)));
    text
}

fn header(text: &mut String, report: &Report) -> Written {
    let (machine, plan) = (&report.machine, &report.plan);
    machine.head(text, "guessing", "--table", report.took_seconds)?;
    let argon2 = machine.crates.get("argon2").map_or("", String::as_str);
    writeln!(
        text,
        "- Argon2id of argon2 {argon2} with {} KiB, {} passes, {} lane(s)",
        plan.memory_kib, plan.iterations, plan.parallelism
    )?;
    writeln!(text, "- Each name drawn from {} known and as many banned ones, or 8000 that nobody has", plan.accounts)?;
    writeln!(
        text,
        "- *Difference*: of the medians, to a known name with a wrong password; its 95 % interval, and the interval's \
         far end as a part of the hash's time, {:.1} ms. It passes if the whole \
         interval is within {:.0} %, is too far if all of it is beyond, and is undecided between. *Longer*: how often it \
         takes longer; 50 % is alike. *p*: of the Mann-Whitney test. *Tries*: of one name, at least, until it is known to be of this kind\n",
        report.hash_us() / 1e3,
        LARGEST * 100.0
    )
}

fn table(text: &mut String, report: &Report, run: &Run) -> Written {
    match run.callers {
        1 => writeln!(text, "## One at a time, on one connection\n")?,
        callers => writeln!(text, "## {callers} at a time, on a connection each\n")?,
    }
    writeln!(
        text,
        "| refused for | logins | median, ms | p90, ms | difference, µs | of the hash | longer | p | tries | |"
    )?;
    writeln!(text, "|---|---:|---:|---:|---:|---:|---:|---:|---:|---|")?;
    for figures in &run.kinds {
        let (median, p90) = (figures.median_us / 1e3, figures.p90_us / 1e3);
        write!(text, "| {} | {} | {median:.2} | {p90:.2} |", figures.kind.name(), figures.count)?;
        let Some(difference) = &figures.difference else {
            writeln!(text, " – | – | – | – | – | |")?;
            continue;
        };
        let share = difference.largest_us() / report.hash_us();
        writeln!(
            text,
            " {:+.0} ({:+.0} – {:+.0}) | {:.2} % | {:.1} % | {:.3} | {:.0} | {} |",
            difference.median_us,
            difference.low_us,
            difference.high_us,
            share * 100.0,
            difference.longer * 100.0,
            difference.p,
            difference.tries,
            difference.verdict(LARGEST * report.hash_us())
        )?;
    }
    writeln!(text)
}
