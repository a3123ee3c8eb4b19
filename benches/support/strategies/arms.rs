//! The candidates, and the environment that each one's process gets.

use std::path::PathBuf;

use super::{super::fleet::KEY, results};

/// As long as a run may take: no token and no revocation of it expires meanwhile. The time to live decides how many
/// revocations are live, not what one costs, and their number is an axis of its own.
const ACCESS_TTL: &str = "4h";

/// A candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// JWTs that nobody can take back.
    Stateless,
    /// Kickout as it is shipped.
    Hybrid,
    /// JWTs, and an exact set in each node's memory.
    Exact,
    /// JWTs, and a blocklist in Redis that each request asks.
    Redis,
    /// Opaque sessions in Redis.
    SessionRedis,
    /// Opaque sessions in PostgreSQL.
    SessionSql,
    /// Somebody else's sessions in Redis: the crate `tower-sessions`.
    TowerSessions,
    /// A handler that gives the same answer to everybody: what the request itself and the generator take.
    Empty,
}

impl Kind {
    pub(crate) const ALL: [Self; 8] = [
        Self::Stateless,
        Self::Hybrid,
        Self::Exact,
        Self::Redis,
        Self::SessionRedis,
        Self::SessionSql,
        Self::TowerSessions,
        Self::Empty,
    ];

    /// As the results have it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Stateless => "stateless",
            Self::Hybrid => "hybrid",
            Self::Exact => "exact",
            Self::Redis => "redis",
            Self::SessionRedis => "session-redis",
            Self::SessionSql => "session-sql",
            Self::TowerSessions => "tower-sessions",
            Self::Empty => "empty handler",
        }
    }

    /// As the value of `revocation.strategy`; `None` for others than Kickout.
    pub(crate) const fn strategy(self) -> Option<&'static str> {
        match self {
            Self::TowerSessions | Self::Empty => None,
            _ => Some(self.name()),
        }
    }

    /// Whether it is a node of Kickout, and not a server of this benchmark.
    pub(crate) const fn is_kickout(self) -> bool {
        self.strategy().is_some()
    }

    /// Whether the access cookie holds a JWT.
    pub(crate) const fn has_jwts(self) -> bool {
        matches!(self, Self::Stateless | Self::Hybrid | Self::Exact | Self::Redis)
    }

    /// Whether a credential that was taken back is refused from then on.
    pub(crate) const fn takes_back(self) -> bool {
        !matches!(self, Self::Stateless | Self::Empty)
    }
}

/// Everything that one node's configuration follows from.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) kind: Kind,
    /// `EdDSA`, `ES256`, `RS256`, `HS256`.
    pub(crate) algorithm: String,
    /// Entries of the cache of verified tokens; `None` for as many as are shipped.
    pub(crate) verified_cache: Option<u64>,
    /// Live revocations that the filter is built for, as an operator would; not fewer than are shipped.
    pub(crate) live: u64,
    /// The URL of PostgreSQL, perhaps a proxy's.
    pub(crate) database: String,
    /// The URL of Redis, perhaps a proxy's.
    pub(crate) redis: String,
    /// What all keys and channels in Redis begin with.
    pub(crate) prefix: String,
    /// More settings: variable and value.
    pub(crate) more: Vec<(String, String)>,
}

impl Setup {
    /// The shipped settings, but for where the stores are, limits of tries (everybody has one address here), the log
    /// (warnings only) and how long tokens live.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let mut environment: Vec<(String, String)> = Vec::new();
        let mut set = |key: &str, value: &str| {
            environment.push((variable(key), value.to_owned()));
        };
        set("redis.url", &self.redis);
        set("redis.prefix", &self.prefix);
        if self.kind.is_kickout() {
            if !self.database.is_empty() {
                set("database.url", &self.database);
                set("tokens.key_encryption_key", KEY);
            }
            set("tokens.access_ttl", ACCESS_TTL);
            set("tokens.algorithm", &self.algorithm);
            set("log.filter", "warn");
            for limit in LIMITS {
                set(limit, "0");
            }
            if self.live > 100_000 {
                set("revocation.filter.capacity", &self.live.to_string());
            }
            set("revocation.strategy", self.kind.strategy().unwrap_or_default());
            if let Some(entries) = self.verified_cache {
                set("tokens.verified_cache", &entries.to_string());
            }
        }
        environment.extend(self.more.iter().cloned());
        environment
    }

    /// The data folder that these settings name, where one is not to have any.
    pub(crate) fn data(&self) -> Option<PathBuf> {
        let named = self.more.iter().find(|(name, _)| *name == variable("data_dir"));
        named.map(|(_, path)| PathBuf::from(path))
    }

    /// For the results: `SECTION.KEY = VALUE` a line, without secrets and without where the stores are.
    pub(crate) fn described(&self) -> results::Arm {
        let is_told =
            |name: &str| !["KEY_ENCRYPTION_KEY", "__URL", "PREFIX", "DATA_DIR"].iter().any(|end| name.ends_with(end));
        let configuration = self.environment().into_iter().filter(|(name, _)| is_told(name));
        let line = |(name, value): (String, String)| {
            let key = name.trim_start_matches("KICKOUT__").replace("__", ".").to_lowercase();
            format!("{key} = {value}")
        };
        results::Arm { name: self.kind.name().to_owned(), configuration: configuration.map(line).collect() }
    }
}

/// All keys of `[limits]`.
const LIMITS: [&str; 8] = [
    "limits.logins_per_address",
    "limits.wrong_per_address",
    "limits.wrong_per_account",
    "limits.wrong_before_slow",
    "limits.signups_per_address",
    "limits.signups_per_account",
    "limits.refreshes_per_address",
    "limits.refreshes_per_session",
];

/// The variable of a key: `KICKOUT__REDIS__URL` for `redis.url`.
pub(crate) fn variable(key: &str) -> String {
    format!("KICKOUT__{}", key.to_uppercase().replace('.', "__"))
}
