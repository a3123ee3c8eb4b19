//! PostgreSQL that goes away and comes back, with everything or with less than it had.

use tokio::time::Instant;

use crate::support::{
    chaos::Mode,
    cluster::{Node, Plan, SLACK, Said, took},
    postgres::{self, Server},
    wait::{all, eventually},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_postgresql_checks_go_on_for_the_hold_and_nothing_is_claimed() {
    let server = Server::start();
    let cluster = Plan::new(&server.database().await, 2).set("REVOCATION__LEASE", "3s").start().await;
    let [stays, gone, tried] = cluster.sessions().await;
    cluster.node(0).ends(&gone).await;
    cluster.accepts(&tried).await;

    let began = Instant::now();
    server.stop();
    let last = Instant::now();
    let (refused, _) = tokio::join!(
        cluster.node(0).log_out(&tried),
        all(cluster.nodes.iter().map(|node| node.stops(&stays, cluster.hold(), began, last))),
    );
    refused.is_problem(503, "unavailable");
    cluster.node(1).log_out(&tried).await.is_problem(503, "unavailable");
    for node in &cluster.nodes {
        assert!(!node.readiness().await.is_ready, "{}", node.name);
        assert_eq!(node.says(&gone).await, Said::Unknown, "{}", node.name);
    }

    server.resume();
    cluster.will_accept(&stays).await;
    cluster.refuses(&gone).await;
    // What was not claimed was not done.
    cluster.accepts(&tried).await;
    let receipt = cluster.node(1).ends(&tried).await;
    assert_eq!((receipt.applied.nodes, receipt.applied.of), (2, 2), "{receipt:?}");
    cluster.refuses(&tried).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_postgresql_costs_no_check_and_some_receipts_a_full_wait() {
    let server = Server::start();
    let url = server.database().await;
    let cluster = Plan::new(&url, 2).set("REVOCATION__LEASE", "8s").start().await;
    let [stays, gone, next, last] = cluster.sessions().await;
    cluster.node(0).ends(&gone).await;
    let watch = cluster.watch(&stays);
    server.stop();
    server.resume();
    // It could be an older copy that was started: nobody's word counts until all holds from before are over.
    let receipt = cluster.node(0).ends(&next).await;
    assert!(took(&receipt) >= cluster.hold(), "{receipt:?}");
    assert!(took(&receipt) <= cluster.longest_wait() + SLACK, "{receipt:?}");
    eventually!(postgres::number(&url, "SELECT settled::int::bigint FROM head").await == 1);
    let receipt = cluster.node(1).ends(&last).await;
    assert!(took(&receipt) < cluster.hold(), "{receipt:?}");
    watch.was_good().await;
    for token in [&gone, &next, &last] {
        cluster.refuses(token).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restore_nothing_is_accepted_that_ends_from_then_on() {
    let server = Server::start();
    let mut cluster = Plan::new(&server.database().await, 3).set("REVOCATION__LEASE", "8s").start().await;
    let [stays, early, forgotten, goes] = cluster.sessions().await;
    cluster.node(0).ends(&early).await;
    // The backup knows of no node, so that a receipt after the restore cannot know by its rows whom to wait for.
    for node in &mut cluster.nodes {
        node.signal("TERM");
        node.ended().await;
    }
    server.stop();
    server.back_up();
    server.resume();
    all(cluster.nodes.iter_mut().map(Node::restart)).await;
    cluster.node(1).ends(&forgotten).await;
    cluster.refuses(&forgotten).await;
    cluster.accepts(&goes).await;

    // One node does not notice: it is cut off before the restore, with most of its hold to go.
    let began = Instant::now();
    cluster.node(2).sql.set(Mode::BlackHole);
    server.stop();
    server.restore();
    server.resume();
    for node in &cluster.nodes[..2] {
        eventually!(node.log().contains("begins anew"));
        eventually!(node.readiness().await.is_ready);
    }
    let receipt = cluster.node(0).ends(&goes).await;
    let said = cluster.node(2).says(&goes).await;
    assert_ne!(said, Said::Good, "{:?} after it was cut off, {receipt:?}", began.elapsed());
    assert!(took(&receipt) >= cluster.hold(), "{receipt:?}");

    cluster.node(2).sql.set(Mode::Pass);
    cluster.all_ready().await;
    for token in [&early, &goes] {
        cluster.refuses(token).await;
    }
    cluster.accepts(&stays).await;
    // All agree about what the backup did not have, whatever they say.
    let said = all(cluster.nodes.iter().map(|node| node.says(&forgotten))).await;
    assert!(said.iter().all(|&one| one == said[0]), "{said:?}");
}
