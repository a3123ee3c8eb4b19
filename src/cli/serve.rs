//! The server from its configuration to its exit code.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::Path,
    pin::pin,
    process::ExitCode,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    app::{self, App, Listeners},
    clock::Clock,
    config::{Config, Loaded},
    instance::{self, Announcement, DataFolder},
    lifecycle::{Shutdown, Tasks},
    secret,
    telemetry::{self, metrics::Metrics},
    tokens::keys::KeyState,
};

use super::{Failure, files, log_format, output};

/// How long a server that was cut may take to end; then the process ends without it. Its tasks have half a second, and
/// closing a database whose statement hangs may take for ever.
const CUT_LIMIT: Duration = Duration::from_secs(2);

/// What a shell says of a program that SIGINT ended: 128 + 2.
const CUT: u8 = 130;

pub(super) async fn serve(loaded: Loaded) -> Result<ExitCode, Failure> {
    let Loaded { config, warnings, .. } = loaded;
    telemetry::init(log_format(config.log.format), &config.log.filter)?;
    // Looked at before anything is opened; it is read again when it is used.
    app::tls(&config.http, &Clock::System, &Metrics::new())?;
    let folder = DataFolder::open(&config.data_dir)?;
    for warning in warnings.into_iter().chain(folder.warning()).chain(files::make_room(&config)) {
        tracing::warn!("{warning}");
    }
    if !config.http.has_tls() && config.http.listen.ip().is_loopback() && config.http.trusted_proxies.is_empty() {
        tracing::info!(
            "the cookies are Secure: Chromium, Firefox and curl keep them on http://localhost too, Safari does not; it \
             needs TLS"
        );
    }
    let listeners = listen(&config)?;
    let addresses = Addresses::of(&listeners).map_err(|error| Failure::Listen(error.to_string()))?;
    let token = admin_token(&config);
    // Said before it is quite true: from here on a command waits in the listener's queue until it is.
    folder.announce(&Announcement {
        pid: std::process::id(),
        management: addresses.management,
        token: token.clone(),
    })?;

    let shutdown = Shutdown::new();
    let tasks = Tasks::new(shutdown.clone());
    let app = App::build(config.clone(), Clock::System, folder).await?;
    // Until here a signal ends the process on the spot: nothing was promised to anybody yet.
    let signals = Signals::listen().map_err(Failure::Signals)?;
    shutdown.listen_for_signals(config.http.drain_timeout.duration()).map_err(Failure::Signals)?;
    output::text(&banner(&config, &app, addresses));
    // Not waited for: health and readiness are answered while a large ledger loads.
    let loading = app.begin(&tasks);
    tracing::info!(http = %addresses.public, management = %addresses.management, "serving");

    let count = run(Box::pin(app.serve(listeners, tasks, token)), signals, &shutdown, CUT_LIMIT).await?;
    if loading.is_finished()
        && let Ok(Err(error)) = loading.await
    {
        return Err(error.into());
    }
    if let Some(fatal) = shutdown.fatal() {
        return Err(Failure::Fatal(fatal.clone()));
    }
    tracing::info!("stopped");
    Ok(if count >= 2 && shutdown.hard().is_cancelled() { ExitCode::from(CUT) } else { ExitCode::SUCCESS })
}

/// Runs the server to its end and counts the signals on the way. A server that was cut and does not end is left.
async fn run<E>(
    serving: impl Future<Output = Result<(), E>>,
    mut signals: Signals,
    shutdown: &Shutdown,
    limit: Duration,
) -> Result<u32, Failure>
where
    Failure: From<E>,
{
    let mut count = 0;
    let mut serving = pin!(serving);
    let mut overdue = pin!(async {
        shutdown.hard().cancelled().await;
        tokio::time::sleep(limit).await;
    });
    loop {
        tokio::select! {
            // A signal that is there already counts, also if the server ended because of it.
            biased;
            () = signals.next() => count += 1,
            served = &mut serving => {
                served?;
                return Ok(count);
            }
            () = &mut overdue => {
                return if count >= 2 { Ok(count) } else { Err(Failure::Overdue { limit_seconds: limit.as_secs() }) };
            }
        }
    }
}

/// Counts signals beside [`Shutdown`], which acts on them.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// The addresses that are listened on, with the ports that were free if none was asked for.
#[derive(Debug, Clone, Copy)]
struct Addresses {
    public: SocketAddr,
    management: SocketAddr,
}

impl Addresses {
    fn of(listeners: &Listeners) -> io::Result<Self> {
        Ok(Self { public: listeners.public.local_addr()?, management: listeners.management.local_addr()? })
    }
}

/// Takes both addresses, or says what is wrong with each.
fn listen(config: &Config) -> Result<Listeners, Failure> {
    let public = bind(config.http.listen, "http.listen", "KICKOUT__HTTP__LISTEN");
    let management = bind(config.management.listen, "management.listen", "KICKOUT__MANAGEMENT__LISTEN");
    match (public, management) {
        (Ok(public), Ok(management)) => Ok(Listeners { public, management }),
        (Err(one), Err(other)) => Err(Failure::Listen(format!("{one}\nkickout: {other}"))),
        (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(Failure::Listen(error)),
    }
}

fn bind(address: SocketAddr, key: &str, variable: &str) -> Result<TcpListener, String> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|error| {
        let change = format!("set {key} ({variable})");
        match error.kind() {
            io::ErrorKind::AddrInUse => {
                let free = SocketAddr::new(address.ip(), 0);
                format!(
                    "{address} is in use by another process. Stop that one, or {change} to another port ({free} takes \
                     a free one)"
                )
            }
            io::ErrorKind::AddrNotAvailable => {
                format!("{address} is not an address of this machine. To change it, {change}")
            }
            io::ErrorKind::PermissionDenied => {
                format!("{address} may not be listened on by this user. To take a port from 1024 on, {change}")
            }
            _ => format!("{address} cannot be listened on: {error}. To change it, {change}"),
        }
    })
}

/// The token that commands show: the configured one, or one for this run.
fn admin_token(config: &Config) -> String {
    let configured = config.management.token.expose();
    if configured.is_empty() { URL_SAFE_NO_PAD.encode(secret::random::<32>()) } else { configured.to_owned() }
}

/// What somebody who has just started the service wants to know.
fn banner(config: &Config, app: &App, addresses: Addresses) -> String {
    let keys = app.keys().list(app.sessions().clock().now());
    let key = keys
        .iter()
        .find(|key| key.state == KeyState::Signing)
        .map_or_else(|| "none".to_owned(), |key| format!("{} ({})", key.kid, key.algorithm));
    // What somebody wrote into the URL may be more than a path.
    let database = if config.database.url.is_empty() {
        app::database_file(app.folder()).display().to_string()
    } else {
        let kind = if config.database.is_shared() { "PostgreSQL" } else { "SQLite" };
        format!("{kind}, as database.url says")
    };
    written(config, addresses, app.folder().path(), &database, &key)
}

fn written(config: &Config, addresses: Addresses, folder: &Path, database: &str, key: &str) -> String {
    // A certificate is for a name, and not for the address that the examples call.
    let (scheme, curl) = if config.http.has_tls() { ("https", "curl -k") } else { ("http", "curl") };
    let url = format!("{scheme}://{}", instance::connectable(addresses.public));
    // Long enough for the default rules, and a name that nobody has in production.
    let body = r#"{"username":"demo","password":"lantern-otter-quartz-mosaic"}"#;
    let post = format!("{curl} -H 'Content-Type: application/json' -d '{body}'");
    // What somebody wrote into that URL may be a password.
    let blocklist = if config.redis.url.is_empty() { "in process" } else { "Redis, as redis.url says" };
    let strategy = config.revocation.strategy.name();
    let first = if config.accounts.signup {
        format!("{post} {url}/v1/auth/signup")
    } else {
        "echo lantern-otter-quartz-mosaic | kickout user add demo".to_owned()
    };
    format!(
        "kickout {version}\n\
         \x20 http         {url_bound}\n\
         \x20 management   http://{management}  (/healthz, /readyz, /metrics)\n\
         \x20 data folder  {folder}\n\
         \x20 database     {database}\n\
         \x20 blocklist: {blocklist}\n\
         \x20 strategy     {strategy}\n\
         \x20 signing key  {key}\n\
         try:\n\
         \x20 {first}\n\
         \x20 {post} -c cookies.txt {url}/v1/auth/login && {curl} -b cookies.txt {url}/v1/auth/me\n",
        version = env!("CARGO_PKG_VERSION"),
        url_bound = format_args!("{scheme}://{}", addresses.public),
        management = addresses.management,
        folder = folder.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> Addresses {
        Addresses { public: "0.0.0.0:8080".parse().unwrap(), management: "127.0.0.1:9100".parse().unwrap() }
    }

    #[test]
    fn the_banner_says_where_things_are_and_what_to_try() {
        let text = written(
            &Config::default(),
            addresses(),
            Path::new("/srv/kickout"),
            "/srv/kickout/kickout.db",
            "kid (EdDSA)",
        );
        for part in [
            "http://0.0.0.0:8080\n",
            "http://127.0.0.1:9100 ",
            "/srv/kickout\n",
            "/srv/kickout/kickout.db\n",
            "blocklist: in process\n",
            "strategy     hybrid\n",
            "kid (EdDSA)\n",
            " http://127.0.0.1:8080/v1/auth/signup\n",
            " http://127.0.0.1:8080/v1/auth/me\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
        assert!(text.is_ascii(), "it is plain text");
    }

    #[test]
    fn the_banner_names_redis_and_not_its_url() {
        let mut config = Config::default();
        config.redis.url = "redis://u:hunter2@cache".to_owned().into();
        let text = written(&config, addresses(), Path::new("/srv"), "/srv/kickout.db", "kid (EdDSA)");
        assert!(text.contains("blocklist: Redis, as redis.url says\n") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn the_banner_offers_no_signup_where_there_is_none() {
        let mut config = Config::default();
        config.accounts.signup = false;
        let text = written(&config, addresses(), Path::new("/srv"), "/srv/kickout.db", "kid (EdDSA)");
        assert!(text.contains("kickout user add demo") && !text.contains("/signup"), "{text}");
    }

    #[test]
    fn an_address_in_use_is_named_with_the_key_to_change_for_both_listeners_at_once() {
        let (one, other) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let mut config = Config::default();
        config.http.listen = one.local_addr().unwrap();
        config.management.listen = other.local_addr().unwrap();
        let error = listen(&config).unwrap_err().to_string();
        for part in [
            &config.http.listen.to_string(),
            "http.listen (KICKOUT__HTTP__LISTEN)",
            &config.management.listen.to_string(),
            "management.listen (KICKOUT__MANAGEMENT__LISTEN)",
        ] {
            assert!(error.contains(part), "{part} is not in {error}");
        }
    }

    #[test]
    fn commands_need_a_token_whether_one_is_configured_or_not() {
        let mut config = Config::default();
        let random = admin_token(&config);
        assert_eq!(random.len(), 43);
        assert_ne!(random, admin_token(&config));
        config.management.token = "configured-configured".to_owned().into();
        assert_eq!(admin_token(&config), "configured-configured");
    }

    #[tokio::test]
    async fn a_server_that_is_cut_and_does_not_end_is_left() {
        let shutdown = Shutdown::new();
        shutdown.cut();
        let stuck = std::future::pending::<Result<(), crate::app::ServeError>>();
        let result = run(stuck, Signals::listen().unwrap(), &shutdown, Duration::from_millis(1)).await;
        assert!(matches!(result, Err(Failure::Overdue { .. })), "{result:?}");
    }
}
