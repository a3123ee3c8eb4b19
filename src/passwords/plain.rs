//! The plain password, from the request to the worker that hashes it.

use std::fmt;

use serde::{Deserialize, Deserializer, de};
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

/// The greatest length of a password, in characters after normalisation. It bounds the work, and leaves room for
/// any passphrase.
pub const MAX_CHARS: usize = 128;

/// The most bytes that are looked at: 128 characters, each with 8 bytes for a letter and its combining marks.
const MAX_INPUT_BYTES: usize = MAX_CHARS * 8;

/// A password as it came in a request: of any length, not normalised, wiped when dropped.
///
/// It is what a request body deserializes to. A [`Password`] cannot be, since a login with a password that is too long
/// is a wrong password and not a malformed request.
pub struct Input(Zeroizing<String>);

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Input(…)")
    }
}

impl From<String> for Input {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl<'de> Deserialize<'de> for Input {
    /// From a string of a self-describing format. No error repeats what was there instead of a string: a number may
    /// be somebody's password, and errors end up in answers and logs.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not `deserialize_str`: its error quotes the value.
        deserializer.deserialize_any(InputVisitor)
    }
}

struct InputVisitor;

impl InputVisitor {
    fn refuse<E: de::Error>() -> Result<Input, E> {
        Err(E::custom("a password must be a string"))
    }
}

impl de::Visitor<'_> for InputVisitor {
    type Value = Input;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a password, which is a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Input, E> {
        Ok(text.to_owned().into())
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Input, E> {
        Ok(text.into())
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Input, E> {
        Self::refuse()
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Input, E> {
        Self::refuse()
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Input, E> {
        Self::refuse()
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Input, E> {
        Self::refuse()
    }
}

/// A password longer than [`MAX_CHARS`]. The caller's fault: as a new password it is refused, at a login it is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the password has more than {MAX_CHARS} characters")]
pub struct TooLong;

/// A plain password: at most [`MAX_CHARS`] characters, normalised to NFKC (Unicode UAX #15) so that one password has
/// one spelling on every keyboard, never truncated, wiped when dropped.
pub struct Password(Zeroizing<String>);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl Password {
    /// Measures and normalises what came in.
    ///
    /// # Errors
    /// [`TooLong`], before normalising if there are more than 1024 bytes.
    pub fn from_input(input: impl Into<Input>) -> Result<Self, TooLong> {
        let Input(text) = input.into();
        if text.len() > MAX_INPUT_BYTES {
            return Err(TooLong);
        }
        // Room for the longest password, so that the text never moves and leaves no copy behind.
        let mut normal = Zeroizing::new(String::with_capacity(MAX_CHARS * 4));
        // One character can become 18. Counting while they come bounds that too.
        for (place, char) in text.nfkc().enumerate() {
            if place == MAX_CHARS {
                return Err(TooLong);
            }
            normal.push(char);
        }
        Ok(Self(normal))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(text: &str) -> Result<String, TooLong> {
        Password::from_input(text.to_owned()).map(|password| password.as_str().to_owned())
    }

    #[test]
    fn a_password_has_one_spelling() {
        for (input, expected) in [
            ("e\u{301}t\u{e9}", "\u{e9}t\u{e9}"),
            ("ＦＵＬＬ　ｗｉｄｔｈ", "FULL width"),
            ("\u{fb01}sh", "fish"),
            ("\u{1112}\u{1161}\u{11ab}", "\u{d55c}"),
            ("  spaces stay  ", "  spaces stay  "),
            ("", ""),
        ] {
            assert_eq!(normal(input).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn a_password_is_taken_whole_or_not_at_all() {
        for (input, expected) in [
            ("x".repeat(128), Ok(128)),
            ("x".repeat(129), Err(TooLong)),
            ("🦀".repeat(128), Ok(128)),
            ("🦀".repeat(129), Err(TooLong)),
            ("e\u{301}".repeat(128), Ok(128)),
            // Each of these becomes 18 characters.
            ("\u{fdfa}".repeat(7), Ok(126)),
            ("\u{fdfa}".repeat(8), Err(TooLong)),
            // A short password under a pile of marks: too many bytes to be looked at.
            (format!("e{}", "\u{301}".repeat(512)), Err(TooLong)),
        ] {
            assert_eq!(normal(&input).map(|text| text.chars().count()), expected, "{} bytes", input.len());
        }
    }

    #[test]
    fn a_request_body_gives_an_input_and_its_errors_repeat_nothing() {
        #[derive(Debug, Deserialize)]
        struct Body {
            password: Input,
        }
        for body in [r#"{"password":"plain text"}"#, r#"{"password":"plain\u0020text"}"#] {
            let body: Body = serde_json::from_str(body).unwrap();
            assert_eq!(Password::from_input(body.password).unwrap().as_str(), "plain text");
        }
        for value in ["424242", "-424242", "4242.42", "true", "null", "[\"424242\"]", "{\"424242\":1}", "\"424242"] {
            let error = serde_json::from_str::<Body>(&format!("{{\"password\":{value}}}")).unwrap_err();
            assert!(!error.to_string().contains("4242"), "{error}");
        }
    }
}
