//! What is told to nobody: no token, cookie, password or hash in a log line, a metric, an error or the database.

use http::Method;
use serde_json::json;

use crate::support::{
    app::{ADMIN_TOKEN, TestApp},
    client::{ACCESS, NEW_PASSWORD, PASSWORD},
    logs,
};

/// A whole session of a user with everything that can be done and refused, at the most talkative log level.
#[tokio::test]
async fn a_whole_session_leaves_no_secret_in_logs_metrics_errors_or_the_database() {
    let logs = logs::capture();
    let app = TestApp::start().await;
    let mut answers = Vec::new();
    let alice = app.sign_up("alice-of-the-secrets").await;
    let wrong = "a-password-that-was-once-hers";
    answers.push(alice.try_log_in(wrong).await);
    let (browser, client) = (alice.log_in().await, alice.log_in_for_bearer().await);
    let fresh = browser.get("/v1/auth/csrf").await.json();
    let mut secrets = vec![
        PASSWORD.to_owned(),
        NEW_PASSWORD.to_owned(),
        wrong.to_owned(),
        ADMIN_TOKEN.to_owned(),
        browser.csrf(),
        fresh["csrf_token"].as_str().unwrap().to_owned(),
        "$argon2".to_owned(),
        "argon2id$".to_owned(),
    ];
    let mut bearers = vec![browser.access(), browser.refresh(), client.access(), client.refresh()];
    browser.get("/v1/auth/me").await;
    browser.get("/v1/auth/sessions").await;
    answers.push(app.get("/v1/auth/me").bearer(&client.access()).cookie(ACCESS, &browser.access()).await);
    answers.push(app.get("/v1/auth/me").bearer(&browser.refresh()).await);
    answers.push(app.get("/v1/auth/me").bearer(&format!("{}x", client.access())).await);
    answers.push(app.get(&format!("/v1/auth/sessions/{}", client.access())).await);
    answers.push(browser.end(&client.access()).await);
    answers.push(app.get(&format!("/v1/auth/me?access_token={}", client.access())).await);
    answers.push(app.post("/v1/auth/login").body("application/json", format!("{{\"password\": {PASSWORD}")).await);
    let body = json!({"username": ["alice"], "password": {"text": PASSWORD}});
    answers.push(app.post("/v1/auth/login").json(&body).await);
    let command = json!({"command": "user_add", "username": "bob", "password": PASSWORD, "roles": ["no role"]});
    let command = app.manage(Method::POST, "/v1/admin/commands").json(&command);
    answers.push(command.clone().bearer(ADMIN_TOKEN).await);
    answers.push(command.bearer(&client.access()).await);
    browser.log_out_elsewhere().await;
    bearers.push(browser.access());
    answers.push(client.get("/v1/auth/me").await);
    browser.change_password(&alice, NEW_PASSWORD).await;
    bearers.push(browser.access());
    browser.log_out_everywhere().await;
    for answer in &answers {
        assert!(answer.status.is_client_error(), "{answer}");
    }
    let metrics = app.manage(Method::GET, "/metrics").await;
    let folder = app.data();
    let _kept = app.stop().await;

    // A token's parts are as good as the whole: the last one is the signature, or the MAC.
    for token in bearers {
        secrets.extend(token.split('.').filter(|part| part.len() > 40).map(str::to_owned));
        secrets.push(token);
    }
    // The header is the same in all tokens and no secret.
    secrets.retain(|secret| !secret.starts_with("eyJhbGciOi") || secret.contains('.'));
    let logged = logs.text();
    assert!(logged.contains("answered") && logged.contains("DEBUG"), "logs are kept");
    let database = [folder.join("kickout.db"), folder.join("kickout.db-wal")];
    let database: Vec<u8> = database.iter().filter_map(|file| std::fs::read(file).ok()).flatten().collect();
    let database = String::from_utf8_lossy(&database);
    assert!(database.contains("alice-of-the-secrets"), "the database is read");
    for secret in &secrets {
        let lines = logs.lines_with(secret);
        assert!(lines.is_empty(), "{secret} was logged: {lines:#?}");
        assert!(!String::from_utf8_lossy(&metrics.body).contains(secret), "{secret} is in the metrics");
        for answer in &answers {
            assert!(!answer.text().contains(secret), "{secret} came back: {answer}");
        }
        // Hashes of passwords have to be somewhere.
        assert!(secret.contains("argon2") || !database.contains(secret), "{secret} is in the database");
    }
}

#[tokio::test]
async fn what_a_client_puts_into_a_request_forges_no_line_in_the_log() {
    let logs = logs::capture();
    let app = TestApp::start().await;
    let forged = "x\nERROR forged-by-a-client";
    let body = json!({"username": forged, "password": forged, "device": forged});
    app.post("/v1/auth/login").json(&body).header("user-agent", "a\tERROR forged-by-a-client").await;
    app.get("/v1/auth/me%0AERROR%20forged-by-a-client").await;
    assert!(logs.lines_with("forged-by-a-client").is_empty());
}
