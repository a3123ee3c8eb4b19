//! What a caller may ask about itself.

use axum::{Json, extract::State};
use serde::Serialize;

use crate::{
    clock::Timestamp,
    http::{error::Problem, extract::Authenticated},
    ids::{SessionId, Subject},
    sessions::{Sessions, devices::Device},
};

/// Who a caller is.
#[derive(Debug, Serialize)]
pub struct Me {
    subject: Subject,
    username: String,
    roles: Vec<String>,
    session: SessionId,
    /// When the access token expires.
    #[serde(serialize_with = "Timestamp::as_text")]
    expires_at: Timestamp,
}

/// `GET /v1/auth/me`.
pub async fn me(
    Authenticated { caller, .. }: Authenticated,
    State(sessions): State<Sessions>,
) -> Result<Json<Me>, Problem> {
    let user = sessions.user(caller.claims.sub).await?;
    Ok(Json(Me {
        subject: user.id,
        username: user.username,
        roles: caller.claims.roles.clone(),
        session: caller.claims.sid,
        expires_at: Timestamp::from_millis(caller.claims.exp * 1000),
    }))
}

/// A CSRF token.
#[derive(Debug, Serialize)]
pub struct Csrf {
    csrf_token: String,
}

/// `GET /v1/auth/csrf`.
pub async fn csrf(Authenticated { caller, .. }: Authenticated, State(sessions): State<Sessions>) -> Json<Csrf> {
    Json(Csrf { csrf_token: sessions.csrf_token(caller.claims.sid) })
}

/// The caller's devices.
#[derive(Debug, Serialize)]
pub struct DeviceList {
    sessions: Vec<DeviceBody>,
}

/// One of them.
#[derive(Debug, Serialize)]
pub struct DeviceBody {
    #[serde(flatten)]
    device: Device,
    /// Whether it is the one that asks.
    current: bool,
}

/// `GET /v1/auth/sessions`.
pub async fn sessions(
    Authenticated { caller, .. }: Authenticated,
    State(sessions): State<Sessions>,
) -> Result<Json<DeviceList>, Problem> {
    let devices = sessions.list(caller.claims.sub).await?;
    let current = caller.claims.sid;
    let devices = devices.into_iter().map(|device| DeviceBody { current: device.id == current, device });
    Ok(Json(DeviceList { sessions: devices.collect() }))
}
