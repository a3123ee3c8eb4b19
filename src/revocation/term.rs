//! The term of a lease: until when this node may answer checks from its filter.

use std::time::Duration;

use crate::clock::BootInstant;

use super::shared::{AtomicU64, Ordering};

/// Until when this node may answer checks from its filter.
#[derive(Debug)]
pub struct Lease {
    /// On `CLOCK_BOOTTIME`, in nanoseconds. 0: not at all.
    valid_until: AtomicU64,
}

impl Lease {
    /// No lease yet: nothing may be answered.
    #[must_use]
    pub fn none() -> Self {
        Self { valid_until: AtomicU64::new(0) }
    }

    /// One process owns the ledger: nobody else can revoke anything, so there is nothing to be stale about.
    #[must_use]
    pub fn unlimited() -> Self {
        Self { valid_until: AtomicU64::new(u64::MAX) }
    }

    /// Whether it never ends.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        self.valid_until.load(Ordering::Acquire) == u64::MAX
    }

    /// Whether it is valid at `now`, which the check itself has read from the kernel, before it asks here.
    #[must_use]
    pub fn is_valid(&self, now: BootInstant) -> bool {
        now.as_nanos() < self.valid_until.load(Ordering::Acquire)
    }

    /// Whether it is over by less than `beyond` at `now`: what a policy may allow that the node's registered hold
    /// includes. A lease that was ended, or never given, is not over by any time.
    #[must_use]
    pub fn is_within(&self, now: BootInstant, beyond: Duration) -> bool {
        let until = self.valid_until.load(Ordering::Acquire);
        until != 0 && now < BootInstant::from_nanos(until) + beyond
    }

    /// Whether there is one, valid or over.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.valid_until.load(Ordering::Acquire) != 0
    }

    /// How long it is still valid.
    #[must_use]
    pub fn remaining(&self, now: BootInstant) -> Duration {
        Duration::from_nanos(self.valid_until.load(Ordering::Acquire).saturating_sub(now.as_nanos()))
    }

    /// Extends it; never shortens it. Only a renewal whose rows are all applied may do that, as its last step.
    pub fn extend(&self, until: BootInstant) {
        self.valid_until.fetch_max(until.as_nanos(), Ordering::AcqRel);
    }

    /// Ends it now. One that never ends stays: there the node's state alone says whether checks are answered.
    pub fn end(&self) {
        let limited = |until| (until != u64::MAX).then_some(0);
        let _ = self.valid_until.fetch_update(Ordering::AcqRel, Ordering::Acquire, limited);
    }
}
