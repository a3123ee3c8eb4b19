//! How much a history shows. One in which nothing was ended, or nobody was asked about what was ended, breaks no promise
//! and keeps none.

use std::fmt;

use crate::history::{Answer, Asked, Event, History};

use super::{Figures, facts::Facts, past::Past, refusals::Blame};

/// What promises are tried by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Complete receipts.
    pub(crate) receipts: u64,
    /// Checks of tokens that a complete receipt covered.
    pub(crate) checks: u64,
    /// Refreshes that were granted.
    pub(crate) refreshes: u64,
    /// Faults that have cut nodes off from their ledger for longer than a hold, and nobody saw these stop. At most so many.
    pub(crate) unseen: u64,
}

/// What an episode has to show.
pub(crate) const LEAST: Shown = Shown { receipts: 3, checks: 20, refreshes: 1, unseen: 0 };

/// What one of seconds has to.
pub(crate) const LEAST_IN_BRIEF: Shown = Shown { receipts: 1, checks: 1, refreshes: 1, unseen: 0 };

impl Shown {
    /// What a history shows so far.
    pub(crate) fn of(history: &History) -> Self {
        let facts = Facts::of(history);
        let (acts, mut figures) = (facts.acts(), Figures::default());
        figures.staleness(&facts, &acts);
        let past = Past::all(&facts, &Blame::of(&acts));
        let count = |is: fn(&Event) -> bool| history.events.iter().filter(|event| is(event)).count() as u64;
        Self {
            receipts: count(has_complete_receipt),
            checks: figures.checks_after_receipt,
            refreshes: count(|event| {
                matches!((event.asked, &event.answer), (Asked::Refresh { .. }, Answer::Issued { .. }))
            }),
            unseen: past.iter().filter(|past| past.shows_nothing(&facts)).count() as u64,
        }
    }

    /// Whether that is at least as much.
    pub(crate) const fn is_enough(self, least: Self) -> bool {
        self.receipts >= least.receipts
            && self.checks >= least.checks
            && self.refreshes >= least.refreshes
            && self.unseen <= least.unseen
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { receipts, checks, refreshes, unseen } = self;
        write!(
            f,
            "{receipts} complete receipts, {checks} checks after one, {refreshes} refreshes; {unseen} cuts longer than a \
             hold after which nobody saw a node stop"
        )
    }
}

/// Whether it ended something, everywhere.
pub(super) fn has_complete_receipt(event: &Event) -> bool {
    event.asked.has_receipt() && event.answer.receipt().is_some_and(|receipt| receipt.is_complete)
}
