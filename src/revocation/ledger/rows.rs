//! Rows of the table of revocations: how they are written down, and read again.

use uuid::Uuid;

use super::{
    super::feed::{Batch, Cursor, Except, Floor, Row, Tag},
    Target,
};
use crate::{
    clock::Timestamp,
    database::{self, DatabaseError},
    ids::{Generation, KeyId, LedgerId, Seq, SessionId},
};

/// The columns `kind` and `id` of a target.
pub(super) fn columns(target: Target) -> (i64, Vec<u8>) {
    let bytes = |id: Uuid| id.as_bytes().to_vec();
    match target {
        Target::Token(id) => (1, bytes(id.uuid())),
        Target::Session(id) => (2, bytes(id.uuid())),
        Target::Subject(id) => (3, bytes(id.uuid())),
        Target::Everything => (4, Vec::new()),
        Target::Key(id) => (KEY, id.as_bytes().to_vec()),
    }
}

/// The column `kind` of a signing key. These rows have no end: whoever reads or prunes by time leaves them out.
pub(super) const KEY: i64 = 5;

/// Transactions from their rows in order. With `is_cut` the last one may go on beyond these rows, and is left out.
pub(in crate::revocation) fn batches(
    ledger: LedgerId,
    rows: &[database::Row],
    is_cut: bool,
) -> Result<Vec<Batch>, DatabaseError> {
    let mut batches: Vec<Batch> = Vec::new();
    for row in rows {
        let cursor = Cursor { seq: Seq(row.int("seq")?), tag: Tag(row.int("tag")?) };
        let parsed = read_row(row)?;
        match batches.last_mut() {
            Some(batch) if batch.cursor == cursor => batch.rows.push(parsed),
            _ => batches.push(Batch { ledger, prev: Tag(row.int("prev")?), cursor, rows: vec![parsed] }),
        }
    }
    if is_cut {
        batches.pop();
    }
    Ok(batches)
}

pub(super) fn read_row(row: &database::Row) -> Result<Row, DatabaseError> {
    let kind = row.int("kind")?;
    let id = row.bytes("id")?;
    let uuid = || Uuid::from_slice(&id).map_err(|_| DatabaseError::Foreign("a revocation's id is not 16 bytes".into()));
    let target = match kind {
        1 => Target::Token(uuid()?.into()),
        2 => Target::Session(uuid()?.into()),
        3 => Target::Subject(uuid()?.into()),
        4 => Target::Everything,
        KEY => Target::Key(key_id(&id)?),
        other => {
            return Err(DatabaseError::Foreign(format!(
                "a revocation of kind {other}, which this version does not know; start a version that does"
            )));
        }
    };
    let floor = read_floor(row)?;
    if floor.is_some() != matches!(target, Target::Subject(_) | Target::Everything) {
        return Err(DatabaseError::Foreign(format!("a revocation of kind {kind} whose floor does not fit")));
    }
    Ok(Row { target, floor, until: Timestamp::from_millis(row.int("until")?) })
}

/// The signing key whose bytes these are.
pub(super) fn key_id(bytes: &[u8]) -> Result<KeyId, DatabaseError> {
    let bytes = bytes.try_into().map_err(|_| DatabaseError::Foreign("a revoked key's id is not 32 bytes".into()))?;
    Ok(KeyId::of(bytes))
}

pub(super) fn read_floor(row: &database::Row) -> Result<Option<Floor>, DatabaseError> {
    let Some(generation) = row.opt_int("floor")? else { return Ok(None) };
    let except = Except::of(row.opt_uuid("except_sid")?.map(SessionId::from));
    Ok(Some(Floor { generation: Generation(generation), except }))
}
