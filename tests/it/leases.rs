//! Several nodes on one PostgreSQL: a receipt is given when no node can say "not revoked" any more, and not later than
//! the hold of a dead one allows.
//!
//! The nodes live in this process, each with its own pools, replica and tasks. A node "dies" when its tasks are dropped
//! where they stand: its row stays, and what it has in memory would still answer.

use std::time::Duration;

use kickout::{
    clock::Clock,
    database::Database,
    ids::{NodeId, Seq, TokenId},
    revocation::{
        Act, Ignorance, Patience, Presented, Strategy, Verdict,
        bulk::PART,
        feed::Cursor,
        lease::{Nodes, wait},
        ledger::{Ledger, ManyKind},
    },
};
use uuid::Uuid;

use super::support::{
    ledger::{session, user},
    member::{HOLD, Member, ms},
    postgres,
    wait::eventually,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_complete_receipt_every_node_denies() {
    let url = postgres::Server::shared().database().await;
    let nodes = [
        Member::start(&url, "a", true).await,
        Member::start(&url, "b", true).await,
        Member::start(&url, "c", false).await,
    ];
    for round in 0..60 {
        let writer = &nodes[round % 3];
        let someone = writer.someone();
        for node in &nodes {
            assert_eq!(node.verdict(&someone).await, Verdict::Active);
        }
        let receipt = writer.revoke(&someone).await;
        assert!(receipt.complete && !receipt.already);
        assert_eq!((receipt.applied.nodes, receipt.applied.of), (3, 3), "{receipt:?}");
        for node in &nodes {
            assert!(matches!(node.verdict(&someone).await, Verdict::Revoked(_)), "round {round}");
        }
        let again = nodes[(round + 1) % 3].revoke(&someone).await;
        assert_eq!((again.already, again.complete, again.seq), (true, true, receipt.seq));
    }
    for node in nodes {
        node.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_node_delays_the_first_receipts_by_its_hold_and_answers_nothing_after_them() {
    let url = postgres::Server::shared().database().await;
    let writer = Member::start(&url, "writer", true).await;
    let mut dead = Member::start(&url, "dead", true).await;
    let someone = writer.someone();
    assert_eq!(dead.verdict(&someone).await, Verdict::Active);
    dead.die();

    let receipt = writer.revoke(&someone).await;
    assert!(receipt.complete);
    // The bound, and what a busy machine may add to it.
    assert!(ms(&receipt) <= wait(HOLD) + Duration::from_secs(10), "{receipt:?}");
    assert_eq!(dead.verdict(&someone).await, Verdict::Unknown(Ignorance::Stale), "it has stopped by itself");
    // The others expel it, and nobody waits for it any more.
    eventually!(writer.revoke(&writer.someone()).await.applied.of == 1, Duration::from_secs(10));
    let receipt = writer.revoke(&writer.someone()).await;
    assert_eq!((receipt.applied.nodes, receipt.applied.of), (1, 1));
    writer.leave().await;
}

/// One of them was there already, under a number that the dead node has acknowledged.
#[tokio::test]
async fn acts_that_share_a_commit_wait_for_the_last_number_of_all_of_them() {
    let url = postgres::Server::shared().database().await;
    let writer = Member::start(&url, "writer", true).await;
    let mut dead = Member::start(&url, "dead", true).await;
    let (before, someone) = (writer.someone(), writer.someone());
    let first = writer.revoke(&before).await;
    assert_eq!((first.applied.nodes, first.applied.of), (2, 2));
    assert_eq!(dead.verdict(&someone).await, Verdict::Active);
    dead.die();
    // Both wait when the recorder comes: nothing else runs in between on this one thread.
    let (again, now) = tokio::join!(writer.revoke(&before), writer.revoke(&someone));
    assert!(again.already && again.complete && now.complete && now.seq > again.seq, "{again:?} {now:?}");
    assert_eq!(dead.verdict(&someone).await, Verdict::Unknown(Ignorance::Stale), "it has stopped by itself");
    writer.leave().await;
}

/// The first of them was there already, under a number that the dead node has acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bulk_waits_for_each_of_its_parts() {
    let url = postgres::Server::shared().database().await;
    let writer = Member::start(&url, "writer", true).await;
    let mut dead = Member::start(&url, "dead", true).await;
    let mut ids: Vec<Uuid> = (0..PART).map(|_| TokenId::random().uuid()).collect();
    let bulk = async |ids: &[Uuid]| writer.revoker.revoke_bulk(ManyKind::Token, ids, Patience::Complete).await.unwrap();
    let first = bulk(&ids).await;
    assert_eq!((first.applied.nodes, first.applied.of), (2, 2));
    let someone = writer.someone();
    assert_eq!(dead.verdict(&someone).await, Verdict::Active);
    dead.die();
    ids.push(someone.token.uuid());
    assert!(bulk(&ids).await.complete);
    assert_eq!(dead.verdict(&someone).await, Verdict::Unknown(Ignorance::Stale), "it has stopped by itself");
    writer.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_leaves_is_not_waited_for_and_one_whose_row_is_gone_begins_anew() {
    let url = postgres::Server::shared().database().await;
    let stays = Member::start(&url, "stays", true).await;
    let leaves = Member::start(&url, "leaves", true).await;
    let (checker, someone) = (leaves.checker.clone(), leaves.someone());
    leaves.leave().await;
    // Nobody waits for it any more, so there is nothing that it may call good.
    assert!(matches!(checker.check(&someone).await.verdict, Verdict::Unknown(_)));
    let receipt = stays.revoke(&stays.someone()).await;
    assert_eq!((receipt.applied.nodes, receipt.applied.of), (1, 1));

    let someone = stays.someone();
    postgres::run(&url, "DELETE FROM nodes").await;
    let receipt = stays.revoke(&someone).await;
    assert!(receipt.complete, "{receipt:?}");
    eventually!(stays.verdict(&stays.someone()).await == Verdict::Active, Duration::from_secs(10));
    assert!(matches!(stays.verdict(&someone).await, Verdict::Revoked(_)));
    assert!(stays.node.remaining() > Duration::ZERO);
    stays.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_in_force_is_asked_for_afresh_when_somebody_comes_back_for_it() {
    let url = postgres::Server::shared().database().await;
    let node = Member::start(&url, "a", true).await;
    let seq = node.revoke(&node.someone()).await.seq;
    eventually!(node.revoker.progress(seq).await.is_some_and(|reach| reach.is_complete));
    // What the node has seen at its last renewal still says so.
    postgres::run(&url, "UPDATE head SET settled = false").await;
    let reach = node.revoker.progress(seq).await.expect("it was recorded");
    assert!(!reach.is_complete, "early answers do not count now: {reach:?}");
    postgres::run(&url, "UPDATE head SET settled = true").await;
    assert!(node.revoker.progress(seq).await.expect("it was recorded").is_complete);
    node.leave().await;
}

/// Its number may be the same.
#[tokio::test]
async fn a_nodes_row_says_nothing_of_a_history_that_is_not_this_ledgers() {
    let url = postgres::Server::shared().database().await;
    let ledger =
        Ledger::open(Database::open_url(&url).await.unwrap(), &Clock::System, Duration::from_mins(15)).await.unwrap();
    let (nodes, id) = (Nodes::new(ledger.database().clone()), NodeId::random());
    let mut history = vec![ledger.cursor().await.unwrap()];
    for _ in 0..2 {
        ledger.record(&[Act::Token(TokenId::random())]).await.unwrap();
        history.push(ledger.cursor().await.unwrap());
    }
    assert!(nodes.register(id, HOLD, "a", Strategy::Hybrid.kin(), ledger.clock().now()).await.unwrap());
    let other = Cursor { tag: history[0].tag, ..history[2] };
    for (beat, (at, applied)) in
        (0..).zip([(history[1], 1), (other, 0), (history[2], 2), (Cursor { tag: history[2].tag, ..history[1] }, 0)])
    {
        let renewal = nodes.renew(id, beat, at, HOLD, at.seq, HOLD).await.unwrap().expect("its row is there");
        assert_eq!(renewal.head, history[2]);
        let members = nodes.members().await.unwrap();
        assert_eq!(members[0].applied, Seq(applied), "{at:?}");
        let standing = nodes.standing(HOLD).await.unwrap();
        assert_eq!((standing.head, standing.members), (history[2], members));
    }
    nodes.remove(id).await.unwrap();
    assert_eq!(nodes.standing(HOLD).await.unwrap().members, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_new_server_never_had_is_counted_and_recorded_again() {
    let url = postgres::Server::shared().database().await;
    let node = Member::start(&url, "a", true).await;
    let (kept, token, ended, everybody) = (node.someone(), node.someone(), node.someone(), node.someone());
    node.revoke(&kept).await;
    postgres::run(&url, "CREATE TABLE copy AS SELECT * FROM head; CREATE TABLE users_copy AS SELECT * FROM users")
        .await;
    node.revoke(&token).await;
    let subject = user(node.ledger.database()).await;
    // Of somebody else: no floor ends it.
    let owner = user(node.ledger.database()).await;
    let session = session(node.ledger.database(), owner, 0).await;
    let [ended, everybody] = [Presented { session, ..ended }, Presented { subject, ..everybody }];
    for act in [Act::Session { session, of: None }, Act::Subject { subject, keep: None }] {
        assert!(node.revoker.revoke(act).await.unwrap().receipt.complete);
    }

    // The server that takes over has never heard of the last three; the rows of the user and of the session it has, as
    // they were.
    postgres::run(
        &url,
        "BEGIN;
         UPDATE head SET seq = copy.seq, tag = copy.tag, server = 'before', settled = true FROM copy;
         DELETE FROM revocations WHERE seq > (SELECT seq FROM copy);
         UPDATE users SET generation = 0; UPDATE sessions SET ended_at = NULL;
         CREATE SEQUENCE tries;
         CREATE FUNCTION trick() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF nextval('tries') <= 2 THEN RAISE EXCEPTION USING errcode = 'XX000'; END IF;
             RETURN new;
         END $$;
         CREATE TRIGGER trick BEFORE INSERT ON revocations FOR EACH ROW EXECUTE FUNCTION trick();
         COMMIT",
    )
    .await;
    // Nor does it take them at once, for a reason that nobody expects to pass.
    eventually!(
        postgres::number(&url, "SELECT count(*) FROM revocations WHERE kind IN (1, 2, 3)").await == 4,
        Duration::from_secs(10)
    );
    assert_eq!(postgres::number(&url, "SELECT count(*) FROM sessions WHERE ended_at IS NULL").await, 0);
    assert_eq!(postgres::number(&url, "SELECT max(generation) FROM users").await, 1);
    eventually!(node.verdict(&node.someone()).await == Verdict::Active, Duration::from_secs(10));
    for dead in [&kept, &token, &ended, &everybody] {
        assert!(matches!(node.verdict(dead).await, Verdict::Revoked(_)), "{dead:?}");
    }
    node.leave().await;
}

/// A backup from before this hold, or a standby that has not heard of it, takes over while a node still holds for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_has_forgotten_the_longest_hold_does_not_shorten_the_wait() {
    let url = postgres::Server::shared().database().await;
    let stays = Member::start(&url, "stays", true).await;
    let mut cut_off = Member::start(&url, "cut off", false).await;
    let token = stays.someone();
    cut_off.die();
    assert_eq!(cut_off.verdict(&token).await, Verdict::Active, "its lease goes on");

    postgres::run(
        &url,
        "BEGIN;
         UPDATE head SET server = 'before', settled = true, max_hold = 0;
         DELETE FROM nodes WHERE name = 'cut off';
         COMMIT",
    )
    .await;
    let receipt = stays.revoke(&token).await;
    assert!(receipt.complete);
    assert_eq!(cut_off.verdict(&token).await, Verdict::Unknown(Ignorance::Stale));
    assert!(ms(&receipt) >= wait(HOLD), "{receipt:?}");
    stays.leave().await;
}
