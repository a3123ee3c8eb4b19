//! What keeps a Redis that is away from costing every look its whole timeout.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{clock::BootInstant, secret};

/// The bounds of a pause: short enough that a restart of Redis is noticed at once, long enough that a Redis that is
/// gone costs a node one timeout every second or two.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(2);

/// Open after a failure, for a pause; then one call is let through to try.
#[derive(Debug)]
pub(super) struct Circuit {
    /// How long a call takes at most: a try that is not heard of after this was given up by its caller.
    patience: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Failures without a success between them. 0: everybody may call.
    failures: u32,
    /// Until when nobody may.
    until: Option<BootInstant>,
}

/// Leave to make one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pass {
    /// The failures there had been when it was given.
    failures: u32,
}

impl Circuit {
    pub(super) const fn new(patience: Duration) -> Self {
        Self { patience, state: Mutex::new(State { failures: 0, until: None }) }
    }

    /// Whether the last thing heard was good.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().failures == 0
    }

    /// Leave to call, if it is time for that.
    pub(super) fn enter(&self, now: BootInstant) -> Option<Pass> {
        let mut state = self.lock();
        let pass = Pass { failures: state.failures };
        if state.failures == 0 {
            return Some(pass);
        }
        if state.until.is_some_and(|until| now < until) {
            return None;
        }
        // One call tries. Whoever comes meanwhile is told to wait; if the one is dropped half-way, the next one tries.
        state.until = Some(now + self.patience + SHORTEST);
        Some(pass)
    }

    /// The call was answered.
    pub(super) fn succeeded(&self) {
        *self.lock() = State::default();
    }

    /// The call was not answered. Whether that was news: of the many that were under way together when Redis went, the
    /// first counts, or a second's worth of checks would make the pause as long as it can be.
    pub(super) fn failed(&self, pass: Pass, now: BootInstant) -> bool {
        let mut state = self.lock();
        let is_news = pass.failures == state.failures;
        if is_news {
            state.failures = state.failures.saturating_add(1);
            state.until = Some(now + pause(state.failures));
        }
        is_news
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Between one and two times 100 ms × 2^(failures − 1), but at most 2 s; at the top, between 1 and 2 s. Jittered, so that
/// nodes that lost the same Redis do not come back together.
fn pause(failures: u32) -> Duration {
    let ceiling = SHORTEST.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST);
    let half = ceiling / 2;
    half + half * u32::from(u16::from_ne_bytes(secret::random())) / u32::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(250);

    fn at(ms: u64) -> BootInstant {
        BootInstant::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn after_a_failure_nobody_calls_for_a_pause_and_then_one_tries() {
        let circuit = Circuit::new(PATIENCE);
        let passes = [circuit.enter(at(0)).unwrap(), circuit.enter(at(0)).unwrap()];
        assert!(circuit.is_closed());
        assert!(circuit.failed(passes[0], at(10)));
        assert!(!circuit.failed(passes[1], at(11)), "it is the same outage");
        assert!(!circuit.is_closed());

        assert_eq!(circuit.enter(at(109)), None, "the shortest pause is 100 ms");
        let probe = circuit.enter(at(210)).expect("the first pause is 200 ms at most");
        assert_eq!(circuit.enter(at(211)), None, "one tries");
        assert!(circuit.failed(probe, at(220)));
        assert_eq!(circuit.enter(at(419)), None, "the second pause is longer");

        let _given_up = circuit.enter(at(620)).unwrap();
        assert_eq!(circuit.enter(at(960)), None);
        assert!(circuit.enter(at(970)).is_some(), "a try that nobody waits for any more keeps nobody out");
        circuit.succeeded();
        assert!(circuit.is_closed());
        assert!(circuit.enter(at(971)).is_some() && circuit.enter(at(971)).is_some());
    }

    #[test]
    fn pauses_grow_to_two_seconds_and_differ() {
        for (failures, from, to) in
            [(1, 100, 200), (2, 200, 400), (4, 800, 1600), (5, 1000, 2000), (u32::MAX, 1000, 2000)]
        {
            let pauses: Vec<_> = (0..50).map(|_| pause(failures)).collect();
            let range = Duration::from_millis(from)..=Duration::from_millis(to);
            assert!(pauses.iter().all(|pause| range.contains(pause)), "{failures}: {pauses:?}");
            assert!(pauses.iter().any(|pause| *pause != pauses[0]), "{failures}");
        }
    }
}
