use std::thread;

use http::StatusCode;

use super::*;

/// The value of the series that is spelled like this, if it is shown.
fn value(metrics: &Metrics, series: &str) -> Option<f64> {
    let text = metrics.render();
    let line = text.lines().find(|line| line.rsplit_once(' ').is_some_and(|(name, _)| name == series))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

#[test]
fn every_metric_is_shown_with_help_and_type_and_no_summaries() {
    let metrics = Metrics::new();
    metrics.http_request(None, HttpMethod::Get, StatusCode::OK, Duration::from_millis(1));
    metrics.token_refused("expired");
    let text = metrics.render();
    for name in Handles::NAMES {
        assert!(text.contains(&format!("# HELP {name} ")), "{name}");
        assert!(text.contains(&format!("# TYPE {name} ")), "{name}");
    }
    let typed = text.lines().filter(|line| line.starts_with("# TYPE ")).count();
    assert_eq!(typed, Handles::NAMES.len(), "{text}");
    assert!(!text.contains(" summary\n"), "{text}");
    assert!(text.contains("# HELP kickout_checks_total Checks of a token, by verdict"), "{text}");
    assert!(text.contains("# TYPE kickout_checks_total counter"), "{text}");
    assert!(text.contains("# TYPE kickout_node_state gauge"), "{text}");
    assert!(text.contains("# TYPE kickout_revocation_seconds histogram"), "{text}");
    assert_eq!(value(&metrics, concat!("kickout_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}")), Some(1.0));
}

#[test]
fn each_histogram_has_its_own_buckets() {
    let metrics = Metrics::new();
    metrics.http_request(Some("/v1/auth/login"), HttpMethod::Post, StatusCode::OK, Duration::from_millis(1));
    let text = metrics.render();
    for (name, bounds) in BUCKETS {
        let shown = text.lines().filter(|line| line.starts_with(&format!("{name}_bucket{{"))).count();
        assert_eq!(shown, bounds.len() + 1, "{name}: the buckets and +Inf");
    }
}

#[test]
fn a_sample_counts_in_every_bucket_that_includes_it_also_after_upkeep() {
    let metrics = Metrics::new();
    metrics.revocation_seconds.record(Duration::from_micros(3_100));
    metrics.upkeep();
    metrics.revocation_seconds.record(Duration::from_millis(12_750));
    let bucket = |le| value(&metrics, &format!("kickout_revocation_seconds_bucket{{le=\"{le}\"}}"));
    assert_eq!(bucket("0.0025"), Some(0.0));
    assert_eq!(bucket("0.005"), Some(1.0));
    assert_eq!(bucket("10"), Some(1.0));
    assert_eq!(bucket("15"), Some(2.0));
    assert_eq!(bucket("+Inf"), Some(2.0));
    assert_eq!(value(&metrics, "kickout_revocation_seconds_count"), Some(2.0));
}

#[test]
fn a_check_counts_in_its_own_series_and_in_no_other() {
    for CheckLabels(verdict, cause, tier) in CheckLabels::all() {
        let metrics = Metrics::new();
        metrics.check(verdict, cause, tier);
        let (v, c, t) = (verdict.as_str(), cause.as_str(), tier.as_str());
        let series = format!("kickout_checks_total{{verdict=\"{v}\",cause=\"{c}\",tier=\"{t}\"}}");
        assert_eq!(value(&metrics, &series), Some(1.0), "{series}");
        let text = metrics.render();
        let others = text.lines().filter(|line| line.starts_with("kickout_checks_total{") && !line.ends_with(" 0"));
        assert_eq!(others.count(), 1, "{series}");
    }
}

#[test]
fn series_that_make_sense_are_shown_at_zero_and_others_are_not() {
    let metrics = Metrics::new();
    let text = metrics.render();
    let checks = text.lines().filter(|line| line.starts_with("kickout_checks_total{")).count();
    assert_eq!(checks, (1 + 7 + 3) * 5);
    assert_eq!(value(&metrics, r#"kickout_checks_total{verdict="revoked",cause="session",tier="ledger"}"#), Some(0.0));
    assert_eq!(value(&metrics, r#"kickout_checks_total{verdict="active",cause="token",tier="ledger"}"#), None);
}

#[test]
fn two_registries_do_not_mix_and_clones_share_one() {
    let (one, other) = (Metrics::new(), Metrics::new());
    one.clone().logins_total.at(LoginOutcome::Wrong).increment(2);
    other.logins_total.at(LoginOutcome::Ok).increment(1);
    assert_eq!(value(&one, r#"kickout_logins_total{outcome="wrong"}"#), Some(2.0));
    assert_eq!(value(&one, r#"kickout_logins_total{outcome="ok"}"#), Some(0.0));
    assert_eq!(value(&other, r#"kickout_logins_total{outcome="wrong"}"#), Some(0.0));
}

#[test]
fn requests_are_counted_by_route_method_and_status_from_any_thread() {
    let metrics = Metrics::new();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..100 {
                    let route = ["/a", "/b", "/c"][round % 3];
                    metrics.http_request(Some(route), HttpMethod::Get, StatusCode::OK, Duration::ZERO);
                }
            });
        }
    });
    let odd = HttpMethod::from(&http::Method::from_bytes(b"BREW").unwrap());
    metrics.http_request(None, odd, StatusCode::NOT_FOUND, Duration::ZERO);
    let requests = |labels| value(&metrics, &format!("kickout_http_requests_total{{{labels}}}"));
    assert_eq!(requests(r#"route="/a",method="GET",status="200""#), Some(4.0 * 34.0));
    assert_eq!(requests(r#"route="/c",method="GET",status="200""#), Some(4.0 * 33.0));
    assert_eq!(requests(r#"route="unmatched",method="other",status="404""#), Some(1.0));
    assert_eq!(value(&metrics, r#"kickout_http_request_duration_seconds_count{route="/a"}"#), Some(4.0 * 34.0));
}

#[test]
fn gauges_show_what_they_were_set_to() {
    let metrics = Metrics::new();
    metrics.applied_seq.set(42_i64);
    metrics.filter_entries.set(usize::MAX);
    metrics.filter_entries.set(-1_i64);
    metrics.revocation_queue.increment();
    metrics.revocation_queue.increment();
    metrics.revocation_queue.decrement();
    metrics.prune_backlog.at(PrunedTable::Sessions).set(7_u32);
    metrics.set_node_state(NodeStateCode::Stale);
    assert_eq!(value(&metrics, "kickout_applied_seq"), Some(42.0));
    assert_eq!(value(&metrics, "kickout_filter_entries"), Some(0.0));
    assert_eq!(value(&metrics, "kickout_revocation_queue"), Some(1.0));
    assert_eq!(value(&metrics, r#"kickout_prune_backlog{table="sessions"}"#), Some(7.0));
    assert_eq!(value(&metrics, "kickout_node_state"), Some(3.0));
}
