//! A client of one node: a connection of its own that is kept alive, and the few things it says.

use std::{net::SocketAddr, time::Duration};

use serde_json::{Value, json};

use crate::Failure;

/// No request here takes longer, unless the service hangs: a receipt waits for a node that was cut off, which with the
/// default lease is 13 s.
const LIMIT: Duration = Duration::from_secs(30);

/// One connection to a node.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    http: reqwest::Client,
    base: String,
}

/// What a node has answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// `Null` if it was not JSON.
    pub(crate) body: Value,
}

impl Line {
    pub(crate) fn to(address: SocketAddr) -> Result<Self, Failure> {
        let http = reqwest::Client::builder().pool_max_idle_per_host(1).tcp_nodelay(true).timeout(LIMIT).build()?;
        Ok(Self { http, base: format!("http://{address}") })
    }

    /// The status of the request that is measured everywhere: may this credential come in?
    pub(crate) async fn verify(&self, cookie: &str) -> Result<u16, Failure> {
        let request = self.http.get(format!("{}/v1/auth/verify", self.base)).header("cookie", cookie);
        let response = request.send().await?;
        let status = response.status().as_u16();
        // A body that nobody has read keeps the connection from being used again.
        response.bytes().await?;
        Ok(status)
    }

    /// The same, but a node that does not answer in time has answered 0.
    pub(crate) async fn verify_within(&self, cookie: &str, limit: Duration) -> u16 {
        match tokio::time::timeout(limit, self.verify(cookie)).await {
            Ok(Ok(status)) => status,
            Ok(Err(_)) | Err(_) => 0,
        }
    }

    /// What a page of the service's own origin sends.
    pub(crate) async fn post(&self, path: &str, cookie: &str) -> Result<Answer, Failure> {
        let request = self.http.post(format!("{}{path}", self.base)).header("cookie", cookie);
        answer(request.header("sec-fetch-site", "same-origin")).await
    }

    /// A login at the peer, which asks for no password; the `Cookie` header of the new session.
    pub(crate) async fn log_in(&self, subject: &str) -> Result<String, Failure> {
        let who = json!({"subject": subject, "roles": []});
        let request = self.http.post(format!("{}/login", self.base)).json(&who);
        let response = request.send().await?.error_for_status()?;
        let cookie = response.headers().get("set-cookie").and_then(|set| set.to_str().ok()).map(str::to_owned);
        response.bytes().await?;
        let pair = cookie.as_deref().and_then(|set| set.split(';').next()).ok_or("the peer sets no cookie")?;
        Ok(pair.to_owned())
    }

    /// An operator's act at a management listener.
    pub(crate) async fn command(&self, token: &str, name: &str, user: &str) -> Result<Answer, Failure> {
        let request = self.http.post(format!("{}/v1/admin/commands", self.base)).bearer_auth(token);
        answer(request.json(&json!({"command": name, "user": user}))).await
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Result<Answer, Failure> {
    let response = request.send().await?;
    let status = response.status().as_u16();
    let body = response.bytes().await?;
    Ok(Answer { status, body: serde_json::from_slice(&body).unwrap_or(Value::Null) })
}
