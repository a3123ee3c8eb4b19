//! Leases: how long a node may trust its filter, and how a revocation knows that nobody can still say yes.
//!
//! A node registers a row in `nodes` and renews it. Each renewal reads, in one statement, everything the ledger has
//! that the node has not; when all of it is applied the node may answer checks until *the time it read before it sent
//! the renewal*, plus its *hold*. A revocation waits, after its commit is acknowledged, until every node that has a row
//! has applied it, has lost its row, or must have stopped by itself ([`wait`]).
//!
//! The times of both sides are durations on their own `CLOCK_BOOTTIME`; no two machines' clocks are compared. The
//! margin in [`wait`] covers clocks of different rates: NTP daemons slew by up to 10 %.

use std::time::Duration;

use crate::{
    clock::Timestamp,
    database::{Connection, Database, DatabaseError, Row, sql},
    ids::{Generation, LedgerId, NodeId, Seq},
};

use super::{
    feed::{Batch, Cursor, Tag},
    ledger::rows,
};

pub use super::term::Lease;

/// Rows that a renewal brings at most; the rest is read in pages before the node renews again.
const RENEWAL_ROWS: i64 = 2000;

/// The channel on which recorded transactions are announced: the payload is `seq`.
pub const FEED_CHANNEL: &str = "kickout_feed";

/// The channel on which nodes say what they have applied: the payload is `node ledger seq tag`.
pub const ACK_CHANNEL: &str = "kickout_ack";

/// Covers what is not proportional to the hold: a timer's tick, a thread that waits for its turn.
const MARGIN: Duration = Duration::from_millis(250);

/// After how long a node that may hold for `hold` has certainly stopped, seen from another machine: a quarter longer,
/// and a margin.
#[must_use]
pub fn wait(hold: Duration) -> Duration {
    hold + hold / 4 + MARGIN
}

/// A node as a revocation waits for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its row's id.
    pub id: NodeId,
    /// How often it has renewed.
    pub beat: i64,
    /// What it had applied at its last renewal.
    pub applied: Seq,
    /// How long it may go on after a renewal.
    pub hold: Duration,
    /// What people call it.
    pub name: String,
    /// How it checks, as far as others have to know.
    pub kin: String,
}

/// What a renewal brought.
#[derive(Debug)]
pub struct Renewal {
    /// The ledger's life.
    pub ledger: LedgerId,
    /// The ledger's last transaction.
    pub head: Cursor,
    /// Whether the ledger's history has stood where the node's does.
    pub has_been_there: bool,
    /// The global floor.
    pub floor: Generation,
    /// Ledger time.
    pub time: Timestamp,
    /// The server that answered.
    pub server: String,
    /// Whether it is the one that the ledger knows.
    pub is_known_server: bool,
    /// Whether it is known, and has been in charge for long enough.
    pub is_settled: bool,
    /// The longest hold that any node has ever had.
    pub max_hold: Duration,
    /// The transactions after the node's cursor, in order; whole ones only.
    pub batches: Vec<Batch>,
}

/// What the commit of a revocation has found about early answers, and how long to wait without them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority {
    /// Acknowledgements and vanished rows count: the server is the known one, and settled.
    pub is_settled: bool,
    /// The longest hold that any node has ever had.
    pub max_hold: Duration,
    /// Where the ledger's history stood then, with what was committed. Words of nodes count if they are of this history.
    pub at: Cursor,
}

/// The nodes, and what is needed to judge what they have applied, read at one moment.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The ledger's last transaction.
    pub head: Cursor,
    /// Whether the server that answered is known, and has been in charge for long enough.
    pub is_settled: bool,
    /// All rows.
    pub members: Vec<Member>,
}

/// The table of nodes.
#[derive(Debug, Clone)]
pub struct Nodes {
    database: Database,
}

/// The name of the server that runs a statement: its cluster, its timeline, which a promotion raises, and when it was
/// started. A server that was started again may stand on an older copy of its files, and nothing else in it says so.
macro_rules! server {
    () => {
        "(SELECT system_identifier::text || '/' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)
              || '/' || extract(epoch FROM pg_postmaster_start_time())::text
          FROM pg_control_system())"
    };
}
pub(super) use server;

/// Whether the history of the server that runs a statement, whose row of `head` is `h`, has stood at a number and a tag: it
/// stands there, or what came next names that tag. What came next than what a node has applied is never pruned: it is newer.
macro_rules! follows {
    ($seq:literal, $tag:literal) => {
        concat!(
            "((h.seq = ",
            $seq,
            " AND h.tag = ",
            $tag,
            ")
              OR EXISTS (SELECT 1 FROM revocations WHERE seq = ",
            $seq,
            " + 1 AND prev = ",
            $tag,
            "))"
        )
    };
}
pub(crate) use follows;

/// The same for a node that may have read nothing yet: it is at 0 of both, and knows of no other history.
macro_rules! follows_if_any {
    ($seq:literal, $tag:literal) => {
        concat!("((", $seq, " = 0 AND ", $tag, " = 0) OR ", $crate::revocation::lease::follows!($seq, $tag), ")")
    };
}
pub(crate) use follows_if_any;

impl Nodes {
    /// Nodes in this database.
    #[must_use]
    pub const fn new(database: Database) -> Self {
        Self { database }
    }

    /// Registers a node under a fresh id, if all that are registered are its [kin](super::Strategy::kin). Returns
    /// whether they are.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn register(
        &self,
        id: NodeId,
        hold: Duration,
        name: &str,
        kin: &str,
        now: Timestamp,
    ) -> Result<bool, DatabaseError> {
        let mut tx = self.database.begin().await?;
        // The longest hold is noted before the row that may use it is there.
        sql(concat!(
            "UPDATE head SET max_hold = greatest(max_hold, $1),
                             server = CASE WHEN server = '' THEN ",
            server!(),
            " ELSE server END"
        ))
        .bind(millis(hold))
        .execute(&mut tx)
        .await?;
        // The row of `head` is held: of two that register at once, the second one sees the first.
        let registered = sql("INSERT INTO nodes (id, applied, hold, name, kin, started_at)
                              SELECT $1, 0, $2, $3, $4, $5 WHERE NOT EXISTS (SELECT 1 FROM nodes WHERE kin <> $4)")
        .bind(id.uuid())
        .bind(millis(hold))
        .bind(name)
        .bind(kin)
        .bind(now.as_millis())
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(registered == 1)
    }

    /// Renews: raises the row's beat if it is still the expected one, and reads what is new, in one statement.
    /// `None`: the row is not there or not at that beat; the node must stop and register anew.
    ///
    /// The row says that the node has applied everything up to `at` only if this server's history has stood there: what a
    /// node has of a history that was lost is no acknowledgement in the one that follows.
    ///
    /// # Errors
    /// [`DatabaseError`]: nothing changed for this node; also for a kind of row that this version does not know.
    pub async fn renew(
        &self,
        id: NodeId,
        beat: i64,
        at: Cursor,
        hold: Duration,
        after: Seq,
        within: Duration,
    ) -> Result<Option<Renewal>, DatabaseError> {
        let rows = sql(concat!(
            "WITH me AS (UPDATE nodes SET beat = beat + 1, hold = $4,
                           applied = CASE WHEN (SELECT ",
            follows!("$3", "$7"),
            " FROM head h) THEN $3 ELSE 0 END
                         WHERE id = $1 AND beat = $2 RETURNING id)
             SELECT h.ledger, h.seq AS head_seq, h.tag AS head_tag, h.floor AS head_floor, ",
            follows!("$3", "$7"),
            "::int::bigint AS has_been_there,
                    {greatest}(h.clock, {wall}) AS time, h.settled::int::bigint AS settled,
                    h.server AS known, ",
            server!(),
            " AS server, h.max_hold,
                    r.seq, r.prev, r.tag, r.kind, r.id, r.floor, r.except_sid, r.until
             FROM me CROSS JOIN head h
             LEFT JOIN LATERAL (SELECT * FROM revocations WHERE seq > $5 ORDER BY seq, n LIMIT $6) r ON true
             ORDER BY r.seq, r.n"
        ))
        .bind(id.uuid())
        .bind(beat)
        .bind(at.seq.0)
        .bind(millis(hold))
        .bind(after.0)
        .bind(RENEWAL_ROWS)
        .bind(at.tag.0)
        .within(within)
        .fetch_all(&mut self.database.renew().await?)
        .await?;
        let Some(first) = rows.first() else { return Ok(None) };
        let ledger = LedgerId::from(first.uuid("ledger")?);
        let server = first.text("server")?;
        let is_known_server = first.text("known")? == server;
        let is_full = rows.len() >= usize::try_from(RENEWAL_ROWS).unwrap_or(usize::MAX);
        let has_rows = first.opt_int("seq")?.is_some();
        Ok(Some(Renewal {
            ledger,
            head: Cursor { seq: Seq(first.int("head_seq")?), tag: Tag(first.int("head_tag")?) },
            has_been_there: first.int("has_been_there")? == 1,
            floor: Generation(first.int("head_floor")?),
            time: Timestamp::from_millis(first.int("time")?),
            is_known_server,
            is_settled: is_known_server && first.int("settled")? == 1,
            server,
            max_hold: duration(first.int("max_hold")?),
            batches: if has_rows { rows::batches(ledger, &rows, is_full)? } else { Vec::new() },
        }))
    }

    /// At which beat a row is; `None` if it is gone.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn beat(&self, id: NodeId, within: Duration) -> Result<Option<i64>, DatabaseError> {
        let row = sql("SELECT beat FROM nodes WHERE id = $1")
            .bind(id.uuid())
            .within(within)
            .fetch_optional(&mut self.database.renew().await?)
            .await?;
        row.map(|row| row.int("beat")).transpose()
    }

    /// All rows, read now.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn members(&self) -> Result<Vec<Member>, DatabaseError> {
        Self::read(self.database.write().await?, None).await
    }

    /// All rows, read now on the connection of this node's renewals.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn neighbours(&self, within: Duration) -> Result<Vec<Member>, DatabaseError> {
        Self::read(self.database.renew().await?, Some(within)).await
    }

    /// All rows and the head, read now in one statement.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn standing(&self, within: Duration) -> Result<Standing, DatabaseError> {
        let rows = sql(concat!(
            "SELECT h.seq, h.tag, (h.settled AND h.server = ",
            server!(),
            ")::int::bigint AS settled, n.id, n.beat, n.applied, n.hold, n.name, n.kin
             FROM head h LEFT JOIN nodes n ON true ORDER BY n.started_at, n.id"
        ))
        .within(within)
        .fetch_all(&mut self.database.write().await?)
        .await?;
        let first = rows.first().ok_or_else(DatabaseError::behind)?;
        let has_members = first.opt_int("beat")?.is_some();
        Ok(Standing {
            head: Cursor { seq: Seq(first.int("seq")?), tag: Tag(first.int("tag")?) },
            is_settled: first.int("settled")? == 1,
            members: if has_members { rows.iter().map(member).collect::<Result<_, _>>()? } else { Vec::new() },
        })
    }

    async fn read(mut connection: Connection, within: Option<Duration>) -> Result<Vec<Member>, DatabaseError> {
        let query = sql("SELECT id, beat, applied, hold, name, kin FROM nodes ORDER BY started_at, id");
        let query = match within {
            Some(within) => query.within(within),
            None => query,
        };
        query.fetch_all(&mut connection).await?.iter().map(member).collect()
    }

    /// Removes a node that was seen at the same beat for longer than it can hold. Returns whether it was there, at that
    /// beat.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn expel(&self, id: NodeId, beat: i64, within: Duration) -> Result<bool, DatabaseError> {
        // On the server that it was seen on, and a settled one: on another its renewals may be lost.
        let removed = sql(concat!(
            "DELETE FROM nodes WHERE id = $1 AND beat = $2 AND (SELECT settled AND server = ",
            server!(),
            " FROM head)"
        ))
        .bind(id.uuid())
        .bind(beat)
        .within(within)
        .execute(&mut self.database.renew().await?)
        .await?;
        Ok(removed == 1)
    }

    /// Removes a row that is surely nobody's any more: this node's own after its last check, or the one of a process
    /// that is proven dead.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn remove(&self, id: NodeId) -> Result<(), DatabaseError> {
        sql("DELETE FROM nodes WHERE id = $1").bind(id.uuid()).execute(&mut self.database.write().await?).await?;
        Ok(())
    }

    /// Says to all nodes what this one has applied. A message and no row: it is true whatever becomes of the database.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn acknowledge(&self, id: NodeId, ledger: LedgerId, at: Cursor) -> Result<(), DatabaseError> {
        self.say(ACK_CHANNEL, format!("{id} {ledger} {} {}", at.seq, at.tag.0)).await
    }

    /// Says to all nodes that there is something to pull.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn announce(&self, seq: Seq) -> Result<(), DatabaseError> {
        self.say(FEED_CHANNEL, seq.to_string()).await
    }

    async fn say(&self, channel: &'static str, words: String) -> Result<(), DatabaseError> {
        sql("SELECT pg_notify($1, $2)::text")
            .bind(channel)
            .bind(words)
            .fetch_all(&mut self.database.write().await?)
            .await?;
        Ok(())
    }

    /// Notes that another server has taken over: early answers are off until it has been in charge for long enough.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn unsettle(&self, within: Duration) -> Result<(), DatabaseError> {
        sql(concat!("UPDATE head SET settled = false, server = ", server!(), " WHERE server <> ", server!()))
            .within(within)
            .execute(&mut self.database.renew().await?)
            .await?;
        Ok(())
    }

    /// Notes that this server has been in charge for long enough, if it still is the one in charge.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn settle(&self, server: &str, within: Duration) -> Result<(), DatabaseError> {
        sql(concat!("UPDATE head SET settled = true WHERE server = $1 AND server = ", server!()))
            .bind(server)
            .within(within)
            .execute(&mut self.database.renew().await?)
            .await?;
        Ok(())
    }
}

fn member(row: &Row) -> Result<Member, DatabaseError> {
    Ok(Member {
        id: row.uuid("id")?.into(),
        beat: row.int("beat")?,
        applied: Seq(row.int("applied")?),
        hold: duration(row.int("hold")?),
        name: row.text("name")?,
        kin: row.text("kin")?,
    })
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn duration(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use crate::clock::BootInstant;

    use super::*;

    #[test]
    fn the_wait_is_a_quarter_longer_than_the_hold_and_a_margin() {
        for (hold, least_us) in [(0, 250_000), (1, 251_250), (10, 262_500), (10_000, 12_750_000), (10_003, 12_753_750)]
        {
            assert_eq!(wait(Duration::from_millis(hold)), Duration::from_micros(least_us), "{hold}");
        }
    }

    #[test]
    fn a_lease_is_extended_never_shortened_and_ended_at_once() {
        let lease = Lease::none();
        let at = |ns| BootInstant::from_nanos(ns);
        assert!(!lease.is_valid(at(0)));
        lease.extend(at(100));
        lease.extend(at(50));
        assert!(lease.is_valid(at(99)));
        assert!(!lease.is_valid(at(100)), "over at that very moment");
        lease.end();
        assert!(!lease.is_valid(at(1)));
        assert!(Lease::unlimited().is_valid(at(u64::MAX - 1)));
    }
}
