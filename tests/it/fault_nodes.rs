//! Nodes that die, stand still and come back: the others go on, and nobody says "good" of what has ended.

use std::time::Duration;

use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::support::{
    cluster::{Cluster, Node, Plan, SLACK, Said, Watch, took},
    postgres::Server,
    wait::{LONG, all},
};

async fn cluster(nodes: usize) -> Cluster {
    Plan::new(&Server::shared().database().await, nodes).start().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_delays_the_first_logout_and_no_other() {
    let mut cluster = cluster(3).await;
    let [stays, first, second, third] = cluster.sessions().await;
    cluster.accepts(&first).await;
    let mut dead = cluster.nodes.remove(1);
    dead.kill_9();
    let watch = cluster.watch(&stays);

    let receipt = cluster.node(0).ends(&first).await;
    assert!(took(&receipt) <= cluster.longest_wait() + SLACK, "{receipt:?}");
    cluster.refuses(&first).await;
    // The dead node is expelled by the next renewal of any other, a fifth of a hold later at most.
    let receipt = cluster.node(1).ends(&second).await;
    assert!(took(&receipt) < cluster.hold(), "{receipt:?}");
    let receipt = cluster.node(0).ends(&third).await;
    assert_eq!((receipt.applied.nodes, receipt.applied.of), (2, 2), "{receipt:?}");
    assert!(took(&receipt) < cluster.hold(), "{receipt:?}");
    watch.was_good().await;
    for token in [&first, &second, &third] {
        cluster.refuses(token).await;
    }
}

/// A node stands still for so many tenths of its hold while a token is revoked elsewhere.
async fn stands_still(tenths: &[u32]) {
    let cluster = cluster(2).await;
    let user = cluster.user().await;
    let stays = cluster.node(0).log_in(&user).await;
    let (writer, victim) = (cluster.node(0), cluster.node(1));
    let writers = Watch::of([writer], &stays);
    for &tenths in tenths {
        let goes = writer.log_in(&user).await;
        cluster.accepts(&goes).await;
        let watch = Watch::of([victim], &goes);
        victim.signal("STOP");
        let pause = cluster.hold() * tenths / 10;
        let ((receipt, at), (began, given)) =
            tokio::join!(async { (writer.ends(&goes).await, Instant::now()) }, async {
                sleep(pause).await;
                // The first checks that it sees were sent while it stood still.
                let began = Instant::now();
                let (said, ()) = tokio::join!(all((0..4).map(|_| victim.may_say(&goes))), async {
                    sleep(Duration::from_millis(20)).await;
                    victim.signal("CONT");
                });
                (began, said)
            });
        let bound = cluster.longest_wait().max(pause) + SLACK;
        assert!(took(&receipt) <= bound, "{tenths} tenths: {receipt:?}");
        assert!(began < at || !given.contains(&Some(Said::Good)), "{tenths} tenths, after the receipt: {given:?}");
        cluster.will_accept(&stays).await;
        cluster.refuses(&goes).await;
        let late = watch.end().await.into_iter().find(|seen| seen.began > at && seen.said == Some(Said::Good));
        assert!(late.is_none(), "{tenths} tenths: accepted after the receipt: {late:?}");
    }
    writers.was_good().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stood_still_for_less_than_its_hold_accepts_nothing_that_ended_meanwhile() {
    stands_still(&[1, 5, 10]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stood_still_for_two_holds_accepts_nothing_that_ended_meanwhile() {
    stands_still(&[20]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stood_still_for_five_holds_accepts_nothing_that_ended_meanwhile() {
    stands_still(&[50]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_restarted_in_place_or_has_left_is_not_waited_for() {
    // So long that a wait for it would be seen on the busiest machine.
    let url = Server::shared().database().await;
    let mut cluster = Plan::new(&url, 2).set("REVOCATION__LEASE", "30s").start().await;
    let [stays, first, second, third] = cluster.sessions().await;
    let soon = cluster.hold() / 3;

    cluster.node(0).ends(&first).await;
    cluster.node_mut(1).kill_9();
    cluster.node_mut(1).restart().await;
    let receipt = cluster.node(0).ends(&second).await;
    assert!(took(&receipt) < soon, "{receipt:?}");
    assert_eq!((receipt.applied.nodes, receipt.applied.of), (2, 2), "{receipt:?}");
    for token in [&first, &second] {
        cluster.refuses(token).await;
    }
    cluster.accepts(&stays).await;

    let mut leaves = cluster.nodes.remove(1);
    leaves.signal("TERM");
    assert!(leaves.ended().await.success(), "{}", leaves.log());
    let receipt = cluster.node(0).ends(&third).await;
    assert!(took(&receipt) < soon, "{receipt:?}");
    assert_eq!((receipt.applied.nodes, receipt.applied.of), (1, 1), "{receipt:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_all_nodes_are_killed_at_once() {
    let mut cluster = cluster(3).await;
    let [stays, first, second, third] = cluster.sessions().await;
    for (i, token) in [&first, &second, &third].into_iter().enumerate() {
        cluster.node(i).ends(token).await;
    }
    // And some that are under way: those that are answered in time count too.
    let sessions: [String; 12] = cluster.sessions().await;
    let mut logouts = JoinSet::new();
    for (i, token) in sessions.into_iter().enumerate() {
        let node = cluster.node(i % 3);
        let call = node.post("/v1/auth/logout").bearer(&token).json(&json!({}));
        logouts.spawn(async move { (token, timeout(LONG, call.try_send()).await.expect("an answer or an end")) });
    }
    let mut acknowledged = vec![first, second, third];
    let mut note = |(token, answer): (String, Result<crate::support::answer::Answer, _>)| {
        if answer.is_ok_and(|answer| answer.status == 200) {
            acknowledged.push(token);
        }
    };
    note(logouts.join_next().await.expect("some").expect("no panic"));
    for node in &mut cluster.nodes {
        node.kill_9();
    }
    logouts.join_all().await.into_iter().for_each(&mut note);
    assert!(acknowledged.len() > 3, "at least the one that was waited for");

    all(cluster.nodes.iter_mut().map(Node::restart)).await;
    for token in &acknowledged {
        cluster.refuses(token).await;
    }
    cluster.accepts(&stays).await;
    let receipt = cluster.node(2).ends(&stays).await;
    assert!(took(&receipt) < cluster.hold(), "nobody waits for the dead: {receipt:?}");
    cluster.refuses(&stays).await;
}
