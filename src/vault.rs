//! The vault: what nodes share through PostgreSQL and the database must not know, encrypted under a configured key.
//!
//! AES-256-GCM (NIST SP 800-38D) under a key that is derived from `tokens.key_encryption_key`, with a random nonce for
//! each entry and the entry's name as associated data: whoever can only write SQL can remove an entry or put an old one
//! back, but neither read one, nor make one, nor give one another's name. A few hundred entries are ever sealed under
//! one key, so random nonces do not meet.
//!
//! Each node mirrors the vault into its data folder, where files are readable by their owner alone.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::{
    database::{Database, DatabaseError, sql},
    secret::{self, ServerSecret},
};

/// The form of a sealed entry: this byte, the nonce, the ciphertext with its tag.
const VERSION: u8 = 1;

/// Why the vault gives nothing. All of it is for the operator to mend.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The configured key is no key.
    #[error("tokens.key_encryption_key is not 64 hexadecimal digits. Make one with: openssl rand -hex 32")]
    Key,
    /// There is no room for another entry.
    #[error("the nodes share {most} keys already, and more are not kept. Retired ones are removed after a day")]
    Full {
        /// How many there may be.
        most: usize,
    },
    /// An entry cannot be opened.
    #[error(
        "{name} in the database cannot be decrypted: tokens.key_encryption_key is not the key that the other nodes \
         have, or the entry was changed. Nothing was replaced"
    )]
    Sealed {
        /// The entry.
        name: String,
    },
}

/// An entry in clear.
pub type Entry = (String, Zeroizing<Vec<u8>>);

/// The vault in one database.
pub struct Vault {
    database: Database,
    key: LessSafeKey,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault(…)")
    }
}

impl Vault {
    /// A vault under a key of 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`VaultError::Key`].
    pub fn new(database: Database, key: &str) -> Result<Self, VaultError> {
        let digits: Option<Vec<u8>> = key.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
        let digits = Zeroizing::new(digits.filter(|digits| digits.len() == 64).ok_or(VaultError::Key)?);
        let mut bytes = Zeroizing::new([0_u8; 32]);
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        let derived = Zeroizing::new(ServerSecret::new(*bytes).derive("vault, version 1").sign(&[b"AES-256-GCM"]));
        let key = UnboundKey::new(&AES_256_GCM, derived.as_slice()).map_err(|_| VaultError::Key)?;
        Ok(Self { database, key: LessSafeKey::new(key) })
    }

    /// The entries whose names begin with `prefix`.
    ///
    /// # Errors
    /// [`VaultError::Database`]; [`VaultError::Sealed`] if any of them cannot be opened.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Entry>, VaultError> {
        let rows = sql("SELECT name, sealed FROM vault WHERE starts_with(name, $1) ORDER BY name")
            .bind(prefix)
            .fetch_all(&mut self.database.read().await?)
            .await?;
        rows.iter().map(|row| self.open(row.text("name")?, &row.bytes("sealed")?)).collect()
    }

    /// The entries whose names begin with `prefix`; if there are none, those that are offered become it. Nodes that
    /// start at the same moment agree.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn list_or_fill(&self, prefix: &str, offered: &[Entry]) -> Result<Vec<Entry>, VaultError> {
        let mut tx = self.database.begin().await?;
        sql("SELECT seq FROM head {for update}").fetch_one(&mut tx).await?;
        let found = sql("SELECT count(*) AS found FROM vault WHERE starts_with(name, $1)")
            .bind(prefix)
            .fetch_one(&mut tx)
            .await?
            .int("found")?;
        if found == 0 {
            for (name, plain) in offered {
                sql("INSERT INTO vault (name, sealed) VALUES ($1, $2)")
                    .bind(name.as_str())
                    .bind(self.seal(name, plain)?)
                    .execute(&mut tx)
                    .await?;
            }
        }
        tx.commit().await?;
        self.list(prefix).await
    }

    /// Adds an entry, if there are fewer than `most` whose names begin with `prefix`.
    ///
    /// # Errors
    /// [`VaultError`]; [`VaultError::Full`] if there are as many.
    pub async fn put(&self, name: &str, plain: &[u8], prefix: &str, most: usize) -> Result<(), VaultError> {
        let mut tx = self.database.begin().await?;
        sql("SELECT seq FROM head {for update}").fetch_one(&mut tx).await?;
        let added = sql("INSERT INTO vault (name, sealed)
                         SELECT $1, $2 WHERE (SELECT count(*) FROM vault WHERE starts_with(name, $3)) < $4")
        .bind(name)
        .bind(self.seal(name, plain)?)
        .bind(prefix)
        .bind(i64::try_from(most).unwrap_or(i64::MAX))
        .execute(&mut tx)
        .await?;
        if added == 0 {
            tx.rollback().await;
            return Err(VaultError::Full { most });
        }
        Ok(tx.commit().await?)
    }

    /// Removes an entry, if it is there.
    ///
    /// # Errors
    /// [`VaultError::Database`].
    pub async fn remove(&self, name: &str) -> Result<(), VaultError> {
        sql("DELETE FROM vault WHERE name = $1").bind(name).execute(&mut self.database.write().await?).await?;
        Ok(())
    }

    fn seal(&self, name: &str, plain: &[u8]) -> Result<Vec<u8>, VaultError> {
        let nonce: [u8; NONCE_LEN] = secret::random();
        let mut sealed = [&[VERSION], nonce.as_slice()].concat();
        // Room for all of it: a buffer that grows leaves a copy behind that is not wiped.
        let mut body = Zeroizing::new(Vec::with_capacity(plain.len() + AES_256_GCM.tag_len()));
        body.extend_from_slice(plain);
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key
            .seal_in_place_append_tag(nonce, Aad::from(name), &mut *body)
            .map_err(|_| VaultError::Sealed { name: name.to_owned() })?;
        sealed.extend_from_slice(&body);
        Ok(sealed)
    }

    fn open(&self, name: String, sealed: &[u8]) -> Result<Entry, VaultError> {
        let opened = || {
            let (&version, rest) = sealed.split_first()?;
            let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().filter(|_| version == VERSION)?;
            let mut body = Zeroizing::new(body.to_vec());
            let nonce = Nonce::assume_unique_for_key(*nonce);
            let plain = self.key.open_in_place(nonce, Aad::from(&name), &mut body).ok()?;
            Some(Zeroizing::new(plain.to_vec()))
        };
        match opened() {
            Some(plain) => Ok((name, plain)),
            None => Err(VaultError::Sealed { name }),
        }
    }
}
