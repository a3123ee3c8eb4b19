//! After a start: whatever was acknowledged holds, what was not has happened as a whole or not at all, and nothing is
//! left in the folder that does not belong there.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt, path::Path};

use http::Method;
use kickout::tokens::keys::MAX_KEYS;
use rand::RngExt as _;
use serde_json::{Value, json};

use super::acts::Client;
use crate::Failure;

/// How many tokens are looked at again of which nothing new is to be expected.
const OLD_TOKENS: usize = 25;

/// What a data folder may hold while a server works in it, beside keys.
const FILES: [&str; 8] =
    ["lock", "kickout.db", "kickout.db-wal", "kickout.db-shm", "kickout.db.lock", "server.secret", "run.json", "keys"];

/// The log of a database of some hundred rows: 1000 pages of 4 KiB are where SQLite starts it again, and a bulk
/// revocation may be written beyond that.
const MOST_LOG_BYTES: u64 = 32 << 20;

/// How much is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// What something has happened to, and a share of the rest.
    Some,
    /// Everything.
    All,
    /// Everything but what takes a password that nothing has happened to.
    Brief,
}

/// Looks at the folder and asks a process that nobody else asks.
pub(crate) async fn verify(client: &mut Client, data: &Path, depth: Depth) -> Result<(), Failure> {
    // First what has not much time: a ticket that may be a used one is excused for some seconds.
    let lost = client.world.book().sessions_where(|session| session.lost_since.is_some() && !session.is_dead);
    for at in lost {
        client.refresh(at, true, true).await?;
        client.world.tally("tickets whose refresh was not answered");
    }
    keys(client).await?;
    accounts(client, depth).await?;
    tokens(client, depth).await?;
    client.world.book().lasting()?;
    sessions(client, depth).await?;
    // After the answers: the process is at rest by now.
    folder(data)?;
    client.world.tally("folders");
    Ok(())
}

/// Keys that were told of are there, those that were taken back are not, and the public ones are those that verify.
async fn keys(client: &mut Client) -> Result<(), Failure> {
    let world = client.world.clone();
    let said = client.line.command(&json!({"command": "keys_list"})).await.ok_or("no list of keys")?;
    let list = said.body["value"].as_array().ok_or_else(|| format!("no list of keys: {said:?}"))?;
    let set = client.line.ask(Method::GET, "/.well-known/jwks.json", None, None).await.ok_or("no key set")?;
    let public: BTreeSet<&str> =
        set.body["keys"].as_array().into_iter().flatten().filter_map(|key| key["kid"].as_str()).collect();
    let mut book = world.book();
    for info in list {
        let kid = info["kid"].as_str().ok_or("a key without a kid")?;
        // One that nobody was told of is there, and signs when its time comes.
        book.keys.entry(kid.to_owned()).or_insert(false);
    }
    if let Some((kid, act)) = book.key_in_doubt.take() {
        let is_retired = !public.contains(kid.as_str());
        book.settle(act, is_retired)?;
        book.keys.insert(kid, is_retired);
    }
    for (kid, is_retired) in &book.keys {
        if public.contains(kid.as_str()) == *is_retired {
            return Err(format!("key {kid}: taken back: {is_retired}, in the key set: {public:?}").into());
        }
    }
    drop(book);
    world.tally("key sets");
    Ok(())
}

/// Accounts are what they were made, and let in whom they should.
async fn accounts(client: &mut Client, depth: Depth) -> Result<(), Failure> {
    let world = client.world.clone();
    let said = client.line.command(&json!({"command": "user_list"})).await.ok_or("no list of users")?;
    let list = said.body["value"]["users"].as_array().ok_or_else(|| format!("no list of users: {said:?}"))?;
    let mut unsure = Vec::new();
    {
        let mut book = world.book();
        for at in 0..book.users.len() {
            let name = book.users[at].name.clone();
            let row = list.iter().find(|row| row["username"] == name.as_str());
            let row = row.ok_or_else(|| format!("the account {name} is lost"))?;
            let roles: Vec<String> = serde_json::from_value(row["roles"].clone())?;
            let user = &mut book.users[at];
            let seen = [user.roles.see(&roles)?, user.is_banned.see(&!matches!(row["banned_at"], Value::Null))?];
            if user.password.or.is_some() {
                unsure.push(at);
            }
            for (act, has_happened) in seen.into_iter().flatten() {
                book.settle(act, has_happened)?;
            }
        }
        if !book.users.is_empty() && depth != Depth::Brief {
            unsure.push(client.random.random_range(0..book.users.len()));
        }
    }
    world.tally("accounts");
    for at in unsure {
        log_in(client, at).await?;
    }
    Ok(())
}

/// The last password that was acknowledged lets its user in, or the one whose change was not answered.
async fn log_in(client: &mut Client, at: usize) -> Result<(), Failure> {
    let world = client.world.clone();
    let (known, or) = {
        let book = world.book();
        let password = &book.users[at].password;
        (password.is.clone(), password.or.clone().map(|(password, _)| password))
    };
    for password in [Some(known), or].into_iter().flatten() {
        let said = client.log_in(at, Some(&password)).await?.ok_or("no answer to a login")?;
        if matches!(said.status, 200 | 403) {
            let mut book = world.book();
            if (said.status == 403) != book.users[at].is_banned.is {
                return Err(format!("a login: {said:?} {:?}", book.users[at]).into());
            }
            let seen = book.users[at].password.see(&password)?;
            if let Some((act, has_happened)) = seen {
                book.settle(act, has_happened)?;
            }
            drop(book);
            world.tally("logins");
            return Ok(());
        }
        if said.status != 401 {
            return Err(format!("a login: {said:?}").into());
        }
    }
    Err(format!("no password lets in {:?}", world.book().users[at]).into())
}

/// What was taken back is dead, what nobody took back is good.
async fn tokens(client: &mut Client, depth: Depth) -> Result<(), Failure> {
    let world = client.world.clone();
    let chosen: Vec<usize> = {
        let book = world.book();
        let all = book.tokens.len().max(1);
        let mut is_drawn = || client.random.random_range(0..all) < OLD_TOKENS;
        let is_chosen = |at: &usize| depth != Depth::Some || !book.tokens[*at].is_settled || is_drawn();
        (0..book.tokens.len()).filter(is_chosen).collect()
    };
    for at in chosen {
        let text = world.book().tokens[at].text.clone();
        let said = client.line.ask(Method::GET, "/v1/auth/verify", Some(&text), None).await;
        let status = said.as_ref().map(|said| said.status);
        let mut book = world.book();
        let is_good = match status {
            Some(200) if book.tokens[at].is_dead => {
                return Err(format!("good again after a start: {}", book.story(at)).into());
            }
            Some(200) => true,
            Some(401) if book.must_be_good(at, world.now()) => {
                return Err(format!("refused after a start: {said:?} {}", book.story(at)).into());
            }
            Some(401) => false,
            other => return Err(format!("a check after a start: {other:?}").into()),
        };
        let was_open = !book.tokens[at].is_dead && !book.tokens[at].doom.is_empty();
        let was_dead = book.tokens[at].is_dead;
        book.saw_token(at, is_good)?;
        drop(book);
        world.tally(match (was_open, was_dead) {
            (true, _) => "tokens whose end was not answered",
            (_, true) => "tokens that were taken back",
            _ => "tokens that nobody took back",
        });
    }
    Ok(())
}

/// The last ticket of a session works, and no ticket of one that has ended.
async fn sessions(client: &mut Client, depth: Depth) -> Result<(), Failure> {
    let world = client.world.clone();
    let open = world.book().sessions_where(|session| !session.is_dead && !session.doom.is_empty());
    let (alive, dead) = {
        let book = world.book();
        (book.sessions_where(|session| !session.is_dead), book.sessions_where(|session| session.is_dead))
    };
    let most = if depth == Depth::Some { 3 } else { usize::MAX };
    let mut chosen = open.clone();
    for list in [alive, dead] {
        let skip = if list.len() > most { client.random.random_range(0..=list.len() - most) } else { 0 };
        chosen.extend(list.into_iter().skip(skip).take(most).filter(|at| !open.contains(at)));
    }
    for at in chosen {
        let was_dead = world.book().sessions[at].is_dead;
        client.refresh(at, false, true).await?;
        if world.book().sessions[at].lost_since.is_some() {
            return Err("a refresh after a start is not answered".into());
        }
        world.tally(if was_dead { "sessions that have ended" } else { "sessions that go on" });
    }
    Ok(())
}

/// Nothing but what belongs there, and none of it for others to read.
pub(crate) fn folder(data: &Path) -> Result<(), Failure> {
    let mut keys = 0;
    for folder in [data.to_owned(), data.join("keys")] {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let (name, path) = (entry.file_name(), entry.path());
            let name = name.to_string_lossy();
            let is_key = folder != data && name.len() == 48 && name.ends_with(".json");
            let is_file = folder == data && FILES.contains(&name.as_ref());
            if !is_key && !is_file {
                return Err(format!("{} was left behind", path.display()).into());
            }
            keys += usize::from(is_key);
            let Ok(metadata) = entry.metadata() else { continue };
            let mode = metadata.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(format!("{} is open to others: {mode:03o}", path.display()).into());
            }
            if name.ends_with("-wal") && metadata.len() > MOST_LOG_BYTES {
                return Err(format!("{} has grown to {} bytes", path.display(), metadata.len()).into());
            }
        }
    }
    if keys == 0 || keys > MAX_KEYS {
        return Err(format!("{keys} files of keys").into());
    }
    Ok(())
}
