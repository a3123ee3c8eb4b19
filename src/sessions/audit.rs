//! What users do to their accounts and sessions, for whoever reads the log: one line each, beside those of operators.
//!
//! A line holds ids and fixed words. Never a name: somebody types a password where the name belongs. From where a request
//! came stands in the span that the line is in.

use crate::ids::{Seq, SessionId, Subject};

/// The target of all audit lines.
pub const TARGET: &str = "kickout::audit";

/// What somebody did, and what came of it.
#[derive(Debug, Default)]
pub(super) struct Event {
    pub(super) act: &'static str,
    pub(super) result: &'static str,
    pub(super) subject: Option<Subject>,
    pub(super) session: Option<SessionId>,
    pub(super) seq: Option<Seq>,
}

impl Event {
    pub(super) fn log(self) {
        tracing::info!(
            target: TARGET,
            act = self.act,
            result = self.result,
            subject = self.subject.map(display),
            session = self.session.map(display),
            seq = self.seq.map(|seq| seq.0),
            "user act"
        );
    }
}
