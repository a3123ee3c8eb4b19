//! What happens to every request: an id, a log line, counts, limits, and headers on the answer.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    extract::{ConnectInfo, MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use tokio::sync::Semaphore;
use tracing::Instrument;

use super::{
    error::{Kind, Problem},
    extract::problem_of,
};
use crate::{clock::Clock, ids::OperationId, telemetry::metrics::Metrics};

/// The header that names a request, in answers and logs.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What the observer needs.
#[derive(Debug, Clone)]
pub struct Observer {
    /// Counts.
    pub metrics: Metrics,
    /// Measures.
    pub clock: Clock,
}

/// Gives the request an id, logs one line when it is answered, and counts it.
///
/// The id is always ours: one that a client sends could be made to look like another request's. A line holds the
/// route's template and never the path itself, which could hold anything.
pub async fn observe(State(observer): State<Observer>, request: Request, next: Next) -> Response {
    let since = observer.clock.boottime();
    let id = OperationId::random().to_string();
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let method = request.method().clone();
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip());
    let span = tracing::info_span!("request", id);
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

/// Makes every error a problem, also those of layers and of the router, and gives every answer its headers.
pub async fn finish(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let status = response.status();
    let is_ours = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/problem+json");
    if (status.is_client_error() || status.is_server_error()) && !is_ours {
        let allow = response.headers_mut().remove(header::ALLOW);
        response = problem_of(status).into_response();
        if let Some(allow) = allow {
            response.headers_mut().insert(header::ALLOW, allow);
        }
    }
    let headers = response.headers_mut();
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        // The rest of the body is not read: the connection cannot be used again, and the client is told.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    );
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
    tracing::error!(message = message.unwrap_or("no message"), "a handler has panicked");
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}
