//! One recording transaction.
//!
//! # On several nodes at once
//!
//! On SQLite a transaction is alone. On PostgreSQL it is not, and this is what keeps it right there:
//!
//! - **Rows first, in one order.** The users and sessions that the acts are about are locked before anything is done:
//!   users, then sessions, each by id. So no two nodes wait for each other, and the acts themselves can go on in the
//!   order they came. A login holds its user's row shared while it is written: it is either seen here, or comes after.
//! - **The counter last.** The lock on `head` is taken when nothing is left to wait for, and held for three statements
//!   and the commit. Numbers are in commit order because of it: a sequence would hand out a lower one that commits
//!   later, and a cursor would have passed it for ever.
//! - **What is read before that lock may be old**, so only what cannot do harm is. A subject's new generation is above
//!   every session of that subject, since it reads the floor after the lock that keeps new ones away. A floor over
//!   everything is drawn under the lock on `head`, above every generation committed. A session that was to live on but
//!   is below the floor by then is let go: it belongs to what another node has just ended.
//! - **"Already" names a number that was there when it was found.** If the row itself is gone, that is the head as read
//!   after the finding.

mod many;

use std::collections::{BTreeSet, HashSet};

use uuid::Uuid;

use super::{
    super::feed::{Batch, Cursor, Except, Floor, Row, Tag},
    Act, Done, Kept, Ledger, Lifetimes, ManyKind, Outcome, Target, columns, random_tag,
};
use crate::{
    clock::Timestamp,
    database::{DatabaseError, Query, Transaction, placeholders, sql},
    ids::{Generation, LedgerId, OperationId, Seq, SessionId, Subject},
};

/// Stands for "the number that this transaction will take", until it is known.
const THIS: Seq = Seq(i64::MAX);

/// When the row of a signing key ends: never. A stolen key signs tokens with ever later dates. The number is the last
/// millisecond of the year 9999, beyond the last date that a token can name.
const FOREVER: Timestamp = Timestamp::from_millis(253_402_300_799_999);

/// The state of one recording transaction.
pub(super) struct Write<'a> {
    tx: &'a mut Transaction,
    ledger: &'a Ledger,
    operation: OperationId,
    now: Timestamp,
    rows: Vec<New>,
    outcomes: Vec<Outcome>,
    /// What this transaction itself has just ended: a twin act in the same batch waits for it too.
    ended: HashSet<Target>,
}

/// A row to be written.
struct New {
    target: Target,
    /// For everything it is drawn last.
    floor: Option<Floor>,
    /// What it has lifted into its new generation.
    lifted: Lifted,
    /// Which act it is of.
    act: usize,
}

/// Sessions that live on above the floor that a row sets.
#[derive(Clone, Copy)]
enum Lifted {
    None,
    /// One, which had this generation before.
    One(Generation),
    /// All of the subject's that were alive above this floor over everything.
    All(Generation),
}

impl<'a> Write<'a> {
    pub(super) fn new(tx: &'a mut Transaction, ledger: &'a Ledger, operation: OperationId) -> Self {
        let now = ledger.clock.now();
        Self { tx, ledger, operation, now, rows: Vec::new(), outcomes: Vec::new(), ended: HashSet::new() }
    }

    /// Does the acts. What is left is the commit, if there is a batch.
    pub(super) async fn run(mut self, acts: &[Act]) -> Result<(Option<Batch>, Vec<Outcome>), DatabaseError> {
        self.lock(acts).await?;
        for act in acts {
            let outcome = self.act(act).await?;
            self.outcomes.push(outcome);
        }
        let batch = if self.rows.is_empty() { None } else { Some(self.number().await?) };
        Ok((batch, self.outcomes))
    }

    /// Locks what the acts are about, in the one order that all nodes keep to.
    async fn lock(&mut self, acts: &[Act]) -> Result<(), DatabaseError> {
        let ids: BTreeSet<Uuid> = acts.iter().flat_map(locked).collect();
        if self.tx.is_alone() || ids.is_empty() {
            return Ok(());
        }
        // Ids are random: one list serves for both tables.
        let list = placeholders(1, ids.len());
        for statement in [
            format!("SELECT id FROM users WHERE id IN ({list}) ORDER BY id FOR NO KEY UPDATE"),
            format!(
                "SELECT id FROM sessions WHERE ended_at IS NULL AND (id IN ({list}) OR user_id IN ({list}))
                 ORDER BY id FOR NO KEY UPDATE"
            ),
        ] {
            Query::assembled(statement).bind_all(ids.iter().copied()).fetch_all(&mut *self.tx).await?;
        }
        Ok(())
    }

    async fn act(&mut self, act: &Act) -> Result<Outcome, DatabaseError> {
        match act {
            Act::Token(token) => self.name(Target::Token(*token)).await,
            Act::Key(key) => self.name(Target::Key(*key)).await,
            Act::Session { session, of } => self.end_session(*session, *of).await,
            Act::Subject { subject, keep } => self.end_subject(*subject, *keep).await,
            Act::Password { subject, version, password, keep } => {
                let changed =
                    sql("UPDATE users SET password = $1, version = version + 1 WHERE id = $2 AND version = $3")
                        .bind(password.as_str())
                        .bind(subject.uuid())
                        .bind(*version)
                        .execute(&mut *self.tx)
                        .await?;
                if changed == 0 { Ok(Outcome::Changed) } else { self.end_subject(*subject, *keep).await }
            }
            Act::Ban(subject) => self.ban(*subject).await,
            Act::Roles { subject, roles } => self.change_roles(*subject, roles).await,
            Act::Delete(subject) => self.delete(*subject).await,
            // One row, however many sessions there are: what is below the floor has ended, and is tidied up later.
            Act::Everything => Ok(self.new_row(Target::Everything, None, Lifted::None)),
            Act::Again(row) => self.again(row).await,
            Act::Many(many) => self.many(many).await,
        }
    }

    /// A row and nothing else.
    async fn name(&mut self, target: Target) -> Result<Outcome, DatabaseError> {
        if self.ended.contains(&target) || self.find(target).await?.is_some() {
            return self.already(target).await;
        }
        Ok(self.new_row(target, None, Lifted::None))
    }

    async fn ban(&mut self, subject: Subject) -> Result<Outcome, DatabaseError> {
        let banned = sql("UPDATE users SET banned_at = $1, version = version + 1 WHERE id = $2 AND banned_at IS NULL")
            .bind(self.now.as_millis())
            .bind(subject.uuid())
            .execute(&mut *self.tx)
            .await?;
        if banned == 1 {
            return self.end_subject(subject, None).await;
        }
        let user = sql("SELECT id FROM users WHERE id = $1").bind(subject.uuid()).fetch_optional(&mut *self.tx).await?;
        if user.is_none() { Ok(Outcome::Absent) } else { self.already(Target::Subject(subject)).await }
    }

    /// New roles. The user's tokens carry the old ones and die; their sessions are lifted into the new generation, so that
    /// their next refresh carries the new ones.
    async fn change_roles(&mut self, subject: Subject, roles: &[String]) -> Result<Outcome, DatabaseError> {
        let row =
            sql("SELECT roles FROM users WHERE id = $1").bind(subject.uuid()).fetch_optional(&mut *self.tx).await?;
        let Some(row) = row else { return Ok(Outcome::Absent) };
        if row.words("roles")? == roles {
            return self.already(Target::Subject(subject)).await;
        }
        let raised = sql("UPDATE users SET roles = $1, version = version + 1,
                                           generation = 1 + {greatest}(generation, (SELECT floor FROM head))
                          WHERE id = $2 RETURNING generation, (SELECT floor FROM head) AS floor")
        .bind(roles.join(" "))
        .bind(subject.uuid())
        .fetch_one(&mut *self.tx)
        .await?;
        let (generation, floor) = (Generation(raised.int("generation")?), Generation(raised.int("floor")?));
        // What an act of this same transaction has ended with everything else stays below its floor.
        if !self.ended.contains(&Target::Everything) {
            sql("UPDATE sessions SET generation = $1
                 WHERE user_id = $2 AND ended_at IS NULL AND expires_at > $3 AND generation >= $4")
            .bind(generation.0)
            .bind(subject.uuid())
            .bind(self.now.as_millis())
            .bind(floor.0)
            .execute(&mut *self.tx)
            .await?;
        }
        let floor_of_tokens = Floor { generation, except: Except::Sessions };
        Ok(self.new_row(Target::Subject(subject), Some(floor_of_tokens), Lifted::All(floor)))
    }

    /// The account goes with its sessions. What its tokens carry is denied by id for as long as they could live.
    async fn delete(&mut self, subject: Subject) -> Result<Outcome, DatabaseError> {
        let outcome = self.end_subject(subject, None).await?;
        for statement in ["DELETE FROM sessions WHERE user_id = $1", "DELETE FROM users WHERE id = $1"] {
            sql(statement).bind(subject.uuid()).execute(&mut *self.tx).await?;
        }
        Ok(outcome)
    }

    async fn end_session(&mut self, session: SessionId, of: Option<Subject>) -> Result<Outcome, DatabaseError> {
        let target = Target::Session(session);
        let row =
            sql("SELECT user_id, ended_at, generation, (SELECT floor FROM head) AS floor FROM sessions WHERE id = $1")
                .bind(session.uuid())
                .fetch_optional(&mut *self.tx)
                .await?;
        let Some(row) = row else { return Ok(Outcome::Absent) };
        let owner = Subject::from(row.uuid("user_id")?);
        if of.is_some_and(|of| of != owner) {
            return Ok(Outcome::Absent);
        }
        let is_below = self.ended.contains(&Target::Everything) || row.int("generation")? < row.int("floor")?;
        if is_below || row.opt_int("ended_at")?.is_some() {
            return self.already(target).await;
        }
        self.close(session).await?;
        Ok(self.new_row(target, None, Lifted::None))
    }

    /// Records what another history had recorded, with all that follows from it. Rows that are gone, since the login was
    /// lost too, keep nothing from it: a token may still be about.
    async fn again(&mut self, row: &Row) -> Result<Outcome, DatabaseError> {
        let Some(floor) = row.floor else {
            if let Target::Session(session) = row.target {
                self.close(session).await?;
            }
            return self.name(row.target).await;
        };
        let Target::Subject(subject) = row.target else {
            // A floor over everything is drawn anew, above the lost one and above what has been issued since; once, since
            // it ends what other nodes have let begin.
            let head = sql("SELECT floor FROM head {for update}").fetch_one(&mut *self.tx).await?;
            if head.int("floor")? >= floor.generation.0 {
                return self.already(Target::Everything).await;
            }
            sql("UPDATE head SET highest_generation = {greatest}(highest_generation, $1)")
                .bind(floor.generation.0)
                .execute(&mut *self.tx)
                .await?;
            return Ok(self.new_row(Target::Everything, None, Lifted::None));
        };
        let generation = floor.generation.0;
        sql("UPDATE users SET generation = {greatest}(generation, $1) WHERE id = $2")
            .bind(generation)
            .bind(subject.uuid())
            .execute(&mut *self.tx)
            .await?;
        if let Except::Session(spared) = floor.except {
            sql("UPDATE sessions SET generation = {greatest}(generation, $1) WHERE id = $2 AND user_id = $3")
                .bind(generation)
                .bind(spared.uuid())
                .bind(subject.uuid())
                .execute(&mut *self.tx)
                .await?;
        }
        sql(end_sessions!("AND user_id = $2 AND generation < $3"))
            .bind(self.now.as_millis())
            .bind(subject.uuid())
            .bind(generation)
            .execute(&mut *self.tx)
            .await?;
        Ok(self.new_row(row.target, Some(floor), Lifted::None))
    }

    async fn close(&mut self, session: SessionId) -> Result<(), DatabaseError> {
        sql(end_sessions!("AND id = $2"))
            .bind(self.now.as_millis())
            .bind(session.uuid())
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }

    async fn end_subject(&mut self, subject: Subject, keep: Option<SessionId>) -> Result<Outcome, DatabaseError> {
        let raised = sql("UPDATE users SET generation = 1 + {greatest}(generation, (SELECT floor FROM head))
                          WHERE id = $1 RETURNING generation, roles")
        .bind(subject.uuid())
        .fetch_optional(&mut *self.tx)
        .await?;
        let Some(raised) = raised else { return Ok(Outcome::Absent) };
        let generation = Generation(raised.int("generation")?);
        let spared = match keep {
            Some(session) => self.spare(session, subject, generation).await?,
            None => None,
        };
        sql(end_sessions!("AND user_id = $2 AND generation < $3"))
            .bind(self.now.as_millis())
            .bind(subject.uuid())
            .bind(generation.0)
            .execute(&mut *self.tx)
            .await?;
        let except = Except::of(keep.filter(|_| spared.is_some()));
        let lifted = spared.map_or(Lifted::None, |(before, _)| Lifted::One(before));
        let kept = spared.map(|(_, expires_at)| {
            Ok::<_, DatabaseError>(Kept { generation, roles: raised.words("roles")?, expires_at })
        });
        let outcome = self.new_row(Target::Subject(subject), Some(Floor { generation, except }), lifted);
        Ok(match outcome {
            Outcome::Done(done) => Outcome::Done(Done { kept: kept.transpose()?, ..done }),
            other => other,
        })
    }

    /// Lifts a session into the new generation, if it is alive. Returns the one it had, and when it ends.
    async fn spare(
        &mut self,
        session: SessionId,
        of: Subject,
        generation: Generation,
    ) -> Result<Option<(Generation, Timestamp)>, DatabaseError> {
        let alive = sql("SELECT generation, expires_at FROM sessions
                         WHERE id = $1 AND user_id = $2 AND ended_at IS NULL AND expires_at > $3")
        .bind(session.uuid())
        .bind(of.uuid())
        .bind(self.now.as_millis())
        .fetch_optional(&mut *self.tx)
        .await?;
        // What an act of this same transaction has ended with everything else is not alive either.
        let Some(alive) = alive.filter(|_| !self.ended.contains(&Target::Everything)) else { return Ok(None) };
        sql("UPDATE sessions SET generation = $1 WHERE id = $2")
            .bind(generation.0)
            .bind(session.uuid())
            .execute(&mut *self.tx)
            .await?;
        Ok(Some((Generation(alive.int("generation")?), Timestamp::from_millis(alive.int("expires_at")?))))
    }

    fn new_row(&mut self, target: Target, floor: Option<Floor>, lifted: Lifted) -> Outcome {
        self.ended.insert(target);
        self.rows.push(New { target, floor, lifted, act: self.outcomes.len() });
        Outcome::Done(Done { target, seq: THIS, already: false, kept: None, counts: None })
    }

    /// Nothing was left to do. The answer still waits for the row that did it or, if that is gone, for the head.
    async fn already(&mut self, target: Target) -> Result<Outcome, DatabaseError> {
        let seq = if self.ended.contains(&target) {
            THIS
        } else if let Some(seq) = self.find(target).await? {
            seq
        } else if self.rows.is_empty() {
            Seq(sql("SELECT seq FROM head").fetch_one(&mut *self.tx).await?.int("seq")?)
        } else {
            // Perhaps another act of this transaction did it.
            THIS
        };
        Ok(Outcome::Done(Done { target, seq, already: true, kept: None, counts: None }))
    }

    async fn find(&mut self, target: Target) -> Result<Option<Seq>, DatabaseError> {
        let (kind, id) = columns(target);
        let row = sql("SELECT max(seq) AS seq FROM revocations WHERE kind = $1 AND id = $2")
            .bind(kind)
            .bind(id)
            .fetch_one(&mut *self.tx)
            .await?;
        Ok(row.opt_int("seq")?.map(Seq))
    }

    /// The last step before the commit: takes the number, and writes the rows under it.
    async fn number(&mut self) -> Result<Batch, DatabaseError> {
        let head = sql("SELECT ledger, seq, tag, floor, highest_generation, access_ttl, prior_ttl, prior_until
                        FROM head {for update}")
        .fetch_one(&mut *self.tx)
        .await?;
        if LedgerId::from(head.uuid("ledger")?) != self.ledger.id {
            return Err(DatabaseError::Foreign("another life of the ledger has begun; start this node again".into()));
        }
        let mut floor = Generation(head.int("floor")?);
        self.let_go(floor).await?;
        let mut highest = Generation(head.int("highest_generation")?);
        for row in &mut self.rows {
            match row.floor {
                Some(subject) => highest = highest.max(subject.generation),
                None if row.target == Target::Everything => {
                    highest.0 += 1;
                    floor = highest;
                    row.floor = Some(Floor { generation: floor, except: Except::Nothing });
                }
                None => {}
            }
        }
        let prev = Tag(head.int("tag")?);
        let cursor = Cursor { seq: Seq(head.int("seq")? + 1), tag: Tag(random_tag()) };
        let noted = sql("UPDATE head SET clock = {greatest}(clock, {wall}), seq = $2, tag = $3, floor = $4,
                                         highest_generation = $5
                         RETURNING clock, {durability} AS durability")
        .bind(self.now.as_millis())
        .bind(cursor.seq.0)
        .bind(cursor.tag.0)
        .bind(floor.0)
        .bind(highest.0)
        .fetch_one(&mut *self.tx)
        .await?;
        let durability = noted.text("durability")?;
        if !["on", "remote_apply"].contains(&durability.as_str()) {
            let problem = format!("something between here and the server has set synchronous_commit to {durability}");
            return Err(DatabaseError::Setup(problem));
        }
        let now = Timestamp::from_millis(noted.int("clock")?);
        // The lifetimes of the head and not ours: another node may have begun to issue longer ones.
        let until = now + Lifetimes::read(&head)?.entry(now);
        self.insert(prev, cursor, until).await?;
        for outcome in &mut self.outcomes {
            if let Outcome::Done(done) = outcome
                && done.seq == THIS
            {
                done.seq = cursor.seq;
            }
        }
        let until = |target| if let Target::Key(_) = target { FOREVER } else { until };
        let row = |row: &New| Row { target: row.target, floor: row.floor, until: until(row.target) };
        let rows = self.rows.iter().map(row).collect();
        Ok(Batch { ledger: self.ledger.id, prev, cursor, rows })
    }

    /// Ends the sessions that were to live on, but were below the floor before they were lifted: another node has ended
    /// everything meanwhile.
    async fn let_go(&mut self, floor: Generation) -> Result<(), DatabaseError> {
        for i in 0..self.rows.len() {
            let row = &mut self.rows[i];
            match (row.lifted, &mut row.floor, row.target) {
                (Lifted::One(before), Some(Floor { except, .. }), _) if before < floor => {
                    let spared = std::mem::take(except);
                    if let Outcome::Done(done) = &mut self.outcomes[row.act] {
                        done.kept = None;
                    }
                    if let Except::Session(session) = spared {
                        self.close(session).await?;
                    }
                }
                // No login of this user can have come in between: its row is locked. So all are from before.
                (Lifted::All(before), Some(lifted), Target::Subject(subject)) if before < floor => {
                    lifted.except = Except::Nothing;
                    sql(end_sessions!("AND user_id = $2"))
                        .bind(self.now.as_millis())
                        .bind(subject.uuid())
                        .execute(&mut *self.tx)
                        .await?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn insert(&mut self, prev: Tag, cursor: Cursor, until: Timestamp) -> Result<(), DatabaseError> {
        // Five values that all rows share, then five of each. A signing key has another end than the rest.
        let forever = FOREVER.as_millis().to_string();
        let tuple = |(n, row): (usize, &New)| {
            let until = if let Target::Key(_) = row.target { &forever } else { "$5" };
            format!("($1, $2, $3, $4, {until}, {})", placeholders(6 + 5 * n, 5))
        };
        let tuples: Vec<String> = self.rows.iter().enumerate().map(tuple).collect();
        let mut query = Query::assembled(format!(
            "INSERT INTO revocations (seq, prev, tag, op, until, n, kind, id, floor, except_sid) VALUES {}",
            tuples.join(", ")
        ))
        .bind(cursor.seq.0)
        .bind(prev.0)
        .bind(cursor.tag.0)
        .bind(self.operation.uuid())
        .bind(until.as_millis());
        for (n, row) in self.rows.iter().enumerate() {
            let (kind, id) = columns(row.target);
            query = query
                .bind(i64::try_from(n).unwrap_or(i64::MAX))
                .bind(kind)
                .bind(id)
                .bind(row.floor.map(|floor| floor.generation.0))
                .bind(row.floor.and_then(|floor| floor.except.id()).map(SessionId::uuid));
        }
        query.execute(&mut *self.tx).await?;
        Ok(())
    }
}

/// The users and sessions that an act changes.
fn locked(act: &Act) -> Vec<Uuid> {
    match act {
        Act::Session { session, .. } => vec![session.uuid()],
        Act::Subject { subject, .. }
        | Act::Password { subject, .. }
        | Act::Roles { subject, .. }
        | Act::Ban(subject)
        | Act::Delete(subject) => vec![subject.uuid()],
        Act::Again(row) => match row.target {
            Target::Session(session) => vec![session.uuid()],
            Target::Subject(subject) => vec![subject.uuid()],
            Target::Token(_) | Target::Everything | Target::Key(_) => Vec::new(),
        },
        Act::Many(many) if many.kind != ManyKind::Token => many.ids.clone(),
        Act::Many(_) | Act::Token(_) | Act::Key(_) | Act::Everything => Vec::new(),
    }
}
