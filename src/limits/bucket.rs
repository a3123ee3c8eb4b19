//! What a try is counted by.

use std::time::Duration;

use crate::telemetry::metrics::LimitScope;

use super::{HOUR, MINUTE};

/// Kinds of counts. Each has one time in which its limit applies, so all buckets of a kind can be kept in one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Table {
    Logins,
    WrongFrom,
    WrongFor,
    Everywhere,
    Slow,
    KnownLogins,
    KnownWrong,
    WrongCurrent,
    Signups,
    SignupsAs,
    Refreshes,
    RefreshesOf,
}

impl Table {
    pub(super) const COUNT: usize = Self::RefreshesOf as usize + 1;

    const fn time(self) -> Duration {
        match self {
            Self::Logins | Self::KnownLogins | Self::Refreshes | Self::RefreshesOf => MINUTE,
            _ => HOUR,
        }
    }

    pub(super) const fn scope(self) -> LimitScope {
        match self {
            Self::Logins | Self::WrongFrom | Self::Signups | Self::Refreshes => LimitScope::Address,
            _ => LimitScope::Account,
        }
    }
}

/// One count. It fills with tries and drains evenly; times are in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    pub(super) table: Table,
    /// What is counted, as a MAC.
    pub(super) mac: [u8; 32],
    /// How long one try takes to drain.
    pub(super) cost: i64,
    /// How long a full one takes.
    pub(super) room: i64,
}

impl Bucket {
    /// A bucket for so many tries in the table's time; `None` if they are not limited.
    pub(super) fn new(table: Table, limit: u32, mac: [u8; 32]) -> Option<Self> {
        let room = i64::try_from(table.time().as_micros()).unwrap_or(i64::MAX);
        // Rounded down: the last of N is never refused for a fraction.
        Some(Self { table, mac, cost: room.checked_div(i64::from(limit))?, room })
    }

    /// The level after a try of one that is at this level, and by how much that is too high: not at all if it is not
    /// positive. A full one stays full.
    pub(super) fn fill(&self, level: i64) -> (i64, i64) {
        let filled = level.clamp(0, self.room) + self.cost;
        (filled.min(self.room), filled - self.room)
    }

    /// The level after a try was given back.
    pub(super) fn drain(&self, level: i64) -> i64 {
        (level.clamp(0, self.room) - self.cost).max(0)
    }
}

/// Buckets that one try needs room in, all or none: in each of the hard ones, and in one of the others if there are any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tries {
    hard: Vec<Bucket>,
    one_of: Vec<Bucket>,
}

/// A try that there is no room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Over {
    /// Whose limit it was; of several, the one that lasts longest.
    pub scope: LimitScope,
    /// When there will be room.
    pub after: Duration,
}

impl Over {
    pub(super) fn new(table: Table, micros: i64) -> Self {
        Self { scope: table.scope(), after: Duration::from_micros(u64::try_from(micros).unwrap_or(0)) }
    }
}

impl Tries {
    pub(super) fn hard(&mut self, bucket: Option<Bucket>) {
        self.hard.extend(bucket);
    }

    pub(super) fn one_of(&mut self, buckets: [Bucket; 2]) {
        self.one_of.extend(buckets);
    }

    pub(super) fn with(mut self, other: &Self) -> Self {
        self.hard.extend(&other.hard);
        self.one_of.extend(&other.one_of);
        self
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.hard.is_empty() && self.one_of.is_empty()
    }

    /// How many are hard. They come first.
    pub(super) const fn hard_count(&self) -> usize {
        self.hard.len()
    }

    pub(super) fn buckets(&self) -> impl Iterator<Item = &Bucket> {
        self.hard.iter().chain(&self.one_of)
    }

    /// What stands against a try: of each bucket, by how much its level would be too high.
    pub(super) fn judge(&self, over: &[i64]) -> Result<(), Over> {
        let (hard, one_of) = over.split_at(self.hard.len());
        let hard = self.hard.iter().zip(hard).map(|(bucket, over)| (*over, bucket.table));
        let one_of = self.one_of.iter().zip(one_of).map(|(bucket, over)| (*over, bucket.table));
        // Room in one of them is enough, so the first that has some again ends the wait.
        let worst = hard.chain(one_of.min_by_key(|(over, _)| *over)).max_by_key(|(over, _)| *over);
        match worst {
            Some((over, table)) if over > 0 => Err(Over::new(table, over)),
            _ => Ok(()),
        }
    }
}
