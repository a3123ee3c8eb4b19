//! The management listener: for operators and their machines, not for users.

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRequestParts, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header, request::Parts};
use serde::Serialize;

use crate::{
    admin::{self, Admin, Command},
    http::{
        error::{Kind, Problem},
        extract::{self, Credential},
    },
    ids::Seq,
    revocation::sync::NodeState,
    secret,
    status::Status,
};

/// The state of the management router.
#[derive(Debug, Clone)]
pub struct Management {
    /// Does what operators ask for.
    pub admin: Admin,
    /// Knows how the node is.
    pub status: Status,
    /// What a request must show to see metrics or to act; metrics are open if none was configured.
    pub token: Arc<str>,
    /// Whether metrics need the token as well.
    pub is_guarded: bool,
}

/// `GET /healthz`: the process answers.
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// How far the node is.
#[derive(Debug, Serialize)]
struct Ready {
    state: &'static str,
    /// How a request's credential is checked.
    strategy: &'static str,
    /// Where the second look goes before the ledger.
    blocklist: &'static str,
    applied: Seq,
    /// The ledger's last transaction, as this node last read it.
    head: Seq,
    /// How long checks may go on from memory without another renewal; absent where one process is all there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    hold_remaining_ms: Option<u128>,
    nodes: usize,
}

/// `GET /readyz`: 200 when checks are answered, else 503.
pub async fn readyz(State(management): State<Management>) -> Response {
    let state = management.status.node_state();
    let status = if management.status.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let name = match state {
        NodeState::Cold => "cold",
        NodeState::Loading => "loading",
        NodeState::Live => "live",
        NodeState::Stale => "stale",
    };
    let status_of = &management.status;
    let body = Ready {
        state: name,
        strategy: status_of.strategy(),
        blocklist: status_of.blocklist(),
        applied: status_of.applied(),
        head: status_of.head(),
        hold_remaining_ms: status_of.remaining().map(|remaining| remaining.as_millis()),
        nodes: status_of.nodes(),
    };
    (status, Json(body)).into_response()
}

/// `GET /metrics`: Prometheus text.
pub async fn metrics(State(management): State<Management>, headers: HeaderMap) -> Result<impl IntoResponse, Problem> {
    if management.is_guarded {
        authorize(&management, &headers)?;
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], management.status.render()))
}

/// `POST /v1/admin/commands`: does what a command on the same data folder asks for.
pub async fn command(
    State(management): State<Management>,
    _: Operator,
    extract::Json(command): extract::Json<Command>,
) -> Response {
    match management.admin.run(command).await {
        Ok(answer) => Json(answer).into_response(),
        // In the command line's own words, not as a problem of RFC 9457.
        Err(problem) => (status(problem.kind), Json(problem)).into_response(),
    }
}

const fn status(kind: admin::ProblemKind) -> StatusCode {
    match kind {
        admin::ProblemKind::NotFound => StatusCode::NOT_FOUND,
        admin::ProblemKind::Conflict => StatusCode::CONFLICT,
        admin::ProblemKind::Refused => StatusCode::UNPROCESSABLE_ENTITY,
        admin::ProblemKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        admin::ProblemKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A request that has shown the token; looked at before its body is.
#[derive(Debug)]
pub struct Operator;

impl FromRequestParts<Management> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, management: &Management) -> Result<Self, Problem> {
        authorize(management, &parts.headers).map(|()| Self)
    }
}

fn authorize(management: &Management, headers: &HeaderMap) -> Result<(), Problem> {
    match Credential::bearer(headers)? {
        Credential::Bearer(token) if secret::equal(token.as_bytes(), management.token.as_bytes()) => Ok(()),
        Credential::Bearer(_) => Err(Problem::new(Kind::TokenInvalid)),
        _ => Err(Problem::new(Kind::TokenMissing)),
    }
}
