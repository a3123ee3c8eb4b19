//! The verifier profile: what a text must be to count as one of our access tokens.
//!
//! It is stricter than RFC 7519 and RFC 9068 and follows RFC 8725: whatever the issuer here never writes is refused, and
//! nothing in a token makes the verifier do more than compare. The order is part of it. First what costs nothing
//! (length, alphabet), then the header with `alg` before any key is looked up, then the signature, and only then is a
//! claim read.
//!
//! `epoch`, like `jti`, `sid`, `sub` and `gen`, is read here and compared by the revocation check.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use super::{
    Profile,
    claims::{Claims, ClaimsError},
    keys::{Algorithm, KeyId, Keys},
};
use crate::clock::{SKEW, Timestamp};

/// The longest token that is looked at, in bytes: the size that browsers allow a cookie (RFC 6265 §6.1).
pub const MAX_TOKEN_BYTES: usize = 4096;

/// The longest `client_id`, in characters.
pub const MAX_CLIENT_ID_CHARS: usize = 255;

/// The media type of an access token, without `application/` (RFC 9068 §2.1). The long form is allowed there and never
/// issued here.
pub(super) const TYPE: &str = "at+jwt";

/// Why a token was refused.
///
/// For logs and metrics. Who sent the token is told at most whether it was good once, and a refresh may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// Longer than [`MAX_TOKEN_BYTES`].
    #[error("the token is too long")]
    TooLong,
    /// Not three parts of base64url in its one spelling, without padding (RFC 7515 §7.1).
    #[error("the token is not in the JWS compact serialization")]
    Form,
    /// The header is not an object of exactly `alg`, `typ` and `kid`, all strings.
    #[error("the header does not have exactly the members alg, typ and kid, once each and as strings")]
    Header,
    /// `alg` is not on the list: not one that we know, or not one that any of our keys is for.
    #[error("the algorithm is not allowed")]
    Algorithm,
    /// `typ` is not `at+jwt`: another kind of token (RFC 8725 §3.11).
    #[error("the type is not at+jwt")]
    Type,
    /// `kid` is not the id of a key that verifies now.
    #[error("no key of this id verifies now")]
    Key,
    /// The key was taken back, and everything it has signed with it. A session that the token was of lives on.
    #[error("the key was taken back")]
    RevokedKey,
    /// The key is for another algorithm than the header names.
    #[error("the key is for another algorithm")]
    KeyAlgorithm,
    /// The signature does not verify.
    #[error("the signature is wrong")]
    Signature,
    /// The claims are not an object, one is missing, or one has the wrong type.
    #[error("the claims are not complete or not of the right types")]
    Claims,
    /// A claim occurs twice.
    #[error("a claim occurs twice")]
    DuplicateClaim,
    /// `iss` is not ours.
    #[error("the issuer is another")]
    Issuer,
    /// `aud` is not ours.
    #[error("the audience is another")]
    Audience,
    /// `client_id` is empty or longer than [`MAX_CLIENT_ID_CHARS`].
    #[error("the client id is empty or too long")]
    ClientId,
    /// `exp` is not after `iat`, or is further from it than any token may live.
    #[error("the lifetime is out of range")]
    Lifetime,
    /// `iat` is in the future.
    #[error("the token was issued in the future")]
    IssuedInFuture,
    /// `exp` has passed. All else is in order.
    #[error("the token has expired")]
    Expired,
}

impl Refusal {
    /// The refusal as the value of a metric's label.
    #[must_use]
    pub const fn as_label(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Form => "form",
            Self::Header => "header",
            Self::Algorithm => "algorithm",
            Self::Type => "type",
            Self::Key => "key",
            Self::RevokedKey => "revoked_key",
            Self::KeyAlgorithm => "key_algorithm",
            Self::Signature => "signature",
            Self::Claims => "claims",
            Self::DuplicateClaim => "duplicate_claim",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::ClientId => "client_id",
            Self::Lifetime => "lifetime",
            Self::IssuedInFuture => "issued_in_future",
            Self::Expired => "expired",
        }
    }
}

impl From<ClaimsError> for Refusal {
    fn from(error: ClaimsError) -> Self {
        match error {
            ClaimsError::Malformed => Self::Claims,
            ClaimsError::Duplicate => Self::DuplicateClaim,
        }
    }
}

/// The protected header. Borrowed strings have no escapes in them, and the issuer writes none.
///
/// Any further member is refused: `crit` and `b64` change what is signed (RFC 7515 §4.1.11, RFC 7797), `jku`, `jwk`,
/// `x5u` and `x5c` bring their own key (RFC 8725 §3.10), `enc` and `zip` are for other formats.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header<'a> {
    pub(super) alg: &'a str,
    pub(super) typ: &'a str,
    pub(super) kid: &'a str,
}

impl<'a> Header<'a> {
    fn parse(json: &'a [u8]) -> Result<Self, Refusal> {
        // The derived reader would also take a list of the three values.
        if !json.starts_with(b"{") {
            return Err(Refusal::Header);
        }
        serde_json::from_slice(json).map_err(|_| Refusal::Header)
    }
}

/// A token taken apart, with nothing about it believed yet.
struct Parts<'a> {
    /// The first two parts with the dot between them: what is signed (RFC 7515 §5.2).
    message: &'a str,
    signature: Vec<u8>,
    header: Vec<u8>,
    claims: Vec<u8>,
}

impl<'a> Parts<'a> {
    fn split(token: &'a str) -> Result<Self, Refusal> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Refusal::TooLong);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(Refusal::Form)?;
        // A further dot is left in `claims`, where it is outside the alphabet.
        let (header, claims) = message.split_once('.').ok_or(Refusal::Form)?;
        // First of all: a part that has a second spelling is refused before anything is read from the others.
        let signature = decode(signature)?;
        Ok(Self { message, signature, header: decode(header)?, claims: decode(claims)? })
    }
}

/// Base64url in its one spelling, not empty: no padding, and no bits set in the last character that no byte takes up.
fn decode(part: &str) -> Result<Vec<u8>, Refusal> {
    match URL_SAFE_NO_PAD.decode(part) {
        Ok(bytes) if !bytes.is_empty() => Ok(bytes),
        _ => Err(Refusal::Form),
    }
}

/// The claims of a token that is ours and lives, and the key that signed it. `ceiling` is the longest that any token
/// may live.
pub(super) fn verify(
    token: &str,
    keys: &Keys,
    profile: &Profile,
    now: Timestamp,
    ceiling: Duration,
) -> Result<(Claims, KeyId), Refusal> {
    let parts = Parts::split(token)?;
    let header = Header::parse(&parts.header)?;
    // The list is of what our keys are for: where nothing is signed with a secret, a secret verifies nothing.
    let allowed = Algorithm::from_name(header.alg).filter(|algorithm| keys.has(*algorithm));
    let algorithm = allowed.ok_or(Refusal::Algorithm)?;
    if header.typ != TYPE {
        return Err(Refusal::Type);
    }
    let kid = header.kid.parse().map_err(|_| Refusal::Key)?;
    if keys.is_revoked(kid) {
        return Err(Refusal::RevokedKey);
    }
    let key = keys.verifying(kid, now).ok_or(Refusal::Key)?;
    if key.algorithm() != algorithm {
        return Err(Refusal::KeyAlgorithm);
    }
    if !key.verify(parts.message.as_bytes(), &parts.signature) {
        return Err(Refusal::Signature);
    }
    let claims = Claims::parse(&parts.claims)?;
    check(&claims, profile, now, ceiling)?;
    Ok((claims, kid))
}

/// Whether claims whose signature was verified are ours and live at `now`.
pub(super) fn check(claims: &Claims, profile: &Profile, now: Timestamp, ceiling: Duration) -> Result<(), Refusal> {
    if claims.iss != profile.issuer {
        return Err(Refusal::Issuer);
    }
    if claims.aud != profile.audience {
        return Err(Refusal::Audience);
    }
    if !(1..=MAX_CLIENT_ID_CHARS).contains(&claims.client_id.chars().count()) {
        return Err(Refusal::ClientId);
    }
    // Both are at most `MAX_DATE`, so neither this nor × 1000 below overflows.
    let lifetime = claims.exp - claims.iat;
    if lifetime < 1 || u64::try_from(lifetime).is_ok_and(|seconds| seconds > ceiling.as_secs()) {
        return Err(Refusal::Lifetime);
    }
    if Timestamp::from_millis(claims.iat * 1000) > now + profile.leeway + SKEW {
        return Err(Refusal::IssuedInFuture);
    }
    // "On or after" (RFC 7519 §4.1.4): the first millisecond of the second `exp` is too late.
    if now >= Timestamp::from_millis(claims.exp * 1000) + profile.leeway {
        return Err(Refusal::Expired);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
