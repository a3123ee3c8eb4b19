//! Which act ends what, found in logarithmic time.
//!
//! Acts on a user cover the sessions that were open when they were invoked, but for one that they keep. "The earliest
//! moment by which a session with this opening was certainly dead" is a minimum over a suffix of the acts in the order
//! of their invocation; with the best two of different kept sessions at hand, leaving one out costs nothing.

use std::collections::HashMap;

use crate::history::{Moment, Session, Token, User};

/// What an act names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Scope {
    /// All sessions of a user.
    User(User),
    /// The access tokens of a user, and no session.
    Roles(User),
    /// One session.
    Session(Session),
    /// One access token.
    Token(Token),
}

/// A moment, and the event that it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) at: Moment,
    pub(super) event: usize,
}

/// One act as an index sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<K> {
    /// It concerns what was there before this.
    pub(super) until: Moment,
    /// What is searched for the earliest of.
    pub(super) at: Moment,
    /// What it leaves out.
    pub(super) keep: Option<K>,
    /// The event.
    pub(super) event: usize,
}

/// Entries, to be asked for the earliest of those that concern something.
#[derive(Debug)]
pub(super) struct Earliest<K> {
    until: Vec<Moment>,
    /// From each entry on: the best, and the best of those that leave out something else.
    best: Vec<(Entry<K>, Option<Entry<K>>)>,
}

impl<K: Copy + PartialEq> Earliest<K> {
    pub(super) fn of(mut entries: Vec<Entry<K>>) -> Self {
        entries.sort_by_key(|entry| entry.until);
        let until = entries.iter().map(|entry| entry.until).collect();
        let mut best: Vec<(Entry<K>, Option<Entry<K>>)> = Vec::with_capacity(entries.len());
        for entry in entries.into_iter().rev() {
            let next = match best.last() {
                None => (entry, None),
                Some(&(first, second)) if entry.at <= first.at => {
                    (entry, if entry.keep == first.keep { second } else { Some(first) })
                }
                Some(&(first, second)) if entry.keep == first.keep => (first, second),
                Some(&(first, second)) => (first, Some(second.filter(|second| second.at <= entry.at).unwrap_or(entry))),
            };
            best.push(next);
        }
        best.reverse();
        Self { until, best }
    }

    /// The earliest of those that concern what was there at `since`, and do not leave this out.
    pub(super) fn find(&self, since: Moment, but: Option<K>) -> Option<Found> {
        let from = self.until.partition_point(|&until| until <= since);
        let &(first, second) = self.best.get(from)?;
        let found = if first.keep.is_some() && first.keep == but { second? } else { first };
        Some(Found { at: found.at, event: found.event })
    }
}

/// Acts by what they name.
#[derive(Debug)]
pub(super) struct Cover(HashMap<Scope, Earliest<Session>>);

impl Cover {
    pub(super) fn of(entries: impl IntoIterator<Item = (Scope, Entry<Session>)>) -> Self {
        let mut scopes: HashMap<Scope, Vec<Entry<Session>>> = HashMap::new();
        for (scope, entry) in entries {
            scopes.entry(scope).or_default().push(entry);
        }
        Self(scopes.into_iter().map(|(scope, entries)| (scope, Earliest::of(entries))).collect())
    }

    /// The earliest act that ends a session.
    pub(super) fn of_session(&self, user: User, session: Session, opened: Moment) -> Option<Found> {
        let of_user = self.0.get(&Scope::User(user)).and_then(|acts| acts.find(opened, Some(session)));
        let own = self.0.get(&Scope::Session(session)).and_then(|acts| acts.find(0, None));
        earlier(of_user, own)
    }

    /// The earliest act that ends an access token and not its session.
    pub(super) fn of_token(&self, user: User, token: Token, issued: Moment) -> Option<Found> {
        let roles = self.0.get(&Scope::Roles(user)).and_then(|acts| acts.find(issued, None));
        let own = self.0.get(&Scope::Token(token)).and_then(|acts| acts.find(0, None));
        earlier(roles, own)
    }
}

/// The earlier one.
pub(super) fn earlier(one: Option<Found>, other: Option<Found>) -> Option<Found> {
    [one, other].into_iter().flatten().min_by_key(|found| found.at)
}
