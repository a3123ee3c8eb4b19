//! How long access tokens may live, and so how long an entry must deny.

use std::time::Duration;

use crate::{
    clock::{MAX_LEEWAY, SKEW, Timestamp},
    database::{DatabaseError, Row},
};

/// How long access tokens may live, in the whole cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    pub(super) ttl: Duration,
    /// A longer life that was in force before, and when the last token of it has expired.
    pub(super) prior: (Duration, Timestamp),
}

impl Lifetimes {
    /// The longest life a valid token can have at `now`. Lowering it takes effect only after the old value has passed.
    #[must_use]
    pub fn ceiling(&self, now: Timestamp) -> Duration {
        let (ttl, until) = self.prior;
        if now <= until { ttl.max(self.ttl) } else { self.ttl }
    }

    /// How long an entry recorded at `now` must deny: after that no token from before can be valid, under any leeway
    /// that can be configured.
    #[must_use]
    pub fn entry(&self, now: Timestamp) -> Duration {
        self.ceiling(now) + MAX_LEEWAY + SKEW
    }

    pub(super) fn read(head: &Row) -> Result<Self, DatabaseError> {
        let prior = (duration(head.int("prior_ttl")?), Timestamp::from_millis(head.int("prior_until")?));
        Ok(Self { ttl: duration(head.int("access_ttl")?), prior })
    }

    /// These lifetimes, from now on with another life of new tokens.
    pub(super) fn with(self, ttl: Duration, now: Timestamp) -> Self {
        let (was, until) = self.prior;
        let still = (was > ttl && until >= now).then_some(self.prior);
        let lowered = (self.ttl > ttl).then(|| (self.ttl, now + self.ttl));
        // Both at once: the longer life, until the later end.
        let prior = match (still, lowered) {
            (Some(a), Some(b)) => (a.0.max(b.0), a.1.max(b.1)),
            (one, other) => one.or(other).unwrap_or_default(),
        };
        Self { ttl, prior }
    }
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn duration(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}
