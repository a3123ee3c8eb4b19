//! The vault: what nodes share through PostgreSQL and the database must not know, encrypted under a configured key.
//!
//! An entry is sealed ([`Seal`]) under a key that is derived from `tokens.key_encryption_key`: whoever can only write SQL
//! can remove an entry or put an old one back, but neither read one, nor make one, nor give one another's name. (An old
//! signing key that is put back is of no use if it was revoked: that is written in the ledger.)
//!
//! Each node mirrors the vault into its data folder, where files are readable by their owner alone, and encrypted under
//! a key that is derived from the same one. A change is told to all nodes when it is committed, on
//! [`VAULT_CHANNEL`]; a node that does not hear it finds it when it looks next.

use zeroize::Zeroizing;

use crate::{
    database::{Database, DatabaseError, Transaction, VAULT_CHANNEL, sql},
    secret::{Seal, SealKeyError},
};

/// Why the vault gives nothing. All of it is for the operator to mend.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The configured key is no key.
    #[error("tokens.key_encryption_key is not 64 hexadecimal digits. Make one with: openssl rand -hex 32")]
    Key(#[from] SealKeyError),
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
    seal: Seal,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault(…)")
    }
}

/// Where an entry may be added: among those whose names begin alike.
#[derive(Debug, Clone, Copy)]
pub struct Among<'a> {
    /// How their names begin.
    pub prefix: &'a str,
    /// How many there may be.
    pub most: usize,
    /// The names that there must be, no others and no fewer, if that matters.
    pub only: Option<&'a [String]>,
}

impl Vault {
    /// A vault under a key of 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`VaultError::Key`].
    pub fn new(database: Database, key: &str) -> Result<Self, VaultError> {
        Ok(Self { database, seal: Seal::new(key, "vault, version 1")? })
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
                    .bind(self.seal.close(name, plain))
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
        self.put_among(name, plain, Among { prefix, most, only: None }).await.map(|_| ())
    }

    /// Adds an entry, if there is room for it; and only if there are just those that the caller knows of, if it says so.
    /// Returns whether it was added. Of two who know the same and add one each, one does.
    ///
    /// # Errors
    /// [`VaultError`]; [`VaultError::Full`] if there is no room.
    pub async fn put_among(&self, name: &str, plain: &[u8], among: Among<'_>) -> Result<bool, VaultError> {
        let mut tx = self.database.begin().await?;
        // Under this lock nobody else adds one.
        sql("SELECT seq FROM head {for update}").fetch_one(&mut tx).await?;
        let rows = sql("SELECT name FROM vault WHERE starts_with(name, $1) ORDER BY name")
            .bind(among.prefix)
            .fetch_all(&mut tx)
            .await?;
        let names = rows.iter().map(|row| row.text("name")).collect::<Result<Vec<_>, _>>()?;
        if among.only.is_some_and(|only| !is_same(only, &names)) {
            tx.rollback().await;
            return Ok(false);
        }
        if names.len() >= among.most {
            tx.rollback().await;
            return Err(VaultError::Full { most: among.most });
        }
        sql("INSERT INTO vault (name, sealed) VALUES ($1, $2)")
            .bind(name)
            .bind(self.seal.close(name, plain))
            .execute(&mut tx)
            .await?;
        tell(&mut tx).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Removes an entry, if it is there.
    ///
    /// # Errors
    /// [`VaultError::Database`].
    pub async fn remove(&self, name: &str) -> Result<(), VaultError> {
        let mut tx = self.database.begin().await?;
        let removed = sql("DELETE FROM vault WHERE name = $1").bind(name).execute(&mut tx).await?;
        if removed > 0 {
            tell(&mut tx).await?;
        }
        Ok(tx.commit().await?)
    }

    fn open(&self, name: String, sealed: &[u8]) -> Result<Entry, VaultError> {
        match self.seal.open(&name, sealed) {
            Some(plain) => Ok((name, plain)),
            None => Err(VaultError::Sealed { name }),
        }
    }
}

/// Tells all nodes, when and if this commits.
async fn tell(tx: &mut Transaction) -> Result<(), DatabaseError> {
    sql("SELECT pg_notify($1, '')::text").bind(VAULT_CHANNEL).fetch_all(tx).await?;
    Ok(())
}

fn is_same(some: &[String], others: &[String]) -> bool {
    some.len() == others.len() && some.iter().all(|name| others.contains(name))
}
