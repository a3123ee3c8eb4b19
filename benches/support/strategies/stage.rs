//! Databases with people, their sessions and live revocations, each for one candidate.

use std::{
    collections::{HashMap, hash_map::Entry},
    time::Duration,
};

use kickout::clock::LedgerClock;
use tempfile::TempDir;

use super::{
    super::{
        fleet::{Mint, Ticket},
        servers::{Redis, Servers, run},
    },
    arms::{Kind, Setup, variable},
    load::{Mix, Stock},
    peers::{CHOSEN_POOL, POOL, Who},
    process::Node,
    proxy::Proxy,
    scope::Scope,
    workload::{Draw, Host, access_cookie, accounts_in_sqlite, prepare, request},
};
use crate::Failure;

/// From so many live revocations on a database is copied as files, and not through the server's log.
const LARGE: u64 = 500_000;

/// A cookie like that of the others, for those who do not look at it: an access token signed with `EdDSA` has so many
/// bytes.
const TOKEN_BYTES: usize = 640;

/// So long ago a fresh token was signed: a node whose reading of the ledger's clock is behind by a little would take one
/// that was signed just now for one of the future.
const EARLIER: Duration = Duration::from_secs(2);

/// How many people there are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crowd {
    pub(crate) users: usize,
    /// Sessions of each.
    pub(crate) devices: usize,
    /// Sessions that were taken back.
    pub(crate) revoked: usize,
}

impl Crowd {
    pub(crate) const fn of(scope: &Scope) -> Self {
        if scope.is_smoke {
            Self { users: 10, devices: 2, revoked: 4 }
        } else {
            Self { users: 250, devices: 4, revoked: 200 }
        }
    }
}

/// Where stages are made.
#[derive(Debug)]
pub(crate) struct Ground<'a> {
    pub(crate) scope: &'a Scope,
    pub(crate) servers: &'a Servers,
    pub(crate) crowd: Crowd,
    /// Databases with live revocations and nobody in them, by the algorithm of their key and the number.
    templates: HashMap<(String, u64), String>,
    copies: u32,
}

impl<'a> Ground<'a> {
    pub(crate) fn new(scope: &'a Scope, servers: &'a Servers) -> Self {
        Self { scope, servers, crowd: Crowd::of(scope), templates: HashMap::new(), copies: 0 }
    }

    pub(crate) fn redis(&self) -> Result<&'a Redis, Failure> {
        self.servers.redis.as_ref().ok_or_else(|| "Redis is not installed: apt-get install redis-server".into())
    }

    /// A name that nobody has in this run.
    fn name(&mut self) -> String {
        self.copies += 1;
        format!("stage_{}", self.copies)
    }

    /// The database that others are copies of; made once.
    async fn template(&mut self, algorithm: &str, live: u64) -> Result<String, Failure> {
        let key = (algorithm.to_owned(), live);
        if let Some(template) = self.templates.get(&key) {
            return Ok(template.clone());
        }
        let template = self.servers.postgres.create().await?;
        let setup = Setup {
            kind: Kind::Hybrid,
            algorithm: algorithm.to_owned(),
            verified_cache: None,
            live,
            database: self.servers.postgres.url(&template),
            redis: String::new(),
            prefix: template.clone(),
            more: Vec::new(),
        };
        prepare(&setup, live).await?;
        self.templates.insert(key, template.clone());
        Ok(template)
    }

    /// A database with so many live revocations; its name.
    async fn database(&mut self, algorithm: &str, live: u64) -> Result<String, Failure> {
        let template = self.template(algorithm, live).await?;
        let name = self.name();
        let strategy = if live >= LARGE { "FILE_COPY" } else { "WAL_LOG" };
        let copy = format!("CREATE DATABASE {name} TEMPLATE {template} STRATEGY {strategy}");
        run(&self.servers.postgres.url("postgres"), &copy).await?;
        Ok(name)
    }
}

/// How far away the stores are: proxies in front of both, or none.
#[derive(Debug)]
pub(crate) struct Distance {
    proxies: Option<(Proxy, Proxy)>,
}

impl Distance {
    pub(crate) fn new(ground: &Ground<'_>, round_trip: Duration) -> Result<Self, Failure> {
        let proxies = if round_trip == Duration::ZERO {
            None
        } else {
            let proxy = |url: &str| Proxy::start(port_of(url)?, round_trip);
            Some((proxy(&ground.servers.postgres.url("postgres"))?, proxy(&ground.redis()?.url())?))
        };
        Ok(Self { proxies })
    }

    pub(crate) fn postgres(&self, url: &str) -> Result<String, Failure> {
        self.proxies.as_ref().map_or_else(|| Ok(url.to_owned()), |(proxy, _)| through(url, proxy))
    }

    pub(crate) fn redis(&self, url: &str) -> Result<String, Failure> {
        self.proxies.as_ref().map_or_else(|| Ok(url.to_owned()), |(_, proxy)| through(url, proxy))
    }
}

/// The port in the URL of a server of ours.
pub(crate) fn port_of(url: &str) -> Result<u16, Failure> {
    let rest = url.rsplit(':').next().unwrap_or_default();
    Ok(rest.split('/').next().unwrap_or_default().parse()?)
}

fn through(url: &str, proxy: &Proxy) -> Result<String, Failure> {
    Ok(url.replace(&format!(":{}", port_of(url)?), &format!(":{}", proxy.port())))
}

/// One candidate's database, what is in it, and what to show to its nodes.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) kind: Kind,
    pub(crate) algorithm: String,
    live: u64,
    database: String,
    prefix: String,
    /// Of SQLite.
    folder: Option<TempDir>,
    /// Of live sessions, user by user.
    tickets: Vec<Ticket>,
    /// `Cookie` headers of the same, and of sessions that were taken back.
    cookies: Vec<String>,
    revoked: Vec<String>,
    signer: Option<(Mint, LedgerClock)>,
    crowd: Crowd,
}

impl Stage {
    /// Makes it. HS256 is for a single node, whose database is SQLite.
    pub(crate) async fn make(ground: &mut Ground<'_>, kind: Kind, algorithm: &str, live: u64) -> Result<Self, Failure> {
        let mut stage = Self {
            kind,
            algorithm: algorithm.to_owned(),
            live,
            database: String::new(),
            prefix: ground.name(),
            folder: None,
            tickets: Vec::new(),
            cookies: Vec::new(),
            revoked: Vec::new(),
            signer: None,
            crowd: ground.crowd,
        };
        match kind {
            Kind::Empty => {
                let cookie = access_cookie(&"e".repeat(TOKEN_BYTES));
                stage.cookies = vec![cookie; ground.crowd.users * ground.crowd.devices];
            }
            Kind::TowerSessions => stage.log_in_at_peer(ground).await?,
            _ => Box::pin(stage.open(ground)).await?,
        }
        Ok(stage)
    }

    async fn open(&mut self, ground: &mut Ground<'_>) -> Result<(), Failure> {
        let Crowd { users, devices, revoked } = ground.crowd;
        let near = Distance { proxies: None };
        if self.algorithm == "HS256" {
            self.folder = Some(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?);
            prepare(&self.setup(ground, &near, None)?, self.live).await?;
        } else {
            self.database = ground.database(&self.algorithm, self.live).await?;
        }
        let setup = self.setup(ground, &near, None)?;
        let people = match &self.folder {
            Some(_) => accounts_in_sqlite(&setup, users + revoked).await?,
            None => Vec::new(),
        };
        let host = Host::start(&setup).await?;
        let ended = if people.is_empty() {
            self.tickets = host.mint(users, devices).await?;
            host.mint_more(revoked, 1).await?
        } else {
            self.tickets = host.open(&people[..users], devices).await?;
            host.open(&people[users..], 1).await?
        };
        host.revoke(&ended).await?;
        self.cookies = self.tickets.iter().map(|ticket| access_cookie(&ticket.token)).collect();
        self.revoked = ended.iter().map(|ticket| access_cookie(&ticket.token)).collect();
        let signer = Box::pin(host.leave()).await?;
        self.signer = self.kind.has_jwts().then_some(signer);
        Ok(())
    }

    /// At the peer by its own login and logout.
    async fn log_in_at_peer(&mut self, ground: &Ground<'_>) -> Result<(), Failure> {
        let near = Distance { proxies: None };
        let node = Node::start(&self.setup(ground, &near, None)?, &ground.scope.pins).await?;
        let client = reqwest::Client::new();
        let url = |path: &str| format!("http://{}{path}", node.public);
        let Crowd { users, devices, revoked } = ground.crowd;
        for n in 0..users * devices + revoked {
            let subject = kickout::ids::Subject::random().to_string();
            let who = Who { subject, roles: Vec::new() };
            let answer = client.post(url("/login")).json(&who).send().await?.error_for_status()?;
            let cookie = answer.headers().get("set-cookie").ok_or("no cookie")?.to_str()?;
            let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
            if n < users * devices {
                self.cookies.push(cookie);
            } else {
                client.post(url("/logout")).header("cookie", &cookie).send().await?.error_for_status()?;
                self.revoked.push(cookie);
            }
        }
        node.stop().await
    }

    /// What a node of it gets.
    pub(crate) fn setup(
        &self,
        ground: &Ground<'_>,
        distance: &Distance,
        verified_cache: Option<u64>,
    ) -> Result<Setup, Failure> {
        let data = self.folder.as_ref().map(|folder| folder.path().join("data").display().to_string());
        let mut more = match self.kind {
            Kind::TowerSessions => vec![(POOL.to_owned(), CHOSEN_POOL.to_string())],
            Kind::Empty => Vec::new(),
            // Shipped, a request that waits too long for Redis is answered with 503. Here it waits: whoever asks Redis is
            // not to fail because the generator has its core.
            _ => vec![(variable("redis.timeout"), "5s".to_owned())],
        };
        more.extend(data.iter().map(|data| (variable("data_dir"), data.clone())));
        let database = match data {
            Some(_) => String::new(),
            None => distance.postgres(&ground.servers.postgres.url(&self.database))?,
        };
        Ok(Setup {
            kind: self.kind,
            algorithm: self.algorithm.clone(),
            verified_cache,
            live: self.live,
            database,
            redis: distance.redis(&ground.redis()?.url())?,
            prefix: self.prefix.clone(),
            more,
        })
    }

    /// Whether there is somebody to sign more tokens.
    pub(crate) const fn can_be_fresh(&self) -> bool {
        self.signer.is_some()
    }

    /// Requests, with so many tokens that nobody has shown yet; what a refresh of that session would have brought.
    pub(crate) fn stock(&self, fresh: usize, draw: &mut Draw) -> Stock {
        let all = |cookies: &[String]| cookies.iter().map(|cookie| request(cookie)).collect();
        let fresh = self.signer.as_ref().map(|(signer, clock)| {
            let sign = |_| {
                let of = &self.tickets[draw.session()];
                request(&access_cookie(&signer.ticket(clock.now() - EARLIER, of.session, of.subject).token))
            };
            (0..fresh).map(sign).collect()
        });
        Stock { live: all(&self.cookies), revoked: all(&self.revoked), fresh: fresh.unwrap_or_default() }
    }

    /// What is asked, with a stock for it.
    pub(crate) fn mix(&self, stock: Stock, seed: u64) -> Mix {
        Mix {
            stock: std::sync::Arc::new(stock),
            users: self.crowd.users,
            devices: self.crowd.devices,
            fresh_share: 0.0,
            revoked_share: 0.0,
            revoked_status: if self.kind.takes_back() { 401 } else { 200 },
            seed,
        }
    }

    /// Removes its database.
    pub(crate) async fn remove(self, ground: &Ground<'_>) -> Result<(), Failure> {
        if self.database.is_empty() {
            return Ok(());
        }
        ground.servers.postgres.drop_database(&self.database).await
    }
}

/// Stages that were made; each serves all points that can use it.
#[derive(Debug, Default)]
pub(crate) struct Stages(HashMap<(&'static str, String, u64), Stage>);

impl Stages {
    pub(crate) async fn of(
        &mut self,
        ground: &mut Ground<'_>,
        kind: Kind,
        algorithm: &str,
        live: u64,
    ) -> Result<(), Failure> {
        let key = Self::key(kind, algorithm, live);
        if let Entry::Vacant(place) = self.0.entry(key) {
            let stage = Stage::make(ground, kind, algorithm, live).await;
            let told = |error| format!("{} with {algorithm} and {live} live: {error}", kind.name());
            place.insert(stage.map_err(told)?);
        }
        Ok(())
    }

    /// One that was made.
    pub(crate) fn get(&self, kind: Kind, algorithm: &str, live: u64) -> Result<&Stage, Failure> {
        self.0.get(&Self::key(kind, algorithm, live)).ok_or_else(|| "no such stage".into())
    }

    /// Removes those with so many live revocations, and what they are copies of.
    pub(crate) async fn forget(&mut self, ground: &mut Ground<'_>, live: u64) -> Result<(), Failure> {
        let keys: Vec<_> = self.0.keys().filter(|key| key.2 == live).cloned().collect();
        for key in keys {
            if let Some(stage) = self.0.remove(&key) {
                stage.remove(ground).await?;
            }
        }
        let templates: Vec<_> = ground.templates.keys().filter(|key| key.1 == live).cloned().collect();
        for key in templates {
            if let Some(template) = ground.templates.remove(&key) {
                ground.servers.postgres.drop_database(&template).await?;
            }
        }
        Ok(())
    }

    /// Where live revocations mean nothing, all numbers of them are one.
    fn key(kind: Kind, algorithm: &str, live: u64) -> (&'static str, String, u64) {
        match (kind.is_kickout(), kind.has_jwts()) {
            (false, _) => (kind.name(), String::new(), 0),
            (true, false) => (kind.name(), "EdDSA".to_owned(), 0),
            (true, true) => (kind.name(), algorithm.to_owned(), live),
        }
    }
}
