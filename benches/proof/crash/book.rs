//! What must be true of one folder, by what its clients were told.
//!
//! Two things are sure, however many ask at once and whenever the process dies:
//!
//! - a token that was there before an act was asked is dead once that act is acknowledged, for ever;
//! - a token that no act could have meant, of all that were asked since it was asked for, is good.
//!
//! What lies between is not known, until the process was killed and started again: an act that was never answered has
//! happened or it has not, and will not happen any more. Whichever it was, it was all of it: what it meant is dead, or
//! good, as a whole. So a first look at one of its victims settles what all others must be.

use std::{collections::BTreeMap, fmt, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use super::{acts::Kind, operators};
use crate::{Failure, support::client::PASSWORD};

/// How long after it was issued a token is still asked for: it lives for 15 minutes by default.
const GOOD_FOR: Duration = Duration::from_mins(13);

/// What an act ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    /// One access token.
    Token(usize),
    /// A session with its tokens.
    Session(usize),
    /// All sessions of a user, or all but one.
    User(usize, Option<usize>),
    /// The access tokens of a user, and no session.
    Roles(usize),
    /// Everything that a key has signed.
    Key(String),
    /// Everything.
    Everything,
    /// Nothing: it makes something.
    Nothing,
}

/// Something that was asked.
#[derive(Debug, Clone)]
pub(crate) struct Act {
    pub(crate) name: &'static str,
    scope: Scope,
    /// It may happen still.
    is_open: bool,
    /// Nobody was ever told what became of it.
    is_lost: bool,
    /// Whether it has happened, as far as was seen.
    has_happened: Option<bool>,
    /// What it surely ends, if it happens: what was there before it was asked.
    tokens: Vec<usize>,
    sessions: Vec<usize>,
}

#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) user: usize,
    pub(crate) session: usize,
    issued: Duration,
    pub(crate) is_dead: bool,
    /// Acts that may have ended it.
    pub(crate) doom: Vec<usize>,
    /// It was looked at since anything happened to it.
    pub(crate) is_settled: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) user: usize,
    /// The last refresh token that was answered.
    pub(crate) ticket: String,
    /// The one before, and when it was replaced at the latest.
    pub(crate) past: Option<(String, Duration)>,
    /// A refresh was asked then and not answered: the ticket may be a used one.
    pub(crate) lost_since: Option<Duration>,
    /// Somebody is at it.
    pub(crate) is_busy: bool,
    pub(crate) is_dead: bool,
    pub(crate) doom: Vec<usize>,
}

/// A value, or what it may be instead since an act was not answered.
#[derive(Debug, Clone)]
pub(crate) struct Known<T> {
    pub(crate) is: T,
    pub(crate) or: Option<(T, usize)>,
}

impl<T: Clone + PartialEq + fmt::Debug> Known<T> {
    pub(crate) const fn new(is: T) -> Self {
        Self { is, or: None }
    }

    fn become_or(&mut self, value: T, act: usize, is_done: bool) {
        if is_done {
            self.is = value;
        } else {
            self.or = Some((value, act));
        }
    }

    /// What it is was seen: that settles an act that was not answered. An error if it can be nothing of the kind.
    pub(crate) fn see(&mut self, value: &T) -> Result<Option<(usize, bool)>, Failure> {
        if !self.may_be(value) {
            return Err(format!("it is {value:?} and should be {self:?}").into());
        }
        // An act that changes nothing cannot be told from one that did not happen.
        let settled = self.or.take().filter(|(or, _)| *or != self.is).map(|(or, act)| (act, or == *value));
        value.clone_into(&mut self.is);
        Ok(settled)
    }

    pub(crate) fn may_be(&self, value: &T) -> bool {
        self.is == *value || self.or.as_ref().is_some_and(|(or, _)| or == value)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) password: Known<String>,
    pub(crate) is_banned: Known<bool>,
    pub(crate) roles: Known<Vec<String>>,
    /// Somebody changes one of these.
    pub(crate) is_changing: bool,
    /// Raised by the beginning and the end of each change.
    pub(crate) version: u32,
}

impl User {
    /// Somebody new, who has the tests' password.
    pub(crate) fn new(name: String) -> Self {
        Self {
            name,
            password: Known::new(PASSWORD.to_owned()),
            is_banned: Known::new(false),
            roles: Known::new(Vec::new()),
            is_changing: false,
            version: 0,
        }
    }

    /// Whether all of it is known.
    pub(crate) const fn is_sure(&self) -> bool {
        !self.is_changing && self.password.or.is_none() && self.is_banned.or.is_none() && self.roles.or.is_none()
    }

    /// From now on it may be something else.
    pub(crate) const fn begin_change(&mut self) {
        self.is_changing = true;
        self.version += 1;
    }

    /// Whoever changed it has an answer, or will get none.
    pub(crate) const fn end_change(&mut self) {
        self.is_changing = false;
        self.version += 1;
    }

    /// An operator's change was acknowledged, or was not answered.
    pub(crate) fn change(&mut self, kind: Kind, number: u32, act: usize, is_done: bool) {
        match kind {
            Kind::Ban => self.is_banned.become_or(true, act, is_done),
            Kind::Unban => self.is_banned.become_or(false, act, is_done),
            Kind::Roles => self.roles.become_or(vec![operators::role(number)], act, is_done),
            _ => self.password.become_or(operators::password(number), act, is_done),
        }
    }
}

/// Credentials that were asked for.
#[derive(Debug)]
pub(crate) struct Issue {
    open: Vec<usize>,
    from: usize,
}

/// All that was told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Book {
    pub(crate) users: Vec<User>,
    pub(crate) sessions: Vec<Session>,
    pub(crate) tokens: Vec<Token>,
    pub(crate) acts: Vec<Act>,
    /// Signing keys that were told of, and whether they were taken back.
    pub(crate) keys: BTreeMap<String, bool>,
    /// Somebody changes them.
    pub(crate) keys_busy: bool,
    /// A key that may have been taken back, and by which act.
    pub(crate) key_in_doubt: Option<(String, usize)>,
}

impl Book {
    /// Before credentials are asked for.
    pub(crate) fn begin_issue(&self) -> Issue {
        let open = (0..self.acts.len()).filter(|&act| self.acts[act].is_open).collect();
        Issue { open, from: self.acts.len() }
    }

    /// Credentials came, in the answer to `by` if they go with another act. Returns the session.
    pub(crate) fn issued(
        &mut self,
        issue: &Issue,
        user: usize,
        session: &str,
        token: String,
        now: Duration,
        by: Option<usize>,
    ) -> Result<usize, Failure> {
        let key = part(&token, 0)?["kid"].as_str().ok_or("a token without a kid")?.to_owned();
        let id = part(&token, 1)?["jti"].as_str().ok_or("a token without a jti")?.to_owned();
        let acts = || issue.open.iter().copied().chain(issue.from..self.acts.len()).filter(|act| Some(*act) != by);
        let at = self.sessions.iter().position(|other| other.id == session);
        let doom = acts().filter(|&act| self.acts[act].scope.may_mean(user, at, &key)).collect();
        let session_doom: Vec<usize> = acts().filter(|&act| self.acts[act].scope.may_end(user)).collect();
        let at = at.unwrap_or(self.sessions.len());
        if at == self.sessions.len() {
            let (id, ticket) = (session.to_owned(), String::new());
            let (past, lost_since) = (None, None);
            let (is_busy, is_dead) = (false, false);
            self.sessions.push(Session { id, user, ticket, past, lost_since, is_busy, is_dead, doom: session_doom });
        }
        self.keys.entry(key.clone()).or_insert(false);
        let (is_dead, is_settled) = (false, false);
        self.tokens.push(Token { text: token, id, key, user, session: at, issued: now, is_dead, doom, is_settled });
        Ok(at)
    }

    /// Before an act is asked.
    pub(crate) fn begin(&mut self, name: &'static str, scope: Scope) -> usize {
        let act = self.acts.len();
        let (mut tokens, mut sessions) = (Vec::new(), Vec::new());
        for (at, token) in self.tokens.iter_mut().enumerate() {
            if scope.means(at, token) {
                tokens.push(at);
            }
            if scope.means(at, token) || scope.may_mean(token.user, Some(token.session), &token.key) {
                token.doom.push(act);
                token.is_settled = false;
            }
        }
        for (at, session) in self.sessions.iter_mut().enumerate() {
            let is_meant = match scope {
                Scope::Session(of) => of == at,
                Scope::User(user, keep) => user == session.user && keep != Some(at),
                Scope::Everything => true,
                Scope::Token(_) | Scope::Roles(_) | Scope::Key(_) | Scope::Nothing => false,
            };
            if is_meant {
                sessions.push(at);
                session.doom.push(act);
            }
        }
        self.acts.push(Act { name, scope, is_open: true, is_lost: false, has_happened: None, tokens, sessions });
        act
    }

    /// The act was acknowledged: what it meant is dead.
    pub(crate) fn acknowledged(&mut self, act: usize) -> Result<(), Failure> {
        self.settle(act, true)?;
        self.acts[act].is_open = false;
        let Act { tokens, sessions, .. } = &self.acts[act];
        for &at in tokens {
            self.tokens[at].is_dead = true;
        }
        for &at in sessions {
            self.sessions[at].is_dead = true;
        }
        Ok(())
    }

    /// The act was refused: nothing came of it.
    pub(crate) fn refused(&mut self, act: usize) {
        self.acts[act].is_open = false;
        self.acts[act].has_happened = Some(false);
        self.undo(act);
    }

    fn undo(&mut self, act: usize) {
        for token in &mut self.tokens {
            token.doom.retain(|other| *other != act);
        }
        for session in &mut self.sessions {
            session.doom.retain(|other| *other != act);
        }
    }

    /// The process is dead, and whoever asked it has heard of that: nothing that was asked happens any more.
    pub(crate) fn died(&mut self) {
        for act in &mut self.acts {
            act.is_lost |= std::mem::take(&mut act.is_open);
        }
    }

    /// It was seen whether an act has happened that was not answered.
    pub(crate) fn settle(&mut self, act: usize, has_happened: bool) -> Result<(), Failure> {
        let Act { name, scope, has_happened: before, .. } = &mut self.acts[act];
        if before.is_some_and(|before| before != has_happened) {
            return Err(format!("half of an act: {name} {scope:?} has happened, and has not").into());
        }
        *before = Some(has_happened);
        Ok(())
    }

    /// A check was answered while nothing else was asked.
    pub(crate) fn saw_token(&mut self, at: usize, is_good: bool) -> Result<(), Failure> {
        let token = &mut self.tokens[at];
        token.is_settled = true;
        let doom = token.doom.clone();
        if is_good {
            token.doom.clear();
        } else {
            token.is_dead = true;
            if doom.len() > 1 {
                // Any of them may have been the one.
                return Ok(());
            }
        }
        for act in doom {
            if self.acts[act].tokens.contains(&at) {
                self.settle(act, !is_good)?;
            }
        }
        Ok(())
    }

    /// A refresh was answered while nothing else was asked.
    pub(crate) fn saw_session(&mut self, at: usize, is_alive: bool) -> Result<(), Failure> {
        let doom = self.sessions[at].doom.clone();
        if is_alive {
            self.sessions[at].doom.clear();
        } else {
            self.sessions[at].is_dead = true;
            if doom.len() > 1 {
                // Any of them may have been the one.
                return Ok(());
            }
        }
        for act in doom {
            if self.acts[act].sessions.contains(&at) {
                self.settle(act, !is_alive)?;
            }
        }
        Ok(())
    }

    /// Whether a token must be good.
    pub(crate) fn must_be_good(&self, at: usize, now: Duration) -> bool {
        let Token { is_dead, doom, issued, .. } = &self.tokens[at];
        !is_dead && doom.is_empty() && now < *issued + GOOD_FOR
    }

    /// Sessions of some kind.
    pub(crate) fn sessions_where(&self, is_so: impl Fn(&Session) -> bool) -> Vec<usize> {
        (0..self.sessions.len()).filter(|&at| is_so(&self.sessions[at])).collect()
    }

    /// How many acts that were not answered were seen to have happened, and not to have.
    pub(crate) fn settled(&self) -> (u64, u64) {
        let count =
            |wanted| self.acts.iter().filter(|act| act.is_lost && act.has_happened == Some(wanted)).count() as u64;
        (count(true), count(false))
    }

    /// Asserts that nothing is open after everything was looked at.
    pub(crate) fn lasting(&self) -> Result<(), Failure> {
        let open = self.tokens.iter().position(|token| !token.is_settled);
        open.map_or(Ok(()), |at| Err(format!("not looked at: {}", self.story(at)).into()))
    }

    /// What a token has gone through.
    pub(crate) fn story(&self, at: usize) -> String {
        let token = &self.tokens[at];
        let doom: Vec<_> = token.doom.iter().map(|act| &self.acts[*act]).collect();
        format!("token {} of session {} of {}: {doom:?}", token.id, token.session, self.users[token.user].name)
    }
}

impl Scope {
    /// Whether it surely ends a token that was there before.
    fn means(&self, at: usize, token: &Token) -> bool {
        match self {
            Self::Token(of) => *of == at,
            Self::Session(of) => *of == token.session,
            Self::User(user, keep) => *user == token.user && *keep != Some(token.session),
            Self::Roles(user) => *user == token.user,
            Self::Key(key) => *key == token.key,
            Self::Everything => true,
            Self::Nothing => false,
        }
    }

    /// Whether it may end a token that was asked for meanwhile.
    fn may_mean(&self, user: usize, session: Option<usize>, key: &str) -> bool {
        match self {
            Self::Session(of) => session == Some(*of),
            Self::User(of, _) | Self::Roles(of) => *of == user,
            Self::Key(of) => of == key,
            Self::Everything => true,
            Self::Token(_) | Self::Nothing => false,
        }
    }

    /// Whether it may end a session that was asked for meanwhile.
    fn may_end(&self, user: usize) -> bool {
        match self {
            Self::User(of, _) => *of == user,
            Self::Everything => true,
            Self::Session(_) | Self::Token(_) | Self::Roles(_) | Self::Key(_) | Self::Nothing => false,
        }
    }
}

/// A part of a token: its header or its claims.
fn part(token: &str, index: usize) -> Result<Value, Failure> {
    let part = token.split('.').nth(index).ok_or("not a JWT")?;
    Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part)?)?)
}
