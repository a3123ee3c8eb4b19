//! The store that checks ask where they ask Redis at every request: what is told to it when something is revoked, and
//! how it is filled.
//!
//! The ledger is the truth here too. A revocation is committed, then written to Redis, and only then its receipt is
//! complete. What could not be written at once is found again: Redis holds up to which number of the ledger everything
//! stands there, and every node looks, at its start and every few seconds, whether the ledger has more.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Timestamp,
    database::DatabaseError,
    ids::{Seq, Subject},
};

use super::{
    Presented, Target,
    blocklist::{
        Blocklist, BlocklistError,
        asked::{Dead, Entry, Told},
    },
    feed::Batch,
    known::{Exact, Floors},
    ledger::{Has, Ledger},
};

/// Entries that are gathered from the ledger before they are written: 4 096 × 100 B = 400 KB.
const GATHERED: usize = 4096;

/// Between two looks whether the ledger has what the store was not told: its node may have ended, or have given up.
const LOOK: Duration = Duration::from_secs(3);

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
    /// Redis has lost what it held while it was filled.
    #[error("Redis has lost what it held while it was filled")]
    Lost,
    /// It takes too long; it is told still.
    #[error("Redis takes too long")]
    Late,
}

/// What the store is to be told: what is revoked, and until when that must stand there. `None` for what was there already:
/// as long as anything that is recorded now.
pub type Item = (Target, Option<Timestamp>);

/// Redis as the store that every check asks. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Store {
    blocklist: Blocklist,
    ledger: Ledger,
    /// How long a receipt waits for it.
    patience: Duration,
    /// A check has found that not everything is there.
    wanting: Arc<Notify>,
    /// Held by the one that catches up, or fills.
    catching: Arc<tokio::sync::Mutex<()>>,
}

impl Store {
    /// A store over this Redis, for which a receipt waits so long.
    #[must_use]
    pub fn new(blocklist: Blocklist, ledger: Ledger, patience: Duration) -> Self {
        Self { blocklist, ledger, patience, wanting: Arc::default(), catching: Arc::default() }
    }

    /// The Redis.
    #[must_use]
    pub const fn blocklist(&self) -> &Blocklist {
        &self.blocklist
    }

    /// How long a receipt waits for it.
    #[must_use]
    pub const fn patience(&self) -> Duration {
        self.patience
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
    pub async fn settle(&self, items: &[Item], seq: Seq) -> Result<(), AskedError> {
        let entries = self.entries(items, seq, self.ledger.clock().now()).await?;
        let is_whole = self.enter(&entries, seq).await?;
        // Else the rest is lost: what is filled in now was read after the commit.
        if is_whole { Ok(()) } else { self.catch_up(seq).await.map(|_| ()) }
    }

    /// Sees to it that everything up to a number stands there. Returns up to which one it does.
    ///
    /// # Errors
    /// [`AskedError`].
    pub async fn catch_up(&self, to: Seq) -> Result<Seq, AskedError> {
        if let Some(told) = self.blocklist.told(self.ledger.id()).await?
            && told >= to
            && told <= self.ledger.cursor().await?.seq
        {
            return Ok(told);
        }
        // One of this node at a time: the others find it done.
        let _one = self.catching.lock().await;
        let Some(told) = self.blocklist.told(self.ledger.id()).await? else { return self.fill_now().await };
        let head = self.ledger.cursor().await?.seq;
        if told > head {
            return self.refill_now().await;
        }
        let (mut after, now) = (told, self.ledger.clock().now());
        while after < head {
            let page = self.ledger.page(after).await?;
            let Some(last) = page.last() else { break };
            after = last.cursor.seq;
            let items: Vec<Item> = items(&page, now).collect();
            for part in items.chunks(GATHERED) {
                let entries = self.entries(part, after, now).await?;
                if !self.enter(&entries, after).await? {
                    return self.fill_now().await;
                }
            }
        }
        let end = after.max(head);
        self.blocklist.raise_told(self.ledger.id(), told, end).await?;
        Ok(end)
    }

    /// The entries that say so.
    async fn entries(&self, items: &[Item], seq: Seq, now: Timestamp) -> Result<Vec<(Entry, Duration)>, AskedError> {
        let longest = now + self.ledger.lifetimes().entry(now);
        let mut entries = Vec::with_capacity(items.len());
        for (target, until) in items {
            let life = until.unwrap_or(longest).since(now);
            let entry = match target {
                Target::Token(id) => Entry::Dead(Dead::Token(*id)),
                Target::Session(id) => Entry::Dead(Dead::Session(*id)),
                // Read after the commit: what it says is true of that number at least.
                Target::Subject(subject) => match self.ledger.exact(*target, Has::Number(seq)).await? {
                    Exact::Floors(floors) => Entry::Floors(*subject, floors),
                    Exact::Absent | Exact::Revoked => continue,
                },
                Target::Everything | Target::Key(_) => {
                    let (floor, keys) = self.ledger.standing(seq).await?;
                    Entry::All(floor, keys)
                }
            };
            entries.push((entry, life));
        }
        Ok(entries)
    }

    /// Fills it, as often as it takes; whatever stands there from earlier may not be all. `is_anew`: the ledger's history
    /// was cut short, and what was written as of its numbers counts no more. Returns whether it is filled; else `stop` has
    /// come.
    pub async fn fill_until(&self, stop: &CancellationToken, is_anew: bool) -> bool {
        let fill = async || {
            let _one = self.catching.lock().await;
            if is_anew { self.refill_now().await } else { self.fill_now().await }
        };
        while let Err(error) = fill().await {
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

    /// Keeps it told of everything, for as long as it is polled: when a check has found that not everything is there, and
    /// every few seconds. One task does this.
    pub async fn keep_told(&self) {
        loop {
            tokio::select! {
                () = self.wanting.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
            let head = async { Ok::<_, AskedError>(self.ledger.cursor().await?.seq) };
            let caught_up = async { self.catch_up(head.await?).await };
            if let Err(error) = caught_up.await {
                tracing::warn!(%error, "Redis cannot be told what the ledger has");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    async fn refill_now(&self) -> Result<Seq, AskedError> {
        tracing::warn!("Redis holds what the ledger has lost; it is filled anew");
        self.blocklist.forget_numbers(self.ledger.id()).await?;
        self.fill_now().await
    }

    /// Writes every live row, and then that everything is there. Sessions are not filled in: whoever has one refreshes.
    async fn fill_now(&self) -> Result<Seq, AskedError> {
        let (id, mark) = (self.ledger.id(), self.blocklist.begin_filling(self.ledger.id()).await?);
        let head = self.ledger.head().await?;
        let (mut after, mut end, now) = (head.live_after, head.cursor.seq, self.ledger.clock().now());
        let mut subjects: HashMap<Subject, (Floors, Timestamp)> = HashMap::new();
        let mut entries = Vec::with_capacity(GATHERED);
        loop {
            let page = self.ledger.page(after).await?;
            let Some(last) = page.last() else { break };
            (after, end) = (last.cursor.seq, end.max(last.cursor.seq));
            for row in page.iter().flat_map(|batch| &batch.rows).filter(|row| row.until >= now) {
                let life = row.until.since(now);
                match row.target {
                    Target::Token(id) => entries.push((Entry::Dead(Dead::Token(id)), life)),
                    Target::Session(id) => entries.push((Entry::Dead(Dead::Session(id)), life)),
                    Target::Subject(subject) => {
                        let (floors, until) = subjects.entry(subject).or_default();
                        *floors = row.floor.map_or(*floors, |floor| floors.and(floor));
                        *until = row.until.max(*until);
                    }
                    Target::Everything | Target::Key(_) => {}
                }
                if entries.len() >= GATHERED {
                    self.enter(&entries, end).await?;
                    entries.clear();
                }
            }
        }
        if after < head.cursor.seq && head.live > 0 {
            // The server that answered has less than it had a moment ago.
            return Err(DatabaseError::behind().into());
        }
        for (subject, (floors, until)) in subjects {
            entries.push((Entry::Floors(subject, floors), until.since(now)));
            if entries.len() >= GATHERED {
                self.enter(&entries, end).await?;
                entries.clear();
            }
        }
        self.enter(&entries, end).await?;
        let (floor, keys) = self.ledger.standing(end).await?;
        if self.blocklist.filled(id, &mark, end, floor, &keys).await? { Ok(end) } else { Err(AskedError::Lost) }
    }

    /// Writes entries. Returns whether the rest is there, as far as this has shown.
    async fn enter(&self, entries: &[(Entry, Duration)], seq: Seq) -> Result<bool, AskedError> {
        let entered = self.blocklist.enter_all(self.ledger.id(), entries, seq).await?;
        // Somebody knew more. If the ledger does not, that was of a history that is gone.
        if let Some(newer) = entered.newer
            && newer > self.ledger.cursor().await?.seq
        {
            self.blocklist.forget_numbers(self.ledger.id()).await?;
            return Err(AskedError::Lost);
        }
        Ok(!entered.is_lost)
    }
}

/// What these transactions have revoked that is not over.
pub fn items(batches: &[Batch], now: Timestamp) -> impl Iterator<Item = Item> {
    let rows = batches.iter().flat_map(|batch| &batch.rows).filter(move |row| row.until >= now);
    rows.map(|row| (row.target, Some(row.until)))
}
