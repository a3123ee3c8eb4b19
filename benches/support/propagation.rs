//! How long a revocation takes to reach the other nodes, one at a time.

use std::{
    sync::mpsc::{Receiver, Sender, channel},
    thread::{self, JoinHandle},
    time::Duration,
};

use kickout::{
    clock::{BootInstant, Clock},
    ids::Seq,
    revocation::{Act, Patience, Revoker},
};
use serde::{Deserialize, Serialize};

use super::{
    fleet::{Fleet, Ticket, With, complete},
    latencies::{Latencies, Percentiles},
    rounds::Spread,
    servers::Servers,
};
use crate::Failure;

/// Between two looks at the other nodes. With what the kernel adds to a sleep, the resolution is about 0.1 ms.
const LOOK: Duration = Duration::from_micros(30);

/// Longer than any complete receipt takes.
const LATEST: Duration = Duration::from_secs(30);

/// What was found of one size and one way of hearing.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Propagation {
    pub(crate) with: With,
    pub(crate) nodes: usize,
    /// From the call to the acknowledged commit.
    pub(crate) commit_ms: Percentiles,
    /// From there until another node has applied it, for each other node; none where there is one node.
    pub(crate) applied_ms: Option<Percentiles>,
    /// From the call to the complete receipt.
    pub(crate) receipt_ms: Percentiles,
    /// The median of the latter, round by round.
    pub(crate) receipt_p50_ms: Spread,
}

/// Figures as they come in.
#[derive(Debug)]
pub(crate) struct Gathered {
    pub(crate) with: With,
    nodes: usize,
    commit: Latencies,
    applied: Latencies,
    receipt: Latencies,
    medians: Vec<f64>,
}

impl Gathered {
    pub(crate) fn new(with: With, nodes: usize) -> Result<Self, Failure> {
        let (commit, applied, receipt) = (Latencies::new()?, Latencies::new()?, Latencies::new()?);
        Ok(Self { with, nodes, commit, applied, receipt, medians: Vec::new() })
    }

    /// A round: a fresh cluster, and so many logouts one after the other, each at the next node.
    pub(crate) async fn round(&mut self, servers: &Servers, logouts: usize) -> Result<(), Failure> {
        let fleet = Fleet::start(servers, self.with, self.nodes).await?;
        let tickets = fleet.mint(logouts + 1).await?;
        let (first, tickets) = tickets.split_first().ok_or("no sessions")?;
        let mut seq = fleet.log_out(0, first).await?.seq;
        let watcher = Watcher::start(&fleet);
        let mut receipts = Latencies::new()?;
        for (n, ticket) in tickets.iter().enumerate() {
            tokio::time::sleep(self.pause(n)).await;
            seq = Seq(seq.0 + 1);
            let node = n % fleet.len();
            let taken = self.sample(&fleet, &watcher, node, ticket, seq).await?;
            receipts.record(taken)?;
        }
        self.receipt.add(&receipts)?;
        self.medians.push(receipts.percentiles().p50);
        watcher.stop()?;
        fleet.stop(servers).await
    }

    /// One logout, its answers checked on all nodes before and after. Returns how long its receipt took.
    async fn sample(
        &mut self,
        fleet: &Fleet,
        watcher: &Watcher,
        node: usize,
        ticket: &Ticket,
        seq: Seq,
    ) -> Result<Duration, Failure> {
        fleet.is_accepted(ticket).await?;
        watcher.expect(seq, node)?;
        let act = Act::Session { session: ticket.session, of: Some(ticket.subject) };
        let clock = Clock::System;
        let called = clock.boottime();
        let pending = fleet.sessions(node).revoker().begin(act).await?;
        let committed = clock.boottime();
        let receipt = pending.receipt(Patience::Complete).await?.receipt;
        let done = clock.boottime();
        complete(&receipt, fleet.len())?;
        fleet.is_refused(ticket).await?;
        if receipt.seq != seq {
            return Err(format!("somebody else has recorded something: {receipt:?}, and not {seq}").into());
        }
        for seen in watcher.seen()? {
            self.applied.record(seen.since(committed))?;
        }
        self.commit.record(committed.since(called))?;
        Ok(done.since(called))
    }

    /// Before a logout: where nodes pull, by the clock, logouts must not fall into step with that. 97 and 250 have no
    /// common divisor, so the pauses come to all lengths.
    fn pause(&self, n: usize) -> Duration {
        let spread = if self.with == With::Pull { 250 } else { 10 };
        Duration::from_millis(2 + (u64::try_from(n).unwrap_or_default() * 97 + 13) % spread)
    }

    pub(crate) fn found(self) -> Propagation {
        Propagation {
            with: self.with,
            nodes: self.nodes,
            commit_ms: self.commit.percentiles(),
            applied_ms: (self.nodes > 1).then(|| self.applied.percentiles()),
            receipt_ms: self.receipt.percentiles(),
            receipt_p50_ms: Spread::of(self.medians),
        }
    }
}

/// A thread of its own that looks when the other nodes have applied something.
struct Watcher {
    orders: Sender<(Seq, usize)>,
    answers: Receiver<Vec<BootInstant>>,
    thread: JoinHandle<()>,
}

impl Watcher {
    fn start(fleet: &Fleet) -> Self {
        let nodes: Vec<Revoker> = fleet.all().iter().map(|sessions| sessions.revoker().clone()).collect();
        let (orders, ordered) = channel();
        let (answer, answers) = channel();
        let thread = thread::spawn(move || {
            for (seq, but) in ordered {
                let _ = answer.send(watch(&nodes, seq, but));
            }
        });
        Self { orders, answers, thread }
    }

    /// Looks from now on until all nodes but one have this number.
    fn expect(&self, seq: Seq, but: usize) -> Result<(), Failure> {
        Ok(self.orders.send((seq, but))?)
    }

    fn seen(&self) -> Result<Vec<BootInstant>, Failure> {
        let seen = self.answers.recv_timeout(LATEST)?;
        Ok(seen)
    }

    fn stop(self) -> Result<(), Failure> {
        drop(self.orders);
        self.thread.join().map_err(|_| "the watcher has panicked".into())
    }
}

/// A node that has not applied a number knows nothing of its progress.
fn watch(nodes: &[Revoker], seq: Seq, but: usize) -> Vec<BootInstant> {
    let clock = Clock::System;
    let end = clock.boottime() + LATEST;
    let mut seen = Vec::with_capacity(nodes.len());
    let mut left: Vec<&Revoker> = nodes.iter().enumerate().filter(|(n, _)| *n != but).map(|(_, node)| node).collect();
    while !left.is_empty() && clock.boottime() < end {
        left.retain(|node| {
            let has = node.has_heard(seq);
            if has {
                seen.push(clock.boottime());
            }
            !has
        });
        if !left.is_empty() {
            thread::sleep(LOOK);
        }
    }
    seen
}
