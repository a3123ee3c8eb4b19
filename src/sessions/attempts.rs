//! Tries: what is within the limits gets its password looked at, and a right one gives back what a wrong one costs.

use crate::{
    ids::SessionId,
    limits::{Deposit, Source},
    passwords::{Input, Password, TooLong, Verification},
    users::{Account, User, Username},
};

use super::{Error, Identity, Sessions, audit::Event};

impl Sessions {
    pub(super) async fn try_sign_up(&self, username: &str, password: Input, source: Source) -> Result<User, Error> {
        self.0.limits.signup(&compared(username), source).await?;
        self.create_user(username, password, &[]).await
    }

    /// The account that a name and a password are right for, if there may be another try.
    pub(super) async fn admit(
        &self,
        username: &str,
        password: Input,
        source: Source,
        shown: &[Identity],
    ) -> Result<Account, Error> {
        let device = self.known_device(username, shown).await?;
        let deposit = self.0.limits.login(&compared(username), source, device).await?;
        let result = self.account_of(username, password).await;
        self.settle(deposit, !matches!(result, Err(Error::Wrong))).await;
        result
    }

    /// Asks somebody who is logged in for their password once more.
    pub(super) async fn confirm(&self, account: &Account, session: SessionId, current: Input) -> Result<(), Error> {
        let deposit = self.0.limits.password(account.user.id).await?;
        let current = Password::from_input(current).map_err(|TooLong| Error::WrongCurrent)?;
        let verified = self.0.passwords.verify(current, Some(account.password.clone())).await;
        self.settle(deposit, verified != Ok(Verification::Wrong)).await;
        match verified? {
            Verification::Right { .. } => Ok(()),
            Verification::Wrong => {
                let (subject, session) = (Some(account.user.id), Some(session));
                Event { act: "password", result: "wrong", subject, session, seq: None }.log();
                Err(Error::WrongCurrent)
            }
        }
    }

    async fn settle(&self, deposit: Deposit, is_returned: bool) {
        if is_returned {
            self.0.limits.give_back(deposit).await;
        }
    }

    /// The session by which a client has shown that it was let into this very account before. Without anything shown,
    /// nothing is looked up.
    async fn known_device(&self, username: &str, shown: &[Identity]) -> Result<Option<SessionId>, Error> {
        let Some(name) = Username::parse(username).ok().filter(|_| !shown.is_empty()) else { return Ok(None) };
        let Some(account) = self.0.users.by_name(&name).await? else { return Ok(None) };
        Ok(shown.iter().find(|identity| identity.subject == account.user.id).map(|identity| identity.session))
    }

    /// The account that a name and a password are right for.
    async fn account_of(&self, username: &str, password: Input) -> Result<Account, Error> {
        // A name that cannot exist and a password that nobody can have cost what a wrong password costs: a look-up, too.
        let name = Username::parse(username).unwrap_or_else(|_| Username::nobody());
        let account = self.0.users.by_name(&name).await?;
        let (password, account) = match Password::from_input(password) {
            Ok(password) => (password, account),
            Err(TooLong) => (Password::from_input(String::new()).map_err(|TooLong| Error::Wrong)?, None),
        };
        let stored = account.as_ref().map(|account| account.password.clone());
        let verification = self.0.passwords.verify(password, stored).await?;
        let subject = account.as_ref().map(|account| account.user.id);
        let refused = |result| Event { act: "login", result, subject, ..Event::default() }.log();
        let (Verification::Right { rehash }, Some(mut account)) = (verification, account) else {
            refused("wrong");
            return Err(Error::Wrong);
        };
        if account.user.banned_at.is_some() {
            refused("banned");
            return Err(Error::Banned);
        }
        if let Some(hash) = rehash {
            self.0.users.rehash(account.user.id, account.version, &hash).await?;
            account.password = hash;
        }
        Ok(account)
    }
}

/// A name as limits know it: in the form that names are compared in, or as it is if it cannot be one.
fn compared(username: &str) -> String {
    Username::parse(username).map_or_else(|_| username.to_owned(), |name| name.key().to_owned())
}
