//! Bulk revocation: every id is dead, counts are right at every border, and what failed part-way says how far it came.

use std::{collections::HashSet, fs, sync::Arc};

use kickout::{
    database::{Database, sql},
    ids::{SessionId, Subject, TokenId},
    revocation::{
        Patience, Presented, Revoker, Verdict,
        bulk::{BulkError, BulkReceipt, MOST, PART},
        ledger::{Counts, ManyKind},
    },
    telemetry::metrics::Metrics,
};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::{
    ledger::{Node, Store, on_both, session, user},
    operator::outcome,
    postgres::Server,
    process::Process,
    wait::eventually,
};

/// A node with a running recorder.
struct Office {
    node: Node,
    revoker: Revoker,
    _recording: JoinSet<()>,
}

impl Office {
    async fn open(store: Store) -> Self {
        let node = Node::start(store).await;
        let (revoker, recorder) =
            Revoker::new(node.ledger.clone(), Arc::clone(&node.replica), None, 1024, Metrics::new());
        let mut recording = JoinSet::new();
        recording.spawn(recorder.run(std::future::pending()));
        // Alone on its PostgreSQL: nobody else is waited for.
        Self { node, revoker, _recording: recording }
    }

    async fn revoke(&self, kind: ManyKind, ids: &[Uuid]) -> BulkReceipt {
        self.revoker.revoke_bulk(kind, ids, Patience::Complete).await.unwrap()
    }

    fn someone(&self) -> Presented {
        Presented {
            token: TokenId::random(),
            session: SessionId::random(),
            subject: Subject::random(),
            generation: kickout::ids::Generation(0),
            epoch: self.node.ledger.id(),
            key: kickout::ids::KeyId::of([0; 32]),
        }
    }

    async fn is_dead(&self, presented: &Presented) -> bool {
        matches!(self.node.verdict(presented).await, Verdict::Revoked(_))
    }
}

const fn counts(revoked: u32, already: u32, absent: u32) -> Counts {
    Counts { revoked, already, absent }
}

on_both!(
    every_token_is_dead_at_every_border_and_counted_once,
    sessions_end_and_users_are_logged_out,
    too_many_and_none_are_refused_before_anything_is_done,
);

async fn every_token_is_dead_at_every_border_and_counted_once(store: Store) {
    let office = Office::open(store).await;
    let mut all = 0;
    for size in [1, PART - 1, PART, PART + 1, 2 * PART + 1] {
        let ids: Vec<Uuid> = (0..size).map(|_| TokenId::random().uuid()).collect();
        let receipt = office.revoke(ManyKind::Token, &ids).await;
        assert!(receipt.complete, "{receipt:?}");
        assert_eq!(receipt.counts, counts(u32::try_from(size).unwrap(), 0, 0));
        for id in &ids {
            assert!(office.is_dead(&Presented { token: (*id).into(), ..office.someone() }).await, "{size}: {id}");
        }
        assert!(!office.is_dead(&office.someone()).await);
        let again = office.revoke(ManyKind::Token, &ids).await;
        assert_eq!((again.counts, again.complete), (counts(0, u32::try_from(size).unwrap(), 0), true));
        assert_eq!(again.seq, receipt.seq, "it waits for what did it");
        all += size;
    }
    let id = TokenId::random().uuid();
    let twice = office.revoke(ManyKind::Token, &[id, id]).await;
    assert_eq!(twice.counts, counts(1, 0, 0));
    // A load reads all of it.
    office.node.replica.load(&office.node.ledger).await.unwrap();
    assert_eq!(office.node.replica.filter().entries, all + 1);
    // Its last part was there before, under an older number.
    let ids: Vec<Uuid> = (0..PART).map(|_| TokenId::random().uuid()).chain([id]).collect();
    let mixed = office.revoke(ManyKind::Token, &ids).await;
    assert_eq!(mixed.counts, counts(u32::try_from(PART).unwrap(), 1, 0));
    assert!(mixed.seq > twice.seq && mixed.seq == office.node.replica.applied(), "{mixed:?}");
}

async fn sessions_end_and_users_are_logged_out(store: Store) {
    let office = Office::open(store).await;
    let database = office.node.database.clone();
    let ada = user(&database).await;
    let bob = user(&database).await;
    let of_ada = [session(&database, ada, 0).await, session(&database, ada, 0).await];
    let of_bob = session(&database, bob, 0).await;
    let unknown = SessionId::random();
    let receipt = office.revoke(ManyKind::Session, &[of_ada[0].uuid(), unknown.uuid()]).await;
    assert_eq!(receipt.counts, counts(2, 0, 0), "a token of a session whose row is gone may be about");
    let presented = |subject, session| Presented { subject, session, ..office.someone() };
    assert!(office.is_dead(&presented(ada, of_ada[0])).await && office.is_dead(&presented(ada, unknown)).await);
    assert!(!office.is_dead(&presented(ada, of_ada[1])).await && !office.is_dead(&presented(bob, of_bob)).await);
    assert_eq!(alive(&database).await, HashSet::from([of_ada[1], of_bob]), "their refreshes end with their tokens");

    let receipt = office.revoke(ManyKind::Subject, &[ada.uuid(), Subject::random().uuid()]).await;
    assert_eq!(receipt.counts, counts(1, 0, 1));
    assert!(office.is_dead(&presented(ada, of_ada[1])).await && !office.is_dead(&presented(bob, of_bob)).await);
    assert_eq!(alive(&database).await, HashSet::from([of_bob]));
    let nobody = office.revoke(ManyKind::Subject, &[Subject::random().uuid()]).await;
    assert_eq!((nobody.counts, nobody.complete), (counts(0, 0, 1), true));
}

/// The sessions whose rows have not ended.
async fn alive(database: &Database) -> HashSet<SessionId> {
    let rows = sql("SELECT id FROM sessions WHERE ended_at IS NULL");
    let rows = rows.fetch_all(&mut database.read().await.unwrap()).await.unwrap();
    rows.iter().map(|row| row.uuid("id").unwrap().into()).collect()
}

async fn too_many_and_none_are_refused_before_anything_is_done(store: Store) {
    let office = Office::open(store).await;
    let before = office.node.replica.applied();
    let bulk = async |ids: &[Uuid]| office.revoker.revoke_bulk(ManyKind::Token, ids, Patience::Complete).await;
    assert!(matches!(bulk(&[]).await, Err(BulkError::Empty)));
    assert!(matches!(bulk(&vec![Uuid::nil(); MOST + 1]).await, Err(BulkError::TooMany { .. })));
    assert_eq!(office.node.replica.applied(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_fails_part_way_says_what_is_done() {
    let server = Server::start();
    let office = Office::open(Store::Postgres(server.database().await)).await;
    let ids: Vec<Uuid> = (0..MOST).map(|_| TokenId::random().uuid()).collect();
    let (call, ()) = tokio::join!(office.revoker.revoke_bulk(ManyKind::Token, &ids, Patience::Complete), async {
        eventually!(office.node.replica.applied() >= kickout::ids::Seq(3));
        server.stop();
    });
    let Err(BulkError::PartWay { done, seq, counts, .. }) = call else { panic!("{call:?}") };
    assert!((3 * PART..MOST).contains(&done) && done % PART == 0, "{done}");
    assert_eq!((counts.revoked as usize, seq.0), (done, i64::try_from(done / PART).unwrap()));
    server.resume();
    eventually!(office.node.ledger.cursor().await.is_ok());
    for id in [&ids[0], &ids[done - 1]] {
        assert!(office.is_dead(&Presented { token: (*id).into(), ..office.someone() }).await);
    }
}

#[tokio::test]
async fn a_hundred_thousand_ids_are_one_command_and_one_bad_line_stops_it() {
    let process = Process::start(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ids");
    let mut lines: Vec<String> = (0..MOST).map(|_| TokenId::random().to_string()).collect();
    let bulk = async || {
        fs::write(&file, lines.join("\n")).unwrap();
        let mut command = process.command();
        command.args(["revoke", "bulk", "token"]).arg(&file);
        outcome(command).await
    };
    let done = bulk().await.expect(0);
    let receipt: BulkReceipt = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!((receipt.counts, receipt.complete), (counts(100_000, 0, 0), true));

    lines[70_000] = "no-id".to_owned();
    let refused = outcome({
        fs::write(&file, lines.join("\n")).unwrap();
        let mut command = process.command();
        command.args(["revoke", "bulk", "token"]).arg(&file);
        command
    })
    .await
    .expect(1);
    assert!(refused.stderr.contains("line 70001 is not an id"), "{refused}");
}
