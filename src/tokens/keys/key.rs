//! One key: its name, its algorithm, its private and its public half.

use std::{collections::BTreeMap, fmt, str::FromStr};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, EncodingKey, crypto};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::secret;

/// The signature algorithms that tokens may carry; nothing outside this list is looked at.
///
/// To add one: a variant, its arm in each `match` of this file, and a test vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// Ed25519 under its JOSE name (RFC 8037 §3.1).
    EdDSA,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 1] = [Self::EdDSA];

    /// The name in a token's `alg` (RFC 7515 §4.1.1).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EdDSA => "EdDSA",
        }
    }

    /// The algorithm with exactly this name; names differ by case (RFC 7515 §4.1.1).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// A new private key, as unencrypted PKCS#8 (RFC 5208, the form that OpenSSL reads too).
    pub(super) fn generate(self) -> Result<Zeroizing<Vec<u8>>, aws_lc_rs::error::Unspecified> {
        match self {
            Self::EdDSA => {
                let document = Ed25519KeyPair::generate()?.to_pkcs8v1()?;
                Ok(Zeroizing::new(document.as_ref().to_vec()))
            }
        }
    }

    const fn of_library(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::EdDSA => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text was not a key id: 43 base64url characters were expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a key id: expected 43 characters of base64url, like kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k")]
pub struct ParseKeyIdError;

/// `kid`: the SHA-256 JWK thumbprint of the public key (RFC 7638), spelled as 43 characters of base64url.
///
/// A key cannot have another's name, and no two nodes can give different keys the same one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId([u8; 32]);

impl KeyId {
    /// The length of a key id as text: ⌈32 bytes × 8 / 6⌉ characters.
    pub const CHARS: usize = 43;
}

impl FromStr for KeyId {
    type Err = ParseKeyIdError;

    fn from_str(text: &str) -> Result<Self, ParseKeyIdError> {
        if text.len() != Self::CHARS {
            return Err(ParseKeyIdError);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| ParseKeyIdError)?;
        bytes.try_into().map(Self).map_err(|_| ParseKeyIdError)
    }
}

impl TryFrom<String> for KeyId {
    type Error = ParseKeyIdError;

    fn try_from(text: String) -> Result<Self, ParseKeyIdError> {
        text.parse()
    }
}

impl From<KeyId> for String {
    fn from(kid: KeyId) -> Self {
        URL_SAFE_NO_PAD.encode(kid.0)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from(*self))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// A public key: verifies signatures of one algorithm.
#[derive(Debug, Clone)]
pub struct VerifyingKey {
    kid: KeyId,
    algorithm: Algorithm,
    /// The members that RFC 7638 §3.2 requires. Sorted by name, as the thumbprint wants them.
    members: BTreeMap<&'static str, String>,
    key: DecodingKey,
}

impl VerifyingKey {
    /// An Ed25519 key from its 32 bytes (RFC 8032 §5.1.5).
    #[must_use]
    pub fn ed25519(public: [u8; 32]) -> Self {
        let x = URL_SAFE_NO_PAD.encode(public);
        let members = BTreeMap::from([("kty", "OKP".to_owned()), ("crv", "Ed25519".to_owned()), ("x", x)]);
        // `from_ed_der` takes the bare 32 bytes, whatever its name says.
        Self::new(Algorithm::EdDSA, members, DecodingKey::from_ed_der(&public))
    }

    fn new(algorithm: Algorithm, members: BTreeMap<&'static str, String>, key: DecodingKey) -> Self {
        let json = serde_json::to_vec(&members).expect("a map of strings is written as JSON");
        Self { kid: KeyId(secret::sha256(&json)), algorithm, members, key }
    }

    /// The key's id.
    #[must_use]
    pub const fn kid(&self) -> KeyId {
        self.kid
    }

    /// The one algorithm that the key is for.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether `signature`, in base64url, is this key's over `message`.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &str) -> bool {
        crypto::verify(signature, message, &self.key, self.algorithm.of_library()).unwrap_or(false)
    }

    /// The key as a JWK (RFC 7517 §4, RFC 8037 §2).
    #[must_use]
    pub fn jwk(&self) -> serde_json::Value {
        let own = [("kid", self.kid.to_string()), ("alg", self.algorithm.to_string()), ("use", "sig".to_owned())];
        self.members.clone().into_iter().chain(own).collect()
    }
}

/// A private key, with its public half.
#[derive(Debug, Clone)]
pub struct SigningKey {
    /// `Debug` of this type shows no bytes, and they are wiped when it is dropped.
    key: EncodingKey,
    verifying: VerifyingKey,
}

impl SigningKey {
    /// A private key from unencrypted PKCS#8; `None` if it is not a key for this algorithm.
    pub(super) fn from_pkcs8(algorithm: Algorithm, pkcs8: &[u8]) -> Option<Self> {
        match algorithm {
            Algorithm::EdDSA => {
                let pair = Ed25519KeyPair::from_pkcs8(pkcs8).ok()?;
                let public = pair.public_key().as_ref().try_into().ok()?;
                Some(Self { key: EncodingKey::from_ed_der(pkcs8), verifying: VerifyingKey::ed25519(public) })
            }
        }
    }

    /// The public half.
    #[must_use]
    pub const fn verifying(&self) -> &VerifyingKey {
        &self.verifying
    }

    /// The signature over `message`, in base64url.
    ///
    /// # Panics
    /// Never: the only failure is a key that cannot be read, and this one was read when it was made.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> String {
        crypto::sign(message, &self.key, self.verifying.algorithm.of_library()).expect("the key was read before")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8037 appendix A.2: the public key of its example.
    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn rfc_8037() -> VerifyingKey {
        VerifyingKey::ed25519(URL_SAFE_NO_PAD.decode(X).unwrap().try_into().unwrap())
    }

    #[test]
    fn rfc_8037_a3_gives_the_thumbprint() {
        assert_eq!(rfc_8037().kid().to_string(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn rfc_8037_a4_is_signed_and_a5_is_verified() {
        const MESSAGE: &[u8] = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        const SIGNATURE: &str =
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        let key = rfc_8037();
        assert!(key.verify(MESSAGE, SIGNATURE));
        assert!(!key.verify(&MESSAGE[1..], SIGNATURE));
        assert!(!key.verify(MESSAGE, &SIGNATURE[..84]));
        assert!(!key.verify(MESSAGE, "?"));

        // The PKCS#8 frame of an Ed25519 seed (RFC 8410 §7), and the seed of appendix A.1.
        let mut pkcs8 = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        pkcs8.extend(URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap());
        let signing = SigningKey::from_pkcs8(Algorithm::EdDSA, &pkcs8).unwrap();
        assert_eq!(signing.verifying().kid(), key.kid());
        assert_eq!(signing.sign(MESSAGE), SIGNATURE);
        assert!(SigningKey::from_pkcs8(Algorithm::EdDSA, &pkcs8[1..]).is_none());
    }

    #[test]
    fn a_jwk_holds_the_public_members_only() {
        let kid = rfc_8037().kid();
        let expected = serde_json::json!({
            "kty": "OKP", "crv": "Ed25519", "x": X, "kid": kid, "alg": "EdDSA", "use": "sig"
        });
        assert_eq!(rfc_8037().jwk(), expected);
    }

    #[test]
    fn debug_shows_no_private_bytes() {
        let pkcs8 = Algorithm::EdDSA.generate().unwrap();
        let key = SigningKey::from_pkcs8(Algorithm::EdDSA, &pkcs8).unwrap();
        let shown = format!("{key:?}");
        let seed = &pkcs8[16..];
        assert!(!shown.contains(&format!("{seed:?}")) && !shown.contains(&URL_SAFE_NO_PAD.encode(seed)), "{shown}");
        assert!(shown.contains("redacted"), "{shown}");
    }

    #[test]
    fn a_key_id_has_one_spelling_and_an_algorithm_one_name() {
        let kid = rfc_8037().kid();
        let text = kid.to_string();
        assert_eq!(text.parse(), Ok(kid));
        // The last character carries 4 bits; "l" is "k" with one of the other two set.
        let twin = format!("{}l", &text[..42]);
        for other in [String::new(), text[1..].to_owned(), format!("{text}="), format!("{text}A"), twin, "é".repeat(43)]
        {
            assert_eq!(other.parse::<KeyId>(), Err(ParseKeyIdError), "{other}");
        }
        assert_eq!(Algorithm::from_name("EdDSA"), Some(Algorithm::EdDSA));
        for other in ["", "none", "EDDSA", "eddsa", "EdDSA ", "Ed25519", "HS256"] {
            assert_eq!(Algorithm::from_name(other), None, "{other}");
        }
        assert_eq!(serde_json::json!(Algorithm::EdDSA), "EdDSA");
    }
}
