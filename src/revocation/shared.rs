//! Everything by which threads speak to each other on the way from a revocation to a check, in one place.
//!
//! The files that prove the order of publication ([`term`](super::term), [`answers`](super::answers),
//! [`filter`](super::filter), [`published`](super::published)) take their atomics, locks and sizes from here and from
//! nowhere else. The target `tests/loom` compiles those very files again beside a module of this name that gives them
//! loom's, and few slots instead of many.

pub use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicI64, AtomicU8, AtomicU64, AtomicUsize, Ordering},
};

pub use arc_swap::ArcSwap;
pub use quick_cache::sync::Cache;

/// Slots of [`Touched`](super::answers::Touched). Two ids that share one only cause a second look; 4 096 × 8 B =
/// 32 KiB.
pub const TOUCHED_SLOTS: usize = 4096;

/// Entries that wait in the filter's delta before they are merged. A merge copies the current generation: 2 MB for a
/// million entries, every 2 048 revocations, is a microsecond per revocation.
pub const DELTA_ENTRIES: usize = 2048;
