//! A bounded number of computations at once, and a bounded number of callers that wait for their turn.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task,
};

use super::stored::OutOfMemory;

/// Why a password was neither hashed nor checked. It says nothing about the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// Every worker is busy and the queue is full: more comes in than this machine can compute. Nobody's fault; the
    /// caller may try again later.
    #[error("too many passwords are being checked; try again later")]
    Full,
    /// The memory for one computation could not be had: the operator gave the service too little for its workers.
    #[error("out of memory for hashing a password; lower passwords.workers or passwords.memory_kib")]
    OutOfMemory,
    /// The computation ended without a result: the service is stopping, or the fault is ours.
    #[error("hashing a password ended without a result")]
    Stopped,
}

impl From<OutOfMemory> for PoolError {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

/// Runs computations on the threads for blocking work, never more at once than it has workers.
#[derive(Debug)]
pub(super) struct Pool {
    /// A permit for each computation that may run.
    workers: Arc<Semaphore>,
    /// A permit for each caller that may wait.
    queue: Semaphore,
    worker_count: usize,
    queue_len: usize,
    refused: AtomicU64,
}

impl Pool {
    pub(super) fn new(workers: usize, queue: usize) -> Self {
        let worker_count = workers.min(Semaphore::MAX_PERMITS);
        let queue_len = queue.min(Semaphore::MAX_PERMITS);
        Self {
            workers: Arc::new(Semaphore::new(worker_count)),
            queue: Semaphore::new(queue_len),
            worker_count,
            queue_len,
            refused: AtomicU64::new(0),
        }
    }

    /// Runs `work` when a worker is free.
    ///
    /// A caller that goes away while it waits gives its place back at once. Work that has begun cannot be stopped, so
    /// its worker stays taken until the work ends, whether somebody still wants the result or not.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        let worker = self.worker().await?;
        let job = task::spawn_blocking(move || {
            // Dropped when the work ends, by a panic too.
            let _worker = worker;
            work()
        });
        job.await.map_err(|_| PoolError::Stopped)
    }

    pub(super) fn busy(&self) -> usize {
        self.worker_count - self.workers.available_permits()
    }

    pub(super) fn waiting(&self) -> usize {
        self.queue_len - self.queue.available_permits()
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    async fn worker(&self) -> Result<OwnedSemaphorePermit, PoolError> {
        // A freed worker goes to who has waited longest, so nobody overtakes the queue here.
        if let Ok(worker) = Arc::clone(&self.workers).try_acquire_owned() {
            return Ok(worker);
        }
        let Ok(_place) = self.queue.try_acquire() else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(PoolError::Full);
        };
        Arc::clone(&self.workers).acquire_owned().await.map_err(|_| PoolError::Stopped)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        pin::{Pin, pin},
        sync::mpsc,
        task::Poll,
        time::Duration,
    };

    use super::*;

    /// Polls once: the future goes as far as it can without waiting.
    async fn step<F: Future>(future: &mut Pin<&mut F>) -> Poll<F::Output> {
        poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
    }

    /// The other end of work that lasts until it is told to finish.
    struct LongWork {
        started: mpsc::Receiver<()>,
        finish: mpsc::Sender<()>,
    }

    impl LongWork {
        fn new(result: u8) -> (Self, impl FnOnce() -> u8 + Send + 'static) {
            let (start, started) = mpsc::channel();
            let (finish, finished) = mpsc::channel();
            let work = move || {
                start.send(()).unwrap();
                finished.recv().unwrap();
                result
            };
            (Self { started, finish }, work)
        }

        /// Blocks the test's thread, which has nothing else to do, until the work runs.
        fn wait_until_started(&self) {
            self.started.recv_timeout(Duration::from_secs(30)).unwrap();
        }

        fn finish(&self) {
            self.finish.send(()).unwrap();
        }
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once_and_those_who_waited_get_their_turn() {
        let pool = Pool::new(1, 1);
        let (long, work) = LongWork::new(1);
        let mut first = pin!(pool.run(work));
        let mut second = pin!(pool.run(|| 2));
        assert!(step(&mut first).await.is_pending());
        assert!(step(&mut second).await.is_pending());
        assert_eq!((pool.busy(), pool.waiting(), pool.refused()), (1, 1, 0));

        assert_eq!(step(&mut pin!(pool.run(|| 3))).await, Poll::Ready(Err(PoolError::Full)));
        assert_eq!((pool.busy(), pool.waiting(), pool.refused()), (1, 1, 1));

        long.finish();
        assert_eq!(first.await, Ok(1));
        assert_eq!(second.await, Ok(2));
        assert_eq!((pool.busy(), pool.waiting(), pool.refused()), (0, 0, 1));
    }

    #[tokio::test]
    async fn without_a_queue_nobody_waits() {
        let pool = Pool::new(1, 0);
        assert_eq!(pool.run(|| 1).await, Ok(1));
        let (long, work) = LongWork::new(1);
        let mut first = pin!(pool.run(work));
        assert!(step(&mut first).await.is_pending());
        assert_eq!(pool.run(|| 2).await, Err(PoolError::Full));
        long.finish();
        assert_eq!(first.await, Ok(1));
    }

    #[tokio::test]
    async fn who_goes_away_while_waiting_frees_the_place() {
        let pool = Pool::new(1, 1);
        let (long, work) = LongWork::new(1);
        let mut first = pin!(pool.run(work));
        assert!(step(&mut first).await.is_pending());
        {
            let mut gone = pin!(pool.run(|| unreachable!("its caller went away while it waited")));
            assert!(step(&mut gone).await.is_pending());
            assert_eq!(pool.waiting(), 1);
        }
        assert_eq!(pool.waiting(), 0);

        let mut next = pin!(pool.run(|| 2));
        assert!(step(&mut next).await.is_pending(), "the place can be taken again");
        long.finish();
        assert_eq!(next.await, Ok(2));
    }

    #[tokio::test]
    async fn who_goes_away_while_computing_frees_the_worker_only_when_the_work_ends() {
        let pool = Pool::new(1, 1);
        let (long, work) = LongWork::new(1);
        {
            let mut gone = pin!(pool.run(work));
            assert!(step(&mut gone).await.is_pending());
        }
        long.wait_until_started();
        assert_eq!(pool.busy(), 1);
        let mut next = pin!(pool.run(|| 2));
        assert!(step(&mut next).await.is_pending());
        assert_eq!(pool.waiting(), 1, "the worker still works for the one who left");
        long.finish();
        assert_eq!(next.await, Ok(2));
    }

    #[tokio::test]
    async fn work_that_panics_frees_its_worker() {
        let pool = Pool::new(1, 0);
        assert_eq!(pool.run(|| panic!("as intended")).await, Err::<u8, _>(PoolError::Stopped));
        assert_eq!(pool.run(|| 1).await, Ok(1));
    }
}
