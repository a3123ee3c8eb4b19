//! The revoker: takes acts, records them together, applies them, and answers with a receipt.
//!
//! One task, the [`Recorder`], owns recording. While one transaction is being committed the acts that arrive wait in a
//! queue; then all of them share the next one (group commit). The task is never cancelled by a client that goes away,
//! so a commit always gets its answer and is always applied.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use uuid::Uuid;

use crate::{
    clock::{BootInstant, Clock, Timestamp},
    database::DatabaseError,
    ids::Seq,
    telemetry::metrics::{Metrics, RebuildReason, RevocationKind, RevocationOutcome},
};

use super::{
    Target,
    asked::{self, AskedError, Item, Store},
    feed::{Batch, Link},
    herald::Herald,
    lease::{self, Authority},
    ledger::{Act, Counts, Done, Kept, Ledger, ManyKind, Outcome},
    node::{Node, Reach},
    strategy::Enforcement,
    sync::{LoadError, NodeState, Replica},
};

/// Acts that share one transaction at most: what a commit of a few milliseconds lets in at thousands per second,
/// and few enough that its rows fit into one page of a load.
const BATCH: usize = 256;

/// Transactions that wait for other nodes at most. With nodes that answer it is one or two; with a dead one, all that
/// its hold lets in: some 100 a second, for minutes if `serve_for` is long. They share one reading of the nodes.
const WAITS: usize = 16_384;

/// Between two tries to read the ledger again after something did not fit.
const RELOAD_PAUSE: Duration = Duration::from_millis(200);

/// How often the recorder looks whether the ledger still stands where it left it. One process owns the data folder, so
/// only somebody who writes into the file by hand can move it; what they write must not stay unseen.
const AUDIT: Duration = Duration::from_secs(2);

/// Tries to read the ledger again before the acts that wait are told that it cannot be done now.
const RELOADS: usize = 10;

/// Between two tries to tell the store, at first and at most.
const STORE_PAUSE: Duration = Duration::from_millis(20);
const STORE_PAUSE_MAX: Duration = Duration::from_secs(1);

/// What a revocation answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// The number in the ledger that must be applied for this to be in force.
    pub seq: Seq,
    /// What was revoked.
    pub revoked: Target,
    /// There was nothing left to do.
    pub already: bool,
    /// On how many nodes it is in force.
    pub applied: Applied,
    /// Every check that begins after this receipt denies. If not, it is recorded and durable, and will be in force on
    /// every node no later than the longest hold allows.
    pub complete: bool,
    /// When the last token that this has taken back expires, in RFC 3339: told where nothing else takes it back
    /// (`revocation.strategy` is `stateless`), and `complete` is false for that long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_force_at: Option<String>,
    /// From the call to this receipt, in milliseconds.
    pub elapsed_ms: f64,
}

/// Nodes that have applied a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// That have applied it.
    pub nodes: u32,
    /// That there are.
    pub of: u32,
}

/// A receipt and what the caller needs beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct Revoked {
    /// The receipt.
    pub receipt: Receipt,
    /// What the session that lives on goes on with, if one does.
    pub kept: Option<Kept>,
}

/// Why an act did not happen.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RevokeError {
    /// There is no such user or session.
    #[error("there is no such user or session")]
    Absent,
    /// The user's row has changed since it was read: the caller should look again.
    #[error("the account was changed at the same time")]
    Changed,
    /// Too many acts wait already. Nothing was done.
    #[error("too many revocations are waiting")]
    Full,
    /// The ledger could not record it. Nothing was done; only with [`DatabaseError::Unsettled`] it may have been.
    #[error("the ledger could not record it: {0}")]
    Ledger(Arc<DatabaseError>),
    /// It is recorded and durable, but this node could not apply it yet; it will, before it answers checks again.
    #[error("recorded, but not in force yet: {0}")]
    Unapplied(Arc<LoadError>),
    /// There are no tokens: credentials are opaque sessions. Nothing was done.
    #[error("credentials are sessions here, and there are no tokens to revoke: end the session")]
    NoTokens,
    /// The service is stopping.
    #[error("the service is stopping")]
    Stopping,
}

/// How long a caller waits for a revocation to be in force everywhere. It is recorded and durable in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Patience {
    /// Until it is.
    #[default]
    Complete,
    /// For so long at most; then the receipt says how far it has come.
    AtMost(Duration),
}

struct Job {
    act: Act,
    since: BootInstant,
    /// Told when it is in the ledger: what was done.
    recorded: oneshot::Sender<Result<Done, RevokeError>>,
    /// Told when it is in force everywhere.
    reached: oneshot::Sender<Result<Reach, RevokeError>>,
}

/// A revocation that is recorded and durable, and perhaps not in force everywhere yet.
#[derive(Debug)]
pub struct Pending {
    done: Done,
    since: BootInstant,
    reached: oneshot::Receiver<Result<Reach, RevokeError>>,
    revoker: Revoker,
}

impl Pending {
    /// Its number in the ledger.
    #[must_use]
    pub const fn seq(&self) -> Seq {
        self.done.seq
    }

    /// What became of many ids, if it is about many.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.done.counts.unwrap_or_default()
    }

    /// Waits until it is in force everywhere, or for as long as the caller has patience.
    ///
    /// # Errors
    /// [`RevokeError::Unapplied`], [`RevokeError::Stopping`].
    pub async fn receipt(self, patience: Patience) -> Result<Revoked, RevokeError> {
        let Self { done, since, reached, revoker } = self;
        let reach = match patience {
            Patience::Complete => reached.await.unwrap_or(Err(RevokeError::Stopping))?,
            Patience::AtMost(limit) => match tokio::time::timeout(limit, reached).await {
                Ok(reached) => reached.unwrap_or(Err(RevokeError::Stopping))?,
                Err(_) => Reach { is_complete: false, ..revoker.so_far(done.seq) },
            },
        };
        Ok(revoker.receipt(done, reach, since))
    }
}

/// Hands acts to the [`Recorder`]. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Revoker {
    jobs: mpsc::Sender<Job>,
    /// One bulk revocation at a time.
    pub(super) bulk: Arc<tokio::sync::Mutex<()>>,
    pub(super) clock: Clock,
    replica: Arc<Replica>,
    node: Option<Node>,
    ledger: Ledger,
    enforcement: Enforcement,
    has_tokens: bool,
}

impl Revoker {
    /// A revoker and the recorder that must run for it. At most `queue` acts wait. With a `node` it is one of several,
    /// and a receipt waits for all of them.
    pub fn new(
        ledger: Ledger,
        replica: Arc<Replica>,
        node: Option<Node>,
        queue: usize,
        metrics: Metrics,
    ) -> (Self, Recorder) {
        let (jobs, waiting) = mpsc::channel(queue);
        let clock = ledger.clock().source().clone();
        let bulk = Arc::default();
        let revoker = Self {
            jobs,
            bulk,
            clock: clock.clone(),
            replica: Arc::clone(&replica),
            node: node.clone(),
            ledger: ledger.clone(),
            enforcement: Enforcement::Nodes,
            has_tokens: true,
        };
        let desk = Desk { ledger, replica, clock, metrics, node, herald: None, enforcement: Enforcement::Nodes };
        (revoker, Recorder { waiting, desk })
    }

    /// With another way for a revocation to come in force. The [`Recorder`] is given the same.
    #[must_use]
    pub fn enforcing(mut self, enforcement: Enforcement) -> Self {
        self.enforcement = enforcement;
        self
    }

    /// Without tokens: an act that names one is refused, since it would end nothing.
    #[must_use]
    pub const fn without_tokens(mut self) -> Self {
        self.has_tokens = false;
        self
    }

    /// Records an act and waits until it is in force. The act goes on if the caller does not.
    ///
    /// # Errors
    /// [`RevokeError`].
    pub async fn revoke(&self, act: Act) -> Result<Revoked, RevokeError> {
        self.begin(act).await?.receipt(Patience::Complete).await
    }

    /// Records an act and waits until it is durable. The act goes on if the caller does not.
    ///
    /// # Errors
    /// [`RevokeError`].
    pub async fn begin(&self, act: Act) -> Result<Pending, RevokeError> {
        let names_token = match &act {
            Act::Token(_) => true,
            Act::Many(many) => many.kind == ManyKind::Token,
            _ => false,
        };
        if names_token && !self.has_tokens {
            return Err(RevokeError::NoTokens);
        }
        let (recorded, outcome) = oneshot::channel();
        let (in_force, reached) = oneshot::channel();
        let since = self.clock.boottime();
        let job = Job { act, since, recorded, reached: in_force };
        self.jobs.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => RevokeError::Full,
            mpsc::error::TrySendError::Closed(_) => RevokeError::Stopping,
        })?;
        let done = outcome.await.unwrap_or(Err(RevokeError::Stopping))?;
        Ok(Pending { done, since, reached, revoker: self.clone() })
    }

    /// How far a revocation has come by now, as far as this node has heard; `None` if no node has recorded it that this
    /// one knows of. Where one process is all there is, memory knows; elsewhere the ledger is asked, and the store.
    pub async fn progress(&self, seq: Seq) -> Option<Reach> {
        if !self.has_heard(seq) {
            return None;
        }
        if self.enforcement.is_by_nodes() {
            let Some(node) = &self.node else { return Some(self.so_far(seq)) };
            return Some(node.reach(seq).await.unwrap_or_else(|error| {
                tracing::debug!(%error, "how far a revocation has come cannot be told");
                node.so_far(seq)
            }));
        }
        let is_complete = match self.is_told(seq).await {
            Ok(is_complete) => is_complete,
            Err(error) => {
                tracing::debug!(%error, "how far a revocation has come cannot be told");
                false
            }
        };
        Some(self.all_or_none(is_complete))
    }

    /// Whether a transaction of the past is in force, with all before it. What the store was not told it is told now.
    async fn is_told(&self, seq: Seq) -> Result<bool, AskedError> {
        match &self.enforcement {
            Enforcement::Store(store) => Ok(store.catch_up(seq).await? >= seq),
            Enforcement::Expiry => {
                let page = self.ledger.page(Seq(seq.0 - 1)).await?;
                let now = self.ledger.clock().now();
                // What is pruned has been over for a day.
                let mut rows = page.iter().filter(|batch| batch.cursor.seq == seq).flat_map(|batch| &batch.rows);
                Ok(rows.all(|row| row.until < now))
            }
            Enforcement::Database | Enforcement::Nodes => Ok(true),
        }
    }

    /// Whether this node has heard that a number was recorded.
    #[must_use]
    pub fn has_heard(&self, seq: Seq) -> bool {
        let applied = self.replica.applied();
        let known = self.node.as_ref().map_or(applied, |node| node.head().max(applied));
        seq > Seq(0) && seq <= known
    }

    /// Where every node asks the same, all of them deny or none does.
    fn all_or_none(&self, is_complete: bool) -> Reach {
        let of = u32::try_from(self.node.as_ref().map_or(1, Node::members).max(1)).unwrap_or(u32::MAX);
        Reach { nodes: if is_complete { of } else { 0 }, of, is_complete }
    }

    fn so_far(&self, seq: Seq) -> Reach {
        if !self.enforcement.is_by_nodes() {
            return self.all_or_none(false);
        }
        if let Some(node) = &self.node {
            return node.so_far(seq);
        }
        // One process owns the ledger: this node is all there are.
        let is_complete = self.replica.applied() >= seq && self.replica.state() == NodeState::Live;
        Reach { nodes: u32::from(is_complete), of: 1, is_complete }
    }

    fn receipt(&self, done: Done, reach: Reach, since: BootInstant) -> Revoked {
        let elapsed = self.clock.boottime().since(since);
        // The answer of whoever waited says only whether.
        let reach = if self.enforcement.is_by_nodes() { reach } else { self.all_or_none(reach.is_complete) };
        let in_force_at = matches!(self.enforcement, Enforcement::Expiry).then(|| {
            let now = self.ledger.clock().now();
            (now + self.ledger.lifetimes().entry(now)).to_string()
        });
        let receipt = Receipt {
            seq: done.seq,
            revoked: done.target,
            already: done.already,
            applied: Applied { nodes: reach.nodes, of: reach.of },
            complete: reach.is_complete,
            in_force_at,
            elapsed_ms: (elapsed.as_secs_f64() * 1e6).round() / 1e3,
        };
        Revoked { receipt, kept: done.kept }
    }

    /// Acts that wait now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.jobs.max_capacity() - self.jobs.capacity()
    }
}

/// The one task that records.
#[derive(Debug)]
pub struct Recorder {
    waiting: mpsc::Receiver<Job>,
    desk: Desk,
}

/// What recording needs.
#[derive(Debug)]
struct Desk {
    ledger: Ledger,
    replica: Arc<Replica>,
    clock: Clock,
    metrics: Metrics,
    /// This node among others; `None` where one process is all there is.
    node: Option<Node>,
    herald: Option<Herald>,
    enforcement: Enforcement,
}

/// Acts that are committed, and wait for the other nodes.
struct Committed {
    jobs: Vec<Job>,
    /// The last number that any of them waits for.
    seq: Seq,
    /// Read after the commit was acknowledged.
    at: BootInstant,
    rest: Rest,
}

/// What is left to do after a commit.
enum Rest {
    /// To wait for nodes.
    Nodes(Authority),
    /// To tell the store.
    Store(Store, Vec<Item>),
}

impl Recorder {
    /// With somebody who tells others of what is recorded.
    #[must_use]
    pub fn telling(mut self, herald: Herald) -> Self {
        self.desk.herald = Some(herald);
        self
    }

    /// With another way for a revocation to come in force.
    #[must_use]
    pub fn enforcing(mut self, enforcement: Enforcement) -> Self {
        self.desk.enforcement = enforcement;
        self
    }

    /// Records until every [`Revoker`] is gone, or until `stop`: then it finishes what waits and ends.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let desk = Arc::new(self.desk);
        let mut stop = std::pin::pin!(stop);
        let mut stopping = false;
        let mut jobs = Vec::with_capacity(BATCH);
        // Waits for other nodes go on beside the next commits.
        let mut waits = JoinSet::new();
        let mut audit = tokio::time::interval(AUDIT);
        audit.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = &mut stop, if !stopping => {
                    stopping = true;
                    self.waiting.close();
                }
                _ = waits.join_next(), if !waits.is_empty() => {}
                taken = self.waiting.recv_many(&mut jobs, BATCH), if waits.len() < WAITS => {
                    if taken == 0 {
                        break;
                    }
                    if let Some(committed) = desk.record(std::mem::take(&mut jobs)).await {
                        let desk = Arc::clone(&desk);
                        waits.spawn(async move { desk.wait(committed).await });
                    }
                }
                _ = audit.tick(), if desk.node.is_none() => desk.audit().await,
            }
        }
        // Everything is recorded, and nobody listens for receipts any more: the node is to leave now, so that others need
        // not wait for it.
        waits.abort_all();
        while waits.join_next().await.is_some() {}
    }
}

impl Desk {
    /// Reads the ledger again if it is not where this node is, also after a reload that failed.
    async fn audit(&self) {
        let moved = match self.ledger.cursor().await {
            Ok(cursor) => {
                self.metrics.ledger_head_seq.set(cursor.seq.0);
                !self.replica.is_at(cursor)
            }
            Err(error) => return tracing::warn!(%error, "the ledger's head could not be read"),
        };
        if (moved || self.replica.state() == NodeState::Stale) && self.reload().await.is_err() {
            tracing::error!("checks are not answered until the ledger can be read");
        }
    }

    /// Commits acts and applies them here. Returns what has to wait for other nodes; else it has answered.
    async fn record(&self, jobs: Vec<Job>) -> Option<Committed> {
        let acts: Vec<Act> = jobs.iter().map(|job| job.act.clone()).collect();
        self.metrics.revocation_batch_size.record(f64::from(u32::try_from(acts.len()).unwrap_or(u32::MAX)));
        let notifies = !self.herald.as_ref().is_some_and(Herald::is_pushing);
        let recorded = match self.ledger.record_and(&acts, notifies).await {
            Ok(recorded) => recorded,
            Err(error) => {
                tracing::error!(%error, acts = acts.len(), "the ledger could not record");
                if matches!(error, DatabaseError::Unsettled(_)) && self.node.is_none() {
                    // Perhaps it did: then this node is behind, and says nothing until it knows. Among others it finds
                    // out by its lease.
                    self.replica.stop();
                }
                let error = Arc::new(error);
                for job in jobs {
                    self.count(&job.act, RevocationOutcome::Failed);
                    let _ = job.recorded.send(Err(RevokeError::Ledger(Arc::clone(&error))));
                }
                return None;
            }
        };
        let at = self.clock.boottime();
        let link = recorded.batch.as_ref().map(|batch| {
            self.metrics.ledger_head_seq.set(batch.cursor.seq.0);
            let link = self.replica.apply(batch);
            if let Some(herald) = self.herald.as_ref().filter(|_| self.enforcement.is_by_nodes()) {
                herald.tell(batch);
            }
            link
        });
        if !self.enforcement.is_by_nodes() {
            return self.enforce(jobs, recorded.batch.as_ref(), recorded.outcomes, at);
        }
        if let (Some(node), Some(authority)) = (&self.node, recorded.authority) {
            node.recorded(link);
            let seq = last(&recorded.outcomes);
            let jobs = self.tell(jobs, recorded.outcomes);
            return (!jobs.is_empty()).then_some(Committed { jobs, seq, at, rest: Rest::Nodes(authority) });
        }
        // Also what was there already must be in force here.
        let is_behind = last(&recorded.outcomes) > self.replica.applied();
        let applied = if link == Some(Link::Gap) || self.replica.state() != NodeState::Live || is_behind {
            self.reload().await
        } else {
            Ok(())
        };
        // One process owns the ledger: this node is all there are.
        let reach = applied.map(|()| Reach { nodes: 1, of: 1, is_complete: true });
        let jobs = self.tell(jobs, recorded.outcomes);
        self.answer(jobs, &reach);
        None
    }

    /// What was committed is in force where every check asks the ledger, and never before it expires where none asks
    /// anything. A store has to be told; that is left to do.
    fn enforce(
        &self,
        jobs: Vec<Job>,
        batch: Option<&Batch>,
        outcomes: Vec<Outcome>,
        at: BootInstant,
    ) -> Option<Committed> {
        let seq = last(&outcomes);
        let rest = if let Enforcement::Store(store) = &self.enforcement {
            let mut items: Vec<Item> =
                asked::items(batch.map_or(&[], std::slice::from_ref), Timestamp::default()).collect();
            // Also what was there already: whoever recorded it may have ended before the store was told.
            let is_old =
                |outcome: &Outcome| matches!(outcome, Outcome::Done(done) if done.already || done.counts.is_some());
            let old = jobs.iter().zip(&outcomes).filter(|(_, outcome)| is_old(outcome));
            items.extend(old.flat_map(|(job, _)| job.act.targets()).map(|target| (target, None)));
            Some(Rest::Store(store.clone(), items))
        } else {
            None
        };
        let jobs = self.tell(jobs, outcomes);
        if let Some(rest) = rest {
            return (!jobs.is_empty()).then_some(Committed { jobs, seq, at, rest });
        }
        let is_complete = matches!(self.enforcement, Enforcement::Database);
        self.answer(jobs, &Ok(Reach { nodes: 0, of: 0, is_complete }));
        None
    }

    /// Tells the store, for as long as a receipt waits. What it has not taken by then the store's own task tells it.
    async fn tell_store(&self, store: &Store, items: &[Item], seq: Seq, at: BootInstant) -> bool {
        let waited = || self.clock.boottime().since(at);
        let limit = lease::wait(store.patience());
        let mut pause = STORE_PAUSE;
        loop {
            let left = limit.saturating_sub(waited());
            let told = tokio::time::timeout(left, store.settle(items, seq)).await.unwrap_or(Err(AskedError::Late));
            let Err(error) = told else { return true };
            if waited() >= limit {
                tracing::error!(%error, %seq, "a revocation is recorded and not in force yet");
                return false;
            }
            tracing::warn!(%error, %seq, "Redis could not be told of a revocation; it is told again");
            tokio::time::sleep(pause.min(limit.saturating_sub(waited()))).await;
            pause = (2 * pause).min(STORE_PAUSE_MAX);
        }
    }

    /// Tells whoever asked what was recorded. Returns the acts that have something to wait for.
    fn tell(&self, jobs: Vec<Job>, outcomes: Vec<Outcome>) -> Vec<Job> {
        let tell = |(mut job, outcome): (Job, Outcome)| {
            let (told, _) = oneshot::channel();
            let told = std::mem::replace(&mut job.recorded, told);
            let answer = match outcome {
                Outcome::Absent => Err(RevokeError::Absent),
                Outcome::Changed => Err(RevokeError::Changed),
                Outcome::Done(done) => Ok(done),
            };
            let outcome = match &answer {
                Ok(done) if done.already => RevocationOutcome::Already,
                Ok(_) => RevocationOutcome::Recorded,
                Err(_) => RevocationOutcome::Failed,
            };
            self.count(&job.act, outcome);
            let is_done = answer.is_ok();
            // The caller may have gone; the act stands.
            let _ = told.send(answer);
            is_done.then_some(job)
        };
        jobs.into_iter().zip(outcomes).filter_map(tell).collect()
    }

    /// Waits until what was committed is in force everywhere, and answers.
    async fn wait(&self, committed: Committed) {
        let Committed { jobs, seq, at, rest } = committed;
        let authority = match rest {
            Rest::Nodes(authority) => authority,
            Rest::Store(store, items) => {
                let is_complete = self.tell_store(&store, &items, seq, at).await;
                return self.answer(jobs, &Ok(Reach { nodes: 0, of: 0, is_complete }));
            }
        };
        let Some(node) = &self.node else { return };
        // Acts that share a transaction share the wait for its last number.
        let reach = node.reached(seq, at, authority).await;
        self.answer(jobs, &Ok(reach));
    }

    fn answer(&self, jobs: Vec<Job>, reach: &Result<Reach, Arc<LoadError>>) {
        for job in jobs {
            let reach = reach.as_ref().map_err(|error| RevokeError::Unapplied(Arc::clone(error)));
            if reach.is_ok() {
                self.metrics.revocation_seconds.record(self.clock.boottime().since(job.since));
            }
            let _ = job.reached.send(reach.copied());
        }
    }

    /// Somebody else has written into the ledger. The node stops answering checks until it has read it all.
    async fn reload(&self) -> Result<(), Arc<LoadError>> {
        self.replica.stop();
        tracing::error!(applied = %self.replica.applied(), "the ledger's history does not continue ours: reading it again");
        let mut tries = 0;
        loop {
            match self.replica.load(&self.ledger).await {
                Ok(()) => {
                    self.metrics.filter_rebuilds_total.at(RebuildReason::Start).increment(1);
                    return Ok(());
                }
                Err(error) if tries == RELOADS => return Err(Arc::new(error)),
                Err(error) => tracing::error!(%error, "the ledger could not be read"),
            }
            tries += 1;
            tokio::time::sleep(RELOAD_PAUSE).await;
        }
    }

    fn count(&self, act: &Act, outcome: RevocationOutcome) {
        let of = |target| match target {
            Target::Token(_) => RevocationKind::Token,
            Target::Session(_) => RevocationKind::Session,
            Target::Subject(_) => RevocationKind::Subject,
            Target::Everything => RevocationKind::Everything,
            Target::Key(_) => RevocationKind::Key,
        };
        let kind = match act {
            Act::Token(token) => of(Target::Token(*token)),
            Act::Session { session, .. } => of(Target::Session(*session)),
            Act::Subject { subject, .. }
            | Act::Password { subject, .. }
            | Act::Roles { subject, .. }
            | Act::Ban(subject)
            | Act::Delete(subject) => of(Target::Subject(*subject)),
            Act::Everything => of(Target::Everything),
            Act::Key(key) => of(Target::Key(*key)),
            Act::Many(many) => of(many.kind.target(Uuid::nil())),
            Act::Again(row) => of(row.target),
        };
        let many = if let Act::Many(many) = act { many.ids.len() } else { 1 };
        self.metrics.revocations_total.at((kind, outcome)).increment(many as u64);
    }
}

/// The last number that any of these outcomes names.
fn last(outcomes: &[Outcome]) -> Seq {
    let seq = |outcome: &Outcome| match outcome {
        Outcome::Done(done) => Some(done.seq),
        Outcome::Absent | Outcome::Changed => None,
    };
    outcomes.iter().filter_map(seq).max().unwrap_or_default()
}
