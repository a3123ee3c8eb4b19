//! Whether the machine has let this process run: where it did not, it will not have let the nodes run either, and what
//! they did not do is no fault of theirs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::moment;
use crate::history::{Fault, Permits};

/// How often it looks.
const PERIOD: Duration = Duration::from_millis(20);

/// What nobody's promise has to bear: a node renews five times within its hold, so this long is noticed.
const TOO_LONG: Duration = Duration::from_millis(300);

/// A thread that looks at the clock.
#[derive(Debug)]
pub(super) struct Watch {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Fault>>,
}

impl Watch {
    pub(super) fn begin() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let thread = thread::spawn(move || {
            let mut faults = Vec::new();
            let mut last = moment();
            while !is_over.load(Ordering::Relaxed) {
                thread::sleep(PERIOD);
                let now = moment();
                if Duration::from_nanos(now - last) > PERIOD + TOO_LONG {
                    faults.push(starved(last, now));
                }
                last = now;
            }
            faults
        });
        Self { over, thread }
    }

    /// When the machine stood still.
    pub(super) fn end(self) -> Vec<Fault> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

fn starved(from: u64, to: u64) -> Fault {
    let permits = Permits {
        unknown_checks: true,
        no_answers: true,
        refused_acts: true,
        slow_receipts: true,
        ..Permits::default()
    };
    let name = "machine-starved".to_owned();
    Fault { name, nodes: Vec::new(), began: from, in_force: from, healing: to, healed: to, permits }
}
