//! The stored form of a password: Argon2id, version 1.3 (RFC 9106), as a PHC string.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD as BASE64};

use super::{plain::Password, workspaces::Workspaces};
use crate::secret;

/// The most memory of one computation, in KiB (4 GiB). Twice what RFC 9106 §4 recommends to those who can spend most;
/// a stored hash that asks for more is damage or an attack.
pub const MAX_MEMORY_KIB: u32 = 4 * 1024 * 1024;

/// The most passes over the memory. A stored hash that asks for more would hold a worker for minutes.
pub const MAX_ITERATIONS: u32 = 64;

/// The most lanes.
pub const MAX_PARALLELISM: u32 = 64;

const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

/// The longest hash of ours has 101 bytes, and 120 with absurd numbers; anything longer is not looked at.
const MAX_PHC_BYTES: usize = 128;

/// The work of one computation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cost {
    pub(super) memory_kib: u32,
    pub(super) iterations: u32,
    pub(super) parallelism: u32,
}

impl Cost {
    /// Whether this is less than `other` in any dimension.
    pub(super) const fn is_below(self, other: Self) -> bool {
        self.memory_kib < other.memory_kib || self.iterations < other.iterations || self.parallelism < other.parallelism
    }

    const fn is_excessive(self) -> bool {
        self.memory_kib > MAX_MEMORY_KIB || self.iterations > MAX_ITERATIONS || self.parallelism > MAX_PARALLELISM
    }

    /// The memory, in the algorithm's own pieces.
    pub(super) fn blocks(self) -> usize {
        self.params().map_or(0, |params| params.block_count())
    }

    /// The form that the algorithm takes; an error if it is nothing that Argon2 can do.
    fn params(self) -> argon2::Result<Params> {
        Params::new(self.memory_kib, self.iterations, self.parallelism, Some(HASH_BYTES))
    }
}

/// There was no memory for one computation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OutOfMemory;

/// A stored hash cannot be used. The fault is ours, or of who changed the database: it is never a wrong password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// The text is no hash that this service ever wrote.
    #[error("a stored password hash is damaged")]
    Damaged,
    /// The text is a hash, but asks for more work than this service would ever have configured.
    #[error(
        "a stored password hash asks for absurd work (more than {MAX_MEMORY_KIB} KiB, {MAX_ITERATIONS} passes \
         or {MAX_PARALLELISM} lanes)"
    )]
    Excessive,
}

/// A password as it is stored: salt, hash, and the work that went into it.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredHash {
    cost: Cost,
    salt: [u8; SALT_BYTES],
    hash: [u8; HASH_BYTES],
}

impl fmt::Debug for StoredHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredHash").field("cost", &self.cost).finish_non_exhaustive()
    }
}

impl StoredHash {
    /// Reads the form that the database stores.
    ///
    /// Only the one spelling is taken that [`to_phc`](Self::to_phc) writes, so that a hash cut short or changed in
    /// transit is noticed here and does not pass for a wrong password later.
    ///
    /// # Errors
    /// [`HashError`].
    pub fn from_phc(text: &str) -> Result<Self, HashError> {
        if text.len() > MAX_PHC_BYTES {
            return Err(HashError::Damaged);
        }
        let stored = Self::split(text).ok_or(HashError::Damaged)?;
        if stored.to_phc() != text {
            return Err(HashError::Damaged);
        }
        if stored.cost.is_excessive() {
            return Err(HashError::Excessive);
        }
        stored.cost.params().map(|_| stored).map_err(|_| HashError::Damaged)
    }

    /// The form that the database stores: `$argon2id$v=19$m=…,t=…,p=…$salt$hash`. For the database only.
    #[must_use]
    pub fn to_phc(&self) -> String {
        let Cost { memory_kib, iterations, parallelism } = self.cost;
        let (salt, hash) = (BASE64.encode(self.salt), BASE64.encode(self.hash));
        format!("$argon2id$v=19$m={memory_kib},t={iterations},p={parallelism}${salt}${hash}")
    }

    /// A hash that no password has: drawn, not computed.
    pub(super) fn of_nothing(cost: Cost) -> Self {
        Self { cost, salt: secret::random(), hash: secret::random() }
    }

    pub(super) fn compute(password: &Password, cost: Cost, memory: &Workspaces) -> Result<Self, OutOfMemory> {
        let salt = secret::random();
        Ok(Self { cost, salt, hash: argon2id(password, &salt, cost, memory)? })
    }

    pub(super) fn is_of(&self, password: &Password, memory: &Workspaces) -> Result<bool, OutOfMemory> {
        Ok(secret::equal(&argon2id(password, &self.salt, self.cost, memory)?, &self.hash))
    }

    pub(super) const fn cost(&self) -> Cost {
        self.cost
    }

    /// Takes the text apart, more leniently than is allowed: numbers may have a sign or leading zeros.
    fn split(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("$argon2id$v=19$m=")?;
        let (memory_kib, rest) = rest.split_once(",t=")?;
        let (iterations, rest) = rest.split_once(",p=")?;
        let (parallelism, rest) = rest.split_once('$')?;
        let (salt, hash) = rest.split_once('$')?;
        let cost = Cost {
            memory_kib: memory_kib.parse().ok()?,
            iterations: iterations.parse().ok()?,
            parallelism: parallelism.parse().ok()?,
        };
        let salt = BASE64.decode(salt).ok()?.try_into().ok()?;
        let hash = BASE64.decode(hash).ok()?.try_into().ok()?;
        Some(Self { cost, salt, hash })
    }
}

fn argon2id(
    password: &Password,
    salt: &[u8; SALT_BYTES],
    cost: Cost,
    memory: &Workspaces,
) -> Result<[u8; HASH_BYTES], OutOfMemory> {
    let params = cost.params().expect("settings and stored hashes are checked before any work");
    // The memory is ours and not the library's, since the library gives its own back unwiped.
    memory.lend(params.block_count(), |memory| {
        let mut hash = [0; HASH_BYTES];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(password.as_str().as_bytes(), salt, &mut hash, memory)
            .expect(
                "the lengths of password, salt and hash are within those of Argon2, and the memory is what it asks",
            );
        hash
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by another implementation, Python's argon2-cffi.
    const KNOWN: &str =
        "$argon2id$v=19$m=19456,t=2,p=1$9y420d4ltppGqzVnRT631Q$FijTf1Ofy5GwP0+mExe/MuJEhG3N7D3F2Yof1uFdsyo";

    #[test]
    fn a_hash_of_another_implementation_is_understood_and_written_back_as_it_was() {
        let stored = StoredHash::from_phc(KNOWN).unwrap();
        assert_eq!(stored.to_phc(), KNOWN);
        for (text, expected) in [("correct horse battery staple", true), ("correct horse battery stapl", false)] {
            let password = Password::from_input(text.to_owned()).unwrap();
            assert_eq!(stored.is_of(&password, &Workspaces::of(0)), Ok(expected));
        }
    }

    #[test]
    fn a_damaged_hash_is_called_damaged() {
        for (from, to) in [
            ("$argon2id$", "$argon2i$"),
            ("$argon2id$", "argon2id$"),
            ("v=19", "v=16"),
            ("v=19$", ""),
            ("m=", "m=+"),
            ("m=", "m=0"),
            ("m=", "m=-"),
            ("m=19456", "m=7"),
            ("m=19456", "m=99999999999"),
            ("m=19456", "m="),
            ("m=19456,t=2", "t=2,m=19456"),
            ("t=2", "t=0"),
            ("p=1", "p=0"),
            ("p=1", "p=1,keyid=AAAA"),
            ("p=1$", "p=1$AAAA"),
            ("p=1$", "p=1$$"),
            ("$m=", "$é="),
        ] {
            let damaged = KNOWN.replacen(from, to, 1);
            assert_ne!(damaged, KNOWN);
            assert_eq!(StoredHash::from_phc(&damaged), Err(HashError::Damaged), "{damaged}");
        }
        for end in 0..KNOWN.len() {
            assert_eq!(StoredHash::from_phc(&KNOWN[..end]), Err(HashError::Damaged), "{end}");
        }
        for extra in ["=", " ", "\n", "A", "$", "é"] {
            assert_eq!(StoredHash::from_phc(&format!("{KNOWN}{extra}")), Err(HashError::Damaged), "{extra:?}");
        }
        assert_eq!(StoredHash::from_phc(&KNOWN.repeat(1000)), Err(HashError::Damaged));
    }

    #[test]
    fn a_hash_that_asks_for_absurd_work_is_refused_unread() {
        for (from, to) in [
            ("m=19456", "m=4194305"),
            ("m=19456", "m=4294967295"),
            ("t=2", "t=65"),
            ("t=2", "t=4294967295"),
            ("p=1", "p=65"),
            ("p=1", "p=4294967295"),
        ] {
            let absurd = KNOWN.replacen(from, to, 1);
            assert_eq!(StoredHash::from_phc(&absurd), Err(HashError::Excessive), "{absurd}");
        }
    }

    #[test]
    fn the_greatest_cost_is_readable() {
        let cost = Cost { memory_kib: MAX_MEMORY_KIB, iterations: MAX_ITERATIONS, parallelism: MAX_PARALLELISM };
        let stored = StoredHash::of_nothing(cost);
        assert_eq!(StoredHash::from_phc(&stored.to_phc()), Ok(stored));
    }
}
