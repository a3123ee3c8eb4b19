//! What a run of the nemesis keeps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{history::Cluster, machine::Machine};

use super::{Figures, Findings, Promise};

/// A run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    /// Of the servers: `PostgreSQL` → `15.18`.
    pub(crate) versions: BTreeMap<String, String>,
    pub(crate) seed: u64,
    /// What lay between the processes: `proxy` or `netns`.
    pub(crate) net: String,
    pub(crate) took_seconds: f64,
    pub(crate) episodes: Vec<EpisodeSummary>,
    /// Faults that could not be had, and why.
    #[serde(default)]
    pub(crate) skipped: BTreeMap<String, String>,
}

/// An episode.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct EpisodeSummary {
    pub(crate) episode: u32,
    /// The plan's faults: one, or the two of a pair.
    pub(crate) faults: Vec<String>,
    pub(crate) cluster: Cluster,
    pub(crate) took_seconds: f64,
    pub(crate) findings: Findings,
    /// What the nemesis has found itself: a node that does not get ready. Counts as broken.
    #[serde(default)]
    pub(crate) trouble: Vec<String>,
    /// P2 and P6, if the machine itself excuses so much of them that what is left says nothing.
    #[serde(default)]
    pub(crate) not_judged: Vec<Promise>,
}

impl EpisodeSummary {
    /// Whether no promise was broken in it.
    pub(crate) fn is_clean(&self) -> bool {
        self.findings.is_clean() && self.trouble.is_empty()
    }
}

/// The most of an episode that the machine itself may excuse.
const MOST_EXCUSED: f64 = 0.2;

/// What was not judged in a history with such figures.
pub(crate) fn not_judged(figures: &Figures) -> Vec<Promise> {
    if figures.starved_share() > MOST_EXCUSED { vec![Promise::P2, Promise::P6] } else { Vec::new() }
}

impl EpisodeSummary {
    /// Whether all promises were judged in it.
    pub(crate) const fn is_judged_whole(&self) -> bool {
        self.not_judged.is_empty()
    }

    /// The verdict, in words.
    pub(crate) fn verdict(&self) -> String {
        match (self.is_clean(), self.is_judged_whole()) {
            (false, _) => "BROKEN".to_owned(),
            (true, true) => "as promised".to_owned(),
            (true, false) => {
                let percent = 100.0 * self.findings.figures.starved_share();
                format!("as promised but for P2 and P6, which are not judged: the machine excuses {percent:.0} %")
            }
        }
    }
}

impl Results {
    /// Whether so many receipts were slow, in all of it, that acknowledgements cannot be what ends the waits.
    pub(crate) fn are_receipts_slow(&self) -> bool {
        self.figures().are_receipts_slow()
    }

    /// Whether no promise was broken.
    pub(crate) fn is_clean(&self) -> bool {
        self.episodes.iter().all(EpisodeSummary::is_clean) && !self.are_receipts_slow()
    }

    /// The figures of all episodes.
    pub(super) fn figures(&self) -> Figures {
        let mut all = Figures::default();
        for episode in &self.episodes {
            all.add(&episode.findings.figures);
        }
        all
    }
}
