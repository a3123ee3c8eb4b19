//! Where known answers are kept, and what tells whether one still counts.

use crate::ids::Seq;

use super::{
    filter::mix,
    known::Exact,
    shared::{AtomicI64, Cache, Ordering, TOUCHED_SLOTS},
};

/// Answers kept. 65 536 × about 130 B = 8 MB; beyond it the least useful go, and are looked up again.
const CAPACITY: usize = 65_536;

/// How far this node was when a look began.
///
/// A load may bring a history in which a number stands for other rows than before, so a number alone would not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AsOf {
    /// How many loads had ended.
    pub load: u64,
    /// What was applied.
    pub seq: Seq,
}

/// The store of known answers, keyed as the filter is.
#[derive(Debug)]
pub struct Known {
    answers: Cache<u128, (Exact, AsOf)>,
}

impl Known {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self { answers: Cache::new(CAPACITY) }
    }

    /// What is known of this id, and as of when it is the whole truth. After that only a "dead" counts.
    #[must_use]
    pub fn of(&self, key: u128) -> Option<(Exact, AsOf)> {
        self.answers.get(&key)
    }

    /// Remembers what a look has found; `as_of` was read before the look.
    pub fn remember(&self, key: u128, found: Exact, as_of: AsOf) {
        self.answers.insert(key, (found, as_of));
    }

    /// Forgets everything: the node begins another history.
    pub fn clear(&self) {
        self.answers.clear();
    }
}

impl Default for Known {
    fn default() -> Self {
        Self::new()
    }
}

/// For each slot, the number of the last applied row whose id falls into it.
#[derive(Debug)]
pub struct Touched(Box<[AtomicI64]>);

impl Touched {
    /// Nothing was touched yet.
    #[must_use]
    pub fn new() -> Self {
        Self((0..TOUCHED_SLOTS).map(|_| AtomicI64::new(0)).collect())
    }

    /// Notes that a row for this id is being applied. Before `applied` is published.
    pub fn touch(&self, key: u128, seq: Seq) {
        self.slot(key).fetch_max(seq.0, Ordering::AcqRel);
    }

    /// The number of the last applied row that may concern this id.
    #[must_use]
    pub fn last(&self, key: u128) -> Seq {
        Seq(self.slot(key).load(Ordering::Acquire))
    }

    fn slot(&self, key: u128) -> &AtomicI64 {
        // The middle bits: the delta's slots use the low ones.
        &self.0[usize::try_from((mix(key) >> 24) % TOUCHED_SLOTS as u64).unwrap_or(0)]
    }
}

impl Default for Touched {
    fn default() -> Self {
        Self::new()
    }
}
