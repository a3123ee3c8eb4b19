//! Events as a reader wants them.

use crate::history::{Event, History, Moment};

use super::facts::MS;

/// Milliseconds, for people.
#[expect(clippy::cast_precision_loss, reason = "an episode is minutes long")]
pub(super) fn ms(moment: Moment) -> f64 {
    moment as f64 / MS as f64
}

/// One event in a line, with moments from the first one on.
pub(super) fn event(history: &History, index: usize, event: &Event) -> String {
    let start = history.events.iter().map(|event| event.began).min().unwrap_or(0);
    let faults = history.faults.iter().filter(|fault| event.began <= fault.healed && event.ended >= fault.began);
    let faults: Vec<&str> = faults.map(|fault| fault.name.as_str()).collect();
    format!(
        "[{index}] {:.1}–{:.1} ms, client {} at node {}: {:?} → {:?}{}{}",
        ms(event.began.saturating_sub(start)),
        ms(event.ended.saturating_sub(start)),
        event.client,
        event.node,
        event.asked,
        event.answer,
        if faults.is_empty() { "" } else { "; under " },
        faults.join(", "),
    )
}
