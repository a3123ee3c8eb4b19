//! What is wrong, though it is close to what is permitted.

use crate::history::{Answer, Asked, Permits, Ticket, Token, User};

use super::{
    super::Promise,
    Case,
    story::{
        ADA, ALREADY, BAN, CLOCK, COMPLETE, END_ALL, END_TOKEN, KEEP_FIRST, KILLED, LOG_IN, LOG_OUT, PASSWORD,
        RECORDED, ROLES, SECOND, SQL_DOWN, Story, UNBAN, begun_anew, denied, for_three_hours, issued, kept, refresh,
        restored, took,
    },
};

fn broken(breaks: Promise, why: &'static str, story: Story) -> Case {
    Case { why, breaks: Some(breaks), history: story.end() }
}

pub(super) fn cases() -> Vec<Case> {
    [allows(), stale(), late(), refused(), acts(), refreshes(), losses(), anew(), clocks(), after_a_loss()]
        .into_iter()
        .flatten()
        .collect()
}

fn allows() -> Vec<Case> {
    let before = || Story::new().log_in((30, 40), 1);
    let p1 = |why, story| broken(Promise::P1, why, story);
    vec![
        p1("a check right after the receipt", Story::new().and((100, 110), LOG_OUT, COMPLETE).allows(1, (111, 112), 0)),
        p1("…of a logout that found nothing to do", {
            Story::new().and((100, 110), LOG_OUT, ALREADY).allows(1, (111, 112), 0)
        }),
        p1("…of the end of all", before().and((50, 60), END_ALL, COMPLETE).allows(2, (61, 62), 1)),
        p1("…of the end of all but one", before().and((50, 60), KEEP_FIRST, kept(0, 2)).allows(2, (61, 62), 1)),
        p1("…that another act keeps", {
            let other = Asked::EndAll { user: ADA, keep: Some(SECOND) };
            before().and((50, 60), other, kept(1, 2)).and((70, 80), KEEP_FIRST, denied("session-ended")).allows(
                2,
                (90, 91),
                0,
            )
        }),
        p1("…of a ban", Story::new().and((50, 60), BAN, COMPLETE).allows(2, (61, 62), 0)),
        p1("…of a new password", before().and((50, 60), PASSWORD, kept(0, 2)).allows(2, (61, 62), 1)),
        p1("…of new roles", Story::new().and((50, 60), ROLES, COMPLETE).allows(2, (61, 62), 0)),
        p1("…of new roles, though the session is kept afterwards", {
            Story::new().and((50, 60), ROLES, COMPLETE).and((70, 80), KEEP_FIRST, kept(0, 1)).allows(2, (90, 91), 0)
        }),
        p1("…of one token", Story::new().and((50, 60), END_TOKEN, COMPLETE).allows(2, (61, 62), 0)),
        p1("…of the refusal of a reused ticket", {
            let story = Story::new().and((100, 110), refresh(0), issued(0, 1, 1));
            story.and((5_000, 5_010), refresh(0), denied("session-ended")).allows(1, (5_011, 5_012), 1)
        }),
        p1("a refresh after the receipt", {
            Story::new().and((50, 60), LOG_OUT, COMPLETE).and((61, 70), refresh(0), issued(0, 1, 1))
        }),
        p1("a refresh after a receipt that is not complete", {
            Story::new().and((50, 60), LOG_OUT, RECORDED).and((61, 70), refresh(0), issued(0, 1, 1))
        }),
        p1("a dead session is kept", {
            Story::new().and((50, 60), LOG_OUT, COMPLETE).and((61, 70), KEEP_FIRST, kept(0, 1))
        }),
        p1("a login under a ban", Story::new().and((50, 60), BAN, RECORDED).log_in((61, 70), 1)),
        p1("a login under the second ban", {
            let story = Story::new().and((50, 60), BAN, COMPLETE).and((70, 80), UNBAN, Answer::Allowed);
            story.and((90, 95), BAN, COMPLETE).log_in((100, 110), 1)
        }),
    ]
}

fn stale() -> Vec<Case> {
    let logged_out = || Story::new().and((100, 110), LOG_OUT, RECORDED);
    vec![
        broken(Promise::P4, "a node that is cut off goes on", {
            Story::new().fault(&[1], (90, 9_000), SQL_DOWN).allows(1, (2_400, 2_401), 0)
        }),
        broken(Promise::P4, "every node is cut off, and one goes on", {
            Story::new().fault(&[], (90, 9_000), SQL_DOWN).allows(2, (2_400, 2_401), 0)
        }),
        broken(
            Promise::P4,
            "a hold later nobody may miss what was recorded",
            logged_out().allows(2, (2_400, 2_401), 0),
        ),
        broken(Promise::P5, "a node forgets what it has said", {
            logged_out().denies(1, (200, 201), 0).allows(1, (300, 301), 0)
        }),
        broken(Promise::P5, "a node forgets what it has said, and nobody knows of which act", {
            let story = Story::new().fault(&[], (90, 100), KILLED).and((95, 100), LOG_OUT, Answer::Lost);
            story.denies(1, (200, 201), 0).allows(1, (9_000, 9_001), 0)
        }),
        broken(Promise::P5, "another node does not know it a hold later", {
            let story = Story::new().fault(&[], (90, 100), KILLED).and((95, 100), LOG_OUT, Answer::Lost);
            story.denies(1, (200, 201), 0).allows(2, (9_000, 9_001), 0)
        }),
        broken(Promise::P5, "a session that a refresh has called over goes on", {
            let story = Story::new().fault(&[], (90, 100), KILLED).and((95, 100), LOG_OUT, Answer::Lost);
            story.and((200, 201), refresh(0), denied("session-ended")).and((300, 301), refresh(0), issued(0, 1, 1))
        }),
        broken(
            Promise::P5,
            "a token is good again",
            Story::new().expires(1, (60_100, 60_101), 0).allows(1, (60_200, 60_201), 0),
        ),
        broken(Promise::P5, "a token outlives itself", Story::new().allows(1, (70_000, 70_001), 0)),
    ]
}

fn late() -> Vec<Case> {
    let p2 = |why, story| broken(Promise::P2, why, story);
    vec![
        p2("a receipt that waits for longer than the hold", {
            Story::new().fault(&[1], (90, 9_000), SQL_DOWN).at(0, (100, 4_900), LOG_OUT, COMPLETE)
        }),
        p2("a receipt that waits for longer after the store is back", {
            Story::new().fault(&[], (90, 9_000), SQL_DOWN).and((100, 26_900), LOG_OUT, COMPLETE)
        }),
        p2("a receipt that says itself that it waited for longer than the hold", {
            let story = Story::new().and((30, 40), END_TOKEN, COMPLETE).fault(&[1], (90, 9_000), SQL_DOWN);
            story.at(0, (100, 3_500), LOG_OUT, took(3_100.0))
        }),
        p2("…on a machine of which nobody knows how fast it is", {
            Story::new().fault(&[1], (90, 9_000), SQL_DOWN).at(0, (100, 4_400), LOG_OUT, took(4_100.0))
        }),
        p2("…where one of many others was slow, though it waited for nobody", {
            let quick = |story: Story, at| story.and((at, at + 5), END_TOKEN, COMPLETE);
            let story = (30..48).step_by(2).fold(Story::new(), quick).and((50, 960), END_TOKEN, took(900.0));
            story.fault(&[1], (1_090, 9_000), SQL_DOWN).at(0, (1_100, 4_650), LOG_OUT, took(3_500.0))
        }),
        p2("receipts that wait for leases though nothing is the matter", {
            let wait = |story: Story, at| story.and((at, at + 2_800), LOG_OUT, took(2_750.0));
            [100, 3_000, 6_000].into_iter().fold(Story::new(), wait)
        }),
        p2("…after a fault", {
            let wait = |story: Story, at| story.at(0, (at, at + 2_800), LOG_OUT, took(2_750.0));
            let story = Story::new().fault(&[1], (90, 1_000), SQL_DOWN);
            [6_000, 9_000, 12_000].into_iter().fold(story, wait)
        }),
        p2("an act that is not answered within the bound", {
            let slow = Permits { slow_receipts: true, ..Permits::default() };
            Story::new().fault(&[1], (90, 9_000), slow).and((100, 5_000), LOG_OUT, Answer::Lost)
        }),
    ]
}

fn refused() -> Vec<Case> {
    let p6 = |why, story| broken(Promise::P6, why, story);
    let check = Asked::Check { token: Token(0) };
    vec![
        p6("a token is refused and nobody has ended it", Story::new().denies(1, (100, 101), 0)),
        p6("a token is refused before its logout was asked for", {
            Story::new().denies(1, (100, 101), 0).and((102, 110), LOG_OUT, COMPLETE)
        }),
        p6("the session that was kept is refused", {
            Story::new().and((50, 60), KEEP_FIRST, kept(0, 1)).denies(1, (100, 101), 1)
        }),
        p6("a login after the end of all dies with it", {
            Story::new().and((30, 40), END_ALL, COMPLETE).log_in((50, 60), 1).denies(1, (70, 71), 1)
        }),
        p6("new roles end a session", Story::new().and((50, 60), ROLES, COMPLETE).denies(1, (100, 101), 0)),
        p6("the same roles again end a token", Story::new().and((50, 60), ROLES, ALREADY).expires(1, (100, 101), 0)),
        p6("a token expires too early", Story::new().expires(1, (50_000, 50_001), 0)),
        p6("a token is called invalid", Story::new().at(1, (100, 101), check, denied("token-invalid"))),
        p6("an act that was refused ends a session", {
            Story::new().and((50, 60), PASSWORD, kept(0, 1)).and((70, 80), LOG_OUT, denied("conflict")).denies(
                1,
                (90, 91),
                0,
            )
        }),
        p6("a refresh is refused and nobody has ended its session", {
            Story::new().and((100, 101), refresh(0), denied("session-ended"))
        }),
        p6("a refresh within the grace is taken for a theft", {
            let story = Story::new().and((100, 110), refresh(0), issued(0, 1, 1));
            story.and((110, 115), refresh(0), denied("session-ended"))
        }),
        p6("nobody is banned, and a login is refused", Story::new().and((100, 110), LOG_IN, denied("account-banned"))),
        p6("a ban that was lifted refuses a login", {
            let story = Story::new().and((100, 110), BAN, COMPLETE).and((120, 130), UNBAN, Answer::Allowed);
            story.and((140, 150), LOG_IN, denied("account-banned"))
        }),
        p6("a right password is refused", Story::new().and((100, 110), LOG_IN, denied("credentials-invalid"))),
        p6("an act is refused as of nobody", Story::new().and((100, 110), LOG_OUT, denied("token-invalid"))),
        p6("an act is refused without a reason", Story::new().and((100, 110), LOG_OUT, denied("session-ended"))),
        p6("503 in a healthy cluster", Story::new().at(1, (100, 101), check, Answer::Unavailable)),
        p6("503 at a node that the fault does not concern", {
            Story::new().fault(&[1], (90, 9_000), SQL_DOWN).at(0, (3_000, 3_001), check, Answer::Unavailable)
        }),
        p6("a node that is cut off stops at once", {
            Story::new().fault(&[1], (90, 9_000), SQL_DOWN).checks(1, 500, Answer::Unavailable)
        }),
        p6("503 long after a fault", {
            Story::new().fault(&[], (90, 900), SQL_DOWN).at(0, (13_500, 13_501), check, Answer::Unavailable)
        }),
        p6("a logout is refused though only receipts may be slow", {
            let slow = Permits { slow_receipts: true, ..Permits::default() };
            Story::new().fault(&[], (90, 900), slow).and((100, 110), LOG_OUT, Answer::Unavailable)
        }),
        p6("no answer in a healthy cluster", Story::new().at(1, (100, 101), check, Answer::Lost)),
        p6("a login without an answer", Story::new().and((100, 101), LOG_IN, Answer::Lost)),
        broken(Promise::Answers, "an answer that is none", {
            Story::new().at(1, (100, 101), check, Answer::Strange { what: "500".to_owned() })
        }),
        broken(Promise::Answers, "a refresh answers with another session", {
            Story::new().log_in((30, 40), 1).and((100, 110), refresh(0), issued(1, 2, 2))
        }),
        broken(Promise::Answers, "a session is kept, and the credentials are another's", {
            Story::new().log_in((30, 40), 1).log_in((30, 40), 2).and((100, 110), KEEP_FIRST, kept(1, 3))
        }),
        broken(Promise::Answers, "a new password brings the credentials of another session", {
            Story::new().log_in((30, 40), 1).and((100, 110), PASSWORD, kept(1, 2))
        }),
        broken(Promise::Answers, "a login brings the session of another user", {
            Story::new().and((100, 110), Asked::LogIn { user: User(1) }, issued(0, 1, 1))
        }),
        broken(Promise::Answers, "a login brings the token of another session", {
            Story::new().and((100, 110), LOG_IN, issued(1, 0, 1))
        }),
        broken(Promise::Answers, "a login brings the ticket of another session", {
            Story::new().and((100, 110), LOG_IN, issued(1, 1, 0))
        }),
        broken(
            Promise::Answers,
            "an answer to another question",
            Story::new().and((100, 110), LOG_OUT, issued(0, 1, 1)),
        ),
        broken(Promise::Answers, "a token that nobody was given", Story::new().allows(1, (100, 101), 7)),
    ]
}

/// Acts that are refused, and something else has happened that is no reason for it.
fn acts() -> Vec<Case> {
    let p6 = |why, story| broken(Promise::P6, why, story);
    let other =
        || Story::new().log_in((30, 40), 1).and((50, 60), Asked::EndSession { user: ADA, session: SECOND }, COMPLETE);
    let roles = || Story::new().and((50, 60), ROLES, COMPLETE);
    vec![
        p6("another session was ended, and one that is kept is called over", {
            other().and((70, 80), KEEP_FIRST, denied("session-ended"))
        }),
        p6("…when the password is changed", other().and((70, 80), PASSWORD, denied("session-ended"))),
        p6("a session was ended, and an act is refused as its token were", {
            other().and((70, 80), KEEP_FIRST, denied("token-expired"))
        }),
        p6("a token of another session was ended, and an act is refused as if it were its own", {
            let token = Asked::EndToken { user: ADA, session: SECOND, token: Token(1) };
            let story = Story::new().log_in((30, 40), 1).and((50, 60), token, COMPLETE);
            story.and((70, 80), KEEP_FIRST, denied("token-expired"))
        }),
        p6("tokens were ended, and a session has none of them", {
            let keep = Asked::EndAll { user: ADA, keep: Some(SECOND) };
            roles().log_in((70, 80), 1).and((90, 95), keep, denied("token-expired"))
        }),
        p6("tokens were ended, and a session is called over", {
            roles().and((70, 80), END_ALL, denied("session-ended"))
        }),
        p6("a session was ended, and its user is called banned", {
            other().and((70, 80), PASSWORD, denied("account-banned"))
        }),
        p6("a ban was lifted, and its user is called banned", {
            let story = Story::new().and((50, 60), BAN, COMPLETE).and((70, 80), UNBAN, Answer::Allowed);
            story.log_in((90, 95), 1).and((100, 110), LOG_OUT, denied("account-banned"))
        }),
        p6("a right password is refused when it is changed", {
            other().and((70, 80), PASSWORD, denied("password-wrong"))
        }),
        p6("an operator has no session that could be over", {
            Story::new().and((50, 60), LOG_OUT, COMPLETE).and((70, 80), BAN, denied("session-ended"))
        }),
        p6("…nor a token that could", roles().and((70, 80), ROLES, denied("token-expired"))),
        p6(
            "…nor is he banned",
            Story::new().and((50, 60), BAN, COMPLETE).and((70, 80), UNBAN, denied("account-banned")),
        ),
        p6("…nor is his user gone", roles().and((70, 80), BAN, denied("not-found"))),
        p6("a conflict with what was over", roles().and((70, 80), BAN, denied("conflict"))),
    ]
}

fn refreshes() -> Vec<Case> {
    let wrong = |why, story| broken(Promise::Refresh, why, story);
    let twice = || Story::new().and((100, 110), refresh(0), issued(0, 1, 1));
    vec![
        wrong("two refreshes at once get two successors", twice().and((100, 111), refresh(0), issued(0, 2, 2))),
        wrong("a ticket is taken long after it was replaced", twice().and((5_000, 5_010), refresh(0), issued(0, 2, 1))),
        wrong("both tickets of a family go on", {
            let story = twice().and((5_000, 5_010), refresh(1), issued(0, 2, 2));
            story.and((9_900, 9_910), refresh(1), issued(0, 3, 2))
        }),
        wrong("a straggler brings an old ticket back", {
            let story = twice().and((200, 210), refresh(1), issued(0, 2, 2));
            story.and((300, 310), refresh(0), issued(0, 3, 1))
        }),
    ]
}

fn losses() -> Vec<Case> {
    let p3 = |why, story| broken(Promise::P3, why, story);
    vec![
        p3("a receipt is forgotten when everything is started again", {
            Story::new().and((100, 110), LOG_OUT, COMPLETE).restarted(500).allows(1, (600, 601), 0)
        }),
        p3("what was only recorded is forgotten when everything is started again", {
            Story::new().and((100, 110), LOG_OUT, RECORDED).restarted(500).allows(1, (600, 601), 0)
        }),
        p3("…and the session goes on", {
            Story::new().and((100, 110), LOG_OUT, RECORDED).restarted(500).and((600, 601), refresh(0), issued(0, 1, 1))
        }),
        p3("a session is gone when everything is started again", Story::new().restarted(500).denies(1, (600, 601), 0)),
        broken(Promise::P1, "a restore takes back what was acknowledged before the backup", {
            let story = Story::new().and((100, 110), LOG_OUT, COMPLETE).fault(&[], (1_000, 2_000), restored(150));
            story.allows(1, (8_000, 8_001), 0)
        }),
        broken(Promise::P6, "a restore takes a session that is in the backup", {
            Story::new().fault(&[], (1_000, 2_000), restored(150)).denies(1, (8_000, 8_001), 0)
        }),
        broken(Promise::P1, "what is acknowledged after a restore binds", {
            let story = Story::new().fault(&[], (1_000, 2_000), restored(150)).and((3_000, 3_010), LOG_OUT, COMPLETE);
            story.allows(1, (8_000, 8_001), 0)
        }),
    ]
}

/// The operator has begun a new ledger: nothing of before is good.
fn anew() -> Vec<Case> {
    let p3 = |why, story| broken(Promise::P3, why, story);
    let anew = || Story::new().fault(&[], (1_000, 2_000), begun_anew(5));
    vec![
        p3("a token outlives its ledger", anew().allows(1, (2_011, 2_012), 0)),
        p3(
            "…and is in the backup",
            Story::new().fault(&[], (1_000, 2_000), begun_anew(900)).allows(1, (2_011, 2_012), 0),
        ),
        p3("a session outlives its ledger", anew().and((2_011, 2_020), refresh(0), issued(0, 1, 1))),
        p3(
            "a session outlives its ledger when the others are ended",
            anew().and((2_011, 2_020), KEEP_FIRST, kept(0, 1)),
        ),
        p3("…and when the password is changed", anew().and((2_011, 2_020), PASSWORD, kept(0, 1))),
        p3("…everything is started again meanwhile", anew().restarted(8_000).allows(1, (9_000, 9_001), 0)),
        p3("a hold later no other fault excuses it", {
            anew().fault(&[1], (1_500, 1_900), KILLED).allows(1, (4_100, 4_101), 0)
        }),
    ]
}

/// The clock of the ledger was moved by an hour, and tokens live for three.
fn clocks() -> Vec<Case> {
    let p6 = |why, story| broken(Promise::P6, why, story);
    let check = Asked::Check { token: Token(0) };
    let long = |name| Story::new().with(for_three_hours).fault(&[], (1_000, 2_000), CLOCK).named(name);
    vec![
        p6("a token from before the clock of the ledger was moved is good", {
            long("sql-clock-ahead").at(1, (8_000, 8_001), check, denied("token-invalid"))
        }),
        p6("the clock of the ledger does not end sessions", long("sql-clock-ahead").denies(1, (8_000, 8_001), 0)),
        p6("a token outlives the step of the clock", long("sql-clock-ahead").expires(1, (8_000, 8_001), 0)),
        p6("…while it is ahead", long("sql-clock-ahead").expires(1, (1_500, 1_501), 0)),
        p6("…and the step back", long("sql-clock-back").expires(1, (8_000, 8_001), 0)),
        p6("…and both", {
            long("sql-clock-ahead").fault(&[], (3_000, 4_000), CLOCK).named("sql-clock-back").expires(
                1,
                (8_000, 8_001),
                0,
            )
        }),
        p6("…and so does that of who asks for an act", {
            long("sql-clock-ahead").and((8_000, 8_010), KEEP_FIRST, denied("token-expired"))
        }),
        p6("…and is good for an act, though another one may be of the future", {
            let story = long("sql-clock-ahead").log_in((1_500, 1_510), 1);
            story.and((8_000, 8_010), KEEP_FIRST, denied("token-invalid"))
        }),
        p6("a clock that was back has issued nothing of the future", {
            let token = Asked::Check { token: Token(1) };
            long("sql-clock-back").log_in((1_500, 1_510), 1).at(1, (8_000, 8_001), token, denied("token-invalid"))
        }),
        broken(Promise::P5, "a token outlives itself and the step", {
            Story::new().fault(&[], (1_000, 2_000), CLOCK).allows(1, (3_690_000, 3_690_001), 0)
        }),
    ]
}

/// What is opened, and done, after a loss is no more open than anything else.
fn after_a_loss() -> Vec<Case> {
    let p6 = |why, story| broken(Promise::P6, why, story);
    let lost = || Story::new().fault(&[], (1_000, 2_000), restored(150));
    let second = || lost().log_in((8_000, 8_010), 1);
    let again = |ticket| Asked::Refresh { user: ADA, session: SECOND, ticket: Ticket(ticket) };
    let keep = Asked::EndAll { user: ADA, keep: Some(SECOND) };
    vec![
        p6("a login is refused as banned", lost().and((8_000, 8_010), LOG_IN, denied("account-banned"))),
        p6("…though the ban was lifted before the backup", {
            let story = Story::new().and((50, 60), BAN, COMPLETE).and((70, 80), UNBAN, Answer::Allowed);
            story.fault(&[], (1_000, 2_000), restored(150)).and((8_000, 8_010), LOG_IN, denied("account-banned"))
        }),
        p6("…though the ban was lifted after it", {
            let story = Story::new().and((160, 170), BAN, COMPLETE).fault(&[], (1_000, 2_000), restored(150));
            story.and((7_000, 7_010), UNBAN, Answer::Allowed).and((8_000, 8_010), LOG_IN, denied("account-banned"))
        }),
        p6("a login is refused as if of another password", {
            lost().and((8_000, 8_010), LOG_IN, denied("credentials-invalid"))
        }),
        p6("…which was changed before the backup", {
            let story = Story::new().and((50, 60), PASSWORD, kept(0, 1)).fault(&[], (1_100, 2_000), restored(1_090));
            story.and((8_000, 8_010), LOG_IN, denied("credentials-invalid"))
        }),
        p6("a new session is refreshed in vain", second().and((9_000, 9_010), again(1), denied("session-ended"))),
        p6("…or called over when it asks for an act", second().and((9_000, 9_010), keep, denied("session-ended"))),
        p6("…or its token is not known", second().and((9_000, 9_010), keep, denied("token-invalid"))),
        p6("an operator is refused as nobody", lost().and((8_000, 8_010), BAN, denied("token-invalid"))),
        broken(Promise::Refresh, "a ticket of a new session has got two successors", {
            let story = second().and((9_000, 9_010), again(1), issued(1, 2, 2));
            story.and((9_000, 9_011), again(1), issued(1, 3, 3))
        }),
    ]
}
