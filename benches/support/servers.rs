//! Servers of our own: PostgreSQL as it is shipped, durable commits included, and Redis, each on a free port.
//!
//! A server runs under a shell that holds the other end of a pipe from this process. When the pipe closes, however
//! this process ended, the shell stops the server and removes its folder. A server can be stopped and come back on its
//! port: PostgreSQL with what it had, Redis empty.

use std::{
    fs,
    io::Write as _,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use sqlx::{Connection as _, PgConnection};

use super::system::{as_nobody, give_to_nobody, is_postgres_ready, postgres};
use crate::Failure;

/// Ends by the word "stop": the server is to come back. Ends without: nobody needs it any more.
const KEEPER: &str = r#"
trap '' INT TERM HUP
folder=$1; shift
"$@" >"$folder/log" 2>&1 &
server=$!
echo $server >"$folder/pid"
read -r word
kill -INT $server
wait $server
[ "$word" = stop ] || rm -rf "$folder" 2>/dev/null
"#;

/// The kernel counts processor time for `/proc` in hundredths of a second (`USER_HZ`), on every architecture.
const TICK_US: u64 = 10_000;

/// What differs from a PostgreSQL server as it is shipped: eight nodes may take 10 connections each, and the tests of
/// the bench itself some.
pub(crate) const SETTINGS: [&str; 1] = ["max_connections=200"];

/// A process, and the shell that ends it.
#[derive(Debug)]
struct Kept {
    folder: PathBuf,
    program: PathBuf,
    arguments: Vec<String>,
    /// `None` while it is stopped.
    keeper: Mutex<Option<(Child, ChildStdin)>>,
}

impl Kept {
    fn start(folder: PathBuf, program: PathBuf, arguments: Vec<String>) -> Result<Self, Failure> {
        let kept = Self { folder, program, arguments, keeper: Mutex::new(None) };
        kept.launch()?;
        Ok(kept)
    }

    fn launch(&self) -> Result<(), Failure> {
        let mut command = as_nobody(Path::new("/bin/sh"));
        command.args(["-c", KEEPER, "keeper"]).arg(&self.folder).arg(&self.program).args(&self.arguments);
        let mut keeper = command.current_dir("/").stdin(Stdio::piped()).spawn()?;
        let pipe = keeper.stdin.take().ok_or("a shell without a pipe")?;
        *self.keeper.lock().unwrap_or_else(PoisonError::into_inner) = Some((keeper, pipe));
        Ok(())
    }

    /// Ends the server and leaves its folder; when this returns, it has ended.
    fn stop(&self) -> Result<(), Failure> {
        if let Some((mut keeper, mut pipe)) = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take() {
            pipe.write_all(b"stop\n")?;
            drop(pipe);
            keeper.wait()?;
        }
        Ok(())
    }

    /// The server's own process id.
    fn pid(&self) -> Result<u32, Failure> {
        Ok(fs::read_to_string(self.folder.join("pid"))?.trim().parse()?)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some((mut keeper, pipe)) = self.keeper.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            drop(pipe);
            let _ = keeper.wait();
        }
        // Where only we may write beside it, the shell has left the folder itself.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A PostgreSQL server.
#[derive(Debug)]
pub(crate) struct Postgres {
    kept: Kept,
    port: u16,
    databases: AtomicU32,
}

impl Postgres {
    /// A server as it is shipped but for [`SETTINGS`] and `more` of them.
    pub(crate) fn start(more: &[&str]) -> Result<Self, Failure> {
        let folder = folder("kickout-postgres-")?;
        let data = folder.join("data");
        let made = as_nobody(&postgres_program("initdb")?)
            .args(["--username=kickout", "--auth=trust", "--encoding=UTF8", "--locale=C", "--pgdata"])
            .arg(&data)
            .current_dir("/")
            .output()?;
        if !made.status.success() {
            return Err(format!("initdb: {}", String::from_utf8_lossy(&made.stderr)).into());
        }
        let port = free_port()?;
        let mut arguments: Vec<String> = ["-h", "127.0.0.1", "-k", "", "-p"].map(str::to_owned).into();
        arguments.extend([port.to_string(), "-D".to_owned(), data.display().to_string()]);
        for setting in SETTINGS.iter().chain(more) {
            arguments.extend(["-c".to_owned(), (*setting).to_owned()]);
        }
        let kept = Kept::start(folder, postgres_program("postgres")?, arguments)?;
        wait_for(|| is_postgres_ready(&data), || kept.log())?;
        Ok(Self { kept, port, databases: AtomicU32::new(0) })
    }

    /// Stops it as a restart of its machine would: all its connections end.
    pub(crate) fn stop(&self) -> Result<(), Failure> {
        self.kept.stop()
    }

    /// Starts it again, with what it had.
    pub(crate) fn resume(&self) -> Result<(), Failure> {
        self.kept.launch()?;
        let data = self.kept.folder.join("data");
        // The file that says so is gone with an orderly stop, so it is this server's word.
        wait_for(|| is_postgres_ready(&data), || self.kept.log())
    }

    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://kickout@127.0.0.1:{}/{database}", self.port)
    }

    /// A fresh database; its name.
    pub(crate) async fn create(&self) -> Result<String, Failure> {
        let name = format!("bench_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        run(&self.url("postgres"), &format!("CREATE DATABASE {name} TEMPLATE template0")).await?;
        Ok(name)
    }

    /// A copy of a database that nobody is connected to; its name.
    pub(crate) async fn copy(&self, of: &str) -> Result<String, Failure> {
        let name = format!("bench_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        run(&self.url("postgres"), &format!("CREATE DATABASE {name} TEMPLATE {of}")).await?;
        Ok(name)
    }

    /// Removes a database. The server makes a checkpoint for it, which the next measurement is thereby spared.
    pub(crate) async fn drop_database(&self, name: &str) -> Result<(), Failure> {
        run(&self.url("postgres"), &format!("DROP DATABASE {name} WITH (FORCE)")).await
    }

    /// Processor time of all its processes, in microseconds.
    pub(crate) fn cpu_us(&self) -> Result<u64, Failure> {
        let pid = self.kept.pid()?;
        let main = Stat::of(&pid.to_string()).ok_or("PostgreSQL has ended")?;
        let children: u64 = fs::read_dir("/proc")?
            .flatten()
            .filter_map(|entry| Stat::of(entry.file_name().to_str()?))
            .filter(|stat| stat.parent == pid)
            .map(|stat| stat.own)
            .sum();
        // Those that have ended are in what their parent has waited for.
        Ok((main.own + main.of_children + children) * TICK_US)
    }

    /// Its version, and the file system that its commits are durable on.
    pub(crate) async fn describe(&self) -> Result<(String, String), Failure> {
        let mut connection = PgConnection::connect(&self.url("postgres")).await?;
        let version: String = sqlx::query_scalar("SHOW server_version").fetch_one(&mut connection).await?;
        let fsync: String = sqlx::query_scalar("SHOW fsync").fetch_one(&mut connection).await?;
        connection.close().await?;
        if fsync != "on" {
            return Err("fsync is off: nothing of what follows would mean anything".into());
        }
        let system = Command::new("stat").args(["-f", "-c", "%T"]).arg(&self.kept.folder).output()?;
        Ok((version, String::from_utf8_lossy(&system.stdout).trim().to_owned()))
    }
}

/// A Redis server that keeps nothing on disk, as the blocklist needs nothing kept.
#[derive(Debug)]
pub(crate) struct Redis {
    kept: Kept,
    port: u16,
}

impl Redis {
    /// A server; `None` if Redis is not installed.
    pub(crate) fn start() -> Result<Option<Self>, Failure> {
        if Command::new("redis-server").arg("--version").output().is_err() {
            return Ok(None);
        }
        let (folder, port) = (folder("kickout-redis-")?, free_port()?);
        let text = format!("--bind 127.0.0.1 --appendonly no --dir {} --port {port}", folder.display());
        let mut arguments: Vec<String> = text.split(' ').map(str::to_owned).collect();
        arguments.extend(["--save".to_owned(), String::new()]);
        let kept = Kept::start(folder, "redis-server".into(), arguments)?;
        wait_for(|| TcpStream::connect(("127.0.0.1", port)).is_ok(), || kept.log())?;
        Ok(Some(Self { kept, port }))
    }

    /// Stops it: its connections end, and what it held is gone.
    pub(crate) fn stop(&self) -> Result<(), Failure> {
        self.kept.stop()
    }

    /// Starts it again, empty.
    pub(crate) fn resume(&self) -> Result<(), Failure> {
        self.kept.launch()?;
        wait_for(|| TcpStream::connect(("127.0.0.1", self.port)).is_ok(), || self.kept.log())
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its processor time, in microseconds.
    pub(crate) fn cpu_us(&self) -> Result<u64, Failure> {
        Ok(Stat::of(&self.kept.pid()?.to_string()).ok_or("Redis has ended")?.own * TICK_US)
    }

    pub(crate) fn version() -> String {
        let output = Command::new("redis-server").arg("--version").output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        text.split_whitespace().find_map(|word| word.strip_prefix("v=")).unwrap_or_default().to_owned()
    }
}

/// The servers of a run.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) postgres: Postgres,
    pub(crate) redis: Option<Redis>,
}

impl Servers {
    pub(crate) fn start(more: &[&str]) -> Result<Self, Failure> {
        Ok(Self { postgres: Postgres::start(more)?, redis: Redis::start()? })
    }
}

/// Processor time of this process, in microseconds.
pub(crate) fn own_cpu_us() -> u64 {
    Stat::of("self").map_or(0, |stat| stat.own * TICK_US)
}

/// What `/proc/PID/stat` says of a process, in ticks.
struct Stat {
    parent: u32,
    own: u64,
    of_children: u64,
}

impl Stat {
    fn of(pid: &str) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may hold anything, and ends with the last parenthesis. Fields count from there: state, parent, …
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |i: usize| fields.get(i)?.parse::<u64>().ok();
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            own: number(11)? + number(12)?,
            of_children: number(13)? + number(14)?,
        })
    }
}

/// Runs statements on a connection of their own.
pub(crate) async fn run(url: &str, statements: &str) -> Result<(), Failure> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements.to_owned())).execute(&mut connection).await?;
    Ok(connection.close().await?)
}

/// A folder on the disk of the build folder: a temporary file system in memory would make commits too cheap. Where
/// `nobody` cannot come there, it is the system's own place, and the report names the file system.
fn folder(prefix: &str) -> Result<PathBuf, Failure> {
    let build = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let is_reachable = as_nobody(Path::new("/usr/bin/test")).arg("-x").arg(build).status().is_ok_and(|it| it.success());
    let base = if is_reachable { build.to_owned() } else { std::env::temp_dir() };
    let folder = tempfile::Builder::new().prefix(prefix).tempdir_in(base)?.keep();
    give_to_nobody(&folder)?;
    Ok(folder)
}

fn wait_for(is_there: impl Fn() -> bool, log: impl Fn() -> String) -> Result<(), Failure> {
    for _ in 0..600 {
        if is_there() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(format!("a server does not start: {}", log()).into())
}

fn free_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn postgres_program(name: &str) -> Result<PathBuf, Failure> {
    Ok(postgres(name).ok_or_else(|| format!("{name} is missing: apt-get install postgresql"))?)
}
