//! A memory changes how long an answer takes, and nothing else.

mod properties;

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::*;
use crate::{
    ids::{Generation, LedgerId, SessionId, Subject, TokenId},
    tokens::{
        Grant, Issuer, KeyRing, Profile, Refusal, Verifier,
        keys::{Algorithm, KeyInfo, KeySettings},
    },
};

/// When the tests begin, in seconds since 1970.
const START: i64 = 1_700_000_000;
const TTL: Duration = Duration::from_mins(15);
const LEEWAY: Duration = Duration::from_secs(3);

const fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn profile() -> Profile {
    Profile {
        issuer: "https://id.example".to_owned(),
        audience: "https://api.example".to_owned(),
        client_id: "web".to_owned(),
        access_ttl: TTL,
        leeway: LEEWAY,
    }
}

/// A ring, and two verifiers that know it: one with a memory and one without.
struct World {
    ring: Arc<KeyRing>,
    issuer: Issuer,
    plain: Verifier,
    remembering: Verifier,
    metrics: Metrics,
    _folder: tempfile::TempDir,
}

impl World {
    fn new(places: u32, metrics: Metrics) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = KeySettings::new(folder.path().join("keys"), Algorithm::EdDSA, TTL, LEEWAY);
        let ring = Arc::new(KeyRing::open(settings, at(START)).unwrap());
        let profile = Arc::new(profile());
        let plain = Verifier::new(Arc::clone(&ring), Arc::clone(&profile));
        let remembering = plain.clone().remembering(places, metrics.clone());
        Self { issuer: Issuer::new(Arc::clone(&ring), profile), ring, plain, remembering, metrics, _folder: folder }
    }

    fn good(&self) -> String {
        let grant = Grant {
            subject: Subject::random(),
            session: SessionId::random(),
            generation: Generation(7),
            epoch: LedgerId::random(),
            roles: vec!["admin".to_owned()],
        };
        self.issuer.issue(self.issuer.window(at(START)), grant).text
    }

    /// What both say, which must be the same.
    #[track_caller]
    fn verify(&self, token: &str, now: Timestamp, ceiling: Duration) -> Result<Verified, Refusal> {
        let said = self.remembering.verify_with_key(token, now, ceiling);
        assert_eq!(said, self.plain.verify_with_key(token, now, ceiling), "{token} at {now} under {ceiling:?}");
        said
    }

    /// What comes of looks so far: hits, and misses.
    fn looks(&self) -> (u64, u64) {
        looks(&self.metrics)
    }

    fn entries(&self) -> usize {
        self.remembering.cache.as_ref().unwrap().entries.len()
    }
}

fn looks(metrics: &Metrics) -> (u64, u64) {
    let text = metrics.render();
    let of = |outcome: &str| {
        let name = format!("kickout_token_cache_looks_total{{outcome=\"{outcome}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
    };
    (of("hit"), of("miss"))
}

/// The claims of a token of this issuer, issued at `iat` and good for `life` seconds.
fn claims(issuer: &str, iat: i64, life: i64) -> Value {
    json!({ "iss": issuer, "aud": "https://api.example", "sub": Subject::random(), "sid": SessionId::random(),
        "jti": TokenId::random(), "iat": iat, "exp": iat + life, "gen": 1, "epoch": LedgerId::random(),
        "client_id": "web" })
}

/// A token with these claims, signed as this key of a ring.
fn sign(ring: &KeyRing, key: &KeyInfo, claims: &Value) -> String {
    let header = json!({ "alg": key.algorithm, "typ": "at+jwt", "kid": key.kid });
    let [header, claims] = [&header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let message = format!("{header}.{claims}");
    let signature = ring.read().signing(key.signs_from).sign(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn a_signature_is_verified_once() {
    let world = World::new(64, Metrics::new());
    let token = world.good();
    let first = world.verify(&token, at(START), TTL).unwrap();
    assert_eq!(world.looks(), (0, 1));
    for later in 0..5 {
        assert_eq!(world.verify(&token, at(START + later), TTL), Ok(first.clone()));
    }
    assert_eq!((world.looks(), world.entries()), ((5, 1), 1));
    // Clones of a verifier share what is remembered.
    assert_eq!(world.remembering.clone().verify_with_key(&token, at(START), TTL), Ok(first));
    assert_eq!(world.looks(), (6, 1));
}

#[test]
fn without_places_nothing_is_remembered_and_nothing_counted() {
    let world = World::new(0, Metrics::new());
    let token = world.good();
    for _ in 0..3 {
        assert!(world.verify(&token, at(START), TTL).is_ok());
    }
    assert!(world.remembering.cache.is_none());
    assert_eq!(world.looks(), (0, 0));
}

#[test]
fn dates_are_compared_with_the_time_of_each_check_and_the_ceiling_of_that_moment() {
    let world = World::new(64, Metrics::new());
    let token = world.good();
    assert!(world.verify(&token, at(START), TTL).is_ok());
    let end = at(START) + TTL + LEEWAY;
    let millisecond = Duration::from_millis(1);
    for (now, ceiling, expected) in [
        (end - millisecond, TTL, None),
        (end, TTL, Some(Refusal::Expired)),
        (at(START) - Duration::from_mins(1), TTL, Some(Refusal::IssuedInFuture)),
        (at(START), TTL / 2, Some(Refusal::Lifetime)),
        (at(START), TTL, None),
    ] {
        assert_eq!(world.verify(&token, now, ceiling).err(), expected, "at {now} under {ceiling:?}");
    }
    assert_eq!(world.looks(), (5, 1), "all of it without the signature");
}

#[test]
fn only_the_exact_bytes_are_known() {
    let world = World::new(64, Metrics::new());
    let token = world.good();
    let other = world.good();
    assert!(world.verify(&token, at(START), TTL).is_ok());
    let [header, claims, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let others = other.rsplit_once('.').unwrap().1;
    for text in [
        format!("{token}="),
        format!("{token} "),
        format!(" {token}"),
        format!("{header}.{claims}.{others}"),
        format!("{header}.{claims}."),
        format!("{header}.{claims}"),
        format!("{header}.{claims}.{}", signature.to_ascii_uppercase()),
    ] {
        assert!(world.verify(&text, at(START), TTL).is_err(), "{text}");
    }
    assert_eq!((world.looks(), world.entries()), ((0, 8), 1), "and what is refused is not remembered");
    // What is longer than any token is not looked for.
    assert_eq!(world.verify(&"A".repeat(4097), at(START), TTL), Err(Refusal::TooLong));
    assert_eq!(world.looks(), (0, 8));
}

#[test]
fn what_a_key_has_verified_is_refused_from_the_moment_it_is_taken_back() {
    let world = World::new(64, Metrics::new());
    let token = world.good();
    let kid = world.verify(&token, at(START), TTL).unwrap().kid;
    assert!(world.verify(&token, at(START), TTL).is_ok());
    world.ring.revoked().insert([kid]);
    assert_eq!(world.verify(&token, at(START), TTL), Err(Refusal::RevokedKey));
    // Also when it is nowhere any more.
    assert_eq!(world.ring.remove_revoked(at(START)).unwrap(), [kid]);
    assert_eq!(world.verify(&token, at(START), TTL), Err(Refusal::RevokedKey));
    assert_eq!(world.looks(), (1, 3));
}

#[test]
fn what_a_key_has_verified_is_refused_when_it_is_retired_or_gone() {
    let world = World::new(64, Metrics::new());
    let long = Duration::from_hours(24);
    // It outlives its key: nothing that is issued here does.
    let token = sign(&world.ring, &world.ring.list(at(START))[0], &claims("https://id.example", START, 36_000));
    world.ring.generate(at(START), Duration::from_secs(1)).unwrap();
    assert!(world.verify(&token, at(START), long).is_ok());
    assert!(world.verify(&token, at(START), long).is_ok());
    let retired = at(START + 1) + TTL + LEEWAY + crate::clock::SKEW;
    assert!(world.verify(&token, retired - Duration::from_millis(1), long).is_ok());
    assert_eq!(world.looks(), (2, 1));
    assert_eq!(world.verify(&token, retired, long), Err(Refusal::Key));
    world.ring.prune(retired, Duration::ZERO).unwrap();
    assert_eq!(world.verify(&token, at(START), long), Err(Refusal::Key), "it is gone, whatever the time");
    assert_eq!(world.looks(), (2, 3));
}

#[test]
fn a_key_that_was_read_again_verifies_for_itself() {
    let world = World::new(64, Metrics::new());
    let token = world.good();
    assert!(world.verify(&token, at(START), TTL).is_ok());
    world.ring.reload(at(START)).unwrap();
    assert!(world.verify(&token, at(START), TTL).is_ok());
    assert_eq!(world.looks(), (0, 2), "another value under the same id");
    assert!(world.verify(&token, at(START), TTL).is_ok());
    assert_eq!((world.looks(), world.entries()), ((1, 2), 1));
    // Other lifetimes are no other keys.
    world.ring.set_max_access_ttl(TTL * 2);
    assert!(world.verify(&token, at(START), TTL).is_ok());
    assert_eq!(world.looks(), (2, 2));
}

#[test]
fn no_key_lives_longer_for_being_remembered() {
    let world = World::new(64, Metrics::new());
    let token = world.good();
    let kid = world.verify(&token, at(START), TTL).unwrap().kid;
    let mark = world.ring.read().mark(kid).unwrap();
    assert!(mark.is_held());
    world.ring.revoked().insert([kid]);
    world.ring.remove_revoked(at(START)).unwrap();
    assert!(!mark.is_held(), "the private key is out of memory, while the token is remembered");
    assert_eq!(world.entries(), 1);
}

#[test]
fn debug_shows_neither_tokens_nor_hashes() {
    let world = World::new(64, Metrics::new());
    world.verify(&world.good(), at(START), TTL).unwrap();
    let shown = format!("{:?}", world.remembering.cache);
    assert_eq!(shown, "Some(VerifiedCache { entries: 1, .. })");
}

/// Claims with so many roles of so many characters.
fn claims_with(roles: usize, chars: usize) -> Claims {
    let mut json = claims("https://id.example", START, 900);
    json["roles"] = json!(vec!["r".repeat(chars); roles]);
    Claims::parse(json.to_string().as_bytes()).unwrap()
}

#[test]
fn an_entry_takes_places_for_what_it_holds() {
    for (roles, chars, expected) in [(0, 0, 1), (3, 13, 1), (8, 13, 2), (16, 32, 2), (750, 1, 38)] {
        assert_eq!(places(&claims_with(roles, chars)), expected, "{roles} roles of {chars}");
    }
}

/// A memory without a verifier, for what does not depend on tokens.
struct Bare {
    world: World,
    cache: VerifiedCache,
    verified: Verified,
}

impl Bare {
    fn new(places: u32) -> Self {
        let world = World::new(1, Metrics::new());
        let verified = world.verify(&world.good(), at(START), TTL).unwrap();
        let cache = VerifiedCache::new(NonZeroU32::new(places).unwrap(), Metrics::new());
        Self { world, cache, verified }
    }

    fn remember(&self, token: &str) {
        self.cache.remember(Digest::of(token), &self.world.ring.read(), &self.verified);
    }

    fn has(&self, token: &str) -> bool {
        self.cache.look(&Digest::of(token), &self.world.ring.read(), at(START)).is_some()
    }
}

#[test]
fn the_sum_of_all_entries_has_a_limit() {
    for places in [1, 2, 31, 256, 8192] {
        let mut bare = Bare::new(places);
        for roles in [0, 40] {
            bare.verified.claims = Arc::new(claims_with(roles, 32));
            for n in 0..2 * places {
                bare.remember(&format!("{n} with {roles}"));
            }
            assert!(bare.cache.entries.weight() <= u64::from(places), "{} of {places}", bare.cache.entries.weight());
        }
    }
}

#[test]
fn tokens_that_are_used_stay_whatever_number_of_others_comes_once() {
    let bare = Bare::new(8192);
    let used: Vec<String> = (0..1000).map(|n| format!("used {n}")).collect();
    for token in &used {
        bare.remember(token);
        assert!(bare.has(token));
    }
    for n in 0..100_000 {
        bare.remember(&format!("once {n}"));
    }
    assert_eq!(used.iter().filter(|token| bare.has(token)).count(), 1000);
}

#[test]
fn somebody_who_uses_many_tokens_leaves_those_that_are_used_more() {
    let bare = Bare::new(8192);
    let used: Vec<String> = (0..1000).map(|n| format!("used {n}")).collect();
    let (mut found, mut asked) = (0, 0);
    for round in 0..100 {
        for token in &used {
            asked += 1;
            if bare.has(token) {
                found += 1;
            } else {
                bare.remember(token);
            }
        }
        for n in 0..1000 {
            let token = format!("{round} {n}");
            bare.remember(&token);
            bare.has(&token);
            bare.has(&token);
        }
    }
    assert!(found * 100 > asked * 95, "{found} of {asked}");
}
