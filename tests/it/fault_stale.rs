//! What becomes of checks when renewals fail for longer than the lease, by policy.

use tokio::time::Instant;

use crate::support::{
    chaos::Mode,
    cluster::{Plan, SLACK, Said, took},
    operator::run,
    postgres::{self, Server},
    wait::{all, eventually},
};

/// Nobody can renew, and everything else in the database goes on.
const NO_RENEWALS: &str = "LOCK TABLE nodes IN EXCLUSIVE MODE";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ask_answers_from_the_database_when_the_lease_is_over() {
    let url = Server::shared().database().await;
    let cluster = Plan::new(&url, 2).set("REVOCATION__ON_STALE", "ask").start().await;
    let [stays, first, second] = cluster.sessions().await;
    cluster.node(0).ends(&first).await;
    let watch = cluster.watch(&stays);
    let lock = postgres::begin(&url, NO_RENEWALS).await;
    for node in &cluster.nodes {
        eventually!(node.readiness().await.hold_remaining.is_zero());
    }
    cluster.refuses(&first).await;
    let receipt = cluster.node(0).ends(&second).await;
    assert!(took(&receipt) <= cluster.longest_wait() + SLACK, "{receipt:?}");
    cluster.refuses(&second).await;
    watch.was_good().await;
    // And if it cannot be asked, there is no answer.
    cluster.node(1).sql.set(Mode::Cut);
    assert_eq!(cluster.node(1).says(&stays).await, Said::Unknown);
    assert_eq!(cluster.node(0).says(&stays).await, Said::Good);

    cluster.node(1).sql.set(Mode::Pass);
    drop(lock);
    cluster.all_ready().await;
    cluster.will_accept(&stays).await;
    for token in [&first, &second] {
        cluster.refuses(token).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serve_for_goes_on_beyond_the_lease_and_receipts_wait_for_it() {
    let url = Server::shared().database().await;
    let plan = Plan::new(&url, 2).set("REVOCATION__ON_STALE", "serve_for").set("REVOCATION__SERVE_FOR", "4s");
    let mut cluster = plan.start().await;
    assert_eq!(cluster.hold().as_secs(), 6, "2 s of lease, and 4 s");
    let [stays, goes, last] = cluster.sessions().await;
    // Half of this hold is longer than the lease.
    let began = Instant::now();
    let lock = postgres::begin(&url, NO_RENEWALS).await;
    let locked = Instant::now();
    let (receipt, _) = tokio::join!(
        async {
            let receipt = cluster.node(0).ends(&goes).await;
            for node in &cluster.nodes {
                assert_ne!(node.says(&goes).await, Said::Good, "{}", node.name);
            }
            receipt
        },
        all(cluster.nodes.iter().map(|node| node.stops(&stays, cluster.hold(), began, locked))),
    );
    assert!(took(&receipt) <= cluster.longest_wait() + SLACK, "{receipt:?}");
    drop(lock);
    cluster.will_accept(&stays).await;
    cluster.refuses(&goes).await;

    // A dead node is waited for as long as it could have gone on: it had renewed a fifth of its hold ago at most.
    cluster.node_mut(1).kill_9();
    let receipt = cluster.node(0).ends(&last).await;
    assert!(took(&receipt) >= cluster.hold() * 4 / 5, "{receipt:?}");
    assert!(took(&receipt) <= cluster.longest_wait() + SLACK, "{receipt:?}");
}

/// A key that it cannot have heard of may be good: what it does not know it does not judge.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_cut_off_calls_no_token_bad_that_is_signed_with_a_key_it_cannot_know() {
    let url = Server::shared().database().await;
    let cluster = Plan::new(&url, 2).start().await;
    let user = cluster.user().await;
    let old = cluster.node(0).log_in(&user).await;
    cluster.node(1).sql.set(Mode::Cut);
    eventually!(cluster.node(1).readiness().await.hold_remaining.is_zero());
    let kid = jsonwebtoken::decode_header(&old).unwrap().kid.expect("a key");
    run(cluster.node(0), &format!("keys retire {kid}")).await.expect(0);
    let new = cluster.node(0).log_in(&user).await;
    assert_ne!(jsonwebtoken::decode_header(&new).unwrap().kid, Some(kid));
    assert_eq!(cluster.node(0).says(&new).await, Said::Good);
    for token in [&old, &new] {
        assert_eq!(cluster.node(1).says(token).await, Said::Unknown);
    }
    cluster.node(1).sql.set(Mode::Pass);
    cluster.all_ready().await;
    cluster.will_accept(&new).await;
    for node in &cluster.nodes {
        node.get("/v1/auth/me").bearer(&old).await.is_problem(401, "token-expired");
    }
}
