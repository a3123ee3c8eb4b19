//! The tickets of one session.
//!
//! A session has one current ticket at a time, a register that only goes forward. An answer that holds a ticket says
//! that this one was current at some moment between the question and the answer. So of two tickets one is older for
//! certain if the answer that first held it had come before the question whose answer held the other; and a ticket that
//! was answered by another one is older than that.

use std::collections::HashMap;

use crate::history::{Answer, Asked, History, Moment, Session, Ticket};

use super::cover::{Earliest, Entry, Found};

/// One use of a ticket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Use {
    pub(super) ticket: Ticket,
    pub(super) began: Moment,
    pub(super) ended: Moment,
    /// The ticket that was given for it.
    pub(super) given: Option<Ticket>,
    pub(super) is_denied: bool,
    pub(super) event: usize,
}

/// A session's tickets.
#[derive(Debug, Default)]
pub(super) struct Family {
    /// Every use, by its beginning.
    pub(super) uses: Vec<Use>,
    /// Every ticket, when an answer with it first came.
    shown: HashMap<Ticket, Moment>,
    /// The first certain moment at which it was not the current one any more.
    replaced: HashMap<Ticket, Found>,
}

impl Family {
    pub(super) fn all(history: &History) -> HashMap<Session, Self> {
        let mut families: HashMap<Session, Self> = HashMap::new();
        let mut answers: HashMap<Session, Vec<Entry<Ticket>>> = HashMap::new();
        for (event, it) in history.events.iter().enumerate() {
            let given = match it.answer {
                Answer::Issued { session, ticket: Some(ticket), .. } => Some((session, ticket)),
                _ => None,
            };
            if let Some((session, ticket)) = given {
                let family = families.entry(session).or_default();
                family.shown.entry(ticket).and_modify(|first| *first = it.ended.min(*first)).or_insert(it.ended);
                let answer = Entry { until: it.began, at: it.ended, keep: Some(ticket), event };
                answers.entry(session).or_default().push(answer);
            }
            if let Asked::Refresh { session, ticket, .. } = it.asked {
                families.entry(session).or_default().uses.push(Use {
                    ticket,
                    began: it.began,
                    ended: it.ended,
                    given: given.map(|(_, ticket)| ticket),
                    is_denied: matches!(it.answer, Answer::Denied { .. }),
                    event,
                });
            }
        }
        for (session, family) in &mut families {
            family.order(answers.remove(session).unwrap_or_default());
        }
        families
    }

    fn order(&mut self, answers: Vec<Entry<Ticket>>) {
        self.uses.sort_by_key(|it| it.began);
        let answers = Earliest::of(answers);
        for (&ticket, &first) in &self.shown {
            if let Some(found) = answers.find(first, Some(ticket)) {
                self.replaced.insert(ticket, found);
            }
        }
        for it in &self.uses {
            if it.given.is_some_and(|given| given != it.ticket) {
                let found = Found { at: it.ended, event: it.event };
                let earlier = |known: &mut Found| {
                    if found.at < known.at {
                        *known = found;
                    }
                };
                self.replaced.entry(it.ticket).and_modify(earlier).or_insert(found);
            }
        }
    }

    /// The first certain moment at which a ticket was not the current one any more.
    pub(super) fn replaced(&self, ticket: Ticket) -> Option<Found> {
        self.replaced.get(&ticket).copied()
    }

    /// The first use of a ticket that may have replaced it before another use of it was over.
    fn first_use(&self, ticket: Ticket, began: Moment, until: Moment) -> Option<&Use> {
        // Itself left out: of one ticket no two uses begin at once, or it does not matter which is which.
        let mut uses = self.uses.iter().take_while(|it| it.began < until);
        uses.find(|it| it.ticket == ticket && it.began != began && !it.is_denied)
    }

    /// Whether somebody else may have used it before.
    pub(super) fn is_used(&self, ticket: Ticket, began: Moment, until: Moment) -> bool {
        self.first_use(ticket, began, until).is_some()
    }

    /// Whether a use may be that of a ticket that was replaced for longer than the grace, or that is excused no longer
    /// because its successor was replaced too.
    pub(super) fn may_be_reuse(&self, ticket: Ticket, began: Moment, until: Moment, grace: Moment) -> bool {
        let Some(first) = self.first_use(ticket, began, until) else { return false };
        let is_late = until >= first.began + grace;
        let mut later = self.uses.iter().filter(|it| it.began >= first.began && it.began < until);
        is_late || later.any(|it| it.ticket != ticket)
    }

    /// Two answers to the same ticket that hold different ones, of which neither was used before the other came.
    pub(super) fn forks(&self) -> Vec<(usize, usize)> {
        let mut last: HashMap<Ticket, (Ticket, &Use)> = HashMap::new();
        let mut by_answer: Vec<&Use> = self.uses.iter().collect();
        by_answer.sort_by_key(|it| it.ended);
        let mut forks = Vec::new();
        let mut first: HashMap<Ticket, Moment> = HashMap::new();
        for it in self.uses.iter().filter(|it| !it.is_denied) {
            first.entry(it.ticket).or_insert(it.began);
        }
        for it in by_answer {
            let Some(given) = it.given else { continue };
            if let Some((other, before)) = last.insert(it.ticket, (given, it)) {
                let is_used = |ticket, by: Moment| first.get(&ticket).is_some_and(|&used| used < by);
                if other != given && !is_used(other, it.ended) && !is_used(given, before.ended) {
                    forks.push((before.event, it.event));
                }
            }
        }
        forks
    }
}
