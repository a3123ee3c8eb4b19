//! What goes on beside the requests: the filter grows and rotates, what has expired is pruned, time is noted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::App;
use crate::{
    clock::LedgerClock,
    database::DatabaseError,
    keystore::{self, Keys, KeysError},
    lifecycle::{Policy, Tasks},
    revocation::{ledger::Ledger, sync::LoadError},
    sessions::devices::Devices,
    telemetry::metrics::{KeyStateLabel, Metrics, PrunedTable, RebuildReason},
    tokens::keys::KeyState,
};

/// Rows that one pruning statement deletes at most: a few milliseconds of the writing connection.
const PRUNE_ROWS: u32 = 500;

/// Between two pruning statements: the writing connection is others' for ten times as long as it is ours.
const PRUNE_PAUSE: Duration = Duration::from_millis(30);

/// How often expired rows are looked for, keys are retired, and ledger time is noted.
const MAINTENANCE: Duration = Duration::from_secs(30);

/// How often the filter is asked to drop what has expired, and metrics to fold their samples.
const TICK: Duration = Duration::from_secs(2);

impl App {
    pub(super) fn maintain(&self, tasks: &Tasks) {
        let (replica, ledger, metrics) = (Arc::clone(&self.replica), self.ledger.clone(), self.metrics.clone());
        let shutdown = tasks.shutdown().clone();
        tasks.supervise("filter growth", Policy::Restart, move || {
            let (replica, ledger, metrics) = (Arc::clone(&replica), ledger.clone(), metrics.clone());
            let soft = shutdown.soft().clone();
            async move {
                while soft.run_until_cancelled(replica.wants_growth()).await.is_some() {
                    replica.grow(&ledger).await?;
                    metrics.filter_rebuilds_total.at(RebuildReason::Growth).increment(1);
                    tracing::info!(capacity = replica.filter().capacity, "the filter has grown");
                }
                Ok::<(), LoadError>(())
            }
        });
        let (replica, ledger, metrics) = (Arc::clone(&self.replica), self.ledger.clone(), self.metrics.clone());
        let shutdown = tasks.shutdown().clone();
        tasks.supervise("filter rotation", Policy::Restart, move || {
            let (replica, ledger, metrics) = (Arc::clone(&replica), ledger.clone(), metrics.clone());
            let soft = shutdown.soft().clone();
            async move {
                while soft.run_until_cancelled(tokio::time::sleep(TICK)).await.is_some() {
                    if replica.rotate(&ledger) {
                        metrics.filter_rotations_total.increment(1);
                    }
                    metrics.upkeep();
                }
                Ok::<(), LoadError>(())
            }
        });
        let keeper = Keeper {
            keys: self.keys.clone(),
            clock: self.ledger.clock().clone(),
            lead: self.config.tokens.key_lead.duration(),
            every: self.config.tokens.key_rotation.duration(),
            metrics: self.metrics.clone(),
            is_starting: Arc::new(AtomicBool::new(true)),
        };
        let shutdown = tasks.shutdown().clone();
        tasks.supervise("keys", Policy::Restart, move || {
            let (keeper, soft) = (keeper.clone(), shutdown.soft().clone());
            async move {
                loop {
                    Box::pin(keeper.look()).await?;
                    if soft.run_until_cancelled(keeper.wait()).await.is_none() {
                        return Ok::<(), KeysError>(());
                    }
                }
            }
        });
        let upkeep = Upkeep {
            ledger: self.ledger.clone(),
            devices: Devices::new(self.database.clone()),
            keys: self.keys.clone(),
            metrics: self.metrics.clone(),
        };
        let shutdown = tasks.shutdown().clone();
        tasks.supervise("maintenance", Policy::Restart, move || {
            let upkeep = upkeep.clone();
            let soft = shutdown.soft().clone();
            async move {
                while soft.run_until_cancelled(tokio::time::sleep(MAINTENANCE)).await.is_some() {
                    upkeep.run(&soft).await?;
                }
                Ok::<(), DatabaseError>(())
            }
        });
    }
}

/// Looks after the signing keys.
#[derive(Debug, Clone)]
struct Keeper {
    keys: Keys,
    clock: LedgerClock,
    lead: Duration,
    every: Duration,
    metrics: Metrics,
    /// Until the first look that has succeeded, over all starts of the task: it starts again after each error, and the
    /// configuration has not changed by that.
    is_starting: Arc<AtomicBool>,
}

impl Keeper {
    /// Takes up what others have done, makes a key if one is due, and shows how the keys are.
    async fn look(&self) -> Result<(), KeysError> {
        let has_begun = self.is_starting.load(Ordering::Relaxed);
        self.keys.sync(self.clock.now()).await?;
        if self.keys.rotate(self.clock.now(), self.lead, self.every, has_begun).await?.is_some() {
            self.metrics.keys_generated_total.increment(1);
        }
        self.is_starting.store(false, Ordering::Relaxed);
        self.show();
        Ok(())
    }

    /// Until the next look.
    async fn wait(&self) {
        tokio::select! {
            () = self.keys.revoked().told() => {}
            () = tokio::time::sleep(keystore::SYNC) => {}
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "gauges are floating-point numbers")]
    fn show(&self) {
        let now = self.clock.now();
        let list = self.keys.ring().list(now);
        for (label, state) in [
            (KeyStateLabel::Published, KeyState::Published),
            (KeyStateLabel::Signing, KeyState::Signing),
            (KeyStateLabel::Verifying, KeyState::Verifying),
            (KeyStateLabel::Retired, KeyState::Retired),
        ] {
            self.metrics.keys.at(label).set(list.iter().filter(|info| info.state == state).count());
        }
        if let Some(signing) = list.iter().find(|info| info.state == KeyState::Signing) {
            let age_ms = now.as_millis() - signing.signs_from.as_millis();
            self.metrics.signing_key_age_seconds.set(age_ms as f64 / 1e3);
        }
    }
}

/// What is done now and then.
#[derive(Debug, Clone)]
struct Upkeep {
    ledger: Ledger,
    devices: Devices,
    keys: Keys,
    metrics: Metrics,
}

impl Upkeep {
    async fn run(&self, stop: &CancellationToken) -> Result<(), DatabaseError> {
        self.ledger.keep_time().await?;
        let now = self.ledger.clock().now();
        self.keys.ring().set_max_access_ttl(self.ledger.lifetimes().ceiling(now));
        // A retired key's file stays for a day: long enough to look into what it has signed.
        if let Err(error) = self.keys.prune(now, Duration::from_hours(24)).await {
            tracing::warn!(%error, "a retired key could not be removed");
        }
        // Small statements with a pause between them, until nothing is due: whoever revokes waits for one at most.
        loop {
            let revocations = self.ledger.prune(PRUNE_ROWS).await?;
            let sessions = self.devices.prune(now, PRUNE_ROWS).await?;
            let swept = self.devices.sweep(now, PRUNE_ROWS).await?;
            self.metrics.pruned_total.at(PrunedTable::Revocations).increment(revocations);
            self.metrics.pruned_total.at(PrunedTable::Sessions).increment(sessions);
            if revocations + sessions + swept == 0 || stop.is_cancelled() {
                break;
            }
            tokio::time::sleep(PRUNE_PAUSE).await;
        }
        self.metrics.prune_backlog.at(PrunedTable::Revocations).set(self.ledger.prune_backlog().await?);
        self.metrics.prune_backlog.at(PrunedTable::Sessions).set(self.devices.prune_backlog(now).await?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        clock::{Clock, ManualClock, Timestamp},
        tokens::{
            KeyRing,
            keys::{Algorithm, KeySettings},
        },
    };

    const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
    const TTL: Duration = Duration::from_mins(15);
    const LEAD: Duration = Duration::from_mins(10);

    #[tokio::test]
    async fn another_algorithm_takes_over_at_the_start_of_a_node_and_not_when_its_task_starts_again() {
        let parent = tempfile::tempdir().unwrap();
        let (folder, away) = (parent.path().join("keys"), parent.path().join("away"));
        let settings = |algorithm| KeySettings::new(folder.clone(), algorithm, TTL, Duration::ZERO);
        let others = KeyRing::open(settings(Algorithm::ES256), START).unwrap();
        let keys = Keys::open(settings(Algorithm::EdDSA), None, LEAD, START).await.unwrap();
        let clock = Clock::Manual(ManualClock::at(START.as_millis()));
        let at = clock.boottime();
        let keeper = Keeper {
            keys: keys.clone(),
            clock: LedgerClock::new(clock, START, at),
            lead: LEAD,
            every: Duration::ZERO,
            metrics: Metrics::new(),
            is_starting: Arc::new(AtomicBool::new(true)),
        };
        let newest = || keys.ring().newest(START).unwrap();

        // What the start has not got done is done by the next one of the task.
        fs::rename(&folder, &away).unwrap();
        keeper.clone().look().await.unwrap_err();
        fs::rename(&away, &folder).unwrap();
        keeper.clone().look().await.unwrap();
        assert_eq!((keys.ring().list(START).len(), newest().algorithm), (2, Algorithm::EdDSA));

        // Another node has the next configuration.
        others.generate(START, 2 * LEAD).unwrap();
        keys.ring().reload(START).unwrap();
        for _ in 0..3 {
            keeper.clone().look().await.unwrap();
        }
        assert_eq!((keys.ring().list(START).len(), newest().algorithm), (3, Algorithm::ES256));
    }
}
