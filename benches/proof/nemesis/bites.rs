//! Whether an episode has shown what it was held for. A fault that did not bite breaks no promise and tries none.
//!
//! What a fault can see itself it looks at while it is in force; here is what only the history tells. What is missing
//! may be missing because the machine had other things to do: the episode is held again, and counts as broken if it
//! shows no more then.

use std::time::Duration;

use tokio::time::sleep;

use super::{
    moment,
    plan::{Kind, Plan},
    world::World,
};
use crate::history::{Answer, Asked, Event, Fault, History};

/// How long it may take until somebody has noticed that the ledger has lost something.
const NOTICED: Duration = Duration::from_secs(20);

/// Beyond the end of a hold: what is asked then is answered by a node that has no right to allow anything.
const BEYOND: u64 = 50_000_000;

/// What a fault that was alone has not shown; nothing if there was another one that may have hidden it.
pub(super) async fn missing(plan: &Plan, history: &History, world: &World) -> Vec<String> {
    let [planned] = &*plan.faults else { return Vec::new() };
    let mut missing = Vec::new();
    // Who asks the ledger instead of stopping has no answer before the ledger is back.
    if planned.kind.fences() && !history.cluster.asks_when_stale && past_hold(history, planned.kind) == 0 {
        missing.push("nobody was asked whose hold was over".to_owned());
    }
    if planned.kind == Kind::PostgresRestore {
        missing.extend(missed_loss(history, world).await);
    }
    missing
}

/// Answers to checks that a node was asked when it had been cut off for longer than its hold, and still was.
fn past_hold(history: &History, kind: Kind) -> usize {
    let cluster = &history.cluster;
    let hold = u64::try_from((cluster.lease + cluster.serve_for).as_nanos()).unwrap_or(u64::MAX / 2);
    let name = kind.to_string();
    let is_past = |fault: &Fault, event: &Event| {
        let is_of = fault.nodes.is_empty() || fault.nodes.contains(&event.node);
        is_of && event.began > fault.in_force + hold + BEYOND && event.ended < fault.healing
    };
    let faults = || history.faults.iter().filter(|fault| fault.name == name);
    let is_answer = |event: &&Event| {
        let is_check = matches!(event.asked, Asked::Check { .. });
        is_check && matches!(event.answer, Answer::Allowed | Answer::Unavailable)
    };
    history.events.iter().filter(is_answer).filter(|event| faults().any(|fault| is_past(fault, event))).count()
}

/// A ledger has lost rows that nodes had applied: somebody must have noticed. What there is to tell, if nobody has.
async fn missed_loss(history: &History, world: &World) -> Option<String> {
    let loss = history.faults.iter().find(|fault| fault.name == Kind::PostgresRestore.to_string())?;
    // The copy was made while the server stood: what was asked for after that is not in it.
    let copied = history.faults.iter().map(|fault| fault.healed).filter(|&healed| healed <= loss.began).max()?;
    let receipts = || {
        let between = history.events.iter().filter(|event| event.began > copied && event.ended < loss.began);
        let given = between.filter_map(|event| match event.answer {
            Answer::Receipt(receipt) | Answer::Issued { receipt: Some(receipt), .. } => Some(receipt),
            _ => None,
        });
        given.filter(|receipt| !receipt.already)
    };
    // One that is complete was applied somewhere, or no node was left that could have allowed anything.
    let (complete, recorded) = (receipts().filter(|receipt| receipt.is_complete).count(), receipts().count());
    if complete == 0 {
        return Some(format!("the ledger has lost {recorded} acts, none of which was in force everywhere"));
    }
    let since = moment();
    while world.lost_rows().await == 0 {
        if Duration::from_nanos(moment() - since) > NOTICED {
            return Some(format!("{complete} acts were lost, and kickout_ledger_lost_rows_total is 0 everywhere"));
        }
        sleep(Duration::from_millis(200)).await;
    }
    None
}
