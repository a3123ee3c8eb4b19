//! How long answers take, and whether they come: P2, and the other half of P6.

use crate::history::{Answer, Asked, Event, Fault, Moment};

use super::{
    Findings, Promise,
    facts::{Facts, MS, RECOVERY, SECOND, is_of},
    names::ms,
};

/// What a machine with other work may add to the bound of P2: the commit, the way there and back, a process that is not
/// run at once.
pub(super) const SLACK: Moment = 2 * SECOND;

/// The bound of P2 (rule R3), without the slack.
pub(super) fn bound(facts: &Facts<'_>) -> Moment {
    facts.hold + facts.hold / 4 + 250 * MS
}

/// What the faults that an event met permit its node.
struct Leave {
    unknown: bool,
    silence: bool,
    refusal: bool,
}

/// Looks at every answer that took long, or did not come.
pub(super) fn check(facts: &Facts<'_>, findings: &mut Findings) {
    for (index, event) in facts.history.events.iter().enumerate() {
        let is_silent = event.answer == Answer::Lost;
        let is_complete = event.answer.receipt().is_some_and(|receipt| receipt.is_complete);
        let is_late = event.asked.has_receipt() && (is_silent || is_complete) && late(facts, event);
        if !is_silent && !is_late && event.answer != Answer::Unavailable {
            continue;
        }
        let leave = Leave::of(facts, event);
        if is_late && !(is_silent && leave.silence) {
            let waited = ms(event.ended - event.began);
            let what = if is_silent { "an act was not answered" } else { "a receipt came late" };
            findings.accuse(Promise::P2, &[index], format!("{what}: it waited {waited:.0} ms"));
            continue;
        }
        let is_check = matches!(event.asked, Asked::Check { .. });
        let is_refused = event.answer == Answer::Unavailable;
        let is_excused = match (is_check, is_refused) {
            (true, true) => leave.unknown,
            (true, false) => leave.silence,
            (false, true) => leave.refusal || leave.unknown,
            // A caller that gives up before the bound of P2 has not been let down.
            (false, false) => {
                leave.silence || leave.refusal || leave.unknown || event.asked.has_receipt() && is_slow(facts, event)
            }
        };
        if !is_excused && (is_silent || is_refused) {
            let what = if is_silent { "was not answered" } else { "was answered by 503" };
            findings.accuse(Promise::P6, &[index], format!("a {} {what}, and no fault permits it", event.asked.name()));
        }
    }
}

impl Leave {
    fn of(facts: &Facts<'_>, event: &Event) -> Self {
        let faults = || facts.met(event).filter(|fault| is_of(fault, event.node));
        Self {
            unknown: faults().any(|fault| fault.permits.unknown_checks),
            silence: faults().any(|fault| fault.permits.no_answers),
            refusal: faults().any(|fault| fault.permits.refused_acts),
        }
    }
}

/// Whether an act took longer than the bound of P2 after the last fault that refuses acts was over.
fn late(facts: &Facts<'_>, event: &Event) -> bool {
    let limit = bound(facts) + SLACK;
    if event.ended - event.began <= limit {
        return false;
    }
    let refuses = |fault: &&Fault| {
        let permits = fault.permits;
        is_of(fault, event.node) && (permits.refused_acts || permits.unknown_checks || permits.no_answers)
    };
    let over = facts.met(event).filter(refuses).map(|fault| fault.healed + RECOVERY).max();
    event.ended > over.unwrap_or(0).max(event.began) + limit
}

/// Whether receipts may take as long as the bound.
fn is_slow(facts: &Facts<'_>, event: &Event) -> bool {
    facts.met(event).any(|fault| fault.permits.slow_receipts)
}
