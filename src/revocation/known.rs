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

use super::{
    Cause,
    feed::{Except, Floor},
};

pub use super::answers::{AsOf, Known, Touched};

/// Everything the ledger says of one subject's floors, in a form that answers for any session.
///
/// Each row says "below `floor` is dead, but for one session". What kills a token is the highest floor among the rows
/// that do not except its session; two numbers tell that for every session. A third tells whether only its token is dead
/// and not its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Floors {
    highest: Option<Floor>,
    /// The highest floor among rows that except another session than `highest` does.
    other: Option<Generation>,
    /// The highest floor among rows that except all sessions.
    of_tokens: Option<Generation>,
}

impl Floors {
    /// Takes in one more row.
    #[must_use]
    pub fn and(self, row: Floor) -> Self {
        if row.except == Except::Sessions {
            return Self { of_tokens: self.of_tokens.max(Some(row.generation)), ..self };
        }
        let Some(highest) = self.highest else { return Self { highest: Some(row), ..self } };
        let same = row.except == highest.except;
        if row.generation > highest.generation {
            let other = if same { self.other } else { self.other.max(Some(highest.generation)) };
            Self { highest: Some(row), other, ..self }
        } else if same {
            self
        } else {
            Self { other: self.other.max(Some(row.generation)), ..self }
        }
    }

    /// Its form in Redis: four words, `-` for what is not there. [`parse`](Self::parse) reads it.
    #[must_use]
    pub fn to_text(&self) -> String {
        let number = |floor: Option<Generation>| floor.map_or_else(|| "-".to_owned(), |floor| floor.to_string());
        let highest = self.highest.map(|floor| floor.generation);
        let except = self.highest.and_then(|floor| floor.except.id());
        let except = except.map_or_else(|| "-".to_owned(), |id| id.to_string());
        format!("{} {except} {} {}", number(highest), number(self.other), number(self.of_tokens))
    }

    /// Reads what [`to_text`](Self::to_text) has written; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = |word: &str| match word {
            "-" => Some(None),
            digits => digits.parse().ok().map(|floor| Some(Generation(floor))),
        };
        let mut words = text.split(' ');
        let highest = number(words.next()?)?;
        let except = match words.next()? {
            "-" => Except::Nothing,
            id => Except::of(Some(id.parse().ok()?)),
        };
        let highest = highest.map(|generation| Floor { generation, except });
        let floors = Self { highest, other: number(words.next()?)?, of_tokens: number(words.next()?)? };
        // One value has one spelling.
        (floors.to_text() == text).then_some(floors)
    }

    /// Why a token of this generation and session is dead, if it is. That its session is dead too is said first.
    #[must_use]
    pub fn cause(&self, generation: Generation, session: SessionId) -> Option<Cause> {
        let is_below = |floor: Option<Generation>| floor.is_some_and(|floor| generation < floor);
        let of_session = match self.highest {
            Some(highest) if highest.except.is(session) => self.other,
            highest => highest.map(|highest| highest.generation),
        };
        if is_below(of_session) { Some(Cause::Subject) } else { is_below(self.of_tokens).then_some(Cause::Roles) }
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
        fn floors_fold_without_loss(rows in proptest::collection::vec((0_i64..6, 0_usize..5), 0..12), generation in 0_i64..6, me in 1_u128..5) {
            let named = |n: u128| SessionId::from(uuid::Uuid::from_u128(n));
            let sessions: Vec<Except> =
                [Except::Nothing, Except::Sessions].into_iter().chain((1..4).map(|n| Except::Session(named(n)))).collect();
            let rows: Vec<Floor> =
                rows.iter().map(|&(floor, except)| Floor { generation: Generation(floor), except: sessions[except] }).collect();
            let me = named(me);
            let mut denying = rows.iter().filter(|row| Generation(generation) < row.generation && !row.except.is(me));
            let is_denied = denying.clone().next().is_some();
            let expected = if denying.any(|row| row.except != Except::Sessions) {
                Some(Cause::Subject)
            } else {
                is_denied.then_some(Cause::Roles)
            };
            let folded = rows.iter().fold(Floors::default(), |floors, row| floors.and(*row));
            prop_assert_eq!(folded.cause(Generation(generation), me), expected);
            prop_assert_eq!(Floors::parse(&folded.to_text()), Some(folded));
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
