//! The service as the real program.

use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    ops::Deref,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use kickout::instance;
use tempfile::TempDir;

use super::{client::Net, wait::eventually};

/// All keys of `[limits]`: where everybody has one address, they are to be out of the way.
pub(crate) const LIMITS: [&str; 8] = [
    "LOGINS_PER_ADDRESS",
    "WRONG_PER_ADDRESS",
    "WRONG_PER_ACCOUNT",
    "WRONG_BEFORE_SLOW",
    "SIGNUPS_PER_ADDRESS",
    "SIGNUPS_PER_ACCOUNT",
    "REFRESHES_PER_ADDRESS",
    "REFRESHES_PER_SESSION",
];

/// A running `kickout serve` with a folder and two ports of its own. Killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    net: Net,
    settings: Vec<(String, String)>,
    child: Child,
    stdout: Page,
    stderr: Page,
    folder: TempDir,
}

/// What a process has written so far.
#[derive(Debug, Clone, Default)]
struct Page(Arc<Mutex<String>>);

impl Process {
    /// Starts the program and waits until it is ready. Settings are environment variables, such as
    /// `KICKOUT__TOKENS__ACCESS_TTL`.
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Self {
        let process = Self::begin(settings).await;
        process.is_ready().await;
        process
    }

    /// Starts the program and waits until it listens. It may not be ready yet.
    pub(crate) async fn begin(settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self::launch(folder, settings, None).await
    }

    async fn launch(folder: TempDir, settings: Vec<(String, String)>, net: Option<Net>) -> Self {
        let mut command = command(folder.path());
        command.envs(settings.iter().map(|(name, value)| (name, value)));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let stdout = Page::of(child.stdout.take().expect("piped"));
        let stderr = Page::of(child.stderr.take().expect("piped"));
        let mut addresses = None;
        let mut ended = None;
        eventually!({
            ended = child.try_wait().expect("a child");
            addresses = public_address(&stdout.text()).zip(management_address(&data(folder.path())));
            addresses.is_some() || ended.is_some()
        });
        let Some((public, management)) = addresses else { panic!("it ended, {ended:?}: {}", stderr.text()) };
        let net = net.unwrap_or_else(|| Net::new(public, management));
        net.moved(public, management);
        Self { net, settings, child, stdout, stderr, folder }
    }

    /// Waits until it is ready.
    pub(crate) async fn is_ready(&self) {
        eventually!(self.net.manage(http::Method::GET, "/readyz").await.status == 200);
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill_9(&mut self) {
        self.child.kill().expect("a running child");
        self.child.wait().expect("a child");
    }

    /// Sends it a signal, by name: `INT`, `TERM`, `STOP`, `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(sent.expect("kill(1)").success(), "{name}");
    }

    /// Asks it to stop as Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        self.signal("INT");
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        eventually!({
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        status.expect("it has ended")
    }

    /// Starts it again on the same folder. It must have ended.
    pub(crate) async fn restart(mut self) -> Self {
        self.begin_again().await;
        self.is_ready().await;
        self
    }

    /// Starts it again on the same folder, and waits until it listens. It must have ended.
    pub(crate) async fn begin_again(&mut self) {
        assert!(self.child.try_wait().expect("a child").is_some(), "it still runs");
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().expect("a folder"));
        *self = Self::launch(folder, self.settings.clone(), Some(self.net.clone())).await;
    }

    /// Another command on the same folder; its arguments are the caller's.
    pub(crate) fn command(&self) -> Command {
        let mut command = command(self.folder.path());
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    pub(crate) fn stdout(&self) -> String {
        self.stdout.text()
    }

    pub(crate) fn stderr(&self) -> String {
        self.stderr.text()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The data folder.
    pub(crate) fn data(&self) -> PathBuf {
        data(self.folder.path())
    }
}

impl Deref for Process {
    type Target = Net;

    fn deref(&self) -> &Net {
        &self.net
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// The program with nothing of our own environment.
fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kickout"));
    command.env_clear().current_dir(folder).stdin(Stdio::null());
    command.env("KICKOUT__DATA_DIR", data(folder));
    // As for a service in this process: everybody has one address.
    for limit in LIMITS {
        command.env(format!("KICKOUT__LIMITS__{limit}"), "100000");
    }
    command.env("KICKOUT__HTTP__LISTEN", "127.0.0.1:0").env("KICKOUT__MANAGEMENT__LISTEN", "127.0.0.1:0");
    command
}

/// From the banner: `http http://127.0.0.1:40123`, or `https://…` with TLS.
fn public_address(banner: &str) -> Option<SocketAddr> {
    banner.lines().find_map(|line| line.trim().strip_prefix("http ")?.trim().split_once("://")?.1.parse().ok())
}

fn management_address(data: &Path) -> Option<SocketAddr> {
    Some(instance::announced(data).ok()??.management)
}

impl Page {
    fn of(pipe: impl Read + Send + 'static) -> Self {
        let page = Self::default();
        let copy = page.clone();
        thread::spawn(move || {
            let mut lines = BufReader::new(pipe);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                copy.0.lock().unwrap_or_else(PoisonError::into_inner).push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        page
    }

    fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
