//! Times that can be added up over episodes and kept in a line of JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::history::Moment;

/// Times in microseconds, to three digits, with how often each was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Spread(BTreeMap<u64, u64>);

impl Spread {
    pub(super) fn note(&mut self, nanos: Moment) {
        *self.0.entry(rounded(nanos / 1_000)).or_default() += 1;
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (&micros, &count) in &other.0 {
            *self.0.entry(micros).or_default() += count;
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// The time, in milliseconds, that so many of a thousand do not exceed; `None` if there are too few to say: a
    /// percentile of fewer values than its own fraction is the largest one, and called so.
    pub(crate) fn at_most_ms(&self, of_thousand: u64) -> Option<f64> {
        let wanted = (self.count() * of_thousand).div_ceil(1000).max(1);
        let mut seen = 0;
        let found = self.0.iter().find(|&(_, &count)| {
            seen += count;
            seen >= wanted
        });
        found.map(|(&micros, _)| millis(micros))
    }

    /// The longest, in milliseconds.
    pub(crate) fn max_ms(&self) -> Option<f64> {
        self.0.last_key_value().map(|(&micros, _)| millis(micros))
    }
}

/// Three digits, upwards: no time looks shorter than it was.
fn rounded(micros: u64) -> u64 {
    let digits = micros.checked_ilog10().unwrap_or(0);
    let unit = 10_u64.pow(digits.saturating_sub(2));
    micros.div_ceil(unit) * unit
}

#[expect(clippy::cast_precision_loss, reason = "an episode is minutes long")]
fn millis(micros: u64) -> f64 {
    micros as f64 / 1e3
}

impl Serialize for Spread {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let parts: Vec<String> = self.0.iter().map(|(micros, count)| format!("{micros}×{count}")).collect();
        serializer.serialize_str(&parts.join(" "))
    }
}

impl<'de> Deserialize<'de> for Spread {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let part = |part: &str| {
            let (micros, count) = part.split_once('×')?;
            Some((micros.parse().ok()?, count.parse().ok()?))
        };
        let parts: Option<BTreeMap<u64, u64>> = text.split_whitespace().map(part).collect();
        parts.map(Self).ok_or_else(|| D::Error::custom("not microseconds×count"))
    }
}
