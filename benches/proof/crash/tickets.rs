//! Refreshes: with the last ticket of a session, with the same again, and with one that was replaced long ago.

use std::{sync::Arc, time::Duration};

use http::Method;
use rand::RngExt as _;
use serde_json::json;

use super::{
    acts::{Came, Client},
    book::Scope,
};
use crate::Failure;

/// The default of `sessions.refresh_grace` is 10 s: a used ticket is surely excused for so long …
const EXCUSED: Duration = Duration::from_secs(8);
/// … and surely not after that.
const INEXCUSABLE: Duration = Duration::from_secs(12);

impl Client {
    pub(super) async fn refresh_something(&mut self) -> Result<bool, Failure> {
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
    pub(super) async fn present(&mut self, at: usize, ticket: &str, is_quiet: bool) -> Result<Option<String>, Failure> {
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
    pub(super) async fn reuse(&mut self) -> Result<bool, Failure> {
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
}
