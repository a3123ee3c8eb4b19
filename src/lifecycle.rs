//! How the process stops, and the tasks it runs meanwhile.
//!
//! Stopping has two stages. *Soft*: accept nothing new, finish what was begun. *Hard*: leave now. The first signal
//! asks for soft; a second one, or the end of the time for draining, for hard.
//!
//! Every task belongs to a [`Tasks`]: it is named, waited for at the end, and its panic is logged. One that must not
//! end early is [supervised](Tasks::supervise): it is started again, or the process stops because of it.

use std::{
    any::Any,
    collections::BTreeMap,
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

use crate::secret;

/// How long tasks may take to notice that they are cut: a few turns of the scheduler on a busy machine.
const CUT_GRACE: Duration = Duration::from_millis(500);

/// A supervised task that ran this long was well: its next failure counts as the first.
const HEALTHY_AFTER: Duration = Duration::from_mins(1);

/// The bounds of the pause before a restart: short enough that one hiccup costs no lease, long enough that a
/// dependency that is down is not hammered.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The task that brought the process down.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("task {task} {problem}")]
pub struct Fatal {
    /// The task's name.
    pub task: &'static str,
    /// How it ended: "failed: …", "panicked: …", "ended early".
    pub problem: String,
}

/// The two stages of stopping. Clones are the same switch.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    soft: CancellationToken,
    hard: CancellationToken,
    fatal: Arc<OnceLock<Fatal>>,
}

impl Shutdown {
    /// A switch that nobody has thrown.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when nothing new may be accepted.
    #[must_use]
    pub const fn soft(&self) -> &CancellationToken {
        &self.soft
    }

    /// Cancelled when everything must end now. Soft is cancelled by then.
    #[must_use]
    pub const fn hard(&self) -> &CancellationToken {
        &self.hard
    }

    /// First stage: accept nothing new.
    pub fn drain(&self) {
        self.soft.cancel();
    }

    /// Second stage: end now.
    pub fn cut(&self) {
        self.soft.cancel();
        self.hard.cancel();
    }

    /// First stage, because of a task that the process cannot be without.
    ///
    /// The first reason is kept; what breaks while the process stops is a consequence.
    pub fn fail(&self, reason: Fatal) {
        let _ = self.fatal.set(reason);
        self.drain();
    }

    /// Why the process stops, if a task made it: it should exit with a failure then.
    #[must_use]
    pub fn fatal(&self) -> Option<&Fatal> {
        self.fatal.get()
    }

    /// Takes SIGINT and SIGTERM from now on: the first asks for soft. A second one asks for hard, as does `drain_limit`
    /// after soft, whoever asked for that.
    ///
    /// From then on both signals do nothing, so what runs after hard needs a limit of its own;
    /// [`Tasks::wait`] has one.
    ///
    /// # Errors
    /// [`io::Error`] if the system refuses the handlers.
    pub fn listen_for_signals(&self, drain_limit: Duration) -> io::Result<()> {
        let mut signals = Signals::listen()?;
        let shutdown = self.clone();
        let listen = async move {
            tokio::select! {
                () = shutdown.soft.cancelled() => {}
                name = signals.next() => {
                    tracing::info!(signal = name, "draining; again to cut");
                    shutdown.drain();
                }
            }
            tokio::select! {
                () = shutdown.hard.cancelled() => {}
                name = signals.next() => tracing::warn!(signal = name, "cutting"),
                () = sleep(drain_limit) => {
                    tracing::warn!(drain.limit_ms = millis(drain_limit), "draining took too long; cutting");
                }
            }
            shutdown.cut();
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "it watches over the wait for all tasks, so it is not one of them"
        )]
        tokio::spawn(listen);
        Ok(())
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// What happens when a [supervised](Tasks::supervise) task ends before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// It is started again after a pause that doubles with each failure, from 100 ms to 10 s, with jitter. A minute of
    /// health makes the pause short again.
    Restart,
    /// The process stops, with this task as the reason.
    Fatal,
}

/// The tasks of one application. Clones are the same set.
#[derive(Debug, Clone)]
pub struct Tasks {
    tracker: TaskTracker,
    shutdown: Shutdown,
    running: Arc<Running>,
}

impl Tasks {
    /// No tasks yet. They are stopped by `shutdown`.
    #[must_use]
    pub fn new(shutdown: Shutdown) -> Self {
        Self { tracker: TaskTracker::new(), shutdown, running: Arc::default() }
    }

    /// The switch that stops these tasks.
    #[must_use]
    pub const fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Starts a task that may end by itself, and that goes on when the handle is dropped: what must not be cancelled
    /// half-way, such as a commit, is started here and awaited through its handle.
    ///
    /// It logs in the caller's span. A panic is logged and is also in the handle's answer.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let entry = self.running.enter(name);
        let task = async move {
            let _entry = entry;
            match catch_panic(future).await {
                Ok(output) => output,
                Err(panic) => {
                    tracing::error!(task.name = name, panic = panic_text(&*panic), "task panicked");
                    resume_unwind(panic)
                }
            }
        };
        self.tracker.spawn(task.in_current_span())
    }

    /// Starts a task that must not end before [soft](Shutdown::soft). If it does, by an error, a panic or a plain
    /// return, that is logged with its name and the policy decides. `make` gives the task anew for each start.
    ///
    /// The task sees to its own end: after soft it may go on until what it serves has drained. Nothing is started
    /// again by then.
    pub fn supervise<M, F, E>(&self, name: &'static str, policy: Policy, mut make: M)
    where
        M: FnMut() -> F + Send + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display + Send + 'static,
    {
        let entry = self.running.enter(name);
        let shutdown = self.shutdown.clone();
        let task = async move {
            let _entry = entry;
            let mut backoff = Backoff::default();
            loop {
                // In a block of its own, so that what the task held is gone before the pause.
                let ended = {
                    let mut run = pin!(catch_panic(async { make().await }));
                    if let Ok(ended) = timeout(HEALTHY_AFTER, run.as_mut()).await {
                        ended
                    } else {
                        backoff = Backoff::default();
                        run.await
                    }
                };
                let problem = problem(ended);
                if shutdown.soft.is_cancelled() {
                    if let Some(problem) = problem {
                        tracing::warn!(task.name = name, problem, "task did not stop cleanly");
                    }
                    return;
                }
                let problem = problem.unwrap_or_else(|| "ended early".to_owned());
                if policy == Policy::Fatal {
                    tracing::error!(task.name = name, problem, "task is lost; draining");
                    return shutdown.fail(Fatal { task: name, problem });
                }
                let pause = backoff.next();
                tracing::error!(
                    task.name = name,
                    problem,
                    task.restart_in_ms = millis(pause),
                    "task is lost; starting it again"
                );
                tokio::select! {
                    () = shutdown.soft.cancelled() => return,
                    () = sleep(pause) => {}
                }
            }
        };
        // What the task itself logs is found by the span; an error's level lets no filter hide it.
        self.tracker.spawn(task.instrument(tracing::error_span!("task", task.name = name)));
    }

    /// Waits until all tasks have ended, for at most `limit`; then it cuts. Once the process is cut, tasks have half a
    /// second left. Returns the names of those that still run, in the order in which they were started.
    pub async fn wait(&self, limit: Duration) -> Vec<&'static str> {
        self.tracker.close();
        tokio::select! {
            biased;
            () = self.tracker.wait() => return Vec::new(),
            () = self.shutdown.hard.cancelled() => {}
            () = sleep(limit) => self.shutdown.cut(),
        }
        // What matters is what still runs, which is read next.
        let _ = timeout(CUT_GRACE, self.tracker.wait()).await;
        self.running.names()
    }
}

/// Names of the tasks that have not ended.
#[derive(Debug, Default)]
struct Running {
    next: AtomicU64,
    names: Mutex<BTreeMap<u64, &'static str>>,
}

impl Running {
    fn enter(self: &Arc<Self>, name: &'static str) -> Entry {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(id, name);
        Entry { id, running: Arc::clone(self) }
    }

    fn names(&self) -> Vec<&'static str> {
        self.lock().values().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, &'static str>> {
        // Nothing panics while it holds the lock, and a map of names is right after any insertion or removal.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task's line in [`Running`], as long as the task lives.
struct Entry {
    id: u64,
    running: Arc<Running>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.running.lock().remove(&self.id);
    }
}

type Panic = Box<dyn Any + Send>;

async fn catch_panic<F: Future>(future: F) -> Result<F::Output, Panic> {
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        // A future that panicked is not polled again, so nobody sees what it left half-done inside itself.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    })
    .await
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("with no text")
}

fn problem<E: fmt::Display>(ended: Result<Result<(), E>, Panic>) -> Option<String> {
    match ended {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("failed: {error}")),
        Err(panic) => Some(format!("panicked: {}", panic_text(&*panic))),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Pauses that double and are jittered, so that nodes that failed together do not come back together.
#[derive(Debug, Default)]
struct Backoff {
    failures: u32,
}

impl Backoff {
    /// A pause between one and two times 100 ms × 2^failures, but at most 10 s; at the top, between 5 and 10 s.
    fn next(&mut self) -> Duration {
        let ceiling = SHORTEST_PAUSE.saturating_mul(2_u32.saturating_pow(self.failures + 1)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1).min(31);
        let half = ceiling / 2;
        half + half * u32::from(u16::from_ne_bytes(secret::random())) / u32::from(u16::MAX)
    }
}

#[cfg(test)]
mod tests;
