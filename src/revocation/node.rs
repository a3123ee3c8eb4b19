//! This node among others: it registers, renews, pulls, acknowledges, and removes those that are surely dead.
//!
//! One task runs [`Node::run`]. It alone writes the lease. Rows come into the replica by its pulls and renewals, by what
//! this node has just recorded itself, and by pushes that bring the next ones; a push that does not, or that only says
//! that there is something, wakes the pull. When pushes are lost, the pull at every interval finds it.

mod memo;
mod mend;
mod others;
mod reach;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::{BootInstant, Clock},
    database::{DatabaseError, VAULT_CHANNEL},
    ids::{LedgerId, NodeId, Seq},
    secret,
    telemetry::metrics::{Metrics, RebuildReason},
};

use super::{
    Strategy,
    asked::Store,
    blocklist::{BlocklistError, Message},
    feed::{Batch, Cursor, Link, Tag},
    herald::Herald,
    lease::{ACK_CHANNEL, Authority, FEED_CHANNEL, Nodes, Renewal},
    ledger::Ledger,
    sync::{LoadError, NodeState, Replica},
};

pub use self::{memo::Memo, reach::Reach};

use self::{others::Others, reach::Reaches};

/// A node renews five times within its lease, so that four may fail. So long may one answer take, too.
const RENEWALS_PER_LEASE: u32 = 5;

/// After a failed step, before the next one; up to twice as long, by chance, so that nodes do not come in step.
const PAUSE: Duration = Duration::from_millis(100);

/// Between two looks whether nodes that check in another way are gone, and how many looks there are for one line of log.
const KIN_LOOK: Duration = Duration::from_millis(200);
const SAYINGS: u32 = 50;

/// How a node behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long it may trust its filter after a renewal.
    pub lease: Duration,
    /// How much longer a policy may let it go on.
    pub serve_for: Duration,
    /// How often it looks for new rows when nobody says that there are any.
    pub pull: Duration,
    /// What people call it.
    pub name: String,
    /// How it checks.
    pub strategy: Strategy,
    /// What every check asks, if it does: filled before this node registers.
    pub store: Option<Store>,
    /// Where it notes its row's id.
    pub memo: Option<Memo>,
}

impl Settings {
    /// The longest that it may go on after a renewal, over all policies: what others wait for.
    #[must_use]
    pub fn hold(&self) -> Duration {
        self.lease + self.serve_for
    }
}

/// This node among others. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Node(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    nodes: Nodes,
    ledger: Ledger,
    replica: Arc<Replica>,
    clock: Clock,
    /// Somebody has recorded something.
    news: Notify,
    reaches: Reaches,
    herald: Herald,
    metrics: Metrics,
    /// The row under which it answers now, if it does.
    me: Mutex<Option<NodeId>>,
}

/// Why an incarnation of this node is over: it needs a new row, and to read the ledger again.
#[derive(Debug)]
enum End {
    /// The process stops.
    Stopping,
    /// Its row was gone, or somebody else's.
    Expelled,
    /// The history does not continue what it has.
    Broken,
    /// The ledger has begun another life.
    Anew,
}

impl Node {
    /// A node over these parts.
    #[must_use]
    pub fn new(settings: Settings, ledger: Ledger, replica: Arc<Replica>, herald: Herald, metrics: Metrics) -> Self {
        let (nodes, clock) = (Nodes::new(ledger.database().clone()), ledger.clock().source().clone());
        let (news, reaches, me) =
            (Notify::new(), Reaches::new(Arc::clone(&replica), settings.hold()), Mutex::default());
        Self(Arc::new(Inner { settings, nodes, ledger, replica, clock, news, reaches, herald, metrics, me }))
    }

    /// Says that there may be something to pull.
    pub fn wake(&self) {
        self.0.news.notify_one();
    }

    /// Says that this node has recorded something, and how that fits what it had applied.
    pub fn recorded(&self, link: Option<Link>) {
        self.acknowledge(false);
        // Others have recorded in between.
        if link == Some(Link::Gap) {
            self.wake();
        }
    }

    /// Says to itself and to others what is applied here, if this node answers checks under a row of its own.
    fn acknowledge(&self, by_sql: bool) {
        self.0.reaches.came_further();
        if let Some(id) = *self.me() {
            let ack = (id, self.0.ledger.id(), self.0.replica.cursor());
            self.0.reaches.hear(ack.0, ack.1, ack.2);
            self.0.herald.acknowledge(ack, by_sql);
        }
    }

    fn me(&self) -> std::sync::MutexGuard<'_, Option<NodeId>> {
        self.0.me.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the node until `stop`: loads, registers, and renews; begins anew under another id whenever that is over.
    /// Its row is removed last, after its lease has ended.
    ///
    /// # Errors
    /// [`LoadError`], when the ledger cannot be loaded; the caller tries again, unless another life of it has begun.
    pub async fn run(&self, stop: &CancellationToken) -> Result<(), LoadError> {
        let speaking = async {
            Box::pin(self.0.herald.run()).await;
            std::future::pending().await
        };
        tokio::select! {
            ended = self.live(stop) => ended,
            never = speaking => never,
        }
    }

    async fn live(&self, stop: &CancellationToken) -> Result<(), LoadError> {
        let inner = &self.0;
        self.bury().await?;
        // Whether the ledger has lost what it had, as far as this node has seen.
        let mut is_cut = false;
        loop {
            let id = NodeId::random();
            if !self.is_among_kin(stop).await? {
                return Ok(());
            }
            if let Some(store) = &inner.settings.store
                && !store.fill_until(stop, is_cut).await
            {
                return Ok(());
            }
            // Loaded before there is a row: nobody waits for a node that answers nothing yet, and none expels it. Whoever
            // reads the nodes before this row is there has committed before the first renewal, which brings what the load
            // has not; so nothing is missed.
            inner.replica.load(&inner.ledger).await?;
            inner.metrics.filter_rebuilds_total.at(RebuildReason::Start).increment(1);
            self.note(id);
            let now = inner.ledger.clock().now();
            let Settings { name, strategy, .. } = &inner.settings;
            if !inner.nodes.register(id, inner.settings.hold(), name, strategy.kin(), now).await? {
                continue;
            }
            *self.me() = Some(id);
            let end = self.renew_until(id, stop).await;
            match &end {
                End::Stopping => {
                    self.leave(id).await;
                    return Ok(());
                }
                End::Anew => {
                    self.leave(id).await;
                    return Err(LoadError::Anew);
                }
                End::Expelled => tracing::error!(%id, "this node was expelled or has lost its row; it begins anew"),
                End::Broken => {
                    tracing::error!(%id, "the ledger's history does not continue ours; this node begins anew");
                    self.leave(id).await;
                }
            }
            is_cut = matches!(end, End::Broken);
            inner.metrics.node_restarts_total.increment(1);
            // Not live again before that: a token that was dead must not come back.
            while let Some(Err(error)) = stop.run_until_cancelled(self.mend()).await {
                tracing::error!(%error, "what this ledger may have lost could not be looked for; it is tried again");
                tokio::time::sleep(jittered(PAUSE)).await;
            }
            if stop.is_cancelled() {
                return Ok(());
            }
            // What was heard before may be of a history that is gone. First ends what it is judged by: who hears something
            // while the next load is under way has nothing to compare it with.
            inner.replica.end_history();
            inner.reaches.forget();
            tokio::time::sleep(jittered(PAUSE)).await;
        }
    }

    /// Waits until no node is registered that checks in another way, and removes those of them that have certainly
    /// stopped. Returns whether there are none; else the process stops.
    async fn is_among_kin(&self, stop: &CancellationToken) -> Result<bool, DatabaseError> {
        let (inner, mut others, mut said) = (&self.0, Others::default(), 0_u32);
        let strategy = inner.settings.strategy;
        loop {
            let (members, now) = inner.clock.when(inner.nodes.neighbours(self.beat())).await;
            let mut members = members?;
            members.retain(|member| member.kin != strategy.kin());
            let Some(first) = members.first() else { return Ok(true) };
            if said.is_multiple_of(SAYINGS) {
                tracing::error!(
                    strategy = strategy.name(),
                    node = first.name,
                    checks_by = first.kin,
                    "a node of this database checks in another way than revocation.strategy says here: this one waits until \
                     it is gone. Give all nodes the same strategy, and stop all of them to change it"
                );
            }
            said = said.wrapping_add(1);
            // On a server that is not settled nobody is expelled: the statement sees to that.
            for dead in others.see(&members, NodeId::random(), now, true) {
                if inner.nodes.expel(dead.id, dead.beat, self.beat()).await? {
                    inner.metrics.nodes_expelled_total.increment(1);
                    tracing::warn!(id = %dead.id, name = dead.name, "expelled a node that has not renewed");
                }
            }
            if stop.run_until_cancelled(tokio::time::sleep(KIN_LOOK)).await.is_none() {
                return Ok(false);
            }
        }
    }

    /// Removes the row of the process that had this folder before: whoever holds the folder's lock now has outlived it.
    async fn bury(&self) -> Result<(), DatabaseError> {
        if let Some(id) = self.0.settings.memo.as_ref().and_then(Memo::read) {
            self.0.nodes.remove(id).await?;
        }
        Ok(())
    }

    /// Notes the row's id before there is one. A note that is lost costs the others one wait.
    fn note(&self, id: NodeId) {
        if let Some(memo) = &self.0.settings.memo
            && let Err(error) = memo.write(id)
        {
            tracing::warn!(%error, "this node's id could not be noted; after a crash others wait until its hold is over");
        }
    }

    /// Hears what other nodes say, until `stop`. Without it everything goes on, at the pace of the pull.
    ///
    /// # Errors
    /// [`DatabaseError`], when the channels cannot be heard; the caller tries again.
    pub async fn listen(&self, stop: &CancellationToken) -> Result<(), DatabaseError> {
        let channels: &[&str] =
            if self.0.replica.is_blind() { &[VAULT_CHANNEL] } else { &[FEED_CHANNEL, ACK_CHANNEL, VAULT_CHANNEL] };
        let mut listener = self.0.ledger.database().listen(channels).await?;
        while let Some(said) = stop.run_until_cancelled(listener.next()).await {
            if let Some((channel, payload)) = said? {
                self.heard(&channel, &payload);
            } else {
                // Something may have been missed.
                self.wake();
                self.0.replica.revoked().tell();
            }
        }
        Ok(())
    }

    /// Hears what other nodes say by Redis, until `stop`; for ever nothing if there is none.
    ///
    /// # Errors
    /// [`BlocklistError`], when nothing can be heard; the caller tries again.
    pub async fn listen_to_redis(&self, stop: &CancellationToken) -> Result<(), BlocklistError> {
        let Some(blocklist) = self.0.herald.blocklist().filter(|_| !self.0.replica.is_blind()) else {
            stop.cancelled().await;
            return Ok(());
        };
        let mut listener = blocklist.listen().await?;
        // Something may have been missed before.
        self.wake();
        while let Some(said) = stop.run_until_cancelled(listener.next()).await {
            match said? {
                Message::Push(batch) => self.pushed(&batch),
                Message::News(seq) if seq > self.0.replica.applied() => self.wake(),
                Message::News(_) => {}
                Message::Ack { node, ledger, at } => self.0.reaches.hear(node, ledger, at),
                Message::Garbage => {
                    self.0.metrics.redis_errors_total.increment(1);
                    self.wake();
                }
            }
        }
        Ok(())
    }

    /// Takes in a batch that another node has pushed, if it is the next one; else a pull finds out what is missing. Only
    /// a renewal tells whether the history is still ours.
    fn pushed(&self, batch: &Batch) {
        self.0.metrics.feed_pushes_total.increment(1);
        match self.0.replica.apply(batch) {
            Link::Next => self.acknowledge(false),
            Link::Known => {}
            Link::Gap => self.wake(),
        }
    }

    /// The last act of a registration: it is [over](Self::over), so its row need not be waited for.
    async fn leave(&self, id: NodeId) {
        if let Err(error) = self.0.nodes.remove(id).await {
            tracing::warn!(%error, %id, "this node's row could not be removed; revocations wait until its hold is over");
        }
    }

    async fn renew_until(&self, id: NodeId, stop: &CancellationToken) -> End {
        let inner = &self.0;
        let mut row = Row { id, beat: 0, is_certain: true, others: Others::default() };
        let mut due = inner.clock.boottime();
        loop {
            let t0 = inner.clock.boottime();
            let renews = t0 >= due;
            let outcome = if renews { self.renew(&mut row, t0).await } else { self.pull().await };
            match outcome {
                Ok(()) if renews => {
                    inner.metrics.renewals_total.increment(1);
                    due = t0 + self.beat();
                }
                Ok(()) => {}
                Err(Failed::Gone) => return self.over(End::Expelled),
                Err(Failed::Broken) => return self.over(End::Broken),
                Err(Failed::Anew) => return self.over(End::Anew),
                Err(Failed::Database(error)) => {
                    self.complain(&error);
                    if stop.run_until_cancelled(tokio::time::sleep(jittered(PAUSE))).await.is_none() {
                        return self.over(End::Stopping);
                    }
                }
            }
            let pull = if inner.replica.is_blind() { Duration::MAX } else { inner.settings.pull };
            let rest = due.since(inner.clock.boottime()).min(pull);
            tokio::select! {
                () = stop.cancelled() => return self.over(End::Stopping),
                () = inner.news.notified() => {}
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    fn complain(&self, error: &DatabaseError) {
        let remaining_ms = self.remaining().as_secs_f64() * 1e3;
        if remaining_ms > 0.0 {
            return tracing::warn!(%error, remaining_ms, "the ledger does not answer; checks go on until the lease is over");
        }
        let serve_for_ms = self.0.settings.serve_for.as_secs_f64() * 1e3;
        tracing::error!(%error, serve_for_ms, "the ledger does not answer, and the lease is over: revocation.on_stale decides");
    }

    /// From here on no check is answered.
    fn over(&self, end: End) -> End {
        *self.me() = None;
        self.0.replica.stop();
        end
    }

    /// How long this node may still answer without another renewal.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.0.replica.published.lease.remaining(self.0.clock.boottime())
    }

    /// Whether the lease is over by less than `beyond`.
    #[must_use]
    pub fn is_within(&self, beyond: Duration) -> bool {
        self.0.replica.published.lease.is_within(self.0.clock.boottime(), beyond)
    }

    /// One renewal. The lease counts from `t0`, which was read before anything was asked.
    async fn renew(&self, row: &mut Row, t0: BootInstant) -> Result<(), Failed> {
        let inner = &self.0;
        if !row.is_certain {
            // An answer was lost. Nobody else renews this row: if its beat is one higher, that was us.
            match inner.nodes.beat(row.id, self.beat()).await? {
                Some(beat) if beat == row.beat || beat == row.beat + 1 => row.beat = beat,
                _ => return Err(Failed::Gone),
            }
        }
        row.is_certain = false;
        let (cursor, hold) = (inner.replica.cursor(), inner.settings.hold());
        // Who keeps nothing of the rows asks for none.
        let after = if inner.replica.is_blind() { Seq(i64::MAX) } else { cursor.seq };
        let renewal = inner.nodes.renew(row.id, row.beat, cursor, hold, after, self.beat()).await?;
        let renewal = renewal.ok_or(Failed::Gone)?;
        row.beat += 1;
        row.is_certain = true;
        if renewal.ledger != inner.ledger.id() {
            return Err(Failed::Anew);
        }
        // A history that went backwards, or another way, shows here: a push may have brought this node further than the
        // snapshot that it was answered from, but where it stood before it asked, the ledger must have been.
        if !renewal.has_been_there {
            return Err(Failed::Broken);
        }
        inner.reaches.saw_hold(renewal.max_hold);
        if !renewal.is_known_server {
            // Beat and tags say that what this node has is part of what that server has, so it goes on; what it cannot
            // tell is whether others are so lucky. Receipts wait for every hold until that is settled.
            tracing::warn!(server = renewal.server, "another PostgreSQL server, or one that was started again");
            inner.nodes.unsettle(self.beat()).await?;
        }
        self.apply(&renewal.batches)?;
        if inner.replica.is_blind() {
            inner.replica.skip_to(renewal.head, renewal.floor, &inner.ledger).await?;
        }
        // Read on until this node is where the ledger was when it renewed; then, and not before, the lease counts.
        while inner.replica.applied() < renewal.head.seq {
            if !self.read_on().await? {
                // The ledger has less than it had a moment ago.
                return Err(Failed::Broken);
            }
        }
        if !inner.replica.has_reached(renewal.head) {
            return Err(Failed::Broken);
        }
        inner.ledger.clock().adopt(renewal.time, t0);
        inner.replica.published.extend(renewal.head, t0 + inner.settings.lease);
        inner.metrics.ledger_head_seq.set(renewal.head.seq.0);
        if inner.replica.applied() > cursor.seq && !inner.replica.is_blind() {
            self.acknowledge(true);
        }
        // The lease is extended; what others are doing is another matter.
        if let Err(error) = self.look_after(row, &renewal).await {
            tracing::warn!(%error, "the other nodes could not be looked after");
        }
        Ok(())
    }

    /// Reads what is new, without renewing.
    async fn pull(&self) -> Result<(), Failed> {
        if self.0.replica.is_blind() {
            return Ok(());
        }
        self.0.metrics.feed_pulls_total.increment(1);
        // One page: a renewal that is due must not wait until nobody revokes anything. What is left is asked for at once.
        if self.read_on().await? {
            self.acknowledge(true);
            self.wake();
        }
        Ok(())
    }

    /// The time from one renewal to the next. So long may one answer take: beyond it the next is due, on another
    /// connection.
    fn beat(&self) -> Duration {
        self.0.settings.lease / RENEWALS_PER_LEASE
    }

    /// Reads and applies one page. Returns whether there was one.
    async fn read_on(&self) -> Result<bool, Failed> {
        let page = self.0.ledger.pull(self.0.replica.applied(), self.beat()).await?;
        self.apply(&page)?;
        Ok(!page.is_empty())
    }

    fn apply(&self, batches: &[Batch]) -> Result<(), Failed> {
        let fits = |batch| self.0.replica.apply(batch) != Link::Gap;
        if batches.iter().all(fits) {
            return Ok(());
        }
        self.0.metrics.feed_gaps_total.increment(1);
        Err(Failed::Broken)
    }

    /// Removes nodes that have certainly stopped, and lets a new server settle.
    async fn look_after(&self, row: &mut Row, renewal: &Renewal) -> Result<(), DatabaseError> {
        let inner = &self.0;
        let limit = self.beat();
        // Seen when the answer has come: it may have been asked for long before, and a beat in it be that young.
        let (members, now) = inner.clock.when(inner.nodes.neighbours(limit)).await;
        let members = members?;
        let dead = row.others.see(&members, row.id, now, renewal.is_settled);
        for member in dead {
            if inner.nodes.expel(member.id, member.beat, limit).await? {
                inner.metrics.nodes_expelled_total.increment(1);
                tracing::warn!(id = %member.id, name = member.name, "expelled a node that has not renewed");
            }
        }
        if row.others.has_settled(renewal, inner.reaches.longest_hold(), now) {
            tracing::info!(
                "the PostgreSQL server has been in charge for longer than any hold: receipts are quick again"
            );
            inner.nodes.settle(&renewal.server, limit).await?;
        }
        inner.reaches.saw(members, renewal.head.seq);
        Ok(())
    }

    /// Takes in what somebody says on a channel. Whatever is not understood is left: the pull will tell.
    pub fn heard(&self, channel: &str, payload: &str) {
        if channel == FEED_CHANNEL {
            self.0.metrics.feed_pushes_total.increment(1);
            self.wake();
            return;
        }
        if channel == VAULT_CHANNEL {
            return self.0.replica.revoked().tell();
        }
        let mut words = payload.split(' ');
        let (Some(Ok(id)), Some(Ok(ledger)), Some(Ok(seq)), Some(Ok(tag))) = (
            words.next().map(str::parse::<NodeId>),
            words.next().map(str::parse::<LedgerId>),
            words.next().map(str::parse::<i64>),
            words.next().map(str::parse::<i64>),
        ) else {
            return;
        };
        self.0.reaches.hear(id, ledger, Cursor { seq: Seq(seq), tag: Tag(tag) });
    }

    /// On how many nodes a revocation is in force by now, as far as this node has heard.
    #[must_use]
    pub fn so_far(&self, seq: Seq) -> Reach {
        self.0.reaches.so_far(seq)
    }

    /// How far a revocation of the past has come, by what the ledger and the nodes say now.
    ///
    /// # Errors
    /// [`DatabaseError`]: nobody can tell now.
    pub async fn reach(&self, seq: Seq) -> Result<Reach, DatabaseError> {
        self.0.reaches.now(&self.0.nodes, seq, self.beat()).await
    }

    /// Waits until no node can answer from before `seq`. `committed` was read after the commit was acknowledged.
    pub async fn reached(&self, seq: Seq, committed: BootInstant, authority: Authority) -> Reach {
        self.0.reaches.reached(&self.0.nodes, &self.0.clock, seq, committed, authority).await
    }

    /// Nodes that there were at the last renewal.
    #[must_use]
    pub fn members(&self) -> usize {
        self.0.reaches.members()
    }

    /// The ledger's head at the last renewal.
    #[must_use]
    pub fn head(&self) -> Seq {
        self.0.reaches.head()
    }

    /// How far this node is: live means that checks are answered from memory, stale that its lease is over.
    #[must_use]
    pub fn state(&self) -> NodeState {
        let replica = &self.0.replica;
        match replica.state() {
            // Loaded, and not renewed yet.
            NodeState::Live if !replica.published.lease.is_given() => NodeState::Loading,
            // Its checks do not ask the lease.
            NodeState::Live if replica.is_blind() => NodeState::Live,
            NodeState::Live if !replica.published.lease.is_valid(self.0.clock.boottime()) => NodeState::Stale,
            state => state,
        }
    }
}

/// This node's row, as it knows it.
struct Row {
    id: NodeId,
    beat: i64,
    /// Whether the last renewal's answer was heard.
    is_certain: bool,
    others: Others,
}

/// Why a step did not succeed.
enum Failed {
    /// The row is gone, or not as this node has left it.
    Gone,
    /// The history does not fit.
    Broken,
    /// It is another ledger.
    Anew,
    /// The database.
    Database(DatabaseError),
}

impl From<DatabaseError> for Failed {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

fn jittered(pause: Duration) -> Duration {
    let [byte] = secret::random::<1>();
    pause + pause * u32::from(byte) / 255
}
