//! What nodes tell each other through Redis, as text.
//!
//! JSON with a version of its own, spelled out here and not derived from the types of the ledger, so that a change there
//! does not change what nodes of two versions say to each other. Whatever is not exactly of this version is
//! [`Message::Garbage`]: a pull decides then.
//!
//! ```json
//! {"v":1,"ledger":"…","prev":-3,"seq":42,"tag":7,"rows":[{"kind":"subject","id":"…","floor":5,"except":"…","until":1700000000000}]}
//! {"v":1,"node":"…","ledger":"…","seq":42,"tag":7}
//! ```
//!
//! Public for who wants to read along, and for the tests that feed it anything.

use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    ids::{Generation, KeyId, LedgerId, NodeId, Seq, SessionId, Subject, TokenId},
};

use super::super::{
    Target,
    feed::{Batch, Cursor, Except, Floor, Row, Tag},
};

/// The version that is written, and the one that is read.
const VERSION: u32 = 1;

/// A push with rows is at most this long. 256 rows of the longest kind are 50 KiB; Redis sends a copy to every node.
pub const LONGEST_PUSH: usize = 64 * 1024;

/// What is longer than this is not read: sixteen times what this version ever says.
const LONGEST: usize = 1024 * 1024;

/// What a [`Listener`](super::Listener) hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A transaction was recorded; this is all of it.
    Push(Batch),
    /// A transaction of this number was recorded, and is too long to be told here: pull.
    News(Seq),
    /// A node has applied everything up to a place in a history.
    Ack {
        /// The node.
        node: NodeId,
        /// The ledger's life that it speaks of.
        ledger: LedgerId,
        /// The place.
        at: Cursor,
    },
    /// Something that this version does not say. It may have been a push: pull.
    Garbage,
}

/// A batch on the feed. Without rows if they would be too long, or if one is of a shape that has no words here.
///
/// # Panics
/// Never: ids and numbers can be written as JSON.
#[must_use]
pub fn push(batch: &Batch) -> String {
    let rows: Option<Vec<WireRow>> = batch.rows.iter().map(WireRow::of).collect();
    let mut wire = WirePush {
        v: VERSION,
        ledger: batch.ledger,
        prev: batch.prev.0,
        seq: batch.cursor.seq,
        tag: batch.cursor.tag.0,
        rows,
    };
    let text = text(&wire);
    if text.len() <= LONGEST_PUSH {
        return text;
    }
    wire.rows = None;
    self::text(&wire)
}

/// An acknowledgement.
///
/// # Panics
/// Never: ids and numbers can be written as JSON.
#[must_use]
pub fn ack(node: NodeId, ledger: LedgerId, at: Cursor) -> String {
    text(&WireAck { v: VERSION, node, ledger, seq: at.seq, tag: at.tag.0 })
}

/// What was said on the feed.
#[must_use]
pub fn read_push(bytes: &[u8]) -> Message {
    let Some(wire) = read::<WirePush>(bytes).filter(|wire| wire.v == VERSION) else { return Message::Garbage };
    let Some(rows) = wire.rows else { return Message::News(wire.seq) };
    if rows.is_empty() {
        return Message::Garbage;
    }
    Message::Push(Batch {
        ledger: wire.ledger,
        prev: Tag(wire.prev),
        cursor: Cursor { seq: wire.seq, tag: Tag(wire.tag) },
        rows: rows.into_iter().map(WireRow::row).collect(),
    })
}

/// What was said on the channel of acknowledgements.
#[must_use]
pub fn read_ack(bytes: &[u8]) -> Message {
    match read::<WireAck>(bytes) {
        Some(WireAck { v: VERSION, node, ledger, seq, tag }) => {
            Message::Ack { node, ledger, at: Cursor { seq, tag: Tag(tag) } }
        }
        _ => Message::Garbage,
    }
}

fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    if bytes.len() > LONGEST { None } else { serde_json::from_slice(bytes).ok() }
}

fn text(wire: &impl Serialize) -> String {
    serde_json::to_string(wire).expect("ids and numbers can be written as JSON")
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WirePush {
    v: u32,
    ledger: LedgerId,
    prev: i64,
    seq: Seq,
    tag: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rows: Option<Vec<WireRow>>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireAck {
    v: u32,
    node: NodeId,
    ledger: LedgerId,
    seq: Seq,
    tag: i64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
enum WireRow {
    Token {
        id: TokenId,
        until: Timestamp,
    },
    Session {
        id: SessionId,
        until: Timestamp,
    },
    Subject {
        id: Subject,
        floor: Generation,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        except: Option<SessionId>,
        until: Timestamp,
    },
    Everything {
        floor: Generation,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        except: Option<SessionId>,
        until: Timestamp,
    },
    Key {
        id: KeyId,
        until: Timestamp,
    },
}

impl WireRow {
    fn of(row: &Row) -> Option<Self> {
        let until = row.until;
        Some(match (row.target, row.floor) {
            (Target::Token(id), None) => Self::Token { id, until },
            (Target::Session(id), None) => Self::Session { id, until },
            (Target::Subject(id), Some(Floor { generation: floor, except })) => {
                Self::Subject { id, floor, except: except.id(), until }
            }
            (Target::Everything, Some(Floor { generation: floor, except })) => {
                Self::Everything { floor, except: except.id(), until }
            }
            (Target::Key(id), None) => Self::Key { id, until },
            _ => return None,
        })
    }

    fn row(self) -> Row {
        match self {
            Self::Token { id, until } => Row { target: Target::Token(id), floor: None, until },
            Self::Session { id, until } => Row { target: Target::Session(id), floor: None, until },
            Self::Subject { id, floor: generation, except, until } => Row {
                target: Target::Subject(id),
                floor: Some(Floor { generation, except: Except::of(except) }),
                until,
            },
            Self::Everything { floor: generation, except, until } => {
                Row { target: Target::Everything, floor: Some(Floor { generation, except: Except::of(except) }), until }
            }
            Self::Key { id, until } => Row { target: Target::Key(id), floor: None, until },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use uuid::Uuid;

    use super::*;

    fn id<T: From<Uuid> + std::fmt::Debug>() -> impl Strategy<Value = T> {
        any::<u128>().prop_map(|id| Uuid::from_u128(id).into())
    }

    fn floor() -> impl Strategy<Value = Option<Floor>> {
        (any::<i64>(), proptest::option::of(id())).prop_map(|(generation, except)| {
            Some(Floor { generation: Generation(generation), except: Except::of(except) })
        })
    }

    fn row() -> impl Strategy<Value = Row> {
        let target = prop_oneof![
            (id().prop_map(Target::Token), Just(None)),
            (id().prop_map(Target::Session), Just(None)),
            (id().prop_map(Target::Subject), floor()),
            (Just(Target::Everything), floor()),
            (any::<[u8; 32]>().prop_map(|id| Target::Key(KeyId::of(id))), Just(None)),
        ];
        (target, any::<i64>()).prop_map(|((target, floor), until)| Row {
            target,
            floor,
            until: Timestamp::from_millis(until),
        })
    }

    fn batch(rows: usize) -> impl Strategy<Value = Batch> {
        (id(), any::<[i64; 3]>(), vec(row(), 1..=rows)).prop_map(|(ledger, [prev, seq, tag], rows)| Batch {
            ledger,
            prev: Tag(prev),
            cursor: Cursor { seq: Seq(seq), tag: Tag(tag) },
            rows,
        })
    }

    /// The longest row there is.
    fn long() -> Row {
        let floor = Floor { generation: Generation(i64::MIN), except: Except::Session(SessionId::random()) };
        let until = Timestamp::from_millis(i64::MIN);
        Row { target: Target::Subject(Subject::random()), floor: Some(floor), until }
    }

    fn of(rows: Vec<Row>) -> Batch {
        let cursor = Cursor { seq: Seq(7), tag: Tag(i64::MIN) };
        Batch { ledger: LedgerId::random(), prev: Tag(i64::MAX), cursor, rows }
    }

    #[test]
    fn a_usual_batch_fits_and_a_longer_one_is_announced() {
        let usual = of((0..256).map(|_| long()).collect());
        assert_eq!(read_push(push(&usual).as_bytes()), Message::Push(usual));
        let longer = of((0..1000).map(|_| long()).collect());
        assert!(push(&longer).len() < 256);
        assert_eq!(read_push(push(&longer).as_bytes()), Message::News(Seq(7)));
        let odd = of(vec![Row { floor: None, ..long() }]);
        assert_eq!(read_push(push(&odd).as_bytes()), Message::News(Seq(7)), "no words for it: pull");
    }

    #[test]
    fn what_is_not_exactly_of_this_version_is_garbage() {
        let good = push(&of(vec![Row { target: Target::Everything, ..long() }]));
        assert!(matches!(read_push(good.as_bytes()), Message::Push(_)));
        for (from, to) in [
            (r#""v":1"#, r#""v":2"#),
            (r#""v":1"#, r#""v":1,"more":0"#),
            (r#""v":1"#, r#""v":1,"v":1"#),
            (r#""kind":"everything""#, r#""kind":"client""#),
            (r#""kind":"everything""#, r#""kind":"token""#),
            (r#""kind":"everything""#, r#""kind":"everything","more":0"#),
            (r#""floor":-9223372036854775808,"#, ""),
            (r#""until":"#, r#""until":1e"#),
            (r#""rows":[{"#, r#""rows":[],"other":[{"#),
            ("}]}", "}]} "),
            ("}]}", "}]"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good, "{from}");
            let is_space = bad.ends_with(' ');
            assert_eq!(read_push(bad.as_bytes()) == Message::Garbage, !is_space, "{bad}");
        }
        let empty = push(&of(Vec::new()));
        assert_eq!(read_push(empty.as_bytes()), Message::Garbage, "a transaction has rows");
        let padded = format!("{good}{}", " ".repeat(LONGEST));
        assert_eq!(read_push(padded.as_bytes()), Message::Garbage, "too long to be read");
        let ack = ack(NodeId::random(), LedgerId::random(), of(Vec::new()).cursor);
        assert_eq!(read_push(ack.as_bytes()), Message::Garbage);
        assert_eq!(read_ack(good.as_bytes()), Message::Garbage);
        assert_eq!(read_ack(ack.replace(r#""v":1"#, r#""v":2"#).as_bytes()), Message::Garbage);
    }

    proptest! {
        #[test]
        fn a_push_is_read_as_it_was_said(batch in batch(40)) {
            prop_assert_eq!(read_push(push(&batch).as_bytes()), Message::Push(batch));
        }

        #[test]
        fn an_ack_is_read_as_it_was_said(node in id(), ledger in id(), seq: i64, tag: i64) {
            let at = Cursor { seq: Seq(seq), tag: Tag(tag) };
            prop_assert_eq!(read_ack(ack(node, ledger, at).as_bytes()), Message::Ack { node, ledger, at });
        }

        #[test]
        fn any_bytes_are_a_message(bytes: Vec<u8>) {
            prop_assert_eq!(read_push(&bytes), Message::Garbage);
            prop_assert_eq!(read_ack(&bytes), Message::Garbage);
        }

        #[test]
        fn a_damaged_push_is_a_message(batch in batch(4), at: prop::sample::Index, byte: u8) {
            let mut bytes = push(&batch).into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = read_push(&bytes);
            let _ = read_push(&bytes[..at]);
        }
    }
}
