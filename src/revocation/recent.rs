//! What this node has applied lately: the rows that it can give back to a ledger which has lost them.
//!
//! A standby that takes over may lack the last transactions of the server before it, and a restored backup does. Nodes
//! notice that by tags and beats; what they still hold is counted as lost, and recorded again.

use std::collections::{BTreeMap, HashSet, VecDeque};

use super::feed::{Batch, Cursor, Row, Tag};
use crate::{clock::Timestamp, ids::Seq};

/// Rows kept at most: some seconds of 2 000 revocations a second, which is as far as a standby may be behind.
/// 16 384 × about 100 B = 1.6 MB.
const ROWS: usize = 16_384;

/// Cursors kept at most, by which it is told whether a number that somebody says is of this history: minutes of commits.
/// 16 384 × about 40 B = 0.7 MB.
const CURSORS: usize = 16_384;

/// The last batches, oldest first.
#[derive(Debug, Default)]
pub struct Recent {
    batches: VecDeque<Batch>,
    rows: usize,
    /// Where this history stood, one after the other.
    history: BTreeMap<Seq, Tag>,
}

impl Recent {
    /// Keeps a batch that was applied; lets go of the oldest beyond the limit.
    pub fn keep(&mut self, batch: &Batch) {
        self.pass(batch.cursor);
        self.rows += batch.rows.len();
        self.batches.push_back(batch.clone());
        while self.rows > ROWS
            && let Some(old) = self.batches.pop_front()
        {
            self.rows -= old.rows.len();
        }
    }

    /// Notes that the history stood here.
    fn pass(&mut self, at: Cursor) {
        self.history.insert(at.seq, at.tag);
        if self.history.len() > CURSORS {
            self.history.pop_first();
        }
    }

    /// A load has ended here: what was before may be of another history.
    pub fn begin_at(&mut self, at: Cursor) {
        self.end();
        self.pass(at);
    }

    /// What comes next may be another history.
    pub fn end(&mut self) {
        self.history.clear();
    }

    /// Whether this history has stood there, as far as it is kept.
    #[must_use]
    pub fn has(&self, at: Cursor) -> bool {
        self.history.get(&at.seq) == Some(&at.tag)
    }

    /// Where the oldest of them is.
    #[must_use]
    pub fn first(&self) -> Option<Cursor> {
        self.batches.front().map(|batch| batch.cursor)
    }

    /// The rows of batches that are not among `found`, as far as they can still deny anything; and forgets everything.
    pub fn take_lost(&mut self, found: &HashSet<(i64, i64)>, now: Timestamp) -> Vec<Row> {
        self.rows = 0;
        self.end();
        let is_lost = |batch: &Batch| !found.contains(&(batch.cursor.seq.0, batch.cursor.tag.0));
        let lost = self.batches.drain(..).filter(is_lost).flat_map(|batch| batch.rows);
        lost.filter(|row| row.until >= now).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::{LedgerId, TokenId},
        revocation::Target,
    };

    fn batch(seq: i64, rows: usize, until: i64) -> Batch {
        let row =
            || Row { target: Target::Token(TokenId::random()), floor: None, until: Timestamp::from_millis(until) };
        Batch {
            ledger: LedgerId::random(),
            prev: Tag(seq - 1),
            cursor: Cursor { seq: Seq(seq), tag: Tag(seq) },
            rows: (0..rows).map(|_| row()).collect(),
        }
    }

    #[test]
    fn what_the_ledger_lacks_and_still_denies_is_lost_and_nothing_else() {
        let mut recent = Recent::default();
        for (seq, until) in [(1, 9), (2, 9), (3, 1), (4, 9)] {
            recent.keep(&batch(seq, 2, until));
        }
        assert_eq!(recent.first().map(|cursor| cursor.seq), Some(Seq(1)));
        // Another transaction has taken the number 4 since.
        let lost = recent.take_lost(&HashSet::from([(1, 1), (4, 44)]), Timestamp::from_millis(5));
        assert_eq!(lost.len(), 4, "of 2 and 4; those of 3 have expired");
        assert_eq!(recent.first(), None);
    }

    #[test]
    fn a_history_that_has_ended_has_stood_nowhere_also_where_no_rows_are_kept() {
        let mut recent = Recent::default();
        let at = |seq| batch(seq, 0, 9).cursor;
        recent.begin_at(at(3));
        assert!(recent.has(at(3)));
        recent.end();
        assert!(!recent.has(at(3)));
        recent.begin_at(at(2));
        recent.keep(&batch(3, 1, 9));
        assert!(recent.has(at(2)) && recent.has(at(3)));
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let mut recent = Recent::default();
        for seq in 1..=80 {
            recent.keep(&batch(seq, 256, 9));
        }
        assert_eq!(recent.first().map(|cursor| cursor.seq), Some(Seq(17)), "64 batches of 256 are kept");
    }
}
