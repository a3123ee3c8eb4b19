//! The heart: taking a token back, and knowing at every request whether one was taken back.
//!
//! ```text
//!            revoke                                         check (hot path)
//!   Revoker ──▶ ledger   SQL: truth, numbered        Checker ──▶ filter   memory: "surely not" → Active
//!                 │ feed: linked batches                          │ "maybe"
//!                 └──────────▶ Replica ──▶ filter                 ▼
//!                                                     known answers, then the ledger: exact
//! ```
//!
//! The invariants, and where each is kept:
//!
//! 1. **Order.** `seq` order is commit order; every transaction leaves a random tag that the next one names.
//!    ([`ledger`])
//! 2. **Containment.** Every live row with `seq` ≤ `applied` is in the filter; a floor over everything is in an exact
//!    number beside it, and a signing key in an exact set ([`crate::revoked_keys`]), for good. So "surely not" is never wrong about what this node has applied. ([`sync`], [`filter`])
//! 3. **Publication order.** Filter bits, then `touched`, then `applied`; an answer only after that. ([`sync`])
//! 4. **A check reads forward.** It runs after its request was received, loads the filter's pointer itself, and takes
//!    `applied` before the exact look whose result it remembers. ([`Checker`], [`known`])
//! 5. **Dead stays dead.** A confirmed revocation is remembered for good; an "alive" counts only while nothing that
//!    could concern the id was applied since, and never beyond a load. ([`known`])
//! 6. **Expiry.** An entry lives for the longest token life in force, plus leeway and skew, by one clock that never
//!    goes back. ([`ledger::Lifetimes`], [`crate::clock::LedgerClock`])
//! 7. **No silent holes.** A gap, a broken link, an unknown kind of row are values that stop the node until it has
//!    reloaded. While it does not know, the verdict is [`Verdict::Unknown`], never "active". ([`feed`], [`sync`])
//! 8. **Answer last.** A receipt is given after the commit is durable and applied here. Where one process owns the
//!    ledger, here is everywhere. ([`Revoker`])
//! 9. **Leases.** Where several nodes share a ledger, each answers only while its lease is valid, and a receipt waits
//!    until every node has applied the revocation, is gone, or must have stopped by itself. A node loads before it has a row, so nobody waits for a load. ([`lease`], [`node`])

pub mod asked;
pub mod blocklist;
pub mod bulk;
pub mod feed;
pub mod filter;
pub mod herald;
pub mod known;
pub mod lease;
pub mod ledger;
pub mod memory;
pub mod node;
pub mod recent;
pub mod set;
pub mod strategy;
pub mod sync;

mod answers;
mod checker;
mod published;
mod revoker;
mod shared;
mod term;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::ids::{Generation, KeyId, LedgerId, SessionId, Subject, TokenId};

pub use self::{
    checker::{Checked, Checker, OnStale},
    ledger::{Act, Outcome},
    node::Reach,
    revoker::{Applied, Patience, Pending, Receipt, Recorder, RevokeError, Revoked, Revoker},
    strategy::{Enforcement, Strategy},
};

/// What a revocation names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "lowercase")]
pub enum Target {
    /// One access token (`jti`).
    Token(TokenId),
    /// One session with all its tokens (`sid`).
    Session(SessionId),
    /// All sessions of a subject below a floor (`sub`).
    Subject(Subject),
    /// Every token below a floor.
    Everything,
    /// Every token that a signing key has signed, or ever will (`kid`).
    Key(KeyId),
}

impl Target {
    /// The kind's name, as receipts and metrics spell it.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Token(_) => "token",
            Self::Session(_) => "session",
            Self::Subject(_) => "subject",
            Self::Everything => "everything",
            Self::Key(_) => "key",
        }
    }

    /// The key under which the filter holds this target; `None` for everything, which is a number of its own, and for a
    /// signing key, which is in a set of its own.
    ///
    /// Ids are random, but two kinds could be given the same one by hand, so each kind has its own salt.
    #[must_use]
    pub const fn key(self) -> Option<u128> {
        match self {
            Self::Token(id) => Some(id.as_u128()),
            Self::Session(id) => Some(id.as_u128() ^ 0x5e55_1017_5e55_1017_5e55_1017_5e55_1017),
            Self::Subject(id) => Some(id.as_u128() ^ 0x0af0_5b1e_c7ed_0af0_5b1e_c7ed_0af0_5b1e),
            Self::Everything | Self::Key(_) => None,
        }
    }
}

/// What a check asks about: the claims of a verified token that a revocation can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presented {
    /// `jti`.
    pub token: TokenId,
    /// `sid`.
    pub session: SessionId,
    /// `sub`.
    pub subject: Subject,
    /// `gen`.
    pub generation: Generation,
    /// `epoch`.
    pub epoch: LedgerId,
    /// `kid`: who signed it.
    pub key: KeyId,
}

/// The answer of a check. Never a bool: "I do not know" is not "no".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Not revoked, as of everything that was applied when the check began.
    Active,
    /// Revoked, and why.
    Revoked(Cause),
    /// This node cannot tell now, and why.
    Unknown(Ignorance),
}

/// Why a token is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The token itself was revoked.
    Token,
    /// Its session has ended.
    Session,
    /// Its generation is below the subject's floor: logout everywhere, ban, password change.
    Subject,
    /// It is from before a change of its subject's roles. Its session lives on.
    Roles,
    /// Its generation is below the global floor.
    Everything,
    /// It was issued in another life of the ledger.
    Epoch,
    /// The key that signed it was taken back. Its session lives.
    Key,
}

/// Why a node cannot tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ignorance {
    /// It has not loaded the ledger yet, or is loading it again.
    Loading,
    /// Its lease is over: it has not heard from the ledger for too long.
    Stale,
    /// The exact look failed.
    Store,
}

/// Which tier gave the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// No look was needed: the token names another ledger, or the node is not ready.
    None,
    /// The filter, or the exact number beside it.
    Filter,
    /// An answer that was looked up before.
    Known,
    /// The blocklist.
    Blocklist,
    /// The ledger.
    Ledger,
}
