//! Sessions' rows: one per login on one device.
//!
//! A row is alive if it has neither ended nor expired and its generation is not below the ledger's floor: a login that
//! another node writes at the very moment in which everything is ended has that floor against it from its start.

use std::{fmt, net::IpAddr, time::Duration};

use serde::Serialize;

use crate::{
    clock::{LedgerClock, Timestamp},
    database::{Database, DatabaseError, Row, sql},
    ids::{Generation, LedgerId, Seq, SessionId, Subject},
    limits::Source,
    secret,
};

use super::{KEEP_ENDED, Settings, expiry};
use crate::{
    revocation::{feed::Cursor, lease},
    users::{self, User},
};

/// Whether the history of the server that answers has stood where this node's has, by number and tag: `$2` and `$3`. A node
/// that has read nothing yet, which is at 0 of both, knows no other.
macro_rules! knows {
    () => {
        concat!("CASE WHEN ", lease::follows_if_any!("$2", "$3"), " THEN h.seq + 1 ELSE 0 END AS knows")
    };
}

/// Characters of a device's name at most.
pub const MAX_DEVICE_CHARS: usize = 100;

/// Characters of a user agent that are kept; what browsers send is shorter.
const MAX_AGENT_CHARS: usize = 256;

/// Sessions that one listing gives at most: the largest `sessions.max_per_user`.
const MAX_LISTED: u32 = 1000;

/// From where and with what somebody logs in. Kept for the list of devices, and bounded: it is what a client says.
#[derive(Debug, Clone, Default)]
pub struct Client {
    /// What the client calls this device.
    pub device: Option<String>,
    /// From where.
    pub address: Option<IpAddr>,
    /// The `User-Agent` header.
    pub user_agent: Option<String>,
    /// From where, as limits count it.
    pub source: Source,
}

/// A session to be opened.
pub struct NewSession {
    pub(super) id: SessionId,
    pub(super) secret: [u8; 32],
    epoch: LedgerId,
    subject: Subject,
    version: i64,
    now: Timestamp,
    settings: Settings,
    client: Client,
}

impl fmt::Debug for NewSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewSession({})", self.id)
    }
}

impl NewSession {
    /// A session in this life of the ledger, of a user whose row was read at `version`. `now` was taken before.
    #[must_use]
    pub fn draw(
        epoch: LedgerId,
        subject: Subject,
        version: i64,
        now: Timestamp,
        settings: Settings,
        client: &Client,
    ) -> Self {
        let client = Client {
            device: client.device.as_deref().map(|text| bounded(text, MAX_DEVICE_CHARS)),
            address: client.address,
            user_agent: client.user_agent.as_deref().map(|text| bounded(text, MAX_AGENT_CHARS)),
            source: client.source,
        };
        Self { id: SessionId::random(), secret: secret::random(), epoch, subject, version, now, settings, client }
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> SessionId {
        self.id
    }
}

/// A session as the list of devices shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Device {
    /// `sid`.
    pub id: SessionId,
    /// What the client called it.
    pub device: Option<String>,
    /// When it logged in.
    #[serde(serialize_with = "Timestamp::as_text")]
    pub created_at: Timestamp,
    /// When it was last used to log in or refresh.
    #[serde(serialize_with = "Timestamp::as_text")]
    pub last_used_at: Timestamp,
    /// When it ends if it is not used.
    #[serde(serialize_with = "Timestamp::as_text")]
    pub expires_at: Timestamp,
    /// From where it logged in.
    pub address: Option<String>,
    /// With what.
    pub user_agent: Option<String>,
}

/// A session's row as a refresh sees it, with its user's.
#[derive(Clone)]
pub(super) struct Family {
    pub(super) user: User,
    pub(super) secret: [u8; 32],
    /// The number of the current refresh token.
    pub(super) counter: i64,
    /// Since when.
    pub(super) rotated_at: Timestamp,
    /// The token that the first refresh of the current burst has replaced, and when.
    pub(super) burst: (i64, Timestamp),
    pub(super) generation: Generation,
    pub(super) expires_at: Timestamp,
    /// It has not ended or expired, is not below the floor, and is of this life of the ledger; its user is not banned.
    pub(super) is_alive: bool,
}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Family({}, {})", self.user.id, self.counter)
    }
}

/// A session's row as a check sees it where every request looks it up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) subject: Subject,
    pub(super) generation: Generation,
    pub(super) roles: Vec<String>,
    /// The ledger's last number at that moment.
    pub(super) seq: Seq,
    /// As in [`Family`].
    pub(super) is_alive: bool,
}

/// The table of sessions.
#[derive(Debug, Clone)]
pub struct Devices {
    database: Database,
}

impl Devices {
    /// Sessions in this database.
    #[must_use]
    pub const fn new(database: Database) -> Self {
        Self { database }
    }

    /// Opens a session if the user's row is still the one that was read and the ledger's life too, and says which
    /// generation it got.
    ///
    /// The user's row is held while this is written, so that an act that ends this user's sessions either sees this
    /// one, or has been seen here.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn open(&self, new: &NewSession) -> Result<Option<Generation>, DatabaseError> {
        let row = sql(
            "INSERT INTO sessions (id, user_id, generation, secret, rotated_at, created_at, last_used_at, expires_at,
                                   absolute_until, device, address, user_agent)
             SELECT $1, u.id, {greatest}(u.generation, h.floor), $2, $3, $3, $3, $4, $5, $6, $7, $8
             FROM users u, head h
             WHERE u.id = $9 AND u.version = $10 AND u.banned_at IS NULL AND h.ledger = $11 {for share of u}
             RETURNING generation",
        )
        .bind(new.id.uuid())
        .bind(new.secret.as_slice())
        .bind(new.now.as_millis())
        .bind(expiry(new.now, new.settings).as_millis())
        .bind((new.now + new.settings.absolute).as_millis())
        .bind(new.client.device.clone())
        .bind(new.client.address.map(|address| address.to_string()))
        .bind(new.client.user_agent.clone())
        .bind(new.subject.uuid())
        .bind(new.version)
        .bind(new.epoch.uuid())
        .fetch_optional(&mut self.database.write().await?)
        .await?;
        row.map(|row| row.int("generation").map(Generation)).transpose()
    }

    /// A user's live sessions, the most recently used first.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn list(&self, subject: Subject, now: Timestamp) -> Result<Vec<Device>, DatabaseError> {
        let rows = sql("SELECT id, device, created_at, last_used_at, expires_at, address, user_agent FROM sessions
             WHERE user_id = $1 AND expires_at > $2 AND ended_at IS NULL AND generation >= (SELECT floor FROM head)
             ORDER BY last_used_at DESC, created_at DESC, id LIMIT $3")
        .bind(subject.uuid())
        .bind(now.as_millis())
        .bind(MAX_LISTED)
        .fetch_all(&mut self.database.read().await?)
        .await?;
        rows.iter().map(device).collect()
    }

    /// The sessions of a user beyond the first `limit`, counted from the most recently used; `spare` counts, but is
    /// never named.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn beyond(
        &self,
        subject: Subject,
        spare: SessionId,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<SessionId>, DatabaseError> {
        let rows = sql("SELECT id FROM sessions
             WHERE user_id = $1 AND id <> $2 AND expires_at > $3 AND ended_at IS NULL
               AND generation >= (SELECT floor FROM head)
             ORDER BY last_used_at DESC, created_at DESC, id LIMIT $4 OFFSET $5")
        .bind(subject.uuid())
        .bind(spare.uuid())
        .bind(now.as_millis())
        .bind(MAX_LISTED)
        .bind(i64::try_from(limit.saturating_sub(1)).unwrap_or(i64::MAX))
        .fetch_all(&mut self.database.read().await?)
        .await?;
        rows.iter().map(|row| Ok(row.uuid("id")?.into())).collect()
    }

    /// Whose a session is, and its secret; also if it has ended. For a node that has applied the ledger up to here.
    pub(super) async fn secret_of(
        &self,
        id: SessionId,
        applied: Cursor,
    ) -> Result<Option<(Subject, [u8; 32])>, DatabaseError> {
        let row =
            sql(concat!("SELECT ", knows!(), ", s.user_id, s.secret FROM head h LEFT JOIN sessions s ON s.id = $1"))
                .bind(id.uuid())
                .bind(applied.seq.0)
                .bind(applied.tag.0)
                .fetch_one(&mut self.database.read().await?)
                .await?;
        is_current(&row)?;
        let Some(user) = row.opt_uuid("user_id")? else { return Ok(None) };
        Ok(Some((user.into(), secret(&row, id)?)))
    }

    /// A session and its user, as one snapshot; also if it has ended. For a node that has applied the ledger up to here: a
    /// server that another one has replaced knows of sessions what is true no more.
    pub(super) async fn family(
        &self,
        id: SessionId,
        epoch: LedgerId,
        now: Timestamp,
        applied: Cursor,
    ) -> Result<Option<Family>, DatabaseError> {
        let row = sql(concat!(
            "SELECT ",
            knows!(),
            ", s.secret, s.counter, s.rotated_at, s.burst_counter, s.burst_at, s.generation,
                    s.expires_at, s.ended_at, h.ledger, h.floor,
                    u.id, u.name, u.roles, u.created_at, u.banned_at
             FROM head h LEFT JOIN sessions s ON s.id = $1 LEFT JOIN users u ON u.id = s.user_id"
        ))
        .bind(id.uuid())
        .bind(applied.seq.0)
        .bind(applied.tag.0)
        .fetch_one(&mut self.database.read().await?)
        .await?;
        is_current(&row)?;
        if row.opt_uuid("id")?.is_none() {
            return Ok(None);
        }
        let user = users::user(&row)?;
        let generation = row.int("generation")?;
        let expires_at = Timestamp::from_millis(row.int("expires_at")?);
        Ok(Some(Family {
            is_alive: row.opt_int("ended_at")?.is_none()
                && now < expires_at
                && generation >= row.int("floor")?
                && LedgerId::from(row.uuid("ledger")?) == epoch
                && user.banned_at.is_none(),
            user,
            secret: secret(&row, id)?,
            counter: row.int("counter")?,
            rotated_at: Timestamp::from_millis(row.int("rotated_at")?),
            burst: (row.int("burst_counter")?, Timestamp::from_millis(row.int("burst_at")?)),
            generation: Generation(generation),
            expires_at,
        }))
    }

    /// A session as a check sees it, in one statement. For a node that has applied the ledger up to here.
    pub(super) async fn seen(
        &self,
        id: SessionId,
        epoch: LedgerId,
        now: Timestamp,
        applied: Cursor,
    ) -> Result<Option<Seen>, DatabaseError> {
        let row = sql(concat!(
            "SELECT ",
            knows!(),
            ", s.generation, s.expires_at, s.ended_at, h.ledger, h.floor, h.seq AS head_seq,
                    u.id, u.roles, u.banned_at
             FROM head h LEFT JOIN sessions s ON s.id = $1 LEFT JOIN users u ON u.id = s.user_id"
        ))
        .bind(id.uuid())
        .bind(applied.seq.0)
        .bind(applied.tag.0)
        .fetch_one(&mut self.database.look().await?)
        .await?;
        is_current(&row)?;
        let Some(user) = row.opt_uuid("id")? else { return Ok(None) };
        let generation = row.int("generation")?;
        Ok(Some(Seen {
            subject: user.into(),
            generation: Generation(generation),
            roles: users::roles(&row)?,
            seq: Seq(row.int("head_seq")?),
            is_alive: row.opt_int("ended_at")?.is_none()
                && now.as_millis() < row.int("expires_at")?
                && generation >= row.int("floor")?
                && LedgerId::from(row.uuid("ledger")?) == epoch
                && row.opt_int("banned_at")?.is_none(),
        }))
    }

    /// Makes `counter` the number of the current refresh token, if the row is still the one that was read. Returns until
    /// when that token is good if it is not used.
    ///
    /// Alive is judged again: the row may have ended since, which its number does not tell.
    pub(super) async fn rotate(
        &self,
        id: SessionId,
        family: &Family,
        counter: u32,
        clock: &LedgerClock,
        settings: &Settings,
    ) -> Result<Option<Timestamp>, DatabaseError> {
        let mut connection = self.database.write().await?;
        // When the token is replaced, and not when somebody has begun to wait for that: the grace begins here.
        let now = clock.now();
        let (burst_counter, burst_at) = burst(family, now, settings.grace);
        let row = sql("UPDATE sessions
                       SET counter = $1, rotated_at = $2, last_used_at = $2, expires_at = {least}($3, absolute_until),
                           burst_counter = $4, burst_at = $5
                       WHERE id = $6 AND counter = $7 AND generation = $8 AND ended_at IS NULL AND expires_at > $2
                       RETURNING expires_at")
        .bind(counter)
        .bind(now.as_millis())
        .bind((now + settings.idle).as_millis())
        .bind(burst_counter)
        .bind(burst_at.as_millis())
        .bind(id.uuid())
        .bind(family.counter)
        .bind(family.generation.0)
        .fetch_optional(&mut connection)
        .await?;
        row.map(|row| row.int("expires_at").map(Timestamp::from_millis)).transpose()
    }

    /// Marks at most `limit` sessions as ended that a floor over everything has ended. They are dead without this; it
    /// lets their rows be pruned. Returns how many.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn sweep(&self, now: Timestamp, limit: u32) -> Result<u64, DatabaseError> {
        sql("UPDATE sessions SET ended_at = $1, expires_at = {least}(expires_at, $1)
             WHERE id IN (SELECT id FROM sessions WHERE ended_at IS NULL AND generation < (SELECT floor FROM head)
                          LIMIT $2 {for update skip locked})")
        .bind(now.as_millis())
        .bind(limit)
        .execute(&mut self.database.write().await?)
        .await
    }

    /// Sessions that should be pruned and are not yet.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn prune_backlog(&self, now: Timestamp) -> Result<i64, DatabaseError> {
        sql("SELECT count(*) AS backlog FROM sessions WHERE expires_at < $1")
            .bind((now - KEEP_ENDED).as_millis())
            .fetch_one(&mut self.database.read().await?)
            .await?
            .int("backlog")
    }

    /// Deletes at most `limit` sessions that are over for a day. Returns how many.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn prune(&self, now: Timestamp, limit: u32) -> Result<u64, DatabaseError> {
        // What another node is deleting now is passed over.
        sql("DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires_at < $1
                                               ORDER BY expires_at LIMIT $2 {for update skip locked})")
        .bind((now - KEEP_ENDED).as_millis())
        .bind(limit)
        .execute(&mut self.database.write().await?)
        .await
    }
}

/// The burst that a refresh at `now` belongs to: the one that goes on, or one that begins with the last refresh if that was
/// within the grace, or with this one. Whatever token it takes in was replaced no earlier than it began.
pub(super) fn burst(family: &Family, now: Timestamp, grace: Duration) -> (i64, Timestamp) {
    if now < family.burst.1 + grace {
        family.burst
    } else if now < family.rotated_at + grace {
        (family.counter - 1, family.rotated_at)
    } else {
        (family.counter, now)
    }
}

/// Refuses what a server says whose history has not stood where this node's has.
fn is_current(row: &Row) -> Result<(), DatabaseError> {
    if row.int("knows")? == 0 { Err(DatabaseError::behind()) } else { Ok(()) }
}

fn secret(row: &Row, id: SessionId) -> Result<[u8; 32], DatabaseError> {
    row.bytes("secret")?.try_into().map_err(|_| DatabaseError::Foreign(format!("the secret of session {id}")))
}

fn device(row: &Row) -> Result<Device, DatabaseError> {
    Ok(Device {
        id: row.uuid("id")?.into(),
        device: row.opt_text("device")?,
        created_at: Timestamp::from_millis(row.int("created_at")?),
        last_used_at: Timestamp::from_millis(row.int("last_used_at")?),
        expires_at: Timestamp::from_millis(row.int("expires_at")?),
        address: row.opt_text("address")?,
        user_agent: row.opt_text("user_agent")?,
    })
}

/// A client's text for people to read: bounded, on one line, without invisible controls.
fn bounded(text: &str, max_chars: usize) -> String {
    text.chars().filter(|char| !char.is_control()).take(max_chars).collect()
}
