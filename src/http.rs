//! The HTTP side: routers and the layers around them.
//!
//! A request passes, from the outside in: [`middleware::observe`] (id, log line, counts), CORS, [`middleware::finish`]
//! (every error a problem, security headers), [`middleware::receive`] (its body, within limits of size and time), the
//! limits on concurrency and time, and then its handler in `routes`, which extracts ([`extract`]), calls one use case
//! of [`crate::sessions`] and maps the result ([`error`]).

pub mod error;
pub mod extract;
pub mod leaving;
pub mod listener;
pub mod middleware;
pub mod prefer;
pub mod refreshing;
pub(crate) mod routes;
mod source;
pub mod state;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    middleware::{from_fn, from_fn_with_state},
    routing::{any, delete, get, post},
};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use tokio::sync::Semaphore;
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{AllowOrigin, CorsLayer},
    timeout::TimeoutLayer,
};

use self::{
    middleware::Observer,
    routes::{account, login, logout, management, receipts, verify},
    state::AppState,
};

/// What bounds the requests of a listener.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a body.
    pub body: usize,
    /// For a client to send a body, from the end of the headers on.
    pub sending: Duration,
    /// From the end of the body to the answer.
    pub time: Duration,
    /// Requests answered at once.
    pub requests: usize,
}

/// How long a browser may remember the answer to a preflight: Chromium's own limit.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_hours(2);

/// The router of the public listener.
pub fn public(state: AppState, observer: Observer, limits: Limits) -> Router {
    let cors = cors(&state.trust.origins);
    let router = Router::new()
        .route("/v1/auth/signup", post(login::signup))
        .route("/v1/auth/login", post(login::login))
        .route("/v1/auth/refresh", post(login::refresh))
        .route("/v1/auth/logout", post(logout::logout))
        .route("/v1/auth/logout-all", post(logout::logout_all))
        .route("/v1/auth/password", post(logout::password))
        .route("/v1/auth/me", get(account::me))
        .route("/v1/auth/csrf", get(account::csrf))
        .route("/v1/auth/sessions", get(account::sessions))
        .route("/v1/auth/sessions/{session}", delete(logout::end_session))
        .with_state(state.clone());
    let bodiless = Router::new()
        .route("/v1/auth/verify", any(verify::verify))
        .route("/v1/auth/verify/{on_stale}", any(verify::verify_on_stale))
        .route("/v1/revocations/{seq}", get(receipts::progress))
        .route("/.well-known/jwks.json", get(verify::jwks))
        .with_state(state);
    layered(router, bodiless, observer, limits, cors)
}

/// The router of the management listener.
pub fn management(management: management::Management, observer: Observer, limits: Limits) -> Router {
    let router = Router::new()
        .route("/healthz", get(management::healthz))
        .route("/readyz", get(management::readyz))
        .route("/metrics", get(management::metrics))
        .route("/v1/admin/commands", post(management::command))
        .with_state(management);
    layered(router, Router::new(), observer, limits, None)
}

/// The layers around all routes; those of `bodiless` read no body.
fn layered(router: Router, bodiless: Router, observer: Observer, limits: Limits, cors: Option<CorsLayer>) -> Router {
    let places = Arc::new(Semaphore::new(limits.requests));
    // The last layer is the outermost.
    let limited = |router: Router| {
        router
            .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, limits.time))
            .layer(CatchPanicLayer::custom(middleware::panicked))
            .layer(from_fn_with_state(Arc::clone(&places), middleware::limit))
    };
    let bodiless = limited(bodiless).layer(from_fn(middleware::leave_body));
    let router = limited(router).layer(from_fn_with_state(limits, middleware::receive));
    // What is merged in brings its fallback along: a request to nowhere is received as well.
    let router = bodiless.merge(router).layer(from_fn(middleware::finish));
    let router = match cors {
        Some(cors) => router.layer(cors),
        None => router,
    };
    router.layer(from_fn_with_state(observer, middleware::observe))
}

/// A fixed list of origins, never an echo of what was asked; `None` if there is none.
fn cors(origins: &[String]) -> Option<CorsLayer> {
    let origins: Vec<HeaderValue> = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect();
    if origins.is_empty() {
        return None;
    }
    let layer = CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers([
            header::CONTENT_TYPE,
            header::AUTHORIZATION,
            extract::CSRF_TOKEN,
            HeaderName::from_static("prefer"),
        ])
        .expose_headers([
            header::RETRY_AFTER,
            header::WWW_AUTHENTICATE,
            header::LOCATION,
            HeaderName::from_static("x-kickout-seq"),
        ])
        .max_age(PREFLIGHT_MAX_AGE);
    Some(layer)
}
