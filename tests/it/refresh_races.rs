//! Refreshes and logins race whatever ends access, on two nodes of one PostgreSQL, some thousands of times. No token
//! that any of them has given outlives the act, whichever came first.
//!
//! The steps after the password are raced, which take a millisecond: with the password's hash before them nearly all
//! rounds would be decided by it. Each round begins them at other moments.

use std::{
    cell::Cell,
    collections::BTreeSet,
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering},
};

use kickout::{
    clock::Timestamp,
    config::Strategy,
    ids::{Generation, SessionId, Subject},
    revocation::{Act, Patience},
    sessions::{AuthError, Error, Sessions, devices::Client},
    tokens::IssuedToken,
    users::{Created, Username, Users},
};
use tokio::task::yield_now;

use crate::support::{app::TestApp, postgres::Server, redis::Redis, wait::all};

const KEY: &str = "6b69636b6f75742d7468652d74657374732d6b65792d6f662d33322d62797465";

/// Rounds of each act in each lane.
const ROUNDS: usize = 110;

/// Users that are raced side by side.
const LANES: usize = 4;

/// What a session's end is raced by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Logout,
    LogoutAll,
    KeepCurrent,
    Password,
    Ban,
    Roles,
    /// Of everybody: raced alone.
    Everything,
    /// Of the account: raced by one that is made for it.
    Delete,
}

const KINDS: [Kind; 6] = [Kind::Logout, Kind::LogoutAll, Kind::KeepCurrent, Kind::Password, Kind::Ban, Kind::Roles];

/// Numbers that look random and are the same in every run.
struct Dice(Cell<u64>);

impl Dice {
    fn roll(&self, sides: usize) -> usize {
        let next = self.0.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0.set(next);
        usize::try_from(next >> 33).unwrap() % sides
    }
}

/// How often a refresh of the raced session came to something, and how often it came too late.
#[derive(Default)]
struct Tally {
    won: AtomicU64,
    lost: AtomicU64,
}

/// What the racers of a round were given.
#[derive(Default)]
struct Given {
    access: Vec<IssuedToken>,
    refresh: Vec<(SessionId, String)>,
}

struct Lane {
    /// Whether credentials are sessions that are looked up, and not tokens.
    is_opaque: bool,
    nodes: [Sessions; 2],
    subject: Subject,
    dice: Dice,
    tally: Rc<Tally>,
}

impl Lane {
    fn node(&self) -> &Sessions {
        &self.nodes[self.dice.roll(2)]
    }

    fn users(&self) -> &Users {
        self.nodes[0].users()
    }

    /// Lets others go first, for a while that is another in each round.
    async fn dawdle(&self) {
        for _ in 0..self.dice.roll(60) {
            yield_now().await;
        }
    }

    /// Refreshes a session from its first token on, twice if it can.
    async fn refresh(&self, node: &Sessions, token: String) -> Given {
        self.dawdle().await;
        let (mut token, mut given) = (token, Given::default());
        for _ in 0..2 {
            match node.refresh(&token, &Client::default(), Patience::Complete).await {
                Ok(renewed) => {
                    let granted = renewed.granted;
                    granted.refresh.as_str().clone_into(&mut token);
                    given.refresh.push((granted.session, token.clone()));
                    given.access.push(granted.access);
                    self.tally.won.fetch_add(1, Ordering::Relaxed);
                }
                Err(Error::Credential(AuthError::Ended(_))) => {
                    self.tally.lost.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                // The row changed at each of its looks: that is said, and nothing was given.
                Err(Error::Conflict) => break,
                Err(other) => panic!("{other}"),
            }
        }
        given
    }

    /// What a login does after the password.
    async fn log_in(&self, node: &Sessions) -> Given {
        self.dawdle().await;
        match node.open_for(self.subject, &Client::default()).await {
            Ok(opened) => Given {
                refresh: vec![(opened.session, opened.refresh.as_str().to_owned())],
                access: vec![opened.access],
            },
            Err(Error::Banned | Error::Conflict | Error::NoSession) => Given::default(),
            Err(other) => panic!("{other}"),
        }
    }

    async fn act(&self, act: Act) {
        let node = self.node();
        self.dawdle().await;
        let receipt = node.revoker().revoke(act).await.expect("it is recorded").receipt;
        assert!(receipt.complete && !receipt.already, "{receipt:?}");
    }

    async fn round(&self, kind: Kind, round: usize) {
        let account = self.users().by_id(self.subject).await.unwrap().unwrap();
        let raced = self.node().open_for(self.subject, &Client::default()).await.unwrap();
        let (subject, session) = (self.subject, raced.session);
        let role = format!("round-{round}");
        let act = match kind {
            Kind::Logout => Act::Session { session, of: Some(subject) },
            Kind::LogoutAll => Act::Subject { subject, keep: None },
            Kind::KeepCurrent => Act::Subject { subject, keep: Some(session) },
            Kind::Password => {
                let (version, password) = (account.version, account.password.to_phc());
                Act::Password { subject, version, password, keep: None }
            }
            Kind::Ban => Act::Ban(subject),
            Kind::Roles => Act::Roles { subject, roles: vec![role.clone()] },
            Kind::Everything => Act::Everything,
            Kind::Delete => Act::Delete(subject),
        };
        let token = raced.refresh.as_str().to_owned();
        let [one, two] = &self.nodes;
        let (a, b, c, logged_in, ()) = tokio::join!(
            self.refresh(one, token.clone()),
            self.refresh(two, token.clone()),
            self.refresh(self.node(), token.clone()),
            self.log_in(self.node()),
            self.act(act),
        );
        let mut access = vec![raced.access];
        let mut refresh = vec![(session, token)];
        for given in [a, b, c, logged_in] {
            access.extend(given.access);
            refresh.extend(given.refresh);
        }
        let floor = self.generation().await;
        for token in &access {
            self.judge(kind, session, floor, &role, token).await;
        }
        self.judge_families(kind, session, &role, &refresh).await;
        if kind == Kind::Ban {
            assert_eq!(self.users().unban(subject).await.unwrap(), Some(true));
            for token in &access {
                assert!(!self.is_good(token).await, "an unban has revived a token");
            }
        }
        if kind == Kind::Delete {
            return;
        }
        // All that is left ends, so that the next round begins with nothing.
        one.revoker().revoke(Act::Subject { subject, keep: None }).await.unwrap();
        for token in &access {
            assert!(!self.is_good(token).await, "{kind:?}");
        }
    }

    /// Whether an access token must be dead, and is.
    async fn judge(&self, kind: Kind, session: SessionId, floor: Generation, role: &str, token: &IssuedToken) {
        let claims = &token.claims;
        let is_good = self.is_good(token).await;
        let what = format!("{kind:?}, {} of the raced session: {claims:?}", claims.sid == session);
        match kind {
            Kind::Logout => assert_eq!(is_good, claims.sid != session, "{what}"),
            Kind::KeepCurrent => assert_eq!(is_good, claims.sid == session || claims.generation >= floor, "{what}"),
            Kind::Ban | Kind::Delete => assert!(!is_good, "{what}"),
            // What is looked up is good if the session is, and has the new roles whenever it was issued.
            Kind::Roles if self.is_opaque => {
                if is_good {
                    let caller = self.node().authenticate(&token.text).await.unwrap();
                    assert_eq!(caller.claims.roles, [role.to_owned()], "{what}");
                }
            }
            // One with the old roles is dead, one with the new roles is not: whoever was told of the change can rely on it.
            Kind::Roles => assert_eq!(is_good, claims.roles == [role.to_owned()], "{what}"),
            Kind::LogoutAll | Kind::Password | Kind::Everything => {
                assert!(!is_good || claims.sid != session, "{what}");
                assert_eq!(is_good, claims.generation >= floor, "{what}");
            }
        }
    }

    /// Whether refresh tokens give what they may, and nothing else.
    async fn judge_families(&self, kind: Kind, session: SessionId, role: &str, refresh: &[(SessionId, String)]) {
        let distinct: BTreeSet<&(SessionId, String)> = refresh.iter().collect();
        for (of, token) in distinct {
            let is_raced = *of == session;
            match self.node().refresh(token, &Client::default(), Patience::Complete).await {
                Ok(renewed) => {
                    let may = match kind {
                        Kind::Logout | Kind::LogoutAll | Kind::Password | Kind::Everything => !is_raced,
                        Kind::Ban | Kind::Delete => false,
                        Kind::KeepCurrent | Kind::Roles => true,
                    };
                    assert!(may, "{kind:?}: a session that has ended refreshes");
                    let access = &renewed.granted.access;
                    assert!(self.is_good(access).await, "{kind:?}: a new token of a living session is dead");
                    if kind == Kind::Roles {
                        assert_eq!(access.claims.roles, [role.to_owned()]);
                    }
                }
                Err(Error::Credential(AuthError::Ended(_))) => {
                    let must_live = matches!(kind, Kind::Roles) || (kind == Kind::KeepCurrent && is_raced);
                    assert!(!must_live, "{kind:?}: a session that lives on does not refresh");
                }
                Err(other) => panic!("{kind:?}: {other}"),
            }
        }
    }

    async fn is_good(&self, token: &IssuedToken) -> bool {
        let mut said = Vec::new();
        for node in &self.nodes {
            said.push(match node.authenticate(&token.text).await {
                Ok(_) => true,
                Err(AuthError::Ended(_) | AuthError::TakenBack(_)) => false,
                Err(other) => panic!("{other}"),
            });
        }
        assert_eq!(said[0], said[1], "the nodes do not agree");
        said[0]
    }

    /// The user's generation: what the newest floor lets live.
    async fn generation(&self) -> Generation {
        let opened = self.nodes[0].open_for(self.subject, &Client::default()).await;
        match opened {
            Ok(opened) => opened.access.claims.generation,
            // The floor of a ban is above all there is, and that of an account that is gone.
            Err(Error::Banned | Error::NoSession) => Generation(i64::MAX),
            Err(other) => panic!("{other}"),
        }
    }
}

/// Two nodes on one database, and the Redis that they need for their strategy.
async fn pair(strategy: Strategy) -> (TestApp, TestApp, Option<Redis>) {
    let url = Server::shared().database().await;
    let redis = strategy.needs_redis().then(Redis::start);
    let node = || {
        TestApp::start_with(|config| {
            config.database.url = url.clone().into();
            config.tokens.key_encryption_key = KEY.to_owned().into();
            config.revocation.strategy = strategy;
            if let Some(redis) = &redis {
                config.redis.url = redis.url().into();
                // What a machine with other work to do may take.
                config.redis.timeout = kickout::config::Span::from_secs(5);
            }
        })
    };
    (node().await, node().await, redis)
}

fn lane((one, two): (&TestApp, &TestApp), strategy: Strategy, subject: Subject, seed: u64, tally: &Rc<Tally>) -> Lane {
    Lane {
        is_opaque: matches!(strategy, Strategy::SessionRedis | Strategy::SessionSql),
        nodes: [one.sessions().clone(), two.sessions().clone()],
        subject,
        dice: Dice(Cell::new(seed)),
        tally: Rc::clone(tally),
    }
}

async fn race(strategy: Strategy, rounds: usize) {
    let (one, two, _redis) = pair(strategy).await;
    let tally = Rc::new(Tally::default());
    let lanes = all((0..LANES).map(|n| {
        let (one, two, tally) = (&one, &two, Rc::clone(&tally));
        async move {
            let user = one.sign_up(&format!("user-{n}")).await;
            lane((one, two), strategy, user.subject.parse().unwrap(), n as u64 + 1, &tally)
        }
    }))
    .await;
    let lanes = lanes.into_iter().map(|lane| async move {
        for round in 0..rounds {
            for kind in KINDS {
                Box::pin(lane.round(kind, round)).await;
            }
        }
    });
    all(lanes).await;
    let (won, lost) = (tally.won.load(Ordering::Relaxed), tally.lost.load(Ordering::Relaxed));
    let least = 4 * rounds as u64;
    assert!(won > least && lost > least, "both happen, often: {won} came first, {lost} too late");
}

async fn race_the_end_of_everything(strategy: Strategy, rounds: usize) {
    let (one, two, _redis) = pair(strategy).await;
    let user = one.sign_up("alice").await;
    let lane = |subject: Subject, seed: u64| lane((&one, &two), strategy, subject, seed, &Rc::default());
    let alice = lane(user.subject.parse().unwrap(), 1);
    let users = one.sessions().users();
    let password = users.by_id(alice.subject).await.unwrap().unwrap().password;
    for round in 0..rounds {
        Box::pin(alice.round(Kind::Everything, round)).await;
        let name = Username::parse(&format!("bob-{round}")).unwrap();
        let Created::User(bob) = users.create(&name, &password, &[], Timestamp::from_millis(0)).await.unwrap() else {
            panic!("{name:?} is new")
        };
        Box::pin(lane(bob.id, round as u64).round(Kind::Delete, round)).await;
    }
}

#[tokio::test]
async fn no_token_of_a_refresh_or_a_login_outlives_the_act_that_it_races() {
    race(Strategy::Hybrid, ROUNDS).await;
}

#[tokio::test]
async fn no_token_outlives_the_end_of_everything_or_of_its_account_that_it_races() {
    race_the_end_of_everything(Strategy::Hybrid, 150).await;
}

macro_rules! also {
    ($($name:ident: $strategy:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $name() {
            race(Strategy::$strategy, ROUNDS / 4).await;
            race_the_end_of_everything(Strategy::$strategy, 30).await;
        }
    )*};
}

// Nothing outlives it under the other strategies either that take back at once.
also!(exact: Exact, redis: Redis, session_redis: SessionRedis, session_sql: SessionSql);

#[tokio::test]
async fn tabs_that_refresh_at_once_on_two_nodes_get_one_successor() {
    let (one, two, _) = pair(Strategy::Hybrid).await;
    let user = one.sign_up("alice").await;
    let subject: Subject = user.subject.parse().unwrap();
    for _ in 0..150 {
        let opened = one.sessions().open_for(subject, &Client::default()).await.unwrap();
        let tabs = (0..8).map(|tab| {
            let node = [&one, &two][tab % 2].sessions().clone();
            let token = opened.refresh.as_str().to_owned();
            async move { node.refresh(&token, &Client::default(), Patience::Complete).await.expect("a successor") }
        });
        let renewed = all(tabs).await;
        let tokens: BTreeSet<&str> = renewed.iter().map(|renewed| renewed.granted.refresh.as_str()).collect();
        assert_eq!(tokens.len(), 1, "one successor");
        assert_eq!(renewed.iter().filter(|renewed| !renewed.is_absorbed).count(), 1, "one has made it");
        for (tab, renewed) in renewed.iter().enumerate() {
            let node = [&one, &two][(tab + 1) % 2].sessions();
            assert!(node.authenticate(&renewed.granted.access.text).await.is_ok(), "it is good on the other node");
        }
        one.sessions().end_session(opened.session, subject, Patience::Complete).await.unwrap();
    }
}
