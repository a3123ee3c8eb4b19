//! How the node is: what operators read in metrics and readiness.

use std::sync::Arc;

use crate::{
    ids::Seq,
    revocation::{
        ledger::Ledger,
        sync::{NodeState, Replica},
    },
    sessions::Sessions,
    telemetry::metrics::{Metrics, NodeStateCode},
};

/// A view on the parts of a node that have figures.
#[derive(Debug, Clone)]
pub struct Status {
    replica: Arc<Replica>,
    ledger: Ledger,
    sessions: Sessions,
    metrics: Metrics,
}

impl Status {
    /// A view on these parts.
    #[must_use]
    pub const fn new(replica: Arc<Replica>, ledger: Ledger, sessions: Sessions, metrics: Metrics) -> Self {
        Self { replica, ledger, sessions, metrics }
    }

    /// How far the node is.
    #[must_use]
    pub fn node_state(&self) -> NodeState {
        self.replica.state()
    }

    /// The last ledger transaction that is in force here.
    #[must_use]
    pub fn applied(&self) -> Seq {
        self.replica.applied()
    }

    /// All metrics as Prometheus text, with the gauges as they are now.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "gauges are floating-point numbers")]
    pub fn render(&self) -> String {
        let filter = self.replica.filter();
        self.metrics.filter_entries.set(filter.entries);
        self.metrics.filter_capacity.set(filter.capacity);
        self.metrics.filter_generations.set(filter.generations);
        self.metrics.filter_bytes.set(filter.bytes);
        self.metrics.filter_delta_entries.set(filter.delta);
        self.metrics.filter_load.set(filter.current as f64 / filter.capacity as f64);
        self.metrics.applied_seq.set(self.replica.applied().0);
        self.metrics.set_node_state(match self.replica.state() {
            NodeState::Cold => NodeStateCode::Cold,
            NodeState::Loading => NodeStateCode::Loading,
            NodeState::Live => NodeStateCode::Live,
            NodeState::Stale => NodeStateCode::Stale,
        });
        self.metrics.revocation_queue.set(self.sessions.revoker().waiting());
        let passwords = self.sessions.passwords();
        self.metrics.passwords_busy.set(passwords.busy());
        self.metrics.passwords_waiting.set(passwords.waiting());
        self.metrics.passwords_refused_total.absolute(passwords.refused());
        let clock = self.ledger.clock();
        let lead_ms = clock.now().as_millis() - clock.source().wall().as_millis();
        self.metrics.ledger_clock_lead_seconds.set(lead_ms as f64 / 1e3);
        self.metrics.render()
    }
}
