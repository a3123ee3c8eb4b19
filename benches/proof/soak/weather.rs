//! What may be expected of an answer, by what was done to the cluster around it.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use kickout::clock::{BootInstant, Clock};

/// How long after a fault was healed, and all nodes were ready, an answer may still be "not now".
const SETTLING: Duration = Duration::from_secs(3);

/// How long after anything unusual readings are not compared.
const RESTING: Duration = Duration::from_secs(12);

/// What goes on.
#[derive(Debug)]
pub(crate) struct Weather {
    begun: BootInstant,
    now: Mutex<Now>,
}

#[derive(Debug, Clone, Copy)]
struct Now {
    /// A fault is in force.
    is_storm: bool,
    /// When the last one was over.
    calm_since: Duration,
    /// Something is done that is no fault, but moves readings.
    is_busy: bool,
    quiet_since: Duration,
    /// A key is taken back.
    is_retiring: bool,
    /// Tokens from before may be dead with their key.
    keys_since: Duration,
}

impl Weather {
    pub(crate) fn new() -> Self {
        let now = Now {
            is_storm: false,
            calm_since: Duration::ZERO,
            is_busy: false,
            quiet_since: Duration::ZERO,
            is_retiring: false,
            keys_since: Duration::ZERO,
        };
        Self { begun: Clock::System.boottime(), now: Mutex::new(now) }
    }

    /// Since the run's beginning.
    pub(crate) fn now(&self) -> Duration {
        Clock::System.boottime().since(self.begun)
    }

    fn change(&self, change: impl FnOnce(&mut Now, Duration)) {
        let at = self.now();
        change(&mut self.now.lock().unwrap_or_else(PoisonError::into_inner), at);
    }

    fn read(&self) -> Now {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn storm(&self, is_storm: bool) {
        self.change(|now, at| (now.is_storm, now.calm_since, now.quiet_since) = (is_storm, at, at));
    }

    pub(crate) fn busy(&self, is_busy: bool) {
        self.change(|now, at| (now.is_busy, now.quiet_since) = (is_busy, at));
    }

    pub(crate) fn retiring(&self, is_retiring: bool) {
        self.change(|now, at| (now.is_retiring, now.keys_since) = (is_retiring, at));
    }

    /// Whether what was asked at this moment, and has been answered now, had no fault around it.
    pub(crate) fn was_calm(&self, began: Duration) -> bool {
        let now = self.read();
        let is_first = now.calm_since.is_zero();
        !now.is_storm && (is_first || now.calm_since + SETTLING < began)
    }

    /// Whether a token that was asked for at this moment can be judged by.
    pub(crate) fn is_judged(&self, asked: Duration) -> bool {
        let now = self.read();
        !now.is_retiring && asked >= now.keys_since
    }

    /// Whether a reading made now is like others.
    pub(crate) fn is_comparable(&self) -> bool {
        let (now, at) = (self.read(), self.now());
        !now.is_storm && !now.is_busy && (now.quiet_since.is_zero() || now.quiet_since + RESTING < at)
    }
}
