//! The use cases: sign up, log in, authenticate, log out here or everywhere, change the password. No HTTP in here.
//!
//! A login is one conditional write: the session's row is inserted only if the user's row is still at the version that
//! the password was read with, and the token's claims come from what that write returned. Times are taken before it.
//! So a login that races a ban, a password change or a logout-all either comes before it and dies with it, or does not
//! happen with the old password. How a refresh keeps to the same is told in [`renewal`].

mod attempts;
pub mod audit;
pub mod devices;
mod ending;
mod error;
pub mod opaque;
pub mod refresh;
pub mod renewal;

use std::{sync::Arc, time::Duration};

use crate::{
    clock::{LedgerClock, Timestamp},
    csrf::CsrfTokens,
    ids::{KeyId, Seq, SessionId, Subject},
    limits::{Limits, Source},
    passwords::{Input, Password, Passwords, Policy, Refusal},
    revocation::{
        Act, Cause, Checked, Checker, Ignorance, OnStale, Patience, Presented, Receipt, RevokeError, Revoker, Verdict,
        blocklist::asked,
        ledger::{Kept, Ledger},
    },
    telemetry::metrics::{LoginOutcome, Metrics, SignupOutcome},
    tokens::{Claims, Grant, IssuedToken, Issuer, Refusal as TokenRefusal, Verified, Verifier, Window, profile},
    users::{Account, Created, User, Username, Users},
};

pub use self::error::{AuthError, Error};

use self::{
    audit::Event,
    devices::{Client, Devices, NewSession},
    opaque::Opaque,
    refresh::{RefreshToken, RefreshTokens},
};

/// How sessions are made.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How long after it was replaced a refresh token still gets the one that has replaced it.
    pub grace: Duration,
    /// A session that is not used for so long ends.
    pub idle: Duration,
    /// A session ends after so long, used or not.
    pub absolute: Duration,
    /// Live sessions per user at most; a login beyond it ends the one used least recently.
    pub max_per_user: usize,
    /// Whether anyone may make an account.
    pub signup: bool,
}

/// Somebody whose access token is good.
#[derive(Debug, Clone)]
pub struct Caller {
    /// What the token says.
    pub claims: Arc<Claims>,
    /// Up to where this node had applied revocations when it was checked.
    pub seq: Seq,
}

/// Whose session a credential is of, whether the session is alive or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The session.
    pub session: SessionId,
    /// The user.
    pub subject: Subject,
}

/// A login as it comes in.
#[derive(Debug)]
pub struct Login {
    /// As the user wrote it.
    pub username: String,
    /// The password.
    pub password: Input,
    /// From where and with what.
    pub client: Client,
    /// The sessions of the same browser, which this login ends: one, or two if its cookies do not belong together. One of
    /// this very account makes it a known device.
    pub replaces: Vec<Identity>,
}

/// A session that was opened, and what its client gets.
#[derive(Debug)]
pub struct Opened {
    /// The session.
    pub session: SessionId,
    /// Its first access token.
    pub access: IssuedToken,
    /// Its first refresh token.
    pub refresh: RefreshToken,
}

/// What a client gets from a login or a refresh.
#[derive(Debug)]
pub struct Granted {
    /// Who.
    pub user: User,
    /// The session.
    pub session: SessionId,
    /// The access token.
    pub access: IssuedToken,
    /// The refresh token.
    pub refresh: RefreshToken,
    /// How long the refresh token is good if it is not used.
    pub refresh_life: Duration,
    /// A CSRF token for clients that do not say where their requests come from.
    pub csrf: String,
}

/// A login that succeeded.
#[derive(Debug)]
pub struct LoggedIn {
    /// What the client gets.
    pub granted: Granted,
    /// The session of the same browser that this login has ended.
    pub ended: Option<Receipt>,
}

/// The answer of an act that may leave the caller's own session alive.
#[derive(Debug)]
pub struct Ended {
    /// The receipt.
    pub receipt: Receipt,
    /// A new access token for the session that lives on.
    pub access: Option<IssuedToken>,
}

/// The parts that the use cases work with.
#[derive(Debug)]
pub struct Parts {
    /// How sessions are made.
    pub settings: Settings,
    /// Users.
    pub users: Users,
    /// Sessions' rows.
    pub devices: Devices,
    /// The ledger.
    pub ledger: Ledger,
    /// Takes back.
    pub revoker: Revoker,
    /// Knows what was taken back.
    pub checker: Checker,
    /// Signs tokens.
    pub issuer: Issuer,
    /// Verifies them.
    pub verifier: Verifier,
    /// Hashes passwords.
    pub passwords: Passwords,
    /// Judges new ones.
    pub policy: Policy,
    /// Makes credentials that are no tokens, where the strategy is one of sessions.
    pub opaque: Option<Opaque>,
    /// Makes refresh tokens.
    pub refresh: RefreshTokens,
    /// Makes CSRF tokens.
    pub csrf: CsrfTokens,
    /// Bounds tries.
    pub limits: Limits,
    /// Counts.
    pub metrics: Metrics,
}

/// The use cases. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sessions(Arc<Parts>);

/// Tries of a login whose account changes under it: more than two at once is not a coincidence.
const LOGIN_TRIES: usize = 2;

/// How long a login waits until the browser's old session is dead on every node: a healthy cluster takes milliseconds,
/// and with a dead node nobody should wait for its hold to log in. The receipt says how far it has come.
const REPLACING: Patience = Patience::AtMost(Duration::from_secs(1));

/// Refresh tokens of one request that are looked up at most: each costs a look into the database.
const REFRESH_TRIES: usize = 4;

impl Sessions {
    /// Use cases over these parts.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Ledger time.
    #[must_use]
    pub fn clock(&self) -> &LedgerClock {
        self.0.ledger.clock()
    }

    /// The pool of password hashing, for its figures.
    #[must_use]
    pub fn passwords(&self) -> &Passwords {
        &self.0.passwords
    }

    /// Takes things back; for acts that no user asks for.
    #[must_use]
    pub fn revoker(&self) -> &Revoker {
        &self.0.revoker
    }

    /// The table of users.
    #[must_use]
    pub fn users(&self) -> &Users {
        &self.0.users
    }

    /// The limits of tries.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Makes an account, if users may do that themselves.
    ///
    /// # Errors
    /// [`Error::SignupOff`], [`Error::TooMany`], [`Error::Taken`], [`Error::Name`], [`Error::Password`],
    /// [`Error::Busy`], [`Error::Database`].
    pub async fn sign_up(&self, username: &str, password: Input, source: Source) -> Result<User, Error> {
        if !self.0.settings.signup {
            return Err(Error::SignupOff);
        }
        let result = self.try_sign_up(username, password, source).await;
        if let Ok(user) = &result {
            Event { act: "signup", result: "done", subject: Some(user.id), ..Event::default() }.log();
        }
        self.0
            .metrics
            .signups_total
            .at(match &result {
                Ok(_) => SignupOutcome::Ok,
                Err(Error::Taken) => SignupOutcome::Taken,
                Err(Error::TooMany(_)) => SignupOutcome::Limited,
                Err(_) => SignupOutcome::Refused,
            })
            .increment(1);
        result
    }

    /// Makes an account.
    ///
    /// # Errors
    /// As [`sign_up`](Self::sign_up), but never [`Error::SignupOff`].
    pub async fn create_user(&self, username: &str, password: Input, roles: &[String]) -> Result<User, Error> {
        let name = Username::parse(username)?;
        let password = self.accept_new(password, name.as_str())?;
        let hash = self.0.passwords.hash(password).await?;
        match self.0.users.create(&name, &hash, roles, self.clock().now()).await? {
            Created::User(user) => Ok(user),
            Created::Taken => Err(Error::Taken),
        }
    }

    /// Logs a user in.
    ///
    /// # Errors
    /// [`Error::TooMany`], [`Error::Wrong`], [`Error::Banned`], [`Error::Conflict`], [`Error::Busy`],
    /// [`Error::Revoke`], [`Error::Database`].
    pub async fn log_in(&self, login: Login) -> Result<LoggedIn, Error> {
        let result = self.try_log_in(login).await;
        if let Ok(LoggedIn { granted, .. }) = &result {
            let (subject, session) = (Some(granted.user.id), Some(granted.session));
            Event { act: "login", result: "done", subject, session, seq: None }.log();
        }
        self.0
            .metrics
            .logins_total
            .at(match &result {
                Ok(_) => LoginOutcome::Ok,
                Err(Error::Banned) => LoginOutcome::Banned,
                Err(Error::Wrong) => LoginOutcome::Wrong,
                Err(Error::TooMany(_)) => LoginOutcome::Limited,
                Err(_) => LoginOutcome::Overloaded,
            })
            .increment(1);
        result
    }

    async fn try_log_in(&self, login: Login) -> Result<LoggedIn, Error> {
        let account = self.admit(&login.username, login.password, login.client.source, &login.replaces).await?;
        let mut opened = self.open(&account, &login.client).await?;
        for _ in 1..LOGIN_TRIES {
            if opened.is_some() {
                break;
            }
            // The row has changed since the password was read. If the password is still the same it was something
            // else (a rehash of another login, a role): go on with the row as it is now.
            let now = self.0.users.by_id(account.user.id).await?.ok_or(Error::Wrong)?;
            if now.password != account.password {
                return Err(Error::Wrong);
            }
            opened = self.open(&now, &login.client).await?;
        }
        let Opened { session, access, refresh } = opened.ok_or(Error::Conflict)?;
        let mut ended = None;
        for old in login.replaces {
            match self.revoke(Act::Session { session: old.session, of: None }, REPLACING).await {
                Ok(revoked) => ended = ended.or(Some(revoked.receipt).filter(|receipt| !receipt.already)),
                Err(Error::NoSession) => {}
                Err(error) => return Err(error),
            }
        }
        // After that: the browser's old session must not push out another device.
        self.make_room(account.user.id, session).await?;
        let granted = Granted {
            user: account.user,
            session,
            access,
            refresh,
            refresh_life: self.refresh_life(),
            csrf: self.csrf_token(session),
        };
        Ok(LoggedIn { granted, ended })
    }

    /// Opens a session for an account whose owner somebody else has made sure of: what a login does after the password,
    /// for embedders with another first step. No request leads here.
    ///
    /// # Errors
    /// [`Error::NoSession`] if there is no such account; [`Error::Banned`], [`Error::Conflict`], [`Error::Revoke`],
    /// [`Error::Database`].
    pub async fn open_for(&self, subject: Subject, client: &Client) -> Result<Opened, Error> {
        let account = self.0.users.by_id(subject).await?.ok_or(Error::NoSession)?;
        let opened = self.open(&account, client).await?.ok_or(Error::Conflict)?;
        self.make_room(subject, opened.session).await?;
        Ok(opened)
    }

    /// The conditional write of a login; `None` if the user's row is not the one that was read.
    async fn open(&self, account: &Account, client: &Client) -> Result<Option<Opened>, Error> {
        if account.user.banned_at.is_some() {
            return Err(Error::Banned);
        }
        let now = self.clock().now();
        let window = self.0.issuer.window(now);
        let epoch = self.0.ledger.id();
        let new = NewSession::draw(epoch, account.user.id, account.version, now, self.0.settings, client);
        let Some(generation) = self.0.devices.open(&new).await? else { return Ok(None) };
        let kept = Kept { generation, roles: account.user.roles.clone(), expires_at: expiry(now, self.0.settings) };
        let identity = Identity { session: new.id, subject: account.user.id };
        let access = self.issue(window, identity, kept).await;
        Ok(Some(Opened { session: new.id, access, refresh: self.0.refresh.issue(new.id, 0, &new.secret) }))
    }

    /// Ends the sessions of a user beyond the limit, those used least recently first, but never `spare`.
    async fn make_room(&self, subject: Subject, spare: SessionId) -> Result<(), Error> {
        let limit = self.0.settings.max_per_user;
        for session in self.0.devices.beyond(subject, spare, limit, self.clock().now()).await? {
            // It is recorded; nobody waits for it to be in force.
            match self.0.revoker.begin(Act::Session { session, of: Some(subject) }).await {
                Ok(_) | Err(RevokeError::Absent) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Whether an access token is good: ours, alive, and not taken back.
    ///
    /// # Errors
    /// [`AuthError`].
    pub async fn authenticate(&self, token: &str) -> Result<Caller, AuthError> {
        self.authenticate_with(token, None).await
    }

    /// As [`authenticate`](Self::authenticate), under another policy for when this node's lease is over.
    ///
    /// # Errors
    /// [`AuthError`].
    pub async fn authenticate_with(&self, token: &str, on_stale: Option<OnStale>) -> Result<Caller, AuthError> {
        if let Some(opaque) = &self.0.opaque {
            // Boxed: what another strategy does must not make this one's future large.
            return Box::pin(self.recognise(opaque, token)).await;
        }
        if token.starts_with(opaque::PREFIX) {
            // From when credentials were sessions: a refresh gives a token.
            return Err(AuthError::Expired);
        }
        let Verified { claims, kid } =
            self.verify(token).map_err(|refused| refused.told(|| self.0.checker.ignorance(on_stale)))?;
        let checked = self.check(&claims, kid, on_stale).await;
        match checked.verdict {
            Verdict::Active => Ok(Caller { claims, seq: checked.seq }),
            Verdict::Revoked(cause @ (Cause::Token | Cause::Roles | Cause::Key)) => Err(AuthError::TakenBack(cause)),
            Verdict::Revoked(cause) => Err(AuthError::Ended(cause)),
            Verdict::Unknown(ignorance) => Err(AuthError::Unknown(ignorance)),
        }
    }

    fn verify(&self, token: &str) -> Result<Verified, Refused> {
        let now = self.clock().now();
        let ceiling = self.0.ledger.lifetimes().ceiling(now);
        self.0.verifier.verify_with_key(token, now, ceiling).map_err(|refusal| {
            self.0.metrics.token_refused(refusal.as_label());
            Refused(refusal)
        })
    }

    async fn check(&self, claims: &Claims, key: KeyId, on_stale: Option<OnStale>) -> Checked {
        let presented = Presented {
            token: claims.jti,
            session: claims.sid,
            subject: claims.sub,
            generation: claims.generation,
            epoch: claims.epoch,
            key,
        };
        match on_stale {
            Some(on_stale) => self.0.checker.check_with(&presented, on_stale).await,
            None => self.0.checker.check(&presented).await,
        }
    }

    /// Whose sessions credentials are of, also if those sessions have ended: enough to end them (again). The access
    /// token's comes first; those of the refresh tokens follow, each once. Refresh tokens that are not ours are passed
    /// over, and so is what comes after the first few that have the form of one.
    ///
    /// # Errors
    /// [`AuthError::Expired`] or [`AuthError::Invalid`] if no credential names a session; [`Error::Database`].
    pub async fn identify(
        &self,
        access: Option<&str>,
        refresh: &[&str],
    ) -> Result<Result<Vec<Identity>, AuthError>, Error> {
        let by_access = access.map(|token| match &self.0.opaque {
            Some(opaque) => self.name(opaque, token),
            None => self
                .verify(token)
                .map(|Verified { claims, .. }| Identity { session: claims.sid, subject: claims.sub })
                .map_err(|refused| refused.told(|| None)),
        });
        let mut found: Vec<Identity> = Vec::new();
        found.extend(by_access.and_then(Result::ok));
        for claimed in refresh.iter().filter_map(|token| self.0.refresh.open(token)).take(REFRESH_TRIES) {
            found.extend(self.identify_refresh(&claimed).await?.filter(|identity| !found.contains(identity)));
        }
        if found.is_empty() {
            return Ok(Err(by_access.and_then(Result::err).unwrap_or(AuthError::Invalid)));
        }
        Ok(Ok(found))
    }

    async fn identify_refresh(&self, claimed: &refresh::Claimed) -> Result<Option<Identity>, Error> {
        let Some((subject, secret)) = self.0.devices.secret_of(claimed.session, self.0.checker.cursor()).await? else {
            return Ok(None);
        };
        let is_ours = self.0.refresh.verify(claimed, &secret);
        Ok(is_ours.then_some(Identity { session: claimed.session, subject }))
    }

    /// A CSRF token for a session.
    #[must_use]
    pub fn csrf_token(&self, session: SessionId) -> String {
        self.0.csrf.issue(session)
    }

    /// Whether a CSRF token is of this session.
    #[must_use]
    pub fn is_csrf_token(&self, token: &str, session: SessionId) -> bool {
        self.0.csrf.verify(token, session)
    }

    /// The caller's account.
    ///
    /// # Errors
    /// [`Error::NoSession`] if it is gone; [`Error::Database`].
    pub async fn user(&self, subject: Subject) -> Result<User, Error> {
        Ok(self.0.users.by_id(subject).await?.ok_or(Error::NoSession)?.user)
    }

    /// A user's live sessions, the most recently used first.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn list(&self, subject: Subject) -> Result<Vec<devices::Device>, Error> {
        Ok(self.0.devices.list(subject, self.clock().now()).await?)
    }

    /// How long a refresh token is good if it is not used.
    fn refresh_life(&self) -> Duration {
        self.0.settings.idle.min(self.0.settings.absolute)
    }

    fn accept_new(&self, password: Input, username: &str) -> Result<Password, Error> {
        let password = Password::from_input(password).map_err(Refusal::from)?;
        self.0.policy.check(&password, username)?;
        Ok(password)
    }

    async fn issue(&self, window: Window, identity: Identity, kept: Kept) -> IssuedToken {
        let window = window.until(kept.expires_at);
        if let Some(opaque) = &self.0.opaque {
            let kept = asked::Kept { sub: identity.subject, generation: kept.generation, roles: kept.roles };
            let granted = Box::pin(self.grant_opaque(opaque, (window.iat, window.exp), identity, kept)).await;
            return IssuedToken { text: granted.0, claims: granted.1 };
        }
        self.0.issuer.issue(
            window,
            Grant {
                subject: identity.subject,
                session: identity.session,
                generation: kept.generation,
                epoch: self.0.ledger.id(),
                roles: kept.roles,
            },
        )
    }
}

/// A token that the verifier has refused.
struct Refused(TokenRefusal);

impl Refused {
    /// What its client is told. A key or a lifetime that this node does not know may be new, and the node behind: then it
    /// cannot tell, like of any other token.
    fn told(&self, ignorance: impl FnOnce() -> Option<Ignorance>) -> AuthError {
        match self.0 {
            TokenRefusal::Expired => AuthError::Expired,
            // Whether that key has really signed it nobody can say. Whoever has only the name of such a key, and no
            // refresh token, gains nothing by being told to refresh.
            TokenRefusal::RevokedKey => AuthError::TakenBack(Cause::Key),
            TokenRefusal::Key | TokenRefusal::Lifetime => ignorance().map_or(AuthError::Invalid, AuthError::Unknown),
            _ => AuthError::Invalid,
        }
    }
}

/// The longest that a leftover row of an ended session is of use: it answers a second logout with `already`.
pub const KEEP_ENDED: Duration = Duration::from_hours(24);

const _: () = assert!(profile::MAX_TOKEN_BYTES <= 4096, "a cookie holds 4096 bytes (RFC 6265 §6.1)");

/// When a session that starts now ends if it is not used.
fn expiry(now: Timestamp, settings: Settings) -> Timestamp {
    now + settings.idle.min(settings.absolute)
}
