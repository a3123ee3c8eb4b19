//! What can be asked of the ledger, and what becomes of it.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::{Target, feed::Row};
use crate::clock::Timestamp;
use crate::ids::{Generation, KeyId, Seq, SessionId, Subject, TokenId};

/// An act that ends access, as the use cases ask for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// One access token dies; its session lives on.
    Token(TokenId),
    /// A session dies with all its tokens; with `of`, only if it is this subject's.
    Session {
        /// The session.
        session: SessionId,
        /// Whose it must be.
        of: Option<Subject>,
    },
    /// All sessions of a subject die, but for one.
    Subject {
        /// The subject.
        subject: Subject,
        /// The session that lives on, if it is alive.
        keep: Option<SessionId>,
    },
    /// The subject's password changes, if its row is still at `version`; all its other sessions die.
    Password {
        /// The subject.
        subject: Subject,
        /// The version that the current password was read with.
        version: i64,
        /// The new password, as a PHC string.
        password: String,
        /// The session that lives on, if it is alive.
        keep: Option<SessionId>,
    },
    /// The subject may not log in any more, and all its sessions die.
    Ban(Subject),
    /// The subject has other roles: its tokens die, and its sessions go on with their next refresh.
    Roles {
        /// The subject.
        subject: Subject,
        /// All its roles from now on, sorted.
        roles: Vec<String>,
    },
    /// The subject's account is deleted, and all its sessions with it.
    Delete(Subject),
    /// Every session and token there is dies.
    Everything,
    /// A signing key, and whatever it has signed or ever will. Sessions live on.
    Key(KeyId),
    /// Many ids of one kind die.
    Many(Many),
    /// What was recorded before and is in this ledger no more: a server that knew less has taken over.
    Again(Row),
}

impl Act {
    /// What it takes back.
    #[must_use]
    pub fn targets(&self) -> Vec<Target> {
        match self {
            Self::Token(token) => vec![Target::Token(*token)],
            Self::Session { session, .. } => vec![Target::Session(*session)],
            Self::Subject { subject, .. }
            | Self::Password { subject, .. }
            | Self::Roles { subject, .. }
            | Self::Ban(subject)
            | Self::Delete(subject) => vec![Target::Subject(*subject)],
            Self::Everything => vec![Target::Everything],
            Self::Key(key) => vec![Target::Key(*key)],
            Self::Many(many) => many.ids.iter().map(|id| many.kind.target(*id)).collect(),
            Self::Again(row) => vec![row.target],
        }
    }
}

/// Ids of one kind, at most [`PART`](crate::revocation::bulk::PART).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Many {
    /// What they name.
    pub kind: ManyKind,
    /// The ids.
    pub ids: Vec<Uuid>,
}

/// What ids name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ManyKind {
    /// Access tokens (`jti`).
    Token,
    /// Sessions (`sid`).
    Session,
    /// Users (`sub`).
    Subject,
}

impl ManyKind {
    pub(in crate::revocation) fn target(self, id: Uuid) -> Target {
        match self {
            Self::Token => Target::Token(id.into()),
            Self::Session => Target::Session(id.into()),
            Self::Subject => Target::Subject(id.into()),
        }
    }
}

/// What became of many ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Revoked now.
    pub revoked: u32,
    /// Revoked before.
    pub already: u32,
    /// Users that there are none of.
    pub absent: u32,
}

impl Counts {
    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            revoked: self.revoked + other.revoked,
            already: self.already + other.already,
            absent: self.absent + other.absent,
        }
    }
}

/// What became of an act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the ledger.
    Done(Done),
    /// There is no such user or session.
    Absent,
    /// The user's row has changed since it was read.
    Changed,
}

/// An act that is in the ledger, now or already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// What is revoked.
    pub target: Target,
    /// The number under which a node must have applied it.
    pub seq: Seq,
    /// There was nothing left to do.
    pub already: bool,
    /// What the session that lives on goes on with, if one does.
    pub kept: Option<Kept>,
    /// What became of many ids, if it was about many.
    pub counts: Option<Counts>,
}

/// A session that a subject's revocation left alive, as the transaction itself read it: what its next token carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its generation now.
    pub generation: Generation,
    /// Its user's roles now.
    pub roles: Vec<String>,
    /// When it ends if it is not used.
    pub expires_at: Timestamp,
}
