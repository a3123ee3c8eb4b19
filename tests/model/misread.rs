//! Each misreading of the protocol breaks a promise, and the model finds how: by a test of this name.
//!
//! | rule | read as | test |
//! |---|---|---|
//! | R2 the number is drawn last, under a lock † | from a sequence | `numbers_are_drawn_from_a_sequence` |
//! | R3 `c+` is read after the commit † | before | `the_clock_is_read_before_the_commit` |
//! | R3 the nodes are read afresh † | before the commit; some time ago | `the_nodes_are_read_before_the_commit`, `the_nodes_are_those_of_a_while_ago` |
//! | R3 `already` waits too † | it is answered at once | `what_was_revoked_already_is_answered_at_once` |
//! | R3 a quarter and a margin | none; a fifth | `no_clock_goes_slow`, `a_fifth_is_enough` |
//! | R3 (c) is there at all | whoever says nothing is waited for | `a_node_that_says_nothing_is_waited_for` (P2) |
//! | R3 each row's own hold | the writer's | `a_writer_waits_for_its_own_hold` |
//! | R3 (a), (b) on a settled server only | always | `a_new_server_answers_early` |
//! | R3 the longest hold | what a restored head says | `a_head_knows_the_longest_hold` |
//! | R3 asked later: nodes read after the commit | before | `progress_is_told_of_nodes_as_they_were` |
//! | R3 asked later: head and nodes read when asked | at the last renewal | `progress_is_told_from_memory` |
//! | R3 an acknowledgement names a tag, and the writer's history has it | a number | `an_acknowledgement_is_a_number` |
//! | R3 what was heard is forgotten when the history ends | it is judged by it until the next load | `what_was_heard_outlives_a_load` |
//! | R4 the row says what this server's history has | what the node has applied | `a_row_says_what_was_not_applied` |
//! | R4 the lease counts from `t0` | from the answer | `the_lease_counts_from_the_answer`, `and_is_longer_than_the_hold` (P4) |
//! | R4 published when applied = head † | behind it | `the_lease_is_published_behind_the_head` |
//! | R4 acknowledged last | before it is applied | `a_row_is_acknowledged_before_it_is_applied` |
//! | R4 a hole stops the node | it is jumped over | `a_row_is_applied_over_a_hole` |
//! | R4 an unknown row stops it | it is skipped | `an_unknown_kind_of_row_is_skipped` |
//! | R4 tags tell a history that went back | numbers do | `a_history_that_went_back_is_not_noticed` |
//! | R5 the first lease is a renewal's † | the registration's | `a_registration_gives_a_lease` |
//! | R5 the hold is raised in the row first | it is used first | `the_hold_is_raised_before_the_row` |
//! | R5 a fresh id | the one before | `an_id_is_used_again` |
//! | R6 a check asks the lease (P4) | once it was given it stays | `no_node_fences_itself`, `and_goes_on_beyond_its_hold` (P4) |
//! | R6 the clock is read in the check † | by a task | `a_task_reads_the_clock` |
//! | R6 the filter never before the lease † | before | `the_filter_is_asked_before_the_lease` |
//! | R7 a miss means nothing | "not revoked" | `a_miss_is_trusted` |
//! | R7 "absent" counts while `touched` ≤ `applied` | for good | `a_false_positive_is_remembered_for_good` |
//! | R7 `applied` is read before the look | after | `what_is_applied_is_read_after_the_look` |
//! | R7 the server that answers has the node's history | as many transactions | `any_server_with_as_many_answers` |
//! | R7 which that is, is read after `applied` | before | `what_a_server_must_have_is_read_too_early` |
//! | R7 a load ends what was known | it goes on | `what_was_known_counts_after_a_load` |
//! | R8 `AND beat = b` | any beat | `a_node_is_expelled_at_any_beat` |
//! | R8 seen for W(hold) † | for its hold | `a_node_is_expelled_too_early` |
//! | R8 the own row goes last | first | `a_row_goes_before_the_lease` |
//! | R8 the lock proves the predecessor dead | its note does | `a_copied_note_buries_the_living` |
//! | failover: the server is named | it looks the same | `a_restored_server_is_taken_for_the_same` |
//! | failover: it settles after W | at once | `a_new_server_settles_at_once` |

use crate::{
    check,
    config::{Begin, Config, HOLD, Request, Who},
    exact::{self, Exact, Wrong},
    right,
    rules::Misreading,
};

fn breaks(promise: &str, wrong: Misreading, config: Config) {
    check::breaks(promise, Config { wrong: Some(wrong), ..config });
}

macro_rules! misreadings {
    ($($name:ident: $promise:literal $wrong:ident $config:expr;)*) => { $(
        #[test]
        fn $name() {
            breaks($promise, Misreading::$wrong, $config);
        }
    )* };
}

misreadings! {
    the_clock_is_read_before_the_commit: "P1" ClockBeforeCommit right::pauses();
    the_nodes_are_read_before_the_commit: "P1" NodesBeforeCommit cold(right::pauses());
    the_nodes_are_those_of_a_while_ago: "P1" NodesCached cached();
    what_was_revoked_already_is_answered_at_once: "P1" AlreadyAtOnce right::crash();
    no_clock_goes_slow: "P1" NoDrift right::pauses();
    a_fifth_is_enough: "P1" TooLittleDrift right::pauses();
    a_writer_waits_for_its_own_hold: "P1" OwnHold longer(right::pauses());
    a_head_knows_the_longest_hold: "P1" ForgottenHold right::failover();
    a_new_server_answers_early: "P1" EarlyAnswers right::failover();
    an_acknowledgement_is_a_number: "P1" AcksByNumber right::late_news();
    what_was_heard_outlives_a_load: "P1" WordsOutliveLoads right::stale_judge();
    a_row_says_what_was_not_applied: "P1" RowUnjudged right::slow_late_news();
    progress_is_told_from_memory: "P1" ProgressByMemory right::progress();
    progress_is_told_of_nodes_as_they_were: "P1" ProgressOfBefore progress();
    a_node_that_says_nothing_is_waited_for: "P2" WaitForAll right::pauses();
    numbers_are_drawn_from_a_sequence: "P1" SerialNumbers right::two_requests();
    the_lease_counts_from_the_answer: "P1" LeaseFromReply right::pauses();
    and_is_longer_than_the_hold: "P4" LeaseFromReply right::pauses();
    the_lease_is_published_behind_the_head: "P1" PublishBehindHead right::pauses();
    a_row_is_acknowledged_before_it_is_applied: "P1" AcknowledgeFirst right::pauses();
    a_row_is_applied_over_a_hole: "P1" JumpOverHole right::two_requests();
    an_unknown_kind_of_row_is_skipped: "P1" SkipUnknown right::pauses();
    a_history_that_went_back_is_not_noticed: "P1" NoTags right::lost();
    a_registration_gives_a_lease: "P1" LeaseByRegistration cold(right::pauses());
    the_hold_is_raised_before_the_row: "P1" HoldRaisedFirst longer(right::pauses());
    an_id_is_used_again: "P1" IdReused reused();
    no_node_fences_itself: "P1" NoFencing right::pauses();
    and_goes_on_beyond_its_hold: "P4" NoFencing right::pauses();
    a_task_reads_the_clock: "P1" CoarseClock right::pauses();
    the_filter_is_asked_before_the_lease: "P1" FilterBeforeLease right::slow_checks();
    a_node_is_expelled_at_any_beat: "P1" ExpelAnyBeat right::three();
    a_node_is_expelled_too_early: "P1" ExpelTooEarly right::three();
    a_row_goes_before_the_lease: "P1" LeaveFirst right::stop();
    a_copied_note_buries_the_living: "P1" BuryTheLiving right::pauses();
    a_restored_server_is_taken_for_the_same: "P1" SameServer right::failover();
    a_new_server_settles_at_once: "P1" SettleAtOnce right::settled();
}

macro_rules! misread_looks {
    ($($name:ident: $wrong:ident $model:expr;)*) => { $(
        #[test]
        fn $name() {
            check::breaks("P1", Exact { wrong: Some(Wrong::$wrong), ..$model });
        }
    )* };
}

misread_looks! {
    a_miss_is_trusted: MissTrusted exact::redis();
    a_false_positive_is_remembered_for_good: RememberedForGood exact::lost();
    what_is_applied_is_read_after_the_look: AsOfAfterLook exact::lost();
    what_was_known_counts_after_a_load: KnownOverLoads exact::lost();
    any_server_with_as_many_answers: ByNumber exact::replaced();
    what_a_server_must_have_is_read_too_early: AskedOfBefore exact::replaced();
}

/// Another node begins anew.
fn cold(mut config: Config) -> Config {
    config.nodes[1].begin = Begin::Cold;
    config
}

/// The other node holds for twice as long.
fn longer(mut config: Config) -> Config {
    config.nodes[1].hold = 2 * HOLD;
    config
}

/// The writer looks at the nodes at its renewals.
fn cached() -> Config {
    let mut config = cold(right::pauses());
    config.nodes[0] = Who { renews: true, looks: true, ..config.nodes[0] };
    config.nodes[1].fine = false;
    config
}

/// Somebody asks how far it has come.
fn progress() -> Config {
    Config { progress: Some(0), ..cold(Config::of(2)) }
}

/// A node is restarted under the eyes of another.
fn reused() -> Config {
    let mut config = Config { crashes: 1, incarnations: 2, ..right::three() };
    config.requests = vec![Request { token: 0, node: 0 }];
    config
}
