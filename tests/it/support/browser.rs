//! A real browser: headless Chromium, driven by the protocol `WebDriver`.
//!
//! The protocol is six small JSON requests here, so it is spoken with the HTTP client that the tests have anyway; the
//! crates for it bring a dozen others.
//!
//! The driver runs under a shell that holds the other end of a pipe from this process. When the pipe closes, however
//! this process ended, the shell kills the driver and its browser and removes their folder.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{client::text, tls::Pair, wait::eventually};

/// The driver leads a process group, and the browser that it starts stays in it. Killed processes are still on their
/// way out when the folder goes, and may write to it once more.
const KEEPER: &str = r#"
trap '' INT TERM HUP
folder=$1; shift
setsid "$@" >"$folder/log" 2>&1 &
driver=$!
read -r word
kill -KILL -$driver
wait $driver
for try in 1 2 3 4 5 6 7 8 9 10; do
    rm -rf "$folder" && break
    sleep 0.2
done 2>/dev/null
"#;

/// How long a page, a script or the browser's start may take on the busiest machine.
pub(crate) const LIMIT: Duration = Duration::from_mins(1);

/// How long a browser may take to end in good order before it is killed.
const GOODBYE: Duration = Duration::from_secs(5);

/// What the browser is started with, beside its folder. It speaks to nobody but this machine: names below `test` are
/// this machine, and other names do not exist.
const ARGUMENTS: [&str; 13] = [
    "--headless=new",
    // Its sandbox does not work for root, nor in most containers; it sees pages of ours alone.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    // Containers have a small /dev/shm.
    "--disable-dev-shm-usage",
    "--disable-crash-reporter",
    "--no-proxy-server",
    // Tabs that are not in front work at the same pace.
    "--disable-renderer-backgrounding",
    "--host-resolver-rules=MAP *.test 127.0.0.1, MAP localhost 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
];

/// A browser with a profile of its own, and one tab at first. Ended when it is dropped.
#[derive(Debug)]
pub(crate) struct Browser {
    http: reqwest::Client,
    driver: SocketAddr,
    session: String,
    keeper: Keeper,
}

/// A tab of a browser, by the name that the driver has given it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tab(String);

/// A cookie as the browser keeps it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Cookie {
    pub(crate) name: String,
    pub(crate) value: String,
    /// With a dot in front if sibling hosts get it, too.
    pub(crate) domain: String,
    pub(crate) path: String,
    pub(crate) secure: bool,
    pub(crate) http_only: bool,
    pub(crate) same_site: Option<String>,
    /// Whether it ends with the browser.
    pub(crate) session: bool,
}

impl Browser {
    /// Starts a browser that takes [`Pair::shared`] for a good certificate.
    pub(crate) async fn start() -> Self {
        let keeper = Keeper::start();
        let mut port = None;
        eventually!(
            {
                port = keeper.port();
                port.is_some()
            },
            LIMIT
        );
        let driver = SocketAddr::from((Ipv4Addr::LOCALHOST, port.expect("it was waited for")));
        // Longer than what the driver itself gives up after.
        let http = reqwest::Client::builder().no_proxy().timeout(LIMIT * 2).build().expect("a client");
        let mut browser = Self { http, driver, session: String::new(), keeper };
        let profile = format!("--user-data-dir={}", browser.keeper.folder.join("profile").display());
        let spki = format!("--ignore-certificate-errors-spki-list={}", Pair::shared().spki());
        let arguments: Vec<&str> = ARGUMENTS.into_iter().chain([&*profile, &*spki]).collect();
        let limit = u64::try_from(LIMIT.as_millis()).expect("a minute");
        let wanted = json!({
            "goog:chromeOptions": {"args": arguments},
            "timeouts": {"script": limit, "pageLoad": limit},
        });
        let wanted = json!({"capabilities": {"alwaysMatch": wanted}});
        let begun = browser.ask(Method::POST, "/session", &wanted).await;
        let begun = begun.unwrap_or_else(|error| panic!("no browser: {error}\n{}", browser.keeper.log()));
        browser.session = text(&begun["sessionId"]);
        browser
    }

    /// Goes to an address in the tab that is in front, and waits until the page has loaded.
    pub(crate) async fn open(&self, url: &str) {
        self.try_open(url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
    }

    /// Goes to an address where there may be nothing. Gives what stands in the way.
    pub(crate) async fn try_open(&self, url: &str) -> Result<(), String> {
        self.command("/url", json!({"url": url})).await.map(drop)
    }

    /// Runs the body of a function in the page, and gives what it returns; a promise is waited for. `arguments` is a
    /// list.
    pub(crate) async fn run(&self, script: &str, arguments: Value) -> Value {
        self.try_run(script, arguments).await.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// Runs it where the page may be about to go away.
    pub(crate) async fn try_run(&self, script: &str, arguments: Value) -> Result<Value, String> {
        self.command("/execute/sync", json!({"script": script, "args": arguments})).await
    }

    /// Opens another tab and brings it to the front.
    pub(crate) async fn new_tab(&self) -> Tab {
        let made = self.command("/window/new", json!({"type": "tab"})).await.expect("a tab");
        let tab = Tab(text(&made["handle"]));
        self.switch(&tab).await;
        tab
    }

    /// The tab that is in front.
    pub(crate) async fn tab(&self) -> Tab {
        let handle = self.ask(Method::GET, &format!("/session/{}/window", self.session), &Value::Null).await;
        Tab(text(&handle.expect("a tab")))
    }

    /// Brings a tab to the front.
    pub(crate) async fn switch(&self, tab: &Tab) {
        self.command("/window", json!({"handle": tab.0})).await.expect("the tab is there");
    }

    /// All cookies, of whatever host and path, by name. The standard's own command shows those that belong to the
    /// address in front alone, and those with a path of the API do not.
    pub(crate) async fn cookies(&self) -> BTreeMap<String, Cookie> {
        let kept = self.command("/goog/cdp/execute", json!({"cmd": "Storage.getCookies", "params": {}})).await;
        let kept = kept.expect("cookies")["cookies"].take();
        let kept: Vec<Cookie> = serde_json::from_value(kept).expect("cookies");
        let count = kept.len();
        let named: BTreeMap<String, Cookie> = kept.into_iter().map(|cookie| (cookie.name.clone(), cookie)).collect();
        assert_eq!(named.len(), count, "a name twice: {named:?}");
        named
    }

    /// Forgets all cookies.
    pub(crate) async fn forget(&self) {
        let forget = json!({"cmd": "Storage.clearCookies", "params": {}});
        self.command("/goog/cdp/execute", forget).await.expect("they are forgotten");
    }

    async fn command(&self, path: &str, body: Value) -> Result<Value, String> {
        self.ask(Method::POST, &format!("/session/{}{path}", self.session), &body).await
    }

    /// One command, and the value of its answer.
    async fn ask(&self, method: Method, path: &str, body: &Value) -> Result<Value, String> {
        let mut request = self.http.request(method, format!("http://{}{path}", self.driver));
        if !body.is_null() {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(|error| format!("{error:?}"))?;
        let is_done = answer.status().is_success();
        let value = answer.json::<Value>().await.map_err(|error| format!("{error:?}"))?["value"].take();
        if is_done { Ok(value) } else { Err(format!("{}: {}", value["error"], value["message"])) }
    }

    /// Lets the browser end by itself, as far as it will.
    fn say_goodbye(&self) -> io::Result<()> {
        let mut link = TcpStream::connect_timeout(&self.driver, GOODBYE)?;
        link.set_read_timeout(Some(GOODBYE))?;
        write!(link, "DELETE /session/{} HTTP/1.1\r\nHost: {}\r\n\r\n", self.session, self.driver)?;
        link.read_exact(&mut [0])
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Whoever is not done then is killed.
        let _ = self.say_goodbye();
    }
}

/// The shell around the driver.
#[derive(Debug)]
struct Keeper {
    folder: PathBuf,
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Keeper {
    fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("kickout-browser-").tempdir().expect("a folder").keep();
        let mut shell = Command::new("/bin/sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(&folder)
            .args(["chromedriver", "--port=0"])
            // Whatever the browser keeps outside of its profile goes with the folder, too.
            .env("HOME", &folder)
            .env("TMPDIR", &folder)
            .env_remove("DISPLAY")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // Where it would say that its child was killed.
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let pipe = shell.stdin.take();
        Self { folder, shell, pipe }
    }

    /// Where the driver listens, once it does.
    fn port(&self) -> Option<u16> {
        let log = self.log();
        let is_missing = ["not found", "No such file"].iter().any(|words| log.contains(words));
        assert!(!is_missing, "the package chromium-driver is needed: {log}");
        let line = log.lines().find_map(|line| line.strip_prefix("ChromeDriver was started successfully on port "));
        line?.strip_suffix('.')?.parse().ok()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.shell.wait();
    }
}
