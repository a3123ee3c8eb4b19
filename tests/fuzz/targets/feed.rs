//! What nodes say to each other through Redis.

use kickout::{
    ids::Seq,
    revocation::blocklist::message::{LONGEST_PUSH, Message, ack, push, read_ack, read_push},
};
use serde_json::Value;

/// Messages, with any bytes. They are one of the things that a channel carries, or garbage; what was understood says
/// the same when it is said again, and says what another reader finds there.
///
/// # Panics
/// If that does not hold.
pub fn check(data: &[u8]) -> bool {
    let (pushed, acknowledged) = (read_push(data), read_ack(data));
    assert!(pushed == Message::Garbage || acknowledged == Message::Garbage, "one message has one meaning");
    let value = || serde_json::from_slice::<Value>(data).expect("what is understood is JSON");
    match &pushed {
        Message::Push(batch) => {
            let value = value();
            assert_eq!(value["v"], 1);
            assert_eq!(value["seq"], batch.cursor.seq.0);
            assert_eq!(value["tag"], batch.cursor.tag.0);
            assert_eq!(value["prev"], batch.prev.0);
            assert_eq!(value["ledger"], batch.ledger.to_string());
            assert_eq!(value["rows"].as_array().map(Vec::len), Some(batch.rows.len()));
            assert!(!batch.rows.is_empty());
            let again = push(batch);
            assert!(again.len() <= LONGEST_PUSH);
            match read_push(again.as_bytes()) {
                // Its rows have no room in what this version says.
                Message::News(seq) => assert!(seq == batch.cursor.seq && data.len() > LONGEST_PUSH / 2),
                read => {
                    assert_eq!(read, pushed);
                    assert_eq!(serde_json::from_str::<Value>(&again).ok().as_ref().map(bare), Some(bare(&value)));
                }
            }
        }
        Message::News(seq) => assert_eq!(value()["seq"], seq.0),
        Message::Garbage => {}
        Message::Ack { .. } => panic!("the feed carries no acknowledgements"),
    }
    match acknowledged {
        Message::Ack { node, ledger, at } => {
            assert_eq!(read_ack(ack(node, ledger, at).as_bytes()), acknowledged);
            assert_eq!(value()["tag"], at.tag.0);
            assert_eq!((at.seq, &value()["v"]), (Seq(value()["seq"].as_i64().expect("a number")), &Value::from(1)));
        }
        Message::Garbage => {}
        other => panic!("no acknowledgement: {other:?}"),
    }
    pushed != Message::Garbage || acknowledged != Message::Garbage
}

/// A message without members that are null, which say the same as none.
fn bare(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), bare(value)))
            .collect(),
        Value::Array(values) => values.iter().map(bare).collect(),
        other => other.clone(),
    }
}
