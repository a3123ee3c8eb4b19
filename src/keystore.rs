//! Signing keys and the server's secret: files of the data folder, and where nodes share a ledger a mirror of the vault.
//!
//! # When a shared key signs
//!
//! A key is in the vault before it is in any ring, so each node can have it before any signs with it. A node takes it up
//! when it is told, which the vault does with its commit, and looks every [`SYNC`] if nobody tells it. It signs after
//! `tokens.key_lead`, and not before [`least_lead`]: longer than any node may go on without the database, and two looks.
//! A node that has not read the vault for that long has not renewed its lease either. Its hold is over, and it answers 503
//! to every check; it does not call a good token bad. (A node that renews and cannot read the vault says so in its log at
//! each look: its `tokens.key_encryption_key` is not that of the others.)
//!
//! # Rotation
//!
//! Each node looks whether a key is due. It makes one and adds it to the vault if the vault holds just the keys that it
//! has looked at; of several that do so at the same moment one succeeds, and the others find what it has added.
//!
//! # A key that is taken back
//!
//! 1. If it signs, another is made first, published, and signs after [`SHORT_LEAD`]: nodes are told of it at once. So
//!    when the revocation reaches a node it has a key that is good everywhere, and nobody is refused for long.
//! 2. The revocation is recorded: a row of the ledger with the key's id, for good. It is in force on a node before that
//!    node acknowledges it, in [`RevokedKeys`]; the receipt waits for all. This is what keeps the promise, and nothing
//!    else here: vault and files may lag.
//! 3. The private key is removed from the vault and from each node's folder. Whoever brings it back, from a backup or from
//!    another node's folder, finds it removed again: the ledger knows it, and each look compares.
//!
//! Adding a key needs no row of the ledger. A key that a node does not know yet refuses good tokens and accepts no bad
//! ones, so nothing has to be acknowledged; the lead is enough.
//!
//! A backup of the database from before the revocation does not know it. `kickout restored` says so: a key that was retired
//! since has to be retired again.
//!
//! In step 1 a node that hears nothing from the database refuses what the new key signs until its next look, [`SYNC`] at
//! most. A longer lead would spare that node, and leave the stolen key good for as long everywhere.

use std::{path::Path, sync::Arc, time::Duration};

use zeroize::Zeroizing;

use crate::{
    clock::Timestamp,
    ids::KeyId,
    revoked_keys::RevokedKeys,
    secret::{SecretFileError, SecretFiles, ServerSecret},
    tokens::{
        KeyRing,
        keys::{KeyError, KeyFileBytes, KeyInfo, KeySettings, KeyState, MAX_KEYS},
    },
    vault::{Among, Entry, Vault, VaultError},
};

/// The name of the server's secret, in the data folder and in the vault; a data folder that was ever used has one.
pub const SECRET_FILE: &str = "server.secret";

/// What key files are called in the vault.
const KEYS: &str = "keys/";

/// How often a node looks for keys that others have made or removed, when nobody tells it that there are any.
pub const SYNC: Duration = Duration::from_secs(5);

/// The least time between a shared key's publication and its first signature: twelve looks, so that a node that misses
/// some still knows it before it meets a token of it.
const LEAST_LEAD: Duration = Duration::from_mins(1);

/// How long a key that takes over from a revoked one is published before it signs, where nodes share it. They are told
/// within milliseconds; the stolen key is good meanwhile.
pub const SHORT_LEAD: Duration = Duration::from_secs(2);

/// The least lead where a node may go on for `hold` without the database.
#[must_use]
pub fn least_lead(hold: Duration) -> Duration {
    LEAST_LEAD.max(hold + 2 * SYNC)
}

/// Why keys could not be made, found or removed.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The files.
    #[error(transparent)]
    Files(#[from] KeyError),
    /// The file of the server's secret.
    #[error(transparent)]
    Secret(#[from] SecretFileError),
    /// What nodes share.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// The signing keys, and where they come from.
#[derive(Debug, Clone)]
pub struct Keys {
    ring: Arc<KeyRing>,
    vault: Option<Arc<Vault>>,
    least_lead: Duration,
    /// One change at a time: a look between a new key's file and its entry would take the file for a stranger.
    changing: Arc<tokio::sync::Mutex<()>>,
}

impl Keys {
    /// Opens the ring of a folder; with a vault, the folder becomes its mirror, and no key signs before the least lead. A
    /// vault without keys takes the folder's, so a service that becomes the first node of a cluster goes on with its own.
    ///
    /// # Errors
    /// [`KeysError`].
    pub async fn open(
        settings: KeySettings,
        vault: Option<Arc<Vault>>,
        least_lead: Duration,
        now: Timestamp,
    ) -> Result<Self, KeysError> {
        let ring = Arc::new(KeyRing::open(settings, now)?);
        let keys = Self { ring, vault, least_lead, changing: Arc::default() };
        if let Some(vault) = &keys.vault {
            let mut files = keys.ring.files()?;
            if files.is_empty() {
                // A node that was alone signed with a secret (HS256), which no other may have. As the folder becomes a
                // mirror the secret goes: what it has signed is refused from then on, and clients refresh.
                files.push(keys.draw(now, Duration::ZERO).await?);
            }
            let files: Vec<Entry> = files.into_iter().map(|(name, bytes)| (format!("{KEYS}{name}"), bytes)).collect();
            vault.list_or_fill(KEYS, &files).await?;
            keys.mirror(now).await?;
        }
        Ok(keys)
    }

    /// The ring.
    #[must_use]
    pub const fn ring(&self) -> &Arc<KeyRing> {
        &self.ring
    }

    /// The keys that were taken back.
    #[must_use]
    pub fn revoked(&self) -> &RevokedKeys {
        self.ring.revoked()
    }

    /// Takes up keys that other nodes have made, drops those that they have removed, and removes those that were taken
    /// back, wherever they are.
    ///
    /// # Errors
    /// [`KeysError`]; the ring is as before then.
    pub async fn sync(&self, now: Timestamp) -> Result<(), KeysError> {
        let _one = self.changing.lock().await;
        self.mirror(now).await.map(|_| ())
    }

    /// As [`sync`](Self::sync). Returns the names of what is in the vault.
    async fn mirror(&self, now: Timestamp) -> Result<Vec<String>, KeysError> {
        let Some(vault) = &self.vault else {
            say_removed(&self.ring.remove_revoked(now)?);
            return Ok(Vec::new());
        };
        let mut entries = vault.list(KEYS).await?;
        let revoked: Vec<String> = entries
            .iter()
            .map(|(name, _)| name.clone())
            .filter(|name| kid_of(name).is_some_and(|kid| self.revoked().contains(kid)))
            .collect();
        if !revoked.is_empty() {
            if revoked.len() == entries.len() {
                // Never none: somebody has revoked the last one by hand.
                let (name, bytes) = self.draw(now, Duration::ZERO).await?;
                let name = format!("{KEYS}{name}");
                vault.put(&name, &bytes, KEYS, usize::MAX).await?;
                entries.push((name, bytes));
            }
            for name in &revoked {
                vault.remove(name).await?;
            }
            say_removed(&revoked.iter().filter_map(|name| kid_of(name)).collect::<Vec<_>>());
            entries.retain(|(name, _)| !revoked.contains(name));
        }
        let names = entries.iter().map(|(name, _)| name.clone()).collect();
        self.ring.mirror(&named(entries), now)?;
        Ok(names)
    }

    /// Makes a key that signs after `lead`, or after the least lead if every node has to hear of it first and `lead` is
    /// shorter.
    ///
    /// # Errors
    /// [`KeysError`].
    pub async fn generate(&self, now: Timestamp, lead: Duration) -> Result<KeyInfo, KeysError> {
        let _one = self.changing.lock().await;
        self.mirror(now).await?;
        self.make_room(now).await?;
        let made = self.make(now, self.lead(lead), None).await?;
        Ok(made.ok_or(KeyError::Generate)?)
    }

    /// Makes a key if one is due: because keys sign for `every` so long, if that is not zero, or because the newest is for
    /// another algorithm than is configured, if `has_begun` says that the configuration may have changed. Returns it, if it
    /// is this node that has made it.
    ///
    /// Another algorithm is a matter of the start alone: while nodes are started again one after the other with another
    /// configuration, those that still have the old one must not answer each new key with one of theirs.
    ///
    /// # Errors
    /// [`KeysError`].
    pub async fn rotate(
        &self,
        now: Timestamp,
        lead: Duration,
        every: Duration,
        has_begun: bool,
    ) -> Result<Option<KeyInfo>, KeysError> {
        let _one = self.changing.lock().await;
        let lead = self.lead(lead);
        let is_due = |ring: &KeyRing| {
            let is_other = ring.newest(now).is_some_and(|newest| newest.algorithm != ring.algorithm());
            (has_begun && is_other) || (!every.is_zero() && ring.is_due(now, lead, every))
        };
        if !is_due(&self.ring) {
            return Ok(None);
        }
        // Perhaps another node has done it already.
        let mut names = self.mirror(now).await?;
        if self.make_room(now).await? {
            names = self.mirror(now).await?;
        }
        if !is_due(&self.ring) {
            return Ok(None);
        }
        let made = self.make(now, lead, Some(&names)).await?;
        match &made {
            Some(key) => tracing::info!(
                kid = %key.kid, algorithm = %key.algorithm, signs_from = %key.signs_from,
                "a new signing key is published"
            ),
            None => drop(self.mirror(now).await?),
        }
        Ok(made)
    }

    /// Sees to it that another key signs before one is taken back: makes one if it is needed. Returns the key that has to
    /// sign first; `None` if the one that is taken back signs nothing now.
    ///
    /// # Errors
    /// [`KeysError`]; if there is no room for another key, one that does not sign can be retired first.
    pub async fn relieve(&self, kid: KeyId, now: Timestamp) -> Result<Option<KeyInfo>, KeysError> {
        let _one = self.changing.lock().await;
        self.mirror(now).await?;
        let signing = self.ring.read().signing(now).verifying().kid();
        if signing != kid {
            return Ok(None);
        }
        let lead = if self.vault.is_some() { SHORT_LEAD } else { Duration::ZERO };
        let list = self.ring.list(now);
        let next = list.into_iter().find(|info| info.state == KeyState::Published && info.signs_from <= now + lead);
        if next.is_some() {
            return Ok(next);
        }
        // What is retired already makes room.
        self.prune_now(now, Duration::ZERO).await?;
        self.make(now, lead, None).await
    }

    /// Makes a key, where all have it first; `None` if the vault does not hold just what it should.
    async fn make(
        &self,
        now: Timestamp,
        lead: Duration,
        only: Option<&[String]>,
    ) -> Result<Option<KeyInfo>, KeysError> {
        let file = self.draw(now, lead).await?;
        let Some(vault) = &self.vault else { return Ok(Some(self.ring.add(&file, now)?)) };
        let among = Among { prefix: KEYS, most: MAX_KEYS, only };
        if !vault.put_among(&format!("{KEYS}{}", file.0), &file.1, among).await? {
            return Ok(None);
        }
        // If this fails the next look takes it up.
        Ok(Some(self.ring.add(&file, now)?))
    }

    /// If there is no room for another key, removes those that are retired already: a key that is made often is retired
    /// before the day is over for which retired ones are kept, and no longer making any would be worse than not to have
    /// those. Returns whether any was looked for.
    async fn make_room(&self, now: Timestamp) -> Result<bool, KeysError> {
        let is_full = self.ring.list(now).len() >= MAX_KEYS;
        if is_full {
            self.prune_now(now, Duration::ZERO).await?;
        }
        Ok(is_full)
    }

    /// A new key, in nobody's hands yet. One for RS256 takes some tenths of a second, so no request waits behind it.
    async fn draw(&self, now: Timestamp, lead: Duration) -> Result<KeyFileBytes, KeysError> {
        let ring = Arc::clone(&self.ring);
        let drawn = tokio::task::spawn_blocking(move || ring.draw(now, lead)).await;
        Ok(drawn.map_err(|_| KeyError::Generate)??)
    }

    fn lead(&self, lead: Duration) -> Duration {
        if self.vault.is_some() { lead.max(self.least_lead) } else { lead }
    }

    /// Removes keys that have been retired for `keep` or longer.
    ///
    /// # Errors
    /// [`KeysError`].
    pub async fn prune(&self, now: Timestamp, keep: Duration) -> Result<(), KeysError> {
        let _one = self.changing.lock().await;
        self.prune_now(now, keep).await
    }

    async fn prune_now(&self, now: Timestamp, keep: Duration) -> Result<(), KeysError> {
        let pruned = self.ring.prune(now, keep)?;
        for kid in &pruned {
            if let Some(vault) = &self.vault {
                vault.remove(&format!("{KEYS}{kid}.json")).await?;
            }
        }
        say_removed(&pruned);
        Ok(())
    }
}

fn say_removed(kids: &[KeyId]) {
    for kid in kids {
        tracing::info!(%kid, "a signing key is removed");
    }
}

/// The file of the server's secret, and the vault's word on it where there is one.
///
/// # Errors
/// [`KeysError`].
pub async fn server_secret(
    folder: &Path,
    files: &SecretFiles,
    vault: Option<&Vault>,
) -> Result<ServerSecret, KeysError> {
    let path = folder.join(SECRET_FILE);
    let own = ServerSecret::load_or_create(&path, files)?;
    let Some(vault) = vault else { return Ok(own) };
    let file = files.read(&path)?.unwrap_or_default();
    let offered = [(SECRET_FILE.to_owned(), file.clone())];
    let shared = vault.list_or_fill(SECRET_FILE, &offered).await?;
    let shared = shared.into_iter().next().map_or(file.clone(), |(_, bytes)| bytes);
    if *shared != *file {
        files.write(&path, &shared)?;
    }
    Ok(ServerSecret::load_or_create(&path, files)?)
}

fn named(entries: Vec<Entry>) -> Vec<(String, Zeroizing<Vec<u8>>)> {
    let short = |(name, bytes): Entry| (name.strip_prefix(KEYS).unwrap_or_default().to_owned(), bytes);
    entries.into_iter().map(short).collect()
}

/// The key whose entry has this name.
fn kid_of(name: &str) -> Option<KeyId> {
    name.strip_prefix(KEYS)?.strip_suffix(".json")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::keys::Algorithm;

    const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
    const MINUTE: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn the_shortest_rotation_that_is_accepted_goes_on_for_days_and_never_runs_out_of_room() {
        let (ttl, lead) = (15 * MINUTE, 10 * MINUTE);
        let every = ttl + lead;
        let folder = tempfile::tempdir().unwrap();
        let settings = KeySettings::new(folder.path().join("keys"), Algorithm::EdDSA, ttl, Duration::from_secs(1));
        let keys = Keys::open(settings, None, lead, START).await.unwrap();
        let mut made = 0;
        for minute in 1..=2 * 24 * 60 {
            let now = START + MINUTE * minute;
            keys.sync(now).await.unwrap();
            made += u32::from(keys.rotate(now, lead, every, false).await.unwrap().is_some());
            // As upkeep does.
            keys.prune(now, Duration::from_hours(24)).await.unwrap();
            let list = keys.ring().list(now);
            let signing = list.iter().find(|info| info.state == KeyState::Signing).unwrap();
            assert!(now < signing.signs_from + every, "minute {minute}: {list:?}");
        }
        assert_eq!(made, 2 * 24 * 60 / 25);
    }
}
