//! What an operator has: a folder, the program, and the management listener.

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use http::Method;
use kickout::instance;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    answer::{Answer, Receipt},
    process::Process,
    wait::eventually,
};

/// The built program.
pub(crate) const KICKOUT: &str = env!("CARGO_BIN_EXE_kickout");

/// A folder to run the program in, with nothing of the tests' own environment.
#[derive(Debug)]
pub(crate) struct Desk(TempDir);

impl Desk {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    /// The working directory.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// The data folder. Nobody has made it yet.
    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// Any program, in this folder.
    pub(crate) fn shell(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir(self.path());
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command.env("KICKOUT__DATA_DIR", self.data());
        command.env("KICKOUT__HTTP__LISTEN", "127.0.0.1:0").env("KICKOUT__MANAGEMENT__LISTEN", "127.0.0.1:0");
        command
    }

    /// `kickout` with these arguments, separated by spaces.
    pub(crate) fn kickout(&self, arguments: &str) -> Command {
        let mut command = self.shell(KICKOUT);
        command.args(arguments.split_whitespace());
        command
    }

    /// Runs `kickout` to its end.
    pub(crate) async fn run(&self, arguments: &str) -> Outcome {
        outcome(self.kickout(arguments)).await
    }

    /// A new file, or another text in it.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).expect("a file of our own");
        path
    }
}

/// Runs a program to its end, with nothing to read.
pub(crate) async fn outcome(command: Command) -> Outcome {
    Program::start(command, "").outcome().await
}

/// A program that was started. Killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    stdout: Pipe,
    stderr: Pipe,
}

/// The longest command records a hundred thousand ids, in a program that is not optimised: ten seconds on a free machine.
const PATIENCE: Duration = Duration::from_mins(2);

impl Program {
    /// Starts a program that reads `input`.
    pub(crate) fn start(mut command: Command, input: &str) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        // It may end without reading.
        let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
        let stdout = Pipe::read(child.stdout.take().expect("piped"));
        let stderr = Pipe::read(child.stderr.take().expect("piped"));
        Self { child, stdout, stderr }
    }

    /// Waits until it has ended and all that it has written is read.
    pub(crate) async fn outcome(mut self) -> Outcome {
        let mut status = None;
        eventually!(
            {
                status = self.child.try_wait().expect("a child");
                status.is_some() && self.stdout.is_over() && self.stderr.is_over()
            },
            PATIENCE
        );
        let code = status.and_then(|status| status.code());
        Outcome { code, stdout: self.stdout.text(), stderr: self.stderr.text() }
    }

    /// Sends it a signal, by name: `INT`, `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        let sent = Command::new("sh").args(["-c", &kill]).status();
        assert!(sent.expect("a shell").success(), "{kill}");
    }

    pub(crate) fn stdout(&self) -> String {
        self.stdout.text()
    }

    pub(crate) fn stderr(&self) -> String {
        self.stderr.text()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What came out of a pipe so far, and whether it is closed.
#[derive(Debug, Clone, Default)]
struct Pipe(Arc<Mutex<(Vec<u8>, bool)>>);

impl Pipe {
    fn read(mut pipe: impl Read + Send + 'static) -> Self {
        let read = Self::default();
        let copy = read.clone();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut bytes) {
                copy.lock().0.extend_from_slice(&bytes[..count]);
            }
            copy.lock().1 = true;
        });
        read
    }

    fn is_over(&self) -> bool {
        self.lock().1
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.lock().0).into_owned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Vec<u8>, bool)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of a program.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// Asserts that it has failed, on standard error alone, with a message that has all these words.
    #[track_caller]
    pub(crate) fn says(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self}");
        assert_eq!(self.stdout, "", "answers only: {self}");
        assert!(self.stderr.contains("kickout: "), "{self}");
        assert!(!self.stderr.contains("panicked"), "{self}");
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in: {self}");
        }
    }

    /// The one line of standard output.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self}");
        assert_eq!(self.stdout.lines().count(), 1, "one line: {self}");
        assert!(self.stdout.ends_with('\n'), "{self}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    #[track_caller]
    pub(crate) fn receipt(&self) -> Receipt {
        serde_json::from_value(self.json()).unwrap_or_else(|error| panic!("{error}: {self}"))
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit code {:?}\n-- stdout\n{}\n-- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}

/// `kickout` with these arguments on the data folder of a server.
pub(crate) fn beside(process: &Process, arguments: &str) -> Command {
    let mut command = process.command();
    command.args(arguments.split_whitespace());
    command
}

/// Runs such a command to its end.
pub(crate) async fn run(process: &Process, arguments: &str) -> Outcome {
    outcome(beside(process, arguments)).await
}

/// Asks a server's management listener for an operator's act, with the token that it left for its operator.
pub(crate) async fn ask(process: &Process, command: &Value) -> Answer {
    process.manage(Method::POST, "/v1/admin/commands").bearer(&token(process)).json(command).await
}

/// The token of a running server.
pub(crate) fn token(process: &Process) -> String {
    let announced = instance::announced(&process.data()).expect("run.json is readable");
    announced.expect("a server runs").token.clone()
}

/// The receipt of an operator's act.
pub(crate) async fn act(process: &Process, name: &str, member: &str, object: &str) -> Receipt {
    let mut command = json!({"command": name});
    if !member.is_empty() {
        command[member] = object.into();
    }
    let answer = ask(process, &command).await.expect(200).json();
    assert_eq!(answer["answer"], "receipt", "{answer}");
    serde_json::from_value(answer["value"].clone()).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

/// A claim of a token that is a text.
pub(crate) fn claim(token: &str, name: &str) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let part = token.split('.').nth(1).expect("a JWT has claims");
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON");
    claims[name].as_str().unwrap_or_else(|| panic!("no {name}: {claims}")).to_owned()
}

/// A request that may get no answer, because the service is killed meanwhile.
pub(crate) async fn attempt(http: reqwest::Client, url: String, token: String) -> Option<(u16, Vec<u8>)> {
    let request = http.post(url).bearer_auth(token).header("content-type", "application/json").body("{}");
    let response = request.send().await.ok()?;
    let status = response.status().as_u16();
    Some((status, response.bytes().await.ok()?.to_vec()))
}
