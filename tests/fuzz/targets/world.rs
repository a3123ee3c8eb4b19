//! An issuer whose key everybody knows.

use std::{
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kickout::{
    clock::Timestamp,
    secret::write_private,
    tokens::{
        Claims, Profile, Refusal, Verifier,
        keys::{Algorithm, KeyRing, KeySettings},
    },
};
use serde_json::{Value, json};

/// When the tokens here are issued, in seconds, and when they are verified.
pub(super) const IAT: i64 = 1_700_000_000;
const NOW: Timestamp = Timestamp::from_millis(IAT * 1000);

/// The longest life of a token, in seconds.
pub(super) const CEILING: i64 = 900;
const TTL: Duration = Duration::from_mins(15);
pub(super) const LEEWAY: Duration = Duration::from_secs(3);

pub(super) const ISSUER: &str = "https://id.example";
pub(super) const AUDIENCE: &str = "https://api.example";

/// The key of RFC 8037 appendix A.1, so that seeds can hold tokens that are good, and its thumbprint (A.3).
const SEED: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
const KID: &str = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";

/// What stands before an Ed25519 key's 32 bytes in PKCS#8 (RFC 8410 §7).
const PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// The key, and a verifier that knows it.
#[derive(Debug)]
pub(super) struct World {
    keys: Arc<KeyRing>,
    verifier: Verifier,
}

impl World {
    pub(super) fn shared() -> &'static Self {
        static WORLD: OnceLock<World> = OnceLock::new();
        WORLD.get_or_init(Self::new)
    }

    fn new() -> Self {
        // The ring has read it when the folder goes.
        let folder = tempfile::tempdir().expect("a folder");
        write_key(folder.path());
        let settings = KeySettings::new(folder.path().to_owned(), Algorithm::EdDSA, TTL, LEEWAY);
        let keys = Arc::new(KeyRing::open(settings, NOW).expect("a key ring"));
        let profile = Profile {
            issuer: ISSUER.to_owned(),
            audience: AUDIENCE.to_owned(),
            client_id: "web".to_owned(),
            access_ttl: TTL,
            leeway: LEEWAY,
        };
        Self { verifier: Verifier::new(Arc::clone(&keys), Arc::new(profile)), keys }
    }

    /// Signs any header and claims.
    pub(super) fn sign(&self, header: impl AsRef<[u8]>, claims: impl AsRef<[u8]>) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.keys.read().signing(NOW).sign(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    pub(super) fn verify(&self, token: &str) -> Result<Claims, Refusal> {
        self.verifier.verify(token, NOW, TTL)
    }
}

fn write_key(folder: &Path) {
    let seed = URL_SAFE_NO_PAD.decode(SEED).expect("base64url");
    let private = URL_SAFE_NO_PAD.encode([PKCS8.as_slice(), &seed].concat());
    let file = json!({ "kid": KID, "alg": "EdDSA", "created_at": 0, "signs_from": 0, "private": private });
    write_private(&folder.join(format!("{KID}.json")), file.to_string().as_bytes()).expect("a key file");
}

/// The header of a good token.
pub(super) fn header() -> Value {
    json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": KID })
}

/// The claims of a good token, with some of them changed.
pub(super) fn claims(changed: &[(&str, Value)]) -> Value {
    let mut claims = json!({
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "5b0c6c1e-2f4e-4a6f-8a52-0d7f3c9be111",
        "sid": "5b0c6c1e-2f4e-4a6f-8a52-0d7f3c9be222",
        "jti": "5b0c6c1e-2f4e-4a6f-8a52-0d7f3c9be333",
        "iat": IAT,
        "exp": IAT + CEILING,
        "gen": 7,
        "epoch": "5b0c6c1e-2f4e-4a6f-8a52-0d7f3c9be444",
        "client_id": "web",
        "roles": ["admin"],
    });
    for (name, value) in changed {
        claims[*name] = value.clone();
    }
    claims
}
