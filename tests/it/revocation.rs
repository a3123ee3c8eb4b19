//! What has ended stays ended: every copy of every token of it, everywhere, whatever restarts; and nothing else ends.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use kickout::{
    admin::Command,
    clock::{Clock, ManualClock},
    ids::{SessionId, Subject, TokenId},
    limits::Source,
    revocation::{Act, Patience, Receipt as CommandReceipt, Target},
    sessions::{Error, Login, Sessions, devices::Client},
};
use serde_json::json;

use crate::support::{
    app::TestApp,
    client::{ACCESS, Device, NEW_PASSWORD, Net, PASSWORD, User, text},
    logs,
    wait::{all, eventually},
};

fn jti(token: &str) -> TokenId {
    claim(token, "jti").parse().unwrap()
}

fn claim(token: &str, name: &str) -> String {
    text(&jsonwebtoken::dangerous::insecure_decode::<serde_json::Value>(token).unwrap().claims[name])
}

fn session(device: &Device) -> SessionId {
    device.session().parse().unwrap()
}

#[track_caller]
fn is_complete(receipt: &CommandReceipt, already: bool) {
    assert!(receipt.complete && receipt.applied.nodes == 1 && receipt.applied.of == 1, "{receipt:?}");
    assert_eq!(receipt.already, already, "{receipt:?}");
}

#[tokio::test]
async fn a_logout_ends_every_token_of_its_session_and_no_other() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.sign_up("alice").await, app.sign_up("bob").await);
    let (laptop, phone, bobs) = (alice.log_in().await, alice.log_in_for_bearer().await, bob.log_in().await);
    let first = laptop.access();
    laptop.log_out_elsewhere().await;
    let second = laptop.access();
    assert_ne!(first, second);
    app.refuses(&phone.access()).await;
    let phone = alice.log_in_for_bearer().await;
    app.accepts(&first).await;
    app.accepts(&second).await;

    let receipt = laptop.log_out().await;
    assert!(receipt.complete && !receipt.already);
    app.refuses(&first).await;
    app.refuses(&second).await;
    app.accepts(&phone.access()).await;
    app.accepts(&bobs.access()).await;

    phone.log_out().await;
    app.refuses(&phone.access()).await;
    app.accepts(&bobs.access()).await;
    drop(app.stop().await);
}

#[tokio::test]
async fn a_second_logout_finds_it_done_and_waits_for_the_same_number() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.sign_up("alice").await, app.sign_up("bob").await);
    let (phone, other) = (alice.log_in_for_bearer().await, bob.log_in_for_bearer().await);
    let first = phone.log_out().await;
    other.log_out().await;
    let second = phone.log_out().await;
    assert!(!first.already && second.already && second.complete);
    assert_eq!((first.seq, first.revoked), (second.seq, second.revoked));
    app.refuses(&phone.access()).await;

    let (one, two) = (alice.log_in().await, alice.log_in().await);
    assert!(!one.end(&two.session()).await.receipt().already);
    assert!(one.end(&two.session()).await.receipt().already);
    app.accepts(&one.access()).await;
}

#[tokio::test]
async fn a_logout_everywhere_ends_every_device_of_this_user_alone() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.sign_up("alice").await, app.sign_up("bob").await);
    let (laptop, phone, bobs) = (alice.log_in().await, alice.log_in_for_bearer().await, bob.log_in().await);
    let copies = [laptop.access(), phone.access()];
    laptop.log_out_everywhere().await;
    for copy in &copies {
        app.refuses(copy).await;
    }
    app.accepts(&bobs.access()).await;
    let later = alice.log_in().await;
    app.accepts(&later.access()).await;
    let list = later.get("/v1/auth/sessions").await.json();
    assert_eq!(list["sessions"].as_array().map(Vec::len), Some(1), "{list}");
    for copy in &copies {
        app.refuses(copy).await;
    }
}

#[tokio::test]
async fn what_was_kept_once_is_not_kept_for_ever() {
    let app = TestApp::start().await;
    let alice = app.sign_up("alice").await;
    let (laptop, phone) = (alice.log_in().await, alice.log_in_for_bearer().await);
    let mut ended = vec![phone.access()];
    let mut laptops = vec![laptop.access()];
    laptop.log_out_elsewhere().await;
    laptops.push(laptop.access());
    for token in &laptops {
        app.accepts(token).await;
    }

    let tablet = alice.log_in().await;
    let mut tablets = vec![tablet.access()];
    tablet.log_out_elsewhere().await;
    tablets.push(tablet.access());
    ended.append(&mut laptops);
    for token in &ended {
        app.refuses(token).await;
    }
    for token in &tablets {
        app.accepts(token).await;
    }

    tablet.log_out_elsewhere().await;
    tablets.push(tablet.access());
    for token in &tablets {
        app.accepts(token).await;
    }
    tablet.log_out_everywhere().await;
    for token in ended.iter().chain(&tablets) {
        app.refuses(token).await;
    }
}

#[tokio::test]
async fn a_ban_ends_all_sessions_and_an_unban_revives_none() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.sign_up("alice").await, app.sign_up("bob").await);
    let (laptop, phone, bobs) = (alice.log_in().await, alice.log_in_for_bearer().await, bob.log_in().await);
    let receipt = app.command(Command::UserBan { user: "ALICE".to_owned() }).await;
    is_complete(&receipt, false);
    let again = app.command(Command::UserBan { user: alice.subject.clone() }).await;
    is_complete(&again, true);
    assert_eq!((receipt.seq, receipt.revoked), (again.seq, again.revoked));
    app.refuses(&laptop.access()).await;
    app.refuses(&phone.access()).await;
    app.accepts(&bobs.access()).await;
    alice.try_log_in(PASSWORD).await.is_problem(403, "account-banned");
    alice.try_log_in(NEW_PASSWORD).await.is_problem(401, "credentials-invalid");

    app.admin().run(Command::UserUnban { user: "alice".to_owned() }).await.unwrap();
    app.refuses(&laptop.access()).await;
    app.refuses(&phone.access()).await;
    let later = alice.log_in().await;
    app.accepts(&later.access()).await;
}

#[tokio::test]
async fn a_password_change_ends_the_other_sessions_and_keeps_the_callers() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.sign_up("alice").await, app.sign_up("bob").await);
    let (laptop, phone, bobs) = (alice.log_in().await, alice.log_in_for_bearer().await, bob.log_in().await);
    let before = laptop.access();
    laptop.change_password(&alice, NEW_PASSWORD).await;
    app.refuses(&phone.access()).await;
    app.accepts(&before).await;
    app.accepts(&laptop.access()).await;
    app.accepts(&bobs.access()).await;
    laptop.log_out().await;
    app.refuses(&before).await;
}

#[tokio::test]
async fn one_token_is_taken_back_and_its_session_lives_on() {
    let app = TestApp::start().await;
    let alice = app.sign_up("alice").await;
    let (laptop, phone) = (alice.log_in().await, alice.log_in().await);
    let taken = laptop.access();
    let receipt = app.command(Command::RevokeToken { token: jti(&taken) }).await;
    assert_eq!(receipt.revoked, Target::Token(jti(&taken)));
    is_complete(&receipt, false);
    is_complete(&app.command(Command::RevokeToken { token: jti(&taken) }).await, true);
    app.takes_back(&taken).await;
    app.accepts(&phone.access()).await;

    // The session lives, so a device of the same user can still see it and end it.
    let list = phone.get("/v1/auth/sessions").await.json();
    assert_eq!(list["sessions"].as_array().map(Vec::len), Some(2), "{list}");
    let unknown = TokenId::random();
    is_complete(&app.command(Command::RevokeToken { token: unknown }).await, false);
    assert!(!phone.end(&laptop.session()).await.receipt().already);
}

#[tokio::test]
async fn an_operator_ends_one_session_or_all_of_a_user() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.sign_up("alice").await, app.sign_up("bob").await);
    let (laptop, phone, bobs) = (alice.log_in().await, alice.log_in().await, bob.log_in().await);
    is_complete(&app.command(Command::RevokeSession { session: session(&laptop) }).await, false);
    is_complete(&app.command(Command::RevokeSession { session: session(&laptop) }).await, true);
    app.refuses(&laptop.access()).await;
    app.accepts(&phone.access()).await;

    let receipt = app.command(Command::RevokeUser { user: "alice".to_owned() }).await;
    assert_eq!(receipt.revoked, Target::Subject(alice.subject.parse().unwrap()));
    app.refuses(&phone.access()).await;
    app.accepts(&bobs.access()).await;
    app.accepts(&alice.log_in().await.access()).await;
}

#[tokio::test]
async fn everything_ends_everything_but_what_comes_later() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.sign_up("alice").await, app.sign_up("bob").await);
    let (laptop, bobs) = (alice.log_in().await, bob.log_in_for_bearer().await);
    alice.log_in().await.log_out_everywhere().await;
    let later = alice.log_in().await;
    let copies = [laptop.access(), bobs.access(), later.access()];
    let receipt = app.command(Command::RevokeEverything {}).await;
    assert_eq!(receipt.revoked, Target::Everything);
    is_complete(&receipt, false);
    for copy in &copies {
        app.refuses(copy).await;
    }
    for user in [&alice, &bob] {
        let device = user.log_in().await;
        app.accepts(&device.access()).await;
        device.log_out_everywhere().await;
    }
    let receipt = bobs.log_out().await;
    assert!(receipt.already && receipt.complete, "also when there is nothing left to do");
}

#[tokio::test]
async fn a_login_over_a_live_session_of_the_same_browser_ends_that_one() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.sign_up("alice").await, app.sign_up("bob").await);
    let browser = alice.log_in().await;
    let (first, first_session, elsewhere) = (browser.access(), browser.session(), alice.log_in().await);
    let answer = browser.log_in(&alice).await.json();
    assert_eq!(answer["ended"]["revoked"], json!({"kind": "session", "id": first_session}));
    assert_eq!(answer["ended"]["complete"], true);
    assert_ne!(browser.session(), first_session, "a new login has a new session id");
    app.refuses(&first).await;
    app.accepts(&elsewhere.access()).await;

    let second = browser.access();
    browser.log_in(&bob).await;
    app.refuses(&second).await;
    app.accepts(&browser.access()).await;

    let refused = browser.call(http::Method::POST, "/v1/auth/login");
    refused.json(&json!({"username": "bob", "password": NEW_PASSWORD})).await.is_problem(401, "credentials-invalid");
    app.accepts(&browser.access()).await;
}

#[tokio::test]
async fn a_user_has_a_bounded_number_of_sessions_and_the_oldest_goes_first() {
    let app = TestApp::start_with(|config| config.sessions.max_per_user = 2).await;
    let alice = app.sign_up("alice").await;
    let first = alice.log_in().await;
    let second = alice.log_in().await;
    app.accepts(&first.access()).await;
    let third = alice.log_in().await;
    app.refuses(&first.access()).await;
    app.accepts(&second.access()).await;
    app.accepts(&third.access()).await;
}

#[tokio::test]
async fn a_restart_keeps_what_has_ended_and_what_lives() {
    let mut app = TestApp::start().await;
    let (alice, bob, carol) = (app.sign_up("alice").await, app.sign_up("bob").await, app.sign_up("carol").await);
    let mut dead = Vec::new();
    let out = alice.log_in_for_bearer().await;
    out.log_out().await;
    dead.push(out.access());
    let token = alice.log_in_for_bearer().await;
    app.command(Command::RevokeToken { token: jti(&token.access()) }).await;
    let revoked = token.access();
    let banned = bob.log_in_for_bearer().await;
    app.command(Command::UserBan { user: bob.name.clone() }).await;
    dead.push(banned.access());
    let others = carol.log_in_for_bearer().await;
    let kept = carol.log_in_for_bearer().await;
    let kept_before = kept.access();
    kept.change_password(&carol, NEW_PASSWORD).await;
    dead.push(others.access());
    let live = [alice.log_in_for_bearer().await.access(), kept_before, kept.access()];

    for _ in 0..2 {
        app.restart().await;
        for token in &dead {
            app.refuses(token).await;
        }
        app.takes_back(&revoked).await;
        for token in &live {
            app.accepts(token).await;
        }
    }
    assert!(out.log_out().await.already);
    bob.try_log_in(PASSWORD).await.is_problem(403, "account-banned");
    carol.try_log_in(PASSWORD).await.is_problem(401, "credentials-invalid");

    app.command(Command::RevokeEverything {}).await;
    app.restart().await;
    for token in dead.iter().chain(&live).chain([&revoked]) {
        app.refuses(token).await;
    }
    let later = alice.log_in_for_bearer().await;
    app.accepts(&later.access()).await;
    app.restart().await;
    app.accepts(&later.access()).await;
    assert!(later.log_out().await.seq > 5, "numbers go on");
    drop(app.stop().await);
}

#[tokio::test]
async fn a_wall_clock_that_is_set_back_revives_nothing() {
    let manual = ManualClock::at(1_800_000_000_000);
    let mut app = TestApp::start_at(Clock::Manual(Arc::clone(&manual)), |_| {}).await;
    let alice = app.sign_up("alice").await;
    let (gone, old) = (alice.log_in_for_bearer().await, alice.log_in_for_bearer().await);
    gone.log_out().await;
    manual.advance(Duration::from_mins(15));
    app.get("/v1/auth/me").bearer(&old.access()).await.is_problem(401, "token-expired");
    let fresh = alice.log_in_for_bearer().await;

    for step in [-3_600_000, -86_400_000] {
        manual.step_wall(step);
        app.get("/v1/auth/me").bearer(&old.access()).await.is_problem(401, "token-expired");
        app.restart().await;
        app.get("/v1/auth/me").bearer(&old.access()).await.is_problem(401, "token-expired");
        assert!(!app.is_good(&gone.access()).await);
        app.accepts(&fresh.access()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn logouts_at_the_same_moment_share_commits_and_all_are_in_force() {
    const COUNT: usize = 64;
    let app = TestApp::start_with(|config| config.sessions.max_per_user = 2 * COUNT).await;
    let alice = app.sign_up("alice").await;
    let other = alice.log_in_for_bearer().await;
    let devices = log_in_many(&alice, COUNT).await;
    let calls = devices.iter().map(Device::log_out);
    let receipts = all(calls).await;

    let mut by_seq: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
    for (device, receipt) in devices.iter().zip(&receipts) {
        assert!(receipt.complete && !receipt.already, "{receipt:?}");
        assert_eq!(receipt.revoked.id, Some(device.session()));
        by_seq.entry(receipt.seq).or_default().insert(device.session());
    }
    let numbers: Vec<i64> = by_seq.keys().copied().collect();
    let last = i64::try_from(numbers.len()).unwrap();
    assert_eq!(numbers, (1..=last).collect::<Vec<_>>(), "numbers have no holes");
    assert!(numbers.len() < COUNT, "{} logouts took {} commits", COUNT, numbers.len());
    for device in &devices {
        assert!(!app.is_good(&device.access()).await);
    }
    app.accepts(&other.access()).await;
    assert_eq!(other.log_out().await.seq, last + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_session_ended_from_many_sides_at_once_is_ended_once() {
    let app = TestApp::start().await;
    let device = app.sign_up("alice").await.log_in_for_bearer().await;
    let receipts = all((0..32).map(|_| device.log_out())).await;
    assert_eq!(receipts.iter().filter(|receipt| !receipt.already).count(), 1);
    let numbers: BTreeSet<i64> = receipts.iter().map(|receipt| receipt.seq).collect();
    assert_eq!(numbers, [1].into(), "all wait for the one that did it");
    app.refuses(&device.access()).await;
}

#[tokio::test]
async fn the_filter_grows_beyond_its_design_and_forgets_nothing() {
    let app = TestApp::start().await;
    let alice = app.sign_up("alice").await;
    let (dead, live) = (alice.log_in_for_bearer().await, alice.log_in_for_bearer().await);
    dead.log_out().await;
    let revoker = app.sessions().revoker();
    // The filter of these tests is built for 1000.
    all((0..3000).map(|_| async { revoker.revoke(Act::Token(TokenId::random())).await.unwrap() })).await;
    let metric = |text: &str, name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.parse::<f64>().ok()).unwrap_or_default()
    };
    eventually!({
        let metrics = app.manage(http::Method::GET, "/metrics").await;
        metric(&String::from_utf8(metrics.body).unwrap(), "kickout_filter_capacity") >= 3000.0
    });
    app.refuses(&dead.access()).await;
    app.accepts(&live.access()).await;
}

/// Logout everywhere refuses tokens issued in the same second before it, and admits a login in the same second after
/// it, a thousand times.
///
/// The clock stands still, so all of it happens in one and the same millisecond: no order of times could tell before
/// from after. Each round's login comes after the logout of the round before and is itself ended by the next, so a
/// thousand rounds take a thousand password hashes and not two thousand. Users take their rounds side by side, as many
/// as keep both the hashing and the ledger busy; HTTP is left out, since it has no part in this and half the cost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logout_everywhere_divides_one_second_exactly_a_thousand_times() {
    const USERS: usize = 4;
    const ROUNDS: usize = 250;
    let clock = Clock::Manual(ManualClock::at(1_800_000_000_500));
    let app = TestApp::start_at(clock, |_| {}).await;
    let users = (0..USERS).map(|n| format!("user-{n}"));
    let rounds = users.map(|name| {
        let sessions = app.sessions().clone();
        async move {
            sessions.sign_up(&name, PASSWORD.to_owned().into(), Source::Unknown).await.unwrap();
            for round in 0..ROUNDS {
                logout_divides_a_second(&sessions, &name, round).await;
            }
        }
    });
    all(rounds).await;
}

async fn logout_divides_a_second(sessions: &Sessions, name: &str, round: usize) {
    let login = Login {
        username: name.to_owned(),
        password: PASSWORD.to_owned().into(),
        client: Client::default(),
        replaces: Vec::new(),
    };
    let before = sessions.log_in(login).await.unwrap().granted.access;
    let caller = sessions.authenticate(&before.text).await.expect("a login after a logout-all lives");
    let kept = sessions
        .log_out_everywhere(&caller, true, Patience::Complete)
        .await
        .unwrap()
        .access
        .expect("the session lives on");
    sessions.authenticate(&before.text).await.expect("a kept session keeps its token");
    let caller = sessions.authenticate(&kept.text).await.expect("a kept session gets a token that lives");
    let receipt = sessions.log_out_everywhere(&caller, false, Patience::Complete).await.unwrap().receipt;
    assert!(receipt.complete && !receipt.already, "round {round}: {receipt:?}");
    assert_eq!((before.claims.iat, kept.claims.iat), (1_800_000_000, 1_800_000_000), "all in one second");
    for token in [&before, &kept] {
        assert!(sessions.authenticate(&token.text).await.is_err(), "round {round}: issued before, alive after");
    }
}

#[tokio::test]
async fn a_login_beyond_the_limit_ends_the_least_recently_used_and_one_in_the_same_browser_pushes_nobody_out() {
    let app = TestApp::start_with(|config| config.sessions.max_per_user = 2).await;
    let alice = app.sign_up("alice").await;
    let (one, two) = (alice.log_in().await, alice.log_in().await);
    two.log_in(&alice).await;
    app.accepts(&one.access()).await;
    app.accepts(&two.access()).await;
    let three = alice.log_in().await;
    app.refuses(&one.access()).await;
    app.accepts(&two.access()).await;
    app.accepts(&three.access()).await;
}

#[tokio::test]
async fn operators_acts_are_in_the_log_with_what_they_did() {
    let logs = logs::capture();
    let app = TestApp::start().await;
    let alice = app.sign_up("alice-of-the-audit").await;
    let receipt = app.command(Command::UserBan { user: alice.name.clone() }).await;
    let forged = "nobody\nINFO kickout::audit: operator act act=\"forged\"";
    app.admin().run(Command::UserBan { user: forged.to_owned() }).await.unwrap_err();
    let lines = logs.lines_with("kickout::audit");
    let of_alice: Vec<_> = lines.iter().filter(|line| line.contains(&alice.name)).collect();
    assert_eq!(of_alice.len(), 1, "{lines:#?}");
    for part in ["act=\"user_ban\"", "result=\"done\"", &format!("seq={}", receipt.seq)] {
        assert!(of_alice[0].contains(part), "{part}: {}", of_alice[0]);
    }
    assert!(!logs.text().lines().any(|line| line.starts_with("INFO kickout::audit: operator act act=\"forged\"")));
}

async fn log_in_many(user: &User, count: usize) -> Vec<Device> {
    all((0..count).map(|_| user.log_in_for_bearer())).await
}

#[tokio::test]
async fn a_token_of_another_deployment_is_nobodys() {
    let (ours, theirs): (TestApp, TestApp) = (TestApp::start().await, TestApp::start().await);
    let token = theirs.sign_up("alice").await.log_in_for_bearer().await.access();
    refuses_as_invalid(&ours, &token).await;
}

async fn refuses_as_invalid(net: &Net, token: &str) {
    for path in ["/v1/auth/me", "/v1/auth/verify", "/v1/auth/csrf", "/v1/auth/sessions"] {
        net.get(path).bearer(token).await.is_problem(401, "token-invalid");
        net.get(path).cookie(ACCESS, token).await.is_problem(401, "token-invalid");
    }
}

#[tokio::test]
async fn a_session_opened_past_the_password_is_one_like_any_other() {
    let app = TestApp::start().await;
    let user = app.sign_up("ada").await;
    let by_password = user.log_in_for_bearer().await;
    let sessions = app.sessions();
    let subject = sessions.authenticate(&by_password.access()).await.unwrap().claims.sub;
    let opened = sessions.open_for(subject, &Client::default()).await.unwrap();
    app.accepts(&opened.access.text).await;
    app.command(Command::RevokeSession { session: opened.session }).await;
    app.refuses(&opened.access.text).await;
    app.accepts(&by_password.access()).await;

    app.command(Command::UserBan { user: "ada".to_owned() }).await;
    assert!(matches!(sessions.open_for(subject, &Client::default()).await, Err(Error::Banned)));
    assert!(matches!(sessions.open_for(Subject::random(), &Client::default()).await, Err(Error::NoSession)));
}

#[tokio::test]
async fn what_users_do_is_in_the_log_with_what_came_of_it_and_without_a_name() {
    let logs = logs::capture();
    let app = TestApp::start().await;
    let alice = app.sign_up("alice-of-the-user-acts").await;
    let device = alice.log_in_for_bearer().await;
    alice.try_log_in(NEW_PASSWORD).await.is_problem(401, "credentials-invalid");
    let body = json!({"current": NEW_PASSWORD, "new": NEW_PASSWORD});
    device.call(http::Method::POST, "/v1/auth/password").json(&body).await.is_problem(403, "password-wrong");
    device.change_password(&alice, NEW_PASSWORD).await;
    let receipt = alice.log_in_for_bearer().await.log_out().await;
    device.log_out_everywhere().await;
    let lines = logs.lines_with("kickout::audit");
    let of_alice: Vec<_> = lines.iter().filter(|line| line.contains(&alice.subject)).collect();
    let acts = [("signup", "done"), ("login", "done"), ("login", "wrong"), ("password", "wrong"), ("password", "done")];
    let acts = acts.into_iter().chain([("login", "done"), ("logout", "done"), ("logout_all", "done")]);
    let expected: Vec<String> = acts.map(|(act, result)| format!("act=\"{act}\" result=\"{result}\"")).collect();
    assert_eq!(of_alice.len(), expected.len(), "{of_alice:#?}");
    for (line, expected) in of_alice.iter().zip(&expected) {
        assert!(line.contains(expected), "{expected}: {line}");
        assert!(!line.contains(&alice.name), "{line}");
        assert!(line.contains("client=127.0.0.1"), "from where: {line}");
    }
    assert!(of_alice[6].contains(&format!("seq={}", receipt.seq)), "{}", of_alice[6]);
}
