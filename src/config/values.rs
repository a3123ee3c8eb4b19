//! The types of configured values that the standard library does not have.

use std::{fmt, net::IpAddr, net::Ipv4Addr, net::Ipv6Addr, str::FromStr, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::Zeroizing;

use crate::secret;

/// A duration as it is written in a configuration: a whole number and one unit, like `250ms`, `2s`, `15m`, `12h` or
/// `30d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(Duration);

/// The text was not a [`Span`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a duration: expected a whole number and one unit of ms, s, m, h or d, like 250ms or 15m")]
pub struct ParseSpanError;

/// Each unit and its length in milliseconds, the longest first.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

impl Span {
    /// A span of so many seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// A span of so many milliseconds.
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self(Duration::from_millis(ms))
    }

    /// A span of so many minutes.
    #[must_use]
    pub const fn from_mins(mins: u64) -> Self {
        Self(Duration::from_secs(mins * 60))
    }

    /// A span of so many hours.
    #[must_use]
    pub const fn from_hours(hours: u64) -> Self {
        Self(Duration::from_secs(hours * 3600))
    }

    /// A span of so many days of 24 hours.
    #[must_use]
    pub const fn from_days(days: u64) -> Self {
        Self(Duration::from_secs(days * 86_400))
    }

    /// The span as the standard library's type.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

impl TryFrom<String> for Span {
    type Error = ParseSpanError;

    fn try_from(text: String) -> Result<Self, ParseSpanError> {
        text.parse()
    }
}

impl FromStr for Span {
    type Err = ParseSpanError;

    fn from_str(text: &str) -> Result<Self, ParseSpanError> {
        let split = text.find(|c: char| !c.is_ascii_digit()).ok_or(ParseSpanError)?;
        let (number, unit) = text.split_at(split);
        let (_, unit_ms) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(ParseSpanError)?;
        let number: u64 = number.parse().map_err(|_| ParseSpanError)?;
        number.checked_mul(*unit_ms).map(|ms| Self(Duration::from_millis(ms))).ok_or(ParseSpanError)
    }
}

impl fmt::Display for Span {
    /// In the longest unit that gives a whole number, so that what is printed can be read back unchanged.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        if ms == 0 {
            return f.write_str("0s");
        }
        let fits = UNITS.iter().find(|(_, unit_ms)| ms.is_multiple_of(u128::from(*unit_ms)));
        let (unit, unit_ms) = fits.unwrap_or(&("ms", 1));
        write!(f, "{}{unit}", ms / u128::from(*unit_ms))
    }
}

/// A configured secret. Neither `Debug` nor `Serialize` shows it: they say `(set)`, or nothing if it is empty.
#[derive(Clone, Default, Deserialize)]
#[serde(from = "String")]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The secret itself, for the one place that uses it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether no secret is configured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn redacted(&self) -> &'static str {
        if self.is_empty() { "" } else { "(set)" }
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        secret::equal(self.0.as_bytes(), other.0.as_bytes())
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", if self.is_empty() { "empty" } else { "…" })
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.redacted())
    }
}

/// A web origin in the spelling that browsers send: lower case, and no port where the scheme implies it
/// (RFC 6454 §6.2). Never `*` and never `null`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin(String);

/// Why the text is not an [`Origin`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseOriginError {
    /// `*`: any site could then use a logged-in user's cookies.
    #[error("would allow every site")]
    Any,
    /// `null`: sandboxed frames and local files of anybody send it.
    #[error("is what any sandboxed page sends as its origin")]
    Null,
    /// No `scheme://`, or one with characters that a scheme does not have.
    #[error("does not begin with a scheme such as https://")]
    Scheme,
    /// There is more than a host and a port.
    #[error("has more than a scheme, a host and a port (a path, a final / or a user name is no part of an origin)")]
    Excess,
    /// The host is no name or address.
    #[error("has no valid host (wildcards are not supported; an international name is written in its xn-- form)")]
    Host,
    /// The port is not a number from 1 to 65535.
    #[error("has a port that is not a number from 1 to 65535")]
    Port,
}

impl Origin {
    /// The origin as a browser writes it into the `Origin` header.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Origin {
    type Err = ParseOriginError;

    fn from_str(text: &str) -> Result<Self, ParseOriginError> {
        match text {
            "*" => return Err(ParseOriginError::Any),
            "null" => return Err(ParseOriginError::Null),
            _ => {}
        }
        let text = text.to_ascii_lowercase();
        let (scheme, authority) = text.split_once("://").ok_or(ParseOriginError::Scheme)?;
        // RFC 3986 §3.1.
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        if !is_scheme {
            return Err(ParseOriginError::Scheme);
        }
        if authority.contains(['/', '?', '#', '@', '\\']) {
            return Err(ParseOriginError::Excess);
        }
        let (host, port) = split_port(authority)?;
        let host = normal_host(host).ok_or(ParseOriginError::Host)?;
        Ok(Self(match (scheme, port) {
            (_, None) | ("http", Some(80)) | ("https", Some(443)) => format!("{scheme}://{host}"),
            (_, Some(port)) => format!("{scheme}://{host}:{port}"),
        }))
    }
}

impl TryFrom<String> for Origin {
    type Error = ParseOriginError;

    fn try_from(text: String) -> Result<Self, ParseOriginError> {
        text.parse()
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Splits `host[:port]`. The colons inside the brackets of an IPv6 address do not count.
fn split_port(authority: &str) -> Result<(&str, Option<u16>), ParseOriginError> {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            let is_number = port.chars().all(|c| c.is_ascii_digit());
            let port = port.parse().ok().filter(|port| is_number && *port != 0);
            port.map(|port| (host, Some(port))).ok_or(ParseOriginError::Port)
        }
        _ => Ok((authority, None)),
    }
}

/// The host as a browser spells it; `None` if it is neither a name nor an address.
fn normal_host(host: &str) -> Option<String> {
    if let Some(address) = host.strip_prefix('[') {
        let address: Ipv6Addr = address.strip_suffix(']')?.parse().ok()?;
        return Some(format!("[{address}]"));
    }
    // A host that ends in a number is an IPv4 address to a browser (WHATWG URL §3.5), so it has to be a whole one.
    let last = host.rsplit('.').next().unwrap_or_default();
    if last.chars().all(|c| c.is_ascii_digit()) {
        return host.parse::<Ipv4Addr>().ok().map(|address| address.to_string());
    }
    is_host_name(host).then(|| host.to_owned())
}

/// Whether the text is a host name: labels of letters, digits, hyphens and underscores with single dots between them,
/// each of at most 63 characters, 253 in all (RFC 1035 §2.3.4).
pub(super) fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

/// A network in CIDR form, or one address. Bits behind the prefix are cleared.
pub(super) fn parse_network(text: &str) -> Option<IpNet> {
    let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))?;
    Some(network.trunc())
}

/// Reads a list of networks, for serde.
pub(super) fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts
        .iter()
        .map(|text| parse_network(text).ok_or_else(|| de::Error::custom("not an IP address or network")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_one_number_with_one_unit_and_prints_as_it_is_read() {
        for text in ["250ms", "2s", "90s", "15m", "12h", "30d", "0s"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text, "{text}");
        }
        assert_eq!("120m".parse::<Span>().unwrap().to_string(), "2h");
        assert_eq!("2s".parse::<Span>().unwrap().duration(), Duration::from_secs(2));
        for text in ["", "15", "m", "15 m", "-1s", "+1s", "1.5h", "1h30m", "15M", "1w", "99999999999999999999d", "١s"]
        {
            assert_eq!(text.parse::<Span>(), Err(ParseSpanError), "{text:?}");
        }
        assert_eq!("213503982335d".parse::<Span>(), Err(ParseSpanError), "more milliseconds than 64 bits hold");
    }

    #[test]
    fn an_origin_is_spelled_as_browsers_spell_it() {
        for (text, normal) in [
            ("https://App.Example.com", "https://app.example.com"),
            ("https://app.example.com:443", "https://app.example.com"),
            ("http://localhost:80", "http://localhost"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("https://app.example.com:80", "https://app.example.com:80"),
            ("http://[0:0::1]:3000", "http://[::1]:3000"),
            ("http://[::1]", "http://[::1]"),
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
            ("capacitor://localhost", "capacitor://localhost"),
        ] {
            assert_eq!(text.parse::<Origin>().unwrap().as_str(), normal, "{text}");
        }
        for (text, error) in [
            ("*", ParseOriginError::Any),
            ("null", ParseOriginError::Null),
            ("", ParseOriginError::Scheme),
            ("app.example.com", ParseOriginError::Scheme),
            ("1http://a.example", ParseOriginError::Scheme),
            ("https://app.example.com/", ParseOriginError::Excess),
            ("https://a@app.example.com", ParseOriginError::Excess),
            ("https://*.example.com", ParseOriginError::Host),
            ("https://", ParseOriginError::Host),
            ("https://bücher.example", ParseOriginError::Host),
            ("https://app.example.com.", ParseOriginError::Host),
            ("https://127.1", ParseOriginError::Host),
            ("https://[::1", ParseOriginError::Host),
            ("https://[::g]", ParseOriginError::Host),
            ("https://::1", ParseOriginError::Host),
            ("https://a.example:0", ParseOriginError::Port),
            ("https://a.example:+1", ParseOriginError::Port),
            ("https://a.example:70000", ParseOriginError::Port),
            ("https://a.example:", ParseOriginError::Port),
        ] {
            assert_eq!(text.parse::<Origin>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn a_network_may_be_one_address() {
        for (text, network) in [
            ("10.0.0.7", Some("10.0.0.7/32")),
            ("10.1.2.3/8", Some("10.0.0.0/8")),
            ("::1", Some("::1/128")),
            ("10.0.0.0/33", None),
            ("proxy", None),
        ] {
            assert_eq!(parse_network(text).map(|network| network.to_string()).as_deref(), network, "{text}");
        }
    }

    #[test]
    fn a_secret_shows_itself_only_when_asked() {
        let secret = Secret::from("hunter2".to_owned());
        assert_eq!(secret.expose(), "hunter2");
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"(set)\"");
        assert_eq!(serde_json::to_string(&Secret::default()).unwrap(), "\"\"");
    }
}
