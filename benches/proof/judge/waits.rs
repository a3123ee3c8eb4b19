//! How long answers take, and whether they come: P2, and the other half of P6.

use crate::history::{Answer, Asked, Event, Fault, Moment};

use super::{
    Findings, Promise,
    facts::{Facts, MS, SECOND, STARVED, is_of},
    names::ms,
    shown::has_complete_receipt,
};

/// What a machine with other work may add to the bound of P2: the commit, the way there and back, a process that is not
/// run at once.
pub(super) const SLACK: Moment = 2 * SECOND;

/// What the service's own account of the time may be beyond the bound and what receipts usually take.
pub(super) const OWN_SLACK: Moment = 250 * MS;

/// A receipt that no fault makes slow takes milliseconds. This is for a machine with other work.
const SLOW: f64 = 1000.0;

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
    acknowledgements(facts, findings);
    let usual = usual(facts);
    for (index, event) in facts.history.events.iter().enumerate() {
        let is_silent = event.answer == Answer::Lost;
        let is_complete = event.answer.receipt().is_some_and(|receipt| receipt.is_complete);
        let is_late = event.asked.has_receipt() && (is_silent || is_complete) && late(facts, event, usual);
        if !is_silent && !is_late && event.answer != Answer::Unavailable {
            continue;
        }
        let leave = Leave::of(facts, event);
        if is_late && !(is_silent && leave.silence) {
            let waited = ms(event.ended - event.began).max(own_account(event));
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
                leave.silence
                    || leave.refusal
                    || leave.unknown
                    || event.asked.has_receipt() && may_be_slow(facts, event)
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

/// What a receipt takes on this machine when it waits for nobody, in milliseconds: the statements and the commit. Nine of
/// ten take no longer; the slowest one would excuse too much. Where no receipt tells, the most that would pass for that.
fn usual(facts: &Facts<'_>) -> f64 {
    let events = facts.history.events.iter().filter(|event| is_plain(facts, event) && !is_slow(event));
    let mut took: Vec<f64> = events.map(own_account).collect();
    took.sort_by(f64::total_cmp);
    let at = (took.len() * 9).div_ceil(10).saturating_sub(1);
    took.get(at).copied().unwrap_or(SLOW)
}

/// Whether many receipts wait though nothing makes them: then acknowledgements do nothing, and leases end every wait.
fn acknowledgements(facts: &Facts<'_>, findings: &mut Findings) {
    let events = facts.history.events.iter().enumerate();
    let plain: Vec<(usize, &Event)> = events.filter(|(_, event)| is_plain(facts, event)).collect();
    let slow: Vec<usize> = plain.iter().filter(|(_, event)| is_slow(event)).map(|&(index, _)| index).collect();
    if are_too_many(slow.len() as u64, plain.len() as u64, 10) {
        let what = format!("{} of {} receipts that no fault makes slow took a second", slow.len(), plain.len());
        findings.accuse(Promise::P2, &slow[..slow.len().min(5)], what);
    }
}

/// More than so many of a hundred, and more than chance. Where acknowledgements do nothing it is every one; but in one
/// episode a machine with other work makes a few.
pub(super) const fn are_too_many(slow: u64, plain: u64, of_hundred: u64) -> bool {
    slow >= 3 && slow * 100 > plain * of_hundred
}

/// Whether it is a complete receipt that no fault makes slow.
pub(super) fn is_plain(facts: &Facts<'_>, event: &Event) -> bool {
    let excuses = |fault: &Fault| {
        // After a server came back the early answers are off for a while.
        let is_server = fault.nodes.is_empty() && fault.name != STARVED;
        let wait = if is_server { 2 * bound(facts) } else { 0 };
        let met = event.ended >= fault.began && event.began <= facts.recovered(fault) + wait;
        met && (fault.permits.slow_receipts || fault.permits.refused_acts)
    };
    has_complete_receipt(event) && !facts.history.faults.iter().any(excuses)
}

/// Whether it waited, by the service's own account.
pub(super) fn is_slow(event: &Event) -> bool {
    own_account(event) > SLOW
}

/// How long the service says that it took, in milliseconds.
fn own_account(event: &Event) -> f64 {
    event.answer.receipt().map_or(0.0, |receipt| receipt.elapsed_ms)
}

/// Whether an act took longer than the bound of P2 after the last fault that refuses acts was over.
fn late(facts: &Facts<'_>, event: &Event, usual: f64) -> bool {
    // The slack of a machine is for the client's clock; but each statement takes longer if its way is made longer.
    let own_slack = if may_be_slow_itself(facts, event) { SLACK } else { OWN_SLACK };
    let (limit, own_limit) = (bound(facts) + SLACK, bound(facts) + own_slack);
    let own = (own_account(event) - usual).max(0.0);
    if event.ended - event.began <= limit && own <= ms(own_limit) {
        return false;
    }
    let refuses = |fault: &&Fault| {
        let permits = fault.permits;
        is_of(fault, event.node) && (permits.refused_acts || permits.unknown_checks || permits.no_answers)
    };
    let over = facts.met(event).filter(refuses).map(|fault| facts.recovered(fault)).max();
    let from = over.unwrap_or(0).max(event.began);
    event.ended > from + limit || own > ms(from - event.began + own_limit)
}

/// Whether receipts may take as long as the bound.
fn may_be_slow(facts: &Facts<'_>, event: &Event) -> bool {
    facts.met(event).any(|fault| fault.permits.slow_receipts)
}

/// Whether that is because of the node that was asked.
fn may_be_slow_itself(facts: &Facts<'_>, event: &Event) -> bool {
    facts.met(event).any(|fault| fault.permits.slow_receipts && is_of(fault, event.node))
}
