//! The rules of the lease protocol, one by one: a node or a writer is stopped at the very place where keeping the rule
//! makes the difference.
//!
//! [`leases`](super::leases) and the suites of faults show that the whole keeps its promise; most mistakes in one rule
//! would need a rare moment to show there. Here that moment is made: by a lock, by a trigger, by a row that says what
//! another server would.

use std::time::Duration;

use kickout::{
    clock::Clock,
    ids::{NodeId, Seq, TokenId},
    revocation::{
        Act, Verdict,
        feed::Cursor,
        lease::{Authority, Nodes, wait},
    },
};
use tokio::time::sleep;

use super::support::{
    ledger::ledger_at,
    member::{CALM, Gate, HOLD, Member, ms},
    postgres::{self, Server},
    wait::eventually,
};

/// How long a statement of these tests may take.
const LIMIT: Duration = Duration::from_secs(10);

/// The id of the only node; 0 while there is none.
async fn id(url: &str) -> i64 {
    let id = "SELECT coalesce(max(('x' || substr(replace(id::text, '-', ''), 1, 15))::bit(60)::bigint), 0) FROM nodes";
    postgres::number(url, id).await
}

/// Waits until the only node has another id than that.
async fn has_another_id(url: &str, before: i64) {
    eventually!(![0, before].contains(&id(url).await));
}

async fn database() -> String {
    Server::shared().database().await
}

/// Waits until so many statements stand before a lock.
async fn stand_before_a_lock(url: &str, how_many: i64) {
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    eventually!(postgres::number(url, waiting).await == how_many);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wait_counts_from_when_the_commit_was_acknowledged() {
    let url = database().await;
    let writer = Member::start(&url, "writer", true).await;
    let mut other = Member::start(&url, "other", false).await;
    // A commit that takes longer than the wait: nobody sees the row before its end, and whoever renewed just before may
    // go on for all of its hold.
    let commit = wait(HOLD) + Duration::from_secs(1);
    let slow = format!(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep({}); RETURN NULL; END';
         CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON revocations DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION slow()",
        commit.as_secs_f64()
    );
    postgres::run(&url, &slow).await;
    let someone = writer.someone();
    let (receipt, ()) = tokio::join!(writer.revoke(&someone), async {
        sleep(wait(HOLD)).await;
        other.answers().await;
        other.die();
    });
    assert!(receipt.complete);
    assert_ne!(other.verdict(&someone).await, Verdict::Active, "{receipt:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_has_come_since_the_last_receipt_is_waited_for() {
    let url = database().await;
    let writer = Member::start(&url, "writer", true).await;
    writer.revoke(&writer.someone()).await;
    let mut late = Member::start(&url, "late", false).await;
    let someone = writer.someone();
    eventually!(late.verdict(&someone).await == Verdict::Active);
    late.die();
    let receipt = writer.revoke(&someone).await;
    assert!(receipt.complete);
    assert_ne!(late.verdict(&someone).await, Verdict::Active, "{receipt:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_revoked_already_is_waited_for_like_the_first_time() {
    let url = database().await;
    let writer = Member::start(&url, "writer", true).await;
    let mut other = Member::start(&url, "other", false).await;
    other.die();
    let someone = writer.someone();
    let (first, again) = tokio::join!(writer.revoke(&someone), async {
        eventually!(postgres::number(&url, "SELECT seq FROM head").await == 1);
        let again = writer.revoke(&someone).await;
        assert_ne!(other.verdict(&someone).await, Verdict::Active, "{again:?}");
        again
    });
    assert_eq!((first.already, again.already, again.seq), (false, true, first.seq));
    assert!(first.complete && again.complete);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_loads_before_a_commit_and_registers_after_it_answers_nothing_before_its_first_renewal() {
    let url = database().await;
    let writer = Member::start(&url, "writer", true).await;
    let mut late = Member::open(&url, "late", CALM).await;
    let registration = Gate::close(&url, "INSERT", "late").await;
    let renewal = Gate::close(&url, "UPDATE", "late").await;
    // First in the line for the head is the writer; then the node, which has loaded what there is and is to register.
    let head = postgres::begin(&url, "SELECT seq FROM head FOR UPDATE").await;
    let someone = writer.someone();
    let (receipt, ()) = tokio::join!(writer.revoke(&someone), async {
        stand_before_a_lock(&url, 1).await;
        late.begin(false);
        stand_before_a_lock(&url, 2).await;
        drop(head);
    });
    assert!(receipt.complete);
    assert_eq!(receipt.applied.of, 1, "the late node has no row yet");
    drop(registration);
    renewal.has_somebody().await;
    assert_ne!(late.verdict(&someone).await, Verdict::Active);
    drop(renewal);
    late.answers().await;
    assert!(matches!(late.verdict(&someone).await, Verdict::Revoked(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_counts_from_before_the_renewal_was_asked_for() {
    let url = database().await;
    let mut node = Member::open(&url, "slow", CALM).await;
    node.run(true).await;
    let clock = Clock::System;
    let end = || clock.boottime() + node.node.remaining();
    let before = end();
    let gate = Gate::close(&url, "UPDATE", "slow").await;
    gate.has_somebody().await;
    let asked = clock.boottime();
    sleep(Duration::from_secs(1)).await;
    drop(gate);
    // Two readings of the clock and one of the lease are not one moment.
    let blur = Duration::from_millis(100);
    eventually!(end().since(before) > blur);
    assert!(end() < asked + CALM + blur, "{:?} too long", end().since(asked + CALM));
    node.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_may_go_on_for_longer_is_waited_for_as_long() {
    let url = database().await;
    let mut writer = Member::open(&url, "writer", Duration::from_secs(2)).await;
    writer.run(true).await;
    let mut other = Member::open(&url, "other", Duration::from_secs(6)).await;
    other.run(false).await;
    let someone = writer.someone();
    eventually!(other.verdict(&someone).await == Verdict::Active);
    other.die();
    let receipt = writer.revoke(&someone).await;
    assert!(receipt.complete);
    assert_ne!(other.verdict(&someone).await, Verdict::Active, "{receipt:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_server_that_is_not_settled_nobodys_word_counts() {
    let url = database().await;
    let nodes = [Member::start(&url, "a", true).await, Member::start(&url, "b", true).await];
    postgres::run(&url, "UPDATE head SET settled = false").await;
    let someone = nodes[0].someone();
    let receipt = nodes[0].revoke(&someone).await;
    assert_eq!((receipt.applied.nodes, receipt.applied.of), (2, 2), "{receipt:?}");
    assert!(receipt.complete && ms(&receipt) >= wait(HOLD), "both have said that they have it: {receipt:?}");
    eventually!(postgres::number(&url, "SELECT settled::int::bigint FROM head").await == 1);
    let receipt = nodes[1].revoke(&nodes[1].someone()).await;
    assert_eq!((receipt.complete, receipt.applied.nodes), (true, 2), "{receipt:?}");
    for node in nodes {
        node.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_has_lost_its_row_answers_nothing_until_it_has_renewed_under_another_id() {
    let url = database().await;
    let mut node = Member::open(&url, "a", CALM).await;
    node.run(true).await;
    let (before, someone) = (id(&url).await, node.someone());
    assert_eq!(node.verdict(&someone).await, Verdict::Active);
    let gate = Gate::close(&url, "INSERT", "a").await;
    postgres::run(&url, "DELETE FROM nodes").await;
    // It has noticed, has loaded again, and is about to register; most of its last lease would be left.
    gate.has_somebody().await;
    assert!(matches!(node.verdict(&someone).await, Verdict::Unknown(_)));
    drop(gate);
    node.answers().await;
    has_another_id(&url, before).await;
    node.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_beat_that_is_not_its_own_ends_a_node_also_when_it_has_missed_an_answer() {
    let url = database().await;
    let node = Member::start(&url, "a", true).await;
    let before = id(&url).await;
    // Its renewals stand before the lock until it gives one up. Then it asks at which beat its row is.
    let mut lock = postgres::begin(&url, "LOCK TABLE nodes IN ACCESS EXCLUSIVE MODE").await;
    let asks =
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT beat FROM nodes%' AND wait_event_type = 'Lock'
                AND datname = current_database()";
    eventually!(postgres::number(&url, asks).await > 0);
    sqlx::raw_sql("UPDATE nodes SET beat = beat + 7; COMMIT").execute(&mut lock).await.unwrap();
    has_another_id(&url, before).await;
    node.answers().await;
    node.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_of_the_same_length_that_went_another_way_is_not_taken_for_ones_own() {
    let url = database().await;
    let node = Member::start(&url, "a", true).await;
    let someone = node.someone();
    node.revoke(&someone).await;
    let before = id(&url).await;
    // A server that took over before it had the last row has recorded another one under its number.
    postgres::run(
        &url,
        "BEGIN; UPDATE head SET tag = tag + 1;
         UPDATE revocations SET tag = tag + 1, id = decode('000102030405060708090a0b0c0d0e0f', 'hex')
             WHERE seq = (SELECT seq FROM head); COMMIT",
    )
    .await;
    has_another_id(&url, before).await;
    node.answers().await;
    assert!(matches!(node.verdict(&someone).await, Verdict::Revoked(_)), "it was recorded again");
    node.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_life_of_the_ledger_stops() {
    let url = database().await;
    let node = Member::start(&url, "a", true).await;
    postgres::run(&url, "UPDATE head SET ledger = gen_random_uuid()").await;
    let someone = node.someone();
    eventually!(matches!(node.verdict(&someone).await, Verdict::Unknown(_)));
    eventually!(postgres::number(&url, "SELECT count(*) FROM nodes").await == 0);
}

/// A node that is a row and nothing else.
struct Rows {
    url: String,
    nodes: Nodes,
    id: NodeId,
    /// Where the ledger stood at first.
    begun: Cursor,
    ledger: kickout::revocation::ledger::Ledger,
}

impl Rows {
    async fn start() -> Self {
        let url = database().await;
        let (database, ledger) = ledger_at(&url).await;
        let (nodes, id, begun) = (Nodes::new(database), NodeId::random(), ledger.cursor().await.unwrap());
        assert!(nodes.register(id, HOLD, "a", "memory", ledger.clock().now()).await.unwrap());
        Self { url, nodes, id, begun, ledger }
    }

    async fn renew(&self, beat: i64) -> Option<kickout::revocation::lease::Renewal> {
        self.nodes.renew(self.id, beat, self.begun, HOLD, Seq(0), LIMIT).await.unwrap()
    }

    async fn expel(&self, beat: i64) -> bool {
        self.nodes.expel(self.id, beat, LIMIT).await.unwrap()
    }

    async fn authority(&self) -> Authority {
        self.ledger.record(&[Act::Token(TokenId::random())]).await.unwrap().authority.unwrap()
    }
}

#[tokio::test]
async fn a_row_is_renewed_at_its_own_beat_only_and_expelled_only_at_the_one_that_was_seen() {
    let rows = Rows::start().await;
    assert!(rows.renew(0).await.is_some());
    assert!(rows.renew(0).await.is_none(), "somebody has renewed it since");
    assert!(rows.renew(2).await.is_none());
    assert!(!rows.expel(0).await, "it has renewed since it was seen");
    assert!(rows.renew(1).await.is_some(), "and is there");
    assert!(rows.expel(2).await);
    assert!(rows.renew(2).await.is_none());
}

#[tokio::test]
async fn a_row_says_what_was_applied_before_the_renewal_was_asked_for() {
    let rows = Rows::start().await;
    rows.ledger.record(&[Act::Token(TokenId::random())]).await.unwrap();
    let renewal = rows.renew(0).await.unwrap();
    assert_eq!((renewal.head.seq, renewal.batches.len()), (Seq(1), 1));
    assert_eq!(rows.nodes.members().await.unwrap()[0].applied, Seq(0), "the answer may never arrive");
}

#[tokio::test]
async fn a_hold_is_in_the_head_before_the_node_that_may_use_it_is_there() {
    let rows = Rows::start().await;
    let authority = rows.authority().await;
    let at = rows.ledger.cursor().await.unwrap();
    assert_eq!(
        authority,
        Authority { is_settled: true, max_hold: HOLD, at },
        "and what was committed is in the history"
    );
    let now = rows.ledger.clock().now();
    for hold in [3 * HOLD, HOLD] {
        assert!(rows.nodes.register(NodeId::random(), hold, "b", "memory", now).await.unwrap());
        assert_eq!(rows.authority().await.max_hold, 3 * HOLD, "the longest that there ever was");
    }
}

#[tokio::test]
async fn early_answers_count_and_nodes_are_expelled_on_the_known_and_settled_server_alone() {
    let rows = Rows::start().await;
    for (change, is_known) in [("settled = false", true), ("settled = true, server = 'another'", false)] {
        postgres::run(&rows.url, &format!("UPDATE head SET {change}")).await;
        assert!(!rows.authority().await.is_settled, "{change}");
        assert!(!rows.expel(0).await, "{change}");
        let renewal = rows.renew(0).await.unwrap();
        assert_eq!((renewal.is_known_server, renewal.is_settled), (is_known, false), "{change}");
        postgres::run(&rows.url, "UPDATE nodes SET beat = 0").await;
        // Whoever has seen another server in charge for long enough says nothing of this one.
        rows.nodes.settle("another", LIMIT).await.unwrap();
        assert!(!rows.authority().await.is_settled, "{change}");
    }
    rows.nodes.unsettle(LIMIT).await.unwrap();
    let renewal = rows.renew(0).await.unwrap();
    assert!(renewal.is_known_server && !renewal.is_settled, "it is noted, and has to settle");
    rows.nodes.settle(&renewal.server, LIMIT).await.unwrap();
    assert!(rows.authority().await.is_settled);
    rows.nodes.unsettle(LIMIT).await.unwrap();
    assert!(rows.authority().await.is_settled, "it is the same one");
    assert!(rows.expel(1).await);
}
