//! A Redis of a test's own, which it can stop, pause and flush.
//!
//! The server runs under a shell that holds the other end of a pipe from this process. When the pipe closes, however
//! this process ended, the shell kills the server and removes its folder.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::Mutex,
    time::Duration,
};

use deadpool_redis::redis::{Client, Value, cmd};

/// Ends by the word "stop": the server is to come back. Ends without: nobody needs it any more. A server that is paused
/// is killed as well.
const KEEPER: &str = r#"
trap '' INT TERM HUP
folder=$1; shift
"$@" >"$folder/log" 2>&1 &
server=$!
echo $server
read -r word
kill -KILL $server
wait $server
[ "$word" = stop ] || rm -rf "$folder"
"#;

/// How long one command of a test's own may take.
const LIMIT: Duration = Duration::from_secs(10);

/// A server. It keeps nothing: it is empty after a stop.
#[derive(Debug)]
pub(crate) struct Redis {
    folder: PathBuf,
    port: u16,
    arguments: Vec<String>,
    password: Option<String>,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    keeper: Child,
    pipe: ChildStdin,
    server: u32,
}

impl Redis {
    pub(crate) fn start() -> Self {
        Self::with_args(&[])
    }

    /// One with arguments of the test's own, such as `--requirepass`.
    pub(crate) fn with_args(arguments: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("kickout-redis-").tempdir().expect("a folder").keep();
        let password = arguments.iter().position(|argument| *argument == "--requirepass");
        let mut redis = Self {
            folder,
            port: 0,
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            password: password.map(|at| arguments[at + 1].to_owned()),
            running: Mutex::new(None),
        };
        // Somebody else can take a port before the server does.
        for _ in 0..10 {
            redis.port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
            if redis.launch() {
                return redis;
            }
        }
        panic!("{}", redis.log());
    }

    /// Starts it again, empty, where it was.
    pub(crate) fn resume(&self) {
        assert!(self.launch(), "{}", self.log());
    }

    /// Whether it got its port.
    fn launch(&self) -> bool {
        // What an earlier one has said there would be taken for this one's words.
        let _ = fs::remove_file(self.folder.join("log"));
        let mut keeper = Command::new("/bin/sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(&self.folder)
            .args(["redis-server", "--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--enable-debug-command", "local", "--dir"])
            .arg(&self.folder)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Where it would say that its child was killed.
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let pipe = keeper.stdin.take().expect("a pipe");
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().expect("a pipe")).read_line(&mut line).expect("a keeper");
        let server = line.trim().parse().expect("a process");
        *self.running.lock().unwrap() = Some(Running { keeper, pipe, server });
        for _ in 0..600 {
            let log = self.log();
            if log.contains("Ready to accept connections") {
                return true;
            }
            if log.contains("Address already in use") {
                self.stop();
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{}", self.log());
    }

    /// Kills it: its connections end, and what it held is gone.
    pub(crate) fn stop(&self) {
        if let Some(Running { mut keeper, mut pipe, .. }) = self.running.lock().unwrap().take() {
            pipe.write_all(b"stop\n").expect("a keeper");
            keeper.wait().expect("a child");
        }
    }

    /// Stops its process where it is: its connections stay open and nothing is answered.
    pub(crate) fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub(crate) fn unpause(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let server = self.running.lock().unwrap().as_ref().expect("it runs").server;
        let sent = Command::new("kill").args([format!("-{name}"), server.to_string()]).status();
        assert!(sent.expect("kill(1)").success(), "{name}");
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Its URL, with the password if it has one.
    pub(crate) fn url(&self) -> String {
        let password = self.password.as_ref().map(|password| format!(":{password}@")).unwrap_or_default();
        format!("redis://{password}127.0.0.1:{}", self.port)
    }

    /// What a command answers, on a connection of its own. It must succeed.
    pub(crate) fn command(&self, words: &[&str]) -> Value {
        let client = Client::open(self.url()).expect("a URL");
        let mut connection = client.get_connection_with_timeout(LIMIT).expect("a server");
        connection.set_read_timeout(Some(LIMIT)).expect("a timeout");
        let mut command = cmd(words[0]);
        for word in &words[1..] {
            command.arg(word);
        }
        command.query(&mut connection).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// The text that a command answers.
    pub(crate) fn text(&self, words: &[&str]) -> String {
        match self.command(words) {
            Value::BulkString(bytes) => String::from_utf8(bytes).expect("text"),
            Value::VerbatimString { text, .. } | Value::SimpleString(text) => text,
            Value::Int(number) => number.to_string(),
            Value::Okay => "OK".to_owned(),
            Value::Nil => String::new(),
            other => panic!("{words:?}: {other:?}"),
        }
    }

    /// How often each command was called since the last `CONFIG RESETSTAT`, by name.
    pub(crate) fn calls(&self) -> Vec<(String, u64)> {
        let stats = self.text(&["INFO", "commandstats"]);
        let call = |line: &str| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
        };
        stats.lines().filter_map(call).collect()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(Running { mut keeper, pipe, .. }) = self.running.lock().unwrap().take() {
            drop(pipe);
            let _ = keeper.wait();
        } else {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}
