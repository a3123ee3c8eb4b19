//! What each endpoint takes and answers, to the letter.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
};

use http::Method;
use kickout::{
    clock::Timestamp,
    ids::{SessionId, Subject, TokenId},
};
use serde_json::{Value, json};

use crate::support::{
    answer::{Answer, Applied, Revoked, SetCookie},
    app::{ADMIN_TOKEN, TestApp},
    client::{ACCESS, NEW_PASSWORD, PASSWORD, REFRESH, text},
};

fn members(value: &Value) -> BTreeSet<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[track_caller]
fn is_cookie(cookie: &SetCookie, name: &str, path: &str, max_age: u32) {
    assert_eq!(cookie.name, name);
    let expected = ["httponly", "secure", "samesite=lax", &format!("path={path}"), &format!("max-age={max_age}")];
    assert_eq!(cookie.attributes, expected.map(str::to_owned).into());
    assert_eq!(cookie.value.is_empty(), max_age == 0);
    assert!(name.len() + cookie.value.len() < 4096);
}

#[track_caller]
fn removes_cookies(answer: &Answer) {
    let cookies = answer.set_cookies();
    let [access, refresh] = cookies.as_slice() else { panic!("two cookies: {answer}") };
    is_cookie(access, ACCESS, "/", 0);
    is_cookie(refresh, REFRESH, "/v1/auth", 0);
}

#[tokio::test]
async fn signup_makes_an_account_once() {
    let app = TestApp::start().await;
    let body = json!({"username": "Alice", "password": PASSWORD});
    let made = app.post("/v1/auth/signup").json(&body).await.expect(201);
    made.is_guarded();
    assert_eq!(members(&made.json()), ["subject", "username", "roles"].into());
    assert_eq!(made.json()["username"], "Alice");
    assert_eq!(made.json()["roles"], json!([]));
    Subject::from_str(&text(&made.json()["subject"])).unwrap();
    assert!(made.set_cookies().is_empty(), "an account is not a session");

    let again = json!({"username": "aLICE", "password": PASSWORD});
    app.post("/v1/auth/signup").json(&again).await.is_problem(409, "username-taken");
    drop(app.stop().await);
}

#[tokio::test]
async fn signup_can_be_switched_off() {
    let app = TestApp::start_with(|config| config.accounts.signup = false).await;
    let body = json!({"username": "alice", "password": PASSWORD});
    app.post("/v1/auth/signup").json(&body).await.is_problem(403, "signup-disabled");
}

#[tokio::test]
async fn a_login_sets_two_cookies_and_shows_no_token() {
    let app = TestApp::start().await;
    let alice = app.sign_up("alice").await;
    let answer = app.post("/v1/auth/login").json(&alice.credentials()).await.expect(200);
    answer.is_guarded();
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let body = answer.json();
    assert_eq!(members(&body), ["subject", "username", "roles", "session", "expires_in", "csrf_token"].into());
    assert_eq!((text(&body["subject"]), text(&body["username"])), (alice.subject.clone(), alice.name.clone()));
    assert_eq!(body["expires_in"], 900);
    SessionId::from_str(&text(&body["session"])).unwrap();

    let cookies = answer.set_cookies();
    let [access, refresh] = cookies.as_slice() else { panic!("two cookies: {answer}") };
    is_cookie(access, ACCESS, "/", 900);
    is_cookie(refresh, REFRESH, "/v1/auth", 14 * 24 * 3600);
    assert_eq!(access.value.split('.').count(), 3, "a JWT");
    assert!(refresh.value.starts_with("kr1_"));
    let body = String::from_utf8(answer.body).unwrap();
    assert!(!body.contains(&access.value) && !body.contains(&refresh.value));
}

#[tokio::test]
async fn a_login_for_the_body_sets_no_cookie() {
    let app = TestApp::start().await;
    let alice = app.sign_up("alice").await;
    let mut request = alice.credentials();
    request["delivery"] = "body".into();
    request["device"] = "a telephone".into();
    let answer = app.post("/v1/auth/login").json(&request).await.expect(200);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(answer.set_cookies().is_empty());
    let body = answer.json();
    let expected = [
        ["subject", "username", "roles", "session"].as_slice(),
        &["expires_in", "token_type", "access_token", "refresh_token", "refresh_expires_in"],
    ];
    assert_eq!(members(&body), expected.concat().into_iter().collect());
    assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("Bearer"), &json!(900)));
    assert_eq!(body["refresh_expires_in"], 14 * 24 * 3600);
    app.accepts(&text(&body["access_token"])).await;
}

#[tokio::test]
async fn a_login_does_not_say_whether_the_name_or_the_password_is_wrong() {
    let app = TestApp::start().await;
    let alice = app.sign_up("alice").await;
    let wrong = alice.try_log_in(NEW_PASSWORD).await;
    wrong.is_problem(401, "credentials-invalid");
    let body = json!({"username": "nobody", "password": PASSWORD});
    let unknown = app.post("/v1/auth/login").json(&body).await;
    assert_eq!((wrong.status, &wrong.body), (unknown.status, &unknown.body));
    assert!(wrong.set_cookies().is_empty());
    alice.try_log_in(PASSWORD).await.expect(200);
}

#[tokio::test]
async fn me_says_who_the_caller_is() {
    let app = TestApp::start().await;
    let alice = app.sign_up("alice").await;
    let (browser, client) = (alice.log_in().await, alice.log_in_for_bearer().await);
    for device in [&browser, &client] {
        let answer = device.get("/v1/auth/me").await.expect(200);
        answer.is_guarded();
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let me = answer.json();
        assert_eq!(members(&me), ["subject", "username", "roles", "session", "expires_at"].into());
        assert_eq!((text(&me["subject"]), text(&me["session"])), (alice.subject.clone(), device.session()));
        assert_eq!(me["username"], "alice");
        let claims = jsonwebtoken::dangerous::insecure_decode::<Value>(&device.access()).unwrap().claims;
        let exp = claims["exp"].as_i64().unwrap();
        assert_eq!(me["expires_at"], Timestamp::from_millis(exp * 1000).to_string());
    }
    app.get("/v1/auth/me").await.is_problem(401, "token-missing");
}

#[tokio::test]
async fn csrf_gives_a_token_for_this_session() {
    let app = TestApp::start().await;
    let browser = app.sign_up("alice").await.log_in().await;
    let answer = browser.get("/v1/auth/csrf").await.expect(200);
    answer.is_guarded();
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(members(&answer.json()), ["csrf_token"].into());
    let logout = app.post("/v1/auth/logout").cookie(ACCESS, &browser.access());
    logout.header("x-csrf-token", &text(&answer.json()["csrf_token"])).await.expect(200);
}

#[tokio::test]
async fn sessions_lists_the_devices_and_marks_the_one_that_asks() {
    let app = TestApp::start().await;
    let alice = app.sign_up("alice").await;
    app.sign_up("bob").await.log_in().await;
    let browser = alice.log_in().await;
    let mut login = alice.credentials();
    login["device"] = "a telephone\r\nwith a line break".into();
    let phone = app.post("/v1/auth/login").json(&login).header("user-agent", "Phone/1.0").await.expect(200).json();

    let answer = browser.get("/v1/auth/sessions").await.expect(200);
    answer.is_guarded();
    assert_eq!(members(&answer.json()), ["sessions"].into());
    let list = answer.json()["sessions"].as_array().unwrap().clone();
    assert_eq!(list.len(), 2, "one's own only");
    let by_id: BTreeMap<String, &Value> = list.iter().map(|device| (text(&device["id"]), device)).collect();
    for device in &list {
        let expected = ["id", "device", "created_at", "last_used_at", "expires_at", "address", "user_agent", "current"];
        assert_eq!(members(device), expected.into());
        assert_eq!(device["address"], "127.0.0.1");
        assert_eq!(device["created_at"], device["last_used_at"]);
        for time in ["created_at", "expires_at"] {
            let text = text(&device[time]);
            assert!(text.len() == 24 && text.contains('T') && text.ends_with('Z'), "RFC 3339: {text}");
        }
        assert!(text(&device["expires_at"]) > text(&device["created_at"]));
        assert_eq!(device["current"], text(&device["id"]) == browser.session());
    }
    let phone = by_id[&text(&phone["session"])];
    assert_eq!(phone["device"], "a telephonewith a line break");
    assert_eq!(phone["user_agent"], "Phone/1.0");
    assert_eq!(by_id[&browser.session()]["device"], Value::Null);
}

#[tokio::test]
async fn one_session_is_ended_by_its_id() {
    let app = TestApp::start().await;
    let alice = app.sign_up("alice").await;
    let (browser, other) = (alice.log_in().await, alice.log_in().await);
    let answer = browser.end(&other.session()).await;
    answer.is_guarded();
    assert!(answer.set_cookies().is_empty(), "the caller's own session lives on");
    let receipt = answer.receipt();
    assert_eq!(receipt.revoked, Revoked { kind: "session".into(), id: Some(other.session()) });
    app.refuses(&other.access()).await;
    app.accepts(&browser.access()).await;

    let copy = browser.access();
    let own = browser.end(&browser.session()).await;
    own.receipt();
    removes_cookies(&own);
    app.refuses(&copy).await;
}

#[tokio::test]
async fn a_receipt_is_exactly_as_designed() {
    let app = TestApp::start().await;
    let alice = app.sign_up("alice").await;
    let browser = alice.log_in().await;
    let answer = browser.send(browser.call(Method::POST, "/v1/auth/logout")).await.expect(200);
    answer.is_guarded();
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let json = answer.json();
    assert_eq!(members(&json), ["seq", "revoked", "already", "applied", "complete", "elapsed_ms"].into());
    assert_eq!(json["seq"], 1);
    assert_eq!(json["revoked"], json!({"kind": "session", "id": browser.session()}));
    assert_eq!(json["already"], false);
    assert_eq!(json["applied"], json!({"nodes": 1, "of": 1}));
    assert_eq!(json["complete"], true);
    assert!(json["elapsed_ms"].as_f64().is_some_and(|ms| ms > 0.0 && ms < 10_000.0), "{json}");
}

#[tokio::test]
async fn logout_ends_the_session_and_removes_its_cookies() {
    let app = TestApp::start().await;
    let alice = app.sign_up("alice").await;
    let (browser, client) = (alice.log_in().await, alice.log_in_for_bearer().await);
    let answer = browser.send(browser.call(Method::POST, "/v1/auth/logout")).await;
    answer.receipt();
    removes_cookies(&answer);
    assert!(!browser.has_cookies());

    let answer = client.send(client.call(Method::POST, "/v1/auth/logout")).await;
    answer.receipt();
    assert!(answer.set_cookies().is_empty(), "there are none to remove");
    app.post("/v1/auth/logout").await.is_problem(401, "token-missing");
}

#[tokio::test]
async fn logout_works_with_the_refresh_cookie_alone() {
    let app = TestApp::start().await;
    let browser = app.sign_up("alice").await.log_in().await;
    let logout = app.post("/v1/auth/logout").cookie(REFRESH, &browser.refresh()).same_origin();
    let answer = logout.clone().await;
    assert_eq!(answer.receipt().revoked.id, Some(browser.session()));
    removes_cookies(&answer);
    app.refuses(&browser.access()).await;
    assert!(logout.await.receipt().already);
}

#[tokio::test]
async fn logout_everywhere_ends_all_sessions_or_all_others() {
    let app = TestApp::start().await;
    let alice = app.sign_up("alice").await;
    let (browser, client, third) = (alice.log_in().await, alice.log_in_for_bearer().await, alice.log_in().await);

    let keep = json!({"keep_current": true});
    let answer = browser.post("/v1/auth/logout-all", &keep).await;
    let receipt = answer.receipt();
    assert_eq!(receipt.revoked, Revoked { kind: "subject".into(), id: Some(alice.subject.clone()) });
    assert_eq!(receipt.applied, Applied { nodes: 1, of: 1 });
    assert!(receipt.complete && !receipt.already);
    let cookies = answer.set_cookies();
    let [access] = cookies.as_slice() else { panic!("a new access cookie alone: {answer}") };
    is_cookie(access, ACCESS, "/", 900);
    app.accepts(&access.value).await;
    app.refuses(&client.access()).await;
    app.refuses(&third.access()).await;

    let client = alice.log_in_for_bearer().await;
    let receipt = client.log_out_elsewhere().await;
    assert_eq!(receipt.expires_in, Some(900));
    app.accepts(&client.access()).await;
    app.refuses(&browser.access()).await;

    let browser = alice.log_in().await;
    let copy = browser.access();
    let answer = browser.send(browser.call(Method::POST, "/v1/auth/logout-all")).await;
    answer.receipt();
    removes_cookies(&answer);
    app.refuses(&copy).await;
    app.refuses(&client.access()).await;
}

#[tokio::test]
async fn a_password_change_needs_the_old_one_and_takes_only_a_good_new_one() {
    let app = TestApp::start().await;
    let alice = app.sign_up("alice").await;
    let (browser, client) = (alice.log_in().await, alice.log_in_for_bearer().await);
    let change = |current: &str, new: &str| json!({"current": current, "new": new});
    for (body, status, kind) in [
        (change(NEW_PASSWORD, NEW_PASSWORD), 403, "password-wrong"),
        (change(PASSWORD, "too short"), 422, "password-unacceptable"),
        (change(PASSWORD, "alicealicealicealice"), 422, "password-unacceptable"),
        (change(PASSWORD, "passwordpassword"), 422, "password-unacceptable"),
        (change(PASSWORD, &"long ".repeat(40)), 422, "password-unacceptable"),
    ] {
        browser.post("/v1/auth/password", &body).await.is_problem(status, kind);
    }
    app.accepts(&client.access()).await;

    let receipt = browser.change_password(&alice, NEW_PASSWORD).await;
    assert_eq!(receipt.revoked, Revoked { kind: "subject".into(), id: Some(alice.subject.clone()) });
    app.accepts(&browser.access()).await;
    app.refuses(&client.access()).await;
    alice.try_log_in(PASSWORD).await.is_problem(401, "credentials-invalid");
    alice.try_log_in(NEW_PASSWORD).await.expect(200);

    let client = alice.log_in_for_bearer().await;
    client.change_password(&alice, PASSWORD).await;
    app.accepts(&client.access()).await;
}

#[tokio::test]
async fn verify_says_who_it_is_in_headers() {
    let app = TestApp::start().await;
    let command =
        json!({"command": "user_add", "username": "carol", "password": PASSWORD, "roles": ["admin", "audit"]});
    let made = app.manage(Method::POST, "/v1/admin/commands").bearer(ADMIN_TOKEN).json(&command).await.expect(200);
    let login = json!({"username": "carol", "password": PASSWORD, "delivery": "body"});
    let login = app.post("/v1/auth/login").json(&login).await.expect(200).json();
    let token = text(&login["access_token"]);
    for method in [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS]
    {
        let answer = app.call(method.clone(), "/v1/auth/verify").bearer(&token).await.expect(200);
        answer.is_guarded();
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{method}");
        assert_eq!(answer.header("x-auth-subject"), made.json()["value"]["id"].as_str());
        assert_eq!(answer.header("x-auth-session"), login["session"].as_str());
        assert_eq!(answer.header("x-auth-roles"), Some("admin audit"));
        assert_eq!(answer.header("x-kickout-seq"), Some("0"));
        assert!(answer.body.is_empty());
    }
    let refused = app.get("/v1/auth/verify").await;
    refused.is_problem(401, "token-missing");
    assert!(refused.headers.keys().all(|name| !name.as_str().starts_with("x-auth-")));

    let alice = app.sign_up("alice").await;
    alice.log_in().await.log_out().await;
    let answer = app.get("/v1/auth/verify").bearer(&token).await.expect(200);
    assert_eq!(answer.header("x-kickout-seq"), Some("1"), "how much was applied when it was checked");
}

#[tokio::test]
async fn verify_looks_at_the_configured_credentials_only() {
    use kickout::config::Accept;
    for (accept, by_cookie, by_bearer, by_both) in
        [(Accept::Cookie, 200, 401, 200), (Accept::Bearer, 401, 200, 200), (Accept::Both, 200, 200, 400)]
    {
        let app = TestApp::start_with(|config| config.verify.accept = accept).await;
        let token = app.sign_up("alice").await.log_in_for_bearer().await.access();
        let verify = app.get("/v1/auth/verify");
        assert_eq!(verify.clone().cookie(ACCESS, &token).await.status, by_cookie, "{accept:?}");
        assert_eq!(verify.clone().bearer(&token).await.status, by_bearer, "{accept:?}");
        assert_eq!(verify.bearer(&token).cookie(ACCESS, &token).await.status, by_both, "{accept:?}");
    }
}

#[tokio::test]
async fn the_jwks_verifies_a_token() {
    let app = TestApp::start().await;
    let alice = app.sign_up("alice").await;
    let token = alice.log_in_for_bearer().await.access();
    let answer = app.get("/.well-known/jwks.json").await.expect(200);
    answer.is_guarded();
    assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
    let keys = answer.json()["keys"].as_array().unwrap().clone();
    let [key] = keys.as_slice() else { panic!("one key: {answer}") };
    assert_eq!(members(key), ["alg", "crv", "kid", "kty", "use", "x"].into(), "public members only");

    let header = jsonwebtoken::decode_header(&token).unwrap();
    assert_eq!((header.typ.as_deref(), header.kid.as_deref()), (Some("at+jwt"), key["kid"].as_str()));
    let decoding = jsonwebtoken::DecodingKey::from_jwk(&serde_json::from_value(key.clone()).unwrap()).unwrap();
    let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::EdDSA);
    rules.set_issuer(&["kickout"]);
    rules.set_audience(&["kickout"]);
    let claims = jsonwebtoken::decode::<Value>(&token, &decoding, &rules).unwrap().claims;
    let expected = ["iss", "aud", "sub", "sid", "jti", "iat", "exp", "gen", "epoch", "client_id"];
    assert_eq!(members(&claims), expected.into());
    assert_eq!(claims["sub"], alice.subject.as_str());
    TokenId::from_str(&text(&claims["jti"])).unwrap();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let forged = format!("{message}.{}", signature.chars().rev().collect::<String>());
    jsonwebtoken::decode::<Value>(&forged, &decoding, &rules).unwrap_err();
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_too() {
    let app = TestApp::start().await;
    for path in ["/", "/v1", "/v1/auth", "/v1/auth/", "/v1/auth/me/", "/v1/auth/sessions/", "/healthz", "/metrics"] {
        app.get(path).await.is_problem(404, "not-found");
    }
    app.post("/v1/admin/commands").await.is_problem(404, "not-found");
    for (path, allowed) in ROUTES {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"] {
            if allowed.contains(&method) {
                continue;
            }
            let answer = app.call(Method::from_str(method).unwrap(), path).await;
            let allow = answer.header("allow").unwrap_or_default().split(',').map(str::trim).collect::<BTreeSet<_>>();
            assert_eq!(allow, allowed.iter().copied().collect(), "{method} {path}");
            if method == "HEAD" {
                assert!(answer.status == 405 && answer.body.is_empty(), "{answer}");
            } else {
                answer.is_problem(405, "method-not-allowed");
            }
        }
    }
}

/// Every route of the public listener but `verify`, which takes any method.
const ROUTES: [(&str, &[&str]); 11] = [
    ("/v1/auth/signup", &["POST"]),
    ("/v1/auth/login", &["POST"]),
    ("/v1/auth/refresh", &["POST"]),
    ("/v1/auth/logout", &["POST"]),
    ("/v1/auth/logout-all", &["POST"]),
    ("/v1/auth/password", &["POST"]),
    ("/v1/auth/me", &["GET", "HEAD"]),
    ("/v1/auth/csrf", &["GET", "HEAD"]),
    ("/v1/auth/sessions", &["GET", "HEAD"]),
    ("/v1/auth/sessions/3f0e8c1a-6d2b-4c57-9a41-0b6f5d2e7c88", &["DELETE"]),
    ("/.well-known/jwks.json", &["GET", "HEAD"]),
];

#[tokio::test]
async fn a_request_id_is_ours_and_new_each_time() {
    let app = TestApp::start().await;
    let mut seen = BTreeSet::new();
    for _ in 0..5 {
        let answer = app.get("/v1/auth/me").header("x-request-id", "forged").await;
        let id = answer.header("x-request-id").unwrap().to_owned();
        assert!(id != "forged" && seen.insert(id));
    }
}

#[tokio::test]
async fn management_says_how_it_is_and_acts_for_those_who_show_the_token() {
    let app = TestApp::start().await;
    let health = app.manage(Method::GET, "/healthz").await.expect(200);
    health.is_guarded();
    assert_eq!(health.body, b"ok\n");
    let ready = app.manage(Method::GET, "/readyz").await.expect(200).json();
    assert_eq!(
        ready,
        json!({"state": "live", "strategy": "hybrid", "blocklist": "in process", "applied": 0, "head": 0, "nodes": 1})
    );
    let metrics = app.manage(Method::GET, "/metrics").await.expect(200);
    assert!(metrics.header("content-type").is_some_and(|kind| kind.starts_with("text/plain; version=0.0.4")));

    let list = json!({"command": "user_list", "after": null});
    let command = || app.manage(Method::POST, "/v1/admin/commands").json(&list);
    command().await.is_problem(401, "token-missing");
    command().bearer("another-operators-token").await.is_problem(401, "token-invalid");
    assert_eq!(command().bearer(ADMIN_TOKEN).await.expect(200).json()["answer"], "users");
    app.manage(Method::GET, "/v1/auth/me").await.is_problem(404, "not-found");

    let guarded = TestApp::start_with(|config| config.management.token = ADMIN_TOKEN.to_owned().into()).await;
    guarded.manage(Method::GET, "/metrics").await.is_problem(401, "token-missing");
    guarded.manage(Method::GET, "/metrics").bearer(ADMIN_TOKEN).await.expect(200);
}
