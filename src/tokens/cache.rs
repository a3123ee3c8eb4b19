//! Tokens whose signature was verified: one that comes again, byte for byte, is not verified again.
//!
//! A signature costs far more than all else that a check does, and the bytes of a token are good or bad for ever: who
//! signed them does not change. So this may be remembered, and nothing else may. What the memory passes over is exactly
//! reading the token and verifying its signature. Each time again:
//!
//! - its key must be in the ring, the very value that verified it ([`KeyMark`]), neither retired nor taken back. Where it
//!   is not, the token is verified in full, and refused as without a memory;
//! - its dates are compared with the time of this check, and its life with the ceiling of this moment, by the function
//!   that compared them first;
//! - whoever asked then asks the revocation check, which compares `epoch`, `gen` and the ids. Nothing here says that a
//!   token is alive, or that it is dead: a denial is of ids, never of bytes, and is found for a remembered token as for
//!   any other.
//!
//! So a verifier says the same with a memory and without; tests try sequences of everything that can happen in between.
//!
//! # The key
//!
//! SHA-256 of the whole text, all 32 bytes of it, compared in full: two texts of one hash would be a forgery. The text
//! itself is not kept, so the memory of a node holds no more bearer secrets than its open requests. Finding an entry is
//! not done in constant time and need not be: what the time tells about is the hash, which nobody can bend towards a
//! wanted one, and whoever hits has sent a good token already.
//!
//! # Its limits
//!
//! Only what was verified in full enters, so forgeries push nobody out; they are hashed, and then cost what they cost
//! without a memory. Somebody with many good tokens can push out others, but only such as are used less: an entry that
//! was asked for stays before one that was not. Whoever is pushed out pays a signature.
//!
//! An entry has a size, and the sum of all has a limit. Entries that have expired are not looked for: they are used no
//! more, and go first.
//!
//! Nobody waits here. A part of the map that another thread is just writing counts as a miss, and what cannot be entered
//! at once is entered the next time.

use std::{fmt, num::NonZeroU32, sync::Arc};

use quick_cache::{
    DefaultHashBuilder, OptionsBuilder, Weighter,
    sync::{Cache, DefaultLifecycle},
};

use super::{
    Verified,
    claims::Claims,
    keys::{KeyMark, Keys},
};
use crate::{
    clock::Timestamp,
    secret,
    telemetry::metrics::{Metrics, TokenCacheOutcome as Outcome},
};

/// What fits into one place, in bytes. With claims of ordinary length an entry takes about 700: see [`OWN_BYTES`].
const PLACE_BYTES: usize = 1024;

/// What an entry takes beside what its claims point to, in bytes. Measured, as resident memory over entries, when 200 000
/// had pushed out 400 000 others: 717 with one role of 13 letters, whose texts and lists are 165 of it; 1044 with 8 roles
/// and 1549 with 16, which is 600 and 660 beside theirs. It includes the hash, and what the map knows of entries that have
/// gone.
const OWN_BYTES: usize = 650;

/// The most places in a part of the map. Making room walks over a part a few times in the worst case, and looks into it
/// are misses meanwhile; so parts are small, and there are as many as it takes.
const PART_PLACES: usize = 256;

/// SHA-256 of a token's exact bytes. It is shown nowhere: a hash of a token names it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Digest([u8; 32]);

impl Digest {
    /// The hash of a token.
    pub(super) fn of(token: &str) -> Self {
        Self(secret::sha256(token.as_bytes()))
    }
}

struct Entry {
    verified: Verified,
    /// The key that has verified it.
    key: KeyMark,
    places: u64,
}

#[derive(Clone)]
struct Places;

impl Weighter<Digest, Arc<Entry>> for Places {
    fn weight(&self, _: &Digest, entry: &Arc<Entry>) -> u64 {
        entry.places
    }
}

/// The memory of one verifier, with its issuer and audience.
pub(super) struct VerifiedCache {
    entries: Cache<Digest, Arc<Entry>, Places>,
    metrics: Metrics,
}

impl fmt::Debug for VerifiedCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedCache").field("entries", &self.entries.len()).finish_non_exhaustive()
    }
}

impl VerifiedCache {
    /// An empty one of so many places, [`PLACE_BYTES`] each; rounded up to parts of one size.
    pub(super) fn new(places: NonZeroU32, metrics: Metrics) -> Self {
        let count = usize::try_from(places.get()).unwrap_or(usize::MAX);
        let options = OptionsBuilder::new()
            .estimated_items_capacity(count)
            .weight_capacity(u64::from(places.get()))
            .shards((count / PART_PLACES).max(1))
            .build()
            .expect("both capacities are given");
        let (hasher, lifecycle) = (DefaultHashBuilder::default(), DefaultLifecycle::default());
        Self { entries: Cache::with_options(options, Places, hasher, lifecycle), metrics }
    }

    /// What was verified, if its key verifies at `now` as well.
    pub(super) fn look(&self, digest: &Digest, keys: &Keys, now: Timestamp) -> Option<Verified> {
        let entry = self.entries.try_get(digest).ok().flatten();
        let good = entry.filter(|entry| keys.verifies_still(&entry.key, now));
        let outcome = if good.is_some() { Outcome::Hit } else { Outcome::Miss };
        self.metrics.token_cache_looks_total.at(outcome).increment(1);
        good.map(|entry| entry.verified.clone())
    }

    /// Remembers what was just verified in full with one of these keys.
    pub(super) fn remember(&self, digest: Digest, keys: &Keys, verified: &Verified) {
        let Some(key) = keys.mark(verified.kid) else { return };
        let entry = Entry { verified: verified.clone(), key, places: places(&verified.claims) };
        // Refused if another thread is in this part of the map; then it is entered when the token comes again.
        let _ = self.entries.try_insert(digest, Arc::new(entry));
    }
}

/// How many places an entry with these claims takes.
fn places(claims: &Claims) -> u64 {
    let texts = [&claims.iss, &claims.aud, &claims.client_id].into_iter().map(String::capacity).sum::<usize>();
    let roles = claims.roles.iter().map(|role| role.capacity() + 16).sum::<usize>();
    let list = claims.roles.capacity() * size_of::<String>();
    (OWN_BYTES + texts + roles + list).div_ceil(PLACE_BYTES) as u64
}

#[cfg(test)]
mod tests;
