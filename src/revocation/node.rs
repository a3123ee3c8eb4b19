//! This node among others: it registers, renews, pulls, acknowledges, and removes those that are surely dead.
//!
//! One task runs [`Node::run`]. It alone writes the lease, and it alone brings rows into the replica, but for the
//! batches that this node has just recorded itself. A push is a hint that there is something to pull; when pushes are
//! lost, the pull at every interval finds it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::{BootInstant, Clock},
    database::DatabaseError,
    ids::{LedgerId, NodeId, Seq},
    secret,
};

use super::{
    feed::{Batch, Link},
    lease::{ACK_CHANNEL, FEED_CHANNEL, Member, Nodes, Renewal, wait},
    ledger::Ledger,
    sync::{LoadError, Replica},
};

/// A node renews five times within its hold, so that four may fail.
const RENEWALS_PER_HOLD: u32 = 5;

/// After a failed step, before the next one; up to twice as long, by chance, so that nodes do not come in step.
const PAUSE: Duration = Duration::from_millis(100);

/// A writer looks at the table of nodes again at least so often while it waits, and at first after this.
const LONGEST_LOOK: Duration = Duration::from_millis(250);
const FIRST_LOOK: Duration = Duration::from_millis(5);

/// How a node behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long it may go on after a renewal.
    pub hold: Duration,
    /// How often it looks for new rows when nobody says that there are any.
    pub pull: Duration,
    /// What people call it.
    pub name: String,
}

/// What this node has heard from others.
#[derive(Debug, Default)]
struct Heard {
    /// By node: the ledger's life it spoke of, and the last number it has applied there.
    applied: HashMap<NodeId, (LedgerId, Seq)>,
}

/// Acknowledgements kept at most: far more nodes than the design is for.
const MAX_HEARD: usize = 4096;

/// On how many nodes a revocation is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// Nodes that have applied it.
    pub nodes: u32,
    /// Nodes that there are.
    pub of: u32,
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
    /// Somebody has acknowledged something.
    acks: Notify,
    heard: Mutex<Heard>,
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
}

impl Node {
    /// A node over these parts.
    #[must_use]
    pub fn new(settings: Settings, ledger: Ledger, replica: Arc<Replica>) -> Self {
        let (nodes, clock) = (Nodes::new(ledger.database().clone()), ledger.clock().source().clone());
        let (news, acks, heard, me) = (Notify::new(), Notify::new(), Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { settings, nodes, ledger, replica, clock, news, acks, heard, me }))
    }

    /// Says that there is something to pull, or to acknowledge: what this node has recorded and applied itself counts
    /// at once.
    pub fn wake(&self) {
        if let Some(id) = *self.me() {
            self.hear(id, self.0.ledger.id(), self.0.replica.applied());
        }
        self.0.news.notify_one();
    }

    fn me(&self) -> std::sync::MutexGuard<'_, Option<NodeId>> {
        self.0.me.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the node until `stop`: registers, loads, and renews; begins anew under another id whenever that is over.
    /// Its row is removed last, after its lease has ended.
    ///
    /// # Errors
    /// [`LoadError`], when the ledger cannot be loaded; the caller tries again.
    pub async fn run(&self, stop: &CancellationToken) -> Result<(), LoadError> {
        let inner = &self.0;
        loop {
            let id = NodeId::random();
            let now = inner.ledger.clock().now();
            inner.nodes.register(id, inner.settings.hold, &inner.settings.name, now).await?;
            let end = match inner.replica.load(&inner.ledger).await {
                Ok(()) => {
                    *self.me() = Some(id);
                    self.renew_until(id, stop).await
                }
                Err(error) => {
                    self.leave(id).await;
                    return Err(error);
                }
            };
            match end {
                End::Stopping => {
                    self.leave(id).await;
                    return Ok(());
                }
                End::Expelled => tracing::error!(%id, "this node was expelled or has lost its row; it begins anew"),
                End::Broken => {
                    tracing::error!(%id, "the ledger's history does not continue ours; this node begins anew");
                    self.leave(id).await;
                }
            }
        }
    }

    /// Hears what other nodes say, until `stop`. Without it everything goes on, at the pace of the pull.
    ///
    /// # Errors
    /// [`DatabaseError`], when the channels cannot be heard; the caller tries again.
    pub async fn listen(&self, stop: &CancellationToken) -> Result<(), DatabaseError> {
        let mut listener = self.0.ledger.database().listen(&[FEED_CHANNEL, ACK_CHANNEL]).await?;
        while let Some(said) = stop.run_until_cancelled(listener.next()).await {
            match said? {
                Some((channel, payload)) => self.heard(&channel, &payload),
                // Something may have been missed.
                None => self.wake(),
            }
        }
        Ok(())
    }

    /// The last act of a registration: no check is answered any more, so its row need not be waited for.
    async fn leave(&self, id: NodeId) {
        *self.me() = None;
        self.0.replica.stop();
        if let Err(error) = self.0.nodes.remove(id).await {
            tracing::warn!(%error, %id, "this node's row could not be removed; revocations wait until its hold is over");
        }
    }

    async fn renew_until(&self, id: NodeId, stop: &CancellationToken) -> End {
        let inner = &self.0;
        let mut row = Row { id, beat: 0, is_certain: true, acknowledged: Seq(0), others: Others::default() };
        let every = inner.settings.hold / RENEWALS_PER_HOLD;
        let mut due = inner.clock.boottime();
        loop {
            let t0 = inner.clock.boottime();
            let outcome = if t0 >= due { self.renew(&mut row, t0).await } else { self.pull(&mut row).await };
            match outcome {
                Ok(()) if t0 >= due => due = t0 + every,
                Ok(()) => {}
                Err(Failed::Gone) => return self.over(End::Expelled),
                Err(Failed::Broken) => return self.over(End::Broken),
                Err(Failed::Database(error)) => {
                    tracing::warn!(%error, remaining_ms = self.remaining().as_secs_f64() * 1e3, "the ledger does not answer");
                    tokio::time::sleep(jittered(PAUSE)).await;
                }
            }
            let rest = due.since(inner.clock.boottime()).min(inner.settings.pull);
            tokio::select! {
                () = stop.cancelled() => return self.over(End::Stopping),
                () = inner.news.notified() => {}
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

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

    /// One renewal. The lease counts from `t0`, which was read before anything was asked.
    async fn renew(&self, row: &mut Row, t0: BootInstant) -> Result<(), Failed> {
        let inner = &self.0;
        if !row.is_certain {
            // An answer was lost. Nobody else renews this row: if its beat is one higher, that was us.
            match inner.nodes.beat(row.id).await? {
                Some(beat) if beat == row.beat || beat == row.beat + 1 => row.beat = beat,
                _ => return Err(Failed::Gone),
            }
        }
        row.is_certain = false;
        let (cursor, hold) = (inner.replica.cursor(), inner.settings.hold);
        let renewal = inner.nodes.renew(row.id, row.beat, inner.replica.applied(), hold, cursor.seq).await?;
        let renewal = renewal.ok_or(Failed::Gone)?;
        row.beat += 1;
        row.is_certain = true;
        if renewal.ledger != inner.ledger.id() {
            return Err(Failed::Broken);
        }
        if !renewal.is_known_server {
            inner.nodes.unsettle().await?;
            return Err(Failed::Broken);
        }
        self.apply(&renewal.batches)?;
        // Read on until this node is where the ledger was when it renewed; then, and not before, the lease counts.
        while inner.replica.applied() < renewal.head.seq {
            self.read_on().await?;
        }
        if !inner.replica.published.has_reached(renewal.head) {
            return Err(Failed::Broken);
        }
        inner.ledger.clock().adopt(renewal.time, t0);
        inner.replica.published.extend(renewal.head, t0 + hold);
        self.acknowledge(row).await?;
        self.look_after(row, &renewal).await?;
        Ok(())
    }

    /// Reads what is new, without renewing.
    async fn pull(&self, row: &mut Row) -> Result<(), Failed> {
        while self.read_on().await? {}
        Ok(self.acknowledge(row).await?)
    }

    /// Reads and applies one page. Returns whether there was one.
    async fn read_on(&self) -> Result<bool, Failed> {
        let page = self.0.ledger.page(self.0.replica.applied()).await?;
        self.apply(&page)?;
        Ok(!page.is_empty())
    }

    fn apply(&self, batches: &[Batch]) -> Result<(), Failed> {
        let fits = |batch| self.0.replica.apply(batch) != Link::Gap;
        if batches.iter().all(fits) { Ok(()) } else { Err(Failed::Broken) }
    }

    /// Says what was applied, if that was not said yet.
    async fn acknowledge(&self, row: &mut Row) -> Result<(), DatabaseError> {
        let inner = &self.0;
        let applied = inner.replica.applied();
        if applied > row.acknowledged {
            self.hear(row.id, inner.ledger.id(), applied);
            inner.nodes.acknowledge(row.id, inner.ledger.id(), applied).await?;
            row.acknowledged = applied;
        }
        Ok(())
    }

    /// Removes nodes that have certainly stopped, and lets a new server settle.
    async fn look_after(&self, row: &mut Row, renewal: &Renewal) -> Result<(), DatabaseError> {
        let inner = &self.0;
        let now = inner.clock.boottime();
        let members = inner.nodes.members().await?;
        let dead = row.others.see(&members, row.id, now, renewal.is_settled);
        for member in dead {
            if inner.nodes.expel(member.id, member.beat).await? {
                tracing::warn!(id = %member.id, name = member.name, "expelled a node that has not renewed");
            }
        }
        if row.others.has_settled(&members, now, renewal.is_settled) {
            inner.nodes.settle().await?;
        }
        Ok(())
    }

    /// Takes in what somebody says on a channel. Whatever is not understood is left: the pull will tell.
    pub fn heard(&self, channel: &str, payload: &str) {
        if channel == FEED_CHANNEL {
            self.wake();
            return;
        }
        let mut words = payload.split(' ');
        let (Some(Ok(id)), Some(Ok(ledger)), Some(Ok(seq))) = (
            words.next().map(str::parse::<NodeId>),
            words.next().map(str::parse::<LedgerId>),
            words.next().map(str::parse::<i64>),
        ) else {
            return;
        };
        self.hear(id, ledger, Seq(seq));
    }

    fn hear(&self, id: NodeId, ledger: LedgerId, seq: Seq) {
        let mut heard = self.0.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.applied.len() >= MAX_HEARD {
            heard.applied.clear();
        }
        let entry = heard.applied.entry(id).or_insert((ledger, seq));
        if entry.0 != ledger || entry.1 < seq {
            *entry = (ledger, seq);
        }
        drop(heard);
        self.0.acks.notify_waiters();
    }

    fn has_heard(&self, id: NodeId, seq: Seq) -> bool {
        let heard = self.0.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.applied.get(&id).is_some_and(|&(ledger, applied)| ledger == self.0.ledger.id() && applied >= seq)
    }

    /// Waits until no node can answer from before `seq`: each has applied it, or is gone, or must have stopped.
    /// `committed` was read after the commit was acknowledged.
    pub async fn reached(&self, seq: Seq, committed: BootInstant, authority: super::lease::Authority) -> Reach {
        let inner = &self.0;
        let mut look = FIRST_LOOK;
        loop {
            let acks = inner.acks.notified();
            // Afresh, and after the commit: a row that was read before could have been renewed since.
            let members = inner.nodes.members().await;
            let now = inner.clock.boottime();
            let mut wake = now + look;
            match members {
                Ok(members) => {
                    let has = |member: &&Member| member.applied >= seq || self.has_heard(member.id, seq);
                    let nodes = members.iter().filter(has).count();
                    let pending = members.iter().filter(|member| !(authority.is_settled && has(member)));
                    let over = |member: &Member| {
                        let hold = if authority.is_settled { member.hold } else { authority.max_hold };
                        committed + wait(hold)
                    };
                    let last = pending.map(over).filter(|&over| over > now).max();
                    let unsettled = (!authority.is_settled).then(|| committed + wait(authority.max_hold));
                    match last.max(unsettled.filter(|&over| over > now)) {
                        None => {
                            let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
                            return Reach { nodes: count(nodes), of: count(members.len()) };
                        }
                        Some(over) => wake = wake.min(over),
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the nodes could not be read");
                    // Without them nobody can be left out: all holds there ever were must be over.
                    if now >= committed + wait(authority.max_hold) {
                        return Reach { nodes: 0, of: 0 };
                    }
                }
            }
            tokio::select! {
                () = acks => {}
                () = tokio::time::sleep(wake.since(now)) => look = (look * 2).min(LONGEST_LOOK),
            }
        }
    }
}

/// This node's row, as it knows it.
struct Row {
    id: NodeId,
    beat: i64,
    /// Whether the last renewal's answer was heard.
    is_certain: bool,
    acknowledged: Seq,
    others: Others,
}

/// Why a step did not succeed.
enum Failed {
    /// The row is gone, or not as this node has left it.
    Gone,
    /// The history does not fit.
    Broken,
    /// The database.
    Database(DatabaseError),
}

impl From<DatabaseError> for Failed {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

/// What this node itself has seen of others: since when each stands at the same beat.
#[derive(Debug, Default)]
struct Others {
    seen: HashMap<NodeId, (i64, BootInstant)>,
    unsettled_since: Option<BootInstant>,
}

impl Others {
    /// Notes what is there, and returns those that have stood still for longer than they can hold. On a server that
    /// is not settled nobody is: their renewals may be lost.
    fn see<'a>(&mut self, members: &'a [Member], me: NodeId, now: BootInstant, is_settled: bool) -> Vec<&'a Member> {
        if !is_settled {
            self.seen.clear();
        }
        self.seen.retain(|id, _| members.iter().any(|member| member.id == *id));
        let mut dead = Vec::new();
        for member in members.iter().filter(|member| member.id != me) {
            let seen = self.seen.entry(member.id).or_insert((member.beat, now));
            if seen.0 != member.beat {
                *seen = (member.beat, now);
            }
            if is_settled && now.since(seen.1) >= wait(member.hold) {
                dead.push(member);
            }
        }
        dead
    }

    /// Whether a server that is not settled has been seen in charge for longer than anybody can hold.
    fn has_settled(&mut self, members: &[Member], now: BootInstant, is_settled: bool) -> bool {
        if is_settled {
            self.unsettled_since = None;
            return false;
        }
        let since = *self.unsettled_since.get_or_insert(now);
        let longest = members.iter().map(|member| member.hold).max().unwrap_or_default();
        now.since(since) >= wait(longest)
    }
}

fn jittered(pause: Duration) -> Duration {
    let [byte] = secret::random::<1>();
    pause + pause * u32::from(byte) / 255
}
