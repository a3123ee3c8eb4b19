//! Signing up, logging in, and going on with a session.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{AppendHeaders, IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};

use crate::{
    cookies::{Cookies, Found},
    http::{
        error::{Kind, Problem},
        extract::{From, Json, NotForeign, find_cookie},
        prefer::Prefer,
        refreshing::Refreshing,
    },
    ids::{SessionId, Subject},
    passwords::Input,
    revocation::Receipt,
    sessions::{Error, Granted, Identity, Login, Sessions, devices::MAX_DEVICE_CHARS},
    users::User,
};

/// The body of a signup.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignupBody {
    username: String,
    password: Input,
}

/// An account as answers show it.
#[derive(Debug, Serialize)]
pub struct AccountBody {
    subject: Subject,
    username: String,
    roles: Vec<String>,
}

impl std::convert::From<User> for AccountBody {
    fn from(user: User) -> Self {
        Self { subject: user.id, username: user.username, roles: user.roles }
    }
}

/// `POST /v1/auth/signup`: 201 with the account.
pub async fn signup(
    _: NotForeign,
    State(sessions): State<Sessions>,
    From(client): From,
    Json(body): Json<SignupBody>,
) -> Result<impl IntoResponse, Problem> {
    let user = sessions.sign_up(&body.username, body.password, client.source).await?;
    Ok((StatusCode::CREATED, axum::Json(AccountBody::from(user))))
}

/// The body of a login.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginBody {
    username: String,
    password: Input,
    device: Option<String>,
    #[serde(default)]
    delivery: Delivery,
}

/// How a client wants its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Delivery {
    /// As cookies: for browsers.
    #[default]
    Cookie,
    /// In the answer's body: for clients without cookies.
    Body,
}

/// The answer of a login or a refresh.
#[derive(Debug, Serialize)]
pub struct GrantAnswer {
    #[serde(flatten)]
    account: AccountBody,
    session: SessionId,
    /// Seconds until the access token expires.
    expires_in: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    csrf_token: Option<String>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    tokens: Option<TokensBody>,
    /// The session of the same browser that this login has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<Receipt>,
}

/// Tokens in a body.
#[derive(Debug, Serialize)]
pub struct TokensBody {
    token_type: &'static str,
    access_token: String,
    refresh_token: String,
    /// Seconds until the refresh token expires if it is not used.
    refresh_expires_in: u64,
}

/// `POST /v1/auth/login`: 200, with both cookies or with the tokens.
pub async fn login(
    _: NotForeign,
    State(sessions): State<Sessions>,
    State(cookies): State<Arc<Cookies>>,
    From(mut client): From,
    headers: HeaderMap,
    Json(body): Json<LoginBody>,
) -> Result<Response, Problem> {
    if body.device.as_ref().is_some_and(|device| device.chars().count() > MAX_DEVICE_CHARS) {
        return Err(Problem::because(Kind::InvalidRequest, "device: at most 100 characters"));
    }
    client.device = body.device;
    let replaces = match body.delivery {
        Delivery::Cookie => current_sessions(&sessions, &cookies, &headers).await?,
        Delivery::Body => Vec::new(),
    };
    let login = Login { username: body.username, password: body.password, client, replaces };
    let logged_in = sessions.log_in(login).await.map_err(|error| match error {
        // What is said of a revocation would be taken for the login, which is another matter.
        Error::Revoke(_) => Problem::from(error).silent(),
        _ => error.into(),
    })?;
    Ok(answer(&cookies, body.delivery, logged_in.granted, logged_in.ended))
}

/// The sessions that this browser has now. A cookie that is malformed, or there twice, names none: a login must be able
/// to get out of that.
async fn current_sessions(
    sessions: &Sessions,
    cookies: &Cookies,
    headers: &HeaderMap,
) -> Result<Vec<Identity>, Problem> {
    let one = |name| match find_cookie(headers, name) {
        Found::One(token) => Some(token),
        Found::Absent | Found::Several => None,
    };
    let found = sessions.identify(one(cookies.access_name()), one(cookies.refresh_name()).as_slice()).await?;
    Ok(found.unwrap_or_default())
}

/// `POST /v1/auth/refresh`: 200, with the next cookies or tokens, the way the refresh token came. A refusal removes no
/// cookie: the browser may have a newer one by now.
pub async fn refresh(
    State(sessions): State<Sessions>,
    State(cookies): State<Arc<Cookies>>,
    From(client): From,
    prefer: Prefer,
    Refreshing { token, delivery }: Refreshing,
) -> Result<Response, Problem> {
    let renewed = sessions.refresh(&token, &client, prefer.patience).await?;
    Ok(answer(&cookies, delivery, renewed.granted, None))
}

fn answer(cookies: &Cookies, delivery: Delivery, granted: Granted, ended: Option<Receipt>) -> Response {
    let Granted { user, session, access, refresh, refresh_life, csrf } = granted;
    let expires_in = access.claims.exp - access.claims.iat;
    let body = GrantAnswer { account: user.into(), session, expires_in, csrf_token: None, tokens: None, ended };
    match delivery {
        Delivery::Cookie => {
            let life = std::time::Duration::from_secs(u64::try_from(expires_in).unwrap_or(0));
            let ours = [cookies.access(&access.text, life), cookies.refresh(refresh.as_str(), refresh_life)];
            let set = cookies.leftover_removal().into_iter().chain(ours);
            let set = AppendHeaders(set.map(|cookie| (header::SET_COOKIE, cookie)));
            (set, axum::Json(GrantAnswer { csrf_token: Some(csrf), ..body })).into_response()
        }
        Delivery::Body => {
            let tokens = TokensBody {
                token_type: "Bearer",
                access_token: access.text,
                refresh_token: refresh.as_str().to_owned(),
                refresh_expires_in: refresh_life.as_secs(),
            };
            axum::Json(GrantAnswer { tokens: Some(tokens), ..body }).into_response()
        }
    }
}
