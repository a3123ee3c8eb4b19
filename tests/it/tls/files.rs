//! The certificate and its key: refused with all that is wrong at the start, and replaced while the service runs.

use std::time::Duration;

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{
    operator::{Desk, outcome},
    process::Process,
    tls::{NAME, Pair, PairFiles, TlsClient, put},
    wait::eventually,
};

/// A few looks at the files, on a busy machine.
const LOOKS: Duration = Duration::from_mins(1);

fn borrowed(settings: &[(String, String)]) -> Vec<(&str, &str)> {
    settings.iter().map(|(name, value)| (&**name, &**value)).collect()
}

async fn start(files: &PairFiles) -> Process {
    Process::start(&borrowed(&files.settings())).await
}

/// One request on a connection that is used again: the status line.
pub(super) async fn ask(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin)) -> String {
    let request = format!("GET /.well-known/jwks.json HTTP/1.1\r\nhost: {NAME}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut text = String::new();
    // A head, and a body that ends the object.
    while !(text.contains("\r\n\r\n") && text.ends_with("]}")) {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).await.unwrap();
        assert!(count > 0, "it has closed: {text}");
        text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
    }
    text.lines().next().unwrap().to_owned()
}

async fn metric(process: &Process, name: &str) -> f64 {
    let text = process.manage(Method::GET, "/metrics").await.expect(200);
    let text = String::from_utf8(text.body).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

#[tokio::test]
async fn a_new_certificate_is_taken_up_without_a_restart_and_connections_go_on() {
    let (first, second, third) = (Pair::new(), Pair::valid(-1, 40), Pair::valid(-1, 60));
    let files = PairFiles::of(&first);
    let process = start(&files).await;
    let client = |pair: &Pair| TlsClient::new(process.public(), pair);
    let expiry = "kickout_tls_certificate_expiry_timestamp_seconds";
    let before = metric(&process, expiry).await;
    let mut open = client(&first).connect().await.unwrap();
    assert_eq!(ask(&mut open).await, "HTTP/1.1 200 OK");

    // By itself, after a while.
    files.write(&second);
    eventually!(client(&second).connect().await.is_ok(), LOOKS);
    client(&first).connect().await.unwrap_err();
    assert_eq!(ask(&mut open).await, "HTTP/1.1 200 OK", "the old connection goes on");
    let after = metric(&process, expiry).await;
    assert!((before - after - 50.0 * 86_400.0).abs() < 120.0, "50 days less: {before} {after}");

    // Or when it is told to.
    files.write(&third);
    process.signal("HUP");
    eventually!(client(&third).connect().await.is_ok());
    assert_eq!(ask(&mut open).await, "HTTP/1.1 200 OK", "the old connection goes on");
    assert!(metric(&process, "kickout_tls_reload_failures_total").await.abs() < f64::EPSILON);
}

#[tokio::test]
async fn a_new_pair_that_cannot_be_used_is_told_once_and_the_old_one_stays() {
    let (first, second) = (Pair::new(), Pair::new());
    let files = PairFiles::of(&first);
    let process = start(&files).await;
    let told = || process.stderr().matches("cannot be used; the old ones stay").count();
    let is_good = async |pair: &Pair| TlsClient::new(process.public(), pair).connect().await.is_ok();

    // Half of it, for good: the key is another one's.
    put(&files.certificate(), &second.certificate, 0o644);
    eventually!(told() == 1, LOOKS);
    assert!(process.stderr().contains("is not the key of the certificate in"), "{}", process.stderr());
    assert!(is_good(&first).await && !is_good(&second).await);
    // Whoever asks is told again.
    process.signal("HUP");
    eventually!(told() == 2);
    put(&files.key(), "no key", 0o600);
    eventually!(told() == 3, LOOKS);
    assert!(process.stderr().contains("holds no private key in PEM form"), "{}", process.stderr());
    assert!(is_good(&first).await);
    assert!((metric(&process, "kickout_tls_reload_failures_total").await - 3.0).abs() < f64::EPSILON);

    // The other half comes.
    files.write(&second);
    process.signal("HUP");
    eventually!(is_good(&second).await);
    assert_eq!(told(), 3);
    assert!(!process.stderr().contains("PRIVATE KEY-----\n") && !process.stderr().contains(&second.key[40..80]));
}

#[tokio::test]
async fn a_certificate_that_expires_soon_is_warned_of() {
    let files = PairFiles::of(&Pair::valid(-80, 10));
    let process = start(&files).await;
    eventually!(process.stderr().contains("the certificate expires soon"));
    let files = PairFiles::of(&Pair::valid(-1, 16));
    let lasting = start(&files).await;
    // What is said at the start is said before this.
    lasting.signal("HUP");
    eventually!(lasting.stderr().contains("are what they were"));
    assert!(!lasting.stderr().contains("expires soon"), "{}", lasting.stderr());
}

/// What a start says of these two files, and `config check` as well.
async fn refused(files: &PairFiles, words: &[&str]) {
    let desk = Desk::new();
    for arguments in ["serve", "config check"] {
        let mut command = desk.kickout(arguments);
        command.envs(files.settings());
        outcome(command).await.says(2, words);
    }
    assert!(!desk.data().exists(), "nothing was begun");
}

#[tokio::test]
async fn a_pair_that_cannot_be_used_ends_the_start_with_all_that_is_wrong() {
    let good = Pair::new();
    let write = |certificate: &str, key: &str, mode: u32| {
        let files = PairFiles::of(&good);
        put(&files.certificate(), certificate, 0o644);
        put(&files.key(), key, mode);
        files
    };
    let cert = "http.tls_certificate: ";
    refused(&write(&good.certificate, &Pair::new().key, 0o600), &["http.tls_key: ", "is not the key of"]).await;
    refused(&write(&Pair::valid(-10, -1).certificate, &good.key, 0o600), &[cert, "has expired (20", "Renew it"]).await;
    refused(&write(&Pair::valid(1, 10).certificate, &good.key, 0o600), &[cert, "is not valid before 20"]).await;
    let both = [cert, "holds no certificate in PEM form", "http.tls_key: ", "holds no private key in PEM form"];
    refused(&write("", "", 0o600), &both).await;
    refused(&write(&good.key, &good.certificate, 0o600), &both).await;
    let damaged = good.certificate.replace("MII", "AAA");
    refused(&write(&damaged, &good.key, 0o644), &[cert, "is not understood", "(mode 644). Run: chmod 600"]).await;
    refused(&write(&good.certificate, &good.key, 0o620), &["http.tls_key: ", "(mode 620)"]).await;
    let gone = write(&good.certificate, &good.key, 0o600);
    std::fs::remove_file(gone.certificate()).unwrap();
    std::fs::remove_file(gone.key()).unwrap();
    refused(&gone, &[cert, "http.tls_key: ", "cannot be read: No such file"]).await;

    let desk = Desk::new();
    let mut command = desk.kickout("serve");
    command.env("KICKOUT__HTTP__TLS_KEY", "server.key");
    outcome(command).await.says(2, &["http.tls_key is set and http.tls_certificate is not"]);
    // Other commands have no use for it.
    let mut command = desk.kickout("migrate");
    command.envs(gone.settings());
    outcome(command).await.expect(0);
}

#[tokio::test]
async fn a_start_says_which_browsers_will_not_keep_the_cookies() {
    let process = Process::start(&[]).await;
    assert!(process.stderr().contains("Safari does not"), "{}", process.stderr());
    let encrypted = start(&PairFiles::of(&Pair::new())).await;
    assert!(!encrypted.stderr().contains("Safari"), "{}", encrypted.stderr());
    // A service whose key its group may read, as services that share a certificate do.
    let shared = PairFiles::of(&Pair::new());
    put(&shared.key(), &std::fs::read_to_string(shared.key()).unwrap(), 0o640);
    start(&shared).await;

    let desk = Desk::new();
    let mut command = desk.kickout("config check");
    command
        .env("KICKOUT__HTTP__LISTEN", "0.0.0.0:8443")
        .env("KICKOUT__HTTP__ALLOWED_ORIGINS", "http://app.example.com");
    command.env("KICKOUT__COOKIES__DOMAIN", "example.org").env("KICKOUT__COOKIES__CLEAR_SITE_DATA", "cookies,cache");
    let warned = outcome(command).await.expect(0);
    for words in [
        "browsers drop the cookies there",
        "another site than a service on https",
        "no origin in http.allowed_origins is on a host of that domain",
        "logs its user out of all applications",
    ] {
        assert!(warned.stderr.contains(words), "{words}: {warned}");
    }
    assert!(warned.stdout.contains(r#"clear_site_data = ["cookies", "cache"]"#), "{warned}");
    for domain in ["co.uk", "com"] {
        let mut command = desk.kickout("config check");
        command.env("KICKOUT__COOKIES__DOMAIN", domain);
        outcome(command).await.says(2, &["cookies.domain", "browsers refuse cookies for those"]);
    }
}
