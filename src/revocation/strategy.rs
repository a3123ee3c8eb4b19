//! Strategies: how a request's credential is checked, and what each promises.
//!
//! [`Hybrid`](Strategy::Hybrid) is what this program is for. The others are what it is compared with, and each is the
//! better choice for somebody: they are real, selected by configuration, behind the same endpoints and cookies, and
//! recorded in the same ledger, so what is measured is what ships, and changing the strategy forgets nothing.
//!
//! | | a check asks | a revocation bites when | lost with Redis | a check without Redis, without SQL |
//! |---|---|---|---|---|
//! | `hybrid` | a filter in memory; exactly on a "maybe" | every node has applied it | nothing | goes on; goes on for the hold |
//! | `exact` | a set in memory | every node has applied it | nothing | as `hybrid` |
//! | `stateless` | nothing | the token expires | nothing | goes on; goes on |
//! | `redis` | Redis, at every request | Redis has it | what a failover lost is accepted again, for seconds or until it expires | 503; goes on |
//! | `session-redis` | Redis, at every request | Redis has it | the same; whoever is missing refreshes | 503; goes on |
//! | `session-sql` | the database, at every request | it is committed | nothing | goes on; 503 |
//!
//! In every strategy a refresh asks the database, so a session that has ended gets no new credential. A PostgreSQL that has
//! failed over without its last rows is noticed in every strategy; what was lost is counted and recorded again only where
//! nodes have it in memory.
//!
//! # All nodes alike
//!
//! A complete receipt speaks for all nodes of a database. A node that checks in another way is none that it has asked; so
//! a node says with its row in `nodes` how it checks, and registers only beside those with which it goes together:
//! `hybrid` and `exact` with each other, the others with their like. Otherwise it waits, says so, and is not ready. One
//! that was cut off from the database while others took over is not seen by this where its strategy has no lease: stop
//! all nodes before you change it.

use super::asked::Store;

/// How a request's credential is checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Strategy {
    /// From memory, by a filter, and exactly where that is not sure.
    #[default]
    Hybrid,
    /// From memory, by a set of all ids.
    Exact,
    /// Not at all: what was taken back is accepted until it expires.
    Stateless,
    /// By Redis, at every request.
    Redis,
    /// An opaque session, looked up in Redis at every request.
    SessionRedis,
    /// An opaque session, looked up in the database at every request.
    SessionSql,
}

impl Strategy {
    /// Its name, in the configuration and everywhere.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hybrid => "hybrid",
            Self::Exact => "exact",
            Self::Stateless => "stateless",
            Self::Redis => "redis",
            Self::SessionRedis => "session-redis",
            Self::SessionSql => "session-sql",
        }
    }

    /// Whether the credential is an opaque session and no token.
    #[must_use]
    pub const fn is_opaque(self) -> bool {
        matches!(self, Self::SessionRedis | Self::SessionSql)
    }

    /// What its nodes and those of others have in common, as the table of nodes has it: nodes with the same word may
    /// share a ledger.
    #[must_use]
    pub const fn kin(self) -> &'static str {
        match self {
            Self::Hybrid | Self::Exact => "memory",
            other => other.name(),
        }
    }

    /// What it does not promise, for whoever starts it.
    #[must_use]
    pub const fn warning(self) -> Option<&'static str> {
        match self {
            Self::Hybrid | Self::SessionSql => None,
            Self::Exact => Some(
                "revocation.strategy is exact: every live revocation takes about 30 bytes of memory on every node, several \
                 times what hybrid takes",
            ),
            Self::Stateless => Some(
                "revocation.strategy is stateless: an access token that was taken back is accepted until it expires. No \
                 logout, ban or password change is in force at once; receipts are not complete and say when it is",
            ),
            Self::Redis => Some(
                "revocation.strategy is redis: checks stop with 503 while Redis is away, and what it loses in a \
                 failover is accepted again until it expires",
            ),
            Self::SessionRedis => Some(
                "revocation.strategy is session-redis: checks stop with 503 while Redis is away, and a failover that has \
                 not heard of a logout brings that session back until its credential expires",
            ),
        }
    }
}

/// What must happen, after a commit, until a revocation is in force.
#[derive(Debug, Clone)]
pub enum Enforcement {
    /// Every node applies it, or its hold is over.
    Nodes,
    /// The tokens expire.
    Expiry,
    /// Nothing: every check asks the database.
    Database,
    /// Redis is told: every check asks it.
    Store(Store),
}

impl Enforcement {
    /// Whether receipts wait for nodes.
    #[must_use]
    pub const fn is_by_nodes(&self) -> bool {
        matches!(self, Self::Nodes)
    }
}
