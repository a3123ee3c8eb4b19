//! The operator's acts as values: what a command asks, and what it is answered.
//!
//! [`Admin::run`] is the one way in, whether the command line runs it in its own process or a running server does it
//! on the command's behalf. Both values cross the management listener as JSON. Each act leaves one line in the log,
//! under the target `kickout::audit`.

mod keys;

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize, Serializer};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{
    database::DatabaseError,
    ids::{KeyId, SessionId, Subject, TokenId},
    keystore::{Keys, KeysError},
    passwords::Input,
    revocation::{
        Act, Patience, Receipt, RevokeError,
        bulk::{BulkError, BulkReceipt},
        ledger::ManyKind,
    },
    sessions::{self, Sessions},
    tokens::keys::{KeyError, KeyInfo},
    users::{MAX_LISTED, MAX_ROLES, User, Username, is_role},
    vault::VaultError,
};

/// How long an act waits for other nodes: longer than a dead one's hold by default, and within what a command waits for
/// its server. Then the receipt says how far it has come.
const PATIENCE: Patience = Patience::AtMost(Duration::from_secs(20));

/// How long a bulk revocation waits for other nodes after its last part: recording it may have taken as long.
const BULK_PATIENCE: Patience = Patience::AtMost(Duration::from_secs(10));

/// What an operator asks for. A `user` is a subject id or a name; what reads as an id is one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Makes an account.
    UserAdd {
        /// Its name.
        username: String,
        /// Its password.
        password: PlainPassword,
        /// Its roles.
        roles: Vec<String>,
    },
    /// Ends a user's sessions and lets no more begin.
    UserBan {
        /// Whom.
        user: String,
    },
    /// Lifts a ban.
    UserUnban {
        /// Whose.
        user: String,
    },
    /// Gives a user other roles.
    UserRoles {
        /// Whom.
        user: String,
        /// All the roles from now on.
        roles: Vec<String>,
    },
    /// Sets a user's password and ends all their sessions.
    UserPassword {
        /// Whose.
        user: String,
        /// The new one.
        password: PlainPassword,
    },
    /// Deletes an account and ends its sessions.
    UserDelete {
        /// Whose.
        user: String,
    },
    /// Lists users by name.
    UserList {
        /// From the name after this one on.
        after: Option<String>,
    },
    /// Takes back one access token, whether this service knows it or not.
    RevokeToken {
        /// Its `jti`.
        token: TokenId,
    },
    /// Ends one session.
    RevokeSession {
        /// Its `sid`.
        session: SessionId,
    },
    /// Ends all sessions of a user.
    RevokeUser {
        /// Whose.
        user: String,
    },
    /// Ends all sessions of everybody.
    RevokeEverything {},
    /// Takes back many tokens, sessions or users' sessions at once.
    RevokeBulk {
        /// What the ids name.
        kind: ManyKind,
        /// The ids, at most [`MOST`](crate::revocation::bulk::MOST).
        ids: Vec<Uuid>,
    },
    /// Makes a key that signs once every verifier can know it.
    KeysGenerate {},
    /// Lists the keys.
    KeysList {},
    /// Takes a key back, and whatever it has signed or ever will. Sessions live on, under another key.
    KeysRetire {
        /// Its `kid`.
        kid: KeyId,
    },
}

impl Command {
    /// The act's name, as the log and the JSON form spell it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::UserAdd { .. } => "user_add",
            Self::UserBan { .. } => "user_ban",
            Self::UserUnban { .. } => "user_unban",
            Self::UserRoles { .. } => "user_roles",
            Self::UserPassword { .. } => "user_password",
            Self::UserDelete { .. } => "user_delete",
            Self::UserList { .. } => "user_list",
            Self::RevokeToken { .. } => "revoke_token",
            Self::RevokeSession { .. } => "revoke_session",
            Self::RevokeUser { .. } => "revoke_user",
            Self::RevokeEverything {} => "revoke_everything",
            Self::RevokeBulk { .. } => "revoke_bulk",
            Self::KeysGenerate {} => "keys_generate",
            Self::KeysList {} => "keys_list",
            Self::KeysRetire { .. } => "keys_retire",
        }
    }

    /// Whether it makes something where nothing has to be yet. The others are about what is there already.
    #[must_use]
    pub const fn begins(&self) -> bool {
        matches!(self, Self::UserAdd { .. } | Self::KeysGenerate {})
    }

    /// Whom or what it is about, as the operator wrote it.
    fn object(&self) -> Option<String> {
        Some(match self {
            Self::UserAdd { username: user, .. }
            | Self::UserBan { user }
            | Self::UserUnban { user }
            | Self::UserPassword { user, .. }
            | Self::UserDelete { user }
            | Self::RevokeUser { user } => user.clone(),
            Self::UserRoles { user, roles } => format!("{user}: {}", roles.join(" ")),
            Self::RevokeToken { token } => token.to_string(),
            Self::RevokeSession { session } => session.to_string(),
            Self::KeysRetire { kid } => kid.to_string(),
            Self::RevokeBulk { kind, ids } => format!("{} ids of kind {kind:?}", ids.len()),
            Self::UserList { .. } | Self::RevokeEverything {} | Self::KeysGenerate {} | Self::KeysList {} => {
                return None;
            }
        })
    }
}

/// A new password on its way to the process that hashes it. Wiped when dropped.
#[derive(Deserialize)]
#[serde(from = "String")]
pub struct PlainPassword(Zeroizing<String>);

impl Serialize for PlainPassword {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Debug for PlainPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlainPassword(…)")
    }
}

impl From<String> for PlainPassword {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl From<PlainPassword> for Input {
    fn from(mut password: PlainPassword) -> Self {
        std::mem::take(&mut *password.0).into()
    }
}

/// What a command is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", content = "value", rename_all = "snake_case")]
pub enum Answer {
    /// The account that was made.
    User(User),
    /// Users by name.
    Users {
        /// At most [`MAX_LISTED`].
        users: Vec<User>,
        /// There may be more after the last one.
        more: bool,
    },
    /// A user is not banned any more.
    Unbanned {
        /// Who.
        user: Subject,
        /// There was a ban to lift.
        was_banned: bool,
    },
    /// Something was revoked.
    Receipt(Receipt),
    /// Many were revoked.
    Bulk(BulkReceipt),
    /// The key that was made.
    Key(KeyInfo),
    /// All keys.
    Keys(Vec<KeyInfo>),
}

/// Why a command was not done, in words that say what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// What kind of reason.
    pub kind: ProblemKind,
    /// For the operator.
    pub message: String,
}

/// The kinds of [`Problem`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// What the command is about does not exist.
    NotFound,
    /// It is at odds with what is there.
    Conflict,
    /// It asks for what is not allowed.
    Refused,
    /// It cannot be done now, and may be later.
    Unavailable,
    /// The service is damaged, or at fault.
    Internal,
}

impl Problem {
    /// A problem of this kind.
    #[must_use]
    pub fn new(kind: ProblemKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    fn no_user(user: &str) -> Self {
        let message = format!("there is no user {user:?}. `kickout user list` shows all of them");
        Self::new(ProblemKind::NotFound, message)
    }
}

impl From<sessions::Error> for Problem {
    fn from(error: sessions::Error) -> Self {
        use sessions::Error;
        match error {
            Error::Revoke(error) => error.into(),
            Error::Database(error) => error.into(),
            error => {
                let kind = match &error {
                    Error::NoSession => ProblemKind::NotFound,
                    Error::Taken | Error::Conflict => ProblemKind::Conflict,
                    Error::Busy(_) => ProblemKind::Unavailable,
                    _ => ProblemKind::Refused,
                };
                let remedy = match &error {
                    Error::Taken => ". Choose another",
                    Error::Conflict => ". Try again",
                    _ => "",
                };
                Self::new(kind, format!("{error}{remedy}"))
            }
        }
    }
}

impl From<RevokeError> for Problem {
    fn from(error: RevokeError) -> Self {
        let (kind, remedy) = match &error {
            RevokeError::Ledger(error) => return error.as_ref().into(),
            RevokeError::Absent => (ProblemKind::NotFound, "Check the id or the name"),
            RevokeError::Changed => (ProblemKind::Conflict, "Try again"),
            RevokeError::NoTokens => (ProblemKind::Refused, "End the session, or the user's sessions"),
            RevokeError::Full => (ProblemKind::Unavailable, "Nothing was done: try again in a moment"),
            RevokeError::Unapplied(_) => {
                (ProblemKind::Unavailable, "Try again for a receipt: revoking twice does no harm")
            }
            RevokeError::Stopping => {
                (ProblemKind::Unavailable, "Try again when it has stopped or is back: revoking twice does no harm")
            }
        };
        Self::new(kind, format!("{error}. {remedy}"))
    }
}

impl From<&DatabaseError> for Problem {
    fn from(error: &DatabaseError) -> Self {
        let is_elsewhere = error.is_temporary() || matches!(error, DatabaseError::InUse | DatabaseError::File(_));
        let kind = if is_elsewhere { ProblemKind::Unavailable } else { ProblemKind::Internal };
        Self::new(kind, format!("{error}. {}", error.remedy()))
    }
}

impl From<DatabaseError> for Problem {
    fn from(error: DatabaseError) -> Self {
        Self::from(&error)
    }
}

impl From<BulkError> for Problem {
    fn from(error: BulkError) -> Self {
        let kind = match error {
            BulkError::TooMany { .. } | BulkError::Empty => ProblemKind::Refused,
            BulkError::PartWay { .. } => ProblemKind::Unavailable,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<KeysError> for Problem {
    fn from(error: KeysError) -> Self {
        let kind = match &error {
            KeysError::Vault(VaultError::Database(error)) => return error.into(),
            KeysError::Files(KeyError::Full { .. }) | KeysError::Vault(VaultError::Full { .. }) => ProblemKind::Refused,
            // As for the database: there may be room again.
            KeysError::Files(KeyError::File(error)) | KeysError::Secret(error) if error.is_full() => {
                ProblemKind::Unavailable
            }
            _ => ProblemKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

/// Does what operators ask for. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Admin {
    /// The use cases.
    pub sessions: Sessions,
    /// The signing keys.
    pub keys: Keys,
    /// How long a new key is published before it signs.
    pub key_lead: Duration,
}

impl Admin {
    /// Does one act, and logs it: also if the caller has gone before it was done.
    ///
    /// # Errors
    /// [`Problem`].
    pub async fn run(&self, command: Command) -> Result<Answer, Problem> {
        let mut audit = Audit::of(&command);
        // Boxed: whoever asks for one act should not carry the largest.
        let result = Box::pin(self.act(command)).await;
        audit.result = match &result {
            Ok(_) => "done".to_owned(),
            Err(problem) => problem.message.clone(),
        };
        if let Ok(Answer::Receipt(receipt)) = &result {
            audit.seq = Some(receipt.seq.0);
        }
        result
    }

    async fn act(&self, command: Command) -> Result<Answer, Problem> {
        match command {
            Command::UserAdd { username, password, roles } => self.add(&username, password, roles).await,
            Command::UserBan { user } => self.revoke(Act::Ban(self.subject(&user).await?), || user).await,
            Command::UserUnban { user } => {
                let subject = self.subject(&user).await?;
                let unbanned = self.sessions.users().unban(subject).await?;
                let was_banned = unbanned.ok_or_else(|| Problem::no_user(&user))?;
                Ok(Answer::Unbanned { user: subject, was_banned })
            }
            Command::UserRoles { user, roles } => {
                let roles = accepted_roles(roles)?;
                self.revoke(Act::Roles { subject: self.subject(&user).await?, roles }, || user).await
            }
            Command::UserPassword { user, password } => {
                let subject = self.subject(&user).await?;
                match self.sessions.set_password(subject, password.into(), PATIENCE).await {
                    Ok(receipt) => Ok(Answer::Receipt(receipt)),
                    Err(sessions::Error::NoSession) => Err(Problem::no_user(&user)),
                    Err(error) => Err(error.into()),
                }
            }
            Command::UserDelete { user } => self.revoke(Act::Delete(self.subject(&user).await?), || user).await,
            Command::UserList { after } => self.list(after.as_deref()).await,
            Command::RevokeToken { token } => self.revoke(Act::Token(token), || token.to_string()).await,
            Command::RevokeSession { session } => {
                self.revoke(Act::Session { session, of: None }, || session.to_string()).await
            }
            Command::RevokeUser { user } => {
                let subject = self.subject(&user).await?;
                self.revoke(Act::Subject { subject, keep: None }, || user).await
            }
            Command::RevokeEverything {} => self.revoke(Act::Everything, String::new).await,
            Command::RevokeBulk { kind, ids } => {
                match Box::pin(self.sessions.revoker().revoke_bulk(kind, &ids, BULK_PATIENCE)).await {
                    Ok(receipt) => Ok(Answer::Bulk(receipt)),
                    Err(error) => Err(error.into()),
                }
            }
            Command::KeysGenerate {} => self.generate().await,
            Command::KeysRetire { kid } => Box::pin(self.retire(kid)).await,
            Command::KeysList {} => Ok(Answer::Keys(self.keys.ring().list(self.sessions.clock().now()))),
        }
    }

    /// Whom an operator means. A name that reads as an id is not looked for: somebody could have taken another's id
    /// as a name.
    async fn subject(&self, user: &str) -> Result<Subject, Problem> {
        if let Ok(subject) = user.parse() {
            return Ok(subject);
        }
        let Ok(name) = Username::parse(user) else { return Err(Problem::no_user(user)) };
        let account = self.sessions.users().by_name(&name).await?;
        account.map(|account| account.user.id).ok_or_else(|| Problem::no_user(user))
    }

    async fn add(&self, username: &str, password: PlainPassword, roles: Vec<String>) -> Result<Answer, Problem> {
        let roles = accepted_roles(roles)?;
        Ok(Answer::User(self.sessions.create_user(username, password.into(), &roles).await?))
    }

    async fn list(&self, after: Option<&str>) -> Result<Answer, Problem> {
        let after = after.map(Username::parse).transpose();
        let after = after.map_err(|error| Problem::new(ProblemKind::Refused, error.to_string()))?;
        let users = self.sessions.users().list(after.as_ref()).await?;
        let more = users.len() >= usize::try_from(MAX_LISTED).unwrap_or(usize::MAX);
        Ok(Answer::Users { users, more })
    }

    async fn revoke(&self, act: Act, whom: impl FnOnce() -> String) -> Result<Answer, Problem> {
        let is_session = matches!(act, Act::Session { .. });
        let revoked = match self.sessions.revoker().begin(act).await {
            Ok(pending) => pending.receipt(PATIENCE).await,
            Err(error) => Err(error),
        };
        match revoked {
            Ok(revoked) => Ok(Answer::Receipt(revoked.receipt)),
            Err(RevokeError::Absent) if is_session => Err(Problem::new(
                ProblemKind::NotFound,
                format!("there is no session {}: it never was, or it ended more than a day ago", whom()),
            )),
            Err(RevokeError::Absent) => Err(Problem::no_user(&whom())),
            Err(error) => Err(error.into()),
        }
    }
}

/// Roles in order, each once, if a token can carry them.
fn accepted_roles(mut roles: Vec<String>) -> Result<Vec<String>, Problem> {
    roles.sort_unstable();
    roles.dedup();
    if let Some(role) = roles.iter().find(|role| !is_role(role)) {
        let message = format!("{role:?} cannot be a role: use 1 to 32 of a-z A-Z 0-9 _ : . -");
        return Err(Problem::new(ProblemKind::Refused, message));
    }
    if roles.len() > MAX_ROLES {
        let message = format!("a user has at most {MAX_ROLES} roles: they travel in every token");
        return Err(Problem::new(ProblemKind::Refused, message));
    }
    Ok(roles)
}

/// One line in the log, written when the act is over or its caller has gone.
struct Audit {
    act: &'static str,
    object: Option<String>,
    result: String,
    seq: Option<i64>,
}

impl Audit {
    fn of(command: &Command) -> Self {
        let result = "the caller has gone; the act may have been done".to_owned();
        Self { act: command.name(), object: command.object(), result, seq: None }
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        // What somebody typed is a field and no part of the message: both forms of a log line escape it, so that no
        // line break in it begins a line of its own.
        tracing::info!(
            target: sessions::audit::TARGET,
            act = self.act,
            object = self.object.as_deref(),
            result = self.result.as_str(),
            seq = self.seq,
            "operator act"
        );
    }
}

#[cfg(test)]
mod tests;
