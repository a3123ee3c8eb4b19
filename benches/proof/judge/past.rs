//! Checks past the lease: what a history shows of P4.
//!
//! A node that is cut off from the ledger has to stop when its hold is over. A history in which nobody asked it after that
//! breaks nothing and shows nothing.

use crate::history::{Answer, Asked, Fault, Moment};

use super::{
    facts::{CLOCK_SLACK, Facts, STARVED, is_of},
    refusals::Blame,
};

/// The checks of living tokens, at the nodes of one fault, that began when the hold of these was over.
#[derive(Debug)]
pub(super) struct Past<'a> {
    pub(super) fault: &'a Fault,
    pub(super) checks: u64,
    /// Those that were not allowed.
    pub(super) refused: u64,
}

impl<'a> Past<'a> {
    /// Of every fault that cuts nodes off from their ledger.
    pub(super) fn all(facts: &Facts<'a>, blame: &Blame) -> Vec<Self> {
        // One process asks nobody for a lease.
        let is_leased = !facts.history.cluster.is_embedded;
        let cuts = facts.history.faults.iter().filter(|fault| is_leased && fault.permits.cuts_ledger);
        cuts.map(|fault| Self::of(facts, blame, fault)).collect()
    }

    fn of(facts: &Facts<'_>, blame: &Blame, fault: &'a Fault) -> Self {
        let mut past = Self { fault, checks: 0, refused: 0 };
        for event in &facts.history.events {
            let Asked::Check { token } = event.asked else { continue };
            let is_met = over(facts, fault) < event.began && event.began < fault.healing && is_of(fault, event.node);
            let given = facts.tokens.get(&token).copied();
            if is_met && given.is_some_and(|given| blame.is_living(facts, token, given, event.ended)) {
                past.checks += 1;
                past.refused += u64::from(matches!(event.answer, Answer::Unavailable | Answer::Denied { .. }));
            }
        }
        past
    }

    /// Whether such a check had to come, and did not.
    ///
    /// A node that does not answer cannot be asked, and one that asks the ledger each time may be at that until the fault is
    /// over: of that one it is enough that it was asked. Faults at the same time may be in the way, and so may a machine
    /// that did not run.
    pub(super) fn shows_nothing(&self, facts: &Facts<'_>) -> bool {
        let fault = self.fault;
        let (from, lasted) = (over(facts, fault), fault.healing.saturating_sub(fault.in_force));
        let mut others = facts.history.faults.iter();
        let is_starved =
            others.any(|other| other.name == STARVED && other.began <= fault.healing && other.healed >= from);
        let has_to = lasted > facts.hold + facts.hold / 4 && !fault.permits.no_answers;
        let shown = if facts.history.cluster.asks_when_stale { self.checks } else { self.refused };
        has_to && shown == 0 && !is_starved && facts.is_alone(fault)
    }
}

/// When the hold is over of whoever had renewed just before.
fn over(facts: &Facts<'_>, fault: &Fault) -> Moment {
    fault.in_force + facts.hold + CLOCK_SLACK
}
