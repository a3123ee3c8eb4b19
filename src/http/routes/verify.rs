//! Answers for others: forward-auth for a proxy, and the public keys.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, State},
    response::IntoResponse,
};
use http::{HeaderName, HeaderValue, Method, header, request::Parts};

use crate::{
    config::Accept,
    http::{
        error::{Kind, Problem},
        extract::{Credential, CsrfGuard, is_proxied},
        state::{AppState, Trust},
    },
    revocation::OnStale,
    sessions::Sessions,
    tokens::KeyRing,
};

const SUBJECT: HeaderName = HeaderName::from_static("x-auth-subject");
const SESSION: HeaderName = HeaderName::from_static("x-auth-session");
const ROLES: HeaderName = HeaderName::from_static("x-auth-roles");
const SEQ: HeaderName = HeaderName::from_static("x-kickout-seq");

/// Where proxies put the method of the request they ask about: Traefik and Caddy, and by habit nginx.
static ORIGINAL_METHOD: [HeaderName; 2] =
    [HeaderName::from_static("x-forwarded-method"), HeaderName::from_static("x-original-method")];

/// `/v1/auth/verify`, any method: 200 with who it is, for nginx `auth_request`, Traefik, Caddy and Envoy.
pub async fn verify(State(state): State<AppState>, parts: Parts) -> Result<impl IntoResponse, Problem> {
    answer(&state, &parts, None).await
}

/// `/v1/auth/verify/{deny|ask|serve-for}`: the same, with a policy of its own for when this node cannot tell what was
/// revoked lately. The proxy's configuration chooses by the path, which no client can add to as it can to a query. A
/// client that asks here by itself gains nothing: receipts wait for the longest that any of these may go on.
pub async fn verify_on_stale(
    State(state): State<AppState>,
    Path(on_stale): Path<String>,
    parts: Parts,
) -> Result<impl IntoResponse, Problem> {
    let on_stale = match on_stale.as_str() {
        "deny" => OnStale::Deny,
        "ask" => OnStale::Ask,
        "serve-for" if state.trust.serve_for > Duration::ZERO => OnStale::ServeFor(state.trust.serve_for),
        "serve-for" => return Err(Problem::because(Kind::NotFound, "revocation.serve_for is 0s: no route may go on")),
        _ => return Err(Problem::because(Kind::NotFound, "the policies are deny, ask and serve-for")),
    };
    answer(&state, &parts, Some(on_stale)).await
}

async fn answer(
    state: &AppState,
    parts: &Parts,
    on_stale: Option<OnStale>,
) -> Result<impl IntoResponse + use<>, Problem> {
    let credential = match state.trust.accept {
        Accept::Cookie => Credential::cookie(&parts.headers, &state.cookies)?,
        Accept::Bearer => Credential::bearer(&parts.headers)?,
        Accept::Both => Credential::find(&parts.headers, &state.cookies)?,
    };
    let is_cookie = matches!(credential, Credential::Cookie(_));
    let guard = CsrfGuard::of(parts, &state.trust, &original_method(parts, &state.trust), is_cookie)?;
    let Some(token) = credential.token() else { return Err(Problem::new(Kind::TokenMissing)) };
    let caller = state.sessions.authenticate_with(token, on_stale).await?;
    guard.admit(&state.sessions, caller.claims.sid)?;
    Ok([
        (SUBJECT, text(&caller.claims.sub.to_string())),
        (SESSION, text(&caller.claims.sid.to_string())),
        (ROLES, text(&caller.claims.roles.join(" "))),
        (SEQ, HeaderValue::from(caller.seq.0)),
    ])
}

fn text(value: &str) -> HeaderValue {
    // Ids and roles are plain ASCII words.
    HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static(""))
}

/// The method of the request that is asked about, as the strictest header has it. A trusted proxy may say that it is a
/// safe one; anybody may say that it is not: a proxy that was not configured as trusted, or a client that adds the
/// header its proxy does not use, must not switch the CSRF rule off.
fn original_method(parts: &Parts, trust: &Trust) -> Method {
    let said = ORIGINAL_METHOD.iter().flat_map(|name| parts.headers.get_all(name));
    let mut said: Vec<_> = said.map(|value| Method::from_bytes(value.as_bytes()).unwrap_or(Method::POST)).collect();
    said.sort_by_key(Method::is_safe);
    match said.into_iter().next() {
        Some(strictest) if is_proxied(parts, trust) || !strictest.is_safe() => strictest,
        _ => parts.method.clone(),
    }
}

/// `GET /.well-known/jwks.json`: the public keys (RFC 7517).
pub async fn jwks(
    State(keys): State<Arc<KeyRing>>,
    State(sessions): State<Sessions>,
    State(trust): State<Arc<Trust>>,
) -> impl IntoResponse {
    let caching = format!("public, max-age={}", trust.jwks_max_age);
    ([(header::CACHE_CONTROL, caching)], Json(keys.jwks(sessions.clock().now())))
}
