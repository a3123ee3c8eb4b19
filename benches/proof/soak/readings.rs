//! What is read every second, of each node and of what they share.

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use deadpool_redis::redis::{Client, cmd};
use http::Method;
use kickout::clock::Clock;
use sqlx::{Connection as _, PgConnection};
use tokio::time::{sleep, timeout};

use super::{
    drift::{Drift, Series, median},
    load::Crowd,
};
use crate::{Failure, support::client::Net};

/// How often.
const EVERY: Duration = Duration::from_secs(1);

/// How long one reading may take before it is left out.
const LIMIT: Duration = Duration::from_secs(2);

/// Readings of late that a level is taken from.
const LATE: usize = 8;

/// How long work takes that has nothing to do with the service.
const MACHINE: &str = "the machine: SHA-256 of 1 MiB";

/// One node.
#[derive(Debug, Clone)]
pub(crate) struct Probe {
    pub(crate) name: String,
    pub(crate) net: Net,
    /// Its process, which is another one after a restart.
    pub(crate) process: Arc<AtomicU32>,
    /// It is never started again: what it has in memory grows for the whole run.
    pub(crate) is_elder: bool,
}

/// Figures of a node's metrics: name, unit, share and amount that they may rise by.
const METRICS: [(&str, &str, f64, f64); 7] = [
    ("kickout_filter_bytes", "B", 0.25, 65_536.0),
    ("kickout_filter_entries", "", 0.5, 500.0),
    ("kickout_filter_delta_entries", "", 0.5, 500.0),
    ("kickout_filter_generations", "", 0.0, 1.0),
    ("kickout_revocation_queue", "", 0.0, 5.0),
    ("kickout_passwords_waiting", "", 0.0, 5.0),
    ("kickout_connections{listener=\"public\"}", "", 0.0, 5.0),
];

/// Counters that must have moved, or the run shows nothing.
const COUNTERS: [&str; 4] = [
    "kickout_filter_rotations_total",
    "kickout_filter_rebuilds_total{reason=\"growth\"}",
    "kickout_pruned_total{table=\"revocations\"}",
    "kickout_pruned_total{table=\"sessions\"}",
];

/// All series of a run.
#[derive(Debug, Default)]
pub(crate) struct Readings {
    series: BTreeMap<String, Series>,
    /// The highest that each counter was seen at, over all nodes.
    counters: BTreeMap<&'static str, f64>,
}

/// Who reads.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) probes: Vec<Probe>,
    /// The database, past every fault of the network.
    pub(crate) database: String,
    pub(crate) redis: String,
    pub(crate) crowd: Arc<Crowd>,
    pub(crate) readings: Mutex<Readings>,
    /// How late this program's own work was done of late, in milliseconds.
    pub(crate) lateness: Mutex<Vec<f64>>,
}

impl Reader {
    /// Reads until it is over.
    pub(crate) async fn run(self: Arc<Self>) -> Result<(), Failure> {
        let mut connection = None;
        while !self.crowd.over.is_cancelled() {
            self.crowd.over.run_until_cancelled(sleep(EVERY)).await;
            let lateness = std::mem::take(&mut *self.lateness.lock().unwrap_or_else(PoisonError::into_inner));
            if let Some(p50) = quantile(&lateness, 0.5) {
                self.note(MACHINE, "ms", 0.5, 0.2, p50);
            }
            let checks = self.crowd.take_checks();
            if let (Some(p50), Some(p99)) = (quantile(&checks, 0.5), quantile(&checks, 0.99)) {
                self.note("check p50", "ms", 0.5, 1.0, p50);
                self.note("check p99", "ms", 1.0, 10.0, p99);
            }
            for probe in &self.probes {
                self.process(probe);
                // A node that does not answer now is read the next time.
                let _ = timeout(LIMIT, self.metrics(probe)).await;
            }
            // Nor has a database that is stopped anything to say.
            if timeout(LIMIT, self.tables(&mut connection)).await.is_ok_and(|read| read.is_some()) {
                continue;
            }
            connection = None;
        }
        Ok(())
    }

    /// Does some work of its own now and then, until it is over: when that takes longer than it did, the machine has other
    /// things to do than before, and latencies cannot be compared.
    pub(crate) async fn watch_the_machine(self: Arc<Self>) -> Result<(), Failure> {
        let clock = Clock::System;
        let bytes = vec![0_u8; 1 << 20];
        while !self.crowd.over.is_cancelled() {
            self.crowd.over.run_until_cancelled(sleep(EVERY / 20)).await;
            let began = clock.boottime();
            std::hint::black_box(kickout::secret::sha256(&bytes));
            let took = clock.boottime().since(began).as_secs_f64() * 1e3;
            self.lateness.lock().unwrap_or_else(PoisonError::into_inner).push(took);
        }
        Ok(())
    }

    fn note(&self, name: &str, unit: &str, share: f64, amount: f64, value: f64) {
        let (second, is_comparable) = (self.crowd.weather.now().as_secs_f64(), self.crowd.weather.is_comparable());
        let mut readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        let series = readings.series.entry(name.to_owned());
        series.or_insert_with(|| Series::new(name, unit, share, amount)).push(second, value, is_comparable);
    }

    /// What the system says of it.
    fn process(&self, probe: &Probe) {
        let folder = format!("/proc/{}", probe.process.load(Ordering::SeqCst));
        let Ok(status) = fs::read_to_string(format!("{folder}/status")) else { return };
        let number = |name: &str| -> Option<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let of = |what: &str| format!("{} {what}", probe.name);
        if let Some(kib) = number("VmRSS:").filter(|_| probe.is_elder) {
            self.note(&of("resident memory"), "MiB", 0.1, 6.0, kib / 1024.0);
        }
        if let Some(threads) = number("Threads:") {
            self.note(&of("threads"), "", 0.0, 3.0, threads);
        }
        if let Ok(files) = fs::read_dir(format!("{folder}/fd")) {
            self.note(&of("file descriptors"), "", 0.0, 5.0, whole(files.count()));
        }
    }

    /// What it says of itself.
    async fn metrics(&self, probe: &Probe) -> Option<()> {
        let answer = probe.net.manage(Method::GET, "/metrics").try_send().await.ok()?;
        let text = String::from_utf8(answer.body).ok()?;
        let value = |series: &str| -> Option<f64> {
            text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
        };
        for (series, unit, share, amount) in METRICS {
            if let Some(value) = value(series) {
                let name = series.trim_start_matches("kickout_");
                self.note(&format!("{} {name}", probe.name), unit, share, amount, value);
            }
        }
        let mut readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        for series in COUNTERS {
            if let Some(value) = value(series) {
                let seen = readings.counters.entry(series).or_default();
                *seen = seen.max(value);
            }
        }
        Some(())
    }

    /// What is in the database, and who is connected to it and to Redis.
    async fn tables(&self, connection: &mut Option<PgConnection>) -> Option<()> {
        if connection.is_none() {
            *connection = Some(PgConnection::connect(&self.database).await.ok()?);
        }
        let open = connection.as_mut()?;
        let counts = [
            (
                "PostgreSQL connections",
                0.0,
                4.0,
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'kickout'",
            ),
            ("rows of revocations", 0.3, 1000.0, "SELECT count(*) FROM revocations"),
            ("rows of sessions", 0.3, 300.0, "SELECT count(*) FROM sessions"),
            ("rows of nodes", 0.0, 0.5, "SELECT count(*) FROM nodes"),
        ];
        for (name, share, amount, statement) in counts {
            let count: i64 = sqlx::query_scalar(statement).fetch_one(&mut *open).await.ok()?;
            self.note(name, "", share, amount, f64::from(u32::try_from(count).ok()?));
        }
        let url = self.redis.clone();
        let clients = tokio::task::spawn_blocking(move || clients(&url)).await.ok()?;
        if let Some(clients) = clients {
            self.note("Redis clients", "", 0.0, 4.0, clients);
        }
        Some(())
    }

    /// The levels of late of whatever a fault may leave behind: descriptors and connections. Each is the highest of its
    /// last readings, or the median of the last three.
    pub(crate) fn levels(&self, is_highest: bool) -> BTreeMap<String, f64> {
        let readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        let is_one =
            |name: &str| name.ends_with("descriptors") || name == "PostgreSQL connections" || name == "Redis clients";
        let level = |(name, series): (&String, &Series)| {
            let count = if is_highest { LATE } else { 3 };
            let late = series.readings.iter().rev().take(count).map(|(_, value, _)| *value);
            let level = if is_highest { late.reduce(f64::max) } else { median(late.collect()) };
            Some((name.clone(), level?))
        };
        readings.series.iter().filter(|(name, _)| is_one(name)).filter_map(level).collect()
    }

    /// How many readings of a node there are.
    pub(crate) fn count(&self) -> usize {
        let readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        readings.series.values().map(|series| series.readings.len()).max().unwrap_or_default()
    }

    /// Whether each series drifts. Latencies are not judged if the machine itself has changed.
    pub(crate) fn drifts(&self, length: f64) -> Result<Vec<Drift>, Failure> {
        let readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        let mut drifts = readings.series.values().map(|series| series.drift(length)).collect::<Result<Vec<_>, _>>()?;
        let is_other = drifts.iter().any(|drift| drift.name == MACHINE && drift.last > drift.second + drift.allowed);
        for drift in drifts.iter_mut().filter(|drift| drift.name == MACHINE || drift.name.starts_with("check ")) {
            drift.is_excused = drift.is_drifting && is_other;
            drift.is_drifting &= drift.name != MACHINE && !is_other;
        }
        Ok(drifts)
    }

    /// The series, with at most so many readings each.
    pub(crate) fn series(&self, most: usize) -> Vec<Series> {
        let readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        readings.series.values().map(|series| series.thinned(most)).collect()
    }

    /// The counters that must have moved.
    pub(crate) fn counters(&self) -> BTreeMap<String, f64> {
        let readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        let named = |series: &&'static str| (*series).to_owned();
        COUNTERS.iter().map(|series| (named(series), readings.counters.get(series).copied().unwrap_or(0.0))).collect()
    }
}

/// Clients of a Redis, but for the one that asks.
fn clients(url: &str) -> Option<f64> {
    let client = Client::open(url).ok()?;
    let mut connection = client.get_connection_with_timeout(LIMIT).ok()?;
    connection.set_read_timeout(Some(LIMIT)).ok()?;
    let list: String = cmd("CLIENT").arg("LIST").query(&mut connection).ok()?;
    Some(whole(list.lines().count().saturating_sub(1)))
}

fn whole(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a list")]
fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get((whole(sorted.len()) * share) as usize).copied()
}
