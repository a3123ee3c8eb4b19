//! A refresh token is good once. For a moment more it gets the same successor, for tabs that refresh at once and answers
//! that were lost; after that it is stolen goods, and its whole family ends.

use std::{sync::Arc, time::Duration};

use http::Method;
use kickout::{
    admin::Command,
    clock::{Clock, ManualClock},
    config::{Config, Span},
};
use serde_json::{Value, json};

use crate::support::{
    answer::Answer,
    app::TestApp,
    client::{ACCESS, Call, Device, NEW_PASSWORD, REFRESH, User, text},
    wait::all,
};

const GRACE: Duration = Duration::from_secs(10);

/// A service whose time stands still until it is told to go on.
async fn at_rest(change: impl FnOnce(&mut Config)) -> (TestApp, Arc<ManualClock>) {
    let clock = ManualClock::at(1_700_000_000_000);
    (TestApp::start_at(Clock::Manual(Arc::clone(&clock)), change).await, clock)
}

fn with_token(app: &TestApp, token: &str) -> Call {
    app.post("/v1/auth/refresh").json(&json!({"refresh_token": token}))
}

fn with_cookie(app: &TestApp, token: &str) -> Call {
    app.post("/v1/auth/refresh").cookie(REFRESH, token).same_origin()
}

fn claims(token: &str) -> Value {
    jsonwebtoken::dangerous::insecure_decode::<Value>(token).unwrap().claims
}

async fn count(app: &TestApp, outcome: &str) -> u64 {
    let text = app.manage(Method::GET, "/metrics").bearer(crate::support::app::ADMIN_TOKEN).await.text();
    let name = format!("kickout_refreshes_total{{outcome=\"{outcome}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or_else(|| panic!("no {name}: {text}"));
    line.parse().unwrap()
}

/// Asserts that a refusal says "log in" and leaves the browser's cookies alone.
#[track_caller]
fn is_over(answer: &Answer) {
    answer.is_problem(401, "session-ended");
    assert!(answer.set_cookies().is_empty(), "the browser may have newer cookies by now: {answer}");
}

#[tokio::test]
async fn a_refresh_gives_the_next_tokens_of_the_same_session() {
    let (app, clock) = at_rest(|_| {}).await;
    let alice = app.sign_up("alice").await;
    for is_browser in [true, false] {
        let device = if is_browser { alice.log_in().await } else { alice.log_in_for_bearer().await };
        let (access, refresh) = (device.access(), device.refresh());
        clock.advance(Duration::from_mins(1));
        let answer = device.renew().await;
        let json = answer.json();
        assert_eq!((text(&json["subject"]), text(&json["username"])), (alice.subject.clone(), "alice".to_owned()));
        assert_eq!((text(&json["session"]), json["expires_in"].as_i64()), (device.session(), Some(900)));
        assert_ne!(device.refresh(), refresh);
        let (before, after) = (claims(&access), claims(&device.access()));
        for same in ["sub", "sid", "gen", "epoch", "iss", "aud", "client_id"] {
            assert_eq!(before[same], after[same], "{same}");
        }
        assert_ne!(before["jti"], after["jti"]);
        assert_eq!(after["iat"].as_i64().unwrap() - before["iat"].as_i64().unwrap(), 60);
        app.accepts(&access).await;
        app.accepts(&device.access()).await;
    }
    assert_eq!((count(&app, "rotated").await, count(&app, "race_absorbed").await), (2, 0));
    // The list of devices knows when each was used last.
    let sessions = alice.log_in_for_bearer().await.get("/v1/auth/sessions").await.json();
    let sessions = sessions["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 3);
    assert_eq!(sessions.iter().filter(|session| session["last_used_at"] != session["created_at"]).count(), 2);
}

#[tokio::test]
async fn cookies_come_as_cookies_and_tokens_in_the_body_as_tokens() {
    let app = TestApp::start().await;
    let alice = app.sign_up("alice").await;
    let (browser, client) = (alice.log_in().await, alice.log_in_for_bearer().await);
    let answer = browser.renew().await;
    let set = answer.set_cookies();
    let names: Vec<&str> = set.iter().map(|cookie| cookie.name.as_str()).collect();
    assert_eq!(names, [ACCESS, REFRESH]);
    for cookie in &set {
        for attribute in ["secure", "httponly", "samesite=lax"] {
            assert!(cookie.attributes.iter().any(|found| found == attribute), "{attribute}: {cookie:?}");
        }
    }
    assert_eq!((set[0].attribute("path"), set[1].attribute("path")), (Some("/"), Some("/v1/auth")));
    let json = answer.json();
    assert!(
        json.get("access_token").is_none() && json.get("refresh_token").is_none(),
        "no token where script reads it"
    );
    assert!(app.sessions().is_csrf_token(&text(&json["csrf_token"]), browser.session().parse().unwrap()));

    let answer = client.renew().await;
    let json = answer.json();
    assert!(answer.set_cookies().is_empty() && json.get("csrf_token").is_none());
    assert_eq!((json["token_type"].as_str(), json["refresh_expires_in"].as_i64()), (Some("Bearer"), Some(14 * 86_400)));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn a_replaced_token_gets_the_same_successor_within_the_grace() {
    let (app, clock) = at_rest(|_| {}).await;
    let device = app.sign_up("alice").await.log_in_for_bearer().await;
    let first = device.refresh();
    let second = text(&with_token(&app, &first).await.expect(200).json()["refresh_token"]);
    for _ in 0..3 {
        clock.advance(Duration::from_secs(3));
        let again = with_token(&app, &first).await.expect(200).json();
        assert_eq!(text(&again["refresh_token"]), second);
        app.accepts(&text(&again["access_token"])).await;
    }
    assert_eq!((count(&app, "rotated").await, count(&app, "race_absorbed").await), (1, 3));
    // It has not been current for nine seconds, which says nothing against the one that is.
    let third = text(&with_token(&app, &second).await.expect(200).json()["refresh_token"]);
    // A straggler of the same burst, with the first one, gets the newest.
    let straggler = with_token(&app, &first).await.expect(200).json();
    assert_eq!(text(&straggler["refresh_token"]), third);
    assert_eq!(count(&app, "reuse_detected").await, 0);
}

#[tokio::test]
async fn a_token_that_is_used_again_after_the_grace_ends_its_family_on_the_spot() {
    for cookies in [true, false] {
        let (app, clock) = at_rest(|_| {}).await;
        let alice = app.sign_up("alice").await;
        let (thief, other) = (alice.log_in_for_bearer().await, alice.log_in_for_bearer().await);
        let stolen = thief.refresh();
        thief.renew().await;
        clock.advance(GRACE);
        app.accepts(&thief.access()).await;
        let call = if cookies { with_cookie(&app, &stolen) } else { with_token(&app, &stolen) };
        is_over(&call.await);
        // In force when the refusal is given: access tokens and the current refresh token alike.
        app.refuses(&thief.access()).await;
        is_over(&with_token(&app, &thief.refresh()).await);
        app.accepts(&other.access()).await;
        other.renew().await;
        assert_eq!(count(&app, "reuse_detected").await, 1);
        // Again it is the same answer, and nothing is left to end.
        is_over(&with_token(&app, &stolen).await);
    }
}

#[tokio::test]
async fn without_a_grace_the_second_use_ends_the_family() {
    let app = TestApp::start_with(|config| config.sessions.refresh_grace = Span::from_secs(0)).await;
    let device = app.sign_up("alice").await.log_in_for_bearer().await;
    let first = device.refresh();
    device.renew().await;
    is_over(&with_token(&app, &first).await);
    app.refuses(&device.access()).await;
}

#[tokio::test]
async fn a_token_of_a_burst_is_excused_no_longer_than_the_grace() {
    let (app, clock) = at_rest(|_| {}).await;
    let device = app.sign_up("alice").await.log_in_for_bearer().await;
    let first = device.refresh();
    device.renew().await;
    // Every refresh follows within the grace, but the first token was replaced longer ago than that.
    for _ in 0..3 {
        clock.advance(GRACE / 2);
        device.renew().await;
    }
    is_over(&with_token(&app, &first).await);
    app.refuses(&device.access()).await;
}

#[tokio::test]
async fn a_session_ends_when_it_is_not_used_and_when_its_whole_time_is_over() {
    let (app, clock) = at_rest(|config| {
        config.sessions.idle = "1h".parse().unwrap();
        config.sessions.absolute = "150m".parse().unwrap();
    })
    .await;
    let alice = app.sign_up("alice").await;
    let (used, left) = (alice.log_in_for_bearer().await, alice.log_in_for_bearer().await);
    let minutes = |minutes: u64| Duration::from_mins(minutes);
    clock.advance(minutes(50));
    assert_eq!(used.renew().await.json()["refresh_expires_in"], 3600);
    clock.advance(minutes(10));
    is_over(&left.refreshing().await);
    clock.advance(minutes(40));
    // 50 of its 150 minutes are left, less than it might idle.
    assert_eq!(used.renew().await.json()["refresh_expires_in"], 3000);
    clock.advance(minutes(40));
    let last = used.renew().await.json();
    assert_eq!((&last["refresh_expires_in"], &last["expires_in"]), (&json!(600), &json!(600)));
    clock.advance(minutes(10));
    is_over(&used.refreshing().await);
    app.get("/v1/auth/me").bearer(&used.access()).await.is_problem(401, "token-expired");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tabs_that_refresh_at_once_get_one_successor_and_stay_logged_in() {
    let app = TestApp::start().await;
    let browser = app.sign_up("alice").await.log_in().await;
    for _ in 0..20 {
        let tabs = all((0..8).map(|_| browser.refreshing().into_future())).await;
        let cookies: Vec<Vec<String>> = tabs
            .iter()
            .map(|answer| {
                assert_eq!(answer.status, 200, "{answer}");
                answer.set_cookies().into_iter().map(|cookie| cookie.value).collect()
            })
            .collect();
        assert!(cookies.iter().all(|values| values[1] == cookies[0][1]), "one successor");
        for values in &cookies {
            assert!(app.is_good(&values[0]).await);
        }
        // The browser keeps what came last, whichever that was.
        browser.renew().await;
    }
    assert_eq!(count(&app, "reuse_detected").await, 0);
    assert!(count(&app, "race_absorbed").await > 0);
}

/// Every act that ends a session: no refresh token of it gives anything afterwards.
#[tokio::test]
async fn no_refresh_outlives_its_session() {
    let app = TestApp::start().await;
    let alice = app.sign_up("alice").await;
    let operator = async |command: Command| assert!(app.command(command).await.complete);
    let user = || alice.subject.clone();
    for act in ["logout", "logout-all", "end", "password", "ban", "session", "user", "reset", "everything", "delete"] {
        let (device, other) = (alice.log_in_for_bearer().await, alice.log_in_for_bearer().await);
        let before = device.refresh();
        device.renew().await;
        match act {
            "logout" => drop(device.log_out().await),
            "logout-all" => drop(other.log_out_everywhere().await),
            "end" => drop(other.end(&device.session()).await.receipt()),
            "password" => drop(other.change_password(&alice, NEW_PASSWORD).await),
            "ban" => {
                operator(Command::UserBan { user: user() }).await;
                is_over(&device.refreshing().await);
                app.admin().run(Command::UserUnban { user: user() }).await.unwrap();
            }
            "session" => operator(Command::RevokeSession { session: device.session().parse().unwrap() }).await,
            "user" => operator(Command::RevokeUser { user: user() }).await,
            "reset" => {
                let password = crate::support::client::PASSWORD.to_owned().into();
                operator(Command::UserPassword { user: user(), password }).await;
                alice.remembers(crate::support::client::PASSWORD);
            }
            "everything" => operator(Command::RevokeEverything {}).await,
            _ => operator(Command::UserDelete { user: user() }).await,
        }
        for token in [device.refresh(), before] {
            is_over(&with_token(&app, &token).await);
        }
        app.refuses(&device.access()).await;
    }
    let gone = app.post("/v1/auth/login").json(&alice.credentials()).await;
    gone.is_problem(401, "credentials-invalid");
}

#[tokio::test]
async fn a_session_that_lives_on_refreshes_with_what_it_had() {
    let app = TestApp::start().await;
    let alice = app.sign_up("alice").await;
    let (kept, other) = (alice.log_in_for_bearer().await, alice.log_in_for_bearer().await);
    let generation = || claims(&kept.access())["gen"].as_i64().unwrap();
    let before = generation();
    kept.log_out_elsewhere().await;
    assert_eq!(generation(), before + 1, "its token needs no exception");
    kept.renew().await;
    kept.change_password(&alice, NEW_PASSWORD).await;
    assert_eq!(generation(), before + 2);
    kept.renew().await;
    app.accepts(&kept.access()).await;
    is_over(&other.refreshing().await);
}

#[tokio::test]
async fn other_roles_end_access_tokens_and_not_sessions() {
    let app = TestApp::start().await;
    let alice = app.sign_up("alice").await;
    let (browser, client) = (alice.log_in().await, alice.log_in_for_bearer().await);
    let roles = |roles: &[&str]| Command::UserRoles {
        user: alice.subject.clone(),
        roles: roles.iter().map(ToString::to_string).collect(),
    };
    for given in [&["audit", "admin", "audit"][..], &["audit"], &[]] {
        let old = [browser.access(), client.access()];
        let receipt = app.command(roles(given)).await;
        assert!(receipt.complete && !receipt.already);
        for token in &old {
            // Not "log in": the session lives, and a refresh helps.
            app.takes_back(token).await;
        }
        let mut expected = given.to_vec();
        expected.sort_unstable();
        expected.dedup();
        for device in [&browser, &client] {
            assert_eq!(device.renew().await.json()["roles"], json!(expected));
            assert_eq!(device.get("/v1/auth/me").await.expect(200).json()["roles"], json!(expected));
        }
        let again = app.command(roles(given)).await;
        assert!(again.complete && again.already);
        app.accepts(&client.access()).await;
    }
    // What ended a session before is still said first.
    let ended = alice.log_in_for_bearer().await;
    app.command(Command::RevokeUser { user: alice.subject.clone() }).await;
    app.command(roles(&["audit"])).await;
    app.refuses(&ended.access()).await;
    is_over(&ended.refreshing().await);
}

#[tokio::test]
async fn a_revoked_access_token_is_refused_and_its_session_refreshes() {
    let app = TestApp::start().await;
    let device = app.sign_up("alice").await.log_in_for_bearer().await;
    let token = text(&claims(&device.access())["jti"]).parse().unwrap();
    app.command(Command::RevokeToken { token }).await;
    app.takes_back(&device.access()).await;
    device.renew().await;
    app.accepts(&device.access()).await;
}

#[tokio::test]
async fn a_refresh_is_refused_where_its_token_or_its_page_is_not_right() {
    let app =
        TestApp::start_with(|config| config.http.allowed_origins = vec!["https://app.example.org".parse().unwrap()])
            .await;
    let alice = app.sign_up("alice").await;
    let (browser, client) = (alice.log_in().await, alice.log_in_for_bearer().await);
    let bare = || app.post("/v1/auth/refresh");
    let cookie = || bare().cookie(REFRESH, &browser.refresh());
    let origin = |origin: &str| cookie().header("origin", origin).json(&json!({}));
    for (call, status, kind) in [
        (bare(), 401, "token-missing"),
        (bare().json(&json!({})), 401, "token-missing"),
        (bare().bearer(&client.access()), 401, "token-missing"),
        (bare().json(&json!({"refresh_token": ""})), 401, "token-invalid"),
        (bare().json(&json!({"refresh_token": 7})), 400, "invalid-request"),
        (bare().json(&json!({"token": "x"})), 400, "invalid-request"),
        (bare().body("application/json", "{"), 400, "invalid-json"),
        (bare().body("text/plain", r#"{"refresh_token":"x"}"#), 415, "unsupported-media-type"),
        (with_token(&app, &client.access()), 401, "token-invalid"),
        (with_token(&app, &forged(&client.refresh())), 401, "token-invalid"),
        (cookie().json(&json!({"refresh_token": client.refresh()})).same_origin(), 400, "ambiguous-credentials"),
        (cookie().cookie(REFRESH, &browser.refresh()).same_origin(), 400, "ambiguous-credentials"),
        (cookie().cookie(ACCESS, "a").cookie(ACCESS, "b").same_origin(), 400, "ambiguous-credentials"),
        (cookie().bearer(&client.access()).same_origin(), 400, "ambiguous-credentials"),
        (cookie(), 415, "unsupported-media-type"),
        (cookie().body("application/x-www-form-urlencoded", ""), 415, "unsupported-media-type"),
        (origin("https://evil.example"), 403, "csrf-refused"),
        (origin("null"), 403, "csrf-refused"),
        (cookie().header("sec-fetch-site", "cross-site").json(&json!({})), 403, "csrf-refused"),
        (cookie().header("sec-fetch-site", "same-site").json(&json!({})), 403, "csrf-refused"),
    ] {
        let what = call.to_string();
        let answer = call.await;
        assert_eq!(answer.problem().as_deref(), Some(kind), "{what}: {answer}");
        answer.is_problem(status, kind);
        assert!(answer.set_cookies().is_empty(), "{what}: {answer}");
    }
    app.get("/v1/auth/refresh").await.is_problem(405, "method-not-allowed");
    // None of that has used up the token, and these pass.
    for call in [
        cookie().json(&json!({})),
        cookie().same_origin(),
        cookie().same_origin().cookie(ACCESS, "expired-or-not"),
        origin("https://app.example.org"),
        origin(&format!("http://{}", app.public())),
        with_token(&app, &client.refresh()),
        with_token(&app, &client.refresh()).bearer(&client.access()),
    ] {
        let what = call.to_string();
        let answer = call.await;
        assert_eq!(answer.status, 200, "{what}: {answer}");
    }
    app.accepts(&browser.access()).await;
}

/// The token with another MAC.
fn forged(token: &str) -> String {
    let other = if token[60..].starts_with('A') { 'B' } else { 'A' };
    format!("{}{other}{}", &token[..60], &token[61..])
}

#[tokio::test]
async fn access_and_refresh_tokens_are_useless_in_each_others_place() {
    let app = TestApp::start().await;
    let alice = app.sign_up("alice").await;
    let device = alice.log_in_for_bearer().await;
    let (access, refresh) = (device.access(), device.refresh());
    let body = json!({"current": crate::support::client::PASSWORD, "new": NEW_PASSWORD});
    for (method, path) in [
        (Method::GET, "/v1/auth/me"),
        (Method::GET, "/v1/auth/csrf"),
        (Method::GET, "/v1/auth/sessions"),
        (Method::GET, "/v1/auth/verify"),
        (Method::GET, "/v1/auth/verify/ask"),
        (Method::POST, "/v1/auth/logout-all"),
        (Method::POST, "/v1/auth/password"),
        (Method::DELETE, "/v1/auth/sessions/3f0e8c1a-6d2b-4c57-9a41-0b6f5d2e7c88"),
        (Method::POST, "/v1/auth/logout"),
    ] {
        let call = || app.call(method.clone(), path).json(&body);
        for call in [call().bearer(&refresh), call().cookie(ACCESS, &refresh).same_origin()] {
            let call = if path.ends_with("logout") { call.json(&json!({})) } else { call };
            let what = call.to_string();
            let answer = call.await;
            assert_eq!(answer.problem().as_deref(), Some("token-invalid"), "{what}: {answer}");
        }
    }
    let logout = |token: &str| app.post("/v1/auth/logout").cookie(REFRESH, token).same_origin();
    logout(&access).await.is_problem(401, "token-invalid");
    app.post("/v1/auth/logout").json(&json!({"refresh_token": access})).await.is_problem(401, "token-invalid");
    with_cookie(&app, &access).await.is_problem(401, "token-invalid");
    with_token(&app, &access).await.is_problem(401, "token-invalid");
    app.accepts(&access).await;
    device.renew().await;
}

#[tokio::test]
async fn a_database_that_is_gone_refuses_nobody_for_good() {
    let app = TestApp::start().await;
    let browser = app.sign_up("alice").await.log_in().await;
    let locked = Lock::on(&app).await;
    let answer = browser.refreshing().await;
    answer.is_problem(503, "unavailable");
    assert!(answer.set_cookies().is_empty());
    locked.release().await;
    browser.renew().await;
    app.accepts(&browser.access()).await;
}

/// Somebody else who writes into the database and does not come to an end.
struct Lock(sqlx::SqliteConnection);

impl Lock {
    async fn on(app: &TestApp) -> Self {
        use sqlx::Connection;
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(app.data().join("kickout.db"));
        let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
        Self(connection)
    }

    async fn release(mut self) {
        sqlx::query("ROLLBACK").execute(&mut self.0).await.unwrap();
    }
}

#[tokio::test]
async fn a_session_has_one_row_however_often_it_refreshes() {
    use sqlx::{Connection, Row};
    let (app, clock) = at_rest(|_| {}).await;
    let user: User = app.sign_up("alice").await;
    let device: Device = user.log_in_for_bearer().await;
    for _ in 0..30 {
        clock.advance(Duration::from_mins(1));
        device.renew().await;
    }
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(app.data().join("kickout.db")).read_only(true);
    let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    let row = sqlx::query("SELECT count(*) AS rows, max(counter) AS counter FROM sessions");
    let row = row.fetch_one(&mut connection).await.unwrap();
    assert_eq!((row.get::<i64, _>("rows"), row.get::<i64, _>("counter")), (1, 30));
    assert_eq!(sqlx::query("SELECT 1 FROM revocations").fetch_all(&mut connection).await.unwrap().len(), 0);
}
