//! Answers for others: forward-auth for a proxy, and the public keys.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};

use crate::{
    config::Accept,
    http::{
        error::{Kind, Problem},
        extract::{Credential, CsrfGuard, is_proxied},
        state::{AppState, Trust},
    },
    revocation::OnStale,
    secret,
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

/// `GET /.well-known/jwks.json`: the public keys (RFC 7517), also those that will sign only later.
///
/// As `application/json` and not `application/jwk-set+json` (RFC 7517 §8.5.1): both are JSON, clients take either from a
/// URL that they were given, and some look for the former. One type for all also needs no `Vary`.
pub async fn jwks(
    State(keys): State<Arc<KeyRing>>,
    State(sessions): State<Sessions>,
    State(trust): State<Arc<Trust>>,
    headers: HeaderMap,
) -> Response {
    let body = keys.jwks(sessions.clock().now()).to_string();
    // Of these very bytes, so it is a strong one.
    let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(secret::sha256(body.as_bytes())));
    let caching = format!("public, max-age={}", trust.jwks_max_age);
    let is_known = has_tag(&headers, &tag);
    let head = [(header::CACHE_CONTROL, caching), (header::ETAG, tag)];
    if is_known {
        return (StatusCode::NOT_MODIFIED, head).into_response();
    }
    (head, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Whether `If-None-Match` names a tag (RFC 9110 §13.1.2), by the weak comparison.
fn has_tag(headers: &HeaderMap, tag: &str) -> bool {
    let lists = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    // Our tags have no comma in them, so what is cut out of another's is none of ours.
    let mut tags = lists.flat_map(|list| list.split(',')).map(str::trim);
    tags.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::extract::ConnectInfo;
    use http::Request;
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        /// The CSRF rule is for methods that are not safe. Only a trusted proxy can say that one is, and only if nobody
        /// says otherwise.
        #[test]
        fn no_client_talks_its_request_out_of_the_csrf_rule(
            method in "GET|HEAD|POST|DELETE",
            said in vec(("x-forwarded-method|x-original-method", "GET|OPTIONS|POST|PUT|get|[ -~]{0,6}"), 0..4),
            is_proxied: bool,
        ) {
            let (mut parts, ()) = Request::new(()).into_parts();
            parts.method = method.parse().unwrap();
            for (name, value) in &said {
                parts.headers.append(HeaderName::try_from(name).unwrap(), value.parse().unwrap());
            }
            let peer: SocketAddr = if is_proxied { "10.0.0.1:1" } else { "192.0.2.1:1" }.parse().unwrap();
            parts.extensions.insert(ConnectInfo(peer));
            let trust = Trust { proxies: vec!["10.0.0.0/8".parse().unwrap()], ..Trust::default() };
            let is_safe = |said: &str| matches!(said, "GET" | "HEAD" | "OPTIONS" | "TRACE");
            let says_all_safe = said.iter().all(|(_, value)| is_safe(value));
            let expected = says_all_safe && (is_safe(&method) || is_proxied && !said.is_empty());
            prop_assert_eq!(original_method(&parts, &trust).is_safe(), expected, "{} {:?}", method, said);
        }
    }
}
