//! Hearing what other nodes say, and noticing when nothing can be heard any more.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use deadpool_redis::redis::{
    AsyncConnectionConfig, Client, PushInfo, PushKind, Value, aio::MultiplexedConnection, cmd,
};
use tokio::{
    sync::mpsc,
    time::{Interval, MissedTickBehavior, interval, timeout},
};

use super::{
    BlocklistError,
    message::{self, Message},
};

/// How often the connection is tried. A half-open one is found out after this and [`PATIENCE`], 2 s together.
const PING: Duration = Duration::from_secs(1);

/// How long the answer to that may take. More than a look may: giving up costs a new connection and a pull.
const PATIENCE: Duration = Duration::from_secs(1);

/// Messages that wait to be taken: more than a cluster of 100 nodes says in 20 ms at its busiest (one acknowledgement
/// per node and 5 ms, and its pushes). At 256 rows each they would be 25 MB.
const QUEUE: usize = 1024;

/// What other nodes say from now on, in the order in which Redis has heard it.
///
/// What was said before, or while nobody listened, is not repeated: pull once after [`listen`](super::Blocklist::listen)
/// has returned.
pub struct Listener {
    connection: MultiplexedConnection,
    heard: mpsc::Receiver<Message>,
    /// The queue was full once.
    is_behind: Arc<AtomicBool>,
    pings: Interval,
}

impl Listener {
    pub(super) async fn start(client: &Client, prefix: &str) -> Result<Self, BlocklistError> {
        let feed = super::feed(prefix);
        let ack = super::ack(prefix);
        let (queue, heard) = mpsc::channel(QUEUE);
        let is_behind = Arc::new(AtomicBool::new(false));
        let hear = {
            let (feed, ack, is_behind) = (feed.clone(), ack.clone(), Arc::clone(&is_behind));
            move |push: PushInfo| {
                // Read here, so that what waits is never longer than a batch can be.
                let Some(message) = read(&push, &feed, &ack) else { return Ok(()) };
                queue.try_send(message).inspect_err(|_| is_behind.store(true, Ordering::Release)).map_err(|_| ())
            }
        };
        // The limits of these calls are those of whoever waits for them.
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None).set_push_sender(hear);
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        connection.subscribe(&[feed, ack]).await?;
        let mut pings = interval(PING);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self { connection, heard, is_behind, pings })
    }

    /// The next message. Waits for it as long as the connection is alive, and notices within 2 s when it is not. May be
    /// dropped while it waits: no message is lost by that.
    ///
    /// # Errors
    /// [`BlocklistError`]: nothing more will be heard here. [`BlocklistError::Behind`] if messages were lost because
    /// this was not called often enough.
    pub async fn next(&mut self) -> Result<Message, BlocklistError> {
        loop {
            if self.is_behind.load(Ordering::Acquire) {
                return Err(BlocklistError::Behind);
            }
            tokio::select! {
                biased;
                message = self.heard.recv() => return message.ok_or_else(ended),
                _ = self.pings.tick() => {}
            }
            match timeout(PATIENCE, cmd("PING").query_async::<()>(&mut self.connection)).await {
                Ok(Ok(())) => {}
                // What was heard before the end is still given.
                Ok(Err(error)) => return self.heard.try_recv().map_err(|_| error.into()),
                Err(_) => return Err(BlocklistError::Late),
            }
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").finish_non_exhaustive()
    }
}

fn ended() -> BlocklistError {
    BlocklistError::Unreachable("the connection has ended".to_owned())
}

/// What was said on one of our channels; `None` for what is no message.
fn read(push: &PushInfo, feed: &str, ack: &str) -> Option<Message> {
    if push.kind != PushKind::Message {
        return None;
    }
    let [Value::BulkString(channel), Value::BulkString(payload)] = push.data.as_slice() else {
        return Some(Message::Garbage);
    };
    if channel == feed.as_bytes() {
        Some(message::read_push(payload))
    } else if channel == ack.as_bytes() {
        Some(message::read_ack(payload))
    } else {
        None
    }
}
