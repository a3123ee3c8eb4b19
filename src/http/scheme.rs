//! How a client speaks to the service: what only a secure connection may be told, and which origin is our own, depend on
//! it.

use std::sync::Arc;

use axum_server::tls::TlsInfo;
use http::{HeaderName, header, request::Parts};

use super::{
    extract::{is_proxied, said},
    state::Trust,
};

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
    /// A trusted proxy says something else, or says it twice.
    Unclear,
}

impl Scheme {
    /// From the connection, or from the word of a trusted proxy at its other end; never from a client's headers.
    #[must_use]
    pub fn of(parts: &Parts, trust: &Trust) -> Self {
        let forwarded = is_proxied(parts, trust).then(|| said(&parts.headers, &FORWARDED_PROTO)).flatten();
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

/// What the client calls the service, with its port: from its own `Host`, or as a trusted proxy says. `None` too where
/// that is said twice: one of the two may be the client's invention.
#[must_use]
pub fn authority<'a>(parts: &'a Parts, trust: &Trust) -> Option<&'a str> {
    let forwarded = is_proxied(parts, trust).then(|| said(&parts.headers, &FORWARDED_HOST)).flatten();
    forwarded.or_else(|| said(&parts.headers, &header::HOST)).filter(|host| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::extract::ConnectInfo;
    use http::Request;

    use super::*;

    fn of(headers: &[(&str, &str)]) -> (Scheme, Option<String>) {
        let trust = Trust { proxies: vec!["10.0.0.0/8".parse().unwrap()], ..Trust::default() };
        let builder = Request::builder().extension(ConnectInfo(SocketAddr::from(([10, 0, 0, 1], 1))));
        let request = headers.iter().fold(builder, |request, (name, value)| request.header(*name, *value));
        let (parts, ()) = request.body(()).unwrap().into_parts();
        (Scheme::of(&parts, &trust), authority(&parts, &trust).map(str::to_owned))
    }

    #[test]
    fn what_a_proxy_passes_on_twice_says_nothing_good() {
        let scheme = |values: &[&'static str]| {
            let headers: Vec<_> = values.iter().map(|value| ("x-forwarded-proto", *value)).collect();
            of(&headers).0
        };
        assert_eq!(scheme(&[]), Scheme::Http);
        assert_eq!(scheme(&["http"]), Scheme::Http);
        assert_eq!(scheme(&["https"]), Scheme::ProxiedHttps);
        for twice in [["https", "http"], ["http", "https"], ["https", "https"], ["http", "http"]] {
            assert_eq!(scheme(&twice), Scheme::Unclear, "{twice:?}");
        }
        let (host, own) = ("x-forwarded-host", "host");
        for (headers, expected) in [
            (&[(own, "a.example")][..], Some("a.example")),
            (&[(own, "a.example"), (host, "b.example")], Some("b.example")),
            (&[(own, "a.example"), (host, "b.example"), (host, "b.example")], None),
            (&[(own, "a.example"), (own, "b.example")], None),
            (&[(own, "a.example"), (host, "")], None),
        ] {
            assert_eq!(of(headers).1.as_deref(), expected, "{headers:?}");
        }
    }
}
