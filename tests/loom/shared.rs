//! Loom's stand-in for the module of this name beside the files under test: the same names, few slots.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, PoisonError},
};

use loom::sync::RwLock;
pub use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicI64, AtomicU8, AtomicU64, AtomicUsize, Ordering},
};

pub const TOUCHED_SLOTS: usize = 2;

/// Two wait, the third merges. The delta has four times as many slots.
pub const DELTA_ENTRIES: usize = 2;

/// A value that is replaced whole, as weak as `arc_swap` may be: a store releases, a load acquires and may see any value
/// that the memory model lets it see. The real one is stronger (its swap is `SeqCst`), so what holds here holds there.
#[derive(Debug)]
pub struct ArcSwap<T> {
    current: AtomicUsize,
    /// Every value there ever was. No step of the model: nothing is learned by it.
    values: std::sync::Mutex<Vec<Arc<T>>>,
}

impl<T> ArcSwap<T> {
    pub fn from_pointee(value: T) -> Self {
        Self { current: AtomicUsize::new(0), values: std::sync::Mutex::new(vec![Arc::new(value)]) }
    }

    pub fn load(&self) -> Arc<T> {
        let current = self.current.load(Ordering::Acquire);
        Arc::clone(&self.values.lock().unwrap_or_else(PoisonError::into_inner)[current])
    }

    /// For the writer, who holds the filter's lock: it sees the last value. No step of the model either.
    pub fn load_full(&self) -> Arc<T> {
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(values.last().unwrap_or_else(|| unreachable!("there is a first value")))
    }

    /// One writer at a time: the filter's lock sees to it.
    pub fn store(&self, value: Arc<T>) {
        let next = {
            let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
            values.push(value);
            values.len() - 1
        };
        self.current.store(next, Ordering::Release);
    }
}

/// The store of known answers: one shard of `quick_cache`, which guards each by a lock that readers share. Nothing is
/// evicted; a lost answer is only looked up again.
#[derive(Debug)]
pub struct Cache<K, V>(RwLock<HashMap<K, V>>);

impl<K: Eq + Hash, V: Copy> Cache<K, V> {
    pub fn new(capacity: usize) -> Self {
        assert!(capacity > 0);
        Self(RwLock::new(HashMap::new()))
    }

    pub fn get(&self, key: &K) -> Option<V> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(key).copied()
    }

    pub fn insert(&self, key: K, value: V) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(key, value);
    }

    pub fn clear(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
