//! CSRF tokens.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kickout::{csrf::CsrfTokens, ids::SessionId, secret::ServerSecret};
use uuid::Uuid;

use super::is_base64url;

/// A nonce of 16 bytes and a MAC of 32.
const CHARS: usize = 64;

/// CSRF tokens, with any text. It is good exactly if it is the one spelling of a nonce and its MAC together with this
/// session, and then for no other session.
///
/// # Panics
/// If that does not hold.
pub fn check(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let secret = ServerSecret::new([1; 32]);
    let tokens = CsrfTokens::new(&secret);
    let mine = SessionId::from(Uuid::from_u128(0x5b0c_6c1e_2f4e_4a6f_8a52_0d7f_3c9b_e222));
    let other = SessionId::from(Uuid::from_u128(0x5b0c_6c1e_2f4e_4a6f_8a52_0d7f_3c9b_e223));
    let is_good = tokens.verify(text, mine);
    let bytes = (text.len() == CHARS && is_base64url(text)).then(|| URL_SAFE_NO_PAD.decode(text).ok()).flatten();
    let expected = bytes.is_some_and(|bytes| {
        let (nonce, mac) = bytes.split_at(16);
        secret.derive("csrf token, version 1").sign(&[nonce, mine.uuid().as_bytes()]) == mac
    });
    assert_eq!(is_good, expected, "{text}");
    assert!(!(is_good && tokens.verify(text, other)), "{text}");
    assert!(tokens.verify(&tokens.issue(mine), mine));
    is_good
}
