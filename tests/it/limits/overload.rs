//! Too much to do: 503 with a time to come again, never "not logged in", and everything works again afterwards.

use kickout::config::{Config, Limits, Span};
use serde_json::json;
use sqlx::{Connection, SqliteConnection};

use super::{log_in_here, metric};
use crate::support::{
    answer::Answer,
    app::{TestApp, many_tries},
    client::{PASSWORD, User},
    postgres::{self, Server},
    wait::{PAUSE, all, eventually},
};

#[track_caller]
fn is_too_busy(answer: &Answer) {
    let kind = answer.problem().unwrap_or_default();
    assert!(["overloaded", "unavailable"].contains(&&*kind), "{answer}");
    answer.is_problem(503, &kind);
    assert!(answer.set_cookies().is_empty(), "{answer}");
}

#[tokio::test]
async fn when_the_password_pool_is_full() {
    let app = TestApp::start_with(|config| {
        few_wrong(config, 16);
        config.passwords.workers = 1;
        config.passwords.queue = 1;
    })
    .await;
    let alice = app.sign_up("alice").await;
    let token = alice.log_in_for_bearer().await.access();
    // How many of them meet is the machine's to say; that some do, eventually, is not.
    eventually!({
        let logins = (0..16).map(|_| log_in_here(&app, "alice", PASSWORD).into_future());
        let (answers, check) = tokio::join!(all(logins), app.get("/v1/auth/verify").bearer(&token).into_future());
        check.expect(200);
        let refused: Vec<_> = answers.into_iter().filter(|answer| answer.status != 200).collect();
        for answer in &refused {
            answer.is_problem(503, "overloaded");
        }
        !refused.is_empty()
    });
    // What was not looked at costs none of the few wrong passwords there are.
    log_in_here(&app, "alice", PASSWORD).await.expect(200);
    assert!(metric(&app, "kickout_passwords_refused_total").await >= 1);
}

#[tokio::test]
async fn when_as_many_requests_are_in_progress_as_may_be() {
    let app = TestApp::start_cold(|config| {
        config.http.max_requests = 1;
        config.http.request_timeout = Span::from_mins(5);
    })
    .await;
    let alice = app.sign_up("alice").await;
    let device = alice.log_in_for_bearer().await;
    let meanwhile = async {
        eventually!(app.get("/.well-known/jwks.json").await.status == 503);
        for call in [
            app.get("/v1/auth/verify").bearer(&device.access()),
            app.get("/v1/auth/me").bearer(&device.access()),
            app.get("/v1/auth/sessions").bearer("not a token"),
            app.post("/v1/auth/login").json(&alice.credentials()),
            app.post("/v1/auth/logout").bearer(&device.access()).json(&json!({})),
            app.get("/.well-known/jwks.json"),
        ] {
            call.await.is_problem(503, "overloaded");
        }
    };
    // Nobody records yet: the logout waits, until its client goes away.
    let nothing = json!({});
    tokio::select! {
        answer = device.post("/v1/auth/logout", &nothing) => panic!("{answer}"),
        () = meanwhile => {}
    }
    eventually!(app.get("/.well-known/jwks.json").await.status == 200);
    alice.log_in().await;
}

/// Somebody, and some sessions of theirs.
async fn somebody(app: &TestApp) -> (User, Vec<String>) {
    let alice = app.sign_up("alice").await;
    let mut tokens = Vec::new();
    for _ in 0..6 {
        tokens.push(alice.log_in_for_bearer().await.access());
    }
    (alice, tokens)
}

/// Asks for what has to be written while nothing can be, and for checks, which need nothing.
async fn asks_in_vain(app: &TestApp, alice: &User, tokens: &[String]) {
    let logins = (0..8).map(|_| app.post("/v1/auth/login").json(&alice.credentials()));
    let signup = app.post("/v1/auth/signup").json(&json!({"username": "bob", "password": PASSWORD}));
    let logouts = tokens[1..].iter().map(|token| app.post("/v1/auth/logout").bearer(token).json(&json!({})));
    let writes = all(logins.chain([signup]).chain(logouts).map(IntoFuture::into_future));
    let mut writes = std::pin::pin!(writes);
    let mut checks = 0;
    let answers = loop {
        tokio::select! {
            answers = &mut writes => break answers,
            answer = app.get("/v1/auth/verify").bearer(&tokens[0]).into_future() => {
                answer.expect(200);
                checks += 1;
                tokio::time::sleep(PAUSE).await;
            }
        }
    };
    assert!(checks > 0);
    for answer in &answers {
        is_too_busy(answer);
    }
}

/// Everything works again, and nothing counts as a wrong password.
async fn works_again(app: &TestApp, alice: &User, tokens: &[String]) {
    eventually!(log_in_here(app, "alice", PASSWORD).await.status == 200);
    for token in &tokens[1..] {
        assert!(app.post("/v1/auth/logout").bearer(token).json(&json!({})).await.receipt().complete);
        app.refuses(token).await;
    }
    app.accepts(&tokens[0]).await;
    alice.log_in().await;
}

/// As many wrong passwords in an hour as there are tries at once: what is not looked at must not count.
fn few_wrong(config: &mut Config, wrong_per_account: u32) {
    config.limits = Limits { wrong_per_account, ..many_tries() };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_sqlite_is_locked_by_somebody_else() {
    let app = TestApp::start_with(|config| {
        few_wrong(config, 8);
        config.revocation.queue = 1;
    })
    .await;
    let (alice, tokens) = somebody(&app).await;
    let url = format!("sqlite:{}", app.data().join("kickout.db").display());
    let mut rival = SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut rival).await.unwrap();
    asks_in_vain(&app, &alice, &tokens).await;
    app.get("/v1/auth/sessions").bearer(&tokens[0]).await.expect(200);
    sqlx::raw_sql("ROLLBACK").execute(&mut rival).await.unwrap();
    works_again(&app, &alice, &tokens).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_all_connections_to_postgresql_wait_for_somebody_else() {
    let url = Server::shared().database().await;
    let app = TestApp::start_with(|config| {
        few_wrong(config, 8);
        config.database.url = url.clone().into();
        config.tokens.key_encryption_key = "5a17".repeat(16).into();
    })
    .await;
    let (alice, tokens) = somebody(&app).await;
    let rival = postgres::begin(&url, "LOCK TABLE users, sessions IN ACCESS EXCLUSIVE MODE").await;
    asks_in_vain(&app, &alice, &tokens).await;
    drop(rival);
    works_again(&app, &alice, &tokens).await;
}
