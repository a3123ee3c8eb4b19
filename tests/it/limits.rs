//! Limits: on tries, by account and by address, which lock nobody out for good; on connections; and what is answered
//! when there is too much to do.

mod connections;
mod overload;
mod shared;

use http::Method;
use kickout::config::Limits;
use serde_json::json;

use crate::support::{
    answer::Answer,
    app::{TestApp, many_tries},
    client::{Call, Device, NEW_PASSWORD, Net, PASSWORD, REFRESH, User, text},
    process::Process,
    wait::{all, eventually},
};

const HOME: &str = "192.0.2.1";

/// Three wrong passwords at an address, one when the account is slow, which it is after six.
fn few_wrong() -> Limits {
    Limits { wrong_per_account: 3, wrong_before_slow: 6, ..many_tries() }
}

/// A service behind a proxy on this machine: a test is at the address that it says.
async fn behind_a_proxy(limits: Limits) -> TestApp {
    TestApp::start_with(|config| {
        config.http.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
        config.limits = limits;
    })
    .await
}

/// A login from an address.
async fn log_in(net: &Net, from: &str, name: &str, password: &str) -> Answer {
    log_in_here(net, name, password).header("x-forwarded-for", from).await
}

/// A login from this machine.
fn log_in_here(net: &Net, name: &str, password: &str) -> Call {
    net.post("/v1/auth/login").json(&json!({"username": name, "password": password}))
}

/// What a number of wrong passwords are answered with.
async fn wrongs(net: &Net, from: &str, name: &str, tries: usize) -> Vec<u16> {
    let mut said = Vec::new();
    for _ in 0..tries {
        let answer = log_in(net, from, name, NEW_PASSWORD).await;
        match answer.status.as_u16() {
            401 => answer.is_problem(401, "credentials-invalid"),
            _ => is_too_many(&answer),
        }
        said.push(answer.status.as_u16());
    }
    said
}

#[track_caller]
fn is_too_many(answer: &Answer) {
    answer.is_problem(429, "too-many-requests");
    let after: u64 = answer.header("retry-after").unwrap().parse().expect("seconds");
    assert!((1..=3600).contains(&after), "{answer}");
    assert!(answer.set_cookies().is_empty(), "{answer}");
}

async fn metric(net: &Net, series: &str) -> u64 {
    let text = net.manage(Method::GET, "/metrics").await.text();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series}")).parse().expect("a number")
}

#[tokio::test]
async fn an_attacker_at_full_tilt_from_everywhere_does_not_keep_the_owner_out() {
    let app = behind_a_proxy(few_wrong()).await;
    let alice = app.sign_up("alice").await;
    let browser = known_browser(&alice).await;

    assert_eq!(wrongs(&app, "198.51.100.1", "alice", 8).await, [401, 401, 401, 429, 429, 429, 429, 429]);
    is_too_many(&log_in(&app, "198.51.100.1", "alice", PASSWORD).await);
    log_in(&app, "192.0.2.7", "alice", PASSWORD).await.expect(200);

    let addresses: Vec<String> = (2..20).map(|n| format!("198.51.100.{n}")).collect();
    let said = all(addresses.iter().map(|from| wrongs(&app, from, "alice", 4))).await;
    let looked_at = said.iter().flatten().filter(|status| **status == 401).count();
    // Those that came before the account was slow have three, the others one.
    assert!((18..=18 + 2 * 18).contains(&looked_at), "{said:?}");
    let late = wrongs(&app, "198.51.100.99", "alice", 4).await;
    assert_eq!(late, [401, 429, 429, 429], "it is slow");

    log_in(&app, HOME, "alice", PASSWORD).await.expect(200);
    // At the attacker's own address, with a browser that was there before, even after its session has ended.
    let at_the_attackers = async |expected: u16| {
        let call = app.post("/v1/auth/login").same_origin().header("x-forwarded-for", "198.51.100.1");
        call.cookie(REFRESH, &browser).json(&alice.credentials()).await.expect(expected)
    };
    at_the_attackers(200).await;
    at_the_attackers(200).await;
    log_in(&app, "192.0.2.8", "bob", PASSWORD).await.is_problem(401, "credentials-invalid");
    assert!(metric(&app, r#"kickout_limit_refusals_total{kind="login",scope="account"}"#).await >= 9);
    assert!(metric(&app, r#"kickout_logins_total{outcome="limited"}"#).await >= 9);
    assert!(metric(&app, r#"kickout_limit_tries_total{kind="login",backend="memory"}"#).await >= 9);
}

/// The refresh cookie of a browser that somebody has logged in with and out of.
async fn known_browser(user: &User) -> String {
    let browser = user.log_in().await;
    let cookie = browser.refresh();
    browser.log_out().await;
    cookie
}

#[tokio::test]
async fn a_device_of_another_account_is_not_known() {
    let app = behind_a_proxy(few_wrong()).await;
    let (alice, mallory) = (app.sign_up("alice").await, app.sign_up("mallory").await);
    let theirs = known_browser(&mallory).await;
    wrongs(&app, HOME, "alice", 3).await;
    for cookie in [theirs.as_str(), &format!("kr1_{}", "A".repeat(70)), ""] {
        let call = app.post("/v1/auth/login").same_origin().header("x-forwarded-for", HOME);
        is_too_many(&call.cookie(REFRESH, cookie).json(&alice.credentials()).await);
    }
}

#[tokio::test]
async fn a_name_is_limited_alike_whether_somebody_has_it_or_not() {
    let app = behind_a_proxy(Limits { wrong_per_account: 4, ..few_wrong() }).await;
    app.sign_up("alice").await;
    let mut seen = Vec::new();
    // In other letters it is the same name.
    for names in [["alice", "ALICE"], ["nobody", "Nobody"], ["not a name", "not a name"]] {
        let mut answers = Vec::new();
        for from in ["198.51.100.1", "198.51.100.2", "198.51.100.3"] {
            for name in [names[0], names[1], names[0], names[1], names[0], names[1]] {
                let answer = log_in(&app, from, name, NEW_PASSWORD).await;
                let headers: Vec<String> = answer.headers.keys().map(ToString::to_string).collect();
                answers.push((answer.status, answer.problem(), headers));
            }
        }
        seen.push(answers);
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
    let statuses: Vec<u16> = seen[0].iter().map(|(status, ..)| status.as_u16()).collect();
    let first = [401, 401, 401, 401, 429, 429];
    let slow = [401, 429, 429, 429, 429, 429];
    assert_eq!(statuses, [first, [401, 401, 429, 429, 429, 429], slow].concat());
}

#[tokio::test]
async fn passwords_sprayed_over_accounts_from_one_address_are_limited() {
    let app = behind_a_proxy(Limits { wrong_per_address: 5, ..many_tries() }).await;
    let alice = app.sign_up("alice").await;
    let mut said = Vec::new();
    for n in 0..8 {
        said.extend(wrongs(&app, "2001:db8::1", &format!("user-{n}"), 1).await);
    }
    assert_eq!(said, [401, 401, 401, 401, 401, 429, 429, 429]);
    is_too_many(&log_in(&app, "2001:db8::2", "alice", PASSWORD).await);
    log_in(&app, "2001:db8:0:1::1", "alice", PASSWORD).await.expect(200);
    log_in(&app, HOME, "alice", PASSWORD).await.expect(200);
    alice.log_in().await;
    assert_eq!(metric(&app, r#"kickout_limit_refusals_total{kind="login",scope="address"}"#).await, 4);
}

#[tokio::test]
async fn every_login_counts_for_its_address_and_a_right_one_for_nothing_else() {
    let app =
        behind_a_proxy(Limits { logins_per_address: 6, wrong_per_address: 1, wrong_per_account: 1, ..many_tries() });
    let app = app.await;
    app.sign_up("alice").await;
    let from = "198.51.100.1";
    for _ in 0..6 {
        log_in(&app, from, "alice", PASSWORD).await.expect(200);
    }
    let answer = log_in(&app, from, "alice", PASSWORD).await;
    is_too_many(&answer);
    assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() <= 10, "{answer}");
    let answer = log_in(&app, HOME, "alice", NEW_PASSWORD).await;
    answer.is_problem(401, "credentials-invalid");
    is_too_many(&log_in(&app, HOME, "alice", PASSWORD).await);
}

#[tokio::test]
async fn clients_behind_a_proxy_that_nobody_named_share_ten_times_as_many() {
    let app = TestApp::start_with(|config| config.limits = few_wrong()).await;
    app.sign_up("alice").await;
    let mut said = Vec::new();
    for n in 0..32 {
        said.extend(wrongs(&app, &format!("198.51.100.{n}"), "alice", 1).await);
    }
    // Three for each of ten; and when the account is slow, a third of those.
    assert_eq!(said.iter().filter(|status| **status == 401).count(), 10, "{said:?}");
}

#[tokio::test]
async fn signups_are_limited_by_address_and_by_name() {
    let app = behind_a_proxy(Limits { signups_per_address: 3, signups_per_account: 2, ..many_tries() }).await;
    let sign_up = async |from: &str, name: &str| {
        let body = json!({"username": name, "password": PASSWORD});
        app.post("/v1/auth/signup").header("x-forwarded-for", from).json(&body).await
    };
    sign_up("198.51.100.1", "alice").await.expect(201);
    sign_up("198.51.100.2", "Alice").await.is_problem(409, "username-taken");
    is_too_many(&sign_up("198.51.100.3", "alice").await);
    is_too_many(&sign_up("198.51.100.4", "ALICE").await);
    for n in 0..2 {
        sign_up("198.51.100.1", &format!("user-{n}")).await.expect(201);
    }
    is_too_many(&sign_up("198.51.100.1", "user-3").await);
    sign_up("198.51.100.5", "user-3").await.expect(201);
    assert_eq!(metric(&app, r#"kickout_signups_total{outcome="limited"}"#).await, 3);
    assert_eq!(metric(&app, r#"kickout_limit_refusals_total{kind="signup",scope="account"}"#).await, 2);
    assert_eq!(metric(&app, r#"kickout_limit_refusals_total{kind="signup",scope="address"}"#).await, 1);
}

#[tokio::test]
async fn the_current_password_is_limited_by_account_and_keeps_nobody_from_logging_in() {
    let app = behind_a_proxy(Limits { wrong_per_account: 2, ..many_tries() }).await;
    let alice = app.sign_up("alice").await;
    let (one, other) = (alice.log_in_for_bearer().await, alice.log_in_for_bearer().await);
    let change = async |device: &Device, current: &str| {
        device.post("/v1/auth/password", &json!({"current": current, "new": NEW_PASSWORD})).await
    };
    change(&one, NEW_PASSWORD).await.is_problem(403, "password-wrong");
    change(&other, NEW_PASSWORD).await.is_problem(403, "password-wrong");
    is_too_many(&change(&one, PASSWORD).await);
    is_too_many(&change(&other, PASSWORD).await);
    assert_eq!(metric(&app, r#"kickout_limit_refusals_total{kind="password",scope="account"}"#).await, 2);
    alice.log_in().await;
    let bob = app.sign_up("bob").await;
    let device = bob.log_in_for_bearer().await;
    for (old, new) in [(PASSWORD, NEW_PASSWORD), (NEW_PASSWORD, PASSWORD), (PASSWORD, NEW_PASSWORD)] {
        bob.remembers(old);
        device.change_password(&bob, new).await;
    }
}

#[tokio::test]
async fn refreshes_are_limited_by_session_and_by_address_and_end_nothing() {
    let app = behind_a_proxy(Limits { refreshes_per_session: 3, refreshes_per_address: 5, ..many_tries() }).await;
    let alice = app.sign_up("alice").await;
    let refresh = async |from: &str, token: &str| {
        let body = json!({"refresh_token": token});
        app.post("/v1/auth/refresh").header("x-forwarded-for", from).json(&body).await
    };
    // What nobody has issued costs its sender nothing, and nobody else either.
    for n in 0..20 {
        let made_up = format!("kr1_{}{n:02}AA", "A".repeat(66));
        refresh(HOME, &made_up).await.is_problem(401, "token-invalid");
    }
    let token = alice.log_in_for_bearer().await.refresh();
    let next = text(&refresh(HOME, &token).await.expect(200).json()["refresh_token"]);
    for _ in 0..2 {
        // Within the grace: the same successor.
        assert_eq!(refresh(HOME, &token).await.expect(200).json()["refresh_token"], *next);
    }
    for token in [&token, &next] {
        is_too_many(&refresh(HOME, token).await);
    }
    refresh("198.51.100.1", &next).await.expect(200);
    for _ in 0..2 {
        refresh(HOME, &alice.log_in_for_bearer().await.refresh()).await.expect(200);
    }
    let another = alice.log_in_for_bearer().await;
    is_too_many(&refresh(HOME, &another.refresh()).await);
    refresh("198.51.100.1", &another.refresh()).await.expect(200);
    assert_eq!(metric(&app, r#"kickout_limit_refusals_total{kind="refresh",scope="account"}"#).await, 2);
    assert_eq!(metric(&app, r#"kickout_limit_refusals_total{kind="refresh",scope="address"}"#).await, 1);
}

#[tokio::test]
async fn a_flood_from_one_address_is_turned_away_before_the_password_pool() {
    let app = TestApp::start_with(|config| {
        config.http.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
        config.passwords.workers = 1;
        config.passwords.queue = 8;
        config.limits = Limits { logins_per_address: 5, ..many_tries() };
    })
    .await;
    app.sign_up("alice").await;
    let flood = (0..60).map(|n| {
        let (app, name) = (&app, format!("user-{n}"));
        async move { log_in(app, "198.51.100.1", &name, NEW_PASSWORD).await.status.as_u16() }
    });
    let (said, owner) = tokio::join!(all(flood), log_in(&app, HOME, "alice", PASSWORD));
    owner.expect(200);
    let count = |status| said.iter().filter(|other| **other == status).count();
    // A slow machine lets a few more pass: one in twelve seconds.
    assert!(count(401) >= 5 && count(401) + count(429) == 60, "{said:?}");
    assert_eq!(metric(&app, "kickout_passwords_refused_total").await, 0);
}

#[tokio::test]
async fn a_trusted_proxy_that_names_no_client_is_told_of_in_the_log_once() {
    let process = Process::start(&[("KICKOUT__HTTP__TRUSTED_PROXIES", "127.0.0.1")]).await;
    let told = || process.stderr().matches("does not say whom it speaks for").count();
    log_in(&process, HOME, "alice", PASSWORD).await.expect(401);
    // A line is written before its answer.
    assert_eq!(told(), 0);
    for _ in 0..2 {
        log_in_here(&process, "alice", PASSWORD).await.expect(401);
    }
    log_in(&process, "nobody", "alice", PASSWORD).await.expect(401);
    eventually!(told() == 1);
}
