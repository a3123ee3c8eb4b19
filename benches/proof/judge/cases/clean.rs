//! What is permitted, though it looks wrong.

use std::time::Duration;

use crate::history::{Answer, Asked, Permits, Token};

use super::{
    Case,
    story::{
        ADA, ALREADY, BAN, CLOCK, COMPLETE, END_ALL, END_TOKEN, FIRST, KEEP_FIRST, KILLED, LOG_IN, LOG_OUT, PASSWORD,
        RECORDED, ROLES, SECOND, SQL_DOWN, Story, UNBAN, begun_anew, denied, for_three_hours, issued, kept, refresh,
        restored, took,
    },
};

fn clean(why: &'static str, story: Story) -> Case {
    Case { why, breaks: None, history: story.end() }
}

pub(super) fn cases() -> Vec<Case> {
    [acts(), refused(), nodes(), refreshes(), losses(), logins()].into_iter().flatten().collect()
}

fn acts() -> Vec<Case> {
    let before = || Story::new().log_in((30, 40), 1);
    vec![
        clean(
            "a check that overlaps the logout",
            Story::new().and((100, 110), LOG_OUT, COMPLETE).allows(1, (109, 112), 0),
        ),
        clean("an allow before the receipt", Story::new().and((100, 900), LOG_OUT, COMPLETE).allows(1, (890, 895), 0)),
        clean(
            "a receipt that is not complete binds nobody at once",
            Story::new().and((100, 110), LOG_OUT, RECORDED).allows(1, (1_000, 1_001), 0),
        ),
        clean(
            "a login that overlaps the end of all may die with it",
            before().and((35, 60), END_ALL, COMPLETE).denies(0, (70, 71), 1).denies(0, (70, 71), 0),
        ),
        clean(
            "a login that overlaps the end of all may live",
            before().and((35, 60), END_ALL, COMPLETE).allows(0, (70, 71), 1),
        ),
        clean(
            "a login after the end of all lives",
            Story::new().and((30, 40), END_ALL, COMPLETE).log_in((50, 60), 1).allows(1, (70, 71), 1),
        ),
        clean(
            "the session that is kept lives, with its old token",
            before()
                .and((50, 60), KEEP_FIRST, kept(0, 2))
                .allows(1, (70, 71), 0)
                .allows(1, (70, 71), 2)
                .denies(1, (70, 71), 1)
                .and((80, 90), PASSWORD, kept(0, 3))
                .allows(2, (100, 101), 0),
        ),
        clean(
            "of two acts that overlap each may end what the other keeps",
            before()
                .and((50, 80), KEEP_FIRST, kept(0, 2))
                .and((50, 80), Asked::EndAll { user: ADA, keep: Some(SECOND) }, kept(1, 3))
                .denies(1, (90, 91), 0)
                .denies(1, (90, 91), 1),
        ),
        clean(
            "new roles end access tokens and no session",
            Story::new()
                .and((50, 60), ROLES, COMPLETE)
                .expires(0, (70, 71), 0)
                .and((80, 90), refresh(0), issued(0, 1, 1))
                .allows(1, (95, 96), 1),
        ),
        clean("the same roles again end nothing", Story::new().and((50, 60), ROLES, ALREADY).allows(0, (70, 71), 0)),
        clean(
            "one token may end and its session live",
            Story::new()
                .and((50, 60), END_TOKEN, COMPLETE)
                .expires(0, (70, 71), 0)
                .and((80, 90), refresh(0), issued(0, 1, 1))
                .allows(1, (95, 96), 1),
        ),
        clean(
            "an act without an answer, under a fault, may have happened, also late, or not",
            before()
                .fault(&[], (90, 500), SQL_DOWN)
                .and((100, 400), LOG_OUT, Answer::Lost)
                .and((100, 400), Asked::EndSession { user: ADA, session: SECOND }, Answer::Unavailable)
                .allows(1, (4_000, 4_001), 0)
                .denies(1, (9_000, 9_001), 0)
                .allows(1, (9_000, 9_001), 1),
        ),
        clean(
            "an act of a dead session is refused",
            Story::new().and((30, 40), LOG_OUT, COMPLETE).and((50, 51), KEEP_FIRST, denied("session-ended")),
        ),
        clean("a token expires", Story::new().allows(1, (59_000, 59_001), 0).expires(1, (60_100, 60_101), 0)),
        clean(
            "a token from after the life was lowered expires earlier",
            Story::new().with(|cluster| cluster.lowered_access_ttl = Some(Duration::from_secs(5))).expires(
                1,
                (6_100, 6_101),
                0,
            ),
        ),
    ]
}

/// Acts that are refused for a reason.
fn refused() -> Vec<Case> {
    vec![
        clean(
            "an act whose token is dead, and its session lives",
            Story::new().and((50, 60), ROLES, COMPLETE).and((70, 80), KEEP_FIRST, denied("token-expired")).and(
                (90, 95),
                PASSWORD,
                denied("token-expired"),
            ),
        ),
        clean(
            "an act with another session of the user, which is over",
            Story::new()
                .log_in((30, 40), 1)
                .and((50, 60), Asked::EndSession { user: ADA, session: SECOND }, COMPLETE)
                .and((70, 80), LOG_OUT, denied("session-ended"))
                .and((70, 80), END_ALL, denied("session-ended")),
        ),
        clean(
            "acts at once are in each other's way",
            Story::new().and((50, 60), ROLES, COMPLETE).and((55, 65), BAN, denied("conflict")).and(
                (55, 65),
                PASSWORD,
                denied("conflict"),
            ),
        ),
        clean(
            "a password that another client has just changed",
            Story::new().and((50, 60), PASSWORD, kept(0, 1)).and((55, 70), PASSWORD, denied("password-wrong")),
        ),
        clean("a ban refuses acts", {
            Story::new().and((50, 60), BAN, COMPLETE).and((70, 80), PASSWORD, denied("account-banned"))
        }),
    ]
}

fn nodes() -> Vec<Case> {
    let cut = |story: Story| story.fault(&[1], (90, 9_000), SQL_DOWN);
    vec![
        clean("a node that is cut off allows for its hold", cut(Story::new()).allows(1, (2_050, 2_051), 0)),
        clean(
            "a check that a stopped node was sent, and answers when it goes on",
            cut(Story::new()).allows(1, (5_000, 9_005), 0),
        ),
        clean("a node that is cut off says that it does not know", {
            let check = Asked::Check { token: Token(0) };
            cut(Story::new()).at(1, (3_000, 3_001), check, Answer::Unavailable)
        }),
        clean(
            "a node that is cut off does not know some things at once",
            cut(Story::new()).checks(1, 500, Answer::Allowed),
        ),
        clean("a node needs a moment after a fault", {
            let check = Asked::Check { token: Token(0) };
            cut(Story::new()).at(1, (10_000, 10_001), check, Answer::Unavailable)
        }),
        clean(
            "another node has not applied yet what one says",
            Story::new().and((100, 900), LOG_OUT, COMPLETE).denies(0, (200, 201), 0).allows(1, (300, 301), 0),
        ),
        clean(
            "a receipt that waits for a hold",
            Story::new().fault(&[1], (90, 9_000), SQL_DOWN).and((100, 2_900), LOG_OUT, took(2_790.0)),
        ),
        clean(
            "a receipt that waits for a hold, where nine of ten others are quick and it is not slower than the others allow",
            {
                let plain = |story: Story, at| story.and((at, at + 50), END_TOKEN, took(300.0));
                let story = (30..130).step_by(10).fold(Story::new(), plain).fault(&[1], (190, 9_000), SQL_DOWN);
                story.at(0, (200, 3_500), LOG_OUT, took(3_200.0))
            },
        ),
        clean(
            "a receipt that waits for a hold, where others that wait for nobody are not quick either",
            Story::new().and((30, 80), END_TOKEN, took(400.0)).fault(&[1], (90, 9_000), SQL_DOWN).at(
                0,
                (100, 3_500),
                LOG_OUT,
                took(3_100.0),
            ),
        ),
        clean(
            "two receipts that wait, of few: chance",
            Story::new().and((100, 2_900), LOG_OUT, took(2_790.0)).and((3_000, 5_800), LOG_OUT, took(2_790.0)),
        ),
        clean(
            "a receipt that waits for a store, and then for a hold",
            Story::new().fault(&[], (90, 9_000), SQL_DOWN).and((100, 11_900), LOG_OUT, took(11_790.0)),
        ),
        clean(
            "a caller gives up before the bound",
            Story::new().fault(&[1], (90, 9_000), Permits { slow_receipts: true, ..Permits::default() }).and(
                (100, 1_100),
                LOG_OUT,
                Answer::Lost,
            ),
        ),
        clean(
            "a dead node does not answer",
            Story::new().fault(&[1], (90, 9_000), KILLED).at(1, (100, 20_000), LOG_OUT, Answer::Lost),
        ),
        clean(
            "whoever may go on beyond the lease has the longer hold",
            cut(Story::new()).with(|cluster| cluster.serve_for = Duration::from_secs(3)).allows(1, (5_050, 5_051), 0),
        ),
        clean(
            "one process needs no lease",
            Story::new().with(|cluster| cluster.is_embedded = true).fault(&[], (90, 9_000), SQL_DOWN).allows(
                0,
                (6_000, 6_001),
                0,
            ),
        ),
    ]
}

fn refreshes() -> Vec<Case> {
    let twice = || Story::new().and((100, 110), refresh(0), issued(0, 1, 1));
    vec![
        clean(
            "two refreshes at once give one successor",
            twice().and((100, 111), refresh(0), issued(0, 2, 1)).allows(0, (120, 121), 1).allows(0, (120, 121), 2),
        ),
        clean(
            "a straggler gets the newest ticket",
            twice().and((200, 210), refresh(1), issued(0, 2, 2)).and((300, 310), refresh(0), issued(0, 3, 2)),
        ),
        clean(
            "the answer with the successor was lost, and that one is replaced too",
            twice().fault(&[], (150, 160), KILLED).and((150, 160), refresh(1), Answer::Lost).and(
                (300, 310),
                refresh(0),
                issued(0, 3, 2),
            ),
        ),
        clean(
            "a ticket that is used long after it was replaced ends its family",
            twice().and((5_000, 5_010), refresh(0), denied("session-ended")).denies(1, (5_020, 5_021), 1).and(
                (5_030, 5_040),
                refresh(1),
                denied("session-ended"),
            ),
        ),
        clean(
            "a refresh that was not answered and is tried again after the grace ends the family too",
            Story::new()
                .fault(&[], (90, 200), KILLED)
                .and((100, 200), refresh(0), Answer::Lost)
                .and((4_000, 4_010), refresh(0), denied("session-ended"))
                .denies(1, (4_020, 4_021), 0),
        ),
        clean(
            "a reuse without an answer may have ended the family",
            twice().fault(&[], (4_990, 5_000), KILLED).and((4_995, 5_000), refresh(0), Answer::Lost).denies(
                1,
                (5_020, 5_021),
                1,
            ),
        ),
        clean(
            "of a straggler whose successor was replaced too only the first grace is counted",
            twice()
                .and((900, 910), refresh(1), issued(0, 2, 2))
                .and((1_200, 1_210), refresh(0), denied("session-ended"))
                .denies(0, (1_220, 1_221), 0),
        ),
        clean(
            "a refresh that overlaps the logout",
            Story::new().and((100, 120), LOG_OUT, COMPLETE).and((110, 130), refresh(0), issued(0, 1, 1)).denies(
                0,
                (140, 141),
                1,
            ),
        ),
        clean(
            "a refresh that hears of a logout before its receipt",
            Story::new()
                .and((100, 900), LOG_OUT, COMPLETE)
                .and((200, 210), refresh(0), denied("session-ended"))
                .allows(1, (300, 301), 0),
        ),
    ]
}

fn losses() -> Vec<Case> {
    vec![
        clean(
            "a restore from before the logout, stated: the logout is gone",
            Story::new()
                .and((200, 210), LOG_OUT, COMPLETE)
                .denies(1, (300, 301), 0)
                .fault(&[], (1_000, 2_000), restored(150))
                .allows(1, (8_000, 8_001), 0),
        ),
        clean(
            "a restore from before the login, stated: the session is gone",
            Story::new().fault(&[], (1_000, 2_000), restored(5)).denies(1, (8_000, 8_001), 0).and(
                (8_000, 8_010),
                refresh(0),
                denied("session-ended"),
            ),
        ),
        clean(
            "a session that a restore has lost is refreshed no more, and nobody has taken its access token back",
            Story::new()
                .fault(&[], (1_000, 2_000), restored(5))
                .and((8_000, 8_010), refresh(0), denied("session-ended"))
                .allows(1, (12_000, 12_001), 0),
        ),
        clean(
            "a restore may take a refresh back",
            Story::new().and((100, 110), refresh(0), issued(0, 1, 1)).fault(&[], (1_000, 2_000), restored(50)).and(
                (8_000, 8_010),
                refresh(0),
                issued(0, 2, 1),
            ),
        ),
        clean("a new ledger ends everything", {
            Story::new().fault(&[], (1_000, 2_000), begun_anew(900)).denies(1, (8_000, 8_001), 0).and(
                (8_000, 8_010),
                refresh(0),
                denied("session-ended"),
            )
        }),
        clean("an act of somebody whose ledger is no more", {
            Story::new().fault(&[], (1_000, 2_000), begun_anew(900)).and(
                (8_000, 8_010),
                LOG_OUT,
                denied("token-invalid"),
            )
        }),
        clean("a new ledger is not in force yet, or has issued it itself", {
            let story = Story::new().fault(&[], (1_000, 2_000), begun_anew(5)).allows(1, (1_005, 1_006), 0);
            story.log_in((1_990, 1_995), 1).log_in((2_030, 2_040), 2).allows(1, (2_050, 2_051), 1).allows(
                1,
                (2_050, 2_051),
                2,
            )
        }),
        clean("a node that another fault has started too early holds a lease of the old ledger", {
            let story = Story::new().fault(&[], (1_000, 2_000), begun_anew(5)).fault(&[1], (1_500, 1_900), KILLED);
            story.allows(1, (3_900, 3_901), 0)
        }),
        clean("a token that outlives the step of the clock, and one that does not", {
            let story = Story::new().with(for_three_hours).fault(&[], (1_000, 2_000), CLOCK).named("sql-clock-ahead");
            story.allows(1, (1_500, 1_501), 0).allows(1, (8_000, 8_001), 0).expires(1, (7_200_100, 7_200_101), 0)
        }),
        clean("ledger time stands still after a step, and so do tokens", {
            let story =
                Story::new().fault(&[], (1_000, 2_000), CLOCK).named("sql-clock-ahead").log_in((1_500, 1_510), 1);
            story.allows(1, (3_600_000, 3_600_001), 1)
        }),
        clean("a node that has not heard of the time yet knows no token of the future", {
            let keep = Asked::EndAll { user: ADA, keep: Some(SECOND) };
            let story =
                Story::new().fault(&[], (1_000, 2_000), CLOCK).named("sql-clock-ahead").log_in((1_500, 1_510), 1);
            let story = story.at(1, (1_600, 1_610), keep, denied("token-invalid"));
            story.at(1, (1_620, 1_630), LOG_OUT, denied("token-invalid"))
        }),
        clean("the clock of the ledger was moved: tokens expire", {
            let check = Asked::Check { token: Token(1) };
            Story::new()
                .fault(&[], (1_000, 2_000), CLOCK)
                .named("sql-clock-ahead")
                .expires(1, (8_000, 8_001), 0)
                .log_in((1_500, 1_510), 1)
                .at(1, (8_000, 8_001), check, denied("token-invalid"))
        }),
        clean("a restore may take back the end of a ban, and a password", {
            let story = Story::new().and((50, 60), BAN, COMPLETE).fault(&[], (1_000, 2_000), restored(65));
            let story = story.and((70, 80), UNBAN, Answer::Allowed).log_in((90, 95), 1);
            let other = Asked::Password { user: ADA, keep: SECOND };
            let story = story.and((100, 110), other, kept(1, 2)).and((8_000, 8_010), LOG_IN, denied("account-banned"));
            story.and((8_020, 8_030), UNBAN, Answer::Allowed).and((8_040, 8_050), LOG_IN, denied("credentials-invalid"))
        }),
        clean("a session of before a restore may be refused whatever it asks for, and another of its user lives", {
            let story = Story::new().fault(&[], (1_000, 2_000), restored(5)).log_in((8_000, 8_010), 1);
            let story = story.and((8_100, 8_110), KEEP_FIRST, denied("session-ended"));
            story.and((8_120, 8_130), LOG_OUT, denied("not-found")).allows(1, (8_200, 8_201), 1)
        }),
        clean(
            "what was acknowledged binds after everything was started again",
            Story::new().and((100, 110), LOG_OUT, RECORDED).restarted(500).denies(1, (600, 601), 0),
        ),
    ]
}

fn logins() -> Vec<Case> {
    let banned = || Story::new().and((100, 110), BAN, COMPLETE);
    vec![
        clean("a ban refuses logins", banned().and((200, 210), LOG_IN, denied("account-banned"))),
        clean("a login that overlaps a ban", banned().log_in((105, 120), 1).denies(1, (130, 131), 1)),
        clean(
            "a lifted ban",
            banned().and((200, 210), UNBAN, Answer::Allowed).log_in((220, 230), 1).allows(1, (240, 241), 1),
        ),
        clean("a ban that is being lifted", banned().and((200, 300), UNBAN, Answer::Allowed).log_in((220, 230), 1)),
        clean(
            "a ban whose end was not answered, either way",
            banned().fault(&[], (190, 200), KILLED).and((195, 200), UNBAN, Answer::Lost).log_in((300, 310), 1).and(
                (400, 410),
                LOG_IN,
                denied("account-banned"),
            ),
        ),
        clean(
            "a login with the password of before",
            Story::new().and((100, 110), PASSWORD, kept(0, 2)).and((105, 120), LOG_IN, denied("credentials-invalid")),
        ),
        clean(
            "two logins and new roles at once",
            Story::new()
                .and((100, 110), ROLES, COMPLETE)
                .and((100, 110), LOG_IN, denied("conflict"))
                .log_in((100, 110), 1),
        ),
        clean(
            "another's session is not this one's",
            Story::new()
                .log_in((30, 40), 1)
                .and((50, 60), Asked::EndSession { user: ADA, session: FIRST }, COMPLETE)
                .allows(1, (70, 71), 1),
        ),
    ]
}
