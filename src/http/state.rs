//! What handlers can ask for. One state; an extractor takes exactly the part it uses.

use std::{sync::Arc, time::Duration};

use axum::extract::FromRef;
use http::HeaderValue;
use ipnet::IpNet;

use crate::{config::Accept, cookies::Cookies, sessions::Sessions, telemetry::metrics::Metrics, tokens::KeyRing};

/// The state of the public router.
#[derive(Debug, Clone)]
pub struct AppState {
    /// The use cases.
    pub sessions: Sessions,
    /// The signing keys, for the JWKS.
    pub keys: Arc<KeyRing>,
    /// How cookies are made.
    pub cookies: Arc<Cookies>,
    /// Whom a request may come from.
    pub trust: Arc<Trust>,
    /// Counts.
    pub metrics: Metrics,
}

/// Whom a request may come from, and who may speak for it. The default is nobody but our own pages.
#[derive(Debug, Default)]
pub struct Trust {
    /// Origins, beside our own, whose pages may use cookies here.
    pub origins: Vec<String>,
    /// Proxies whose `X-Forwarded-*` headers are believed.
    pub proxies: Vec<IpNet>,
    /// `Strict-Transport-Security`, for clients that have come by HTTPS (RFC 6797); `None` if they are not told.
    pub hsts: Option<HeaderValue>,
    /// Whether those that have come by way of a trusted proxy are told too.
    pub hsts_proxied: bool,
    /// `Clear-Site-Data`, for browsers whose user has logged out by HTTPS; `None` if nothing but our cookies goes.
    pub clear_site_data: Option<HeaderValue>,
    /// Which credentials forward-auth looks at.
    pub accept: Accept,
    /// How long checks may go on beyond the lease on a route that says so.
    pub serve_for: Duration,
    /// How long a request waits for other nodes at most.
    pub patience: Duration,
    /// How long a JWKS may be cached, in seconds: well within the time a new key is published before it signs.
    pub jwks_max_age: u64,
}

impl FromRef<AppState> for Sessions {
    fn from_ref(state: &AppState) -> Self {
        state.sessions.clone()
    }
}

impl FromRef<AppState> for Arc<KeyRing> {
    fn from_ref(state: &AppState) -> Self {
        Arc::clone(&state.keys)
    }
}

impl FromRef<AppState> for Arc<Cookies> {
    fn from_ref(state: &AppState) -> Self {
        Arc::clone(&state.cookies)
    }
}

impl FromRef<AppState> for Arc<Trust> {
    fn from_ref(state: &AppState) -> Self {
        Arc::clone(&state.trust)
    }
}
