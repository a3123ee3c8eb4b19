//! The generator: requests over kept connections, each answer checked.
//!
//! Each connection is a thread that blocks: nothing is cheaper on one core, and a sleep ends when it should. Requests are
//! bytes that were put together before, and of an answer only what says its status and its end is looked at.
//!
//! *Closed loop*: each connection asks again when it is answered. *Open loop*: requests are due at fixed times, whatever
//! became of those before, and latency counts from when a request was due, so that a stall is seen by all that should
//! have come meanwhile. There is a connection for each that is under way.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use hdrhistogram::Histogram;
use kickout::clock::{BootInstant, Clock};

use super::{
    super::rounds::float,
    proxy::{sleep_until, small},
    results::Open,
    workload::Draw,
};
use crate::Failure;

/// No answer takes longer: a request has 30 s in the settings that are shipped.
const ANSWER: Duration = Duration::from_secs(35);

/// In microseconds.
const LONGEST_US: u64 = 60_000_000;

/// The longest answer here is a refusal with its reason, some 600 bytes.
const BUFFER: usize = 8 * 1024;

/// Headers of an answer.
const HEADERS: usize = 32;

/// The first request of an open loop is due so long after the loop began, when all threads are there.
const RUN_UP: Duration = Duration::from_millis(5);

/// Requests, put together, by what their credential is.
#[derive(Debug, Default)]
pub(crate) struct Stock {
    /// Of live sessions, user by user.
    pub(crate) live: Vec<Vec<u8>>,
    /// Of sessions that were taken back.
    pub(crate) revoked: Vec<Vec<u8>>,
    /// Of live sessions, with tokens that nobody has shown yet. Each is used once.
    pub(crate) fresh: Vec<Vec<u8>>,
}

/// What is asked of whom.
#[derive(Debug, Clone)]
pub(crate) struct Mix {
    pub(crate) stock: Arc<Stock>,
    pub(crate) users: usize,
    pub(crate) devices: usize,
    /// Share of requests with a fresh token.
    pub(crate) fresh_share: f64,
    /// Share of requests with a credential that was taken back.
    pub(crate) revoked_share: f64,
    /// What the answer to that must be.
    pub(crate) revoked_status: u16,
    pub(crate) seed: u64,
}

/// What a loop has brought.
#[derive(Debug)]
pub(crate) struct Brought {
    pub(crate) requests: u64,
    pub(crate) refused: u64,
    pub(crate) seconds: f64,
    latencies: Histogram<u64>,
}

impl Brought {
    fn new() -> Result<Self, Failure> {
        Ok(Self { requests: 0, refused: 0, seconds: 0.0, latencies: Histogram::new_with_bounds(1, LONGEST_US, 3)? })
    }

    pub(crate) fn per_second(&self) -> f64 {
        float(self.requests) / self.seconds
    }

    /// In microseconds.
    pub(crate) fn quantile_us(&self, quantile: f64) -> f64 {
        float(self.latencies.value_at_quantile(quantile))
    }

    pub(crate) fn open(&self, rate: u64) -> Open {
        Open {
            rate,
            achieved: self.per_second(),
            p50_us: self.quantile_us(0.5),
            p90_us: self.quantile_us(0.9),
            p99_us: self.quantile_us(0.99),
            p999_us: self.quantile_us(0.999),
            max_us: float(self.latencies.max()),
        }
    }
}

/// When requests are sent.
#[derive(Debug, Clone)]
enum Schedule {
    Closed {
        end: BootInstant,
    },
    /// Of each node; `next` are the numbers of the requests that nobody has taken yet, node by node.
    Open {
        begun: BootInstant,
        interval: Duration,
        count: usize,
        next: Arc<Vec<AtomicUsize>>,
    },
    /// Every request of the stock but the fresh ones, once for each node.
    Once,
}

/// Connections to nodes, kept for some loops.
#[derive(Debug)]
pub(crate) struct Generator {
    connections: Vec<Connection>,
    nodes: usize,
    fresh: Arc<AtomicUsize>,
}

impl Generator {
    /// Makes connections, the same number to each node, and sends a request on each.
    pub(crate) fn connect(nodes: &[SocketAddr], connections: usize, first: &[u8]) -> Result<Self, Failure> {
        let count = connections.max(nodes.len());
        let mut made = Vec::with_capacity(count);
        for n in 0..count {
            let mut connection = Connection::open(nodes[n % nodes.len()])?;
            connection.ask(first)?;
            made.push(connection);
        }
        Ok(Self { connections: made, nodes: nodes.len(), fresh: Arc::new(AtomicUsize::new(0)) })
    }

    /// Every credential once at each node, so that what nodes keep of those they have seen is there.
    pub(crate) fn once(&mut self, mix: &Mix) -> Result<Brought, Failure> {
        self.run(mix, &Schedule::Once)
    }

    pub(crate) fn closed(&mut self, mix: &Mix, window: Duration) -> Result<Brought, Failure> {
        self.run(mix, &Schedule::Closed { end: Clock::System.boottime() + window })
    }

    /// So many requests per second, over all nodes.
    pub(crate) fn open(&mut self, mix: &Mix, rate: u64, window: Duration) -> Result<Brought, Failure> {
        let interval = Duration::from_secs_f64(1.0 / float(rate));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "thousands")]
        let count = (window.as_secs_f64() * float(rate)) as usize;
        let next = Arc::new((0..self.nodes).map(AtomicUsize::new).collect());
        self.run(mix, &Schedule::Open { begun: Clock::System.boottime() + RUN_UP, interval, count, next })
    }

    fn run(&mut self, mix: &Mix, schedule: &Schedule) -> Result<Brought, Failure> {
        let begun = Clock::System.boottime();
        let (tell, told) = mpsc::channel();
        let count = self.connections.len();
        for (n, connection) in self.connections.drain(..).enumerate() {
            let draw = Draw::new(mix.seed.wrapping_mul(1_000_003).wrapping_add(n as u64), mix.users, mix.devices)?;
            let (mix, fresh) = (mix.clone(), Arc::clone(&self.fresh));
            let mut client = Client { n, of: count, nodes: self.nodes, connection, mix, draw, fresh };
            let (schedule, tell) = (schedule.clone(), tell.clone());
            small("client", move || {
                let brought = client.run(&schedule);
                let _ = tell.send((n, client.connection, brought));
            })?;
        }
        drop(tell);
        let mut all = Brought::new()?;
        let mut back = Vec::with_capacity(count);
        for (n, connection, brought) in told {
            let brought = brought?;
            all.requests += brought.requests;
            all.refused += brought.refused;
            all.latencies.add(brought.latencies)?;
            back.push((n, connection));
        }
        if back.len() != count {
            return Err("a client has ended early".into());
        }
        back.sort_by_key(|(n, _)| *n);
        self.connections = back.into_iter().map(|(_, connection)| connection).collect();
        let begun = if let Schedule::Open { begun, .. } = schedule { *begun } else { begun };
        all.seconds = Clock::System.boottime().since(begun).as_secs_f64();
        Ok(all)
    }
}

/// One connection at work.
struct Client {
    n: usize,
    of: usize,
    nodes: usize,
    connection: Connection,
    mix: Mix,
    draw: Draw,
    /// The next request with a fresh token.
    fresh: Arc<AtomicUsize>,
}

impl Client {
    fn run(&mut self, schedule: &Schedule) -> Result<Brought, Failure> {
        let clock = Clock::System;
        let mut brought = Brought::new()?;
        match schedule {
            Schedule::Closed { end } => {
                let mut now = clock.boottime();
                while now < *end {
                    self.ask(&mut brought)?;
                    let answered = clock.boottime();
                    record(&mut brought, answered.since(now))?;
                    now = answered;
                }
            }
            Schedule::Open { begun, interval, count, next } => loop {
                let n = next[self.n % self.nodes].fetch_add(self.nodes, Ordering::Relaxed);
                if n >= *count {
                    break;
                }
                let due = *begun + interval.mul_f64(float(n as u64));
                sleep_until(due);
                self.ask(&mut brought)?;
                record(&mut brought, clock.boottime().since(due))?;
            },
            Schedule::Once => self.all(&mut brought)?,
        }
        Ok(brought)
    }

    /// This connection's share of all requests.
    fn all(&mut self, brought: &mut Brought) -> Result<(), Failure> {
        let stock = Arc::clone(&self.mix.stock);
        let shares = self.of.div_ceil(self.nodes);
        for request in stock.live.iter().skip(self.n / self.nodes).step_by(shares) {
            expect(self.connection.ask(request)?, 200, "a live credential")?;
            brought.requests += 1;
        }
        for request in stock.revoked.iter().skip(self.n / self.nodes).step_by(shares) {
            expect(self.connection.ask(request)?, self.mix.revoked_status, "a credential that was taken back")?;
            brought.requests += 1;
        }
        Ok(())
    }

    /// One request, drawn, and its answer, which must be right.
    fn ask(&mut self, brought: &mut Brought) -> Result<(), Failure> {
        let stock = &self.mix.stock;
        brought.requests += 1;
        if !stock.revoked.is_empty() && self.draw.chance(self.mix.revoked_share) {
            let request = &stock.revoked[self.draw.below(stock.revoked.len())];
            let status = self.connection.ask(request)?;
            brought.refused += u64::from(status == 401);
            return expect(status, self.mix.revoked_status, "a credential that was taken back");
        }
        if self.draw.chance(self.mix.fresh_share)
            && let Some(request) = stock.fresh.get(self.fresh.fetch_add(1, Ordering::Relaxed))
        {
            return expect(self.connection.ask(request)?, 200, "a live credential that is new");
        }
        expect(self.connection.ask(&stock.live[self.draw.session()])?, 200, "a live credential")
    }
}

fn record(brought: &mut Brought, latency: Duration) -> Result<(), Failure> {
    Ok(brought.latencies.record(u64::try_from(latency.as_micros())?.max(1))?)
}

fn expect(status: u16, right: u16, what: &str) -> Result<(), Failure> {
    if status == right { Ok(()) } else { Err(format!("{what} was answered with {status} instead of {right}").into()) }
}

/// A kept connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(node: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(node)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER))?;
        Ok(Self { stream, buffer: vec![0; BUFFER] })
    }

    /// Sends a request, and reads its whole answer; the status.
    pub(crate) fn ask(&mut self, request: &[u8]) -> Result<u16, Failure> {
        self.stream.write_all(request)?;
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[filled..])?;
            if read == 0 {
                return Err("the connection was closed, or the answer is too long".into());
            }
            filled += read;
            if let Some((status, length)) = answer(&self.buffer[..filled])?
                && filled >= length
            {
                return Ok(status);
            }
        }
    }
}

/// The status of an answer and its whole length, when its head is there.
fn answer(bytes: &[u8]) -> Result<Option<(u16, usize)>, Failure> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut answer = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = answer.parse(bytes)? else { return Ok(None) };
    let length = answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length: usize = length.map_or(Ok(0), |header| String::from_utf8_lossy(header.value).trim().parse())?;
    Ok(Some((answer.code.ok_or("no status")?, head + length)))
}
