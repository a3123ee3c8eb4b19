//! The exact set: every live id in memory. What the filter is measured against, and what the strategy `exact` runs on.
//!
//! Ids lie in many small sets, each behind a lock of its own that readers share. A writer holds one of them for one
//! entry, or while that set grows: of ten million entries each has ten thousand, which move in a fraction of a
//! millisecond. Nothing is copied to add an entry, unlike in the [`filter`](super::filter), and nothing says "maybe".
//!
//! As there, entries lie in generations of one entry life, and the older one is dropped whole.

use std::{
    collections::HashSet,
    hash::{BuildHasher, Hasher},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::{clock::Timestamp, secret};

use super::{
    filter::{IDS_PER_CHECK, Stats, mix},
    shared::{ArcSwap, Mutex, MutexGuard},
};

/// Parts of a generation. A power of two; 1 024 × 64 B = 64 KiB when they are empty.
const PARTS: usize = 1024;

/// Bytes of one slot of a hash set: the id, and a byte that says whether it is taken.
const SLOT_BYTES: usize = 17;

/// The set of one node.
#[derive(Debug)]
pub struct Set {
    key: Keyed,
    shared: ArcSwap<Generations>,
    writer: Mutex<Writer>,
}

/// What readers see: one value, replaced whole. Entries are added inside.
#[derive(Debug)]
struct Generations {
    current: Arc<Generation>,
    previous: Option<Arc<Generation>>,
}

#[derive(Debug)]
struct Writer {
    opened: Timestamp,
    /// Entries that arrived while a rebuild was under way; `None` when there is none.
    meanwhile: Option<Vec<(u128, Timestamp)>>,
}

#[derive(Debug)]
struct Generation {
    key: Keyed,
    parts: Box<[RwLock<HashSet<u128, Keyed>>]>,
    len: AtomicUsize,
    last_until: AtomicI64,
}

/// Hashes ids with a secret of this process. They are random, so that one multiplication mixes them well; with the
/// secret, whoever could choose some could not choose them to fall together.
#[derive(Debug, Clone, Copy)]
struct Keyed(u128);

#[derive(Debug)]
struct Mix(u128, u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.1
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(16) {
            let mut padded = [0; 16];
            padded[..chunk.len()].copy_from_slice(chunk);
            self.write_u128(u128::from_le_bytes(padded));
        }
    }

    fn write_u128(&mut self, id: u128) {
        self.1 = mix(id ^ self.0 ^ u128::from(self.1));
    }
}

impl BuildHasher for Keyed {
    type Hasher = Mix;

    fn build_hasher(&self) -> Mix {
        Mix(self.0, 0)
    }
}

impl Generation {
    fn new(key: Keyed) -> Self {
        Self {
            key,
            parts: (0..PARTS).map(|_| RwLock::new(HashSet::with_hasher(key))).collect(),
            len: AtomicUsize::new(0),
            last_until: AtomicI64::new(i64::MIN),
        }
    }

    fn part(&self, id: u128) -> &RwLock<HashSet<u128, Keyed>> {
        // Bits that the sets do not use themselves: they take the lowest and the highest.
        let bits = usize::try_from(self.key.hash_one(id) >> 32 & (PARTS as u64 - 1)).unwrap_or(0);
        &self.parts[bits]
    }

    fn insert(&self, id: u128, until: Timestamp) {
        let is_new = self.part(id).write().unwrap_or_else(PoisonError::into_inner).insert(id);
        self.len.fetch_add(usize::from(is_new), Ordering::Relaxed);
        self.last_until.fetch_max(until.as_millis(), Ordering::Relaxed);
    }

    fn contains(&self, id: u128) -> bool {
        self.part(id).read().unwrap_or_else(PoisonError::into_inner).contains(&id)
    }

    fn is_over(&self, now: Timestamp) -> bool {
        self.last_until.load(Ordering::Relaxed) < now.as_millis()
    }

    fn bytes(&self) -> usize {
        // Seven of eight slots may be taken.
        let slots = |part: &RwLock<HashSet<u128, Keyed>>| {
            part.read().unwrap_or_else(PoisonError::into_inner).capacity().div_ceil(7) * 8
        };
        self.parts.iter().map(|part| 64 + slots(part) * SLOT_BYTES).sum()
    }
}

impl Set {
    /// An empty set.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        let seed: [u8; 32] = secret::random();
        let (half, _) = seed.split_at(16);
        let key = Keyed(u128::from_le_bytes(half.try_into().unwrap_or_default()));
        let current = Arc::new(Generation::new(key));
        Self {
            key,
            shared: ArcSwap::from_pointee(Generations { current, previous: None }),
            writer: Mutex::new(Writer { opened: now, meanwhile: None }),
        }
    }

    /// Which of the ids are in it: bit `i` stands for `ids[i]`.
    #[must_use]
    pub fn probe(&self, ids: &[u128; IDS_PER_CHECK]) -> u8 {
        let generations = self.shared.load();
        let mut found = 0;
        for (i, id) in ids.iter().enumerate() {
            let hit = generations.current.contains(*id)
                || generations.previous.as_ref().is_some_and(|previous| previous.contains(*id));
            found |= u8::from(hit) << i;
        }
        found
    }

    /// Adds entries. When this returns, every later [`probe`](Self::probe) sees them.
    pub fn insert(&self, entries: impl IntoIterator<Item = (u128, Timestamp)>) {
        let mut writer = self.lock();
        let generations = self.shared.load_full();
        for (id, until) in entries {
            generations.current.insert(id, until);
            if let Some(meanwhile) = &mut writer.meanwhile {
                meanwhile.push((id, until));
            }
        }
    }

    /// Drops the older generation when all of it has run out, and opens a new one when the current one is an entry life
    /// old. Returns whether a new one was opened.
    pub fn rotate(&self, now: Timestamp, life: Duration) -> bool {
        let mut writer = self.lock();
        // A rebuild replaces both; what it is catching up with must not move.
        if writer.meanwhile.is_some() {
            return false;
        }
        let generations = self.shared.load_full();
        let previous = generations.previous.clone().filter(|previous| !previous.is_over(now));
        let current = Arc::clone(&generations.current);
        if now < writer.opened + life || previous.is_some() {
            if generations.previous.is_some() && previous.is_none() {
                self.shared.store(Arc::new(Generations { current, previous }));
            }
            return false;
        }
        writer.opened = now;
        if current.len.load(Ordering::Relaxed) == 0 {
            self.shared.store(Arc::new(Generations { current, previous: None }));
            return false;
        }
        let next = Arc::new(Generation::new(self.key));
        self.shared.store(Arc::new(Generations { current: next, previous: Some(current) }));
        true
    }

    /// Begins a rebuild: from now on arriving entries are noted, so that none is lost at the swap.
    #[must_use]
    pub fn begin_rebuild(&self) -> Rebuild<'_> {
        self.lock().meanwhile = Some(Vec::new());
        Rebuild { set: self, generation: Arc::new(Generation::new(self.key)), done: false }
    }

    /// Figures for metrics and operators. It is never full: it grows by itself.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let generations = self.shared.load();
        let all = || std::iter::once(&generations.current).chain(&generations.previous);
        let current = generations.current.len.load(Ordering::Relaxed);
        Stats {
            entries: all().map(|generation| generation.len.load(Ordering::Relaxed)).sum(),
            current,
            capacity: 0,
            generations: all().count(),
            delta: 0,
            bytes: all().map(|generation| generation.bytes()).sum(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        // Whatever a panic leaves behind holds: entries only come, and generations are swapped by one store.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A rebuild under way. Dropped unfinished, it leaves the set as it was.
#[derive(Debug)]
pub struct Rebuild<'a> {
    set: &'a Set,
    generation: Arc<Generation>,
    done: bool,
}

impl Rebuild<'_> {
    /// Adds what was live when the rebuild began.
    pub fn insert(&mut self, id: u128, until: Timestamp) {
        self.generation.insert(id, until);
    }

    /// Catches up with what arrived meanwhile and swaps the new generation in as one value.
    pub fn finish(mut self, now: Timestamp) {
        let mut writer = self.set.lock();
        for (id, until) in writer.meanwhile.take().unwrap_or_default() {
            self.generation.insert(id, until);
        }
        self.set.shared.store(Arc::new(Generations { current: Arc::clone(&self.generation), previous: None }));
        writer.opened = now;
        self.done = true;
    }
}

impl Drop for Rebuild<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.set.lock().meanwhile = None;
        }
    }
}
