use std::sync::Arc;

use std::{io, sync::Mutex};

use serde_json::json;

use super::*;
use crate::{
    clock::Timestamp,
    ids::Seq,
    passwords::Refusal,
    revocation::{Target, sync::LoadError},
    users::UsernameError,
};

fn add() -> Command {
    let password = PlainPassword::from("hunter2 hunter2".to_owned());
    Command::UserAdd { username: "ada".to_owned(), password, roles: vec!["admin".to_owned()] }
}

#[test]
fn a_command_shows_its_password_to_the_wire_only() {
    assert!(!format!("{:?}", add()).contains("hunter2"));
    let json = serde_json::to_value(add()).unwrap();
    let expected = json!({"command": "user_add", "username": "ada", "password": "hunter2 hunter2", "roles": ["admin"]});
    assert_eq!(json, expected);
    let Command::UserAdd { password, .. } = serde_json::from_value(json).unwrap() else { panic!("another command") };
    assert_eq!(*password.0, "hunter2 hunter2");
}

#[test]
fn every_command_comes_over_the_wire_under_its_name() {
    let id = "3f0e8c1a-6d2b-4c57-9a41-0b6f5d2e7c88";
    let commands = [
        add(),
        Command::UserBan { user: "ada".to_owned() },
        Command::UserUnban { user: "ada".to_owned() },
        Command::UserRoles { user: "ada".to_owned(), roles: vec!["admin".to_owned()] },
        Command::UserPassword { user: "ada".to_owned(), password: "hunter2 hunter2".to_owned().into() },
        Command::UserDelete { user: "ada".to_owned() },
        Command::UserList { after: None },
        Command::RevokeToken { token: id.parse().unwrap() },
        Command::RevokeSession { session: id.parse().unwrap() },
        Command::RevokeUser { user: id.to_owned() },
        Command::RevokeEverything {},
        Command::KeysGenerate {},
        Command::KeysList {},
        Command::KeysRetire { kid: "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k".parse().unwrap() },
    ];
    for command in commands {
        let json = serde_json::to_value(&command).unwrap();
        assert_eq!(json["command"], command.name());
        let again: Command = serde_json::from_value(json).unwrap();
        assert_eq!(format!("{again:?}"), format!("{command:?}"));
    }
    let odd = json!({"command": "user_ban", "user": "ada", "until": "tomorrow"});
    assert!(serde_json::from_value::<Command>(odd).is_err(), "what this version does not know is not ignored");
}

#[test]
fn every_answer_comes_over_the_wire_unchanged() {
    let id: Subject = "3f0e8c1a-6d2b-4c57-9a41-0b6f5d2e7c88".parse().unwrap();
    let user = User {
        id,
        username: "ada".to_owned(),
        roles: vec!["admin".to_owned()],
        created_at: Timestamp::from_millis(1),
        banned_at: None,
    };
    let receipt = json!({
        "seq": 42,
        "revoked": {"kind": "subject", "id": id},
        "already": false,
        "applied": {"nodes": 1, "of": 1},
        "complete": true,
        "elapsed_ms": 3.1
    });
    let receipt: Receipt = serde_json::from_value(receipt).unwrap();
    assert_eq!((receipt.seq, receipt.revoked), (Seq(42), Target::Subject(id)));
    let key = json!({
        "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
        "algorithm": "EdDSA",
        "created_at": 1,
        "signs_from": 2,
        "state": "published",
        "verifies_until": null
    });
    let key: KeyInfo = serde_json::from_value(key).unwrap();
    let answers = [
        Answer::User(user.clone()),
        Answer::Users { users: vec![user], more: true },
        Answer::Unbanned { user: id, was_banned: true },
        Answer::Receipt(receipt),
        Answer::Key(key.clone()),
        Answer::Keys(vec![key]),
    ];
    for answer in answers {
        let text = serde_json::to_string(&answer).unwrap();
        assert_eq!(serde_json::from_str::<Answer>(&text).unwrap(), answer, "{text}");
    }
}

#[test]
fn each_error_has_its_kind_and_says_what_to_do() {
    use ProblemKind::{Conflict, Internal, NotFound, Refused, Unavailable};

    let damaged = || DatabaseError::Foreign("x".to_owned());
    let busy = || DatabaseError::Unavailable(sqlx::Error::PoolTimedOut);
    let broken = LoadError::Broken { after: Seq(1) };
    let cases: [(Problem, ProblemKind, &str); 13] = [
        (sessions::Error::Taken.into(), Conflict, "Choose another"),
        (sessions::Error::Conflict.into(), Conflict, "Try again"),
        (sessions::Error::NoSession.into(), NotFound, "no such session"),
        (sessions::Error::Name(UsernameError::Length).into(), Refused, "1 to 64 characters"),
        (sessions::Error::Password(Refusal::TooShort { min: 15 }).into(), Refused, "at least 15"),
        (sessions::Error::Busy(crate::passwords::PoolError::Full).into(), Unavailable, "try again"),
        (sessions::Error::Revoke(RevokeError::Stopping).into(), Unavailable, "Try again"),
        (sessions::Error::Database(damaged()).into(), Internal, "backup"),
        (RevokeError::Ledger(Arc::new(busy())).into(), Unavailable, "try again"),
        (RevokeError::Unapplied(Arc::new(broken)).into(), Unavailable, "Try again for a receipt"),
        (RevokeError::Full.into(), Unavailable, "Nothing was done"),
        (KeysError::from(KeyError::Full { path: "keys".into() }).into(), Refused, "Prune"),
        (KeysError::from(KeyError::Generate).into(), Internal, "could not make a key"),
    ];
    for (problem, kind, words) in cases {
        assert_eq!(problem.kind, kind, "{problem}");
        assert!(problem.message.contains(words), "{problem}");
        let json = serde_json::to_string(&problem).unwrap();
        assert_eq!(serde_json::from_str::<Problem>(&json).unwrap(), problem);
    }
    assert!(Problem::no_user("a\nb").message.contains(r#""a\nb""#), "a name breaks no line");
}

#[test]
fn an_act_is_one_line_in_the_log_whatever_somebody_typed_and_shows_no_password() {
    let page = Page::default();
    let writer = page.clone();
    let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let password = PlainPassword::from("hunter2 hunter2".to_owned());
    let command = Command::UserAdd { username: "ada\n INFO forged".to_owned(), password, roles: Vec::new() };
    tracing::subscriber::with_default(log, || drop(Audit::of(&command)));
    let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    for part in ["kickout::audit", "act=\"user_add\"", r#"object="ada\n INFO forged""#, "the caller has gone"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
}

/// A writer whose text can be read afterwards.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl io::Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
