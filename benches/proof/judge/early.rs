//! Whether nodes go on for their hold: the other half of P4.
//!
//! A node that is cut off may say that it does not know at once where it has to look, since the ledger cannot be asked:
//! of a user who has ended something, and of a false positive. It may not say so of everything. So this looks at tokens
//! that the node has allowed before, in the second and third eighth of its hold, and accuses only where not one of
//! several was allowed.

use std::collections::{HashMap, HashSet};

use crate::history::{Answer, Asked, Event, Fault, Token};

use super::{
    Findings, Promise,
    facts::{Facts, is_of},
    refusals::Blame,
};

/// Checks that are enough to tell a node that has stopped from one that has to look.
const ENOUGH: usize = 8;

/// Looks at every node that was cut off.
pub(super) fn check(facts: &Facts<'_>, blame: &Blame, findings: &mut Findings) {
    let mut by_node: HashMap<u8, Vec<(usize, &Event)>> = HashMap::new();
    for (index, event) in facts.history.events.iter().enumerate() {
        if matches!(event.asked, Asked::Check { .. }) {
            by_node.entry(event.node).or_default().push((index, event));
        }
    }
    for fault in &facts.history.faults {
        let permits = fault.permits;
        // Who was killed loads anew, and a history that lost something is loaded anew.
        if !permits.cuts_ledger || permits.no_answers || permits.loses_since.is_some() {
            continue;
        }
        for (&node, checks) in &by_node {
            if !is_of(fault, node) || is_disturbed(facts, fault, node) {
                continue;
            }
            let met = met(facts, blame, fault, checks);
            if met.len() >= ENOUGH && met.iter().all(|&(_, event)| event.answer == Answer::Unavailable) {
                let events: Vec<usize> = met.iter().map(|&(index, _)| index).collect();
                let what = format!("a node did not go on for its hold after {} had cut it off", fault.name);
                findings.accuse(Promise::P6, &events, what);
            }
        }
    }
}

/// Checks well within the hold, of living tokens that the node has allowed before.
fn met<'e>(facts: &Facts<'_>, blame: &Blame, fault: &Fault, checks: &[(usize, &'e Event)]) -> Vec<(usize, &'e Event)> {
    let eighth = facts.hold / 8;
    let (from, to) = (fault.in_force + eighth, fault.in_force + 3 * eighth);
    if to >= fault.healing {
        return Vec::new();
    }
    let mut allowed: HashSet<Token> = HashSet::new();
    let mut met = Vec::new();
    for &(index, event) in checks {
        let Asked::Check { token } = event.asked else { continue };
        if event.ended < fault.began && event.answer == Answer::Allowed {
            allowed.insert(token);
        }
        let is_within = event.began >= from && event.ended <= to;
        let is_living = |given| blame.is_living(facts, token, given, event.ended);
        if is_within && allowed.contains(&token) && facts.tokens.get(&token).copied().is_some_and(is_living) {
            met.push((index, event));
        }
    }
    met
}

/// Whether something else may have stopped the node, or have kept it from renewing just before.
fn is_disturbed(facts: &Facts<'_>, fault: &Fault, node: u8) -> bool {
    let to = fault.in_force + facts.hold;
    facts.history.faults.iter().any(|other| {
        let is_near = other.began <= to && facts.recovered(other) >= fault.began;
        !std::ptr::eq(other, fault) && is_near && is_of(other, node)
    })
}
