//! Waiting for what will be, with a bound.

use std::{task::Poll, time::Duration};

/// How long anything may take that takes milliseconds on a quiet machine. Only a test that fails waits this long.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// Between two looks. Not a guess at how long something takes, just the price of looking.
pub(crate) const PAUSE: Duration = Duration::from_millis(5);

/// Waits until an expression (it may await) is true, or panics after a while and names it.
macro_rules! eventually {
    ($condition:expr) => {
        $crate::support::wait::eventually!($condition, $crate::support::wait::LONG)
    };
    ($condition:expr, $within:expr) => {{
        let within: std::time::Duration = $within;
        let wait = async {
            while !$condition {
                tokio::time::sleep($crate::support::wait::PAUSE).await;
            }
        };
        if tokio::time::timeout(within, wait).await.is_err() {
            panic!("not within {within:?}: {}", stringify!($condition));
        }
    }};
}

pub(crate) use eventually;

/// Lets all futures run at once, in the caller's task, and gives their results in order.
pub(crate) async fn all<T>(futures: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut running: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        let mut is_ready = true;
        for (future, result) in &mut running {
            if result.is_none() {
                match future.as_mut().poll(context) {
                    Poll::Ready(value) => *result = Some(value),
                    Poll::Pending => is_ready = false,
                }
            }
        }
        if is_ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    running.into_iter().filter_map(|(_, result)| result).collect()
}
