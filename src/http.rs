//! The HTTP side: routers and the layers around them.
//!
//! A request passes, from the outside in: [`middleware::observe`] (id, log line, counts), [`middleware::guard`] (security
//! headers), [`cors`], [`middleware::finish`] (every error a problem), [`middleware::receive`] (its body, within limits of size and time), the
//! limits on concurrency and time, and then its handler in `routes`, which extracts ([`extract`]), calls one use case
//! of [`crate::sessions`] and maps the result ([`error`]).

pub mod cors;
pub mod error;
pub mod extract;
pub mod leaving;
pub mod listener;
pub mod middleware;
pub mod prefer;
pub mod refreshing;
pub(crate) mod routes;
pub mod scheme;
mod source;
pub mod state;
pub mod tls;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    middleware::{from_fn, from_fn_with_state},
    routing::{any, delete, get, post},
};
use http::StatusCode;
use tokio::sync::Semaphore;
use tower_http::{catch_panic::CatchPanicLayer, timeout::TimeoutLayer};

use self::{
    cors::CrossOrigin,
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

/// The router of the public listener.
pub fn public(state: AppState, observer: Observer, limits: Limits) -> Router {
    let observer = Observer { trust: Some(Arc::clone(&state.trust)), ..observer };
    let edge = Edge { cors: CrossOrigin::allowing(&state.trust.origins), guard: Some(state.clone()) };
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
    layered(router, bodiless, observer, limits, edge)
}

/// The router of the management listener.
pub fn management(management: management::Management, observer: Observer, limits: Limits) -> Router {
    let router = Router::new()
        .route("/healthz", get(management::healthz))
        .route("/readyz", get(management::readyz))
        .route("/metrics", get(management::metrics))
        .route("/v1/admin/commands", post(management::command))
        .with_state(management);
    layered(router, Router::new(), observer, limits, Edge::default())
}

/// What a listener's answers to browsers depend on.
#[derive(Default)]
struct Edge {
    cors: Option<CrossOrigin>,
    guard: Option<AppState>,
}

/// The layers around all routes; those of `bodiless` read no body.
fn layered(router: Router, bodiless: Router, observer: Observer, limits: Limits, edge: Edge) -> Router {
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
    let router = match edge.cors {
        Some(rules) => router.layer(from_fn_with_state(rules, cors::cross_origin)),
        None => router,
    };
    let router = router.layer(from_fn_with_state(edge.guard, middleware::guard));
    router.layer(from_fn_with_state(observer, middleware::observe))
}
