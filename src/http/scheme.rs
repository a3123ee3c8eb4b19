//! How a client speaks to the service: what only a secure connection may be told, and which origin is our own, depend on
//! it.

use std::sync::Arc;

use axum_server::tls::TlsInfo;
use http::{HeaderMap, HeaderName, header, request::Parts};

use super::{extract::is_proxied, state::Trust};

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// How the client itself has sent a request, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Over TLS to our own listener.
    Https,
    /// Over TLS to a trusted proxy, which says so.
    ProxiedHttps,
    /// In the clear.
    Http,
    /// A trusted proxy says something else.
    Unclear,
}

impl Scheme {
    /// From the connection, or from the word of a trusted proxy at its other end; never from a client's headers.
    #[must_use]
    pub fn of(parts: &Parts, trust: &Trust) -> Self {
        let forwarded = is_proxied(parts, trust).then(|| text(&parts.headers, &FORWARDED_PROTO)).flatten();
        match forwarded {
            Some(scheme) if scheme.eq_ignore_ascii_case("https") => Self::ProxiedHttps,
            Some(scheme) if scheme.eq_ignore_ascii_case("http") => Self::Http,
            Some(_) => Self::Unclear,
            None if parts.extensions.get::<Arc<TlsInfo>>().is_some() => Self::Https,
            None => Self::Http,
        }
    }

    /// Whether nobody between the client and us, or a proxy that we trust, can read along.
    #[must_use]
    pub const fn is_secure(self) -> bool {
        matches!(self, Self::Https | Self::ProxiedHttps)
    }
}

/// What the client calls the service, with its port: from its own `Host`, or as a trusted proxy says.
#[must_use]
pub fn authority<'a>(parts: &'a Parts, trust: &Trust) -> Option<&'a str> {
    let forwarded = is_proxied(parts, trust).then(|| text(&parts.headers, &FORWARDED_HOST)).flatten();
    forwarded.or_else(|| text(&parts.headers, &header::HOST))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
