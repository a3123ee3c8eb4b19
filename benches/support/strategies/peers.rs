//! Servers of this benchmark, each a process of its own as a node is: the ceiling, and somebody else's sessions.
//!
//! *Empty handler*: axum under the runtime that Kickout has, one route that looks at nothing and answers with the headers
//! that a node sends. Whatever a candidate takes beyond it is the candidate's.
//!
//! *tower-sessions*: the crate of that name with its Redis store, in the newest version that this store is for. As its
//! documentation has it: a pool of `fred` clients, each one connection that many requests share and write to together;
//! a session is loaded when the handler first asks for it. With a distance to Redis its default would hold back a command
//! until the one before is acknowledged (Nagle's algorithm), which is switched off. Sessions expire when they were not *changed* for a while: it
//! writes a session back only if the handler has changed it (`with_always_save` is off as it is shipped), so that a
//! request is one `GET`. Beside the layer and the handler nothing is in the request's way: no limits, no time-outs, no
//! request ids, no metrics, no CSRF rule, all of which a node of Kickout has.

use std::{io::Write as _, net::Ipv4Addr};

use axum::{
    Json, Router,
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::ListenerExt as _,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use time::Duration;
use tokio::{net::TcpListener, runtime::Builder};
use tower_sessions::{Expiry, Session, SessionManagerLayer};
use tower_sessions_redis_store::{
    RedisStore,
    fred::{
        prelude::{ClientLike as _, Config, ConnectionConfig, Pool, ReconnectPolicy, TcpConfig},
        types::config::PerformanceConfig,
    },
};

use super::arms::{Kind, variable};
use crate::Failure;

/// The variable that says how many connections to Redis the peer has.
pub(crate) const POOL: &str = "PEER_POOL";

/// Connections to Redis: where the sweep has its knee with one core.
pub(crate) const CHOSEN_POOL: u64 = 2;

/// How long an answer of Redis may take. Without a limit, as the client is shipped, requests wait for ever once Redis was
/// away, and without a policy it does not connect again. Its clock runs while a request waits for the one core, too, so
/// it is long enough for the steps of the sweep.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(2);

/// Where a session keeps whose it is.
const WHO: &str = "who";

/// Whose a session is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Who {
    pub(crate) subject: String,
    pub(crate) roles: Vec<String>,
}

/// Serves until the process is ended.
pub(crate) fn serve(kind: &str) -> Result<(), Failure> {
    // As Kickout has it.
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        if kind == Kind::Empty.name() {
            listen(Router::new().route("/v1/auth/verify", get(async || Seen::fixed().answer()))).await
        } else if kind == Kind::TowerSessions.name() {
            listen(with_sessions().await?).await
        } else {
            Err(format!("no server {kind}").into())
        }
    })
}

async fn listen(router: Router) -> Result<(), Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    // As a node says it.
    writeln!(std::io::stdout().lock(), "http http://{}", listener.local_addr()?)?;
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    Ok(axum::serve(listener, router).await?)
}

async fn with_sessions() -> Result<Router, Failure> {
    let url = std::env::var(variable("redis.url"))?;
    let size = std::env::var(POOL).ok().map_or(Ok(CHOSEN_POOL), |text| text.parse())?;
    let connection = ConnectionConfig {
        tcp: TcpConfig { nodelay: Some(true), ..TcpConfig::default() },
        ..ConnectionConfig::default()
    };
    let performance = PerformanceConfig { default_command_timeout: TIMEOUT, ..PerformanceConfig::default() };
    let again = ReconnectPolicy::new_exponential(0, 50, 1000, 2);
    let size = usize::try_from(size)?;
    let pool = Pool::new(Config::from_url(&url)?, Some(performance), Some(connection), Some(again), size)?;
    let _connected = pool.connect();
    pool.wait_for_connect().await?;
    let layer = SessionManagerLayer::new(RedisStore::new(pool)).with_expiry(Expiry::OnInactivity(Duration::days(14)));
    Ok(Router::new()
        .route("/login", post(log_in))
        .route("/logout", post(log_out))
        .route("/v1/auth/verify", get(verify))
        .layer(layer))
}

async fn log_in(session: Session, Json(who): Json<Who>) -> StatusCode {
    match session.insert(WHO, who).await {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn log_out(session: Session) -> StatusCode {
    match session.flush().await {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn verify(session: Session) -> Response {
    match session.get::<Who>(WHO).await {
        Ok(Some(who)) => {
            let session = session.id().map(|id| id.to_string()).unwrap_or_default();
            Seen { subject: who.subject, session, roles: who.roles.join(" ") }.answer()
        }
        Ok(None) => (StatusCode::UNAUTHORIZED, fixed_headers(), "{}").into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, fixed_headers()).into_response(),
    }
}

/// What the answer says.
struct Seen {
    subject: String,
    session: String,
    roles: String,
}

impl Seen {
    fn fixed() -> Self {
        Self {
            subject: "f4e91378-7705-4eed-a1ed-a589de1a1ef7".to_owned(),
            session: "86085d17-4817-4f4e-8774-0055f80fc6e1".to_owned(),
            roles: String::new(),
        }
    }

    fn answer(self) -> Response {
        let text = |value: &str| HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static(""));
        let mut headers = fixed_headers();
        headers.insert(HeaderName::from_static("x-auth-subject"), text(&self.subject));
        headers.insert(HeaderName::from_static("x-auth-session"), text(&self.session));
        headers.insert(HeaderName::from_static("x-auth-roles"), text(&self.roles));
        headers.insert(HeaderName::from_static("x-kickout-seq"), HeaderValue::from_static("0"));
        headers.into_response()
    }
}

/// The headers that each answer of a node has.
fn fixed_headers() -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(12);
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (HeaderName::from_static("x-request-id"), "b72f2e99-061a-4633-b0a5-ec159a58f87f"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
}
