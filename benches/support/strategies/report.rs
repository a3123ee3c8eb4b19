//! The report: Markdown and one HTML file, of nothing but the results.

use std::path::Path;

use super::results::Results;
use crate::Failure;

/// Writes `strategies.md` and `strategies.html` into a folder; what to print.
#[expect(clippy::unnecessary_wraps, reason = "nothing is told yet")]
pub(crate) fn write(_results: &Results, _to: &Path) -> Result<String, Failure> {
    Ok(String::new())
}

/// Checks the way from results to every output with made-up ones.
#[expect(clippy::unnecessary_wraps, reason = "nothing is told yet")]
pub(crate) fn self_check() -> Result<(), Failure> {
    Ok(())
}
