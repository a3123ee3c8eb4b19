//! One arm as its clients meet it: nodes that are processes, on a database of their own, and people with open sessions.
//!
//! Sessions are opened by what a login does after the password, in a node of this process that has the same
//! configuration and has left before anything is measured. The peer's sessions are opened by its own login.

use std::collections::BTreeMap;

use kickout::{clock::Clock, ids::Subject};

use super::{
    super::{
        fleet::{Ticket, accounts, first_account},
        servers::{Postgres, Redis, Servers},
    },
    arms::{Kind, Setup, variable},
    asking::{Answer, Line},
    process::Node,
    scope::Pins,
    workload::{Host, access_cookie},
};
use crate::Failure;

/// What the operator of these nodes shows.
const TOKEN: &str = "operator-of-these-nodes-alone";

/// Where scenes are: the stores, and the cores of nodes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site<'a> {
    pub(crate) postgres: &'a Postgres,
    pub(crate) redis: &'a Redis,
    pub(crate) pins: &'a Pins,
}

impl<'a> Site<'a> {
    pub(crate) fn of(servers: &'a Servers, pins: &'a Pins) -> Result<Self, Failure> {
        let redis = servers.redis.as_ref().ok_or("Redis is missing: apt-get install redis-server")?;
        Ok(Self { postgres: &servers.postgres, redis, pins })
    }
}

/// Somebody, and the `Cookie` header of each of their devices.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) subject: String,
    pub(crate) cookies: Vec<String>,
}

impl Person {
    /// Whoever these tickets are of.
    pub(crate) fn of(tickets: &[Ticket]) -> Self {
        let subject = tickets.first().map(|ticket| ticket.subject.to_string()).unwrap_or_default();
        Self { subject, cookies: tickets.iter().map(|ticket| access_cookie(&ticket.token)).collect() }
    }

    /// Of the first device.
    pub(crate) fn cookie(&self) -> &str {
        &self.cookies[0]
    }
}

/// Nodes of one arm.
#[derive(Debug)]
pub(crate) struct Scene<'a> {
    site: Site<'a>,
    setup: Setup,
    database: String,
    nodes: Vec<Node>,
    lines: Vec<Line>,
    /// Where acts are sent: not on the connection that the first node is watched by.
    acting: Line,
}

impl<'a> Scene<'a> {
    /// Starts nodes on a fresh database. `more` are settings: key and value.
    pub(crate) async fn start(
        site: Site<'a>,
        kind: Kind,
        nodes: usize,
        more: &[(&str, &str)],
    ) -> Result<Self, Failure> {
        let database = site.postgres.create().await?;
        let setup = setup(site, kind, &database, more);
        if kind.is_kickout() {
            // Boxed, as everywhere that a whole node is in the future.
            Box::pin(begin(&setup)).await?;
        }
        Self::start_on(site, setup, database, nodes).await
    }

    /// Starts nodes on a database that is there.
    pub(crate) async fn start_on(
        site: Site<'a>,
        setup: Setup,
        database: String,
        nodes: usize,
    ) -> Result<Self, Failure> {
        let mut running = Vec::with_capacity(nodes);
        for _ in 0..nodes {
            running.push(Node::start(&setup, site.pins).await?);
        }
        let lines = running.iter().map(|node| Line::to(node.public)).collect::<Result<_, _>>()?;
        let acting = Line::to(running[0].public)?;
        Ok(Self { site, setup, database, nodes: running, lines, acting })
    }

    pub(crate) fn kind(&self) -> Kind {
        self.setup.kind
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn node(&self, node: usize) -> &Node {
        &self.nodes[node]
    }

    /// A connection to a node.
    pub(crate) fn line(&self, node: usize) -> &Line {
        &self.lines[node]
    }

    pub(crate) fn database(&self) -> &str {
        &self.database
    }

    /// People whose every device has just logged in.
    pub(crate) async fn people(&self, count: usize, devices: usize) -> Result<Vec<Person>, Failure> {
        let subjects = self.accounts(count).await?;
        self.log_in(&subjects, devices).await
    }

    /// People who have an account, and no session yet.
    pub(crate) async fn accounts(&self, count: usize) -> Result<Vec<Subject>, Failure> {
        if !self.kind().is_kickout() {
            return Ok((0..count).map(|_| Subject::random()).collect());
        }
        accounts(&self.setup.database, count, Clock::System.wall()).await
    }

    /// Opens a session for every device of each of these people.
    pub(crate) async fn log_in(&self, subjects: &[Subject], devices: usize) -> Result<Vec<Person>, Failure> {
        if !self.kind().is_kickout() {
            let mut people = Vec::with_capacity(subjects.len());
            for subject in subjects {
                let mut cookies = Vec::with_capacity(devices);
                for _ in 0..devices {
                    cookies.push(self.acting.log_in(&subject.to_string()).await?);
                }
                people.push(Person { subject: subject.to_string(), cookies });
            }
            return Ok(people);
        }
        let tickets = Box::pin(open(&self.setup, subjects, devices)).await?;
        // User by user.
        Ok(tickets.chunks(devices).map(Person::of).collect())
    }

    /// Asserts that a node accepts this credential.
    pub(crate) async fn accepts(&self, node: usize, cookie: &str) -> Result<(), Failure> {
        match self.line(node).verify(cookie).await? {
            200 => Ok(()),
            status => {
                let (name, log) = (self.kind().name(), self.node(node).log());
                Err(format!("{name}: a valid credential was answered with {status}; {log}").into())
            }
        }
    }

    /// Asserts that a node refuses this credential, which was taken back.
    pub(crate) async fn refuses(&self, node: usize, cookie: &str) -> Result<(), Failure> {
        match self.line(node).verify(cookie).await? {
            401 => Ok(()),
            status => Err(format!("{}: what was taken back was answered with {status}", self.kind().name()).into()),
        }
    }

    /// Ends a session, at the first node.
    pub(crate) async fn log_out(&self, cookie: &str) -> Result<Answer, Failure> {
        self.acting.post(self.logout_path(), cookie).await
    }

    /// Where a session is ended.
    pub(crate) fn logout_path(&self) -> &'static str {
        if self.kind().is_kickout() { "/v1/auth/logout" } else { "/logout" }
    }

    /// Ends all sessions of whoever has this one, at the first node.
    pub(crate) async fn log_out_everywhere(&self, cookie: &str) -> Result<Answer, Failure> {
        self.acting.post("/v1/auth/logout-all", cookie).await
    }

    /// Asks the first node for an operator's act.
    pub(crate) async fn command(&self, name: &str, user: &str) -> Result<Answer, Failure> {
        let management = self.nodes[0].management.ok_or("the node takes no commands")?;
        Line::to(management)?.command(TOKEN, name, user).await
    }

    /// Ends the nodes, and removes their database.
    pub(crate) async fn stop(self) -> Result<(), Failure> {
        for node in self.nodes {
            node.stop().await?;
        }
        self.site.postgres.drop_database(&self.database).await
    }
}

/// What the nodes of an arm are configured with: what is shipped, and `more`.
pub(crate) fn setup(site: Site<'_>, kind: Kind, database: &str, more: &[(&str, &str)]) -> Setup {
    let own = [("tokens.access_ttl", "15m"), ("management.token", TOKEN)];
    // Of a key that is there twice the last one counts.
    let settings: BTreeMap<_, _> =
        own.iter().chain(more).map(|(key, value)| (variable(key), (*value).to_owned())).collect();
    Setup {
        kind,
        algorithm: "EdDSA".to_owned(),
        verified_cache: None,
        live: 0,
        database: site.postgres.url(database),
        redis: site.redis.url(),
        prefix: database.to_owned(),
        more: settings.into_iter().collect(),
    }
}

/// Makes the tables, the keys, and the account whose password all others have.
async fn begin(setup: &Setup) -> Result<(), Failure> {
    let host = Host::start(setup).await?;
    first_account(host.sessions()).await?;
    host.stop().await
}

/// Opens sessions in a node of this process, user by user.
async fn open(setup: &Setup, subjects: &[Subject], devices: usize) -> Result<Vec<Ticket>, Failure> {
    let host = Host::start(setup).await?;
    let tickets = host.open(subjects, devices).await?;
    host.stop().await?;
    Ok(tickets)
}
