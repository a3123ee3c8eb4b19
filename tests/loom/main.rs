//! The order of publication and of reading, in all orders of the threads' steps and under all values that the memory
//! model lets a load see.
//!
//! # What runs here
//!
//! The files that ship: `published`, `term`, `answers` and `filter` of `src/revocation/` are compiled again, beside a
//! module [`shared`] that gives them loom's atomics and locks and few slots. Loom needs no `--cfg` for that, and the rest
//! of the program (which would not bear one) is the ordinary library.
//!
//! # What is modelled, and why that is sound
//!
//! - `ArcSwap`: an index that is stored with a release and loaded with an acquire. The real one is stronger.
//! - The set of revoked keys: the real one, whose steps loom does not see. It stands where the floor stands, before
//!   `applied` in an applier and after the lease in a check, and is as atomic.
//! - `quick_cache`: one map under a lock that readers share, as each of its shards is. All models ask for one id.
//! - The ledger: a number, stored and loaded relaxed. A look need not see a commit, but for what the node's own order
//!   says that it must.
//! - The clock and the messages between nodes: an atomic each. An acknowledgement is a reading of `applied`, by a thread
//!   that may be another one than the applier.
//! - The steps of a load, of a renewal and of a check are those of `sync`, `node` and `checker`, said again in [`world`]:
//!   they wait for the ledger in between, and loom knows no tokio.
//!
//! # What it does not show
//!
//! Loom lets no load see a store that comes later in its thread's order of steps (load buffering). It notes only the last
//! access to each value, see [`world::Order`]; both orders of the threads' first turns are explored, which is more, and no
//! proof. Three models are bounded, to three preemptions.
//!
//! # Each of these was broken once, by hand
//!
//! | broken | found by |
//! |---|---|
//! | `apply`: `applied` before the filter's bits | `what_was_acknowledged_is_denied`, three more |
//! | `apply`: the floor after `applied` | `a_floor_that_was_acknowledged_denies` |
//! | `apply`: `touched` after `applied` | `an_absent_does_not_outlive_a_row…` |
//! | `applied` stored, or loaded, relaxed | `what_was_acknowledged_is_denied`, four more |
//! | `extend` without asking whether the head is reached | `a_check_that_finds_the_renewed_lease_valid…` |
//! | the lease extended, or asked, relaxed | the same, `after_the_hold…` |
//! | a renewal that extends before it applies | `after_the_hold…` |
//! | a check that asks the filter before the lease | both, two more |
//! | a check with a clock that was read before its request | `after_the_hold…` |
//! | `look`: `applied` read after the look | all three `an_absent…` |
//! | `known`: `touched` not asked | two of them |
//! | `known`: the number of loads not asked, or every slot touched in its stead | the two about loads |
//! | `end_load`: the loads counted before `applied`, or after the state, or relaxed | one of those; the other; both |
//! | `as_of`: `applied` read before the number of loads | `an_absent_of_a_history_that_was_lost…` |
//! | `end_load`: the state before `applied`; or the state stored, or loaded, relaxed | `a_first_load…`, one more |
//! | a load that goes live before its filter is swapped in | the same |
//! | `finish` does not catch up, or lets go of the lock before the swap | `a_growth…` |
//! | a rebuild that begins to note arrivals after it has read the pages | `a_growth…` |
//! | `apply` goes on during a load, or `begin_load` does not wait for it | `a_load_and_an_applier…` |
//! | `merge` forgets the delta, or swaps it away first | `a_merge…`, `a_rotation…` |
//! | `rotate` forgets the generation before, or swaps in two steps | `a_rotation…` |
//! | `Lease::extend` as a load and a store | `of_two_extensions…`, `a_lease_that_was_ended…` |
//! | `Lease::end` as a load and a store | `a_lease_that_was_ended…` |
//! | `Lease::end` ends also what never ends | `a_lease_without_end…`, two more |
//! | `stop` leaves the state | `a_node_that_has_left…`, one more |
//!
//! Some things can be changed and no promise breaks, because a later release covers them or because they only save work:
//! the slots of the delta and of `touched` written relaxed; the delta's length before its slot; the state read before the
//! lease; known answers kept over a load.

use kickout::{
    clock, ids,
    revocation::{Target, feed, known},
    revoked_keys,
};

mod secret {
    //! The filter's hash key: the same in every run, so that loom meets the same steps again.

    pub const fn random() -> [u8; 32] {
        [7; 32]
    }
}

mod shared;

#[path = "../../src/revocation/answers.rs"]
mod answers;
#[path = "../../src/revocation/filter.rs"]
mod filter;
#[expect(dead_code, reason = "the models are of the filter")]
#[path = "../../src/revocation/memory.rs"]
mod memory;
#[expect(dead_code, reason = "what the models do not ask")]
#[path = "../../src/revocation/published.rs"]
mod published;
#[path = "../../src/revocation/set.rs"]
mod set;
#[expect(dead_code, reason = "how long a lease still is")]
#[path = "../../src/revocation/term.rs"]
mod term;

mod known_answers;
mod leases;
mod publication;
mod world;
