mod properties;
mod table;

use std::sync::{Arc, OnceLock};

use aws_lc_rs::{encoding::AsDer, hmac, signature::RsaPublicKeyComponents};
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::*;
use crate::{
    ids::{Generation, LedgerId, SessionId, Subject},
    tokens::{
        Grant, Issuer, Verifier,
        keys::{KeyFileBytes, KeyRing, KeySettings, VerifyingKey},
    },
};

/// When the token of the tests is issued, in seconds.
const IAT: i64 = 1_700_000_000;
const TTL: Duration = Duration::from_mins(15);
const LEEWAY: Duration = Duration::from_secs(3);

/// An issuer, its verifier, and the means to forge.
struct Forge {
    algorithm: Algorithm,
    keys: Arc<KeyRing>,
    issuer: Issuer,
    verifier: Verifier,
    _folder: tempfile::TempDir,
}

/// One key for each algorithm, the same in all tests: making one for RS256 takes a while.
fn key_file(algorithm: Algorithm) -> &'static KeyFileBytes {
    static FILES: OnceLock<Vec<KeyFileBytes>> = OnceLock::new();
    let files = FILES.get_or_init(|| {
        let make = |algorithm| {
            let folder = tempfile::tempdir().unwrap();
            let settings = KeySettings::new(folder.path().join("keys"), algorithm, TTL, LEEWAY);
            let kid = KeyRing::open(settings, at(IAT)).unwrap().list(at(IAT))[0].kid;
            let name = format!("{kid}.json");
            let bytes = crate::secret::read_private(&folder.path().join("keys").join(&name)).unwrap().unwrap();
            (name, bytes)
        };
        Algorithm::ALL.map(make).into()
    });
    &files[Algorithm::ALL.iter().position(|other| *other == algorithm).unwrap()]
}

impl Forge {
    /// Of the default algorithm.
    fn new(leeway: Duration) -> Self {
        Self::of(&[Algorithm::EdDSA], leeway)
    }

    /// One for each algorithm.
    fn each() -> impl Iterator<Item = Self> {
        Algorithm::ALL.into_iter().map(|algorithm| Self::of(&[algorithm], LEEWAY))
    }

    /// With a key for each of these; the first of them signs.
    fn of(algorithms: &[Algorithm], leeway: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys");
        std::fs::create_dir(&keys).unwrap();
        for algorithm in algorithms {
            let (name, bytes) = key_file(*algorithm);
            crate::secret::write_private(&keys.join(name), bytes).unwrap();
        }
        Self::open(folder, algorithms[0], leeway)
    }

    /// Somebody else, with a key of their own.
    fn stranger(algorithm: Algorithm) -> Self {
        Self::open(tempfile::tempdir().unwrap(), algorithm, LEEWAY)
    }

    fn open(folder: tempfile::TempDir, algorithm: Algorithm, leeway: Duration) -> Self {
        let settings = KeySettings::new(folder.path().join("keys"), algorithm, TTL, leeway);
        let keys = Arc::new(KeyRing::open(settings, at(IAT)).unwrap());
        let profile = Arc::new(Profile {
            issuer: "https://id.example".to_owned(),
            audience: "https://api.example".to_owned(),
            client_id: "web".to_owned(),
            access_ttl: TTL,
            leeway,
        });
        let issuer = Issuer::new(Arc::clone(&keys), Arc::clone(&profile));
        let verifier = Verifier::new(Arc::clone(&keys), profile);
        Self { algorithm, keys, issuer, verifier, _folder: folder }
    }

    /// The key of this algorithm.
    fn key(&self, algorithm: Algorithm) -> VerifyingKey {
        let info = self.keys.list(at(IAT)).into_iter().find(|info| info.algorithm == algorithm).unwrap();
        self.keys.read().verifying(info.kid, at(IAT)).unwrap().clone()
    }

    fn good(&self) -> String {
        let grant = Grant {
            subject: Subject::random(),
            session: SessionId::random(),
            generation: Generation(7),
            epoch: LedgerId::random(),
            roles: vec!["admin".to_owned()],
        };
        self.issuer.issue(self.issuer.window(at(IAT)), grant).text
    }

    /// The header of a good token.
    fn header(&self) -> Value {
        json!({ "alg": self.algorithm, "typ": "at+jwt", "kid": self.key(self.algorithm).kid() })
    }

    /// The claims of a good token.
    fn claims(&self) -> Value {
        let token = self.good();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
    }

    /// Signs any header and claims with the real key.
    fn sign(&self, header: impl AsRef<[u8]>, claims: impl AsRef<[u8]>) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.keys.read().signing(at(IAT)).sign(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn verify_at(&self, token: &str, now: Timestamp) -> Result<Claims, Refusal> {
        self.verifier.verify(token, now, TTL)
    }

    fn verify(&self, token: &str) -> Result<Claims, Refusal> {
        self.verify_at(token, at(IAT))
    }

    /// What becomes of a good token with this header.
    fn with_header(&self, header: impl AsRef<[u8]>) -> Option<Refusal> {
        self.verify(&self.sign(header, self.claims().to_string())).err()
    }

    /// What becomes of a good token with these claims.
    fn with_claims(&self, claims: impl AsRef<[u8]>) -> Option<Refusal> {
        self.verify(&self.sign(self.header().to_string(), claims)).err()
    }
}

const fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

/// A JSON object with one member changed, or removed if `value` is `None`.
fn changed(object: &Value, name: &str, value: Option<Value>) -> String {
    let mut object = object.as_object().unwrap().clone();
    object.remove(name);
    object.extend(value.map(|value| (name.to_owned(), value)));
    Value::Object(object).to_string()
}

/// A JSON object with text put before its first member.
fn prefixed(object: &Value, member: &str) -> String {
    object.to_string().replacen('{', &format!("{{{member},"), 1)
}

#[test]
fn what_the_tests_forge_is_accepted_when_nothing_is_wrong_with_it() {
    for forge in Forge::each() {
        assert_eq!(forge.with_header(forge.header().to_string()), None);
        assert_eq!(forge.with_claims(forge.claims().to_string()), None);
    }
}

#[test]
fn a_text_that_is_not_a_compact_jws_is_refused() {
    for forge in Forge::each() {
        let good = forge.good();
        let [header, claims, signature] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
        // 64 and 256 bytes leave 4 unused bits in the last character: "A", "Q", "g" or "w", and each has 15 twins; 32
        // bytes leave 2, and 3 twins.
        let cut = signature.len() - 1;
        let last = char::from(signature.as_bytes()[cut] + 1);
        let json = json!({ "protected": header, "payload": claims, "signature": signature }).to_string();
        let general = json!({ "payload": claims, "signatures": [{ "protected": header, "signature": signature }] });
        for text in [
            String::new(),
            ".".to_owned(),
            "..".to_owned(),
            "...".to_owned(),
            header.to_owned(),
            format!("{header}.{claims}"),
            format!("{good}.{signature}"),
            format!("{good}."),
            format!(".{good}"),
            format!("{header}.{claims}."),
            format!("{header}..{signature}"),
            format!(".{claims}.{signature}"),
            format!("{good}="),
            format!("{good}=="),
            format!("{header}=.{claims}.{signature}"),
            format!("{good} "),
            format!(" {good}"),
            format!("{good}\n"),
            format!("{header}. {claims}.{signature}"),
            format!("Bearer {good}"),
            format!("{good}\0"),
            format!("{header}.{claims}.{}{last}", &signature[..cut]),
            format!("{header}.{claims}."),
            format!("{header}.{claims}.+{}", &signature[1..]),
            format!("{header}.{claims}./{}", &signature[1..]),
            format!("{header}.{claims}.é{}", &signature[2..]),
            json,
            general.to_string(),
        ] {
            assert_eq!(forge.verify(&text), Err(Refusal::Form), "{text}");
        }
    }
}

#[test]
fn a_token_has_a_longest_length() {
    let forge = Forge::new(LEEWAY);
    let padded = |length: usize| {
        let claims = changed(&forge.claims(), "pad", Some(json!("x".repeat(length))));
        forge.sign(forge.header().to_string(), claims)
    };
    let longest = (0..4096).rev().find(|&length| padded(length).len() <= MAX_TOKEN_BYTES).unwrap();
    assert!(forge.verify(&padded(longest)).is_ok());
    assert!(padded(longest + 1).len() > MAX_TOKEN_BYTES);
    assert_eq!(forge.verify(&padded(longest + 1)), Err(Refusal::TooLong));
    assert_eq!(forge.verify(&"A".repeat(MAX_TOKEN_BYTES)), Err(Refusal::Form));
    assert_eq!(forge.verify(&".".repeat(MAX_TOKEN_BYTES + 1)), Err(Refusal::TooLong));
    assert_eq!(forge.verify(&"é".repeat(MAX_TOKEN_BYTES)), Err(Refusal::TooLong));
}

#[test]
fn a_header_has_exactly_three_strings() {
    for forge in Forge::each() {
        let header = forge.header();
        for name in ["alg", "typ", "kid"] {
            for value in [None, Some(json!(null)), Some(json!(1)), Some(json!(["EdDSA"])), Some(json!({}))] {
                assert_eq!(
                    forge.with_header(changed(&header, name, value.clone())),
                    Some(Refusal::Header),
                    "{name} {value:?}"
                );
            }
            let again = format!("\"{name}\":{}", header[name]);
            assert_eq!(forge.with_header(prefixed(&header, &again)), Some(Refusal::Header), "{again}");
        }
        for member in [
            r#""crit":["exp"]"#,
            r#""crit":[]"#,
            r#""b64":false"#,
            r#""b64":true"#,
            r#""jku":"https://evil.example/jwks""#,
            r#""jwk":{"kty":"OKP"}"#,
            r#""x5u":"https://evil.example/""#,
            r#""x5c":["AAAA"]"#,
            r#""x5t":"AAAA""#,
            r#""cty":"JWT""#,
            r#""zip":"DEF""#,
            r#""enc":"A256GCM""#,
            r#""ALG":"EdDSA""#,
            r#""":"""#,
            r#""\u0061lg":"EdDSA""#,
        ] {
            assert_eq!(forge.with_header(prefixed(&header, member)), Some(Refusal::Header), "{member}");
        }
        let values = json!([header["alg"], header["typ"], header["kid"]]).to_string();
        let text = header.to_string();
        for other in
            ["{}", "[]", "null", "\"\"", "{", &values, &format!("{text}{text}"), &format!(" {text}"), "\u{feff}{}"]
        {
            assert_eq!(forge.with_header(other), Some(Refusal::Header), "{other}");
        }
        assert_eq!(forge.with_header(b"{\"alg\":\"\xff\"}"), Some(Refusal::Header));
    }
}

#[test]
fn the_algorithm_is_compared_exactly_and_before_any_key_is_looked_up() {
    let others =
        ["none", "None", "NONE", "", "EDDSA", "eddsa", "EdDSA ", "Ed25519", "hs256", "PS256", "ES384", "HS512"];
    for forge in Forge::each() {
        let real = Algorithm::ALL.into_iter().filter(|algorithm| *algorithm != forge.algorithm).map(Algorithm::name);
        for alg in others.into_iter().chain(real) {
            let header = changed(&forge.header(), "alg", Some(json!(alg)));
            assert_eq!(forge.with_header(&header), Some(Refusal::Algorithm), "{alg}");
            // Nothing else of the header was looked at before.
            let header = json!({ "alg": alg, "typ": "JWT", "kid": "?" }).to_string();
            assert_eq!(forge.with_header(&header), Some(Refusal::Algorithm), "{alg}");
        }
    }
}

/// What everybody knows of a key, in the forms that a library may take for a secret.
fn public_forms(key: &VerifyingKey) -> Vec<Vec<u8>> {
    let jwk = key.jwk().unwrap();
    let member = |name: &str| jwk[name].as_str().map(str::to_owned);
    let decoded = |name: &str| URL_SAFE_NO_PAD.decode(member(name).unwrap()).unwrap();
    let der = match key.algorithm() {
        // The frames of RFC 8410 §4 and RFC 5480 §2.
        Algorithm::EdDSA => [&hex("302a300506032b6570032100"), decoded("x").as_slice()].concat(),
        Algorithm::ES256 => {
            [hex("3059301306072a8648ce3d020106082a8648ce3d03010703420004"), decoded("x"), decoded("y")].concat()
        }
        Algorithm::RS256 => {
            let components = RsaPublicKeyComponents { n: decoded("n"), e: decoded("e") };
            components.as_der().unwrap().as_ref().to_vec()
        }
        Algorithm::HS256 => unreachable!("nobody knows it"),
    };
    let lines: Vec<String> =
        STANDARD.encode(&der).as_bytes().chunks(64).map(|line| String::from_utf8(line.to_vec()).unwrap()).collect();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----", lines.join("\n"));
    let mut forms = vec![der, format!("{pem}\n").into_bytes(), pem.into_bytes(), jwk.to_string().into_bytes(), vec![]];
    for name in ["x", "y", "n", "e", "kid"] {
        forms.extend(member(name).map(String::into_bytes));
        forms.extend(member(name).map(|_| decoded(name)));
    }
    forms
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// RFC 8725 §2.1: the public key, which everybody has, taken as an HMAC secret.
#[test]
fn a_public_key_is_nobodys_secret() {
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
        let alone = Forge::of(&[algorithm], LEEWAY);
        let mixed = Forge::of(&[algorithm, Algorithm::HS256], LEEWAY);
        for (forge, refusal) in [(&alone, Refusal::Algorithm), (&mixed, Refusal::KeyAlgorithm)] {
            let key = forge.key(algorithm);
            let header = json!({ "alg": "HS256", "typ": "at+jwt", "kid": key.kid() }).to_string();
            let message =
                format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(forge.claims().to_string()));
            for secret in public_forms(&key) {
                let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message.as_bytes());
                let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(mac));
                assert_eq!(forge.verify(&token), Err(refusal), "{algorithm}: {secret:?}");
            }
        }
    }
}

#[test]
fn a_key_is_for_one_algorithm_also_among_keys_of_all() {
    let forge = Forge::of(&Algorithm::ALL, LEEWAY);
    for own in Algorithm::ALL {
        let good = Forge::of(&[own], LEEWAY).good();
        assert!(forge.verify(&good).is_ok(), "{own}");
        let (message, signature) = good.rsplit_once('.').unwrap();
        let claims = message.split_once('.').unwrap().1;
        for other in Algorithm::ALL.into_iter().filter(|other| *other != own) {
            let header = json!({ "alg": other, "typ": "at+jwt", "kid": forge.key(own).kid() }).to_string();
            let token = format!("{}.{claims}.{signature}", URL_SAFE_NO_PAD.encode(header));
            assert_eq!(forge.verify(&token), Err(Refusal::KeyAlgorithm), "{own} as {other}");
        }
    }
}

#[test]
fn what_a_revoked_key_has_signed_is_refused_as_something_to_refresh() {
    for forge in Forge::each() {
        let token = forge.good();
        let verified = forge.verifier.verify_with_key(&token, at(IAT), TTL).unwrap();
        forge.keys.revoked().insert([verified.kid]);
        assert_eq!(forge.verify(&token), Err(Refusal::RevokedKey));
        // Also a file that came back, and when the key is nowhere any more.
        forge.keys.remove_revoked(at(IAT)).unwrap();
        assert_eq!(forge.verify(&token), Err(Refusal::RevokedKey));
        let new = forge.good();
        assert!(forge.verify(&new).is_ok(), "another key has taken over");
    }
}

#[test]
fn the_type_is_at_jwt() {
    for forge in Forge::each() {
        for typ in ["JWT", "jwt", "", "AT+JWT", "at+JWT", "application/at+jwt", "at+jwt ", "logout+jwt"] {
            let header = changed(&forge.header(), "typ", Some(json!(typ)));
            assert_eq!(forge.with_header(header), Some(Refusal::Type), "{typ}");
        }
    }
}

#[test]
fn the_key_is_one_of_ours() {
    for forge in Forge::each() {
        let kid = forge.header()["kid"].as_str().unwrap().to_owned();
        let unknown = Forge::stranger(Algorithm::EdDSA).header()["kid"].as_str().unwrap().to_owned();
        for other in [
            "",
            "?",
            "../../../../dev/null",
            "' OR 1=1 --",
            &kid[1..],
            &format!("{kid}A"),
            &format!("{kid}="),
            &kid.to_uppercase(),
            &"A".repeat(2000),
            &unknown,
        ] {
            let header = changed(&forge.header(), "kid", Some(json!(other)));
            assert_eq!(forge.with_header(header), Some(Refusal::Key), "{other}");
        }
    }
}

#[test]
fn a_signature_is_over_exactly_these_bytes_by_exactly_this_key() {
    for forge in Forge::each() {
        let good = forge.good();
        let (message, signature) = good.rsplit_once('.').unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        // Every bit of the short ones, and of the long ones every fifth.
        for bit in (0..bytes.len() * 8).step_by(if bytes.len() > 64 { 5 } else { 1 }) {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(flipped));
            assert_eq!(forge.verify(&token), Err(Refusal::Signature), "bit {bit}");
        }
        let (cut, zeros) = (bytes[..bytes.len() - 1].to_vec(), vec![0; bytes.len()]);
        let longer = [[bytes.clone(), vec![0]].concat(), [vec![0], bytes.clone()].concat()];
        for other in [vec![0], vec![0; 64], zeros, cut].into_iter().chain(longer) {
            let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(other));
            assert_eq!(forge.verify(&token), Err(Refusal::Signature));
        }

        // Another issuer's key under our key's id; and another token's signature.
        let stranger = Forge::stranger(forge.algorithm).sign(forge.header().to_string(), forge.claims().to_string());
        assert_eq!(forge.verify(&stranger), Err(Refusal::Signature));
        let swapped = format!("{message}.{}", forge.good().rsplit_once('.').unwrap().1);
        assert_eq!(forge.verify(&swapped), Err(Refusal::Signature));
    }
}

#[test]
fn every_claim_is_required_in_its_type() {
    let forge = Forge::new(LEEWAY);
    let claims = forge.claims();
    let names: Vec<_> = claims.as_object().unwrap().keys().cloned().collect();
    assert_eq!(names.len(), 11, "{names:?}");
    for name in &names {
        let missing = forge.with_claims(changed(&claims, name, None));
        assert_eq!(missing, (name != "roles").then_some(Refusal::Claims), "{name}");
        for value in [json!(null), json!(true), json!(1.5), json!({}), json!([1]), json!([["a"]])] {
            let refusal = forge.with_claims(changed(&claims, name, Some(value.clone())));
            assert_eq!(refusal, Some(Refusal::Claims), "{name} {value}");
        }
        let value = if claims[name].is_string() { json!(1) } else { json!("1") };
        assert_eq!(forge.with_claims(changed(&claims, name, Some(value))), Some(Refusal::Claims), "{name}");
    }
    for name in ["sub", "sid", "jti", "epoch"] {
        let id = claims[name].as_str().unwrap();
        for value in [id.to_uppercase().replace('0', "A"), id.replace('-', ""), format!("{{{id}}}"), String::new()] {
            let refusal = forge.with_claims(changed(&claims, name, Some(json!(value))));
            assert_eq!(refusal, Some(Refusal::Claims), "{name} {value}");
        }
    }
    for name in ["iat", "exp", "gen"] {
        for value in [json!(1_700_000_000.0), json!(-0.0), json!(u64::MAX), json!([IAT])] {
            let refusal = forge.with_claims(changed(&claims, name, Some(value.clone())));
            assert_eq!(refusal, Some(Refusal::Claims), "{name} {value}");
        }
    }
    for text in ["", "{}", "[]", "null", "{\"iss\":", "\u{feff}{}"] {
        // An empty part is refused for its form already.
        let expected = if text.is_empty() { Refusal::Form } else { Refusal::Claims };
        assert_eq!(forge.with_claims(text), Some(expected), "{text}");
    }
}

#[test]
fn a_claim_that_occurs_twice_is_refused_and_an_unknown_one_ignored() {
    let forge = Forge::new(LEEWAY);
    let claims = forge.claims();
    for (name, value) in claims.as_object().unwrap() {
        let again = prefixed(&claims, &format!("\"{name}\":{value}"));
        assert_eq!(forge.with_claims(again), Some(Refusal::DuplicateClaim), "{name}");
    }
    assert_eq!(forge.with_claims(prefixed(&claims, r#""later":1,"later":1"#)), Some(Refusal::DuplicateClaim));
    assert_eq!(forge.with_claims(prefixed(&claims, r#""nbf":9e9,"later":{"deep":[null]}"#)), None);
}

#[test]
fn issuer_and_audience_are_ours_and_there_is_a_client() {
    for forge in Forge::each() {
        let claims = forge.claims();
        let with = |name: &str, value: Value| forge.with_claims(changed(&claims, name, Some(value)));
        for other in ["", "https://id.example/", "https://ID.example", "https://id.example ", "https://api.example"] {
            assert_eq!(with("iss", json!(other)), Some(Refusal::Issuer), "{other}");
        }
        for other in ["", "https://api.example/", "https://id.example"] {
            assert_eq!(with("aud", json!(other)), Some(Refusal::Audience), "{other}");
        }
        assert_eq!(with("aud", json!(["https://api.example"])), Some(Refusal::Claims));
        assert_eq!(with("client_id", json!("another")), None);
        assert_eq!(with("client_id", json!("é".repeat(255))), None);
        assert_eq!(with("client_id", json!("")), Some(Refusal::ClientId));
        assert_eq!(with("client_id", json!("é".repeat(256))), Some(Refusal::ClientId));
    }
}

#[test]
fn a_lifetime_is_positive_and_at_most_the_ceiling() {
    for forge in Forge::each() {
        let claims = forge.claims();
        let with = |exp: i64| forge.with_claims(changed(&claims, "exp", Some(json!(exp))));
        assert_eq!(with(IAT + 900), None);
        assert_eq!(with(IAT + 901), Some(Refusal::Lifetime));
        assert_eq!(with(253_402_300_799), Some(Refusal::Lifetime));
        assert_eq!(with(IAT + 1), None);
        assert_eq!(with(IAT), Some(Refusal::Lifetime));
        assert_eq!(with(0), Some(Refusal::Lifetime));
        let ceiling = Duration::from_millis(899_999);
        assert_eq!(forge.verifier.verify(&forge.good(), at(IAT), ceiling), Err(Refusal::Lifetime));
    }
}

#[test]
fn a_token_ends_at_exp_to_the_millisecond() {
    let millisecond = Duration::from_millis(1);
    for leeway in [Duration::ZERO, Duration::from_millis(1500), LEEWAY] {
        let forge = Forge::new(leeway);
        let token = forge.good();
        let end = at(IAT + 900) + leeway;
        assert!(forge.verify_at(&token, end - millisecond).is_ok(), "{leeway:?}");
        assert_eq!(forge.verify_at(&token, end), Err(Refusal::Expired), "{leeway:?}");
        assert_eq!(forge.verify_at(&token, end + millisecond), Err(Refusal::Expired), "{leeway:?}");
    }
}

#[test]
fn a_token_may_come_from_a_node_that_is_ahead_but_not_from_the_future() {
    let millisecond = Duration::from_millis(1);
    for leeway in [Duration::ZERO, LEEWAY] {
        let forge = Forge::new(leeway);
        let token = forge.good();
        let first = at(IAT) - leeway - SKEW;
        assert!(forge.verify_at(&token, first).is_ok(), "{leeway:?}");
        assert_eq!(forge.verify_at(&token, first - millisecond), Err(Refusal::IssuedInFuture), "{leeway:?}");
    }
}

#[test]
fn a_token_outlives_its_key_never_and_its_keys_signing_time_always() {
    let forge = Forge::new(LEEWAY);
    let millisecond = Duration::from_millis(1);
    let takes_over = at(IAT) + Duration::from_hours(1);
    forge.keys.generate(at(IAT), Duration::from_hours(1)).unwrap();
    let window = forge.issuer.window(takes_over - millisecond);
    let grant = Grant {
        subject: Subject::random(),
        session: SessionId::random(),
        generation: Generation(0),
        epoch: LedgerId::random(),
        roles: vec![],
    };
    let old = forge.issuer.issue(window, grant.clone()).text;
    let new = forge.issuer.issue(forge.issuer.window(takes_over), grant).text;
    assert_ne!(old.split('.').next(), new.split('.').next(), "each under its own key");

    let end = at(window.exp) + LEEWAY;
    assert!(forge.verify_at(&old, takes_over).is_ok() && forge.verify_at(&new, takes_over).is_ok());
    assert!(forge.verify_at(&old, end - millisecond).is_ok());
    assert_eq!(forge.verify_at(&old, end), Err(Refusal::Expired));
    let retired = takes_over + TTL + LEEWAY + SKEW;
    assert_eq!(forge.verify_at(&old, retired - millisecond), Err(Refusal::Expired));
    assert_eq!(forge.verify_at(&old, retired), Err(Refusal::Key));
}

#[test]
fn each_refusal_has_a_label_of_its_own() {
    let all = table::all();
    let labels: std::collections::HashSet<_> = all.iter().map(|refusal| refusal.as_label()).collect();
    assert_eq!(labels.len(), all.len());
}
