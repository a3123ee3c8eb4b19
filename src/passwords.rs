//! Passwords: how they are received, which new ones are taken, how they are stored and checked.
//!
//! A password comes in as an [`Input`], becomes a [`Password`] once it is measured and normalised, is held against the
//! [`Policy`] if it is to be a new one, and leaves as a [`StoredHash`] (Argon2id, RFC 9106). [`Passwords`] makes and
//! checks the hashes: off the async threads, a bounded number at once, a bounded number waiting.
//!
//! The rules are those of NIST SP 800-63B-4 §3.1.1.2: length and a list of common passwords, no rules of composition,
//! Unicode normalised, nothing ever truncated.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

mod plain;
mod policy;
mod pool;
mod stored;
mod workspaces;

pub use plain::{Input, MAX_CHARS, Password, TooLong};
pub use policy::{Policy, Refusal};
pub use pool::PoolError;
pub use stored::{HashError, MAX_ITERATIONS, MAX_MEMORY_KIB, MAX_PARALLELISM, StoredHash};

use pool::Pool;
use stored::{Cost, OutOfMemory};
use workspaces::Workspaces;

/// The least memory of one computation, in KiB: with two passes, what OWASP asks of Argon2id.
pub const MIN_MEMORY_KIB: u32 = 19 * 1024;

/// The least number of passes over the memory.
pub const MIN_ITERATIONS: u32 = 2;

/// The lowest minimum length that can be configured, in characters (NIST SP 800-63B-4 §3.1.1.2).
pub const LOWEST_MIN_CHARS: usize = 8;

/// How passwords are hashed, how many at once, and how short a new one may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Memory of one computation, in KiB: [`MIN_MEMORY_KIB`] to [`MAX_MEMORY_KIB`].
    pub memory_kib: u32,
    /// Passes over the memory: [`MIN_ITERATIONS`] to [`MAX_ITERATIONS`].
    pub iterations: u32,
    /// Lanes: 1 to [`MAX_PARALLELISM`]. They are computed one after the other, on one thread.
    pub parallelism: u32,
    /// The least length of a new password, in characters: [`LOWEST_MIN_CHARS`] to [`MAX_CHARS`].
    pub min_chars: usize,
    /// Computations at once; 0 is the number of cores. Each holds `memory_kib`.
    pub workers: usize,
    /// Callers that may wait for a worker. One more is refused.
    pub queue: usize,
}

impl Settings {
    /// Everything that is wrong with the settings, so that an operator can mend it all at once.
    #[must_use]
    pub fn problems(&self) -> Vec<SettingsError> {
        let mut problems = Vec::new();
        if !(MIN_MEMORY_KIB..=MAX_MEMORY_KIB).contains(&self.memory_kib) {
            problems.push(SettingsError::MemoryKib(self.memory_kib));
        }
        if !(MIN_ITERATIONS..=MAX_ITERATIONS).contains(&self.iterations) {
            problems.push(SettingsError::Iterations(self.iterations));
        }
        if !(1..=MAX_PARALLELISM).contains(&self.parallelism) {
            problems.push(SettingsError::Parallelism(self.parallelism));
        }
        if !(LOWEST_MIN_CHARS..=MAX_CHARS).contains(&self.min_chars) {
            problems.push(SettingsError::MinChars(self.min_chars));
        }
        problems
    }

    fn check(&self) -> Result<(), SettingsError> {
        self.problems().into_iter().next().map_or(Ok(()), Err)
    }
}

/// A setting is outside its range. The operator's to mend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Too little memory resists nobody; too much makes hashes that cannot be read back.
    #[error("passwords.memory_kib is {0}: it must be {MIN_MEMORY_KIB} to {MAX_MEMORY_KIB}")]
    MemoryKib(u32),
    /// Too few passes, or too many.
    #[error("passwords.iterations is {0}: it must be {MIN_ITERATIONS} to {MAX_ITERATIONS}")]
    Iterations(u32),
    /// No lane, or too many.
    #[error("passwords.parallelism is {0}: it must be 1 to {MAX_PARALLELISM}")]
    Parallelism(u32),
    /// A minimum that admits guessable passwords, or none at all.
    #[error("passwords.min_chars is {0}: it must be {LOWEST_MIN_CHARS} to {MAX_CHARS}")]
    MinChars(usize),
}

/// What came of checking a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verification {
    /// It is the user's password.
    Right {
        /// A new hash to store in place of the old one, which was made with less work than is configured now.
        rehash: Option<StoredHash>,
    },
    /// It is not, or there is no such user.
    Wrong,
}

/// Makes and checks password hashes, in a bounded pool off the async threads.
///
/// A check costs the same for an unknown user as for a known one: both take one Argon2 computation with the configured
/// parameters. The exception is a user whose hash was made when the parameters were lower: their check is cheaper (and
/// dearer once, when the password is right and the hash is remade). It ends with that user's first login after the
/// parameters rose, so raise them early rather than often.
pub struct Passwords {
    cost: Cost,
    /// Stands in for the hash of a user who does not exist.
    dummy: StoredHash,
    pool: Pool,
    memory: Arc<Workspaces>,
    computed: Arc<AtomicU64>,
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").field("cost", &self.cost).field("pool", &self.pool).finish_non_exhaustive()
    }
}

impl Passwords {
    /// A pool with these settings.
    ///
    /// # Errors
    /// The first of [`Settings::problems`].
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        settings.check()?;
        let Settings { memory_kib, iterations, parallelism, .. } = *settings;
        let cost = Cost { memory_kib, iterations, parallelism };
        let workers = match settings.workers {
            0 => thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        };
        Ok(Self {
            dummy: StoredHash::of_nothing(cost),
            cost,
            pool: Pool::new(workers, settings.queue),
            memory: Arc::new(Workspaces::of(cost.blocks())),
            computed: Arc::default(),
        })
    }

    /// Hashes a new password, with a new salt and the configured parameters.
    ///
    /// # Errors
    /// [`PoolError`].
    pub async fn hash(&self, password: Password) -> Result<StoredHash, PoolError> {
        let argon2 = self.argon2();
        Ok(self.pool.run(move || argon2.hash(&password)).await??)
    }

    /// Checks a password against the user's stored hash; `None` is a user who does not exist, and gets
    /// [`Verification::Wrong`] for the same work.
    ///
    /// # Errors
    /// [`PoolError`].
    pub async fn verify(&self, password: Password, stored: Option<StoredHash>) -> Result<Verification, PoolError> {
        let argon2 = self.argon2();
        let is_known = stored.is_some();
        let stored = stored.unwrap_or_else(|| self.dummy.clone());
        let work = move || -> Result<Verification, OutOfMemory> {
            let is_equal = argon2.is_hash_of(&stored, &password)?;
            if !(is_equal && is_known) {
                return Ok(Verification::Wrong);
            }
            let rehash = stored.cost().is_below(argon2.cost).then(|| argon2.hash(&password)).transpose()?;
            Ok(Verification::Right { rehash })
        };
        Ok(self.pool.run(work).await??)
    }

    /// Computations under way.
    #[must_use]
    pub fn busy(&self) -> usize {
        self.pool.busy()
    }

    /// Callers that wait for a worker.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.pool.waiting()
    }

    /// Callers refused so far because the queue was full.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.pool.refused()
    }

    /// Argon2 computations begun so far.
    #[must_use]
    pub fn computed(&self) -> u64 {
        self.computed.load(Ordering::Relaxed)
    }

    fn argon2(&self) -> Argon2 {
        Argon2 { cost: self.cost, memory: Arc::clone(&self.memory), computed: Arc::clone(&self.computed) }
    }
}

/// What a job takes along to a worker. Every computation of the product goes through it and is counted.
struct Argon2 {
    cost: Cost,
    memory: Arc<Workspaces>,
    computed: Arc<AtomicU64>,
}

impl Argon2 {
    fn hash(&self, password: &Password) -> Result<StoredHash, OutOfMemory> {
        self.computed.fetch_add(1, Ordering::Relaxed);
        StoredHash::compute(password, self.cost, &self.memory)
    }

    fn is_hash_of(&self, stored: &StoredHash, password: &Password) -> Result<bool, OutOfMemory> {
        self.computed.fetch_add(1, Ordering::Relaxed);
        stored.is_of(password, &self.memory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cheapest settings that the product permits.
    const CHEAPEST: Settings = Settings {
        memory_kib: MIN_MEMORY_KIB,
        iterations: MIN_ITERATIONS,
        parallelism: 1,
        min_chars: 15,
        workers: 2,
        queue: 4,
    };

    fn password(text: &str) -> Password {
        Password::from_input(text.to_owned()).unwrap()
    }

    async fn is_right(passwords: &Passwords, text: &str, stored: &StoredHash) -> bool {
        let answer = passwords.verify(password(text), Some(stored.clone())).await.unwrap();
        matches!(answer, Verification::Right { .. })
    }

    #[tokio::test]
    async fn a_password_is_right_in_either_unicode_form_and_no_other_password_is() {
        let passwords = Passwords::new(&CHEAPEST).unwrap();
        let stored = passwords.hash(password("caf\u{e9} ＡＢＣ in the rain")).await.unwrap();
        assert!(is_right(&passwords, "cafe\u{301} ABC in the rain", &stored).await);
        assert!(!is_right(&passwords, "cafe ABC in the rain", &stored).await);
        assert!(!is_right(&passwords, "caf\u{e9} abc in the rain", &stored).await);
        assert!(!is_right(&passwords, "", &stored).await);
    }

    #[tokio::test]
    async fn the_last_of_128_characters_counts() {
        let passwords = Passwords::new(&CHEAPEST).unwrap();
        let [a, b] = ["a", "b"].map(|last| "é".repeat(127) + last);
        let stored = passwords.hash(password(&a)).await.unwrap();
        assert!(is_right(&passwords, &a, &stored).await);
        assert!(!is_right(&passwords, &b, &stored).await);
    }

    #[tokio::test]
    async fn memory_is_kept_for_as_many_as_compute_at_once_and_no_more() {
        let passwords = Passwords::new(&CHEAPEST).unwrap();
        for _ in 0..3 {
            let hash = |text: &str| passwords.hash(password(text));
            let (one, two, three) =
                tokio::join!(hash("one of several"), hash("two of several"), hash("three of several"));
            assert!(one.is_ok() && two.is_ok() && three.is_ok());
            assert!((1..=CHEAPEST.workers).contains(&passwords.memory.kept()), "{}", passwords.memory.kept());
        }
    }

    #[tokio::test]
    async fn two_hashes_of_one_password_differ() {
        let passwords = Passwords::new(&CHEAPEST).unwrap();
        let first = passwords.hash(password("one password, two salts")).await.unwrap();
        let second = passwords.hash(password("one password, two salts")).await.unwrap();
        assert_ne!(first, second);
    }

    #[tokio::test]
    async fn an_unknown_user_costs_what_a_known_one_costs() {
        let passwords = Passwords::new(&CHEAPEST).unwrap();
        let stored = passwords.hash(password("a known user's password")).await.unwrap();
        assert_eq!(passwords.dummy.cost(), stored.cost());

        let mut costs = Vec::new();
        for (text, stored) in [
            ("a known user's password", Some(stored.clone())),
            ("not this user's password", Some(stored)),
            ("an unknown user's password", None),
        ] {
            let before = passwords.computed();
            passwords.verify(password(text), stored).await.unwrap();
            costs.push(passwords.computed() - before);
        }
        assert_eq!(costs, [1, 1, 1]);
    }

    #[tokio::test]
    async fn an_unknown_user_is_wrong_even_with_the_password_of_the_dummy() {
        let mut passwords = Passwords::new(&CHEAPEST).unwrap();
        passwords.dummy = passwords.hash(password("what nobody can know")).await.unwrap();
        assert_eq!(passwords.verify(password("what nobody can know"), None).await, Ok(Verification::Wrong));
    }

    #[tokio::test]
    async fn a_hash_is_remade_when_any_parameter_rose_and_the_password_is_right() {
        let stored = Passwords::new(&CHEAPEST).unwrap().hash(password("the same old password")).await.unwrap();
        for risen in [
            Settings { memory_kib: MIN_MEMORY_KIB + 1024, ..CHEAPEST },
            Settings { iterations: MIN_ITERATIONS + 1, ..CHEAPEST },
            Settings { parallelism: 2, ..CHEAPEST },
        ] {
            let passwords = Passwords::new(&risen).unwrap();
            let wrong = passwords.verify(password("another password"), Some(stored.clone())).await;
            assert_eq!(wrong, Ok(Verification::Wrong));
            assert_eq!(passwords.computed(), 1, "a wrong password is never hashed anew");

            let answer = passwords.verify(password("the same old password"), Some(stored.clone())).await.unwrap();
            let Verification::Right { rehash: Some(new) } = answer else { panic!("{risen:?}: {answer:?}") };
            assert_eq!(new.cost(), passwords.cost);
            let again = passwords.verify(password("the same old password"), Some(new)).await;
            assert_eq!(again, Ok(Verification::Right { rehash: None }));
        }
    }

    #[tokio::test]
    async fn a_hash_stays_when_the_parameters_sank() {
        let dearer = Passwords::new(&Settings { iterations: MIN_ITERATIONS + 1, ..CHEAPEST }).unwrap();
        let stored = dearer.hash(password("the same old password")).await.unwrap();
        let passwords = Passwords::new(&CHEAPEST).unwrap();
        let answer = passwords.verify(password("the same old password"), Some(stored)).await;
        assert_eq!(answer, Ok(Verification::Right { rehash: None }));
    }

    #[test]
    fn settings_out_of_range_are_all_named() {
        assert_eq!(CHEAPEST.problems(), []);
        let low = Settings { memory_kib: 19_455, iterations: 1, parallelism: 0, min_chars: 7, ..CHEAPEST };
        let high = Settings {
            memory_kib: MAX_MEMORY_KIB + 1,
            iterations: MAX_ITERATIONS + 1,
            parallelism: MAX_PARALLELISM + 1,
            min_chars: MAX_CHARS + 1,
            ..CHEAPEST
        };
        for settings in [low, high] {
            let expected = [
                SettingsError::MemoryKib(settings.memory_kib),
                SettingsError::Iterations(settings.iterations),
                SettingsError::Parallelism(settings.parallelism),
                SettingsError::MinChars(settings.min_chars),
            ];
            assert_eq!(settings.problems(), expected);
            assert_eq!(Passwords::new(&settings).err(), Some(expected[0]));
            assert_eq!(Policy::new(&settings).err(), Some(expected[0]));
        }
    }

    #[test]
    fn no_workers_means_one_for_each_core_and_any_queue_is_possible() {
        let passwords = Passwords::new(&Settings { workers: 0, queue: usize::MAX, ..CHEAPEST }).unwrap();
        assert_eq!((passwords.busy(), passwords.waiting(), passwords.refused()), (0, 0, 0));
    }

    #[tokio::test]
    async fn debug_output_shows_no_secret() {
        let passwords = Passwords::new(&CHEAPEST).unwrap();
        let plain = "swordfish among pikes";
        let stored = passwords.hash(password(plain)).await.unwrap();
        let phc = stored.to_phc();
        let shown = format!(
            "{:?} {:?} {:?} {:?} {passwords:?}",
            Input::from(plain.to_owned()),
            password(plain),
            stored.clone(),
            Verification::Right { rehash: Some(stored) },
        );
        assert!(!shown.contains("swordfish"), "{shown}");
        for part in phc.rsplit('$').take(2) {
            assert!(!shown.contains(part), "{shown}");
        }
    }
}
