//! What a history says, put in order: who was opened and issued when, which acts there were, what faults leave open.

use std::collections::HashMap;

use crate::history::{Answer, Asked, Event, Fault, History, Moment, Session, Token, User};

use super::{cover::Scope, family::Family};

/// Nanoseconds of a millisecond and of a second.
pub(super) const MS: Moment = 1_000_000;
pub(super) const SECOND: Moment = 1_000 * MS;

/// What a fault permits it permits for so long after it was healed.
///
/// A node that lost packets may wait for an answer that will never come, and gives a statement up after ten seconds. Any
/// other one hears at once that it can go on: it connects, loads and renews, and has lost its place at worst. Where the
/// machine itself did not run, nodes need as long as a renewal takes that was not begun in time.
pub(crate) fn recovery(name: &str, hold: Moment) -> Moment {
    match name {
        STARVED => hold / 5 + SECOND,
        name if name.starts_with("net-") => 12 * SECOND,
        // Every node loads anew, and records again what the others have not yet.
        name if name.starts_with("postgres-restore") => hold + 5 * SECOND,
        _ => hold + 2 * SECOND,
    }
}

/// An act that was not answered may still happen so long after its end and the end of every fault that it met: a request
/// that a stopped process had in its hands, a statement that waited behind a lock.
pub(super) const LATE: Moment = 10 * SECOND;

/// All processes read one clock, and a lease counts from before its renewal was asked for. So this is for the writing of
/// histories alone: a cut is in force a little before somebody says so, or a little after.
pub(super) const CLOCK_SLACK: Moment = 50 * MS;

/// Tokens expire at whole seconds of the ledger's clock, of which a node may be ahead by the time of a slow renewal.
const EXPIRY_SLACK: Moment = 3 * SECOND;

/// The fault of the machine itself: it permits much and is none of ours.
pub(super) const STARVED: &str = "machine-starved";

/// How far the clock of the ledger is moved at a time.
const STEP: Moment = 3600 * SECOND;

/// The fault that moves it back. Ledger time does not follow, so nothing comes from the future.
const CLOCK_BACK: &str = "sql-clock-back";

/// From and to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) began: Moment,
    pub(super) ended: Moment,
}

/// A session or an access token, when its first answer came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Given {
    pub(super) user: User,
    pub(super) session: Session,
    pub(super) span: Span,
    pub(super) event: usize,
}

/// Something that ends access, or may.
#[derive(Debug, Clone, Copy)]
pub(super) struct Act {
    pub(super) scope: Scope,
    pub(super) user: User,
    pub(super) keep: Option<Session>,
    /// Between which moments it took effect, if it did.
    pub(super) effect: Span,
    /// Whether it certainly did; and whether it was said to be in force everywhere.
    pub(super) is_recorded: bool,
    pub(super) is_complete: bool,
    /// Whether it is no act but an answer that says that there was one.
    pub(super) is_hearsay: bool,
    pub(super) event: usize,
}

/// A history and what follows from it alone.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) history: &'a History,
    /// How long a node may allow after a renewal.
    pub(super) hold: Moment,
    pub(super) grace: Moment,
    /// The shortest and the longest life of an access token.
    pub(super) ttl: (Moment, Moment),
    pub(super) sessions: HashMap<Session, Given>,
    pub(super) tokens: HashMap<Token, Given>,
    pub(super) families: HashMap<Session, Family>,
    /// Faults that lose what was committed, by their beginning.
    losses: Vec<&'a Fault>,
}

impl<'a> Facts<'a> {
    pub(super) fn of(history: &'a History) -> Self {
        let cluster = &history.cluster;
        let ttl = nanos(cluster.access_ttl);
        let lowered = cluster.lowered_access_ttl.map_or(ttl, nanos);
        let mut losses: Vec<&Fault> =
            history.faults.iter().filter(|fault| fault.permits.loses_since.is_some()).collect();
        losses.sort_by_key(|fault| fault.began);
        let mut facts = Self {
            history,
            hold: nanos(cluster.lease) + nanos(cluster.serve_for),
            grace: nanos(cluster.refresh_grace),
            ttl: (ttl.min(lowered), ttl.max(lowered)),
            sessions: HashMap::new(),
            tokens: HashMap::new(),
            families: HashMap::new(),
            losses,
        };
        facts.gather();
        facts.families = Family::all(history);
        facts
    }

    fn gather(&mut self) {
        for (event, it) in self.history.events.iter().enumerate() {
            let Answer::Issued { session, token, .. } = it.answer else { continue };
            let given = Given { user: it.asked.user().unwrap_or(User(u32::MAX)), session, span: it.span(), event };
            let first = |known: &mut Given| {
                if given.span.ended < known.span.ended {
                    *known = given;
                }
            };
            self.sessions.entry(session).and_modify(first).or_insert(given);
            self.tokens.entry(token).and_modify(first).or_insert(given);
        }
    }

    /// Everything that ends access, or may have.
    pub(super) fn acts(&self) -> Vec<Act> {
        let mut acts = Vec::new();
        for (event, it) in self.history.events.iter().enumerate() {
            let (scope, keep) = match it.asked {
                Asked::EndSession { session, .. } => (Scope::Session(session), None),
                Asked::EndToken { token, .. } => (Scope::Token(token), None),
                Asked::EndAll { user, keep } => (Scope::User(user), keep),
                Asked::Ban { user } => (Scope::User(user), None),
                Asked::Password { user, keep } => (Scope::User(user), Some(keep)),
                Asked::Roles { user } => (Scope::Roles(user), None),
                Asked::Refresh { session, .. } => {
                    acts.extend(self.reuse(event, it, session));
                    continue;
                }
                Asked::Check { .. } | Asked::LogIn { .. } | Asked::Unban { .. } => continue,
            };
            let receipt = it.answer.receipt();
            // The same roles again change nothing: tokens that carry them live on.
            let is_idle = matches!(scope, Scope::Roles(_)) && receipt.is_some_and(|receipt| receipt.already);
            if let (Some(user), Some(effect), false) = (it.asked.user(), self.effect(it), is_idle) {
                let (is_recorded, is_complete) = (receipt.is_some(), receipt.is_some_and(|given| given.is_complete));
                acts.push(Act { scope, user, keep, effect, is_recorded, is_complete, is_hearsay: false, event });
            }
        }
        acts
    }

    /// What the refusal of a refresh token, or its failure, may have ended.
    fn reuse(&self, event: usize, it: &Event, session: Session) -> Option<Act> {
        let user = it.asked.user()?;
        let is_ended = it.answer.problem() == Some("session-ended");
        let is_reuse = is_ended && self.is_certain_reuse(it);
        let may_be = match it.answer {
            Answer::Issued { .. } => false,
            Answer::Denied { .. } => is_ended,
            _ => true,
        };
        let effect = if is_ended { it.span() } else { self.effect(it).unwrap_or(it.span()) };
        // A refusal without reuse says that somebody else had ended it, and that this is committed.
        let is_hearsay = !is_reuse && !self.may_be_reuse(it, effect.ended);
        let scope = Scope::Session(session);
        let is_settled = is_reuse || is_ended && !self.may_be_unknown(session, it.ended);
        (is_settled || (may_be && !is_hearsay)).then_some(Act {
            scope,
            user,
            keep: None,
            effect,
            is_recorded: is_settled,
            is_complete: is_reuse,
            is_hearsay,
            event,
        })
    }

    /// Whether the ledger may not know a session any more, or its tickets, though nobody has ended it: its access tokens
    /// live on, for all that a refusal of a refresh says.
    pub(super) fn may_be_unknown(&self, session: Session, by: Moment) -> bool {
        let none = Span { began: 0, ended: 0 };
        self.has_lost(self.sessions.get(&session).map_or(none, |opened| opened.span), by)
    }

    /// Whether the ledger may have lost by then what has become of something that was given.
    pub(super) fn has_lost(&self, given: Span, by: Moment) -> bool {
        self.losses.iter().any(|loss| loss.began <= by && given.began < loss.healed)
    }

    /// Whether a refresh came with a ticket that was replaced so long before that nothing excuses it.
    pub(super) fn is_certain_reuse(&self, it: &Event) -> bool {
        let Asked::Refresh { session, ticket, .. } = it.asked else { return false };
        let replaced = self.families.get(&session).and_then(|family| family.replaced(ticket));
        replaced.is_some_and(|replaced| {
            it.began > replaced.at + self.grace + self.grace_slack(it)
                && !self.is_lost(Span { began: replaced.at, ended: replaced.at }, it.ended)
                && !self.is_clock_moved(it.ended)
        })
    }

    /// By how much the clocks of two nodes may differ that count a grace: by the time of a renewal, which a fault can
    /// make long.
    fn grace_slack(&self, it: &Event) -> Moment {
        if self.met(it).next().is_some() { 3 * SECOND } else { SECOND }
    }

    /// Whether a refresh may have come with a ticket that was replaced too long before.
    pub(super) fn may_be_reuse(&self, it: &Event, until: Moment) -> bool {
        let Asked::Refresh { session, ticket, .. } = it.asked else { return false };
        let Some(family) = self.families.get(&session) else { return false };
        family.may_be_reuse(ticket, it.began, until, self.grace.saturating_sub(self.grace_slack(it)))
            || (self.losses_until(until) > 0 || self.is_clock_moved(until)) && family.is_used(ticket, it.began, until)
    }

    /// Between which moments something took effect, if it did; `None` if it certainly did not.
    pub(super) fn effect(&self, it: &Event) -> Option<Span> {
        match it.answer {
            Answer::Denied { .. } => None,
            Answer::Issued { .. } | Answer::Allowed | Answer::Receipt(_) => Some(it.span()),
            Answer::Unavailable | Answer::Lost | Answer::Strange { .. } => {
                let mut ended = it.ended + LATE;
                // Each fault that it may have met can hold it until the next.
                let mut faults: Vec<&Fault> =
                    self.history.faults.iter().filter(|fault| fault.healed >= it.began).collect();
                faults.sort_by_key(|fault| fault.began);
                for fault in faults {
                    if fault.began <= ended {
                        ended = ended.max(fault.healed + LATE);
                    }
                }
                Some(Span { began: it.began, ended })
            }
        }
    }

    /// How many losses have begun by a moment. What is acknowledged binds by era: until the next loss.
    pub(super) fn losses_until(&self, moment: Moment) -> usize {
        self.losses.partition_point(|fault| fault.began <= moment)
    }

    /// How many eras there are.
    pub(super) fn eras(&self) -> usize {
        self.losses.len() + 1
    }

    /// Whether what happened then may have been lost before an era.
    pub(super) fn is_lost_by(&self, span: Span, era: usize) -> bool {
        let mut losses = self.losses.iter().take(era);
        losses.any(|fault| {
            fault.permits.loses_since.is_some_and(|since| span.ended >= since) && span.began < fault.healed
        })
    }

    /// Whether what happened then may have been lost by a moment.
    pub(super) fn is_lost(&self, span: Span, by: Moment) -> bool {
        self.is_lost_by(span, self.losses_until(by))
    }

    /// Whether what was given then may be gone by a moment without an act against it.
    pub(super) fn may_be_gone(&self, given: Span, by: Moment) -> bool {
        let ends = |fault: &Fault| fault.permits.ends_everything && fault.began <= by && given.began < fault.healed;
        self.is_lost(given, by) || self.history.faults.iter().any(ends)
    }

    /// What ended everything that was given then, and was over by a moment: whoever allows it after that knows nothing of
    /// the new ledger.
    pub(super) fn ended_everything(&self, given: Span, by: Moment) -> Option<&'a Fault> {
        self.history.faults.iter().find(|fault| {
            fault.permits.ends_everything && given.ended < fault.began && by > fault.healed + self.lingers(fault)
        })
    }

    /// Nobody may know an old ledger any more when a new one has begun: all nodes were stopped. Only where another fault
    /// has started one again too early may it hold a lease of before.
    fn lingers(&self, fault: &Fault) -> Moment {
        if self.is_alone(fault) { 0 } else { self.hold + CLOCK_SLACK }
    }

    /// Whether no other fault was in force at the same time, or just before, but that of the machine.
    pub(super) fn is_alone(&self, fault: &Fault) -> bool {
        !self.history.faults.iter().any(|other| {
            let is_near = other.began <= fault.healed && self.recovered(other) >= fault.began;
            !std::ptr::eq(other, fault) && other.name != STARVED && is_near
        })
    }

    /// Whether the clock of the ledger may have been moved by then.
    pub(super) fn is_clock_moved(&self, by: Moment) -> bool {
        self.moved(by) > 0
    }

    /// How far apart the times of two nodes, or of one node at two moments, may be by then beyond what has passed: ledger
    /// time follows its clock forward, and stands still where that goes back.
    pub(super) fn moved(&self, by: Moment) -> Moment {
        let moves = self.history.faults.iter().filter(|fault| fault.permits.moves_clock && fault.began <= by);
        moves.map(|_| STEP).sum()
    }

    /// Whether a token may be one of the future: issued while the clock of the ledger was ahead, it is refused after that.
    pub(super) fn may_be_of_the_future(&self, issued: Span) -> bool {
        let mut faults = self.history.faults.iter();
        faults.any(|fault| fault.permits.moves_clock && fault.name != CLOCK_BACK && fault.began <= issued.ended)
    }

    /// Whether an access token may have expired by then.
    pub(super) fn may_be_expired(&self, issued: Span, by: Moment) -> bool {
        by + EXPIRY_SLACK + self.moved(by) >= issued.began + self.ttl.0
    }

    /// The faults that an event met, with what they permit after their end.
    pub(super) fn met(&self, it: &Event) -> impl Iterator<Item = &'a Fault> + use<'a> {
        let span = it.span();
        let faults = &self.history.faults;
        let hold = self.hold;
        let is_met =
            move |fault: &&Fault| span.began <= fault.healed + recovery(&fault.name, hold) && span.ended >= fault.began;
        faults.iter().filter(is_met)
    }

    /// When what a fault permits is over.
    pub(super) fn recovered(&self, fault: &Fault) -> Moment {
        fault.healed + recovery(&fault.name, self.hold)
    }
}

/// Whether a fault is one of this node.
pub(super) fn is_of(fault: &Fault, node: u8) -> bool {
    fault.nodes.is_empty() || fault.nodes.contains(&node)
}

/// A duration in nanoseconds.
pub(super) fn nanos(duration: std::time::Duration) -> Moment {
    Moment::try_from(duration.as_nanos()).unwrap_or(Moment::MAX / 4)
}
