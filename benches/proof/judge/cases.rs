//! Small histories, written by hand: what is permitted though it looks wrong, and what is wrong though it is close to
//! what is permitted.

mod broken;
mod clean;
mod seen;
mod story;

use crate::{Failure, history::History};

use super::{Promise, judge};

/// A history that must be judged so, and the sentence that says why.
struct Case {
    why: &'static str,
    /// The promise that it breaks; `None`: nothing.
    breaks: Option<Promise>,
    history: History,
}

/// Shows them all to the judge.
///
/// # Errors
/// Those that it judges otherwise.
pub(super) fn check() -> Result<(), Failure> {
    let cases = clean::cases().into_iter().chain(broken::cases());
    let wrong: Vec<String> = cases.filter_map(|case| misjudged(&case)).chain(seen::mistaken()).collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("").into()) }
}

/// What the judge says of a history, if that is not what it should.
fn misjudged(case: &Case) -> Option<String> {
    let findings = judge(&case.history);
    let found: Vec<Promise> = findings.broken.keys().copied().collect();
    let wanted: Vec<Promise> = case.breaks.into_iter().collect();
    (found != wanted).then(|| {
        let told = findings.tell(&case.history);
        format!("the judge was shown “{}”, wanted {wanted:?}, and said {found:?}\n{told}", case.why)
    })
}
