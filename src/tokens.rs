//! Access tokens: JWTs (RFC 7519) in the profile for OAuth access tokens (RFC 9068), issued and verified. Pure
//! computation; only [`keys`] touches files.
//!
//! A token that [`Verifier::verify`] accepts was signed by one of our keys for this issuer and audience, and its time is
//! not over. **It may have been revoked**: that is the revocation check's to say, from the claims and the key id.
//!
//! # Size
//!
//! A token travels with every request. Header, ids, numbers and signature take:
//!
//! | algorithm | signature | together |
//! |---|---|---|
//! | `EdDSA`, ES256 | 64 bytes, 86 characters | 544 bytes |
//! | HS256 | 32 bytes, 43 characters | 501 bytes |
//! | RS256 of 2048 bits | 256 bytes, 342 characters | 800 bytes |
//! | RS256 of 4096 bits | 512 bytes, 683 characters | 1141 bytes |
//!
//! Issuer, audience, client id and each role (its length + 3) come on top at 4 bytes for 3. With names of ordinary length
//! that is about 600 bytes, with 8 roles of 13 letters below 800, and about 250 more under RS256. The caller bounds the
//! roles: above [`profile::MAX_TOKEN_BYTES`] neither a browser nor the verifier takes the token.

pub mod cache;
pub mod claims;
pub mod keys;
pub mod profile;

use std::{fmt, num::NonZeroU32, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use self::{
    cache::{Digest, VerifiedCache},
    keys::Keys,
};
pub use self::{
    claims::Claims,
    keys::{KeyId, KeyRing},
    profile::Refusal,
};
use crate::{
    clock::Timestamp,
    ids::{Generation, LedgerId, SessionId, Subject, TokenId},
    telemetry::metrics::Metrics,
};

/// What the tokens of this deployment have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// `iss`: exactly this text, not empty.
    pub issuer: String,
    /// `aud`: exactly this text, not empty.
    pub audience: String,
    /// `client_id` of the tokens issued here; 1 to [`profile::MAX_CLIENT_ID_CHARS`] characters. Not compared.
    pub client_id: String,
    /// How long a token lives; whole seconds, at least one and at most the ceiling that verifiers are given.
    pub access_ttl: Duration,
    /// How long after `exp` a token is still accepted, and how far ahead `iat` may be.
    pub leeway: Duration,
}

/// From when until when a token lives, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// When that is: it decides which key signs.
    at: Timestamp,
    /// When it is issued.
    pub iat: i64,
    /// The first second in which it is no longer accepted.
    pub exp: i64,
}

impl Window {
    /// The window, but over when its session is at the latest.
    #[must_use]
    pub fn until(self, end: Timestamp) -> Self {
        // A token lives for a second at least; one that is issued in its session's last second outlives it by less.
        Self { exp: self.exp.min(end.as_secs()).max(self.iat + 1), ..self }
    }
}

/// For whom a token is issued. All of it comes from the row that the conditional write returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The user.
    pub subject: Subject,
    /// The session.
    pub session: SessionId,
    /// The session's generation, not the user's newest one: else a refresh would revive what a logout-all has ended.
    pub generation: Generation,
    /// The ledger in which the row was.
    pub epoch: LedgerId,
    /// The user's roles.
    pub roles: Vec<String>,
}

/// A new token.
#[derive(Clone, PartialEq, Eq)]
pub struct IssuedToken {
    /// The token itself, a bearer secret.
    pub text: String,
    /// What it says.
    pub claims: Claims,
}

impl fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedToken").field("text", &"…").field("claims", &self.claims).finish()
    }
}

/// Issues tokens.
#[derive(Debug, Clone)]
pub struct Issuer {
    keys: Arc<KeyRing>,
    profile: Arc<Profile>,
}

impl Issuer {
    /// An issuer that signs with the keys of a ring.
    #[must_use]
    pub const fn new(keys: Arc<KeyRing>, profile: Arc<Profile>) -> Self {
        Self { keys, profile }
    }

    /// The life of a token that is issued now.
    ///
    /// To be taken *before* the conditional write that [`Issuer::issue`] belongs to. A revocation that commits after the
    /// write then also comes after `iat`, and denies the token for at least as long as it lives.
    #[must_use]
    pub fn window(&self, now: Timestamp) -> Window {
        let iat = now.as_secs();
        let seconds = i64::try_from(self.profile.access_ttl.as_secs()).unwrap_or(i64::MAX);
        Window { at: now, iat, exp: iat.saturating_add(seconds) }
    }

    /// Issues a token, with the key that signs when the window begins: however late this call comes, the token is dead
    /// before its key is retired.
    ///
    /// # Panics
    /// Never: claims are plain values, which can always be written as JSON.
    #[must_use]
    pub fn issue(&self, window: Window, grant: Grant) -> IssuedToken {
        let claims = Claims {
            iss: self.profile.issuer.clone(),
            aud: self.profile.audience.clone(),
            sub: grant.subject,
            sid: grant.session,
            jti: TokenId::random(),
            iat: window.iat,
            exp: window.exp,
            generation: grant.generation,
            epoch: grant.epoch,
            client_id: self.profile.client_id.clone(),
            roles: grant.roles,
        };
        let keys = self.keys.read();
        let key = keys.signing(window.at);
        let kid = key.verifying().kid().to_string();
        let header = profile::Header { alg: key.verifying().algorithm().name(), typ: profile::TYPE, kid: &kid };
        let mut text = encode(&header);
        text.push('.');
        text.push_str(&encode(&claims));
        let signature = key.sign(text.as_bytes());
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut text);
        IssuedToken { text, claims }
    }
}

fn encode<T: serde::Serialize>(part: &T) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(part).expect("plain values are written as JSON"))
}

/// What a verified token says, and which key signed it: all that a revocation can name. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Its claims.
    pub claims: Arc<Claims>,
    /// Its key.
    pub kid: KeyId,
}

/// Verifies tokens, by the rules of [`profile`]. Clones share what is remembered.
#[derive(Debug, Clone)]
pub struct Verifier {
    keys: Arc<KeyRing>,
    profile: Arc<Profile>,
    cache: Option<Arc<VerifiedCache>>,
}

impl Verifier {
    /// A verifier that knows the keys of a ring, and remembers nothing.
    #[must_use]
    pub const fn new(keys: Arc<KeyRing>, profile: Arc<Profile>) -> Self {
        Self { keys, profile, cache: None }
    }

    /// The same verifier, which remembers up to `entries` tokens whose signature it has verified; none if that is 0. What
    /// it says of a token stays the same: the [`cache`] tells why, and what it takes.
    #[must_use]
    pub fn remembering(self, entries: u32, metrics: Metrics) -> Self {
        let cache = NonZeroU32::new(entries).map(|entries| Arc::new(VerifiedCache::new(entries, metrics)));
        Self { cache, ..self }
    }

    /// The claims of a token that is ours and lives at `now`. `ceiling` is the longest that any token may live, in whole
    /// seconds, for the whole cluster.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn verify(&self, token: &str, now: Timestamp, ceiling: Duration) -> Result<Claims, Refusal> {
        self.verify_with_key(token, now, ceiling).map(|verified| Arc::unwrap_or_clone(verified.claims))
    }

    /// Like [`Verifier::verify`], and says which key signed the token, since a key can be revoked too.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn verify_with_key(&self, token: &str, now: Timestamp, ceiling: Duration) -> Result<Verified, Refusal> {
        let keys = self.keys.read();
        // What is longer than any token is not even hashed.
        let Some(cache) = self.cache.as_deref().filter(|_| token.len() <= profile::MAX_TOKEN_BYTES) else {
            return self.verify_in_full(token, &keys, now, ceiling);
        };
        let digest = Digest::of(token);
        if let Some(verified) = cache.look(&digest, &keys, now) {
            profile::check(&verified.claims, &self.profile, now, ceiling)?;
            return Ok(verified);
        }
        let verified = self.verify_in_full(token, &keys, now, ceiling)?;
        cache.remember(digest, &keys, &verified);
        Ok(verified)
    }

    fn verify_in_full(&self, token: &str, keys: &Keys, now: Timestamp, ceiling: Duration) -> Result<Verified, Refusal> {
        let (claims, kid) = profile::verify(token, keys, &self.profile, now, ceiling)?;
        Ok(Verified { claims: Arc::new(claims), kid })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::keys::{Algorithm, KeySettings};

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_999);
    const TTL: Duration = Duration::from_mins(15);

    fn pair(folder: &tempfile::TempDir) -> (Issuer, Verifier) {
        pair_of(folder, Algorithm::EdDSA)
    }

    fn pair_of(folder: &tempfile::TempDir, algorithm: Algorithm) -> (Issuer, Verifier) {
        let settings = KeySettings::new(folder.path().join(algorithm.name()), algorithm, TTL, Duration::ZERO);
        let keys = Arc::new(KeyRing::open(settings, NOW).unwrap());
        let profile = Arc::new(Profile {
            issuer: "https://id.example".to_owned(),
            audience: "https://api.example".to_owned(),
            client_id: "kickout".to_owned(),
            access_ttl: TTL,
            leeway: Duration::ZERO,
        });
        (Issuer::new(Arc::clone(&keys), Arc::clone(&profile)), Verifier::new(keys, profile))
    }

    fn grant(roles: &[&str]) -> Grant {
        Grant {
            subject: Subject::random(),
            session: SessionId::random(),
            generation: Generation(41),
            epoch: LedgerId::random(),
            roles: roles.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn an_issued_token_says_what_was_granted() {
        let folder = tempfile::tempdir().unwrap();
        let (issuer, verifier) = pair(&folder);
        let grant = grant(&["admin", "audit"]);
        let window = issuer.window(NOW);
        assert_eq!((window.iat, window.exp), (1_700_000_000, 1_700_000_900));

        let token = issuer.issue(window, grant.clone());
        assert_eq!(verifier.verify(&token.text, NOW, TTL), Ok(token.claims.clone()));
        let kid = verifier.verify_with_key(&token.text, NOW, TTL).unwrap().kid;
        assert_eq!(kid, verifier.keys.list(NOW)[0].kid);

        let Claims { iss, aud, sub, sid, jti, iat, exp, generation, epoch, client_id, roles } = token.claims;
        assert_eq!(
            (iss.as_str(), aud.as_str(), client_id.as_str()),
            ("https://id.example", "https://api.example", "kickout")
        );
        assert_eq!((sub, sid, generation, epoch), (grant.subject, grant.session, grant.generation, grant.epoch));
        assert_eq!((iat, exp, roles), (window.iat, window.exp, grant.roles.clone()));
        assert_ne!(jti, issuer.issue(window, grant).claims.jti);
    }

    #[test]
    fn debug_does_not_show_the_token() {
        let folder = tempfile::tempdir().unwrap();
        let (issuer, _) = pair(&folder);
        let token = issuer.issue(issuer.window(NOW), grant(&[]));
        let shown = format!("{token:?}");
        assert!(shown.contains(&token.claims.jti.to_string()), "{shown}");
        assert!(token.text.split('.').all(|part| !shown.contains(part)), "{shown}");
    }

    #[test]
    fn a_token_is_as_small_as_documented() {
        let folder = tempfile::tempdir().unwrap();
        let names = "https://id.examplehttps://api.examplekickout".len();
        for (algorithm, documented) in
            [(Algorithm::EdDSA, 544), (Algorithm::ES256, 544), (Algorithm::HS256, 501), (Algorithm::RS256, 800)]
        {
            let (issuer, _) = pair_of(&folder, algorithm);
            let size = issuer.issue(issuer.window(NOW), grant(&[])).text.len();
            assert_eq!(size - names * 4 / 3, documented, "{algorithm}");
        }
        let (issuer, _) = pair(&folder);
        let size = |roles: &[&str]| issuer.issue(issuer.window(NOW), grant(roles)).text.len();
        assert!((590..610).contains(&size(&[])), "{}", size(&[]));
        assert!(size(&["administrator"; 8]) < 800, "{}", size(&["administrator"; 8]));
    }
}
