//! What a run has shown.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::{Deserialize, Serialize};

use super::{acts::Count, life::Tally};
use crate::machine::Machine;

/// The raw results.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) seed: u64,
    pub(crate) took_seconds: f64,
    /// Kills in all: each is followed by a start, sooner or later.
    pub(crate) rounds: u64,
    /// Folders that were made, each of them by a first start.
    pub(crate) folders: u64,
    /// By when it was killed.
    pub(crate) kills: BTreeMap<String, u64>,
    /// What was asked, and what was answered.
    pub(crate) acts: BTreeMap<String, Count>,
    /// What was looked at after starts, and was as it must be.
    pub(crate) checked: BTreeMap<String, u64>,
    /// Acts that nobody was told the outcome of, by whether they were seen to have happened.
    pub(crate) unanswered_happened: u64,
    pub(crate) unanswered_not_happened: u64,
    /// Starts to readiness: how many, and how long they took.
    pub(crate) starts: u64,
    pub(crate) start_median_ms: f64,
    pub(crate) start_slowest_ms: f64,
    /// Whether the disk was full at times.
    pub(crate) disk_full: bool,
}

impl Results {
    pub(crate) fn of(machine: Machine, seed: u64, took_seconds: f64, tally: Tally, disk_full: bool) -> Self {
        let mut starts = tally.starts.clone();
        starts.sort_by(f64::total_cmp);
        let owned = |(name, count): (&'static str, u64)| (name.to_owned(), count);
        Self {
            machine,
            seed,
            took_seconds,
            rounds: tally.kills(),
            folders: tally.lives,
            acts: tally.acts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect(),
            checked: tally.checked.into_iter().map(owned).collect(),
            kills: tally.kills,
            unanswered_happened: tally.happened,
            unanswered_not_happened: tally.not_happened,
            starts: starts.len() as u64,
            start_median_ms: starts.get(starts.len() / 2).copied().unwrap_or_default(),
            start_slowest_ms: starts.last().copied().unwrap_or_default(),
            disk_full,
        }
    }

    /// What every run must have: a run in which nothing happens shows nothing.
    pub(crate) fn says_something(&self) -> Result<(), String> {
        let acknowledged: u64 = self.acts.values().map(|count| count.acknowledged).sum();
        let dead = self.checked.get("tokens that were taken back").copied().unwrap_or(0);
        let good = self.checked.get("tokens that nobody took back").copied().unwrap_or(0);
        if self.rounds == 0 || acknowledged == 0 || dead == 0 || good == 0 {
            return Err(format!("a run that shows nothing: {} kills, {acknowledged} acts", self.rounds));
        }
        Ok(())
    }

    /// The report.
    pub(crate) fn markdown(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::from("# Killed at random moments\n\n");
        writeln!(text, "`cargo bench --profile dev --bench proof -- crash`; `benches/proof/crash.rs` says how.\n")?;
        writeln!(text, "- Commit {}; {}; {:.0} s", self.machine.commit, self.machine.date, self.took_seconds)?;
        let Machine { cpu, cores, kernel, rustc, .. } = &self.machine;
        writeln!(text, "- {cpu}, {cores} cores, Linux {kernel}; {rustc}; seed {}", self.seed)?;
        let acknowledged: u64 = self.acts.values().map(|count| count.acknowledged).sum();
        writeln!(
            text,
            "\n**{} kills on {} folders, {} starts, {acknowledged} acknowledged answers: nothing acknowledged was lost, and \
             every start succeeded by itself** (median {:.0} ms, slowest {:.0} ms).",
            self.rounds, self.folders, self.starts, self.start_median_ms, self.start_slowest_ms
        )?;
        writeln!(
            text,
            "\nOf acts that were not answered {} were seen to have happened and {} not to have; none by half.{}",
            self.unanswered_happened,
            self.unanswered_not_happened,
            if self.disk_full { " The disk was full at times." } else { "" }
        )?;
        writeln!(text, "\n| killed | times |\n|---|--:|")?;
        for (phase, times) in &self.kills {
            writeln!(text, "| {phase} | {times} |")?;
        }
        writeln!(text, "\n| looked at after a start | times |\n|---|--:|")?;
        for (what, times) in &self.checked {
            writeln!(text, "| {what} | {times} |")?;
        }
        writeln!(text, "\n| asked | acknowledged | refused | not now (503) | not answered |\n|---|--:|--:|--:|--:|")?;
        for (what, Count { acknowledged, refused, unavailable, lost }) in &self.acts {
            writeln!(text, "| {what} | {acknowledged} | {refused} | {unavailable} | {lost} |")?;
        }
        Ok(text)
    }
}
