//! Connections: how many, how long one may do nothing, and how much one request may say.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use http::Method;
use kickout::{config::Span, instance};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::metric;
use crate::support::{
    app::TestApp,
    raw,
    wait::{LONG, eventually},
};

const OPEN: &str = r#"kickout_connections{listener="public"}"#;

const ASK: &[u8] = b"GET /.well-known/jwks.json HTTP/1.1\r\nhost: kickout.test\r\n\r\n";

#[tokio::test]
async fn one_connection_too_many_is_told_so_and_there_is_room_again_when_others_end() {
    let app = TestApp::start_with(|config| {
        config.http.max_connections = 16;
        config.http.header_timeout = Span::from_secs(60);
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..16 {
        held.push(TcpStream::connect(app.public()).await.unwrap());
    }
    eventually!(metric(&app, OPEN).await == 16);
    for _ in 0..3 {
        // Whether it has asked already or not.
        for request in [ASK, b""] {
            let answer = raw::exchange(app.public(), request).await.expect("an answer");
            assert_eq!((answer.status.as_u16(), answer.problem().as_deref()), (503, Some("overloaded")), "{answer}");
            assert_eq!(answer.header("retry-after"), Some("1"), "{answer}");
            assert_eq!(answer.header("connection"), Some("close"), "{answer}");
        }
    }
    assert_eq!(metric(&app, r#"kickout_connections_refused_total{listener="public"}"#).await, 6);
    app.manage(Method::GET, "/readyz").await.expect(200);
    held.pop();
    eventually!(metric(&app, OPEN).await == 15);
    app.get("/.well-known/jwks.json").await.expect(200);
    // Those that had a place were not touched.
    let mut first = held.remove(0);
    first.write_all(ASK).await.unwrap();
    let mut start = [0; 12];
    timeout(LONG, first.read_exact(&mut start)).await.expect("an answer").unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answers_is_cut() {
    let app = TestApp::start_with(|config| {
        config.http.write_timeout = Span::from_secs(1);
        config.http.header_timeout = Span::from_secs(60);
    })
    .await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(app.public()).await.unwrap();
    eventually!(metric(&app, OPEN).await == 1);
    let asks = ASK.repeat(1000);
    // It asks on and on, until the service does not listen any more.
    let cut = async { while stream.write_all(&asks).await.is_ok() {} };
    timeout(2 * LONG, cut).await.expect("it is cut");
    eventually!(metric(&app, OPEN).await == 0);
}

#[tokio::test]
async fn a_connection_without_a_request_is_cut_before_the_first_and_after_it() {
    let app = TestApp::start_with(|config| config.http.header_timeout = Span::from_secs(1)).await;
    for request in [b"".as_slice(), ASK, b"GET /.well-known/jwks.json HTTP/1.1\r\nhost: kick"] {
        let mut stream = TcpStream::connect(app.public()).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut bytes = Vec::new();
        // Its end, however it ends.
        let _ = timeout(LONG, stream.read_to_end(&mut bytes)).await.expect("it is cut");
        assert_eq!(bytes.starts_with(b"HTTP/1.1 200"), request == ASK, "{}", String::from_utf8_lossy(&bytes));
    }
    let dribbled = raw::dribble(app.public(), b"GET / HTTP/1.1\r\nhost: kickout.test\r\nx-slow: ").await;
    assert!(dribbled.is_none_or(|answer| answer.status == 408), "cut in the middle of its headers");
}

#[tokio::test]
async fn the_head_of_a_request_has_32_kib_and_at_most_twice_that_and_100_headers() {
    let app = TestApp::start().await;
    let ask = async |path: &str, headers: &[(&str, &[u8])]| {
        let request = raw::request(&format!("GET {path}"), headers, b"");
        // What is closed with something unread may be reset before its answer is read.
        raw::exchange(app.public(), &request).await.map_or(431, |answer| answer.status.as_u16())
    };
    let jwks = "/.well-known/jwks.json";
    let (fits, long) = ("a".repeat(31 * 1024), "a".repeat(65 * 1024));
    assert_eq!(ask(&format!("{jwks}?{fits}"), &[]).await, 200);
    assert_eq!(ask(&format!("{jwks}?{long}"), &[]).await, 431);
    assert_eq!(ask(jwks, &[("x-filler", fits.as_bytes())]).await, 200);
    assert_eq!(ask(jwks, &[("x-filler", long.as_bytes())]).await, 431);
    // `Host` and `Connection` are two.
    assert_eq!(ask(jwks, &[("x-filler", b"a".as_slice()); 98]).await, 200);
    assert_eq!(ask(jwks, &[("x-filler", b"a".as_slice()); 99]).await, 431);
}

/// The program under a limit of open files, killed when it is dropped.
struct Limited {
    child: Child,
    folder: tempfile::TempDir,
}

impl Limited {
    fn start(limit: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &format!("ulimit {limit} && exec \"$0\""), env!("CARGO_BIN_EXE_kickout")]);
        command.env_clear().current_dir(folder.path()).env("KICKOUT__DATA_DIR", folder.path().join("data"));
        command.env("KICKOUT__HTTP__LISTEN", "127.0.0.1:0").env("KICKOUT__MANAGEMENT__LISTEN", "127.0.0.1:0");
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Self { child: command.spawn().expect("a shell"), folder }
    }

    /// What it may open, and what it has said, when it serves.
    async fn serves(&self) -> (String, String) {
        eventually!(instance::announced(&self.folder.path().join("data")).is_ok_and(|found| found.is_some()));
        let limits = fs::read_to_string(format!("/proc/{}/limits", self.child.id())).unwrap();
        let open = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
        let soft = open.split_whitespace().next().unwrap().to_owned();
        (soft, fs::read_to_string(self.folder.path().join("log")).unwrap())
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn the_program_raises_its_limit_of_open_files_or_says_that_it_cannot() {
    let (soft, said) = Limited::start("-Sn 256").serves().await;
    assert_eq!(soft, "4416");
    assert!(!said.contains("open files"), "{said}");
    let (soft, said) = Limited::start("-n 512").serves().await;
    assert_eq!(soft, "512");
    assert!(
        said.contains("http.max_connections is 4096, which takes 4416 open files, and the system grants 512"),
        "{said}"
    );
}
