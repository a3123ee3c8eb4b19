//! Whether the machine has let the processes run: where it did not, what they did not do is no fault of theirs.
//!
//! Two looks, by a thread that does nothing else: whether it is woken itself when it should be, and how long any thread
//! of a node, of PostgreSQL or of Redis was ready to run and was not run, by the kernel's own account.

use std::{
    collections::{HashMap, VecDeque},
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::moment;
use crate::history::{Fault, Permits};

/// How often it looks at itself.
const PERIOD: Duration = Duration::from_millis(20);

/// How often it looks at the others: 25 periods.
const LOOK: u32 = 25;

/// What no promise has to bear: a node renews five times within its hold of 2 s or more, and each renewal takes the
/// turns of several threads in two processes.
const TOO_LONG: Duration = Duration::from_millis(300);

/// Of the time between two looks, what a thread has spent waiting when it was hardly run at all. One that has a lot to
/// do waits half of it on a machine that is merely busy.
const HARDLY_RUN: Duration = Duration::from_millis(400);

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
            let (mut last, mut looked) = (moment(), moment());
            let mut waited = HashMap::new();
            let mut round = 0;
            while !is_over.load(Ordering::Relaxed) {
                thread::sleep(PERIOD);
                let now = moment();
                if Duration::from_nanos(now - last) > PERIOD + TOO_LONG {
                    faults.push(starved(last, now));
                }
                last = now;
                round += 1;
                if round % LOOK == 0 {
                    if let Some(longest) = longest_wait(&mut waited) {
                        // It is accounted for when it is over: it began before the last look, perhaps.
                        faults.push(starved(looked.min(now.saturating_sub(longest)), now));
                    }
                    looked = now;
                }
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

/// The longest that one of our threads has waited for a processor since the last look, in nanoseconds, if that is too
/// long. `waited` is what each had waited by then.
fn longest_wait(waited: &mut HashMap<String, u64>) -> Option<u64> {
    let mut now = HashMap::new();
    let ourselves = std::process::id().to_string();
    let mut processes = VecDeque::from([ourselves.clone()]);
    while let Some(process) = processes.pop_front() {
        for thread in fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten() {
            let read = |name: &str| fs::read_to_string(thread.path().join(name)).unwrap_or_default();
            processes.extend(read("children").split_whitespace().map(str::to_owned));
            // This process asks as fast as it may: its threads wait, and nobody for them.
            if process == ourselves {
                continue;
            }
            let wait: Option<u64> = read("schedstat").split_whitespace().nth(1).and_then(|wait| wait.parse().ok());
            now.insert(thread.file_name().to_string_lossy().into_owned(), wait.unwrap_or(0));
        }
    }
    let since = now.iter().filter_map(|(thread, wait)| Some(wait.saturating_sub(*waited.get(thread)?)));
    let longest = since.max().filter(|longest| Duration::from_nanos(*longest) > HARDLY_RUN);
    *waited = now;
    longest
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
