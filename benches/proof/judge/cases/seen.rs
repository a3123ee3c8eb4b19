//! Cuts that outlast a hold: which of them must be seen to stop a node, and which were.

use crate::history::{Answer, Asked, Permits, Token};

use super::{
    super::{Shown, facts::STARVED},
    story::{During, KILLED, LOG_OUT, RECORDED, SQL_DOWN, Story},
};

/// Nine seconds without a ledger, which is more than a hold of two.
const LONG: During = (90, 9_000);

/// Well past the lease, and before the ledger is back.
const PAST: During = (5_000, 5_001);

/// Those that are counted otherwise than they should be.
pub(super) fn mistaken() -> Vec<String> {
    let cases = unseen().into_iter().map(|case| (case, 1)).chain(seen().into_iter().map(|case| (case, 0)));
    let wrong = cases.filter_map(|((why, story), wanted)| {
        let unseen = Shown::of(&story.end()).unseen;
        (unseen != wanted).then(|| format!("of “{why}”, {unseen} cuts count as not seen, wanted {wanted}\n"))
    });
    wrong.collect()
}

fn cut() -> Story {
    Story::new().fault(&[1], LONG, SQL_DOWN)
}

fn checked(story: Story, node: u8, during: During, answer: Answer) -> Story {
    story.at(node, during, Asked::Check { token: Token(0) }, answer)
}

fn unseen() -> Vec<(&'static str, Story)> {
    vec![
        ("nobody asks", cut()),
        ("nobody asks it in time", checked(cut(), 1, (1_500, 1_501), Answer::Unavailable)),
        ("everybody asks it too late", checked(cut(), 1, (9_005, 9_006), Answer::Unavailable)),
        ("everybody asks another node", checked(cut(), 0, PAST, Answer::Allowed)),
        ("it answers when it is over", checked(cut(), 1, (5_000, 9_500), Answer::Allowed)),
        ("a check is lost", checked(cut(), 1, PAST, Answer::Lost)),
        ("the token may be dead", cut().and((100, 110), LOG_OUT, RECORDED).denies(1, PAST, 0)),
        ("nobody asks who looks each time", cut().with(|cluster| cluster.asks_when_stale = true)),
        ("the machine stood still before", cut().fault(&[], (500, 1_000), Permits::default()).named(STARVED)),
    ]
}

fn seen() -> Vec<(&'static str, Story)> {
    vec![
        ("it says that it does not know", checked(cut(), 1, PAST, Answer::Unavailable)),
        ("who looks each time is asked", {
            checked(cut().with(|cluster| cluster.asks_when_stale = true), 1, (5_000, 9_500), Answer::Allowed)
        }),
        ("a cut that is over with the hold", Story::new().fault(&[1], (90, 2_400), SQL_DOWN)),
        ("who is dead says nothing", Story::new().fault(&[1], LONG, KILLED)),
        ("a fault that cuts nobody off", {
            Story::new().fault(&[1], LONG, Permits { cuts_ledger: false, ..SQL_DOWN })
        }),
        ("two faults at once", cut().fault(&[2], (4_000, 6_000), KILLED)),
        ("the machine stood still", cut().fault(&[], (4_000, 6_000), Permits::default()).named(STARVED)),
        ("one process has no lease", cut().with(|cluster| cluster.is_embedded = true)),
    ]
}
