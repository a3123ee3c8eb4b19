//! How long one call takes that revokes many sessions at once.

use kickout::{
    ids::SessionId,
    revocation::{Patience, bulk::MOST, ledger::ManyKind},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    fleet::{Fleet, With},
    rounds::Spread,
};
use crate::Failure;

/// Sessions of a call that somebody holds a token of, to be refused afterwards; the others are ids alone.
const TICKETS: usize = 64;

/// What was found.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bulk {
    pub(crate) with: With,
    pub(crate) nodes: usize,
    pub(crate) ids: usize,
    /// From the call to its complete receipt.
    pub(crate) seconds: Spread,
    pub(crate) per_second: Spread,
}

/// Calls so far.
#[derive(Debug)]
pub(crate) struct Gathered {
    pub(crate) with: With,
    nodes: usize,
    ids: usize,
    seconds: Vec<f64>,
}

impl Gathered {
    /// Calls of `ids` each, as many as a call takes at most.
    pub(crate) fn new(with: With, nodes: usize, ids: usize) -> Self {
        Self { with, nodes, ids: ids.min(MOST), seconds: Vec::new() }
    }

    /// One call, whose receipt must be complete and whose tokens must be refused everywhere.
    pub(crate) async fn round(&mut self, fleet: &Fleet) -> Result<(), Failure> {
        let tickets = fleet.mint(TICKETS).await?;
        let mut ids: Vec<Uuid> = tickets.iter().map(|ticket| ticket.session.uuid()).collect();
        ids.extend((ids.len()..self.ids).map(|_| SessionId::random().uuid()));
        let revoker = fleet.sessions(0).revoker();
        let receipt = revoker.revoke_bulk(ManyKind::Session, &ids, Patience::Complete).await?;
        if !receipt.complete || receipt.counts.revoked as usize != ids.len() {
            return Err(format!("a bulk revocation has not done everything: {receipt:?}").into());
        }
        for ticket in &tickets {
            fleet.is_refused(ticket).await?;
        }
        self.seconds.push(receipt.elapsed_ms / 1e3);
        Ok(())
    }

    pub(crate) fn found(self) -> Bulk {
        #[expect(clippy::cast_precision_loss, reason = "at most a hundred thousand")]
        let per_second = self.seconds.iter().map(|seconds| self.ids as f64 / seconds).collect();
        Bulk {
            with: self.with,
            nodes: self.nodes,
            ids: self.ids,
            per_second: Spread::of(per_second),
            seconds: Spread::of(self.seconds),
        }
    }
}
