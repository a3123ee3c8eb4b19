//! The feed: how a committed transaction of the ledger reaches a filter.
//!
//! A [`Batch`] is one transaction: all its rows, or none. It carries the tag of the transaction before it, so that a
//! receiver notices a hole or a history that went another way: that is a value ([`Link`]), never skipped.

use uuid::Uuid;

use crate::{
    clock::Timestamp,
    ids::{Generation, LedgerId, Seq, SessionId},
};

use super::Target;

/// A random number that every ledger transaction leaves behind; the next one names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag(pub i64);

/// Where a history stands: its last transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The number of that transaction.
    pub seq: Seq,
    /// Its tag.
    pub tag: Tag,
}

/// One revocation as the ledger holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// What is revoked.
    pub target: Target,
    /// For a subject and for everything: what still lives.
    pub floor: Option<Floor>,
    /// No token that this row denies can be valid after.
    pub until: Timestamp,
}

/// Tokens of a lower generation are dead, but for one session's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floor {
    /// The lowest generation that lives.
    pub generation: Generation,
    /// What of these lives on.
    pub except: Except,
}

/// What lives on below a floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Except {
    /// Nothing: sessions have ended with their tokens.
    #[default]
    Nothing,
    /// The session that a `keep_current` named, with its tokens.
    Session(SessionId),
    /// All sessions, though none of their tokens: each goes on with its next refresh. A change of roles.
    Sessions,
}

impl Except {
    /// Its form in the ledger, in Redis and on the feed: nothing, the session's id, or the nil UUID (RFC 9562 §5.9),
    /// which no session has.
    #[must_use]
    pub fn id(self) -> Option<SessionId> {
        match self {
            Self::Nothing => None,
            Self::Session(session) => Some(session),
            Self::Sessions => Some(Uuid::nil().into()),
        }
    }

    /// Reads the form that [`id`](Self::id) gives.
    #[must_use]
    pub fn of(id: Option<SessionId>) -> Self {
        match id {
            None => Self::Nothing,
            Some(id) if id.uuid().is_nil() => Self::Sessions,
            Some(session) => Self::Session(session),
        }
    }

    /// Whether a token of this session is excepted.
    #[must_use]
    pub fn is(self, session: SessionId) -> bool {
        self == Self::Session(session)
    }
}

/// One transaction of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The ledger's life it belongs to.
    pub ledger: LedgerId,
    /// The tag of the transaction before.
    pub prev: Tag,
    /// Its own number and tag.
    pub cursor: Cursor,
    /// Its rows, at least one.
    pub rows: Vec<Row>,
}

/// How a batch relates to what a node has applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// It is the next one.
    Next,
    /// It was applied before.
    Known,
    /// Something is missing in between, or it is of another history: reload.
    Gap,
}

impl Batch {
    /// How this batch relates to a node that stands at `at` in the ledger `ledger`.
    #[must_use]
    pub fn link(&self, ledger: LedgerId, at: Cursor) -> Link {
        if self.ledger != ledger {
            return Link::Gap;
        }
        if self.cursor.seq < at.seq || self.cursor == at {
            return Link::Known;
        }
        if self.cursor.seq.0 == at.seq.0 + 1 && self.prev == at.tag { Link::Next } else { Link::Gap }
    }

    /// Whether the history that this batch is of has stood there, by what the batch says: it ends there, or comes next.
    #[must_use]
    pub fn has_stood_at(&self, at: Cursor) -> bool {
        self.cursor == at || self.link(self.ledger, at) == Link::Next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_another_tag_and_another_ledger_are_gaps() {
        let ledger = LedgerId::random();
        let batch = |prev, seq, tag| Batch {
            ledger,
            prev: Tag(prev),
            cursor: Cursor { seq: Seq(seq), tag: Tag(tag) },
            rows: Vec::new(),
        };
        let at = Cursor { seq: Seq(4), tag: Tag(40) };
        for (batch, of, link) in [
            (batch(40, 5, 50), ledger, Link::Next),
            (batch(30, 4, 40), ledger, Link::Known),
            (batch(20, 3, 30), ledger, Link::Known),
            (batch(50, 6, 60), ledger, Link::Gap),
            (batch(41, 5, 50), ledger, Link::Gap),
            (batch(30, 4, 41), ledger, Link::Gap),
            (batch(40, 5, 50), LedgerId::random(), Link::Gap),
        ] {
            assert_eq!(batch.link(of, at), link, "{batch:?}");
        }
    }
}
