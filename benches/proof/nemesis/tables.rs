//! What the clients know together: users, sessions, tokens and tickets, by the numbers that histories have for them.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use rand::{RngExt as _, rngs::StdRng};

use super::moment;
use crate::history::{Moment, Session, Ticket, Token, User};

/// Tokens that a node is to be asked about at once; what is more is asked when chance has it.
const HOT: usize = 64;

/// Sessions that were used lately: among them are those that are told in several ways at once.
const LATELY: usize = 12;

/// Two passwords that the default rules take; a user has one of them.
pub(super) const PASSWORDS: [&str; 2] = ["lantern-otter-quartz-mosaic", "harbour-violet-anvil-thicket"];

/// What all clients share.
#[derive(Debug)]
pub(super) struct Tables {
    known: Mutex<Known>,
    /// Acts so far.
    acts: AtomicU32,
    /// For each node: tokens that have just ended.
    hot: Vec<Mutex<VecDeque<Token>>>,
}

#[derive(Debug, Default)]
struct Known {
    users: Vec<Account>,
    sessions: Vec<Family>,
    tokens: Vec<Access>,
    tickets: Vec<Paper>,
    session_numbers: HashMap<String, Session>,
    token_numbers: HashMap<String, Token>,
    ticket_numbers: HashMap<String, Ticket>,
    /// Sessions against which nothing was begun.
    living: Vec<Session>,
    /// Sessions of the spared: nothing is ever begun against them.
    spared: Vec<Session>,
    /// Tokens against which something was begun.
    ended: Vec<Token>,
}

/// Somebody with an account.
#[derive(Debug, Clone)]
pub(super) struct Account {
    pub(super) name: String,
    /// Which of the two passwords, as far as is known.
    pub(super) password: usize,
    /// Whether nobody ever acts against them.
    is_spared: bool,
    /// What tokens call them, once one has.
    subject: Option<String>,
}

/// A session.
#[derive(Debug, Clone)]
pub(super) struct Family {
    pub(super) user: User,
    /// Its `sid`.
    pub(super) id: String,
    pub(super) tokens: Vec<Token>,
    /// In the order of their coming.
    pub(super) tickets: Vec<Ticket>,
    /// Whether something was begun against it.
    pub(super) is_over: bool,
}

#[derive(Debug, Clone)]
struct Access {
    text: String,
    is_over: bool,
}

/// A refresh token.
#[derive(Debug, Clone)]
pub(super) struct Paper {
    pub(super) text: String,
    /// When it was used for the first time.
    pub(super) used: Option<Moment>,
}

/// What a login or a refresh has brought.
#[derive(Debug)]
pub(super) struct Brought<'a> {
    pub(super) user: User,
    pub(super) session: &'a str,
    pub(super) token: &'a str,
    pub(super) ticket: Option<&'a str>,
}

impl Tables {
    pub(super) fn new(nodes: u8) -> Self {
        Self { known: Mutex::default(), acts: AtomicU32::new(0), hot: (0..nodes).map(|_| Mutex::default()).collect() }
    }

    /// Whether who acts now is one of those who do not wait: a fifth.
    pub(super) fn is_hasty(&self) -> bool {
        self.acts.fetch_add(1, Ordering::Relaxed) % 5 == 4
    }

    fn with<T>(&self, act: impl FnOnce(&mut Known) -> T) -> T {
        act(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn add_user(&self, name: String, is_spared: bool) {
        self.with(|known| known.users.push(Account { name, password: 0, is_spared, subject: None }));
    }

    /// One of those who are acted against; the spared come after them.
    pub(super) fn any_user(&self, dice: &mut StdRng) -> User {
        self.with(|known| {
            let most = known.users.iter().filter(|account| !account.is_spared).count();
            User(number(dice.random_range(0..most)))
        })
    }

    /// One of those against whom nobody acts.
    pub(super) fn spared_user(&self, which: usize) -> Option<User> {
        self.with(|known| {
            let spared = (0..).map(User).zip(&known.users).filter(|(_, account)| account.is_spared);
            let spared: Vec<User> = spared.map(|(user, _)| user).collect();
            spared.get(which % spared.len().max(1)).copied()
        })
    }

    pub(super) fn account(&self, user: User) -> Account {
        self.with(|known| known.users[index(user.0)].clone())
    }

    /// The user has this password now, or the other one may be tried next time.
    pub(super) fn has_password(&self, user: User, password: usize) {
        self.with(|known| known.users[index(user.0)].password = password);
    }

    /// Whether this is what tokens call a user: what the first one did, and nobody else.
    pub(super) fn is_subject(&self, user: User, subject: &str) -> bool {
        self.with(|known| {
            let others = (0..).map(User).zip(&known.users);
            if let Some((owner, _)) = others.into_iter().find(|(_, it)| it.subject.as_deref() == Some(subject)) {
                return owner == user;
            }
            let known = &mut known.users[index(user.0)].subject;
            known.get_or_insert_with(|| subject.to_owned()) == subject
        })
    }

    /// Numbers for what came.
    pub(super) fn came(&self, brought: &Brought<'_>) -> (Session, Token, Option<Ticket>) {
        self.with(|known| {
            let session = known.session(brought.user, brought.session);
            let token = known.token(session, brought.token);
            let ticket = brought.ticket.map(|text| known.ticket(session, text));
            (session, token, ticket)
        })
    }

    /// A session against which nothing was begun, one that was used lately by half.
    pub(super) fn living(&self, dice: &mut StdRng) -> Option<Session> {
        self.with(|known| {
            let lately = known.living.len().saturating_sub(LATELY);
            let from = if dice.random_bool(0.5) { lately } else { 0 };
            pick(dice, &known.living[from..])
        })
    }

    pub(super) fn count_living(&self) -> usize {
        self.with(|known| known.living.len())
    }

    pub(super) fn family(&self, session: Session) -> Family {
        self.with(|known| known.sessions[index(session.0)].clone())
    }

    pub(super) fn text(&self, token: Token) -> String {
        self.with(|known| known.tokens[index(token.0)].text.clone())
    }

    pub(super) fn paper(&self, ticket: Ticket) -> Paper {
        self.with(|known| known.tickets[index(ticket.0)].clone())
    }

    /// A ticket is about to be used.
    pub(super) fn uses(&self, ticket: Ticket) {
        let now = moment();
        self.with(|known| {
            known.tickets[index(ticket.0)].used.get_or_insert(now);
        });
    }

    /// Another session of the same user, against which nothing was begun.
    pub(super) fn other_session(&self, session: Session) -> Option<Session> {
        self.with(|known| {
            let user = known.sessions[index(session.0)].user;
            let is_fit = |other: &&Session| **other != session && known.sessions[index(other.0)].user == user;
            known.living.iter().find(is_fit).copied()
        })
    }

    /// A token that some session has now: the newest one mostly.
    pub(super) fn token_of(&self, session: Session, dice: &mut StdRng) -> Option<Token> {
        self.with(|known| {
            let tokens = &known.sessions[index(session.0)].tokens;
            let newest = tokens.last().copied();
            if dice.random_bool(0.7) { newest } else { pick(dice, tokens) }
        })
    }

    /// Something is begun against a session; its tokens.
    pub(super) fn ends(&self, session: Session) -> Vec<Token> {
        self.with(|known| known.ends(session))
    }

    /// Something is begun against all sessions of a user but one; their tokens.
    pub(super) fn ends_all(&self, user: User, keep: Option<Session>) -> Vec<Token> {
        self.with(|known| {
            let is_hit = |session: &Session| known.sessions[index(session.0)].user == user && Some(*session) != keep;
            let hit: Vec<Session> = known.living.iter().copied().filter(is_hit).collect();
            hit.into_iter().flat_map(|session| known.ends(session)).collect()
        })
    }

    /// Something is begun against the tokens of a user's sessions, or against one, and not against sessions.
    pub(super) fn ends_tokens(&self, user: User, only: Option<Token>) -> Vec<Token> {
        self.with(|known| {
            let sessions = known.living.iter().filter(|session| known.sessions[index(session.0)].user == user);
            let all: Vec<Token> =
                sessions.flat_map(|session| &known.sessions[index(session.0)].tokens).copied().collect();
            let hit: Vec<Token> = only.map_or(all, |token| vec![token]);
            let hit: Vec<Token> = hit.into_iter().filter(|token| !known.tokens[index(token.0)].is_over).collect();
            for token in &hit {
                known.tokens[index(token.0)].is_over = true;
                known.ended.push(*token);
            }
            hit
        })
    }

    /// All nodes are to be asked about these at once.
    pub(super) fn heat(&self, tokens: &[Token]) {
        for queue in &self.hot {
            let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
            for &token in tokens.iter().rev().take(4) {
                if queue.len() < HOT {
                    queue.push_back(token);
                }
            }
        }
    }

    /// What to ask a node about: what has just ended, else what lives or has ended some time.
    /// Whether something was begun against it, too.
    pub(super) fn to_check(&self, node: u8, dice: &mut StdRng) -> Option<(Token, String, bool)> {
        let hot = self.hot[usize::from(node)].lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        self.with(|known| {
            let lives = |dice: &mut StdRng| {
                let session = pick(dice, &known.living)?;
                let tokens = &known.sessions[index(session.0)].tokens;
                if dice.random_bool(0.8) { tokens.last().copied() } else { pick(dice, tokens) }
            };
            let ended = |dice: &mut StdRng| {
                let from = if dice.random_bool(0.5) { known.ended.len().saturating_sub(4 * LATELY) } else { 0 };
                pick(dice, &known.ended[from..])
            };
            let drawn = if dice.random_bool(0.5) { lives(dice) } else { ended(dice) };
            let token = hot.or(drawn).or_else(|| lives(dice))?;
            let access = &known.tokens[index(token.0)];
            Some((token, access.text.clone(), access.is_over))
        })
    }

    /// Tokens to be asked about in the end: all of them, or the newest of each session and as many others as fit.
    pub(super) fn sample(&self, most: usize, dice: &mut StdRng) -> Vec<(Token, String)> {
        self.with(|known| {
            let mut chosen: Vec<Token> = (0..known.tokens.len()).map(|at| Token(number(at))).collect();
            while chosen.len() > most {
                chosen.swap_remove(dice.random_range(0..chosen.len()));
            }
            let text = |token: Token| (token, known.tokens[index(token.0)].text.clone());
            chosen.into_iter().map(text).collect()
        })
    }

    /// The newest tickets of sessions against which nothing was begun, if they were never used: nobody but their session
    /// can be the reason of their refusal.
    pub(super) fn unused_tickets(&self, most: usize, dice: &mut StdRng) -> Vec<(User, Session, Ticket)> {
        self.with(|known| {
            let newest = |session: &Session| {
                let family = &known.sessions[index(session.0)];
                let ticket = *family.tickets.last()?;
                let is_unused = known.tickets[index(ticket.0)].used.is_none();
                is_unused.then_some((family.user, *session, ticket))
            };
            let mut chosen: Vec<_> = known.living.iter().chain(&known.spared).filter_map(newest).collect();
            while chosen.len() > most {
                chosen.swap_remove(dice.random_range(0..chosen.len()));
            }
            chosen
        })
    }

    /// Sessions that have at least this many tickets; those that live, or those that do not.
    pub(super) fn sessions_with(&self, tickets: usize, lives: bool, most: usize) -> Vec<Session> {
        self.with(|known| {
            let all = known.sessions.iter().enumerate();
            let fit = all.filter(|(_, family)| family.tickets.len() >= tickets && family.is_over != lives);
            fit.map(|(at, _)| Session(number(at))).take(most).collect()
        })
    }
}

impl Known {
    fn session(&mut self, user: User, id: &str) -> Session {
        if let Some(session) = self.session_numbers.get(id) {
            return *session;
        }
        let session = Session(number(self.sessions.len()));
        let (tokens, tickets) = (Vec::new(), Vec::new());
        self.sessions.push(Family { user, id: id.to_owned(), tokens, tickets, is_over: false });
        self.session_numbers.insert(id.to_owned(), session);
        let is_spared = self.users[index(user.0)].is_spared;
        let with = if is_spared { &mut self.spared } else { &mut self.living };
        with.push(session);
        session
    }

    fn token(&mut self, session: Session, text: &str) -> Token {
        if let Some(token) = self.token_numbers.get(text) {
            return *token;
        }
        let token = Token(number(self.tokens.len()));
        let is_over = self.sessions[index(session.0)].is_over;
        self.tokens.push(Access { text: text.to_owned(), is_over });
        self.token_numbers.insert(text.to_owned(), token);
        self.sessions[index(session.0)].tokens.push(token);
        if is_over {
            self.ended.push(token);
        }
        token
    }

    fn ticket(&mut self, session: Session, text: &str) -> Ticket {
        if let Some(ticket) = self.ticket_numbers.get(text) {
            return *ticket;
        }
        let ticket = Ticket(number(self.tickets.len()));
        self.tickets.push(Paper { text: text.to_owned(), used: None });
        self.ticket_numbers.insert(text.to_owned(), ticket);
        self.sessions[index(session.0)].tickets.push(ticket);
        ticket
    }

    fn ends(&mut self, session: Session) -> Vec<Token> {
        self.living.retain(|other| *other != session);
        let family = &mut self.sessions[index(session.0)];
        family.is_over = true;
        let tokens = family.tokens.clone();
        for token in &tokens {
            let access = &mut self.tokens[index(token.0)];
            if !access.is_over {
                access.is_over = true;
                self.ended.push(*token);
            }
        }
        tokens
    }
}

fn pick<T: Copy>(dice: &mut StdRng, from: &[T]) -> Option<T> {
    if from.is_empty() { None } else { Some(from[dice.random_range(0..from.len())]) }
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
