//! Where a request comes from, as limits count it: an address that its client has not chosen, or nobody knows.
//!
//! It is the client's address ([`extract`](super::extract)) where that is known. Where it is not, the peer's address
//! stands for everybody whom a proxy lets through, and a limit meant for one would be one for all of them:
//!
//! - A trusted proxy says nothing of its client, or nothing that can be read, or names only trusted proxies. That is
//!   said in the log once.
//! - A peer in a private network speaks for others (`X-Forwarded-For`), and `http.trusted_proxies` does not name it.
//!   That is a proxy nobody has told us of, and is said in the log once. A public peer that does so is a client that
//!   makes things up, and counts as what it is.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Once,
};

use http::request::Parts;

use super::{
    extract::{FORWARDED_FOR, forwarded_for, is_proxied, peer},
    state::Trust,
};
use crate::limits::Source;

/// Where a request comes from.
pub(super) fn of(parts: &Parts, trust: &Trust) -> Source {
    let Some(peer) = peer(parts) else { return Source::Unknown };
    if is_proxied(parts, trust) {
        let client = forwarded_for(parts, trust);
        if client.is_none() {
            tell_of_silent(peer);
        }
        return client.map_or(Source::Unknown, Source::Address);
    }
    if !parts.headers.contains_key(&FORWARDED_FOR) || !is_private(peer) {
        return Source::Address(peer);
    }
    tell_of(peer);
    Source::Unknown
}

fn tell_of(peer: IpAddr) {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        tracing::warn!(
            %peer,
            "this peer sends X-Forwarded-For and is not in http.trusted_proxies: limits take all its clients for one"
        );
    });
}

fn tell_of_silent(peer: IpAddr) {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        tracing::warn!(
            %peer,
            "this peer is in http.trusted_proxies and does not say whom it speaks for: limits take all its clients for \
             one. Have it send X-Forwarded-For with the client's address (nginx: proxy_set_header X-Forwarded-For \
             $proxy_add_x_forwarded_for), and list no client's address in http.trusted_proxies"
        );
    });
}

/// Whether only our own network leads there.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback() || address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => {
            address == Ipv6Addr::LOCALHOST || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::extract::ConnectInfo;
    use http::Request;

    use super::*;
    use crate::config::Accept;

    fn source(peer: &str, forwarded: Option<&str>) -> Source {
        let trust = Trust {
            origins: Vec::new(),
            proxies: vec!["10.0.0.0/8".parse().unwrap()],
            hsts: None,
            hsts_proxied: false,
            clear_site_data: None,
            accept: Accept::Both,
            serve_for: std::time::Duration::ZERO,
            patience: std::time::Duration::ZERO,
            jwks_max_age: 0,
        };
        let mut request = Request::builder();
        if let Some(forwarded) = forwarded {
            request = request.header("x-forwarded-for", forwarded);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        parts.extensions.insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 1)));
        of(&parts, &trust)
    }

    #[test]
    fn a_source_is_an_address_that_its_client_has_not_chosen_or_unknown() {
        let at = |address: &str| Source::Address(address.parse().unwrap());
        for (peer, forwarded, expected) in [
            ("203.0.113.9", None, at("203.0.113.9")),
            ("::ffff:203.0.113.9", None, at("203.0.113.9")),
            ("203.0.113.9", Some("198.51.100.1"), at("203.0.113.9")),
            ("127.0.0.1", None, at("127.0.0.1")),
            ("127.0.0.1", Some("198.51.100.1"), Source::Unknown),
            ("192.168.1.2", Some("198.51.100.1"), Source::Unknown),
            ("fd00::1", Some("198.51.100.1"), Source::Unknown),
            ("10.0.0.1", Some("198.51.100.1"), at("198.51.100.1")),
            ("10.0.0.1", Some("198.51.100.1, 203.0.113.5, 10.0.0.2"), at("203.0.113.5")),
            ("10.0.0.1", Some("2001:db8::1"), at("2001:db8::1")),
            ("10.0.0.1", Some("198.51.100.1:5678"), at("198.51.100.1")),
            ("10.0.0.1", Some("198.51.100.1:5678, 10.0.0.2:80"), at("198.51.100.1")),
            ("10.0.0.1", Some("[2001:db8::1]:5678"), at("2001:db8::1")),
            ("10.0.0.1", Some("[::ffff:198.51.100.1]:80"), at("198.51.100.1")),
            ("10.0.0.1", Some("198.51.100.1:"), Source::Unknown),
            ("10.0.0.1", Some("198.51.100.1:65536"), Source::Unknown),
            ("10.0.0.1", Some("10.0.0.2:80"), Source::Unknown),
            ("10.0.0.1", None, Source::Unknown),
            ("10.0.0.1", Some("10.0.0.2"), Source::Unknown),
            ("10.0.0.1", Some("198.51.100.1, somebody"), Source::Unknown),
        ] {
            assert_eq!(source(peer, forwarded), expected, "{peer} {forwarded:?}");
        }
    }
}
