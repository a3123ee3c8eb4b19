//! The composition root: the only place that knows everything. The program and every test build the same [`App`].
//!
//! [`App::build`] opens what the data folder holds, [`App::start`] begins recording and loads the filter, and
//! [`App::serve`] answers on two listeners until it is told to drain. A command without a server stops after the
//! second step.

mod begin;
mod listening;
mod upkeep;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::Router;
use axum_server::{Handle, accept::DefaultAcceptor};
use hyper_util::rt::TokioTimer;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use self::listening::{PairError, tls};
use crate::{
    admin::Admin,
    clock::Clock,
    config::{self, Config},
    cookies::Cookies,
    csrf::CsrfTokens,
    database::{Database, DatabaseError},
    http::{
        self, Limits,
        listener::{Bounds, FAREWELLS, Gate, HEADER_BYTES},
        middleware::Observer,
        routes::management::Management,
        state::{AppState, Trust},
        tls::Tls,
    },
    ids::LedgerId,
    instance::DataFolder,
    keystore::{self, Keys, KeysError},
    lifecycle::Tasks,
    limits,
    passwords::{self, Passwords, SettingsError},
    revocation::{
        Checker, Enforcement, OnStale, Recorder, Revoker, Strategy,
        asked::Store,
        blocklist::{self, Blocklist, BlocklistError},
        filter,
        herald::Herald,
        lease::Nodes,
        ledger::Ledger,
        memory,
        node::{self, Node},
        sync::{LoadError, Replica},
    },
    revoked_keys::RevokedKeys,
    secret::{SecretFiles, ServerSecret},
    sessions::{
        self, Sessions,
        devices::Devices,
        opaque::{Opaque, Place},
        refresh::RefreshTokens,
    },
    status::{self, Status},
    telemetry::metrics::{Listener, Metrics},
    tokens::{
        Issuer, KeyRing, Profile, Verifier,
        keys::{Algorithm, KeySettings},
    },
    users::Users,
    vault::{Vault, VaultError},
};

/// The service cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The signing keys and the server's secret.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// What nodes share, encrypted.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Redis.
    #[error("redis.url: {0}")]
    Redis(#[from] BlocklistError),
    /// The settings of password hashing.
    #[error(transparent)]
    Passwords(#[from] SettingsError),
    /// The database cannot be used.
    #[error("{place}: {source}. {remedy}", remedy = source.remedy())]
    Database {
        /// The file, or how it was named.
        place: String,
        /// What is wrong.
        source: DatabaseError,
    },
}

/// The service cannot begin to work.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The ledger cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The database cannot be read.
    #[error(transparent)]
    Database(BuildError),
    /// It was told to stop before it was ready.
    #[error("stopped before it was ready")]
    Stopped,
}

/// The service has stopped with an error.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A listener failed.
    #[error("listening failed: {0}")]
    Listen(#[from] io::Error),
    /// The certificate or its key.
    #[error(transparent)]
    Tls(#[from] PairError),
}

/// The two listeners, bound by the caller: a test binds port 0.
#[derive(Debug)]
pub struct Listeners {
    /// For users.
    pub public: TcpListener,
    /// For operators.
    pub management: TcpListener,
}

/// Everything, put together.
#[derive(Debug)]
pub struct App {
    config: Config,
    /// Held for its lock, which makes this process the only one.
    folder: DataFolder,
    clock: Clock,
    database: Database,
    ledger: Ledger,
    replica: Arc<Replica>,
    /// This node among others, where several share the ledger.
    node: Option<Node>,
    /// Where every check asks it.
    store: Option<Store>,
    herald: Herald,
    sessions: Sessions,
    keys: Keys,
    metrics: Metrics,
    recorder: Mutex<Option<Recorder>>,
    /// Cancelled when nobody can ask for a revocation any more; then the recorder finishes what waits.
    over: CancellationToken,
}

/// Operators' requests: a scraper, probes, a few commands at once; none is cut short because users' requests are. The
/// largest body is a bulk revocation: 100 000 ids × 39 bytes = 3.9 MB; 32 of them at once are 128 MiB.
const MANAGEMENT_LIMITS: Limits =
    Limits { body: 4 << 20, sending: Duration::from_secs(10), time: Duration::from_secs(30), requests: 32 };

/// What is left of a request's time when it stops waiting for other nodes: enough to answer how far they are.
const ANSWERING: Duration = Duration::from_millis(500);

/// Operators' connections: twice as many as requests, for those that are kept open between two looks. At worst each is
/// sending a bulk revocation: 64 × 4 MiB = 256 MiB.
const MANAGEMENT_CONNECTIONS: usize = 2 * MANAGEMENT_LIMITS.requests;

/// Connections at once beside those of users: operators', and those of both kinds that are being told that they are too
/// many.
pub const OTHER_CONNECTIONS: usize = MANAGEMENT_CONNECTIONS + 2 * FAREWELLS;

impl App {
    /// Opens the data folder's database, keys and secret; makes what is missing.
    ///
    /// # Errors
    /// [`BuildError`].
    pub async fn build(config: Config, clock: Clock, folder: DataFolder) -> Result<Self, BuildError> {
        let metrics = Metrics::new();
        let database = open_database(&config, &folder).await?;
        let access_ttl = config.tokens.access_ttl.duration();
        let leeway = config.tokens.leeway.duration();
        let ledger =
            Ledger::open(database.clone(), &clock, access_ttl).await.map_err(database_error(&config, &folder))?;
        let ledger = ledger.among(strategy(config.revocation.strategy));
        let now = ledger.clock().now();
        let revoked_keys = RevokedKeys::default();
        // Before any key is read: none that was taken back is to sign or verify anything.
        revoked_keys.insert(ledger.revoked_keys().await.map_err(database_error(&config, &folder))?);
        let files = secret_files(&config)?;
        let vault = if database.is_shared() {
            let key = config.tokens.key_encryption_key.expose();
            Some(Arc::new(Vault::new(database.clone(), key)?))
        } else {
            None
        };
        let secret = keystore::server_secret(folder.path(), &files, vault.as_deref()).await?;
        let keys = Keys::open(
            KeySettings {
                folder: folder.path().join("keys"),
                algorithm: algorithm(config.tokens.algorithm),
                max_access_ttl: ledger.lifetimes().ceiling(now),
                leeway,
                files,
                revoked: revoked_keys.clone(),
            },
            vault,
            keystore::least_lead(node_settings(&config, &folder).hold()),
            now,
        )
        .await?;
        let settings = filter::Settings {
            capacity: config.revocation.filter.capacity,
            false_positives: config.revocation.filter.false_positives,
        };
        metrics.filter_false_positives_target.set(settings.false_positives);
        let strategy = strategy(config.revocation.strategy);
        if let Some(warning) = strategy.warning() {
            tracing::warn!("{warning}");
        }
        let kind = match strategy {
            Strategy::Hybrid => memory::Kind::Filter,
            Strategy::Exact => memory::Kind::Set,
            _ => memory::Kind::Nothing,
        };
        let replica = Replica::keeping(kind, ledger.id(), settings, now).sharing(revoked_keys);
        let replica = Arc::new(if database.is_shared() { replica.leased() } else { replica });
        let blocklist = open_blocklist(&config.redis, &ledger).await?;
        let (enforcement, store) =
            enforcement(strategy, blocklist.as_ref(), &ledger, config.revocation.lease.duration());
        if let Some(store) = &store {
            store.blocklist().keeps().await?;
        }
        let nodes = database.is_shared().then(|| Nodes::new(database.clone()));
        let herald = Herald::new(blocklist.clone(), nodes.clone(), ledger.clock().clone(), metrics.clone());
        let node = nodes.map(|_| {
            let settings = node::Settings { store: store.clone(), ..node_settings(&config, &folder) };
            Node::new(settings, ledger.clone(), Arc::clone(&replica), herald.clone(), metrics.clone())
        });
        let queue = config.revocation.queue;
        let (revoker, recorder) =
            Revoker::new(ledger.clone(), Arc::clone(&replica), node.clone(), queue, metrics.clone());
        let revoker = revoker.enforcing(enforcement.clone());
        let revoker = if strategy.is_opaque() { revoker.without_tokens() } else { revoker };
        let checker = Checker::new(Arc::clone(&replica), ledger.clone(), metrics.clone())
            .on_stale(on_stale(&config.revocation))
            .with(blocklist.clone())
            .asking(store.clone().filter(|_| !strategy.is_opaque()));
        let recorder = recorder.telling(herald.clone()).enforcing(enforcement);
        let limits =
            limits::Limits::new(tries(&config.limits), &secret, ledger.clock().clone(), blocklist, metrics.clone());
        let place = match strategy {
            Strategy::SessionRedis => store.clone().map(Place::Redis),
            Strategy::SessionSql => Some(Place::Database),
            _ => None,
        };
        let parts =
            Parts { config: &config, secret: &secret, database: &database, ledger: &ledger, keys: keys.ring(), place };
        let sessions = parts.sessions(revoker, checker, limits, metrics.clone())?;
        let recorder = Mutex::new(Some(recorder));
        let over = CancellationToken::new();
        Ok(Self {
            config,
            folder,
            clock,
            database,
            ledger,
            replica,
            node,
            store,
            herald,
            sessions,
            keys,
            metrics,
            recorder,
            over,
        })
    }

    /// Begins to load the filter, and to record. Until it is loaded checks are not answered, and revocations wait. A
    /// ledger that cannot be loaded ends the process.
    pub fn begin(&self, tasks: &Tasks) -> JoinHandle<Result<(), StartError>> {
        let recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner).take();
        match &self.node {
            Some(node) => self.begin_among(node, recorder, tasks),
            None => self.begin_alone(recorder, tasks),
        }
    }

    /// Begins, and waits until checks are answered.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(&self, tasks: &Tasks) -> Result<(), StartError> {
        match self.begin(tasks).await {
            Ok(loaded) => loaded,
            Err(_) => Err(StartError::Stopped),
        }
    }

    /// Says that the database was restored from a backup: begins another life of the ledger, in which everything ever
    /// issued is dead.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn restored(self) -> Result<LedgerId, DatabaseError> {
        let id = self.ledger.clone().begin_anew().await?;
        self.close().await;
        Ok(id)
    }

    /// What operators ask for.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin {
            sessions: self.sessions.clone(),
            keys: self.keys.clone(),
            key_lead: self.config.tokens.key_lead.duration(),
        }
    }

    /// The use cases, for benchmarks and embedders.
    #[must_use]
    pub const fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// The data folder.
    #[must_use]
    pub const fn folder(&self) -> &DataFolder {
        &self.folder
    }

    /// The signing keys.
    #[must_use]
    pub const fn keys(&self) -> &Arc<KeyRing> {
        self.keys.ring()
    }

    /// Answers requests until the soft shutdown, then drains.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn serve(self, listeners: Listeners, tasks: Tasks, admin_token: String) -> Result<(), ServeError> {
        let tls = self.tls()?;
        self.maintain(&tasks);
        if let Some(tls) = &tls {
            listening::watch(tls, &tasks)?;
        }
        let observer = Observer { metrics: self.metrics.clone(), clock: self.clock.clone(), trust: None };
        let limits = Limits {
            body: self.config.http.body_limit,
            sending: self.config.http.header_timeout.duration(),
            time: self.config.http.request_timeout.duration(),
            requests: self.config.http.max_requests,
        };
        let public = http::public(self.state(), observer.clone(), limits);
        let management = Management {
            admin: self.admin(),
            status: self.status(),
            token: admin_token.into(),
            is_guarded: !self.config.management.token.is_empty(),
        };
        let management = http::management(management, observer, MANAGEMENT_LIMITS);
        let handles = [Handle::new(), Handle::new()];
        self.stop_with(&tasks, handles.clone());
        let [public_handle, management_handle] = handles;
        let timeout = self.config.http.header_timeout.duration();
        let writing = self.config.http.write_timeout.duration();
        let gate = |listener, connections, is_plain| {
            let bounds = Bounds { connections, writing, is_plain };
            Gate::new(DefaultAcceptor::new(), listener, bounds, self.metrics.clone())
        };
        let public_gate = gate(Listener::Public, self.config.http.max_connections, tls.is_none());
        let management_gate = gate(Listener::Management, MANAGEMENT_CONNECTIONS, true);
        let result = tokio::try_join!(
            listen(listeners.public, public, public_handle, timeout, public_gate, tls),
            listen(listeners.management, management, management_handle, timeout, management_gate, None),
        );
        let limit = self.config.http.drain_timeout.duration();
        self.end(&tasks, limit).await;
        Ok(result.map(|_| ())?)
    }

    /// Ends what [`begin`](Self::begin) has begun, within `limit`, and closes the database.
    pub async fn end(self, tasks: &Tasks, limit: Duration) {
        // Whoever waited for a revocation has its answer or is gone; what is still queued is recorded before we end.
        // Told to drain first: a task that ends by the second word is not lost then.
        tasks.shutdown().drain();
        self.over.cancel();
        let late = tasks.wait(limit).await;
        if !late.is_empty() {
            tracing::warn!(tasks = ?late, "some tasks did not stop in time");
        }
        self.close().await;
    }

    /// Closes the database. What was acknowledged is durable with or without it.
    pub async fn close(self) {
        self.over.cancel();
        if let Err(error) = self.ledger.keep_time().await {
            tracing::warn!(%error, "ledger time could not be noted");
        }
        self.database.close().await;
    }

    fn state(&self) -> AppState {
        let lead = self.config.tokens.key_lead.duration();
        AppState {
            sessions: self.sessions.clone(),
            keys: Arc::clone(self.keys.ring()),
            cookies: Arc::new(cookies(&self.config.cookies)),
            trust: Arc::new(Trust {
                origins: self.config.http.allowed_origins.iter().map(ToString::to_string).collect(),
                proxies: self.config.http.trusted_proxies.clone(),
                hsts: listening::hsts(&self.config.http),
                hsts_proxied: self.config.http.hsts_proxied,
                clear_site_data: listening::clear_site_data(&self.config.cookies),
                accept: self.config.verify.accept,
                serve_for: self.config.revocation.serve_for.duration(),
                patience: self.config.http.request_timeout.duration().saturating_sub(ANSWERING),
                jwks_max_age: (lead / 2).min(Duration::from_mins(5)).as_secs(),
            }),
            metrics: self.metrics.clone(),
        }
    }

    fn status(&self) -> Status {
        Status::new(status::Parts {
            replica: Arc::clone(&self.replica),
            ledger: self.ledger.clone(),
            sessions: self.sessions.clone(),
            node: self.node.clone(),
            blocklist: self.herald.blocklist().cloned(),
            on_stale: on_stale(&self.config.revocation),
            strategy: strategy(self.config.revocation.strategy),
            metrics: self.metrics.clone(),
        })
    }

    /// The two stages of a shutdown, for both listeners.
    fn stop_with(&self, tasks: &Tasks, handles: [Handle<SocketAddr>; 2]) {
        let shutdown = tasks.shutdown().clone();
        let over = self.over.clone();
        let limit = self.config.http.drain_timeout.duration();
        tasks.spawn("shutdown", async move {
            shutdown.soft().cancelled().await;
            for handle in &handles {
                handle.graceful_shutdown(Some(limit));
            }
            tokio::select! {
                () = shutdown.hard().cancelled() => handles.iter().for_each(Handle::shutdown),
                () = over.cancelled() => {}
            }
        });
    }
}

/// What the use cases are made of.
struct Parts<'a> {
    config: &'a Config,
    secret: &'a ServerSecret,
    database: &'a Database,
    ledger: &'a Ledger,
    keys: &'a Arc<KeyRing>,
    /// Where opaque sessions are looked up, if credentials are those.
    place: Option<Place>,
}

impl Parts<'_> {
    fn sessions(
        &self,
        revoker: Revoker,
        checker: Checker,
        limits: limits::Limits,
        metrics: Metrics,
    ) -> Result<Sessions, BuildError> {
        let Config { tokens, sessions, accounts, passwords, .. } = self.config;
        let passwords = passwords::Settings {
            memory_kib: passwords.memory_kib,
            iterations: passwords.iterations,
            parallelism: passwords.parallelism,
            min_chars: passwords.min_chars,
            workers: passwords.workers,
            queue: passwords.queue,
        };
        let profile = Arc::new(Profile {
            issuer: tokens.issuer.clone(),
            audience: tokens.audience.clone(),
            client_id: tokens.client_id.clone(),
            access_ttl: tokens.access_ttl.duration(),
            leeway: tokens.leeway.duration(),
        });
        let opaque = self.place.clone().map(|place| Opaque::new(self.secret, Profile::clone(&profile), place));
        Ok(Sessions::new(sessions::Parts {
            settings: sessions::Settings {
                grace: sessions.refresh_grace.duration(),
                idle: sessions.idle.duration(),
                absolute: sessions.absolute.duration(),
                max_per_user: sessions.max_per_user,
                signup: accounts.signup,
            },
            users: Users::new(self.database.clone()),
            devices: Devices::new(self.database.clone()),
            ledger: self.ledger.clone(),
            revoker,
            checker,
            issuer: Issuer::new(Arc::clone(self.keys), Arc::clone(&profile)),
            verifier: Verifier::new(Arc::clone(self.keys), profile).remembering(tokens.verified_cache, metrics.clone()),
            policy: passwords::Policy::new(&passwords)?,
            passwords: Passwords::new(&passwords)?,
            opaque,
            refresh: RefreshTokens::new(self.secret),
            csrf: CsrfTokens::new(self.secret),
            limits,
            metrics,
        }))
    }
}

async fn open_blocklist(redis: &config::Redis, ledger: &Ledger) -> Result<Option<Blocklist>, BlocklistError> {
    if redis.url.is_empty() {
        return Ok(None);
    }
    let settings = blocklist::Settings {
        url: redis.url.expose().to_owned(),
        prefix: redis.prefix.clone(),
        timeout: redis.timeout.duration(),
    };
    let (blocklist, warnings) = Blocklist::open(settings, ledger.deployment()).await?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    Ok(Some(blocklist))
}

fn node_settings(config: &Config, folder: &DataFolder) -> node::Settings {
    let revocation = &config.revocation;
    let name = Some(config.node.name.clone()).filter(|name| !name.is_empty());
    node::Settings {
        lease: revocation.lease.duration(),
        serve_for: revocation.serve_for.duration(),
        pull: revocation.pull.duration(),
        name: name.or_else(host_name).unwrap_or_default(),
        strategy: strategy(revocation.strategy),
        store: None,
        memo: memo(folder),
    }
}

/// Where the node notes its id: proof of its death for whoever has this very lock, on this machine, since its start.
fn memo(folder: &DataFolder) -> Option<node::Memo> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let owner = format!("{} {}", boot.trim(), folder.lock_id().ok()?);
    Some(node::Memo { path: folder.path().join("node"), owner })
}

fn host_name() -> Option<String> {
    Some(std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?.trim().to_owned())
}

const fn tries(limits: &config::Limits) -> limits::Settings {
    limits::Settings {
        logins_per_address: limits.logins_per_address,
        wrong_per_address: limits.wrong_per_address,
        wrong_per_account: limits.wrong_per_account,
        wrong_before_slow: limits.wrong_before_slow,
        signups_per_address: limits.signups_per_address,
        signups_per_account: limits.signups_per_account,
        refreshes_per_address: limits.refreshes_per_address,
        refreshes_per_session: limits.refreshes_per_session,
    }
}

const fn strategy(strategy: config::Strategy) -> Strategy {
    match strategy {
        config::Strategy::Hybrid => Strategy::Hybrid,
        config::Strategy::Exact => Strategy::Exact,
        config::Strategy::Stateless => Strategy::Stateless,
        config::Strategy::Redis => Strategy::Redis,
        config::Strategy::SessionRedis => Strategy::SessionRedis,
        config::Strategy::SessionSql => Strategy::SessionSql,
    }
}

/// How a revocation comes in force, and the store that checks ask for it. That there is a Redis where one is needed the
/// configuration has seen to.
fn enforcement(
    strategy: Strategy,
    blocklist: Option<&Blocklist>,
    ledger: &Ledger,
    patience: Duration,
) -> (Enforcement, Option<Store>) {
    let store = blocklist
        .filter(|_| matches!(strategy, Strategy::Redis | Strategy::SessionRedis))
        .map(|blocklist| Store::new(blocklist.clone(), ledger.clone(), patience));
    let enforcement = match (strategy, &store) {
        (Strategy::Hybrid | Strategy::Exact, _) => Enforcement::Nodes,
        (Strategy::SessionSql, _) => Enforcement::Database,
        (_, Some(store)) => Enforcement::Store(store.clone()),
        (_, None) => Enforcement::Expiry,
    };
    (enforcement, store)
}

fn on_stale(revocation: &config::Revocation) -> OnStale {
    match revocation.on_stale {
        config::OnStale::Deny => OnStale::Deny,
        config::OnStale::Ask => OnStale::Ask,
        config::OnStale::ServeFor => OnStale::ServeFor(revocation.serve_for.duration()),
    }
}

/// The file of the embedded database.
#[must_use]
pub fn database_file(folder: &DataFolder) -> PathBuf {
    folder.path().join("kickout.db")
}

async fn open_database(config: &Config, folder: &DataFolder) -> Result<Database, BuildError> {
    let opened = if config.database.url.is_empty() {
        Database::open(&database_file(folder)).await
    } else {
        Database::open_url(config.database.url.expose()).await
    };
    opened.map_err(database_error(config, folder))
}

fn database_error(config: &Config, folder: &DataFolder) -> impl FnOnce(DatabaseError) -> BuildError + use<> {
    let file = database_file(folder);
    // What somebody wrote into the URL may be more than a path.
    let place = if config.database.url.is_empty() { file.display().to_string() } else { "database.url".to_owned() };
    move |source| BuildError::Database { place, source }
}

const fn algorithm(algorithm: config::Algorithm) -> Algorithm {
    match algorithm {
        config::Algorithm::EdDSA => Algorithm::EdDSA,
        config::Algorithm::ES256 => Algorithm::ES256,
        config::Algorithm::RS256 => Algorithm::RS256,
        config::Algorithm::HS256 => Algorithm::HS256,
    }
}

fn secret_files(config: &Config) -> Result<SecretFiles, VaultError> {
    let key = config.tokens.key_encryption_key.expose();
    if key.is_empty() { Ok(SecretFiles::plain()) } else { Ok(SecretFiles::under(key)?) }
}

fn cookies(settings: &config::Cookies) -> Cookies {
    let same_site = match settings.same_site {
        config::SameSite::Lax => cookie::SameSite::Lax,
        config::SameSite::Strict => cookie::SameSite::Strict,
    };
    Cookies::new(same_site, Some(settings.domain.clone()).filter(|domain| !domain.is_empty()))
}

/// Serves one listener until its handle says stop. Only HTTP/1.1: what is in front of us speaks it, and its limits are
/// the simplest to state.
async fn listen(
    listener: TcpListener,
    router: Router,
    handle: Handle<SocketAddr>,
    header_timeout: Duration,
    gate: Gate<DefaultAcceptor>,
    tls: Option<Tls>,
) -> io::Result<()> {
    let mut server = axum_server::from_tcp(listener)?.acceptor(gate).handle(handle).http1_only();
    server
        .http_builder()
        .http1()
        .timer(TokioTimer::new())
        // A client that dribbles its headers, or holds an idle connection, is cut.
        .header_read_timeout(header_timeout)
        .max_buf_size(HEADER_BYTES);
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    match tls {
        Some(tls) => server.map(|inner| tls.accept(inner, header_timeout)).serve(service).await,
        None => server.serve(service).await,
    }
}
