//! Users: who may log in, and the rows that say so.
//!
//! A name is compared in one form: RFC 8265 `UsernameCaseMapped` (width and case folded, NFC), so `Ａlice` and `alice`
//! are one account. What the user wrote is kept for display.

use std::fmt;

use precis_profiles::{UsernameCaseMapped, precis_core::profile::PrecisFastInvocation};
use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    database::{Database, DatabaseError, Row, sql},
    ids::Subject,
    passwords::StoredHash,
};

/// Characters of a name at most, after normalisation.
const MAX_NAME_CHARS: usize = 64;

/// Bytes of a name as it comes in: four per character, and a bound on the work of normalising.
const MAX_NAME_BYTES: usize = 4 * MAX_NAME_CHARS;

/// Roles per user at most: they travel in every token.
pub const MAX_ROLES: usize = 16;

/// Characters of a role at most.
const MAX_ROLE_CHARS: usize = 32;

/// Users that one listing gives at most.
pub const MAX_LISTED: u32 = 1000;

/// A name that a user can have, in both forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Username {
    shown: String,
    key: String,
}

/// Why a text is not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UsernameError {
    /// Empty, or too long.
    #[error("a user name has 1 to 64 characters")]
    Length,
    /// Spaces, control characters, or others that RFC 8265 does not allow in a user name.
    #[error("a user name has letters, digits and punctuation, no spaces")]
    Characters,
}

impl Username {
    /// Reads a name as a user wrote it.
    ///
    /// # Errors
    /// [`UsernameError`].
    pub fn parse(text: &str) -> Result<Self, UsernameError> {
        if text.is_empty() || text.len() > MAX_NAME_BYTES {
            return Err(UsernameError::Length);
        }
        let compared = |text: &str| UsernameCaseMapped::enforce(text).map(Into::<String>::into);
        let key = compared(text).map_err(|_| UsernameError::Characters)?;
        // A few capitals are allowed and their small letters are not, as the tables here are older than those: such an
        // account could not be found by the form that its name is stored in.
        if compared(&key).as_deref() != Ok(key.as_str()) {
            return Err(UsernameError::Characters);
        }
        let shown = text.to_owned();
        if key.chars().count() > MAX_NAME_CHARS || shown.chars().count() > MAX_NAME_CHARS {
            return Err(UsernameError::Length);
        }
        Ok(Self { shown, key })
    }

    /// A name that no account can have: it is empty, which [`parse`](Self::parse) refuses.
    pub(crate) const fn nobody() -> Self {
        Self { shown: String::new(), key: String::new() }
    }

    /// As the user wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.shown
    }

    /// In the form that names are compared in.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// Whether a text can be a role: 1 to 32 of `a-z A-Z 0-9 _ : . -`. Roles travel in a header, separated by spaces.
#[must_use]
pub fn is_role(text: &str) -> bool {
    (1..=MAX_ROLE_CHARS).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_:.-".contains(&byte))
}

/// A user as listings show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// `sub`.
    pub id: Subject,
    /// As the user wrote it.
    pub username: String,
    /// Roles, as tokens carry them.
    pub roles: Vec<String>,
    /// When the account was made.
    pub created_at: Timestamp,
    /// When it was banned, if it is.
    pub banned_at: Option<Timestamp>,
}

/// What a login needs to know of a user.
#[derive(Debug)]
pub struct Account {
    /// The user.
    pub user: User,
    /// The version of the row that the hash was read with.
    pub version: i64,
    /// The stored password.
    pub password: StoredHash,
}

/// What became of a new user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// The account exists now.
    User(User),
    /// The name is in use.
    Taken,
}

/// The table of users.
#[derive(Debug, Clone)]
pub struct Users {
    database: Database,
}

impl Users {
    /// Users in this database.
    #[must_use]
    pub const fn new(database: Database) -> Self {
        Self { database }
    }

    /// Makes an account.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn create(
        &self,
        name: &Username,
        password: &StoredHash,
        roles: &[String],
        now: Timestamp,
    ) -> Result<Created, DatabaseError> {
        let id = Subject::random();
        let inserted =
            sql("INSERT INTO users (id, name, name_key, password, roles, created_at) VALUES ($1, $2, $3, $4, $5, $6)")
                .bind(id.uuid())
                .bind(name.shown.as_str())
                .bind(name.key.as_str())
                .bind(password.to_phc())
                .bind(roles.join(" "))
                .bind(now.as_millis())
                .execute(&mut self.database.write().await?)
                .await;
        match inserted {
            Ok(_) => Ok(Created::User(User {
                id,
                username: name.shown.clone(),
                roles: roles.to_vec(),
                created_at: now,
                banned_at: None,
            })),
            Err(DatabaseError::Duplicate(_)) => Ok(Created::Taken),
            Err(error) => Err(error),
        }
    }

    /// The account of a name.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn by_name(&self, name: &Username) -> Result<Option<Account>, DatabaseError> {
        let row =
            sql("SELECT id, name, roles, created_at, banned_at, version, password FROM users WHERE name_key = $1")
                .bind(name.key.as_str())
                .fetch_optional(&mut self.database.read().await?)
                .await?;
        row.as_ref().map(account).transpose()
    }

    /// The account of a subject.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn by_id(&self, id: Subject) -> Result<Option<Account>, DatabaseError> {
        let row = sql("SELECT id, name, roles, created_at, banned_at, version, password FROM users WHERE id = $1")
            .bind(id.uuid())
            .fetch_optional(&mut self.database.read().await?)
            .await?;
        row.as_ref().map(account).transpose()
    }

    /// Replaces a hash by one of the same password with stronger parameters, unless the row has changed meanwhile.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn rehash(&self, id: Subject, version: i64, password: &StoredHash) -> Result<(), DatabaseError> {
        sql("UPDATE users SET password = $1 WHERE id = $2 AND version = $3")
            .bind(password.to_phc())
            .bind(id.uuid())
            .bind(version)
            .execute(&mut self.database.write().await?)
            .await?;
        Ok(())
    }

    /// Lifts a ban; returns whether there was one, or `None` for an unknown user. Nothing is un-revoked: the user logs
    /// in anew.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn unban(&self, id: Subject) -> Result<Option<bool>, DatabaseError> {
        let mut tx = self.database.begin().await?;
        let lifted =
            sql("UPDATE users SET banned_at = NULL, version = version + 1 WHERE id = $1 AND banned_at IS NOT NULL")
                .bind(id.uuid())
                .execute(&mut tx)
                .await?;
        let exists = sql("SELECT id FROM users WHERE id = $1").bind(id.uuid()).fetch_optional(&mut tx).await?.is_some();
        tx.commit().await?;
        Ok(exists.then_some(lifted == 1))
    }

    /// Users by name, at most [`MAX_LISTED`], from the name after `after` on.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn list(&self, after: Option<&Username>) -> Result<Vec<User>, DatabaseError> {
        let rows = sql(
            "SELECT id, name, roles, created_at, banned_at FROM users WHERE name_key > $1 ORDER BY name_key LIMIT $2",
        )
        .bind(after.map_or("", |name| name.key.as_str()))
        .bind(MAX_LISTED)
        .fetch_all(&mut self.database.read().await?)
        .await?;
        rows.iter().map(user).collect()
    }
}

/// The roles in a user's row.
pub(crate) fn roles(row: &Row) -> Result<Vec<String>, DatabaseError> {
    row.words("roles")
}

/// A user from the columns of their row.
pub(crate) fn user(row: &Row) -> Result<User, DatabaseError> {
    Ok(User {
        id: row.uuid("id")?.into(),
        username: row.text("name")?,
        roles: roles(row)?,
        created_at: Timestamp::from_millis(row.int("created_at")?),
        banned_at: row.opt_int("banned_at")?.map(Timestamp::from_millis),
    })
}

fn account(row: &Row) -> Result<Account, DatabaseError> {
    let user = user(row)?;
    let password = StoredHash::from_phc(&row.text("password")?)
        .map_err(|error| DatabaseError::Foreign(format!("the password of user {}: {error}", user.id)))?;
    Ok(Account { version: row.int("version")?, password, user })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_look_alike_are_one_name_and_bad_ones_are_refused() {
        let key = |text: &str| Username::parse(text).map(|name| name.key);
        for same in ["alice", "Alice", "ALICE", "Ａlice"] {
            assert_eq!(key(same), Ok("alice".into()), "{same}");
        }
        assert_eq!(key("zoe\u{301}"), key("zoé"));
        for good in ["a", "anna@example.org", "o'neil", "李小龍", "x-1_2.3+tag"] {
            assert!(key(good).is_ok(), "{good}");
        }
        for bad in ["\u{13a0}", "a b", " a", "a\n", "a\0b", "\u{202e}evil", "a\u{a0}b", "\u{200b}"] {
            assert_eq!(key(bad), Err(UsernameError::Characters), "{bad:?}");
        }
        for long in [String::new(), "a".repeat(65), "é".repeat(200)] {
            assert_eq!(key(&long), Err(UsernameError::Length), "{long}");
        }
    }

    #[test]
    fn a_role_is_a_plain_word() {
        for good in ["admin", "billing:read", "a-b_c.d"] {
            assert!(is_role(good), "{good}");
        }
        for bad in ["", "a b", "a,b", "ä", "x\r\ny", &"a".repeat(33)] {
            assert!(!is_role(bad), "{bad:?}");
        }
    }

    proptest! {
        /// Else one of two accounts that look alike could not be found by the name that it is stored under.
        #[test]
        fn the_form_that_names_are_compared_in_is_its_own(text in "\\PC{1,12}|[a-zA-ZÀ-ÿΑ-ωא-ת０-９Ａ-ｚ\u{300}-\u{36f}ǅİıſßςﬁ·ー]{1,6}") {
            if let Ok(name) = Username::parse(&text) {
                prop_assert_eq!(name.as_str(), &text);
                prop_assert!(!text.chars().any(|char| char.is_control() || char.is_whitespace()));
                prop_assert_eq!(Username::parse(&name.key).map(|again| again.key), Ok(name.key));
            }
        }
    }
}
