//! Two runs beside each other.

use std::path::Path;

use crate::Failure;

/// What has changed from one file of results to another, as text.
#[expect(clippy::unnecessary_wraps, reason = "nothing is told yet")]
pub(crate) fn compare(_a: &Path, _b: &Path) -> Result<String, Failure> {
    Ok(String::new())
}
