//! The refresh token: opaque to everyone but us, and not forgeable from the database alone.
//!
//! `kr1_` and base64url of: session id (16 bytes), counter (4), MAC (16), seal (16). The MAC is HMAC-SHA-256 under a key of
//! the server's secret over id, counter and the session's own secret, which lives in its row. So one row per session is
//! enough for a whole family of tokens, the database without the server's secret makes none, and neither does the
//! server's secret without the row. The seal is one over all that stands before it, without the row: a forgery costs its
//! receiver a hash, and neither a look into the database nor a try of those that somebody else may need.
//!
//! Both are cut to 128 bits (RFC 2104 §5), which nobody guesses.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use uuid::Uuid;

use crate::{
    ids::SessionId,
    secret::{MacKey, ServerSecret},
};

const PREFIX: &str = "kr1_";
const ID: usize = 16;
const COUNTER: usize = 4;
const MAC: usize = 16;
const SEAL: usize = 16;

/// 52 bytes in base64url without padding.
const BODY_CHARS: usize = 70;

/// A refresh token in clear, on its way to its client. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshToken(String);

impl RefreshToken {
    /// The token's text: 74 characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefreshToken(…)")
    }
}

/// A refresh token as a client presents it: sealed by us, not held against its session's row yet.
#[derive(Clone, Copy)]
pub struct Claimed {
    /// The session it says it is of.
    pub session: SessionId,
    /// Its number within the family.
    pub counter: u32,
    mac: [u8; MAC],
}

impl fmt::Debug for Claimed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Claimed({}, {})", self.session, self.counter)
    }
}

/// Makes and verifies refresh tokens.
#[derive(Debug, Clone)]
pub struct RefreshTokens {
    key: MacKey,
    seal: MacKey,
}

impl RefreshTokens {
    /// Tokens under a key of the server's secret.
    #[must_use]
    pub fn new(secret: &ServerSecret) -> Self {
        Self { key: secret.derive("refresh token, version 1"), seal: secret.derive("refresh token, seal, version 1") }
    }

    /// The token with this number of a session.
    #[must_use]
    pub fn issue(&self, session: SessionId, counter: u32, session_secret: &[u8; 32]) -> RefreshToken {
        let mac = self.mac(session, counter, session_secret);
        let seal = self.seal(session, counter, &mac);
        let bytes = [session.uuid().as_bytes().as_slice(), &counter.to_be_bytes(), &mac, &seal].concat();
        RefreshToken(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// Reads a token's parts; `None` if it is not one of ours.
    #[must_use]
    pub fn open(&self, text: &str) -> Option<Claimed> {
        let body = text.strip_prefix(PREFIX).filter(|body| body.len() == BODY_CHARS)?;
        let bytes = URL_SAFE_NO_PAD.decode(body).ok()?;
        let (id, rest) = bytes.split_at_checked(ID)?;
        let (counter, rest) = rest.split_at_checked(COUNTER)?;
        let (mac, seal) = rest.split_at_checked(MAC)?;
        let claimed = Claimed {
            session: Uuid::from_slice(id).ok()?.into(),
            counter: u32::from_be_bytes(counter.try_into().ok()?),
            mac: mac.try_into().ok()?,
        };
        let ours = self.seal(claimed.session, claimed.counter, &claimed.mac);
        crate::secret::equal(&ours, seal).then_some(claimed)
    }

    /// Whether a token was issued for the session with this secret; compared in constant time.
    #[must_use]
    pub fn verify(&self, claimed: &Claimed, session_secret: &[u8; 32]) -> bool {
        crate::secret::equal(&self.mac(claimed.session, claimed.counter, session_secret), &claimed.mac)
    }

    fn mac(&self, session: SessionId, counter: u32, session_secret: &[u8; 32]) -> [u8; MAC] {
        cut(self.key.sign(&[session.uuid().as_bytes(), &counter.to_be_bytes(), session_secret]))
    }

    fn seal(&self, session: SessionId, counter: u32, mac: &[u8; MAC]) -> [u8; SEAL] {
        cut(self.seal.sign(&[session.uuid().as_bytes(), &counter.to_be_bytes(), mac]))
    }
}

/// The leftmost bytes.
fn cut<const N: usize>(whole: [u8; 32]) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&whole[..N]);
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_refresh_token_needs_both_secrets() {
        let tokens = RefreshTokens::new(&ServerSecret::new([1; 32]));
        let session = SessionId::random();
        let token = tokens.issue(session, 3, &[9; 32]);
        assert_eq!(token.as_str().len(), PREFIX.len() + BODY_CHARS);
        let claimed = tokens.open(token.as_str()).unwrap();
        assert_eq!((claimed.session, claimed.counter), (session, 3));
        assert!(tokens.verify(&claimed, &[9; 32]));
        assert!(!tokens.verify(&claimed, &[8; 32]), "another row");
        assert!(!RefreshTokens::new(&ServerSecret::new([2; 32])).verify(&claimed, &[9; 32]), "another server");
        assert!(!tokens.verify(&Claimed { counter: 4, ..claimed }, &[9; 32]), "another number");
        assert!(
            RefreshTokens::new(&ServerSecret::new([2; 32])).open(token.as_str()).is_none(),
            "another server's seal"
        );
        assert!(!format!("{token:?} {claimed:?}").contains(&token.as_str()[4..]));
    }

    #[test]
    fn what_is_not_a_token_is_nothing() {
        let tokens = RefreshTokens::new(&ServerSecret::new([1; 32]));
        let token = tokens.issue(SessionId::random(), 1, &[0; 32]);
        let text = token.as_str();
        for bad in
            ["", "kr1_", &text[4..], &text[..73], &format!("{text}A"), &text.replace("kr1_", "KR1_"), &"é".repeat(37)]
        {
            assert!(tokens.open(bad).is_none(), "{bad}");
        }
        for at in PREFIX.len()..text.len() {
            let other = if text[at..].starts_with('A') { "B" } else { "A" };
            assert!(tokens.open(&[&text[..at], other, &text[at + 1..]].concat()).is_none(), "a change at {at}");
        }
    }

    proptest! {
        #[test]
        fn a_token_is_read_as_it_was_issued(session: u128, counter: u32, row: [u8; 32]) {
            let tokens = RefreshTokens::new(&ServerSecret::new([1; 32]));
            let session = SessionId::from(Uuid::from_u128(session));
            let claimed = tokens.open(tokens.issue(session, counter, &row).as_str()).unwrap();
            prop_assert_eq!((claimed.session, claimed.counter), (session, counter));
            prop_assert!(tokens.verify(&claimed, &row));
        }

        #[test]
        fn no_token_with_one_byte_changed_is_good(counter: u32, at: prop::sample::Index, byte in 0_u8..128) {
            let tokens = RefreshTokens::new(&ServerSecret::new([1; 32]));
            let token = tokens.issue(SessionId::random(), counter, &[9; 32]);
            let mut bytes = token.as_str().as_bytes().to_vec();
            let at = at.index(bytes.len());
            prop_assume!(bytes[at] != byte);
            bytes[at] = byte;
            let claimed = tokens.open(std::str::from_utf8(&bytes).unwrap());
            prop_assert!(!claimed.is_some_and(|claimed| tokens.verify(&claimed, &[9; 32])));
        }
    }
}
