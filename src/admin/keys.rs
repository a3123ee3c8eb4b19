//! What operators do with signing keys.

use std::time::Duration;

use super::{Admin, Answer, PATIENCE, Problem, ProblemKind};
use crate::{
    clock::Timestamp,
    ids::KeyId,
    revocation::{Act, Receipt},
};

/// Between two looks at the clock while another key is not signing yet.
const PAUSE: Duration = Duration::from_millis(20);

impl Admin {
    pub(super) async fn generate(&self) -> Result<Answer, Problem> {
        Ok(Answer::Key(self.keys.generate(self.now(), self.key_lead).await?))
    }

    /// Takes a key back, with all that it has signed or will. How, and in which order, is written in
    /// [`crate::keystore`].
    pub(super) async fn retire(&self, kid: KeyId) -> Result<Answer, Problem> {
        self.keys.sync(self.now()).await?;
        let is_known = self.keys.ring().list(self.now()).iter().any(|info| info.kid == kid);
        if !is_known && !self.keys.revoked().contains(kid) {
            let message = format!("there is no key {kid}. `kickout keys list` shows all of them");
            return Err(Problem::new(ProblemKind::NotFound, message));
        }
        if let Some(next) = self.keys.relieve(kid, self.now()).await? {
            tracing::warn!(retired = %kid, kid = %next.kid, "another key takes over from the one that is retired");
            while self.now() < next.signs_from {
                tokio::time::sleep(PAUSE).await;
            }
        }
        let receipt = self.take_back(kid).await?;
        Ok(Answer::Receipt(receipt))
    }

    async fn take_back(&self, kid: KeyId) -> Result<Receipt, Problem> {
        let pending = self.sessions.revoker().begin(Act::Key(kid)).await?;
        // It is in the ledger: nobody accepts the key again, whatever becomes of its file.
        self.keys.revoked().insert([kid]);
        if let Err(error) = self.keys.sync(self.now()).await {
            tracing::error!(%error, %kid, "the private key could not be removed yet; it is tried again");
        }
        Ok(pending.receipt(PATIENCE).await?.receipt)
    }

    fn now(&self) -> Timestamp {
        self.sessions.clock().now()
    }
}
