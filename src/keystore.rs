//! Signing keys and the server's secret: files of the data folder, and where nodes share a ledger a mirror of the vault.

use std::{path::Path, sync::Arc, time::Duration};

use zeroize::Zeroizing;

use crate::{
    clock::Timestamp,
    secret::{self, SecretFileError, ServerSecret},
    tokens::{
        KeyRing,
        keys::{KeyError, KeyInfo, KeySettings, MAX_KEYS},
    },
    vault::{Entry, Vault, VaultError},
};

/// The name of the server's secret, in the data folder and in the vault; a data folder that was ever used has one.
pub const SECRET_FILE: &str = "server.secret";

/// What key files are called in the vault.
const KEYS: &str = "keys/";

/// How often a node looks for keys that others have made.
pub const SYNC: Duration = Duration::from_secs(5);

/// The least time between a shared key's publication and its first signature: twelve looks, so that a node that misses
/// some still knows it before it meets a token of it.
const LEAST_LEAD: Duration = Duration::from_mins(1);

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
    /// One change at a time: a look between a new key's file and its entry would take the file for a stranger.
    changing: Arc<tokio::sync::Mutex<()>>,
}

impl Keys {
    /// Opens the ring of a folder; with a vault, the folder becomes its mirror. A vault without keys takes the folder's,
    /// so a service that becomes the first node of a cluster goes on with its own.
    ///
    /// # Errors
    /// [`KeysError`].
    pub async fn open(settings: KeySettings, vault: Option<Arc<Vault>>, now: Timestamp) -> Result<Self, KeysError> {
        let ring = Arc::new(KeyRing::open(settings, now)?);
        if let Some(vault) = &vault {
            let files: Vec<Entry> =
                ring.files()?.into_iter().map(|(name, bytes)| (format!("{KEYS}{name}"), bytes)).collect();
            let shared = vault.list_or_fill(KEYS, &files).await?;
            ring.mirror(&named(shared), now)?;
        }
        Ok(Self { ring, vault, changing: Arc::default() })
    }

    /// The ring.
    #[must_use]
    pub const fn ring(&self) -> &Arc<KeyRing> {
        &self.ring
    }

    /// Takes up keys that other nodes have made, and drops those that they have removed.
    ///
    /// # Errors
    /// [`KeysError`]; the ring is as before then.
    pub async fn sync(&self, now: Timestamp) -> Result<(), KeysError> {
        let _one = self.changing.lock().await;
        self.mirror(now).await
    }

    async fn mirror(&self, now: Timestamp) -> Result<(), KeysError> {
        if let Some(vault) = &self.vault {
            self.ring.mirror(&named(vault.list(KEYS).await?), now)?;
        }
        Ok(())
    }

    /// Makes a key that signs after `lead`, or after a minute if every node has to hear of it first and `lead` is shorter;
    /// the configuration refuses that beforehand.
    ///
    /// # Errors
    /// [`KeysError`].
    pub async fn generate(&self, now: Timestamp, lead: Duration) -> Result<KeyInfo, KeysError> {
        let _one = self.changing.lock().await;
        let Some(vault) = &self.vault else { return Ok(self.ring.generate(now, lead)?) };
        self.mirror(now).await?;
        let info = self.ring.generate(now, lead.max(LEAST_LEAD))?;
        let name = format!("{}.json", info.kid);
        let file = self.ring.files()?.into_iter().find(|(found, _)| *found == name);
        let (_, bytes) = file.ok_or(KeyError::Generate)?;
        // If this fails the next look removes the file: the key has signed nothing.
        vault.put(&format!("{KEYS}{name}"), &bytes, KEYS, MAX_KEYS).await?;
        Ok(info)
    }

    /// Removes keys that have been retired for `keep` or longer.
    ///
    /// # Errors
    /// [`KeysError`].
    pub async fn prune(&self, now: Timestamp, keep: Duration) -> Result<(), KeysError> {
        let _one = self.changing.lock().await;
        for kid in self.ring.prune(now, keep)? {
            if let Some(vault) = &self.vault {
                vault.remove(&format!("{KEYS}{kid}.json")).await?;
            }
        }
        Ok(())
    }
}

/// The file of the server's secret, and the vault's word on it where there is one.
///
/// # Errors
/// [`KeysError`].
pub async fn server_secret(folder: &Path, vault: Option<&Vault>) -> Result<ServerSecret, KeysError> {
    let path = folder.join(SECRET_FILE);
    let own = ServerSecret::load_or_create(&path)?;
    let Some(vault) = vault else { return Ok(own) };
    let file = secret::read_private(&path)?.unwrap_or_default();
    let offered = [(SECRET_FILE.to_owned(), file.clone())];
    let shared = vault.list_or_fill(SECRET_FILE, &offered).await?;
    let shared = shared.into_iter().next().map_or(file.clone(), |(_, bytes)| bytes);
    if *shared != *file {
        secret::write_private(&path, &shared)?;
    }
    Ok(ServerSecret::load_or_create(&path)?)
}

fn named(entries: Vec<Entry>) -> Vec<(String, Zeroizing<Vec<u8>>)> {
    let short = |(name, bytes): Entry| (name.strip_prefix(KEYS).unwrap_or_default().to_owned(), bytes);
    entries.into_iter().map(short).collect()
}
