//! Whose sessions a logout ends. Nobody must be kept from leaving: neither by a token that has expired, nor by a cookie
//! that somebody else has set beside the right one, nor by having kept no cookies at all.

use axum::{
    extract::{FromRequest, Request},
    response::{AppendHeaders, IntoResponse, Response},
};
use http::header;
use serde::Deserialize;

use super::{
    error::{Kind, Problem},
    extract::{Credential, CsrfGuard, both, optional_json, refresh_cookies},
    state::AppState,
};
use crate::{
    cookies::Cookies,
    sessions::{Error, Identity},
};

/// Whose sessions the request is of, also if they have ended: those of every credential that is ours. With the CSRF
/// rule for those that cookies name; a refresh token in the body was put there by whoever holds it.
#[derive(Debug)]
pub struct Leaving {
    /// Whose: one, or several if the credentials do not belong together.
    pub identities: Vec<Identity>,
    /// Whether cookies were sent, which the answer removes.
    pub has_cookies: bool,
}

/// The body of a logout.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogoutBody {
    /// For clients without cookies whose access token has expired.
    refresh_token: Option<String>,
}

impl FromRequest<AppState> for Leaving {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Refused> {
        let (parts, body) = request.into_parts();
        let credential = Credential::find(&parts.headers, &state.cookies)?;
        let refresh = refresh_cookies(&parts.headers, &state.cookies);
        if !refresh.is_empty() && matches!(credential, Credential::Bearer(_)) {
            return Err(both().into());
        }
        let has_cookies = !refresh.is_empty() || matches!(credential, Credential::Cookie(_));
        let guard = CsrfGuard::of(&parts, &state.trust, &parts.method, has_cookies)?;
        let mut identities = Vec::new();
        let mut refusal = Problem::new(Kind::TokenMissing);
        if credential != Credential::Absent || has_cookies {
            match state.sessions.identify(credential.token(), &refresh).await? {
                Ok(found) => identities = found,
                Err(error) => refusal = Problem::from(error),
            }
        }
        if !identities.is_empty() {
            guard.admit_one_of(&state.sessions, identities.iter().map(|identity| identity.session))?;
        }
        let LogoutBody { refresh_token } = optional_json(&parts.headers, body).await?;
        if let Some(token) = refresh_token {
            match state.sessions.identify(None, &[&token]).await? {
                Ok(found) => {
                    for identity in found {
                        if !identities.contains(&identity) {
                            identities.push(identity);
                        }
                    }
                }
                Err(error) => refusal = error.into(),
            }
        }
        if identities.is_empty() {
            return Err(Refused::dead(refusal, has_cookies, &state.cookies));
        }
        Ok(Self { identities, has_cookies })
    }
}

/// A logout that ends nothing.
#[derive(Debug)]
pub struct Refused {
    problem: Problem,
    /// `Set-Cookie` headers that go with it.
    removal: Vec<String>,
}

impl Refused {
    /// Nothing that was sent is of any use: then a browser need not keep it either.
    #[must_use]
    pub fn dead(problem: Problem, has_cookies: bool, cookies: &Cookies) -> Self {
        Self { problem, removal: if has_cookies { cookies.removal() } else { Vec::new() } }
    }
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self { problem, removal: Vec::new() }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Problem::from(error).into()
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let removal = self.removal.into_iter().map(|cookie| (header::SET_COOKIE, cookie));
        (AppendHeaders(removal), self.problem).into_response()
    }
}
