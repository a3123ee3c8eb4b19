//! No login outlives the act that it races.
//!
//! A login takes tens of milliseconds, nearly all of it for the password's hash; a password change takes twice that,
//! the other acts next to nothing. So each round begins the one at another moment of the other, from its start to its
//! end. The moments are there to meet many interleavings; what must hold, holds whatever they are.

use std::time::Duration;

use http::Method;
use kickout::{admin::Command, revocation::Act};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::support::{
    answer::Answer,
    app::TestApp,
    client::{Device, NEW_PASSWORD, PASSWORD, User, text},
    wait::{all, eventually},
};

const ROUNDS: u32 = 24;

/// Logins that race one act.
const LOGINS: usize = 2;

/// Which of the two begins later in later rounds.
#[derive(Clone, Copy)]
enum Late {
    /// The act takes next to no time: it is moved over the whole of the logins.
    Act,
    /// The act takes as long as so many logins: they are moved over the whole of it.
    Logins(u32),
}

/// Runs logins and an act, which meet at another moment in each round. Gives the answers of the logins.
async fn race<T>(
    app: &TestApp,
    user: &User,
    (late, round): (Late, u32),
    act: impl Future<Output = T>,
) -> (Vec<Answer>, T) {
    const STEPS: u32 = 12;
    let mut body = user.credentials();
    let began = Instant::now();
    user.try_log_in(body["password"].as_str().unwrap()).await;
    // Two hashes at once on a busy machine take longer than one: a little more than the whole is covered.
    let (one, step) = (began.elapsed() * 3 / 2, round % STEPS);
    let (logins_wait, act_waits) = match late {
        Late::Act => (Duration::ZERO, one * step / STEPS),
        Late::Logins(length) => (one * length * step / STEPS, Duration::ZERO),
    };
    body["delivery"] = "body".into();
    let login = async || {
        sleep(logins_wait).await;
        app.post("/v1/auth/login").json(&body).await
    };
    let act = async {
        sleep(act_waits).await;
        act.await
    };
    tokio::join!(all((0..LOGINS).map(|_| login())), act)
}

/// The tokens of those logins that came to something; the others were refused for a reason.
fn tokens(answers: &[Answer], reasons: &[&str]) -> Vec<String> {
    let won = answers.iter().filter(|answer| {
        let problem = answer.problem();
        assert!(problem.as_deref().is_none_or(|kind| reasons.contains(&kind)), "{answer}");
        problem.is_none()
    });
    won.map(|answer| text(&answer.json()["access_token"])).collect()
}

fn generation(token: &str) -> i64 {
    let claims = jsonwebtoken::dangerous::insecure_decode::<Value>(token).unwrap().claims;
    claims["gen"].as_i64().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_login_outlives_a_ban_that_it_races() {
    let app = TestApp::start().await;
    let alice = app.sign_up("alice").await;
    let mut lost = 0;
    for round in 0..ROUNDS {
        let ban = app.command(Command::UserBan { user: alice.subject.clone() });
        let (answers, receipt) = race(&app, &alice, (Late::Act, round), ban).await;
        assert!(receipt.complete && !receipt.already);
        let tokens = tokens(&answers, &["account-banned"]);
        lost += LOGINS - tokens.len();
        for token in &tokens {
            assert!(!app.is_good(token).await, "round {round}: a token works after the receipt of a ban");
        }
        app.admin().run(Command::UserUnban { user: alice.subject.clone() }).await.unwrap();
        for token in &tokens {
            assert!(!app.is_good(token).await, "round {round}: an unban has revived a token");
        }
    }
    assert!(lost > 0, "some were overtaken by the ban");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_login_with_the_old_password_outlives_its_change() {
    let app = TestApp::start().await;
    let alice = app.sign_up("alice").await;
    let device = alice.log_in_for_bearer().await;
    let mut refused = 0;
    for round in 0..ROUNDS {
        let new = [NEW_PASSWORD, PASSWORD][round as usize % 2];
        let change = json!({"current": alice.credentials()["password"], "new": new});
        let changing = device.call(Method::POST, "/v1/auth/password").json(&change).into_future();
        let (answers, answer) = race(&app, &alice, (Late::Logins(3), round), changing).await;
        answer.receipt();
        alice.remembers(new);
        let tokens = tokens(&answers, &["credentials-invalid"]);
        refused += LOGINS - tokens.len();
        for token in tokens {
            assert!(!app.is_good(&token).await, "round {round}: the old password's token works after the change");
        }
        assert!(app.is_good(&device.access()).await, "round {round}: the caller's own session lives on");
    }
    assert!(refused > 0, "some were overtaken by the change");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_races_a_logout_everywhere_dies_or_came_after_it() {
    let app = TestApp::start().await;
    let alice = app.sign_up("alice").await;
    for round in 0..ROUNDS {
        let device = alice.log_in_for_bearer().await;
        let (answers, receipt) = race(&app, &alice, (Late::Act, round), device.log_out_everywhere()).await;
        assert!(receipt.complete);
        assert!(!app.is_good(&device.access()).await);
        let floor = generation(&device.access()) + 1;
        for token in tokens(&answers, &[]) {
            assert_eq!(app.is_good(&token).await, generation(&token) == floor, "round {round}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_ended_while_it_logs_out_elsewhere_does_not_live_on() {
    let app = TestApp::start().await;
    let alice = app.sign_up("alice").await;
    for round in 0..ROUNDS {
        let device = alice.log_in_for_bearer().await;
        let keep = json!({"keep_current": true});
        let keeping = || device.call(Method::POST, "/v1/auth/logout-all").json(&keep).into_future();
        let session = device.session().parse().unwrap();
        let ending = app.command(Command::RevokeSession { session });
        let (kept, kept_too, ended) = tokio::join!(keeping(), keeping(), ending);
        assert!(ended.complete);
        let after = [&kept, &kept_too].into_iter().filter(|answer| answer.status == 200);
        let tokens = after.filter_map(|answer| answer.receipt().access_token).chain([device.access()]);
        for token in tokens {
            assert!(!app.is_good(&token).await, "round {round}: it was ended, and its receipt was given");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_leaves_does_not_stop_the_act_it_asked_for() {
    let app = TestApp::start().await;
    let alice = app.sign_up("alice").await;
    for _ in 0..8 {
        let device = alice.log_in_for_bearer().await;
        let act = Act::Session { session: device.session().parse().unwrap(), of: None };
        // The first poll hands the act over; then nobody waits for it any more.
        let _ = tokio::time::timeout(Duration::ZERO, app.sessions().revoker().revoke(act)).await;
        eventually!(!app.is_good(&device.access()).await);
    }
}

#[tokio::test]
async fn two_signups_of_one_name_at_once_make_one_account() {
    let app = TestApp::start().await;
    let body = json!({"username": "alice", "password": PASSWORD});
    let answers = all((0..4).map(|_| app.post("/v1/auth/signup").json(&body).into_future())).await;
    let made = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(made, 1);
    for refused in answers.iter().filter(|answer| answer.status != 201) {
        refused.is_problem(409, "username-taken");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_password_changes_at_once_make_one() {
    let app = TestApp::start().await;
    let alice = app.sign_up("alice").await;
    let (laptop, phone) = (alice.log_in_for_bearer().await, alice.log_in_for_bearer().await);
    let change = |device: &Device, new: &str| {
        let body = json!({"current": PASSWORD, "new": new});
        device.call(Method::POST, "/v1/auth/password").json(&body).into_future()
    };
    let other = "gravel-sonnet-pickle-meadow";
    let (one, two) = tokio::join!(change(&laptop, NEW_PASSWORD), change(&phone, other));
    let won: Vec<bool> = [&one, &two].into_iter().map(|answer| answer.status == 200).collect();
    assert!(won == [true, false] || won == [false, true], "{one} {two}");
    let refused = if won[0] { &two } else { &one };
    let problem = refused.problem().unwrap();
    assert!(["conflict", "session-ended", "password-wrong"].contains(&problem.as_str()), "{refused}");
    let [good, bad] = if won[0] { [NEW_PASSWORD, other] } else { [other, NEW_PASSWORD] };
    alice.try_log_in(good).await.expect(200);
    alice.try_log_in(bad).await.is_problem(401, "credentials-invalid");
    alice.try_log_in(PASSWORD).await.is_problem(401, "credentials-invalid");
}
