//! Whether the machine is ours: how much of it others work with, who are neither this program nor anything it started.
//!
//! Latencies are compared where it is. What the service and its servers work is not others': one that takes ever more
//! of the processors drifts, and does not excuse itself.

use std::{collections::BTreeMap, fs, process};

/// Of the processors, what others may work and the machine is still ours.
const OURS: f64 = 0.15;

/// Readings that it is judged by: the system counts in hundredths of a second.
const TOGETHER: usize = 5;

/// What was seen, at the last reading.
#[derive(Debug, Default)]
pub(super) struct Others {
    /// All that was worked, and all that could have been.
    all: Option<(u64, u64)>,
    /// By each of ours.
    ours: BTreeMap<u32, u64>,
    /// Others' share between readings.
    shares: Vec<f64>,
}

impl Others {
    /// Reads again, and says whether the machine was ours of late.
    pub(super) fn are_still(&mut self) -> bool {
        let (Some(all), ours) = (processors(), ours()) else { return false };
        let worked =
            |(process, ticks): (&u32, &u64)| ticks.saturating_sub(self.ours.get(process).copied().unwrap_or(0));
        let by_us: u64 = ours.iter().map(worked).sum();
        if let Some((busy, whole)) = self.all {
            let (busy, whole) = (all.0.saturating_sub(busy), all.1.saturating_sub(whole));
            let number = |ticks: u64| f64::from(u32::try_from(ticks).unwrap_or(u32::MAX));
            self.shares.push(number(busy.saturating_sub(by_us)) / number(whole.max(1)));
            let old = self.shares.len().saturating_sub(TOGETHER);
            self.shares.drain(..old);
        }
        (self.all, self.ours) = (Some(all), ours);
        let share = self.shares.iter().sum::<f64>() / super::readings::whole(self.shares.len().max(1));
        self.shares.len() == TOGETHER && share < OURS
    }
}

/// Hundredths of a second that the processors have worked, for whomever, and those that there were.
fn processors() -> Option<(u64, u64)> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let of: Vec<u64> = stat.lines().next()?.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal. What interrupts take is nobody's.
    let [user, nice, system, _, _, _, _, steal] = *of.first_chunk::<8>()?;
    Some((user + nice + system + steal, of[..8].iter().sum()))
}

/// Hundredths of a second that each process has worked that is this one or descends from it.
fn ours() -> BTreeMap<u32, u64> {
    let mut all: BTreeMap<u32, (u32, u64)> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may be gone by now.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((_, rest)) = stat.rsplit_once(") ") else { continue };
        let words: Vec<&str> = rest.split_whitespace().collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        all.insert(process, (u32::try_from(number(1)).unwrap_or(0), number(11) + number(12)));
    }
    let is_ours = |process: &u32| {
        let mut at = *process;
        // A process's number may be used again: no chain is longer than this.
        for _ in 0..all.len() {
            match all.get(&at) {
                _ if at == process::id() => return true,
                Some((parent, _)) => at = *parent,
                None => return false,
            }
        }
        false
    };
    all.iter().filter(|(process, _)| is_ours(process)).map(|(process, (_, ticks))| (*process, *ticks)).collect()
}
