//! How many tries: limits on logins, signups, refreshes and password checks, by account and by address.
//!
//! A try is asked for before anything dear is done: before the password pool, so that a flood cannot fill it, and
//! before the database. One that is over a limit is answered with 429, the same whether the account exists, whether the
//! password is right, and which of the limits it was.
//!
//! # The policy
//!
//! | limit | counts | of | refuses |
//! |---|---|---|---|
//! | `logins_per_address` a minute | every try | an address | further tries |
//! | `wrong_per_address` an hour | wrong passwords | an address, over all accounts | further tries |
//! | `wrong_per_account` an hour | wrong passwords | an account, from one address | further tries from there |
//! | `wrong_before_slow` an hour | wrong passwords | an account, from all addresses | nothing by itself, see below |
//! | `signups_per_address`, `signups_per_account` an hour | every try | an address; a name | further tries |
//! | `refreshes_per_address`, `refreshes_per_session` a minute | every try | an address; a session, from one address | further tries |
//!
//! - **Nobody is locked out by others.** NIST SP 800-63B-4 §3.2.2 has an account disabled after at most 100 wrong
//!   passwords; then whoever knows a name can keep its owner out for as long as they like. Here an account is never
//!   disabled. What refuses for an account is counted by account *and* address, so an attacker exhausts the tries of the
//!   attacker's own addresses. Attacked from many addresses at once (`wrong_before_slow`), an account goes slow: each
//!   address has a third of its tries for it then, and still has its first. So a right password from an address that
//!   has not failed itself gets through, always and at once. The price: against an attacker with many addresses the
//!   number of guesses is bounded by the number of addresses, and by passwords being long and not common.
//! - **A known device is judged by itself.** A browser that shows a token of this account with its login (the refresh
//!   cookie, also of a session that has ended) has been let in before. It has limits of its own (as many wrong passwords
//!   as an address has for an account, as many tries as an address has), which nobody else can use up: not those who
//!   share its address, and not those who attack its account (OWASP, "device cookies"). It is told by a MAC.
//! - **A right password costs nothing** but the try itself: what was taken for a wrong one is given back. It is taken
//!   before the password is looked at, so that a thousand tries at once are not a thousand guesses; so more tries at once
//!   than there may be wrong ones are too many, right or not. A try that ends without a verdict (the pool is full, the
//!   database is away) gives it back, too; one whose client goes away does not.
//! - **An address is a network.** IPv6 counts by /64, which is what one subscriber has at least; and by /48 with
//!   [`WIDER`] times as many, since those are had for nothing.
//! - **An address that cannot be known** (a proxy speaks for its clients and does not say for whom, or is not in
//!   `http.trusted_proxies`) is one for all who come that way, with [`UNKNOWN`] times as many. Whoever floods it keeps
//!   out all of them but known devices, so it is told in the log; name the proxy, and it ends.
//! - The current password, asked for again, counts for the account: whoever asks has a session. Its owner can end that
//!   of somebody else, and has the next try within `3600 s / wrong_per_account`.
//!
//! A limit of N in a time is N at once and N in that time from then on, evenly (the generic cell rate algorithm of ATM
//! Forum TM 4.1, §4.4.2). So it has no edge at which twice as many pass, and a refusal knows when the next try will do.
//!
//! # Where it is counted
//!
//! In this node's [`memory`], always; and with Redis also there, for all nodes together. A try must be good in both.
//! When Redis does not answer (in `redis.timeout`; after that the blocklist's circuit breaker lets one call in 0.1 to
//! 2 s wait that long, and no other), the node's own count stands alone: N nodes then give N times the tries, never
//! endless ones, and nobody is refused because Redis is away. A Redis that comes back empty has forgotten; the nodes
//! have not.
//!
//! Times are the ledger's, which all nodes share. Keys are MACs under the server's secret: neither memory nor Redis
//! holds a name or an address, and nobody can choose one that falls together with somebody else's.

mod bucket;
pub mod memory;
mod shared;

use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use crate::{
    clock::LedgerClock,
    ids::{SessionId, Subject},
    revocation::blocklist::Blocklist,
    secret::{MacKey, ServerSecret},
    telemetry::metrics::{LimitBackend, LimitKind, Metrics},
};

pub use self::bucket::{Bucket, Over, Tries};

use self::{bucket::Table, memory::Memory};

/// A network of IPv6 that is wider than what one subscriber is given: 2^16 of those have so many times the tries of one.
pub const WIDER: u32 = 8;

/// All who come by an address that cannot be known have so many times the tries of one.
pub const UNKNOWN: u32 = 10;

/// What Redis could not be told was given back waits here, so many at most: an outage's worth of logins that the breaker
/// let through, one in 0.1 to 2 s. What is beyond drains by itself within the hour.
const OWED: usize = 1024;

/// How many of those one try tells it: its own answer waits for them, a round trip each.
const PAID_AT_ONCE: usize = 4;

/// Under attack an account has, at each address, the tries that it has there otherwise, divided by this.
const SLOWER: u32 = 3;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// How many tries. 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Logins from one address in a minute.
    pub logins_per_address: u32,
    /// Wrong passwords from one address in an hour, for whichever account.
    pub wrong_per_address: u32,
    /// Wrong passwords for one account from one address in an hour.
    pub wrong_per_account: u32,
    /// Wrong passwords for one account in an hour, from wherever, until the account goes slow.
    pub wrong_before_slow: u32,
    /// Signups from one address in an hour.
    pub signups_per_address: u32,
    /// Signups for one name in an hour.
    pub signups_per_account: u32,
    /// Refreshes from one address in a minute.
    pub refreshes_per_address: u32,
    /// Refreshes of one session from one address in a minute.
    pub refreshes_per_session: u32,
}

/// Where a request comes from, as limits count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Source {
    /// From here.
    Address(IpAddr),
    /// Nobody can say: it is one source for all of those.
    #[default]
    Unknown,
}

/// Too many tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many tries; try again in {} s", seconds(*after))]
pub struct TooMany {
    /// When the next one will do, if there is no other before it.
    pub after: Duration,
}

/// Whole seconds, at least one.
#[must_use]
pub fn seconds(after: Duration) -> u64 {
    after.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX).max(1)
}

/// What was taken for a wrong password.
#[derive(Debug, Clone, Default)]
#[must_use = "a right password gives it back"]
pub struct Deposit(Tries);

/// The limits. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Limits(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    key: MacKey,
    clock: LedgerClock,
    memory: Memory,
    shared: Option<Blocklist>,
    /// What Redis may have counted and was not told was given back. A call that was given up may still be done later.
    owed: Mutex<VecDeque<Tries>>,
    /// The backend of the last try.
    last: AtomicU8,
    metrics: Metrics,
}

impl Limits {
    /// Limits counted in this process, and in Redis if there is one.
    #[must_use]
    pub fn new(
        settings: Settings,
        secret: &ServerSecret,
        clock: LedgerClock,
        shared: Option<Blocklist>,
        metrics: Metrics,
    ) -> Self {
        let backend = if shared.is_some() { LimitBackend::Redis } else { LimitBackend::Memory };
        metrics.limits_shared.set(f64::from(u8::from(shared.is_some())));
        let (key, last) = (secret.derive("limits, version 1"), AtomicU8::new(backend as u8));
        let (memory, owed) = (Memory::default(), Mutex::default());
        Self(Arc::new(Inner { settings, key, clock, memory, shared, owed, last, metrics }))
    }

    /// A login, of a name in the form that names are compared in. `device` is a session that was opened for this
    /// account, as the same client has proved.
    ///
    /// # Errors
    /// [`TooMany`].
    pub async fn login(&self, name: &str, source: Source, device: Option<SessionId>) -> Result<Deposit, TooMany> {
        let Settings { logins_per_address, wrong_per_address, wrong_per_account, wrong_before_slow, .. } =
            self.0.settings;
        let (mut every, mut wrong) = (Tries::default(), Tries::default());
        if let Some(session) = device {
            every.hard(self.bucket(Table::KnownLogins, logins_per_address, &[name.as_bytes()]));
            wrong.hard(self.bucket(Table::KnownWrong, wrong_per_account, &[session.uuid().as_bytes()]));
        } else {
            self.from(source, &mut every, Table::Logins, logins_per_address);
            self.from(source, &mut wrong, Table::WrongFrom, wrong_per_address);
            let (network, times) = network(source);
            let here = |table, limit: u32| self.bucket(table, limit, &[&network, name.as_bytes()]);
            let here_at_all = wrong_per_account.saturating_mul(times);
            wrong.hard(here(Table::WrongFor, here_at_all));
            let slow = if here_at_all == 0 { 0 } else { (here_at_all / SLOWER).max(1) };
            if let Some(everywhere) = self.bucket(Table::Everywhere, wrong_before_slow, &[name.as_bytes()])
                && let Some(slow) = here(Table::Slow, slow)
            {
                wrong.one_of([everywhere, slow]);
            }
        }
        self.take(LimitKind::Login, every, wrong).await
    }

    /// A signup with a name.
    ///
    /// # Errors
    /// [`TooMany`].
    pub async fn signup(&self, name: &str, source: Source) -> Result<(), TooMany> {
        let Settings { signups_per_address, signups_per_account, .. } = self.0.settings;
        let mut every = Tries::default();
        self.from(source, &mut every, Table::Signups, signups_per_address);
        every.hard(self.bucket(Table::SignupsAs, signups_per_account, &[name.as_bytes()]));
        self.take(LimitKind::Signup, every, Tries::default()).await.map(drop)
    }

    /// A refresh of the session that a token names, whether the token is ours or not: ask before it is looked up. What
    /// others send from elsewhere does not count for the session's own client.
    ///
    /// # Errors
    /// [`TooMany`].
    pub async fn refresh(&self, session: SessionId, source: Source) -> Result<(), TooMany> {
        let Settings { refreshes_per_address, refreshes_per_session, .. } = self.0.settings;
        let mut every = Tries::default();
        self.from(source, &mut every, Table::Refreshes, refreshes_per_address);
        let (network, _) = network(source);
        every.hard(self.bucket(Table::RefreshesOf, refreshes_per_session, &[&network, session.uuid().as_bytes()]));
        self.take(LimitKind::Refresh, every, Tries::default()).await.map(drop)
    }

    /// The current password of somebody who is logged in.
    ///
    /// # Errors
    /// [`TooMany`].
    pub async fn password(&self, subject: Subject) -> Result<Deposit, TooMany> {
        let mut wrong = Tries::default();
        let limit = self.0.settings.wrong_per_account;
        wrong.hard(self.bucket(Table::WrongCurrent, limit, &[subject.uuid().as_bytes()]));
        self.take(LimitKind::Password, Tries::default(), wrong).await
    }

    /// The password was right, or nobody has looked at it.
    pub async fn give_back(&self, Deposit(tries): Deposit) {
        if tries.is_empty() {
            return;
        }
        self.0.memory.give_back(self.now(), &tries);
        if let Some(shared) = &self.0.shared
            && shared::give_back(shared, self.now(), &tries).await.is_err()
        {
            self.owe(tries);
        }
    }

    fn owe(&self, tries: Tries) {
        let mut owed = self.owed();
        if owed.len() < OWED {
            owed.push_back(tries);
        }
    }

    /// Tells a Redis that answers again what it was not told.
    async fn pay(&self, shared: &Blocklist) {
        for _ in 0..PAID_AT_ONCE {
            let Some(tries) = self.next_owed() else { return };
            if shared::give_back(shared, self.now(), &tries).await.is_err() {
                return self.owe(tries);
            }
        }
    }

    fn next_owed(&self) -> Option<Tries> {
        self.owed().pop_front()
    }

    fn owed(&self) -> MutexGuard<'_, VecDeque<Tries>> {
        // Nothing panics while it holds the lock.
        self.0.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes all or nothing; what wrong passwords are counted by can be given back.
    async fn take(&self, kind: LimitKind, every: Tries, wrong: Tries) -> Result<Deposit, TooMany> {
        let tries = every.with(&wrong);
        if tries.is_empty() {
            return Ok(Deposit::default());
        }
        let now = self.now();
        self.0.memory.take(now, &tries).map_err(|over| self.refused(kind, over))?;
        if let Some(shared) = &self.0.shared {
            let asked = shared::take(shared, now, &tries).await;
            self.note(asked.as_ref().err());
            if asked.is_ok() {
                self.pay(shared).await;
            }
            if let Ok(Err(over)) = asked {
                self.0.memory.give_back(now, &tries);
                return Err(self.refused(kind, over));
            }
        }
        self.0.metrics.limit_tries_total.at((kind, self.backend())).increment(1);
        Ok(Deposit(wrong))
    }

    fn refused(&self, kind: LimitKind, over: Over) -> TooMany {
        self.0.metrics.limit_refusals_total.at((kind, over.scope)).increment(1);
        TooMany { after: over.after }
    }

    /// Says so once when Redis no longer counts, or does so again.
    fn note(&self, error: Option<&crate::revocation::blocklist::BlocklistError>) {
        let backend = if error.is_some() { LimitBackend::Memory } else { LimitBackend::Redis };
        if self.0.last.swap(backend as u8, Ordering::AcqRel) == backend as u8 {
            return;
        }
        self.0.metrics.limits_shared.set(f64::from(u8::from(error.is_none())));
        if let Some(error) = error {
            tracing::warn!(%error, "tries are limited by each node for itself: Redis does not count them");
        } else {
            tracing::info!("tries are limited by all nodes together: Redis counts them again");
        }
    }

    fn backend(&self) -> LimitBackend {
        if self.0.last.load(Ordering::Acquire) == LimitBackend::Redis as u8 {
            LimitBackend::Redis
        } else {
            LimitBackend::Memory
        }
    }

    /// The tries of an address, and of the network around it.
    fn from(&self, source: Source, tries: &mut Tries, table: Table, limit: u32) {
        let (near, times) = network(source);
        tries.hard(self.bucket(table, limit.saturating_mul(times), &[&near]));
        if let Source::Address(IpAddr::V6(address)) = source {
            let wide = prefix(u128::from(address), 48, b'w');
            tries.hard(self.bucket(table, limit.saturating_mul(WIDER), &[&wide]));
        }
    }

    /// `parts` have fixed lengths but for the last one.
    fn bucket(&self, table: Table, limit: u32, parts: &[&[u8]]) -> Option<Bucket> {
        let tag = [table as u8];
        let parts: Vec<&[u8]> = [tag.as_slice()].into_iter().chain(parts.iter().copied()).collect();
        Bucket::new(table, limit, self.0.key.sign(&parts))
    }

    /// Ledger time in microseconds.
    fn now(&self) -> i64 {
        self.0.clock.now().as_millis().saturating_mul(1000)
    }
}

/// A source in 17 bytes, and how many times the tries of one subscriber it has.
fn network(source: Source) -> ([u8; 17], u32) {
    match source {
        Source::Address(IpAddr::V4(address)) => (prefix(u128::from(u32::from(address)), 128, b'4'), 1),
        Source::Address(IpAddr::V6(address)) => (prefix(u128::from(address), 64, b'6'), 1),
        Source::Unknown => (prefix(0, 0, b'u'), UNKNOWN),
    }
}

/// The first bits of an address, after what tells kinds of networks apart.
fn prefix(bits: u128, length: u32, kind: u8) -> [u8; 17] {
    let kept = bits & u128::MAX.checked_shl(128 - length).unwrap_or(0);
    let mut bytes = [kind; 17];
    bytes[1..].copy_from_slice(&kept.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests;
