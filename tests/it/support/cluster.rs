//! Several nodes on one PostgreSQL database, as real programs, each behind a network of its own.

use std::{
    ops::{Deref, DerefMut},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use http::Method;
use kickout::revocation::lease;
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    answer::{Answer, Receipt},
    chaos::Chaos,
    client::{Call, User, text},
    process::Process,
    wait::{LONG, PAUSE, all, eventually},
};

/// What a busy machine may add to anything. No promise, only patience.
pub(crate) const SLACK: Duration = Duration::from_secs(5);

/// The key that all nodes of these tests share.
pub(crate) const KEY: &str = "6b69636b6f75742d7468652d74657374732d6b65792d6f662d33322d62797465";

static USERS: AtomicU32 = AtomicU32::new(0);

/// What a cluster is to be.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    url: String,
    nodes: usize,
    redis: Option<u16>,
    settings: Vec<(String, String)>,
}

/// Running nodes.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    hold: Duration,
    url: String,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Node {
    process: Process,
    /// The network between it and PostgreSQL.
    pub(crate) sql: Chaos,
    /// The network between it and Redis.
    pub(crate) redis: Option<Chaos>,
    pub(crate) name: String,
}

/// What a node says of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    /// 200.
    Good,
    /// 401, the session has ended.
    Dead,
    /// 503, and when to come again.
    Unknown,
}

/// How a node says it is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Readiness {
    pub(crate) is_ready: bool,
    pub(crate) state: String,
    pub(crate) hold_remaining: Duration,
}

impl Plan {
    /// So many nodes on a database, each with a lease of 2 s that it looks after 50 times a second.
    pub(crate) fn new(url: &str, nodes: usize) -> Self {
        let plan = Self { url: url.to_owned(), nodes, redis: None, settings: Vec::new() };
        plan.set("TOKENS__KEY_ENCRYPTION_KEY", KEY)
            .set("REVOCATION__LEASE", "2s")
            .set("REVOCATION__PULL", "50ms")
            .set("REVOCATION__FILTER__CAPACITY", "1000")
    }

    /// Nodes share this Redis.
    pub(crate) fn with_redis(mut self, port: u16) -> Self {
        self.redis = Some(port);
        self
    }

    /// A setting of all nodes, as the environment names it, without `KICKOUT__`.
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        let name = format!("KICKOUT__{name}");
        self.settings.retain(|(other, _)| *other != name);
        self.settings.push((name, value.to_owned()));
        self
    }

    /// Starts them at once, and waits until all are ready.
    pub(crate) async fn start(self) -> Cluster {
        let nodes = all((0..self.nodes).map(|i| self.node(i))).await;
        let seconds = |name: &str| {
            let set = self.settings.iter().find(|(other, _)| other.ends_with(name));
            let seconds = set.map_or(0, |(_, value)| value.strip_suffix('s').unwrap().parse().expect("whole seconds"));
            Duration::from_secs(seconds)
        };
        let cluster = Cluster { nodes, hold: seconds("__LEASE") + seconds("__SERVE_FOR"), url: self.url.clone() };
        cluster.all_ready().await;
        cluster
    }

    async fn node(&self, i: usize) -> Node {
        let (address, database) = self.url.rsplit_once('/').expect("a database");
        let (server, port) = address.rsplit_once(':').expect("a port");
        let sql = Chaos::start(port.parse().expect("a port")).await;
        let name = format!("node-{i}");
        let mut settings = self.settings.clone();
        settings.push(("KICKOUT__NODE__NAME".to_owned(), name.clone()));
        settings.push(("KICKOUT__DATABASE__URL".to_owned(), format!("{server}:{}/{database}", sql.port())));
        let redis = match self.redis {
            Some(port) => {
                let chaos = Chaos::start(port).await;
                settings.push(("KICKOUT__REDIS__URL".to_owned(), format!("redis://127.0.0.1:{}", chaos.port())));
                Some(chaos)
            }
            None => None,
        };
        let settings: Vec<_> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Node { process: Process::begin(&settings).await, sql, redis, name }
    }
}

impl Cluster {
    /// How long a node may go on after a renewal.
    pub(crate) const fn hold(&self) -> Duration {
        self.hold
    }

    /// The longest that a receipt may wait for nodes that do not answer.
    pub(crate) fn longest_wait(&self) -> Duration {
        lease::wait(self.hold)
    }

    /// The database that they share.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn node(&self, i: usize) -> &Node {
        &self.nodes[i]
    }

    pub(crate) fn node_mut(&mut self, i: usize) -> &mut Node {
        &mut self.nodes[i]
    }

    /// Waits until all are ready.
    pub(crate) async fn all_ready(&self) {
        all(self.nodes.iter().map(|node| node.is_ready())).await;
    }

    /// Somebody new, who has an account since now.
    pub(crate) async fn user(&self) -> User {
        self.node(0).sign_up(&format!("user-{}", USERS.fetch_add(1, Ordering::Relaxed))).await
    }

    /// So many sessions of somebody new, logged in at one node after the other; their access tokens.
    pub(crate) async fn sessions<const N: usize>(&self) -> [String; N] {
        let user = self.user().await;
        let logins = (0..N).map(|i| self.nodes[i % self.nodes.len()].log_in(&user));
        all(logins).await.try_into().expect("as many as were asked for")
    }

    /// Asserts that a token is good at every node.
    pub(crate) async fn accepts(&self, token: &str) {
        for node in &self.nodes {
            assert_eq!(node.says(token).await, Said::Good, "{}", node.name);
        }
    }

    /// Asserts that a token is dead at every node.
    pub(crate) async fn refuses(&self, token: &str) {
        for node in &self.nodes {
            assert_eq!(node.says(token).await, Said::Dead, "{}", node.name);
        }
    }

    /// Waits until a token is good at every node.
    pub(crate) async fn will_accept(&self, token: &str) {
        for node in &self.nodes {
            eventually!(node.says(token).await == Said::Good);
        }
    }

    /// Asks all nodes about a token, over and over, until the watch is ended.
    pub(crate) fn watch(&self, token: &str) -> Watch {
        Watch::of(&self.nodes, token)
    }
}

/// What all nodes say of a token while something happens.
#[derive(Debug)]
pub(crate) struct Watch {
    over: CancellationToken,
    tasks: JoinSet<Vec<Seen>>,
}

/// One check.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) node: String,
    pub(crate) began: Instant,
    /// `None`: the connection ended without an answer.
    pub(crate) said: Option<Said>,
}

impl Watch {
    /// Asks some nodes about a token, over and over, until the watch is ended.
    pub(crate) fn of<'a>(nodes: impl IntoIterator<Item = &'a Node>, token: &str) -> Self {
        let (over, mut tasks) = (CancellationToken::new(), JoinSet::new());
        for node in nodes {
            let (call, name, over) = (node.check(token), node.name.clone(), over.clone());
            tasks.spawn(async move {
                let mut seen = Vec::new();
                while !over.is_cancelled() {
                    let began = Instant::now();
                    let said = tries(call.clone()).await;
                    seen.push(Seen { node: name.clone(), began, said });
                    // Two nodes at this pace cost a few hundredths of a processor.
                    tokio::time::sleep(2 * PAUSE).await;
                }
                seen
            });
        }
        Self { over, tasks }
    }

    /// What was seen.
    pub(crate) async fn end(self) -> Vec<Seen> {
        self.over.cancel();
        self.tasks.join_all().await.into_iter().flatten().collect()
    }

    /// Asserts that all nodes said "good" all the time.
    pub(crate) async fn was_good(self) {
        let seen = self.end().await;
        assert!(!seen.is_empty());
        let other = seen.iter().find(|seen| seen.said != Some(Said::Good));
        if let Some(Seen { node, began, said }) = other {
            panic!("{node} said {said:?}, {:?} before the end", began.elapsed());
        }
    }
}

impl Node {
    fn check(&self, token: &str) -> Call {
        self.get("/v1/auth/verify").bearer(token)
    }

    /// What it says of a token. It may be stopped and go on before it answers.
    pub(crate) async fn says(&self, token: &str) -> Said {
        said(&timeout(LONG, self.check(token)).await.expect("an answer"))
    }

    /// What it says of a token; `None` if it ends the connection instead, as it may after it has stood still for longer
    /// than it lets a client take.
    pub(crate) async fn may_say(&self, token: &str) -> Option<Said> {
        tries(self.check(token)).await
    }

    /// Logs somebody in here; the access token.
    pub(crate) async fn log_in(&self, user: &User) -> String {
        let mut body = user.credentials();
        body["delivery"] = "body".into();
        text(&self.post("/v1/auth/login").json(&body).await.expect(200).json()["access_token"])
    }

    /// Ends a token's session here, and gives the answer.
    pub(crate) async fn log_out(&self, token: &str) -> Answer {
        let call = self.post("/v1/auth/logout").bearer(token).json(&json!({}));
        timeout(2 * LONG, call).await.expect("an answer")
    }

    /// Ends a token's session here, and gives the receipt, which must be complete.
    pub(crate) async fn ends(&self, token: &str) -> Receipt {
        let receipt = self.log_out(token).await.receipt();
        assert!(receipt.complete, "{receipt:?}");
        receipt
    }

    /// Waits until it says of a good token that it does not know. Asserts that it had a right to say "good" until then:
    /// nothing renewed it after `last`; and that it did so for half of its hold after `first`, when nothing kept it yet.
    pub(crate) async fn stops(&self, token: &str, hold: Duration, first: Instant, last: Instant) {
        let stop = async {
            loop {
                let began = Instant::now();
                match self.says(token).await {
                    Said::Good => assert!(began < last + hold, "{}: {:?} of {hold:?}", self.name, began - last),
                    Said::Unknown => return,
                    Said::Dead => panic!("{}: it is not", self.name),
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        timeout(hold + LONG, stop).await.expect("it stops");
        let went_on = first.elapsed();
        assert!(went_on >= hold / 2, "{}: only {went_on:?}", self.name);
    }

    /// How it says it is.
    pub(crate) async fn readiness(&self) -> Readiness {
        let answer = self.manage(Method::GET, "/readyz").await;
        assert!([200, 503].contains(&answer.status.as_u16()), "{answer}");
        let body = answer.json();
        Readiness {
            is_ready: answer.status == 200,
            state: text(&body["state"]),
            hold_remaining: Duration::from_secs_f64(
                body["hold_remaining_ms"].as_f64().unwrap_or_else(|| panic!("{answer}")) / 1e3,
            ),
        }
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        self.process.stdout() + &self.process.stderr()
    }

    /// Starts it again on the same folder, after it was killed, and waits until it is ready.
    pub(crate) async fn restart(&mut self) {
        self.process.begin_again().await;
        self.process.is_ready().await;
    }
}

impl Deref for Node {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Node {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// How long a receipt says that it took.
pub(crate) fn took(receipt: &Receipt) -> Duration {
    Duration::from_secs_f64(receipt.elapsed_ms / 1e3)
}

async fn tries(call: Call) -> Option<Said> {
    let answer = timeout(LONG, call.try_send()).await.expect("an answer or an end");
    answer.ok().map(|answer| said(&answer))
}

#[track_caller]
fn said(answer: &Answer) -> Said {
    match (answer.status.as_u16(), answer.problem().as_deref()) {
        (200, None) => Said::Good,
        (401, Some("session-ended")) => Said::Dead,
        (503, Some("unavailable")) => {
            answer.is_problem(503, "unavailable");
            Said::Unknown
        }
        _ => panic!("{answer}"),
    }
}
