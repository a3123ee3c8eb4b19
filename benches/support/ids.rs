//! Ids that follow from a seed, so that millions of them need not be kept: the n-th is computed.

use kickout::{
    ids::{Generation, KeyId, LedgerId, SessionId, Subject, TokenId},
    revocation::{Presented, Target, filter::IDS_PER_CHECK},
};
use uuid::{Builder, Uuid};

/// Independent sequences of ids.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stream {
    /// Tokens that are revoked, in the ledger.
    Revoked = 1,
    /// Tokens that are revoked an entry life later, in the second generation.
    Later,
    /// Valid tokens that the rounds ask for again and again.
    Valid,
    /// Valid tokens that nobody has asked for before.
    Fresh,
    /// Valid tokens for counting false positives.
    Counted,
    /// Revoked tokens that the cost of an insert is measured with.
    Inserted,
}

/// A source of ids.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ids {
    seed: u64,
}

impl Ids {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The n-th id of a sequence: a version 4 UUID, as the service makes them.
    pub(crate) fn uuid(self, stream: Stream, n: u64) -> Uuid {
        let start = mix(self.seed ^ mix(stream as u64));
        let word = |i: u64| u128::from(mix(start.wrapping_add(n.wrapping_mul(2).wrapping_add(i).wrapping_mul(GOLDEN))));
        Builder::from_random_bytes((word(0) << 64 | word(1)).to_be_bytes()).into_uuid()
    }

    /// The n-th token id of a sequence.
    pub(crate) fn token(self, stream: Stream, n: u64) -> TokenId {
        self.uuid(stream, n).into()
    }

    /// The key of the n-th token id of a sequence.
    pub(crate) fn key(self, stream: Stream, n: u64) -> u128 {
        Target::Token(self.token(stream, n)).key().unwrap_or_default()
    }

    /// What the n-th valid token of a sequence presents: three ids that nobody revoked.
    pub(crate) fn valid(self, stream: Stream, n: u64, epoch: LedgerId) -> Presented {
        Presented {
            token: TokenId::from(self.uuid(stream, 3 * n)),
            session: SessionId::from(self.uuid(stream, 3 * n + 1)),
            subject: Subject::from(self.uuid(stream, 3 * n + 2)),
            generation: Generation(0),
            epoch,
            key: KeyId::of([0; 32]),
        }
    }

    /// What the n-th revoked token presents: its session and its subject are good.
    pub(crate) fn revoked(self, n: u64, epoch: LedgerId) -> Presented {
        Presented { token: self.token(Stream::Revoked, n), ..self.valid(Stream::Valid, n, epoch) }
    }

    /// `count` different numbers below `below`, in random order, if there are so many.
    pub(crate) fn picks(self, count: u64, below: u64) -> Vec<u64> {
        // A step that shares no factor with `below` visits each number once; the sort by a hash takes its order away.
        let count = count.min(below);
        let step = below / count.max(1);
        let mut picks: Vec<u64> = (0..count).map(|i| i * step.max(1)).collect();
        picks.sort_by_key(|&pick| mix(self.seed ^ pick));
        picks
    }
}

/// The keys that the filter and the exact sets are asked for.
pub(crate) fn keys(presented: &Presented) -> [u128; IDS_PER_CHECK] {
    [Target::Token(presented.token), Target::Session(presented.session), Target::Subject(presented.subject)]
        .map(|target| target.key().unwrap_or_default())
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finaliser of splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
const fn mix(x: u64) -> u64 {
    let mut x = x.wrapping_add(GOLDEN);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
