//! Hands a history to the judge.

use crate::history::{Answer, History};

/// What was found; nothing yet but what is strange at first sight.
pub(super) fn of(history: &History) -> Vec<String> {
    let strange = history.events.iter().filter_map(|event| match &event.answer {
        Answer::Strange { what } => Some(format!("{:?}: {what}", event.asked)),
        _ => None,
    });
    strange.take(10).collect()
}
