//! Extractors: bodies, credentials, and who is calling. Absent, malformed and refused are three outcomes.

use std::{net::IpAddr, net::SocketAddr, sync::Arc};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{ConnectInfo, FromRef, FromRequest, FromRequestParts, Request},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};
use serde::de::{DeserializeOwned, IgnoredAny};

use super::{
    error::{Kind, Problem},
    scheme::{Scheme, authority},
    source,
    state::{AppState, Trust},
};
use crate::{
    cookies::{self, Cookies, Found},
    csrf::{Origin, Provenance},
    ids::SessionId,
    sessions::{Caller, Sessions, devices::Client},
};

/// The header of a CSRF token.
pub const CSRF_TOKEN: HeaderName = HeaderName::from_static("x-csrf-token");

/// A JSON body: `Content-Type: application/json` and nothing but the members that are asked for.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let is_json = is_json(request.headers());
        let bytes = read(request.into_body()).await?;
        if !is_json {
            return Err(not_json());
        }
        parse(&bytes).map(Self)
    }
}

/// A JSON body that may be left out.
#[derive(Debug)]
pub struct OptionalJson<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        optional_json(&parts.headers, body).await.map(Self)
    }
}

/// A JSON body, or the default if there is none.
///
/// # Errors
/// [`Kind::UnsupportedMediaType`], [`Kind::InvalidJson`], [`Kind::InvalidRequest`].
pub async fn optional_json<T: DeserializeOwned + Default>(headers: &HeaderMap, body: Body) -> Result<T, Problem> {
    let bytes = read(body).await?;
    if bytes.is_empty() {
        return Ok(T::default());
    }
    if !is_json(headers) {
        return Err(not_json());
    }
    parse(&bytes)
}

/// Something else than JSON was announced, or nothing.
#[must_use]
pub fn not_json() -> Problem {
    Problem::because(Kind::UnsupportedMediaType, "send the body as Content-Type: application/json")
}

/// Whether a request says that its body is JSON.
#[must_use]
pub fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(value)) = headers.get(header::CONTENT_TYPE).map(|value| value.to_str()) else { return false };
    value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

async fn read(body: Body) -> Result<Bytes, Problem> {
    // It is in memory already, and within its limit: a layer has received it.
    to_bytes(body, usize::MAX).await.map_err(|_| broken_off())
}

/// A body that ended before its end.
#[must_use]
pub fn broken_off() -> Problem {
    Problem::because(Kind::InvalidRequest, "the body could not be read to its end")
}

/// Errors name the member, never a value: a value may be a password.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // Two questions, asked one after the other: is it JSON, and is it what was asked for? A deserializer alone mixes
    // them up, and would take a list of values for an object.
    if let Err(error) = serde_json::from_slice::<IgnoredAny>(bytes) {
        let place = format!("at line {} column {}", error.line(), error.column());
        return Err(Problem::because(Kind::InvalidJson, place));
    }
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::because(Kind::InvalidRequest, "the body must be a JSON object"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let (path, text) = (error.path().to_string(), error.inner().to_string());
        let said = ["missing field", "unknown field", "duplicate field"].iter().any(|start| text.starts_with(start));
        let wrong = if said { text.split(" at line ").next().unwrap_or_default() } else { "a value of a wrong type" };
        let place = if path == "." { String::new() } else { format!("{path}: ") };
        Problem::because(Kind::InvalidRequest, format!("{place}{wrong}"))
    })
}

/// Which credential a request carries, not looked into yet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Credential<'a> {
    /// None.
    Absent,
    /// A token in the access cookie.
    Cookie(&'a str),
    /// A token in the `Authorization` header.
    Bearer(&'a str),
}

impl<'a> Credential<'a> {
    /// Finds the access token: in a cookie or as a bearer token, never both, and neither twice.
    ///
    /// # Errors
    /// [`Kind::AmbiguousCredentials`], [`Kind::InvalidRequest`].
    pub fn find(headers: &'a HeaderMap, cookies: &Cookies) -> Result<Self, Problem> {
        match (Self::cookie(headers, cookies)?, Self::bearer(headers)?) {
            (Self::Absent, other) | (other, Self::Absent) => Ok(other),
            _ => Err(both()),
        }
    }

    /// Looks at the access cookie only.
    ///
    /// # Errors
    /// [`Kind::AmbiguousCredentials`] if it is there twice.
    pub fn cookie(headers: &'a HeaderMap, cookies: &Cookies) -> Result<Self, Problem> {
        match find_cookie(headers, cookies.access_name()) {
            Found::Absent => Ok(Self::Absent),
            Found::One(token) => Ok(Self::Cookie(token)),
            Found::Several => Err(twice(cookies.access_name())),
        }
    }

    /// Looks at the `Authorization` header only. Other schemes than `Bearer` are not ours and count as absent.
    ///
    /// # Errors
    /// [`Kind::AmbiguousCredentials`] for two headers, [`Kind::InvalidRequest`] for a malformed one (RFC 6750 §2.1).
    pub fn bearer(headers: &'a HeaderMap) -> Result<Self, Problem> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else { return Ok(Self::Absent) };
        if values.next().is_some() {
            return Err(Problem::because(Kind::AmbiguousCredentials, "there is more than one Authorization header"));
        }
        let Ok(value) = value.to_str() else {
            return Err(Problem::because(Kind::InvalidRequest, "the Authorization header is not plain text"));
        };
        let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Ok(Self::Absent);
        }
        let token = token.trim();
        if token.is_empty() || token.contains(' ') {
            return Err(Problem::because(Kind::InvalidRequest, "the Authorization header must be: Bearer TOKEN"));
        }
        Ok(Self::Bearer(token))
    }

    /// The token, wherever it was.
    #[must_use]
    pub const fn token(self) -> Option<&'a str> {
        match self {
            Self::Absent => None,
            Self::Cookie(token) | Self::Bearer(token) => Some(token),
        }
    }
}

/// Finds a cookie in the request.
pub fn find_cookie<'a>(headers: &'a HeaderMap, name: &str) -> Found<'a> {
    // As bytes: another application's cookie beside ours may hold anything.
    cookies::find(headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes), name)
}

/// All refresh cookies of the request. A sibling host can toss in its own; each has a MAC that says whether it is ours.
#[must_use]
pub fn refresh_cookies<'a>(headers: &'a HeaderMap, cookies: &Cookies) -> Vec<&'a str> {
    let headers = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes);
    cookies::values(headers, cookies.refresh_name()).collect()
}

/// Cookies and a bearer token in one request.
#[must_use]
pub fn both() -> Problem {
    Problem::because(Kind::AmbiguousCredentials, "send either cookies or an Authorization header, not both")
}

/// The same cookie twice.
#[must_use]
pub fn twice(name: &str) -> Problem {
    Problem::because(
        Kind::AmbiguousCredentials,
        format!("the cookie {name} was sent more than once: another site of this domain may have set it; remove it"),
    )
}

/// How a caller has shown who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// By cookie: the answer sets cookies.
    Cookie,
    /// By bearer token: the answer holds tokens.
    Bearer,
}

/// A caller whose token is good and who has passed the CSRF rule.
#[derive(Debug)]
pub struct Authenticated {
    /// Who.
    pub caller: Caller,
    /// How.
    pub via: Via,
}

impl FromRequestParts<AppState> for Authenticated {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let credential = Credential::find(&parts.headers, &state.cookies)?;
        let is_cookie = matches!(credential, Credential::Cookie(_));
        let guard = CsrfGuard::of(parts, &state.trust, &parts.method, is_cookie)?;
        let Some(token) = credential.token() else { return Err(Problem::new(Kind::TokenMissing)) };
        let caller = state.sessions.authenticate(token).await?;
        guard.admit(&state.sessions, caller.claims.sid)?;
        Ok(Self { caller, via: if is_cookie { Via::Cookie } else { Via::Bearer } })
    }
}

/// The CSRF rule in its two steps: a browser's word is judged at once; a token can be judged only when the session is
/// known that it must be bound to.
#[derive(Debug)]
pub struct CsrfGuard {
    /// The token to be judged; `None` if nothing is left to do.
    token: Option<String>,
}

impl CsrfGuard {
    /// The first step. `method` is that of the act, which forward-auth knows better than its own request.
    ///
    /// # Errors
    /// [`Kind::CsrfRefused`].
    pub fn of(parts: &Parts, trust: &Trust, method: &Method, has_cookie: bool) -> Result<Self, Problem> {
        if !has_cookie || method.is_safe() {
            return Ok(Self { token: None });
        }
        match origin(parts, trust) {
            Origin::Trusted => Ok(Self { token: None }),
            Origin::Foreign => Err(foreign()),
            Origin::Unsaid => {
                Ok(Self { token: Some(text(&parts.headers, &CSRF_TOKEN).unwrap_or_default().to_owned()) })
            }
        }
    }

    /// The second step.
    ///
    /// # Errors
    /// [`Kind::CsrfRefused`].
    pub fn admit(&self, sessions: &Sessions, session: SessionId) -> Result<(), Problem> {
        self.admit_one_of(sessions, [session])
    }

    /// The second step where cookies name several sessions: the client holds a token for one of them.
    ///
    /// # Errors
    /// [`Kind::CsrfRefused`].
    pub fn admit_one_of(&self, sessions: &Sessions, of: impl IntoIterator<Item = SessionId>) -> Result<(), Problem> {
        match &self.token {
            Some(token) if !of.into_iter().any(|session| sessions.is_csrf_token(token, session)) => {
                Err(Problem::because(
                    Kind::CsrfRefused,
                    "send the X-CSRF-Token that login or GET /v1/auth/csrf gave for this session",
                ))
            }
            _ => Ok(()),
        }
    }
}

/// Passes requests that make a session (login, signup): a browser must say that they come from a page of ours; a client
/// that says nothing passes, since its JSON body is what no form can send.
#[derive(Debug)]
pub struct NotForeign;

impl<S: Send + Sync> FromRequestParts<S> for NotForeign
where
    Arc<Trust>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let trust = Arc::<Trust>::from_ref(state);
        match origin(parts, &trust) {
            Origin::Trusted | Origin::Unsaid => Ok(Self),
            Origin::Foreign => Err(foreign()),
        }
    }
}

/// Where a request comes from.
#[must_use]
pub fn origin(parts: &Parts, trust: &Trust) -> Origin {
    provenance(parts, trust).judge(&trust.origins)
}

/// A browser has said that the request comes from a page that may not send it.
#[must_use]
pub fn foreign() -> Problem {
    Problem::because(
        Kind::CsrfRefused,
        "the request comes from another origin; http.allowed_origins names those that may",
    )
}

fn provenance<'a>(parts: &'a Parts, trust: &Trust) -> Provenance<'a> {
    let headers = &parts.headers;
    Provenance {
        fetch_site: said(headers, &FETCH_SITE),
        origin: said(headers, &header::ORIGIN),
        host: authority(parts, trust),
        is_plain: Scheme::of(parts, trust) == Scheme::Http,
    }
}

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
pub(super) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// A header that decides trust: sent twice, or not text, it has been said, and matches nothing.
pub(super) fn said<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_some() { Some("") } else { Some(first.to_str().unwrap_or("")) }
}

/// Whether the request was sent by a proxy that is trusted to speak for its client.
#[must_use]
pub fn is_proxied(parts: &Parts, trust: &Trust) -> bool {
    peer(parts).is_some_and(|peer| trust.proxies.iter().any(|network| network.contains(&peer)))
}

pub(super) fn peer(parts: &Parts) -> Option<IpAddr> {
    parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip().to_canonical())
}

/// From where and with what a request comes.
#[derive(Debug)]
pub struct From(pub Client);

impl<S: Send + Sync> FromRequestParts<S> for From
where
    Arc<Trust>: FromRef<S>,
{
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let trust = Arc::<Trust>::from_ref(state);
        let user_agent = text(&parts.headers, &header::USER_AGENT).map(str::to_owned);
        let (address, source) = (client_address(parts, &trust), source::of(parts, &trust));
        Ok(Self(Client { device: None, address, user_agent, source }))
    }
}

/// The client's address, or its proxy's where that does not say it.
fn client_address(parts: &Parts, trust: &Trust) -> Option<IpAddr> {
    let peer = peer(parts)?;
    Some(forwarded_for(parts, trust).unwrap_or(peer))
}

/// The client's address as a trusted proxy says it: the last one in `X-Forwarded-For` that is not a trusted proxy's.
/// What stands further left was written by the client. `None` if no trusted proxy speaks, if what it says cannot be read,
/// or if it names trusted proxies only.
pub(super) fn forwarded_for(parts: &Parts, trust: &Trust) -> Option<IpAddr> {
    if !is_proxied(parts, trust) {
        return None;
    }
    // As bytes: a header is not passed over for what its client has put left of the proxy's word.
    let hops = parts.headers.get_all(&FORWARDED_FOR).iter().map(HeaderValue::as_bytes);
    let hops: Vec<&[u8]> = hops.flat_map(|value| value.split(|&byte| byte == b',')).collect();
    for hop in hops.iter().rev() {
        let address = hop_address(std::str::from_utf8(hop).ok()?.trim())?;
        if !trust.proxies.iter().any(|network| network.contains(&address)) {
            return Some(address);
        }
    }
    None
}

/// An address, or one with a port, as some proxies write it: `192.0.2.1:443`, `[2001:db8::1]:443`.
fn hop_address(hop: &str) -> Option<IpAddr> {
    let address = hop.parse().ok().or_else(|| hop.parse().ok().as_ref().map(SocketAddr::ip));
    address.map(|address: IpAddr| address.to_canonical())
}

/// Turns a bare status, as layers and the router answer, into a problem.
#[must_use]
pub fn problem_of(status: StatusCode) -> Problem {
    Problem::new(match status {
        StatusCode::NOT_FOUND => Kind::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => Kind::MethodNotAllowed,
        StatusCode::REQUEST_TIMEOUT => Kind::RequestTimeout,
        StatusCode::PAYLOAD_TOO_LARGE => Kind::BodyTooLarge,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Kind::UnsupportedMediaType,
        StatusCode::TOO_MANY_REQUESTS => Kind::TooManyRequests,
        StatusCode::SERVICE_UNAVAILABLE => Kind::Unavailable,
        status if status.is_client_error() => Kind::InvalidRequest,
        _ => Kind::Internal,
    })
}
