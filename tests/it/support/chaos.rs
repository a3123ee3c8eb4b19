//! A network that misbehaves, between a node and its SQL or Redis.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until},
};

/// What the network does, to connections that there are and to those that come. Nothing is lost in a mode that does
/// not cut: what was held back goes on, in order, when the mode permits it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It works.
    Pass,
    /// Everything takes this much longer, each way.
    Delay(Duration),
    /// Connections are reset, new ones too.
    Cut,
    /// Connections are accepted, and nothing is heard on them, not even their end.
    BlackHole,
    /// Requests arrive, answers do not.
    HalfOpen,
    /// Answers arrive, requests do not.
    OneWay,
    /// So many bytes at once, each way, and so much time between two pieces.
    Drip {
        /// Of one piece.
        bytes: usize,
        /// After each piece.
        every: Duration,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Request,
    Answer,
}

/// The network now: what it does, and where it leads.
#[derive(Debug, Clone, Copy)]
struct Net {
    mode: Mode,
    server: u16,
}

/// A running proxy. It ends when it is dropped, with all its connections.
#[derive(Debug)]
pub(crate) struct Chaos {
    port: u16,
    net: watch::Sender<Net>,
    _tasks: JoinSet<()>,
}

impl Chaos {
    /// In front of a server on loopback.
    pub(crate) async fn start(server: u16) -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST.into(), server).await
    }

    /// The same, at another address of this machine.
    pub(crate) async fn start_at(address: IpAddr, server: u16) -> Self {
        let listener = TcpListener::bind((address, 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (net, seen) = watch::channel(Net { mode: Mode::Pass, server });
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut links = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                while links.try_join_next().is_some() {}
                let seen = seen.clone();
                links.spawn(async move {
                    let _ = link(client, seen).await;
                });
            }
        });
        Self { port, net, _tasks: tasks }
    }

    /// Where it listens.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// From now on the network does this.
    pub(crate) fn set(&self, mode: Mode) {
        self.net.send_modify(|net| net.mode = mode);
    }

    /// From now on it leads to another server. Connections to the one before are reset.
    pub(crate) fn lead_to(&self, server: u16) {
        self.net.send_modify(|net| net.server = server);
    }
}

async fn link(mut client: TcpStream, net: watch::Receiver<Net>) -> io::Result<()> {
    let at = net.borrow().server;
    let mut other = net.clone();
    let cut = other.wait_for(|net| net.mode == Mode::Cut || net.server != at);
    let mut cut = std::pin::pin!(cut);
    let mut opening = net.clone();
    let opened = async {
        // A connection that a black hole has accepted leads nowhere.
        let _ = opening.wait_for(|net| net.mode != Mode::BlackHole).await;
        TcpStream::connect(("127.0.0.1", at)).await
    };
    let mut server = tokio::select! {
        biased;
        _ = &mut cut => return client.set_zero_linger(),
        opened = opened => opened?,
    };
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
    }
    let is_cut = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let requests = carry(from_client, to_server, Way::Request, net.clone());
        let answers = carry(from_server, to_client, Way::Answer, net.clone());
        tokio::select! {
            biased;
            _ = &mut cut => true,
            _ = async { tokio::try_join!(requests, answers) } => false,
        }
    };
    if is_cut {
        client.set_zero_linger()?;
        server.set_zero_linger()?;
    }
    Ok(())
}

/// Carries bytes, and their end.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    way: Way,
    mut net: watch::Receiver<Net>,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        let came = Instant::now();
        let mut rest = &buffer[..read];
        let mut due = came;
        loop {
            let mode = net.borrow_and_update().mode;
            let (piece, pause) = match (mode, way) {
                (Mode::Pass, _) | (Mode::HalfOpen, Way::Request) | (Mode::OneWay, Way::Answer) => {
                    (rest.len(), Duration::ZERO)
                }
                (Mode::Delay(delay), _) => {
                    due = came + delay;
                    (rest.len(), Duration::ZERO)
                }
                (Mode::Drip { bytes, every }, _) => (rest.len().min(bytes.max(1)), every),
                (Mode::Cut | Mode::BlackHole, _) | (Mode::HalfOpen, Way::Answer) | (Mode::OneWay, Way::Request) => {
                    if net.changed().await.is_err() {
                        return Ok(());
                    }
                    due = came;
                    continue;
                }
            };
            tokio::select! {
                () = sleep_until(due) => {}
                _ = net.changed() => {
                    due = came;
                    continue;
                }
            }
            if read == 0 {
                return to.shutdown().await;
            }
            to.write_all(&rest[..piece]).await?;
            rest = &rest[piece..];
            if rest.is_empty() {
                break;
            }
            due = Instant::now() + pause;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use crate::support::wait::LONG;

    /// What is watched to be absent would be there after so long.
    const QUIET: Duration = Duration::from_millis(200);

    /// A server that answers each byte with itself, and notes what has come.
    struct Echo {
        port: u16,
        came: watch::Receiver<usize>,
        _tasks: JoinSet<()>,
    }

    impl Echo {
        async fn start() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let (note, came) = watch::channel(0);
            let mut tasks = JoinSet::new();
            tasks.spawn(async move {
                let mut links = JoinSet::new();
                while let Ok((mut stream, _)) = listener.accept().await {
                    let note = note.clone();
                    links.spawn(async move {
                        let (mut from, mut to) = stream.split();
                        let mut buffer = vec![0; 4096];
                        while let Ok(read @ 1..) = from.read(&mut buffer).await {
                            note.send_modify(|came| *came += read);
                            if to.write_all(&buffer[..read]).await.is_err() {
                                return;
                            }
                        }
                    });
                }
            });
            Self { port, came, _tasks: tasks }
        }

        async fn has_got(&self, bytes: usize) {
            let mut came = self.came.clone();
            timeout(LONG, came.wait_for(|came| *came >= bytes)).await.unwrap().unwrap();
        }
    }

    async fn both() -> (Echo, Chaos, TcpStream) {
        let echo = Echo::start().await;
        let chaos = Chaos::start(echo.port).await;
        let mut stream = connect(&chaos).await;
        assert_eq!(ask(&mut stream, b"hello").await.unwrap(), b"hello");
        (echo, chaos, stream)
    }

    async fn connect(chaos: &Chaos) -> TcpStream {
        timeout(LONG, TcpStream::connect(("127.0.0.1", chaos.port()))).await.unwrap().unwrap()
    }

    /// Sends, and reads as many bytes.
    async fn ask(stream: &mut TcpStream, words: &[u8]) -> io::Result<Vec<u8>> {
        let mut answer = vec![0; words.len()];
        let (mut from, mut to) = stream.split();
        let talk = async { tokio::try_join!(to.write_all(words), from.read_exact(&mut answer)) };
        timeout(LONG, talk).await.expect("an answer or an error")?;
        Ok(answer)
    }

    async fn is_silent(stream: &mut TcpStream) -> bool {
        timeout(QUIET, stream.read_u8()).await.is_err()
    }

    async fn hears(stream: &mut TcpStream, words: &[u8]) {
        let mut answer = vec![0; words.len()];
        timeout(LONG, stream.read_exact(&mut answer)).await.expect("an answer").unwrap();
        assert_eq!(answer, words);
    }

    fn many() -> Vec<u8> {
        (0..300_000_u32).map(|n| n.to_le_bytes()[usize::from(n % 3 == 0)]).collect()
    }

    #[tokio::test]
    async fn passes_everything_and_its_end() {
        let (_echo, _chaos, mut stream) = both().await;
        assert!(ask(&mut stream, &many()).await.unwrap() == many());
        stream.shutdown().await.unwrap();
        assert_eq!(timeout(LONG, stream.read(&mut [0])).await.unwrap().unwrap(), 0);
    }

    #[tokio::test]
    async fn delays_each_way_and_keeps_the_data() {
        let (_echo, chaos, mut stream) = both().await;
        let delay = Duration::from_millis(60);
        chaos.set(Mode::Delay(delay));
        for stream in [&mut stream, &mut connect(&chaos).await] {
            let began = Instant::now();
            assert_eq!(ask(stream, b"slow").await.unwrap(), b"slow");
            assert!(began.elapsed() >= 2 * delay);
        }
        chaos.set(Mode::Delay(Duration::from_millis(1)));
        assert!(ask(&mut stream, &many()).await.unwrap() == many());
        // What waits goes at once when the network works again.
        chaos.set(Mode::Delay(Duration::from_hours(1)));
        stream.write_all(b"late").await.unwrap();
        assert!(is_silent(&mut stream).await);
        chaos.set(Mode::Pass);
        hears(&mut stream, b"late").await;
    }

    #[tokio::test]
    async fn cuts_connections_that_there_are_and_those_that_come() {
        let (_echo, chaos, mut stream) = both().await;
        chaos.set(Mode::Cut);
        let error = timeout(LONG, stream.read_u8()).await.expect("an end").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(ask(&mut connect(&chaos).await, b"?").await.is_err());
        chaos.set(Mode::Pass);
        assert_eq!(ask(&mut connect(&chaos).await, b"back").await.unwrap(), b"back");
    }

    #[tokio::test]
    async fn a_black_hole_takes_everything_and_says_nothing() {
        let (echo, chaos, mut stream) = both().await;
        chaos.set(Mode::BlackHole);
        let mut other = connect(&chaos).await;
        for stream in [&mut stream, &mut other] {
            stream.write_all(b"lost").await.unwrap();
            assert!(is_silent(stream).await);
        }
        assert_eq!(*echo.came.borrow(), 5, "only what came before");
        chaos.set(Mode::Pass);
        hears(&mut stream, b"lost").await;
        hears(&mut other, b"lost").await;
    }

    #[tokio::test]
    async fn a_half_open_link_brings_requests_and_no_answers() {
        let (echo, chaos, mut stream) = both().await;
        chaos.set(Mode::HalfOpen);
        stream.write_all(b"one").await.unwrap();
        let mut other = connect(&chaos).await;
        other.write_all(b"two").await.unwrap();
        echo.has_got(5 + 3 + 3).await;
        assert!(is_silent(&mut stream).await && is_silent(&mut other).await);
        chaos.set(Mode::Pass);
        hears(&mut stream, b"one").await;
        hears(&mut other, b"two").await;
    }

    #[tokio::test]
    async fn a_one_way_link_brings_answers_and_no_requests() {
        let (echo, chaos, mut stream) = both().await;
        chaos.set(Mode::HalfOpen);
        stream.write_all(b"one").await.unwrap();
        echo.has_got(5 + 3).await;
        chaos.set(Mode::OneWay);
        hears(&mut stream, b"one").await;
        stream.write_all(b"two").await.unwrap();
        assert!(is_silent(&mut stream).await);
        assert_eq!(*echo.came.borrow(), 8);
        chaos.set(Mode::Pass);
        hears(&mut stream, b"two").await;
    }

    #[tokio::test]
    async fn drips_and_keeps_the_data() {
        let (_echo, chaos, mut stream) = both().await;
        let every = Duration::from_millis(20);
        chaos.set(Mode::Drip { bytes: 2, every });
        let began = Instant::now();
        assert_eq!(ask(&mut stream, b"0123456789").await.unwrap(), b"0123456789");
        assert!(began.elapsed() >= 4 * every, "five pieces");
        chaos.set(Mode::Pass);
        assert!(ask(&mut stream, &many()).await.unwrap() == many());
    }

    #[tokio::test]
    async fn leads_elsewhere_when_told_and_ends_with_its_owner() {
        let (_echo, chaos, mut stream) = both().await;
        let other = Echo::start().await;
        chaos.lead_to(other.port);
        assert!(timeout(LONG, stream.read_u8()).await.expect("an end").is_err());
        let mut stream = connect(&chaos).await;
        assert_eq!(ask(&mut stream, b"you").await.unwrap(), b"you");
        assert_eq!(*other.came.borrow(), 3);
        let port = chaos.port();
        drop(chaos);
        assert!(timeout(LONG, stream.read_u8()).await.expect("an end").is_err());
        crate::support::wait::eventually!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
    }
}
