//! What users ask: an account, a login, an end, another password.

use std::{sync::Arc, time::Duration};

use http::Method;
use serde_json::json;

use super::{
    acts::{CROWD, Came, Client, Kind},
    book::{Book, Issue, Scope, Session, User},
    service::Said,
};
use crate::{Failure, support::client::PASSWORD};

impl Client {
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

    pub(super) async fn log_in_somebody(&mut self) -> Result<bool, Failure> {
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

    /// A user ends sessions.
    pub(super) async fn leave(&mut self, kind: Kind) -> Result<bool, Failure> {
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

    pub(super) async fn change_password(&mut self) -> Result<bool, Failure> {
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
