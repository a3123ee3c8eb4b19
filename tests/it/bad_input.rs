//! What clients get for requests that are not as they should be: the same few problems everywhere, never a 5xx, and
//! nothing of what they sent.

mod bodies;
mod credentials;
mod paths;

use crate::support::answer::Answer;

/// What must not come back, whatever is wrong with the request that holds it.
const SECRET: &str = "swordfish-that-nobody-should-see";

/// Asserts status and kind, and that nothing secret comes back.
#[track_caller]
fn is_refused(answer: &Answer, status: u16, kind: &str, what: &str) {
    assert_eq!((answer.status.as_u16(), answer.problem().as_deref()), (status, Some(kind)), "{what}: {answer}");
    answer.is_problem(status, kind);
    assert!(!answer.text().contains(SECRET), "{what}: {answer}");
    let cookies = answer.set_cookies();
    assert!(cookies.iter().all(|cookie| cookie.value.is_empty()), "{what}: {answer}");
    // Only a logout with nothing but dead cookies takes them away; nothing is ever set.
    assert!(cookies.is_empty() || (status == 401 && what.contains("/v1/auth/logout")), "{what}: {answer}");
}
