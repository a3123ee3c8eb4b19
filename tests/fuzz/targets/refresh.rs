//! Refresh tokens.

use kickout::{secret::ServerSecret, sessions::refresh::RefreshTokens};

use super::is_base64url;

/// `kr1_` and 52 bytes in base64url.
const CHARS: usize = 74;

/// Refresh tokens, with any text. One that is opened has the form of one and was sealed here, and it verifies exactly if
/// it is the token that is issued for the session and number it names.
///
/// # Panics
/// If that does not hold.
pub fn check(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let tokens = RefreshTokens::new(&ServerSecret::new([1; 32]));
    let has_form = text.len() == CHARS && text.strip_prefix("kr1_").is_some_and(is_base64url);
    let Some(claimed) = tokens.open(text) else { return false };
    assert!(has_form, "{text}");
    let row = [2; 32];
    let issued = tokens.issue(claimed.session, claimed.counter, &row);
    assert_eq!(issued.as_str()[..30], text[..30], "session and number are where they were");
    assert!(RefreshTokens::new(&ServerSecret::new([4; 32])).open(text).is_none(), "{text}");
    assert_eq!(tokens.verify(&claimed, &row), issued.as_str() == text, "{text}");
    assert!(
        !tokens.verify(&claimed, &[3; 32]) && !RefreshTokens::new(&ServerSecret::new([4; 32])).verify(&claimed, &row)
    );
    tokens.verify(&claimed, &row)
}
