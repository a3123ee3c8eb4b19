//! What can go wrong, sorted by whose fault it is.

use deadpool_redis::{
    PoolError,
    redis::{ErrorKind, RedisError, ServerErrorKind},
};

/// Redis could not do what was asked. No text here holds its URL or a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlocklistError {
    /// It is not there, or it is but not yet: starting, loading.
    #[error("Redis cannot be reached: {0}")]
    Unreachable(String),
    /// It did not answer in time.
    #[error("Redis did not answer in time")]
    Late,
    /// It was not asked, because it could not be reached a moment ago.
    #[error("Redis was away a moment ago and is not asked now")]
    Away,
    /// It does not let this user in, or not do this.
    #[error("Redis refuses: {0}. Check the user and password in redis.url, and what that user may do")]
    Refused(String),
    /// The URL names no server that this version can speak to.
    #[error("redis.url cannot be used: {0}")]
    Address(&'static str),
    /// The server is of a kind, or set up in a way, that this version does not work with.
    #[error("this Redis cannot be used: {found}. {remedy}")]
    Unsupported {
        /// What it is.
        found: String,
        /// What to do about that.
        remedy: &'static str,
    },
    /// The strategy asks it at every request, and it evicts.
    #[error(
        "revocation.strategy asks Redis at every request, and this one evicts entries when its memory is full \
         (maxmemory-policy {policy}): what was taken back would be accepted again. Set maxmemory-policy to noeviction"
    )]
    Evicts {
        /// Its policy.
        policy: String,
    },
    /// Another deployment uses this prefix on this server.
    #[error(
        "another deployment uses the prefix {prefix} on this Redis. Give this one a redis.prefix of its own; if the \
         other one is gone for good, delete the key {prefix}:deployment"
    )]
    Foreign {
        /// The prefix.
        prefix: String,
    },
    /// Messages came faster than they were taken, and some are lost: listen anew, and pull.
    #[error("messages from Redis came faster than they were taken, and some are lost")]
    Behind,
    /// It answered something else than was expected, or that it could not do it: out of memory, for example.
    #[error("Redis answered: {0}")]
    Protocol(String),
}

impl BlocklistError {
    /// Whether nobody answered: the next call is likely to find the same, at the price of a timeout.
    pub(super) const fn is_outage(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Late)
    }

    pub(super) fn cluster() -> Self {
        Self::Unsupported {
            found: "it is a node of a Redis Cluster".to_owned(),
            remedy: "Name a single server in redis.url, or leave it empty",
        }
    }

    pub(super) fn replica() -> Self {
        Self::Unsupported { found: "it is a replica".to_owned(), remedy: "Name its primary in redis.url" }
    }
}

impl From<RedisError> for BlocklistError {
    fn from(error: RedisError) -> Self {
        if error.is_timeout() {
            return Self::Late;
        }
        match error.kind() {
            ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::NoPerm) => {
                Self::Refused(error.to_string())
            }
            ErrorKind::Io
            | ErrorKind::Server(
                ServerErrorKind::BusyLoading | ServerErrorKind::MasterDown | ServerErrorKind::TryAgain,
            ) => Self::Unreachable(error.to_string()),
            ErrorKind::Server(ServerErrorKind::ReadOnly) => Self::replica(),
            ErrorKind::Server(
                ServerErrorKind::Moved
                | ServerErrorKind::Ask
                | ServerErrorKind::CrossSlot
                | ServerErrorKind::ClusterDown,
            ) => Self::cluster(),
            _ if matches!(error.code(), Some("NOAUTH" | "WRONGPASS")) => Self::Refused(error.to_string()),
            _ => Self::Protocol(error.to_string()),
        }
    }
}

impl From<PoolError> for BlocklistError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => error.into(),
            PoolError::Timeout(_) => Self::Late,
            other => Self::Protocol(other.to_string()),
        }
    }
}
