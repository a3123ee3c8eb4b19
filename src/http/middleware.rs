//! What happens to every request: an id, a log line, counts, limits, and headers on the answer.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    body::{Body, Bytes, HttpBody, to_bytes},
    extract::{ConnectInfo, MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use tokio::sync::Semaphore;
use tracing::Instrument;

use super::{
    Limits,
    error::{Kind, Problem},
    extract::{broken_off, forwarded_for, problem_of},
    scheme::{Scheme, authority},
    state::{AppState, Trust},
};
use crate::{clock::Clock, ids::OperationId, telemetry::metrics::Metrics};

/// The header that names a request, in answers and logs.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The header that makes a browser forget (W3C Clear Site Data, §3.1).
const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");

/// What the observer needs.
#[derive(Debug, Clone)]
pub struct Observer {
    /// Counts.
    pub metrics: Metrics,
    /// Measures.
    pub clock: Clock,
    /// Who may say whom a request comes from; `None` where nobody may.
    pub trust: Option<Arc<Trust>>,
}

/// Gives the request an id, logs one line when it is answered, and counts it.
///
/// The id is always ours: one that a client sends could be made to look like another request's. Whatever is logged on the
/// way has it, and the client's address. A line holds the route's template and never the path itself, which could hold
/// anything.
pub async fn observe(State(observer): State<Observer>, request: Request, next: Next) -> Response {
    let since = observer.clock.boottime();
    let id = OperationId::random().to_string();
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let method = request.method().clone();
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip());
    let (parts, body) = request.into_parts();
    let said = observer.trust.as_ref().and_then(|trust| forwarded_for(&parts, trust));
    let span = tracing::info_span!("request", id, client = said.or(peer).map(tracing::field::display));
    let request = Request::from_parts(parts, body);
    let mut response = next.run(request).instrument(span.clone()).await;
    let elapsed = observer.clock.boottime().since(since);
    let status = response.status();
    observer.metrics.http_request(route.as_deref(), (&method).into(), status, elapsed);
    span.in_scope(|| {
        let elapsed_ms = elapsed.as_secs_f64() * 1e3;
        let route = route.as_deref().unwrap_or("unmatched");
        let peer = peer.map(tracing::field::display);
        tracing::info!(method = method.as_str(), route, status = status.as_u16(), elapsed_ms, peer, "answered");
    });
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// Stands in an answer that ends the caller's own session: what the browser has kept of the site may go too.
#[derive(Debug, Clone, Copy)]
pub struct SessionOver;

/// Gives every answer its security headers, those of other layers and to preflights too. What may only be said over a
/// secure connection is said by the public listener, which has a state.
pub async fn guard(State(state): State<Option<AppState>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let scheme = state.as_ref().map(|state| Scheme::of(&parts, &state.trust));
    let is_local = state.as_ref().is_some_and(|state| authority(&parts, &state.trust).is_some_and(is_local));
    let mut response = next.run(Request::from_parts(parts, body)).await;
    let is_over = response.extensions_mut().remove::<SessionOver>().is_some();
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    );
    if let Some((state, scheme)) = state.zip(scheme).filter(|(_, scheme)| scheme.is_secure()) {
        // RFC 6797 §7.2: over a secure connection only.
        let is_told = scheme == Scheme::Https || state.trust.hsts_proxied;
        if let Some(hsts) = state.trust.hsts.clone().filter(|_| is_told && !is_local) {
            headers.insert(header::STRICT_TRANSPORT_SECURITY, hsts);
        }
        if let Some(cleared) = state.trust.clear_site_data.clone().filter(|_| is_over) {
            headers.insert(CLEAR_SITE_DATA, cleared);
        }
    }
    response
}

/// Whether it is a name of the client's own machine: HSTS there would shut out whatever else is developed on it, and at
/// every port.
fn is_local(authority: &str) -> bool {
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host).to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

/// Makes every error a problem, also those of layers and of the router. An error that has a JSON body already says what
/// it has to say.
pub async fn finish(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE);
    let is_ours = kind.is_some_and(|kind| kind == "application/problem+json" || kind == "application/json");
    if (status.is_client_error() || status.is_server_error()) && !is_ours {
        let allow = response.headers_mut().remove(header::ALLOW);
        response = problem_of(status).into_response();
        if let Some(allow) = allow {
            response.headers_mut().insert(header::ALLOW, allow);
        }
    }
    if [StatusCode::PAYLOAD_TOO_LARGE, StatusCode::REQUEST_TIMEOUT].contains(&status) {
        // The rest of the body is not read: the connection cannot be used again, and the client is told.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Receives a request's whole body, before the request takes a place among those in progress: a client that dribbles
/// its body keeps a connection and a small buffer, not a place.
pub async fn receive(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    match tokio::time::timeout(limits.sending, read(body, limits.body)).await {
        Ok(Ok(bytes)) => next.run(Request::from_parts(parts, bytes.into())).await,
        Ok(Err(problem)) => problem.into_response(),
        Err(_) => Problem::because(Kind::RequestTimeout, "the body did not come in time").into_response(),
    }
}

async fn read(body: Body, limit: usize) -> Result<Bytes, Problem> {
    // What is said to be too long is not waited for.
    if body.size_hint().lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Err(Problem::new(Kind::BodyTooLarge));
    }
    to_bytes(body, limit).await.map_err(|error| {
        let mut source: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = source {
            if error.is::<http_body_util::LengthLimitError>() {
                return Problem::new(Kind::BodyTooLarge);
            }
            source = error.source();
        }
        broken_off()
    })
}

/// For routes that read no body: it is not waited for, and a connection on which one was announced ends with the
/// answer. A proxy that asks about a request may pass on the headers of an upload, with or without the upload.
pub async fn leave_body(request: Request, next: Next) -> Response {
    let is_announced = !request.body().is_end_stream();
    let mut response = next.run(request).await;
    if is_announced {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Answers at most so many requests at once; the next one is told to come again, and costs nothing.
pub async fn limit(State(places): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    match places.try_acquire() {
        Ok(_place) => next.run(request).await,
        Err(_) => Problem::new(Kind::Overloaded).into_response(),
    }
}

/// A handler has panicked: our fault, told to nobody but the log.
#[expect(clippy::needless_pass_by_value, reason = "the layer's signature")]
pub fn panicked(panic: Box<dyn std::any::Any + Send + 'static>) -> Response {
    let message = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(panic = message.unwrap_or("no message"), "a handler has panicked");
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Mutex, PoisonError},
    };

    use super::*;

    #[derive(Default)]
    struct Page(Mutex<Vec<u8>>);

    impl Write for &Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_words_of_a_panic_do_not_hide_those_of_the_log_line() {
        let page = Arc::new(Page::default());
        let subscriber = tracing_subscriber::fmt().json().with_writer(Arc::clone(&page)).finish();
        let response = tracing::subscriber::with_default(subscriber, || panicked(Box::new("out of cheese")));
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let line = page.0.lock().unwrap();
        let line: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(line["fields"]["message"], "a handler has panicked");
        assert_eq!(line["fields"]["panic"], "out of cheese");
    }
}
