//! A node as a process of its own: Kickout's program, or one of the servers of this benchmark.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::Duration,
};

use kickout::{clock::Clock, instance};
use tempfile::TempDir;

use super::{
    arms::{Setup, variable},
    scope::Pins,
};
use crate::Failure;

/// How long a node may take until it is ready: with ten million live revocations it reads a gigabyte first.
const READY: Duration = Duration::from_mins(5);

/// How long a node may take to end.
const STOP: Duration = Duration::from_secs(15);

/// Between two looks at whether something has come about.
const LOOK: Duration = Duration::from_millis(10);

/// A running node. Killed when it is dropped; [`stop`](Self::stop) asks it to end, so that no revocation waits for it.
#[derive(Debug)]
pub(crate) struct Node {
    child: Child,
    /// Where requests go.
    pub(crate) public: SocketAddr,
    /// Health and metrics; a server of this benchmark has none.
    pub(crate) management: Option<SocketAddr>,
    folder: TempDir,
}

impl Node {
    /// Starts a node, and waits until it is ready.
    pub(crate) async fn start(setup: &Setup, pins: &Pins) -> Result<Self, Failure> {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let data = setup.data().unwrap_or_else(|| folder.path().join("data"));
        let mut command = if setup.kind.is_kickout() {
            pins.command(env!("CARGO_BIN_EXE_kickout"))
        } else {
            let own = std::env::current_exe()?;
            let mut command = pins.command(own.to_str().ok_or("a path that is no text")?);
            command.args(["--bench", "--serve", setup.kind.name()]);
            command
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).envs(setup.environment());
        if setup.kind.is_kickout() {
            command.env(variable("data_dir"), &data);
            command.env("KICKOUT__HTTP__LISTEN", "127.0.0.1:0").env("KICKOUT__MANAGEMENT__LISTEN", "127.0.0.1:0");
        }
        command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(File::create(folder.path().join("log"))?);
        let mut child = command.spawn().map_err(|error| format!("a node does not start: {error}"))?;
        let banner = child.stdout.take().ok_or("piped")?;
        let found = address_of(banner).await;
        let Some(public) = found else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("a node of {} has ended: {}", setup.kind.name(), log(folder.path())).into());
        };
        let management =
            if setup.kind.is_kickout() { instance::announced(&data)?.map(|said| said.management) } else { None };
        let mut node = Self { child, public, management, folder };
        node.is_ready().await?;
        Ok(node)
    }

    async fn is_ready(&mut self) -> Result<(), Failure> {
        let Some(management) = self.management else { return Ok(()) };
        let end = Clock::System.boottime() + READY;
        loop {
            let answer = reqwest::get(format!("http://{management}/readyz")).await;
            if answer.is_ok_and(|answer| answer.status().as_u16() == 200) {
                return Ok(());
            }
            if self.child.try_wait()?.is_some() || Clock::System.boottime() > end {
                return Err(format!("a node is not ready: {}", self.log()).into());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said on standard error so far.
    pub(crate) fn log(&self) -> String {
        log(self.folder.path())
    }

    /// Its processor time so far; see [`cpu_ns`].
    pub(crate) fn cpu_ns(&self) -> Result<u64, Failure> {
        cpu_ns(self.pid())
    }

    /// Its resident memory.
    pub(crate) fn resident_bytes(&self) -> Result<u64, Failure> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS: it has ended")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
    }

    /// The sum of a metric over its labels that hold `label`, from its page; `None` if there is no such series.
    pub(crate) async fn metric(&self, name: &str, label: &str) -> Result<Option<f64>, Failure> {
        let Some(management) = self.management else { return Ok(None) };
        let page = reqwest::get(format!("http://{management}/metrics")).await?.error_for_status()?.text().await?;
        let mut sum = None;
        for line in page.lines().filter(|line| line.starts_with(name) && line.contains(label)) {
            let rest = &line[name.len()..];
            if !rest.starts_with(['{', ' ']) {
                continue;
            }
            let value: f64 = line.rsplit(' ').next().unwrap_or_default().parse()?;
            sum = Some(sum.unwrap_or(0.0) + value);
        }
        Ok(sum)
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        let asked = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status()?;
        let end = Clock::System.boottime() + STOP;
        while asked.success() && Clock::System.boottime() < end {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(format!("a node does not end: {}", self.log()).into())
    }
}

/// Processor time of all threads of a process so far, user and system, in nanoseconds. Those that have ended are missing:
/// that is a thread for blocking work that had none for ten seconds.
pub(crate) fn cpu_ns(pid: u32) -> Result<u64, Failure> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // One that has ended since the folder was read.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        sum += text.split_whitespace().next().ok_or("an empty schedstat")?.parse::<u64>()?;
    }
    Ok(sum)
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("log")).unwrap_or_default()
}

/// Where it listens, from what it says at its start: `http http://127.0.0.1:40123`. `None` if it ends before. What it
/// says later is read, and dropped.
async fn address_of(banner: ChildStdout) -> Option<SocketAddr> {
    let (tell, told) = tokio::sync::oneshot::channel();
    thread::spawn(move || {
        let mut tell = Some(tell);
        for line in BufReader::new(banner).lines().map_while(Result::ok) {
            let address =
                line.trim().strip_prefix("http ").and_then(|rest| rest.trim().split_once("://")?.1.parse().ok());
            if let (Some(address), Some(tell)) = (address, tell.take_if(|_| address.is_some())) {
                let _ = tell.send(address);
            }
        }
    });
    told.await.ok()
}
