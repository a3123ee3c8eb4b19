//! Servers of this benchmark: the ceiling, and somebody else's sessions.

use crate::Failure;

/// Serves until the process is ended.
pub(crate) fn serve(kind: &str) -> Result<(), Failure> {
    Err(format!("no server {kind}").into())
}
