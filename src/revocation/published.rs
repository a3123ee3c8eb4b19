//! What a node has published to its checks, and the order in which it does so: written once, here.
//!
//! | who | writes or reads, in this order |
//! |---|---|
//! | an applier, under the cursor's lock | floor, revoked keys, filter bits → `touched` → `applied` |
//! | a renewal, when what it brought is applied | the lease, last |
//! | a load | filter, swapped whole → `applied` → the number of loads → the state |
//! | a check | the clock → the lease → the state → `applied` → floor, filter, revoked keys |
//! | an exact look | the number of loads → `applied` → the cursor, under its lock → the ledger → the answer is stored |
//!
//! Every write is a release, every read an acquire. So whoever reads a later thing of a line sees the earlier ones: an
//! acknowledgement speaks of `applied`, a valid lease speaks of everything. `tests/loom` runs this code through all
//! orders of its steps.

use std::{future::Future, sync::PoisonError, time::Duration};

use crate::{
    clock::{BootInstant, Timestamp},
    ids::{Generation, KeyId, LedgerId, Seq},
    revoked_keys::RevokedKeys,
};

use super::{
    Target,
    answers::{AsOf, Known, Touched},
    feed::{Batch, Cursor, Link, Row, Tag},
    filter::{IDS_PER_CHECK, Settings},
    known::Exact,
    memory::{Kind, Memory},
    shared::{AtomicI64, AtomicU8, AtomicU64, Mutex, MutexGuard, Ordering},
    term::Lease,
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

/// What appliers publish and checks read.
#[derive(Debug)]
pub struct Published {
    ledger: LedgerId,
    state: AtomicU8,
    /// Until when checks are answered. A renewal extends it by [`extend`](Self::extend).
    pub lease: Lease,
    applied: AtomicI64,
    /// How many loads have ended: what was known "alive" before the last one counts no more.
    loads: AtomicU64,
    floor: AtomicI64,
    /// Known beyond this node's checks: to whoever signs and verifies.
    pub revoked: RevokedKeys,
    /// For who fills it; a check goes through [`View`].
    pub memory: Memory,
    known: Known,
    touched: Touched,
    /// Where the history stands; its lock makes one applier at a time.
    cursor: Mutex<Cursor>,
}

/// What a check may see, once it has read the clock and the lease.
#[derive(Debug)]
pub enum Sight<'a> {
    /// The lease is over.
    Stale,
    /// The ledger is not read, or is to be read again.
    Loading,
    /// Everything.
    Live(View<'a>),
}

/// The way to the floor and to the filter. Only [`Published::sight`] gives one, so nobody asks them before the lease.
#[derive(Debug)]
pub struct View<'a> {
    published: &'a Published,
    applied: Seq,
    is_beyond: bool,
}

impl View<'_> {
    /// What was applied when the check began.
    pub const fn applied(&self) -> Seq {
        self.applied
    }

    /// Whether the lease is over, and the check goes on because its policy lets it.
    pub const fn is_beyond(&self) -> bool {
        self.is_beyond
    }

    /// The generation below which every token is dead.
    pub fn floor(&self) -> Generation {
        self.published.floor()
    }

    /// Whether a signing key was taken back.
    pub fn is_revoked(&self, kid: KeyId) -> bool {
        self.published.revoked.contains(kid)
    }

    /// Which of the keys may be revoked: bit `i` stands for `keys[i]`.
    pub fn probe(&self, keys: &[u128; IDS_PER_CHECK]) -> u8 {
        self.published.memory.probe(keys)
    }
}

impl Published {
    /// Nothing yet.
    pub fn new(ledger: LedgerId, lease: Lease, kind: Kind, settings: Settings, now: Timestamp) -> Self {
        Self {
            ledger,
            state: AtomicU8::new(NodeState::Cold as u8),
            lease,
            applied: AtomicI64::new(0),
            loads: AtomicU64::new(0),
            floor: AtomicI64::new(0),
            revoked: RevokedKeys::default(),
            memory: Memory::new(kind, settings, now),
            known: Known::new(),
            touched: Touched::new(),
            cursor: Mutex::new(Cursor { seq: Seq(0), tag: Tag(0) }),
        }
    }

    /// The ledger's life that this node follows.
    pub const fn ledger(&self) -> LedgerId {
        self.ledger
    }

    /// How far this node is.
    pub fn state(&self) -> NodeState {
        match self.state.load(Ordering::Acquire) {
            0 => NodeState::Cold,
            1 => NodeState::Loading,
            2 => NodeState::Live,
            _ => NodeState::Stale,
        }
    }

    /// The last number applied: everything up to it is in the filter.
    pub fn applied(&self) -> Seq {
        Seq(self.applied.load(Ordering::Acquire))
    }

    /// The generation below which every token is dead.
    pub fn floor(&self) -> Generation {
        Generation(self.floor.load(Ordering::Acquire))
    }

    /// Where the history stands that this node has applied.
    pub fn cursor(&self) -> Cursor {
        *self.lock()
    }

    /// What a check may see now, if its policy lets it go on for `beyond` when the lease is over. `boottime` reads the
    /// clock.
    pub fn sight(&self, beyond: Duration, boottime: impl FnOnce() -> BootInstant) -> Sight<'_> {
        // The time first, from the kernel and in this check; then the lease; then the filter. In another order a node
        // that slept in between could answer from what it knew before.
        let mut is_beyond = false;
        if !self.lease.is_unlimited() {
            let now = boottime();
            is_beyond = !self.lease.is_valid(now);
            if is_beyond && !self.lease.is_within(now, beyond) {
                return Sight::Stale;
            }
        }
        if self.state() != NodeState::Live {
            return Sight::Loading;
        }
        Sight::Live(View { published: self, applied: self.applied(), is_beyond })
    }

    /// What earlier looks have found of this id, if that still counts: whatever `denies`, always; anything else only if
    /// nothing that may concern this id came later.
    pub fn known(&self, key: u128, denies: impl FnOnce(Exact) -> bool) -> Option<Exact> {
        let (found, as_of) = self.known.of(key)?;
        (denies(found) || self.counts(key, as_of)).then_some(found)
    }

    fn counts(&self, key: u128, as_of: AsOf) -> bool {
        self.touched.last(key) <= as_of.seq && self.loads.load(Ordering::Acquire) == as_of.load
    }

    fn as_of(&self) -> AsOf {
        // The load first: its number is published after the one that it has applied.
        let load = self.loads.load(Ordering::Acquire);
        AsOf { load, seq: self.applied() }
    }

    /// Looks for this id, and remembers what was found. `look` is not begun before this is awaited.
    ///
    /// # Errors
    /// What `look` gives; nothing is remembered then.
    pub async fn look<E>(&self, key: u128, look: impl Future<Output = Result<Exact, E>>) -> Result<Exact, E> {
        // Before the look: what is applied while it is under way it may not have seen.
        let as_of = self.as_of();
        let found = look.await?;
        self.known.remember(key, found, as_of);
        Ok(found)
    }

    /// Remembers that somebody else has told that this id is dead for good.
    pub fn remember_dead(&self, key: u128) {
        self.known.remember(key, Exact::Revoked, self.as_of());
    }

    /// Applies one transaction, if it is the next one. When this returns [`Link::Next`] or [`Link::Known`], every
    /// check that begins later sees it. Returns also whether the filter should be rebuilt larger.
    pub fn apply(&self, batch: &Batch) -> (Link, bool) {
        let mut cursor = self.lock();
        // A load is not to be overtaken: it says itself where it ends.
        if self.state() != NodeState::Live {
            return (Link::Gap, false);
        }
        let link = batch.link(self.ledger, *cursor);
        if link != Link::Next {
            return (link, false);
        }
        self.raise_floor(&batch.rows);
        self.revoked.insert(keys(&batch.rows));
        let is_full = self.memory.insert(entries(&batch.rows));
        for (key, _) in entries(&batch.rows) {
            self.touched.touch(key, batch.cursor.seq);
        }
        *cursor = batch.cursor;
        self.applied.store(batch.cursor.seq.0, Ordering::Release);
        (link, is_full)
    }

    /// Goes on to where the ledger is: where nothing is kept of its rows, nothing is missed by that.
    pub fn skip_to(&self, head: Cursor, floor: Generation) {
        let mut cursor = self.lock();
        if self.memory.is_nothing() && head.seq > cursor.seq {
            self.raise_floor_to(floor);
            *cursor = head;
            self.applied.store(head.seq.0, Ordering::Release);
        }
    }

    /// Whether this node has loaded and, where it needs one, has a lease, valid or over.
    pub fn has_begun(&self) -> bool {
        self.lease.is_given() && self.state() == NodeState::Live
    }

    /// Whether everything up to `head` is applied, and the history is the one that `head` is of, as far as it tells.
    pub fn has_reached(&self, head: Cursor) -> bool {
        let at = self.cursor();
        at.seq > head.seq || at == head
    }

    /// Extends the lease, if everything up to the `head` that the renewal has seen is applied.
    pub fn extend(&self, head: Cursor, until: BootInstant) {
        if self.has_reached(head) {
            self.lease.extend(until);
        }
    }

    /// Stops answering checks until the next load.
    pub fn stop(&self) {
        self.lease.end();
        self.state.store(NodeState::Stale as u8, Ordering::Release);
    }

    /// Nothing is applied from here on until [`end_load`](Self::end_load).
    pub fn begin_load(&self) {
        let _no_applier = self.lock();
        self.state.store(NodeState::Loading as u8, Ordering::Release);
    }

    /// The filter holds everything live up to `end`: goes live.
    pub fn end_load(&self, end: Cursor) {
        let mut cursor = self.lock();
        *cursor = end;
        self.applied.store(end.seq.0, Ordering::Release);
        // What was known "alive" was known of the history before; nothing may be carried over, also by a look that is
        // under way now and stores its answer later. The numbers do not tell: this history may be a shorter one.
        self.loads.fetch_add(1, Ordering::AcqRel);
        self.known.clear();
        self.state.store(NodeState::Live as u8, Ordering::Release);
    }

    /// Raises the floor over everything; never lowers it.
    pub fn raise_floor_to(&self, floor: Generation) {
        self.floor.fetch_max(floor.0, Ordering::AcqRel);
    }

    /// Raises the floor over everything to what these rows say.
    pub fn raise_floor(&self, rows: &[Row]) {
        for row in rows {
            if let (Target::Everything, Some(floor)) = (row.target, row.floor) {
                self.raise_floor_to(floor.generation);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Cursor> {
        // The cursor is written after everything it speaks of; a panic before leaves the old one, which is true.
        self.cursor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The signing keys that these rows name.
pub fn keys(rows: &[Row]) -> impl Iterator<Item = KeyId> {
    rows.iter().filter_map(|row| if let Target::Key(kid) = row.target { Some(kid) } else { None })
}

/// What these rows put into the filter.
pub fn entries(rows: &[Row]) -> impl Iterator<Item = (u128, Timestamp)> {
    rows.iter().filter_map(|row| Some((row.target.key()?, row.until)))
}
