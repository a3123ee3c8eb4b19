//! Which pages of other origins can read answers: those of a fixed list, and they read refusals too.

use std::collections::BTreeSet;

use http::Method;
use serde_json::json;

use crate::support::{answer::Answer, app::TestApp};

const PAGE: &str = "https://app.example.org";

#[tokio::test]
async fn pages_of_an_allowed_origin_can_read_answers_and_refusals_and_others_cannot() {
    let app = TestApp::start_with(|config| config.http.allowed_origins = vec![PAGE.parse().unwrap()]).await;
    let names = |answer: &Answer, header: &str| {
        let list = answer.header(header).unwrap_or_default().to_ascii_lowercase();
        list.split(',').map(|name| name.trim().to_owned()).collect::<BTreeSet<_>>()
    };
    let preflight = app.call(Method::OPTIONS, "/v1/auth/logout").header("access-control-request-method", "POST");
    let preflight = preflight.header("access-control-request-headers", "content-type, x-csrf-token");
    let answer = preflight.clone().header("origin", PAGE).await.expect(200);
    assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE));
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
    assert_eq!(
        names(&answer, "access-control-allow-methods"),
        ["get", "post", "put", "delete"].map(str::to_owned).into()
    );
    assert!(
        names(&answer, "access-control-allow-headers")
            .is_superset(&["content-type", "authorization", "x-csrf-token"].map(str::to_owned).into())
    );

    let refused = app.get("/v1/auth/me").header("origin", PAGE).await;
    refused.is_problem(401, "token-missing");
    assert_eq!(refused.header("access-control-allow-origin"), Some(PAGE));
    assert_eq!(refused.header("access-control-allow-credentials"), Some("true"));
    assert_eq!(
        names(&refused, "access-control-expose-headers"),
        ["retry-after", "www-authenticate", "location", "preference-applied", "x-kickout-seq", "x-request-id"]
            .map(str::to_owned)
            .into()
    );
    assert!(names(&refused, "vary").contains("origin"), "caches must not mix origins: {refused}");

    for origin in ["https://evil.example", "https://app.example.org.evil.example", "http://app.example.org", "null"] {
        let preflight = preflight.clone().header("origin", origin).await;
        let refused = app.get("/v1/auth/me").header("origin", origin).await;
        for answer in [preflight, refused] {
            is_closed(&answer);
            assert!(names(&answer, "vary").contains("origin"), "a cache must not give it to an allowed page: {answer}");
        }
    }
    let closed = TestApp::start().await;
    for answer in [closed.get("/v1/auth/me"), closed.call(Method::OPTIONS, "/v1/auth/logout")] {
        is_closed(&answer.header("origin", PAGE).header("access-control-request-method", "POST").await);
    }
}

/// Nothing in it lets a page of another origin read it.
#[track_caller]
fn is_closed(answer: &Answer) {
    assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("access-control-")), "{answer}");
}

#[track_caller]
fn is_readable(answer: &Answer) {
    assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE), "{answer}");
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"), "{answer}");
    assert!(answer.header("access-control-expose-headers").is_some(), "{answer}");
    assert!(answer.header("vary").is_some_and(|vary| vary.to_ascii_lowercase().contains("origin")), "{answer}");
    answer.is_guarded();
}

async fn open() -> TestApp {
    TestApp::start_with(|config| config.http.allowed_origins = vec![PAGE.parse().unwrap()]).await
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_can_read_every_refusal() {
    let app = TestApp::start_with(|config| {
        config.http.allowed_origins = vec![PAGE.parse().unwrap()];
        config.limits.wrong_per_account = 1;
    });
    let app = app.await;
    let alice = app.sign_up("alice").await;
    let browser = alice.log_in().await;
    let wrong = json!({"username": "alice", "password": "not the password of anybody"});
    for (call, status) in [
        (app.get("/v1/auth/me"), 401),
        (app.post("/v1/auth/login").json(&wrong), 401),
        (app.post("/v1/auth/login").json(&wrong), 429),
        (browser.call(Method::GET, "/v1/auth/me"), 200),
        (app.get("/nowhere"), 404),
        (app.call(Method::PUT, "/v1/auth/login"), 405),
        (app.post("/v1/auth/login").body("application/json", vec![b' '; 16_385]), 413),
        (app.post("/v1/auth/login").body("text/plain", "{}"), 415),
        (app.get("/v1/auth/verify"), 401),
    ] {
        is_readable(&call.header("origin", PAGE).await.expect(status));
    }
    let cold = TestApp::start_cold(|config| config.http.allowed_origins = vec![PAGE.parse().unwrap()]).await;
    let browser = cold.sign_up("alice").await.log_in().await;
    is_readable(&browser.call(Method::GET, "/v1/auth/me").header("origin", PAGE).await.expect(503));
    let closed = TestApp::start_with(|config| {
        config.http.allowed_origins = vec![PAGE.parse().unwrap()];
        config.accounts.signup = false;
    });
    let closed = closed.await;
    let signup = closed.post("/v1/auth/signup").json(&wrong);
    is_readable(&signup.header("origin", PAGE).await.expect(403));
    // A page without an origin, and one with two, is no page that is allowed.
    is_closed(&app.get("/v1/auth/me").await);
    is_closed(&app.get("/v1/auth/me").header("origin", PAGE).header("origin", PAGE).await);
    let answer = app.get("/.well-known/jwks.json").await.expect(200);
    assert!(answer.header("vary").is_some_and(|vary| vary.contains("origin")), "a cache keeps it: {answer}");
}

#[tokio::test]
async fn a_preflight_is_answered_wherever_it_goes_and_any_other_options_is_not_one() {
    let app = open().await;
    for path in ["/v1/auth/me", "/v1/auth/sessions/x", "/nowhere", "/v1/revocations/1"] {
        let options = app.call(Method::OPTIONS, path).header("origin", PAGE);
        let answer = options.clone().header("access-control-request-method", "DELETE").await.expect(200);
        assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE), "{path}: {answer}");
        assert_eq!(answer.header("access-control-max-age"), Some("7200"), "{path}: {answer}");
        assert!(answer.body.is_empty() && answer.set_cookies().is_empty(), "{path}: {answer}");
        answer.is_guarded();
        let plain = options.await;
        assert!([404, 405].contains(&plain.status.as_u16()), "{path}: {plain}");
        is_closed(&plain);
    }
}

/// What forward-auth answers is a verdict: whatever the method is that a proxy asks about, 200 says who it is.
#[tokio::test]
async fn forward_auth_takes_no_request_for_a_preflight() {
    let app = open().await;
    let token = app.sign_up("alice").await.log_in_for_bearer().await.access();
    for path in ["/v1/auth/verify", "/v1/auth/verify/ask"] {
        let options = || {
            let call = app.call(Method::OPTIONS, path).header("origin", PAGE);
            call.header("access-control-request-method", "POST")
        };
        options().await.is_problem(401, "token-missing");
        options().bearer("x").await.is_problem(401, "token-invalid");
        let answer = options().bearer(&token).await.expect(200);
        assert!(answer.header("x-auth-subject").is_some(), "{answer}");
    }
}
