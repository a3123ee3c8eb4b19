//! What a node does when the ledger has lost what it had applied.

use std::{collections::HashSet, sync::PoisonError};

use super::{super::ledger::Act, Node, PAUSE, jittered};
use crate::{database::DatabaseError, ids::Seq};

/// Rows that are given back in one transaction, as many as revocations share one.
const MENDED: usize = 256;

impl Node {
    /// Gives back what the ledger has lost since this node applied it: a standby that was behind has taken over, or a
    /// backup was restored. What others have given back already is found there, so it is there once.
    pub(super) async fn mend(&self) -> Result<(), DatabaseError> {
        let inner = &self.0;
        let Some(recent) = &inner.replica.recent else { return Ok(()) };
        let kept = || recent.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(first) = kept().first() else { return Ok(()) };
        let (mut found, mut after) = (HashSet::new(), Seq(first.seq.0 - 1));
        loop {
            let page = inner.ledger.page(after).await?;
            let Some(last) = page.last() else { break };
            after = last.cursor.seq;
            found.extend(page.iter().map(|batch| (batch.cursor.seq.0, batch.cursor.tag.0)));
        }
        let lost = kept().take_lost(&found, inner.ledger.clock().now());
        if lost.is_empty() {
            return Ok(());
        }
        inner.metrics.ledger_lost_rows_total.increment(lost.len() as u64);
        tracing::error!(
            rows = lost.len(),
            "THE LEDGER HAS LOST REVOCATIONS that this node had applied; they are recorded again"
        );
        for rows in lost.chunks(MENDED) {
            let acts: Vec<Act> = rows.iter().map(|row| Act::Again(*row)).collect();
            // Whatever the error is: nobody else may have them, and a node that is not live misleads nobody.
            while let Err(error) = inner.ledger.record(&acts).await {
                tracing::error!(%error, "they could not be recorded again yet; this node answers nothing before");
                tokio::time::sleep(jittered(PAUSE)).await;
            }
        }
        Ok(())
    }
}
