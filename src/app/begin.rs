//! How a process begins to answer: alone on its ledger, or as one node among others.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{App, StartError, database_error};
use crate::{
    lifecycle::{Fatal, Policy, Shutdown, Tasks},
    revocation::{
        Recorder,
        node::Node,
        sync::{LoadError, NodeState, Replica},
    },
    telemetry::metrics::RebuildReason,
};

/// Between two looks whether the node is live. It is logged then, and a command goes on; nobody's answer waits for it.
const LOOK: Duration = Duration::from_millis(20);

impl App {
    /// One process owns the ledger.
    pub(super) fn begin_alone(&self, recorder: Option<Recorder>, tasks: &Tasks) -> JoinHandle<Result<(), StartError>> {
        let named = database_error(&self.config, &self.folder);
        let (replica, ledger, clock) = (Arc::clone(&self.replica), self.ledger.clone(), self.clock.clone());
        let (herald, stop) = (self.herald.clone(), self.over.clone());
        tasks.spawn("herald", async move { stop.run_until_cancelled(Box::pin(herald.run())).await });
        let (metrics, over, later) = (self.metrics.clone(), self.over.clone(), tasks.clone());
        let store = self.store.clone();
        self.keep_told(tasks);
        tasks.spawn("load", async move {
            let since = clock.boottime();
            if let Some(store) = store
                && !store.fill_until(later.shutdown().soft(), false).await
            {
                return Err(StartError::Stopped);
            }
            if let Err(error) = replica.load(&ledger).await {
                let error = match error {
                    LoadError::Database(source) => StartError::Database(named(source)),
                    other => StartError::Load(other),
                };
                tracing::error!(%error, "the ledger cannot be loaded");
                later.shutdown().fail(Fatal { task: "load", problem: error.to_string() });
                return Err(error);
            }
            metrics.filter_rebuilds_total.at(RebuildReason::Start).increment(1);
            say_ready(&replica, clock.boottime().since(since));
            // Nobody waits for its end but the process.
            supervise(recorder, &later, over, CancellationToken::new());
            Ok(())
        })
    }

    /// One of several. The node's task loads, registers and renews, and begins anew when it must; what it hears comes by
    /// tasks of their own. It leaves last: when the recorder has finished, nobody here asks for a check any more.
    pub(super) fn begin_among(
        &self,
        node: &Node,
        recorder: Option<Recorder>,
        tasks: &Tasks,
    ) -> JoinHandle<Result<(), StartError>> {
        let leaving = CancellationToken::new();
        self.keep_told(tasks);
        supervise(recorder, tasks, self.over.clone(), leaving.clone());
        let (running, stop, shutdown) = (node.clone(), leaving.clone(), tasks.shutdown().clone());
        tasks.supervise("node", Policy::Restart, move || run(running.clone(), stop.clone(), shutdown.clone()));
        let (hearing, stop) = (node.clone(), leaving.clone());
        tasks.supervise("feed", Policy::Restart, move || {
            let (node, stop) = (hearing.clone(), stop.clone());
            async move { node.listen(&stop).await }
        });
        let (hearing, stop) = (node.clone(), leaving);
        tasks.supervise("redis feed", Policy::Restart, move || {
            let (node, stop) = (hearing.clone(), stop.clone());
            async move { node.listen_to_redis(&stop).await }
        });
        let (node, soft, clock) = (node.clone(), tasks.shutdown().soft().clone(), self.clock.clone());
        let replica = Arc::clone(&self.replica);
        tasks.spawn("load", async move {
            let since = clock.boottime();
            while node.state() != NodeState::Live {
                if soft.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_none() {
                    return Err(StartError::Stopped);
                }
            }
            say_ready(&replica, clock.boottime().since(since));
            Ok(())
        })
    }
}

impl App {
    /// Where checks ask a store, it is told what it was not, and filled again when it has lost what it held.
    fn keep_told(&self, tasks: &Tasks) {
        if let Some(store) = self.store.clone() {
            let soft = tasks.shutdown().soft().clone();
            tasks.spawn("store", async move { soft.run_until_cancelled(Box::pin(store.keep_told())).await });
        }
    }
}

/// Runs the recorder until `over`, and then says so.
fn supervise(mut recorder: Option<Recorder>, tasks: &Tasks, over: CancellationToken, ended: CancellationToken) {
    tasks.supervise("recorder", Policy::Fatal, move || {
        let (recorder, over, ended) = (recorder.take(), over.clone(), ended.clone());
        async move {
            recorder.ok_or("the recorder runs once")?.run(over.cancelled()).await;
            ended.cancel();
            Ok::<(), &str>(())
        }
    });
}

fn say_ready(replica: &Replica, took: Duration) {
    let took_ms = took.as_secs_f64() * 1e3;
    tracing::info!(entries = replica.filter().entries, applied = %replica.applied(), took_ms, "ready");
}

/// Runs the node. What another try cannot mend ends the process.
async fn run(node: Node, stop: CancellationToken, shutdown: Shutdown) -> Result<(), LoadError> {
    match Box::pin(node.run(&stop)).await {
        Err(error @ (LoadError::Anew | LoadError::Broken { .. })) => {
            shutdown.fail(Fatal { task: "node", problem: error.to_string() });
            stop.cancelled().await;
            Ok(())
        }
        result => result,
    }
}
