//! How far a revocation has come: what `Location` of a 202 names.

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::{
    http::error::{Kind, Problem},
    ids::Seq,
    revocation::{Applied, Reach},
    sessions::Sessions,
};

/// How far a revocation has come. It names nobody: who asks has just been logged out and can show nothing.
#[derive(Debug, Serialize)]
struct Progress {
    seq: Seq,
    applied: Applied,
    complete: bool,
}

/// `GET /v1/revocations/{seq}`: 200 when it is in force everywhere, 202 until then, also while nobody can tell.
/// Answered by any node; one that has not heard of the number yet says 404.
pub async fn progress(State(sessions): State<Sessions>, Path(seq): Path<String>) -> Result<Response, Problem> {
    let seq: i64 = seq.parse().map_err(|_| Problem::because(Kind::InvalidRequest, "the path must end in a number"))?;
    let Some(Reach { nodes, of, is_complete }) = sessions.revoker().progress(Seq(seq)).await else {
        return Err(Problem::because(Kind::NotFound, "this node knows of no such revocation yet"));
    };
    let body = Json(Progress { seq: Seq(seq), applied: Applied { nodes, of }, complete: is_complete });
    Ok(if is_complete {
        (StatusCode::OK, body).into_response()
    } else {
        let later = [(header::RETRY_AFTER, HeaderValue::from_static("1"))];
        (StatusCode::ACCEPTED, later, body).into_response()
    })
}
