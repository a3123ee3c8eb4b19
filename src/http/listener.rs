//! What bounds connections, before there is a request: how many there are, and how long one may do nothing.
//!
//! | a client that | is cut after | by |
//! |---|---|---|
//! | sends its headers slowly, or holds a connection without a request | `http.header_timeout` | hyper's `header_read_timeout`, from the first wait for a request on |
//! | sends its body slowly | `http.header_timeout`, with 408 | [`receive`](super::middleware::receive) |
//! | does not read its answers | `http.write_timeout` without progress | the [`Guarded`] stream |
//! | comes when there are `http.max_connections` | at once, with 503 | the [`Gate`] |
//!
//! The one too many is accepted and told, not left waiting in the kernel's queue: a client, and a proxy with another node
//! to ask, learns at once what is the matter, and nobody waits behind those that hold connections to do harm. What is
//! told is in plain HTTP; where connections are encrypted they just end.
//!
//! hyper bounds what one request's head may be: the request line and all headers together at [`HEADER_BYTES`], or as much
//! more as comes with the same read from the socket, up to twice that; and 100 headers. What is more is answered with
//! 431. A URL has no limit of its own below that.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum_server::accept::Accept;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_io_timeout::TimeoutStream;

use crate::telemetry::metrics::{Listener, Metrics};

/// Bytes of one request's headers, the request line included. A token takes 1 to 4 KiB of it.
pub const HEADER_BYTES: usize = 32 * 1024;

/// Connections that are being told that they are too many. Beyond them, they just end.
pub const FAREWELLS: usize = 64;

/// How long one may take to hear it.
const FAREWELL: Duration = Duration::from_millis(500);

const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    retry-after: 1\r\n\
    connection: close\r\n\
    cache-control: no-store\r\n\
    content-type: application/problem+json\r\n\
    content-length: 93\r\n\
    \r\n\
    {\"type\":\"urn:kickout:problem:overloaded\",\"title\":\"Too much to do at the moment\",\"status\":503}";

/// What bounds the connections of a listener.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Connections at once.
    pub connections: usize,
    /// For a client to take some more of an answer.
    pub writing: Duration,
    /// Whether a client that is refused can be told so in plain HTTP.
    pub is_plain: bool,
}

/// Lets in as many connections as there are places, in front of another acceptor.
#[derive(Debug, Clone)]
pub struct Gate<A> {
    inner: A,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    bounds: Bounds,
    listener: Listener,
    places: Arc<Semaphore>,
    farewells: Semaphore,
    /// Whether it was said that there are no places.
    is_full: AtomicBool,
    metrics: Metrics,
}

impl<A> Gate<A> {
    /// A gate in front of an acceptor.
    #[must_use]
    pub fn new(inner: A, listener: Listener, bounds: Bounds, metrics: Metrics) -> Self {
        let places = Arc::new(Semaphore::new(bounds.connections));
        let (farewells, is_full) = (Semaphore::new(FAREWELLS), AtomicBool::new(false));
        Self { inner, state: Arc::new(State { bounds, listener, places, farewells, is_full, metrics }) }
    }
}

impl<A, S> Accept<TcpStream, S> for Gate<A>
where
    A: Accept<Guarded, S> + Clone + Send + Sync + 'static,
    A::Future: Send,
    A::Stream: Send,
    A::Service: Send,
    S: Send + 'static,
{
    type Stream = A::Stream;
    type Service = A::Service;
    type Future = Pin<Box<dyn Future<Output = io::Result<(A::Stream, A::Service)>> + Send>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        // Taken now: whoever came first gets it.
        let place = State::enter(&self.state);
        let gate = self.clone();
        Box::pin(async move {
            let Some(place) = place else {
                gate.state.refuse(stream).await;
                return Err(io::Error::other("as many connections as may be"));
            };
            gate.inner.accept(Guarded::new(stream, gate.state.bounds.writing, place), service).await
        })
    }
}

impl State {
    fn enter(state: &Arc<Self>) -> Option<Place> {
        let permit = Arc::clone(&state.places).try_acquire_owned().ok()?;
        // Said again only after there was room: a tenth of the places.
        if state.places.available_permits() > state.bounds.connections / 10 {
            state.is_full.store(false, Ordering::Relaxed);
        }
        state.metrics.connections.at(state.listener).increment();
        Some(Place { _permit: permit, state: Arc::clone(state) })
    }

    async fn refuse(&self, stream: TcpStream) {
        self.metrics.connections_refused_total.at(self.listener).increment(1);
        if !self.is_full.swap(true, Ordering::Relaxed) {
            tracing::warn!(most = self.bounds.connections, "there are as many connections as may be; more are refused");
        }
        if !self.bounds.is_plain {
            return;
        }
        if let Ok(_one) = self.farewells.try_acquire() {
            let _ = timeout(FAREWELL, farewell(stream)).await;
        }
    }
}

/// Says that there is no place, and lets the client have it: a connection that is closed with something unread is
/// reset, and what was sent is lost.
async fn farewell(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(FULL).await?;
    stream.shutdown().await?;
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// A place among the connections, given back when it is dropped.
#[derive(Debug)]
struct Place {
    _permit: OwnedSemaphorePermit,
    state: Arc<State>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.state.metrics.connections.at(self.state.listener).decrement();
    }
}

/// A connection that has a place, and ends when its client takes nothing of what is written for too long. While the
/// other end takes something now and then it goes on: answers are a few KiB, which the kernel takes all at once.
#[derive(Debug)]
pub struct Guarded {
    stream: Pin<Box<TimeoutStream<TcpStream>>>,
    _place: Place,
}

impl Guarded {
    fn new(stream: TcpStream, writing: Duration, place: Place) -> Self {
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(writing));
        Self { stream: Box::pin(stream), _place: place }
    }
}

impl AsyncRead for Guarded {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_read(context, to)
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_one_too_many_is_told_is_a_whole_answer() {
        let text = std::str::from_utf8(FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["type"], format!("urn:kickout:problem:{}", super::super::error::Kind::Overloaded.name()));
        assert_eq!(problem["title"], super::super::error::Kind::Overloaded.title());
        assert_eq!(problem["status"], 503);
    }
}
