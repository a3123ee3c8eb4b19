//! One process on SQLite with a Redis beside it: the same answers with and without it, and over TLS.

use std::process::Command;

use http::Method;

use crate::support::{
    app::TestApp,
    process::Process,
    redis::Redis,
    tls::{Pair, PairFiles},
    wait::eventually,
};

#[tokio::test]
async fn a_process_of_its_own_uses_redis_while_it_is_there_and_misses_nothing_without() {
    let redis = Redis::start();
    let app = TestApp::start_with(|config| config.redis.url = redis.url().into()).await;
    let blocklist = async || app.manage(Method::GET, "/readyz").await.json()["blocklist"].clone();
    assert_eq!(blocklist().await, "redis");
    let user = app.sign_up("ada").await;
    let device = user.log_in_for_bearer().await;
    app.accepts(&device.access()).await;
    let receipt = app.post("/v1/auth/logout").bearer(&device.access()).await.expect(200).receipt();
    assert!(receipt.complete);
    app.refuses(&device.access()).await;
    // The entry is a hint: nobody's receipt waits for it.
    eventually!(format!("{:?}", redis.command(&["KEYS", "kickout:*"])).contains(&device.session()));

    // Nor does anybody rely on it: this one is gone before anybody has asked.
    let device = user.log_in_for_bearer().await;
    app.post("/v1/auth/logout").bearer(&device.access()).await.expect(200);
    eventually!(format!("{:?}", redis.command(&["KEYS", "kickout:*"])).contains(&device.session()));
    redis.command(&["FLUSHALL"]);
    app.refuses(&device.access()).await;

    // What it says of a user is said of those tokens, and not of the next ones.
    let device = user.log_in_for_bearer().await;
    app.post("/v1/auth/logout-all").bearer(&device.access()).await.expect(200);
    eventually!(format!("{:?}", redis.command(&["KEYS", "kickout:*"])).contains(&user.subject));
    app.refuses(&device.access()).await;
    app.accepts(&user.log_in_for_bearer().await.access()).await;

    redis.stop();
    let device = user.log_in_for_bearer().await;
    app.accepts(&device.access()).await;
    app.post("/v1/auth/logout").bearer(&device.access()).await.expect(200);
    app.refuses(&device.access()).await;
    eventually!(blocklist().await == "redis, which is away");
    let metrics = app.manage(Method::GET, "/metrics").await.text();
    assert!(metrics.contains("kickout_redis_up 0\n"), "an operator sees it");
}

#[tokio::test]
async fn redis_over_tls_is_used_if_its_certificate_is_good_and_refused_if_not() {
    let files = PairFiles::of(&Pair::new());
    let [certificate, key] = [files.certificate(), files.key()].map(|path| path.display().to_string());
    let redis = Redis::with_args(&[
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &certificate,
        "--tls-auth-clients",
        "no",
    ]);
    // A second port, for TLS alone: what the harness itself asks goes by the first.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    drop(listener);
    redis.command(&["CONFIG", "SET", "tls-port", &port]);
    let url = format!("rediss://localhost:{port}");
    let trusting = [("KICKOUT__REDIS__URL", url.as_str()), ("SSL_CERT_FILE", certificate.as_str())];
    let process = Process::start(&trusting).await;
    assert_eq!(process.manage(Method::GET, "/readyz").await.json()["blocklist"], "redis");

    let data = tempfile::tempdir().unwrap();
    let mut stranger = Command::new(env!("CARGO_BIN_EXE_kickout"));
    stranger.env_clear().current_dir(data.path()).env("KICKOUT__REDIS__URL", &url);
    stranger.env("KICKOUT__HTTP__LISTEN", "127.0.0.1:0").env("KICKOUT__MANAGEMENT__LISTEN", "127.0.0.1:0");
    let refused = stranger.output().expect("the program runs");
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("redis.url: ") && said.contains("certificate"), "{said}");
}
