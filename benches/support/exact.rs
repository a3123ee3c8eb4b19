//! The rivals: a bare exact set of ids, at its best.
//!
//! The hash only folds the random id, so the set pays for its memory and nothing else. A set that users could feed ids
//! of their own choice would need a keyed hash and be slower.

use std::{
    collections::HashSet,
    hash::{BuildHasherDefault, Hasher},
    sync::{PoisonError, RwLock},
};

use arc_swap::ArcSwap;

/// Folds a random id with one multiplication; both ends of the result are used by the table.
#[derive(Debug, Default)]
pub(crate) struct Fold(u64);

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the two halves are taken apart")]
    fn write_u128(&mut self, id: u128) {
        let folded = ((id >> 64) as u64) ^ (id as u64).rotate_left(32);
        self.0 = folded.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// An exact set of keys.
pub(crate) type Set = HashSet<u128, BuildHasherDefault<Fold>>;

/// A set of `count` keys, with room for them from the start.
pub(crate) fn filled(count: usize, keys: impl Iterator<Item = u128>) -> Set {
    let mut set = Set::with_capacity_and_hasher(count, BuildHasherDefault::default());
    set.extend(keys);
    set
}

/// What a set's slots take: 16 bytes and a tag each; a power of two slots, at most 7/8 of them in use.
pub(crate) fn bytes(set: &Set) -> usize {
    (set.capacity() * 8 / 7).next_power_of_two() * 17
}

/// The set behind a lock that writers take too.
#[derive(Debug)]
pub(crate) struct Locked(RwLock<Set>);

/// The set behind a pointer; a writer copies it.
#[derive(Debug)]
pub(crate) struct Swapped(ArcSwap<Set>);

impl Locked {
    pub(crate) fn new(set: Set) -> Self {
        Self(RwLock::new(set))
    }

    pub(crate) fn names_any(&self, keys: &[u128]) -> bool {
        let set = self.0.read().unwrap_or_else(PoisonError::into_inner);
        keys.iter().any(|key| set.contains(key))
    }
}

impl Swapped {
    pub(crate) fn new(set: Set) -> Self {
        Self(ArcSwap::from_pointee(set))
    }

    pub(crate) fn names_any(&self, keys: &[u128]) -> bool {
        let set = self.0.load();
        keys.iter().any(|key| set.contains(key))
    }
}
