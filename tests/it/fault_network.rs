//! Nodes that are cut off from SQL, in every way that a network has: they stop by themselves, and hold up nobody.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{
    chaos::Mode,
    cluster::{Plan, SLACK, Said, Watch, took},
    postgres::Server,
    wait::{all, eventually},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_cut_off_from_sql_stops_at_its_hold_and_answers_again_afterwards() {
    let modes = [
        Mode::Cut,
        Mode::BlackHole,
        Mode::HalfOpen,
        Mode::OneWay,
        // Longer than any hold, so that no renewal comes in time.
        Mode::Delay(Duration::from_mins(1)),
        Mode::Drip { bytes: 1, every: Duration::from_millis(100) },
    ];
    let url = Server::shared().database().await;
    let cluster = Plan::new(&url, 1 + modes.len()).set("REVOCATION__LEASE", "3s").start().await;
    let [stays, first, second, third] = cluster.sessions().await;
    cluster.node(0).ends(&first).await;
    cluster.accepts(&second).await;
    cluster.accepts(&stays).await;
    let (writer, cut_off) = (cluster.node(0), &cluster.nodes[1..]);
    let others = Watch::of([writer], &stays);

    let began = Instant::now();
    for (node, mode) in cut_off.iter().zip(modes) {
        node.sql.set(mode);
    }
    let last = Instant::now();
    let (receipt, _) = tokio::join!(
        async {
            let receipt = writer.ends(&second).await;
            for node in cut_off {
                assert_ne!(node.says(&second).await, Said::Good, "{}", node.name);
            }
            receipt
        },
        all(cut_off.iter().map(|node| node.stops(&stays, cluster.hold(), began, last))),
    );
    assert!(took(&receipt) <= cluster.longest_wait() + SLACK, "{receipt:?}");
    for node in cut_off {
        let readiness = node.readiness().await;
        assert_eq!((readiness.is_ready, readiness.state.as_str()), (false, "stale"), "{}", node.name);
        assert_eq!(readiness.hold_remaining, Duration::ZERO, "{}", node.name);
    }
    // They are expelled, and nobody waits for them any more.
    eventually!(writer.readiness().await.is_ready);
    let receipt = writer.ends(&third).await;
    assert!(took(&receipt) < cluster.longest_wait() + SLACK, "{receipt:?}");

    for node in cut_off {
        node.sql.set(Mode::Pass);
    }
    cluster.will_accept(&stays).await;
    for token in [&first, &second, &third] {
        cluster.refuses(token).await;
    }
    others.was_good().await;
    let receipt = cluster.node(1).ends(&stays).await;
    assert_eq!((receipt.applied.nodes, receipt.applied.of), (7, 7), "{receipt:?}");
    cluster.refuses(&stays).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_network_costs_time_and_nothing_else() {
    let url = Server::shared().database().await;
    let cluster = Plan::new(&url, 2).start().await;
    let [stays, goes] = cluster.sessions().await;
    let watch = cluster.watch(&stays);
    for mode in [Mode::Delay(Duration::from_millis(20)), Mode::Drip { bytes: 2048, every: Duration::from_millis(5) }] {
        for node in &cluster.nodes {
            node.sql.set(mode);
        }
        let user = cluster.user().await;
        let token = cluster.node(1).log_in(&user).await;
        cluster.accepts(&token).await;
        let receipt = cluster.node(0).ends(&token).await;
        assert_eq!((receipt.applied.nodes, receipt.applied.of), (2, 2), "{receipt:?}");
        cluster.refuses(&token).await;
    }
    cluster.node(0).ends(&goes).await;
    cluster.refuses(&goes).await;
    watch.was_good().await;
}
