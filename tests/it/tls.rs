//! TLS on the public listener: spoken with the configured certificate and nothing else, replaced while the service runs,
//! and refused at the start with all that is wrong. What may only be said over a secure connection is only said there.

mod files;

use http::Method;
use kickout::config::{Config, SiteData, Span};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{
    answer::Answer,
    app::TestApp,
    client::{ACCESS, PASSWORD, REFRESH},
    raw,
    tls::{NAME, Pair, PairFiles, TlsClient},
    wait::{LONG, eventually},
};

const SAME_ORIGIN: (&str, &str) = ("sec-fetch-site", "same-origin");

const HSTS: &str = "strict-transport-security";

/// A service that speaks TLS, and a client that trusts its certificate.
async fn app(change: impl FnOnce(&mut Config)) -> (TestApp, TlsClient) {
    let pair = Pair::new();
    let files = PairFiles::of(&pair);
    let app = TestApp::start_with(|config| {
        files.configure(config);
        change(config);
    });
    let app = app.await;
    let client = TlsClient::new(app.public(), &pair);
    (app, client)
}

fn credentials() -> String {
    json!({"username": "alice", "password": PASSWORD}).to_string()
}

/// The cookies of a login over TLS, as a `Cookie` header.
async fn log_in(client: &TlsClient) -> String {
    let login = client.send("POST /v1/auth/login", &[SAME_ORIGIN], &credentials()).await.expect(200);
    let cookies = login.set_cookies();
    let [access, refresh] = cookies.as_slice() else { panic!("two cookies: {login}") };
    assert_eq!((&*access.name, &*refresh.name), (ACCESS, REFRESH));
    format!("{ACCESS}={}; {REFRESH}={}", access.value, refresh.value)
}

/// Signs alice up and logs her in.
async fn alice(client: &TlsClient) -> String {
    client.send("POST /v1/auth/signup", &[SAME_ORIGIN], &credentials()).await.expect(201);
    log_in(client).await
}

#[tokio::test]
async fn tls_is_spoken_with_the_configured_certificate_and_nothing_else_is() {
    let pair = Pair::new();
    let files = PairFiles::of(&pair);
    let app = TestApp::start_with(|config| files.configure(config)).await;
    let client = TlsClient::new(app.public(), &pair);
    let cookies = alice(&client).await;
    client.send("GET /v1/auth/me", &[("cookie", &cookies)], "").await.expect(200);
    client.send("POST /v1/auth/logout", &[SAME_ORIGIN, ("cookie", &cookies)], "").await.receipt();
    client.send("GET /v1/auth/me", &[("cookie", &cookies)], "").await.is_problem(401, "session-ended");

    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let stream = TlsClient::speaking(app.public(), &pair, &[version], &["h2", "http/1.1"]).connect().await.unwrap();
        let (_, connection) = stream.get_ref();
        assert_eq!(connection.protocol_version(), Some(version.version));
        assert_eq!(connection.alpn_protocol(), Some(&b"http/1.1"[..]));
    }
    TlsClient::speaking(app.public(), &pair, &[&rustls::version::TLS13], &[]).connect().await.unwrap();
    let only_h2 = TlsClient::speaking(app.public(), &pair, rustls::ALL_VERSIONS, &["h2"]).connect().await;
    assert!(only_h2.unwrap_err().to_string().contains("NoApplicationProtocol"));
    TlsClient::new(app.public(), &Pair::new()).connect().await.unwrap_err();

    // Who speaks plain HTTP gets no HTTP back, least of all a redirect.
    let plain = raw::request("GET /v1/auth/me", &[], b"");
    assert!(raw::exchange(app.public(), &plain).await.is_none());
    // Operators' listener is what it was.
    app.manage(Method::GET, "/healthz").await.expect(200);
}

#[tokio::test]
async fn over_tls_our_own_origin_is_https_and_nobody_can_say_otherwise() {
    let (_app, client) = app(|_| {}).await;
    let cookies = alice(&client).await;
    let (https, http) = (format!("https://{NAME}"), format!("http://{NAME}"));
    let keep = json!({"keep_current": true}).to_string();
    for (headers, passes) in [
        (vec![("origin", &*https)], true),
        (vec![("origin", &*http)], false),
        (vec![("origin", &*http), ("x-forwarded-proto", "http")], false),
        (vec![("origin", "null")], false),
    ] {
        let all = [headers.as_slice(), &[("cookie", &*cookies)]].concat();
        let answer = client.send("POST /v1/auth/password", &all, "{}").await;
        let kind = if passes { (400, "invalid-request") } else { (403, "csrf-refused") };
        answer.is_problem(kind.0, kind.1);
    }
    client.send("POST /v1/auth/logout-all", &[("origin", &https), ("cookie", &cookies)], &keep).await.receipt();
}

#[tokio::test]
async fn hsts_is_told_over_tls_with_every_answer_and_never_in_the_clear() {
    let (_app, client) = app(|config| config.http.hsts = Span::from_days(30)).await;
    for start in ["GET /v1/auth/me", "GET /nowhere", "PUT /v1/auth/login", "GET /.well-known/jwks.json"] {
        assert_eq!(client.send(start, &[], "").await.header(HSTS), Some("max-age=2592000"), "{start}");
    }
    for name in ["localhost", "localhost:8443", "app.LOCALHOST:1"] {
        let request = format!("GET /v1/auth/me HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n");
        let answer = raw::over(client.connect().await.unwrap(), request.as_bytes(), false).await.unwrap();
        assert_eq!(answer.header(HSTS), None, "{name}: {answer}");
    }

    let (_off, client) = app(|config| config.http.hsts = Span::from_secs(0)).await;
    assert_eq!(client.send("GET /v1/auth/me", &[], "").await.header(HSTS), None);
}

#[tokio::test]
async fn hsts_is_told_behind_a_trusted_proxy_that_says_https_if_the_operator_wants_it() {
    let proxied = [("x-forwarded-proto", "https")];
    for (is_trusted, is_wanted, headers, is_told) in [
        (true, true, proxied.as_slice(), true),
        (true, true, &[("x-forwarded-proto", "http")], false),
        (true, true, &[("x-forwarded-proto", "https, http")], false),
        (true, true, &[], false),
        (true, false, &proxied, false),
        (false, true, &proxied, false),
    ] {
        let app = TestApp::start_with(|config| {
            config.http.hsts_proxied = is_wanted;
            config.http.trusted_proxies = is_trusted.then(|| "127.0.0.0/8".parse().unwrap()).into_iter().collect();
        });
        let app = app.await;
        // To the proxy, the client has called us by name.
        let call = app.get("/v1/auth/me").header("host", "id.example.com");
        let answer = headers.iter().fold(call, |call, (name, value)| call.header(name, value)).await;
        let told = is_told.then_some("max-age=31536000");
        assert_eq!(answer.header(HSTS), told, "{is_trusted} {is_wanted} {headers:?}: {answer}");
        assert_eq!(app.manage(Method::GET, "/healthz").await.header(HSTS), None);
    }
}

#[tokio::test]
async fn a_browser_whose_user_has_left_is_told_what_to_clear_if_the_operator_wants_it() {
    let cleared = |answer: &Answer| answer.header("clear-site-data").map(str::to_owned);
    let (_quiet, client) = app(|_| {}).await;
    let cookies = alice(&client).await;
    let left = client.send("POST /v1/auth/logout", &[SAME_ORIGIN, ("cookie", &cookies)], "").await.expect(200);
    assert_eq!(cleared(&left), None, "by default nothing");

    let wanted = |config: &mut Config| {
        config.cookies.clear_site_data = vec![SiteData::Cache, SiteData::Storage, SiteData::ExecutionContexts];
    };
    let (app, client) = app(wanted).await;
    let all = Some(r#""cache", "storage", "executionContexts""#.to_owned());
    let cookies = alice(&client).await;
    let with = |cookies: &str| [SAME_ORIGIN, ("cookie", cookies)].map(|(name, value)| (name, value.to_owned()));
    let send = async |start: &str, cookies: &str, body: &str| {
        let headers = with(cookies);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, &**value)).collect();
        client.send(start, &headers, body).await
    };
    let stays = send("POST /v1/auth/logout-all", &cookies, &json!({"keep_current": true}).to_string()).await;
    assert_eq!(cleared(&stays.expect(200)), None, "the session goes on");
    for start in ["POST /v1/auth/logout", "POST /v1/auth/logout-all"] {
        let left = send(start, &log_in(&client).await, "").await.expect(200);
        assert_eq!(cleared(&left), all, "{start}");
        let refused = send(start, &format!("{ACCESS}=x"), "").await;
        assert_eq!(cleared(&refused), None, "nobody has left: {refused}");
    }
    let body = json!({"username": "alice", "password": PASSWORD, "delivery": "body"}).to_string();
    let login = client.send("POST /v1/auth/login", &[], &body).await.expect(200).json();
    let bearer = format!("Bearer {}", login["access_token"].as_str().unwrap());
    let left = client.send("POST /v1/auth/logout", &[("authorization", &bearer)], "").await.expect(200);
    assert_eq!(cleared(&left), None, "no browser");
    drop(app);

    let plain = TestApp::start_with(wanted).await;
    let browser = plain.sign_up("alice").await.log_in().await;
    let left = browser.send(browser.call(Method::POST, "/v1/auth/logout")).await.expect(200);
    assert_eq!(cleared(&left), None, "not in the clear");
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_handshake_is_cut_and_holds_up_nobody() {
    let (app, client) = app(|config| config.http.header_timeout = Span::from_secs(2)).await;
    let request = raw::request("GET /v1/auth/me", &[], b"");
    // A client that is merely slow, on a busy machine, comes again.
    let is_answered = async || match client.connect().await {
        Ok(stream) => raw::over(stream, &request, false).await.is_some_and(|answer| answer.status == 401),
        Err(_) => false,
    };
    let mut stalled = Vec::new();
    // Nothing at all, the head of a record, and a record that is announced and does not come.
    for bytes in [&[][..], &[0x16, 0x03], &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc]] {
        for _ in 0..4 {
            let mut stream = TcpStream::connect(app.public()).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            stalled.push(stream);
        }
    }
    eventually!(is_answered().await);
    // And one that is silent when the handshake is done.
    let mut silent = None;
    eventually!({
        silent = client.connect().await.ok();
        silent.is_some()
    });
    let mut silent = silent.expect("a connection");
    for mut stream in stalled {
        let mut rest = Vec::new();
        // The end of the connection, in whatever way.
        let _ = timeout(LONG, stream.read_to_end(&mut rest)).await.expect("it is cut");
    }
    let _ = timeout(LONG, silent.read_to_end(&mut Vec::new())).await.expect("it is cut");
    eventually!(is_answered().await);
}

#[tokio::test]
async fn a_request_that_was_begun_over_tls_is_answered_before_the_service_stops() {
    let (app, client) = app(|config| {
        config.http.drain_timeout = Span::from_mins(10);
        config.http.header_timeout = Span::from_mins(1);
    })
    .await;
    alice(&client).await;
    let mut idle = client.connect().await.unwrap();
    assert_eq!(files::ask(&mut idle).await, "HTTP/1.1 200 OK");
    let body = credentials();
    let login = client.send("POST /v1/auth/login", &[SAME_ORIGIN], &body);
    let passwords = app.sessions().clone();
    let stop = async {
        eventually!(passwords.passwords().busy() > 0);
        app.stop().await
    };
    let (answer, _folder) = tokio::join!(login, stop);
    assert_eq!(answer.expect(200).set_cookies().len(), 2);
    // The other one was told properly that it is over.
    let mut rest = Vec::new();
    assert_eq!(timeout(LONG, idle.read_to_end(&mut rest)).await.expect("it ends").expect("with a close_notify"), 0);
}
