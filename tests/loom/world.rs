//! A node and a ledger for the models, and what is done with them.

use std::{
    convert::Infallible,
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use loom::{
    sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    thread,
};
use uuid::Uuid;

use crate::{
    clock::{BootInstant, Timestamp},
    feed::{Batch, Cursor, Except, Floor, Row, Tag},
    filter::Settings,
    ids::{Generation, LedgerId, Seq},
    known::Exact,
    memory::Kind,
    published::{Published, Sight},
    term::Lease,
};
use kickout::revocation::Target;

/// The token that everything is about.
pub const TOKEN: u128 = 0x70cc;

/// Its generation.
pub const GENERATION: Generation = Generation(1);

/// When all entries expire: later than any model goes on.
const UNTIL: Timestamp = Timestamp::from_millis(1_000_000);

/// What a check says, as far as these models tell it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    Active,
    Revoked,
    Unknown,
}

/// One node before one ledger.
#[derive(Debug)]
pub struct World {
    pub published: Published,
    /// From which number on the ledger names the token; 0: not yet. Its order is the weakest there is: a look sees a
    /// commit only where the node's own reads and writes say that it must.
    committed: AtomicI64,
    /// Tells one thread what another one has done before: an acknowledgement, an answer.
    flag: AtomicBool,
    clock: AtomicU64,
}

/// In which order a model's threads take their first turn.
///
/// Loom goes on from one order of steps to those that may matter by a note of the last access to each value. One thread
/// that reads and then writes a value covers up the note of another thread's read before: from that order on it does not
/// see the race between the two, from the reverse it does. So each model is run from both.
#[derive(Debug, Clone, Copy)]
pub enum Order {
    AsWritten,
    Reversed,
}

impl Order {
    /// Runs these threads, to their ends.
    pub fn run<const N: usize>(self, world: &Arc<World>, mut threads: [fn(&World); N]) {
        if matches!(self, Self::Reversed) {
            threads.reverse();
        }
        let running = threads.map(|run| {
            let world = Arc::clone(world);
            thread::spawn(move || run(&world))
        });
        for thread in running {
            thread.join().unwrap();
        }
    }
}

/// Runs the model through all orders of its threads' steps.
pub fn model(run: fn(Order)) {
    explore(None, run);
}

/// Runs the model through all orders in which the scheduler takes the turn from a thread that could go on at most
/// `preemptions` times.
pub fn bounded_model(preemptions: usize, run: fn(Order)) {
    explore(Some(preemptions), run);
}

fn explore(preemptions: Option<usize>, run: fn(Order)) {
    for order in [Order::AsWritten, Order::Reversed] {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = preemptions;
        builder.check(move || run(order));
    }
}

impl World {
    /// A node that has loaded a ledger which stands at `seq`.
    pub fn live(lease: Lease, seq: i64) -> Arc<Self> {
        let world = Self::cold(lease);
        world.load(seq);
        world
    }

    /// A node that has loaded nothing.
    pub fn cold(lease: Lease) -> Arc<Self> {
        // One in a billion: no probe is wrong by chance here.
        let settings = Settings { capacity: 8, false_positives: 1e-9 };
        let published = Published::new(ledger(), lease, Kind::Filter, settings, Timestamp::default());
        let (committed, flag, clock) = (AtomicI64::new(0), AtomicBool::new(false), AtomicU64::new(0));
        Arc::new(Self { published, committed, flag, clock })
    }

    /// The ledger commits the revocation of the token under this number.
    pub fn commit(&self, seq: i64) {
        self.committed.store(seq, Ordering::Relaxed);
    }

    /// The token is revoked by the first transaction, committed and applied.
    pub fn commit_and_apply(&self) {
        self.commit(1);
        self.apply(1, TOKEN);
    }

    /// Applies the transaction `seq`, which revokes `token`.
    pub fn apply(&self, seq: i64, token: u128) {
        self.apply_row(seq, Row { target: target(token), floor: None, until: UNTIL });
    }

    /// Applies the transaction `seq`, which raises the floor over everything.
    pub fn raise_floor(&self, seq: i64, generation: i64) {
        let floor = Some(Floor { generation: Generation(generation), except: Except::Nothing });
        self.apply_row(seq, Row { target: Target::Everything, floor, until: UNTIL });
    }

    fn apply_row(&self, seq: i64, row: Row) {
        let batch = Batch { ledger: ledger(), prev: Tag(seq - 1), cursor: cursor(seq), rows: vec![row] };
        self.published.apply(&batch);
    }

    /// Reads the ledger, which stands at `end`, as a load does.
    pub fn load(&self, end: i64) {
        self.published.begin_load();
        self.rebuild();
        self.published.end_load(cursor(end));
    }

    /// Reads the ledger, up to the token's row if that is there, as a load does.
    pub fn load_all(&self) {
        self.published.begin_load();
        let end = self.rebuild();
        self.published.end_load(cursor(end));
    }

    /// Reads the ledger into another filter, as a load and a growth do. Returns up to where.
    pub fn rebuild(&self) -> i64 {
        let mut rebuild = self.published.memory.begin_rebuild(1);
        let committed = self.committed.load(Ordering::Relaxed);
        if committed != 0 {
            rebuild.insert(key(TOKEN), UNTIL);
        }
        rebuild.finish(Timestamp::default());
        committed
    }

    /// Opens another generation of the filter. Returns whether that was due.
    pub fn rotate(&self) -> bool {
        self.published.memory.rotate(Timestamp::from_millis(1), Duration::from_millis(1))
    }

    /// A check of the token by this clock.
    pub fn check(&self, boottime: impl FnOnce() -> u64) -> Said {
        let Sight::Live(view) = self.published.sight(std::time::Duration::ZERO, || BootInstant::from_nanos(boottime()))
        else {
            return Said::Unknown;
        };
        if GENERATION < view.floor() {
            return Said::Revoked;
        }
        if view.probe(&[key(TOKEN), 1, 2]) & 1 == 0 {
            return Said::Active;
        }
        let exact = self.known().unwrap_or_else(|| self.look());
        if denies(exact) { Said::Revoked } else { Said::Active }
    }

    /// What is known of the token without a look.
    pub fn known(&self) -> Option<Exact> {
        self.published.known(key(TOKEN), denies)
    }

    /// The exact look of a check for which the filter said "maybe".
    pub fn look(&self) -> Exact {
        let look = async {
            let is_there = self.committed.load(Ordering::Relaxed) != 0;
            Ok::<_, Infallible>(if is_there { Exact::Revoked } else { Exact::Absent })
        };
        let Ok(exact) = at_once(self.published.look(key(TOKEN), look));
        exact
    }

    /// A check that begins when the first transaction can be acknowledged.
    pub fn check_what_is_acknowledged(&self) {
        if self.acknowledges(1) {
            assert_eq!(self.check(|| 0), Said::Revoked);
        }
    }

    pub fn raise_flag(&self) {
        self.flag.store(true, Ordering::Release);
    }

    pub fn has_flag(&self) -> bool {
        self.flag.load(Ordering::Acquire)
    }

    pub fn set_clock(&self, ns: u64) {
        self.clock.store(ns, Ordering::Relaxed);
    }

    pub fn clock(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    /// Whether an acknowledgement of this number could be sent now.
    pub fn acknowledges(&self, seq: i64) -> bool {
        self.published.applied() >= Seq(seq)
    }
}

pub fn at(ns: u64) -> BootInstant {
    BootInstant::from_nanos(ns)
}

pub fn cursor(seq: i64) -> Cursor {
    Cursor { seq: Seq(seq), tag: Tag(seq) }
}

fn ledger() -> LedgerId {
    Uuid::from_u128(1).into()
}

fn target(token: u128) -> Target {
    Target::Token(Uuid::from_u128(token).into())
}

fn key(token: u128) -> u128 {
    target(token).key().unwrap_or_default()
}

fn denies(exact: Exact) -> bool {
    exact == Exact::Revoked
}

/// What a future gives that waits for nothing.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("nothing here waits"),
    }
}
