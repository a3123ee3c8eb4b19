//! Which requests of a browser count as its user's: those that come from a page of ours, as the browser says, or that
//! show a token which a page of another site cannot read.

use http::Method;
use serde_json::json;

use crate::support::{
    answer::Answer,
    app::TestApp,
    client::{ACCESS, Call, Device, PASSWORD, REFRESH, text},
};

const PAGE: &str = "https://app.example.org";

/// Unsafe requests with a cookie that change nothing even if they pass: their body is broken, or they name nothing.
const UNSAFE: [(Method, &str); 4] = [
    (Method::POST, "/v1/auth/logout"),
    (Method::POST, "/v1/auth/logout-all"),
    (Method::POST, "/v1/auth/password"),
    (Method::DELETE, "/v1/auth/sessions/3f0e8c1a-6d2b-4c57-9a41-0b6f5d2e7c88"),
];

async fn app() -> TestApp {
    TestApp::start_with(|config| config.http.allowed_origins = vec![PAGE.parse().unwrap()]).await
}

fn with(call: Call, headers: &[(&str, &str)]) -> Call {
    headers.iter().fold(call, |call, (name, value)| call.header(name, value))
}

#[track_caller]
fn has_passed(answer: &Answer, passes: bool, what: &str) {
    if passes {
        let problem = answer.problem();
        assert!(answer.status.is_success() || problem.as_deref() != Some("csrf-refused"), "{what}: {answer}");
        assert!([200, 201, 400, 404].contains(&answer.status.as_u16()), "{what}: {answer}");
    } else {
        assert_eq!(answer.problem().as_deref(), Some("csrf-refused"), "{what}: {answer}");
        answer.is_problem(403, "csrf-refused");
        assert!(answer.set_cookies().is_empty(), "{what}: {answer}");
    }
}

/// An unsafe request with this browser's cookie and nothing that says where it comes from.
fn unsaid(app: &TestApp, browser: &Device, method: &Method, path: &str) -> Call {
    app.call(method.clone(), path).cookie(ACCESS, &browser.access()).body("application/json", "[")
}

#[tokio::test]
async fn an_unsafe_request_with_a_cookie_must_come_from_a_page_of_ours() {
    let app = app().await;
    let alice = app.sign_up("alice").await;
    let (browser, elsewhere) = (alice.log_in().await, alice.log_in().await);
    let (own_http, own_https) = (format!("http://{}", app.public()), format!("https://{}", app.public()));
    let other_port = format!("http://127.0.0.1:{}", app.management().port());
    let (good, foreign) = (browser.csrf(), elsewhere.csrf());
    let fresh = text(&browser.get("/v1/auth/csrf").await.json()["csrf_token"]);
    let cases: &[(&[(&str, &str)], bool)] = &[
        (&[("sec-fetch-site", "same-origin")], true),
        (&[("sec-fetch-site", "none")], true),
        (&[("sec-fetch-site", "same-site")], false),
        (&[("sec-fetch-site", "cross-site")], false),
        (&[("sec-fetch-site", "")], false),
        (&[("sec-fetch-site", "nonsense")], false),
        (&[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")], false),
        (&[("sec-fetch-site", "cross-site"), ("x-csrf-token", &good)], false),
        (&[("origin", &own_http)], true),
        (&[("origin", &own_https)], true),
        (&[("origin", &other_port)], false),
        (&[("origin", &own_http), ("sec-fetch-site", "cross-site")], false),
        (&[("origin", PAGE)], true),
        (&[("origin", PAGE), ("sec-fetch-site", "cross-site")], true),
        (&[("origin", "https://app.example.org.evil.example")], false),
        (&[("origin", "http://app.example.org")], false),
        (&[("origin", "https://evil.example")], false),
        (&[("origin", "https://evil.example"), ("x-csrf-token", &good)], false),
        (&[("origin", "null")], false),
        (&[("origin", "null"), ("x-csrf-token", &good)], false),
        (&[("origin", "")], false),
        (&[("origin", PAGE), ("origin", "https://evil.example")], false),
        (&[], false),
        (&[("x-csrf-token", &good)], true),
        (&[("x-csrf-token", &fresh)], true),
        (&[("x-csrf-token", &foreign)], false),
        (&[("x-csrf-token", &foreign), ("x-csrf-token", &good)], false),
        (&[("x-csrf-token", "")], false),
        (&[("x-csrf-token", &good[1..])], false),
        (&[("x-csrf-token", &"A".repeat(good.len()))], false),
        (&[("x-requested-with", "XMLHttpRequest")], false),
        (&[("referer", PAGE)], false),
    ];
    for (method, path) in &UNSAFE {
        for (headers, passes) in cases {
            let answer = with(unsaid(&app, &browser, method, path), headers).await;
            has_passed(&answer, *passes, &format!("{method} {path} {headers:?}"));
        }
    }
    app.accepts(&browser.access()).await;
}

#[tokio::test]
async fn the_refresh_cookie_alone_is_a_credential_too() {
    let app = app().await;
    let browser = app.sign_up("alice").await.log_in().await;
    let logout = || app.post("/v1/auth/logout").cookie(REFRESH, &browser.refresh());
    has_passed(&logout().await, false, "nothing said");
    has_passed(&logout().header("origin", "https://evil.example").await, false, "another site");
    app.accepts(&browser.access()).await;
    has_passed(&logout().header("x-csrf-token", &browser.csrf()).await, true, "with a token");
    app.refuses(&browser.access()).await;
}

#[tokio::test]
async fn a_bearer_token_needs_no_origin() {
    let app = app().await;
    let token = app.sign_up("alice").await.log_in_for_bearer().await.access();
    for (method, path) in &UNSAFE {
        for headers in [&[][..], &[("sec-fetch-site", "cross-site")], &[("origin", "https://evil.example")]] {
            let call = app.call(method.clone(), path).bearer(&token).body("application/json", "[");
            has_passed(&with(call, headers).await, true, &format!("{method} {path} {headers:?}"));
        }
    }
}

#[tokio::test]
async fn a_safe_request_is_answered_wherever_it_comes_from() {
    let app = app().await;
    let browser = app.sign_up("alice").await.log_in().await;
    for path in ["/v1/auth/me", "/v1/auth/csrf", "/v1/auth/sessions", "/v1/auth/verify"] {
        for method in [Method::GET, Method::HEAD] {
            let call = app.call(method, path).cookie(ACCESS, &browser.access());
            let answer = call.header("sec-fetch-site", "cross-site").header("origin", "https://evil.example").await;
            assert_eq!(answer.status, 200, "{path}: {answer}");
            assert_eq!(answer.header("access-control-allow-origin"), None, "{path}: {answer}");
        }
    }
}

#[tokio::test]
async fn another_site_can_neither_log_a_browser_in_nor_sign_it_up() {
    let app = app().await;
    let alice = app.sign_up("alice").await;
    let cases: &[(&[(&str, &str)], bool)] = &[
        (&[("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")], false),
        (&[("origin", "https://evil.example")], false),
        (&[("origin", "null")], false),
        (&[("sec-fetch-site", "same-site")], false),
        (&[("origin", PAGE), ("sec-fetch-site", "cross-site")], true),
        (&[("sec-fetch-site", "same-origin")], true),
        (&[], true),
    ];
    for (n, (headers, passes)) in cases.iter().enumerate() {
        let login = app.post("/v1/auth/login").json(&alice.credentials());
        has_passed(&with(login, headers).await, *passes, &format!("login {headers:?}"));
        let signup = json!({"username": format!("user-{n}"), "password": PASSWORD});
        let signup = app.post("/v1/auth/signup").json(&signup);
        has_passed(&with(signup, headers).await, *passes, &format!("signup {headers:?}"));
    }
    let form = app.post("/v1/auth/login").body("text/plain", alice.credentials().to_string());
    form.await.is_problem(415, "unsupported-media-type");
}

/// A method, headers, and whether a request with a cookie passes.
type Case<'a> = (Method, &'a [(&'a str, &'a str)], bool);

/// Forward-auth judges the request that it is asked about, as far as it may believe what it is told.
async fn verifies(is_trusted: bool, cases: &[Case<'_>]) {
    let app = TestApp::start_with(|config| {
        config.http.allowed_origins = vec![PAGE.parse().unwrap()];
        if is_trusted {
            config.http.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        }
    });
    let app = app.await;
    let browser = app.sign_up("alice").await.log_in().await;
    for (method, headers, passes) in cases {
        let bare = app.call(method.clone(), "/v1/auth/verify");
        let by_cookie = with(bare.clone().cookie(ACCESS, &browser.access()), headers).await;
        let what = format!("trusted: {is_trusted}, {method} {headers:?}");
        if method == Method::HEAD {
            assert_eq!(by_cookie.status == 200, *passes, "{what}: {by_cookie}");
        } else {
            has_passed(&by_cookie, *passes, &what);
        }
        with(bare.clone().bearer(&browser.access()), headers).await.expect(200);
        let token = with(bare.cookie(ACCESS, &browser.access()), headers).header("x-csrf-token", &browser.csrf());
        let is_foreign = headers.iter().any(|(name, _)| ["origin", "sec-fetch-site"].contains(name));
        assert_eq!(token.await.status == 200, *passes || !is_foreign, "with a token: {what}");
    }
}

#[tokio::test]
async fn verify_believes_a_trusted_proxy_about_the_method_and_the_host() {
    verifies(
        true,
        &[
            (Method::GET, &[], true),
            (Method::POST, &[], false),
            (Method::GET, &[("x-forwarded-method", "GET")], true),
            (Method::GET, &[("x-forwarded-method", "POST")], false),
            (Method::GET, &[("x-original-method", "DELETE")], false),
            (Method::POST, &[("x-forwarded-method", "GET")], true),
            (Method::POST, &[("x-original-method", "HEAD")], true),
            (Method::GET, &[("x-forwarded-method", "")], false),
            (Method::GET, &[("x-forwarded-method", "not a method")], false),
            (Method::GET, &[("x-forwarded-method", "BREW")], false),
            (Method::GET, &[("x-forwarded-method", "POST"), ("sec-fetch-site", "same-origin")], true),
            (Method::GET, &[("x-forwarded-method", "POST"), ("sec-fetch-site", "cross-site")], false),
            (Method::GET, &[("x-forwarded-method", "POST"), ("origin", PAGE)], true),
            (Method::GET, &[("x-forwarded-method", "POST"), ("origin", "https://shop.example.org")], false),
            (
                Method::GET,
                &[
                    ("x-forwarded-method", "POST"),
                    ("x-forwarded-host", "shop.example.org"),
                    ("origin", "https://shop.example.org"),
                ],
                true,
            ),
            (
                Method::GET,
                &[
                    ("x-forwarded-method", "POST"),
                    ("x-forwarded-host", "shop.example.org"),
                    ("x-forwarded-proto", "https"),
                    ("origin", "http://shop.example.org"),
                ],
                false,
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn verify_lets_a_stranger_only_make_the_rule_stricter() {
    verifies(
        false,
        &[
            (Method::GET, &[], true),
            (Method::HEAD, &[], true),
            (Method::POST, &[], false),
            (Method::GET, &[("x-forwarded-method", "POST")], false),
            (Method::GET, &[("x-original-method", "PUT")], false),
            (Method::POST, &[("x-forwarded-method", "GET")], false),
            (Method::DELETE, &[("x-original-method", "GET")], false),
            (Method::POST, &[("x-forwarded-host", "shop.example.org"), ("origin", "https://shop.example.org")], false),
        ],
    )
    .await;
}
