//! Refresh: a refresh token is given back for the next one and a new access token.
//!
//! # One family, one row
//!
//! The tokens of a session are numbered, and its row holds the number of the current one. A refresh is one conditional
//! write that raises it: session alive, number and generation as they were read. The generation stands for the user:
//! whatever changes a user so that a token must not be issued any more (logout everywhere, ban, password, roles)
//! changes the rows of that user's sessions in the same transaction. So a refresh that races one of these either comes
//! before it, and its token dies with the others, or finds another row and looks again. The claims come from the read
//! that the write has confirmed, and the generation is the session's, never the user's newest one. A floor over
//! everything changes no row; the token of a refresh that has not seen it carries a generation below it.
//!
//! # Again
//!
//! A token that was replaced is presented again for two reasons. Its client never got the answer, or has several tabs
//! that ask at once: then it comes soon, and gets the very token that has replaced it. Or somebody has a copy: then two
//! go on with tokens of one family, and sooner or later one of them comes late. That is *reuse*: the family is ended, and
//! the refusal is given when that is in force everywhere (RFC 9700 §4.14).
//!
//! *Soon* is counted from when the token was replaced to when it came in. Only two such times are kept: that of the last
//! refresh, and that of the first one of the current burst of refreshes. A token of the burst was replaced no earlier than
//! the burst began, so if its beginning is within the grace, the token is too. So a straggler among many tabs is not
//! taken for a thief when a quick one has refreshed twice.
//!
//! A number from the future means that the database has lost a refresh with a server. The token is ours, or its MAC would
//! be wrong: the family goes on from it.

use crate::{
    clock::Timestamp,
    revocation::{Act, Cause, Patience, RevokeError, ledger::Kept},
    telemetry::metrics::RefreshOutcome,
};

use super::{
    AuthError, Error, Granted, Identity, Sessions,
    audit::TARGET,
    devices::{Client, Family},
    refresh::Claimed,
};

use std::time::Duration;

/// Looks of one refresh at a row that changes under it. Each change of the number ends it, as the token is replaced then;
/// only changes of roles and of the user's other sessions make it look again.
const LOOKS: usize = 4;

/// What becomes of a refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// It is the current one: the next one takes its place.
    Next,
    /// It was replaced a moment ago: it gets what has replaced it.
    Same,
    /// It was replaced long ago.
    Reused,
    /// Its session is over.
    Over,
}

/// A refresh that has succeeded.
#[derive(Debug)]
pub struct Renewed {
    /// What the client gets.
    pub granted: Granted,
    /// Whether the token had been replaced a moment before.
    pub is_absorbed: bool,
}

impl Sessions {
    /// Gives the next refresh token of a session for the current one, with a new access token. A token that was replaced
    /// within the grace gets the same successor as before.
    ///
    /// # Errors
    /// [`Error::TooMany`]; [`Error::Credential`] if it is no token of ours, or its session is over; [`Error::Reused`] if it
    /// was replaced before that: the session is dead on every node then; [`Error::Ending`] if that is not known yet;
    /// [`Error::Conflict`], [`Error::Revoke`], [`Error::Database`].
    pub async fn refresh(&self, token: &str, client: &Client, patience: Patience) -> Result<Renewed, Error> {
        let result = self.try_refresh(token, client, patience).await;
        self.0
            .metrics
            .refreshes_total
            .at(match &result {
                Ok(Renewed { is_absorbed: false, .. }) => RefreshOutcome::Rotated,
                Ok(Renewed { is_absorbed: true, .. }) => RefreshOutcome::RaceAbsorbed,
                Err(Error::Reused | Error::Ending) => RefreshOutcome::ReuseDetected,
                Err(Error::Credential(AuthError::Invalid)) => RefreshOutcome::Invalid,
                Err(Error::Credential(_)) => RefreshOutcome::Ended,
                Err(_) => RefreshOutcome::Failed,
            })
            .increment(1);
        result
    }

    async fn try_refresh(&self, token: &str, client: &Client, patience: Patience) -> Result<Renewed, Error> {
        // Before anything is waited for: a database that is slow makes no token old. And before the row is read: a
        // revocation that comes after that also comes after `iat`.
        let now = self.clock().now();
        let claimed = self.0.refresh.open(token).ok_or(Error::Credential(AuthError::Invalid))?;
        self.0.limits.refresh(claimed.session, client.source).await?;
        for _ in 0..LOOKS {
            let (epoch, applied) = (self.0.ledger.id(), self.0.checker.cursor());
            let family = self.0.devices.family(claimed.session, epoch, now, applied).await?;
            // A row that is gone was of a session that is over: to log in is all that is left to do.
            let family = family.ok_or(Error::Credential(OVER))?;
            if !self.0.refresh.verify(&claimed, &family.secret) {
                return Err(Error::Credential(AuthError::Invalid));
            }
            match turn(&family, claimed.counter, now, self.0.settings.grace) {
                Turn::Next => {
                    if let Some(renewed) = self.rotate(&claimed, &family, now).await? {
                        return Ok(renewed);
                    }
                }
                Turn::Same => {
                    let counter = u32::try_from(family.counter).map_err(|_| Error::Credential(OVER))?;
                    let granted = self.grant_again(&claimed, &family, now, counter, family.expires_at).await;
                    return Ok(Renewed { granted, is_absorbed: true });
                }
                Turn::Reused => return Err(self.end_family(&claimed, &family, client, patience).await?),
                Turn::Over => return Err(Error::Credential(OVER)),
            }
        }
        Err(Error::Conflict)
    }

    /// The conditional write; `None` if the row is not the one that was read.
    async fn rotate(&self, claimed: &Claimed, family: &Family, now: Timestamp) -> Result<Option<Renewed>, Error> {
        if i64::from(claimed.counter) > family.counter {
            tracing::warn!(
                session = %claimed.session,
                presented = claimed.counter,
                current = family.counter,
                "the database has lost a refresh; the session goes on from the newer token"
            );
        }
        // Four thousand million refreshes of one session: it may log in again.
        let counter = claimed.counter.checked_add(1).ok_or(Error::Credential(OVER))?;
        let settings = &self.0.settings;
        let Some(expires_at) = self.0.devices.rotate(claimed.session, family, counter, self.clock(), settings).await?
        else {
            return Ok(None);
        };
        let granted = self.grant_again(claimed, family, now, counter, expires_at).await;
        Ok(Some(Renewed { granted, is_absorbed: false }))
    }

    async fn grant_again(
        &self,
        claimed: &Claimed,
        family: &Family,
        now: Timestamp,
        counter: u32,
        expires_at: Timestamp,
    ) -> Granted {
        let identity = Identity { session: claimed.session, subject: family.user.id };
        let kept = Kept { generation: family.generation, roles: family.user.roles.clone(), expires_at };
        Granted {
            user: family.user.clone(),
            session: claimed.session,
            access: self.issue(self.0.issuer.window(now), identity, kept).await,
            refresh: self.0.refresh.issue(claimed.session, counter, &family.secret),
            refresh_life: expires_at.since(now),
            csrf: self.csrf_token(claimed.session),
        }
    }

    /// Ends the session of a token that somebody has used before, and says so when that is in force everywhere.
    async fn end_family(
        &self,
        claimed: &Claimed,
        family: &Family,
        client: &Client,
        patience: Patience,
    ) -> Result<Error, Error> {
        let session = claimed.session;
        tracing::warn!(
            target: TARGET,
            act = "refresh_reuse",
            %session,
            subject = %family.user.id,
            presented = claimed.counter,
            current = family.counter,
            address = client.address.map(tracing::field::display),
            "a refresh token was used again: its session is ended"
        );
        let pending = match self.0.revoker.begin(Act::Session { session, of: None }).await {
            Ok(pending) => pending,
            // Its row is gone since: nothing of it can be used.
            Err(RevokeError::Absent) => return Ok(Error::Reused),
            Err(error) => return Err(error.into()),
        };
        let receipt = pending.receipt(patience).await?.receipt;
        // Where nothing but time takes tokens back, there is nothing to wait for.
        Ok(if receipt.complete || receipt.in_force_at.is_some() { Error::Reused } else { Error::Ending })
    }
}

const OVER: AuthError = AuthError::Ended(Cause::Session);

/// What becomes of the token with this number, whose MAC is right.
fn turn(family: &Family, counter: u32, now: Timestamp, grace: Duration) -> Turn {
    let counter = i64::from(counter);
    if counter < family.counter {
        let is_recent = |since: Timestamp| now < since + grace;
        let is_last = counter + 1 == family.counter && is_recent(family.rotated_at);
        let is_of_burst = counter >= family.burst.0 && is_recent(family.burst.1);
        return match (is_last || is_of_burst, family.is_alive) {
            (true, true) => Turn::Same,
            (true, false) => Turn::Over,
            (false, _) => Turn::Reused,
        };
    }
    if family.is_alive { Turn::Next } else { Turn::Over }
}

#[cfg(test)]
mod tests {
    use super::{super::devices::burst, *};
    use crate::{
        ids::{Generation, Subject},
        users::User,
    };

    const GRACE: Duration = Duration::from_secs(10);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(second * 1000)
    }

    fn family(counter: i64, rotated_at: i64, burst: (i64, i64)) -> Family {
        let created_at = at(0);
        Family {
            user: User {
                id: Subject::random(),
                username: "ada".to_owned(),
                roles: Vec::new(),
                created_at,
                banned_at: None,
            },
            secret: [0; 32],
            counter,
            rotated_at: at(rotated_at),
            burst: (burst.0, at(burst.1)),
            generation: Generation(0),
            expires_at: at(10_000),
            is_alive: true,
        }
    }

    #[test]
    fn a_replaced_token_is_excused_for_as_long_as_the_grace_and_no_longer() {
        // The fifth token is current since second 100; refreshes 3 and 4 followed each other, from second 95 on.
        let family = family(5, 100, (3, 95));
        for (counter, second, expected) in [
            (5, 100, Turn::Next),
            (5, 9_000, Turn::Next),
            (6, 100, Turn::Next),
            (4, 100, Turn::Same),
            (4, 109, Turn::Same),
            (4, 110, Turn::Reused),
            (3, 104, Turn::Same),
            (3, 105, Turn::Reused),
            (2, 100, Turn::Reused),
            (0, 96, Turn::Reused),
            // Another node's clock is a little ahead.
            (4, 99, Turn::Same),
        ] {
            assert_eq!(turn(&family, counter, at(second), GRACE), expected, "{counter} at {second}");
        }
        for (counter, expected) in [(5, Turn::Next), (4, Turn::Reused), (3, Turn::Reused)] {
            assert_eq!(turn(&family, counter, at(100), Duration::ZERO), expected, "{counter} without a grace");
        }
        // Refreshes at second 0, 9 and 10.5: the burst of the first is over, and the token that was replaced at 9 is not old.
        let third = Timestamp::from_millis(10_500);
        let second = Family { counter: 2, rotated_at: at(9), burst: (0, at(0)), ..family.clone() };
        assert_eq!(burst(&second, third, GRACE), (1, at(9)));
        let rolled = Family { counter: 3, rotated_at: third, burst: (1, at(9)), ..second.clone() };
        for (counter, expected) in [(2, Turn::Same), (1, Turn::Same), (0, Turn::Reused)] {
            assert_eq!(turn(&rolled, counter, at(11), GRACE), expected, "{counter}");
        }
        assert_eq!(burst(&second, at(5), GRACE), (0, at(0)), "it goes on");
        assert_eq!(burst(&second, at(30), GRACE), (2, at(30)), "another one");

        let over = Family { is_alive: false, ..family };
        for (counter, second, expected) in
            [(5, 100, Turn::Over), (6, 100, Turn::Over), (4, 100, Turn::Over), (4, 110, Turn::Reused)]
        {
            assert_eq!(turn(&over, counter, at(second), GRACE), expected, "{counter} at {second} of what is over");
        }
    }
}
