//! The check: is this verified token still good?
//!
//! The common case is [`Checker::glance`]: a few atomic loads and the filter's probes, no lock, no await. Only a
//! "maybe" goes on to the answers known already and then to the ledger.

use std::{sync::Arc, time::Duration};

use crate::{
    ids::Seq,
    telemetry::metrics::{CheckCause, CheckTier, CheckVerdict, LookOutcome, Metrics},
};

use super::{
    Cause, Ignorance, Presented, Target, Tier, Verdict,
    asked::Store,
    blocklist::{Blocklist, asked::Told},
    feed::Cursor,
    filter::IDS_PER_CHECK,
    known::Exact,
    ledger::{Has, Ledger},
    published::Sight,
    sync::Replica,
};

/// A verdict and how it came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// The verdict.
    pub verdict: Verdict,
    /// Which tier gave it.
    pub tier: Tier,
    /// What was applied when the check began: the verdict is true of at least that.
    pub seq: Seq,
    /// The filter said "maybe" of an id that the ledger does not name.
    pub has_false_positive: bool,
}

/// Answers checks on one node.
#[derive(Debug, Clone)]
pub struct Checker {
    replica: Arc<Replica>,
    ledger: Ledger,
    blocklist: Option<Blocklist>,
    on_stale: OnStale,
    /// Where checks ask it at every request.
    store: Option<Store>,
    metrics: Metrics,
}

/// What a node does with a check when its lease is over: it cannot know what was revoked since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnStale {
    /// It says that it does not know.
    #[default]
    Deny,
    /// It asks the ledger, at every check.
    Ask,
    /// It goes on from memory for so long beyond the lease. The node's registered hold includes it, so a revocation that
    /// meets a dead node waits for it too.
    ServeFor(Duration),
}

impl OnStale {
    /// How long memory answers beyond the lease.
    const fn beyond(self) -> Duration {
        match self {
            Self::ServeFor(beyond) => beyond,
            Self::Deny | Self::Ask => Duration::ZERO,
        }
    }
}

/// What the sight of memory alone has told.
enum Glance {
    Decided(Checked),
    /// Bit `i` stands for the id at `i` that needs an exact answer.
    Maybe {
        ids: u8,
        seq: Seq,
    },
    /// The lease is over.
    Stale,
}

impl Checker {
    /// A checker over this node's replica, with the ledger for the second look.
    #[must_use]
    pub const fn new(replica: Arc<Replica>, ledger: Ledger, metrics: Metrics) -> Self {
        Self { replica, ledger, blocklist: None, on_stale: OnStale::Deny, store: None, metrics }
    }

    /// With a blocklist, which is asked before the ledger is.
    #[must_use]
    pub fn with(mut self, blocklist: Option<Blocklist>) -> Self {
        self.blocklist = blocklist;
        self
    }

    /// With a store that every check asks, where the replica keeps nothing. Without one, such a replica's checks ask
    /// nothing at all.
    #[must_use]
    pub fn asking(mut self, store: Option<Store>) -> Self {
        self.store = store;
        self
    }

    /// With another policy for when the lease is over.
    #[must_use]
    pub const fn on_stale(mut self, on_stale: OnStale) -> Self {
        self.on_stale = on_stale;
        self
    }

    /// Whether a token, whose signature and claims were verified, has been taken back.
    pub async fn check(&self, presented: &Presented) -> Checked {
        self.check_with(presented, self.on_stale).await
    }

    /// As [`check`](Self::check), under another policy for when the lease is over. One that serves for longer than the
    /// node has registered is not for the asking: the caller takes the durations from the configuration.
    pub async fn check_with(&self, presented: &Presented, on_stale: OnStale) -> Checked {
        let checked = if self.replica.is_blind() {
            // Boxed: what another strategy does must not make this one's future large.
            match self.glance_blind(presented) {
                Ok(checked) => checked,
                Err(store) => Box::pin(self.ask_store(store, presented)).await,
            }
        } else {
            self.check_memory(presented, on_stale).await
        };
        self.count(&checked);
        checked
    }

    async fn check_memory(&self, presented: &Presented, on_stale: OnStale) -> Checked {
        match self.glance(presented, on_stale) {
            Glance::Decided(checked) => checked,
            // Boxed: what rarely happens must not make every check's future large.
            Glance::Maybe { ids, seq } => Box::pin(self.look(presented, ids, seq)).await,
            Glance::Stale => Box::pin(self.ask(presented, on_stale)).await,
        }
    }

    /// What can be said of a token without asking anybody, where memory holds nothing: all, if nobody is asked; else whom
    /// to ask.
    fn glance_blind(&self, presented: &Presented) -> Result<Checked, &Store> {
        let decided = |verdict| {
            // What this node knows says nothing of what the store does.
            Ok(Checked { verdict, tier: Tier::None, seq: Seq(0), has_false_positive: false })
        };
        if !self.replica.has_begun() {
            return decided(Verdict::Unknown(Ignorance::Loading));
        }
        if presented.epoch != self.replica.ledger() {
            return decided(Verdict::Revoked(Cause::Epoch));
        }
        self.store.as_ref().map_or_else(|| decided(Verdict::Active), Err)
    }

    /// The store's word counts, whatever it is. When it does not have everything, somebody is told to fill it.
    async fn ask_store(&self, store: &Store, presented: &Presented) -> Checked {
        let (verdict, outcome) = match store.decide(presented).await {
            Ok(Told::Alive) => (Verdict::Active, LookOutcome::Miss),
            Ok(Told::Dead(cause)) => (Verdict::Revoked(cause), LookOutcome::Hit),
            Ok(Told::Lost) => {
                store.is_wanting();
                (Verdict::Unknown(Ignorance::Store), LookOutcome::Failed)
            }
            Err(error) => {
                tracing::debug!(%error, "Redis could not be asked");
                (Verdict::Unknown(Ignorance::Store), LookOutcome::Failed)
            }
        };
        self.metrics.blocklist_looks_total.at(outcome).increment(1);
        Checked { verdict, tier: Tier::Blocklist, seq: Seq(0), has_false_positive: false }
    }

    /// How far this node is.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.replica.cursor()
    }

    /// Why no token could be called good from memory now, if so.
    #[must_use]
    pub fn ignorance(&self, on_stale: Option<OnStale>) -> Option<Ignorance> {
        if self.replica.is_blind() {
            return (!self.replica.has_begun()).then_some(Ignorance::Loading);
        }
        let beyond = on_stale.unwrap_or(self.on_stale).beyond();
        match self.replica.published.sight(beyond, || self.ledger.clock().source().boottime()) {
            Sight::Stale => Some(Ignorance::Stale),
            Sight::Loading => Some(Ignorance::Loading),
            Sight::Live(_) => None,
        }
    }

    fn count(&self, checked: &Checked) {
        let (verdict, cause) = match checked.verdict {
            Verdict::Active => (CheckVerdict::Active, CheckCause::None),
            Verdict::Revoked(cause) => (
                CheckVerdict::Revoked,
                match cause {
                    Cause::Token => CheckCause::Token,
                    Cause::Session => CheckCause::Session,
                    Cause::Subject => CheckCause::Subject,
                    Cause::Roles => CheckCause::Roles,
                    Cause::Everything => CheckCause::Everything,
                    Cause::Epoch => CheckCause::Epoch,
                    Cause::Key => CheckCause::Key,
                },
            ),
            Verdict::Unknown(Ignorance::Loading) => (CheckVerdict::Unknown, CheckCause::Loading),
            Verdict::Unknown(Ignorance::Stale) => (CheckVerdict::Unknown, CheckCause::Stale),
            Verdict::Unknown(Ignorance::Store) => (CheckVerdict::Unknown, CheckCause::Store),
        };
        let tier = match checked.tier {
            Tier::None => CheckTier::None,
            Tier::Filter => CheckTier::Filter,
            Tier::Known => CheckTier::Known,
            Tier::Blocklist => CheckTier::Blocklist,
            Tier::Ledger => CheckTier::Ledger,
        };
        self.metrics.check(verdict, cause, tier);
        if checked.has_false_positive {
            self.metrics.filter_false_positives_total.increment(1);
        }
    }

    fn glance(&self, presented: &Presented, on_stale: OnStale) -> Glance {
        let decided = |verdict, tier, seq| Glance::Decided(Checked { verdict, tier, seq, has_false_positive: false });
        let boottime = || self.ledger.clock().source().boottime();
        let view = match self.replica.published.sight(on_stale.beyond(), boottime) {
            Sight::Stale => return Glance::Stale,
            Sight::Loading => return decided(Verdict::Unknown(Ignorance::Loading), Tier::None, Seq(0)),
            Sight::Live(view) => view,
        };
        if view.is_beyond() {
            self.metrics.checks_beyond_lease_total.increment(1);
        }
        let seq = view.applied();
        if presented.epoch != self.replica.ledger() {
            return decided(Verdict::Revoked(Cause::Epoch), Tier::None, seq);
        }
        if presented.generation < view.floor() {
            return decided(Verdict::Revoked(Cause::Everything), Tier::Filter, seq);
        }
        match view.probe(&keys(presented)) {
            0 if view.is_revoked(presented.key) => decided(Verdict::Revoked(Cause::Key), Tier::Filter, seq),
            0 => decided(Verdict::Active, Tier::Filter, seq),
            ids => Glance::Maybe { ids, seq },
        }
    }

    /// The lease is over: nothing that this node has in memory says "alive" any more.
    async fn ask(&self, presented: &Presented, on_stale: OnStale) -> Checked {
        let seq = self.replica.applied();
        let unknown = |ignorance| Checked {
            verdict: Verdict::Unknown(ignorance),
            tier: Tier::None,
            seq,
            has_false_positive: false,
        };
        if on_stale != OnStale::Ask {
            return unknown(Ignorance::Stale);
        }
        match self.ledger.cause(presented, self.replica.cursor()).await {
            Ok(cause) => Checked {
                verdict: cause.map_or(Verdict::Active, Verdict::Revoked),
                tier: Tier::Ledger,
                seq,
                has_false_positive: false,
            },
            Err(error) => {
                tracing::warn!(%error, "the ledger could not be asked");
                unknown(Ignorance::Store)
            }
        }
    }

    /// The exact look for the ids that the filter was not sure of.
    async fn look(&self, presented: &Presented, ids: u8, seq: Seq) -> Checked {
        let keys = keys(presented);
        let mut has_asked = false;
        let mut checked = Checked { verdict: Verdict::Active, tier: Tier::Known, seq, has_false_positive: false };
        for (i, target) in targets(presented).into_iter().enumerate().filter(|(i, _)| ids & (1 << i) != 0) {
            let key = keys[i];
            let exact = if self.replica.published.memory.is_exact() && !matches!(target, Target::Subject(_)) {
                // A set is sure; of a subject it does not know the floors.
                checked.tier = Tier::Filter;
                Exact::Revoked
            } else if let Some(exact) =
                self.replica.published.known(key, |exact| denial(target, exact, presented).is_some())
            {
                exact
            } else {
                // One round trip for all ids, once. What it does not say means nothing.
                if !has_asked && let Some(found) = self.ask_blocklist(presented).await {
                    checked.tier = Tier::Blocklist;
                    checked.verdict = Verdict::Revoked(found);
                    return checked;
                }
                has_asked = true;
                checked.tier = Tier::Ledger;
                // Where this node stands is read when the look has begun, after what its answer is remembered as of: a server
                // that has less than that must not answer.
                let look = async { self.ledger.exact(target, Has::History(self.replica.cursor())).await };
                match self.replica.published.look(key, look).await {
                    Ok(exact) => exact,
                    Err(error) => {
                        tracing::warn!(%error, "the exact look failed");
                        checked.verdict = Verdict::Unknown(Ignorance::Store);
                        return checked;
                    }
                }
            };
            if let Some(cause) = denial(target, exact, presented) {
                checked.verdict = Verdict::Revoked(cause);
                return checked;
            }
            checked.has_false_positive |= exact == Exact::Absent;
        }
        // Last: who must log in is not told to refresh.
        if self.replica.revoked().contains(presented.key) {
            checked.verdict = Verdict::Revoked(Cause::Key);
        }
        checked
    }

    /// What the blocklist says against a token, if anything. A hit is true for good, so what it says of one id is kept;
    /// of a subject it may know less than the ledger, and only this answer counts.
    async fn ask_blocklist(&self, presented: &Presented) -> Option<Cause> {
        let looked = self.blocklist.as_ref()?.look(presented).await;
        self.metrics
            .blocklist_looks_total
            .at(match &looked {
                Ok(Some(_)) => LookOutcome::Hit,
                Ok(None) => LookOutcome::Miss,
                Err(_) => LookOutcome::Failed,
            })
            .increment(1);
        let found = looked.ok().flatten()?;
        let dead = match found {
            Cause::Token => Target::Token(presented.token).key(),
            Cause::Session => Target::Session(presented.session).key(),
            _ => None,
        };
        if let Some(key) = dead {
            self.replica.published.remember_dead(key);
        }
        Some(found)
    }
}

fn targets(presented: &Presented) -> [Target; IDS_PER_CHECK] {
    [Target::Token(presented.token), Target::Session(presented.session), Target::Subject(presented.subject)]
}

fn keys(presented: &Presented) -> [u128; IDS_PER_CHECK] {
    targets(presented).map(|target| target.key().unwrap_or_default())
}

/// Why what is known of one of its ids denies a token, if it does.
fn denial(target: Target, exact: Exact, presented: &Presented) -> Option<Cause> {
    match exact {
        Exact::Absent => None,
        Exact::Revoked => Some(match target {
            Target::Token(_) => Cause::Token,
            Target::Session(_) => Cause::Session,
            Target::Subject(_) => Cause::Subject,
            Target::Everything => Cause::Everything,
            Target::Key(_) => Cause::Key,
        }),
        Exact::Floors(floors) => floors.cause(presented.generation, presented.session),
    }
}
