//! With a memory and without, the same is said of every token, whatever happens in between.

use std::cell::Cell;

use proptest::{collection::vec, prelude::*, sample::Index, test_runner::TestRunner};

use super::*;

/// Something that happens.
#[derive(Debug, Clone)]
enum Event {
    /// A token is signed by a key of the ring: issued `from` seconds away from now, for `life` seconds.
    Sign { key: Index, from: i64, life: i64, is_ours: bool },
    /// Somebody else signs one: with a key of their own under its id, or under one of ours.
    Forge { key: Index, pretends: bool },
    /// A token is presented.
    Present(Index),
    /// A token is presented with one byte changed.
    Bend(Index, Index, u8),
    /// Time goes on, or back, by milliseconds.
    Wait(i64),
    /// No token may live for longer than these seconds.
    Ceiling(u64),
    /// A key for this algorithm is made, which signs after these seconds.
    Generate(usize, u64),
    /// A key is taken back.
    Revoke(Index),
    /// The files of keys that were taken back go.
    RemoveRevoked,
    /// The folder is read again.
    Reload,
    /// Keys that were retired go.
    Prune,
    /// Tokens may live for so many seconds, and keys verify for so long after they have signed.
    Lifetime(u64),
}

const ALGORITHMS: [Algorithm; 3] = [Algorithm::EdDSA, Algorithm::ES256, Algorithm::HS256];
const LIVES: [i64; 6] = [0, 1, 60, 300, 900, 3600];
const CEILINGS: [u64; 4] = [60, 300, 900, 3600];

fn event() -> impl Strategy<Value = Event> {
    let index = any::<Index>;
    let sign = (index(), -10_i64..10, prop::sample::select(LIVES.to_vec()), prop::bool::weighted(0.9));
    prop_oneof![
        6 => sign.prop_map(|(key, from, life, is_ours)| Event::Sign { key, from, life, is_ours }),
        1 => (index(), any::<bool>()).prop_map(|(key, pretends)| Event::Forge { key, pretends }),
        20 => index().prop_map(Event::Present),
        2 => (index(), index(), 0_u8..128).prop_map(|(token, position, byte)| Event::Bend(token, position, byte)),
        3 => prop_oneof![-1000_i64..400_000, -400_000_i64..2_000_000].prop_map(Event::Wait),
        1 => prop::sample::select(CEILINGS.to_vec()).prop_map(Event::Ceiling),
        1 => (0..ALGORITHMS.len(), 0_u64..120).prop_map(|(algorithm, lead)| Event::Generate(algorithm, lead)),
        1 => index().prop_map(Event::Revoke),
        1 => prop_oneof![Just(Event::RemoveRevoked), Just(Event::Reload), Just(Event::Prune)],
        1 => prop::sample::select(CEILINGS.to_vec()).prop_map(Event::Lifetime),
    ]
}

/// A ring for each algorithm, which makes the keys, and forges.
struct Makers(Vec<(KeyRing, tempfile::TempDir)>);

impl Makers {
    fn new() -> Self {
        let make = |algorithm| {
            let folder = tempfile::tempdir().unwrap();
            let settings = KeySettings::new(folder.path().join("keys"), algorithm, TTL, LEEWAY);
            (KeyRing::open(settings, at(START)).unwrap(), folder)
        };
        Self(ALGORITHMS.map(make).into())
    }
}

struct Play<'a> {
    world: World,
    makers: &'a Makers,
    now: Timestamp,
    ceiling: Duration,
    tokens: Vec<String>,
    /// How often a good token was presented.
    accepted: u64,
}

impl Play<'_> {
    fn key(&self, index: Index) -> KeyInfo {
        let keys = self.world.ring.list(self.now);
        index.get(&keys).clone()
    }

    fn present(&mut self, token: &str) {
        // The first time may enter it, and the second may find it.
        for _ in 0..2 {
            self.accepted += u64::from(self.world.verify(token, self.now, self.ceiling).is_ok());
        }
    }

    fn happen(&mut self, event: &Event) {
        let ring = Arc::clone(&self.world.ring);
        match *event {
            Event::Sign { key, from, life, is_ours } => {
                let key = self.key(key);
                let issuer = if is_ours { "https://id.example" } else { "https://id.evil" };
                self.tokens.push(sign(&ring, &key, &claims(issuer, self.now.as_secs() + from, life)));
            }
            Event::Forge { key, pretends } => {
                let (forger, _) = &self.makers.0[0];
                let own = forger.list(at(START))[0].clone();
                let key = if pretends { KeyInfo { kid: self.key(key).kid, ..own } } else { own };
                self.tokens.push(sign(forger, &key, &claims("https://id.example", self.now.as_secs(), 60)));
            }
            Event::Present(token) if !self.tokens.is_empty() => self.present(&token.get(&self.tokens).clone()),
            Event::Bend(token, position, byte) if !self.tokens.is_empty() => {
                let mut bytes = token.get(&self.tokens).clone().into_bytes();
                let position = position.index(bytes.len());
                bytes[position] = byte;
                self.present(&String::from_utf8(bytes).unwrap());
            }
            Event::Present(_) | Event::Bend(..) => {}
            Event::Wait(by) => self.now = Timestamp::from_millis(self.now.as_millis() + by),
            Event::Ceiling(seconds) => self.ceiling = Duration::from_secs(seconds),
            Event::Generate(algorithm, lead) => {
                let file = self.makers.0[algorithm].0.draw(self.now, Duration::from_secs(lead)).unwrap();
                // There may be no room for it.
                let _ = ring.add(&file, self.now);
            }
            Event::Revoke(key) => ring.revoked().insert([self.key(key).kid]),
            Event::RemoveRevoked => drop(ring.remove_revoked(self.now).unwrap()),
            Event::Reload => ring.reload(self.now).unwrap(),
            Event::Prune => drop(ring.prune(self.now, Duration::ZERO).unwrap()),
            Event::Lifetime(seconds) => ring.set_max_access_ttl(Duration::from_secs(seconds)),
        }
    }
}

#[test]
fn a_verifier_says_the_same_with_a_memory_and_without_whatever_happens() {
    let (makers, metrics, accepted) = (Makers::new(), Metrics::new(), Cell::new(0));
    let config = ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() };
    let plays = (prop::sample::select(vec![1_u32, 3, 64]), vec(event(), 1..80));
    let outcome = TestRunner::new(config).run(&plays, |(places, events)| {
        let world = World::new(places, metrics.clone());
        let mut play = Play { world, makers: &makers, now: at(START), ceiling: TTL, tokens: Vec::new(), accepted: 0 };
        for event in &events {
            play.happen(event);
        }
        // Once more, as it is in the end.
        for token in play.tokens.clone() {
            play.present(&token);
        }
        accepted.set(accepted.get() + play.accepted);
        Ok(())
    });
    outcome.unwrap();
    let ((hits, misses), accepted) = (looks(&metrics), accepted.get());
    assert!(accepted > 1000 && hits > 1000 && misses > 1000, "{accepted} good, {hits} hits, {misses} misses");
}
