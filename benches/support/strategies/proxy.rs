//! A proxy that makes a store as far away as a network does.
//!
//! Bytes come out half a round trip after they came in, in their order, and as many as came in: a longer way, not a
//! narrower one. Timers of an async runtime tick in milliseconds, so each direction of a connection has two threads:
//! one stamps what it reads, the other sleeps until that is due. Connections are made without a delay; they are kept.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use kickout::clock::{BootInstant, Clock};

use crate::Failure;

/// Chunks under way in one direction: with 16 KiB each, 64 MiB at most. At 5 ms that is far more than loopback brings.
const UNDER_WAY: usize = 4096;

const CHUNK: usize = 16 * 1024;

/// What a sleeping thread needs; there are four for each connection.
const STACK: usize = 256 * 1024;

/// A running proxy. It takes no more connections when it is dropped; each connection ends when either side ends it.
#[derive(Debug)]
pub(crate) struct Proxy {
    port: u16,
    is_over: Arc<AtomicBool>,
}

impl Proxy {
    /// A proxy in front of a server on loopback.
    pub(crate) fn start(server: u16, round_trip: Duration) -> Result<Self, Failure> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        small("proxy", move || {
            for client in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                // A connection that cannot be made ends; whoever wanted it says so.
                let _ = client.map_err(Failure::from).and_then(|client| link(&client, server, round_trip / 2));
            }
        })?;
        Ok(Self { port, is_over })
    }

    /// Where it listens.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // It waits for a connection, and gets one.
        let _ = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)));
    }
}

/// A thread whose sleeps end when they should: by default the kernel may add 50 µs to each.
pub(crate) fn small(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(move || {
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        work();
    })?;
    Ok(())
}

fn link(client: &TcpStream, server: u16, delay: Duration) -> Result<(), Failure> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, server))?;
    for side in [client, &server] {
        side.set_nodelay(true)?;
    }
    direction(client.try_clone()?, server.try_clone()?, delay)?;
    direction(server, client.try_clone()?, delay)
}

fn direction(mut from: TcpStream, to: TcpStream, delay: Duration) -> Result<(), Failure> {
    let (stamped, due) = sync_channel::<(BootInstant, Vec<u8>)>(UNDER_WAY);
    small("proxy-read", move || read(&mut from, &stamped, delay))?;
    small("proxy-write", move || write(to, &due))
}

fn read(from: &mut TcpStream, stamped: &SyncSender<(BootInstant, Vec<u8>)>, delay: Duration) {
    let mut buffer = [0; CHUNK];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if stamped.send((Clock::System.boottime() + delay, buffer[..count].to_vec())).is_err() {
            return;
        }
    }
}

/// Ends this direction when the other side has: after everything that was under way.
fn write(mut to: TcpStream, due: &Receiver<(BootInstant, Vec<u8>)>) {
    for (at, bytes) in due {
        sleep_until(at);
        if to.write_all(&bytes).is_err() {
            // Whoever sends still is told by the end of the connection.
            let _ = to.shutdown(Shutdown::Both);
            return;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// Sleeps until then, and not at all if that is over.
pub(crate) fn sleep_until(at: BootInstant) {
    let left = at.since(Clock::System.boottime());
    if left > Duration::ZERO {
        thread::sleep(left);
    }
}
