//! A token whose signature is remembered is checked like any other: dead from the receipt on, and no longer than its time.

use std::{sync::Arc, time::Duration};

use http::Method;
use kickout::{
    admin::Command,
    clock::{Clock, ManualClock},
    ids::{Generation, KeyId, LedgerId, SessionId, Subject},
    tokens::{Grant, Issuer, KeyRing, Profile, keys},
};

use crate::support::{
    app::TestApp,
    client::{Device, Net},
};

const TTL: Duration = Duration::from_mins(15);
const HIT: &str = r#"kickout_token_cache_looks_total{outcome="hit"}"#;
const MISS: &str = r#"kickout_token_cache_looks_total{outcome="miss"}"#;

/// How many looks have ended so.
async fn looks(net: &Net, outcome: &str) -> u64 {
    let text = net.manage(Method::GET, "/metrics").await.expect(200).text();
    let line = text.lines().find_map(|line| line.strip_prefix(outcome)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {outcome}")).parse().expect("a number")
}

/// A device whose token is remembered.
async fn remembered(app: &TestApp, name: &str) -> Device {
    let device = app.sign_up(name).await.log_in_for_bearer().await;
    app.accepts(&device.access()).await;
    let before = looks(app, MISS).await;
    app.accepts(&device.access()).await;
    assert_eq!(looks(app, MISS).await, before);
    device
}

/// Asserts that tokens are refused as dead by checks that verify no signature.
async fn are_dead(app: &TestApp, tokens: &[String]) {
    let before = (looks(app, HIT).await, looks(app, MISS).await);
    for token in tokens {
        app.refuses(token).await;
    }
    let after = (looks(app, HIT).await, looks(app, MISS).await);
    assert!(after.0 > before.0 && after.1 == before.1, "{before:?} {after:?}");
}

#[tokio::test]
async fn a_token_that_is_remembered_is_dead_from_the_receipt_on() {
    let app = TestApp::start().await;
    let (one, two, three) =
        (remembered(&app, "one").await, remembered(&app, "two").await, remembered(&app, "three").await);
    let four = remembered(&app, "four").await;
    one.log_out().await;
    are_dead(&app, &[one.access()]).await;
    two.log_out_everywhere().await;
    are_dead(&app, &[two.access()]).await;
    app.command(Command::UserBan { user: "three".to_owned() }).await;
    are_dead(&app, &[three.access()]).await;
    app.accepts(&four.access()).await;
    app.command(Command::RevokeEverything {}).await;
    are_dead(&app, &[one.access(), two.access(), three.access(), four.access()]).await;
}

#[tokio::test]
async fn what_a_key_has_signed_is_dead_from_the_receipt_of_its_retirement_on_remembered_or_not() {
    let app = TestApp::start().await;
    let device = remembered(&app, "alice").await;
    let new = app.sign_up("bob").await.log_in().await.access();
    let kid: KeyId = jsonwebtoken::decode_header(&new).unwrap().kid.unwrap().parse().unwrap();
    app.command(Command::KeysRetire { kid }).await;
    app.takes_back(&device.access()).await;
    app.takes_back(&new).await;
}

#[tokio::test]
async fn a_token_that_is_remembered_ends_in_its_time() {
    let clock = ManualClock::at(1_800_000_000_000);
    let app = TestApp::start_at(Clock::Manual(Arc::clone(&clock)), |_| {}).await;
    let device = remembered(&app, "alice").await;
    let misses = looks(&app, MISS).await;
    // The clock begins with a second, and so does the token's life.
    let millisecond = Duration::from_millis(1);
    clock.advance(TTL.saturating_sub(millisecond));
    app.accepts(&device.access()).await;
    clock.advance(millisecond);
    app.takes_back(&device.access()).await;
    assert_eq!(looks(&app, MISS).await, misses);
}

/// With the very keys of the service, as a node would that has another ledger.
#[tokio::test]
async fn a_token_of_another_ledger_is_refused_each_time_though_its_signature_is_remembered() {
    let app = TestApp::start().await;
    let now = Clock::System.wall();
    let folder = app.data().join("keys");
    let ring = KeyRing::open(keys::KeySettings::new(folder, keys::Algorithm::EdDSA, TTL, Duration::ZERO), now);
    let profile = Profile {
        issuer: "kickout".to_owned(),
        audience: "kickout".to_owned(),
        client_id: "kickout".to_owned(),
        access_ttl: TTL,
        leeway: Duration::ZERO,
    };
    let issuer = Issuer::new(Arc::new(ring.unwrap()), Arc::new(profile));
    let grant = Grant {
        subject: Subject::random(),
        session: SessionId::random(),
        generation: Generation(0),
        epoch: LedgerId::random(),
        roles: vec![],
    };
    let token = issuer.issue(issuer.window(now), grant).text;
    app.refuses(&token).await;
    are_dead(&app, &[token]).await;
}

#[tokio::test]
async fn without_places_everything_is_the_same_and_nothing_is_remembered() {
    let app = TestApp::start_with(|config| config.tokens.verified_cache = 0).await;
    let device = app.sign_up("alice").await.log_in_for_bearer().await;
    app.accepts(&device.access()).await;
    device.log_out().await;
    app.refuses(&device.access()).await;
    assert_eq!((looks(&app, HIT).await, looks(&app, MISS).await), (0, 0));
}
