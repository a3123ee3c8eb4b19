//! Revocations that arrive while requests are checked: people log out at another node.
//!
//! That node is this process's, on the same ledger, so what it takes itself is not the measured node's. They come in
//! bursts, as people do when a shift ends or a page is closed by an incident.

use std::time::Duration;

use kickout::revocation::Patience;
use tokio::task::JoinSet;

use super::{super::fleet::Ticket, workload::Host};
use crate::Failure;

/// Between two bursts.
const BURST: Duration = Duration::from_millis(100);

/// How long one may wait for its receipt.
const RECEIPT: Duration = Duration::from_secs(10);

/// Sessions of one user.
const DEVICES: usize = 10;

/// Sessions to be taken back, and what is under way.
#[derive(Debug)]
pub(crate) struct Arrivals {
    spare: Vec<Ticket>,
    per_burst: usize,
    pause: Duration,
    tasks: JoinSet<Result<(), Failure>>,
}

impl Arrivals {
    /// Opens as many sessions as will be taken back.
    pub(crate) async fn prepare(host: &Host, per_second: u64, wanted: f64) -> Result<Self, Failure> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "thousands")]
        let users = wanted as usize / DEVICES + 1;
        let spare = host.mint_more(users, DEVICES).await?;
        let per_burst = usize::try_from(per_second)? / 10;
        let pause = if per_burst == 0 { Duration::from_secs(1) / u32::try_from(per_second)? } else { BURST };
        Ok(Self { spare, per_burst: per_burst.max(1), pause, tasks: JoinSet::new() })
    }

    /// Begins to take them back, for so long.
    pub(crate) fn begin(&mut self, host: &Host, window: Duration) {
        let mut at = Duration::ZERO;
        while at < window {
            let burst = self.spare.split_off(self.spare.len().saturating_sub(self.per_burst));
            let sessions = host.sessions().clone();
            self.tasks.spawn(async move {
                tokio::time::sleep(at).await;
                let mut ends = JoinSet::new();
                for ticket in burst {
                    let sessions = sessions.clone();
                    ends.spawn(async move {
                        let patience = Patience::AtMost(RECEIPT);
                        sessions.end_session(ticket.session, ticket.subject, patience).await.map(|_| ())
                    });
                }
                while let Some(ended) = ends.join_next().await {
                    ended??;
                }
                Ok(())
            });
            at += self.pause;
        }
    }

    /// Waits until all are recorded.
    pub(crate) async fn end(&mut self) -> Result<(), Failure> {
        while let Some(burst) = self.tasks.join_next().await {
            burst??;
        }
        Ok(())
    }
}
