//! What browsers keep: cookies of a size that they take, for the hosts that are meant, and no redirect that takes them
//! elsewhere.

use http::{Method, header};
use serde_json::json;

use crate::support::{
    app::{ADMIN_TOKEN, TestApp},
    client::{ACCESS, PASSWORD, REFRESH, text},
};

/// What a browser takes of one cookie, all of its line (RFC 6265 §6.1).
const BROWSER: usize = 4096;

#[tokio::test]
async fn the_largest_login_that_can_be_configured_sets_cookies_that_browsers_keep() {
    let label = "d".repeat(61);
    let app = TestApp::start_with(|config| {
        config.cookies.domain = format!("{label}.{label}.{label}.{label}.test");
        // Each sign takes two bytes in a token; 255 is the most.
        let claim = "\"\\".repeat(63);
        (config.tokens.issuer, config.tokens.audience) = (format!("i{claim}"), format!("a{claim}"));
        config.tokens.client_id = format!("c{claim}");
    });
    let app = app.await;
    let roles: Vec<_> = (0..16).map(|n| format!("{n:02}{}", "r".repeat(30))).collect();
    let add = |name: &str, roles: &[String]| {
        let command = json!({"command": "user_add", "username": name, "password": PASSWORD, "roles": roles});
        app.manage(Method::POST, "/v1/admin/commands").bearer(ADMIN_TOKEN).json(&command)
    };
    add("alice", &roles).await.expect(200);
    let body = json!({"username": "alice", "password": PASSWORD});
    let login = app.post("/v1/auth/login").json(&body).await.expect(200);
    let mut longest = 0;
    for line in login.headers.get_all(header::SET_COOKIE) {
        longest = longest.max(line.len());
    }
    // Room is left for the longest signature: one of RSA with 4096 bits has 597 bytes more than this one.
    assert!((2000..=BROWSER - 597).contains(&longest), "{longest}");
    let access = login.set_cookies().into_iter().find(|cookie| cookie.name.ends_with("-access")).expect("a cookie");
    app.get("/v1/auth/me").cookie(&access.name, &access.value).await.expect(200);

    // More than that is refused where roles are given, and not by a browser that says nothing.
    let many: Vec<_> = (0..60).map(|n| format!("{n:02}{}", "r".repeat(30))).collect();
    let refused = add("bob", &many).await.expect(422).json();
    assert!(text(&refused["message"]).contains("at most 16 roles"), "{refused}");
    let refused = add("bob", &["r".repeat(33)]).await.expect(422).json();
    assert!(text(&refused["message"]).contains(&"r".repeat(33)), "{refused}");
}

#[tokio::test]
async fn with_a_domain_only_the_cookie_of_that_name_counts() {
    const SHARED: &str = "__Secure-kickout-access";
    let app = TestApp::start_with(|config| config.cookies.domain = "example.com".to_owned()).await;
    let token = app.sign_up("alice").await.log_in_for_bearer().await.access();
    app.get("/v1/auth/me").cookie(SHARED, &token).await.expect(200);
    // What is left from before there was a domain is not looked at, alone or beside the other.
    app.get("/v1/auth/me").cookie(ACCESS, &token).await.is_problem(401, "token-missing");
    app.get("/v1/auth/me").cookie(ACCESS, "old").cookie(SHARED, &token).await.expect(200);
    // A sibling host can set one more, which is noticed.
    let tossed = app.get("/v1/auth/me").cookie(SHARED, &token).cookie(SHARED, "tossed").await;
    tossed.is_problem(400, "ambiguous-credentials");

    let bound = TestApp::start().await;
    let token = bound.sign_up("alice").await.log_in_for_bearer().await.access();
    bound.get("/v1/auth/me").cookie(ACCESS, &token).await.expect(200);
    bound.get("/v1/auth/me").cookie(SHARED, &token).await.is_problem(401, "token-missing");
}

#[tokio::test]
async fn a_cookie_that_only_looks_like_ours_is_none_of_ours() {
    let app = TestApp::start().await;
    let browser = app.sign_up("alice").await.log_in().await;
    let token = browser.access();
    // Browsers match the prefixes in any case; names are compared as they are.
    for name in ["__host-kickout-access", "__HOST-KICKOUT-ACCESS", "kickout-access", "__Host-kickout-access2", ""] {
        app.get("/v1/auth/me").cookie(name, &token).await.is_problem(401, "token-missing");
    }
    for value in [format!(" {token}"), format!("{token} "), format!("\"{token}\"")] {
        let answer = app.get("/v1/auth/me").cookie(ACCESS, &value).await;
        assert!([200, 401].contains(&answer.status.as_u16()), "{value:?}: {answer}");
    }
    // A refresh token is no access token, and the other way round.
    app.get("/v1/auth/me").cookie(ACCESS, &browser.refresh()).await.is_problem(401, "token-invalid");
    let swapped = app.post("/v1/auth/logout").same_origin().cookie(REFRESH, &token);
    swapped.await.is_problem(401, "token-invalid");
    app.accepts(&token).await;
}

#[tokio::test]
async fn the_api_never_redirects() {
    let app = TestApp::start_with(|config| {
        config.http.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        config.http.allowed_origins = vec!["https://app.example.org".parse().unwrap()];
    });
    let app = app.await;
    let token = app.sign_up("alice").await.log_in_for_bearer().await.access();
    let paths = ["/", "//", "//v1/auth/me", "/v1/auth/me/", "/v1//auth/me", "/v1/auth/login/", "/v1/auth/verify/"];
    let others = ["/v1/auth/../auth/me", "/V1/AUTH/ME", "/v1/auth/me?next=//evil.example", "//evil.example/%2e%2e"];
    for path in paths.into_iter().chain(others) {
        for method in [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            for proto in ["http", "https"] {
                let call = app.call(method.clone(), path).bearer(&token).header("x-forwarded-proto", proto);
                let answer = call.header("x-forwarded-host", "evil.example").await;
                assert!(!answer.status.is_redirection(), "{method} {path}: {answer}");
                assert!(!answer.headers.contains_key(header::LOCATION), "{method} {path}: {answer}");
                answer.is_guarded();
            }
        }
    }
}
