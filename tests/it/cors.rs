//! Which pages of other origins can read answers: those of a fixed list, and they read refusals too.

use std::collections::BTreeSet;

use http::Method;

use crate::support::{answer::Answer, app::TestApp};

#[tokio::test]
async fn pages_of_an_allowed_origin_can_read_answers_and_refusals_and_others_cannot() {
    const PAGE: &str = "https://app.example.org";
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
    assert_eq!(names(&answer, "access-control-allow-methods"), ["get", "post", "delete"].map(str::to_owned).into());
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
        ["retry-after", "www-authenticate", "location", "x-kickout-seq"].map(str::to_owned).into()
    );
    assert!(names(&refused, "vary").contains("origin"), "caches must not mix origins: {refused}");

    for origin in ["https://evil.example", "https://app.example.org.evil.example", "http://app.example.org", "null"] {
        let preflight = preflight.clone().header("origin", origin).await;
        let refused = app.get("/v1/auth/me").header("origin", origin).await;
        for answer in [preflight, refused] {
            assert_eq!(answer.header("access-control-allow-origin"), None, "{origin}: {answer}");
        }
    }
    let closed = TestApp::start().await;
    let answer = closed.get("/v1/auth/me").header("origin", PAGE).await;
    assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("access-control-")), "{answer}");
}
