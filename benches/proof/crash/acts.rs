//! What clients and operators ask of a process that may die at any moment, and what they make of the answers.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::Method;
use kickout::clock::{BootInstant, Clock};
use rand::{RngExt as _, rngs::StdRng};
use serde_json::{Value, json};

use super::{
    book::{Book, Issue, Scope, Session, User},
    service::{Line, Said},
};
use crate::{Failure, support::client::PASSWORD};

/// The default of `sessions.refresh_grace` is 10 s: a used ticket is surely excused for so long …
pub(super) const EXCUSED: Duration = Duration::from_secs(8);
/// … and surely not after that.
const INEXCUSABLE: Duration = Duration::from_secs(12);

/// More sessions than a user of these should have: 50 is where the service ends the oldest.
const CROWD: usize = 25;

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Check,
    SignUp,
    LogIn,
    Refresh,
    Reuse,
    LogOut,
    EndSession,
    LogOutAll,
    LogOutElsewhere,
    Password,
    ResetPassword,
    RevokeToken,
    RevokeSession,
    RevokeUser,
    Everything,
    Ban,
    Unban,
    Roles,
    MakeKey,
    RetireKey,
}

/// How often each is asked. The last ones ruin what the others have built, so they come rarely.
const OFTEN: [(Kind, u32); 20] = [
    (Kind::Check, 40),
    (Kind::Refresh, 18),
    (Kind::LogIn, 8),
    (Kind::LogOut, 5),
    (Kind::EndSession, 3),
    (Kind::RevokeToken, 5),
    (Kind::RevokeSession, 3),
    (Kind::LogOutElsewhere, 2),
    (Kind::LogOutAll, 2),
    (Kind::RevokeUser, 1),
    (Kind::Password, 2),
    (Kind::ResetPassword, 1),
    (Kind::Roles, 2),
    (Kind::Ban, 1),
    (Kind::Unban, 2),
    (Kind::SignUp, 1),
    (Kind::MakeKey, 1),
    (Kind::RetireKey, 1),
    (Kind::Reuse, 2),
    (Kind::Everything, 0),
];

/// Acts that a kill is aimed at, and about how long each takes.
pub(crate) const AIMS: [(Kind, Duration); 14] = [
    (Kind::MakeKey, Duration::from_millis(12)),
    (Kind::RetireKey, Duration::from_millis(30)),
    (Kind::Password, Duration::from_millis(120)),
    (Kind::ResetPassword, Duration::from_millis(80)),
    (Kind::Refresh, Duration::from_millis(10)),
    (Kind::LogIn, Duration::from_millis(80)),
    (Kind::LogOut, Duration::from_millis(12)),
    (Kind::LogOutAll, Duration::from_millis(12)),
    (Kind::RevokeToken, Duration::from_millis(12)),
    (Kind::Ban, Duration::from_millis(12)),
    (Kind::Unban, Duration::from_millis(10)),
    (Kind::Roles, Duration::from_millis(12)),
    (Kind::SignUp, Duration::from_millis(80)),
    (Kind::Everything, Duration::from_millis(12)),
];

/// What came of what was asked, by name.
#[derive(Debug, Clone, Copy, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Count {
    /// Acknowledged: it must hold for ever.
    pub(crate) acknowledged: u64,
    /// Refused: nothing came of it.
    pub(crate) refused: u64,
    /// "Not now" (503): not known.
    pub(crate) unavailable: u64,
    /// No answer: not known.
    pub(crate) lost: u64,
}

impl Count {
    pub(crate) const fn add(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.unavailable += other.unavailable;
        self.lost += other.lost;
    }
}

impl Kind {
    /// Its name in tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::SignUp => "signup",
            Self::LogIn => "login",
            Self::Refresh => "refresh",
            Self::Reuse => "reuse",
            Self::LogOut => "logout",
            Self::EndSession => "end session",
            Self::LogOutAll => "logout all",
            Self::LogOutElsewhere => "logout elsewhere",
            Self::Password => "password",
            Self::ResetPassword => "reset password",
            Self::RevokeToken => "revoke token",
            Self::RevokeSession => "revoke session",
            Self::RevokeUser => "revoke user",
            Self::Everything => "revoke everything",
            Self::Ban => "ban",
            Self::Unban => "unban",
            Self::Roles => "roles",
            Self::MakeKey => "make key",
            Self::RetireKey => "retire key",
        }
    }
}

/// One folder's book, and the clock that it is written by.
#[derive(Debug)]
pub(crate) struct World {
    book: Mutex<Book>,
    counts: Mutex<BTreeMap<&'static str, Count>>,
    checked: Mutex<BTreeMap<&'static str, u64>>,
    begun: BootInstant,
    /// Names that nobody else gives.
    names: Mutex<u32>,
}

/// Somebody who asks.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) world: Arc<World>,
    pub(crate) line: Line,
    pub(crate) random: StdRng,
}

/// What became of an act.
enum Came {
    Done(Said),
    No(Said),
    /// Nobody knows.
    Unknown,
}

impl World {
    pub(crate) fn new() -> Self {
        let begun = Clock::System.boottime();
        Self {
            book: Mutex::default(),
            counts: Mutex::default(),
            checked: Mutex::default(),
            begun,
            names: Mutex::default(),
        }
    }

    pub(crate) fn now(&self) -> Duration {
        Clock::System.boottime().since(self.begun)
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count(&self, name: &'static str, change: impl FnOnce(&mut Count)) {
        change(self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default());
    }

    pub(crate) fn counts(&self) -> BTreeMap<&'static str, Count> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Something was looked at after a start, and was as it must be.
    pub(crate) fn tally(&self, what: &'static str) {
        *self.checked.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default() += 1;
    }

    pub(crate) fn checked(&self) -> BTreeMap<&'static str, u64> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn number(&self) -> u32 {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        *names += 1;
        *names
    }

    /// Sorts an answer. Whatever is none of these is a defect.
    fn came(&self, name: &'static str, said: Option<Said>) -> Result<Came, Failure> {
        match said {
            None => {
                self.count(name, |count| count.lost += 1);
                Ok(Came::Unknown)
            }
            Some(said) => match said.status {
                200 | 201 => {
                    let receipt = said.body.get("value").unwrap_or(&said.body);
                    if receipt.get("complete").is_some_and(|complete| complete != true) {
                        return Err(format!("{name}: a receipt that is not complete: {said:?}").into());
                    }
                    self.count(name, |count| count.acknowledged += 1);
                    Ok(Came::Done(said))
                }
                401 | 403 | 404 | 409 | 422 => {
                    self.count(name, |count| count.refused += 1);
                    Ok(Came::No(said))
                }
                503 => {
                    self.count(name, |count| count.unavailable += 1);
                    Ok(Came::Unknown)
                }
                _ => Err(format!("{name}: {said:?}").into()),
            },
        }
    }
}

impl Client {
    /// Asks for something, by how often each is asked.
    pub(crate) async fn any(&mut self) -> Result<(), Failure> {
        let mut left = self.random.random_range(0..OFTEN.iter().map(|(_, weight)| weight).sum::<u32>());
        for (kind, weight) in OFTEN {
            if left < weight {
                return Box::pin(self.ask(kind)).await;
            }
            left -= weight;
        }
        Ok(())
    }

    /// Asks for one thing, or for a check where there is nothing to do it to.
    pub(crate) async fn ask(&mut self, kind: Kind) -> Result<(), Failure> {
        let is_done = match kind {
            Kind::Check => false,
            Kind::SignUp => self.sign_up().await?,
            Kind::LogIn => self.log_in_somebody().await?,
            Kind::Refresh => self.refresh_something().await?,
            Kind::Reuse => self.reuse().await?,
            Kind::LogOut | Kind::LogOutAll | Kind::LogOutElsewhere | Kind::EndSession => self.leave(kind).await?,
            Kind::Password => self.change_password().await?,
            Kind::RevokeToken | Kind::RevokeSession | Kind::RevokeUser | Kind::Everything => self.revoke(kind).await?,
            Kind::ResetPassword | Kind::Ban | Kind::Unban | Kind::Roles => self.administer(kind).await?,
            Kind::MakeKey => self.make_key().await?,
            Kind::RetireKey => self.retire_key().await?,
        };
        if is_done { Ok(()) } else { self.check_something().await }
    }

    fn pick<T>(&mut self, from: &[T]) -> Option<usize> {
        (!from.is_empty()).then(|| self.random.random_range(0..from.len()))
    }

    /// A token that must be good.
    fn pick_good(&mut self, world: &World) -> Option<usize> {
        let (book, now) = (world.book(), world.now());
        let good: Vec<usize> = (0..book.tokens.len()).filter(|&at| book.must_be_good(at, now)).collect();
        drop(book);
        self.pick(&good).map(|at| good[at])
    }

    async fn check_something(&mut self) -> Result<(), Failure> {
        let world = Arc::clone(&self.world);
        let count = world.book().tokens.len();
        if count == 0 {
            return Ok(());
        }
        // The newest ones are those that something happens to.
        let at = if self.random.random_bool(0.5) {
            count - 1 - self.random.random_range(0..count.min(20))
        } else {
            self.random.random_range(0..count)
        };
        let (text, was_dead) = {
            let book = world.book();
            (book.tokens[at].text.clone(), book.tokens[at].is_dead)
        };
        let said = self.line.ask(Method::GET, "/v1/auth/verify", Some(&text), None).await;
        let mut book = world.book();
        match said.map(|said| said.status) {
            None => {}
            Some(200) if was_dead => return Err(format!("good again: {}", book.story(at)).into()),
            Some(200) => world.count("check", |count| count.acknowledged += 1),
            Some(401) if book.must_be_good(at, world.now()) => {
                return Err(format!("refused: {}", book.story(at)).into());
            }
            Some(401) => {
                world.count("check", |count| count.refused += 1);
                // What was refused once is never good again.
                book.tokens[at].is_dead = true;
            }
            Some(503) => world.count("check", |count| count.unavailable += 1),
            Some(status) => return Err(format!("a check: {status}").into()),
        }
        Ok(())
    }

    pub(crate) async fn sign_up(&mut self) -> Result<bool, Failure> {
        let world = Arc::clone(&self.world);
        let name = format!("user-{}", world.number());
        let body = json!({"username": name, "password": PASSWORD});
        let said = self.line.ask(Method::POST, "/v1/auth/signup", None, Some(&body)).await;
        match world.came("signup", said)? {
            Came::Done(_) => world.book().users.push(User::new(name)),
            Came::No(said) => return Err(format!("a signup: {said:?}").into()),
            Came::Unknown => {}
        }
        Ok(true)
    }

    async fn log_in_somebody(&mut self) -> Result<bool, Failure> {
        let world = Arc::clone(&self.world);
        let users: Vec<usize> = {
            let book = world.book();
            let has_room = |user: &usize| {
                book.sessions.iter().filter(|session| session.user == *user && !session.is_dead).count() < CROWD
            };
            (0..book.users.len()).filter(has_room).collect()
        };
        let Some(at) = self.pick(&users) else { return Ok(false) };
        self.log_in(users[at], None).await?;
        Ok(true)
    }

    /// Logs a user in, with a password or with the one that it should be. Returns what was said.
    pub(crate) async fn log_in(&mut self, user: usize, password: Option<&str>) -> Result<Option<Said>, Failure> {
        let world = Arc::clone(&self.world);
        let (body, issue, before) = {
            let book = world.book();
            let of = &book.users[user];
            let password = password.unwrap_or(&of.password.is);
            let body = json!({"username": of.name, "password": password, "delivery": "body"});
            (body, book.begin_issue(), of.is_sure().then_some(of.version))
        };
        let said = self.line.ask(Method::POST, "/v1/auth/login", None, Some(&body)).await;
        let mut book = world.book();
        let of = &book.users[user];
        let is_sure = of.is_sure() && before == Some(of.version);
        let wrong = |what| Err(format!("{what}: {} {of:?}", said.as_ref().map_or(0, |said| said.status)).into());
        match world.came("login", said.clone())? {
            Came::Done(answer) => {
                if is_sure && of.is_banned.is {
                    return wrong("a banned user is let in");
                }
                let roles: Vec<String> = serde_json::from_value(answer.body["roles"].clone())?;
                if is_sure && roles != of.roles.is {
                    return wrong("other roles");
                }
                let (session, token) = (answer.text("session")?, answer.text("access_token")?);
                let at = book.issued(&issue, user, &session, token, world.now(), None)?;
                book.sessions[at].ticket = answer.text("refresh_token")?;
            }
            Came::No(answer) if answer.status == 403 && of.is_banned.is => {}
            Came::No(_) if is_sure => return wrong("a login is refused"),
            Came::No(_) | Came::Unknown => {}
        }
        Ok(said)
    }

    async fn refresh_something(&mut self) -> Result<bool, Failure> {
        let world = Arc::clone(&self.world);
        let idle: Vec<usize> = {
            let book = world.book();
            (0..book.sessions.len()).filter(|&at| !book.sessions[at].is_busy).collect()
        };
        let Some(at) = self.pick(&idle) else { return Ok(false) };
        let is_twice = self.random.random_bool(0.3);
        self.refresh(idle[at], is_twice, false).await?;
        Ok(true)
    }

    /// Presents a session's last ticket, and then perhaps the same again. `is_quiet`: nobody else asks anything.
    pub(crate) async fn refresh(&mut self, at: usize, is_twice: bool, is_quiet: bool) -> Result<(), Failure> {
        let world = Arc::clone(&self.world);
        let ticket = {
            let mut book = world.book();
            book.sessions[at].is_busy = true;
            book.sessions[at].ticket.clone()
        };
        let began = world.now();
        let first = self.present(at, &ticket, is_quiet).await?;
        if let Some(first) = first
            && is_twice
        {
            let again = self.present(at, &ticket, is_quiet).await?;
            if again.is_some_and(|again| again != first) && world.now() < began + EXCUSED {
                return Err("two successors of one ticket".into());
            }
        }
        world.book().sessions[at].is_busy = false;
        Ok(())
    }

    /// Presents a ticket of a session; its successor, if it came.
    async fn present(&mut self, at: usize, ticket: &str, is_quiet: bool) -> Result<Option<String>, Failure> {
        let world = Arc::clone(&self.world);
        let asked = world.now();
        let (issue, was_dead, late) = {
            let mut book = world.book();
            let session = &book.sessions[at];
            // It may have been used by a refresh that was not answered: then this is a theft, for all that anybody knows.
            let is_late = session.lost_since.is_some_and(|since| since + EXCUSED / 2 < asked);
            let was_dead = session.is_dead;
            let late = is_late.then(|| book.begin("late refresh", Scope::Session(at)));
            (book.begin_issue(), was_dead, late)
        };
        let body = json!({"refresh_token": ticket});
        let said = self.line.ask(Method::POST, "/v1/auth/refresh", None, Some(&body)).await;
        let now = world.now();
        let mut book = world.book();
        match world.came("refresh", said)? {
            Came::Done(_) if was_dead => Err(format!("refreshed after its end: {:?}", book.sessions[at]).into()),
            Came::Done(answer) => {
                if let Some(late) = late {
                    book.refused(late);
                }
                let user = book.sessions[at].user;
                let roles: Vec<String> = serde_json::from_value(answer.body["roles"].clone())?;
                if is_quiet && !book.users[user].roles.may_be(&roles) {
                    return Err(format!("a refresh with other roles: {roles:?}, {:?}", book.users[user]).into());
                }
                book.issued(&issue, user, &answer.text("session")?, answer.text("access_token")?, now, late)?;
                let next = answer.text("refresh_token")?;
                let session = &mut book.sessions[at];
                session.lost_since = None;
                if session.ticket != next {
                    session.past = Some((std::mem::replace(&mut session.ticket, next.clone()), now));
                }
                if is_quiet {
                    book.saw_session(at, true)?;
                }
                Ok(Some(next))
            }
            Came::No(answer) => {
                let is_excused = late.is_some() || book.sessions[at].lost_since.is_some_and(|at| at + EXCUSED < now);
                let is_theft = is_excused && !book.sessions[at].is_dead && book.sessions[at].doom.is_empty();
                if let Some(late) = late.or_else(|| is_theft.then(|| book.begin("late refresh", Scope::Session(at)))) {
                    book.acknowledged(late)?;
                } else if !book.sessions[at].is_dead && book.sessions[at].doom.is_empty() && !is_excused {
                    return Err(format!("a ticket is refused: {answer:?} {:?}", book.sessions[at]).into());
                }
                book.sessions[at].is_dead = true;
                book.sessions[at].lost_since = None;
                if is_quiet {
                    book.saw_session(at, false)?;
                }
                Ok(None)
            }
            Came::Unknown => {
                let session = &mut book.sessions[at];
                session.lost_since = session.lost_since.or(Some(asked));
                Ok(None)
            }
        }
    }

    /// Presents a ticket that was replaced long ago: the refusal ends the family.
    async fn reuse(&mut self) -> Result<bool, Failure> {
        let world = Arc::clone(&self.world);
        let now = world.now();
        let old: Vec<usize> = {
            let book = world.book();
            let is_old = |at: &usize| {
                let session = &book.sessions[*at];
                let is_past = session.past.as_ref().is_some_and(|(_, until)| *until + INEXCUSABLE < now);
                is_past && !session.is_busy && session.lost_since.is_none()
            };
            (0..book.sessions.len()).filter(is_old).collect()
        };
        let Some(at) = self.pick(&old).map(|at| old[at]) else { return Ok(false) };
        let (ticket, act) = {
            let mut book = world.book();
            let Some((ticket, _)) = book.sessions[at].past.clone() else { return Ok(false) };
            book.sessions[at].is_busy = true;
            (ticket, book.begin("reuse", Scope::Session(at)))
        };
        let said = self.line.ask(Method::POST, "/v1/auth/refresh", None, Some(&json!({"refresh_token": ticket}))).await;
        let mut book = world.book();
        match world.came("reuse", said)? {
            Came::Done(_) => return Err(format!("a used ticket is good: {:?}", book.sessions[at]).into()),
            Came::No(_) => book.acknowledged(act)?,
            Came::Unknown => {}
        }
        book.sessions[at].is_busy = false;
        Ok(true)
    }

    /// A user ends sessions.
    async fn leave(&mut self, kind: Kind) -> Result<bool, Failure> {
        let world = Arc::clone(&self.world);
        let Some(with) = self.pick_good(&world) else { return Ok(false) };
        let (text, user, session) = {
            let book = world.book();
            let token = &book.tokens[with];
            (token.text.clone(), token.user, token.session)
        };
        let others: Vec<usize> = {
            let book = world.book();
            (0..book.sessions.len()).filter(|&at| book.sessions[at].user == user).collect()
        };
        let other = self.pick(&others).map_or(session, |at| others[at]);
        let id = world.book().sessions[other].id.clone();
        let (name, scope, method, path, body) = match kind {
            Kind::EndSession => {
                let path = format!("/v1/auth/sessions/{id}");
                ("end session", Scope::Session(other), Method::DELETE, path, None)
            }
            Kind::LogOutAll | Kind::LogOutElsewhere => {
                let keep = (kind == Kind::LogOutElsewhere).then_some(session);
                let name = if keep.is_some() { "logout elsewhere" } else { "logout all" };
                let body = json!({"keep_current": keep.is_some()});
                (name, Scope::User(user, keep), Method::POST, "/v1/auth/logout-all".to_owned(), Some(body))
            }
            _ => ("logout", Scope::Session(session), Method::POST, "/v1/auth/logout".to_owned(), Some(json!({}))),
        };
        let (act, issue) = {
            let mut book = world.book();
            (book.begin(name, scope), book.begin_issue())
        };
        let said = self.line.ask(method, &path, Some(&text), body.as_ref()).await;
        let mut book = world.book();
        match world.came(name, said)? {
            Came::Done(answer) => {
                book.acknowledged(act)?;
                if kind == Kind::LogOutElsewhere {
                    kept(&mut book, &issue, session, &answer, world.now(), act)?;
                }
            }
            Came::No(answer) => {
                book.refused(act);
                if answer.status != 404 && book.must_be_good(with, world.now()) {
                    return Err(format!("{name}: {answer:?}, {}", book.story(with)).into());
                }
            }
            Came::Unknown => {}
        }
        Ok(true)
    }

    async fn change_password(&mut self) -> Result<bool, Failure> {
        let world = Arc::clone(&self.world);
        let Some(with) = self.pick_good(&world) else { return Ok(false) };
        let new = format!("harbour-violet-anvil-{}", world.number());
        let (text, body, user, session, act, issue) = {
            let mut book = world.book();
            let (text, user, session) = {
                let token = &book.tokens[with];
                (token.text.clone(), token.user, token.session)
            };
            if !book.users[user].is_sure() {
                return Ok(false);
            }
            book.users[user].begin_change();
            let body = json!({"current": book.users[user].password.is, "new": new});
            let act = book.begin("password", Scope::User(user, Some(session)));
            (text, body, user, session, act, book.begin_issue())
        };
        let said = self.line.ask(Method::POST, "/v1/auth/password", Some(&text), Some(&body)).await;
        let mut book = world.book();
        match world.came("password", said)? {
            Came::Done(answer) => {
                book.acknowledged(act)?;
                book.users[user].password.is = new;
                kept(&mut book, &issue, session, &answer, world.now(), act)?;
            }
            Came::No(answer) => {
                book.refused(act);
                if answer.status == 403 || book.must_be_good(with, world.now()) && answer.status != 409 {
                    return Err(format!("password: {answer:?}, {}", book.story(with)).into());
                }
            }
            Came::Unknown => book.users[user].password.or = Some((new, act)),
        }
        book.users[user].end_change();
        Ok(true)
    }

    /// An operator takes something back.
    async fn revoke(&mut self, kind: Kind) -> Result<bool, Failure> {
        let world = Arc::clone(&self.world);
        let (name, scope, command) = {
            let book = world.book();
            let (tokens, users) = (book.tokens.len(), book.users.len());
            if tokens == 0 {
                return Ok(false);
            }
            let at = tokens - 1 - self.random.random_range(0..tokens.min(30));
            let token = &book.tokens[at];
            let user = self.random.random_range(0..users);
            match kind {
                Kind::RevokeToken => {
                    ("revoke token", Scope::Token(at), json!({"command": "revoke_token", "token": token.id}))
                }
                Kind::RevokeSession => {
                    let id = &book.sessions[token.session].id;
                    let command = json!({"command": "revoke_session", "session": id});
                    ("revoke session", Scope::Session(token.session), command)
                }
                Kind::RevokeUser => {
                    let command = json!({"command": "revoke_user", "user": book.users[user].name});
                    ("revoke user", Scope::User(user, None), command)
                }
                _ => ("revoke everything", Scope::Everything, json!({"command": "revoke_everything"})),
            }
        };
        let act = world.book().begin(name, scope);
        let said = self.line.command(&command).await;
        match world.came(name, said)? {
            Came::Done(_) => world.book().acknowledged(act)?,
            Came::No(_) => world.book().refused(act),
            Came::Unknown => {}
        }
        Ok(true)
    }

    /// An operator changes an account.
    async fn administer(&mut self, kind: Kind) -> Result<bool, Failure> {
        let world = Arc::clone(&self.world);
        let number = world.number();
        let (user, name, act, command) = {
            let mut book = world.book();
            let fit: Vec<usize> = (0..book.users.len())
                .filter(|&at| book.users[at].is_sure() && (kind != Kind::Unban || book.users[at].is_banned.is))
                .collect();
            let Some(user) = self.pick(&fit).map(|at| fit[at]) else { return Ok(false) };
            book.users[user].begin_change();
            let (name, scope, command) = change(kind, user, &book.users[user].name, number);
            (user, name, book.begin(name, scope), command)
        };
        let said = self.line.command(&command).await;
        let came = world.came(name, said)?;
        let mut book = world.book();
        match &came {
            Came::Done(_) => book.acknowledged(act)?,
            Came::No(said) => return Err(format!("{name}: {said:?}").into()),
            Came::Unknown => {}
        }
        book.users[user].change(kind, number, act, matches!(came, Came::Done(_)));
        book.users[user].end_change();
        Ok(true)
    }

    async fn make_key(&mut self) -> Result<bool, Failure> {
        let world = Arc::clone(&self.world);
        {
            let mut book = world.book();
            let live = book.keys.values().filter(|is_retired| !**is_retired).count();
            // A ring has room for 16, and not every one that was asked for is known.
            if book.keys_busy || live >= 8 {
                return Ok(false);
            }
            book.keys_busy = true;
        }
        let said = self.line.command(&json!({"command": "keys_generate"})).await;
        let came = world.came("make key", said)?;
        let mut book = world.book();
        if let Came::Done(said) = came {
            let kid = said.body["value"]["kid"].as_str().ok_or("a key without a kid")?;
            book.keys.insert(kid.to_owned(), false);
        }
        book.keys_busy = false;
        Ok(true)
    }

    async fn retire_key(&mut self) -> Result<bool, Failure> {
        let world = Arc::clone(&self.world);
        let (kid, act) = {
            let mut book = world.book();
            let live: Vec<String> =
                book.keys.iter().filter(|(_, is_retired)| !**is_retired).map(|(kid, _)| kid.clone()).collect();
            if book.keys_busy || book.key_in_doubt.is_some() {
                return Ok(false);
            }
            let Some(at) = self.pick(&live) else { return Ok(false) };
            book.keys_busy = true;
            let kid = live[at].clone();
            let act = book.begin("retire key", Scope::Key(kid.clone()));
            (kid, act)
        };
        let said = self.line.command(&json!({"command": "keys_retire", "kid": kid})).await;
        let mut book = world.book();
        match world.came("retire key", said)? {
            Came::Done(_) => {
                book.acknowledged(act)?;
                book.keys.insert(kid, true);
            }
            Came::No(said) => return Err(format!("retire key: {said:?}").into()),
            Came::Unknown => book.key_in_doubt = Some((kid, act)),
        }
        book.keys_busy = false;
        Ok(true)
    }
}

/// A session was kept by an act that has ended all others: it goes on with another token, unless somebody has ended it at
/// the same moment.
fn kept(
    book: &mut Book,
    issue: &Issue,
    session: usize,
    answer: &Said,
    now: Duration,
    act: usize,
) -> Result<(), Failure> {
    let Session { id, user, doom, is_dead, .. } = &book.sessions[session];
    let (id, user, is_ended) = (id.clone(), *user, *is_dead || !doom.is_empty());
    match answer.body["access_token"].as_str() {
        Some(token) => book.issued(issue, user, &id, token.to_owned(), now, Some(act)).map(|_| ()),
        None if is_ended => Ok(()),
        None => Err(format!("a session that is kept gets no token: {answer:?}").into()),
    }
}

/// An operator's change of an account: its name, what it ends, and the command.
pub(super) fn change(kind: Kind, user: usize, name: &str, number: u32) -> (&'static str, Scope, Value) {
    let all = Scope::User(user, None);
    match kind {
        Kind::Ban => ("ban", all, json!({"command": "user_ban", "user": name})),
        Kind::Unban => ("unban", Scope::Nothing, json!({"command": "user_unban", "user": name})),
        Kind::Roles => {
            let command = json!({"command": "user_roles", "user": name, "roles": [role(number)]});
            ("roles", Scope::Roles(user), command)
        }
        _ => {
            let command = json!({"command": "user_password", "user": name, "password": password(number)});
            ("reset password", all, command)
        }
    }
}

pub(super) fn role(number: u32) -> String {
    format!("role-{number}")
}

pub(super) fn password(number: u32) -> String {
    format!("meadow-copper-lattice-{number}")
}
