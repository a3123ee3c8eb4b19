//! The store that checks ask where they ask Redis at every request: what is told to it when something is revoked, and
//! how it is filled.
//!
//! The ledger is the truth here too. A revocation is committed, then written to Redis, and only then its receipt is
//! complete; what Redis has not taken is written again until it has. A login or a refresh writes its session and then
//! looks again whether it is still alive: either that look comes after a revocation's commit and finds it, or the
//! revocation's own write comes after the session's and removes it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    database::DatabaseError,
    ids::{Seq, Subject},
};

use super::{
    Presented, Target,
    blocklist::{
        Blocklist, BlocklistError,
        asked::{Dead, Entry, Told},
    },
    known::{Exact, Floors},
    ledger::Ledger,
};

/// Entries that are gathered from the ledger before they are written: 4 096 × 100 B = 400 KB.
const GATHERED: usize = 4096;

/// Between two tries to fill it.
const PAUSE: Duration = Duration::from_millis(500);

/// The store could not be told.
#[derive(Debug, thiserror::Error)]
pub enum AskedError {
    /// The ledger cannot be read.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// Redis.
    #[error("Redis: {0}")]
    Redis(#[from] BlocklistError),
}

/// Redis as the store that every check asks. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Store {
    blocklist: Blocklist,
    ledger: Ledger,
    /// Whether credentials are opaque sessions that lie there.
    has_sessions: bool,
    /// A check has found that not everything is there.
    wanting: Arc<Notify>,
    /// What this node has committed and not told yet.
    open: Arc<Mutex<BTreeSet<Seq>>>,
}

/// A commit that the store is not told of yet.
#[derive(Debug)]
pub struct Open {
    store: Store,
    seq: Seq,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.store.lock().remove(&self.seq);
    }
}

impl Store {
    /// A store over this Redis.
    #[must_use]
    pub fn new(blocklist: Blocklist, ledger: Ledger, has_sessions: bool) -> Self {
        Self { blocklist, ledger, has_sessions, wanting: Arc::default(), open: Arc::default() }
    }

    /// Notes that the store is to be told of a commit; until the note is dropped.
    #[must_use]
    pub fn open(&self, seq: Seq) -> Open {
        self.lock().insert(seq);
        Open { store: self.clone(), seq }
    }

    /// Whether there is anything up to a number that this node has committed and not told.
    #[must_use]
    pub fn is_open(&self, seq: Seq) -> bool {
        self.lock().first().is_some_and(|first| *first <= seq)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Seq>> {
        // Nothing panics while it holds the lock.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The Redis.
    #[must_use]
    pub const fn blocklist(&self) -> &Blocklist {
        &self.blocklist
    }

    /// What denies a token, in one round trip.
    ///
    /// # Errors
    /// [`BlocklistError`]: nobody can tell.
    pub async fn decide(&self, presented: &Presented) -> Result<Told, BlocklistError> {
        self.blocklist.decide(presented).await
    }

    /// Tells it what was revoked, by the commit with this number or an earlier one. When this returns, every check that
    /// begins later is denied.
    ///
    /// # Errors
    /// [`AskedError`]: perhaps not all of it is in force.
    pub async fn settle(&self, targets: &[Target], seq: Seq) -> Result<(), AskedError> {
        let mut entries = Vec::with_capacity(targets.len());
        for target in targets {
            match (*target, self.has_sessions) {
                (Target::Token(id), false) => entries.push(Entry::Dead(Dead::Token(id))),
                (Target::Session(id), false) => entries.push(Entry::Dead(Dead::Session(id))),
                (Target::Session(id), true) => entries.push(Entry::Gone(id)),
                (Target::Subject(subject), _) => {
                    // Read after the commit: what it says is true of that number at least.
                    if let Exact::Floors(floors) = self.ledger.exact(*target, seq).await? {
                        entries.push(Entry::Floors(subject, floors));
                    }
                }
                (Target::Everything | Target::Key(_), false) => entries.push(self.all(false).await?),
                (Target::Everything, true) => self.blocklist.forget_sessions(self.ledger.id()).await?,
                // No session has either.
                (Target::Token(_) | Target::Key(_), true) => {}
            }
        }
        if self.enter(&entries, seq).await? {
            return Ok(());
        }
        // The rest is lost. What is filled in now was read after the commit.
        self.fill().await
    }

    /// Fills it, as often as it takes; whatever stands there from earlier may not be all. Returns whether it is filled;
    /// else `stop` has come.
    pub async fn fill_until(&self, stop: &CancellationToken) -> bool {
        while let Err(error) = self.fill().await {
            tracing::warn!(%error, "Redis cannot be filled from the ledger; checks are not answered");
            if stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
                return false;
            }
        }
        true
    }

    /// Says that a check has found that not everything is there.
    pub fn is_wanting(&self) {
        self.wanting.notify_one();
    }

    /// Fills it whenever a check has found that not everything is there, for as long as it is polled. One task does this.
    pub async fn keep_filled(&self) {
        loop {
            self.wanting.notified().await;
            match self.refill().await {
                Ok(false) => {}
                Ok(true) => tracing::warn!("Redis had lost the blocklist; it was filled again from the ledger"),
                Err(error) => {
                    tracing::warn!(%error, "Redis cannot be filled from the ledger; checks are not answered");
                    tokio::time::sleep(PAUSE).await;
                    self.is_wanting();
                }
            }
        }
    }

    async fn refill(&self) -> Result<bool, AskedError> {
        // Another node may have done it.
        if self.has_sessions || self.blocklist.is_filled(self.ledger.id()).await? {
            return Ok(false);
        }
        self.fill().await?;
        Ok(true)
    }

    /// Fills it from the ledger: every live row, and then the entry that says so. Sessions are not filled in: whoever
    /// has one refreshes.
    ///
    /// # Errors
    /// [`AskedError`].
    pub async fn fill(&self) -> Result<(), AskedError> {
        if self.has_sessions {
            return Ok(());
        }
        let head = self.ledger.head().await?;
        let (mut after, mut end, now) = (head.live_after, head.cursor.seq, self.ledger.clock().now());
        let mut subjects: HashMap<Subject, Floors> = HashMap::new();
        let mut entries = Vec::with_capacity(GATHERED);
        loop {
            let page = self.ledger.page(after).await?;
            let Some(last) = page.last() else { break };
            (after, end) = (last.cursor.seq, end.max(last.cursor.seq));
            for row in page.iter().flat_map(|batch| &batch.rows).filter(|row| row.until >= now) {
                match row.target {
                    Target::Token(id) => entries.push(Entry::Dead(Dead::Token(id))),
                    Target::Session(id) => entries.push(Entry::Dead(Dead::Session(id))),
                    Target::Subject(subject) => {
                        let floors = subjects.entry(subject).or_default();
                        *floors = row.floor.map_or(*floors, |floor| floors.and(floor));
                    }
                    Target::Everything | Target::Key(_) => {}
                }
                if entries.len() >= GATHERED {
                    self.enter(&entries, end).await?;
                    entries.clear();
                }
            }
        }
        entries.extend(subjects.into_iter().map(|(subject, floors)| Entry::Floors(subject, floors)));
        self.enter(&entries, end).await?;
        // Last: it says that the rest is there.
        let all = self.all(true).await?;
        self.enter(&[all], end).await.map(|_| ())
    }

    async fn all(&self, is_whole: bool) -> Result<Entry, DatabaseError> {
        let floor = self.ledger.floor().await?;
        Ok(Entry::All { floor, keys: self.ledger.revoked_keys().await?, is_whole })
    }

    /// Writes entries. Returns whether the rest is there, as far as this has shown.
    async fn enter(&self, entries: &[Entry], seq: Seq) -> Result<bool, AskedError> {
        // Longer than any row lives that was recorded until now.
        let now = self.ledger.clock().now();
        let (id, life) = (self.ledger.id(), self.ledger.lifetimes().entry(now));
        let entered = self.blocklist.enter_all(id, entries, seq, life, false).await?;
        let Some(newer) = entered.newer else { return Ok(!entered.is_lost) };
        // Somebody knew more. If the ledger does not, that was of a history that is gone, and nobody else will tell.
        if newer > self.ledger.cursor().await?.seq {
            tracing::warn!(%newer, %seq, "Redis holds what the ledger has lost; it is written over");
            self.blocklist.enter_all(id, entries, seq, life, true).await?;
        }
        Ok(!entered.is_lost)
    }
}
