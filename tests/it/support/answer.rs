//! An answer, and what can be asked of it.

use std::collections::BTreeSet;

use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::Value;

/// An answer as it came, all of it.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// A receipt as design and README spell it: nothing more and nothing less.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Receipt {
    pub(crate) seq: i64,
    pub(crate) revoked: Revoked,
    pub(crate) already: bool,
    pub(crate) applied: Applied,
    pub(crate) complete: bool,
    pub(crate) elapsed_ms: f64,
    /// For a client without cookies: the token that goes on.
    pub(crate) access_token: Option<String>,
    pub(crate) expires_in: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Revoked {
    pub(crate) kind: String,
    pub(crate) id: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Applied {
    pub(crate) nodes: u32,
    pub(crate) of: u32,
}

/// One `Set-Cookie` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SetCookie {
    pub(crate) name: String,
    pub(crate) value: String,
    /// In lower case, in no order; `name=value` or just a name.
    pub(crate) attributes: BTreeSet<String>,
}

impl SetCookie {
    fn parse(text: &str) -> Self {
        let mut parts = text.split("; ");
        let (name, value) = parts.next().and_then(|pair| pair.split_once('=')).expect("a cookie has a name");
        let attributes = parts.map(str::to_ascii_lowercase).collect();
        Self { name: name.to_owned(), value: value.to_owned(), attributes }
    }

    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find_map(|text| text.strip_prefix(name)?.strip_prefix('='))
    }
}

impl Answer {
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{self}");
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self}");
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    /// The kind of a problem; `None` if it is none. Its form is checked on the way (RFC 9457).
    #[track_caller]
    pub(crate) fn problem(&self) -> Option<String> {
        if self.header("content-type") != Some("application/problem+json") {
            return None;
        }
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self}"));
        let members: BTreeSet<&str> = body.as_object().expect("an object").keys().map(String::as_str).collect();
        assert!(members.is_subset(&BTreeSet::from(["type", "title", "status", "detail"])), "{self}");
        assert_eq!(body["status"], self.status.as_u16(), "{self}");
        assert!(body["title"].as_str().is_some_and(|title| !title.is_empty()), "{self}");
        let kind = body["type"].as_str().and_then(|kind| kind.strip_prefix("urn:kickout:problem:"));
        Some(kind.unwrap_or_else(|| panic!("no type: {self}")).to_owned())
    }

    /// Asserts that it is this problem, with what every problem of its status has.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, kind: &str) {
        assert_eq!((self.status.as_u16(), self.problem().as_deref()), (status, Some(kind)), "{self}");
        self.is_guarded();
        let challenge = self.header("www-authenticate");
        assert_eq!(challenge.is_some_and(|value| value.starts_with("Bearer")), status == 401, "{self}");
        assert_eq!(self.header("retry-after").is_some(), [429, 503].contains(&status), "{self}");
        assert_eq!(self.header("cache-control"), Some("no-store"), "{self}");
    }

    /// Asserts the headers that every answer has.
    #[track_caller]
    pub(crate) fn is_guarded(&self) {
        assert_eq!(self.header("x-content-type-options"), Some("nosniff"), "{self}");
        assert_eq!(self.header("referrer-policy"), Some("no-referrer"), "{self}");
        assert_eq!(
            self.header("content-security-policy"),
            Some("default-src 'none'; frame-ancestors 'none'"),
            "{self}"
        );
        assert!(self.header("cache-control").is_some(), "{self}");
        assert_eq!(self.header("x-request-id").map(str::len), Some(36), "{self}");
    }

    #[track_caller]
    pub(crate) fn receipt(&self) -> Receipt {
        assert_eq!(self.status, StatusCode::OK, "{self}");
        serde_json::from_value(self.json()).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("headers are text"))
    }

    pub(crate) fn set_cookies(&self) -> Vec<SetCookie> {
        let values = self.headers.get_all(header::SET_COOKIE).iter();
        values.map(|value| SetCookie::parse(value.to_str().expect("a cookie is text"))).collect()
    }

    /// Headers and body as text, to look for what should not be there.
    pub(crate) fn text(&self) -> String {
        format!("{:?}\n{}", self.headers, String::from_utf8_lossy(&self.body))
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.status, self.text())
    }
}
