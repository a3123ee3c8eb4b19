//! What a request says of where it comes from.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use axum::extract::{ConnectInfo, FromRequestParts};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, request::Parts};
use kickout::{
    http::{
        extract::{CsrfGuard, From, NotForeign, is_proxied},
        state::Trust,
    },
    limits::Source,
};

use super::ready;

/// The page that may use cookies here.
const APP: &str = "https://app.example";

/// Headers that are read, in any case.
const NAMES: [&str; 9] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-method",
    "forwarded",
    "x-real-ip",
    "sec-fetch-site",
    "origin",
    "host",
];

/// A request's peer (the first line) and headers (a line each, `name: value`).
///
/// The client's address is its peer's, unless a trusted proxy says otherwise; whatever the client has sent itself, what
/// trusted proxies add is what counts. And a page is trusted only if a browser says that it is ours.
///
/// # Panics
/// If that does not hold.
pub fn check(data: &[u8]) -> bool {
    let mut lines = data.split(|&byte| byte == b'\n');
    let peer = lines.next().and_then(|line| std::str::from_utf8(line).ok()?.trim().parse().ok());
    let peer: IpAddr = peer.unwrap_or(IpAddr::from([10, 0, 0, 1]));
    let mut headers = HeaderMap::new();
    for line in lines {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let Ok(name) = HeaderName::from_bytes(&line[..colon]) else { continue };
        let Ok(value) = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()) else { continue };
        if NAMES.contains(&name.as_str()) {
            headers.append(name, value);
        }
    }
    let trust = Arc::new(trust());
    let request = Seen { peer, headers };
    let address = request.address(&trust);
    assert_eq!(is_proxied(&request.parts(), &trust), is_trusted(peer));
    if is_trusted(peer) {
        request.says(address);
    } else {
        assert_eq!(address, peer.to_canonical(), "{request:?}");
    }
    request.cannot_choose(&trust);
    request.is_ours(&trust);
    address != peer.to_canonical()
}

fn trust() -> Trust {
    Trust {
        origins: vec![APP.to_owned()],
        proxies: ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().expect("a network")).into(),
        ..Trust::default()
    }
}

/// What [`trust`] says, written out again.
fn is_trusted(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[0] == 10,
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => address.octets()[0] == 10,
            None => address.octets()[0] == 0xfd,
        },
    }
}

/// An address that may have a port.
fn hop_address(hop: &str) -> Option<IpAddr> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let address: IpAddr = if let Some(inner) = hop.strip_prefix('[') {
        let (address, port) = inner.split_once("]:")?;
        let (address, zone) = address.split_once('%').unwrap_or((address, "0"));
        let is_good = digits(port) && port.parse::<u16>().is_ok() && digits(zone) && zone.parse::<u32>().is_ok();
        is_good.then(|| address.parse::<Ipv6Addr>().ok())??.into()
    } else if let Some((address, port)) = hop.split_once(':').filter(|(address, _)| address.contains('.')) {
        let is_good = digits(port) && port.parse::<u16>().is_ok();
        is_good.then(|| address.parse::<Ipv4Addr>().ok())??.into()
    } else {
        hop.parse().ok()?
    };
    Some(address.to_canonical())
}

/// A request as the service sees it.
#[derive(Debug, Clone)]
struct Seen {
    peer: IpAddr,
    headers: HeaderMap,
}

impl Seen {
    fn parts(&self) -> Parts {
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.method = Method::POST;
        parts.headers = self.headers.clone();
        parts.extensions.insert(ConnectInfo(SocketAddr::new(self.peer, 443)));
        parts
    }

    /// The client's address, as the service keeps it.
    fn address(&self, trust: &Arc<Trust>) -> IpAddr {
        let Ok(From(client)) = ready(From::from_request_parts(&mut self.parts(), trust));
        let address = client.address.expect("there is a peer");
        // Limits count by the same address, or by none where it is not the client's own.
        match client.source {
            Source::Address(source) => assert!(source == address && !is_trusted(source), "{self:?}"),
            Source::Unknown => assert_eq!(address, self.peer.to_canonical(), "{self:?}"),
        }
        address
    }

    /// All that `X-Forwarded-For` says, from the right.
    fn hops(&self) -> Vec<Option<IpAddr>> {
        let values: Vec<&[u8]> = self.headers.get_all("x-forwarded-for").iter().map(HeaderValue::as_bytes).collect();
        let all = values.join(&b","[..]);
        all.rsplit(|&byte| byte == b',').map(|hop| hop_address(std::str::from_utf8(hop).ok()?.trim())).collect()
    }

    /// An address that is not the peer's stands there, is no proxy's, and only trusted proxies stand right of it.
    fn says(&self, address: IpAddr) {
        let stranger = self.hops().into_iter().find(|hop| hop.is_none_or(|hop| !is_trusted(hop)));
        assert_eq!(address, stranger.flatten().unwrap_or(self.peer.to_canonical()), "{self:?}");
    }

    /// Whatever a client sends, its trusted proxies add its address at the right: in the last header, or in one more.
    fn cannot_choose(&self, trust: &Arc<Trust>) {
        let client = IpAddr::from([203, 0, 113, 9]);
        for added in ["203.0.113.9", "203.0.113.9, 10.1.1.1", "203.0.113.9,fd00::1 ,  ::ffff:10.2.2.2"] {
            let mut proxied = Self { peer: IpAddr::from([10, 0, 0, 1]), ..self.clone() };
            proxied.headers.append("x-forwarded-for", HeaderValue::from_static(added));
            assert_eq!(proxied.address(trust), client, "{proxied:?}");
            let Ok(From(counted)) = ready(From::from_request_parts(&mut proxied.parts(), trust));
            assert_eq!(counted.source, Source::Address(client), "{proxied:?}");

            let mut values: Vec<_> = self.headers.get_all("x-forwarded-for").iter().cloned().collect();
            let last = values.pop().map(|last| [last.as_bytes(), added.as_bytes()].join(&b", "[..]));
            values.extend(last.and_then(|last| HeaderValue::from_bytes(&last).ok()));
            if values.is_empty() {
                continue;
            }
            proxied.headers.remove("x-forwarded-for");
            for value in values {
                proxied.headers.append("x-forwarded-for", value);
            }
            assert_eq!(proxied.address(trust), client, "{proxied:?}");
        }
    }

    /// A request that passes comes from a page of ours, or not from a browser; and login and all else agree on that.
    fn is_ours(&self, trust: &Arc<Trust>) {
        let passes = ready(NotForeign::from_request_parts(&mut self.parts(), trust)).is_ok();
        assert_eq!(CsrfGuard::of(&self.parts(), trust, &Method::POST, true).is_ok(), passes, "{self:?}");
        assert!(CsrfGuard::of(&self.parts(), trust, &Method::GET, true).is_ok());
        assert!(CsrfGuard::of(&self.parts(), trust, &Method::POST, false).is_ok());
        let all = |name| self.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>();
        let (sites, origins) = (all("sec-fetch-site"), all("origin"));
        // Sent twice, or not text, it says nothing good.
        let one = |name| {
            let values: Vec<_> = self.headers.get_all(name).iter().collect();
            let text = |value: &HeaderValue| value.to_str().map(str::to_owned).unwrap_or_default();
            (!values.is_empty()).then(|| if values.len() == 1 { text(values[0]) } else { String::new() })
        };
        let of_proxy = |name| one(name).filter(|_| is_trusted(self.peer));
        let (forwarded_host, proto) = (of_proxy("x-forwarded-host"), of_proxy("x-forwarded-proto"));
        let host = forwarded_host.or(one("host")).filter(|host| !host.is_empty());
        let is_plain = proto.as_deref().is_none_or(|proto| proto.eq_ignore_ascii_case("http"));
        let is_own = |origin: &[u8]| {
            let own = |scheme: &str| {
                host.as_ref().is_some_and(|host| origin.eq_ignore_ascii_case(format!("{scheme}{host}").as_bytes()))
                    && origin.starts_with(scheme.as_bytes())
            };
            own("https://") || is_plain && own("http://")
        };
        let expected = match (&sites[..], &origins[..]) {
            ([], []) | ([b"same-origin" | b"none"], _) => true,
            (_, [origin]) if *origin == APP.as_bytes() => true,
            ([], [origin]) => is_own(origin),
            _ => false,
        };
        assert_eq!(passes, expected, "{self:?}");
    }
}
