//! The ledger: the SQL table of revocations, the only truth.
//!
//! [`Ledger::record`] runs one transaction for any number of waiting acts: first the rows of sessions and users, in
//! the order the acts came, and as its last step the counter in `head`, whose `seq` and random `tag` all new rows
//! share. So `seq` order is commit order, and an act that finds nothing left to do takes no number.
//!
//! One deviation from "one act, one module": the writes on `users` and `sessions` that *end* access stand here and not
//! beside the ones that grant it, because they must be in the revocation's own transaction.

use std::{collections::HashMap, time::Duration};

use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};
use uuid::Uuid;

use crate::{
    clock::{Clock, LedgerClock, SKEW, Timestamp},
    database::{Database, DatabaseError},
    ids::{Generation, LedgerId, OperationId, Seq, SessionId, Subject, TokenId},
    secret,
};

use super::{
    Target,
    feed::{Batch, Cursor, Floor, Row, Tag},
    known::{Exact, Floors},
};

/// Expired rows stay this long before they are pruned: long enough to look into an incident of yesterday.
const KEEP_EXPIRED: Duration = Duration::from_hours(24);

/// Rows per page of a load. About 10 ms of reading; a transaction has far fewer rows, so a page never cuts one.
const PAGE_ROWS: usize = 10_000;

/// An act that ends access, as the use cases ask for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// One access token dies; its session lives on.
    Token(TokenId),
    /// A session dies with all its tokens; with `of`, only if it is this subject's.
    Session {
        /// The session.
        session: SessionId,
        /// Whose it must be.
        of: Option<Subject>,
    },
    /// All sessions of a subject die, but for one.
    Subject {
        /// The subject.
        subject: Subject,
        /// The session that lives on, if it is alive.
        keep: Option<SessionId>,
    },
    /// The subject's password changes, if its row is still at `version`; all its other sessions die.
    Password {
        /// The subject.
        subject: Subject,
        /// The version that the current password was read with.
        version: i64,
        /// The new password, as a PHC string.
        password: String,
        /// The session that lives on, if it is alive.
        keep: Option<SessionId>,
    },
    /// The subject may not log in any more, and all its sessions die.
    Ban(Subject),
    /// Every session and token there is dies.
    Everything,
}

/// What became of an act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the ledger.
    Done(Done),
    /// There is no such user or session.
    Absent,
    /// The user's row has changed since it was read.
    Changed,
}

/// An act that is in the ledger, now or already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// What is revoked.
    pub target: Target,
    /// The number under which a node must have applied it.
    pub seq: Seq,
    /// There was nothing left to do.
    pub already: bool,
    /// What the session that lives on goes on with, if one does.
    pub kept: Option<Kept>,
}

/// A session that a subject's revocation left alive, as the transaction itself read it: what its next token carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its generation now.
    pub generation: Generation,
    /// Its user's roles now.
    pub roles: Vec<String>,
}

/// What a transaction has recorded.
#[derive(Debug)]
pub struct Recorded {
    /// Its rows, for the feed; `None` if every act found nothing left to do.
    pub batch: Option<Batch>,
    /// One outcome per act, in their order.
    pub outcomes: Vec<Outcome>,
}

/// How long access tokens may live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    ttl: Duration,
    /// A longer life that was in force before, and when the last token of it has expired.
    prior: Option<(Duration, Timestamp)>,
    leeway: Duration,
}

impl Lifetimes {
    /// The longest life a valid token can have at `now`. Lowering it takes effect only after the old value has passed.
    #[must_use]
    pub fn ceiling(&self, now: Timestamp) -> Duration {
        match self.prior {
            Some((ttl, until)) if now <= until => ttl.max(self.ttl),
            _ => self.ttl,
        }
    }

    /// How long an entry recorded at `now` must deny: after that no token from before can be valid.
    #[must_use]
    pub fn entry(&self, now: Timestamp) -> Duration {
        self.ceiling(now) + self.leeway + SKEW
    }
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

/// The ledger on SQLite.
#[derive(Debug, Clone)]
pub struct Ledger {
    database: Database,
    clock: LedgerClock,
    id: LedgerId,
    lifetimes: Lifetimes,
}

impl Ledger {
    /// Opens the ledger, or begins one in an empty database.
    ///
    /// `access_ttl` is what this start wants to issue. Raising it takes effect at once; lowering it leaves the old
    /// value in force for checks and entries until its last token has expired.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn open(
        database: Database,
        clock: &Clock,
        access_ttl: Duration,
        leeway: Duration,
    ) -> Result<Self, DatabaseError> {
        let mut writing = database.write().await?;
        let mut tx = writing.begin().await?;
        sqlx::query("INSERT INTO head (one, ledger, tag, clock) VALUES (1, $1, $2, 0) ON CONFLICT DO NOTHING")
            .bind(LedgerId::random().uuid())
            .bind(random_tag())
            .execute(&mut *tx)
            .await?;
        let head = sqlx::query("SELECT ledger, clock, access_ttl, prior_ttl, prior_until FROM head")
            .fetch_one(&mut *tx)
            .await?;
        // Ledger time goes on from where it was: a wall clock that was set back while we were down revives nothing.
        let now = clock.wall().max(Timestamp::from_millis(head.try_get("clock")?));
        let lifetimes = Lifetimes { ttl: access_ttl, prior: prior(&head, access_ttl, now)?, leeway };
        let (prior_ttl, prior_until) = lifetimes.prior.map_or((0, 0), |(ttl, until)| (millis(ttl), until.as_millis()));
        sqlx::query("UPDATE head SET clock = $1, access_ttl = $2, prior_ttl = $3, prior_until = $4")
            .bind(now.as_millis())
            .bind(millis(access_ttl))
            .bind(prior_ttl)
            .bind(prior_until)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        drop(writing);
        let clock = LedgerClock::new(clock.clone(), now, clock.boottime());
        Ok(Self { database, clock, id: LedgerId::from(head.try_get::<Uuid, _>("ledger")?), lifetimes })
    }

    /// Begins another life of the ledger in a database that was restored from a backup: every token and session issued
    /// before is dead, whatever the backup had forgotten. Nobody may have the ledger open.
    ///
    /// A floor is not enough for that: the lost history may have raised generations beyond what the backup knows.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn begin_anew(self) -> Result<LedgerId, DatabaseError> {
        let id = LedgerId::random();
        let now = self.clock.now().as_millis();
        let mut writing = self.database.write().await?;
        let mut tx = writing.begin().await?;
        sqlx::query("UPDATE head SET ledger = $1, clock = max(clock, $2)")
            .bind(id.uuid())
            .bind(now)
            .execute(&mut *tx)
            .await?;
        sqlx::query("UPDATE sessions SET ended_at = $1, expires_at = min(expires_at, $1) WHERE ended_at IS NULL")
            .bind(now)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(id)
    }

    /// This ledger's life.
    #[must_use]
    pub const fn id(&self) -> LedgerId {
        self.id
    }

    /// Ledger time.
    #[must_use]
    pub const fn clock(&self) -> &LedgerClock {
        &self.clock
    }

    /// How long tokens and entries live.
    #[must_use]
    pub const fn lifetimes(&self) -> &Lifetimes {
        &self.lifetimes
    }

    /// Follows the wall clock when it is ahead, and notes the time reached, for the next start.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn keep_time(&self) -> Result<(), DatabaseError> {
        let source = self.clock.source();
        let (at, wall) = (source.boottime(), source.wall());
        // A wall clock that is behind is not followed: ledger time never goes back.
        if wall > self.clock.now() {
            self.clock.adopt(wall, at);
        }
        let mut writing = self.database.write().await?;
        sqlx::query("UPDATE head SET clock = max(clock, $1)")
            .bind(self.clock.now().as_millis())
            .execute(writing.connection())
            .await?;
        Ok(())
    }

    /// Records acts in one transaction. The caller must not be cancelled while it waits: a commit whose outcome nobody
    /// hears of is worse than a slow one.
    ///
    /// # Errors
    /// [`DatabaseError`]: nothing was recorded.
    pub async fn record(&self, acts: &[Act]) -> Result<Recorded, DatabaseError> {
        let operation = OperationId::random();
        let mut writing = self.database.write().await?;
        let mut tx = writing.begin().await?;
        let mut write = Write::begin(&mut tx, self.clock.now()).await?;
        for act in acts {
            let outcome = write.act(act).await?;
            write.outcomes.push(outcome);
        }
        let (batch, outcomes) = write.number(self, operation).await?;
        if let Err(error) = tx.commit().await {
            drop(writing);
            // Did it commit? Its operation id tells, on another connection.
            return match &batch {
                Some(batch) if self.has(operation, batch.cursor.seq).await? => {
                    Ok(Recorded { batch: Some(batch.clone()), outcomes })
                }
                _ => Err(error.into()),
            };
        }
        Ok(Recorded { batch, outcomes })
    }

    async fn has(&self, operation: OperationId, seq: Seq) -> Result<bool, DatabaseError> {
        let found = sqlx::query("SELECT 1 FROM revocations WHERE seq = $1 AND op = $2")
            .bind(seq.0)
            .bind(operation.uuid())
            .fetch_optional(&mut *self.database.read().await?)
            .await?;
        Ok(found.is_some())
    }

    /// Reads the head and where its live rows begin.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn head(&self) -> Result<Head, DatabaseError> {
        let row = sqlx::query(
            "SELECT seq, tag, floor, live, first FROM head,
             (SELECT count(*) AS live, min(seq) AS first FROM revocations WHERE until > $1)",
        )
        .bind(self.clock.now().as_millis())
        .fetch_one(&mut *self.database.read().await?)
        .await?;
        let cursor = Cursor { seq: Seq(row.try_get("seq")?), tag: Tag(row.try_get("tag")?) };
        let first: Option<i64> = row.try_get("first")?;
        let live: i64 = row.try_get("live")?;
        Ok(Head {
            cursor,
            floor: Generation(row.try_get("floor")?),
            live_after: first.map_or(cursor.seq, |first| Seq(first - 1)),
            live: usize::try_from(live).unwrap_or(0),
        })
    }

    /// The last transaction.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn cursor(&self) -> Result<Cursor, DatabaseError> {
        let row = sqlx::query("SELECT seq, tag FROM head").fetch_one(&mut *self.database.read().await?).await?;
        Ok(Cursor { seq: Seq(row.try_get(0)?), tag: Tag(row.try_get(1)?) })
    }

    /// The next transactions after `after`, whole ones only; empty at the end.
    ///
    /// # Errors
    /// [`DatabaseError`], also for a kind of row that this version does not know.
    pub async fn page(&self, after: Seq) -> Result<Vec<Batch>, DatabaseError> {
        let rows = sqlx::query(
            "SELECT seq, prev, tag, kind, id, floor, except_sid, until FROM revocations
             WHERE seq > $1 ORDER BY seq, n LIMIT $2",
        )
        .bind(after.0)
        .bind(i64::try_from(PAGE_ROWS).unwrap_or(i64::MAX))
        .fetch_all(&mut *self.database.read().await?)
        .await?;
        let full = rows.len() == PAGE_ROWS;
        let mut batches: Vec<Batch> = Vec::new();
        for row in &rows {
            let cursor = Cursor { seq: Seq(row.try_get(0)?), tag: Tag(row.try_get(2)?) };
            let parsed = read_row(row)?;
            match batches.last_mut() {
                Some(batch) if batch.cursor == cursor => batch.rows.push(parsed),
                _ => batches.push(Batch { ledger: self.id, prev: Tag(row.try_get(1)?), cursor, rows: vec![parsed] }),
            }
        }
        if full {
            // The last transaction may go on beyond this page.
            batches.pop();
        }
        Ok(batches)
    }

    /// The exact answer for one id. Expired rows that are still there count too: they can only deny what is dead.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn exact(&self, target: Target) -> Result<Exact, DatabaseError> {
        let (kind, id) = columns(target);
        let rows = sqlx::query("SELECT floor, except_sid FROM revocations WHERE kind = $1 AND id = $2")
            .bind(kind)
            .bind(id)
            .fetch_all(&mut *self.database.read().await?)
            .await?;
        if rows.is_empty() {
            return Ok(Exact::Absent);
        }
        let mut floors = Floors::default();
        for row in &rows {
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
        let row = sqlx::query("SELECT count(*) FROM revocations WHERE until < $1")
            .bind((self.clock.now() - KEEP_EXPIRED).as_millis())
            .fetch_one(&mut *self.database.read().await?)
            .await?;
        Ok(row.try_get(0)?)
    }

    /// Deletes about `limit` rows (whole transactions) that expired a day ago, oldest first and without leaving holes between live ones.
    /// Returns how many.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn prune(&self, limit: u32) -> Result<u64, DatabaseError> {
        let now = self.clock.now();
        let mut writing = self.database.write().await?;
        let mut tx = writing.begin().await?;
        // What is pruned stays dead because ledger time never goes back: note the time in the same transaction.
        sqlx::query("UPDATE head SET clock = max(clock, $1)").bind(now.as_millis()).execute(&mut *tx).await?;
        let deleted = sqlx::query(
            "DELETE FROM revocations WHERE seq <= (SELECT max(seq) FROM (
                 SELECT seq FROM revocations
                 WHERE seq < coalesce((SELECT min(seq) FROM revocations WHERE until >= $1), (SELECT seq + 1 FROM head))
                 ORDER BY seq, n LIMIT $2))",
        )
        .bind((now - KEEP_EXPIRED).as_millis())
        .bind(limit)
        .execute(&mut *tx)
        .await?
        .rows_affected();
        tx.commit().await?;
        Ok(deleted)
    }
}

/// The longer life that must stay in force for a while, if there is one.
fn prior(
    head: &SqliteRow,
    access_ttl: Duration,
    now: Timestamp,
) -> Result<Option<(Duration, Timestamp)>, DatabaseError> {
    let was = duration(head.try_get("access_ttl")?);
    let still = (duration(head.try_get("prior_ttl")?), Timestamp::from_millis(head.try_get("prior_until")?));
    let still = (still.0 > access_ttl && still.1 >= now).then_some(still);
    let lowered = (was > access_ttl).then(|| (was, now + was));
    // Both at once: the longer life, until the later end.
    Ok(match (still, lowered) {
        (Some(a), Some(b)) => Some((a.0.max(b.0), a.1.max(b.1))),
        (one, other) => one.or(other),
    })
}

/// The state of one recording transaction.
struct Write<'a> {
    tx: &'a mut SqliteConnection,
    now: Timestamp,
    head: HeadRow,
    rows: Vec<(Target, Option<Floor>)>,
    outcomes: Vec<Outcome>,
    /// Sessions and tokens that this transaction itself has just ended: a twin act in the same batch waits for it too.
    ended: HashMap<Target, usize>,
}

struct HeadRow {
    cursor: Cursor,
    floor: Generation,
    highest: Generation,
}

/// Stands for "the number that this transaction will take", until it is known.
const THIS: Seq = Seq(i64::MAX);

impl<'a> Write<'a> {
    async fn begin(tx: &'a mut SqliteConnection, now: Timestamp) -> Result<Self, DatabaseError> {
        // SQLite has one writer: what is read here stays true until the commit, so the counter can be written last.
        let row = sqlx::query("SELECT seq, tag, floor, highest_generation FROM head").fetch_one(&mut *tx).await?;
        let head = HeadRow {
            cursor: Cursor { seq: Seq(row.try_get(0)?), tag: Tag(row.try_get(1)?) },
            floor: Generation(row.try_get(2)?),
            highest: Generation(row.try_get(3)?),
        };
        Ok(Self { tx, now, head, rows: Vec::new(), outcomes: Vec::new(), ended: HashMap::new() })
    }

    async fn act(&mut self, act: &Act) -> Result<Outcome, DatabaseError> {
        match act {
            Act::Token(token) => {
                let target = Target::Token(*token);
                if self.ended.contains_key(&target) || self.find(target).await?.is_some() {
                    return self.already(target).await;
                }
                Ok(self.new_row(target, None))
            }
            Act::Session { session, of } => self.end_session(*session, *of).await,
            Act::Subject { subject, keep } => self.end_subject(*subject, *keep).await,
            Act::Password { subject, version, password, keep } => {
                let changed =
                    sqlx::query("UPDATE users SET password = $1, version = version + 1 WHERE id = $2 AND version = $3")
                        .bind(password)
                        .bind(subject.uuid())
                        .bind(version)
                        .execute(&mut *self.tx)
                        .await?
                        .rows_affected();
                if changed == 0 { Ok(Outcome::Changed) } else { self.end_subject(*subject, *keep).await }
            }
            Act::Ban(subject) => {
                let banned = sqlx::query(
                    "UPDATE users SET banned_at = $1, version = version + 1 WHERE id = $2 AND banned_at IS NULL",
                )
                .bind(self.now.as_millis())
                .bind(subject.uuid())
                .execute(&mut *self.tx)
                .await?
                .rows_affected();
                if banned == 1 {
                    return self.end_subject(*subject, None).await;
                }
                let exists = sqlx::query("SELECT 1 FROM users WHERE id = $1")
                    .bind(subject.uuid())
                    .fetch_optional(&mut *self.tx)
                    .await?;
                if exists.is_none() { Ok(Outcome::Absent) } else { self.already(Target::Subject(*subject)).await }
            }
            Act::Everything => {
                sqlx::query(
                    "UPDATE sessions SET ended_at = $1, expires_at = min(expires_at, $1) WHERE ended_at IS NULL",
                )
                .bind(self.now.as_millis())
                .execute(&mut *self.tx)
                .await?;
                self.head.highest.0 += 1;
                self.head.floor = self.head.highest;
                let floor = Floor { generation: self.head.floor, except: None };
                Ok(self.new_row(Target::Everything, Some(floor)))
            }
        }
    }

    async fn end_session(&mut self, session: SessionId, of: Option<Subject>) -> Result<Outcome, DatabaseError> {
        let target = Target::Session(session);
        let row = sqlx::query("SELECT user_id, ended_at FROM sessions WHERE id = $1")
            .bind(session.uuid())
            .fetch_optional(&mut *self.tx)
            .await?;
        let Some(row) = row else { return Ok(Outcome::Absent) };
        let owner = Subject::from(row.try_get::<Uuid, _>(0)?);
        if of.is_some_and(|of| of != owner) {
            return Ok(Outcome::Absent);
        }
        if row.try_get::<Option<i64>, _>(1)?.is_some() {
            return self.already(target).await;
        }
        sqlx::query("UPDATE sessions SET ended_at = $1, expires_at = min(expires_at, $1) WHERE id = $2")
            .bind(self.now.as_millis())
            .bind(session.uuid())
            .execute(&mut *self.tx)
            .await?;
        Ok(self.new_row(target, None))
    }

    async fn end_subject(&mut self, subject: Subject, keep: Option<SessionId>) -> Result<Outcome, DatabaseError> {
        let raised = sqlx::query(
            "UPDATE users SET generation = max(generation, $1) + 1 WHERE id = $2 RETURNING generation, roles",
        )
        .bind(self.head.floor.0)
        .bind(subject.uuid())
        .fetch_optional(&mut *self.tx)
        .await?;
        let Some(raised) = raised else { return Ok(Outcome::Absent) };
        let generation = Generation(raised.try_get(0)?);
        self.head.highest = self.head.highest.max(generation);
        let mut kept = None;
        if let Some(session) = keep {
            let updated = sqlx::query(
                "UPDATE sessions SET generation = $1 WHERE id = $2 AND user_id = $3 AND ended_at IS NULL AND expires_at > $4",
            )
            .bind(generation.0)
            .bind(session.uuid())
            .bind(subject.uuid())
            .bind(self.now.as_millis())
            .execute(&mut *self.tx)
            .await?
            .rows_affected();
            kept = (updated == 1).then_some(Kept { generation, roles: split_roles(raised.try_get(1)?) });
        }
        sqlx::query(
            "UPDATE sessions SET ended_at = $1, expires_at = min(expires_at, $1)
             WHERE user_id = $2 AND ended_at IS NULL AND generation < $3",
        )
        .bind(self.now.as_millis())
        .bind(subject.uuid())
        .bind(generation.0)
        .execute(&mut *self.tx)
        .await?;
        let except = keep.filter(|_| kept.is_some());
        let outcome = self.new_row(Target::Subject(subject), Some(Floor { generation, except }));
        Ok(match outcome {
            Outcome::Done(done) => Outcome::Done(Done { kept, ..done }),
            other => other,
        })
    }

    fn new_row(&mut self, target: Target, floor: Option<Floor>) -> Outcome {
        self.ended.insert(target, self.rows.len());
        self.rows.push((target, floor));
        Outcome::Done(Done { target, seq: THIS, already: false, kept: None })
    }

    /// Nothing was left to do. The answer still waits for the row that did it or, if that is gone, for the head.
    async fn already(&mut self, target: Target) -> Result<Outcome, DatabaseError> {
        let seq = if self.ended.contains_key(&target) {
            THIS
        } else {
            self.find(target).await?.unwrap_or(self.head.cursor.seq)
        };
        Ok(Outcome::Done(Done { target, seq, already: true, kept: None }))
    }

    async fn find(&mut self, target: Target) -> Result<Option<Seq>, DatabaseError> {
        let (kind, id) = columns(target);
        let row = sqlx::query("SELECT max(seq) FROM revocations WHERE kind = $1 AND id = $2")
            .bind(kind)
            .bind(id)
            .fetch_one(&mut *self.tx)
            .await?;
        Ok(row.try_get::<Option<i64>, _>(0)?.map(Seq))
    }

    /// The last step before the commit: takes the number, and writes the rows under it.
    async fn number(
        mut self,
        ledger: &Ledger,
        operation: OperationId,
    ) -> Result<(Option<Batch>, Vec<Outcome>), DatabaseError> {
        if self.rows.is_empty() {
            return Ok((None, self.outcomes));
        }
        let prev = self.head.cursor.tag;
        let cursor = Cursor { seq: Seq(self.head.cursor.seq.0 + 1), tag: Tag(random_tag()) };
        let until = self.now + ledger.lifetimes.entry(self.now);
        sqlx::query("UPDATE head SET seq = $1, tag = $2, floor = $3, highest_generation = $4, clock = max(clock, $5)")
            .bind(cursor.seq.0)
            .bind(cursor.tag.0)
            .bind(self.head.floor.0)
            .bind(self.head.highest.0)
            .bind(self.now.as_millis())
            .execute(&mut *self.tx)
            .await?;
        let mut rows = Vec::with_capacity(self.rows.len());
        for (n, &(target, floor)) in self.rows.iter().enumerate() {
            let (kind, id) = columns(target);
            sqlx::query(
                "INSERT INTO revocations (seq, n, prev, tag, op, kind, id, floor, except_sid, until)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            )
            .bind(cursor.seq.0)
            .bind(i64::try_from(n).unwrap_or(i64::MAX))
            .bind(prev.0)
            .bind(cursor.tag.0)
            .bind(operation.uuid())
            .bind(kind)
            .bind(id)
            .bind(floor.map(|floor| floor.generation.0))
            .bind(floor.and_then(|floor| floor.except).map(SessionId::uuid))
            .bind(until.as_millis())
            .execute(&mut *self.tx)
            .await?;
            rows.push(Row { target, floor, until });
        }
        for outcome in &mut self.outcomes {
            if let Outcome::Done(done) = outcome
                && done.seq == THIS
            {
                done.seq = cursor.seq;
            }
        }
        Ok((Some(Batch { ledger: ledger.id, prev, cursor, rows }), self.outcomes))
    }
}

/// The columns `kind` and `id` of a target.
fn columns(target: Target) -> (i64, Vec<u8>) {
    let (kind, id) = match target {
        Target::Token(id) => (1, Some(id.uuid())),
        Target::Session(id) => (2, Some(id.uuid())),
        Target::Subject(id) => (3, Some(id.uuid())),
        Target::Everything => (4, None),
    };
    (kind, id.map_or_else(Vec::new, |id| id.as_bytes().to_vec()))
}

fn read_row(row: &SqliteRow) -> Result<Row, DatabaseError> {
    let kind: i64 = row.try_get("kind")?;
    let id: &[u8] = row.try_get("id")?;
    let uuid = || Uuid::from_slice(id).map_err(|_| DatabaseError::Foreign("a revocation's id is not 16 bytes".into()));
    let target = match kind {
        1 => Target::Token(uuid()?.into()),
        2 => Target::Session(uuid()?.into()),
        3 => Target::Subject(uuid()?.into()),
        4 => Target::Everything,
        other => {
            return Err(DatabaseError::Foreign(format!(
                "a revocation of kind {other}, which this version does not know; start a version that does"
            )));
        }
    };
    let floor = read_floor(row)?;
    if floor.is_some() != matches!(target, Target::Subject(_) | Target::Everything) {
        return Err(DatabaseError::Foreign(format!("a revocation of kind {kind} whose floor does not fit")));
    }
    Ok(Row { target, floor, until: Timestamp::from_millis(row.try_get("until")?) })
}

fn read_floor(row: &SqliteRow) -> Result<Option<Floor>, DatabaseError> {
    let Some(generation) = row.try_get::<Option<i64>, _>("floor")? else { return Ok(None) };
    let except = row.try_get::<Option<Uuid>, _>("except_sid")?.map(SessionId::from);
    Ok(Some(Floor { generation: Generation(generation), except }))
}

/// Roles as a user's row holds them: separated by spaces.
pub(crate) fn split_roles(text: &str) -> Vec<String> {
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

fn random_tag() -> i64 {
    i64::from_le_bytes(secret::random())
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn duration(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}
