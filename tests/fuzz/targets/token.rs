//! Access tokens: any text.

use std::{collections::HashMap, sync::OnceLock};

use kickout::tokens::{Refusal, profile::MAX_TOKEN_BYTES};
use serde_json::json;

use super::{
    is_base64url,
    world::{CEILING, IAT, World, claims, header},
};

/// Every token that the key has ever signed, and what must become of it.
fn signed() -> &'static HashMap<String, Option<Refusal>> {
    static SIGNED: OnceLock<HashMap<String, Option<Refusal>>> = OnceLock::new();
    SIGNED.get_or_init(|| {
        let long_ago = [("iat", json!(IAT - 1000)), ("exp", json!(IAT - 1000 + CEILING))];
        let sign = |changed: &[_]| World::shared().sign(header().to_string(), claims(changed).to_string());
        HashMap::from([
            (sign(&[]), None),
            (sign(&[("roles", json!([])), ("gen", json!(-1))]), None),
            (sign(&long_ago), Some(Refusal::Expired)),
            (sign(&[("aud", json!("https://other.example"))]), Some(Refusal::Audience)),
            (sign(&[("exp", json!(IAT + CEILING + 1))]), Some(Refusal::Lifetime)),
        ])
    })
}

/// Whether a refusal comes before the signature is believed.
const fn is_unsigned(refusal: Refusal) -> bool {
    use Refusal::{Algorithm, Form, Header, Key, KeyAlgorithm, Signature, TooLong, Type};
    matches!(refusal, TooLong | Form | Header | Algorithm | Type | Key | KeyAlgorithm | Signature)
}

/// The verifier, with any text. Nothing that was not signed byte by byte gets beyond the signature, and what was signed
/// is judged by what it says.
///
/// # Panics
/// If that does not hold.
pub fn check(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let verdict = World::shared().verify(text);
    match (signed().get(text), &verdict) {
        (Some(expected), _) => assert_eq!(verdict.as_ref().err(), expected.as_ref(), "{text}"),
        (None, Err(refusal)) => assert!(is_unsigned(*refusal), "{refusal:?}: {text}"),
        (None, Ok(_)) => panic!("nobody has signed this: {text}"),
    }
    let is_long = text.len() > MAX_TOKEN_BYTES;
    let parts: Vec<&str> = text.split('.').collect();
    let has_form = parts.len() == 3 && parts.into_iter().all(is_base64url);
    assert_eq!(verdict == Err(Refusal::TooLong), is_long, "{text}");
    assert_eq!(verdict == Err(Refusal::Form), !is_long && !has_form, "{text}");
    verdict.is_ok()
}
