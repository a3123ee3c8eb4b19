//! A perfect service, in memory: what it answers no judge may blame.
//!
//! Every operation takes effect at one moment between its question and its answer. Acts are committed at that moment,
//! and each node applies them a little later; a node that is cut off does not, and allows until its hold is over. The
//! receipt waits for all of that. Clients overlap as they like.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::history::{
    Answer, Asked, Cluster, Event, Fault, History, Moment, Permits, Receipt, Session, Ticket, Token, User,
};

use super::facts::{MS, SECOND};

const NODES: u8 = 3;
const CLIENTS: u32 = 8;
const USERS: u32 = 5;
const HOLD: Moment = 2 * SECOND;
const GRACE: Moment = 3 * SECOND;
const LIFE: Moment = 40 * SECOND;

/// A session as the service has it.
struct Row {
    user: User,
    ended: Option<Moment>,
    /// The current ticket, the one before, and when that was replaced.
    ticket: Ticket,
    replaced: Option<(Ticket, Moment)>,
}

/// An access token as the service has it.
struct Paper {
    session: Session,
    /// When its client had it.
    known: Moment,
    expires: Moment,
    ended: Option<Moment>,
}

/// What a node cannot do for a while.
struct Outage {
    node: Option<u8>,
    from: Moment,
    to: Moment,
}

struct World {
    rng: StdRng,
    rows: Vec<Row>,
    papers: Vec<Paper>,
    banned: HashMap<User, bool>,
    outages: Vec<Outage>,
    events: Vec<Event>,
    tickets: u32,
    /// Whose ticket was replaced last.
    quick: Option<Session>,
}

/// One history of a perfect service.
pub(super) fn history(seed: u64, until: Moment) -> History {
    let mut world = World {
        rng: StdRng::seed_from_u64(seed),
        rows: Vec::new(),
        papers: Vec::new(),
        banned: HashMap::new(),
        outages: Vec::new(),
        events: Vec::new(),
        tickets: 0,
        quick: None,
    };
    let faults = world.faults(until);
    let mut turns: BinaryHeap<Reverse<(Moment, u32, Moment)>> = BinaryHeap::new();
    for client in 0..CLIENTS {
        turns.push(Reverse((SECOND + Moment::from(client) * MS, client, 0)));
    }
    while let Some(Reverse((now, client, free))) = turns.pop() {
        if now < until {
            let ended = world.turn(client, now, free);
            turns.push(Reverse((ended + world.within(10 * MS, 120 * MS), client, ended)));
        }
    }
    let last = world.events.iter().map(|event| event.ended).max().unwrap_or(0);
    world.sweep(last + SECOND);
    world.events.sort_by_key(|event| event.ended);
    let cluster = Cluster {
        nodes: NODES,
        lease: Duration::from_nanos(HOLD),
        serve_for: Duration::ZERO,
        asks_when_stale: false,
        has_redis: true,
        is_embedded: false,
        refresh_grace: Duration::from_nanos(GRACE),
        access_ttl: Duration::from_nanos(LIFE),
        lowered_access_ttl: None,
    };
    History { seed, episode: 0, cluster, faults, events: world.events, restarted: Some(last + SECOND) }
}

impl World {
    fn within(&mut self, from: Moment, to: Moment) -> Moment {
        self.rng.random_range(from..to)
    }

    /// One node that is cut off from the ledger, and later the ledger itself gone.
    fn faults(&mut self, until: Moment) -> Vec<Fault> {
        let permits = Permits {
            unknown_checks: true,
            refused_acts: true,
            slow_receipts: true,
            cuts_ledger: true,
            ..Permits::default()
        };
        let node = self.rng.random_range(0..NODES);
        let mut faults = Vec::new();
        for (node, from, to) in [(Some(node), until / 8, until / 4), (None, until / 2, until / 2 + until / 8)] {
            let from = from + self.within(0, SECOND);
            self.outages.push(Outage { node, from, to });
            faults.push(Fault {
                name: if node.is_some() { "cut".to_owned() } else { "stop".to_owned() },
                nodes: node.into_iter().collect(),
                began: from - MS,
                in_force: from,
                healing: to,
                healed: to + 5 * MS,
                permits,
            });
        }
        faults
    }

    fn is_out(&self, node: u8, at: Moment) -> Option<&Outage> {
        let mut outages = self.outages.iter();
        outages.find(|outage| outage.node.is_none_or(|of| of == node) && (outage.from..outage.to).contains(&at))
    }

    /// When a node has applied what was committed.
    fn applied(&self, node: u8, committed: Moment) -> Moment {
        let applied = committed + u64::from(node + 1) * 7 * MS;
        self.is_out(node, applied).map_or(applied, |outage| outage.to)
    }

    /// When nobody can say yes any more to what was committed: applied, or cut off for longer than the hold.
    fn in_force(&self, committed: Moment) -> Moment {
        let node = |node| {
            let applied = self.applied(node, committed);
            let over = self
                .outages
                .iter()
                .find(|outage| outage.node == Some(node) && (outage.from..outage.to).contains(&committed));
            over.map_or(applied, |outage| applied.min(outage.from.max(committed) + HOLD + HOLD / 4))
        };
        (0..NODES).map(node).max().unwrap_or(committed)
    }

    /// One operation, which takes effect now; returns when its answer came.
    fn turn(&mut self, client: u32, now: Moment, free: Moment) -> Moment {
        let node = self.rng.random_range(0..NODES);
        let began = free.max(now - self.within(0, 2 * MS));
        let dice = self.rng.random_range(0..100);
        let (asked, answer, done) = match dice {
            0..70 => self.check(node, now, began),
            70..78 => self.log_in(node, now, began),
            78..88 => self.refresh(node, now, began),
            _ => self.act(node, now, began, dice),
        };
        let ended = done.max(now) + self.within(MS / 10, 3 * MS);
        for paper in self.papers.iter_mut().filter(|paper| paper.known == Moment::MAX) {
            paper.known = ended;
        }
        self.events.push(Event { client, node, began, ended, asked, answer });
        ended
    }

    fn user(&mut self) -> User {
        User(self.rng.random_range(0..USERS))
    }

    /// A token that a client has.
    fn paper(&mut self, began: Moment) -> Option<u32> {
        // Half of them new, half of them of any age.
        let all = u32::try_from(self.papers.len()).unwrap_or(0);
        let from = if self.rng.random() { all.saturating_sub(30) } else { 0 };
        let paper = (from < all).then(|| self.rng.random_range(from..all))?;
        (self.papers[paper as usize].known <= began).then_some(paper)
    }

    fn verdict(&self, node: u8, paper: &Paper, at: Moment) -> Answer {
        let is_over = self.is_out(node, at).is_some_and(|outage| at >= outage.from + HOLD);
        let is_dead = |ended: Option<Moment>| ended.is_some_and(|ended| self.applied(node, ended) <= at);
        if is_over {
            return Answer::Unavailable;
        }
        if at >= paper.expires {
            return denied("token-expired");
        }
        if is_dead(self.rows[paper.session.0 as usize].ended) {
            return denied("session-ended");
        }
        if is_dead(paper.ended) { denied("token-expired") } else { Answer::Allowed }
    }

    fn check(&mut self, node: u8, now: Moment, began: Moment) -> (Asked, Answer, Moment) {
        let Some(paper) = self.paper(began) else { return self.log_in(node, now, began) };
        (Asked::Check { token: Token(paper) }, self.verdict(node, &self.papers[paper as usize], now), now)
    }

    fn issue(&mut self, session: Session, now: Moment) -> Token {
        let token = Token(u32::try_from(self.papers.len()).unwrap_or(u32::MAX));
        // In whole seconds, as tokens have it.
        let expires = now / SECOND * SECOND + LIFE;
        self.papers.push(Paper { session, known: Moment::MAX, expires, ended: None });
        token
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    fn log_in(&mut self, node: u8, now: Moment, _began: Moment) -> (Asked, Answer, Moment) {
        let user = self.user();
        let asked = Asked::LogIn { user };
        if self.is_out(node, now).is_some() {
            return (asked, Answer::Unavailable, now);
        }
        if self.banned.get(&user) == Some(&true) {
            return (asked, denied("account-banned"), now);
        }
        let session = Session(u32::try_from(self.rows.len()).unwrap_or(u32::MAX));
        let ticket = self.ticket();
        self.rows.push(Row { user, ended: None, ticket, replaced: None });
        let token = self.issue(session, now);
        (asked, Answer::Issued { session, token, ticket: Some(ticket), receipt: None }, now)
    }

    fn refresh(&mut self, node: u8, now: Moment, began: Moment) -> (Asked, Answer, Moment) {
        let Some(paper) = self.paper(began) else { return self.log_in(node, now, began) };
        let is_old = self.rng.random_range(0..2) == 0;
        // Whoever is slow comes right after somebody quick.
        let quick = self.quick.take().filter(|_| is_old);
        let session = quick.unwrap_or(self.papers[paper as usize].session);
        let row = &self.rows[session.0 as usize];
        let ticket = if is_old { row.replaced.map_or(row.ticket, |(ticket, _)| ticket) } else { row.ticket };
        let asked = Asked::Refresh { user: row.user, session, ticket };
        if self.is_out(node, now).is_some() {
            return (asked, Answer::Unavailable, now);
        }
        if ticket != row.ticket && row.replaced.is_some_and(|(_, at)| now >= at + GRACE) {
            let committed = row.ended.unwrap_or(now);
            self.rows[session.0 as usize].ended = Some(committed);
            return (asked, denied("session-ended"), self.in_force(committed));
        }
        if row.ended.is_some() {
            return (asked, denied("session-ended"), now);
        }
        let given = if ticket == row.ticket { self.ticket() } else { row.ticket };
        let row = &mut self.rows[session.0 as usize];
        if ticket != given && ticket == row.ticket {
            row.replaced = Some((ticket, now));
            self.quick = Some(session);
            row.ticket = given;
        }
        let token = self.issue(session, now);
        (asked, Answer::Issued { session, token, ticket: Some(given), receipt: None }, now)
    }

    fn act(&mut self, node: u8, now: Moment, began: Moment, dice: u32) -> (Asked, Answer, Moment) {
        let Some(paper) = self.paper(began) else { return self.log_in(node, now, began) };
        let session = self.papers[paper as usize].session;
        let user = self.rows[session.0 as usize].user;
        let asked = match dice {
            88..93 => Asked::EndSession { user, session },
            93 => Asked::EndToken { user, session, token: Token(paper) },
            94 => Asked::EndAll { user, keep: None },
            95 => Asked::EndAll { user, keep: Some(session) },
            96 => Asked::Roles { user },
            97 => Asked::Ban { user },
            _ => Asked::Unban { user },
        };
        if self.is_out(node, now).is_some() {
            // It may have happened all the same.
            if self.rng.random() {
                self.commit(asked, now);
            }
            return (asked, Answer::Unavailable, now);
        }
        let is_dead = self.rows[session.0 as usize].ended.is_some();
        if is_dead && matches!(asked, Asked::EndAll { .. }) {
            return (asked, denied("session-ended"), now);
        }
        self.commit(asked, now);
        if matches!(asked, Asked::Unban { .. }) {
            return (asked, Answer::Allowed, now);
        }
        let is_complete = self.rng.random_range(0..5) > 0;
        let receipt = Receipt { seq: 1, is_complete, already: false, elapsed_ms: 1.0 };
        // What found it done waits for what has done it, and that was no later.
        let done = if is_complete { self.in_force(now) } else { now };
        if matches!(asked, Asked::EndAll { keep: Some(_), .. }) {
            let token = self.issue(session, now);
            return (asked, Answer::Issued { session, token, ticket: None, receipt: Some(receipt) }, done);
        }
        (asked, Answer::Receipt(receipt), done)
    }

    fn commit(&mut self, asked: Asked, now: Moment) {
        let end = |ended: &mut Option<Moment>| *ended = ended.or(Some(now));
        match asked {
            Asked::EndSession { session, .. } => end(&mut self.rows[session.0 as usize].ended),
            Asked::EndToken { token, .. } => end(&mut self.papers[token.0 as usize].ended),
            Asked::EndAll { user, keep } => self.end_all(user, keep, now),
            Asked::Ban { user } => {
                self.banned.insert(user, true);
                self.end_all(user, None, now);
            }
            Asked::Unban { user } => {
                self.banned.insert(user, false);
            }
            Asked::Roles { user } => {
                let rows = &self.rows;
                for paper in self.papers.iter_mut().filter(|paper| rows[paper.session.0 as usize].user == user) {
                    end(&mut paper.ended);
                }
            }
            Asked::Check { .. } | Asked::LogIn { .. } | Asked::Refresh { .. } | Asked::Password { .. } => {}
        }
    }

    fn end_all(&mut self, user: User, keep: Option<Session>, now: Moment) {
        for (session, row) in (0..).map(Session).zip(&mut self.rows) {
            if row.user == user && Some(session) != keep {
                row.ended = row.ended.or(Some(now));
            }
        }
    }

    /// Everything is started again, and every token is tried at every node.
    fn sweep(&mut self, from: Moment) {
        let from = from + SECOND;
        for node in 0..NODES {
            for (paper, client) in (0..u32::try_from(self.papers.len()).unwrap_or(0)).zip(1_000..) {
                let at = from + Moment::from(paper) * MS;
                let answer = self.verdict(node, &self.papers[paper as usize], at);
                let asked = Asked::Check { token: Token(paper) };
                self.events.push(Event { client, node, began: at - MS / 10, ended: at + MS / 10, asked, answer });
            }
        }
    }
}

/// A refusal.
pub(super) fn denied(problem: &str) -> Answer {
    Answer::Denied { problem: problem.to_owned() }
}
