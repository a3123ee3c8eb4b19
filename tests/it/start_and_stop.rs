//! The program starts with nothing at all, says what is wrong if it cannot, and stops in two stages.

mod metrics;
mod prometheus;

use std::{
    collections::BTreeSet,
    fs,
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use http::Method;
use kickout::instance;
use serde_json::json;
use sqlx::{Connection, Row, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{
    client::User,
    operator::{Desk, KICKOUT, Outcome, Program, outcome, run},
    process::Process,
    wait::eventually,
};

/// The permission bits of everything in a folder, by relative path; `.` is the folder.
fn modes(folder: &Path) -> Vec<(PathBuf, bool, u32)> {
    let mut found = Vec::new();
    let mut left = vec![folder.to_owned()];
    while let Some(path) = left.pop() {
        let metadata = fs::metadata(&path).unwrap();
        if metadata.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let name = path.strip_prefix(folder).unwrap().to_owned();
        found.push((name, metadata.is_dir(), metadata.permissions().mode() & 0o7777));
    }
    found
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// What a line of the banner says of something.
#[track_caller]
fn said(banner: &str, of: &str) -> String {
    let line = banner.lines().find_map(|line| line.trim().strip_prefix(of)).map(str::trim);
    line.unwrap_or_else(|| panic!("nothing of {of:?} in:\n{banner}")).to_owned()
}

fn only_key(data: &Path) -> PathBuf {
    let mut keys = fs::read_dir(data.join("keys")).unwrap();
    let key = keys.next().expect("there is a key").unwrap().path();
    assert!(keys.next().is_none(), "there is one key");
    key
}

/// Whatever the user's own habits are: a umask that hides nothing changes nothing.
#[tokio::test]
async fn the_first_start_makes_everything_for_its_owner_alone_and_says_where_and_what_to_try() {
    for umask in ["022", "000"] {
        let desk = Desk::new();
        let mut command = desk.shell("sh");
        // No command at all serves.
        command.args(["-c", &format!("umask {umask} && exec {KICKOUT}")]);
        let program = Program::start(command, "");
        eventually!(program.stderr().contains("\"ready\""));
        let data = fs::canonicalize(desk.data()).unwrap();
        let key = only_key(&data);

        let found = modes(&data);
        for (name, is_folder, mode) in &found {
            assert_eq!(*mode, if *is_folder { 0o700 } else { 0o600 }, "{} (umask {umask})", name.display());
        }
        let names: BTreeSet<_> = found.iter().map(|(name, ..)| name.to_str().unwrap()).collect();
        for name in ["", "keys", "kickout.db", "kickout.db-wal", "lock", "run.json", "server.secret"] {
            assert!(names.contains(name), "{name} is not in {names:?}");
        }

        let banner = program.stdout();
        assert!(banner.starts_with("kickout "), "{banner}");
        assert_eq!(said(&banner, "data folder"), data.to_str().unwrap());
        assert_eq!(said(&banner, "database"), data.join("kickout.db").to_str().unwrap());
        assert_eq!(said(&banner, "blocklist:"), "in process");
        let kid = key.file_stem().unwrap().to_str().unwrap();
        assert_eq!(said(&banner, "signing key"), format!("{kid} (EdDSA)"));
        said(&banner, "http ").strip_prefix("http://").unwrap().parse::<SocketAddr>().unwrap();
        assert!(said(&banner, "management").ends_with("(/healthz, /readyz, /metrics)"), "{banner}");

        // What it says to try works as it is printed.
        let (_, printed) = banner.split_once("try:\n").expect("something to try");
        let mut shell = desk.shell("bash");
        shell.args(["-euc", &printed.replace("curl ", "curl --no-progress-meter --fail ")]);
        let tried = outcome(shell).await.expect(0);
        assert_eq!(tried.stdout.matches(r#""username":"demo""#).count(), 3, "signup, login, me: {tried}");

        program.signal("INT");
        program.outcome().await.expect(0);
        let left: BTreeSet<_> = modes(&data).into_iter().map(|(name, ..)| name).collect();
        assert!(!left.contains(Path::new("run.json")), "it takes its word back: {left:?}");
    }
}

#[tokio::test]
async fn a_second_server_on_the_same_folder_is_refused_and_the_first_goes_on() {
    let process = Process::start(&[]).await;
    let alice = process.sign_up("alice").await;
    let folder = fs::canonicalize(process.data()).unwrap();
    for command in ["serve", "migrate"] {
        let words = ["another kickout process works in", folder.to_str().unwrap(), "Stop it first", "data_dir"];
        run(&process, command).await.says(1, &words);
    }
    alice.log_in().await;
    // The word of how commands reach it is still the first one's.
    assert_eq!(instance::announced(&folder).unwrap().expect("a server runs").pid, process.pid());
    run(&process, "user list").await.expect(0);
}

#[tokio::test]
async fn a_port_in_use_is_named_with_the_key_that_changes_it_and_nothing_is_served() {
    let desk = Desk::new();
    let taken = [TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap()];
    let [public, management] = taken.each_ref().map(|taken| taken.local_addr().unwrap().to_string());
    let one = [public.as_str(), "in use", "http.listen", "KICKOUT__HTTP__LISTEN"];
    let other = [management.as_str(), "in use", "management.listen", "KICKOUT__MANAGEMENT__LISTEN"];
    let with = |variables: &[(&str, &str)]| {
        let mut command = desk.kickout("serve");
        command.envs(variables.iter().copied());
        outcome(command)
    };
    let (http, manage) = (("KICKOUT__HTTP__LISTEN", &*public), ("KICKOUT__MANAGEMENT__LISTEN", &*management));
    with(&[http]).await.says(1, &one);
    with(&[manage]).await.says(1, &other);
    let both = with(&[http, manage]).await;
    both.says(1, &one);
    both.says(1, &other);
    drop(taken);
    // Nothing is left behind that stands in the way of the next start.
    let program = Program::start(desk.kickout("serve"), "");
    eventually!(program.stderr().contains("\"ready\""));
}

#[tokio::test]
async fn a_folder_that_cannot_be_worked_in_is_named_with_the_key_that_changes_it() {
    let desk = Desk::new();
    let file = desk.write("file", "");
    // What lies below /proc cannot be made or written, not even by root.
    let cases =
        [(file.as_path(), "be made"), (Path::new("/proc/none/data"), "be made"), (Path::new("/proc"), "be written")];
    for (folder, what) in cases {
        for command in ["serve", "migrate", "keys generate"] {
            let mut command = desk.kickout(command);
            command.env("KICKOUT__DATA_DIR", folder);
            let words = [folder.to_str().unwrap(), what, "set data_dir (KICKOUT__DATA_DIR)"];
            outcome(command).await.says(1, &words);
        }
    }
}

/// A folder that a server has worked in: with users, sessions and revocations.
async fn used() -> Desk {
    let mut process = Process::start(&[]).await;
    let alice = process.sign_up("alice").await;
    for _ in 0..3 {
        alice.log_in().await.log_out().await;
    }
    process.interrupt();
    process.ended().await;
    let desk = Desk::new();
    copy(&process.data(), &desk.data());
    // All of it in the one file, so that no log repairs what a test damages.
    let options = SqliteConnectOptions::new().filename(desk.data().join("kickout.db"));
    let mut database = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut database).await.unwrap();
    database.close().await.unwrap();
    desk
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    set_mode(to, 0o700);
    for (name, is_folder, _) in modes(from) {
        // Folders come before what is in them.
        if is_folder && name != Path::new("") {
            fs::create_dir(to.join(&name)).unwrap();
            set_mode(&to.join(&name), 0o700);
        } else if !is_folder {
            fs::copy(from.join(&name), to.join(&name)).unwrap();
        }
    }
}

#[tokio::test]
async fn a_damaged_database_is_named_with_what_to_do_and_nothing_is_served() {
    let desk = used().await;
    let file = desk.data().join("kickout.db");
    let whole = fs::read(&file).unwrap();
    assert!(whole.windows(5).any(|bytes| bytes == b"alice"), "there is something in it");
    let garbage = b"this was a database once. ".repeat(400);
    let cut = |bytes: usize| whole[..bytes].to_vec();
    // The first page says that it is a database; behind it is nothing of what it speaks of.
    let mut overwritten = whole.clone();
    overwritten[4096..].fill(0x5a);
    let cases = [
        ("garbage", garbage),
        ("cut in half", cut(whole.len() / 2)),
        ("cut within its header", cut(60)),
        ("without its last page", cut(whole.len() - 4096)),
        ("cut within a page", cut(whole.len() / 2 + 100)),
        ("overwritten", overwritten),
    ];
    for (what, bytes) in cases {
        fs::write(&file, &bytes).unwrap();
        for command in ["serve", "user list"] {
            let ended = desk.run(command).await;
            assert!(!ended.stderr.contains("\"ready\""), "{what}: {ended}");
            ended.says(
                1,
                &[file.to_str().unwrap(), "damaged", "restore the database from a backup", "or move the file away"],
            );
        }
        assert_eq!(fs::read(&file).unwrap(), bytes, "it is left as it is, for somebody to look into: {what}");
    }
    fs::write(&file, &whole).unwrap();
    let users = desk.run("user list").await.expect(0);
    assert!(users.stdout.contains("alice"), "{users}");
}

/// Damage that does not show before the revocations themselves are read.
#[tokio::test]
async fn a_ledger_that_cannot_be_read_ends_the_start_with_the_same_words() {
    let desk = used().await;
    let file = desk.data().join("kickout.db");
    let mut bytes = fs::read(&file).unwrap();
    let page = 4096 * (root_page(&file, "revocations").await - 1);
    bytes[page..page + 4096].fill(0x5a);
    fs::write(&file, &bytes).unwrap();
    for command in ["user list", "serve"] {
        let ended = desk.run(command).await.expect(1);
        for words in [file.to_str().unwrap(), "damaged", "restore the database from a backup"] {
            assert!(ended.stderr.contains(words), "{words:?} is not in: {ended}");
        }
    }
}

/// Where a table begins, from 1.
async fn root_page(file: &Path, table: &str) -> usize {
    let options = SqliteConnectOptions::new().filename(file).immutable(true);
    let mut database = SqliteConnection::connect_with(&options).await.unwrap();
    let query = sqlx::query("SELECT rootpage FROM sqlite_master WHERE name = $1").bind(table);
    usize::try_from(query.fetch_one(&mut database).await.unwrap().get::<i64, _>(0)).unwrap()
}

#[tokio::test]
async fn a_damaged_or_exposed_secret_is_named_with_what_to_do() {
    let desk = used().await;
    let (key, secret) = (only_key(&desk.data()), desk.data().join("server.secret"));
    for path in [&key, &secret] {
        let whole = fs::read(path).unwrap();
        for damaged in [&whole[..whole.len() / 2], b"", b"{}"] {
            fs::write(path, damaged).unwrap();
            desk.run("serve").await.says(1, &[path.to_str().unwrap(), "damaged", "from a backup", "or remove it"]);
        }
        fs::write(path, &whole).unwrap();
        for mode in [0o644, 0o640, 0o604] {
            set_mode(path, mode);
            let chmod = format!("chmod 600 {}", path.display());
            desk.run("serve").await.says(1, &["can be read by others", &format!("mode {mode:03o}"), &chmod]);
        }
        // What it says to do is enough.
        let mut chmod = Command::new("chmod");
        chmod.arg("600").arg(path);
        outcome(chmod).await.expect(0);
        desk.run("user list").await.expect(0);
    }
    let keys = desk.data().join("keys");
    set_mode(&keys, 0o777);
    desk.run("serve").await.says(1, &[&format!("chmod 700 {}", keys.display())]);
}

const BAD_FILE: &str = r#"
[http]
listne = "127.0.0.1:0"
request_timeout = "soon"
[tokens]
access_ttl = "15 minutes"
[management]
token = "hunter2"
[htp]
body_limit = 1
"#;

#[tokio::test]
async fn all_that_is_wrong_with_a_configuration_is_said_at_once_with_the_nearest_names_and_no_secret() {
    let desk = Desk::new();
    let file = desk.write("kickout.toml", BAD_FILE);
    let variables = [
        ("KICKOUT__HTTP__LISTN", "127.0.0.1:0"),
        ("KICKOUT__SESSIONS__IDEL", "5d"),
        ("KICKOUT__PASSWORDS__MEMORY_KIB", "1"),
        ("KICKOUT__ACCOUNTS__SIGNUP", "perhaps"),
        ("KICKOUT__DATABASE__URL", "mysql://kickout:hunter2@db/kickout"),
    ];
    let problems = [
        "http.listne (kickout.toml): there is no such key. The nearest name is http.listen",
        "htp (kickout.toml): there is no such key. The nearest name is http",
        "http.request_timeout (kickout.toml): \"soon\" is not a duration",
        "tokens.access_ttl (kickout.toml): \"15 minutes\" is not a duration",
        "management.token (kickout.toml): the value is too short",
        "http.listn (KICKOUT__HTTP__LISTN): there is no such key. The nearest name is KICKOUT__HTTP__LISTEN",
        "sessions.idel (KICKOUT__SESSIONS__IDEL): there is no such key. The nearest name is KICKOUT__SESSIONS__IDLE",
        "passwords.memory_kib (KICKOUT__PASSWORDS__MEMORY_KIB): 1 is out of range",
        "accounts.signup (KICKOUT__ACCOUNTS__SIGNUP): \"perhaps\" is neither true nor false",
        "database.url (KICKOUT__DATABASE__URL): the value begins with none of sqlite:",
    ];
    for arguments in ["serve", "config check", "user list", "keys generate"] {
        let mut command = desk.kickout(arguments);
        command.arg("--config").arg(&file).envs(variables);
        let ended = outcome(command).await;
        let stderr = ended.stderr.replace(file.to_str().unwrap(), "kickout.toml");
        let ended = Outcome { stderr, ..ended };
        ended.says(2, &problems);
        assert_eq!(ended.stderr.lines().count(), problems.len() + 1, "one line each: {ended}");
        assert!(!ended.stderr.contains("hunter2"), "{ended}");
    }
    assert!(!desk.data().exists(), "nothing was made");
}

#[tokio::test]
async fn a_configuration_file_that_is_not_there_is_named_with_what_named_it() {
    let desk = Desk::new();
    desk.run("serve --config nowhere.toml").await.says(2, &["nowhere.toml", "cannot read", "--config"]);
    let mut command = desk.kickout("serve");
    command.env("KICKOUT_CONFIG", "elsewhere.toml");
    outcome(command).await.says(2, &["elsewhere.toml", "cannot read", "KICKOUT_CONFIG"]);
    desk.write("empty.toml", "");
    desk.run("config check --config empty.toml").await.expect(0);
    assert!(!desk.data().exists(), "nothing was made");
}

/// A login whose body has not been sent to its end, which the service has begun to read.
struct Slow(TcpStream, Vec<u8>);

impl Slow {
    async fn begin(process: &Process, user: &User) -> Self {
        let body = user.credentials().to_string().into_bytes();
        let mut stream = TcpStream::connect(process.public()).await.unwrap();
        let head = format!(
            "POST /v1/auth/login HTTP/1.1\r\nhost: kickout.test\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nexpect: 100-continue\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 25];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, *b"HTTP/1.1 100 Continue\r\n\r\n", "the body is wanted now");
        stream.write_all(&body[..10]).await.unwrap();
        Self(stream, body)
    }

    /// Sends the rest, and gives the answer.
    async fn end(mut self) -> String {
        self.0.write_all(&self.1[10..]).await.unwrap();
        self.rest().await
    }

    async fn rest(mut self) -> String {
        let mut answer = Vec::new();
        // A connection that is cut may be reset.
        let _ = self.0.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }
}

#[tokio::test]
async fn one_ctrl_c_drains_a_request_in_progress_and_takes_no_new_one() {
    let mut process = Process::start(&[]).await;
    let alice = process.sign_up("alice").await;
    let slow = Slow::begin(&process, &alice).await;
    process.interrupt();
    eventually!(process.stderr().contains("draining"));
    eventually!(TcpStream::connect(process.public()).await.is_err());
    let answer = slow.end().await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains(r#""username":"alice""#), "{answer}");
    assert_eq!(process.ended().await.code(), Some(0));
    eventually!(process.stderr().contains("\"stopped\""));

    // The session that was begun while the service drained is as good as any other.
    let process = process.restart().await;
    let (_, cookie) = answer.split_once("__Host-kickout-access=").expect("a cookie");
    process.accepts(cookie.split(';').next().unwrap()).await;
}

#[tokio::test]
async fn a_second_ctrl_c_cuts_what_the_first_one_waited_for() {
    let mut process = Process::start(&[]).await;
    let alice = process.sign_up("alice").await;
    let slow = Slow::begin(&process, &alice).await;
    process.interrupt();
    eventually!(process.stderr().contains("draining"));
    process.interrupt();
    assert_eq!(process.ended().await.code(), Some(130));
    assert_eq!(slow.rest().await, "", "no answer that would not be true");
    process.restart().await;
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_when_the_time_for_draining_is_over() {
    let mut process = Process::start(&[("KICKOUT__HTTP__DRAIN_TIMEOUT", "250ms")]).await;
    let alice = process.sign_up("alice").await;
    let slow = Slow::begin(&process, &alice).await;
    process.interrupt();
    assert_eq!(process.ended().await.code(), Some(0));
    assert_eq!(slow.rest().await, "");
}

#[tokio::test]
async fn sigterm_stops_it_as_ctrl_c_does() {
    let mut process = Process::start(&[]).await;
    process.signal("TERM");
    assert_eq!(process.ended().await.code(), Some(0));
    eventually!(process.stderr().contains("\"stopped\""));
    assert!(!process.stderr().contains("\"ERROR\"") && !process.stderr().contains("\"WARN\""), "{}", process.stderr());
}

#[tokio::test]
async fn health_and_readiness_are_answered_on_the_management_listener_alone() {
    let process = Process::start(&[]).await;
    assert_eq!(process.manage(Method::GET, "/healthz").await.expect(200).body, b"ok\n");
    let ready = process.manage(Method::GET, "/readyz").await.expect(200).json();
    assert_eq!((&ready["state"], &ready["blocklist"]), (&json!("live"), &json!("in process")));
    for path in ["/healthz", "/readyz", "/metrics", "/v1/admin/commands"] {
        process.get(path).await.is_problem(404, "not-found");
    }
}
