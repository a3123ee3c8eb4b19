//! Everything that ends access and answers with a receipt.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::{Path, State},
    response::{AppendHeaders, IntoResponse, Response},
};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};

use crate::{
    cookies::Cookies,
    http::{
        error::{Kind, Problem},
        extract::{Authenticated, Json, OptionalJson, Via},
        leaving::{Leaving, Refused},
        middleware::SessionOver,
        prefer::{PREFERENCE_APPLIED, Prefer},
    },
    ids::SessionId,
    passwords::Input,
    revocation::Receipt,
    sessions::{Ended, Error, Sessions},
};

/// The answer of an act that ends access: its receipt and, for a client without cookies, the token that goes on.
#[derive(Debug, Serialize)]
struct ReceiptAnswer {
    #[serde(flatten)]
    receipt: Receipt,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<i64>,
}

/// What becomes of the caller's own cookies.
enum Own {
    Ended,
    Kept,
}

/// `POST /v1/auth/logout`: ends the session of every credential that was sent. Works with a refresh token alone, in its
/// cookie or in the body, and again.
pub async fn logout(
    State(sessions): State<Sessions>,
    State(cookies): State<Arc<Cookies>>,
    prefer: Prefer,
    leaving: Leaving,
) -> Result<Response, Refused> {
    let mut pending = Vec::new();
    for identity in &leaving.identities {
        match sessions.begin_to_end(identity.session, identity.subject).await {
            Ok(begun) => pending.push(begun),
            // A session of another life of the ledger, or one whose row is gone: nothing of it can be used any more.
            Err(Error::NoSession) => {}
            // What became of this one is not what became of all of them.
            Err(error) if leaving.identities.len() > 1 => return Err(Problem::from(error).silent().into()),
            Err(error) => return Err(error.into()),
        }
    }
    let Some(receipt) = sessions.receipt_of_all(pending, prefer.patience).await? else {
        return Err(Refused::dead(Problem::new(Kind::SessionEnded), leaving.has_cookies, &cookies));
    };
    let via = if leaving.has_cookies { Via::Cookie } else { Via::Bearer };
    Ok(answer(&cookies, prefer, via, &Own::Ended, Ended { receipt, access: None }))
}

/// The body of a logout everywhere.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogoutAllBody {
    #[serde(default)]
    keep_current: bool,
}

/// `POST /v1/auth/logout-all`: ends all of this user's sessions, or all others.
pub async fn logout_all(
    Authenticated { caller, via }: Authenticated,
    State(sessions): State<Sessions>,
    State(cookies): State<Arc<Cookies>>,
    prefer: Prefer,
    OptionalJson(body): OptionalJson<LogoutAllBody>,
) -> Result<Response, Problem> {
    let ended = sessions.log_out_everywhere(&caller, body.keep_current, prefer.patience).await?;
    let own = if ended.access.is_some() { Own::Kept } else { Own::Ended };
    Ok(answer(&cookies, prefer, via, &own, ended))
}

/// The body of a password change.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PasswordBody {
    current: Input,
    new: Input,
}

/// `POST /v1/auth/password`: changes the password and ends this user's other sessions.
pub async fn password(
    Authenticated { caller, via }: Authenticated,
    State(sessions): State<Sessions>,
    State(cookies): State<Arc<Cookies>>,
    prefer: Prefer,
    Json(body): Json<PasswordBody>,
) -> Result<Response, Problem> {
    let ended = sessions.change_password(&caller, body.current, body.new, prefer.patience).await?;
    let own = if ended.access.is_some() { Own::Kept } else { Own::Ended };
    Ok(answer(&cookies, prefer, via, &own, ended))
}

/// `DELETE /v1/auth/sessions/{sid}`: ends one of this user's sessions.
pub async fn end_session(
    Authenticated { caller, via }: Authenticated,
    State(sessions): State<Sessions>,
    State(cookies): State<Arc<Cookies>>,
    prefer: Prefer,
    Path(session): Path<String>,
) -> Result<Response, Problem> {
    let session: SessionId = session
        .parse()
        .map_err(|error| Problem::because(Kind::InvalidRequest, format!("the session in the path is {error}")))?;
    let receipt = sessions.end_session(session, caller.claims.sub, prefer.patience).await?;
    let own = if session == caller.claims.sid { Own::Ended } else { Own::Kept };
    Ok(answer(&cookies, prefer, via, &own, Ended { receipt, access: None }))
}

/// 200 if the revocation is in force everywhere, else 202 with where to ask again; the caller's own cookies follow what became of its session.
fn answer(cookies: &Cookies, prefer: Prefer, via: Via, own: &Own, ended: Ended) -> Response {
    let status = if ended.receipt.complete { StatusCode::OK } else { StatusCode::ACCEPTED };
    // Only a browser keeps anything beside its cookies.
    let over = (via == Via::Cookie && matches!(own, Own::Ended)).then_some(Extension(SessionOver));
    let mut body = ReceiptAnswer { receipt: ended.receipt, access_token: None, expires_in: None };
    let set = match (via, own, ended.access) {
        (Via::Cookie, Own::Ended, _) => cookies.removal(),
        (Via::Cookie, Own::Kept, Some(access)) => {
            let life = Duration::from_secs(u64::try_from(access.claims.exp - access.claims.iat).unwrap_or(0));
            vec![cookies.access(&access.text, life)]
        }
        (Via::Bearer, Own::Kept, Some(access)) => {
            body.expires_in = Some(access.claims.exp - access.claims.iat);
            body.access_token = Some(access.text);
            Vec::new()
        }
        _ => Vec::new(),
    };
    let set = set.into_iter().map(|cookie| (header::SET_COOKIE, cookie));
    let place = (!body.receipt.complete).then(|| (header::LOCATION, format!("/v1/revocations/{}", body.receipt.seq)));
    let applied = prefer.applied.map(|applied| (PREFERENCE_APPLIED, applied));
    let headers = (AppendHeaders(place), AppendHeaders(applied), AppendHeaders(set));
    (status, headers, over, axum::Json(body)).into_response()
}
