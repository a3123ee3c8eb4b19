//! Bulk revocation: many ids as one call, in transactions of bounded size.
//!
//! Each part is durable when the next one begins; the receipt is for the last. A call that fails part-way says how far
//! it has come, and can go on from there: revoking twice does no harm.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Applied, Patience, Receipt, RevokeError, Revoker,
    ledger::{Act, Counts, Many, ManyKind},
};
use crate::ids::Seq;

/// Ids per transaction. A page of a renewal has 2 000 rows and never cuts a transaction; 256 other acts may share it.
pub const PART: usize = 1000;

/// Ids per call: 100 transactions, some seconds.
pub const MOST: usize = 100_000;

/// What a bulk revocation answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BulkReceipt {
    /// The last number in the ledger that must be applied for all of it to be in force.
    pub seq: Seq,
    /// What the ids name.
    pub kind: ManyKind,
    /// What became of them; an id that was given twice counts once within a transaction.
    pub counts: Counts,
    /// On how many nodes it is in force.
    pub applied: Applied,
    /// Every check that begins after this receipt denies.
    pub complete: bool,
    /// As in a [`Receipt`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_force_at: Option<String>,
    /// From the call to this receipt, in milliseconds.
    pub elapsed_ms: f64,
}

/// A bulk revocation that was not done to its end.
#[derive(Debug, thiserror::Error)]
pub enum BulkError {
    /// Too many ids. Nothing was done.
    #[error("{given} ids are more than {MOST}; nothing was done")]
    TooMany {
        /// How many there were.
        given: usize,
    },
    /// No ids. Nothing was done.
    #[error("there are no ids")]
    Empty,
    /// A part could not be recorded.
    #[error("the first {done} ids are recorded, up to number {seq} (revoked {}, already {}, absent {}); then: {error}",
        counts.revoked, counts.already, counts.absent)]
    PartWay {
        /// How many of the ids, in the order given, are recorded.
        done: usize,
        /// The last number that has.
        seq: Seq,
        /// What became of them.
        counts: Counts,
        /// Why the next part was not recorded.
        error: RevokeError,
    },
}

impl Revoker {
    /// Revokes many ids of one kind, one call at a time.
    ///
    /// # Errors
    /// [`BulkError`].
    pub async fn revoke_bulk(
        &self,
        kind: ManyKind,
        ids: &[Uuid],
        patience: Patience,
    ) -> Result<BulkReceipt, BulkError> {
        if ids.is_empty() {
            return Err(BulkError::Empty);
        }
        if ids.len() > MOST {
            return Err(BulkError::TooMany { given: ids.len() });
        }
        // So a transaction never holds the parts of two calls.
        let _one = self.bulk.lock().await;
        let since = self.clock.boottime();
        let (mut done, mut seq, mut counts, mut parts) = (0, Seq(0), Counts::default(), Vec::new());
        for part in ids.chunks(PART) {
            let pending = match self.begin(Act::Many(Many { kind, ids: part.to_vec() })).await {
                Ok(pending) => pending,
                Err(error) => return Err(BulkError::PartWay { done, seq, counts, error }),
            };
            done += part.len();
            counts = counts.and(pending.counts());
            // A part in which everything was revoked before may name an older number.
            seq = seq.max(pending.seq());
            parts.push(pending);
        }
        // The last number alone speaks for all of them only where nodes apply them in order.
        let mut answer: Option<Receipt> = None;
        for pending in parts {
            let left = match patience {
                Patience::Complete => Patience::Complete,
                Patience::AtMost(limit) => Patience::AtMost(limit.saturating_sub(self.clock.boottime().since(since))),
            };
            let receipt = match pending.receipt(left).await {
                Ok(revoked) => revoked.receipt,
                Err(error) => return Err(BulkError::PartWay { done, seq, counts, error }),
            };
            if answer.as_ref().is_none_or(|answer| answer.complete) {
                answer = Some(receipt);
            }
        }
        let Some(receipt) = answer else { return Err(BulkError::Empty) };
        let elapsed_ms = (self.clock.boottime().since(since).as_secs_f64() * 1e6).round() / 1e3;
        let Receipt { applied, complete, in_force_at, .. } = receipt;
        Ok(BulkReceipt { seq, kind, counts, applied, complete, in_force_at, elapsed_ms })
    }
}
