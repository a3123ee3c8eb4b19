//! The filter: says "surely not revoked" or "maybe", from memory, without a lock.
//!
//! `bloomfilter` needs exclusive access to set a bit, and a copy of a large one takes milliseconds, so a filter is
//! made of two kinds of parts that are swapped as one value:
//!
//! - *generations*: frozen Bloom filters, at most [`GENERATIONS`], each holding the revocations of about one entry
//!   life. When every entry of the older one has expired it is dropped whole, so the filter never fills with the past.
//! - a *delta*: a small exact set of fingerprints that one writer fills while readers look. When it is full, a copy of
//!   the current generation takes its entries in, off the read path, and both are replaced at once.
//!
//! A reader loads one pointer, then reads atomics and frozen bits: it never waits for a writer. It must load that
//! pointer in the check itself; a reader that kept an old one would miss what was added since.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use bloomfilter::Bloom;

use crate::{clock::Timestamp, secret};

use super::shared::{ArcSwap, AtomicU64, AtomicUsize, DELTA_ENTRIES, Mutex, MutexGuard, Ordering};

/// Generations alive at once: the one being filled, and the one whose entries are still running out.
pub const GENERATIONS: usize = 2;

/// Ids that one check asks for: `jti`, `sid`, `sub`.
pub const IDS_PER_CHECK: usize = 3;

/// Slots of the delta: a quarter full at most, so a probe for an absent fingerprint ends at once. 8 192 × 8 B = 64 KiB.
const DELTA_SLOTS: usize = 4 * DELTA_ENTRIES;

/// How large a filter is made.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Live revocations that a generation is made for. More of them make it grow.
    pub capacity: usize,
    /// False positives wanted per check, over all its probes.
    pub false_positives: f64,
}

impl Settings {
    /// What one probe of one generation may give wrongly, so that a check's probes together keep the target.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a small number of probes")]
    pub fn per_probe(&self) -> f64 {
        self.false_positives / (GENERATIONS * IDS_PER_CHECK) as f64
    }
}

/// The filter of one node.
#[derive(Debug)]
pub struct Filter {
    settings: Settings,
    seed: [u8; 32],
    shared: ArcSwap<Snapshot>,
    writer: Mutex<Writer>,
}

/// What readers see: one value, replaced whole.
#[derive(Debug)]
struct Snapshot {
    delta: Delta,
    current: Arc<Segment>,
    previous: Option<Arc<Segment>>,
}

/// What only the writer knows: the entries behind the delta's fingerprints.
#[derive(Debug)]
struct Writer {
    pending: Vec<(u128, Timestamp)>,
    opened: Timestamp,
    /// Entries that arrived while a rebuild was under way; `None` when there is none.
    meanwhile: Option<Vec<(u128, Timestamp)>>,
}

/// A frozen Bloom filter and what is known of its content.
#[derive(Debug)]
pub struct Segment {
    bloom: Bloom<u128>,
    entries: usize,
    capacity: usize,
    /// When its last entry expires.
    last_until: Timestamp,
}

impl Segment {
    fn new(capacity: usize, per_probe: f64, seed: &[u8; 32]) -> Self {
        let bloom = Bloom::new_for_fp_rate_with_seed(capacity, per_probe, seed)
            .expect("capacity and rate are positive: the configuration bounds them");
        Self { bloom, entries: 0, capacity, last_until: Timestamp::default() }
    }

    /// Adds an entry, before the segment is shared.
    pub fn insert(&mut self, key: u128, until: Timestamp) {
        self.bloom.set(&key);
        self.entries += 1;
        self.last_until = self.last_until.max(until);
    }

    fn with(&self, entries: &[(u128, Timestamp)]) -> Self {
        let mut merged = Self { bloom: self.bloom.clone(), ..*self };
        for &(key, until) in entries {
            merged.insert(key, until);
        }
        merged
    }

    fn bytes(&self) -> usize {
        usize::try_from(self.bloom.len() / 8).unwrap_or(usize::MAX)
    }
}

/// Figures for metrics and operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Entries in all parts; some may have expired.
    pub entries: usize,
    /// Entries in the current generation and the delta.
    pub current: usize,
    /// Entries that the current generation was made for.
    pub capacity: usize,
    /// Generations alive.
    pub generations: usize,
    /// Entries in the delta.
    pub delta: usize,
    /// Memory of all bits and slots.
    pub bytes: usize,
}

impl Filter {
    /// An empty filter.
    #[must_use]
    pub fn new(settings: Settings, now: Timestamp) -> Self {
        let seed = secret::random();
        let current = Arc::new(Segment::new(settings.capacity, settings.per_probe(), &seed));
        Self {
            settings,
            seed,
            shared: ArcSwap::from_pointee(Snapshot { delta: Delta::new(), current, previous: None }),
            writer: Mutex::new(Writer { pending: Vec::new(), opened: now, meanwhile: None }),
        }
    }

    /// Which of the keys may be revoked: bit `i` stands for `keys[i]`. 0 means surely none.
    #[must_use]
    pub fn probe(&self, keys: &[u128; IDS_PER_CHECK]) -> u8 {
        let snapshot = self.shared.load();
        let mut maybe = 0;
        for (i, key) in keys.iter().enumerate() {
            let hit = snapshot.delta.contains(*key)
                || snapshot.current.bloom.check(key)
                || snapshot.previous.as_ref().is_some_and(|previous| previous.bloom.check(key));
            maybe |= u8::from(hit) << i;
        }
        maybe
    }

    /// Adds entries. When this returns, every later [`probe`](Self::probe) sees them. Returns whether the filter has
    /// reached its design load and should be rebuilt larger.
    pub fn insert(&self, entries: impl IntoIterator<Item = (u128, Timestamp)>) -> bool {
        let mut writer = self.lock();
        let mut snapshot = self.shared.load_full();
        for (key, until) in entries {
            if writer.pending.len() == DELTA_ENTRIES {
                snapshot = self.merge(&mut writer, &snapshot);
            }
            snapshot.delta.insert(key);
            writer.pending.push((key, until));
            if let Some(meanwhile) = &mut writer.meanwhile {
                meanwhile.push((key, until));
            }
        }
        snapshot.current.entries + writer.pending.len() >= snapshot.current.capacity && writer.meanwhile.is_none()
    }

    /// Drops generations that have run out, and opens a new one when the current one is an entry life old. Returns
    /// whether a new generation was opened.
    pub fn rotate(&self, now: Timestamp, life: Duration) -> bool {
        let mut writer = self.lock();
        // A rebuild replaces both generations; what it is catching up with must not move.
        if writer.meanwhile.is_some() {
            return false;
        }
        let snapshot = self.shared.load_full();
        let previous = snapshot.previous.clone().filter(|previous| previous.last_until >= now);
        let empty = snapshot.current.entries == 0 && writer.pending.is_empty();
        let due = now >= writer.opened + life && previous.is_none();
        if !due {
            if snapshot.previous.is_some() && previous.is_none() {
                let snapshot = self.merge(&mut writer, &snapshot);
                let current = Arc::clone(&snapshot.current);
                self.shared.store(Arc::new(Snapshot { delta: Delta::new(), current, previous: None }));
            }
            return false;
        }
        writer.opened = now;
        if empty {
            self.shared.store(Arc::new(Snapshot {
                delta: Delta::new(),
                current: Arc::clone(&snapshot.current),
                previous: None,
            }));
            return false;
        }
        let merged = self.merge(&mut writer, &snapshot);
        // After a burst the filter may shrink again: room for twice what the last life brought.
        let capacity =
            self.settings.capacity.max(merged.current.entries.saturating_mul(2).min(merged.current.capacity));
        let current = Arc::new(Segment::new(capacity, self.settings.per_probe(), &self.seed));
        let previous = Some(Arc::clone(&merged.current));
        self.shared.store(Arc::new(Snapshot { delta: Delta::new(), current, previous }));
        true
    }

    /// Begins a rebuild: from now on arriving entries are noted, so that none is lost at the swap. The segment is for
    /// the caller to fill with all that was live before this call; then [`Rebuild::finish`].
    #[must_use]
    pub fn begin_rebuild(&self, live: usize) -> Rebuild<'_> {
        self.lock().meanwhile = Some(Vec::new());
        // Half as much again as is live now: the next growth is an entry life's arrivals away.
        let capacity = self.settings.capacity.max(live + live / 2);
        Rebuild { filter: self, segment: Segment::new(capacity, self.settings.per_probe(), &self.seed), done: false }
    }

    /// Whether it holds what it was made for.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let stats = self.stats();
        stats.current >= stats.capacity
    }

    /// Figures for metrics and operators.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let snapshot = self.shared.load();
        let delta = snapshot.delta.len.load(Ordering::Relaxed);
        let segments = || std::iter::once(&snapshot.current).chain(&snapshot.previous);
        Stats {
            entries: delta + segments().map(|segment| segment.entries).sum::<usize>(),
            current: delta + snapshot.current.entries,
            capacity: snapshot.current.capacity,
            generations: segments().count(),
            delta,
            bytes: DELTA_SLOTS * 8 + segments().map(|segment| segment.bytes()).sum::<usize>(),
        }
    }

    /// Takes the delta's entries into a copy of the current generation and publishes both as one value.
    fn merge(&self, writer: &mut Writer, snapshot: &Snapshot) -> Arc<Snapshot> {
        let current = Arc::new(snapshot.current.with(&writer.pending));
        let merged = Arc::new(Snapshot { delta: Delta::new(), current, previous: snapshot.previous.clone() });
        self.shared.store(Arc::clone(&merged));
        writer.pending.clear();
        merged
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        // Every change is published by one store at its end; a panic before it leaves a state that holds.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A rebuild under way. Dropped unfinished, it leaves the filter as it was.
#[derive(Debug)]
pub struct Rebuild<'a> {
    filter: &'a Filter,
    /// To be filled with everything that was live when the rebuild began.
    pub segment: Segment,
    done: bool,
}

impl Rebuild<'_> {
    /// Catches up with what arrived meanwhile and swaps the new filter in as one value.
    pub fn finish(mut self, now: Timestamp) {
        let mut writer = self.filter.lock();
        for (key, until) in writer.meanwhile.take().unwrap_or_default() {
            self.segment.insert(key, until);
        }
        let empty = Segment::new(1, 0.5, &self.filter.seed);
        let current = Arc::new(std::mem::replace(&mut self.segment, empty));
        self.filter.shared.store(Arc::new(Snapshot { delta: Delta::new(), current, previous: None }));
        writer.pending.clear();
        writer.opened = now;
        self.done = true;
    }
}

impl Drop for Rebuild<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.filter.lock().meanwhile = None;
        }
    }
}

/// A set of 64-bit fingerprints: one writer at a time, any number of readers, no lock. Open addressing; never deletes.
#[derive(Debug)]
struct Delta {
    slots: Box<[AtomicU64]>,
    len: AtomicUsize,
}

impl Delta {
    fn new() -> Self {
        Self { slots: (0..DELTA_SLOTS).map(|_| AtomicU64::new(0)).collect(), len: AtomicUsize::new(0) }
    }

    /// Adds a key; the caller holds the writer's lock and keeps the number of entries within [`DELTA_ENTRIES`].
    fn insert(&self, key: u128) {
        let wanted = fingerprint(key);
        for slot in self.walk(wanted) {
            match slot.load(Ordering::Relaxed) {
                0 => {
                    slot.store(wanted, Ordering::Release);
                    self.len.fetch_add(1, Ordering::Release);
                    return;
                }
                found if found == wanted => return,
                _ => {}
            }
        }
    }

    fn contains(&self, key: u128) -> bool {
        if self.len.load(Ordering::Acquire) == 0 {
            return false;
        }
        let wanted = fingerprint(key);
        self.walk(wanted)
            .map(|slot| slot.load(Ordering::Acquire))
            .take_while(|&found| found != 0)
            .any(|found| found == wanted)
    }

    fn walk(&self, fingerprint: u64) -> impl Iterator<Item = &AtomicU64> {
        let start = usize::try_from(fingerprint % DELTA_SLOTS as u64).unwrap_or(0);
        self.slots[start..].iter().chain(&self.slots[..start])
    }
}

/// 64 well-mixed bits of a key, never 0. Ids are random, so folding them with a multiplication is enough.
fn fingerprint(key: u128) -> u64 {
    let folded = mix(key);
    if folded == 0 { 1 } else { folded }
}

/// Folds a key to 64 well-mixed bits (the finaliser of splitmix64).
#[expect(clippy::cast_possible_truncation, reason = "the two halves are taken apart")]
pub(super) fn mix(key: u128) -> u64 {
    let mut x = (key >> 64) as u64 ^ (key as u64).rotate_left(32);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
