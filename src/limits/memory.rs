//! Counts in memory of a fixed size, without keys: a sketch of buckets.
//!
//! Each kind of count has a table of `ROWS` × `CELLS` cells. A key has one cell in each row, by its MAC. A cell
//! holds when it will have drained, so an idle one needs no sweeping; a try fills the cells of its key, and the lowest
//! of them says how full the key's bucket is. Keys that share a cell add up there, so a bucket is taken for fuller than
//! it is, if anything (Cormode and Muthukrishnan, "count-min", 2005); emptier only by what a neighbour has given back
//! whose try found that cell full and the other one not.
//!
//! That is what bounded memory has to be here: a map with an eviction forgets the limits that somebody else pushes out,
//! and one without refuses, or grows, when it is full. **Nothing is ever forgotten early, and there is no "full"**: with
//! more keys than cells, some are refused earlier than they should be. With 10 000 counts in use one in 700 shares both
//! its cells with another; that both are near their limit is rarer still. To make strangers wait, an attacker has to
//! keep every cell filled: for wrong passwords, which take 360 s each to drain by default, with 262 144 / 360 s = 728
//! wrong passwords *computed* in every second, which is the work of 14 cores (for an account under attack, where they take
//! 1200 s, 218). Known devices are in tables of their own.
//!
//! The crate `governor` has the same arithmetic. It keeps its keys in a map without a bound, takes back nothing that was
//! given, and decides by one key at a time.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::bucket::{Over, Table, Tries};

/// Cells that a key has. Two make a chance meeting unlikely; more do not help against very many keys.
const ROWS: usize = 2;

/// Cells in a row. 2 × 262 144 × 8 B = 4 MiB a table, of twelve; the system gives only the pages that were written to.
const CELLS: usize = 1 << 18;

/// The tables.
pub struct Memory(Mutex<Vec<Vec<i64>>>);

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory(…)")
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self(Mutex::new(vec![Vec::new(); Table::COUNT]))
    }
}

impl Memory {
    /// Takes all or nothing.
    ///
    /// # Errors
    /// [`Over`].
    pub fn take(&self, now: i64, tries: &Tries) -> Result<(), Over> {
        let mut tables = self.lock();
        let level = |cell: &i64| cell - now;
        let mut over = Vec::new();
        for bucket in tries.buckets() {
            let cells = cells(&bucket.mac).map(|at| tables[bucket.table as usize].get(at).map_or(0, level));
            let lowest = cells.into_iter().min().unwrap_or(0);
            over.push(bucket.fill(lowest).1);
        }
        tries.judge(&over)?;
        for bucket in tries.buckets() {
            for at in cells(&bucket.mac) {
                let cell = cell(&mut tables[bucket.table as usize], at);
                *cell = now + bucket.fill(*cell - now).0;
            }
        }
        Ok(())
    }

    /// Gives back what was taken.
    pub fn give_back(&self, now: i64, tries: &Tries) {
        let mut tables = self.lock();
        for bucket in tries.buckets() {
            for at in cells(&bucket.mac) {
                let cell = cell(&mut tables[bucket.table as usize], at);
                *cell = now + bucket.drain(*cell - now);
            }
        }
    }

    /// Cells of all tables.
    #[cfg(test)]
    pub(super) fn cells(&self) -> usize {
        self.lock().iter().map(Vec::len).sum()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<i64>>> {
        // A dozen cells are read and written under it; nothing panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A cell to be written. A table that nobody needed until now is made, of pages that read as zero.
fn cell(table: &mut Vec<i64>, at: usize) -> &mut i64 {
    if table.is_empty() {
        *table = vec![0; ROWS * CELLS];
    }
    &mut table[at]
}

/// A key's cells, one in each row.
fn cells(mac: &[u8; 32]) -> [usize; ROWS] {
    std::array::from_fn(|row| {
        let (bytes, _) = mac.as_chunks::<4>();
        row * CELLS + u32::from_le_bytes(bytes[row]) as usize % CELLS
    })
}
