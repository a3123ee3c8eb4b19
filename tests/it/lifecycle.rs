//! The service stops soon, and not before what was begun is done.

use http::Method;
use kickout::{config::Span, ids::TokenId, revocation::Act};

use crate::support::{app::TestApp, wait::eventually};

/// Longer than any test waits for a service to stop.
fn patient() -> impl FnOnce(&mut kickout::config::Config) {
    |config| config.http.drain_timeout = Span::from_mins(10)
}

#[tokio::test]
async fn an_idle_service_stops_at_once_however_long_it_may_drain() {
    let app = TestApp::start_with(patient()).await;
    app.get("/.well-known/jwks.json").await.expect(200);
    drop(app.stop().await);
}

#[tokio::test]
async fn a_request_that_was_begun_is_answered_before_the_service_stops() {
    let app = TestApp::start().await;
    let alice = app.sign_up("alice").await;
    let login = app.call(Method::POST, "/v1/auth/login").json(&alice.credentials()).into_future();
    let passwords = app.sessions().clone();
    let stop = async {
        eventually!(passwords.passwords().busy() > 0);
        app.stop().await
    };
    let (answer, _folder) = tokio::join!(login, stop);
    assert_eq!(answer.expect(200).set_cookies().len(), 2);
}

#[tokio::test]
async fn after_the_end_nothing_is_promised_any_more() {
    let app = TestApp::start().await;
    let sessions = app.sessions().clone();
    drop(app.stop().await);
    sessions.revoker().revoke(Act::Token(TokenId::random())).await.unwrap_err();
}
