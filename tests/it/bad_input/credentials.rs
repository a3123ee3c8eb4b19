//! Credentials that are missing, doubled, malformed, or not for this place.

use std::{sync::Arc, time::Duration};

use kickout::clock::{Clock, ManualClock};

use super::{SECRET, is_refused};
use crate::support::{
    answer::Answer,
    app::TestApp,
    client::{ACCESS, Net, REFRESH},
    raw,
};

/// Everything that wants an access token, with a body where there can be one. None of it is done: the credentials are
/// bad.
const GUARDED: [(&str, &[u8]); 9] = [
    ("GET /v1/auth/me", b""),
    ("GET /v1/auth/csrf", b""),
    ("GET /v1/auth/sessions", b""),
    ("GET /v1/auth/verify", b""),
    ("POST /v1/auth/verify", b""),
    ("DELETE /v1/auth/sessions/3f0e8c1a-6d2b-4c57-9a41-0b6f5d2e7c88", b""),
    ("POST /v1/auth/logout", b"{}"),
    ("POST /v1/auth/logout-all", b"{}"),
    ("POST /v1/auth/password", b"{\"current\":\"swordfish-that-nobody-should-see\",\"new\":\"x\"}"),
];

type Headers<'a> = Vec<(&'a str, Vec<u8>)>;

/// A request of a page of ours, with these headers besides.
async fn send(net: &Net, start: &str, headers: &Headers<'_>, body: &[u8]) -> Option<Answer> {
    let length = body.len().to_string();
    let mut all: Vec<(&str, &[u8])> = vec![("sec-fetch-site", b"same-origin"), ("content-length", length.as_bytes())];
    all.push(("content-type", b"application/json"));
    all.extend(headers.iter().map(|(name, value)| (*name, value.as_slice())));
    raw::exchange(net.public(), &raw::request(start, &all, body)).await
}

fn bearer(token: &str) -> (&'static str, Vec<u8>) {
    ("authorization", format!("Bearer {token}").into_bytes())
}

fn cookie(name: &str, token: &str) -> (&'static str, Vec<u8>) {
    ("cookie", format!("{name}={token}").into_bytes())
}

#[tokio::test]
async fn doubled_missing_and_malformed_credentials_are_told_apart() {
    let app = TestApp::start().await;
    let alice = app.sign_up("alice").await;
    let (browser, client) = (alice.log_in().await, alice.log_in_for_bearer().await);
    let (token, other) = (browser.access(), client.access());
    let both = |one: (&'static str, Vec<u8>), two: (&'static str, Vec<u8>)| vec![one, two];
    let authorization = |value: &[u8]| vec![("authorization", value.to_vec())];
    let twice = format!("{ACCESS}={token}; {ACCESS}={other}").into_bytes();
    let cases: Vec<(Headers, u16, &str)> = vec![
        (vec![], 401, "token-missing"),
        (vec![cookie("session", &token)], 401, "token-missing"),
        (vec![cookie("__host-kickout-access", &token)], 401, "token-missing"),
        (authorization(b"Basic YWxpY2U6c3dvcmRmaXNo"), 401, "token-missing"),
        (authorization(format!("Token {token}").as_bytes()), 401, "token-missing"),
        (authorization(token.as_bytes()), 401, "token-missing"),
        (authorization(b""), 401, "token-missing"),
        (authorization(b"Bearer"), 400, "invalid-request"),
        (authorization(b"Bearer "), 400, "invalid-request"),
        (authorization(b"bearer   "), 400, "invalid-request"),
        (authorization(format!("Bearer {token} {token}").as_bytes()), 400, "invalid-request"),
        (authorization(b"Bearer \xff\xfe"), 400, "invalid-request"),
        (both(bearer(&token), bearer(&token)), 400, "ambiguous-credentials"),
        (both(bearer(&token), ("authorization", b"Basic eDp5".to_vec())), 400, "ambiguous-credentials"),
        (both(bearer(&token), cookie(ACCESS, &token)), 400, "ambiguous-credentials"),
        (both(bearer(&token), cookie(ACCESS, "")), 400, "ambiguous-credentials"),
        (vec![("cookie", twice)], 400, "ambiguous-credentials"),
        (both(cookie(ACCESS, &token), cookie(ACCESS, &token)), 400, "ambiguous-credentials"),
    ];
    for (start, body) in GUARDED {
        for (headers, status, kind) in &cases {
            let shown: Vec<_> = headers.iter().map(|(name, value)| (name, String::from_utf8_lossy(value))).collect();
            let answer = send(&app, start, headers, body).await.expect("an answer");
            is_refused(&answer, *status, kind, &format!("{start} {shown:?}"));
            assert!(!answer.text().contains(&token));
        }
    }
    app.accepts(&token).await;
    app.accepts(&other).await;
}

#[tokio::test]
async fn what_is_no_access_token_of_ours_is_an_invalid_token() {
    let (app, elsewhere) = (TestApp::start().await, TestApp::start().await);
    let browser = app.sign_up("alice").await.log_in().await;
    let foreign = elsewhere.sign_up("alice").await.log_in_for_bearer().await.access();
    let token = browser.access();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = message.split_once('.').unwrap();
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0";
    let mut bad = vec![
        "x".to_owned(),
        SECRET.to_owned(),
        "a.b.c".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        "null".to_owned(),
        "=".to_owned(),
        "%".to_owned(),
        browser.refresh(),
        browser.csrf(),
        foreign,
        message.to_owned(),
        format!("{message}."),
        format!("{token}="),
        format!("{token}."),
        format!("{token}.{signature}"),
        format!("{none}.{claims}."),
        format!("{none}.{claims}.{signature}"),
        format!("{header}.{claims}.{}", "A".repeat(signature.len())),
        format!("{header}.{header}.{signature}"),
        "A".repeat(20_000),
        format!("{}.{claims}.{signature}", "A".repeat(8000)),
    ];
    bad.push(format!("{header}.{}.{signature}", claims.chars().rev().collect::<String>()));
    for (start, body) in GUARDED {
        for text in &bad {
            for headers in [vec![bearer(text)], vec![cookie(ACCESS, text)]] {
                let answer = send(&app, start, &headers, body).await.expect("an answer");
                let what = format!("{start} {} {}", headers[0].0, &text[..text.len().min(80)]);
                is_refused(&answer, 401, "token-invalid", &what);
                let is_said = text.len() > 8 && answer.text().contains(text.as_str());
                assert!(!is_said, "{what}: {answer}");
            }
        }
        let answer = send(&app, start, &vec![cookie(ACCESS, "")], body).await.expect("an answer");
        is_refused(&answer, 401, "token-invalid", start);
    }
    app.accepts(&token).await;
}

#[tokio::test]
async fn an_expired_token_says_so_and_no_more() {
    let manual = ManualClock::at(1_800_000_000_000);
    let app = TestApp::start_at(Clock::Manual(Arc::clone(&manual)), |_| {}).await;
    let browser = app.sign_up("alice").await.log_in().await;
    manual.advance(Duration::from_millis(899_999));
    app.accepts(&browser.access()).await;
    manual.advance(Duration::from_millis(1));
    for (start, body) in GUARDED {
        for headers in [vec![bearer(&browser.access())], vec![cookie(ACCESS, &browser.access())]] {
            let answer = send(&app, start, &headers, body).await.expect("an answer");
            is_refused(&answer, 401, "token-expired", start);
            let challenge = answer.header("www-authenticate").unwrap();
            assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
        }
    }
    // A browser whose access token has expired can still log out: its refresh token says whose session it is.
    let headers = vec![("cookie", format!("{ACCESS}={}; {REFRESH}={}", browser.access(), browser.refresh()).into())];
    let answer = send(&app, "POST /v1/auth/logout", &headers, b"").await.expect("an answer");
    assert_eq!(answer.receipt().revoked.id, Some(browser.session()));
}

#[tokio::test]
async fn a_refresh_token_opens_nothing_but_the_way_out() {
    let (app, elsewhere) = (TestApp::start().await, TestApp::start().await);
    let browser = app.sign_up("alice").await.log_in().await;
    let foreign = elsewhere.sign_up("alice").await.log_in().await.refresh();
    for (start, body) in GUARDED.into_iter().filter(|(start, _)| !start.ends_with("/logout")) {
        let answer = send(&app, start, &vec![cookie(REFRESH, &browser.refresh())], body).await.expect("an answer");
        is_refused(&answer, 401, "token-missing", start);
    }
    let good = browser.refresh();
    let twice = format!("{REFRESH}=x; {REFRESH}={foreign}").into_bytes();
    let cases: Vec<(Headers, u16, &str)> = vec![
        (vec![cookie(REFRESH, "")], 401, "token-invalid"),
        (vec![cookie(REFRESH, "x")], 401, "token-invalid"),
        (vec![cookie(REFRESH, &browser.access())], 401, "token-invalid"),
        (vec![cookie(REFRESH, &good[1..])], 401, "token-invalid"),
        (vec![cookie(REFRESH, &good.to_uppercase())], 401, "token-invalid"),
        (vec![cookie(REFRESH, &format!("kr1_{}", "A".repeat(70)))], 401, "token-invalid"),
        (vec![cookie(REFRESH, &format!("{}A", &good[..good.len() - 1]))], 401, "token-invalid"),
        (vec![cookie(REFRESH, &foreign)], 401, "token-invalid"),
        (vec![cookie(REFRESH, &"A".repeat(20_000))], 401, "token-invalid"),
        (vec![("cookie", twice)], 401, "token-invalid"),
    ];
    for (headers, status, kind) in cases {
        // A character at the end may have a second spelling that means the same; it is then the token itself.
        if headers[0].1 == cookie(REFRESH, &good).1 && headers.len() == 1 {
            continue;
        }
        let answer = send(&app, "POST /v1/auth/logout", &headers, b"{}").await.expect("an answer");
        is_refused(&answer, status, kind, &format!("/v1/auth/logout {}", String::from_utf8_lossy(&headers[0].1)));
    }
    app.accepts(&browser.access()).await;
}

#[tokio::test]
async fn a_bearer_token_and_any_cookie_of_ours_are_two_credentials() {
    let app = TestApp::start().await;
    let alice = app.sign_up("alice").await;
    let (browser, client) = (alice.log_in().await, alice.log_in_for_bearer().await);
    let headers = vec![bearer(&client.access()), cookie(REFRESH, &browser.refresh())];
    let answer = send(&app, "POST /v1/auth/logout", &headers, b"{}").await.expect("an answer");
    is_refused(&answer, 400, "ambiguous-credentials", "which of the two sessions is to end?");
    app.accepts(&client.access()).await;
    app.accepts(&browser.access()).await;
}

#[tokio::test]
async fn cookies_of_others_do_not_hide_ours() {
    let app = TestApp::start().await;
    let token = app.sign_up("alice").await.log_in_for_bearer().await.access();
    for others in ["a=b", "a", "=", ";;;", "a=\"q\"", "theme=dunkel-\u{fc}ber-alles", "a=\u{1f36a}"] {
        for text in [format!("{others}; {ACCESS}={token}"), format!("{ACCESS}={token}; {others}")] {
            let headers = vec![("cookie", text.clone().into_bytes())];
            let answer = send(&app, "GET /v1/auth/me", &headers, b"").await.expect("an answer");
            assert_eq!(answer.status, 200, "{text}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_login_gets_a_browser_out_of_whatever_its_cookies_are() {
    let app = TestApp::start().await;
    let alice = app.sign_up("alice").await;
    let old = alice.log_in().await;
    let body = alice.credentials().to_string();
    let twice = format!("{ACCESS}={}; {ACCESS}=x; {REFRESH}=y; {REFRESH}=z", old.access()).into_bytes();
    for headers in [vec![("cookie", twice)], vec![cookie(ACCESS, "x")], vec![cookie(REFRESH, ""), bearer("x")]] {
        let answer = send(&app, "POST /v1/auth/login", &headers, body.as_bytes()).await.expect("an answer");
        assert_eq!((answer.status.as_u16(), answer.set_cookies().len()), (200, 2), "{answer}");
    }
    app.accepts(&old.access()).await;
}

#[tokio::test]
async fn headers_have_a_limit() {
    let app = TestApp::start().await;
    for (start, body) in GUARDED {
        for headers in [
            vec![bearer(&"A".repeat(64 * 1024))],
            vec![cookie(ACCESS, &"A".repeat(64 * 1024))],
            (0..2000).map(|_| ("x-filler", b"a".to_vec())).collect(),
        ] {
            let answer = send(&app, start, &headers, body).await;
            assert!(answer.is_none_or(|answer| [400, 431].contains(&answer.status.as_u16())), "{start}");
        }
    }
}
