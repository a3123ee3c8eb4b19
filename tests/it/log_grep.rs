//! A whole run of the program with everything done well and badly, at the most talkative level: what it has written
//! and answered holds no secret.

use std::{collections::BTreeMap, fmt::Write, fs};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};
use http::Method;
use kickout::secret::SecretFiles;
use serde_json::{Value, json};
use sqlx::{Connection, Row, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::support::{
    answer::Answer,
    client::{ACCESS, Call, Device, NEW_PASSWORD, PASSWORD, REFRESH},
    operator::{Program, ask, beside, claim, run, token},
    process::Process,
    wait::eventually,
};

/// What somebody typed where it did not belong, or guessed.
const WRONG: &str = "marble-trumpet-violin-saddle";
const SHORT: &str = "shrt-pw-0815";
const TYPED: &str = "velvet-cannon-orchid-ladder";

/// The key that signing keys are encrypted under.
const KEY: &str = "6b1f0e94c2a7583d71e6d90b4fa2c8356b70d9ee1543af8c02b96d7ef1385ac4";

/// An operator's object, which is logged on purpose: with it the search is seen to find.
const PLANTED: &str = "nobody-planted-for-the-search";

/// Secrets by what they are, in each form they could be written in.
#[derive(Default)]
struct Secrets(BTreeMap<String, String>);

impl Secrets {
    fn text(&mut self, what: &str, secret: &str) {
        assert!(secret.len() >= 8, "too short to be looked for: {what}");
        self.0.insert(secret.to_owned(), what.to_owned());
    }

    /// Bytes as hexadecimal digits, in both alphabets of base64, and as the list that `Debug` makes of them.
    fn bytes(&mut self, what: &str, bytes: &[u8]) {
        let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let list = format!("{bytes:?}").trim_matches(['[', ']']).to_owned();
        for form in [hex.to_uppercase(), hex, list] {
            self.text(what, &form);
        }
        for engine in [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD] {
            self.text(what, &engine.encode(bytes));
        }
    }

    /// A token: whole, in its parts, and what a fingerprint of it would be.
    fn token(&mut self, what: &str, token: &str) {
        self.text(what, token);
        for part in token.split('.').filter(|part| part.len() >= 16) {
            self.text(&format!("a part of {what}"), part);
        }
        self.bytes(&format!("the SHA-256 of {what}"), &kickout::secret::sha256(token.as_bytes()));
    }

    fn password(&mut self, password: &str) {
        self.text("a password", password);
        self.bytes("a password", password.as_bytes());
        self.bytes("the SHA-256 of a password", &kickout::secret::sha256(password.as_bytes()));
    }

    fn device(&mut self, device: &Device) {
        self.token("an access token", &device.access());
        self.token("a refresh token", &device.refresh());
        if !device.csrf().is_empty() {
            self.token("a CSRF token", &device.csrf());
        }
    }

    /// What is in a text and must not be: what it is, and the line.
    fn found_in<'a>(&'a self, text: &'a str) -> Vec<(&'a str, &'a str)> {
        let lines = self.0.iter().flat_map(|(secret, what)| {
            text.lines().filter(move |line| line.contains(secret.as_str())).map(move |line| (what.as_str(), line))
        });
        lines.collect()
    }
}

#[test]
fn the_search_finds_a_secret_in_any_form_and_nothing_else() {
    let mut secrets = Secrets::default();
    secrets.token("a token", "aaaaaaaaaaaaaaaaaaaa.bbbbbbbbbbbbbbbbbbbb.cccccccccccccccccccc");
    secrets.bytes("a key", b"\x01\xfesixteen bytes!");
    secrets.password("correct horse battery");
    let sha = "a token's hash: 7d7d6b3fa35ba87a4ee9d0e3e04eb1ae4fd3cd5e2e1c9e6fd8a6d0b1d7d8ad0b";
    assert!(secrets.found_in(&format!("GET /me 200\nuser alice\n{sha}\n")).is_empty());
    for leak in [
        "x bbbbbbbbbbbbbbbbbbbb y",
        "key=01fe7369787465656e20627974657321",
        "key=01FE7369787465656E20627974657321",
        "key [1, 254, 115, 105, 120, 116, 101, 101, 110, 32, 98, 121, 116, 101, 115, 33]",
        "Af5zaXh0ZWVuIGJ5dGVzIQ==",
        "{\"password\":\"correct horse battery\"}",
        &URL_SAFE_NO_PAD.encode(kickout::secret::sha256(b"correct horse battery")),
    ] {
        let text = format!("a line\n{leak}\nanother");
        let found = secrets.found_in(&text);
        assert!(!found.is_empty() && found.iter().all(|(_, line)| *line == leak), "{leak}: {found:?}");
    }
}

/// Everything that can be asked and done wrong, and the answers to it.
async fn badly(process: &Process, browser: &Device, client: &Device) -> Vec<Answer> {
    let (access, refresh) = (client.access(), client.refresh());
    let unsigned = access.rsplit_once('.').unwrap().0;
    let other = if refresh[30..].starts_with('A') { 'B' } else { 'A' };
    let forged = format!("{}{other}{}", &refresh[..30], &refresh[31..]);
    let post = |path: &str, body: &Value| process.post(path).json(body);
    let login = |name: &str, password: &str| post("/v1/auth/login", &json!({"username": name, "password": password}));
    let broken = |path: &str, body: String| process.post(path).body("application/json", body);
    let with = |call: Call| call.bearer(&access);
    let mut calls = vec![
        login("alice", WRONG),
        login("nobody-of-that-name", TYPED),
        // The password where the name belongs.
        login(TYPED, "alice-alice-alice"),
        post("/v1/auth/signup", &json!({"username": "alice", "password": PASSWORD})),
        post("/v1/auth/signup", &json!({"username": "carol", "password": SHORT})),
        post("/v1/auth/signup", &json!({"username": format!("{TYPED}\n"), "password": TYPED})),
        post("/v1/auth/login", &json!({"username": ["x"], "password": {"text": TYPED}})),
        post("/v1/auth/login", &json!({"username": "x", "password": TYPED, "pasword": TYPED})),
        post("/v1/auth/login", &json!({"username": "x", "password": TYPED, "delivery": access})),
        broken("/v1/auth/login", format!("{{\"password\": {TYPED}")),
        broken("/v1/auth/signup", format!("{TYPED}={TYPED}")),
        process.post("/v1/auth/login").body("text/plain", TYPED),
        // Answered before it is read, so the connection is of no more use.
        process.post("/v1/auth/login").header("connection", "close").body("application/json", TYPED.repeat(1000)),
        with(post("/v1/auth/password", &json!({"current": WRONG, "new": NEW_PASSWORD}))),
        with(post("/v1/auth/password", &json!({"current": PASSWORD, "new": SHORT}))),
        with(process.call(Method::DELETE, &format!("/v1/auth/sessions/{access}"))),
        process.get("/v1/auth/me").bearer(&access).cookie(ACCESS, &browser.access()),
        process.get("/v1/auth/me").cookie(ACCESS, &access).cookie(ACCESS, &browser.access()),
        process.get(&format!("/v1/auth/me?access_token={access}&password={TYPED}")),
        process.get(&format!("/v1/auth/{access}/{TYPED}")),
        process.get("/v1/auth/me").bearer(&format!("{unsigned}.{}", "A".repeat(86))),
        process.get("/v1/auth/me").bearer(unsigned),
        process.get("/v1/auth/me").bearer(&refresh),
        process.get("/v1/auth/verify").header("authorization", &format!("Basic {}", STANDARD.encode(TYPED))),
        process.get("/v1/auth/verify").bearer(TYPED),
        process.call(Method::PUT, "/v1/auth/logout").bearer(&access),
        process.post("/v1/auth/logout").cookie(REFRESH, &forged).same_origin(),
        process.post("/v1/auth/logout").cookie(REFRESH, &browser.refresh()).header("x-csrf-token", &access),
        post("/v1/auth/refresh", &json!({"refresh_token": forged})),
        post("/v1/auth/refresh", &json!({"refresh_token": access})),
        post("/v1/auth/refresh", &json!({"refresh_token": refresh, "password": TYPED})),
        process.post("/v1/auth/refresh").cookie(REFRESH, &forged).same_origin(),
        process.post("/v1/auth/refresh").cookie(REFRESH, &browser.refresh()).header("origin", "https://evil.example"),
        process.post("/v1/auth/refresh").cookie(REFRESH, &browser.refresh()).cookie(REFRESH, &refresh).same_origin(),
        process.post("/v1/auth/logout-all").cookie(ACCESS, &browser.access()).header("origin", "https://evil.example"),
        process.manage(Method::GET, &format!("/{access}")).bearer(&access),
        process.manage(Method::POST, "/v1/admin/commands").bearer(&access).json(&json!({"command": TYPED})),
    ];
    let operator = token(process);
    for command in [
        json!({"command": "user_add", "username": "alice", "password": TYPED, "roles": []}),
        json!({"command": "user_add", "username": "dave", "password": TYPED, "roles": ["no role"]}),
        json!({"command": "user_add", "username": "dave", "password": SHORT, "roles": []}),
        json!({"command": "user_add", "username": "dave", "password": [TYPED], "roles": []}),
        json!({"command": "user_add", "username": "dave", "password": TYPED, "role": [TYPED]}),
        json!({"command": TYPED}),
    ] {
        calls.push(process.manage(Method::POST, "/v1/admin/commands").bearer(&operator).json(&command));
    }
    calls.push(process.manage(Method::POST, "/v1/admin/commands").bearer(&format!("{operator}x")).json(&json!({})));
    let mut answers = Vec::new();
    for call in calls {
        let what = call.to_string();
        let answer = call.await;
        assert!(answer.status.is_client_error(), "{what}: {answer}");
        answers.push(answer);
    }
    answers
}

/// Everything as it should be done, and each secret on the way.
async fn well(process: &Process, files: &SecretFiles, secrets: &mut Secrets) -> Vec<Answer> {
    let (alice, bob) = (process.sign_up("alice").await, process.sign_up("bob").await);
    let (browser, client) = (alice.log_in().await, alice.log_in_for_bearer().await);
    let (spare, bobs) = (alice.log_in().await, bob.log_in().await);
    for device in [&browser, &client, &spare, &bobs] {
        secrets.device(device);
    }
    for path in ["/v1/auth/me", "/v1/auth/sessions", "/v1/auth/verify", "/.well-known/jwks.json"] {
        browser.get(path).await.expect(200);
        client.get(path).await.expect(200);
    }
    let csrf = browser.get("/v1/auth/csrf").await.expect(200).json();
    secrets.token("a CSRF token", csrf["csrf_token"].as_str().unwrap());
    let mut refused = badly(process, &browser, &client).await;
    spare.log_in(&alice).await;
    secrets.device(&spare);
    browser.end(&spare.session()).await.expect(200);
    client.log_out_elsewhere().await;
    secrets.token("an access token", &client.access());
    client.change_password(&alice, NEW_PASSWORD).await;
    secrets.token("an access token", &client.access());
    refused.push(browser.get("/v1/auth/me").await);
    refused.push(spare.get("/v1/auth/me").await);
    // A refresh, and its token once more: that is told to the operator.
    let (laptop, phone) = (alice.log_in().await, alice.log_in_for_bearer().await);
    for device in [&laptop, &phone] {
        secrets.device(device);
        let call = device.refreshing();
        device.renew().await;
        secrets.device(device);
        refused.push(call.await);
        refused.push(device.refreshing().await);
    }
    let again = alice.log_in().await;
    secrets.device(&again);
    again.log_out().await;
    client.log_out_everywhere().await;
    for (name, member, object) in [
        ("revoke_token", "token", claim(&bobs.access(), "jti")),
        ("revoke_session", "session", bobs.session()),
        ("revoke_user", "user", "bob".to_owned()),
        ("user_ban", "user", "bob".to_owned()),
        ("user_unban", "user", "bob".to_owned()),
        ("user_ban", "user", PLANTED.to_owned()),
    ] {
        ask(process, &json!({"command": name, member: object})).await;
    }
    ask(process, &json!({"command": "user_roles", "user": "bob", "roles": ["ops"]})).await.expect(200);
    ask(process, &json!({"command": "user_password", "user": "bob", "password": TYPED})).await.expect(200);
    for name in ["user_list", "keys_generate", "keys_list"] {
        ask(process, &json!({"command": name})).await.expect(200);
    }
    // Its private key is removed, so it is read before.
    signing_keys(process, files, secrets);
    let kid = kid(&phone.access());
    ask(process, &json!({"command": "keys_retire", "kid": kid})).await.expect(200);
    assert!(!process.data().join(format!("keys/{kid}.json")).exists(), "the key that has signed is gone");
    ask(process, &json!({"command": "revoke_everything"})).await.expect(200);
    for path in ["/healthz", "/readyz"] {
        process.manage(Method::GET, path).await.expect(200);
    }
    refused
}

/// The id of the key that has signed a token.
fn kid(token: &str) -> String {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    header["kid"].as_str().expect("a kid").to_owned()
}

/// The private keys that there are.
fn signing_keys(process: &Process, files: &SecretFiles, secrets: &mut Secrets) {
    for key in fs::read_dir(process.data().join("keys")).unwrap() {
        let bytes = files.read(&key.unwrap().path()).unwrap().expect("a key file");
        let file: Value = serde_json::from_slice(&bytes).unwrap();
        let private = file["private"].as_str().expect("a private key");
        secrets.text("a private key", private);
        let pkcs8 = URL_SAFE_NO_PAD.decode(private).unwrap();
        secrets.bytes("a private key", &pkcs8);
        // RFC 8410 §7: the seed is the 32 bytes behind a prefix of 16.
        secrets.bytes("the seed of a private key", &pkcs8[16..48]);
    }
}

/// What lies in the data folder and is nobody's business.
async fn at_rest(process: &Process, files: &SecretFiles, secrets: &mut Secrets) {
    let data = process.data();
    secrets.bytes("server.secret", &files.read(&data.join("server.secret")).unwrap().expect("a secret"));
    signing_keys(process, files, secrets);
    let options = SqliteConnectOptions::new().filename(data.join("kickout.db")).read_only(true);
    let mut database = SqliteConnection::connect_with(&options).await.unwrap();
    let users = sqlx::query("SELECT password FROM users").fetch_all(&mut database).await.unwrap();
    for user in &users {
        let phc: String = user.get(0);
        assert!(phc.starts_with("$argon2id$"), "{phc}");
        secrets.text("a password's hash", &phc);
        for part in phc.split('$').filter(|part| part.len() >= 20) {
            secrets.text("a part of a password's hash", part);
        }
    }
    let sessions = sqlx::query("SELECT secret FROM sessions").fetch_all(&mut database).await.unwrap();
    for session in &sessions {
        secrets.bytes("a session's secret", &session.get::<Vec<u8>, _>(0));
    }
    assert!(users.len() == 3 && sessions.len() >= 5, "{} users, {} sessions", users.len(), sessions.len());
    secrets.text("a password's hash", "$argon2id$");
}

async fn run_and_search(format: &str, files: &SecretFiles, settings: &[(&str, &str)]) {
    let common = [
        ("KICKOUT__LOG__FILTER", "trace"),
        ("KICKOUT__LOG__FORMAT", format),
        ("KICKOUT__SESSIONS__REFRESH_GRACE", "0s"),
    ];
    let mut process = Process::start(&[&common, settings].concat()).await;
    let mut secrets = Secrets::default();
    for password in [PASSWORD, NEW_PASSWORD, WRONG, SHORT, TYPED] {
        secrets.password(password);
    }
    let key: Vec<u8> = (0..64).step_by(2).map(|at| u8::from_str_radix(&KEY[at..at + 2], 16).unwrap()).collect();
    secrets.bytes("tokens.key_encryption_key", &key);
    secrets.token("the token in run.json", &token(&process));
    let refused = Box::pin(well(&process, files, &mut secrets)).await;
    let metrics = process.manage(Method::GET, "/metrics").bearer(&token(&process)).await.expect(200);
    let mut written = vec![("metrics", metrics.text())];
    written.extend(refused.iter().map(|answer| ("an answer", answer.text())));
    // The command line, in its own process: through the server first, then in the folder.
    for arguments in ["user list", "keys list --json", "user ban nobody", "config check"] {
        written.push(("a command", run(&process, arguments).await.to_string()));
    }
    let added = Program::start(beside(&process, "user add erin"), PASSWORD).outcome().await.expect(0);
    written.push(("a command", added.to_string()));
    process.interrupt();
    process.ended().await;
    eventually!(process.stderr().contains("stopped"));
    at_rest(&process, files, &mut secrets).await;
    for arguments in ["user list", "revoke everything --yes", "restored --yes", "migrate"] {
        written.push(("a command", run(&process, arguments).await.expect(0).to_string()));
    }
    let (out, log) = (process.stdout(), process.stderr());
    // What there is to try has a password, which is anybody's.
    let (said, tries) = out.split_once("try:\n").expect("the banner");
    assert_eq!(tries.lines().count(), 2, "nothing but the banner is printed: {out}");
    written.extend([("standard output", said.to_owned()), ("the log", log.clone())]);

    // It can find, and there was something to find it in.
    let mut planted = Secrets::default();
    planted.text("an operator's object", PLANTED);
    assert!(!planted.found_in(&log).is_empty(), "operators' acts are logged");
    assert!(log.contains("refresh_reuse"), "so are refresh tokens that are used again");
    assert!(log.contains("DEBUG") && log.contains("/v1/auth/password"), "everything is logged");
    assert_eq!(log.lines().all(|line| line.starts_with('{')), format == "json", "{format}");
    assert!(secrets.0.len() > 200, "{} secrets", secrets.0.len());
    for (place, text) in &written {
        let found = secrets.found_in(text);
        assert!(found.is_empty(), "in {place} ({format}): {found:#?}");
    }
}

#[tokio::test]
async fn a_whole_run_writes_no_secret_as_text() {
    run_and_search("text", &SecretFiles::plain(), &[]).await;
}

#[tokio::test]
async fn a_whole_run_writes_no_secret_as_json_with_a_token_of_the_operators_own() {
    let settings = [
        ("KICKOUT__MANAGEMENT__TOKEN", "juniper-lattice-of-the-operators"),
        ("KICKOUT__TOKENS__KEY_ENCRYPTION_KEY", KEY),
    ];
    run_and_search("json", &SecretFiles::under(KEY).unwrap(), &settings).await;
}
