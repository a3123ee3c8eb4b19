//! Opaque sessions: the credential of the strategies `session-redis` and `session-sql`.
//!
//! It takes the place of the access token, in the same cookie and for the same time, and says nothing: it names the
//! session, and under a MAC of the server's secret also the user and until when it is good, so that a forgery costs no
//! look-up. Everything else is looked up at every request: in Redis, where a login and a refresh have put it, or in the
//! database, where the session's row is.
//!
//! A session that Redis has not is no session that has ended: it may be lost. Its client is told to refresh, which asks the
//! database and puts it there again. So a store that loses what it holds costs one refresh for each session, and no login.
//! What ends a session is not that it is taken out: it is an entry beside it, which a check reads with it
//! ([`crate::revocation::blocklist::asked`]).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use uuid::Uuid;

use crate::{
    clock::Timestamp,
    ids::{SessionId, Subject, TokenId},
    revocation::{
        Cause, Ignorance,
        asked::Store,
        blocklist::asked::{Kept, Told},
    },
    secret::{self, MacKey, ServerSecret},
    tokens::{Claims, Profile},
};

use super::{AuthError, Caller, Identity, Sessions, devices::Seen};

/// Of a session, a user, and two times in seconds.
const BODY: usize = 16 + 16 + 8 + 8;

/// Of the MAC: half of an HMAC-SHA-256, which nobody guesses either.
const MAC: usize = 16;

/// What an opaque credential begins with, so that people and scanners can tell what it is.
pub(super) const PREFIX: &str = "kos_";

/// Where sessions are looked up.
#[derive(Debug, Clone)]
pub enum Place {
    /// In Redis.
    Redis(Store),
    /// In the database.
    Database,
}

/// Makes and reads opaque credentials.
#[derive(Debug, Clone)]
pub struct Opaque {
    key: MacKey,
    profile: Profile,
    place: Place,
}

/// What a credential says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Named {
    session: SessionId,
    subject: Subject,
    iat: i64,
    exp: i64,
}

impl Opaque {
    /// Credentials under a key of the server's secret, for sessions that are looked up in this place.
    #[must_use]
    pub fn new(secret: &ServerSecret, profile: Profile, place: Place) -> Self {
        Self { key: secret.derive("opaque session, version 1"), profile, place }
    }

    fn write(&self, named: Named) -> String {
        let mut bytes = Vec::with_capacity(BODY + MAC);
        bytes.extend_from_slice(named.session.uuid().as_bytes());
        bytes.extend_from_slice(named.subject.uuid().as_bytes());
        bytes.extend_from_slice(&named.iat.to_be_bytes());
        bytes.extend_from_slice(&named.exp.to_be_bytes());
        let mac = self.key.sign(&[&bytes]);
        bytes.extend_from_slice(&mac[..MAC]);
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Reads a credential whose MAC is right, good or over.
    fn read(&self, text: &str) -> Option<Named> {
        let text = text.strip_prefix(PREFIX)?;
        // Before anything is decoded: what is longer is not ours.
        if text.len() != ((BODY + MAC) * 4).div_ceil(3) {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (body, mac) = bytes.split_at_checked(BODY)?;
        if !secret::equal(&self.key.sign(&[body])[..MAC], mac) {
            return None;
        }
        let (session, rest) = body.split_first_chunk::<16>()?;
        let (subject, rest) = rest.split_first_chunk::<16>()?;
        let (iat, rest) = rest.split_first_chunk::<8>()?;
        let exp = rest.first_chunk::<8>()?;
        Some(Named {
            session: Uuid::from_bytes(*session).into(),
            subject: Uuid::from_bytes(*subject).into(),
            iat: i64::from_be_bytes(*iat),
            exp: i64::from_be_bytes(*exp),
        })
    }

    /// What a token would say.
    fn claims(&self, named: Named, kept: Kept, epoch: crate::ids::LedgerId) -> Claims {
        Claims {
            iss: self.profile.issuer.clone(),
            aud: self.profile.audience.clone(),
            sub: named.subject,
            sid: named.session,
            // There is no token: the session stands for it.
            jti: TokenId::from(named.session.uuid()),
            iat: named.iat,
            exp: named.exp,
            generation: kept.generation,
            epoch,
            client_id: self.profile.client_id.clone(),
            roles: kept.roles,
        }
    }
}

impl Sessions {
    /// Whose session a credential is of, if it is one of ours that is not over by itself.
    pub(super) fn name(&self, opaque: &Opaque, text: &str) -> Result<Identity, AuthError> {
        self.read_opaque(opaque, text).map(|named| Identity { session: named.session, subject: named.subject })
    }

    fn read_opaque(&self, opaque: &Opaque, text: &str) -> Result<Named, AuthError> {
        // A token, from when credentials were tokens: a refresh gives what is taken here.
        if !text.starts_with(PREFIX) && text.contains('.') {
            return Err(AuthError::Expired);
        }
        let named = opaque.read(text).ok_or(AuthError::Invalid)?;
        let leeway = opaque.profile.leeway;
        let is_over = self.clock().now() >= Timestamp::from_millis(named.exp.saturating_mul(1000)) + leeway;
        if is_over { Err(AuthError::Expired) } else { Ok(named) }
    }

    /// Whether an opaque credential is good, by a look at where sessions are.
    pub(super) async fn recognise(&self, opaque: &Opaque, text: &str) -> Result<Caller, AuthError> {
        let named = self.read_opaque(opaque, text)?;
        if let Some(ignorance) = self.0.checker.ignorance(None) {
            return Err(AuthError::Unknown(ignorance));
        }
        let (epoch, applied) = (self.0.ledger.id(), self.0.checker.cursor());
        let (kept, seq) = match &opaque.place {
            Place::Redis(store) => {
                let found = store.blocklist().session(epoch, named.session, named.subject).await;
                let kept = match found {
                    Ok((Some(kept), Told::Alive)) => kept,
                    Ok((_, Told::Dead(cause @ (Cause::Roles | Cause::Token | Cause::Key)))) => {
                        return Err(AuthError::TakenBack(cause));
                    }
                    Ok((_, Told::Dead(cause))) => return Err(AuthError::Ended(cause)),
                    Ok((_, Told::Lost)) => {
                        store.is_wanting();
                        return Err(AuthError::Unknown(Ignorance::Store));
                    }
                    // It was never put there, or is lost: a refresh puts it there.
                    Ok((None, Told::Alive)) => return Err(AuthError::TakenBack(Cause::Session)),
                    Err(error) => {
                        tracing::debug!(%error, "Redis could not be asked");
                        return Err(AuthError::Unknown(Ignorance::Store));
                    }
                };
                (kept, applied.seq)
            }
            Place::Database => {
                let look = || self.0.devices.seen(named.session, epoch, self.clock().now(), applied);
                let seen = match look().await {
                    // The connection was dead; another one may not be.
                    Err(error) if error.is_temporary() => look().await,
                    seen => seen,
                };
                match seen {
                    Ok(Some(Seen { subject, generation, roles, seq, is_alive: true })) if subject == named.subject => {
                        (Kept { sub: subject, generation, roles }, seq)
                    }
                    Ok(_) => return Err(AuthError::Ended(Cause::Session)),
                    Err(error) => {
                        tracing::warn!(%error, "the session could not be looked up");
                        return Err(AuthError::Unknown(Ignorance::Store));
                    }
                }
            }
        };
        Ok(Caller { claims: opaque.claims(named, kept, epoch).into(), seq })
    }

    /// A credential for a session whose row was just written or read.
    ///
    /// That it cannot be put into Redis now refuses nobody: what was written into the database stands, and a client that
    /// were told otherwise would show the refresh token again that it has just used.
    pub(super) async fn grant_opaque(
        &self,
        opaque: &Opaque,
        (iat, exp): (i64, i64),
        identity: Identity,
        kept: Kept,
    ) -> (String, Claims) {
        let epoch = self.0.ledger.id();
        let named = Named { session: identity.session, subject: identity.subject, iat, exp };
        if let Place::Redis(store) = &opaque.place {
            let life =
                (Timestamp::from_millis(exp.saturating_mul(1000)) + opaque.profile.leeway).since(self.clock().now());
            if let Err(error) = store.blocklist().keep(epoch, named.session, &kept, life).await {
                tracing::warn!(%error, "a session could not be put into Redis; its client will be told to refresh");
            }
        }
        (opaque.write(named), opaque.claims(named, kept, epoch))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn opaque(secret: [u8; 32]) -> Opaque {
        let profile = Profile {
            issuer: "i".to_owned(),
            audience: "a".to_owned(),
            client_id: "c".to_owned(),
            access_ttl: Duration::from_mins(15),
            leeway: Duration::ZERO,
        };
        Opaque::new(&ServerSecret::new(secret), profile, Place::Database)
    }

    fn named() -> Named {
        Named { session: SessionId::random(), subject: Subject::random(), iat: 1_700_000_000, exp: 1_700_000_900 }
    }

    #[test]
    fn a_credential_is_read_back_and_under_another_secret_it_is_nothing() {
        let (ours, others) = (opaque([1; 32]), opaque([2; 32]));
        let named = named();
        let text = ours.write(named);
        assert_eq!(text.len(), 4 + 86);
        assert_eq!(ours.read(&text), Some(named));
        assert_eq!(others.read(&text), None);
        assert!(
            text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)),
            "fits a cookie: {text}"
        );
    }

    proptest! {
        #[test]
        fn no_bit_of_a_credential_can_be_changed(at in 0_usize..90, bit in 0_u8..7) {
            let ours = opaque([1; 32]);
            let mut bytes = ours.write(named()).into_bytes();
            bytes[at] ^= 1 << bit;
            if let Ok(text) = String::from_utf8(bytes) {
                prop_assert_eq!(ours.read(&text), None, "{}", text);
            }
        }

        #[test]
        fn any_text_is_read_without_harm(text: String) {
            prop_assert_eq!(opaque([1; 32]).read(&text), None);
        }
    }
}
