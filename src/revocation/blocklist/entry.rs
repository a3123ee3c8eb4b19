//! What stands in Redis: one key per revoked id, whose value says what is denied.

use std::fmt;

use crate::{
    clock::Timestamp,
    ids::{Generation, LedgerId, SessionId, Subject, TokenId},
};

use super::super::{
    Cause, Presented, Target,
    feed::{Except, Floor, Row},
};

/// The value of a token or a session: there is nothing more to say.
const REVOKED: &str = "1";

/// The key of a target in one life of the ledger; `None` for everything and for signing keys, which every node holds
/// exactly.
pub(super) fn key(prefix: &str, ledger: LedgerId, target: Target) -> Option<String> {
    match target {
        Target::Token(id) => Some(of_token(prefix, ledger, id)),
        Target::Session(id) => Some(of_session(prefix, ledger, id)),
        Target::Subject(id) => Some(of_subject(prefix, ledger, id)),
        Target::Everything | Target::Key(_) => None,
    }
}

/// The keys that could deny a token: of itself, its session and its subject.
pub(super) fn keys(prefix: &str, presented: &Presented) -> [String; 3] {
    let ledger = presented.epoch;
    [
        of_token(prefix, ledger, presented.token),
        of_session(prefix, ledger, presented.session),
        of_subject(prefix, ledger, presented.subject),
    ]
}

// The ledger's id is in each, so that an entry of an earlier life denies nothing in this one.

pub(super) fn of_token(prefix: &str, ledger: LedgerId, id: TokenId) -> String {
    format!("{prefix}:{ledger}:t:{id}")
}

pub(super) fn of_session(prefix: &str, ledger: LedgerId, id: SessionId) -> String {
    format!("{prefix}:{ledger}:s:{id}")
}

fn of_subject(prefix: &str, ledger: LedgerId, id: Subject) -> String {
    format!("{prefix}:{ledger}:u:{id}")
}

/// A row's value and its life in milliseconds; `None` for one that is over, or that has no entry.
pub(super) fn value(row: &Row, now: Timestamp) -> Option<(String, u64)> {
    let life_ms = u64::try_from(row.until.as_millis().saturating_sub(now.as_millis())).ok().filter(|ms| *ms > 0)?;
    let value = match row.target {
        Target::Token(_) | Target::Session(_) => REVOKED.to_owned(),
        Target::Subject(_) => Written(row.floor?).to_string(),
        Target::Everything | Target::Key(_) => return None,
    };
    // Redis refuses a life that ends after the year 292 million.
    Some((value, life_ms.min(LONGEST_LIFE_MS)))
}

/// A hundred years.
pub(super) const LONGEST_LIFE_MS: u64 = 100 * 365 * 24 * 3_600_000;

/// Why these values, in the order of [`keys`], deny a token. Whatever this program has not written denies nothing: the
/// ledger decides then.
pub(super) fn cause(presented: &Presented, values: &[Option<Vec<u8>>; 3]) -> Option<Cause> {
    let [token, session, subject] = values.each_ref().map(Option::as_deref);
    if token == Some(REVOKED.as_bytes()) {
        return Some(Cause::Token);
    }
    if session == Some(REVOKED.as_bytes()) {
        return Some(Cause::Session);
    }
    let floor = read_floor(subject?)?;
    let is_denied = presented.generation < floor.generation && !floor.except.is(presented.session);
    is_denied.then_some(if floor.except == Except::Sessions { Cause::Roles } else { Cause::Subject })
}

/// `3`, or `3 3f0e8c1a-6d2b-4c57-9a41-0b6f5d2e7c88`.
struct Written(Floor);

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.generation.fmt(f)?;
        self.0.except.id().map_or(Ok(()), |except| write!(f, " {except}"))
    }
}

fn read_floor(value: &[u8]) -> Option<Floor> {
    let text = std::str::from_utf8(value).ok()?;
    let (floor, except) = match text.split_once(' ') {
        Some((floor, except)) => (floor, Some(except.parse::<SessionId>().ok()?)),
        None => (text, None),
    };
    let floor = Floor { generation: Generation(floor.parse().ok()?), except: Except::of(except) };
    // One floor has one spelling.
    (Written(floor).to_string() == text).then_some(floor)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::KeyId;

    fn presented(generation: i64) -> Presented {
        Presented {
            token: TokenId::random(),
            session: SessionId::random(),
            subject: Subject::random(),
            generation: Generation(generation),
            epoch: LedgerId::random(),
            key: KeyId::of([0; 32]),
        }
    }

    #[test]
    fn a_value_that_this_program_does_not_write_denies_nothing() {
        let presented = presented(4);
        let because = |at: usize, value: &str| {
            let mut values = [const { None }; 3];
            values[at] = Some(value.as_bytes().to_vec());
            cause(&presented, &values)
        };
        assert_eq!(because(0, "1"), Some(Cause::Token));
        assert_eq!(because(1, "1"), Some(Cause::Session));
        assert_eq!(because(2, "5"), Some(Cause::Subject));
        assert_eq!(because(2, &format!("5 {}", SessionId::random())), Some(Cause::Subject));
        for (at, value) in [(0, "0"), (0, "11"), (0, ""), (1, "true"), (1, " 1")] {
            assert_eq!(because(at, value), None, "{at}: {value:?}");
        }
        let excepted = format!("5 {}", presented.session);
        let shouted = format!("5 {}", SessionId::random()).to_uppercase();
        for value in
            ["4", "-5", "+5", "05", "5 ", " 5", "5\n", "5 x", "", "five", "9223372036854775808", &excepted, &shouted]
        {
            assert_eq!(because(2, value), None, "{value:?}");
        }
    }

    #[test]
    fn an_entry_lives_as_long_as_its_row() {
        let row = |target, floor, until| Row { target, floor, until: Timestamp::from_millis(until) };
        let (token, now) = (Target::Token(TokenId::random()), Timestamp::from_millis(1000));
        assert_eq!(value(&row(token, None, 1001), now), Some(("1".to_owned(), 1)));
        assert_eq!(value(&row(token, None, 5000), now), Some(("1".to_owned(), 4000)));
        assert_eq!(value(&row(token, None, 1000), now), None);
        assert_eq!(value(&row(token, None, i64::MIN), now), None);
        assert_eq!(value(&row(token, None, i64::MAX), now).unwrap().1, LONGEST_LIFE_MS);
        assert_eq!(value(&row(Target::Subject(Subject::random()), None, 2000), now), None, "no floor, no entry");
        let floor = Some(Floor { generation: Generation(1), except: Except::Nothing });
        assert_eq!(value(&row(Target::Everything, floor, 2000), now), None);
        assert_eq!(value(&row(Target::Key(KeyId::of([0; 32])), None, 2000), now), None);
    }

    proptest! {
        #[test]
        fn a_floor_is_read_as_it_was_written(generation: i64, except: Option<u128>) {
            let except = Except::of(except.map(|id| uuid::Uuid::from_u128(id).into()));
            let floor = Floor { generation: Generation(generation), except };
            prop_assert_eq!(read_floor(Written(floor).to_string().as_bytes()), Some(floor));
        }

        #[test]
        fn any_bytes_are_a_value(bytes: Vec<u8>) {
            let _ = cause(&presented(0), &[Some(bytes.clone()), Some(bytes.clone()), Some(bytes)]);
        }
    }
}
