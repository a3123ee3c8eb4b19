//! How the node is: what operators read in metrics and readiness.

use std::{sync::Arc, time::Duration};

use crate::{
    ids::Seq,
    revocation::{
        OnStale, Strategy,
        blocklist::Blocklist,
        ledger::Ledger,
        node::Node,
        sync::{NodeState, Replica},
    },
    sessions::Sessions,
    telemetry::metrics::{Metrics, NodeStateCode},
};

/// A view on the parts of a node that have figures.
#[derive(Debug, Clone)]
pub struct Status(Parts);

/// Those parts.
#[derive(Debug, Clone)]
pub struct Parts {
    /// What is applied.
    pub replica: Arc<Replica>,
    /// The truth, and its time.
    pub ledger: Ledger,
    /// The use cases.
    pub sessions: Sessions,
    /// This node among others, where several share the ledger.
    pub node: Option<Node>,
    /// Redis, where there is one.
    pub blocklist: Option<Blocklist>,
    /// What becomes of checks when the lease is over.
    pub on_stale: OnStale,
    /// How a request's credential is checked.
    pub strategy: Strategy,
    /// Counts.
    pub metrics: Metrics,
}

impl Status {
    /// A view on these parts.
    #[must_use]
    pub const fn new(parts: Parts) -> Self {
        Self(parts)
    }

    /// How far the node is.
    #[must_use]
    pub fn node_state(&self) -> NodeState {
        self.0.node.as_ref().map_or_else(|| self.0.replica.state(), Node::state)
    }

    /// Whether checks are answered: by a node that is live, and by a stale one for as long as its policy lets it go on
    /// from memory.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        match (self.node_state(), &self.0.node, self.0.on_stale) {
            (NodeState::Live, ..) => true,
            (NodeState::Stale, Some(node), OnStale::ServeFor(beyond)) => node.is_within(beyond),
            _ => false,
        }
    }

    /// How long checks may go on from memory without another renewal; `None` where one process is all there is.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.0.node.as_ref().map(Node::remaining)
    }

    /// The ledger's last transaction, as this node last read it.
    #[must_use]
    pub fn head(&self) -> Seq {
        self.0.node.as_ref().map_or_else(|| self.applied(), |node| node.head().max(self.applied()))
    }

    /// How a request's credential is checked.
    #[must_use]
    pub const fn strategy(&self) -> &'static str {
        self.0.strategy.name()
    }

    /// Where the second look of a check goes before the ledger.
    #[must_use]
    pub fn blocklist(&self) -> &'static str {
        match (&self.0.blocklist, &self.0.node) {
            (Some(blocklist), _) if blocklist.is_healthy() => "redis",
            (Some(_), _) => "redis, which is away",
            (None, Some(_)) => "none",
            (None, None) => "in process",
        }
    }

    /// Nodes that there were at the last renewal.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.0.node.as_ref().map_or(1, Node::members)
    }

    /// The last ledger transaction that is in force here.
    #[must_use]
    pub fn applied(&self) -> Seq {
        self.0.replica.applied()
    }

    /// All metrics as Prometheus text, with the gauges as they are now.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "gauges are floating-point numbers")]
    pub fn render(&self) -> String {
        let filter = self.0.replica.filter();
        self.0.metrics.filter_entries.set(filter.entries);
        self.0.metrics.filter_capacity.set(filter.capacity);
        self.0.metrics.filter_generations.set(filter.generations);
        self.0.metrics.filter_bytes.set(filter.bytes);
        self.0.metrics.filter_delta_entries.set(filter.delta);
        let load = if filter.capacity == 0 { 0.0 } else { filter.current as f64 / filter.capacity as f64 };
        self.0.metrics.filter_load.set(load);
        self.0.metrics.applied_seq.set(self.0.replica.applied().0);
        self.0.metrics.nodes_registered.set(self.nodes());
        let is_up = self.0.blocklist.as_ref().is_some_and(Blocklist::is_healthy);
        self.0.metrics.redis_up.set(f64::from(u8::from(is_up)));
        if let Some(remaining) = self.remaining() {
            self.0.metrics.lease_remaining_seconds.set(remaining.as_secs_f64());
        }
        self.0.metrics.set_node_state(match self.node_state() {
            NodeState::Cold => NodeStateCode::Cold,
            NodeState::Loading => NodeStateCode::Loading,
            NodeState::Live => NodeStateCode::Live,
            NodeState::Stale => NodeStateCode::Stale,
        });
        self.0.metrics.revocation_queue.set(self.0.sessions.revoker().waiting());
        let passwords = self.0.sessions.passwords();
        self.0.metrics.passwords_busy.set(passwords.busy());
        self.0.metrics.passwords_waiting.set(passwords.waiting());
        self.0.metrics.passwords_refused_total.absolute(passwords.refused());
        let clock = self.0.ledger.clock();
        let lead_ms = clock.now().as_millis() - clock.source().wall().as_millis();
        self.0.metrics.ledger_clock_lead_seconds.set(lead_ms as f64 / 1e3);
        self.0.metrics.render()
    }
}
