//! A PostgreSQL of our own: one server for all tests of this process, a fresh database for each, or a server of its own
//! for a test that stops it.
//!
//! The server runs under a shell that holds the other end of a pipe from this process. When the pipe closes, however
//! this process ended, the shell stops the server and removes its folder.

use std::{
    fs,
    io::Write,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use sqlx::{Connection, PgConnection};

use super::system::{self, as_nobody};

/// Ends by the word "stop": the server is to come back. Ends without: nobody needs it any more.
const KEEPER: &str = r#"
trap '' INT TERM HUP
folder=$1; shift
"$@" >"$folder/log" 2>&1 &
server=$!
read -r word
kill -INT $server
wait $server
[ "$word" = stop ] || rm -rf "$folder"
"#;

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    folder: PathBuf,
    port: u16,
    keeper: Mutex<Option<(Child, ChildStdin)>>,
    environment: Mutex<Vec<(String, String)>>,
}

static SHARED: OnceLock<Server> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

impl Server {
    /// The one that this process's tests share.
    pub(crate) fn shared() -> &'static Self {
        SHARED.get_or_init(Self::start)
    }

    /// Another one.
    pub(crate) fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("kickout-postgres-").tempdir().expect("a folder").keep();
        system::give_to_nobody(&folder).expect("a folder of ours");
        let made = as_nobody(&program("initdb"))
            .args(["--username=kickout", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--pgdata"])
            .arg(folder.join("data"))
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
        let server = Self { folder, port, keeper: Mutex::new(None), environment: Mutex::default() };
        server.resume();
        server
    }

    /// Starts it (again).
    pub(crate) fn resume(&self) {
        let mut keeper = as_nobody(Path::new("/bin/sh"))
            .args(["-c", KEEPER, "keeper"])
            .arg(&self.folder)
            .arg("env")
            .args(self.environment.lock().unwrap().iter().map(|(name, value)| format!("{name}={value}")))
            .arg(program("postgres"))
            .arg("-D")
            .arg(self.folder.join("data"))
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-k", ""])
            // No disk here survives a test; what must be durable is another matter.
            .args(["-c", "fsync=off", "-c", "max_connections=300", "-c", "shared_buffers=32MB"])
            .stdin(Stdio::piped())
            // Where it would say that its child was killed.
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let pipe = keeper.stdin.take().expect("a pipe");
        *self.keeper.lock().unwrap() = Some((keeper, pipe));
        for _ in 0..600 {
            if TcpListener::bind(("127.0.0.1", self.port)).is_err() && self.is_ready() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{}", fs::read_to_string(self.folder.join("log")).unwrap_or_default());
    }

    /// Stops it, as a restart of its machine would: all its connections end.
    pub(crate) fn stop(&self) {
        if let Some((mut keeper, mut pipe)) = self.keeper.lock().unwrap().take() {
            pipe.write_all(b"stop\n").expect("a keeper");
            keeper.wait().expect("a child");
        }
    }

    /// Kills all its processes at once. What the system has been given is kept; this is no loss of power.
    pub(crate) fn kill_9(&self) {
        let file = fs::read_to_string(self.folder.join("data").join("postmaster.pid")).unwrap_or_default();
        let parent = file.lines().next().unwrap_or_default().to_owned();
        let children = Command::new("ps").args(["-o", "pid=", "--ppid", &parent]).output().expect("ps(1)");
        let children = String::from_utf8_lossy(&children.stdout).into_owned();
        // The parent first, so that it starts no more.
        let mut kill = Command::new("kill");
        kill.arg("-KILL").arg(&parent).args(children.split_whitespace());
        // Children end by themselves when they see it: then there is nobody to kill.
        kill.stderr(Stdio::null()).status().expect("kill(1)");
        let has_ended = |process: &str| {
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
        };
        // One that is still there would keep its memory from the next server.
        while !children.split_whitespace().all(has_ended) {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.stop();
    }

    /// What is in the environment of the server, and of nothing else that starts it, from its next start on.
    pub(crate) fn set_environment(&self, environment: Vec<(String, String)>) {
        *self.environment.lock().unwrap() = environment;
    }

    /// Puts a copy of everything aside. It must be stopped.
    pub(crate) fn back_up(&self) {
        self.copy("data", "backup");
    }

    /// Makes everything what it was when it was backed up. It must be stopped.
    pub(crate) fn restore(&self) {
        self.copy("backup", "data");
    }

    fn copy(&self, from: &str, to: &str) {
        assert!(self.keeper.lock().unwrap().is_none(), "it still runs");
        let (from, to) = (self.folder.join(from), self.folder.join(to));
        let _ = fs::remove_dir_all(&to);
        // As whom the server runs, or the copy would not be its own.
        let copied = as_nobody(Path::new("/bin/cp")).arg("-a").args([from, to]).status();
        assert!(copied.expect("cp(1)").success());
    }

    fn is_ready(&self) -> bool {
        system::is_postgres_ready(&self.folder.join("data"))
    }

    /// The URL of a database.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://kickout@127.0.0.1:{}/{database}", self.port)
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A fresh database; its URL.
    pub(crate) async fn database(&self) -> String {
        let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        run(&self.url("postgres"), &format!("CREATE DATABASE {name} TEMPLATE template0")).await;
        self.url(&name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some((mut keeper, pipe)) = self.keeper.lock().unwrap().take() {
            drop(pipe);
            let _ = keeper.wait();
        } else {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// Runs statements in a database, on a connection of its own.
pub(crate) async fn run(url: &str, statements: &str) {
    let mut connection = PgConnection::connect(url).await.expect("a server");
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements.to_owned())).execute(&mut connection).await.expect(statements);
    connection.close().await.expect("a server");
}

/// A transaction that has run statements and holds their locks until it is dropped.
pub(crate) async fn begin(url: &str, statements: &str) -> PgConnection {
    let mut connection = PgConnection::connect(url).await.expect("a server");
    let statements = format!("BEGIN; {statements}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements)).execute(&mut connection).await.expect("it begins");
    connection
}

/// A number that a statement gives, asked on a connection of its own.
pub(crate) async fn number(url: &str, statement: &str) -> i64 {
    let mut connection = PgConnection::connect(url).await.expect("a server");
    let asked = sqlx::query_scalar(sqlx::AssertSqlSafe(statement.to_owned()));
    let number = asked.fetch_one(&mut connection).await.expect(statement);
    connection.close().await.expect("a server");
    number
}

fn program(name: &str) -> PathBuf {
    system::postgres(name).unwrap_or_else(|| panic!("{name} is missing: apt-get install postgresql"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_is_killed_comes_back_with_what_it_had_and_in_its_next_environment() {
        let server = Server::start();
        let url = server.database().await;
        run(&url, "CREATE TABLE things (n int); INSERT INTO things VALUES (1)").await;
        server.set_environment(vec![("KICKOUT_MARK".to_owned(), "here".to_owned())]);
        server.kill_9();
        assert!(PgConnection::connect(&url).await.is_err());
        server.resume();
        assert_eq!(number(&url, "SELECT count(*) FROM things").await, 1);
        let file = fs::read_to_string(server.folder.join("data").join("postmaster.pid")).unwrap();
        let environment = fs::read(format!("/proc/{}/environ", file.lines().next().unwrap())).unwrap();
        assert!(environment.split(|byte| *byte == 0).any(|word| word == b"KICKOUT_MARK=here"));
    }

    #[tokio::test]
    async fn a_restored_server_has_what_it_had_then_and_no_more() {
        let server = Server::start();
        let url = server.database().await;
        run(&url, "CREATE TABLE things (n int); INSERT INTO things VALUES (1)").await;
        server.stop();
        server.back_up();
        for _ in 0..2 {
            server.resume();
            run(&url, "INSERT INTO things VALUES (2)").await;
            assert_eq!(number(&url, "SELECT count(*) FROM things").await, 2);
            server.stop();
            server.restore();
        }
        server.resume();
        assert_eq!(number(&url, "SELECT count(*) FROM things").await, 1);
    }
}
