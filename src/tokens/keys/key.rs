//! One key: its algorithm, its private and its public half.
//!
//! A key is for one algorithm, and its halves are values of that algorithm's own: an RSA key cannot be taken for a
//! secret, whatever a token's header says.
//!
//! Keys are read once and kept as the library has them. Reading an RSA key costs more than a signature with it.

use std::{collections::BTreeMap, fmt};

use aws_lc_rs::{
    encoding::AsDer,
    error::Unspecified,
    hmac,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
        ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{ids::KeyId, secret};

/// The size of a new RSA key: 112 bits of security, which NIST SP 800-57 takes until 2030. A signature here has to hold
/// for as long as a token lives, and a key for a few months; 3072 bits would add 170 characters to every request and
/// take three times as long to sign. A longer key that is put into the folder is taken.
const RSA_SIZE: KeySize = KeySize::Rsa2048;

/// The shortest secret of HS256, in bytes: as long as the hash (RFC 7518 §3.2). New ones have as many.
const SECRET_BYTES: usize = 32;

/// The algorithms that tokens may carry; nothing outside this list is looked at.
///
/// To add one: a variant, its arm in each `match` of this file, and a test vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// Ed25519 under its JOSE name (RFC 8037 §3.1).
    EdDSA,
    /// ECDSA with P-256 and SHA-256 (RFC 7518 §3.4). For whoever gets a signature, its twin with −s is good as well: a
    /// token has two spellings then, and a denial is never of a spelling.
    ES256,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 §3.3).
    RS256,
    /// HMAC with SHA-256 (RFC 7518 §3.2). Whoever verifies can issue, too.
    HS256,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 4] = [Self::EdDSA, Self::ES256, Self::RS256, Self::HS256];

    /// The name in a token's `alg` (RFC 7515 §4.1.1).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EdDSA => "EdDSA",
            Self::ES256 => "ES256",
            Self::RS256 => "RS256",
            Self::HS256 => "HS256",
        }
    }

    /// The algorithm with exactly this name; names differ by case (RFC 7515 §4.1.1).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// Whether its keys have a half that others may know. Those that have not are no key to be shared.
    #[must_use]
    pub const fn is_public(self) -> bool {
        !matches!(self, Self::HS256)
    }

    /// A new private key: unencrypted PKCS#8 (RFC 5208, the form that OpenSSL reads too), or the bytes of a secret.
    pub(super) fn generate(self) -> Result<Zeroizing<Vec<u8>>, Unspecified> {
        let document = match self {
            Self::EdDSA => Ed25519KeyPair::generate()?.to_pkcs8v1()?.as_ref().to_vec(),
            Self::ES256 => EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?.to_pkcs8v1()?.as_ref().to_vec(),
            Self::RS256 => RsaKeyPair::generate(RSA_SIZE)?.as_der()?.as_ref().to_vec(),
            Self::HS256 => secret::random::<SECRET_BYTES>().to_vec(),
        };
        Ok(Zeroizing::new(document))
    }

    /// What a private key must be, for whoever has another.
    const fn requirement(self) -> &'static str {
        match self {
            Self::EdDSA => "its private is not an Ed25519 key in PKCS#8, as its alg needs",
            Self::ES256 => "its private is not a key on the curve P-256 in PKCS#8, as its alg needs",
            Self::RS256 => "its private is not an RSA key of 2048 to 8192 bits in PKCS#8, as its alg needs",
            Self::HS256 => "its private is not a secret of 256 bits or more, as its alg needs",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What verifies: the public half, or for HS256 the secret itself.
#[derive(Clone)]
enum Verifies {
    Public(ParsedPublicKey),
    /// Boxed: it is some twenty times as large as the other.
    Secret(Box<hmac::Key>),
}

/// What verifies signatures of one algorithm.
#[derive(Clone)]
pub struct VerifyingKey {
    kid: KeyId,
    algorithm: Algorithm,
    /// The public members that RFC 7638 §3.2 requires. Sorted by name, as the thumbprint wants them. A secret has none.
    members: BTreeMap<&'static str, String>,
    key: Verifies,
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

impl VerifyingKey {
    /// An Ed25519 key from its 32 bytes (RFC 8032 §5.1.5).
    fn ed25519(public: &[u8]) -> Option<Self> {
        let key = ParsedPublicKey::new(&ED25519, public).ok()?;
        let members = [("kty", "OKP".to_owned()), ("crv", "Ed25519".to_owned()), ("x", text(public))];
        Some(Self::public(Algorithm::EdDSA, members, key))
    }

    /// A key on P-256 from its uncompressed point (SEC 1 §2.3.3): a 4, and 32 bytes for each coordinate. A JWK spells
    /// both in full, leading zeros too (RFC 7518 §6.2.1.2).
    fn p256(point: &[u8]) -> Option<Self> {
        let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).ok()?;
        let (x, y) = point.strip_prefix(&[4])?.split_at_checked(32)?;
        let members = [("kty", "EC".to_owned()), ("crv", "P-256".to_owned()), ("x", text(x)), ("y", text(y))];
        Some(Self::public(Algorithm::ES256, members, key))
    }

    /// An RSA key from its numbers, big-endian and without leading zeros.
    fn rsa(n: &[u8], e: &[u8]) -> Option<Self> {
        let key = RsaPublicKeyComponents { n, e }.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).ok()?;
        let members = [("kty", "RSA".to_owned()), ("n", text(n)), ("e", text(e))];
        Some(Self::public(Algorithm::RS256, members, key))
    }

    /// A secret.
    fn secret(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < SECRET_BYTES {
            return None;
        }
        let k = Zeroizing::new(text(bytes));
        let json = Zeroizing::new(format!(r#"{{"k":"{}","kty":"oct"}}"#, k.as_str()));
        Some(Self {
            kid: KeyId::of(secret::sha256(json.as_bytes())),
            algorithm: Algorithm::HS256,
            members: BTreeMap::new(),
            key: Verifies::Secret(Box::new(hmac::Key::new(hmac::HMAC_SHA256, bytes))),
        })
    }

    fn public<const N: usize>(
        algorithm: Algorithm,
        members: [(&'static str, String); N],
        key: ParsedPublicKey,
    ) -> Self {
        let members = BTreeMap::from(members);
        let json = serde_json::to_vec(&members).expect("a map of strings is written as JSON");
        Self { kid: KeyId::of(secret::sha256(&json)), algorithm, members, key: Verifies::Public(key) }
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

    /// Whether `signature` is this key's over `message`, in the one form that JWS has for it: of ECDSA the two numbers in
    /// 64 bytes (RFC 7518 §3.4), not DER.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.key {
            Verifies::Public(key) => key.verify_sig(message, signature).is_ok(),
            // In constant time.
            Verifies::Secret(key) => hmac::verify(key, message, signature).is_ok(),
        }
    }

    /// The key as a JWK (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2); `None` for a secret.
    #[must_use]
    pub fn jwk(&self) -> Option<serde_json::Value> {
        if !self.algorithm.is_public() {
            return None;
        }
        let own = [("kid", self.kid.to_string()), ("alg", self.algorithm.to_string()), ("use", "sig".to_owned())];
        Some(self.members.clone().into_iter().chain(own).collect())
    }
}

/// What signs.
enum Signs {
    EdDSA(Ed25519KeyPair),
    ES256(EcdsaKeyPair),
    RS256(RsaKeyPair),
    HS256(Box<hmac::Key>),
}

/// A private key, with its public half.
pub struct SigningKey {
    key: Signs,
    verifying: VerifyingKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("key", &"redacted").field("verifying", &self.verifying).finish()
    }
}

impl SigningKey {
    /// A private key from unencrypted PKCS#8, or a secret from its bytes.
    ///
    /// # Errors
    /// What it would have to be, if it is not a key for this algorithm, or too weak a one.
    pub(super) fn from_private(algorithm: Algorithm, private: &[u8]) -> Result<Self, &'static str> {
        Self::read(algorithm, private).ok_or(algorithm.requirement())
    }

    fn read(algorithm: Algorithm, private: &[u8]) -> Option<Self> {
        let (key, verifying) = match algorithm {
            Algorithm::EdDSA => {
                let pair = Ed25519KeyPair::from_pkcs8(private).ok()?;
                let verifying = VerifyingKey::ed25519(pair.public_key().as_ref())?;
                (Signs::EdDSA(pair), verifying)
            }
            Algorithm::ES256 => {
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, private).ok()?;
                let verifying = VerifyingKey::p256(pair.public_key().as_ref())?;
                (Signs::ES256(pair), verifying)
            }
            Algorithm::RS256 => {
                let pair = RsaKeyPair::from_pkcs8(private).ok()?;
                let RsaPublicKeyComponents::<Vec<u8>> { n, e } = pair.public_key().into();
                let verifying = VerifyingKey::rsa(&n, &e)?;
                (Signs::RS256(pair), verifying)
            }
            Algorithm::HS256 => {
                let verifying = VerifyingKey::secret(private)?;
                (Signs::HS256(Box::new(hmac::Key::new(hmac::HMAC_SHA256, private))), verifying)
            }
        };
        Some(Self { key, verifying })
    }

    /// The public half.
    #[must_use]
    pub const fn verifying(&self) -> &VerifyingKey {
        &self.verifying
    }

    /// The signature over `message`.
    ///
    /// # Panics
    /// Only if the cryptographic library is out of memory: the key was read when it was made.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signed = match &self.key {
            Signs::EdDSA(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Signs::ES256(pair) => pair.sign(&SystemRandom::new(), message).map(|signature| signature.as_ref().to_vec()),
            Signs::RS256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).map(|()| signature)
            }
            Signs::HS256(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
        };
        signed.expect("the key was read before")
    }
}

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests;
