//! Time, in one place. Everything else gets it from here, and clippy refuses the direct calls.
//!
//! Two clocks matter. [`BootInstant`] is the kernel's `CLOCK_BOOTTIME`: it never steps and goes on while the machine
//! sleeps, so durations are measured with it. [`Timestamp`] is *ledger time*: the one clock that decides when a token
//! or a revocation expires. [`LedgerClock`] carries ledger time between two readings of the ledger and never lets it
//! go back, so a wall clock that is set back cannot revive a token that had expired.

use std::{
    fmt,
    ops::{Add, Sub},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

/// The most that two nodes' readings of ledger time may differ. It is tolerated on `iat`, and added to the life of every
/// entry of the filter.
pub const SKEW: Duration = Duration::from_secs(2);

/// The most that `tokens.leeway` can be. Every entry lives for it, so that a leeway that is raised later does not bring
/// back a token whose entry has gone.
pub const MAX_LEEWAY: Duration = Duration::from_mins(1);

/// A reading of `CLOCK_BOOTTIME`, in nanoseconds since the machine started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootInstant(u64);

impl BootInstant {
    /// The reading `ns` nanoseconds after the machine started.
    #[must_use]
    pub const fn from_nanos(ns: u64) -> Self {
        Self(ns)
    }

    /// Nanoseconds since the machine started.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for BootInstant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// A point in ledger time, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The time `ms` milliseconds after 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Whole seconds since 1970-01-01T00:00:00Z, rounded down: a `NumericDate` (RFC 7519 §2).
    #[must_use]
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, to the millisecond.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const FORMAT: &[time::format_description::BorrowedFormatItem<'_>] =
            time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
        let text = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .ok()
            .and_then(|time| time.format(FORMAT).ok());
        match text {
            Some(text) => f.write_str(&text),
            None => write!(f, "{} ms", self.0),
        }
    }
}

impl Timestamp {
    /// For `serialize_with`: as the API writes times (RFC 3339, UTC).
    ///
    /// # Errors
    /// The serializer's own.
    pub fn as_text<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// Where time comes from: the kernel, or a test's own hands.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The kernel's clocks.
    #[default]
    System,
    /// A clock that moves only when it is told to.
    Manual(Arc<ManualClock>),
}

/// The state of a [`Clock::Manual`].
#[derive(Debug, Default)]
pub struct ManualClock {
    boot_ns: AtomicU64,
    wall_ms: AtomicI64,
}

impl ManualClock {
    /// A clock that stands at the given wall time, in milliseconds since 1970.
    #[must_use]
    pub fn at(wall_ms: i64) -> Arc<Self> {
        Arc::new(Self { boot_ns: AtomicU64::new(1_000_000_000), wall_ms: AtomicI64::new(wall_ms) })
    }

    /// Lets time pass: both clocks move.
    pub fn advance(&self, by: Duration) {
        self.boot_ns.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::SeqCst);
        self.step_wall(i64::try_from(by.as_millis()).unwrap_or(i64::MAX));
    }

    /// Somebody sets the wall clock: it steps by `ms`, forward or back, and no time passes.
    pub fn step_wall(&self, ms: i64) {
        self.wall_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock {
    /// Waits for an answer, and says with it when it had come: what it tells of was so at some moment before, and perhaps
    /// not long before, however long ago it was asked for.
    pub async fn when<T>(&self, answer: impl Future<Output = T>) -> (T, BootInstant) {
        let answer = answer.await;
        (answer, self.boottime())
    }

    /// `CLOCK_BOOTTIME` now, read from the kernel in this call and never from a cached tick.
    #[must_use]
    pub fn boottime(&self) -> BootInstant {
        match self {
            Self::System => {
                let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
                let nanos = i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
                BootInstant(u64::try_from(nanos).unwrap_or(0))
            }
            Self::Manual(clock) => BootInstant(clock.boot_ns.load(Ordering::SeqCst)),
        }
    }

    /// The machine's wall clock now. It may step either way: nothing but a ledger, a
    /// certificate and a log line may ask for it.
    ///
    /// By the C library, where what moves a process's clock for a test can stand in between.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        match self {
            Self::System => {
                #[expect(clippy::disallowed_methods, reason = "this is where it is asked")]
                let now = SystemTime::now();
                // Before 1970 there was no service.
                let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
            }
            Self::Manual(clock) => Timestamp(clock.wall_ms.load(Ordering::SeqCst)),
        }
    }
}

/// Ledger time on this node: the last reading of the ledger's clock, carried on by `CLOCK_BOOTTIME`, never back.
#[derive(Debug, Clone)]
pub struct LedgerClock {
    clock: Clock,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    /// Ledger time − boot time, in milliseconds.
    offset_ms: AtomicI64,
    /// Ledger time is at least this: what `now` had reached when the offset was last lowered.
    floor_ms: AtomicI64,
    /// One reading at a time: renewals and the upkeep both bring them.
    adopting: Mutex<()>,
}

impl LedgerClock {
    /// A clock that has taken its first reading.
    #[must_use]
    pub fn new(clock: Clock, reading: Timestamp, at: BootInstant) -> Self {
        let offset_ms = AtomicI64::new(reading.0 - boot_ms(at));
        let floor_ms = AtomicI64::new(reading.0);
        Self { clock, state: Arc::new(State { offset_ms, floor_ms, adopting: Mutex::default() }) }
    }

    /// Ledger time now. Two calls never give a later and then an earlier time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let carried = boot_ms(self.clock.boottime()) + self.state.offset_ms.load(Ordering::Acquire);
        Timestamp(carried.max(self.state.floor_ms.load(Ordering::Acquire)))
    }

    /// Takes a reading of the ledger's clock that was asked for at `asked` and has just come.
    ///
    /// It was made at some moment between the two, which may be far apart: this process, the network or the ledger may
    /// have stood still on the way, before the reading or after it. So the clock is moved no further than any such moment
    /// demands. Counting from `asked` would put a node ahead that has stood still with its question in hand, and what
    /// it issues then would be from the future to all others.
    ///
    /// A reading behind what this clock shows holds it still until the ledger has caught up; it never goes back.
    pub fn adopt(&self, reading: Timestamp, asked: BootInstant) {
        let _one = self.state.adopting.lock().unwrap_or_else(PoisonError::into_inner);
        let came = self.clock.boottime().max(asked);
        let offset_ms = self.state.offset_ms.load(Ordering::Acquire);
        let offset_ms = offset_ms.clamp(reading.0 - boot_ms(came), reading.0 - boot_ms(asked));
        // The floor is raised before the offset may sink, so no reader sees the lower offset without the floor.
        self.state.floor_ms.fetch_max(self.now().0, Ordering::AcqRel);
        self.state.offset_ms.store(offset_ms, Ordering::Release);
    }

    /// The source of this clock's boot time.
    #[must_use]
    pub const fn source(&self) -> &Clock {
        &self.clock
    }
}

fn boot_ms(at: BootInstant) -> i64 {
    i64::try_from(at.0 / 1_000_000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_is_as_old_as_its_arrival() {
        let manual = ManualClock::at(1_000_000);
        let clock = Clock::Manual(Arc::clone(&manual));
        let asked = clock.boottime();
        let late = async { manual.advance(Duration::from_secs(5)) };
        let ((), came) = clock.when(late).await;
        assert_eq!(came.since(asked), Duration::from_secs(5));
    }

    #[test]
    fn ledger_time_is_carried_by_boot_time_and_never_goes_back() {
        let manual = ManualClock::at(1_000_000);
        let clock = Clock::Manual(Arc::clone(&manual));
        let ledger = LedgerClock::new(clock.clone(), clock.wall(), clock.boottime());
        assert_eq!(ledger.now().as_millis(), 1_000_000);

        manual.advance(Duration::from_secs(5));
        assert_eq!(ledger.now().as_millis(), 1_005_000);

        manual.step_wall(-3_600_000);
        assert_eq!(ledger.now().as_millis(), 1_005_000, "a wall clock set back changes nothing by itself");

        ledger.adopt(Timestamp::from_millis(1_004_000), clock.boottime());
        assert_eq!(ledger.now().as_millis(), 1_005_000, "a reading from behind holds the clock still");
        manual.advance(Duration::from_millis(1500));
        assert_eq!(ledger.now().as_millis(), 1_005_500, "and then the ledger's time goes on");

        ledger.adopt(Timestamp::from_millis(1_100_000), clock.boottime());
        assert_eq!(ledger.now().as_millis(), 1_100_000, "a reading from ahead is followed at once");
    }

    /// A clock that a task or a timer moves on would be seen standing still.
    #[test]
    fn the_time_is_read_from_the_kernel_at_every_call() {
        let pause = Duration::from_micros(100);
        for _ in 0..50 {
            let before = Clock::System.boottime();
            std::thread::sleep(pause);
            assert!(Clock::System.boottime().since(before) >= pause);
        }
    }

    /// In a time namespace the machine seems to have slept for days: `CLOCK_BOOTTIME` counts them, `CLOCK_MONOTONIC` does
    /// not. Where there can be no such namespace, nothing is shown.
    #[test]
    fn the_time_that_the_machine_sleeps_counts() {
        const INSIDE: &str = "KICKOUT_TEST_IN_A_TIME_NAMESPACE";
        const ME: &str = "clock::tests::the_time_that_the_machine_sleeps_counts";
        if std::env::var_os(INSIDE).is_some() {
            let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
            let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
            let ours = Clock::System.boottime().since(BootInstant::from_nanos(0)).as_secs_f64();
            assert!((ours - uptime).abs() < 3600.0, "{ours} s by this clock, {uptime} s since the machine started");
            return;
        }
        let days = "1000000";
        let run = std::process::Command::new("unshare")
            .args(["--user", "--map-root-user", "--time", "--boottime", days, "--fork"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", ME])
            .env(INSIDE, "1")
            .output();
        let Ok(run) = run else { return };
        let said = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success() || !said.contains("running 1 test"), "{said}");
    }

    #[test]
    fn a_reading_that_was_long_on_its_way_moves_the_clock_no_further_than_it_proves() {
        let manual = ManualClock::at(1_000_000);
        let clock = Clock::Manual(Arc::clone(&manual));
        let ledger = LedgerClock::new(clock.clone(), clock.wall(), clock.boottime());
        // Read at the end of three seconds, as if the question had been stuck; then at their beginning, as if the answer
        // had.
        for truth in [1_003_000, 1_003_000] {
            let asked = clock.boottime();
            manual.advance(Duration::from_secs(3));
            ledger.adopt(Timestamp::from_millis(truth), asked);
            assert_eq!(ledger.now().as_millis(), clock.wall().as_millis());
        }
        // What no moment on the way explains is followed, as far as one does.
        for (reading, now) in [(1_020_000, 1_020_000), (1_010_000, 1_023_000)] {
            let asked = clock.boottime();
            manual.advance(Duration::from_secs(3));
            ledger.adopt(Timestamp::from_millis(reading), asked);
            assert_eq!(ledger.now().as_millis(), now);
        }
        manual.advance(Duration::from_secs(9));
        assert_eq!(
            ledger.now().as_millis(),
            1_023_000,
            "still: it was 10 s ahead of the latest that the ledger can be"
        );
        manual.advance(Duration::from_secs(2));
        assert_eq!(ledger.now().as_millis(), 1_024_000);
    }

    #[test]
    fn a_timestamp_prints_as_rfc_3339() {
        assert_eq!(Timestamp::from_millis(1_700_000_000_123).to_string(), "2023-11-14T22:13:20.123Z");
    }
}
