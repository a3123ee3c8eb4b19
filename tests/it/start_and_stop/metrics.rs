//! What a running program tells about itself.

use http::Method;

use super::prometheus::Exposition;
use crate::support::{
    operator::{beside, outcome},
    process::Process,
    wait::eventually,
};

/// The series that operators watch, each with a value that this run has caused.
#[tokio::test]
async fn metrics_are_strict_prometheus_text_and_say_what_has_happened() {
    let process = Process::start(&[("KICKOUT__REVOCATION__FILTER__CAPACITY", "1000")]).await;
    let alice = process.sign_up("alice").await;
    let (gone, stays) = (alice.log_in().await, alice.log_in().await);
    let token = gone.access();
    let receipt = gone.log_out().await;
    process.refuses(&token).await;
    process.accepts(&stays.access()).await;
    process.get("/nowhere").await;
    alice.try_log_in("not the password of anybody").await;

    let answer = process.manage(Method::GET, "/metrics").await.expect(200);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4"));
    let metrics = Exposition::parse(&String::from_utf8(answer.body).unwrap()).unwrap();
    let at_least = |series: &str, least: f64| {
        let value = metrics.value(series);
        assert!(value.is_some_and(|value| value >= least), "{series}: {value:?}, not {least}");
    };
    let is = |series: &str, value: f64| assert_eq!(metrics.value(series), Some(value), "{series}");
    is(r#"kickout_http_requests_total{method="POST",route="/v1/auth/login",status="200"}"#, 2.0);
    is(r#"kickout_http_requests_total{method="POST",route="/v1/auth/login",status="401"}"#, 1.0);
    is(r#"kickout_http_requests_total{method="GET",route="/v1/auth/me",status="401"}"#, 2.0);
    at_least(r#"kickout_http_requests_total{method="GET",route="unmatched",status="404"}"#, 1.0);
    at_least(r#"kickout_http_request_duration_seconds_count{route="/v1/auth/me"}"#, 4.0);
    at_least(r#"kickout_checks_total{cause="none",tier="filter",verdict="active"}"#, 8.0);
    let revoked = |tier: &str| {
        metrics.value(&format!("kickout_checks_total{{cause=\"session\",tier=\"{tier}\",verdict=\"revoked\"}}"))
    };
    assert_eq!(revoked("ledger").zip(revoked("known")).map(|(asked, known)| asked + known), Some(8.0));
    is("kickout_filter_entries", 1.0);
    is("kickout_filter_capacity", 1000.0);
    is("kickout_filter_load", 0.001);
    is("kickout_filter_false_positives_target", 0.001);
    is("kickout_filter_false_positives_total", 0.0);
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let seq = receipt.seq as f64;
    is("kickout_ledger_head_seq", seq);
    is("kickout_applied_seq", seq);
    is("kickout_node_state", 2.0);
    is("kickout_revocation_seconds_count", 1.0);
    is(r#"kickout_revocation_seconds_bucket{le="+Inf"}"#, 1.0);
    is(r#"kickout_revocations_total{kind="session",outcome="recorded"}"#, 1.0);
    is("kickout_passwords_busy", 0.0);
    is("kickout_passwords_waiting", 0.0);
    is("kickout_passwords_refused_total", 0.0);
    is(r#"kickout_logins_total{outcome="ok"}"#, 2.0);
    is(r#"kickout_logins_total{outcome="wrong"}"#, 1.0);
    is(r#"kickout_signups_total{outcome="ok"}"#, 1.0);
    at_least("kickout_filter_bytes", 1.0);
}

#[tokio::test]
async fn the_ledgers_head_is_in_the_metrics_after_a_restart_too() {
    let mut process = Process::start(&[]).await;
    let receipt = process.sign_up("alice").await.log_in().await.log_out().await;
    process.interrupt();
    process.ended().await;
    let process = process.restart().await;
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let seq = Some(receipt.seq as f64);
    // It reads the head just after it is ready.
    eventually!({
        let answer = process.manage(Method::GET, "/metrics").await.expect(200);
        let metrics = Exposition::parse(&String::from_utf8(answer.body).unwrap()).unwrap();
        assert_eq!(metrics.value("kickout_applied_seq"), seq, "it is ready");
        metrics.value("kickout_ledger_head_seq") == seq
    });
}

#[tokio::test]
async fn a_configured_token_is_asked_for_by_metrics_and_used_by_commands() {
    let token = "a-token-of-the-operators";
    let process = Process::start(&[("KICKOUT__MANAGEMENT__TOKEN", token)]).await;
    process.manage(Method::GET, "/metrics").await.is_problem(401, "token-missing");
    process.manage(Method::GET, "/metrics").bearer("another").await.is_problem(401, "token-invalid");
    process.manage(Method::GET, "/metrics").bearer(token).await.expect(200);
    let mut command = beside(&process, "user list");
    command.env_remove("KICKOUT__MANAGEMENT__TOKEN");
    outcome(command).await.expect(0);
}
