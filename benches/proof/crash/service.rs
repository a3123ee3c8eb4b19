//! One folder, the program that works in it, and a line to that program on which nothing is sure to be answered.

use std::{
    fs::File,
    net::SocketAddr,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use http::Method;
use kickout::{clock::Clock, instance};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::{
    Failure,
    support::{operator::KICKOUT, process::LIMITS},
};

/// How long a start may take that is to succeed by itself; on a busy machine, of an unoptimised build.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(30);

/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Between two looks at what will be there in milliseconds.
const LOOK: Duration = Duration::from_millis(1);

/// As much as is shown of what a process has said.
const LAST_LINES: usize = 12;

/// A working directory with a data folder that the first start makes. Removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    root: TempDir,
    data: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Result<Self, Failure> {
        let root = tempfile::Builder::new().prefix("kickout-crash-").tempdir()?;
        let data = root.path().join("data");
        Ok(Self { root, data })
    }

    /// With its data folder elsewhere.
    pub(crate) fn on(data: &Path) -> Result<Self, Failure> {
        Ok(Self { data: data.to_owned(), ..Self::new()? })
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Everything default but the ports and the limits of tries.
    fn command(&self) -> Command {
        let mut command = Command::new(KICKOUT);
        command.env_clear().current_dir(self.root.path()).env("KICKOUT__DATA_DIR", &self.data);
        for limit in LIMITS {
            command.env(format!("KICKOUT__LIMITS__{limit}"), "100000");
        }
        command.env("KICKOUT__HTTP__LISTEN", "127.0.0.1:0").env("KICKOUT__MANAGEMENT__LISTEN", "127.0.0.1:0");
        command.stdin(Stdio::null());
        command
    }

    /// Starts a command; without arguments it serves. What it says is read from files of its name.
    pub(crate) fn start(&self, arguments: &[&str]) -> Result<Program, Failure> {
        let name = arguments.first().copied().unwrap_or("serve");
        let page = |kind: &str| self.root.path().join(format!("{name}.{kind}"));
        let (stdout, stderr) = (page("out"), page("err"));
        let child =
            self.command().args(arguments).stdout(File::create(&stdout)?).stderr(File::create(&stderr)?).spawn()?;
        Ok(Program { child, stdout, stderr, data: self.data.clone() })
    }
}

/// A running program. Killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    data: PathBuf,
}

impl Program {
    /// Ends it where it is. Returns whether it still ran.
    pub(crate) fn kill_9(&mut self) -> Result<bool, Failure> {
        if self.child.try_wait()?.is_some() {
            return Ok(false);
        }
        self.child.kill()?;
        Ok(self.child.wait()?.signal() == Some(9))
    }

    /// Whether it has ended by itself, and well.
    pub(crate) fn has_succeeded(&mut self) -> Result<bool, Failure> {
        Ok(self.child.try_wait()?.is_some_and(|status| status.success()))
    }

    /// Asks it to stop.
    pub(crate) fn terminate(&self) -> Result<(), Failure> {
        let process = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        let process = process.ok_or("not a process")?;
        Ok(rustix::process::kill_process(process, rustix::process::Signal::TERM)?)
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(&mut self) -> Result<ExitStatus, Failure> {
        let begun = Clock::System.boottime();
        while Clock::System.boottime().since(begun) < START_LIMIT {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            sleep(LOOK).await;
        }
        Err("it does not end".into())
    }

    /// Waits until it is ready: by itself, and within the bound.
    pub(crate) async fn ready(&mut self) -> Result<Line, Failure> {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(ANSWER_LIMIT)
            .build()?;
        let begun = Clock::System.boottime();
        let mut line = None;
        while Clock::System.boottime().since(begun) < START_LIMIT {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("it does not start again: {status}\n{}", self.said()).into());
            }
            if line.is_none() {
                line = self.line(&http);
            }
            if let Some(line) = &line
                && line.manage(Method::GET, "/readyz").await.is_some_and(|said| said.status == 200)
            {
                return Ok(line.clone());
            }
            sleep(LOOK).await;
        }
        Err(format!("not ready within {START_LIMIT:?}\n{}", self.said()).into())
    }

    /// Where this very process listens, once it has said so.
    fn line(&self, http: &reqwest::Client) -> Option<Line> {
        let announced = instance::announced(&self.data).ok()??;
        if announced.pid != self.child.id() {
            return None;
        }
        let banner = std::fs::read_to_string(&self.stdout).ok()?;
        let public = banner
            .lines()
            .find_map(|line| line.trim().strip_prefix("http ")?.trim().split_once("://")?.1.parse().ok())?;
        Some(Line { http: http.clone(), public, management: announced.management, token: announced.token.clone() })
    }

    /// The last that it has written.
    pub(crate) fn said(&self) -> String {
        let text = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        let all = text(&self.stdout) + &text(&self.stderr);
        let lines: Vec<&str> = all.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }

    /// What it has answered: the one line of a command.
    pub(crate) fn answer(&self) -> Value {
        let text = std::fs::read_to_string(&self.stdout).unwrap_or_default();
        serde_json::from_str(text.trim()).unwrap_or_default()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How one process is asked.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    http: reqwest::Client,
    public: SocketAddr,
    management: SocketAddr,
    token: String,
}

/// An answer that came as a whole.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Said {
    /// A member of the body that is a text.
    pub(crate) fn text(&self, member: &str) -> Result<String, Failure> {
        let text = self.body[member].as_str().map(str::to_owned);
        text.ok_or_else(|| format!("no {member} in {self:?}").into())
    }
}

impl Line {
    /// Asks the public listener. `None`: there was no answer, and what was asked may have been done.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> Option<Said> {
        self.send(self.public, method, path, token, body).await
    }

    /// Asks for an operator's act, with the token that the server has left for its operator.
    pub(crate) async fn command(&self, command: &Value) -> Option<Said> {
        self.send(self.management, Method::POST, "/v1/admin/commands", Some(&self.token), Some(command)).await
    }

    /// Asks the management listener for what everybody may see.
    pub(crate) async fn manage(&self, method: Method, path: &str) -> Option<Said> {
        self.send(self.management, method, path, None, None).await
    }

    /// A figure of the metrics, by the whole name of its series.
    pub(crate) async fn metric(&self, series: &str) -> Option<f64> {
        let url = format!("http://{}/metrics", self.management);
        let text = self.http.get(url).send().await.ok()?.text().await.ok()?;
        text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
    }

    async fn send(
        &self,
        to: SocketAddr,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> Option<Said> {
        let mut request = self.http.request(method, format!("http://{to}{path}"));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        let bytes = response.bytes().await.ok()?;
        Some(Said { status, body: serde_json::from_slice(&bytes).unwrap_or_default() })
    }
}
