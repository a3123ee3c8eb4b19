//! The composition root: the only place that knows everything. The program and every test build the same [`App`].
//!
//! [`App::build`] opens what the data folder holds, [`App::start`] begins recording and loads the filter, and
//! [`App::serve`] answers on two listeners until it is told to drain. A command without a server stops after the
//! second step.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::Router;
use axum_server::Handle;
use hyper_util::rt::TokioTimer;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    admin::Admin,
    clock::Clock,
    config::{self, Config},
    cookies::Cookies,
    csrf::CsrfTokens,
    database::{self, Database, DatabaseError},
    http::{
        self, Limits,
        middleware::Observer,
        routes::management::Management,
        state::{AppState, Trust},
    },
    ids::LedgerId,
    instance::DataFolder,
    lifecycle::{Fatal, Policy, Tasks},
    passwords::{self, Passwords, SettingsError},
    revocation::{
        Checker, Recorder, Revoker, filter,
        ledger::Ledger,
        sync::{LoadError, Replica},
    },
    secret::{SecretFileError, ServerSecret},
    sessions::{self, Sessions, devices::Devices, refresh::RefreshTokens},
    status::Status,
    telemetry::metrics::{Metrics, PrunedTable, RebuildReason},
    tokens::{
        Issuer, KeyRing, Profile, Verifier,
        keys::{Algorithm, KeyError, KeySettings},
    },
    users::Users,
};

/// The service cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The server's own key.
    #[error(transparent)]
    Secret(#[from] SecretFileError),
    /// The signing keys.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The settings of password hashing.
    #[error(transparent)]
    Passwords(#[from] SettingsError),
    /// The configuration names a PostgreSQL server. Several nodes could work on it, and nothing here keeps them from
    /// trusting what another one has just ended.
    #[error(
        "a cluster on PostgreSQL is not supported by this version yet: leave database.url empty, or let it name an \
         SQLite file"
    )]
    Cluster,
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
    sessions: Sessions,
    keys: Arc<KeyRing>,
    metrics: Metrics,
    recorder: Mutex<Option<Recorder>>,
    /// Cancelled when nobody can ask for a revocation any more; then the recorder finishes what waits.
    over: CancellationToken,
}

/// Rows that one pruning statement deletes at most: a few milliseconds of the writing connection.
const PRUNE_ROWS: u32 = 500;

/// Between two pruning statements: the writing connection is others' for ten times as long as it is ours.
const PRUNE_PAUSE: Duration = Duration::from_millis(30);

/// How often expired rows are looked for, keys are retired, and ledger time is noted.
const MAINTENANCE: Duration = Duration::from_secs(30);

/// How often the filter is asked to drop what has expired, and metrics to fold their samples.
const TICK: Duration = Duration::from_secs(2);

/// Operators' requests: a scraper, probes, a few commands at once, each small; none is cut short because users' requests
/// are.
const MANAGEMENT_LIMITS: Limits =
    Limits { body: 16 * 1024, sending: Duration::from_secs(10), time: Duration::from_secs(30), requests: 32 };

/// Bytes of one request's headers, the request line included. A token takes 1 to 4 KiB of it.
const HEADER_BYTES: usize = 32 * 1024;

impl App {
    /// Opens the data folder's database, keys and secret; makes what is missing.
    ///
    /// # Errors
    /// [`BuildError`].
    pub async fn build(config: Config, clock: Clock, folder: DataFolder) -> Result<Self, BuildError> {
        if database::is_postgres(config.database.url.expose()) {
            return Err(BuildError::Cluster);
        }
        let metrics = Metrics::new();
        let secret = ServerSecret::load_or_create(&folder.path().join(SECRET_FILE))?;
        let database = open_database(&config, &folder).await?;
        let access_ttl = config.tokens.access_ttl.duration();
        let leeway = config.tokens.leeway.duration();
        let ledger =
            Ledger::open(database.clone(), &clock, access_ttl).await.map_err(database_error(&config, &folder))?;
        let now = ledger.clock().now();
        let keys = Arc::new(KeyRing::open(
            KeySettings {
                folder: folder.path().join("keys"),
                algorithm: algorithm(config.tokens.algorithm),
                max_access_ttl: ledger.lifetimes().ceiling(now),
                leeway,
            },
            now,
        )?);
        let settings = filter::Settings {
            capacity: config.revocation.filter.capacity,
            false_positives: config.revocation.filter.false_positives,
        };
        metrics.filter_false_positives_target.set(settings.false_positives);
        let replica = Arc::new(Replica::new(ledger.id(), settings, now));
        let (revoker, recorder) =
            Revoker::new(ledger.clone(), Arc::clone(&replica), config.revocation.queue, metrics.clone());
        let checker = Checker::new(Arc::clone(&replica), ledger.clone(), metrics.clone());
        let parts = Parts { config: &config, secret: &secret, database: &database, ledger: &ledger, keys: &keys };
        let sessions = parts.sessions(revoker, checker, metrics.clone())?;
        let recorder = Mutex::new(Some(recorder));
        let over = CancellationToken::new();
        Ok(Self { config, folder, clock, database, ledger, replica, sessions, keys, metrics, recorder, over })
    }

    /// Begins to load the filter, and to record when it is loaded. Until then checks are not answered and revocations
    /// wait. A ledger that cannot be loaded ends the process.
    pub fn begin(&self, tasks: &Tasks) -> JoinHandle<Result<(), StartError>> {
        let named = database_error(&self.config, &self.folder);
        let recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (replica, ledger, clock) = (Arc::clone(&self.replica), self.ledger.clone(), self.clock.clone());
        let (metrics, over, later) = (self.metrics.clone(), self.over.clone(), tasks.clone());
        tasks.spawn("load", async move {
            let since = clock.boottime();
            if let Err(error) = replica.load(&ledger).await {
                let error = match error {
                    LoadError::Database(source) => StartError::Database(named(source)),
                    broken @ LoadError::Broken { .. } => StartError::Load(broken),
                };
                tracing::error!(%error, "the ledger cannot be loaded");
                later.shutdown().fail(Fatal { task: "load", problem: error.to_string() });
                return Err(error);
            }
            metrics.filter_rebuilds_total.at(RebuildReason::Start).increment(1);
            let took_ms = clock.boottime().since(since).as_secs_f64() * 1e3;
            tracing::info!(entries = replica.filter().entries, applied = %replica.applied(), took_ms, "ready");
            let mut recorder = recorder;
            later.supervise("recorder", Policy::Fatal, move || {
                let (recorder, over) = (recorder.take(), over.clone());
                async move {
                    recorder.ok_or("the recorder runs once")?.run(over.cancelled()).await;
                    Ok::<(), &str>(())
                }
            });
            Ok(())
        })
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
            keys: Arc::clone(&self.keys),
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
        &self.keys
    }

    /// Answers requests until the soft shutdown, then drains.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn serve(self, listeners: Listeners, tasks: Tasks, admin_token: String) -> Result<(), ServeError> {
        self.maintain(&tasks);
        let observer = Observer { metrics: self.metrics.clone(), clock: self.clock.clone() };
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
        let result = tokio::try_join!(
            listen(listeners.public, public, public_handle, timeout),
            listen(listeners.management, management, management_handle, timeout),
        );
        // Whoever waited for a revocation has its answer or is gone; what is still queued is recorded before we end.
        self.over.cancel();
        if result.is_err() {
            tasks.shutdown().drain();
        }
        let late = tasks.wait(self.config.http.drain_timeout.duration()).await;
        if !late.is_empty() {
            tracing::warn!(tasks = ?late, "some tasks did not stop in time");
        }
        self.close().await;
        Ok(result.map(|_| ())?)
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
            keys: Arc::clone(&self.keys),
            cookies: Arc::new(cookies(&self.config.cookies)),
            trust: Arc::new(Trust {
                origins: self.config.http.allowed_origins.iter().map(ToString::to_string).collect(),
                proxies: self.config.http.trusted_proxies.clone(),
                accept: self.config.verify.accept,
                jwks_max_age: (lead / 2).min(Duration::from_mins(5)).as_secs(),
            }),
            metrics: self.metrics.clone(),
        }
    }

    fn status(&self) -> Status {
        Status::new(Arc::clone(&self.replica), self.ledger.clone(), self.sessions.clone(), self.metrics.clone())
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

    fn maintain(&self, tasks: &Tasks) {
        let (replica, ledger, metrics) = (Arc::clone(&self.replica), self.ledger.clone(), self.metrics.clone());
        let shutdown = tasks.shutdown().clone();
        tasks.supervise("filter growth", Policy::Restart, move || {
            let (replica, ledger, metrics) = (Arc::clone(&replica), ledger.clone(), metrics.clone());
            let soft = shutdown.soft().clone();
            async move {
                while soft.run_until_cancelled(replica.wants_growth()).await.is_some() {
                    replica.grow(&ledger).await?;
                    metrics.filter_rebuilds_total.at(RebuildReason::Growth).increment(1);
                    tracing::info!(capacity = replica.filter().capacity, "the filter has grown");
                }
                Ok::<(), LoadError>(())
            }
        });
        let (replica, ledger, metrics) = (Arc::clone(&self.replica), self.ledger.clone(), self.metrics.clone());
        let shutdown = tasks.shutdown().clone();
        tasks.supervise("filter rotation", Policy::Restart, move || {
            let (replica, ledger, metrics) = (Arc::clone(&replica), ledger.clone(), metrics.clone());
            let soft = shutdown.soft().clone();
            async move {
                while soft.run_until_cancelled(tokio::time::sleep(TICK)).await.is_some() {
                    if replica.rotate(&ledger) {
                        metrics.filter_rotations_total.increment(1);
                    }
                    metrics.upkeep();
                }
                Ok::<(), LoadError>(())
            }
        });
        let upkeep = Upkeep {
            ledger: self.ledger.clone(),
            devices: Devices::new(self.database.clone()),
            keys: Arc::clone(&self.keys),
            metrics: self.metrics.clone(),
        };
        let shutdown = tasks.shutdown().clone();
        tasks.supervise("maintenance", Policy::Restart, move || {
            let upkeep = upkeep.clone();
            let soft = shutdown.soft().clone();
            async move {
                while soft.run_until_cancelled(tokio::time::sleep(MAINTENANCE)).await.is_some() {
                    upkeep.run(&soft).await?;
                }
                Ok::<(), DatabaseError>(())
            }
        });
    }
}

/// What is done now and then.
#[derive(Debug, Clone)]
struct Upkeep {
    ledger: Ledger,
    devices: Devices,
    keys: Arc<KeyRing>,
    metrics: Metrics,
}

impl Upkeep {
    async fn run(&self, stop: &CancellationToken) -> Result<(), DatabaseError> {
        self.ledger.keep_time().await?;
        let now = self.ledger.clock().now();
        self.keys.set_max_access_ttl(self.ledger.lifetimes().ceiling(now));
        // A retired key's file stays for a day: long enough to look into what it has signed.
        if let Err(error) = self.keys.prune(now, Duration::from_hours(24)) {
            tracing::warn!(%error, "a retired key could not be removed");
        }
        // Small statements with a pause between them, until nothing is due: whoever revokes waits for one at most.
        loop {
            let revocations = self.ledger.prune(PRUNE_ROWS).await?;
            let sessions = self.devices.prune(now, PRUNE_ROWS).await?;
            let swept = self.devices.sweep(now, PRUNE_ROWS).await?;
            self.metrics.pruned_total.at(PrunedTable::Revocations).increment(revocations);
            self.metrics.pruned_total.at(PrunedTable::Sessions).increment(sessions);
            if revocations + sessions + swept == 0 || stop.is_cancelled() {
                break;
            }
            tokio::time::sleep(PRUNE_PAUSE).await;
        }
        self.metrics.prune_backlog.at(PrunedTable::Revocations).set(self.ledger.prune_backlog().await?);
        self.metrics.prune_backlog.at(PrunedTable::Sessions).set(self.devices.prune_backlog(now).await?);
        Ok(())
    }
}

/// What the use cases are made of.
struct Parts<'a> {
    config: &'a Config,
    secret: &'a ServerSecret,
    database: &'a Database,
    ledger: &'a Ledger,
    keys: &'a Arc<KeyRing>,
}

impl Parts<'_> {
    fn sessions(&self, revoker: Revoker, checker: Checker, metrics: Metrics) -> Result<Sessions, BuildError> {
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
        Ok(Sessions::new(sessions::Parts {
            settings: sessions::Settings {
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
            verifier: Verifier::new(Arc::clone(self.keys), profile),
            policy: passwords::Policy::new(&passwords)?,
            passwords: Passwords::new(&passwords)?,
            refresh: RefreshTokens::new(self.secret),
            csrf: CsrfTokens::new(self.secret),
            metrics,
        }))
    }
}

/// The file of the server's own key; a data folder that was ever used has one.
pub const SECRET_FILE: &str = "server.secret";

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
    }
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
) -> io::Result<()> {
    let mut server = axum_server::from_tcp(listener)?.handle(handle).http1_only();
    server
        .http_builder()
        .http1()
        .timer(TokioTimer::new())
        // A client that dribbles its headers, or holds an idle connection, is cut.
        .header_read_timeout(header_timeout)
        .max_buf_size(HEADER_BYTES);
    server.serve(router.into_make_service_with_connect_info::<SocketAddr>()).await
}
