//! Web servers for a browser: the pages of `tests/it/browser/`, on any name of this machine, with or without TLS, and
//! with or without the service behind the same origin.

use std::{
    fs,
    net::SocketAddr,
    process::Command,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, StatusCode, header};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Barrier,
    task::JoinSet,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig, crypto,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

/// The names that the certificate is for.
const NAMES: &str = "subjectAltName=DNS:*.kickout.test,DNS:kickout.test,DNS:evil.test";

/// A body that is passed on is a login or an answer to one.
const BODY_LIMIT: usize = 64 * 1024;

/// A web server at one origin. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) origin: String,
    behind: Behind,
    _tasks: JoinSet<()>,
}

/// The service behind a site, if there is one.
#[derive(Debug, Clone)]
struct Behind {
    client: reqwest::Client,
    service: Arc<Mutex<Option<SocketAddr>>>,
    refreshes: Arc<OnceLock<Refreshes>>,
}

/// What is special about requests to [`REFRESH`].
#[derive(Debug)]
enum Refreshes {
    /// They are passed on when two of them are there, and answered when both have their answers.
    Paired { arrived: Barrier, answered: Barrier },
    /// The answer to the first one is lost.
    FirstLost(AtomicBool),
}

const REFRESH: &str = "/v1/auth/refresh";

impl Site {
    /// At `http://host:port`.
    pub(crate) async fn plain(host: &str) -> Self {
        let mut tasks = JoinSet::new();
        let behind = Behind::nothing();
        let port = serve(&mut tasks, behind.clone()).await.port();
        Self { origin: format!("http://{host}:{port}"), behind, _tasks: tasks }
    }

    /// At `https://host:port`.
    pub(crate) async fn tls(host: &str) -> Self {
        let mut tasks = JoinSet::new();
        let behind = Behind::nothing();
        let plain = serve(&mut tasks, behind.clone()).await;
        let port = terminate_tls(&mut tasks, plain).await;
        Self { origin: format!("https://{host}:{port}"), behind, _tasks: tasks }
    }

    /// From now on the API is at this origin, too, as behind a proxy.
    pub(crate) fn puts_in_front_of(&self, service: SocketAddr) {
        *self.behind.service.lock().unwrap_or_else(PoisonError::into_inner) = Some(service);
    }

    /// From now on refreshes happen in pairs: both are on their way before either is answered.
    pub(crate) fn pairs_refreshes(&self) {
        let paired = Refreshes::Paired { arrived: Barrier::new(2), answered: Barrier::new(2) };
        self.behind.refreshes.set(paired).expect("once");
    }

    /// The next refresh is passed on, and its answer does not come back.
    pub(crate) fn loses_an_answer(&self) {
        self.behind.refreshes.set(Refreshes::FirstLost(AtomicBool::new(false))).expect("once");
    }
}

impl Behind {
    fn nothing() -> Self {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
        // The service ends idle connections, and might end one just when it is used again.
        let client = client.pool_max_idle_per_host(0).build();
        Self { client: client.expect("a client"), service: Arc::default(), refreshes: Arc::default() }
    }
}

async fn serve(tasks: &mut JoinSet<()>, behind: Behind) -> SocketAddr {
    let script = |text: &'static str| get(async move || ([(header::CONTENT_TYPE, "text/javascript")], text));
    let router = Router::new()
        .route("/", get(async || Html(include_str!("../browser/app.html"))))
        .route("/app.js", script(include_str!("../browser/app.js")))
        .route("/elsewhere", get(async || Html(include_str!("../browser/elsewhere.html"))))
        .route("/elsewhere.js", script(include_str!("../browser/elsewhere.js")))
        .route("/cookies", get(names_of_cookies))
        .route("/v1/auth/cookies", get(names_of_cookies))
        .fallback(pass_on)
        .with_state(behind);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tasks.spawn(async move {
        axum::serve(listener, router).await.expect("it serves");
    });
    address
}

/// What the browser lets this host have, by name.
async fn names_of_cookies(headers: HeaderMap) -> String {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut names: Vec<&str> =
        cookies.flat_map(|value| value.split("; ")).filter_map(|pair| Some(pair.split_once('=')?.0)).collect();
    names.sort_unstable();
    names.join(" ")
}

/// As a proxy does it.
async fn pass_on(State(behind): State<Behind>, request: Request) -> Response {
    let service = *behind.service.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(service) = service else { return StatusCode::NOT_FOUND.into_response() };
    let special = behind.refreshes.get().filter(|_| request.uri().path() == REFRESH);
    if let Some(Refreshes::Paired { arrived, .. }) = special {
        arrived.wait().await;
    }
    let response = ask(&behind.client, service, request).await;
    match special {
        Some(Refreshes::Paired { answered, .. }) => {
            answered.wait().await;
        }
        Some(Refreshes::FirstLost(is_lost)) if !is_lost.swap(true, Ordering::SeqCst) => {
            assert!(response.is_ok_and(|response| response.status().is_success()), "there is an answer to be lost");
            return StatusCode::BAD_GATEWAY.into_response();
        }
        _ => {}
    }
    response.unwrap_or_else(|_| StatusCode::BAD_GATEWAY.into_response())
}

async fn ask(client: &reqwest::Client, service: SocketAddr, request: Request) -> Result<Response, reqwest::Error> {
    let (mut parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_LIMIT).await.expect("a small body");
    for name in [header::CONNECTION, header::CONTENT_LENGTH] {
        parts.headers.remove(name);
    }
    let url = format!("http://{service}{}", parts.uri);
    let answer = client.request(parts.method, url).headers(parts.headers).body(body).send().await?;
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    for name in [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, KEEP_ALIVE] {
        headers.remove(name);
    }
    Ok((status, headers, Body::from(answer.bytes().await?)).into_response())
}

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// Speaks TLS for a server that does not.
async fn terminate_tls(tasks: &mut JoinSet<()>, server: SocketAddr) -> u16 {
    let acceptor = Certificate::shared().acceptor();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tasks.spawn(async move {
        let mut links = JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            while links.try_join_next().is_some() {}
            let acceptor = acceptor.clone();
            links.spawn(async move {
                let Ok(mut client) = acceptor.accept(client).await else { return };
                let Ok(mut server) = TcpStream::connect(server).await else { return };
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    port
}

/// A certificate that nobody has signed, and that the browser is told to take.
#[derive(Debug)]
pub(crate) struct Certificate {
    chain: Vec<u8>,
    key: Vec<u8>,
    /// The digest of its public key, as the browser wants it.
    pub(crate) spki: String,
}

impl Certificate {
    /// The one of this process's tests.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Certificate> = OnceLock::new();
        SHARED.get_or_init(Self::make)
    }

    fn make() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let openssl = |arguments: &str| {
            let made = Command::new("openssl").args(arguments.split(' ')).current_dir(&folder).output();
            let made = made.expect("openssl");
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        };
        openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out certificate.pem -days 2 \
             -subj /CN=kickout.test -addext {NAMES}"
        ));
        openssl("pkey -in key.pem -pubout -outform der -out spki.der");
        let read = |name: &str| fs::read(folder.path().join(name)).expect("it was made");
        let spki = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &read("spki.der"));
        Self { chain: read("certificate.pem"), key: read("key.pem"), spki: STANDARD.encode(spki) }
    }

    fn acceptor(&self) -> TlsAcceptor {
        let chain = vec![CertificateDer::from_pem_slice(&self.chain).expect("a certificate")];
        let key = PrivateKeyDer::from_pem_slice(&self.key).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions that the provider has")
            .with_no_client_auth()
            .with_single_cert(chain, key);
        TlsAcceptor::from(Arc::new(config.expect("they belong together")))
    }
}
