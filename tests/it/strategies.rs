//! The strategies: one contract, and which strategy promises what of it.
//!
//! [`PROMISES`] is a table of strategies and promises, and each cell is tried on two real nodes on one PostgreSQL, with a
//! Redis: where it says yes, the attempt to break the promise fails, and where it says no, it succeeds. So the table is
//! neither more nor less than the truth.
//!
//! What the words mean where they were not made for a strategy: *in force* is what an answer has claimed with `complete`,
//! and what `stateless` never claims it cannot break. Every strategy promises that a session which has ended gets no new
//! credential; that is part of the third and the fifth.

use std::time::Duration;

use http::Method;
use kickout::{admin::Command, clock::Clock};
use serde_json::{Value, json};

use crate::support::{
    answer::Answer,
    app::TestApp,
    chaos::Mode,
    client::{Device, User, text},
    cluster::{Cluster, Node, Plan, SLACK},
    operator,
    postgres::{self, Server},
    process::Process,
    redis::Redis,
    wait::eventually,
};

/// What is promised: linearizable logout, a bounded wait, durability beyond Redis, self-fencing, no resurrection, no false
/// denial, and checks that ask nobody.
const PROMISES: [(&str, [bool; 7]); 6] = [
    ("hybrid", [true, true, true, true, true, true, true]),
    ("exact", [true, true, true, true, true, true, true]),
    ("stateless", [false, true, true, false, true, true, true]),
    ("redis", [true, true, false, true, true, true, false]),
    ("session-redis", [true, true, false, true, true, true, false]),
    ("session-sql", [true, true, true, true, true, true, false]),
];

/// Short, so that a test can see the end of it.
const LEASE: &str = "3s";

/// A cluster under one strategy.
struct Stand {
    strategy: &'static str,
    redis: Redis,
    cluster: Cluster,
}

/// What a node answers for a credential: the status, and the problem's kind.
async fn asked(node: &Node, credential: &str) -> (u16, String) {
    let answer = node.get("/v1/auth/verify").bearer(credential).await;
    (answer.status.as_u16(), answer.problem().unwrap_or_default())
}

/// Whether a node lets a credential in. "I do not know" is not yes.
async fn lets_in(node: &Node, credential: &str) -> bool {
    let (status, problem) = asked(node, credential).await;
    assert!([200, 401, 503].contains(&status), "{status} {problem}");
    status == 200
}

impl Stand {
    async fn of(strategy: &'static str) -> Self {
        let redis = Redis::start();
        let url = Server::shared().database().await;
        let plan = Plan::new(&url, 2).set("REVOCATION__LEASE", LEASE).set("REVOCATION__STRATEGY", strategy);
        let plan = plan.set("SESSIONS__REFRESH_GRACE", "0s");
        let cluster = plan.with_redis(redis.port()).start().await;
        Self { strategy, redis, cluster }
    }

    fn promises(&self) -> [bool; 7] {
        PROMISES.iter().find(|(name, _)| *name == self.strategy).expect("in the table").1
    }

    fn node(&self, i: usize) -> &Node {
        self.cluster.node(i)
    }

    /// Whether any node lets a credential in.
    async fn anybody_lets_in(&self, credential: &str) -> bool {
        lets_in(self.node(0), credential).await || lets_in(self.node(1), credential).await
    }

    /// Whether any node lets a credential in without the role that its user has by now: a session that is looked up has it
    /// at once, a token must be replaced.
    async fn anybody_knows_old_roles(&self, credential: &str) -> bool {
        let mut is_old = false;
        for i in 0..2 {
            let answer = self.node(i).get("/v1/auth/verify").bearer(credential).await;
            is_old |= answer.status == 200 && answer.header("x-auth-roles") != Some("admin");
        }
        is_old
    }

    /// Whether all nodes do.
    async fn all_let_in(&self, credential: &str) -> bool {
        lets_in(self.node(0), credential).await && lets_in(self.node(1), credential).await
    }

    /// A refresh with a device's token gets nothing, at either node.
    async fn gets_nothing_new(&self, device: &Device, what: &str) {
        for i in 0..2 {
            let body = json!({"refresh_token": device.refresh()});
            let answer = self.node(i).post("/v1/auth/refresh").json(&body).await;
            let said = (answer.status.as_u16(), answer.problem());
            assert_eq!(said, (401, Some("session-ended".to_owned())), "{what} at {i}: {answer}");
        }
    }

    /// Each act that ends access, on a user and two devices of theirs; the receipts, and the credentials that died.
    async fn acts(&self) -> Vec<(&'static str, Value, Vec<Device>)> {
        let mut done = Vec::new();
        for act in
            ["logout", "again", "everywhere", "elsewhere", "password", "session", "ban", "roles", "user", "reuse"]
        {
            let user = self.cluster.user().await;
            let (one, two) = (user.log_in_for_bearer().await, user.log_in_for_bearer().await);
            assert!(self.all_let_in(&one.access()).await && self.all_let_in(&two.access()).await, "{act}");
            let (receipt, dead) = self.act(act, &user, one, two).await;
            done.push((act, receipt, dead));
        }
        done
    }

    async fn act(&self, act: &str, user: &User, one: Device, two: Device) -> (Value, Vec<Device>) {
        let process: &Process = self.node(0);
        let post =
            async |path: &str, body: Value| self.node(0).post(path).bearer(&one.access()).json(&body).await.json();
        match act {
            "logout" => (post("/v1/auth/logout", json!({})).await, vec![one]),
            "again" => {
                post("/v1/auth/logout", json!({})).await;
                let body = json!({"refresh_token": one.refresh()});
                (self.node(1).post("/v1/auth/logout").json(&body).await.json(), vec![one])
            }
            "everywhere" => (post("/v1/auth/logout-all", json!({})).await, vec![one, two]),
            "elsewhere" => {
                let receipt = post("/v1/auth/logout-all", json!({"keep_current": true})).await;
                assert!(self.all_let_in(&text(&receipt["access_token"])).await, "who asked goes on");
                (receipt, vec![two])
            }
            "password" => {
                let body = json!({"current": user.credentials()["password"], "new": "harbour-violet-anvil-thicket"});
                let receipt = post("/v1/auth/password", body).await;
                assert!(self.all_let_in(&text(&receipt["access_token"])).await, "who asked goes on");
                (receipt, vec![two])
            }
            "session" => {
                let path = format!("/v1/auth/sessions/{}", two.session());
                let answer = self.node(0).call(Method::DELETE, &path).bearer(&one.access()).await;
                assert!(self.all_let_in(&one.access()).await, "who asked goes on");
                (answer.json(), vec![two])
            }
            "ban" => (operate(process, &json!({"command": "user_ban", "user": user.name})).await, vec![one, two]),
            "user" => (operate(process, &json!({"command": "revoke_user", "user": user.name})).await, vec![one, two]),
            "roles" => {
                let command = json!({"command": "user_roles", "user": user.name, "roles": ["admin"]});
                let receipt = operate(process, &command).await;
                // Its sessions go on, with the new roles.
                let answer = two.renew().await.json();
                let verified = self.node(1).get("/v1/auth/verify").bearer(&text(&answer["access_token"])).await;
                assert_eq!(verified.expect(200).header("x-auth-roles"), Some("admin"));
                (receipt, vec![one])
            }
            "reuse" => {
                let body = json!({"refresh_token": one.refresh()});
                let next = self.node(0).post("/v1/auth/refresh").json(&body).await.expect(200).json();
                assert!(self.all_let_in(&text(&next["access_token"])).await);
                // The grace is 0 s: it is late at once, but for the milliseconds that another node's clock may be behind.
                let refresh = async || self.node(1).post("/v1/auth/refresh").json(&body).await;
                let mut refused = refresh().await;
                eventually!({
                    if refused.status == 200 {
                        refused = refresh().await;
                    }
                    refused.status != 200
                });
                refused.is_problem(401, "session-ended");
                (json!({"complete": self.promises()[0], "in_force_at": "not told"}), vec![one])
            }
            other => panic!("{other}"),
        }
    }
}

/// An operator's act; its receipt.
async fn operate(process: &Process, command: &Value) -> Value {
    operator::ask(process, command).await.expect(200).json()["value"].clone()
}

/// P1: what a complete receipt says is true at once on all nodes, and every act gets one.
async fn linearizable(stand: &Stand) -> bool {
    let mut holds = true;
    for (act, receipt, dead) in stand.acts().await {
        let is_complete = receipt["complete"].as_bool().unwrap_or_else(|| panic!("{act}: {receipt}"));
        holds &= is_complete;
        assert_eq!(
            is_complete,
            receipt.get("in_force_at").is_none() || act == "reuse" && is_complete,
            "{act}: {receipt}"
        );
        for device in &dead {
            let is_let_in = if act == "roles" {
                stand.anybody_knows_old_roles(&device.access()).await
            } else {
                stand.anybody_lets_in(&device.access()).await
            };
            assert!(!is_let_in || !is_complete, "{act}: {receipt} and it is let in");
            holds &= !is_let_in;
            if act != "roles" {
                stand.gets_nothing_new(device, act).await;
            }
        }
    }
    holds
}

/// P2: an answer comes, whoever is dead, or stands still: within a hold, a quarter and a margin.
async fn bounded(stand: &Stand, url: &str) -> bool {
    let user = stand.cluster.user().await;
    let device = user.log_in_for_bearer().await;
    let kin = if ["hybrid", "exact"].contains(&stand.strategy) { "memory" } else { stand.strategy };
    let row = format!(
        "INSERT INTO nodes (id, applied, hold, name, kin, started_at)
         VALUES ('3f0e8c1a-6d2b-4c57-9a41-0b6f5d2e7c88', 0, 3000, 'dead', '{kin}', 0)"
    );
    postgres::run(url, &row).await;
    stand.redis.pause();
    let since = Clock::System.boottime();
    let answer = stand.node(0).post("/v1/auth/logout").bearer(&device.access()).json(&json!({})).await;
    let took = Clock::System.boottime().since(since);
    stand.redis.unpause();
    assert!([200, 202].contains(&answer.status.as_u16()), "{answer}");
    // What could not be told in time is told later.
    if stand.promises()[0] {
        eventually!(!stand.anybody_lets_in(&device.access()).await);
        let place = format!("/v1/revocations/{}", answer.json()["seq"]);
        eventually!(stand.node(1).get(&place).await.status == 200);
    }
    took < stand.cluster.longest_wait() + SLACK
}

/// P3: Redis loses single entries, and fails over to a replica that has not heard of a logout; what was in force still is.
async fn durable(stand: &mut Stand) -> bool {
    let device = stand.cluster.user().await.log_in_for_bearer().await;
    let ends = async |stand: &Stand, device: &Device| {
        assert!(stand.all_let_in(&device.access()).await);
        let answer = stand.node(0).post("/v1/auth/logout").bearer(&device.access()).json(&json!({})).await;
        assert!([200, 202].contains(&answer.status.as_u16()), "{answer}");
        stand.anybody_lets_in(&device.access()).await
    };
    let was_in = ends(stand, &device).await;
    let script = "for _, key in ipairs(redis.call('KEYS', '*')) do
        if string.match(key, ':[tsuf]:') then redis.call('DEL', key) end end";
    stand.redis.command(&["EVAL", script, "0"]);
    let holds = stand.anybody_lets_in(&device.access()).await == was_in;

    let device = stand.cluster.user().await.log_in_for_bearer().await;
    let replica = Redis::start();
    let port = stand.redis.port().to_string();
    replica.command(&["REPLICAOF", "127.0.0.1", &port]);
    eventually!(replica.text(&["INFO", "replication"]).contains("master_link_status:up"));
    // From here on it hears nothing.
    replica.command(&["REPLICAOF", "NO", "ONE"]);
    let was_in = ends(stand, &device).await;
    for node in &stand.cluster.nodes {
        node.redis.as_ref().expect("with Redis").lead_to(replica.port());
    }
    stand.redis.stop();
    stand.gets_nothing_new(&device, "failed over").await;
    // In the end it is told what it has not heard.
    eventually!(stand.anybody_lets_in(&device.access()).await == was_in);
    let other = stand.cluster.user().await;
    let stays = log_in(stand.node(0), &other).await;
    eventually!(stand.all_let_in(&stays).await);
    stand.redis = replica;
    holds
}

/// Logs in as soon as that can be done.
async fn log_in(node: &Node, user: &User) -> String {
    let mut body = user.credentials();
    body["delivery"] = "body".into();
    let mut access = None;
    eventually!({
        let answer = node.post("/v1/auth/login").json(&body).await;
        assert!([200, 503].contains(&answer.status.as_u16()), "{answer}");
        access = (answer.status == 200).then(|| text(&answer.json()["access_token"]));
        access.is_some()
    });
    access.expect("logged in")
}

/// P4 and P7: a node that is cut off from everything lets in nobody whom another one has ended since, and until its hold
/// is over those who are alive, if its checks ask nobody.
async fn fenced_and_free(stand: &Stand) -> (bool, bool) {
    let user = stand.cluster.user().await;
    let (stays, goes) = (log_in(stand.node(0), &user).await, log_in(stand.node(1), &user).await);
    assert!(stand.all_let_in(&stays).await && stand.all_let_in(&goes).await);
    let cut = stand.node(0);
    let links = || [&cut.sql, cut.redis.as_ref().expect("with Redis")];
    for link in links() {
        link.set(Mode::Cut);
    }
    let is_free = lets_in(cut, &stays).await;
    let answer = stand.node(1).post("/v1/auth/logout").bearer(&goes).json(&json!({})).await;
    assert!([200, 202].contains(&answer.status.as_u16()), "{answer}");
    let is_fenced = !lets_in(cut, &goes).await;
    for link in links() {
        link.set(Mode::Pass);
    }
    eventually!(lets_in(cut, &stays).await);
    (is_fenced, is_free)
}

/// P5: what was denied stays denied when Redis is empty and all nodes were killed.
async fn no_resurrection(stand: &mut Stand) -> bool {
    let mut denied = Vec::new();
    for (act, _, dead) in stand.acts().await {
        for device in dead.into_iter().filter(|_| act != "roles") {
            if !stand.anybody_lets_in(&device.access()).await {
                denied.push(device.access());
            }
        }
    }
    let user = stand.cluster.user().await;
    let ended = user.log_in_for_bearer().await;
    let answer = stand.node(1).post("/v1/auth/logout").bearer(&ended.access()).json(&json!({})).await;
    assert!([200, 202].contains(&answer.status.as_u16()), "{answer}");
    let mut holds = true;
    for flushes in [false, true] {
        for i in 0..2 {
            stand.cluster.node_mut(i).kill_9();
        }
        if flushes {
            stand.redis.command(&["FLUSHALL"]);
        }
        for i in 0..2 {
            stand.cluster.node_mut(i).restart().await;
        }
        for credential in &denied {
            holds &= !stand.anybody_lets_in(credential).await;
        }
        stand.gets_nothing_new(&ended, "killed").await;
    }
    holds
}

/// P6: whoever is logged in is let in, whatever happens to others.
async fn no_false_denial(stand: &Stand) -> bool {
    let mut holds = true;
    for _ in 0..5 {
        let (user, other) = (stand.cluster.user().await, stand.cluster.user().await);
        let (mine, theirs) = (user.log_in_for_bearer().await, other.log_in_for_bearer().await);
        let everywhere = stand.node(1).post("/v1/auth/logout-all").bearer(&theirs.access()).json(&json!({})).await;
        assert!([200, 202].contains(&everywhere.status.as_u16()), "{everywhere}");
        // In the same second, and it is another session.
        let again = other.log_in_for_bearer().await;
        holds &= stand.all_let_in(&mine.access()).await && stand.all_let_in(&again.access()).await;
        let renewed = mine.renew().await.json();
        holds &= stand.all_let_in(&text(&renewed["access_token"])).await;
    }
    holds
}

async fn keeps_what_it_promises(strategy: &'static str) {
    let mut stand = Stand::of(strategy).await;
    let linearizable = linearizable(&stand).await;
    let no_false_denial = no_false_denial(&stand).await;
    let (fenced, free) = fenced_and_free(&stand).await;
    let no_resurrection = no_resurrection(&mut stand).await;
    let durable = durable(&mut stand).await;
    let bounded = bounded(&stand, stand.cluster.url()).await;
    let held = [linearizable, bounded, durable, fenced, no_resurrection, no_false_denial, free];
    assert_eq!(held, stand.promises(), "{strategy}: P1 to P7");
}

macro_rules! contract {
    ($($name:ident: $strategy:literal),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            keeps_what_it_promises($strategy).await;
        }
    )*};
}

contract!(
    hybrid: "hybrid",
    exact: "exact",
    stateless: "stateless",
    redis: "redis",
    session_redis: "session-redis",
    session_sql: "session-sql",
);

fn in_force_at(answer: &Answer) -> i64 {
    let text = text(&answer.json()["in_force_at"]);
    let at = time::OffsetDateTime::parse(&text, &time::format_description::well_known::Rfc3339).expect("RFC 3339");
    at.unix_timestamp()
}

#[tokio::test]
async fn a_receipt_of_stateless_says_when_the_token_will_have_expired() {
    let app = TestApp::start_with(|config| config.revocation.strategy = kickout::config::Strategy::Stateless).await;
    let device = app.sign_up("ada").await.log_in_for_bearer().await;
    let answer = app.post("/v1/auth/logout").bearer(&device.access()).await.expect(202);
    let (now, ttl) = (Clock::System.wall().as_secs(), 15 * 60);
    let at = in_force_at(&answer);
    assert!((now + ttl..now + 2 * ttl).contains(&at), "{answer}");
    assert_eq!(answer.json()["applied"], json!({"nodes": 0, "of": 1}));
    let place = answer.header("location").expect("where to ask again").to_owned();
    assert_eq!(app.get(&place).await.expect(202).json()["complete"], false);
    assert!(app.is_good(&device.access()).await, "it is stateless");
    let claims = app.get("/v1/auth/verify").bearer(&device.access()).await.expect(200);
    assert_eq!(claims.header("x-auth-session"), Some(device.session().as_str()));
}

#[tokio::test]
async fn each_strategy_but_the_best_warns_at_its_start_of_what_it_does_not_promise() {
    for (strategy, word) in
        [("hybrid", None), ("exact", Some("memory")), ("stateless", Some("until it expires")), ("session-sql", None)]
    {
        let process = Process::start(&[("KICKOUT__REVOCATION__STRATEGY", strategy)]).await;
        let log = process.stdout() + &process.stderr();
        assert!(log.contains(&format!("strategy     {strategy}\n")), "{log}");
        assert_eq!(log.contains("revocation.strategy is"), word.is_some(), "{strategy}: {log}");
        assert!(word.is_none_or(|word| log.contains(word)), "{strategy}: {log}");
        let ready = process.manage(Method::GET, "/readyz").await.expect(200).json();
        assert_eq!(ready["strategy"], strategy);
    }
    for strategy in ["redis", "session-redis"] {
        let desk = operator::Desk::new();
        let mut command = desk.kickout("serve");
        command.env("KICKOUT__REVOCATION__STRATEGY", strategy);
        operator::outcome(command).await.says(2, &["redis.url", strategy]);
        let redis = Redis::start();
        let url = redis.url();
        let settings = [("KICKOUT__REVOCATION__STRATEGY", strategy), ("KICKOUT__REDIS__URL", url.as_str())];
        let process = Process::start(&settings).await;
        let log = process.stdout() + &process.stderr();
        assert!(log.contains("revocation.strategy is") && log.contains("while Redis is away"), "{log}");
    }
}

/// SQLite, one process: each strategy there.
#[tokio::test]
async fn a_process_of_its_own_logs_out_under_every_strategy() {
    for (strategy, promises) in PROMISES {
        let redis = Redis::start();
        let settings = [("KICKOUT__REVOCATION__STRATEGY", strategy), ("KICKOUT__REDIS__URL", &redis.url())];
        let process = Process::start(&settings).await;
        let user = process.sign_up("ada").await;
        let (one, two) = (user.log_in().await, user.log_in_for_bearer().await);
        for device in [&one, &two] {
            process.accepts(&device.access()).await;
        }
        let answer = one.post("/v1/auth/logout", &json!({})).await;
        assert_eq!(answer.status.as_u16(), if promises[0] { 200 } else { 202 }, "{strategy}: {answer}");
        assert!(!one.has_cookies(), "{strategy}: the browser has none any more");
        assert!(process.is_good(&two.access()).await, "{strategy}: a logout ends one session");
        let everything = operate(&process, &json!({"command": "revoke_everything"})).await;
        assert_eq!(everything["complete"], promises[0], "{strategy}");
        assert_eq!(process.is_good(&two.access()).await, !promises[0], "{strategy}");
        let again = user.log_in_for_bearer().await;
        assert!(process.is_good(&again.access()).await, "{strategy}");
        // Taken back by its key, a token is good nowhere, but its session goes on. Sessions have no key.
        if strategy == "redis" {
            let key = operator::ask(&process, &json!({"command": "keys_list"})).await.expect(200).json();
            let kid = text(&key["value"][0]["kid"]);
            assert_eq!(operate(&process, &json!({"command": "keys_retire", "kid": kid})).await["complete"], true);
            process.takes_back(&again.access()).await;
        }
        if strategy.starts_with("session") {
            let token = json!({"command": "revoke_token", "token": again.session()});
            let refused = operator::ask(&process, &token).await;
            assert!(refused.status == 422 && refused.text().contains("no tokens"), "{refused}");
        }
    }
}

/// Redis was emptied: with `redis` nobody is let in until it is filled again, and then who was ended is not; with
/// `session-redis` everybody refreshes.
#[tokio::test]
async fn a_redis_that_was_emptied_lets_nobody_back_in_and_logs_nobody_out() {
    for strategy in ["redis", "session-redis"] {
        let redis = Redis::start();
        let app = TestApp::start_with(|config| {
            config.redis.url = redis.url().into();
            config.revocation.strategy = serde_json::from_value(strategy.into()).expect("a strategy");
        })
        .await;
        let user = app.sign_up("ada").await;
        let (stays, goes) = (user.log_in_for_bearer().await, user.log_in_for_bearer().await);
        app.post("/v1/auth/logout").bearer(&goes.access()).await.expect(200);
        redis.command(&["FLUSHALL"]);
        let shown = async |token: String| app.get("/v1/auth/verify").bearer(&token).await;
        assert_ne!(shown(goes.access()).await.status, 200, "{strategy}");
        if strategy == "redis" {
            eventually!(shown(stays.access()).await.status == 200);
            app.refuses(&goes.access()).await;
        } else {
            // Until what was revoked stands there again nobody can tell.
            eventually!(shown(stays.access()).await.status != 503);
            shown(stays.access()).await.is_problem(401, "token-expired");
            stays.renew().await;
            assert_eq!(shown(stays.access()).await.status, 200);
            app.post("/v1/auth/refresh")
                .json(&json!({"refresh_token": goes.refresh()}))
                .await
                .is_problem(401, "session-ended");
        }
        // Away, it is nobody's "no".
        redis.stop();
        shown(stays.access()).await.is_problem(503, "unavailable");
        redis.resume();
        eventually!(shown(stays.access()).await.status != 503);
    }
}

/// Each request looks the session up, and finds that it has ended.
#[tokio::test]
async fn a_session_that_has_ended_is_let_in_nowhere_where_sessions_are_looked_up() {
    for strategy in [kickout::config::Strategy::SessionSql, kickout::config::Strategy::SessionRedis] {
        let redis = Redis::start();
        let app = TestApp::start_with(|config| {
            config.redis.url = redis.url().into();
            config.revocation.strategy = strategy;
        })
        .await;
        let user = app.sign_up("ada").await;
        let (stays, goes) = (user.log_in_for_bearer().await, user.log_in_for_bearer().await);
        app.accepts(&goes.access()).await;
        app.post("/v1/auth/logout").bearer(&goes.access()).await.expect(200);
        app.refuses(&goes.access()).await;
        app.accepts(&stays.access()).await;
    }
}

/// Whoever recorded it may have ended before the store was told, and the receipt that finds it done speaks for it.
#[tokio::test]
async fn a_receipt_that_says_already_has_told_redis_again() {
    let redis = Redis::start();
    let app = TestApp::start_with(|config| {
        config.redis.url = redis.url().into();
        config.revocation.strategy = kickout::config::Strategy::Redis;
    })
    .await;
    let device = app.sign_up("ada").await.log_in_for_bearer().await;
    let end = || Command::RevokeSession { session: device.session().parse().unwrap() };
    assert!(app.command(end()).await.complete);
    app.refuses(&device.access()).await;
    // As if nobody had told it.
    let forget = "return redis.call('DEL', unpack(redis.call('KEYS', ARGV[1])))";
    redis.command(&["EVAL", forget, "0", &format!("*:s:{}", device.session())]);
    assert!(app.is_good(&device.access()).await, "that was all that denied it");
    let again = app.command(end()).await;
    assert!(again.already && again.complete, "{again:?}");
    app.refuses(&device.access()).await;
}

/// A receipt speaks for all nodes, so all nodes check in the same way: one that does not waits until the others are gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_checks_in_another_way_waits_until_the_others_are_gone() {
    let url = Server::shared().database().await;
    let key = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    let settings = |strategy: &'static str| {
        [
            ("KICKOUT__DATABASE__URL", url.clone()),
            ("KICKOUT__TOKENS__KEY_ENCRYPTION_KEY", key.to_owned()),
            ("KICKOUT__REVOCATION__LEASE", "2s".to_owned()),
            ("KICKOUT__REVOCATION__STRATEGY", strategy.to_owned()),
        ]
    };
    let begin = async |strategy| {
        let settings = settings(strategy);
        let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Process::begin(&settings).await
    };
    let mut hybrid = begin("hybrid").await;
    hybrid.is_ready().await;
    let user = hybrid.sign_up("ada").await;
    let device = user.log_in_for_bearer().await;
    // Both are answered from memory.
    let exact = begin("exact").await;
    exact.is_ready().await;
    assert!(exact.is_good(&device.access()).await);

    let stateless = begin("stateless").await;
    eventually!((stateless.stdout() + &stateless.stderr()).contains("checks in another way"));
    stateless.manage(Method::GET, "/readyz").await.expect(503);
    stateless.get("/v1/auth/verify").bearer(&device.access()).await.is_problem(503, "unavailable");
    // Nor does it act for nodes that it does not know how to ask.
    let waiting = stateless.post("/v1/auth/logout").json(&json!({"refresh_token": device.refresh()})).await;
    waiting.is_problem(503, "unavailable");
    let ban = operator::ask(&stateless, &json!({"command": "user_ban", "user": "ada"})).await;
    assert!(ban.status == 503 && ban.text().contains("same strategy"), "{ban}");
    assert!(hybrid.is_good(&device.access()).await && exact.is_good(&device.access()).await, "nothing was done");
    let receipt = hybrid.post("/v1/auth/logout").bearer(&device.access()).await.receipt();
    assert!(receipt.complete && receipt.applied.of == 2, "it waits for none that does not answer: {receipt:?}");
    assert!(!exact.is_good(&device.access()).await);

    // One leaves, the other one dies.
    exact.interrupt();
    hybrid.kill_9();
    eventually!(stateless.manage(Method::GET, "/readyz").await.status == 200, Duration::from_mins(1));
    let device = user_of(&stateless, &user).await;
    assert!(stateless.is_good(&device).await);
}

async fn user_of(process: &Process, user: &User) -> String {
    let mut body = user.credentials();
    body["delivery"] = "body".into();
    text(&process.post("/v1/auth/login").json(&body).await.expect(200).json()["access_token"])
}

/// Redis is away for longer than the grace of a refresh: whoever refreshed meanwhile is not taken for a thief, whoever
/// logged in or changed their password has done so, and what was ended is told as soon as it is back.
#[tokio::test]
async fn a_redis_that_was_away_has_cost_nobody_a_session() {
    for strategy in ["redis", "session-redis"] {
        let redis = Redis::start();
        let mut app = TestApp::start_with(|config| {
            config.redis.url = redis.url().into();
            config.revocation.strategy = serde_json::from_value(strategy.into()).expect("a strategy");
            config.revocation.lease = kickout::config::Span::from_secs(1);
            config.sessions.refresh_grace = kickout::config::Span::from_secs(0);
        })
        .await;
        let user = app.sign_up("ada").await;
        let (stays, goes, changes) =
            (user.log_in_for_bearer().await, user.log_in_for_bearer().await, user.log_in_for_bearer().await);
        redis.stop();
        // Before that nobody can be let in or out by what Redis says; the database knows.
        for _ in 0..3 {
            stays.renew().await;
        }
        let body = json!({"refresh_token": goes.refresh()});
        let answer = app.post("/v1/auth/logout").json(&body).await.expect(202);
        assert_eq!(answer.json()["complete"], false);
        let late = user.log_in_for_bearer().await;
        // What was said to be recorded outlives the process that could not tell.
        redis.resume();
        app.restart().await;
        eventually!(app.get(&place(&answer)).await.status == 200);
        assert!(!app.is_good(&goes.access()).await, "{strategy}");
        for device in [&stays, &late, &changes] {
            if !app.is_good(&device.access()).await {
                assert_eq!(strategy, "session-redis");
                device.renew().await;
            }
            assert!(app.is_good(&device.access()).await, "{strategy}");
        }
        let sessions = app.get("/v1/auth/sessions").bearer(&stays.access()).await.expect(200).json();
        assert_eq!(sessions["sessions"].as_array().map(Vec::len), Some(3), "{strategy}: {sessions}");
    }
}

fn place(answer: &Answer) -> String {
    answer.header("location").expect("where to ask again").to_owned()
}

/// To ask how far a revocation has come changes nothing for those who have come since.
#[tokio::test]
async fn whoever_asks_how_far_everything_has_ended_ends_nothing() {
    for strategy in ["redis", "session-redis"] {
        let redis = Redis::start();
        let settings = [("KICKOUT__REVOCATION__STRATEGY", strategy), ("KICKOUT__REDIS__URL", &redis.url())];
        let process = Process::start(&settings).await;
        let user = process.sign_up("ada").await;
        let before = user.log_in_for_bearer().await;
        let receipt = operate(&process, &json!({"command": "revoke_everything"})).await;
        let after = user.log_in_for_bearer().await;
        let path = format!("/v1/revocations/{}", receipt["seq"]);
        for _ in 0..2 {
            assert_eq!(process.get(&path).await.expect(200).json()["complete"], true);
            assert!(process.is_good(&after.access()).await && !process.is_good(&before.access()).await, "{strategy}");
        }
    }
}

/// One that evicts would forget what was taken back.
#[tokio::test]
async fn a_redis_that_evicts_is_refused_where_it_is_asked_at_every_request() {
    for strategy in ["redis", "session-redis"] {
        let redis = Redis::with_args(&["--maxmemory-policy", "allkeys-lru"]);
        let desk = operator::Desk::new();
        let mut command = desk.kickout("serve");
        command.env("KICKOUT__REVOCATION__STRATEGY", strategy).env("KICKOUT__REDIS__URL", redis.url());
        operator::outcome(command).await.says(1, &["allkeys-lru", "noeviction"]);
    }
}
