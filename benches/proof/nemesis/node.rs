//! A node as a process that may end at any moment, and may be started when nothing that it needs is there.
//!
//! It runs under a shell that holds the other end of a pipe from this process: however this process ends, the shell
//! kills the node and removes its folder.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Mutex, PoisonError, RwLock},
    time::Duration,
};

use kickout::instance;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::sleep;

use super::{moment, net::Net};
use crate::support::{chaos::Chaos, operator::KICKOUT};

const KEEPER: &str = r#"
trap '' INT TERM HUP
folder=$1; log=$2; shift 2
"$@" >"$folder/$log" 2>&1 &
server=$!
echo $server
read -r word
kill -KILL $server
wait $server
[ "$word" = stop ] || rm -rf "$folder"
"#;

/// How long a start may take on a machine that has other things to do.
const START: Duration = Duration::from_mins(1);

/// Between two looks at a process.
const PAUSE: Duration = Duration::from_millis(10);

/// Where a running node is asked.
#[derive(Debug, Clone)]
pub(super) struct Door {
    pub(super) public: SocketAddr,
    pub(super) management: SocketAddr,
    /// What operators show.
    pub(super) token: String,
}

/// A node, running or not.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) number: u8,
    folder: TempDir,
    settings: Mutex<Vec<(String, String)>>,
    /// What the program is started with: `ip netns exec …`, and what it preloads.
    wrapper: Vec<String>,
    door: RwLock<Option<Door>>,
    life: Mutex<Life>,
    /// The networks between it and its stores.
    pub(super) sql: Option<Chaos>,
    pub(super) redis: Option<Chaos>,
    /// The network that it runs in, if it has its own.
    pub(super) net: Option<Net>,
}

#[derive(Debug, Default)]
struct Life {
    running: Option<Running>,
    launches: u32,
}

#[derive(Debug)]
struct Running {
    keeper: Child,
    pipe: ChildStdin,
    process: u32,
}

impl Node {
    /// One that is not started yet.
    pub(super) fn new(number: u8, settings: Vec<(String, String)>) -> std::io::Result<Self> {
        Ok(Self {
            number,
            folder: tempfile::Builder::new().prefix("kickout-nemesis-").tempdir()?,
            settings: Mutex::new(settings),
            wrapper: Vec::new(),
            door: RwLock::default(),
            life: Mutex::default(),
            sql: None,
            redis: None,
            net: None,
        })
    }

    /// From its next start on, another value of a setting.
    pub(super) fn set(&self, name: &str, value: &str) {
        let name = format!("KICKOUT__{name}");
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        settings.retain(|(other, _)| *other != name);
        settings.push((name, value.to_owned()));
    }

    /// It is started by this.
    pub(super) fn wrap(&mut self, wrapper: Vec<String>) {
        self.wrapper.extend(wrapper);
    }

    /// Where it is asked, or was.
    pub(super) fn door(&self) -> Door {
        let nowhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);
        let door = self.door.read().unwrap_or_else(PoisonError::into_inner).clone();
        door.unwrap_or_else(|| Door { public: nowhere, management: nowhere, token: String::new() })
    }

    /// Starts it once, and waits until it listens.
    pub(super) async fn start(&self) -> Result<(), String> {
        let (process, log) = self.launch().map_err(|error| error.to_string())?;
        let since = moment();
        loop {
            let text = fs::read_to_string(self.folder.path().join(&log)).unwrap_or_default();
            if let Some(door) = self.opened(process, &text) {
                *self.door.write().unwrap_or_else(PoisonError::into_inner) = Some(door);
                return Ok(());
            }
            let took = Duration::from_nanos(moment() - since);
            if has_ended(process) || took > START {
                self.kill();
                return Err(format!("node {} did not start: {}", self.number, tail(&text)));
            }
            sleep(PAUSE).await;
        }
    }

    /// Starts it as often as it takes: what it needs may not be there yet. Gives up after a while.
    pub(super) async fn revive(&self) -> Result<(), String> {
        let since = moment();
        loop {
            match self.start().await {
                Err(why) if Duration::from_nanos(moment() - since) > START => return Err(why),
                Err(_) => sleep(20 * PAUSE).await,
                Ok(()) => return Ok(()),
            }
        }
    }

    /// Runs another command of the program on its folder.
    pub(super) fn command(&self, arguments: &[&str]) -> Result<(), String> {
        let mut command = Command::new(KICKOUT);
        command.args(arguments).env_clear().env("KICKOUT__DATA_DIR", self.data()).current_dir(self.folder.path());
        let settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let output = command.envs(settings).stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
        let words = || format!("kickout {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        if output.status.success() { Ok(()) } else { Err(words()) }
    }

    fn launch(&self) -> std::io::Result<(u32, String)> {
        let mut life = self.life.lock().unwrap_or_else(PoisonError::into_inner);
        life.launches += 1;
        let log = format!("log-{}", life.launches);
        let mut command = Command::new("/bin/sh");
        command.args(["-c", KEEPER, "keeper"]).arg(self.folder.path()).arg(&log);
        command.args(&self.wrapper).arg(KICKOUT);
        command.env_clear().current_dir(self.folder.path());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("KICKOUT__DATA_DIR", self.data());
        let settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut keeper =
            command.envs(settings).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let pipe = keeper.stdin.take().ok_or_else(|| std::io::Error::other("no pipe"))?;
        let mut said = String::new();
        if let Some(stdout) = keeper.stdout.take() {
            BufReader::new(stdout).read_line(&mut said)?;
        }
        let process = said.trim().parse().map_err(std::io::Error::other)?;
        life.running = Some(Running { keeper, pipe, process });
        Ok((process, log))
    }

    /// Where a process says that it listens.
    fn opened(&self, process: u32, log: &str) -> Option<Door> {
        let said = log.lines().find_map(|line| line.trim().strip_prefix("http ")?.trim().split_once("://"))?;
        let announced = instance::announced(&self.data()).ok()??;
        let public = said.1.parse().ok()?;
        let door = Door { public, management: announced.management, token: announced.token.clone() };
        (announced.pid == process).then_some(door)
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Whether its process is there, running or standing still.
    pub(super) fn is_alive(&self) -> bool {
        self.process().is_some_and(|process| !has_ended(process))
    }

    fn process(&self) -> Option<u32> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner).running.as_ref().map(|running| running.process)
    }

    /// Sends it a signal, if it is there.
    pub(super) fn signal(&self, signal: Signal) {
        let process = self.process().and_then(|process| Pid::from_raw(i32::try_from(process).ok()?));
        if let Some(process) = process {
            // It may have ended meanwhile: then nobody is left to be told.
            let _ = kill_process(process, signal);
        }
    }

    /// Ends it as a power cut would.
    pub(super) fn kill(&self) {
        let running = self.life.lock().unwrap_or_else(PoisonError::into_inner).running.take();
        if let Some(Running { mut keeper, mut pipe, .. }) = running {
            let _ = pipe.write_all(b"stop\n");
            let _ = keeper.wait();
        }
    }

    /// Asks it to stop, and waits until it has; after a while it is killed.
    pub(super) async fn stop(&self) {
        self.signal(Signal::TERM);
        let since = moment();
        while self.is_alive() && Duration::from_nanos(moment() - since) < START {
            sleep(PAUSE).await;
        }
        self.kill();
    }

    /// The end of what its last process has said.
    pub(super) fn last_words(&self) -> String {
        let launches = self.life.lock().unwrap_or_else(PoisonError::into_inner).launches;
        let log = self.folder.path().join(format!("log-{launches}"));
        tail(&fs::read_to_string(log).unwrap_or_default())
    }

    /// Keeps all that its processes have said.
    pub(super) fn keep_logs(&self, folder: &Path) -> std::io::Result<()> {
        let launches = self.life.lock().unwrap_or_else(PoisonError::into_inner).launches;
        for launch in 1..=launches {
            let kept = folder.join(format!("node-{}-{launch}.log", self.number));
            fs::copy(self.folder.path().join(format!("log-{launch}")), kept)?;
        }
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether a child of a keeper has ended: the keeper does not look at it before it is told to.
fn has_ended(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z') || rest.starts_with('X'))
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
