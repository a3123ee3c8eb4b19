//! What was asked, what was answered, and when: on one clock, the machine's `CLOCK_BOOTTIME`.
//!
//! Who acts writes it and decides nothing; who judges reads it and sees nothing else. It is plain values, so that an
//! episode that broke a promise can be kept as JSON and judged again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Nanoseconds since the machine started.
pub(crate) type Moment = u64;

/// One cluster from its start to the last reading after everything was started again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct History {
    /// What it follows from: the seed of the run and the number of the episode.
    pub(crate) seed: u64,
    /// Which episode of the run.
    pub(crate) episode: u32,
    /// The cluster.
    pub(crate) cluster: Cluster,
    /// What was done to it, in the order of beginning.
    pub(crate) faults: Vec<Fault>,
    /// What was asked of it, in the order of the answers.
    pub(crate) events: Vec<Event>,
    /// When everything was healed and started again: whatever was acknowledged before must show in checks after.
    pub(crate) restarted: Option<Moment>,
}

/// What the cluster is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Cluster {
    /// Node processes.
    pub(crate) nodes: u8,
    /// `revocation.lease`.
    pub(crate) lease: Duration,
    /// `revocation.on_stale` = `serve_for`: how long a node goes on beyond its lease; zero for `deny` and `ask`.
    pub(crate) serve_for: Duration,
    /// `revocation.on_stale` = `ask`.
    pub(crate) asks_when_stale: bool,
    /// Whether there is a Redis.
    pub(crate) has_redis: bool,
    /// Whether it is one process on SQLite: no lease, no other node.
    pub(crate) is_embedded: bool,
    /// `sessions.refresh_grace`.
    pub(crate) refresh_grace: Duration,
    /// How long access tokens live at first.
    pub(crate) access_ttl: Duration,
    /// How long access tokens live after the fault `access-ttl-lowered` began; `None`: as at first.
    #[serde(default)]
    pub(crate) lowered_access_ttl: Option<Duration>,
}

/// What was done to the cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Fault {
    /// The fault's name, as the plan and the table of results have it: `sigstop`, `sql-black-hole`…
    pub(crate) name: String,
    /// To which nodes; empty: to a store, and so to all.
    pub(crate) nodes: Vec<u8>,
    /// Before it was begun.
    pub(crate) began: Moment,
    /// When it was in force.
    pub(crate) in_force: Moment,
    /// When its end was begun.
    pub(crate) healing: Moment,
    /// When it was over.
    pub(crate) healed: Moment,
    /// What it permits.
    pub(crate) permits: Permits,
}

/// What a fault permits while it is in force and for a while after, by the fault table. What it does not name, it does
/// not permit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a sentence of the table of faults")]
pub(crate) struct Permits {
    /// Its nodes (all, if it names none) may answer checks with "I do not know" (503), once their hold is over or they
    /// are loading.
    pub(crate) unknown_checks: bool,
    /// Its nodes may not answer at all, or end connections.
    pub(crate) no_answers: bool,
    /// Acts (logins, refreshes, revocations) may be answered by 503 everywhere.
    pub(crate) refused_acts: bool,
    /// Receipts may take up to the bound of P2 instead of milliseconds.
    pub(crate) slow_receipts: bool,
    /// Its nodes cannot reach the ledger: from `in_force` on they cannot renew. Whoever allows later than the hold
    /// after that has no right to.
    pub(crate) cuts_ledger: bool,
    /// The ledger has lost what was committed since this moment, and everything in it may be gone: logins, and
    /// acknowledged acts (stated loss of a restore). `None`: nothing acknowledged may be lost.
    pub(crate) loses_since: Option<Moment>,
    /// The operator took a new ledger id after a restore: everything that was issued before `healed` may be dead, and
    /// what was issued before `began` is, from `healed` on.
    #[serde(default)]
    pub(crate) ends_everything: bool,
    /// The ledger's own clock was moved by an hour: from `began` on tokens may expire so much earlier, or later.
    #[serde(default)]
    pub(crate) moves_clock: bool,
}

impl Permits {
    /// Nothing: everything is answered, and soon.
    pub(crate) const NOTHING: Self = Self {
        unknown_checks: false,
        no_answers: false,
        refused_acts: false,
        slow_receipts: false,
        cuts_ledger: false,
        loses_since: None,
        ends_everything: false,
        moves_clock: false,
    };
}

/// A user, a session, an access token, a refresh token: numbers within a history, given when the answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct User(pub(crate) u32);
/// One login on one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Session(pub(crate) u32);
/// An access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Token(pub(crate) u32);
/// A refresh token. The same text has the same number: whoever is given one that was given before is given its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Ticket(pub(crate) u32);

/// One invocation and its answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Event {
    /// Who asked; one client asks one thing at a time.
    pub(crate) client: u32,
    /// Which node was asked.
    pub(crate) node: u8,
    /// Read before the request was sent.
    pub(crate) began: Moment,
    /// Read after the answer was read, or given up.
    pub(crate) ended: Moment,
    /// What was asked.
    pub(crate) asked: Asked,
    /// What was answered.
    pub(crate) answer: Answer,
}

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(crate) enum Asked {
    /// A login.
    LogIn { user: User },
    /// Whether an access token is good: `/v1/auth/verify`.
    Check { token: Token },
    /// A refresh with this ticket.
    Refresh { user: User, session: Session, ticket: Ticket },
    /// The end of a session: a logout, or one of the device list.
    EndSession { user: User, session: Session },
    /// The end of one access token, by an operator.
    EndToken { user: User, session: Session, token: Token },
    /// The end of all sessions of a user, but one.
    EndAll { user: User, keep: Option<Session> },
    /// A ban: all sessions, and no login until it is lifted.
    Ban { user: User },
    /// The end of a ban. Ends nothing and revives nothing.
    Unban { user: User },
    /// Another password; ends all sessions but the caller's.
    Password { user: User, keep: Session },
    /// Other roles; ends access tokens and no session.
    Roles { user: User },
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub(crate) enum Answer {
    /// Credentials: of a login, a refresh, or beside the receipt of an act that keeps the caller's session.
    Issued {
        /// Their session.
        session: Session,
        /// The access token.
        token: Token,
        /// The refresh token; `None` if the answer holds none.
        ticket: Option<Ticket>,
        /// The receipt, if the act was one that has one.
        receipt: Option<Receipt>,
    },
    /// A check: the token is good.
    Allowed,
    /// A check: 401, `session-ended` or `token-expired`, as `problem` says. A refresh: 401.
    Denied {
        /// The kind of problem.
        problem: String,
    },
    /// A receipt; 200 or 202.
    Receipt(Receipt),
    /// 503: not now. Nothing was claimed.
    Unavailable,
    /// The connection ended, or nothing came in time. An act may have happened.
    Lost,
    /// Anything else: a defect.
    Strange {
        /// Status and body.
        what: String,
    },
}

/// What a receipt says.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) seq: i64,
    pub(crate) is_complete: bool,
    pub(crate) already: bool,
    /// By the service's own account.
    pub(crate) elapsed_ms: f64,
}
