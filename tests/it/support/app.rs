//! The service in this process.

use std::{net::TcpListener, ops::Deref, time::Duration};

use kickout::{
    admin::{Admin, Answer, Command},
    app::{App, Listeners},
    clock::Clock,
    config::{Config, Limits, Span},
    instance::{DataFolder, FolderError},
    lifecycle::{Shutdown, Tasks},
    revocation::Receipt,
    sessions::Sessions,
};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::{client::Net, wait::eventually};

/// What the management listener asks for.
pub(crate) const ADMIN_TOKEN: &str = "an-operator-in-these-tests-only";

/// How long a service may take to stop, cut or not.
const STOP: Duration = Duration::from_secs(10);

/// A service with a folder and two ports of its own. What is dropped is cut; [`stop`](Self::stop) drains.
#[derive(Debug)]
pub(crate) struct TestApp {
    net: Net,
    config: Config,
    clock: Clock,
    running: Running,
    /// Removed last.
    folder: TempDir,
}

#[derive(Debug)]
struct Running {
    shutdown: Shutdown,
    /// One task, which is aborted when it is dropped.
    serving: JoinSet<()>,
    admin: Admin,
    sessions: Sessions,
    ports: [std::net::SocketAddr; 2],
}

impl TestApp {
    /// A service with the cheapest settings that the product permits.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// A service with other settings.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_at(Clock::System, change).await
    }

    /// A service that lives by this clock.
    pub(crate) async fn start_at(clock: Clock, change: impl FnOnce(&mut Config)) -> Self {
        let app = Self::launch(clock, change, true).await;
        app.is_ready().await;
        app
    }

    /// A service that answers requests, but has not begun to load its ledger: no check is answered, no revocation done.
    pub(crate) async fn start_cold(change: impl FnOnce(&mut Config)) -> Self {
        Self::launch(Clock::System, change, false).await
    }

    async fn launch(clock: Clock, change: impl FnOnce(&mut Config), begins: bool) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = Config { data_dir: folder.path().join("data"), ..Config::default() };
        config.revocation.filter.capacity = 1000;
        config.http.drain_timeout = Span::from_secs(5);
        config.limits = many_tries();
        change(&mut config);
        let running = Running::start(config.clone(), clock.clone(), begins).await;
        let [public, management] = running.ports;
        Self { net: Net::new(public, management), config, clock, running, folder }
    }

    /// Stops the service and starts it again on the same folder, at other ports.
    pub(crate) async fn restart(&mut self) {
        self.running.stop().await;
        self.running = Running::start(self.config.clone(), self.clock.clone(), true).await;
        let [public, management] = self.running.ports;
        self.net.moved(public, management);
        self.is_ready().await;
    }

    /// Stops the service and starts it again on the same folder, with other settings.
    pub(crate) async fn restart_with(&mut self, change: impl FnOnce(&mut Config)) {
        change(&mut self.config);
        self.restart().await;
    }

    /// Stops the service: it drains, and ends without a complaint. The folder goes when what is returned is dropped.
    pub(crate) async fn stop(mut self) -> TempDir {
        self.running.stop().await;
        self.folder
    }

    /// The use cases, past HTTP.
    pub(crate) const fn sessions(&self) -> &Sessions {
        &self.running.sessions
    }

    /// Does what an operator asks for, who gets a receipt for it.
    pub(crate) async fn command(&self, command: Command) -> Receipt {
        match self.running.admin.run(command).await {
            Ok(Answer::Receipt(receipt)) => receipt,
            other => panic!("{other:?}"),
        }
    }

    /// Does what an operator asks for.
    pub(crate) const fn admin(&self) -> &Admin {
        &self.running.admin
    }

    /// The data folder.
    pub(crate) fn data(&self) -> std::path::PathBuf {
        self.config.data_dir.clone()
    }

    async fn is_ready(&self) {
        eventually!(self.net.manage(http::Method::GET, "/readyz").await.status == 200);
    }
}

impl Deref for TestApp {
    type Target = Net;

    fn deref(&self) -> &Net {
        &self.net
    }
}

impl Running {
    async fn start(config: Config, clock: Clock, begins: bool) -> Self {
        // A program that another test is just starting has a copy of this process's files, and with them of the lock that
        // was here before, until it runs its own.
        let mut folder = None;
        eventually!({
            match DataFolder::open(&config.data_dir) {
                Err(FolderError::InUse { .. }) => {}
                opened => folder = Some(opened.expect("a folder of our own")),
            }
            folder.is_some()
        });
        let folder = folder.expect("it was waited for");
        let listeners = Listeners { public: listener(), management: listener() };
        let ports = [&listeners.public, &listeners.management].map(|listener| listener.local_addr().expect("bound"));
        let shutdown = Shutdown::new();
        let tasks = Tasks::new(shutdown.clone());
        let app = App::build(config, clock, folder).await.expect("the service is put together");
        if begins {
            app.start(&tasks).await.expect("the service starts");
        }
        let (admin, sessions) = (app.admin(), app.sessions().clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            app.serve(listeners, tasks, ADMIN_TOKEN.to_owned()).await.expect("the service ends well");
        });
        Self { shutdown, serving, admin, sessions, ports }
    }

    async fn stop(&mut self) {
        self.shutdown.drain();
        let ended = tokio::time::timeout(STOP, self.serving.join_next()).await.expect("the service stops in time");
        ended.expect("it was running").expect("it has not panicked");
        assert_eq!(self.shutdown.fatal(), None);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cut();
    }
}

/// Everybody in these tests has one address, and many passwords are wrong. What is about limits sets its own.
pub(crate) fn many_tries() -> Limits {
    let many = 100_000;
    Limits {
        logins_per_address: many,
        wrong_per_address: many,
        wrong_per_account: many,
        wrong_before_slow: many,
        signups_per_address: many,
        signups_per_account: many,
        refreshes_per_address: many,
        refreshes_per_session: many,
    }
}

fn listener() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a listener");
    listener
}
