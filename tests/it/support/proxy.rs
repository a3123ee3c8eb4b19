//! A proxy in front of a PostgreSQL server that can lose the answer of a commit, or the commit.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Notify,
    task::JoinSet,
};

/// A simple query as the protocol frames it: kind, length, text, NUL.
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";

/// What happens to the next commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Fate {
    /// It is forwarded, and its answer too.
    Normal,
    /// It reaches the server, the answer is lost with the connection.
    AnswerLost,
    /// It is lost with the connection.
    Lost,
    /// It is lost, and the connection too when [`Proxy::cut`] is called: the server waits for it until then.
    Held,
    /// The connection is lost, and the commit reaches the server a while later.
    Late,
    /// It reaches the server, and nothing more is heard on this connection, not even its end.
    Silence,
}

/// How late [`Fate::Late`] is.
pub(crate) const LATE: Duration = Duration::from_millis(1500);

/// A running proxy. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    port: u16,
    fate: Arc<AtomicU8>,
    cut: Arc<Notify>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (fate, cut) = (Arc::new(AtomicU8::new(Fate::Normal as u8)), Arc::<Notify>::default());
        let mut tasks = JoinSet::new();
        let (decided, held) = (Arc::clone(&fate), Arc::clone(&cut));
        tasks.spawn(async move {
            let mut links = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (decided, held) = (Arc::clone(&decided), Arc::clone(&held));
                links.spawn(async move {
                    let _ = link(client, server, &decided, &held).await;
                });
            }
        });
        Self { port, fate, cut, _tasks: tasks }
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Decides the next commit.
    pub(crate) fn next_commit(&self, fate: Fate) {
        self.fate.store(fate as u8, Ordering::SeqCst);
    }

    /// Cuts the connection of a commit that is held.
    pub(crate) fn cut(&self) {
        self.cut.notify_one();
    }

    /// Whether that commit has come by.
    pub(crate) fn is_over(&self) -> bool {
        self.fate.load(Ordering::SeqCst) == Fate::Normal as u8
    }
}

async fn link(client: TcpStream, server: u16, decided: &AtomicU8, cut: &Notify) -> io::Result<()> {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = TcpStream::connect(("127.0.0.1", server)).await?.into_split();
    let is_silent = AtomicBool::new(false);
    tokio::select! {
        result = requests(from_client, to_server, (decided, cut), &is_silent) => result,
        result = answers(from_server, to_client, &is_silent) => result,
    }
}

async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, is_silent: &AtomicBool) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        if is_silent.load(Ordering::SeqCst) {
            return std::future::pending().await;
        }
        if read == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..read]).await?;
    }
}

/// Returns when the connection to the client is to be cut.
async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    (decided, cut): (&AtomicU8, &Notify),
    is_silent: &AtomicBool,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        let bytes = &buffer[..read];
        if read == 0 {
            return Ok(());
        }
        if bytes.ends_with(COMMIT) {
            let fate = decided.swap(Fate::Normal as u8, Ordering::SeqCst);
            if fate == Fate::Lost as u8 {
                return Ok(());
            }
            if fate == Fate::Held as u8 {
                cut.notified().await;
                return Ok(());
            }
            if fate == Fate::AnswerLost as u8 {
                to.write_all(bytes).await?;
                // The server's half is closed after the client's, so the commit is not undone by that.
                return Ok(());
            }
            if fate == Fate::Silence as u8 {
                is_silent.store(true, Ordering::SeqCst);
            }
            if fate == Fate::Late as u8 {
                let late = bytes.to_vec();
                drop(from);
                #[expect(clippy::disallowed_methods, reason = "the server's half outlives the client's, on purpose")]
                tokio::spawn(async move {
                    tokio::time::sleep(LATE).await;
                    let _ = to.write_all(&late).await;
                    // Until the server has read it.
                    tokio::time::sleep(LATE).await;
                });
                return Ok(());
            }
        }
        to.write_all(bytes).await?;
    }
}
