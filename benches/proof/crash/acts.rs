//! What clients and operators ask of a process that may die at any moment, and what they make of the answers.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::Method;
use kickout::clock::{BootInstant, Clock};
use rand::{RngExt as _, rngs::StdRng};

use super::{
    book::Book,
    service::{Line, Said},
};
use crate::Failure;

/// More sessions than a user of these should have: 50 is where the service ends the oldest.
pub(super) const CROWD: usize = 25;

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
pub(super) enum Came {
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

    pub(super) fn number(&self) -> u32 {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        *names += 1;
        *names
    }

    /// Sorts an answer. Whatever is none of these is a defect.
    pub(super) fn came(&self, name: &'static str, said: Option<Said>) -> Result<Came, Failure> {
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

    pub(super) fn pick<T>(&mut self, from: &[T]) -> Option<usize> {
        (!from.is_empty()).then(|| self.random.random_range(0..from.len()))
    }

    /// A token that must be good.
    pub(super) fn pick_good(&mut self, world: &World) -> Option<usize> {
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
}
