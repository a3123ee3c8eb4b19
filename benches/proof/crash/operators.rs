//! What operators ask: revocations, changes of accounts, signing keys.

use std::sync::Arc;

use rand::RngExt as _;
use serde_json::{Value, json};

use super::{
    acts::{Came, Client, Kind},
    book::Scope,
};
use crate::Failure;

/// Keys that are made at most before some are retired. A ring has room for 16, and not every one that was asked for is
/// known.
pub(super) const MOST_KEYS: usize = 8;

impl Client {
    /// An operator takes something back.
    pub(super) async fn revoke(&mut self, kind: Kind) -> Result<bool, Failure> {
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
    pub(super) async fn administer(&mut self, kind: Kind) -> Result<bool, Failure> {
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

    pub(super) async fn make_key(&mut self) -> Result<bool, Failure> {
        let world = Arc::clone(&self.world);
        {
            let mut book = world.book();
            let live = book.keys.values().filter(|is_retired| !**is_retired).count();
            if book.keys_busy || live >= MOST_KEYS {
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

    pub(super) async fn retire_key(&mut self) -> Result<bool, Failure> {
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
