//! The CSRF rule for requests whose credential is a cookie.
//!
//! A browser says where a request comes from (`Sec-Fetch-Site`, `Origin`), and then that decides: our own origin and
//! the configured ones pass, all others are refused, with a token or without. A client that says neither is not a
//! browser (or a very old one); it shows a token that is bound to its session and that a page of another origin cannot
//! read. Login and signup have no session yet; there a JSON content type is enough, since no form can send one.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    ids::SessionId,
    secret::{self, MacKey, ServerSecret},
};

const NONCE: usize = 16;
const MAC: usize = 32;

/// A token's length in characters: 48 bytes in base64url.
const TOKEN_CHARS: usize = (NONCE + MAC) * 4 / 3;

/// Makes and verifies session-bound CSRF tokens.
#[derive(Debug, Clone)]
pub struct CsrfTokens(MacKey);

impl CsrfTokens {
    /// Tokens under a key of the server's secret.
    #[must_use]
    pub fn new(secret: &ServerSecret) -> Self {
        Self(secret.derive("csrf token, version 1"))
    }

    /// A new token for a session: a random nonce and its MAC together with the session id. It is good as long as the
    /// session.
    #[must_use]
    pub fn issue(&self, session: SessionId) -> String {
        let nonce: [u8; NONCE] = secret::random();
        let mac = self.0.sign(&[&nonce, session.uuid().as_bytes()]);
        URL_SAFE_NO_PAD.encode([nonce.as_slice(), &mac].concat())
    }

    /// Whether a token was made for this session; compared in constant time.
    #[must_use]
    pub fn verify(&self, token: &str, session: SessionId) -> bool {
        if token.len() != TOKEN_CHARS {
            return false;
        }
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(token) else { return false };
        let (nonce, mac) = bytes.split_at(NONCE);
        self.0.verify(&[nonce, session.uuid().as_bytes()], mac)
    }
}

/// What a request says of its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Provenance<'a> {
    /// `Sec-Fetch-Site`.
    pub fetch_site: Option<&'a str>,
    /// `Origin`.
    pub origin: Option<&'a str>,
    /// `Host`: what the client believes to talk to. A page of another site cannot choose it.
    pub host: Option<&'a str>,
    /// Whether the client's own connection is known to be plain HTTP; then an `http` origin can be ours.
    pub is_plain: bool,
}

/// What a request's origin means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Our own, or one that the configuration allows, or the user's own doing (an address typed in).
    Trusted,
    /// A browser says that it comes from elsewhere.
    Foreign,
    /// Nobody says: not a browser.
    Unsaid,
}

impl Provenance<'_> {
    /// Judges where the request comes from. `allowed` holds origins as a browser spells them.
    #[must_use]
    pub fn judge(&self, allowed: &[String]) -> Origin {
        if matches!(self.fetch_site, Some("same-origin" | "none")) {
            return Origin::Trusted;
        }
        match (self.fetch_site, self.origin) {
            (_, Some(origin)) if allowed.iter().any(|allowed| allowed == origin) => Origin::Trusted,
            // Only a browser that does not send `Sec-Fetch-Site` leaves it to us to compare; to one that has just said
            // "cross-site", our own name under another scheme is another origin.
            (None, Some(origin)) if self.is_own(origin) => Origin::Trusted,
            (None, None) => Origin::Unsaid,
            _ => Origin::Foreign,
        }
    }

    /// Whether an origin is the one that the request was sent to. An `https` origin of the same host is: if TLS ends
    /// before us we cannot see it. An `http` one is ours only if we are sure that the client speaks plain HTTP.
    fn is_own(&self, origin: &str) -> bool {
        let Some(host) = self.host else { return false };
        match origin.split_once("://") {
            Some(("https", authority)) => authority.eq_ignore_ascii_case(host),
            Some(("http", authority)) => self.is_plain && authority.eq_ignore_ascii_case(host),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_is_good_for_its_own_session_only() {
        let tokens = CsrfTokens::new(&ServerSecret::new([1; 32]));
        let (mine, other) = (SessionId::random(), SessionId::random());
        let token = tokens.issue(mine);
        assert_eq!(token.len(), TOKEN_CHARS);
        assert!(tokens.verify(&token, mine));
        assert!(!tokens.verify(&token, other));
        assert!(!CsrfTokens::new(&ServerSecret::new([2; 32])).verify(&token, mine));
        assert_ne!(token, tokens.issue(mine));
        for bad in ["", "x", &token[1..], &format!("{token}A"), &"=".repeat(TOKEN_CHARS), &"é".repeat(TOKEN_CHARS / 2)]
        {
            assert!(!tokens.verify(bad, mine), "{bad}");
        }
    }

    #[test]
    fn where_a_request_comes_from() {
        let allowed = ["https://app.example.org".to_owned()];
        let judge = |fetch_site, origin, is_plain| {
            Provenance { fetch_site, origin, host: Some("api.example.org"), is_plain }.judge(&allowed)
        };
        for (fetch_site, origin, is_plain, expected) in [
            (Some("same-origin"), None, false, Origin::Trusted),
            (Some("none"), None, false, Origin::Trusted),
            (Some("same-site"), None, false, Origin::Foreign),
            (Some("cross-site"), None, false, Origin::Foreign),
            (Some("nonsense"), None, false, Origin::Foreign),
            (Some("same-site"), Some("https://app.example.org"), false, Origin::Trusted),
            (Some("cross-site"), Some("https://evil.example"), false, Origin::Foreign),
            (Some("cross-site"), Some("http://api.example.org"), true, Origin::Foreign),
            (None, Some("https://api.example.org"), false, Origin::Trusted),
            (None, Some("https://API.example.org"), false, Origin::Trusted),
            (None, Some("http://api.example.org"), false, Origin::Foreign),
            (None, Some("http://api.example.org"), true, Origin::Trusted),
            (None, Some("https://api.example.org:8443"), false, Origin::Foreign),
            (None, Some("https://app.example.org.evil.example"), false, Origin::Foreign),
            (None, Some("null"), true, Origin::Foreign),
            (None, Some(""), true, Origin::Foreign),
            (None, None, true, Origin::Unsaid),
        ] {
            assert_eq!(judge(fetch_site, origin, is_plain), expected, "{fetch_site:?} {origin:?} {is_plain}");
        }
        let nameless = Provenance { origin: Some("https://api.example.org"), ..Provenance::default() };
        assert_eq!(nameless.judge(&allowed), Origin::Foreign);
    }

    proptest! {
        #[test]
        fn a_token_of_another_text_or_session_is_refused(session: u128, other: u128, at: prop::sample::Index, byte in 0_u8..128) {
            let tokens = CsrfTokens::new(&ServerSecret::new([1; 32]));
            let mine = SessionId::from(uuid::Uuid::from_u128(session));
            let token = tokens.issue(mine);
            prop_assert!(tokens.verify(&token, mine));
            prop_assert_eq!(tokens.verify(&token, uuid::Uuid::from_u128(other).into()), session == other);
            let mut bytes = token.clone().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let changed = String::from_utf8(bytes).unwrap();
            prop_assert_eq!(tokens.verify(&changed, mine), changed == token);
        }

        /// Whatever a page of another site makes its browser send: it can choose neither `Sec-Fetch-Site` nor `Origin`
        /// nor `Host`.
        #[test]
        fn a_page_of_another_site_is_never_trusted(
            site in prop::option::of("cross-site|same-site|[ -~]{0,12}"),
            origin in "https?://[a-z]{1,8}\\.evil\\.example(:[0-9]{1,5})?|null|[ -~]{0,30}",
            host in prop::option::of("api\\.example(:[0-9]{1,5})?"),
            is_plain: bool,
        ) {
            prop_assume!(!matches!(site.as_deref(), Some("same-origin" | "none")));
            prop_assume!(!origin.to_ascii_lowercase().contains("api.example") && origin != "https://app.example");
            let provenance =
                Provenance { fetch_site: site.as_deref(), origin: Some(&origin), host: host.as_deref(), is_plain };
            prop_assert_eq!(provenance.judge(&["https://app.example".to_owned()]), Origin::Foreign);
        }
    }
}
