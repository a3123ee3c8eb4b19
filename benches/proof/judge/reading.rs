//! Events in the words of the checks.

use crate::history::{Answer, Asked, Event, Receipt, User};

use super::facts::Span;

impl Asked {
    /// Whose sessions it is about; a check names a token only.
    pub(super) const fn user(&self) -> Option<User> {
        match *self {
            Self::Check { .. } => None,
            Self::LogIn { user }
            | Self::Refresh { user, .. }
            | Self::EndSession { user, .. }
            | Self::EndToken { user, .. }
            | Self::EndAll { user, .. }
            | Self::Ban { user }
            | Self::Unban { user }
            | Self::Password { user, .. }
            | Self::Roles { user } => Some(user),
        }
    }

    /// Its name in figures.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::LogIn { .. } => "login",
            Self::Check { .. } => "check",
            Self::Refresh { .. } => "refresh",
            Self::EndSession { .. } => "end session",
            Self::EndToken { .. } => "end token",
            Self::EndAll { .. } => "end all",
            Self::Ban { .. } => "ban",
            Self::Unban { .. } => "unban",
            Self::Password { .. } => "password",
            Self::Roles { .. } => "roles",
        }
    }

    /// Whether it ends something and is answered with a receipt.
    pub(super) const fn has_receipt(&self) -> bool {
        !matches!(self, Self::LogIn { .. } | Self::Check { .. } | Self::Refresh { .. } | Self::Unban { .. })
    }
}

impl Answer {
    /// Its name in figures.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Issued { .. } => "issued",
            Self::Allowed => "allowed",
            Self::Denied { problem } => problem,
            Self::Receipt(receipt) if receipt.is_complete => "complete",
            Self::Receipt(_) => "recorded",
            Self::Unavailable => "unavailable",
            Self::Lost => "lost",
            Self::Strange { .. } => "strange",
        }
    }

    pub(super) const fn receipt(&self) -> Option<Receipt> {
        match *self {
            Self::Receipt(receipt) => Some(receipt),
            Self::Issued { receipt, .. } => receipt,
            _ => None,
        }
    }

    pub(super) fn problem(&self) -> Option<&str> {
        match self {
            Self::Denied { problem } => Some(problem),
            _ => None,
        }
    }
}

impl Event {
    pub(super) const fn span(&self) -> Span {
        Span { began: self.began, ended: self.ended }
    }

    /// Whether an answer of this kind can follow what was asked.
    pub(super) const fn fits(&self) -> bool {
        match self.answer {
            Answer::Denied { .. } | Answer::Unavailable | Answer::Lost | Answer::Strange { .. } => true,
            Answer::Allowed => matches!(self.asked, Asked::Check { .. } | Asked::Unban { .. }),
            Answer::Receipt(_) => self.asked.has_receipt() || matches!(self.asked, Asked::Unban { .. }),
            Answer::Issued { receipt, .. } => match self.asked {
                Asked::LogIn { .. } | Asked::Refresh { .. } => true,
                Asked::EndAll { .. } | Asked::Password { .. } => receipt.is_some(),
                _ => false,
            },
        }
    }
}
