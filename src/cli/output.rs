//! What commands print. A reader that has gone is no reason to fail: the act is done.

use std::io::{self, Write};

use serde::Serialize;

use crate::{
    admin::Answer,
    ids::Subject,
    revocation::Target,
    tokens::keys::{KeyInfo, KeyState},
    users::User,
};

/// How lists are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Columns, for people.
    Text,
    /// One line of JSON, for programs.
    Json,
    /// As text, of new roles: sessions live on.
    Roles,
}

impl Form {
    pub(super) const fn json_if(json: bool) -> Self {
        if json { Self::Json } else { Self::Text }
    }
}

/// Prints to standard output, as it is.
pub(super) fn text(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints a line to standard error.
pub(super) fn hint(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Prints what a command was answered.
pub(super) fn answer(answer: &Answer, form: Form) {
    let (out, more) = rendered(answer, form);
    text(&out);
    if let Some(line) = more {
        hint(&line);
    }
}

// The forms that programs read, with their members in this order.

#[derive(Serialize)]
struct UserPage<'a> {
    users: &'a [User],
    more: bool,
}

#[derive(Serialize)]
struct Unbanned {
    user: Subject,
    was_banned: bool,
}

#[derive(Serialize)]
struct KeyPage<'a> {
    keys: &'a [KeyInfo],
}

/// What goes to standard output, and what people are told besides.
fn rendered(answer: &Answer, form: Form) -> (String, Option<String>) {
    match answer {
        Answer::User(user) => (json(user), Some("The account is made.".to_owned())),
        Answer::Users { users, more } => {
            let last = users.last().filter(|_| *more);
            let hint = last.map(|user| format!("There may be more: --after '{}'", user.username));
            match form {
                Form::Json => (json(&UserPage { users, more: *more }), hint),
                Form::Text | Form::Roles => (users.iter().map(user_line).collect(), hint),
            }
        }
        Answer::Unbanned { user, was_banned } => {
            let hint = if *was_banned { "The ban is lifted. The user logs in anew." } else { "There was no ban." };
            (json(&Unbanned { user: *user, was_banned: *was_banned }), Some(hint.to_owned()))
        }
        Answer::Receipt(receipt) => {
            let what = match receipt.revoked {
                Target::Token(_) => "The token is dead",
                Target::Session(_) => "The session has ended",
                Target::Subject(_) if form == Form::Roles => "The user's tokens with other roles are dead",
                Target::Subject(_) => "The user's sessions have ended",
                Target::Everything => "All sessions have ended",
                Target::Key(_) => "Nothing that the key has signed is accepted",
            };
            let when = match (&receipt.in_force_at, receipt.complete, receipt.already) {
                (_, true, false) => ": every check from now on denies.".to_owned(),
                (_, true, true) => ", and had before: every check denies.".to_owned(),
                (Some(at), ..) => format!(", but access tokens are accepted until they expire, {at} at the latest."),
                (None, false, _) => ", but not every node denies yet.".to_owned(),
            };
            (json(receipt), Some(format!("{what}{when}")))
        }
        Answer::Bulk(receipt) => {
            let when = match &receipt.in_force_at {
                _ if receipt.complete => "every check from now on denies them".to_owned(),
                Some(at) => format!("tokens are accepted until they expire, {at} at the latest"),
                None => "not every node denies them yet".to_owned(),
            };
            (json(receipt), Some(format!("{} were revoked: {when}.", receipt.counts.revoked)))
        }
        Answer::Key(key) => (json(key), Some(format!("The key is published, and signs from {}.", key.signs_from))),
        Answer::Keys(keys) => match form {
            Form::Json => (json(&KeyPage { keys }), None),
            Form::Text | Form::Roles => (keys.iter().map(key_line).collect(), None),
        },
    }
}

fn json(value: &impl Serialize) -> String {
    // Plain values, which can always be written as JSON.
    serde_json::to_string(value).unwrap_or_default() + "\n"
}

fn user_line(user: &User) -> String {
    let User { id, username, roles, created_at, banned_at } = user;
    let state = banned_at.map_or_else(|| "active".to_owned(), |since| format!("banned since {since}"));
    let roles = if roles.is_empty() { String::new() } else { format!("  [{}]", roles.join(" ")) };
    format!("{id}  {created_at}  {state:<37}  {username}{roles}\n")
}

fn key_line(key: &KeyInfo) -> String {
    let KeyInfo { kid, algorithm, created_at, signs_from, state, verifies_until } = key;
    let state = match state {
        KeyState::Published => "published",
        KeyState::Signing => "signing",
        KeyState::Verifying => "verifying",
        KeyState::Retired => "retired",
    };
    let until = verifies_until.map_or_else(String::new, |until| format!("  verifies until {until}"));
    format!("{kid}  {algorithm}  {state:<9}  made {created_at}  signs from {signs_from}{until}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Timestamp, revocation::Receipt};

    #[test]
    fn a_receipt_is_one_line_of_json_with_the_members_of_the_api() {
        let api = r#"{"seq":42,"revoked":{"kind":"session","id":"3f0e8c1a-6d2b-4c57-9a41-0b6f5d2e7c88"},"already":false,"applied":{"nodes":1,"of":1},"complete":true,"elapsed_ms":3.127}"#;
        let receipt: Receipt = serde_json::from_str(api).unwrap();
        let (out, hint) = rendered(&Answer::Receipt(receipt), Form::Text);
        assert_eq!(out, format!("{api}\n"));
        assert_eq!(hint.unwrap(), "The session has ended: every check from now on denies.");

        let api = api.replace(r#""complete":true,"#, r#""complete":false,"in_force_at":"2026-01-01T00:15:30Z","#);
        let receipt: Receipt = serde_json::from_str(&api).unwrap();
        let (out, hint) = rendered(&Answer::Receipt(receipt), Form::Text);
        assert_eq!(out, format!("{api}\n"));
        assert!(hint.unwrap().ends_with("until they expire, 2026-01-01T00:15:30Z at the latest."));
    }

    #[test]
    fn users_are_listed_in_columns_or_as_json_and_more_is_said() {
        let user = User {
            id: "3f0e8c1a-6d2b-4c57-9a41-0b6f5d2e7c88".parse().unwrap(),
            username: "ada".to_owned(),
            roles: vec!["admin".to_owned(), "ops".to_owned()],
            created_at: Timestamp::from_millis(0),
            banned_at: Some(Timestamp::from_millis(1000)),
        };
        let answer = Answer::Users { users: vec![user], more: true };
        let (out, hint) = rendered(&answer, Form::Text);
        assert_eq!(
            out,
            "3f0e8c1a-6d2b-4c57-9a41-0b6f5d2e7c88  1970-01-01T00:00:00.000Z  banned since 1970-01-01T00:00:01.000Z  \
             ada  [admin ops]\n"
        );
        assert!(hint.unwrap().contains("--after 'ada'"));
        let (out, _) = rendered(&answer, Form::Json);
        let value: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!((&value["users"][0]["username"], &value["more"]), (&"ada".into(), &true.into()));
        assert_eq!(out.lines().count(), 1);
    }
}
