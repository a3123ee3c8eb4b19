//! Which pages of other origins may read answers: those of a fixed list. Nothing is ever allowed because it was asked for,
//! and a page that is not on the list is told nothing at all.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderName, HeaderValue, Method, header};
use tower::{Layer, ServiceExt};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::{extract::CSRF_TOKEN, prefer::PREFERENCE_APPLIED};

/// How long a browser may remember the answer to a preflight: Chromium's own limit.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_hours(2);

/// Forward-auth: what it answers is a verdict, to any method. An `OPTIONS` request there is what a proxy asks about.
const VERIFY: &str = "/v1/auth/verify";

/// The rules.
#[derive(Debug, Clone)]
pub struct CrossOrigin {
    origins: Arc<[HeaderValue]>,
    layer: CorsLayer,
}

impl CrossOrigin {
    /// Rules for a fixed list of origins; `None` if there is none.
    #[must_use]
    pub fn allowing(origins: &[String]) -> Option<Self> {
        let origins: Arc<[_]> = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect();
        if origins.is_empty() {
            return None;
        }
        let layer = CorsLayer::new()
            .allow_origin(AllowOrigin::list(origins.iter().cloned()))
            .allow_credentials(true)
            .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
            .allow_headers([header::CONTENT_TYPE, header::AUTHORIZATION, CSRF_TOKEN, HeaderName::from_static("prefer")])
            .expose_headers([
                header::RETRY_AFTER,
                header::WWW_AUTHENTICATE,
                header::LOCATION,
                PREFERENCE_APPLIED,
                HeaderName::from_static("x-kickout-seq"),
                HeaderName::from_static("x-request-id"),
            ])
            .max_age(PREFLIGHT_MAX_AGE);
        Some(Self { origins, layer })
    }

    fn allows(&self, request: &Request) -> bool {
        let mut said = request.headers().get_all(header::ORIGIN).iter();
        matches!((said.next(), said.next()), (Some(origin), None) if self.origins.contains(origin))
    }
}

/// Answers preflights and marks answers as readable, for the origins that are allowed. All others pass as if there were
/// no such rules, but for a word to caches that the answer depends on the origin.
pub async fn cross_origin(State(rules): State<CrossOrigin>, request: Request, next: Next) -> Response {
    // The layer takes every `OPTIONS` for a preflight, and would answer it in the place of the route.
    let is_left_alone = request.method() == Method::OPTIONS && !is_preflight(&request);
    if is_left_alone || !rules.allows(&request) {
        let mut response = next.run(request).await;
        response.headers_mut().append(header::VARY, HeaderValue::from_static("origin"));
        return response;
    }
    let Ok(response) = rules.layer.layer(next).oneshot(request).await;
    response
}

/// Whether a browser asks before it lets a page send its request (Fetch, "CORS-preflight request").
fn is_preflight(request: &Request) -> bool {
    let is_verdict = request.extensions().get::<MatchedPath>().is_some_and(|path| path.as_str().starts_with(VERIFY));
    !is_verdict && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}
