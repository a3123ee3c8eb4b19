//! The ledger: the SQL table of revocations, the only truth.
//!
//! [`Ledger::record`] runs one transaction for any number of waiting acts: first the rows of sessions and users, and as
//! its last step the counter in `head`, whose `seq` and random `tag` all new rows share. So `seq` order is commit
//! order, and an act that finds nothing left to do takes no number. The module `write` has the details.
//!
//! One deviation from "one act, one module": the writes on `users` and `sessions` that *end* access stand here and not
//! beside the ones that grant it, because they must be in the revocation's own transaction.
//!
//! # Time
//!
//! Ledger time is the database's: on PostgreSQL the server's clock, on SQLite, which has none, this machine's. `head`
//! notes how far it has come and it goes on from there, so a clock that was set back, a server that took over with one
//! that is behind, or a restart revives nothing.

/// A statement that ends sessions which have not ended: at `$1`, and with a condition of the caller's.
macro_rules! end_sessions {
    ($condition:literal) => {
        concat!(
            "UPDATE sessions SET ended_at = $1, expires_at = {least}(expires_at, $1) WHERE ended_at IS NULL ",
            $condition
        )
    };
}

mod acts;
mod lifetimes;
pub(super) mod rows;
mod write;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;

use crate::{
    clock::{BootInstant, Clock, LedgerClock, Timestamp},
    database::{Database, DatabaseError, Query, Transaction, sql},
    ids::{DeploymentId, Generation, KeyId, LedgerId, OperationId, Seq, SessionId},
    secret,
};

use super::{
    Cause, Presented, Strategy, Target,
    feed::{Batch, Cursor, Except, Tag},
    known::{Exact, Floors},
    lease::{self, Authority},
};

pub use self::{
    acts::{Act, Counts, Done, Kept, Many, ManyKind, Outcome},
    lifetimes::Lifetimes,
};

use self::{
    lifetimes::millis,
    rows::{columns, read_floor},
    write::Write,
};

/// Expired rows stay this long before they are pruned: long enough to look into an incident of yesterday.
const KEEP_EXPIRED: Duration = Duration::from_hours(24);

/// A wall clock so far ahead of the time since boot has leapt. Slewing and leap seconds stay far below.
const LEAP: Duration = Duration::from_mins(1);

/// A leap is believed when it has lasted so long: somebody would have noticed and set the clock back.
const LEAP_LASTS: Duration = Duration::from_mins(10);

/// Rows per page of a load. About 10 ms of reading; a transaction has far fewer rows, so a page never cuts one.
const PAGE_ROWS: usize = 10_000;

/// Rows of one subject that an exact answer reads of those that end sessions, the highest floors first. The highest alone is
/// the whole truth about sessions: one that it spares was alive then, so no lower floor had ended it. A few more keep that
/// from being relied on; a user who logs out everywhere all day long must not make their own checks slower and slower.
///
/// Of tokens that ended while their sessions lived on, as those of older roles, it says nothing: of the rows that end such
/// tokens the highest is read as well, however many others are above it.
const FLOORS: u32 = 16;

/// Tries of a transaction that the database has undone for the sake of another one. Locks are taken in one order, so
/// that does not happen between nodes; somebody's own SQL may still be in the way.
const TRIES: u32 = 4;

/// Tries to read what became of a commit, and the pause before each: together longer than a restart of a server takes.
const SETTLE_TRIES: u32 = 5;
const SETTLE_PAUSE: Duration = Duration::from_millis(500);

/// What a transaction has recorded.
#[derive(Debug)]
pub struct Recorded {
    /// Its rows, for the feed; `None` if every act found nothing left to do.
    pub batch: Option<Batch>,
    /// One outcome per act, in their order.
    pub outcomes: Vec<Outcome>,
    /// What the transaction itself found about who may acknowledge it; `None` where this process is all there is.
    pub authority: Option<Authority>,
}

/// What a ledger that is asked must have; else its answer is about another time, or of a server that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Has {
    /// As many transactions. For who follows no history.
    Number(Seq),
    /// This history: it has stood there.
    History(Cursor),
}

/// The ledger's head as a load reads it.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    /// The last transaction.
    pub cursor: Cursor,
    /// The global floor.
    pub floor: Generation,
    /// Where a load begins: just before the first live row.
    pub live_after: Seq,
    /// Live rows.
    pub live: usize,
}

/// The ledger, on either database.
#[derive(Debug, Clone)]
pub struct Ledger {
    database: Database,
    clock: LedgerClock,
    id: LedgerId,
    deployment: DeploymentId,
    /// What this process issues.
    access_ttl: Duration,
    /// How its nodes check: none that checks in another way may be registered when this process records.
    kin: &'static str,
    /// Since when the wall clock is far ahead, if it is.
    leap_since: Arc<Mutex<Option<BootInstant>>>,
    lifetimes: Arc<ArcSwap<Lifetimes>>,
}

impl Ledger {
    /// Opens the ledger, or begins one in an empty database.
    ///
    /// `access_ttl` is what this start wants to issue. Raising it takes effect at once; lowering it leaves the old
    /// value in force for checks and entries until its last token has expired.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn open(database: Database, clock: &Clock, access_ttl: Duration) -> Result<Self, DatabaseError> {
        let wall = clock.wall();
        let mut tx = database.begin().await?;
        sql("INSERT INTO head (one, ledger, tag, clock, deployment) VALUES (1, $1, $2, 0, $3) ON CONFLICT DO NOTHING")
            .bind(LedgerId::random().uuid())
            .bind(random_tag())
            .bind(DeploymentId::random().uuid())
            .execute(&mut tx)
            .await?;
        let head = sql("SELECT ledger, deployment, {greatest}(clock, {wall}) AS now, access_ttl, prior_ttl,
                               prior_until
                        FROM head {for update}")
        .bind(wall.as_millis())
        .fetch_one(&mut tx)
        .await?;
        let now = Timestamp::from_millis(head.int("now")?);
        if now > wall + LEAP {
            let ahead_s = (now.as_millis() - wall.as_millis()) / 1000;
            tracing::warn!(
                ahead_s,
                "ledger time is ahead of this machine's clock, and tokens are issued in its time. If a clock was wrong \
                 once, `kickout restored --yes` begins anew with the right time: everybody logs in again"
            );
        }
        let lifetimes = Lifetimes::read(&head)?.with(access_ttl, now);
        sql("UPDATE head SET clock = $1, access_ttl = $2, prior_ttl = $3, prior_until = $4")
            .bind(now.as_millis())
            .bind(millis(lifetimes.ttl))
            .bind(millis(lifetimes.prior.0))
            .bind(lifetimes.prior.1.as_millis())
            .execute(&mut tx)
            .await?;
        tx.commit().await?;
        // Counted from now: it may have taken long to come, and a clock that is ahead cannot go back.
        let clock = LedgerClock::new(clock.clone(), now, clock.boottime());
        let lifetimes = Arc::new(ArcSwap::from_pointee(lifetimes));
        let (id, deployment) = (head.uuid("ledger")?.into(), head.uuid("deployment")?.into());
        let kin = Strategy::default().kin();
        Ok(Self { database, clock, id, deployment, access_ttl, kin, leap_since: Arc::default(), lifetimes })
    }

    /// For nodes that check in this way.
    #[must_use]
    pub const fn among(mut self, strategy: Strategy) -> Self {
        self.kin = strategy.kin();
        self
    }

    /// Begins another life of the ledger in a database that was restored from a backup: every token and session issued
    /// before is dead, whatever the backup had forgotten. Nobody may have the ledger open; a node that has it open can
    /// record nothing any more.
    ///
    /// A floor is not enough for that: the lost history may have raised generations beyond what the backup knows.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn begin_anew(self) -> Result<LedgerId, DatabaseError> {
        let id = LedgerId::random();
        let mut tx = self.database.begin().await?;
        // The new life begins at the time it really is. If the clock had once been far ahead, this is how to get back:
        // no token of the old life is accepted at any time.
        // Sessions of the backup end by the floor, which is above each of them.
        sql("UPDATE head SET clock = {wall}, ledger = $2,
                 floor = 1 + {greatest}(highest_generation, (SELECT coalesce(max(generation), 0) FROM sessions)),
                 highest_generation =
                     1 + {greatest}(highest_generation, (SELECT coalesce(max(generation), 0) FROM sessions))")
        .bind(self.clock.source().wall().as_millis())
        .bind(id.uuid())
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Its database.
    #[must_use]
    pub const fn database(&self) -> &Database {
        &self.database
    }

    /// This ledger's life.
    #[must_use]
    pub const fn id(&self) -> LedgerId {
        self.id
    }

    /// The deployment that this ledger was begun for. It stays the same in every life of the ledger.
    #[must_use]
    pub const fn deployment(&self) -> DeploymentId {
        self.deployment
    }

    /// Ledger time.
    #[must_use]
    pub const fn clock(&self) -> &LedgerClock {
        &self.clock
    }

    /// How long tokens and entries live, as of the last [`keep_time`](Self::keep_time).
    #[must_use]
    pub fn lifetimes(&self) -> Lifetimes {
        **self.lifetimes.load()
    }

    /// Takes a reading of the database's clock, and notes the time reached, for the next start and for whoever takes
    /// over from this server. Reads the lifetimes in force, too: another node may have begun to issue longer ones, or
    /// may not know that this one does.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn keep_time(&self) -> Result<(), DatabaseError> {
        self.note_time().await.map(|_| ())
    }

    /// The time noted. One task at a time does this.
    async fn note_time(&self) -> Result<Timestamp, DatabaseError> {
        let source = self.clock.source();
        let at = source.boottime();
        // A wall clock that is behind is not followed: ledger time never goes back.
        let wall = self.believed(source.wall(), at).max(self.clock.now());
        let head = sql("UPDATE head SET clock = {greatest}(clock, {wall}), access_ttl = {greatest}(access_ttl, $2)
                        RETURNING clock, access_ttl, prior_ttl, prior_until")
        .bind(wall.as_millis())
        .bind(millis(self.access_ttl))
        .fetch_one(&mut self.database.write().await?)
        .await?;
        let now = Timestamp::from_millis(head.int("clock")?);
        self.clock.adopt(now, at);
        self.lifetimes.store(Arc::new(Lifetimes::read(&head)?));
        Ok(now)
    }

    /// What is believed of the wall clock. Ledger time can never go back, so one wrong reading from far ahead would stay
    /// for good: a leap that the time since boot contradicts counts only when it has lasted. It does when it is the
    /// clock that was wrong before.
    fn believed(&self, wall: Timestamp, at: BootInstant) -> Timestamp {
        let mut since = self.leap_since.lock().unwrap_or_else(PoisonError::into_inner);
        let carried = self.clock.now();
        if wall <= carried + LEAP {
            *since = None;
            return wall;
        }
        let lasted = at.since(*since.get_or_insert(at));
        if lasted >= LEAP_LASTS {
            tracing::warn!(%wall, %carried, "ledger time follows the wall clock, which has leapt ahead");
            *since = None;
            return wall;
        }
        tracing::warn!(%wall, %carried, "the wall clock has leapt ahead; ledger time does not follow it yet");
        carried
    }

    /// Records acts in one transaction. The caller must not be cancelled while it waits: a commit whose outcome nobody
    /// hears of is worse than a slow one.
    ///
    /// # Errors
    /// [`DatabaseError`]: nothing was recorded. Only after [`DatabaseError::Unsettled`] it may have been.
    pub async fn record(&self, acts: &[Act]) -> Result<Recorded, DatabaseError> {
        self.record_and(acts, true).await
    }

    /// Records acts as [`record`](Self::record) does, and tells other nodes in the same commit only if it `notifies`:
    /// where somebody else tells them, the database is spared that.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn record_and(&self, acts: &[Act], notifies: bool) -> Result<Recorded, DatabaseError> {
        let mut tries = 1;
        loop {
            match self.try_record(acts, notifies).await {
                Err(error) if error.is_conflict() && tries < TRIES => tracing::debug!(%error, "recording again"),
                result => return result,
            }
            tries += 1;
        }
    }

    async fn try_record(&self, acts: &[Act], notifies: bool) -> Result<Recorded, DatabaseError> {
        let operation = OperationId::random();
        let mut tx = self.database.begin().await?;
        let (batch, outcomes) = Write::new(&mut tx, self, operation).run(acts).await?;
        let authority =
            if tx.is_alone() { None } else { Some(self.announce(&mut tx, batch.as_ref().filter(|_| notifies)).await?) };
        let Some(batch) = batch else {
            if tx.is_alone() || !outcomes.iter().any(|outcome| matches!(outcome, Outcome::Done(_))) {
                tx.rollback().await;
                return Ok(Recorded { batch, outcomes, authority });
            }
            // What was there already can be seen also if its wait for a standby was cut short. What is committed after it
            // waits for both.
            sql("UPDATE head SET clock = clock").execute(&mut tx).await?;
            tx.commit().await?;
            return Ok(Recorded { batch, outcomes, authority });
        };
        match tx.commit().await {
            Err(error) if !self.is_settled(operation, batch.cursor.seq).await? => Err(error),
            _ => Ok(Recorded { batch: Some(batch), outcomes, authority }),
        }
    }

    /// Tells the other nodes, when and if this commits, and reads whether their acknowledgements may be believed. Refuses to
    /// record where nodes are registered that check in another way: a receipt would speak for them, and they do not know
    /// how to be asked. A transaction that changes anything holds `head`, as a registration does, so it sees every one that
    /// came before it, and the next one loads what this has written.
    async fn announce(&self, tx: &mut Transaction, batch: Option<&Batch>) -> Result<Authority, DatabaseError> {
        let row = sql(concat!(
            "SELECT (settled AND server = ",
            lease::server!(),
            ")::int::bigint AS settled, max_hold,
                    seq, tag, (SELECT name FROM nodes WHERE kin <> $3 LIMIT 1) AS other,
                    (CASE WHEN $1 > 0 THEN pg_notify($2, $1::text) END)::text AS told FROM head"
        ))
        .bind(batch.map_or(0, |batch| batch.cursor.seq.0))
        .bind(lease::FEED_CHANNEL)
        .bind(self.kin)
        .fetch_one(tx)
        .await?;
        if let Some(other) = row.opt_text("other")? {
            return Err(DatabaseError::others(&other));
        }
        Ok(Authority {
            is_settled: row.int("settled")? == 1,
            max_hold: lifetimes::duration(row.int("max_hold")?),
            at: Cursor { seq: Seq(row.int("seq")?), tag: Tag(row.int("tag")?) },
        })
    }

    /// What became of a commit whose answer was lost.
    async fn is_settled(&self, operation: OperationId, seq: Seq) -> Result<bool, DatabaseError> {
        let mut tries = 1;
        loop {
            match self.has(operation, seq).await {
                Ok(has) => return Ok(has),
                Err(error) if tries == SETTLE_TRIES => return Err(DatabaseError::Unsettled(Box::new(error))),
                Err(error) => tracing::warn!(%error, "what became of a commit cannot be read yet"),
            }
            tries += 1;
            tokio::time::sleep(SETTLE_PAUSE).await;
        }
    }

    /// Whether a transaction is in the ledger, for good.
    async fn has(&self, operation: OperationId, seq: Seq) -> Result<bool, DatabaseError> {
        let mut tx = self.database.begin().await?;
        // That transaction holds this row until it is over: "not there" does not mean "not there yet".
        sql("SELECT seq FROM head {for update}").fetch_one(&mut tx).await?;
        let found = sql("SELECT n FROM revocations WHERE seq = $1 AND op = $2 AND n = 0")
            .bind(seq.0)
            .bind(operation.uuid())
            .fetch_optional(&mut tx)
            .await?
            .is_some();
        if found {
            // It can be seen also if its wait for a standby was cut short. What is committed after it waits for both.
            sql("UPDATE head SET clock = clock").execute(&mut tx).await?;
            tx.commit().await?;
        } else {
            tx.rollback().await;
        }
        Ok(found)
    }

    /// Reads the head and where its live rows begin.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn head(&self) -> Result<Head, DatabaseError> {
        let row = sql("SELECT seq, tag, floor, live, first FROM head,
                       (SELECT count(*) AS live, min(seq) AS first FROM revocations
                        WHERE until > $1 AND kind <> $2) AS entries")
        .bind(self.clock.now().as_millis())
        .bind(rows::KEY)
        .fetch_one(&mut self.database.read().await?)
        .await?;
        let cursor = Cursor { seq: Seq(row.int("seq")?), tag: Tag(row.int("tag")?) };
        Ok(Head {
            cursor,
            floor: Generation(row.int("floor")?),
            live_after: row.opt_int("first")?.map_or(cursor.seq, |first| Seq(first - 1)),
            live: usize::try_from(row.int("live")?).unwrap_or(0),
        })
    }

    /// The signing keys that were ever taken back. Their rows stay when those around them are pruned, and a load begins
    /// after that: it reads them here, after the head.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn revoked_keys(&self) -> Result<Vec<KeyId>, DatabaseError> {
        let query = sql("SELECT id FROM revocations WHERE kind = $1 ORDER BY seq").bind(rows::KEY);
        let found = query.fetch_all(&mut self.database.read().await?).await?;
        found.iter().map(|row| rows::key_id(&row.bytes("id")?)).collect()
    }

    /// The floor over everything, and the signing keys that were ever taken back, as of `applied` at least, for a store that
    /// follows no history: a server that was replaced without being fenced, and has as many transactions, is believed.
    ///
    /// # Errors
    /// [`DatabaseError`], also if the ledger that answers does not know that much.
    pub async fn standing(&self, applied: Seq) -> Result<(Generation, Vec<KeyId>), DatabaseError> {
        let rows = sql("SELECT h.seq AS head_seq, h.floor AS head_floor, r.kind, r.id FROM head h
                        LEFT JOIN revocations r ON r.kind = $1 ORDER BY r.seq")
        .bind(rows::KEY)
        .fetch_all(&mut self.database.read().await?)
        .await?;
        let (mut floor, mut keys) = (Generation(0), Vec::new());
        for row in &rows {
            if row.int("head_seq")? < applied.0 {
                return Err(DatabaseError::behind());
            }
            floor = Generation(row.int("head_floor")?);
            if row.opt_int("kind")?.is_some() {
                keys.push(rows::key_id(&row.bytes("id")?)?);
            }
        }
        Ok((floor, keys))
    }

    /// The last transaction.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn cursor(&self) -> Result<Cursor, DatabaseError> {
        let row = sql("SELECT seq, tag FROM head").fetch_one(&mut self.database.read().await?).await?;
        Ok(Cursor { seq: Seq(row.int("seq")?), tag: Tag(row.int("tag")?) })
    }

    /// The next transactions after `after`, whole ones only; empty at the end.
    ///
    /// # Errors
    /// [`DatabaseError`], also for a kind of row that this version does not know.
    pub async fn page(&self, after: Seq) -> Result<Vec<Batch>, DatabaseError> {
        let rows = page_after(after).fetch_all(&mut self.database.read().await?).await?;
        rows::batches(self.id, &rows, rows.len() == PAGE_ROWS)
    }

    /// The next transactions after `after`, as [`page`](Self::page) gives them, on the connection of this node's
    /// renewals: what hangs there longer than `within` is given up.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn pull(&self, after: Seq, within: Duration) -> Result<Vec<Batch>, DatabaseError> {
        let rows = page_after(after).within(within).fetch_all(&mut self.database.renew().await?).await?;
        rows::batches(self.id, &rows, rows.len() == PAGE_ROWS)
    }

    /// Why a token is dead, if it is: the answer of the ledger itself, in one statement, for a node that has applied it up
    /// to here. One that has read nothing yet, which is at 0 of both, knows no other.
    ///
    /// # Errors
    /// [`DatabaseError`], also if the ledger that answers has not stood there: a connection may still lead to a server that
    /// another one has replaced.
    pub async fn cause(&self, presented: &Presented, applied: Cursor) -> Result<Option<Cause>, DatabaseError> {
        let rows = sql(concat!(
            "SELECT h.ledger, CASE WHEN ",
            lease::follows_if_any!("$5", "$6"),
            " THEN h.seq ELSE -1 END AS knows, h.floor AS head_floor, r.kind, r.floor, r.except_sid FROM head h
             LEFT JOIN revocations r ON (r.kind = 1 AND r.id = $1) OR (r.kind = 2 AND r.id = $2)
                                     OR (r.kind = 3 AND r.id = $3) OR (r.kind = 5 AND r.id = $4)"
        ))
        .bind(presented.token.uuid().as_bytes().as_slice())
        .bind(presented.session.uuid().as_bytes().as_slice())
        .bind(presented.subject.uuid().as_bytes().as_slice())
        .bind(presented.key.as_bytes().as_slice())
        .bind(applied.seq.0)
        .bind(applied.tag.0)
        .fetch_all(&mut self.database.read().await?)
        .await?;
        let (mut floors, mut is_key_dead) = (Floors::default(), false);
        for row in &rows {
            if row.int("knows")? < 0 {
                return Err(DatabaseError::behind());
            }
            if LedgerId::from(row.uuid("ledger")?) != presented.epoch {
                return Ok(Some(Cause::Epoch));
            }
            if presented.generation.0 < row.int("head_floor")? {
                return Ok(Some(Cause::Everything));
            }
            match row.opt_int("kind")? {
                Some(1) => return Ok(Some(Cause::Token)),
                Some(2) => return Ok(Some(Cause::Session)),
                Some(rows::KEY) => is_key_dead = true,
                Some(_) => floors = read_floor(row)?.map_or(floors, |floor| floors.and(floor)),
                None => {}
            }
        }
        // Last: who must log in is not told to refresh.
        let by_floor = floors.cause(presented.generation, presented.session);
        Ok(by_floor.or(is_key_dead.then_some(Cause::Key)))
    }

    /// The exact answer for one id, by a ledger that has this. Expired rows that are still there count too: they can only
    /// deny what is dead.
    ///
    /// # Errors
    /// [`DatabaseError`], also if the ledger that answers has not that much: a connection may still lead to a server that
    /// another one has replaced.
    pub async fn exact(&self, target: Target, has: Has) -> Result<Exact, DatabaseError> {
        let (kind, id) = columns(target);
        let (number, tag) = match has {
            Has::Number(seq) => (seq, None),
            Has::History(at) => (at.seq, Some(at.tag.0)),
        };
        let rows = sql(concat!(
            "SELECT CASE WHEN CASE WHEN CAST($5 AS BIGINT) IS NULL THEN h.seq >= $4 ELSE ",
            lease::follows!("$4", "$5"),
            " END THEN h.seq ELSE -1 END AS knows, r.kind, r.floor, r.except_sid FROM head h
             LEFT JOIN (SELECT * FROM (SELECT kind, floor, except_sid FROM revocations
                                       WHERE kind = $1 AND id = $2 AND (except_sid IS NULL OR except_sid <> $6)
                                       ORDER BY floor DESC LIMIT $3) AS of_sessions
                        UNION ALL
                        SELECT * FROM (SELECT kind, floor, except_sid FROM revocations
                                       WHERE kind = $1 AND id = $2 AND except_sid = $6
                                       ORDER BY floor DESC LIMIT 1) AS of_tokens) AS r ON 1 = 1"
        ))
        .bind(kind)
        .bind(id)
        .bind(FLOORS)
        .bind(number.0)
        .bind(tag)
        .bind(Except::Sessions.id().map(SessionId::uuid))
        .fetch_all(&mut self.database.read().await?)
        .await?;
        let mut floors = Floors::default();
        for row in &rows {
            if row.int("knows")? < 0 {
                return Err(DatabaseError::behind());
            }
            if row.opt_int("kind")?.is_none() {
                return Ok(Exact::Absent);
            }
            match read_floor(row)? {
                Some(floor) => floors = floors.and(floor),
                None => return Ok(Exact::Revoked),
            }
        }
        Ok(Exact::Floors(floors))
    }

    /// Rows that should be pruned and are not yet.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn prune_backlog(&self) -> Result<i64, DatabaseError> {
        sql("SELECT count(*) AS backlog FROM revocations WHERE until < $1")
            .bind((self.clock.now() - KEEP_EXPIRED).as_millis())
            .fetch_one(&mut self.database.read().await?)
            .await?
            .int("backlog")
    }

    /// Deletes at most `limit` rows that expired a day ago, as whole transactions, oldest first and without leaving holes
    /// between live ones. One transaction that is larger goes alone. Returns how many.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn prune(&self, limit: u32) -> Result<u64, DatabaseError> {
        // What is pruned stays dead because ledger time never goes back: the time is noted before.
        let due = (self.note_time().await? - KEEP_EXPIRED).as_millis();
        // The oldest rows, and among them the first that must stay: a backlog of any length costs no more than this.
        // Rows of signing keys stay for good and stop nobody.
        let oldest = sql("SELECT min(seq) AS first, max(seq) AS last, min(CASE WHEN until >= $1 THEN seq END) AS stays, count(*) AS rows
                          FROM (SELECT seq, until FROM revocations WHERE kind <> $3 ORDER BY seq, n LIMIT $2) AS oldest")
        .bind(due)
        .bind(limit)
        .bind(rows::KEY)
        .fetch_one(&mut self.database.read().await?)
        .await?;
        let Some(last) = oldest.opt_int("last")? else { return Ok(0) };
        // A transaction that the limit has cut waits for the next round, unless there is nothing else in this one: it would
        // wait for ever, and with it all that came later.
        let is_whole = oldest.int("rows")? < i64::from(limit) || oldest.int("first")? == last;
        let cut = if is_whole { last + 1 } else { last };
        let end = oldest.opt_int("stays")?.map_or(cut, |stays| stays.min(cut));
        sql("DELETE FROM revocations WHERE seq < $1 AND kind <> $2")
            .bind(end)
            .bind(rows::KEY)
            .execute(&mut self.database.write().await?)
            .await
    }
}

fn page_after(after: Seq) -> Query {
    sql("SELECT seq, prev, tag, kind, id, floor, except_sid, until FROM revocations
         WHERE seq > $1 ORDER BY seq, n LIMIT $2")
    .bind(after.0)
    .bind(i64::try_from(PAGE_ROWS).unwrap_or(i64::MAX))
}

fn random_tag() -> i64 {
    i64::from_le_bytes(secret::random())
}
