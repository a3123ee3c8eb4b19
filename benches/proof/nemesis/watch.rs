//! Whether the machine has let the processes run: where it did not, what they did not do is no fault of theirs.
//!
//! Two looks, by a thread that does nothing else: whether it is woken itself when it should be, and how long any thread
//! of a node, of PostgreSQL or of Redis was ready to run and was not run, by the kernel's own account. Where the nodes
//! themselves have used nearly all that the machine has, they have kept each other from running, and nothing excuses
//! that.

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

/// Of what all processors can do between two looks, what the nodes use when it is they that the others wait for.
const NEARLY_ALL: f64 = 0.8;

/// What the program is called, as the kernel has it.
const NODE: &str = "kickout";

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
            let mut known = HashMap::new();
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
                    if let Some(longest) = longest_wait(&mut known, now - looked) {
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

/// What a thread has done so far, in nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
struct Thread {
    ran: u64,
    waited: u64,
    is_node: bool,
}

impl Thread {
    fn of(schedstat: &str, is_node: bool) -> Self {
        let mut words = schedstat.split_whitespace().map(|word| word.parse().unwrap_or(0));
        Self { ran: words.next().unwrap_or(0), waited: words.next().unwrap_or(0), is_node }
    }
}

/// The longest that one of our threads has waited for a processor since the last look, in nanoseconds, if that is too
/// long and not of our own making. `known` is what each had done by then, `passed` the time since.
fn longest_wait(known: &mut HashMap<String, Thread>, passed: u64) -> Option<u64> {
    let mut now = HashMap::new();
    let ourselves = std::process::id().to_string();
    let mut processes = VecDeque::from([ourselves.clone()]);
    while let Some(process) = processes.pop_front() {
        let is_node = fs::read_to_string(format!("/proc/{process}/comm")).is_ok_and(|name| name.trim() == NODE);
        for thread in fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten() {
            let read = |name: &str| fs::read_to_string(thread.path().join(name)).unwrap_or_default();
            processes.extend(read("children").split_whitespace().map(str::to_owned));
            // This process asks as fast as it may: its threads wait, and nobody for them.
            if process == ourselves {
                continue;
            }
            let did = Thread::of(&read("schedstat"), is_node);
            now.insert(thread.file_name().to_string_lossy().into_owned(), did);
        }
    }
    let since = || {
        now.iter().filter_map(|(thread, did)| {
            let before = known.get(thread)?;
            Some(Thread {
                ran: did.ran.saturating_sub(before.ran),
                waited: did.waited.saturating_sub(before.waited),
                is_node: did.is_node,
            })
        })
    };
    let by_nodes: u64 = since().filter(|did| did.is_node).map(|did| did.ran).sum();
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let all = Duration::from_nanos(passed).as_secs_f64() * f64::from(u32::try_from(processors).unwrap_or(1));
    let is_own = Duration::from_nanos(by_nodes).as_secs_f64() > NEARLY_ALL * all;
    let longest = since().map(|did| did.waited).max();
    *known = now;
    longest.filter(|&longest| Duration::from_nanos(longest) > HARDLY_RUN && !is_own)
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
