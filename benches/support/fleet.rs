//! Nodes of a cluster, each with its own pools, filter and tasks, in this process.

use std::{sync::Arc, time::Duration};

use kickout::{
    app::App,
    clock::{Clock, Timestamp},
    config::{self, Config},
    database::{Database, sql},
    ids::{Generation, LedgerId, SessionId, Subject},
    instance::DataFolder,
    lifecycle::{Shutdown, Tasks},
    revocation::{Patience, Receipt},
    sessions::{AuthError, Sessions, devices::Client},
    tokens::{Grant, Issuer, KeyRing, Profile},
};
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::servers::Servers;
use crate::Failure;

/// Encrypts what the nodes share. Nobody else ever sees that database.
pub(crate) const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// How long a node may take to end.
const STOP: Duration = Duration::from_secs(10);

/// Logouts at each node that do not count: connections are made, statements prepared, channels heard.
const WARM_UPS: usize = 8;

/// The account whose hashed password all others have.
const FIRST: &str = "first";

/// What a login of the first account would need.
const PASSWORD: &str = "engines hum all night";

/// Callers that open sessions at once: as many as the connections that write on three nodes.
const OPENERS: usize = 12;

/// How nodes hear of each other's revocations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum With {
    /// Pushed by Redis.
    Redis,
    /// Told by the database's channels.
    Notify,
    /// By nobody. Each node speaks and listens under a prefix of its own in Redis, so each believes that its pushes
    /// arrive, and all are lost.
    Pull,
}

impl With {
    pub(crate) const ALL: [Self; 3] = [Self::Redis, Self::Notify, Self::Pull];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Notify => "notify",
            Self::Pull => "pull",
        }
    }

    pub(crate) fn needs_redis(self) -> bool {
        self != Self::Notify
    }
}

/// A session that is alive, and its access token.
#[derive(Debug, Clone)]
pub(crate) struct Ticket {
    pub(crate) session: SessionId,
    pub(crate) subject: Subject,
    pub(crate) token: String,
}

/// A node: begun, but without listeners.
#[derive(Debug)]
struct Member {
    app: App,
    tasks: Tasks,
}

/// Nodes on one database.
#[derive(Debug)]
pub(crate) struct Fleet {
    members: Vec<Member>,
    database: String,
    url: String,
    _folders: TempDir,
}

impl Fleet {
    /// Starts nodes on a fresh database, and logs people out of them until that is quick.
    pub(crate) async fn start(servers: &Servers, with: With, nodes: usize) -> Result<Self, Failure> {
        let database = servers.postgres.create().await?;
        let (url, folders) = (servers.postgres.url(&database), tempfile::tempdir()?);
        let mut members = Vec::with_capacity(nodes);
        for n in 0..nodes {
            let mut config = settings(&url);
            config.data_dir = folders.path().join(format!("node-{n}"));
            config.node.name = format!("node-{n}");
            if with.needs_redis() {
                config.redis.url = servers.redis.as_ref().ok_or("Redis is not installed")?.url().into();
                // Clusters follow each other on the same server, and what one has said is nothing to the next.
                config.redis.prefix = match with {
                    With::Pull => format!("{database}-{n}"),
                    _ => database.clone(),
                };
            }
            let folder = DataFolder::open(&config.data_dir)?;
            let app = App::build(config, Clock::System, folder).await?;
            let tasks = Tasks::new(Shutdown::new());
            app.start(&tasks).await?;
            members.push(Member { app, tasks });
        }
        first_account(members[0].app.sessions()).await?;
        let fleet = Self { members, database, url, _folders: folders };
        let tickets = fleet.mint(nodes * WARM_UPS).await?;
        for (n, ticket) in tickets.iter().enumerate() {
            fleet.log_out(n % nodes, ticket).await?;
        }
        Ok(fleet)
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn sessions(&self, node: usize) -> &Sessions {
        self.members[node].app.sessions()
    }

    pub(crate) fn all(&self) -> Vec<Sessions> {
        self.members.iter().map(|member| member.app.sessions().clone()).collect()
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Sessions of so many users, opened by what a login does after the password.
    pub(crate) async fn mint(&self, count: usize) -> Result<Vec<Ticket>, Failure> {
        let people = accounts(&self.url, count, self.sessions(0).clock().now()).await?;
        let mut openings = JoinSet::new();
        for (n, share) in people.chunks(count.div_ceil(OPENERS).max(1)).enumerate() {
            let (sessions, share) = (self.sessions(n % self.len()).clone(), share.to_vec());
            openings.spawn(async move {
                let mut tickets = Vec::with_capacity(share.len());
                for subject in share {
                    let opened = sessions.open_for(subject, &Client::default()).await?;
                    tickets.push(Ticket { session: opened.session, subject, token: opened.access.text });
                }
                Ok::<_, Failure>(tickets)
            });
        }
        let mut tickets = Vec::with_capacity(count);
        while let Some(opened) = openings.join_next().await {
            tickets.extend(opened??);
        }
        Ok(tickets)
    }

    /// Logs out at a node; the receipt must be complete.
    pub(crate) async fn log_out(&self, node: usize, ticket: &Ticket) -> Result<Receipt, Failure> {
        let receipt = self.sessions(node).end_session(ticket.session, ticket.subject, Patience::Complete).await?;
        complete(&receipt, self.len())?;
        Ok(receipt)
    }

    /// Asserts that every node accepts this token.
    pub(crate) async fn is_accepted(&self, ticket: &Ticket) -> Result<(), Failure> {
        for node in 0..self.len() {
            accepts(self.sessions(node), ticket).await?;
        }
        Ok(())
    }

    /// Asserts that every node refuses this token, which a complete receipt says is revoked.
    pub(crate) async fn is_refused(&self, ticket: &Ticket) -> Result<(), Failure> {
        for node in 0..self.len() {
            refuses(self.sessions(node), ticket).await?;
        }
        Ok(())
    }

    /// Ends the nodes, and removes their database.
    pub(crate) async fn stop(self, servers: &Servers) -> Result<(), Failure> {
        for Member { app, tasks } in self.members {
            tasks.shutdown().drain();
            app.end(&tasks, STOP).await;
            if let Some(fatal) = tasks.shutdown().fatal() {
                return Err(format!("a node has failed: {fatal:?}").into());
            }
        }
        servers.postgres.drop_database(&self.database).await
    }
}

/// Signs somebody up whose hashed password [`accounts`] gives to all others.
pub(crate) async fn first_account(sessions: &Sessions) -> Result<(), Failure> {
    sessions.create_user(FIRST, PASSWORD.to_owned().into(), &[]).await?;
    Ok(())
}

/// Accounts by one statement, with the password of the [first](first_account): hashing one for each would take longer
/// than a whole run.
pub(crate) async fn accounts(url: &str, count: usize, now: Timestamp) -> Result<Vec<Subject>, Failure> {
    let mut connection = PgConnection::connect(url).await?;
    let people: Vec<Uuid> = sqlx::query_scalar(
        "INSERT INTO users (id, name, name_key, password, created_at)
         SELECT id, id::text, id::text, (SELECT password FROM users WHERE name_key = $3), $2
         FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, $1)) AS drawn
         RETURNING id",
    )
    .bind(i64::try_from(count)?)
    .bind(now.as_millis())
    .bind(FIRST)
    .fetch_all(&mut connection)
    .await?;
    connection.close().await?;
    Ok(people.into_iter().map(Subject::from).collect())
}

/// The settings of a node: those that are shipped.
pub(crate) fn settings(url: &str) -> Config {
    let mut config = Config::default();
    config.database.url = url.to_owned().into();
    config.tokens.key_encryption_key = KEY.to_owned().into();
    config
}

/// Which life the ledger of this database is in.
pub(crate) async fn ledger_id(database: &Database) -> Result<LedgerId, Failure> {
    let head = sql("SELECT ledger FROM head").fetch_one(&mut database.read().await?).await?;
    Ok(head.uuid("ledger")?.into())
}

/// Signs tokens as the node itself does after a login.
#[derive(Debug)]
pub(crate) struct Mint {
    issuer: Issuer,
    epoch: LedgerId,
}

impl Mint {
    /// For a node with these settings.
    pub(crate) fn new(keys: &Arc<KeyRing>, epoch: LedgerId, tokens: config::Tokens) -> Self {
        let profile = Profile {
            issuer: tokens.issuer,
            audience: tokens.audience,
            client_id: tokens.client_id,
            access_ttl: tokens.access_ttl.duration(),
            leeway: tokens.leeway.duration(),
        };
        Self { issuer: Issuer::new(Arc::clone(keys), Arc::new(profile)), epoch }
    }

    pub(crate) fn ticket(&self, now: Timestamp, session: SessionId, subject: Subject) -> Ticket {
        let grant = Grant { subject, session, generation: Generation(0), epoch: self.epoch, roles: Vec::new() };
        let token = self.issuer.issue(self.issuer.window(now), grant).text;
        Ticket { session, subject, token }
    }
}

/// Asserts that a receipt says what it must after a logout with all the patience there is.
pub(crate) fn complete(receipt: &Receipt, nodes: usize) -> Result<(), Failure> {
    let is_right = receipt.complete && !receipt.already && usize::try_from(receipt.applied.of)? == nodes;
    if is_right { Ok(()) } else { Err(format!("not the receipt of a logout on {nodes} nodes: {receipt:?}").into()) }
}

pub(crate) async fn accepts(node: &Sessions, ticket: &Ticket) -> Result<(), Failure> {
    match node.authenticate(&ticket.token).await {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("a valid token was refused: {error:?}").into()),
    }
}

pub(crate) async fn refuses(node: &Sessions, ticket: &Ticket) -> Result<(), Failure> {
    match node.authenticate(&ticket.token).await {
        Err(AuthError::Ended(_)) => Ok(()),
        Ok(_) => Err("a revoked token was accepted after its complete receipt".into()),
        Err(error) => Err(format!("a revoked token was answered with {error:?}").into()),
    }
}
