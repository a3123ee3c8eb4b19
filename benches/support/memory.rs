//! Bytes per live entry: what the filter says of itself, and what the system gives a process that has only built it.

use std::{fs, hint::black_box, process::Command};

use clap::ValueEnum;
use kickout::{revocation::filter::Settings, secret};
use serde::{Deserialize, Serialize};

use super::{
    exact,
    ids::{Ids, Stream},
    rounds::float,
    sieves::{Sieve as _, WithSipHash},
    states::State,
};
use crate::Failure;

/// What a process builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// A filter as after a start.
    Loaded,
    /// A filter filled one entry at a time, with all the copies that its merges made on the way.
    Full,
    /// The same for two generations.
    TwoFull,
    /// A filter of another crate with as much room as after a start.
    Fastbloom,
    /// An exact set of the same ids.
    ExactSet,
}

/// What a process has told of itself, in bytes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Resident {
    /// Resident memory after building, less what was resident before.
    pub(crate) grown: u64,
    /// The highest on the way, less what was resident before.
    pub(crate) peak: u64,
    /// What the filter says of itself; for the set, what its slots take.
    pub(crate) own: u64,
}

/// One row of the table, per live entry.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) kind: Kind,
    pub(crate) own_bytes: f64,
    pub(crate) resident_bytes: f64,
    pub(crate) peak_bytes: f64,
    /// What theory gives; nothing for the set.
    pub(crate) theory_bytes: Option<f64>,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [Self::Loaded, Self::Full, Self::TwoFull, Self::Fastbloom, Self::ExactSet];

    /// The state of the product's filter; nothing for the others.
    const fn state(self) -> Option<State> {
        match self {
            Self::Loaded => Some(State::Loaded),
            Self::Full => Some(State::Full),
            Self::TwoFull => Some(State::TwoFull),
            Self::Fastbloom | Self::ExactSet => None,
        }
    }

    /// What theory gives, in bytes per entry; nothing for the set.
    fn theory_bytes(self, settings: Settings) -> Option<f64> {
        let state = if self == Self::Fastbloom { Some(State::Loaded) } else { self.state() };
        state.map(|state| state.theory_bytes(settings))
    }

    /// How the tables call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Loaded => State::Loaded.name(),
            Self::Full => State::Full.name(),
            Self::TwoFull => State::TwoFull.name(),
            Self::Fastbloom => "fastbloom with the room of loaded",
            Self::ExactSet => "exact set",
        }
    }
}

/// The settings of every filter here: the default target, and the design load at the size that is measured.
pub(crate) fn settings(entries: u64) -> Result<Settings, Failure> {
    Ok(Settings { capacity: usize::try_from(entries)?, false_positives: 0.001 })
}

/// Measures one kind in a process of its own, which has held nothing else before.
pub(crate) fn measure(kind: Kind, seed: u64, entries: u64) -> Result<Memory, Failure> {
    let name = kind.to_possible_value().ok_or("a kind without a name")?;
    let (seed, size) = (seed.to_string(), entries.to_string());
    let arguments = ["--bench", "--resident", name.get_name(), "--seed", &seed, "--sizes", &size];
    let output = Command::new(std::env::current_exe()?).args(arguments).output()?;
    if !output.status.success() {
        return Err(format!("measuring memory: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let resident: Resident = serde_json::from_slice(&output.stdout)?;
    let per_entry = |bytes: u64| float(bytes) / float(entries);
    let settings = settings(entries)?;
    Ok(Memory {
        kind,
        own_bytes: per_entry(resident.own),
        resident_bytes: per_entry(resident.grown),
        peak_bytes: per_entry(resident.peak),
        theory_bytes: kind.theory_bytes(settings),
    })
}

/// Builds one kind in this process and tells what it took.
pub(crate) fn resident(kind: Kind, seed: u64, entries: u64) -> Result<Resident, Failure> {
    let ids = Ids::new(seed);
    // Code pages, the random generator, the allocator's first arena: what any first use brings is not the entries'.
    // It stays until the end, so that nothing below is built in its place.
    let first_use = State::TwoFull.build(ids, settings(3_000)?);
    let before = resident_bytes()?;
    let tell = |own: usize| -> Result<Resident, Failure> {
        let grown = resident_bytes()?.saturating_sub(before);
        // The system counts the peak a little late; it is never below what is there now.
        let peak = peak_bytes()?.saturating_sub(before).max(grown);
        Ok(Resident { grown, peak, own: own as u64 })
    };
    if let Some(state) = kind.state() {
        let filter = state.build(ids, settings(entries)?);
        let told = tell(filter.stats().bytes)?;
        drop(black_box((filter, first_use)));
        return Ok(told);
    }
    let keys = (0..entries).map(|n| ids.key(Stream::Revoked, n));
    if kind == Kind::Fastbloom {
        let Settings { capacity, .. } = settings(entries)?;
        let mut sieve =
            WithSipHash::new(State::Loaded.room(capacity), settings(entries)?.per_probe(), &secret::random());
        keys.for_each(|key| sieve.add(key));
        let told = tell(sieve.bytes())?;
        drop(black_box((sieve, first_use)));
        return Ok(told);
    }
    let set = exact::filled(usize::try_from(entries)?, keys);
    let told = tell(exact::bytes(&set))?;
    drop(black_box((set, first_use)));
    Ok(told)
}

/// Resident memory, summed over the mappings: `VmRSS` is kept per core and can be off by more than a small filter.
fn resident_bytes() -> Result<u64, Failure> {
    kib("/proc/self/smaps_rollup", "Rss:")
}

fn peak_bytes() -> Result<u64, Failure> {
    kib("/proc/self/status", "VmHWM:")
}

fn kib(file: &str, name: &str) -> Result<u64, Failure> {
    let text = fs::read_to_string(file)?;
    let line = text.lines().find(|line| line.starts_with(name)).ok_or_else(|| format!("{file} has no {name}"))?;
    let number = line.split_ascii_whitespace().nth(1).ok_or_else(|| format!("{file}: {line}"))?;
    Ok(number.parse::<u64>()? * 1024)
}
