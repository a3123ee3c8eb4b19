//! What is asked of the candidates: accounts, their devices, live revocations in the ledger, and who comes how often.

use std::{ffi::OsString, sync::Arc, time::Duration};

use kickout::{
    app::{App, database_file},
    clock::{Clock, LedgerClock},
    config::{Config, Source},
    database::{Database, sql},
    ids::{SessionId, Subject},
    instance::DataFolder,
    lifecycle::{Shutdown, Tasks},
    revocation::Patience,
    sessions::{Sessions, devices::Client as Device},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rand_distr::{Distribution as _, Zipf};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::{
    super::{
        fleet::{Mint, Ticket, accounts, first_account, ledger_id},
        readiness::{Kind, fill},
    },
    arms::Setup,
};
use crate::Failure;

/// How long a host may take to end.
const STOP: Duration = Duration::from_secs(10);

/// Sessions opened or ended at once.
const CALLERS: usize = 12;

/// The hash of nothing that anybody knows.
const NO_PASSWORD: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A node of Kickout in this process, on the same database and with the same settings as those that are measured. It
/// opens sessions and takes them back; unless it is there to go on taking back, it leaves before anything is measured.
#[derive(Debug)]
pub(crate) struct Host {
    app: App,
    tasks: Tasks,
    config: Config,
    _folder: TempDir,
}

impl Host {
    /// Starts a host. With SQLite it needs the folder that the measured node will have, and has to leave before that
    /// one starts.
    pub(crate) async fn start(setup: &Setup) -> Result<Self, Failure> {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let mut config = config(setup)?;
        config.data_dir = setup.data().unwrap_or_else(|| folder.path().join("data"));
        let app = Box::pin(App::build(config.clone(), Clock::System, DataFolder::open(&config.data_dir)?)).await?;
        let tasks = Tasks::new(Shutdown::new());
        app.start(&tasks).await?;
        Ok(Self { app, tasks, config, _folder: folder })
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        self.app.sessions()
    }

    /// Accounts with so many sessions each, opened by what a login does after the password; user by user. With
    /// PostgreSQL, and once for each database.
    pub(crate) async fn mint(&self, users: usize, devices: usize) -> Result<Vec<Ticket>, Failure> {
        first_account(self.sessions()).await?;
        self.mint_more(users, devices).await
    }

    /// More of them.
    pub(crate) async fn mint_more(&self, users: usize, devices: usize) -> Result<Vec<Ticket>, Failure> {
        let url = self.config.database.url.expose();
        let people = accounts(url, users, self.sessions().clock().now()).await?;
        self.open(&people, devices).await
    }

    /// Sessions of these, user by user.
    pub(crate) async fn open(&self, people: &[Subject], devices: usize) -> Result<Vec<Ticket>, Failure> {
        let mut openings = JoinSet::new();
        for (n, share) in people.chunks(people.len().div_ceil(CALLERS).max(1)).enumerate() {
            let (sessions, share) = (self.sessions().clone(), share.to_vec());
            openings.spawn(async move {
                let mut tickets = Vec::with_capacity(share.len() * devices);
                for subject in share {
                    for _ in 0..devices {
                        let opened = sessions.open_for(subject, &Device::default()).await?;
                        tickets.push(Ticket { session: opened.session, subject, token: opened.access.text });
                    }
                }
                Ok::<_, Failure>((n, tickets))
            });
        }
        let mut shares = Vec::new();
        while let Some(opened) = openings.join_next().await {
            shares.push(opened??);
        }
        shares.sort_by_key(|(n, _)| *n);
        Ok(shares.into_iter().flat_map(|(_, tickets)| tickets).collect())
    }

    /// Ends these sessions, and waits for the complete receipts.
    pub(crate) async fn revoke(&self, tickets: &[Ticket]) -> Result<(), Failure> {
        let mut ends = JoinSet::new();
        for share in tickets.chunks(tickets.len().div_ceil(CALLERS).max(1)) {
            let (sessions, share) = (self.sessions().clone(), share.to_vec());
            ends.spawn(async move {
                for ticket in share {
                    sessions.end_session(ticket.session, ticket.subject, Patience::AtMost(STOP)).await?;
                }
                Ok::<_, Failure>(())
            });
        }
        while let Some(ended) = ends.join_next().await {
            ended??;
        }
        Ok(())
    }

    /// Ends it, and leaves what signs more access tokens of its sessions, as refreshes would.
    pub(crate) async fn leave(self) -> Result<(Mint, LedgerClock), Failure> {
        let (keys, clock) = (Arc::clone(self.app.keys()), self.sessions().clock().clone());
        let config = self.config.clone();
        self.stop().await?;
        let database = open(&config).await?;
        let epoch = ledger_id(&database).await?;
        database.close().await;
        Ok((Mint::new(&keys, epoch, config.tokens), clock))
    }

    /// Ends it; no revocation waits for it afterwards.
    pub(crate) async fn stop(self) -> Result<(), Failure> {
        self.tasks.shutdown().drain();
        Box::pin(self.app.end(&self.tasks, STOP)).await;
        match self.tasks.shutdown().fatal() {
            Some(fatal) => Err(format!("the host has failed: {fatal:?}").into()),
            None => Ok(()),
        }
    }
}

/// The same as [`accounts`] in SQLite, which no node may have open meanwhile. Nobody logs in to these.
pub(crate) async fn accounts_in_sqlite(setup: &Setup, count: usize) -> Result<Vec<Subject>, Failure> {
    let database = open(&config(setup)?).await?;
    let people: Vec<Subject> = (0..count).map(|_| Subject::random()).collect();
    let mut writer = database.write().await?;
    for subject in &people {
        sql("INSERT INTO users (id, name, name_key, password, created_at) VALUES ($1, $2, $2, $4, $3)")
            .bind(subject.uuid())
            .bind(subject.to_string())
            .bind(Clock::System.wall().as_millis())
            .bind(NO_PASSWORD)
            .execute(&mut writer)
            .await?;
    }
    drop(writer);
    database.close().await;
    Ok(people)
}

/// The database of a node that does not run, if it is SQLite.
async fn open(config: &Config) -> Result<Database, Failure> {
    Ok(match config.database.url.expose() {
        "" => Database::open(&database_file(&DataFolder::open(&config.data_dir)?)).await?,
        url => Database::open_url(url).await?,
    })
}

/// The same settings in this process.
pub(crate) fn config(setup: &Setup) -> Result<Config, Failure> {
    let environment = setup.environment().into_iter();
    let source = Source::new(None, environment.map(|(name, value)| (OsString::from(name), OsString::from(value))));
    let mut config = Config::load(&source).map_err(|problems| problems.to_string())?.config;
    if let Some(data) = setup.data() {
        config.data_dir = data;
    }
    Ok(config)
}

/// Makes the tables of a database, and writes live revocations of tokens that nobody has into its ledger. They live as
/// long as tokens do.
pub(crate) async fn prepare(setup: &Setup, live: u64) -> Result<(), Failure> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let mut config = config(setup)?;
    config.data_dir = setup.data().unwrap_or_else(|| folder.path().join("data"));
    let folder = DataFolder::open(&config.data_dir)?;
    let app = Box::pin(App::build(config.clone(), Clock::System, folder)).await?;
    let now = app.sessions().clock().now();
    app.close().await;
    if live == 0 {
        return Ok(());
    }
    let kind = if setup.database.is_empty() { Kind::Sqlite } else { Kind::Postgresql };
    let database = open(&config).await?;
    let last = Ticket { session: SessionId::random(), subject: Subject::random(), token: String::new() };
    let until = (now + config.tokens.access_ttl.duration()).as_millis();
    fill(&database, kind, live - 1, until, &[last]).await?;
    database.close().await;
    if kind == Kind::Postgresql {
        // What the server does by itself to a table that has grown, if a little later.
        super::super::servers::run(&setup.database, "VACUUM (ANALYZE) revocations").await?;
        super::super::servers::run(&setup.database, "CHECKPOINT").await?;
    }
    Ok(())
}

/// Who comes how often: users by Zipf, their devices alike, and who was taken back with a given share. It follows from
/// its seed.
#[derive(Debug)]
pub(crate) struct Draw {
    random: StdRng,
    users: Zipf<f64>,
    devices: usize,
}

/// A few come much more often than most.
pub(crate) const ZIPF_EXPONENT: f64 = 1.0;

impl Draw {
    pub(crate) fn new(seed: u64, users: usize, devices: usize) -> Result<Self, Failure> {
        #[expect(clippy::cast_precision_loss, reason = "users here are thousands")]
        let users = Zipf::new(users as f64, ZIPF_EXPONENT)?;
        Ok(Self { random: StdRng::seed_from_u64(seed), users, devices })
    }

    /// The next session, as its place in a list of sessions user by user.
    pub(crate) fn session(&mut self) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank from 1 to the users' number"
        )]
        let user = self.users.sample(&mut self.random) as usize - 1;
        user * self.devices + self.random.random_range(0..self.devices)
    }

    /// True with this probability.
    pub(crate) fn chance(&mut self, share: f64) -> bool {
        self.random.random_bool(share)
    }

    /// One of so many.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        self.random.random_range(0..count)
    }
}

/// The request that is measured, as bytes: forward-auth with the access cookie.
pub(crate) fn request(cookie: &str) -> Vec<u8> {
    format!("GET /v1/auth/verify HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n").into_bytes()
}

/// The access cookie with this value.
pub(crate) fn access_cookie(token: &str) -> String {
    format!("__Host-kickout-access={token}")
}
