//! What is read every second, of each node and of what they share.

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use http::Method;
use kickout::{clock::Clock, tokens::keys::MAX_KEYS};
use tokio::time::{sleep, timeout};

use super::{
    CYCLE,
    drift::{Drift, Series, median},
    load::Crowd,
    others::Others,
};
use crate::{Failure, support::client::Net};

/// How often.
const EVERY: Duration = Duration::from_secs(1);

/// How long one reading may take before it is left out.
pub(super) const LIMIT: Duration = Duration::from_secs(2);

/// Readings of late that a level is taken from.
const LATE: usize = 8;

/// Times of one kind of act that a reading of its quantiles is made of. Between readings there are a few at best.
const ENOUGH: usize = 20;

/// Acts that are timed beside checks: name, and what the median and the 90th percentile may rise by at least, in
/// milliseconds.
const ACTS: [(&str, f64, f64); 3] = [("login", 15.0, 60.0), ("refresh", 5.0, 30.0), ("logout", 10.0, 40.0)];

/// Readings of latency in the last two thirds that a verdict needs, made while the machine was ours.
const FEWEST: usize = 24;

/// How long work takes that has nothing to do with the service.
const MACHINE: &str = "the machine: SHA-256 of 1 MiB";

/// A node's memory, and what it may rise by, in MiB: single steps of up to 1.8 MiB were seen, at no time in particular, and
/// small ones with bursts.
pub(crate) const MEMORY: &str = "resident memory";
const MEMORY_BOUND: f64 = 3.0;

/// Rows of `vault`: as many keys as are kept, and the secret of all nodes.
pub(crate) fn most_in_the_vault() -> f64 {
    whole(MAX_KEYS + 1)
}

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

/// Two bursts of [`BURST`](super::conductor::BURST) ids and some of the load's own. A burst is there for about half of the
/// time, in the ledger until it is pruned, in a filter until that generation is dropped, a third of it in the delta until
/// the filter has grown: so the median of such a series may be with it or without, and a slope may be steeper than that
/// step. What is never pruned is three times as much by the end.
pub(super) const BURSTS: f64 = 6600.0;

/// Figures of a node's metrics: name, unit, share and amount that they may rise by.
const METRICS: [(&str, &str, f64, f64); 7] = [
    ("kickout_filter_bytes", "B", 0.25, 65_536.0),
    ("kickout_filter_entries", "", 0.0, BURSTS),
    ("kickout_filter_delta_entries", "", 0.0, BURSTS / 4.0),
    ("kickout_filter_generations", "", 0.0, 1.0),
    ("kickout_revocation_queue", "", 0.0, 5.0),
    ("kickout_passwords_waiting", "", 0.0, 5.0),
    ("kickout_connections{listener=\"public\"}", "", 0.0, 5.0),
];

/// Counters that must have moved, or the run shows nothing.
const COUNTERS: [&str; 5] = [
    "kickout_keys_generated_total",
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
    /// Keys that the first node has, whatever their state.
    keys: f64,
    pub(crate) most_in_the_vault: f64,
    /// The most keys at once that were over by themselves.
    pub(crate) over_by_themselves: f64,
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
    /// Keys that were taken back, counted before it is done.
    pub(crate) taken_back: AtomicU64,
    /// How late this program's own work was done of late, in milliseconds.
    pub(crate) lateness: Mutex<Vec<f64>>,
}

impl Reader {
    /// Reads until it is over.
    pub(crate) async fn run(self: Arc<Self>) -> Result<(), Failure> {
        let mut connection = None;
        let mut others = Others::default();
        while !self.crowd.over.is_cancelled() {
            self.crowd.over.run_until_cancelled(sleep(EVERY)).await;
            let lateness = std::mem::take(&mut *self.lateness.lock().unwrap_or_else(PoisonError::into_inner));
            if let Some(p50) = quantile(&lateness, 0.5) {
                self.note(MACHINE, "ms", 0.5, 0.2, p50);
            }
            self.latencies(others.are_still());
            for probe in &self.probes {
                self.process(probe);
                // A node that does not answer now is read the next time.
                let _ = timeout(LIMIT, self.metrics(probe)).await;
            }
            // Nor has a database that is stopped anything to say.
            if timeout(LIMIT, self.stores(&mut connection)).await.is_ok_and(|read| read.is_some()) {
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

    /// How long what was asked of late took.
    fn latencies(&self, is_ours: bool) {
        let checks = self.crowd.take_times("check", 1);
        if let (Some(p50), Some(p99)) = (quantile(&checks, 0.5), quantile(&checks, 0.99)) {
            self.note_if(is_ours, "check p50", "ms", (0.5, 1.0), p50);
            self.note_if(is_ours, "check p99", "ms", (1.0, 10.0), p99);
        }
        let is_comparable = self.crowd.weather.is_comparable();
        for (act, least, most) in ACTS {
            // What is collected for a while must have nothing in it from around a fault.
            let times = self.crowd.take_times(act, if is_comparable { ENOUGH } else { 0 });
            if !is_comparable {
                continue;
            }
            if let (Some(p50), Some(p90)) = (quantile(&times, 0.5), quantile(&times, 0.9)) {
                self.note_if(is_ours, &format!("{act} p50"), "ms", (0.5, least), p50);
                self.note_if(is_ours, &format!("{act} p90"), "ms", (1.0, most), p90);
            }
        }
    }

    /// Of what comes with a burst and goes again, the lowest of each cycle counts: what does not go lifts that.
    pub(super) fn note_lowest(&self, name: &str, unit: &str, share: f64, amount: f64, value: f64) {
        self.note(name, unit, share, amount, value);
        let mut readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = readings.series.get_mut(name) {
            series.lowest_of = Some(CYCLE.as_secs_f64());
        }
    }

    pub(super) fn note(&self, name: &str, unit: &str, share: f64, amount: f64, value: f64) {
        self.note_if(true, name, unit, (share, amount), value);
    }

    /// The same, of which it is known whether the moment was like others otherwise.
    fn note_if(&self, is_alike: bool, name: &str, unit: &str, (share, amount): (f64, f64), value: f64) {
        let (second, is_comparable) = (self.crowd.weather.now().as_secs_f64(), self.crowd.weather.is_comparable());
        let mut readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        let series = readings.series.entry(name.to_owned());
        series.or_insert_with(|| Series::new(name, unit, share, amount)).push(second, value, is_alike && is_comparable);
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
            self.note(&of(MEMORY), "MiB", 0.0, MEMORY_BOUND, kib / 1024.0);
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
        let keys = |state: &str| value(&format!("kickout_keys{{state=\"{state}\"}}")).unwrap_or(0.0);
        let retired = keys("retired");
        let all = retired + keys("published") + keys("signing") + keys("verifying");
        let taken_back = f64::from(u32::try_from(self.taken_back.load(Ordering::SeqCst)).unwrap_or(u32::MAX));
        let mut readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        readings.over_by_themselves = readings.over_by_themselves.max(retired - taken_back);
        if probe.name == self.probes[0].name {
            readings.keys = all;
        }
        for series in COUNTERS {
            if let Some(value) = value(series) {
                let seen = readings.counters.entry(series).or_default();
                *seen = seen.max(value);
            }
        }
        Some(())
    }

    /// The vault has so many rows.
    pub(super) fn vault(&self, rows: f64) {
        let keys = {
            let mut readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
            readings.most_in_the_vault = readings.most_in_the_vault.max(rows);
            readings.keys
        };
        self.note("rows of vault", "", 0.0, most_in_the_vault(), rows);
        // A node looks every few seconds, and after a fault a little later: for that long it has a key less, or one more.
        self.note("rows of vault but for keys", "", 0.0, 0.5, rows - keys);
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
        let is_latency = |name: &str| [" p50", " p90", " p99"].iter().any(|end| name.ends_with(end));
        let drift = |series: &Series| match series.drift(length) {
            Ok(drift) if is_latency(&series.name) && drift.readings < FEWEST => Ok(series.not_judged()),
            Err(_) if is_latency(&series.name) => Ok(series.not_judged()),
            other => other,
        };
        let mut drifts = readings.series.values().map(drift).collect::<Result<Vec<_>, _>>()?;
        let is_other = drifts.iter().any(|drift| drift.name == MACHINE && drift.last > drift.second + drift.allowed);
        for drift in drifts.iter_mut().filter(|drift| drift.name == MACHINE || is_latency(&drift.name)) {
            drift.is_excused |= drift.is_drifting && is_other;
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

pub(super) fn whole(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a list")]
fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get((whole(sorted.len()) * share) as usize).copied()
}
