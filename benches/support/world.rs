//! A ledger on disk with many live revocations, and the node's memory in the states that matter.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use kickout::{
    clock::{Clock, ManualClock},
    database::{Database, sql},
    revocation::{
        Act, Checker, Target,
        feed::{Batch, Cursor, Link, Row, Tag},
        filter::Settings,
        ledger::Ledger,
        sync::Replica,
    },
    revoked_keys::RevokedKeys,
    telemetry::metrics::Metrics,
};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::{
    ids::{Ids, Stream},
    rounds::{float, nanos},
};
use crate::Failure;

/// Acts in one transaction: as many as the recorder lets share one.
const BATCH: u64 = 256;

/// How long tokens live: the default.
pub(crate) const ACCESS_TTL: Duration = Duration::from_mins(15);

/// The ledger and who follows it. Ledger time stands still unless [`World::age`] moves it: nothing expires meanwhile.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) ids: Ids,
    pub(crate) entries: u64,
    pub(crate) settings: Settings,
    pub(crate) ledger: Ledger,
    database: Database,
    source: Clock,
    hands: Arc<ManualClock>,
    folder: TempDir,
    /// Has followed the ledger from its first row: one full generation, and two after [`World::age`].
    pub(crate) follower: Arc<Replica>,
    cursor: Cursor,
}

/// What recording has cost, per row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Recording {
    /// Durable and in the ledger: with its share of the commit.
    pub(crate) record_us: f64,
    /// From the ledger's batch into the filter: with its share of the merges.
    pub(crate) apply_ns: f64,
    /// Of the database file.
    pub(crate) file_bytes: f64,
}

impl World {
    /// Fills a new ledger with `entries` revoked tokens, and a replica along with it.
    pub(crate) async fn fill(ids: Ids, entries: u64, settings: Settings) -> Result<(Self, Recording), Failure> {
        let timer = Clock::System;
        let hands = ManualClock::at(timer.wall().as_millis());
        let source = Clock::Manual(Arc::clone(&hands));
        // The disk of the build folder: a temporary file system in memory would make commits too cheap.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let (database, ledger) = open(&folder, &source).await?;
        let follower = Arc::new(Replica::new(ledger.id(), settings, ledger.clock().now()));
        follower.load(&ledger).await?;
        let mut cursor = ledger.cursor().await?;
        let (mut recording, mut applying) = (Duration::ZERO, Duration::ZERO);
        for first in (0..entries).step_by(usize::try_from(BATCH)?) {
            let numbers = first..entries.min(first + BATCH);
            let acts: Vec<Act> = numbers.map(|n| Act::Token(ids.token(Stream::Revoked, n))).collect();
            let begun = timer.boottime();
            let batch = ledger.record(&acts).await?.batch.ok_or("a new revocation left nothing to do")?;
            let recorded = timer.boottime();
            if follower.apply(&batch) != Link::Next {
                return Err("the ledger's next transaction does not fit".into());
            }
            applying += timer.boottime().since(recorded);
            recording += recorded.since(begun);
            cursor = batch.cursor;
        }
        let mut world = Self { ids, entries, settings, ledger, database, source, hands, folder, follower, cursor };
        world.reopen().await?;
        let bytes = fs::metadata(file(&world.folder))?.len();
        let recording = Recording {
            record_us: nanos(recording) / float(entries) / 1e3,
            apply_ns: nanos(applying) / float(entries),
            file_bytes: float(bytes) / float(entries),
        };
        Ok((world, recording))
    }

    /// Starts a node on the ledger as it is, and says how long that took: open the file, open the ledger, load.
    pub(crate) async fn start(&mut self) -> Result<(Arc<Replica>, Duration), Failure> {
        self.start_with(RevokedKeys::default()).await
    }

    /// The same, and these signing keys were taken back.
    pub(crate) async fn start_with(&mut self, keys: RevokedKeys) -> Result<(Arc<Replica>, Duration), Failure> {
        self.database.close().await;
        let timer = Clock::System;
        let since = timer.boottime();
        (self.database, self.ledger) = open(&self.folder, &self.source).await?;
        let replica = Replica::new(self.ledger.id(), self.settings, self.ledger.clock().now()).sharing(keys);
        let replica = Arc::new(replica);
        replica.load(&self.ledger).await?;
        let took = timer.boottime().since(since);
        if replica.filter().entries != usize::try_from(self.entries)? {
            return Err("a load has not taken in every live row".into());
        }
        Ok((replica, took))
    }

    /// Brings the follower into the worst state: an entry life passes, a second generation opens, and as many
    /// revocations as before arrive. The ledger has the first transaction of them, which names the one before it, since a
    /// look in a ledger of another history is no answer, and the number and tag of the last. The rows between are with the
    /// follower alone.
    pub(crate) async fn age(&mut self) -> Result<(), Failure> {
        let now = self.ledger.clock().now();
        self.hands.advance(self.ledger.lifetimes().entry(now));
        if !self.follower.rotate(&self.ledger) {
            return Err("no second generation was opened".into());
        }
        let token = |n| self.ids.token(Stream::Later, n);
        let acts: Vec<Act> = (0..self.entries.min(BATCH)).map(|n| Act::Token(token(n))).collect();
        let batch = self.ledger.record(&acts).await?.batch.ok_or("a new revocation left nothing to do")?;
        if self.follower.apply(&batch) != Link::Next {
            return Err("the ledger's next transaction does not fit".into());
        }
        self.cursor = batch.cursor;
        let now = self.ledger.clock().now();
        let until = now + self.ledger.lifetimes().entry(now);
        for first in (BATCH..self.entries).step_by(usize::try_from(BATCH)?) {
            let token = |n| Target::Token(token(n));
            let rows = (first..self.entries.min(first + BATCH)).map(|n| Row { target: token(n), floor: None, until });
            let next = Cursor { seq: kickout::ids::Seq(self.cursor.seq.0 + 1), tag: Tag(i64::try_from(first)?) };
            let batch = Batch { ledger: self.ledger.id(), prev: self.cursor.tag, cursor: next, rows: rows.collect() };
            if self.follower.apply(&batch) != Link::Next {
                return Err("a made transaction does not fit".into());
            }
            self.cursor = next;
        }
        sql("UPDATE head SET seq = $1, tag = $2")
            .bind(self.cursor.seq.0)
            .bind(self.cursor.tag.0)
            .execute(&mut self.database.write().await?)
            .await?;
        let stats = self.follower.filter();
        let is_worst = stats.generations == 2 && stats.entries == usize::try_from(2 * self.entries)?;
        if is_worst { Ok(()) } else { Err(format!("this is not the worst state: {stats:?}").into()) }
    }

    /// Checks of a replica, with the ledger for the second look.
    pub(crate) fn checker(&self, replica: &Arc<Replica>) -> Checker {
        Checker::new(Arc::clone(replica), self.ledger.clone(), Metrics::new())
    }

    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub(crate) async fn close(self) {
        self.database.close().await;
    }

    async fn reopen(&mut self) -> Result<(), Failure> {
        self.database.close().await;
        (self.database, self.ledger) = open(&self.folder, &self.source).await?;
        Ok(())
    }
}

async fn open(folder: &TempDir, clock: &Clock) -> Result<(Database, Ledger), Failure> {
    let database = Database::open(&file(folder)).await?;
    let ledger = Ledger::open(database.clone(), clock, ACCESS_TTL).await?;
    Ok((database, ledger))
}

fn file(folder: &TempDir) -> PathBuf {
    folder.path().join("kickout.db")
}
