//! Why a use case did not succeed, and why a credential was not accepted.

use crate::{
    database::DatabaseError,
    limits::TooMany,
    passwords::{PoolError, Refusal},
    revocation::{Cause, Ignorance, RevokeError},
    users::UsernameError,
};

/// Why a use case did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Unknown user or wrong password: which of the two is not said.
    #[error("the user name or the password is wrong")]
    Wrong,
    /// The password is right, but the account is banned.
    #[error("this account is banned")]
    Banned,
    /// The current password, asked for again, is wrong.
    #[error("the current password is wrong")]
    WrongCurrent,
    /// Accounts are not made here.
    #[error("accounts are made by the operator here")]
    SignupOff,
    /// The name is in use.
    #[error("this user name is taken")]
    Taken,
    /// The name cannot be a name.
    #[error(transparent)]
    Name(#[from] UsernameError),
    /// The new password is refused.
    #[error(transparent)]
    Password(#[from] Refusal),
    /// The credential that was presented is not accepted.
    #[error(transparent)]
    Credential(#[from] AuthError),
    /// A refresh token was used again long after it was replaced. Its session is dead, on every node.
    #[error("this refresh token was used before: its session was ended")]
    Reused,
    /// As [`Reused`](Self::Reused), but it is not known yet that it is dead everywhere.
    #[error("the session is being ended")]
    Ending,
    /// There is no such session of this user.
    #[error("there is no such session")]
    NoSession,
    /// The account was changed at the same moment: try again.
    #[error("the account was changed at the same moment")]
    Conflict,
    /// It was one try too many; nothing was looked at.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// The password pool is full, or out of memory.
    #[error(transparent)]
    Busy(#[from] PoolError),
    /// The revocation did not happen, or is not known to be in force.
    #[error(transparent)]
    Revoke(RevokeError),
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl Error {
    /// Whether the act may have been recorded, or not: the database did not say.
    #[must_use]
    pub fn is_unsettled(&self) -> bool {
        matches!(self, Self::Revoke(RevokeError::Ledger(error)) if matches!(**error, DatabaseError::Unsettled(_)))
    }
}

impl From<RevokeError> for Error {
    fn from(error: RevokeError) -> Self {
        match error {
            RevokeError::Absent => Self::NoSession,
            RevokeError::Changed => Self::Conflict,
            other => Self::Revoke(other),
        }
    }
}

/// Why a credential was not accepted. Absent is the caller's business; this is malformed, refused or not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The token has expired: refresh.
    #[error("the token has expired")]
    Expired,
    /// It is not a token of ours.
    #[error("the token is not valid")]
    Invalid,
    /// It was taken back, or the key that signed it, but its session lives on: refresh.
    #[error("the token was taken back; its session lives on")]
    TakenBack(Cause),
    /// It was taken back with its session: log in.
    #[error("the session has ended")]
    Ended(Cause),
    /// This node cannot tell now: try again.
    #[error("whether the session is alive cannot be told now")]
    Unknown(Ignorance),
}
