//! The refresh token of a request, and how its client wants the next one.

use axum::extract::{FromRequest, Request};
use serde::Deserialize;

use super::{
    error::{Kind, Problem},
    extract::{Credential, both, find_cookie, is_json, not_json, optional_json, origin, twice},
    routes::login::Delivery,
    state::AppState,
};
use crate::{cookies::Found, csrf::Origin};

/// A refresh token: in its cookie or in the body, never both. With the CSRF rule for the cookie: what a browser says of
/// its page decides; a client that says nothing shows by a JSON content type, which no form can send, that it is not a
/// form.
pub struct Refreshing {
    /// The token, not looked into yet.
    pub token: String,
    /// The way it came.
    pub delivery: Delivery,
}

impl std::fmt::Debug for Refreshing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Refreshing").field("token", &"…").field("delivery", &self.delivery).finish()
    }
}

/// The body of a refresh.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RefreshBody {
    /// For clients without cookies.
    refresh_token: Option<String>,
}

impl FromRequest<AppState> for Refreshing {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        // The access token is not looked into: it may have expired, which is why somebody refreshes. But none of our
        // cookies may be there twice.
        let credential = Credential::find(&parts.headers, &state.cookies)?;
        let name = state.cookies.refresh_name();
        let cookie = match find_cookie(&parts.headers, name) {
            Found::Absent => None,
            Found::One(token) => Some(token.to_owned()),
            Found::Several => return Err(twice(name)),
        };
        if cookie.is_some() {
            if matches!(credential, Credential::Bearer(_)) {
                return Err(both());
            }
            match origin(&parts, &state.trust) {
                Origin::Trusted => {}
                Origin::Unsaid if is_json(&parts.headers) => {}
                Origin::Unsaid => return Err(not_json()),
                Origin::Foreign => return Err(super::extract::foreign()),
            }
        }
        let RefreshBody { refresh_token } = optional_json(&parts.headers, body).await?;
        match (cookie, refresh_token) {
            (Some(token), None) => Ok(Self { token, delivery: Delivery::Cookie }),
            (None, Some(token)) => Ok(Self { token, delivery: Delivery::Body }),
            (None, None) => Err(Problem::because(
                Kind::TokenMissing,
                "send the refresh cookie, or {\"refresh_token\": \"…\"} as JSON",
            )),
            (Some(_), Some(_)) => Err(Problem::because(
                Kind::AmbiguousCredentials,
                "send either the refresh cookie or a refresh_token in the body, not both",
            )),
        }
    }
}
