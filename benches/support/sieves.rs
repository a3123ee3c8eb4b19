//! Bloom filters of two crates, each with its best settings, asked as the product asks its own.
//!
//! `bloomfilter` is what the product uses: it hashes an id twice with SipHash-1-3 and takes every further bit from the
//! two, with a division for each. `fastbloom` hashes once and needs no division, and a hash that was computed can be
//! asked for in both generations, which is its best use here. Its default hasher is SipHash-1-3 under a random key, and
//! the seeded one is the same under a key of the caller's, as here; the hasher that its own figures are taken with is
//! foldhash, which does not promise to withstand ids of somebody else's choice. The version at hand has no variants
//! that keep an id's bits in one block.

use arc_swap::ArcSwap;
use bloomfilter::Bloom;
use fastbloom::{BloomFilter, DefaultHasher};
use foldhash::{SharedSeed, fast::SeedableRandomState};
use kickout::revocation::filter::IDS_PER_CHECK;

/// What the hashes are keyed with; every generation of a filter has the same.
pub(crate) type Secret = [u8; 32];

/// A Bloom filter of some crate.
pub(crate) trait Sieve: Sized {
    /// How the tables call it.
    const NAME: &'static str;
    /// What is computed of a key once, and then asked for in each generation.
    type Asked: Copy;

    fn new(capacity: usize, per_probe: f64, secret: &Secret) -> Self;
    fn add(&mut self, key: u128);
    fn asked(&self, key: u128) -> Self::Asked;
    fn may_hold(&self, asked: Self::Asked) -> bool;
    /// Of its bits.
    fn bytes(&self) -> usize;

    /// One that holds these keys.
    fn filled(capacity: usize, per_probe: f64, secret: &Secret, keys: &[u128]) -> Self {
        let mut sieve = Self::new(capacity, per_probe, secret);
        for &key in keys {
            sieve.add(key);
        }
        sieve
    }
}

impl Sieve for Bloom<u128> {
    const NAME: &'static str = "bloomfilter";
    type Asked = u128;

    fn new(capacity: usize, per_probe: f64, secret: &Secret) -> Self {
        Self::new_for_fp_rate_with_seed(capacity, per_probe, secret).expect("capacity and rate are positive")
    }

    fn add(&mut self, key: u128) {
        self.set(&key);
    }

    fn asked(&self, key: u128) -> u128 {
        key
    }

    fn may_hold(&self, asked: u128) -> bool {
        self.check(&asked)
    }

    fn bytes(&self) -> usize {
        usize::try_from(self.len() / 8).unwrap_or(usize::MAX)
    }
}

/// `fastbloom` with its default hasher.
pub(crate) type WithSipHash = BloomFilter<DefaultHasher>;

/// `fastbloom` with the fastest hasher that its documentation names.
pub(crate) type WithFoldhash = BloomFilter<SeedableRandomState>;

impl Sieve for WithSipHash {
    const NAME: &'static str = "fastbloom, SipHash";
    type Asked = u64;

    fn new(capacity: usize, per_probe: f64, secret: &Secret) -> Self {
        Self::with_false_pos(per_probe).seed(&number(secret)).expected_items(capacity)
    }

    fn add(&mut self, key: u128) {
        self.insert(&key);
    }

    fn asked(&self, key: u128) -> u64 {
        self.source_hash(&key)
    }

    fn may_hold(&self, asked: u64) -> bool {
        self.contains_hash(asked)
    }

    fn bytes(&self) -> usize {
        self.num_bits() / 8
    }
}

impl Sieve for WithFoldhash {
    const NAME: &'static str = "fastbloom, foldhash";
    type Asked = u64;

    #[expect(clippy::cast_possible_truncation, reason = "it takes a key of 64 bits")]
    fn new(capacity: usize, per_probe: f64, secret: &Secret) -> Self {
        let hasher = SeedableRandomState::with_seed(number(secret) as u64, SharedSeed::global_random());
        BloomFilter::with_false_pos(per_probe).hasher(hasher).expected_items(capacity)
    }

    fn add(&mut self, key: u128) {
        self.insert(&key);
    }

    fn asked(&self, key: u128) -> u64 {
        self.source_hash(&key)
    }

    fn may_hold(&self, asked: u64) -> bool {
        self.contains_hash(asked)
    }

    fn bytes(&self) -> usize {
        self.num_bits() / 8
    }
}

/// 128 bits of the secret.
fn number(secret: &Secret) -> u128 {
    secret[..16].iter().fold(0, |number, &byte| number << 8 | u128::from(byte))
}

/// The generations that are alive, behind a pointer that a writer replaces, as in the product. The product's small
/// exact set of what waits to be merged is left out: it is the same whatever the crate.
#[derive(Debug)]
pub(crate) struct Generations<S>(ArcSwap<Alive<S>>);

#[derive(Debug)]
struct Alive<S> {
    current: S,
    previous: Option<S>,
}

impl<S: Sieve> Generations<S> {
    pub(crate) fn new(current: S, previous: Option<S>) -> Self {
        Self(ArcSwap::from_pointee(Alive { current, previous }))
    }

    /// Which of a check's keys may be held: bit `i` stands for `keys[i]`.
    pub(crate) fn probe(&self, keys: &[u128; IDS_PER_CHECK]) -> u8 {
        let alive = self.0.load();
        let mut maybe = 0;
        for (i, key) in keys.iter().enumerate() {
            let asked = alive.current.asked(*key);
            let hit = alive.current.may_hold(asked)
                || alive.previous.as_ref().is_some_and(|previous| previous.may_hold(asked));
            maybe |= u8::from(hit) << i;
        }
        maybe
    }

    pub(crate) fn bytes(&self) -> usize {
        let alive = self.0.load();
        alive.current.bytes() + alive.previous.as_ref().map_or(0, Sieve::bytes)
    }
}
