//! The herald: what this node tells the others, by Redis or by the database's own channels.
//!
//! Everything it says is a hint, but for acknowledgements, which may be late and never early: they are queued when
//! `applied` has been published. So nothing waits for it, and what it cannot say is found by the others' next pull.
//!
//! An answer takes the way that the question came: what was heard by Redis is acknowledged there, and what the database
//! told, or a pull has found, is acknowledged through the database as well, since whoever recorded it may not reach
//! Redis.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use super::{
    blocklist::Blocklist,
    feed::{Batch, Cursor},
    lease::Nodes,
};
use crate::{
    clock::LedgerClock,
    ids::{LedgerId, NodeId, Seq},
    telemetry::metrics::Metrics,
};

/// Batches that wait to be told at most: a second of commits. What is beyond is found by pulling.
const BACKLOG: usize = 512;

/// The least time between two acknowledgements on one way: a writer waits for a commit as long.
const BREATH: Duration = Duration::from_millis(5);

/// After the database could not be told, before it is tried again.
const PAUSE: Duration = Duration::from_millis(100);

/// What a node has applied.
type Ack = (NodeId, LedgerId, Cursor);

/// Tells others. Cheap to clone; clones share what waits.
#[derive(Debug, Clone)]
pub struct Herald(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    blocklist: Option<Blocklist>,
    nodes: Option<Nodes>,
    clock: LedgerClock,
    metrics: Metrics,
    batches: Mutex<VecDeque<Batch>>,
    redis: Way,
    sql: Way,
    /// The number that the database is to tell of; 0 if none.
    news: AtomicI64,
}

/// One way to the others.
#[derive(Debug, Default)]
struct Way {
    work: Notify,
    ack: Mutex<Option<Ack>>,
}

impl Way {
    fn put(&self, ack: Ack) {
        *self.ack.lock().unwrap_or_else(PoisonError::into_inner) = Some(ack);
        self.work.notify_one();
    }

    fn is_waiting(&self) -> bool {
        self.ack.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn take(&self) -> Option<Ack> {
        self.ack.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Herald {
    /// A herald that speaks by what there is: Redis, the database's channels, or both.
    #[must_use]
    pub fn new(blocklist: Option<Blocklist>, nodes: Option<Nodes>, clock: LedgerClock, metrics: Metrics) -> Self {
        let (batches, redis, sql, news) = (Mutex::default(), Way::default(), Way::default(), AtomicI64::new(0));
        Self(Arc::new(Inner { blocklist, nodes, clock, metrics, batches, redis, sql, news }))
    }

    /// Where it speaks by Redis.
    #[must_use]
    pub fn blocklist(&self) -> Option<&Blocklist> {
        self.0.blocklist.as_ref()
    }

    /// Whether Redis tells the others, as far as is known: then a commit need not.
    #[must_use]
    pub fn is_pushing(&self) -> bool {
        self.0.blocklist.as_ref().is_some_and(Blocklist::is_healthy)
    }

    /// Tells of a transaction that is committed.
    pub fn tell(&self, batch: &Batch) {
        if self.0.blocklist.is_none() {
            return;
        }
        let mut batches = self.0.batches.lock().unwrap_or_else(PoisonError::into_inner);
        if batches.len() >= BACKLOG
            && let Some(lost) = batches.pop_front()
        {
            self.tell_by_sql(lost.cursor.seq);
        }
        batches.push_back(batch.clone());
        drop(batches);
        self.0.redis.work.notify_one();
    }

    /// Says what this node has applied. With `by_sql` the database says it in any case.
    pub fn acknowledge(&self, ack: Ack, by_sql: bool) {
        if self.0.blocklist.is_some() {
            self.0.redis.put(ack);
        }
        if by_sql || !self.is_pushing() {
            self.0.sql.put(ack);
        }
    }

    fn tell_by_sql(&self, seq: Seq) {
        self.0.news.fetch_max(seq.0, Ordering::AcqRel);
        self.0.sql.work.notify_one();
    }

    /// Speaks on all ways, for as long as it is polled.
    pub async fn run(&self) {
        tokio::join!(self.run_redis(), self.run_sql());
    }

    async fn run_redis(&self) {
        let Some(blocklist) = &self.0.blocklist else { return };
        let boottime = || self.0.clock.source().boottime();
        let mut next_ack = boottime();
        loop {
            // News are not to wait for the breath between acknowledgements.
            tokio::select! {
                () = self.0.redis.work.notified() => {}
                () = tokio::time::sleep(next_ack.since(boottime())), if self.0.redis.is_waiting() => {}
            }
            self.publish(blocklist).await;
            if boottime() < next_ack {
                continue;
            }
            if let Some(ack) = self.0.redis.take() {
                next_ack = boottime() + BREATH;
                if let Err(error) = blocklist.acknowledge(ack.0, ack.1, ack.2).await {
                    tracing::debug!(%error, "Redis could not be told what is applied here");
                    self.0.metrics.redis_errors_total.increment(1);
                    self.0.sql.put(ack);
                }
            }
        }
    }

    /// Tells Redis of what waits, and the database of what Redis could not be told.
    async fn publish(&self, blocklist: &Blocklist) {
        loop {
            let batch = self.0.batches.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(batch) = batch else { return };
            if let Err(error) = blocklist.publish(&batch, self.0.clock.now()).await {
                tracing::debug!(%error, "Redis could not be told of a revocation");
                self.0.metrics.redis_errors_total.increment(1);
                self.tell_by_sql(batch.cursor.seq);
            }
        }
    }

    async fn run_sql(&self) {
        let Some(nodes) = &self.0.nodes else { return };
        loop {
            self.0.sql.work.notified().await;
            let news = Seq(self.0.news.swap(0, Ordering::AcqRel));
            if news > Seq(0)
                && let Err(error) = nodes.announce(news).await
            {
                tracing::debug!(%error, "the database could not be told of a revocation");
                tokio::time::sleep(PAUSE).await;
            }
            if let Some(ack) = self.0.sql.take() {
                match nodes.acknowledge(ack.0, ack.1, ack.2).await {
                    Ok(()) => tokio::time::sleep(BREATH).await,
                    Err(error) => {
                        tracing::debug!(%error, "the database could not be told what is applied here");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        }
    }
}
