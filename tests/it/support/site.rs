//! Web servers for a browser: the pages of `tests/it/browser/`, on any name of this machine, with or without TLS, and
//! with or without the service behind the same origin.

use std::{
    net::{SocketAddr, TcpListener},
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
use axum_server::{
    Server,
    tls_rustls::{RustlsAcceptor, RustlsConfig},
};
use http::{HeaderMap, HeaderName, StatusCode, header};
use tokio::{sync::Barrier, task::JoinSet};

use super::{browser, tls::Pair};

/// A body that is passed on is a login or an answer to one.
const BODY_LIMIT: usize = 64 * 1024;

/// A web server at one origin. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) origin: String,
    behind: Behind,
    _task: JoinSet<()>,
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
    pub(crate) fn plain(host: &str) -> Self {
        let (server, port) = server();
        let behind = Behind::nothing();
        let pages = pages(behind.clone()).into_make_service();
        let task = std::iter::once(async move { server.serve(pages).await.expect("it serves") }).collect();
        Self { origin: format!("http://{host}:{port}"), behind, _task: task }
    }

    /// At `https://host:port`, with the certificate that browsers take.
    pub(crate) fn tls(host: &str) -> Self {
        let (server, port) = server();
        let behind = Behind::nothing();
        let pages = pages(behind.clone()).into_make_service();
        let acceptor = RustlsAcceptor::new(RustlsConfig::from_config(Arc::new(Pair::shared().server())));
        let server = server.acceptor(acceptor.handshake_timeout(browser::LIMIT));
        let task = std::iter::once(async move { server.serve(pages).await.expect("it serves") }).collect();
        Self { origin: format!("https://{host}:{port}"), behind, _task: task }
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

/// A server at a port of its own.
fn server() -> (Server<SocketAddr>, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    (axum_server::from_tcp(listener).expect("a listener"), port)
}

fn pages(behind: Behind) -> Router {
    let script = |text: &'static str| get(async move || ([(header::CONTENT_TYPE, "text/javascript")], text));
    Router::new()
        .route("/", get(async || Html(include_str!("../browser/app.html"))))
        .route("/app.js", script(include_str!("../browser/app.js")))
        .route("/elsewhere", get(async || Html(include_str!("../browser/elsewhere.html"))))
        .route("/elsewhere.js", script(include_str!("../browser/elsewhere.js")))
        .route("/cookies", get(names_of_cookies))
        .route("/v1/auth/cookies", get(names_of_cookies))
        .fallback(pass_on)
        .with_state(behind)
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
