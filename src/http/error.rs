//! Errors on the wire: `application/problem+json` (RFC 9457), from one closed list.
//!
//! This file alone knows status codes. `type` is `urn:kickout:problem:<kind>`; a client acts on it and shows `detail`
//! to people. `token-expired` means refresh, `session-ended` means log in.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::{
    limits::{self, TooMany},
    passwords::PoolError,
    revocation::RevokeError,
    sessions::{AuthError, Error},
};

/// How long a client should wait before it tries again, in seconds: overload and a busy database last about so long.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

macro_rules! kinds {
    ($($kind:ident $name:literal $status:ident $title:literal;)*) => {
        /// The kinds of problems: the whole list.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kind {
            $(#[doc = $title] $kind,)*
        }

        impl Kind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The kind's name within `type`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// The status it is answered with.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$kind => StatusCode::$status,)* }
            }

            /// What it is called for people.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$kind => $title,)* }
            }
        }
    };
}

kinds! {
    InvalidRequest "invalid-request" BAD_REQUEST "The request is malformed";
    InvalidJson "invalid-json" BAD_REQUEST "The body is not JSON";
    AmbiguousCredentials "ambiguous-credentials" BAD_REQUEST "More than one credential was sent";
    CredentialsInvalid "credentials-invalid" UNAUTHORIZED "Wrong user name or password";
    TokenMissing "token-missing" UNAUTHORIZED "No token was sent";
    TokenInvalid "token-invalid" UNAUTHORIZED "The token is not valid";
    TokenExpired "token-expired" UNAUTHORIZED "The token has expired";
    SessionEnded "session-ended" UNAUTHORIZED "The session has ended";
    AccountBanned "account-banned" FORBIDDEN "The account is banned";
    PasswordWrong "password-wrong" FORBIDDEN "The current password is wrong";
    SignupDisabled "signup-disabled" FORBIDDEN "Signing up is switched off";
    CsrfRefused "csrf-refused" FORBIDDEN "The request may come from another site";
    NotFound "not-found" NOT_FOUND "There is nothing here";
    MethodNotAllowed "method-not-allowed" METHOD_NOT_ALLOWED "This method cannot be used here";
    RequestTimeout "request-timeout" REQUEST_TIMEOUT "The request came too slowly";
    UsernameTaken "username-taken" CONFLICT "The user name is taken";
    Conflict "conflict" CONFLICT "The account was changed at the same moment";
    BodyTooLarge "body-too-large" PAYLOAD_TOO_LARGE "The body is too large";
    UnsupportedMediaType "unsupported-media-type" UNSUPPORTED_MEDIA_TYPE "The body must be JSON";
    UsernameInvalid "username-invalid" UNPROCESSABLE_ENTITY "This cannot be a user name";
    PasswordUnacceptable "password-unacceptable" UNPROCESSABLE_ENTITY "This password is not accepted";
    TooManyRequests "too-many-requests" TOO_MANY_REQUESTS "Too many tries";
    Internal "internal" INTERNAL_SERVER_ERROR "Something went wrong on our side";
    Overloaded "overloaded" SERVICE_UNAVAILABLE "Too much to do at the moment";
    Unavailable "unavailable" SERVICE_UNAVAILABLE "Cannot be done at the moment";
}

/// A problem: what a handler answers instead of its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    kind: Kind,
    detail: Option<String>,
    /// Seconds until another try will do, if that is known.
    retry_after: Option<u64>,
}

impl Problem {
    /// A problem of this kind.
    #[must_use]
    pub const fn new(kind: Kind) -> Self {
        Self { kind, detail: None, retry_after: None }
    }

    /// With what is wrong in this case, and what to do. Never with a secret.
    #[must_use]
    pub fn because(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: Some(detail.into()), retry_after: None }
    }

    /// Without a word on what is wrong in this case.
    #[must_use]
    pub fn silent(self) -> Self {
        Self::new(self.kind)
    }

    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.kind.status();
        let body = Body {
            r#type: format!("urn:kickout:problem:{}", self.kind.name()),
            title: self.kind.title(),
            status: status.as_u16(),
            detail: self.detail.as_deref(),
        };
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, challenge(self.kind));
        }
        if [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS].contains(&status) {
            headers.insert(header::RETRY_AFTER, self.retry_after.map_or(RETRY_AFTER, HeaderValue::from));
        }
        response
    }
}

/// RFC 6750 §3: an error code only if a token was sent.
const fn challenge(kind: Kind) -> HeaderValue {
    HeaderValue::from_static(match kind {
        Kind::TokenInvalid => r#"Bearer realm="kickout", error="invalid_token""#,
        Kind::TokenExpired => r#"Bearer realm="kickout", error="invalid_token", error_description="expired""#,
        Kind::SessionEnded => r#"Bearer realm="kickout", error="invalid_token", error_description="revoked""#,
        _ => r#"Bearer realm="kickout""#,
    })
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        let kind = match error {
            // What a client does about either is the same: it refreshes.
            AuthError::Expired | AuthError::TakenBack(_) => Kind::TokenExpired,
            AuthError::Invalid => Kind::TokenInvalid,
            AuthError::Ended(_) => Kind::SessionEnded,
            AuthError::Unknown(_) => Kind::Unavailable,
        };
        Self::because(kind, error.to_string())
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Wrong => Kind::CredentialsInvalid,
            Error::Banned => Kind::AccountBanned,
            Error::WrongCurrent => Kind::PasswordWrong,
            Error::SignupOff => Kind::SignupDisabled,
            Error::Taken => Kind::UsernameTaken,
            Error::Name(_) => Kind::UsernameInvalid,
            Error::Password(_) => Kind::PasswordUnacceptable,
            Error::Credential(error) => return (*error).into(),
            Error::Reused => Kind::SessionEnded,
            Error::NoSession => Kind::NotFound,
            Error::Conflict => Kind::Conflict,
            Error::TooMany(_) => Kind::TooManyRequests,
            Error::Busy(PoolError::Full) | Error::Revoke(RevokeError::Full) => Kind::Overloaded,
            Error::Busy(_) | Error::Revoke(_) | Error::Ending => Kind::Unavailable,
            Error::Database(error) if error.is_temporary() => Kind::Unavailable,
            Error::Database(_) => Kind::Internal,
        };
        if matches!(kind, Kind::Internal | Kind::Unavailable) {
            // Whoever operates this learns more than whoever asked.
            tracing::error!(%error, "a request could not be answered");
            return Self { kind, detail: left_behind(&error).map(str::to_owned), retry_after: None };
        }
        let retry_after = match &error {
            Error::TooMany(TooMany { after }) => Some(limits::seconds(*after)),
            _ => None,
        };
        let detail = left_behind(&error).map_or_else(|| error.to_string(), str::to_owned);
        Self { kind, detail: Some(detail), retry_after }
    }
}

/// What a revocation without a receipt has left behind: whoever has just asked for one must know whether they are safe.
/// Fixed words, which say nothing about the inside.
fn left_behind(error: &Error) -> Option<&'static str> {
    match error {
        error if error.is_unsettled() => Some("whether it was recorded is not known; send it again for a receipt"),
        Error::Revoke(RevokeError::Unapplied(_)) => {
            Some("it is recorded and will be in force before this node answers again; send it again for a receipt")
        }
        Error::Revoke(RevokeError::Full | RevokeError::Ledger(_) | RevokeError::Stopping) => {
            Some("nothing was recorded; nothing has changed for you; send it again")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_revocation_without_a_receipt_says_what_it_has_left_behind() {
        use crate::{database::DatabaseError, ids::Seq, revocation::sync::LoadError};
        let detail = |error: RevokeError| Problem::from(Error::Revoke(error)).detail.unwrap_or_default();
        let failed = || DatabaseError::Foreign("inside".to_owned());
        for error in [RevokeError::Full, RevokeError::Stopping, RevokeError::Ledger(failed().into())] {
            assert_eq!(detail(error), "nothing was recorded; nothing has changed for you; send it again");
        }
        let unsettled = DatabaseError::Unsettled(failed().into());
        assert!(detail(RevokeError::Ledger(unsettled.into())).starts_with("whether it was recorded is not known"));
        let broken = LoadError::Broken { after: Seq(7) };
        let text = detail(RevokeError::Unapplied(broken.into()));
        assert!(text.starts_with("it is recorded and will be in force") && !text.contains('7'), "{text}");
    }

    #[tokio::test]
    async fn every_kind_is_a_problem_with_its_own_name_and_the_headers_of_its_status() {
        let names: HashSet<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), Kind::ALL.len());
        for &kind in Kind::ALL {
            let response = Problem::because(kind, "why").into_response();
            let headers = response.headers().clone();
            assert_eq!(response.status(), kind.status());
            assert!(kind.status().is_client_error() || kind.status().is_server_error(), "{kind:?}");
            assert_eq!(headers[header::CONTENT_TYPE], "application/problem+json");
            assert_eq!(headers.contains_key(header::WWW_AUTHENTICATE), kind.status() == StatusCode::UNAUTHORIZED);
            let is_later = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS].contains(&kind.status());
            assert_eq!(headers.contains_key(header::RETRY_AFTER), is_later);
            let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["type"], format!("urn:kickout:problem:{}", kind.name()));
            assert_eq!(body["status"], kind.status().as_u16());
            assert_eq!(body["title"], kind.title());
            assert_eq!(body["detail"], "why");
        }
    }
}
