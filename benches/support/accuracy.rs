//! False positives per check, and that nothing revoked is missed.

use kickout::{
    ids::LedgerId,
    revocation::filter::{Filter, Settings},
};
use serde::{Deserialize, Serialize};

use super::{
    ids::{Ids, Stream, keys},
    rounds::float,
    states::State,
};
use crate::Failure;

/// How often a check of three ids that nobody revoked finds a "maybe".
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Accuracy {
    pub(crate) state: State,
    pub(crate) checks: u64,
    pub(crate) false_positives: u64,
    /// Per check.
    pub(crate) rate: f64,
    /// Bounds of the 95 % interval (Wilson).
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// What theory gives this state.
    pub(crate) expected: f64,
    pub(crate) target: f64,
}

/// Counts the false positives of a filter over `checks` random checks.
pub(crate) fn count(filter: &Filter, state: State, ids: Ids, settings: Settings, checks: u64) -> Accuracy {
    let epoch = LedgerId::random();
    let found = (0..checks).filter(|&n| filter.probe(&keys(&ids.valid(Stream::Counted, n, epoch))) != 0).count() as u64;
    let (low, high) = wilson(found, checks);
    Accuracy {
        state,
        checks,
        false_positives: found,
        rate: float(found) / float(checks),
        low,
        high,
        expected: state.expected(settings),
        target: settings.false_positives,
    }
}

/// Every revoked id must be a "maybe".
///
/// # Errors
/// If one is not.
pub(crate) fn contains_all(filter: &Filter, state: State, ids: Ids, entries: u64) -> Result<(), Failure> {
    let streams: &[Stream] =
        if state == State::TwoFull { &[Stream::Revoked, Stream::Later] } else { &[Stream::Revoked] };
    for &stream in streams {
        // Three revoked ids at a time; the last few are asked for twice.
        for n in (0..entries).step_by(3) {
            let key = |i: u64| ids.key(stream, (n + i).min(entries - 1));
            if filter.probe(&[key(0), key(1), key(2)]) != 0b111 {
                return Err(format!("the filter ({}) misses a revoked id near {n} of {stream:?}", state.name()).into());
            }
        }
    }
    Ok(())
}

/// Wilson's 95 % interval for a share (Wilson 1927): it holds for small counts too, where the normal one does not.
pub(crate) fn wilson(found: u64, of: u64) -> (f64, f64) {
    const Z: f64 = 1.959_964;
    let (found, of) = (float(found), float(of));
    let share = found / of;
    let scale = 1.0 + Z * Z / of;
    let centre = (share + Z * Z / (2.0 * of)) / scale;
    let half = Z / scale * (share * (1.0 - share) / of + Z * Z / (4.0 * of * of)).sqrt();
    ((centre - half).max(0.0), centre + half)
}
