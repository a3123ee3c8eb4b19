//! The lease protocol of [`kickout::revocation`], explored state by state: nodes, writers, a ledger and a standby, time by
//! clocks of different rates, and whatever may be lost, late or dead in between.
//!
//! It says that in every state that can be reached
//!
//! - **P1** no node allows a token in a check that began after the receipt of its revocation, also one that says `already`
//!   or that was asked for later (`GET /v1/revocations/{seq}`);
//! - **P2** a receipt can be given when the writer's clock has gone on for the longest wait;
//! - **P4** no node allows anything when its hold is over by its own clock, counted from before it asked for its renewal;
//!
//! and that the model is not empty: each kind of receipt, an expulsion of the living, a second id, a crash between commit
//! and answer, a lost row, a server that settles are all seen. Then it does the same with one rule read wrongly, and
//! must find how a promise breaks: see `misread`.
//!
//! # What runs here
//!
//! The steps are those that ship, with their departures from the written protocol: a node loads before it registers;
//! what is acknowledged is a message that names number and tag, and counts by the writer's own history; a row says what the
//! server that answers has of the node's history; a server that was started again is another server; a writer keeps to the rows that
//! its first reading found; after a lost answer a node reads its beat. Where the code is pure it is the shipped code
//! itself: `lease::wait`, `Batch::link`, `term.rs` and `node/others.rs`. A shorter wait there fails these tests.
//!
//! # What is abstracted, and why that is sound
//!
//! | in the model | why nothing is missed |
//! |---|---|
//! | time comes in ticks of 11.1 s, at a hold of 10 s | the two comparisons that matter come as close as they can: a slow clock has a hair left after one tick, a fast one has a little to wait. Finer ticks are run too, and [`config`] compares all holds |
//! | a clock is a tenth too slow at nodes that may allow, a tenth too fast at who waits or expels, all the time | each comparison is of one stretch of one clock, and longer for a node or shorter for a waiter is only worse |
//! | ages and not times; an age beyond the longest wait is one age | everything that is asked of an age is decided by then |
//! | beats: which are the same, and which follow | nothing else is asked of them |
//! | a check is one step | for a node whose checks are taken apart there is a model of its own. A check that began before the receipt is not promised anything |
//! | a renewal is one step, but for nodes that are `fine` | an answer that comes later gives the same lease, later: until then the node is as one that has not asked. `t0` read long before is a shorter lease |
//! | a load is one step, at its last page | it answers nothing before, and nothing is applied meanwhile; `tests/loom` has the threads |
//! | a writer reads the nodes when it hears of its commit, and again when it answers | a later first reading has the same rows or more to wait for; one that fails waits for the longest hold, which is a step too |
//! | an acknowledgement that was said can be heard from then on, or never, and is judged when it is asked for | what comes late or not at all only delays a receipt. A history only grows until its load, and what was heard ends before that |
//! | a push may be heard by any node at any time, or never, again and again; a pull is a push | it brings the same rows in the same way |
//! | a lost answer of a commit is read on another connection | the writer goes on as if it had heard it then; it may also crash |
//! | revocations are of tokens, one to a transaction | what a row names is no matter of the protocol; the filter's and the floors' tests have that |
//! | Redis is in `exact` alone | elsewhere it carries pushes and acknowledgements, which are lost or late there anyway |
//! | a writer without a row follows the ledger by what it commits and hears, and loads again at any time when it is on another history | it is a node whose renewals hang |
//! | in `exact` a history is its tokens, and not its tags | two that differ by tags alone are taken for one: more servers may answer |
//! | the standby is a copy from any one moment, or from the beginning | what it lacks is all that came after |
//! | a receipt whose row the ledger has lost is void | that is not promised without synchronous replication; it is counted and alarmed |
//! | two states with the same 64 bits of hash are taken for one | one in 10^7 for the largest model here |
//!
//! # What it does not show
//!
//! - Nodes that check in another way (`kin`), kinds of rows that are not known (but for the misreading), lifetimes, floors.
//! - Holds that differ between nodes, where a failover also loses that a longer one was registered, and the writer has not
//!   renewed since.
//! - More than one failover; a server that two nodes write to at once (it has to be fenced).
//! - A server that was replaced and still takes renewals, or still answers who asks while its lease is over (`on_stale = ask`),
//!   or tells a writer of rows: it has to be fenced. That it answers exact looks, and that what it has committed is heard of
//!   late, is in the models.
//! - Anything in which a virtual machine's clock stands still.
//!
//! One rule is not needed for P1 as far as the model can see: that nobody is expelled on a server that has not settled.
//! Until then a writer waits for the longest hold, whoever is gone.
//!
//! # How large it is
//!
//! | model | states | | by hand | states |
//! |---|---|---|---|---|
//! | `a_node_pauses_between_any_steps` | 5 472 | | `a_node_pauses` | 312 750 |
//! | `a_node_pauses_by_finer_time` | 30 662 | | `a_node_pauses_by_the_second` | 231 866 |
//! | `three_nodes_and_one_that_expels` | 5 468 | | `three_nodes` | 16 944 |
//! | `two_requests_at_two_nodes` | 108 708 | | `three_nodes_and_the_writer` | 218 521 |
//! | `a_writer_crashes_and_is_asked_again` | 91 507 | | `two_requests_and_one_that_expels` | 494 822 |
//! | `a_node_leaves` | 322 | | `a_writer_crashes` | 1 196 055 |
//! | `a_check_pauses_between_any_steps` | 32 189 | | `a_standby_takes_over` | 3 103 249 |
//! | `the_server_is_started_again` | 1 381 | | `…_without_what_was_revoked` | 1 036 073 |
//! | `a_standby_takes_over` | 15 354 | | `a_server_settles` | 691 991 |
//! | `…_without_what_was_revoked` | 109 496 | | `a_server_that_has_not_settled_expels` | 22 221 |
//! | `a_server_settles` | 16 726 | | `an_exact_look` | 1 170 227 |
//! | `redis_loses_what_it_likes` | 30 545 | | `two_exact_looks` | 6 617 183 |
//! | `known_answers_end_with_a_history` | 75 561 | | `…_and_a_server_that_was_replaced` | 6 923 308 |
//! | `a_server_that_was_replaced_answers` | 82 262 | | `news_of_a_lost_history_arrive_late` | 491 235 |
//! | `news_of_a_lost_history_arrive_late` | 159 591 | | | |
//! | `news_of_a_lost_history_are_judged` | 77 335 | | | |
//! | `somebody_asks_how_far_it_has_come` | 150 799 | | | |
//!
//! All of the left column and all misreadings take 54 s of one core. The right one is run by
//! `cargo test --test model -- --ignored --nocapture --test-threads 1`, and takes some minutes.

use kickout::{clock, ids};

mod check;
mod config;
mod exact;
mod node;
mod rules;
mod steps;
mod tidy;
mod world;
mod writer;

mod misread;
mod right;

#[path = "../../src/revocation"]
mod revocation {
    pub use kickout::revocation::{feed, lease};

    pub mod node {
        mod others;

        #[path = "../../../tests/model/look.rs"]
        pub mod look;
    }
}

#[expect(dead_code, reason = "what the models do not ask")]
#[path = "../../src/revocation/term.rs"]
mod term;

mod shared {
    pub use std::sync::atomic::{AtomicU64, Ordering};
}
