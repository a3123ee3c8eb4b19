//! The filter alone, in the states that it can be in with so many live revocations.

use std::time::Duration;

use kickout::{
    clock::Timestamp,
    revocation::filter::{Filter, GENERATIONS, IDS_PER_CHECK, Settings},
};
use serde::{Deserialize, Serialize};

use super::{
    ids::{Ids, Stream},
    rounds::float,
};

/// An entry's life. Its length changes nothing here.
const LIFE: Duration = Duration::from_mins(15);

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// What state a filter is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// As after a start: one generation with room for half as much again.
    Loaded,
    /// One generation at its design load.
    Full,
    /// Two generations at their design load. The older one is about to be dropped.
    TwoFull,
}

impl State {
    pub(crate) const ALL: [Self; 3] = [Self::Loaded, Self::Full, Self::TwoFull];

    /// How the tables call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Full => "full",
            Self::TwoFull => "two full",
        }
    }

    /// Entries that a generation has room for in this state, with so many in it.
    pub(crate) const fn room(self, entries: usize) -> usize {
        if matches!(self, Self::Loaded) { entries + entries / 2 } else { entries }
    }

    /// A filter with `settings.capacity` live entries in this state.
    pub(crate) fn build(self, ids: Ids, settings: Settings) -> Filter {
        let filter = Filter::new(settings, NOW);
        let count = settings.capacity as u64;
        let until = NOW + LIFE;
        if self == Self::Loaded {
            let mut rebuild = filter.begin_rebuild(settings.capacity);
            for n in 0..count {
                rebuild.segment.insert(ids.key(Stream::Revoked, n), until);
            }
            rebuild.finish(NOW);
            return filter;
        }
        filter.insert((0..count).map(|n| (ids.key(Stream::Revoked, n), until)));
        if self == Self::TwoFull {
            filter.rotate(until, LIFE);
            filter.insert((0..count).map(|n| (ids.key(Stream::Later, n), until + LIFE)));
        }
        filter
    }

    /// False positives per check that theory gives a filter with so many entries: the classic (1 − e^(−kn/m))^k for
    /// each probe of each generation, with the bits and hashes that the capacity leads to.
    pub(crate) fn expected(self, settings: Settings) -> f64 {
        let entries = float(settings.capacity as u64);
        let room = float(self.room(settings.capacity) as u64);
        let generations = if self == Self::TwoFull { GENERATIONS } else { 1 };
        let bits_per_room = -settings.per_probe().ln() / std::f64::consts::LN_2.powi(2);
        let hashes = (bits_per_room * std::f64::consts::LN_2).round();
        let per_probe = (1.0 - (-hashes * entries / (room * bits_per_room)).exp()).powf(hashes);
        let probes = float((IDS_PER_CHECK * generations) as u64);
        1.0 - (1.0 - per_probe).powf(probes)
    }

    /// Bytes per live entry that theory gives: 1.44 · log2(1/p) bits for each entry that there is room for.
    pub(crate) fn theory_bytes(self, settings: Settings) -> f64 {
        let bits = (1.0 / settings.per_probe()).log2() / std::f64::consts::LN_2;
        let room = match self {
            Self::Loaded => 1.5,
            Self::Full => 1.0,
            Self::TwoFull => 2.0,
        };
        room * bits / 8.0
    }
}

/// The time at which an entry that is inserted now expires.
pub(crate) fn until() -> Timestamp {
    NOW + LIFE
}
