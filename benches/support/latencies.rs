//! Latencies: a histogram while they are measured, percentiles in the report.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::rounds::float;
use crate::Failure;

/// Above every wait that a complete receipt can take, with the settings that are shipped: 13 s. In microseconds.
const LONGEST_US: u64 = 60_000_000;

/// Percentiles, in milliseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Percentiles {
    pub(crate) count: u64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

/// Latencies as they come, to three digits.
#[derive(Debug, Clone)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Result<Self, Failure> {
        Ok(Self(Histogram::new_with_bounds(1, LONGEST_US, 3)?))
    }

    pub(crate) fn record(&mut self, latency: Duration) -> Result<(), Failure> {
        Ok(self.0.record(u64::try_from(latency.as_micros())?)?)
    }

    pub(crate) fn add(&mut self, more: &Self) -> Result<(), Failure> {
        Ok(self.0.add(&more.0)?)
    }

    pub(crate) fn percentiles(&self) -> Percentiles {
        let ms = |us: u64| float(us) / 1e3;
        let at = |quantile| ms(self.0.value_at_quantile(quantile));
        Percentiles { count: self.0.len(), p50: at(0.5), p90: at(0.9), p99: at(0.99), max: ms(self.0.max()) }
    }
}
