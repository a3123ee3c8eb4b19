//! What a long run has shown.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::{Deserialize, Serialize};

use super::{
    conductor::Struck,
    drift::{Drift, Series},
    readings::{MEMORY, most_in_the_vault},
};
use crate::{Failure, machine::Machine};

/// Seconds from which on a run has to show more than one key that takes over by itself.
const LONG: f64 = 900.0;

/// The raw results.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    /// Of load, from the first request to the last.
    pub(crate) length_seconds: f64,
    pub(crate) answers: BTreeMap<String, u64>,
    /// The highest that each counter was seen at on any node.
    pub(crate) counters: BTreeMap<String, f64>,
    pub(crate) retired_keys: u64,
    /// Keys that have signed a token.
    pub(crate) signing_keys: usize,
    /// The most at once that were over by themselves, and not yet removed.
    pub(crate) keys_over_by_themselves: f64,
    /// The most rows that `vault` had.
    pub(crate) most_in_the_vault: f64,
    pub(crate) bursts: u64,
    pub(crate) faults: Vec<Struck>,
    pub(crate) drifts: Vec<Drift>,
    /// Thinned.
    pub(crate) series: Vec<Series>,
}

impl Results {
    /// An error if anything drifts, or if nothing happened that could have made it.
    pub(crate) fn verdict(&self) -> Result<(), Failure> {
        let drifting: Vec<&Drift> = self.drifts.iter().filter(|drift| drift.is_drifting).collect();
        if !drifting.is_empty() {
            return Err(format!("it drifts: {drifting:#?}").into());
        }
        if let Some((name, _)) = self.counters.iter().find(|(_, value)| **value == 0.0) {
            return Err(format!("a run that shows little: {name} did not move").into());
        }
        if self.most_in_the_vault > most_in_the_vault() {
            return Err(format!("the vault had {} rows", self.most_in_the_vault).into());
        }
        let (took_over, least) = (self.took_over(), if self.length_seconds < LONG { 1 } else { 3 });
        if took_over < least || self.keys_over_by_themselves < 1.0 || self.retired_keys == 0 {
            let Self { signing_keys, keys_over_by_themselves: over, retired_keys, .. } = self;
            return Err(format!(
                "a run that shows little of keys: {signing_keys} have signed, of which {took_over} took over by \
                 themselves; {over} were over by themselves, {retired_keys} were taken back"
            )
            .into());
        }
        Ok(())
    }

    /// How many keys took over without being asked to, at least: another one does whenever one is taken back.
    fn took_over(&self) -> u64 {
        let all = u64::try_from(self.signing_keys).unwrap_or(u64::MAX);
        all.saturating_sub(1).saturating_sub(self.retired_keys)
    }

    /// The report.
    pub(crate) fn markdown(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::from("# For long\n\n");
        writeln!(text, "`cargo bench --profile dev --bench proof -- soak`; `benches/proof/soak.rs` says how.\n")?;
        let Machine { commit, date, cpu, cores, kernel, rustc, .. } = &self.machine;
        writeln!(text, "- Commit {commit}; {date}; {:.0} s of load", self.length_seconds)?;
        writeln!(text, "- {cpu}, {cores} cores, Linux {kernel}; {rustc}; seed {}", self.seed)?;
        let drifting = self.drifts.iter().filter(|drift| drift.is_drifting).count();
        let answers: u64 = self.answers.values().sum();
        writeln!(
            text,
            "\n**{} nodes, {answers} answers, each checked; {} faults, {} bursts, {} keys taken back; {} series, of which {} \
             drift and {} could not be judged.**",
            self.nodes,
            self.faults.len(),
            self.bursts,
            self.retired_keys,
            self.drifts.len(),
            if drifting == 0 { "none".to_owned() } else { drifting.to_string() },
            self.drifts.iter().filter(|drift| drift.is_excused).count(),
        )?;
        self.series_table(&mut text)?;
        writeln!(text, "\n| asked | answers |\n|---|--:|")?;
        for (what, count) in &self.answers {
            writeln!(text, "| {what} | {count} |")?;
        }
        writeln!(text, "\n| fault | times | longest, s | all levels back after at most, s |\n|---|--:|--:|--:|")?;
        let mut kinds: BTreeMap<String, Vec<&Struck>> = BTreeMap::new();
        for struck in &self.faults {
            kinds.entry(format!("{:?}", struck.fault)).or_default().push(struck);
        }
        for (kind, all) in kinds {
            let longest = all.iter().map(|struck| struck.took_seconds).fold(0.0, f64::max);
            let back = all.iter().map(|struck| struck.back_after_seconds).fold(0.0, f64::max);
            writeln!(text, "| {kind} | {} | {longest:.1} | {back:.1} |", all.len())?;
        }
        writeln!(text, "\n| counter, highest of any node | |\n|---|--:|")?;
        for (name, value) in &self.counters {
            writeln!(text, "| `{name}` | {value} |")?;
        }
        Ok(text)
    }

    /// What each series did, and the least that would have been found.
    fn series_table(&self, text: &mut String) -> std::fmt::Result {
        let memory = self.drifts.iter().filter(|drift| drift.name.ends_with(MEMORY));
        writeln!(
            text,
            "\nA node that loses {:.1} MiB an hour would have been found. {} keys have signed: at least {} took over by \
             themselves, and {} were taken back.",
            memory.map(|drift| drift.least_per_hour).fold(0.0, f64::max),
            self.signing_keys,
            self.took_over(),
            self.retired_keys,
        )?;
        writeln!(
            text,
            "\n| series | warm-up | second third | last third | rise | allowed | found from, an hour | |\n\
             |---|--:|--:|--:|--:|--:|--:|---|"
        )?;
        for drift in &self.drifts {
            let Drift { name, unit, warm_up, second, last, rise, allowed, least_per_hour: least, .. } = drift;
            let name = if unit.is_empty() { name.clone() } else { format!("{name}, {unit}") };
            let said = match (drift.is_drifting, drift.is_excused) {
                (true, _) => "**drifts**",
                (_, true) => "not judged: the machine had other work",
                _ => "",
            };
            if drift.is_excused {
                writeln!(text, "| {name} | {warm_up:.1} | {second:.1} | {last:.1} | – | {allowed:.1} | – | {said} |")?;
                continue;
            }
            write!(text, "| {name} | {warm_up:.1} | {second:.1} | {last:.1} | {rise:+.1} | {allowed:.1} | ")?;
            writeln!(text, "{least:.1} | {said} |")?;
        }
        writeln!(
            text,
            "\nMedians of comparable moments; of Redis' keys and memory, of the lowest in each cycle. The rise is the slope \
             of Theil and Sen over the last two thirds."
        )
    }
}
