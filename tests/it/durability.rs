//! What was acknowledged is true after whatever comes next: a restart, a kill -9, a restored backup.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{
    answer::Receipt,
    client::{Device, NEW_PASSWORD, PASSWORD, REFRESH, User},
    operator::{act, ask, attempt, beside, claim, outcome, run},
    process::Process,
};

/// Every act that ends access and is answered with a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    LogOut,
    LogOutEverywhere,
    LogOutElsewhere,
    EndSession,
    ChangePassword,
    LogInOver,
    RevokeToken,
    RevokeSession,
    RevokeUser,
    Ban,
    ChangeRoles,
    Delete,
    RevokeEverything,
    RetireKey,
}

const ACTS: [Act; 14] = [
    Act::LogOut,
    Act::LogOutEverywhere,
    Act::LogOutElsewhere,
    Act::EndSession,
    Act::ChangePassword,
    Act::LogInOver,
    Act::RevokeToken,
    Act::RevokeSession,
    Act::RevokeUser,
    Act::Ban,
    Act::ChangeRoles,
    Act::Delete,
    Act::RevokeEverything,
    Act::RetireKey,
];

/// A user with two devices, and one who has nothing to do with it.
struct Cast {
    user: User,
    first: Device,
    second: Device,
    other: User,
    bystander: Device,
}

/// What must be true from the receipt on.
struct Truth {
    dead: Vec<String>,
    alive: Vec<String>,
    /// Of some that are dead the session lives on.
    may_refresh: bool,
    /// Somebody who may not log in any more.
    banned: Option<User>,
}

impl Cast {
    async fn new(process: &Process) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let user = process.sign_up(&format!("alice-{number}")).await;
        let other = process.sign_up(&format!("bob-{number}")).await;
        let (first, second) = (user.log_in().await, user.log_in_for_bearer().await);
        let bystander = other.log_in_for_bearer().await;
        Self { user, first, second, other, bystander }
    }

    /// Does an act. Nothing happens between its receipt and the return.
    async fn does(&self, act_of: Act, process: &Process) -> Receipt {
        let first = &self.first;
        match act_of {
            Act::LogOut => first.log_out().await,
            Act::LogOutEverywhere => first.log_out_everywhere().await,
            Act::LogOutElsewhere => first.log_out_elsewhere().await,
            Act::EndSession => self.second.end(&first.session()).await.receipt(),
            Act::ChangePassword => first.change_password(&self.user, NEW_PASSWORD).await,
            Act::LogInOver => {
                let answer = first.log_in(&self.user).await.json();
                serde_json::from_value(answer["ended"].clone()).unwrap_or_else(|error| panic!("{error}: {answer}"))
            }
            Act::RevokeToken => act(process, "revoke_token", "token", &claim(&first.access(), "jti")).await,
            Act::RevokeSession => act(process, "revoke_session", "session", &first.session()).await,
            Act::RevokeUser => act(process, "revoke_user", "user", &self.user.subject).await,
            Act::Ban => act(process, "user_ban", "user", &self.user.name).await,
            Act::ChangeRoles => {
                let command = json!({"command": "user_roles", "user": self.user.subject, "roles": ["ops"]});
                serde_json::from_value(ask(process, &command).await.expect(200).json()["value"].clone()).unwrap()
            }
            Act::Delete => act(process, "user_delete", "user", &self.user.subject).await,
            Act::RevokeEverything => act(process, "revoke_everything", "", "").await,
            Act::RetireKey => {
                let kid = jsonwebtoken::decode_header(first.access()).unwrap().kid.unwrap();
                act(process, "keys_retire", "kid", &kid).await
            }
        }
    }

    /// Which tokens an act has left dead and alive, with what it has handed out itself.
    fn truth(self, act: Act, before: [String; 3]) -> Truth {
        let [first, second, bystander] = before;
        let new = self.first.has_cookies().then(|| self.first.access()).filter(|token| *token != first);
        let (mut dead, mut alive) = match act {
            Act::LogOut | Act::EndSession | Act::LogInOver | Act::RevokeToken | Act::RevokeSession => {
                (vec![first], vec![second, bystander])
            }
            Act::LogOutElsewhere | Act::ChangePassword => (vec![second], vec![bystander]),
            Act::LogOutEverywhere | Act::RevokeUser | Act::Ban | Act::ChangeRoles | Act::Delete => {
                (vec![first, second], vec![bystander])
            }
            Act::RevokeEverything | Act::RetireKey => (vec![first, second, bystander], vec![]),
        };
        assert!(matches!(act, Act::LogOutElsewhere | Act::ChangePassword | Act::LogInOver) == new.is_some(), "{act:?}");
        alive.extend(new);
        dead.sort();
        let may_refresh = matches!(act, Act::RevokeToken | Act::ChangeRoles | Act::RetireKey);
        Truth { dead, alive, may_refresh, banned: (act == Act::Ban).then_some(self.user) }
    }
}

impl Truth {
    async fn holds(&self, process: &Process, when: &str) {
        for token in &self.dead {
            assert!(!process.is_good(token).await, "{when}: a token that was taken back is good again");
            let answer = process.get("/v1/auth/me").bearer(token).await;
            let says_refresh = answer.problem().as_deref() == Some("token-expired");
            answer.is_problem(401, if says_refresh && self.may_refresh { "token-expired" } else { "session-ended" });
        }
        for token in &self.alive {
            assert!(process.is_good(token).await, "{when}: a token that nobody took back is refused");
        }
        if let Some(banned) = &self.banned {
            banned.try_log_in(PASSWORD).await.is_problem(403, "account-banned");
        }
    }
}

/// Does an act of a new cast, and gives what is true from then on.
async fn round(process: &Process, act: Act) -> (Receipt, Cast, [String; 3]) {
    let cast = Cast::new(process).await;
    let before = [&cast.first, &cast.second, &cast.bystander].map(Device::access);
    let receipt = cast.does(act, process).await;
    (receipt, cast, before)
}

/// What an act over all ends of the rounds before it.
fn end_all(act: Act, truths: &mut [Truth]) {
    for truth in truths {
        truth.may_refresh |= act == Act::RetireKey;
        truth.dead.append(&mut truth.alive);
    }
}

#[tokio::test]
async fn a_restart_keeps_every_act_and_every_token_that_none_has_ended() {
    let mut process = Process::start(&[]).await;
    let mut truths = Vec::new();
    // The act that ends everything comes first, else it would hide the others.
    for act in ACTS.into_iter().rev() {
        let (receipt, cast, before) = round(&process, act).await;
        assert!(receipt.complete && !receipt.already, "{act:?}: {receipt:?}");
        truths.push((act, cast.truth(act, before)));
    }
    for how in ["INT", "TERM", "KILL"] {
        process.signal(how);
        process.ended().await;
        process = process.restart().await;
        for (act, truth) in &truths {
            truth.holds(&process, &format!("{act:?}, after {how}")).await;
        }
    }
}

/// The answer is read and the process killed, with nothing between the two.
#[tokio::test]
async fn a_kill_9_right_after_a_receipt_keeps_what_it_says_twice_for_each_act() {
    let mut process = Process::start(&[]).await;
    let mut truths: Vec<Truth> = Vec::new();
    for (number, act) in ACTS.into_iter().cycle().take(2 * ACTS.len()).enumerate() {
        let (receipt, cast, before) = round(&process, act).await;
        process.kill_9();
        assert!(receipt.complete && !receipt.already, "{act:?}: {receipt:?}");
        if matches!(act, Act::RevokeEverything | Act::RetireKey) {
            end_all(act, &mut truths);
        }
        process = process.restart().await;
        // They live on, and the next round begins with them.
        cast.other.log_in().await;
        let truth = cast.truth(act, before);
        truth.holds(&process, &format!("round {number}, {act:?}")).await;
        truths.push(truth);
    }
    for (number, truth) in truths.iter().enumerate() {
        truth.holds(&process, &format!("round {number}, at the end")).await;
    }
}

#[tokio::test]
async fn a_kill_9_in_the_middle_of_64_logouts_keeps_each_that_was_acknowledged() {
    // 4 users × 16 sessions.
    let mut process = Process::start(&[]).await;
    let mut users = Vec::new();
    for number in 0..4 {
        users.push(process.sign_up(&format!("alice-{number}")).await);
    }
    let mut sessions = 0;
    for wanted in [1, 8, 40] {
        let mut devices = Vec::new();
        for _ in 0..16 {
            for user in &users {
                devices.push(user.log_in_for_bearer().await);
            }
        }
        let bystander = users[0].log_in_for_bearer().await;
        let (http, url) = (reqwest::Client::new(), format!("http://{}/v1/auth/logout", process.public()));
        let mut asked = JoinSet::new();
        for (number, device) in devices.iter().enumerate() {
            let answer = attempt(http.clone(), url.clone(), device.access());
            asked.spawn(async move { (number, answer.await) });
        }
        let mut acknowledged = BTreeSet::new();
        while let Some(answer) = asked.join_next().await {
            let (number, Some((status, body))) = answer.unwrap() else { continue };
            assert_eq!(status, 200);
            let receipt: Receipt = serde_json::from_slice(&body).unwrap();
            assert!(receipt.complete, "{receipt:?}");
            acknowledged.insert(number);
            if acknowledged.len() == wanted {
                process.kill_9();
            }
        }
        assert!(acknowledged.len() >= wanted, "{}", acknowledged.len());
        process = process.restart().await;
        for (number, device) in devices.iter().enumerate() {
            let is_good = process.is_good(&device.access()).await;
            assert!(!is_good || !acknowledged.contains(&number), "{number}, acknowledged, came back");
            // What was not acknowledged may have been done. It can be asked for again.
            if is_good {
                device.log_out().await;
                assert!(!process.is_good(&device.access()).await);
            }
        }
        process.accepts(&bystander.access()).await;
        sessions += devices.len();
    }
    assert_eq!(sessions, 3 * 64);
}

fn copy_folder(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

/// The copy is made while the service is down, as the README's users would with `cp`.
#[tokio::test]
async fn a_restored_folder_revives_nothing_once_that_was_said() {
    let mut process = Process::start(&[]).await;
    let alice = process.sign_up("alice").await;
    let (revoked, untouched) = (alice.log_in().await, alice.log_in().await);
    let old = [revoked.access(), untouched.access()];
    process.interrupt();
    process.ended().await;
    let backup = tempfile::tempdir().unwrap();
    let copy = backup.path().join("copy");
    copy_folder(&process.data(), &copy);
    process = process.restart().await;
    revoked.log_out().await;
    let after = alice.log_in().await;
    process.interrupt();
    process.ended().await;

    // The old copy comes back: it has never heard of the logout.
    fs::remove_dir_all(process.data()).unwrap();
    copy_folder(&copy, &process.data());
    process = process.restart().await;
    assert!(process.is_good(&old[0]).await, "this is what the command is for");
    process.interrupt();
    process.ended().await;

    run(&process, "restored").await.says(2, &["Nothing was done", "--yes"]);
    let said = run(&process, "restored --yes").await.expect(0);
    assert!(said.stderr.contains("Nothing that was issued before is accepted any more"), "{said}");
    process = process.restart().await;
    for token in old.iter().chain([&after.access()]) {
        process.refuses(token).await;
    }
    let leaving = process.post("/v1/auth/logout").cookie(REFRESH, &untouched.refresh()).same_origin();
    assert!(leaving.await.receipt().already, "there is nothing left to end");
    let fresh = alice.log_in().await;
    let token = fresh.access();
    process.accepts(&token).await;
    fresh.log_out().await;
    process.refuses(&token).await;
}

#[tokio::test]
async fn restored_is_refused_while_a_server_runs_and_changes_nothing() {
    let process = Process::start(&[]).await;
    let alice = process.sign_up("alice").await;
    let device = alice.log_in().await;
    let folder = fs::canonicalize(process.data()).unwrap();
    run(&process, "restored --yes").await.says(1, &["another kickout process works in", folder.to_str().unwrap()]);
    process.accepts(&device.access()).await;
    // Nor is a mistaken folder made.
    let mut elsewhere = beside(&process, "restored --yes");
    elsewhere.env("KICKOUT__DATA_DIR", folder.join("elsewhere"));
    outcome(elsewhere).await.says(1, &["not the data folder of a service", "elsewhere"]);
    assert!(!folder.join("elsewhere").exists());
}

/// Even an act that found nothing to do has waited for the one that did it.
#[tokio::test]
async fn a_receipt_that_says_already_is_as_durable_as_the_first() {
    let mut process = Process::start(&[]).await;
    let alice = process.sign_up("alice").await;
    let device = alice.log_in_for_bearer().await;
    let command = json!({"command": "revoke_session", "session": device.session()});
    let (one, other) = tokio::join!(ask(&process, &command), ask(&process, &command));
    process.kill_9();
    let receipts = [one, other].map(|answer| answer.expect(200).json()["value"].clone());
    let already: Vec<&Value> = receipts.iter().map(|receipt| &receipt["already"]).collect();
    assert!(already.contains(&&json!(true)) && already.contains(&&json!(false)), "{receipts:?}");
    let process = process.restart().await;
    process.refuses(&device.access()).await;
}
