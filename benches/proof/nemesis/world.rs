//! A cluster as real programs: nodes, each behind a network of its own, PostgreSQL, and Redis with a replica.
//!
//! PostgreSQL runs without `fsync`: whatever is killed here, the system lives on and keeps what it was given. This is
//! about processes that die, not about power that fails.

use std::{
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use rustix::process::Signal;
use serde_json::json;
use tokio::{
    task::block_in_place,
    time::{sleep, timeout},
};

use super::{
    clock::Wall,
    moment,
    net::Net,
    node::Node,
    plan::{Kind, OnStale, Plan, Planned, Shape},
    tables::{PASSWORDS, Tables},
};
use crate::{
    Failure,
    history::Cluster,
    support::{
        chaos::{Chaos, Mode},
        cluster::KEY,
        postgres::{self, Server},
        process::LIMITS,
        redis::Redis,
        wait::all,
    },
};

/// Accounts: few enough that each is hit in several ways. As many as there are nodes come beside, whom nobody acts
/// against.
const USERS: usize = 16;

/// Whom the nodes are to the database: no superuser, whom no limit of connections would hold.
pub(super) const ROLE: &str = "app";

/// How long a cluster may take to be ready again when nothing is the matter any more.
pub(super) const RECOVERY: Duration = Duration::from_mins(1);

/// Redis, one that follows it, and the network between the two.
#[derive(Debug)]
pub(super) struct Replicated {
    pub(super) primary: Redis,
    pub(super) replica: Redis,
    pub(super) link: Chaos,
}

/// A cluster.
#[derive(Debug)]
pub(super) struct World {
    pub(super) shape: Shape,
    pub(super) server: Arc<Server>,
    /// The database, as its owner's master has it.
    pub(super) url: String,
    pub(super) redis: Option<Replicated>,
    nodes: Vec<Node>,
    http: reqwest::Client,
}

impl World {
    /// Starts everything, and waits until it is ready.
    ///
    /// `has_nets`: each node has a network of its own.
    pub(super) async fn start(
        plan: &Plan,
        server: &Arc<Server>,
        wall: Option<&Wall>,
        has_nets: bool,
    ) -> Result<Self, Failure> {
        let shape = &plan.shape;
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build()?;
        let url = database(server).await;
        let redis = if shape.has_redis { Some(Replicated::start().await) } else { None };
        let mut world = Self { shape: shape.clone(), server: Arc::clone(server), url, redis, nodes: Vec::new(), http };
        for number in 0..shape.nodes {
            let net = if has_nets { Some(block_in_place(|| Net::new(number))?) } else { None };
            let mut node = world.node_of(number, net).await?;
            let is_victim = |planned: &Planned| planned.kind == Kind::NodeClock && planned.victims.contains(&number);
            if let Some(wall) = wall.filter(|_| plan.faults.iter().any(is_victim)) {
                let variables = wall.environment().into_iter().map(|(name, value)| format!("{name}={value}"));
                node.wrap(["env".to_owned()].into_iter().chain(variables).collect());
            }
            world.nodes.push(node);
        }
        for started in all(world.nodes.iter().map(|node| Box::pin(node.start()))).await {
            started?;
        }
        world.all_ready().await?;
        Ok(world)
    }

    async fn node_of(&self, number: u8, net: Option<Net>) -> Result<Node, Failure> {
        let shape = &self.shape;
        let mut node = Node::new(number, Vec::new())?;
        for limit in LIMITS {
            node.set(&format!("LIMITS__{limit}"), "100000");
        }
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let (own, stores) = net.as_ref().map_or((local, local), |net| (net.node(), net.host()));
        node.wrap(net.as_ref().map(Net::wrapper).unwrap_or_default());
        let seconds = |span: Duration| format!("{}s", span.as_secs());
        let on_stale = match shape.on_stale {
            OnStale::Deny => "deny",
            OnStale::Ask => "ask",
            OnStale::ServeFor => "serve_for",
        };
        for (name, value) in [
            ("HTTP__LISTEN", &*format!("{own}:0")),
            ("MANAGEMENT__LISTEN", &format!("{own}:0")),
            // Needed where it does not listen on loopback.
            ("MANAGEMENT__TOKEN", KEY),
            ("TOKENS__ACCESS_TTL", &seconds(shape.access_ttl)),
            ("SESSIONS__REFRESH_GRACE", &seconds(shape.refresh_grace)),
            // A login beyond it would end the oldest session, and nobody would have asked for that.
            ("SESSIONS__MAX_PER_USER", "1000"),
            ("REVOCATION__LEASE", &seconds(shape.lease)),
            ("REVOCATION__PULL", "100ms"),
            ("REVOCATION__ON_STALE", on_stale),
            ("REVOCATION__SERVE_FOR", &seconds(shape.serve_for)),
            ("REVOCATION__FILTER__CAPACITY", "1000"),
            ("REVOCATION__FILTER__FALSE_POSITIVES", if shape.has_coarse_filter { "0.1" } else { "0.001" }),
            ("NODE__NAME", &format!("node-{number}")),
        ] {
            node.set(name, value);
        }
        node.set("TOKENS__KEY_ENCRYPTION_KEY", KEY);
        let sql = Chaos::start_at(stores, self.server.port()).await;
        let database = self.url.rsplit('/').next().unwrap_or_default();
        node.set("DATABASE__URL", &format!("postgres://{ROLE}@{stores}:{}/{database}", sql.port()));
        node.sql = Some(sql);
        if let Some(redis) = &self.redis {
            let chaos = Chaos::start_at(stores, redis.primary.port()).await;
            node.set("REDIS__URL", &format!("redis://{stores}:{}", chaos.port()));
            node.redis = Some(chaos);
        }
        node.net = net;
        Ok(node)
    }

    pub(super) fn node(&self, number: u8) -> &Node {
        &self.nodes[usize::from(number)]
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub(super) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// As histories have it.
    pub(super) fn cluster(&self) -> Cluster {
        let shape = &self.shape;
        Cluster {
            nodes: shape.nodes,
            lease: shape.lease,
            serve_for: shape.serve_for,
            asks_when_stale: shape.on_stale == OnStale::Ask,
            has_redis: shape.has_redis,
            is_embedded: false,
            refresh_grace: shape.refresh_grace,
            access_ttl: shape.access_ttl,
            lowered_access_ttl: shape.lowered_access_ttl,
        }
    }

    /// Makes the accounts.
    pub(super) async fn sign_up(&self, tables: &Tables) -> Result<(), Failure> {
        let call = async |name: String| {
            let url = format!("http://{}/v1/auth/signup", self.nodes[0].door().public);
            let body = json!({"username": name, "password": PASSWORDS[0]});
            let mut said = String::new();
            for _ in 0..50 {
                let answer = self.http.post(&url).json(&body).send().await.map_err(|error| error.to_string())?;
                // Somebody else's work may make everything slow at first; and what was answered late may be done.
                if answer.status() == 201 || answer.status() == 409 {
                    return Ok(name);
                }
                said = answer.text().await.unwrap_or_default();
                sleep(Duration::from_millis(200)).await;
            }
            Err(said)
        };
        let names = (0..USERS + self.nodes.len()).map(|i| Box::pin(call(format!("user-{i}"))));
        for (at, name) in all(names).await.into_iter().enumerate() {
            tables.add_user(name?, at >= USERS);
        }
        Ok(())
    }

    /// Waits until all nodes say that they are ready.
    pub(super) async fn all_ready(&self) -> Result<(), String> {
        let ready = all(self.nodes.iter().map(|node| Box::pin(self.is_ready_in_time(node)))).await;
        ready.into_iter().collect()
    }

    pub(super) async fn is_ready_in_time(&self, node: &Node) -> Result<(), String> {
        let since = moment();
        let mut said = String::new();
        while Duration::from_nanos(moment() - since) < RECOVERY {
            let url = format!("http://{}/readyz", node.door().management);
            if let Ok(Ok(answer)) = timeout(Duration::from_secs(2), self.http.get(url).send()).await {
                if answer.status() == 200 {
                    return Ok(());
                }
                said = answer.text().await.unwrap_or_default();
            }
            sleep(Duration::from_millis(20)).await;
        }
        Err(format!("node {} is not ready after {RECOVERY:?}: {said}\n{}", node.number, node.last_words()))
    }

    /// Whatever faults have left behind is undone. Nodes that have ended by themselves are named.
    pub(super) async fn heal(&self) -> Vec<String> {
        let mut troubles = Vec::new();
        for node in &self.nodes {
            for network in [&node.sql, &node.redis].into_iter().flatten() {
                network.set(Mode::Pass);
            }
            node.signal(Signal::CONT);
            troubles.extend(node.net.as_ref().and_then(|net| net.works().err()));
            if !node.is_alive() {
                troubles.push(format!("node {} has ended by itself: {}", node.number, node.last_words()));
                node.kill();
                troubles.extend(node.revive().await.err());
            }
        }
        troubles
    }

    /// Kills every process there is, PostgreSQL and Redis too: PostgreSQL first, in the middle of what the nodes ask of
    /// it, so that one that had not waited for its commit would have time to say that it is done.
    pub(super) fn kill_everything(&self) {
        block_in_place(|| {
            self.server.kill_9();
            for node in &self.nodes {
                node.kill();
            }
            if let Some(redis) = &self.redis {
                redis.primary.stop();
                redis.replica.stop();
            }
        });
    }

    /// Starts it all again, and waits until it is ready.
    pub(super) async fn start_everything(&self) -> Result<(), String> {
        block_in_place(|| {
            self.server.resume();
            if let Some(redis) = &self.redis {
                redis.primary.resume();
                redis.replica.resume();
            }
        });
        for node in &self.nodes {
            if let (Some(network), Some(redis)) = (&node.redis, &self.redis) {
                network.lead_to(redis.primary.port());
            }
        }
        for started in all(self.nodes.iter().map(|node| Box::pin(node.revive()))).await {
            started?;
        }
        self.all_ready().await
    }

    /// How many rows the nodes say that the ledger has lost.
    pub(super) async fn lost_rows(&self) -> u64 {
        let mut sum = 0;
        for node in &self.nodes {
            sum += self.metric(node, "kickout_ledger_lost_rows_total").await.unwrap_or(0);
        }
        sum
    }

    /// What a node says of itself.
    pub(super) async fn metric<N: FromStr>(&self, node: &Node, name: &str) -> Option<N> {
        let door = node.door();
        let call = self.http.get(format!("http://{}/metrics", door.management)).bearer_auth(door.token);
        let answer = async { call.send().await?.text().await };
        let text = timeout(Duration::from_secs(5), answer).await.ok()?.ok()?;
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    /// How many connections of the nodes wait for a lock.
    pub(super) async fn waiting(&self) -> i64 {
        let count = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND wait_event_type = 'Lock'";
        postgres::number(&self.url, count).await
    }

    /// How many connections the nodes have to their database.
    pub(super) async fn connections(&self) -> i64 {
        let count = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'";
        postgres::number(&self.url, count).await
    }
}

impl Replicated {
    async fn start() -> Self {
        let (primary, replica) = block_in_place(|| (Redis::start(), Redis::start()));
        let link = Chaos::start(primary.port()).await;
        let redis = Self { primary, replica, link };
        block_in_place(|| redis.follow());
        redis
    }

    /// The replica follows.
    pub(super) fn follow(&self) {
        self.replica.command(&["REPLICAOF", "127.0.0.1", &self.link.port().to_string()]);
    }
}

/// A fresh database of the nodes' own role.
async fn database(server: &Server) -> String {
    let role = format!(
        "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{ROLE}')
         THEN CREATE ROLE {ROLE} LOGIN; END IF; END $$"
    );
    postgres::run(&server.url("postgres"), &role).await;
    let url = server.database().await;
    let name = url.rsplit('/').next().unwrap_or_default();
    postgres::run(&url, &format!("ALTER DATABASE {name} OWNER TO {ROLE}")).await;
    url
}
