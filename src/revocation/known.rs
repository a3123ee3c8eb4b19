//! Known answers: what exact looks have found, so that a "maybe" is looked up once and not at every request.
//!
//! Two kinds of answers, of different strength. *Dead* never goes back, so it is always good. *Alive* is true only of
//! the ledger as it was: it is stored with the `applied` number read **before** the look, and counts only while
//! nothing that could concern this id has been applied since. [`Touched`] tells: applying a row writes its number into
//! the slot of its id before `applied` is published. So an *alive* is never deleted, it just stops counting, and no
//! race can bring an old one back.
//!
//! A load ends all of them at once: beside the number stands which load it is of ([`AsOf`]). After rows were lost with a
//! server the next ones take their numbers again, so an *alive* from before could otherwise seem newer than they are.

use crate::ids::{Generation, SessionId};

use super::feed::Floor;

pub use super::answers::{AsOf, Known, Touched};

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::ids::Seq;

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
