//! Slow clients, tossed cookies and dead tokens keep nobody from anything, and an answer that is no success says what
//! has become of the request.

use std::{sync::Arc, time::Duration};

use http::Method;
use kickout::{
    clock::{Clock, ManualClock},
    config::Span,
};
use serde_json::json;

use crate::support::{
    answer::Answer,
    app::{ADMIN_TOKEN, TestApp},
    client::{ACCESS, Call, Device, PASSWORD, REFRESH, text},
    raw,
    wait::{PAUSE, all},
};

/// The default of `http.body_limit`.
const LIMIT: usize = 16_384;

const LOGOUT: &str = "/v1/auth/logout";

/// The head of a request on a connection that the client would use again.
fn head(start: &str, headers: &str) -> Vec<u8> {
    format!("{start} HTTP/1.1\r\nhost: kickout.test\r\ncontent-type: application/json\r\n{headers}\r\n").into_bytes()
}

#[tokio::test]
async fn clients_that_dribble_a_body_take_no_place_and_are_cut() {
    let app = TestApp::start_with(|config| {
        config.http.max_requests = 4;
        config.http.header_timeout = Span::from_secs(2);
    });
    let app = app.await;
    let token = app.sign_up("alice").await.log_in_for_bearer().await.access();
    let login = head("POST /v1/auth/login", "content-length: 1000\r\n");
    let mut slow = std::pin::pin!(all((0..8).map(|_| raw::dribble(app.public(), &login))));
    let mut answered = 0;
    let answers = loop {
        tokio::select! {
            answers = &mut slow => break answers,
            answer = app.get("/v1/auth/me").bearer(&token).into_future() => {
                answer.expect(200);
                answered += 1;
                tokio::time::sleep(PAUSE).await;
            }
        }
    };
    assert!(answered > 10, "{answered} while the others were sending");
    assert_eq!(answers.len(), 8);
    for answer in answers {
        let answer = answer.expect("an answer");
        answer.is_problem(408, "request-timeout");
        assert_eq!(answer.header("connection"), Some("close"), "{answer}");
    }
}

#[tokio::test]
async fn what_reads_no_body_neither_limits_it_nor_waits_for_it() {
    let app = TestApp::start().await;
    let token = app.sign_up("alice").await.log_in_for_bearer().await.access();
    let bearer = format!("authorization: Bearer {token}\r\n");
    let upload = vec![b'x'; 4 * LIMIT];
    for start in ["GET /v1/auth/verify", "POST /v1/auth/verify", "GET /.well-known/jwks.json"] {
        let announced = head(start, &format!("{bearer}content-length: 1000000000\r\n"));
        let chunked = head(start, &format!("{bearer}transfer-encoding: chunked\r\n"));
        let sent = [head(start, &format!("{bearer}content-length: {}\r\n", upload.len())), upload.clone()].concat();
        for request in [announced, chunked, sent] {
            let answer = raw::exchange(app.public(), &request).await.expect("an answer");
            assert_eq!(
                (answer.status.as_u16(), answer.header("connection")),
                (200, Some("close")),
                "{start}: {answer}"
            );
        }
    }
    let refused = head("GET /v1/auth/verify", "content-length: 1000000000\r\n");
    let refused = raw::exchange(app.public(), &refused).await.expect("an answer");
    refused.is_problem(401, "token-missing");
    assert_eq!(refused.header("connection"), Some("close"), "{refused}");
    let bare = app.get("/v1/auth/verify").bearer(&token).await.expect(200);
    assert_eq!(bare.header("connection"), None, "{bare}");
}

#[tokio::test]
async fn a_client_goes_on_after_a_body_that_was_too_large() {
    let app = TestApp::start().await;
    for path in ["/v1/auth/login", "/v1/auth/me", "/nowhere"] {
        let answer = app.post(path).body("application/json", vec![b' '; LIMIT + 1]).await;
        answer.is_problem(413, "body-too-large");
        assert_eq!(answer.header("connection"), Some("close"), "{answer}");
        app.get("/.well-known/jwks.json").await.expect(200);
    }
}

/// A logout of a page of ours with these refresh cookies alone.
fn leave_with(app: &TestApp, refresh: &[&str]) -> Call {
    refresh.iter().fold(app.post(LOGOUT).same_origin(), |call, token| call.cookie(REFRESH, token))
}

/// A refresh token in form alone: nobody has issued it.
fn forged(n: usize) -> String {
    format!("kr1_{}{n:02}AA", "A".repeat(66))
}

#[track_caller]
fn removes_cookies(answer: &Answer) {
    let cookies = answer.set_cookies();
    let names: Vec<_> = cookies.iter().map(|cookie| cookie.name.as_str()).collect();
    assert_eq!(names, [ACCESS, REFRESH], "{answer}");
    assert!(cookies.iter().all(|cookie| cookie.attribute("max-age") == Some("0")), "{answer}");
}

#[tokio::test]
async fn a_refresh_cookie_that_somebody_tossed_in_keeps_nobody_from_leaving() {
    let app = TestApp::start().await;
    let (alice, mallory) = (app.sign_up("alice").await, app.sign_up("mallory").await);
    let forged: Vec<String> = (0..4).map(forged).collect();
    let forged: Vec<&str> = forged.iter().map(String::as_str).collect();
    for tossed in [vec!["", "x", "kr1_", "null", "y"], forged[..3].to_vec()] {
        for is_last in [true, false] {
            let browser = alice.log_in().await;
            let own = browser.refresh();
            let mut cookies = tossed.clone();
            cookies.insert(if is_last { tossed.len() } else { 0 }, &own);
            let answer = leave_with(&app, &cookies).await;
            assert_eq!(answer.receipt().revoked.id, Some(browser.session()), "{cookies:?}");
            removes_cookies(&answer);
            app.refuses(&browser.access()).await;
        }
    }
    // Another one's own good token, and the right one twice: whatever is ours ends.
    let (browser, theirs) = (alice.log_in().await, mallory.log_in().await);
    leave_with(&app, &[&theirs.refresh(), &browser.refresh(), &browser.refresh()]).await.receipt();
    app.refuses(&browser.access()).await;
    app.refuses(&theirs.access()).await;
    // A client that is no browser shows a CSRF token of one of them.
    let (browser, theirs) = (alice.log_in().await, mallory.log_in().await);
    let unsaid = app.post(LOGOUT).cookie(REFRESH, &theirs.refresh()).cookie(REFRESH, &browser.refresh());
    unsaid.clone().await.is_problem(403, "csrf-refused");
    unsaid.header("x-csrf-token", &browser.csrf()).await.receipt();
    app.refuses(&browser.access()).await;
    // However many there are: what nobody has issued is not looked up.
    let browser = alice.log_in().await;
    let own = browser.refresh();
    leave_with(&app, &[&forged[..], &[&own]].concat()).await.receipt();
    app.refuses(&browser.access()).await;
}

#[tokio::test]
async fn with_a_domain_the_refresh_cookie_of_the_host_alone_is_removed_too() {
    let app = TestApp::start_with(|config| config.cookies.domain = "example.com".to_owned()).await;
    let alice = app.sign_up("alice").await;
    let login = app.post("/v1/auth/login").json(&alice.credentials()).await.expect(200);
    let refresh = login.set_cookies().pop().expect("cookies").value;
    let logout = leave_with(&app, &[&refresh]).await;
    logout.receipt();
    for (answer, is_removal) in [(&login, false), (&logout, true)] {
        let cookies = answer.set_cookies();
        let [leftover, access, refresh] = cookies.as_slice() else { panic!("three cookies: {answer}") };
        assert_eq!((&*leftover.name, leftover.attribute("domain")), (REFRESH, None), "{answer}");
        assert_eq!((leftover.attribute("path"), leftover.attribute("max-age")), (Some("/v1/auth"), Some("0")));
        assert_eq!((&*access.name, &*refresh.name), ("__Secure-kickout-access", REFRESH), "{answer}");
        for cookie in [access, refresh] {
            assert_eq!(cookie.attribute("domain"), Some("example.com"), "{answer}");
            assert_eq!(cookie.attribute("max-age") == Some("0"), is_removal, "{answer}");
        }
    }
}

#[tokio::test]
async fn a_client_without_cookies_leaves_by_its_refresh_token() {
    let manual = ManualClock::at(1_800_000_000_000);
    let app = TestApp::start_at(Clock::Manual(Arc::clone(&manual)), |_| {}).await;
    let alice = app.sign_up("alice").await;
    let (first, second) = (alice.log_in_for_bearer().await, alice.log_in_for_bearer().await);
    manual.advance(Duration::from_mins(16));
    let by_body = |token: &str| app.post(LOGOUT).json(&json!({"refresh_token": token}));
    first.send(first.call(Method::POST, LOGOUT)).await.is_problem(401, "token-expired");

    let answer = by_body(&first.refresh()).await;
    assert_eq!(answer.receipt().revoked.id, Some(first.session()));
    assert!(answer.set_cookies().is_empty(), "{answer}");
    assert!(by_body(&first.refresh()).await.receipt().already);
    // With the dead access token beside it, as such a client sends it everywhere.
    assert!(!by_body(&second.refresh()).bearer(&second.access()).await.receipt().already);

    let refused = by_body(&forged(0)).await;
    refused.is_problem(401, "token-invalid");
    assert!(refused.set_cookies().is_empty(), "{refused}");
    by_body(&alice.log_in_for_bearer().await.access()).await.is_problem(401, "token-invalid");
    app.post(LOGOUT).json(&json!({"refresh_token": null})).await.is_problem(401, "token-missing");
    let form = app.post(LOGOUT).body("text/plain", json!({"refresh_token": second.refresh()}).to_string());
    form.await.is_problem(415, "unsupported-media-type");
}

#[tokio::test]
async fn every_session_that_a_logout_names_ends() {
    let app = TestApp::start().await;
    let alice = app.sign_up("alice").await;
    let (named, holder) = (alice.log_in_for_bearer().await, alice.log_in_for_bearer().await);
    let body = |device: &Device| json!({"refresh_token": device.refresh()});
    holder.post(LOGOUT, &body(&named)).await.receipt();
    app.refuses(&named.access()).await;
    app.refuses(&holder.access()).await;

    let (named, browser) = (alice.log_in_for_bearer().await, alice.log_in().await);
    let by_cookie = app.post(LOGOUT).cookie(REFRESH, &browser.refresh()).json(&body(&named));
    let foreign = by_cookie.clone().header("origin", "https://evil.example").await;
    foreign.is_problem(403, "csrf-refused");
    by_cookie.clone().await.is_problem(403, "csrf-refused");
    app.accepts(&named.access()).await;
    app.accepts(&browser.access()).await;
    let answer = by_cookie.same_origin().await;
    answer.receipt();
    removes_cookies(&answer);
    app.refuses(&named.access()).await;
    app.refuses(&browser.access()).await;
}

#[tokio::test]
async fn dead_cookies_are_removed_by_the_logout_that_finds_them_dead() {
    let manual = ManualClock::at(1_800_000_000_000);
    let app = TestApp::start_at(Clock::Manual(Arc::clone(&manual)), |_| {}).await;
    let access = app.sign_up("alice").await.log_in().await.access();
    manual.advance(Duration::from_mins(16));
    for (name, token, kind) in
        [(ACCESS, &*access, "token-expired"), (ACCESS, "x", "token-invalid"), (REFRESH, "", "token-invalid")]
    {
        let dead = app.post(LOGOUT).cookie(name, token);
        for call in [dead.clone().same_origin(), dead.clone()] {
            let answer = call.await;
            answer.is_problem(401, kind);
            removes_cookies(&answer);
        }
        let foreign = dead.header("sec-fetch-site", "cross-site").await;
        foreign.is_problem(403, "csrf-refused");
        assert!(foreign.set_cookies().is_empty(), "{foreign}");
    }
    let bearer = app.post(LOGOUT).bearer(&access).await;
    bearer.is_problem(401, "token-expired");
    assert!(bearer.set_cookies().is_empty(), "{bearer}");
}

#[tokio::test]
async fn a_revocation_that_is_turned_away_says_so_and_takes_no_cookies() {
    let app = TestApp::start_cold(|config| {
        config.revocation.queue = 1;
        config.http.request_timeout = Span::from_secs(2);
    });
    let app = app.await;
    let alice = app.sign_up("alice").await;
    let login = app.post("/v1/auth/login").json(&alice.credentials()).await.expect(200);
    let refresh = login.set_cookies().pop().expect("cookies").value;
    // Nobody records yet: one waits until its time is over, the others find the queue full.
    let answers = all((0..3).map(|_| leave_with(&app, &[&refresh]).into_future())).await;
    let mut full = 0;
    for answer in answers {
        assert!(answer.set_cookies().is_empty(), "{answer}");
        let kind = answer.problem().unwrap_or_default();
        answer.is_problem(503, &kind);
        if kind == "overloaded" {
            full += 1;
            let detail = text(&serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap()["detail"]);
            assert_eq!(detail, "nothing was recorded; nothing has changed for you; send it again");
        }
    }
    assert_eq!(full, 2);
    // A login is no revocation: the same refusal inside it says nothing of what it has left behind.
    let login = app.post("/v1/auth/login").json(&alice.credentials()).cookie(REFRESH, &refresh).await;
    login.is_problem(503, "overloaded");
    assert!(!login.text().contains("nothing was recorded"), "{login}");
}

#[tokio::test]
async fn an_error_with_a_json_body_keeps_it() {
    let app = TestApp::start_cold(|_| {}).await;
    let ready = app.manage(Method::GET, "/readyz").await.expect(503);
    assert_eq!(
        ready.json(),
        json!({"state": "cold", "strategy": "hybrid", "blocklist": "in process", "applied": 0, "head": 0, "nodes": 1})
    );
    ready.is_guarded();

    let command = |body| app.manage(Method::POST, "/v1/admin/commands").bearer(ADMIN_TOKEN).json(&body);
    let ban = command(json!({"command": "user_ban", "user": "nobody"})).await.expect(404);
    ban.is_guarded();
    assert_eq!(ban.json()["kind"], "not_found");
    assert!(ban.json()["message"].is_string(), "{ban}");
    let add = json!({"command": "user_add", "username": "a b", "password": PASSWORD, "roles": []});
    assert_eq!(command(add).await.expect(422).json()["kind"], "refused");
}
