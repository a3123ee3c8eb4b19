//! What a node keeps in memory of the revocations it has applied: a filter, an exact set, or nothing where checks ask
//! elsewhere.

use std::time::Duration;

use crate::clock::Timestamp;

use super::{
    filter::{self, Filter, IDS_PER_CHECK, Settings, Stats},
    set::{self, Set},
};

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// Says "surely not" or "maybe".
    #[default]
    Filter,
    /// Says "yes" or "no".
    Set,
    /// Knows nothing.
    Nothing,
}

/// The memory of one node.
#[derive(Debug)]
pub enum Memory {
    /// A filter.
    Filter(Filter),
    /// An exact set.
    Set(Set),
    /// Nothing.
    Nothing,
}

impl Memory {
    /// An empty one.
    #[must_use]
    pub fn new(kind: Kind, settings: Settings, now: Timestamp) -> Self {
        match kind {
            Kind::Filter => Self::Filter(Filter::new(settings, now)),
            Kind::Set => Self::Set(Set::new(now)),
            Kind::Nothing => Self::Nothing,
        }
    }

    /// Whether it keeps nothing: then a node need not read what was revoked.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    /// Whether what it says of an id is certain.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        matches!(self, Self::Set(_))
    }

    /// Which of the keys may be revoked: bit `i` stands for `keys[i]`. 0 means surely none.
    #[must_use]
    pub fn probe(&self, keys: &[u128; IDS_PER_CHECK]) -> u8 {
        match self {
            Self::Filter(filter) => filter.probe(keys),
            Self::Set(set) => set.probe(keys),
            Self::Nothing => 0,
        }
    }

    /// Adds entries. When this returns, every later [`probe`](Self::probe) sees them. Returns whether it should be
    /// rebuilt larger.
    pub fn insert(&self, entries: impl IntoIterator<Item = (u128, Timestamp)>) -> bool {
        match self {
            Self::Filter(filter) => filter.insert(entries),
            Self::Set(set) => {
                set.insert(entries);
                false
            }
            Self::Nothing => false,
        }
    }

    /// Drops what has run out, as whole generations. Returns whether a new generation was opened.
    pub fn rotate(&self, now: Timestamp, life: Duration) -> bool {
        match self {
            Self::Filter(filter) => filter.rotate(now, life),
            Self::Set(set) => set.rotate(now, life),
            Self::Nothing => false,
        }
    }

    /// Begins a rebuild, for about so many entries: from now on arriving ones are noted, so that none is lost at the
    /// swap.
    #[must_use]
    pub fn begin_rebuild(&self, live: usize) -> Rebuild<'_> {
        match self {
            Self::Filter(filter) => Rebuild::Filter(filter.begin_rebuild(live)),
            Self::Set(set) => Rebuild::Set(set.begin_rebuild()),
            Self::Nothing => Rebuild::Nothing,
        }
    }

    /// Whether it holds what it was made for.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Filter(filter) if filter.is_full())
    }

    /// Figures for metrics and operators.
    #[must_use]
    pub fn stats(&self) -> Stats {
        match self {
            Self::Filter(filter) => filter.stats(),
            Self::Set(set) => set.stats(),
            Self::Nothing => Stats { entries: 0, current: 0, capacity: 0, generations: 0, delta: 0, bytes: 0 },
        }
    }
}

/// A rebuild under way. Dropped unfinished, it leaves the memory as it was.
#[derive(Debug)]
pub enum Rebuild<'a> {
    /// Of a filter.
    Filter(filter::Rebuild<'a>),
    /// Of a set.
    Set(set::Rebuild<'a>),
    /// Of nothing.
    Nothing,
}

impl Rebuild<'_> {
    /// Adds what was live when the rebuild began.
    pub fn insert(&mut self, key: u128, until: Timestamp) {
        match self {
            Self::Filter(rebuild) => rebuild.segment.insert(key, until),
            Self::Set(rebuild) => rebuild.insert(key, until),
            Self::Nothing => {}
        }
    }

    /// Catches up with what arrived meanwhile and swaps the new content in as one value.
    pub fn finish(self, now: Timestamp) {
        match self {
            Self::Filter(rebuild) => rebuild.finish(now),
            Self::Set(rebuild) => rebuild.finish(now),
            Self::Nothing => {}
        }
    }
}
