//! This node's replica of the ledger: `Cold → Loading → Live ⇄ Stale`.
//!
//! A [`Replica`] is filled by a load (head first, then pages) and moved on by linked batches. Whatever does not fit is
//! a [`Link::Gap`]: the caller stops trusting the replica until a load has succeeded.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicI64, AtomicU8, Ordering},
};

use tokio::sync::Notify;

use crate::{
    clock::Timestamp,
    database::DatabaseError,
    ids::{Generation, LedgerId, Seq},
};

use super::{
    Target,
    feed::{Batch, Cursor, Link, Row, Tag},
    filter::{Filter, Settings, Stats},
    known::{Known, Touched},
    lease::Lease,
    ledger::Ledger,
};

/// How far a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum NodeState {
    /// Nothing was read yet.
    Cold = 0,
    /// The ledger is being read.
    Loading = 1,
    /// Checks are answered.
    Live = 2,
    /// Something did not fit; checks are not answered until it is reloaded.
    Stale = 3,
}

/// A load that did not succeed. The node stays as it was: not live.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The ledger cannot be read.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// Somebody has begun another life of the ledger: this process follows the old one.
    #[error("another life of the ledger has begun, after a restore: start this node again")]
    Anew,
    /// The ledger's own history has a hole or a break.
    #[error(
        "the ledger's history is broken after number {after}: rows are missing or were changed by hand. \
         Restore the database from a backup"
    )]
    Broken {
        /// The last number that fits.
        after: Seq,
    },
}

/// What this node has applied.
#[derive(Debug)]
pub struct Replica {
    ledger: LedgerId,
    state: AtomicU8,
    pub(super) lease: Lease,
    applied: AtomicI64,
    floor: AtomicI64,
    pub(super) filter: Filter,
    pub(super) known: Known,
    pub(super) touched: Touched,
    /// Where the history stands; its lock makes one applier at a time.
    cursor: Mutex<Cursor>,
    growth: Notify,
    /// One rebuild at a time: a load and a growth would take each other's notes.
    rebuilding: tokio::sync::Mutex<()>,
}

impl Replica {
    /// A replica that has read nothing yet.
    #[must_use]
    pub fn new(ledger: LedgerId, settings: Settings, now: Timestamp) -> Self {
        Self {
            ledger,
            lease: Lease::unlimited(),
            state: AtomicU8::new(NodeState::Cold as u8),
            applied: AtomicI64::new(0),
            floor: AtomicI64::new(0),
            filter: Filter::new(settings, now),
            known: Known::new(),
            touched: Touched::new(),
            cursor: Mutex::new(Cursor { seq: Seq(0), tag: Tag(0) }),
            growth: Notify::new(),
            rebuilding: tokio::sync::Mutex::new(()),
        }
    }

    /// One of several: it answers only while its lease is valid, and has none yet.
    #[must_use]
    pub fn leased(mut self) -> Self {
        self.lease = Lease::none();
        self
    }

    /// How far this node is.
    #[must_use]
    pub fn state(&self) -> NodeState {
        match self.state.load(Ordering::Acquire) {
            0 => NodeState::Cold,
            1 => NodeState::Loading,
            2 => NodeState::Live,
            _ => NodeState::Stale,
        }
    }

    /// The last number applied: everything up to it is in the filter.
    #[must_use]
    pub fn applied(&self) -> Seq {
        Seq(self.applied.load(Ordering::Acquire))
    }

    /// The generation below which every token is dead.
    #[must_use]
    pub fn floor(&self) -> Generation {
        Generation(self.floor.load(Ordering::Acquire))
    }

    /// The ledger's life that this node follows.
    #[must_use]
    pub const fn ledger(&self) -> LedgerId {
        self.ledger
    }

    /// Figures of the filter.
    #[must_use]
    pub fn filter(&self) -> Stats {
        self.filter.stats()
    }

    /// Stops answering checks until the next load.
    pub fn stop(&self) {
        self.lease.end();
        self.state.store(NodeState::Stale as u8, Ordering::Release);
    }

    /// Where the history stands that this node has applied.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        *self.lock()
    }

    /// Whether the ledger stands where this node stands.
    #[must_use]
    pub fn is_at(&self, head: Cursor) -> bool {
        *self.lock() == head
    }

    /// Applies one transaction, if it is the next one. When this returns [`Link::Next`] or [`Link::Known`], every
    /// check that begins later sees it.
    pub fn apply(&self, batch: &Batch) -> Link {
        let mut cursor = self.lock();
        // A load is not to be overtaken: it says itself where it ends.
        if self.state() != NodeState::Live {
            return Link::Gap;
        }
        let link = batch.link(self.ledger, *cursor);
        if link != Link::Next {
            return link;
        }
        self.raise_floor(&batch.rows);
        if self.filter.insert(entries(&batch.rows)) {
            self.growth.notify_one();
        }
        for (key, _) in entries(&batch.rows) {
            self.touched.touch(key, batch.cursor.seq);
        }
        *cursor = batch.cursor;
        self.applied.store(batch.cursor.seq.0, Ordering::Release);
        link
    }

    /// Reads the whole live ledger and goes live. Nothing is applied meanwhile.
    ///
    /// # Errors
    /// [`LoadError`]; the node is not live then.
    pub async fn load(&self, ledger: &Ledger) -> Result<(), LoadError> {
        {
            let _no_applier = self.lock();
            self.state.store(NodeState::Loading as u8, Ordering::Release);
        }
        let end = match self.rebuild(ledger).await {
            Ok(end) => end,
            Err(error) => {
                self.stop();
                return Err(error);
            }
        };
        // What was known "alive" was known of the history before; nothing may be carried over, also by a look that is
        // under way now and stores its answer later.
        self.touched.touch_all(end.seq);
        self.known.clear();
        let mut cursor = self.lock();
        *cursor = end;
        self.applied.store(end.seq.0, Ordering::Release);
        self.state.store(NodeState::Live as u8, Ordering::Release);
        Ok(())
    }

    /// Waits until the filter has reached its design load.
    pub async fn wants_growth(&self) {
        // A signal may be left over from before the last rebuild.
        while !self.filter.is_full() {
            self.growth.notified().await;
        }
    }

    /// Builds a larger filter from the ledger while checks and revocations go on, and swaps it in.
    ///
    /// # Errors
    /// [`LoadError`]; the old filter stays, with more false positives than wanted.
    pub async fn grow(&self, ledger: &Ledger) -> Result<(), LoadError> {
        self.rebuild(ledger).await.map(|_| ())
    }

    /// Drops what has expired from the filter, as whole generations. Returns whether a new generation was opened.
    pub fn rotate(&self, ledger: &Ledger) -> bool {
        let now = ledger.clock().now();
        self.filter.rotate(now, ledger.lifetimes().entry(now))
    }

    async fn rebuild(&self, ledger: &Ledger) -> Result<Cursor, LoadError> {
        let _one = self.rebuilding.lock().await;
        let now = ledger.clock().now();
        let head = ledger.head().await?;
        // Begun before the pages are read: what is applied from here on is noted, what was applied before is committed
        // and will be read.
        let mut rebuild = self.filter.begin_rebuild(head.live);
        self.floor.fetch_max(head.floor.0, Ordering::AcqRel);
        let mut at: Option<Cursor> = None;
        let mut after = head.live_after;
        loop {
            let page = ledger.page(after).await?;
            let Some(last) = page.last() else { break };
            after = last.cursor.seq;
            for batch in &page {
                let fits = at.is_none_or(|at| batch.link(self.ledger, at) == Link::Next);
                if !fits {
                    return Err(LoadError::Broken { after: at.map_or(Seq(0), |at| at.seq) });
                }
                at = Some(batch.cursor);
                // Pages go on beyond the head that was read; so must the floor.
                self.raise_floor(&batch.rows);
                for (key, until) in entries(&batch.rows).filter(|(_, until)| *until >= now) {
                    rebuild.segment.insert(key, until);
                }
            }
        }
        let end = at.unwrap_or(head.cursor);
        if end.seq < head.cursor.seq || (end.seq == head.cursor.seq && end.tag != head.cursor.tag) {
            return Err(LoadError::Broken { after: end.seq });
        }
        rebuild.finish(now);
        Ok(end)
    }

    fn raise_floor(&self, rows: &[Row]) {
        for row in rows {
            if let (Target::Everything, Some(floor)) = (row.target, row.floor) {
                self.floor.fetch_max(floor.generation.0, Ordering::AcqRel);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Cursor> {
        // The cursor is written after everything it speaks of; a panic before leaves the old one, which is true.
        self.cursor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn entries(rows: &[Row]) -> impl Iterator<Item = (u128, Timestamp)> {
    rows.iter().filter_map(|row| Some((row.target.key()?, row.until)))
}
