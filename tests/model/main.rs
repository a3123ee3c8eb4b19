//! The lease protocol, explored exhaustively at small size.

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
    pub use kickout::revocation::lease;

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
