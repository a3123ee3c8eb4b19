//! A check, while the node that answers it renews.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::runtime::Builder;
use uuid::Uuid;

use crate::{
    clock::{BootInstant, Clock, Timestamp},
    database::Database,
    ids::{Generation, KeyId, LedgerId, Seq, SessionId, Subject, TokenId},
    revocation::{
        Checker, Presented, Target, Verdict,
        feed::{Batch, Cursor, Except, Floor, Row, Tag},
        filter::Settings,
        ledger::Ledger,
        memory::Kind,
        sync::Replica,
    },
    telemetry::metrics::Metrics,
};

/// Enough that each order of two threads' steps is there many times, if it can be.
const ROUNDS: u64 = 100_000;

/// More than there are processors: one that loses its turn in the middle of a check meets the end of a renewal.
const CHECKERS: usize = 6;

const FAR: Timestamp = Timestamp::from_millis(253_402_300_799_999);

/// The token that the round revokes.
fn token(round: u64) -> TokenId {
    Uuid::from_u128(u128::from(round)).into()
}

/// Each round, a node whose lease is over learns of a revocation that is answered already, and renews. A check that began
/// after the answer denies, or does not know; whichever thread goes first.
#[tokio::test]
async fn a_check_that_meets_a_renewal_sees_what_it_brought_or_no_lease() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(&folder.path().join("kickout.db")).await.unwrap();
    let ledger = Ledger::open(database, &Clock::System, Duration::from_mins(15)).await.unwrap();
    let settings = Settings { capacity: 1000, false_positives: 0.001 };
    // Certain of what it has, so that no check asks the ledger.
    let replica = Arc::new(Replica::keeping(Kind::Set, ledger.id(), settings, ledger.clock().now()).leased());
    replica.load(&ledger).await.unwrap();
    let checker = Checker::new(Arc::clone(&replica), ledger.clone(), Metrics::new());
    let (answered, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let renew = || {
        let mut at = replica.cursor();
        for round in 1..=ROUNDS {
            let cursor = Cursor { seq: Seq(at.seq.0 + 1), tag: Tag(i64::try_from(round).unwrap()) };
            let row = Row { target: Target::Token(token(round)), floor: None, until: FAR };
            let batch = Batch { ledger: ledger.id(), prev: at.tag, cursor, rows: vec![row] };
            answered.store(round, Ordering::SeqCst);
            linger();
            replica.published.apply(&batch);
            at = cursor;
            replica.published.extend(at, BootInstant::from_nanos(u64::MAX - 1));
            linger();
            replica.published.lease.end();
        }
        is_over.store(true, Ordering::SeqCst);
    };
    let check = async || {
        let mut presented = Presented {
            token: token(0),
            session: SessionId::random(),
            subject: Subject::random(),
            generation: Generation(0),
            epoch: ledger.id(),
            key: KeyId::of([0; 32]),
        };
        while !is_over.load(Ordering::SeqCst) {
            let round = answered.load(Ordering::SeqCst);
            presented.token = token(round);
            let verdict = checker.check(&presented).await.verdict;
            assert!(round == 0 || verdict != Verdict::Active, "round {round}");
        }
    };
    thread::scope(|scope| {
        scope.spawn(renew);
        for _ in 0..CHECKERS {
            scope.spawn(|| Builder::new_current_thread().build().unwrap().block_on(check()));
        }
    });
}

/// Stays in one state for about as long as it takes to come there.
fn linger() {
    for _ in 0..100 {
        std::hint::spin_loop();
    }
}

/// A rebuild reads rows that are older than what was applied meanwhile.
#[test]
fn the_floor_over_everything_never_sinks() {
    let settings = Settings { capacity: 1000, false_positives: 0.001 };
    let replica = Replica::new(LedgerId::random(), settings, FAR);
    let row = |generation| {
        let floor = Floor { generation: Generation(generation), except: Except::Nothing };
        Row { target: Target::Everything, floor: Some(floor), until: FAR }
    };
    for (read, stands) in [(2, 2), (5, 5), (3, 5), (6, 6)] {
        replica.published.raise_floor(&[row(read)]);
        assert_eq!(replica.floor(), Generation(stands));
    }
}
