//! A cluster as its clients meet it: how long an answer waits, what a receipt says until then, and which policy a route
//! of forward-auth has when its node is cut off.

use std::time::Duration;

use http::Method;
use kickout::config::{OnStale, Span};
use serde_json::{Value, json};

use crate::support::{app::TestApp, postgres, wait::eventually};

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// Short, so that a test can see the end of it; long enough for a machine with other work to do.
const LEASE: Duration = Duration::from_secs(3);

async fn node(url: &str, serve_for: Duration, on_stale: OnStale) -> TestApp {
    TestApp::start_with(|config| {
        config.database.url = url.to_owned().into();
        config.tokens.key_encryption_key = KEY.to_owned().into();
        config.revocation.lease = Span::from_millis(u64::try_from(LEASE.as_millis()).unwrap());
        config.revocation.serve_for = Span::from_millis(u64::try_from(serve_for.as_millis()).unwrap());
        config.revocation.on_stale = on_stale;
        config.sessions.refresh_grace = Span::from_secs(0);
    })
    .await
}

async fn state(node: &TestApp) -> Value {
    node.manage(Method::GET, "/readyz").await.json()
}

/// A row that nobody renews: what a node that has just died leaves behind. It is expelled after its hold and a quarter.
async fn a_dead_node(url: &str) {
    let row = format!(
        "INSERT INTO nodes (id, applied, hold, name, started_at)
         VALUES ('3f0e8c1a-6d2b-4c57-9a41-0b6f5d2e7c88', 0, {}, 'dead', 0)",
        LEASE.as_millis()
    );
    postgres::run(url, &row).await;
}

#[tokio::test]
async fn a_client_waits_for_a_dead_node_as_long_as_it_prefers_and_can_ask_again() {
    let url = postgres::Server::shared().database().await;
    let nodes = [node(&url, Duration::ZERO, OnStale::Deny).await, node(&url, Duration::ZERO, OnStale::Deny).await];
    let user = nodes[0].sign_up("ada").await;
    let (quick, slow, whole) = (
        user.log_in_for_bearer().await.access(),
        user.log_in_for_bearer().await.access(),
        user.log_in_for_bearer().await.access(),
    );
    a_dead_node(&url).await;

    let logout = |node: usize, token: &str| nodes[node].post("/v1/auth/logout").bearer(token);
    let answer = logout(0, &quick).header("prefer", "respond-async").await.expect(202);
    assert_eq!(answer.header("preference-applied"), Some("respond-async"));
    let receipt = answer.json();
    assert_eq!((&receipt["complete"], &receipt["applied"]["of"]), (&json!(false), &receipt["applied"]["of"]));
    let place = answer.header("location").expect("where to ask again").to_owned();
    assert_eq!(place, format!("/v1/revocations/{}", receipt["seq"]));
    // It is in force here at once, and at the other node as soon as the feed brings it.
    nodes[0].get("/v1/auth/me").bearer(&quick).await.is_problem(401, "session-ended");

    let answer = logout(1, &slow).header("prefer", "wait=0").await.expect(202);
    assert_eq!(answer.header("preference-applied"), Some("wait=0"));

    // Whoever waits is told when the dead node must have stopped by itself.
    let answer = logout(1, &whole).await.expect(200);
    assert_eq!((answer.header("location"), answer.header("preference-applied")), (None, None));
    assert_eq!(answer.json()["complete"], true);
    for node in &nodes {
        node.get("/v1/auth/me").bearer(&whole).await.is_problem(401, "session-ended");
        node.get("/v1/auth/me").bearer(&quick).await.is_problem(401, "session-ended");
        // And by then, or when the dead one is expelled, so it is for the others.
        eventually!(node.get(&place).await.status == 200);
        let progress = node.get(&place).await.expect(200).json();
        assert_eq!(progress, json!({"seq": receipt["seq"], "applied": {"nodes": 2, "of": 2}, "complete": true}));
    }
    nodes[0].get("/v1/revocations/999999").await.is_problem(404, "not-found");
    nodes[0].get("/v1/revocations/x").await.is_problem(400, "invalid-request");
    eventually!(state(&nodes[0]).await["nodes"] == 2);
}

#[tokio::test]
async fn an_already_ended_session_waits_like_any_other() {
    let url = postgres::Server::shared().database().await;
    let node = node(&url, Duration::ZERO, OnStale::Deny).await;
    let user = node.sign_up("ada").await;
    let token = user.log_in_for_bearer().await.access();
    a_dead_node(&url).await;
    let first = node.post("/v1/auth/logout").bearer(&token).header("prefer", "wait=0").await.expect(202).json();
    let again = node.post("/v1/auth/logout").bearer(&token).header("prefer", "wait=0").await.expect(202).json();
    assert_eq!((&again["already"], &again["complete"], &again["seq"]), (&json!(true), &json!(false), &first["seq"]));
    let done = node.post("/v1/auth/logout").bearer(&token).await.expect(200).json();
    assert_eq!((&done["already"], &done["complete"]), (&json!(true), &json!(true)));
}

/// One that everybody has long known to be over does not speak for the one that ends now.
#[tokio::test]
async fn a_logout_of_several_sessions_waits_for_each_of_them() {
    let url = postgres::Server::shared().database().await;
    let node = node(&url, Duration::ZERO, OnStale::Deny).await;
    let user = node.sign_up("ada").await;
    let (over, live) = (user.log_in_for_bearer().await, user.log_in_for_bearer().await);
    node.post("/v1/auth/logout").bearer(&over.access()).await.expect(200);
    // It has died after that, and could go on for long.
    a_dead_node(&url).await;
    postgres::run(&url, "UPDATE nodes SET applied = (SELECT seq FROM head), hold = 60000 WHERE name = 'dead'").await;
    let logout = || node.post("/v1/auth/logout").bearer(&over.access());
    let alone = logout().header("prefer", "wait=5").await.expect(200).json();
    assert_eq!((&alone["already"], &alone["complete"]), (&json!(true), &json!(true)));
    let both = logout().json(&json!({"refresh_token": live.refresh()})).header("prefer", "wait=1").await.expect(202);
    assert_eq!(both.json()["complete"], false, "{both}");
}

#[tokio::test]
async fn a_route_of_forward_auth_has_its_own_policy_when_the_lease_is_over() {
    let server = postgres::Server::start();
    let url = server.database().await;
    let node = node(&url, Duration::from_mins(10), OnStale::Deny).await;
    let user = node.sign_up("ada").await;
    let token = user.log_in_for_bearer().await.access();
    let verify = |route: &str| node.get(&format!("/v1/auth/verify{route}")).bearer(&token);
    for route in ["", "/deny", "/ask", "/serve-for"] {
        verify(route).await.expect(200);
    }
    verify("/serve").await.is_problem(404, "not-found");
    // Whoever revokes something waits for as long as the route could go on.
    assert!(postgres::number(&url, "SELECT hold FROM nodes").await > 10 * 60 * 1000);
    assert_eq!(state(&node).await["state"], "live");

    server.stop();
    eventually!(state(&node).await["state"] == "stale");
    node.manage(Method::GET, "/readyz").await.expect(503);
    for route in ["", "/deny", "/ask"] {
        let refused = verify(route).await;
        refused.is_problem(503, "unavailable");
        assert!(refused.header("retry-after").is_some(), "{refused}");
    }
    verify("/serve-for").await.expect(200);
    let metrics = node.manage(Method::GET, "/metrics").await.text();
    assert!(metrics.contains("kickout_checks_beyond_lease_total 1\n"), "it is counted");
    assert!(metrics.contains("kickout_node_state 3\n") && metrics.contains("kickout_lease_remaining_seconds 0\n"));

    server.resume();
    eventually!(state(&node).await["state"] == "live");
    verify("").await.expect(200);
}

#[tokio::test]
async fn a_route_cannot_go_on_where_the_configuration_names_no_time() {
    let app = TestApp::start().await;
    app.get("/v1/auth/verify/serve-for").await.is_problem(404, "not-found");
}

#[tokio::test]
async fn the_refusal_of_a_refresh_token_that_is_used_again_is_given_when_its_session_is_dead_on_every_node() {
    let url = postgres::Server::shared().database().await;
    let nodes = [node(&url, Duration::ZERO, OnStale::Deny).await, node(&url, Duration::ZERO, OnStale::Deny).await];
    let user = nodes[0].sign_up("ada").await;
    let device = user.log_in_for_bearer().await;
    let stolen = device.refresh();
    device.renew().await;
    a_dead_node(&url).await;
    let again = |node: usize| nodes[node].post("/v1/auth/refresh").json(&json!({"refresh_token": stolen}));
    // The dead node could still say yes: nothing is claimed.
    again(0).header("prefer", "respond-async").await.is_problem(503, "unavailable");
    again(1).header("prefer", "wait=0").await.is_problem(503, "unavailable");
    // Those that live know it already, and it was recorded once.
    for node in &nodes {
        eventually!(!node.is_good(&device.access()).await);
    }
    again(1).await.is_problem(401, "session-ended");
    assert_eq!(postgres::number(&url, "SELECT count(*) FROM revocations WHERE kind = 2").await, 1);
}
