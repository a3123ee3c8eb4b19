//! What a long run has shown.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::{Deserialize, Serialize};

use super::{
    conductor::Struck,
    drift::{Drift, Series},
};
use crate::{Failure, machine::Machine};

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
        Ok(())
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
             drift.**",
            self.nodes,
            self.faults.len(),
            self.bursts,
            self.retired_keys,
            self.drifts.len(),
            if drifting == 0 { "none".to_owned() } else { drifting.to_string() },
        )?;
        writeln!(
            text,
            "\n| series | warm-up | second third | last third | rise | allowed | |\n|---|--:|--:|--:|--:|--:|---|"
        )?;
        for Drift { name, unit, warm_up, second, last, rise, allowed, is_drifting, is_excused, .. } in &self.drifts {
            let name = if unit.is_empty() { name.clone() } else { format!("{name}, {unit}") };
            let said = match (is_drifting, is_excused) {
                (true, _) => "**drifts**",
                (_, true) => "not judged: the machine had other work",
                _ => "",
            };
            writeln!(text, "| {name} | {warm_up:.1} | {second:.1} | {last:.1} | {rise:+.1} | {allowed:.1} | {said} |")?;
        }
        writeln!(
            text,
            "\nMedians of comparable moments. The rise is the slope of Theil and Sen over the last two thirds.\n\n\
             | asked | answers |\n|---|--:|"
        )?;
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
}
