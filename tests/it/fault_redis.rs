//! Redis gone, empty, forgetful, late or lying by omission: no check fails, no logout does, and nothing dead comes back.

use std::time::Duration;

use deadpool_redis::redis::{Value, from_redis_value_ref};

use crate::support::{
    chaos::{Chaos, Mode},
    client::User,
    cluster::{Cluster, Plan, SLACK, Watch, took},
    postgres::Server,
    redis::Redis,
    wait::eventually,
};

/// Two nodes with a Redis, somebody who is logged in all the time, and the sessions that have ended so far.
struct Scene {
    redis: Redis,
    cluster: Cluster,
    user: User,
    stays: String,
    ended: Vec<String>,
    watch: Watch,
}

impl Scene {
    async fn begin() -> Self {
        let redis = Redis::start();
        let url = Server::shared().database().await;
        let cluster = Plan::new(&url, 2).set("REVOCATION__LEASE", "3s").with_redis(redis.port()).start().await;
        let user = cluster.user().await;
        let stays = cluster.node(0).log_in(&user).await;
        let watch = cluster.watch(&stays);
        let mut scene = Self { redis, cluster, user, stays, ended: Vec::new(), watch };
        scene.logs_out("before anything").await;
        scene
    }

    /// A session is ended at each node, whatever is the matter, and everything that has ended is dead everywhere.
    async fn logs_out(&mut self, what: &str) {
        for i in 0..2 {
            let token = self.cluster.node(1 - i).log_in(&self.user).await;
            self.cluster.accepts(&token).await;
            let receipt = self.cluster.node(i).ends(&token).await;
            assert_eq!((receipt.applied.nodes, receipt.applied.of), (2, 2), "{what}: {receipt:?}");
            assert!(took(&receipt) <= self.cluster.longest_wait() + SLACK, "{what}: {receipt:?}");
            self.ended.push(token);
        }
        for token in &self.ended {
            self.cluster.refuses(token).await;
        }
        self.cluster.accepts(&self.stays).await;
    }

    fn keys(&self) -> Vec<String> {
        match self.redis.command(&["KEYS", "*"]) {
            Value::Array(keys) => keys.iter().map(|key| from_redis_value_ref(key).expect("text")).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn networks(&self) -> impl Iterator<Item = &Chaos> {
        self.cluster.nodes.iter().map(|node| node.redis.as_ref().expect("with Redis"))
    }

    async fn end(self) {
        self.watch.was_good().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_killed_emptied_or_robbed_is_not_missed() {
    let mut scene = Scene::begin().await;
    eventually!(!scene.keys().is_empty());
    scene.redis.stop();
    scene.logs_out("killed").await;
    scene.redis.resume();
    scene.logs_out("back, and empty").await;
    scene.redis.command(&["FLUSHALL"]);
    scene.logs_out("flushed").await;
    eventually!(!scene.keys().is_empty());
    for key in scene.keys() {
        scene.redis.command(&["DEL", &key]);
        scene.logs_out("one key deleted").await;
    }
    scene.redis.pause();
    scene.logs_out("stopped where it is").await;
    scene.redis.unpause();
    scene.logs_out("going on").await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_evicts_by_any_policy_is_not_missed() {
    let mut scene = Scene::begin().await;
    let policies = [
        "noeviction",
        "allkeys-lru",
        "allkeys-lfu",
        "allkeys-random",
        "volatile-lru",
        "volatile-lfu",
        "volatile-random",
        "volatile-ttl",
    ];
    for policy in policies {
        scene.redis.command(&["CONFIG", "SET", "maxmemory-policy", policy]);
        // Less than an empty server needs: whatever may go has to.
        scene.redis.command(&["CONFIG", "SET", "maxmemory", "100kb"]);
        scene.logs_out(policy).await;
        scene.redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_cannot_be_reached_is_not_missed() {
    let mut scene = Scene::begin().await;
    let modes = [
        Mode::Cut,
        Mode::BlackHole,
        Mode::HalfOpen,
        Mode::OneWay,
        Mode::Delay(Duration::from_millis(100)),
        Mode::Delay(Duration::from_mins(1)),
        Mode::Drip { bytes: 1, every: Duration::from_millis(20) },
    ];
    for mode in modes {
        for network in scene.networks() {
            network.set(mode);
        }
        scene.logs_out(&format!("{mode:?}")).await;
        for network in scene.networks() {
            network.set(Mode::Pass);
        }
        scene.logs_out(&format!("after {mode:?}")).await;
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_lags_behind_brings_nothing_back() {
    let mut scene = Scene::begin().await;
    let replica = Redis::start();
    let link = Chaos::start(scene.redis.port()).await;
    replica.command(&["REPLICAOF", "127.0.0.1", &link.port().to_string()]);
    eventually!(replica.text(&["INFO", "replication"]).contains("master_link_status:up"));
    link.set(Mode::BlackHole);
    scene.logs_out("the replica hears nothing of these").await;
    for network in scene.networks() {
        network.lead_to(replica.port());
    }
    scene.logs_out("a replica that takes no writes").await;
    replica.command(&["REPLICAOF", "NO", "ONE"]);
    scene.logs_out("promoted").await;
    scene.redis.stop();
    scene.logs_out("alone").await;
    scene.end().await;
}
