//! What a login or a refresh does when it must wait for a row in the middle of its work, and the world has changed when
//! it goes on: the races of [`refresh_races`](super::refresh_races), each held open at its one dangerous moment.
//!
//! A rival transaction holds a row, or the ledger's head, until the test lets it go. An act that waits for the head has
//! changed its rows already, and nobody can see that yet.

use std::{sync::Arc, time::Duration};

use kickout::{
    clock::{Clock, ManualClock},
    config::Span,
    ids::{SessionId, Subject, TokenId},
    revocation::{Act, Patience},
    sessions::{AuthError, Error, Opened, Sessions, devices::Client, renewal::Renewed},
    tokens::IssuedToken,
};
use sqlx::{Connection, Executor, PgConnection};
use tokio::task::JoinHandle;

use crate::support::{
    app::TestApp,
    postgres::{self, Server},
    wait::eventually,
};

const KEY: &str = "6b69636b6f75742d7468652d74657374732d6b65792d6f662d33322d62797465";

/// How many statements of one kind wait for somebody else's lock. Others may wait, too: the node has tasks of its own.
macro_rules! waiting {
    ($like:literal) => {
        concat!(
            "SELECT count(*) FROM pg_stat_activity
             WHERE wait_event_type = 'Lock' AND datname = current_database() AND query LIKE '",
            $like,
            "'"
        )
    };
}

/// An act that has done all but take its number.
const ACT: &str = waiting!("SELECT%highest_generation%FOR UPDATE%");
/// The write of a login.
const LOGIN: &str = waiting!("INSERT INTO sessions%");
/// The write of a refresh.
const REFRESH: &str = waiting!("UPDATE sessions%counter%");

/// A node on a database of its own, and somebody who is logged in.
struct Stand {
    app: TestApp,
    url: String,
    subject: Subject,
    opened: Opened,
}

impl Stand {
    async fn at(clock: Clock) -> Self {
        let url = Server::shared().database().await;
        let app = TestApp::start_at(clock, |config| {
            config.database.url = url.clone().into();
            config.tokens.key_encryption_key = KEY.to_owned().into();
            // What a test does to the database behind the node's back it is not to find by itself.
            config.revocation.lease = Span::from_secs(300);
            config.revocation.pull = Span::from_secs(10);
        })
        .await;
        let subject = app.sign_up("alice").await.subject.parse().unwrap();
        let opened = app.sessions().open_for(subject, &Client::default()).await.unwrap();
        Self { app, url, subject, opened }
    }

    async fn start() -> Self {
        Self::at(Clock::System).await
    }

    fn session(&self) -> SessionId {
        self.opened.session
    }

    /// Holds what these statements lock.
    async fn hold(&self, statements: &str) -> Hold {
        Hold(postgres::begin(&self.url, statements).await)
    }

    /// Holds the row of the session.
    async fn hold_session(&self) -> Hold {
        self.hold(&format!("SELECT id FROM sessions WHERE id = '{}' FOR UPDATE", self.session())).await
    }

    /// Holds the ledger's head: who records has done all but that.
    async fn hold_head(&self) -> Hold {
        self.hold("SELECT seq FROM head FOR UPDATE").await
    }

    /// Waits until a task waits for a lock, or is over without.
    async fn until_waiting<T>(&self, statement: &'static str, task: &Task<T>) {
        eventually!(task.0.is_finished() || postgres::number(&self.url, statement).await > 0);
    }

    fn sessions(&self) -> Sessions {
        self.app.sessions().clone()
    }

    fn log_in(&self) -> Task<Result<Opened, Error>> {
        let (sessions, subject) = (self.sessions(), self.subject);
        Task::of(async move { sessions.open_for(subject, &Client::default()).await })
    }

    /// Refreshes with the first token of the session.
    fn refresh(&self) -> Task<Result<Renewed, Error>> {
        let (sessions, token) = (self.sessions(), self.opened.refresh.clone());
        Task::of(async move { sessions.refresh(token.as_str(), &Client::default(), Patience::Complete).await })
    }

    fn act(&self, act: Act) -> Task<()> {
        let sessions = self.sessions();
        Task::of(async move {
            let receipt = sessions.revoker().revoke(act).await.expect("it is recorded").receipt;
            assert!(receipt.complete && !receipt.already, "{receipt:?}");
        })
    }

    async fn is_good(&self, token: &IssuedToken) -> bool {
        match self.app.sessions().authenticate(&token.text).await {
            Ok(_) => true,
            Err(AuthError::Ended(_) | AuthError::TakenBack(_)) => false,
            Err(other) => panic!("{other}"),
        }
    }
}

/// What goes on beside the test. It ends with the test.
struct Task<T>(JoinHandle<T>);

impl<T: Send + 'static> Task<T> {
    fn of(work: impl Future<Output = T> + Send + 'static) -> Self {
        #[expect(clippy::disallowed_methods, reason = "it is awaited, or ended when it is dropped")]
        Self(tokio::spawn(work))
    }

    async fn end(mut self) -> T {
        (&mut self.0).await.expect("it has not panicked")
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A rival transaction. What it holds goes with it.
struct Hold(PgConnection);

impl Hold {
    async fn end(mut self, how: &'static str) {
        self.0.execute(how).await.expect("it ends");
        self.0.close().await.expect("a server");
    }

    async fn let_go(self) {
        self.end("ROLLBACK").await;
    }

    async fn commit(self) {
        self.end("COMMIT").await;
    }
}

/// A revocation that comes while the write waits is not to be outlived by the token, so the token is as old as the request.
#[tokio::test]
async fn a_token_is_as_old_as_its_request_however_long_its_write_waits() {
    let clock = ManualClock::at(Clock::System.wall().as_millis());
    let stand = Stand::at(Clock::Manual(Arc::clone(&clock))).await;
    let hour = Duration::from_hours(1);
    let user = format!("SELECT id FROM users WHERE id = '{}' FOR UPDATE", stand.subject);

    let (hold, before) = (stand.hold(&user).await, stand.app.sessions().clock().now());
    let login = stand.log_in();
    stand.until_waiting(LOGIN, &login).await;
    clock.advance(hour);
    hold.let_go().await;
    let claims = login.end().await.unwrap().access.claims;
    assert!(claims.iat - before.as_secs() < 60, "a login that has waited for an hour: {claims:?}");

    let (hold, before) = (stand.hold_session().await, stand.app.sessions().clock().now());
    let refresh = stand.refresh();
    stand.until_waiting(REFRESH, &refresh).await;
    clock.advance(hour);
    hold.let_go().await;
    let claims = refresh.end().await.unwrap().granted.access.claims;
    assert!(claims.iat - before.as_secs() < 60, "a refresh that has waited for an hour: {claims:?}");
}

/// Its user's row is held by the act: the login comes after it, and is not dead in the one place and alive in the other.
#[tokio::test]
async fn a_login_waits_for_the_act_that_ends_its_user() {
    let stand = Stand::start().await;
    let hold = stand.hold_head().await;
    let act = stand.act(Act::Subject { subject: stand.subject, keep: None });
    stand.until_waiting(ACT, &act).await;
    let login = stand.log_in();
    stand.until_waiting(LOGIN, &login).await;
    hold.let_go().await;
    let opened = login.end().await.unwrap();
    act.end().await;
    assert!(stand.is_good(&opened.access).await, "it is a login from after the logout");
    assert!(!stand.is_good(&stand.opened.access).await);
    stand.app.sessions().refresh(opened.refresh.as_str(), &Client::default(), Patience::Complete).await.unwrap();
}

/// Two refreshes have come before it, so its token is an old one by now.
#[tokio::test]
async fn a_refresh_that_was_overtaken_does_not_turn_the_family_back() {
    let stand = Stand::start().await;
    let overtake = format!(
        "UPDATE sessions SET counter = 2, rotated_at = 0, burst_counter = 0, burst_at = 0 WHERE id = '{}'",
        stand.session()
    );
    let hold = stand.hold(&overtake).await;
    let refresh = stand.refresh();
    stand.until_waiting(REFRESH, &refresh).await;
    hold.commit().await;
    let refused = refresh.end().await;
    assert!(matches!(refused, Err(Error::Reused)), "{refused:?}");
    assert_eq!(postgres::number(&stand.url, "SELECT max(counter) FROM sessions").await, 2);
}

#[tokio::test]
async fn a_refresh_that_waited_for_new_roles_carries_them() {
    let stand = Stand::start().await;
    let hold = stand.hold_head().await;
    let roles = vec!["auditor".to_owned()];
    let act = stand.act(Act::Roles { subject: stand.subject, roles: roles.clone() });
    stand.until_waiting(ACT, &act).await;
    let refresh = stand.refresh();
    stand.until_waiting(REFRESH, &refresh).await;
    hold.let_go().await;
    let access = refresh.end().await.unwrap().granted.access;
    act.end().await;
    assert_eq!(access.claims.roles, roles);
    assert!(stand.is_good(&access).await);
}

#[tokio::test]
async fn a_refresh_that_waited_for_the_end_of_its_session_is_refused() {
    let stand = Stand::start().await;
    let hold = stand.hold_head().await;
    let act = stand.act(Act::Session { session: stand.session(), of: None });
    stand.until_waiting(ACT, &act).await;
    let refresh = stand.refresh();
    stand.until_waiting(REFRESH, &refresh).await;
    hold.let_go().await;
    let refused = refresh.end().await;
    assert!(matches!(refused, Err(Error::Credential(AuthError::Ended(_)))), "{refused:?}");
    act.end().await;
}

/// What ends everything changes no session's row. The token says what its session had, and so it is dead.
#[tokio::test]
async fn a_refresh_that_was_overtaken_by_the_end_of_everything_gives_nothing_that_is_good() {
    let stand = Stand::start().await;
    let hold = stand.hold_session().await;
    let refresh = stand.refresh();
    stand.until_waiting(REFRESH, &refresh).await;
    stand.act(Act::Everything).end().await;
    hold.let_go().await;
    if let Ok(renewed) = refresh.end().await {
        assert!(!stand.is_good(&renewed.granted.access).await, "{renewed:?}");
    }
    let next = stand.app.sessions().open_for(stand.subject, &Client::default()).await.unwrap();
    assert!(stand.is_good(&next.access).await);
}

/// Whoever sets these by hand, or begins another life of the ledger while a node runs, is heeded by the next refresh.
#[tokio::test]
async fn a_session_of_a_banned_user_or_of_another_life_of_the_ledger_gets_nothing() {
    for change in ["UPDATE users SET banned_at = 1", "UPDATE head SET ledger = gen_random_uuid()"] {
        let stand = Stand::start().await;
        postgres::run(&stand.url, change).await;
        let refused = stand.refresh().end().await;
        assert!(matches!(refused, Err(Error::Credential(AuthError::Ended(_)))), "{change}: {refused:?}");
    }
}

/// A server that another one has replaced may still answer. What it says of a session is not true any more.
#[tokio::test]
async fn a_server_that_knows_less_than_the_node_is_not_believed() {
    let stand = Stand::start().await;
    stand.act(Act::Token(TokenId::random())).end().await;
    // Fewer transactions, or as many and other ones.
    for (lost, found) in [("seq = seq - 1", "seq = seq + 1"), ("tag = tag # 1", "tag = tag # 1")] {
        postgres::run(&stand.url, &format!("UPDATE head SET {lost}")).await;
        let refused = stand.refresh().end().await;
        assert!(matches!(&refused, Err(Error::Database(error)) if error.is_temporary()), "{lost}: {refused:?}");
        postgres::run(&stand.url, &format!("UPDATE head SET {found}")).await;
    }
    stand.refresh().end().await.unwrap();
}
