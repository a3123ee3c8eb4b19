//! Limits that nodes share by Redis, and keep without it.

use std::sync::atomic::{AtomicU32, Ordering};

use deadpool_redis::redis::{Value, from_redis_value_ref};

use super::{log_in, metric, wrongs};
use crate::support::{
    chaos::Mode,
    client::PASSWORD,
    cluster::{Cluster, Plan},
    postgres::Server,
    redis::Redis,
    wait::eventually,
};

/// No answer of a Redis that is there is ever too late for that.
const PATIENT: &str = "5s";

static ADDRESSES: AtomicU32 = AtomicU32::new(0);

const SHARED: &str = "kickout_limits_shared";

const GONE: &str = "tries are limited by each node for itself";

const BACK: &str = "tries are limited by all nodes together";

/// Two nodes with a Redis, and three wrong passwords for an account at an address.
async fn scene(redis_timeout: &str) -> (Redis, Cluster) {
    let redis = Redis::start();
    let url = Server::shared().database().await;
    let plan = Plan::new(&url, 2).with_redis(redis.port()).set("LIMITS__WRONG_PER_ACCOUNT", "3");
    let plan = plan.set("REDIS__TIMEOUT", redis_timeout);
    (redis, plan.set("HTTP__TRUSTED_PROXIES", "127.0.0.1").start().await)
}

/// Tries, right ones, until both nodes count as they should. Each is at an address of its own: what a Redis that stood
/// still was asked it may do later, when nobody waits for it any more.
async fn both_count(cluster: &Cluster, name: &str, shared: u64) {
    for node in &cluster.nodes {
        eventually!({
            let n = ADDRESSES.fetch_add(1, Ordering::Relaxed);
            let from = format!("10.0.{}.{}", n / 256 % 256, n % 256);
            log_in(node, &from, name, PASSWORD).await.expect(200);
            metric(node, SHARED).await == shared
        });
    }
}

fn keys(redis: &Redis) -> Vec<String> {
    match redis.command(&["KEYS", "*{limits}*"]) {
        Value::Array(keys) => keys.iter().map(|key| from_redis_value_ref(key).expect("text")).collect(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_have_one_budget_and_redis_learns_no_name_and_no_address() {
    let (redis, cluster) = scene(PATIENT).await;
    let alice = cluster.user().await;
    let from = "198.51.100.1";
    assert_eq!(wrongs(cluster.node(0), from, &alice.name, 2).await, [401, 401]);
    assert_eq!(wrongs(cluster.node(1), from, &alice.name, 2).await, [401, 429]);
    assert_eq!(wrongs(cluster.node(0), from, &alice.name, 1).await, [429]);
    for node in &cluster.nodes {
        log_in(node, "192.0.2.1", &alice.name, PASSWORD).await.expect(200);
        assert_eq!(metric(node, SHARED).await, 1);
        assert!(!node.log().contains(GONE), "{}", node.log());
    }
    let keys = keys(&redis);
    assert!(!keys.is_empty());
    for key in keys {
        assert!(key.starts_with("kickout:{limits}:"), "{key}");
        assert!(!key.contains(&alice.name) && !key.contains("198.51"), "{key}");
        let left: u64 = redis.text(&["TTL", &key]).parse().expect("it expires");
        assert!(left <= 3601, "{key}: {left}");
        let value = redis.text(&["GET", &key]);
        assert!(value.bytes().all(|byte| byte.is_ascii_digit()) && value.len() == 16, "microseconds: {value}");
    }
    // What somebody has written there locks nobody out.
    for key in self::keys(&redis) {
        redis.command(&["SET", &key, "9999999999999999", "EX", "60"]);
    }
    log_in(cluster.node(0), "192.0.2.2", &alice.name, PASSWORD).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_each_node_counts_for_itself_and_with_it_all_together_again() {
    let (redis, cluster) = scene(PATIENT).await;
    let alice = cluster.user().await;
    let from = "198.51.100.1";
    assert_eq!(wrongs(cluster.node(0), from, &alice.name, 2).await, [401, 401]);
    redis.stop();
    both_count(&cluster, &alice.name, 0).await;
    // A node remembers its own, and is not endless.
    assert_eq!(wrongs(cluster.node(0), from, &alice.name, 3).await, [401, 429, 429]);
    assert_eq!(wrongs(cluster.node(1), from, &alice.name, 5).await, [401, 401, 401, 429, 429]);
    log_in(cluster.node(1), "192.0.2.1", &alice.name, PASSWORD).await.expect(200);

    redis.resume();
    both_count(&cluster, &alice.name, 1).await;
    assert_eq!(wrongs(cluster.node(0), from, &alice.name, 1).await, [429], "an empty Redis makes no node forget");
    let other = "198.51.100.2";
    assert_eq!(wrongs(cluster.node(0), other, &alice.name, 2).await, [401, 401]);
    assert_eq!(wrongs(cluster.node(1), other, &alice.name, 2).await, [401, 429]);
    for node in &cluster.nodes {
        let log = node.log();
        assert_eq!((log.matches(GONE).count(), log.matches(BACK).count()), (1, 1), "{log}");
        assert!(!log.contains(&alice.name), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_paused_full_or_cut_off_neither_stops_a_login_nor_lifts_a_limit() {
    let (redis, cluster) = scene("250ms").await;
    let alice = cluster.user().await;
    both_count(&cluster, &alice.name, 1).await;
    let mut address = 0;
    let mut still_limits = async |what: &str| {
        both_count(&cluster, &alice.name, 0).await;
        for node in &cluster.nodes {
            address += 1;
            let from = format!("198.51.100.{address}");
            assert_eq!(wrongs(node, &from, &alice.name, 5).await, [401, 401, 401, 429, 429], "{what}");
        }
    };
    redis.pause();
    still_limits("paused").await;
    redis.unpause();
    both_count(&cluster, &alice.name, 1).await;

    redis.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    redis.command(&["CONFIG", "SET", "maxmemory", "100kb"]);
    still_limits("full").await;
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    both_count(&cluster, &alice.name, 1).await;

    for mode in [Mode::Cut, Mode::BlackHole, Mode::HalfOpen] {
        let networks = || cluster.nodes.iter().map(|node| node.redis.as_ref().expect("with Redis"));
        networks().for_each(|network| network.set(mode));
        still_limits(&format!("{mode:?}")).await;
        networks().for_each(|network| network.set(Mode::Pass));
        both_count(&cluster, &alice.name, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn right_passwords_cost_nothing_in_a_redis_that_hears_of_them_late() {
    let (redis, cluster) = scene("250ms").await;
    let (alice, node, from) = (cluster.user().await, cluster.node(0), "198.51.100.1");
    both_count(&cluster, &alice.name, 1).await;
    let network = node.redis.as_ref().expect("with Redis");
    // Whatever is asked is done, and never answered.
    network.set(Mode::HalfOpen);
    eventually!({
        log_in(node, from, &alice.name, PASSWORD).await.expect(200);
        metric(node, SHARED).await == 0
    });
    network.set(Mode::Pass);
    both_count(&cluster, &alice.name, 1).await;
    // Every one of these pays some of the debts.
    eventually!({
        log_in(node, from, &alice.name, PASSWORD).await.expect(200);
        kept(&redis, 'c').is_empty()
    });
    assert_eq!(wrongs(cluster.node(1), from, &alice.name, 4).await, [401, 401, 401, 429]);
}

/// Keys of one kind of count.
fn kept(redis: &Redis, kind: char) -> Vec<String> {
    keys(redis).into_iter().filter(|key| key.starts_with(&format!("kickout:{{limits}}:{kind}"))).collect()
}
