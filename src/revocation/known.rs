//! Known answers: what exact looks have found, so that a "maybe" is looked up once and not at every request.
//!
//! Two kinds of answers, of different strength. *Dead* never goes back, so it is always good. *Alive* is true only of
//! the ledger as it was: it is stored with the `applied` number read **before** the look, and counts only while
//! nothing that could concern this id has been applied since. [`Touched`] tells: applying a row writes its number into
//! the slot of its id before `applied` is published. So an *alive* is never deleted, it just stops counting, and no
//! race can bring an old one back.

use std::sync::atomic::{AtomicI64, Ordering};

use quick_cache::sync::Cache;

use crate::ids::{Generation, Seq, SessionId};

use super::{feed::Floor, filter::mix};

/// Answers kept. 65 536 × about 120 B = 8 MB; beyond it the least useful go, and are looked up again.
const CAPACITY: usize = 65_536;

/// Slots of [`Touched`]. Two ids that share one only cause a second look; 4 096 × 8 B = 32 KiB.
const SLOTS: usize = 4096;

/// Everything the ledger says of one subject's floors, in a form that answers for any session.
///
/// Each row says "below `floor` is dead, but for one session". What kills a token is the highest floor among the rows
/// that do not except its session; two numbers tell that for every session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Floors {
    highest: Option<Floor>,
    /// The highest floor among rows that except another session than `highest` does.
    other: Option<Generation>,
}

impl Floors {
    /// Takes in one more row.
    #[must_use]
    pub fn and(self, row: Floor) -> Self {
        let Some(highest) = self.highest else { return Self { highest: Some(row), other: None } };
        let same = row.except == highest.except;
        if row.generation > highest.generation {
            let other = if same { self.other } else { self.other.max(Some(highest.generation)) };
            Self { highest: Some(row), other }
        } else if same {
            self
        } else {
            Self { highest: Some(highest), other: self.other.max(Some(row.generation)) }
        }
    }

    /// Whether a token of this generation and session is dead.
    #[must_use]
    pub fn deny(&self, generation: Generation, session: SessionId) -> bool {
        let Some(highest) = self.highest else { return false };
        let floor = if highest.except == Some(session) { self.other } else { Some(highest.generation) };
        floor.is_some_and(|floor| generation < floor)
    }
}

/// What an exact look found for one id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exact {
    /// The ledger does not name it.
    Absent,
    /// The ledger names it: a token or a session that is dead.
    Revoked,
    /// The ledger names this subject.
    Floors(Floors),
}

/// The store of known answers, keyed as the filter is.
#[derive(Debug)]
pub struct Known {
    answers: Cache<u128, (Exact, Seq)>,
}

impl Known {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self { answers: Cache::new(CAPACITY) }
    }

    /// What is known of this id, and up to which number it is the whole truth. Beyond that number only a "dead" counts.
    #[must_use]
    pub fn of(&self, key: u128) -> Option<(Exact, Seq)> {
        self.answers.get(&key)
    }

    /// Remembers what a look has found; `as_of` is `applied` as read before the look.
    pub fn remember(&self, key: u128, found: Exact, as_of: Seq) {
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
        Self((0..SLOTS).map(|_| AtomicI64::new(0)).collect())
    }

    /// Notes that a row for this id is being applied. Before `applied` is published.
    pub fn touch(&self, key: u128, seq: Seq) {
        self.slot(key).fetch_max(seq.0, Ordering::AcqRel);
    }

    /// Notes that anything may have been applied up to this number: what was looked up before counts no more.
    pub fn touch_all(&self, seq: Seq) {
        for slot in &self.0 {
            slot.fetch_max(seq.0, Ordering::AcqRel);
        }
    }

    /// The number of the last applied row that may concern this id.
    #[must_use]
    pub fn last(&self, key: u128) -> Seq {
        Seq(self.slot(key).load(Ordering::Acquire))
    }

    fn slot(&self, key: u128) -> &AtomicI64 {
        // The middle bits: the delta's slots use the low ones.
        &self.0[usize::try_from((mix(key) >> 24) % SLOTS as u64).unwrap_or(0)]
    }
}

impl Default for Touched {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The two numbers answer as all the rows would.
        #[test]
        fn floors_fold_without_loss(rows in proptest::collection::vec((0_i64..6, 0_usize..4), 0..12), generation in 0_i64..6, session in 0_usize..4) {
            let sessions: Vec<Option<SessionId>> =
                std::iter::once(None).chain((1_u128..4).map(|n| Some(SessionId::from(uuid::Uuid::from_u128(n))))).collect();
            let rows: Vec<Floor> =
                rows.iter().map(|&(floor, except)| Floor { generation: Generation(floor), except: sessions[except] }).collect();
            let me = sessions[session].unwrap_or(SessionId::from(uuid::Uuid::from_u128(99)));
            let expected = rows.iter().any(|row| Generation(generation) < row.generation && row.except != Some(me));
            let folded = rows.iter().fold(Floors::default(), |floors, row| floors.and(*row));
            prop_assert_eq!(folded.deny(Generation(generation), me), expected);
        }
    }

    #[test]
    fn touching_an_id_is_seen_and_never_lowered() {
        let touched = Touched::new();
        touched.touch(7, Seq(5));
        touched.touch(7, Seq(3));
        assert_eq!(touched.last(7), Seq(5));
    }
}
