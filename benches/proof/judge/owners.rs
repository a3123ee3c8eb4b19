//! Whose credentials they are: what is given is given to who asked, and nobody is given what another has.

use std::{collections::HashMap, fmt, hash::Hash};

use crate::history::{Answer, Asked, Event, Session, Ticket, Token, User};

use super::{Findings, Promise, facts::Facts};

/// Looks at everything that was given out.
pub(super) fn check(facts: &Facts<'_>, findings: &mut Findings) {
    let mut sessions: Owners<Session, User> = Owners::default();
    let mut tokens: Owners<Token, Session> = Owners::default();
    let mut tickets: Owners<Ticket, Session> = Owners::default();
    for (index, event) in facts.history.events.iter().enumerate() {
        let Answer::Issued { session, token, ticket, .. } = event.answer else { continue };
        if let Some(wanted) = wanted(event).filter(|wanted| *wanted != session) {
            let what = format!("credentials of {session:?} were given for {wanted:?}");
            findings.accuse(Promise::Answers, &[index], what);
            continue;
        }
        let other = event
            .asked
            .user()
            .and_then(|user| sessions.note(session, user, index))
            .or_else(|| tokens.note(token, session, index))
            .or_else(|| tickets.note(ticket?, session, index));
        if let Some((first, what)) = other {
            findings.accuse(Promise::Answers, &[first, index], what);
        }
    }
}

/// Which session an act goes on with.
const fn wanted(event: &Event) -> Option<Session> {
    match event.asked {
        Asked::Refresh { session, .. }
        | Asked::EndAll { keep: Some(session), .. }
        | Asked::Password { keep: session, .. } => Some(session),
        _ => None,
    }
}

/// Whose each thing was when it was first given out.
struct Owners<K, O>(HashMap<K, (O, usize)>);

impl<K, O> Default for Owners<K, O> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq + Copy + fmt::Debug, O: Eq + Copy + fmt::Debug> Owners<K, O> {
    /// Notes it; where it was another's before, the event that said so, and a sentence.
    fn note(&mut self, given: K, to: O, event: usize) -> Option<(usize, String)> {
        let &mut (owner, first) = self.0.entry(given).or_insert((to, event));
        (owner != to).then(|| (first, format!("{given:?} of {owner:?} was given to {to:?}")))
    }
}
