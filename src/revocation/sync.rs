//! This node's replica of the ledger: `Cold → Loading → Live ⇄ Stale`.
//!
//! A [`Replica`] is filled by a load (head first, then pages) and moved on by linked batches. Whatever does not fit is
//! a [`Link::Gap`]: the caller stops trusting the replica until a load has succeeded.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::{
    clock::Timestamp,
    database::DatabaseError,
    ids::{Generation, LedgerId, Seq},
    revoked_keys::RevokedKeys,
};

use super::{
    feed::{Batch, Cursor, Link},
    filter::{Settings, Stats},
    lease::Lease,
    ledger::Ledger,
    memory::Kind,
    published::{Published, entries, keys},
    recent::Recent,
};

pub use super::published::NodeState;

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
    pub(super) published: Published,
    growth: Notify,
    /// What was applied lately, where a server can be replaced by one that knows less.
    pub(super) recent: Option<Mutex<Recent>>,
    /// One rebuild at a time: a load and a growth would take each other's notes.
    rebuilding: tokio::sync::Mutex<()>,
}

impl Replica {
    /// A replica that has read nothing yet, and keeps what it reads in a filter.
    #[must_use]
    pub fn new(ledger: LedgerId, settings: Settings, now: Timestamp) -> Self {
        Self::keeping(Kind::Filter, ledger, settings, now)
    }

    /// A replica that has read nothing yet, with another kind of memory.
    #[must_use]
    pub fn keeping(kind: Kind, ledger: LedgerId, settings: Settings, now: Timestamp) -> Self {
        Self {
            published: Published::new(ledger, Lease::unlimited(), kind, settings, now),
            growth: Notify::new(),
            recent: None,
            rebuilding: tokio::sync::Mutex::new(()),
        }
    }

    /// One of several: it answers only while its lease is valid, and has none yet.
    #[must_use]
    pub fn leased(mut self) -> Self {
        self.published.lease = Lease::none();
        self.recent = Some(Mutex::default());
        self
    }

    /// With a set of revoked keys that others ask, too.
    #[must_use]
    pub fn sharing(mut self, revoked: RevokedKeys) -> Self {
        self.published.revoked = revoked;
        self
    }

    /// The signing keys that were taken back, as far as this node has applied.
    #[must_use]
    pub const fn revoked(&self) -> &RevokedKeys {
        &self.published.revoked
    }

    /// How far this node is.
    #[must_use]
    pub fn state(&self) -> NodeState {
        self.published.state()
    }

    /// The last number applied: everything up to it is in the filter.
    #[must_use]
    pub fn applied(&self) -> Seq {
        self.published.applied()
    }

    /// Whether this node keeps nothing of what is revoked, as its checks ask elsewhere.
    #[must_use]
    pub const fn is_blind(&self) -> bool {
        self.published.memory.is_nothing()
    }

    /// Whether this node may answer checks that ask elsewhere: it has loaded, and registered if it is one of several.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.published.has_begun()
    }

    /// Goes on to where the ledger is, if this node keeps nothing of its rows but the keys that were taken back.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn skip_to(&self, head: Cursor, floor: Generation, ledger: &Ledger) -> Result<(), DatabaseError> {
        if head.seq > self.applied() {
            self.published.revoked.insert(ledger.revoked_keys().await?);
            self.published.skip_to(head, floor);
        }
        Ok(())
    }

    /// The generation below which every token is dead.
    #[must_use]
    pub fn floor(&self) -> Generation {
        self.published.floor()
    }

    /// The ledger's life that this node follows.
    #[must_use]
    pub const fn ledger(&self) -> LedgerId {
        self.published.ledger()
    }

    /// Figures of the filter.
    #[must_use]
    pub fn filter(&self) -> Stats {
        self.published.memory.stats()
    }

    /// Stops answering checks until the next load.
    pub fn stop(&self) {
        self.published.stop();
    }

    /// Where the history stands that this node has applied.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.published.cursor()
    }

    /// Whether the history that this node has applied has stood there. `false` also of what is long past.
    #[must_use]
    pub fn has(&self, at: Cursor) -> bool {
        self.recent.as_ref().is_some_and(|recent| recent.lock().unwrap_or_else(PoisonError::into_inner).has(at))
    }

    /// Whether everything up to `head` is applied, and this node's history has stood there. Something of a history that was
    /// lost may have come in since the ledger was asked, and have the numbers of what it has instead.
    #[must_use]
    pub fn has_reached(&self, head: Cursor) -> bool {
        // Where no rows are kept there is nothing that could be of another history.
        let keeps_one = self.recent.is_some() && !self.is_blind();
        self.published.has_reached(head) && (!keeps_one || self.has(head))
    }

    /// From here to the end of the next load nothing is in this node's history.
    pub fn end_history(&self) {
        if let Some(recent) = &self.recent {
            recent.lock().unwrap_or_else(PoisonError::into_inner).end();
        }
    }

    /// Whether the ledger stands where this node stands.
    #[must_use]
    pub fn is_at(&self, head: Cursor) -> bool {
        self.published.cursor() == head
    }

    /// Applies one transaction, if it is the next one. When this returns [`Link::Next`] or [`Link::Known`], every
    /// check that begins later sees it.
    pub fn apply(&self, batch: &Batch) -> Link {
        if self.is_blind() {
            return self.apply_blind(batch);
        }
        // Held over both: what is kept is in the order of application, and a load that follows finds it kept.
        let recent = self.recent.as_ref().map(|recent| recent.lock().unwrap_or_else(PoisonError::into_inner));
        let (link, is_full) = self.published.apply(batch);
        if is_full {
            self.growth.notify_one();
        }
        if let (Some(mut recent), Link::Next) = (recent, link) {
            recent.keep(batch);
        }
        link
    }

    /// Takes in what a node needs that keeps nothing else. If others have recorded in between, the next renewal finds it.
    fn apply_blind(&self, batch: &Batch) -> Link {
        let link = batch.link(self.ledger(), self.cursor());
        if self.state() == NodeState::Live && batch.ledger == self.ledger() {
            self.published.revoked.insert(keys(&batch.rows));
            self.published.raise_floor(&batch.rows);
            if link == Link::Next {
                self.published.skip_to(batch.cursor, self.floor());
            }
        }
        // Nobody's check waits for it.
        Link::Known
    }

    /// Reads the whole live ledger and goes live. Nothing is applied meanwhile.
    ///
    /// # Errors
    /// [`LoadError`]; the node is not live then.
    pub async fn load(&self, ledger: &Ledger) -> Result<(), LoadError> {
        self.published.begin_load();
        match self.rebuild(ledger, None).await {
            Ok(end) => {
                if let Some(recent) = &self.recent {
                    recent.lock().unwrap_or_else(PoisonError::into_inner).begin_at(end);
                }
                self.published.end_load(end);
                Ok(())
            }
            Err(error) => {
                self.stop();
                Err(error)
            }
        }
    }

    /// Waits until the filter has reached its design load.
    pub async fn wants_growth(&self) {
        // A signal may be left over from before the last rebuild.
        while !self.published.memory.is_full() {
            self.growth.notified().await;
        }
    }

    /// Builds a larger filter from the ledger while checks and revocations go on, and swaps it in.
    ///
    /// # Errors
    /// [`LoadError`]; the old filter stays, with more false positives than wanted.
    pub async fn grow(&self, ledger: &Ledger) -> Result<(), LoadError> {
        self.rebuild(ledger, Some(self.cursor())).await.map(|_| ())
    }

    /// Drops what has expired from the filter, as whole generations. Returns whether a new generation was opened.
    pub fn rotate(&self, ledger: &Ledger) -> bool {
        let now = ledger.clock().now();
        self.published.memory.rotate(now, ledger.lifetimes().entry(now))
    }

    /// Reads every live row into a filter, and swaps it in. `applied`: what is read must be of this history, and not end
    /// before it. A connection may still lead to a server that another one has replaced.
    async fn rebuild(&self, ledger: &Ledger, applied: Option<Cursor>) -> Result<Cursor, LoadError> {
        let _one = self.rebuilding.lock().await;
        let now = ledger.clock().now();
        let head = ledger.head().await?;
        // Begun before the pages are read: what is applied from here on is noted, what was applied before is committed
        // and will be read.
        let mut rebuild = self.published.memory.begin_rebuild(head.live);
        self.published.raise_floor_to(head.floor);
        // After the head: what is committed later is in the pages.
        self.published.revoked.insert(ledger.revoked_keys().await?);
        if self.is_blind() {
            return Ok(head.cursor);
        }
        let mut at: Option<Cursor> = None;
        let mut after = head.live_after;
        let mut has_it = applied.is_none_or(|applied| applied == head.cursor || applied.seq < head.live_after);
        loop {
            let page = ledger.page(after).await?;
            let Some(last) = page.last() else { break };
            has_it |= applied.is_some_and(|applied| page.iter().any(|batch| batch.has_stood_at(applied)));
            after = last.cursor.seq;
            for batch in &page {
                let fits = at.is_none_or(|at| batch.link(self.ledger(), at) == Link::Next);
                if !fits {
                    return Err(LoadError::Broken { after: at.map_or(Seq(0), |at| at.seq) });
                }
                at = Some(batch.cursor);
                // Pages go on beyond the head that was read; so must the floor.
                self.published.raise_floor(&batch.rows);
                self.published.revoked.insert(keys(&batch.rows));
                for (key, until) in entries(&batch.rows).filter(|(_, until)| *until >= now) {
                    rebuild.insert(key, until);
                }
            }
        }
        let is_missing = at.is_none() && head.live > 0;
        if is_missing || !has_it {
            return Err(DatabaseError::behind().into());
        }
        let end = at.unwrap_or(head.cursor);
        if end.seq < head.cursor.seq || (end.seq == head.cursor.seq && end.tag != head.cursor.tag) {
            return Err(LoadError::Broken { after: end.seq });
        }
        rebuild.finish(now);
        Ok(end)
    }
}
