//! The signing keys that were taken back: a small exact set, which only grows.
//!
//! A stolen private key signs tokens with ever later dates, so its revocation has no end: it is in the ledger for good,
//! and in this set from before the node answers its first check. There is one set in a process. Whoever applies the
//! ledger's rows tells it, in the step in which they count as applied; a check, the verifier, the issuer and the public
//! list of keys ask it. So all four know it at the same moment, and no key that was taken back is good again because its
//! file came back, from a backup or from another node.
//!
//! A check asks it after it has read its lease, as it asks the filter: a token that was verified before, by a ring that
//! did not know yet, does not slip through.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use crate::ids::KeyId;

/// The keys that were taken back. Clones share one set.
#[derive(Debug, Clone, Default)]
pub struct RevokedKeys(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    kids: ArcSwap<Vec<KeyId>>,
    /// How many there are: no check looks into the list while there is none.
    count: AtomicUsize,
    news: Notify,
}

impl RevokedKeys {
    /// Takes keys in. When this returns, whoever asks finds them.
    pub fn insert(&self, kids: impl IntoIterator<Item = KeyId>) {
        let kids: Vec<KeyId> = kids.into_iter().filter(|kid| !self.contains(*kid)).collect();
        if kids.is_empty() {
            return;
        }
        let all = self.0.kids.rcu(|known| {
            let mut all = Vec::clone(known);
            all.extend(kids.iter().filter(|kid| !known.contains(kid)));
            all
        });
        drop(all);
        self.0.count.fetch_add(kids.len(), Ordering::AcqRel);
        self.tell();
    }

    /// Whether a key was taken back.
    #[must_use]
    pub fn contains(&self, kid: KeyId) -> bool {
        self.0.count.load(Ordering::Acquire) > 0 && self.0.kids.load().contains(&kid)
    }

    /// All of them.
    #[must_use]
    pub fn list(&self) -> Vec<KeyId> {
        Vec::clone(&self.0.kids.load())
    }

    /// Says that there is something new about keys: one was taken back, or another node has made or removed one.
    pub fn tell(&self) {
        self.0.news.notify_one();
    }

    /// Waits until there is something new about keys. One task waits for it.
    pub async fn told(&self) {
        self.0.news.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_is_in_it_for_good_and_once() {
        let (one, other) = (KeyId::of([1; 32]), KeyId::of([2; 32]));
        let keys = RevokedKeys::default();
        assert!(!keys.contains(one));
        keys.clone().insert([one]);
        keys.insert([one]);
        keys.insert([]);
        assert!(keys.contains(one) && !keys.contains(other));
        assert_eq!(keys.list(), [one]);
        keys.told().await;
    }
}
