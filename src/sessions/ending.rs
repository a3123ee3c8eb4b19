//! What ends sessions at their user's wish: logout here or everywhere, a changed password. Each is recorded by the
//! [`Revoker`](crate::revocation::Revoker) and answered with a receipt.

use crate::{
    ids::{SessionId, Subject},
    passwords::Input,
    revocation::{Act, Patience, Pending, Receipt, Revoked},
    tokens::Window,
};

use super::{Caller, Ended, Error, Identity, Sessions, audit::Event};

impl Sessions {
    /// Ends one session.
    ///
    /// # Errors
    /// [`Error::NoSession`] if it is not this user's; [`Error::Revoke`].
    pub async fn end_session(&self, session: SessionId, of: Subject, patience: Patience) -> Result<Receipt, Error> {
        Ok(self.begin_to_end(session, of).await?.receipt(patience).await?.receipt)
    }

    /// Ends one session, and does not wait until that is in force.
    ///
    /// # Errors
    /// [`Error::NoSession`] if it is not this user's; [`Error::Revoke`].
    pub async fn begin_to_end(&self, session: SessionId, of: Subject) -> Result<Pending, Error> {
        let pending = self.0.revoker.begin(Act::Session { session, of: Some(of) }).await?;
        let (subject, session, seq) = (Some(of), Some(session), Some(pending.seq()));
        Event { act: "logout", result: "done", subject, session, seq }.log();
        Ok(pending)
    }

    /// One receipt for several revocations: that of the first, or of one that is not in force everywhere if there is any.
    /// They share the patience.
    ///
    /// # Errors
    /// [`Error::Revoke`].
    pub async fn receipt_of_all(&self, pending: Vec<Pending>, patience: Patience) -> Result<Option<Receipt>, Error> {
        let boottime = || self.clock().source().boottime();
        let since = boottime();
        let mut answer: Option<Receipt> = None;
        for pending in pending {
            let left = match patience {
                Patience::Complete => Patience::Complete,
                Patience::AtMost(limit) => Patience::AtMost(limit.saturating_sub(boottime().since(since))),
            };
            let receipt = pending.receipt(left).await?.receipt;
            match &answer {
                Some(answer) if receipt.complete || !answer.complete => {}
                _ => answer = Some(receipt),
            }
        }
        Ok(answer)
    }

    pub(super) async fn revoke(&self, act: Act, patience: Patience) -> Result<Revoked, Error> {
        Ok(self.0.revoker.begin(act).await?.receipt(patience).await?)
    }

    async fn revoke_for(
        &self,
        caller: &Caller,
        name: &'static str,
        act: Act,
        patience: Patience,
    ) -> Result<Revoked, Error> {
        let pending = self.0.revoker.begin(act).await?;
        let (subject, session, seq) = (Some(caller.claims.sub), Some(caller.claims.sid), Some(pending.seq()));
        Event { act: name, result: "done", subject, session, seq }.log();
        Ok(pending.receipt(patience).await?)
    }

    /// Ends all sessions of the caller, or all others.
    ///
    /// # Errors
    /// [`Error::Revoke`].
    pub async fn log_out_everywhere(
        &self,
        caller: &Caller,
        keep_current: bool,
        patience: Patience,
    ) -> Result<Ended, Error> {
        let window = self.0.issuer.window(self.clock().now());
        let keep = keep_current.then_some(caller.claims.sid);
        let act = Act::Subject { subject: caller.claims.sub, keep };
        let revoked = self.revoke_for(caller, "logout_all", act, patience).await?;
        Ok(self.ended(window, caller, revoked).await)
    }

    /// Changes the caller's password and ends all their other sessions.
    ///
    /// # Errors
    /// [`Error::TooMany`], [`Error::WrongCurrent`], [`Error::Password`], [`Error::Conflict`], [`Error::Busy`],
    /// [`Error::Revoke`], [`Error::Database`].
    pub async fn change_password(
        &self,
        caller: &Caller,
        current: Input,
        new: Input,
        patience: Patience,
    ) -> Result<Ended, Error> {
        let subject = caller.claims.sub;
        let account = self.0.users.by_id(subject).await?.ok_or(Error::NoSession)?;
        self.confirm(&account, caller.claims.sid, current).await?;
        let new = self.accept_new(new, &account.user.username)?;
        let password = self.0.passwords.hash(new).await?.to_phc();
        let window = self.0.issuer.window(self.clock().now());
        let keep = Some(caller.claims.sid);
        let act = Act::Password { subject, version: account.version, password, keep };
        let revoked = self.revoke_for(caller, "password", act, patience).await?;
        Ok(self.ended(window, caller, revoked).await)
    }

    /// Sets a user's password, for an operator: whoever knows the old one is not asked. All sessions end.
    ///
    /// # Errors
    /// [`Error::NoSession`] if there is no such user; [`Error::Password`], [`Error::Conflict`], [`Error::Busy`],
    /// [`Error::Revoke`], [`Error::Database`].
    pub async fn set_password(&self, subject: Subject, new: Input, patience: Patience) -> Result<Receipt, Error> {
        let account = self.0.users.by_id(subject).await?.ok_or(Error::NoSession)?;
        let new = self.accept_new(new, &account.user.username)?;
        let password = self.0.passwords.hash(new).await?.to_phc();
        let act = Act::Password { subject, version: account.version, password, keep: None };
        Ok(self.revoke(act, patience).await?.receipt)
    }

    async fn ended(&self, window: Window, caller: &Caller, revoked: Revoked) -> Ended {
        let identity = Identity { session: caller.claims.sid, subject: caller.claims.sub };
        let access = match revoked.kept {
            Some(kept) => Some(self.issue(window, identity, kept).await),
            None => None,
        };
        Ended { receipt: revoked.receipt, access }
    }
}
