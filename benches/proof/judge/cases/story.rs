//! How the histories are written: one line for one thing that happens, in milliseconds.

use std::time::Duration;

use crate::history::{
    Answer, Asked, Cluster, Event, Fault, History, Moment, Permits, Receipt, Session, Ticket, Token, User,
};

use super::super::facts::MS;

/// From and to, in milliseconds.
pub(super) type During = (u64, u64);

/// Everything is about this user.
pub(super) const ADA: User = User(0);
/// The session of the first login, with its token and its ticket.
pub(super) const FIRST: Session = Session(0);
/// That of the second.
pub(super) const SECOND: Session = Session(1);

/// A history in the making. The lease is two seconds, the grace three, tokens live for a minute.
pub(super) struct Story {
    history: History,
}

/// Receipts.
pub(super) const COMPLETE: Answer = receipt(true, false);
pub(super) const RECORDED: Answer = receipt(false, false);
pub(super) const ALREADY: Answer = receipt(true, true);

/// A complete receipt with the service's own account of the milliseconds.
pub(super) const fn took(elapsed_ms: f64) -> Answer {
    Answer::Receipt(Receipt { seq: 1, is_complete: true, already: false, elapsed_ms })
}

const fn receipt(is_complete: bool, already: bool) -> Answer {
    Answer::Receipt(Receipt { seq: 1, is_complete, already, elapsed_ms: 1.0 })
}

/// A refusal.
pub(super) fn denied(problem: &str) -> Answer {
    Answer::Denied { problem: problem.to_owned() }
}

/// Credentials: a session, an access token, a ticket.
pub(super) const fn issued(session: u32, token: u32, ticket: u32) -> Answer {
    Answer::Issued { session: Session(session), token: Token(token), ticket: Some(Ticket(ticket)), receipt: None }
}

/// A receipt with a new access token of the session that was kept.
pub(super) const fn kept(session: u32, token: u32) -> Answer {
    let receipt = Receipt { seq: 1, is_complete: true, already: false, elapsed_ms: 1.0 };
    Answer::Issued { session: Session(session), token: Token(token), ticket: None, receipt: Some(receipt) }
}

/// A refresh of the first session.
pub(super) const fn refresh(ticket: u32) -> Asked {
    Asked::Refresh { user: ADA, session: FIRST, ticket: Ticket(ticket) }
}

pub(super) const LOG_IN: Asked = Asked::LogIn { user: ADA };
pub(super) const LOG_OUT: Asked = Asked::EndSession { user: ADA, session: FIRST };
pub(super) const END_ALL: Asked = Asked::EndAll { user: ADA, keep: None };
pub(super) const KEEP_FIRST: Asked = Asked::EndAll { user: ADA, keep: Some(FIRST) };
pub(super) const BAN: Asked = Asked::Ban { user: ADA };
pub(super) const UNBAN: Asked = Asked::Unban { user: ADA };
pub(super) const ROLES: Asked = Asked::Roles { user: ADA };
pub(super) const PASSWORD: Asked = Asked::Password { user: ADA, keep: FIRST };
pub(super) const END_TOKEN: Asked = Asked::EndToken { user: ADA, session: FIRST, token: Token(0) };

/// What a ledger that cannot be reached permits.
pub(super) const SQL_DOWN: Permits = Permits {
    unknown_checks: true,
    no_answers: false,
    refused_acts: true,
    slow_receipts: true,
    cuts_ledger: true,
    loses_since: None,
    ends_everything: false,
    moves_clock: false,
};

/// What a dead process permits.
pub(super) const KILLED: Permits = Permits { no_answers: true, ..SQL_DOWN };

/// What a ledger permits that is another one, from a backup of this moment.
pub(super) const fn begun_anew(since: u64) -> Permits {
    Permits { ends_everything: true, no_answers: true, ..restored(since) }
}

/// What a clock of the ledger permits that was moved.
pub(super) const CLOCK: Permits = Permits { moves_clock: true, refused_acts: true, ..Permits::NOTHING };

/// What a restore permits that goes back to this moment.
pub(super) const fn restored(since: u64) -> Permits {
    Permits { loses_since: Some(since * MS), ..SQL_DOWN }
}

/// Tokens live for so long.
pub(super) const fn for_three_hours(cluster: &mut Cluster) {
    cluster.access_ttl = Duration::from_hours(3);
}

impl Story {
    /// One login, at 10 to 20 ms.
    pub(super) fn new() -> Self {
        let cluster = Cluster {
            nodes: 3,
            lease: Duration::from_secs(2),
            serve_for: Duration::ZERO,
            asks_when_stale: false,
            has_redis: true,
            is_embedded: false,
            refresh_grace: Duration::from_secs(3),
            access_ttl: Duration::from_mins(1),
            lowered_access_ttl: None,
        };
        let history = History { seed: 0, episode: 0, cluster, faults: Vec::new(), events: Vec::new(), restarted: None };
        Self { history }.log_in((10, 20), 0)
    }

    /// A login whose session, token and ticket have this number.
    pub(super) fn log_in(self, during: During, number: u32) -> Self {
        self.and(during, LOG_IN, issued(number, number, number))
    }

    /// Something asked of node 0.
    pub(super) fn and(self, during: During, asked: Asked, answer: Answer) -> Self {
        self.at(0, during, asked, answer)
    }

    /// Something asked of a node.
    pub(super) fn at(mut self, node: u8, (began, ended): During, asked: Asked, answer: Answer) -> Self {
        let client = u32::try_from(self.history.events.len()).unwrap_or(u32::MAX);
        self.history.events.push(Event { client, node, began: began * MS, ended: ended * MS, asked, answer });
        self
    }

    /// A token that is allowed.
    pub(super) fn allows(self, node: u8, during: During, token: u32) -> Self {
        self.at(node, during, Asked::Check { token: Token(token) }, Answer::Allowed)
    }

    /// A token that is refused as dead with its session.
    pub(super) fn denies(self, node: u8, during: During, token: u32) -> Self {
        self.at(node, during, Asked::Check { token: Token(token) }, denied("session-ended"))
    }

    /// A token that is refused so that its session goes on.
    pub(super) fn expires(self, node: u8, during: During, token: u32) -> Self {
        self.at(node, during, Asked::Check { token: Token(token) }, denied("token-expired"))
    }

    /// Eight checks within a hold, of a token that the node had allowed before; the last one has this answer.
    pub(super) fn checks(self, node: u8, from: u64, last: Answer) -> Self {
        let check = Asked::Check { token: Token(0) };
        let unknown = |story: Self, at| story.at(node, (at, at + 1), check, Answer::Unavailable);
        let checked = (from..from + 7).fold(self.allows(node, (30, 31), 0), unknown);
        checked.at(node, (from + 7, from + 8), check, last)
    }

    /// A fault: begun, in force 10 ms later, healing, over 10 ms later.
    pub(super) fn fault(mut self, nodes: &[u8], (from, to): During, permits: Permits) -> Self {
        let at = |moment: u64| -> Moment { moment * MS };
        self.history.faults.push(Fault {
            name: "fault".to_owned(),
            nodes: nodes.to_vec(),
            began: at(from),
            in_force: at(from + 10),
            healing: at(to),
            healed: at(to + 10),
            permits,
        });
        self
    }

    /// The last fault is called so.
    pub(super) fn named(mut self, name: &str) -> Self {
        if let Some(fault) = self.history.faults.last_mut() {
            name.clone_into(&mut fault.name);
        }
        self
    }

    /// Everything is started again.
    pub(super) fn restarted(mut self, at: u64) -> Self {
        self.history.restarted = Some(at * MS);
        self
    }

    /// Another cluster.
    pub(super) fn with(mut self, change: fn(&mut Cluster)) -> Self {
        change(&mut self.history.cluster);
        self
    }

    pub(super) fn end(mut self) -> History {
        self.history.events.sort_by_key(|event| event.ended);
        self.history
    }
}
