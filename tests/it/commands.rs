//! What `kickout --help` offers, in a data folder where no server runs and through the server where one does.

use std::{fs, net::TcpListener, path::Path};

use http::Method;
use kickout::config::Config;
use serde_json::{Value, json};

use crate::support::{
    answer::Receipt,
    client::{NEW_PASSWORD, PASSWORD, text},
    operator::{Desk, Outcome, Program, beside, claim, outcome, run},
    process::Process,
    wait::eventually,
};

const NOBODY: &str = "3f0e8c1a-6d2b-4c57-9a41-0b6f5d2e7c88";

/// Said on standard error when a command has worked in the folder itself.
const OFFLINE: &str = "No server runs on";

/// A data folder, with a server that works in it or without.
enum Place {
    Alone(Desk),
    Beside(Process),
}

impl Place {
    async fn both() -> [Self; 2] {
        [Self::Alone(Desk::new()), Self::Beside(Process::start(&[]).await)]
    }

    async fn run(&self, arguments: &str) -> Outcome {
        let outcome = match self {
            Self::Alone(desk) => desk.run(arguments).await,
            Self::Beside(process) => run(process, arguments).await,
        };
        let is_alone = matches!(self, Self::Alone(_));
        assert!(outcome.code != Some(0) || outcome.stderr.contains(OFFLINE) == is_alone, "{arguments}: {outcome}");
        outcome
    }

    async fn feed(&self, arguments: &str, input: &str) -> Outcome {
        let command = match self {
            Self::Alone(desk) => desk.kickout(arguments),
            Self::Beside(process) => beside(process, arguments),
        };
        Program::start(command, input).outcome().await
    }

    /// A server on the folder, also if there was none.
    async fn served(self) -> Process {
        match self {
            Self::Beside(process) => process,
            Self::Alone(desk) => {
                let mut process = Process::start(&[]).await;
                process.interrupt();
                process.ended().await;
                fs::remove_dir_all(process.data()).unwrap();
                fs::rename(desk.data(), process.data()).unwrap();
                process.restart().await
            }
        }
    }
}

fn is_complete(receipt: &Receipt, kind: &str, id: Option<&str>, already: bool) {
    assert_eq!((receipt.revoked.kind.as_str(), receipt.revoked.id.as_deref()), (kind, id), "{receipt:?}");
    assert!(receipt.complete && receipt.seq > 0, "{receipt:?}");
    assert_eq!((receipt.already, receipt.applied.nodes, receipt.applied.of), (already, 1, 1), "{receipt:?}");
}

#[tokio::test]
async fn help_and_version_need_no_configuration_and_say_every_command() {
    let desk = Desk::new();
    let help = desk.run("--help").await.expect(0);
    for command in ["serve", "migrate", "config", "user", "revoke", "restored", "keys"] {
        assert!(help.stdout.contains(&format!("\n  {command} ")), "{command} is not in: {help}");
        let its = desk.run(&format!("{command} --help")).await.expect(0);
        assert!(its.stdout.contains(&format!("Usage: kickout {command}")), "{its}");
    }
    assert!(help.stdout.contains("Exit codes: 0 done, 1 not done, 2 bad"), "{help}");
    let version = desk.run("--version").await.expect(0);
    assert_eq!(version.stdout, format!("kickout {}\n", env!("CARGO_PKG_VERSION")));
    for wrong in ["frobnicate", "user frob", "revoke", "user ban", "serve --port 80"] {
        let refused = desk.run(wrong).await;
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{wrong}: {refused}");
    }
    assert!(!desk.data().exists(), "nothing was made");
}

#[tokio::test]
async fn an_account_is_made_with_a_password_from_standard_input_and_can_log_in() {
    for place in Place::both().await {
        let made = place.feed("user add Ada --role ops --role admin --role ops", &format!("{PASSWORD}\n")).await;
        let user = made.json();
        assert_eq!((&user["username"], &user["roles"]), (&json!("Ada"), &json!(["admin", "ops"])), "{made}");
        assert!(!format!("{made}").contains(PASSWORD), "{made}");

        place.feed("user add ada", PASSWORD).await.says(1, &["taken"]);
        place.feed("user add bob", "").await.says(1, &["no password was given"]);
        place.feed("user add bob", "one\ntwo\n").await.says(1, &["more than one line"]);
        place.feed("user add bob", "short").await.says(1, &["15"]);
        place.feed("user add b*b --role x", PASSWORD).await;
        let roles = place.feed("user add bob --role no,role", PASSWORD).await;
        assert_eq!(roles.code, Some(2), "{roles}");

        let listed = place.run("user list --json").await.json();
        assert_eq!(listed["more"], false);
        let names: Vec<_> = listed["users"].as_array().unwrap().iter().map(|user| text(&user["username"])).collect();
        assert!(names.contains(&"Ada".to_owned()) && !names.contains(&"bob".to_owned()), "{names:?}");
        let after = place.run("user list --json --after ada").await.json();
        assert!(after["users"].as_array().unwrap().iter().all(|user| user["username"] != "Ada"), "{after}");
        let columns = place.run("user list").await.expect(0);
        let line = columns.stdout.lines().find(|line| line.contains("Ada")).expect("a line");
        assert!(
            line.contains(&text(&user["id"])) && line.contains("active") && line.ends_with("[admin ops]"),
            "{line}"
        );

        let process = place.served().await;
        let body = json!({"username": "ada", "password": PASSWORD});
        let login = process.post("/v1/auth/login").json(&body).await.expect(200).json();
        assert_eq!((&login["subject"], &login["roles"]), (&user["id"], &json!(["admin", "ops"])));
    }
}

/// Accounts made offline, sessions made by a server: every kind of revocation is then tried with the server and without.
#[tokio::test]
async fn every_revocation_prints_its_receipt_as_one_line_and_is_in_force_at_once() {
    for is_alone in [false, true] {
        let mut process = Process::start(&[]).await;
        let (alice, bob) = (process.sign_up("alice").await, process.sign_up("bob").await);
        let (carol, dave) = (process.sign_up("carol").await, process.sign_up("dave").await);
        let [token, session, user, banned] =
            [alice.log_in().await, alice.log_in().await, alice.log_in().await, bob.log_in().await];
        let [promoted, deleted] = [carol.log_in().await, dave.log_in().await];
        let jti = claim(&token.access(), "jti");
        if is_alone {
            process.interrupt();
            process.ended().await;
        }
        let acts = [
            (format!("revoke token {jti}"), "token", Some(jti.clone()), vec![token.access()]),
            (
                format!("revoke session {}", session.session()),
                "session",
                Some(session.session()),
                vec![session.access()],
            ),
            ("revoke user ALICE".to_owned(), "subject", Some(alice.subject.clone()), vec![user.access()]),
            (format!("user ban {}", bob.subject), "subject", Some(bob.subject.clone()), vec![banned.access()]),
            ("user roles carol --role ops".to_owned(), "subject", Some(carol.subject.clone()), vec![promoted.access()]),
            ("user delete dave --yes".to_owned(), "subject", Some(dave.subject.clone()), vec![deleted.access()]),
        ];
        let is_refused = async |process: &Process, command: &str, token: &str| {
            // Of these the session lives on.
            if command.contains("token") || command.contains("roles") {
                process.takes_back(token).await;
            } else {
                process.refuses(token).await;
            }
        };
        let mut last = 0;
        for (command, kind, id, dead) in &acts {
            let done = run(&process, command).await;
            let receipt = done.receipt();
            is_complete(&receipt, kind, id.as_deref(), false);
            assert!(receipt.seq > last, "{command}: {receipt:?}");
            last = receipt.seq;
            assert!(done.stderr.contains("every check from now on denies"), "{done}");
            assert_eq!(done.stderr.contains("tokens with other roles"), command.contains("roles"), "{done}");
            assert_eq!(done.stderr.contains(OFFLINE), is_alone, "{done}");
            for token in dead.iter().filter(|_| !is_alone) {
                is_refused(&process, command, token).await;
            }
            // Once more finds it done, and says so. A user may have logged in since, so that is an act of its own.
            if *kind != "subject" {
                is_complete(&run(&process, command).await.receipt(), kind, id.as_deref(), true);
            }
        }
        if is_alone {
            process = process.restart().await;
        }
        for (command, .., dead) in &acts {
            for token in dead {
                is_refused(&process, command, token).await;
            }
        }
        bob.try_log_in(PASSWORD).await.is_problem(403, "account-banned");
        dave.try_log_in(PASSWORD).await.is_problem(401, "credentials-invalid");
        assert_eq!(promoted.renew().await.json()["roles"], json!(["ops"]));
        // What its neighbours lost costs a session nothing that it did not lose itself.
        let fresh = alice.log_in().await;
        process.accepts(&fresh.access()).await;
    }
}

#[tokio::test]
async fn a_ban_refuses_logins_and_tokens_and_an_unban_brings_no_token_back() {
    let process = Process::start(&[]).await;
    let (alice, bob) = (process.sign_up("alice").await, process.sign_up("bob").await);
    let (old, other) = (alice.log_in().await, bob.log_in().await);
    is_complete(&run(&process, "user ban alice").await.receipt(), "subject", Some(&alice.subject), false);
    process.refuses(&old.access()).await;
    alice.try_log_in(PASSWORD).await.is_problem(403, "account-banned");
    // The name and the ban are told to nobody who does not know the password.
    alice.try_log_in(NEW_PASSWORD).await.is_problem(401, "credentials-invalid");
    let listed = run(&process, "user list --json").await.json();
    assert!(listed["users"][0]["banned_at"].is_i64() && listed["users"][1]["banned_at"].is_null(), "{listed}");
    assert!(run(&process, "user list").await.stdout.lines().next().unwrap().contains("banned since 2"));

    let unbanned = run(&process, "user unban alice").await;
    assert_eq!(unbanned.json(), json!({"user": alice.subject, "was_banned": true}), "{unbanned}");
    let again = run(&process, "user unban alice").await.json();
    assert_eq!(again, json!({"user": alice.subject, "was_banned": false}));
    process.refuses(&old.access()).await;
    let fresh = alice.log_in().await;
    process.accepts(&fresh.access()).await;
    process.accepts(&other.access()).await;
}

#[tokio::test]
async fn everything_is_revoked_only_if_that_was_confirmed() {
    let process = Process::start(&[]).await;
    let (alice, bob) = (process.sign_up("alice").await, process.sign_up("bob").await);
    let old = [alice.log_in().await.access(), bob.log_in().await.access()];
    run(&process, "revoke everything").await.says(2, &["every session", "Nothing was done", "add --yes"]);
    for token in &old {
        process.accepts(token).await;
    }
    is_complete(&run(&process, "revoke everything --yes").await.receipt(), "everything", None, false);
    for token in &old {
        process.refuses(token).await;
    }
    let fresh = alice.log_in().await.access();
    process.accepts(&fresh).await;
}

#[tokio::test]
async fn an_operator_changes_an_account_beside_a_server_and_without_one() {
    for place in Place::both().await {
        place.feed("user add ada --role a", PASSWORD).await.expect(0);
        // Neither the last nor the next roles by mistake, nor the wrong account for good.
        assert_eq!(place.run("user roles ada").await.code, Some(2));
        assert_eq!(place.run("user roles ada --none --role x").await.code, Some(2));
        place.run("user delete ada").await.says(2, &["Nothing was done", "--yes"]);
        let roles = async |arguments: &str| {
            let receipt = place.run(&format!("user roles {arguments}")).await.receipt();
            let users = place.run("user list --json").await.json();
            let user =
                users["users"].as_array().unwrap().iter().find(|user| user["username"] == "ada").cloned().unwrap();
            (receipt.already, user["roles"].clone())
        };
        assert_eq!(roles("ada --role b --role a --role b").await, (false, json!(["a", "b"])));
        assert_eq!(roles("ADA --role a --role b").await, (true, json!(["a", "b"])));
        assert_eq!(roles("ada --none").await, (false, json!([])));

        place.feed("user password ada", "short").await.says(1, &["15"]);
        assert!(place.feed("user password ada", NEW_PASSWORD).await.receipt().complete);
        let process = place.served().await;
        let log_in =
            |password: &str| process.post("/v1/auth/login").json(&json!({"username": "ada", "password": password}));
        log_in(PASSWORD).await.is_problem(401, "credentials-invalid");
        log_in(NEW_PASSWORD).await.expect(200);
    }
}

#[tokio::test]
async fn what_is_not_there_or_no_id_is_said_and_changes_nothing() {
    for place in Place::both().await {
        place.feed("user add ada", PASSWORD).await.expect(0);
        for command in ["user ban", "user unban", "revoke user", "user roles --none", "user delete --yes"] {
            place
                .run(&format!("{command} nobody"))
                .await
                .says(1, &["there is no user \"nobody\"", "kickout user list"]);
            place.run(&format!("{command} {NOBODY}")).await.says(1, &["there is no user", NOBODY]);
        }
        place.run(&format!("revoke session {NOBODY}")).await.says(1, &["there is no session", NOBODY]);
        for command in ["revoke session 42", "revoke token 3F0E8C1A-6D2B-4C57-9A41-0B6F5D2E7C88"] {
            let refused = place.run(command).await;
            assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{command}: {refused}");
            assert!(refused.stderr.contains("36 lower-case hexadecimal characters"), "{command}: {refused}");
        }
        // A token may be one that this service never heard of: it is recorded all the same.
        is_complete(&place.run(&format!("revoke token {NOBODY}")).await.receipt(), "token", Some(NOBODY), false);
        assert!(place.run("user list").await.stdout.contains("active"));
    }
    let desk = Desk::new();
    for command in ["user list", "user ban ada", "revoke everything --yes", "keys list"] {
        desk.run(command)
            .await
            .says(1, &["not the data folder of a service", desk.data().to_str().unwrap(), "data_dir"]);
    }
    assert!(!desk.data().exists(), "a mistaken folder is not made");
    fs::create_dir(desk.data()).unwrap();
    for command in ["revoke everything --yes", "restored --yes"] {
        desk.run(command).await.says(1, &["not the data folder of a service"]);
    }
    assert!(!desk.data().join("kickout.db").exists(), "nor is another folder of that name made into one");
}

/// The ids of the keys that a service publishes.
async fn published(process: &Process) -> Vec<String> {
    let jwks = process.get("/.well-known/jwks.json").await.expect(200).json();
    jwks["keys"].as_array().unwrap().iter().map(|key| text(&key["kid"])).collect()
}

fn kid_of(token: &str) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let head = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    text(&serde_json::from_slice::<Value>(&head).unwrap()["kid"])
}

#[tokio::test]
async fn a_new_key_is_published_at_once_and_signs_when_every_verifier_can_know_it() {
    let process = Process::start(&[]).await;
    let alice = process.sign_up("alice").await;
    let before = published(&process).await;
    let made = run(&process, "keys generate").await.json();
    let new = text(&made["kid"]);
    assert_eq!(made["state"], "published");
    let lead = made["signs_from"].as_i64().unwrap() - made["created_at"].as_i64().unwrap();
    assert_eq!(lead, 10 * 60 * 1000, "tokens.key_lead");
    let now = published(&process).await;
    assert!(before.len() == 1 && now.len() == 2 && now.contains(&before[0]) && now.contains(&new), "{now:?}");
    assert_eq!(kid_of(&alice.log_in().await.access()), before[0]);

    let listed = run(&process, "keys list --json").await.json();
    let states: Vec<_> =
        listed["keys"].as_array().unwrap().iter().map(|key| (text(&key["kid"]), text(&key["state"]))).collect();
    assert_eq!(states, [(before[0].clone(), "signing".to_owned()), (new.clone(), "published".to_owned())]);
    let columns = run(&process, "keys list").await.expect(0);
    assert_eq!(columns.stdout.lines().count(), 2, "{columns}");
    assert!(process.data().join(format!("keys/{new}.json")).exists());
}

#[tokio::test]
async fn a_key_without_a_lead_signs_at_once_and_the_one_before_goes_on_verifying() {
    let mut process = Process::start(&[("KICKOUT__TOKENS__KEY_LEAD", "0s")]).await;
    let alice = process.sign_up("alice").await;
    let old = alice.log_in().await.access();
    let made = run(&process, "keys generate").await.json();
    let new = alice.log_in().await.access();
    assert_eq!((kid_of(&new), made["state"].as_str()), (text(&made["kid"]), Some("signing")));
    assert_ne!(kid_of(&old), kid_of(&new));
    let listed = run(&process, "keys list --json").await.json();
    assert_eq!(listed["keys"][0]["state"], "verifying");
    assert!(listed["keys"][0]["verifies_until"].is_i64() && listed["keys"][1]["verifies_until"].is_null(), "{listed}");
    process.interrupt();
    process.ended().await;
    // Made while no server runs, it is there for the next one.
    let third = run(&process, "keys generate").await.json();
    let process = process.restart().await;
    for token in [&old, &new] {
        process.accepts(token).await;
    }
    assert_eq!(kid_of(&alice.log_in().await.access()), text(&third["kid"]));
}

#[tokio::test]
async fn the_configuration_that_is_printed_loads_again_as_the_same_and_shows_no_secret() {
    let desk = Desk::new();
    let plain = |variables: &[(&str, &str)], arguments: &str| {
        let mut command = desk.kickout(arguments);
        for name in ["DATA_DIR", "HTTP__LISTEN", "MANAGEMENT__LISTEN"] {
            command.env_remove(format!("KICKOUT__{name}"));
        }
        command.envs(variables.iter().copied());
        outcome(command)
    };
    let default = plain(&[], "config check").await.expect(0);
    assert_eq!(toml::from_str::<Config>(&default.stdout).unwrap(), Config::default());
    let variables = [
        ("KICKOUT__TOKENS__ACCESS_TTL", "90s"),
        ("KICKOUT__HTTP__ALLOWED_ORIGINS", "https://a.example,https://b.example:8443"),
        ("KICKOUT__HTTP__TRUSTED_PROXIES", "10.0.0.0/8,::1"),
        ("KICKOUT__REVOCATION__FILTER__FALSE_POSITIVES", "0.00001"),
        ("KICKOUT__COOKIES__DOMAIN", "example.com"),
        ("KICKOUT__LOG__FORMAT", "json"),
    ];
    let first = plain(&variables, "config check").await.expect(0);
    assert!(first.stdout.contains("access_ttl = \"90s\""), "{first}");
    desk.write("printed.toml", &first.stdout);
    let again = plain(&[], "config check --config printed.toml").await.expect(0);
    assert_eq!(again.stdout, first.stdout);
    assert!(again.stderr.contains("warning: cookies.domain"), "{again}");

    let secrets =
        [("KICKOUT__MANAGEMENT__TOKEN", "hunter2hunter2hunter2"), ("KICKOUT__DATABASE__URL", "sqlite:hunter2.db")];
    let hidden = plain(&secrets, "config check").await.expect(0);
    assert!(!hidden.to_string().contains("hunter2") && hidden.stdout.contains("(set)"), "{hidden}");
    assert!(!desk.data().exists(), "nothing was made");
}

#[tokio::test]
async fn migrate_makes_a_database_and_nothing_that_a_server_does_not_find_good() {
    let desk = Desk::new();
    for _ in 0..2 {
        let done = desk.run("migrate").await.expect(0);
        assert!(done.stdout.is_empty() && done.stderr.contains("is up to date"), "{done}");
    }
    Place::Alone(desk).served().await.sign_up("alice").await;
}

/// A server that was killed leaves word of where it took commands; by now somebody else may listen there.
#[tokio::test]
async fn the_word_that_a_killed_server_left_is_not_believed() {
    let mut process = Process::start(&[]).await;
    let alice = process.sign_up("alice").await;
    let device = alice.log_in().await;
    let management = process.management();
    let left = process.data().join("run.json");
    process.kill_9();
    let word = fs::read(&left).expect("a killed server takes nothing back");
    // Somebody else, who must not be told anything.
    let stranger = TcpListener::bind(management).unwrap();
    stranger.set_nonblocking(true).unwrap();
    let done = run(&process, "revoke user alice").await;
    is_complete(&done.receipt(), "subject", Some(&alice.subject), false);
    assert!(done.stderr.contains(OFFLINE), "{done}");
    assert!(stranger.accept().is_err(), "nobody has called");
    assert!(!left.exists(), "the word is gone");

    // Nor if the word is not even one.
    for bytes in [&b"{"[..], b"", &word] {
        fs::write(&left, bytes).unwrap();
        run(&process, "user list").await.expect(0);
        assert!(!left.exists());
    }
    drop(stranger);
    let process = process.restart().await;
    process.refuses(&device.access()).await;
}

/// `kickout` as often as a monitor or a script might: each act is done once, by whoever holds the folder.
#[tokio::test]
async fn commands_at_the_same_moment_wait_for_each_other_and_all_are_done() {
    let desk = Desk::new();
    desk.run("migrate").await.expect(0);
    let started: Vec<_> =
        (0..6).map(|number| Program::start(desk.kickout(&format!("user add user-{number}")), PASSWORD)).collect();
    for program in started {
        program.outcome().await.expect(0);
    }
    let listed = desk.run("user list --json").await.json();
    assert_eq!(listed["users"].as_array().unwrap().len(), 6, "{listed}");
}

#[tokio::test]
async fn the_management_listener_acts_for_the_token_alone_and_logs_the_act() {
    let process = Process::start(&[]).await;
    let alice = process.sign_up("alice").await;
    let device = alice.log_in().await;
    let body = json!({"command": "revoke_everything"});
    let call = || process.manage(Method::POST, "/v1/admin/commands").json(&body);
    call().await.is_problem(401, "token-missing");
    call().bearer("another").await.is_problem(401, "token-invalid");
    call().bearer(&device.access()).await.is_problem(401, "token-invalid");
    process.accepts(&device.access()).await;
    run(&process, "user ban alice").await.expect(0);
    eventually!(process.stderr().contains("\"act\":\"user_ban\""));
    let line = process.stderr().lines().find(|line| line.contains("user_ban")).unwrap().to_owned();
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["object"], &line["result"], &line["seq"]), (&json!("alice"), &json!("done"), &json!(1)));
    assert!(Path::new(&process.data()).join("run.json").exists());
}
