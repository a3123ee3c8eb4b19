//! The sections of the configuration: plain values, each section with its defaults.

use std::{net::Ipv4Addr, net::SocketAddr, path::PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::values::{Origin, Secret, Span, networks};

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The directory of the database file and the keys.
    pub data_dir: PathBuf,
    /// The public listener.
    pub http: Http,
    /// The listener for health checks and metrics.
    pub management: Management,
    /// The database.
    pub database: Database,
    /// The blocklist and push channel that nodes share.
    pub redis: Redis,
    /// This node among others.
    pub node: Node,
    /// Who may have an account.
    pub accounts: Accounts,
    /// Access tokens and the keys that sign them.
    pub tokens: Tokens,
    /// Logins and how long they last.
    pub sessions: Sessions,
    /// The cookies that carry the tokens.
    pub cookies: Cookies,
    /// Forward-auth for a proxy.
    pub verify: Verify,
    /// Password rules, and the cost of hashing one.
    pub passwords: Passwords,
    /// How many tries accounts and addresses have.
    pub limits: Limits,
    /// How revocations are taken in and looked up.
    pub revocation: Revocation,
    /// What is logged, and how.
    pub log: Log,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("./data"),
            http: Http::default(),
            management: Management::default(),
            database: Database::default(),
            redis: Redis::default(),
            node: Node::default(),
            accounts: Accounts::default(),
            tokens: Tokens::default(),
            sessions: Sessions::default(),
            cookies: Cookies::default(),
            verify: Verify::default(),
            passwords: Passwords::default(),
            limits: Limits::default(),
            revocation: Revocation::default(),
            log: Log::default(),
        }
    }
}

/// `[http]`: the public listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Http {
    /// The address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The certificate that the listener shows, with its chain, in PEM form; empty for plain HTTP.
    pub tls_certificate: PathBuf,
    /// The certificate's private key, in PEM form. It is set with the certificate or not at all.
    pub tls_key: PathBuf,
    /// How long browsers that have been here shall come by HTTPS only (HSTS, RFC 6797), or 0s to tell them nothing: 0s to
    /// 730d. Told over HTTPS alone.
    pub hsts: Span,
    /// Whether that is told too where TLS ends at a trusted proxy.
    pub hsts_proxied: bool,
    /// Origins of other sites whose pages may call the API with the user's cookies.
    pub allowed_origins: Vec<Origin>,
    /// Proxies whose `X-Forwarded-*` headers are believed.
    #[serde(deserialize_with = "networks")]
    pub trusted_proxies: Vec<IpNet>,
    /// The longest request body, in bytes: 1 KiB to 1 MiB.
    pub body_limit: usize,
    /// How long the answer to a request may take once the request has come in: 1s to 5m.
    pub request_timeout: Span,
    /// How long a client may take for the TLS handshake, again to send a request's headers, and again to send its body:
    /// 1s to 1m.
    pub header_timeout: Span,
    /// How long a stopping server waits for the requests in progress: 0s to 10m.
    pub drain_timeout: Span,
    /// Requests in progress at once, not counting those that are still coming in; more are refused with 503: 1 to
    /// 100 000.
    pub max_requests: usize,
    /// Connections at once; more are refused with 503: 16 to 100 000.
    pub max_connections: usize,
    /// How long a client may take none of an answer that waits for it: 1s to 5m.
    pub write_timeout: Span,
}

impl Http {
    /// Whether the listener speaks TLS.
    #[must_use]
    pub fn has_tls(&self) -> bool {
        !self.tls_certificate.as_os_str().is_empty()
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            tls_certificate: PathBuf::new(),
            tls_key: PathBuf::new(),
            hsts: Span::from_days(365),
            hsts_proxied: false,
            allowed_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            body_limit: 16_384,
            request_timeout: Span::from_secs(30),
            header_timeout: Span::from_secs(10),
            drain_timeout: Span::from_secs(10),
            max_requests: 1024,
            max_connections: 4096,
            write_timeout: Span::from_secs(30),
        }
    }
}

/// `[management]`: the listener for health checks and metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Management {
    /// The address to listen on, another than `http.listen`; port 0 takes a free one.
    pub listen: SocketAddr,
    /// A bearer token of 16 characters or more, for metrics and commands. It may be empty only while `listen` is a
    /// loopback address; then metrics ask for none, and commands for the token of this run, in `run.json`. Health and
    /// readiness never ask.
    pub token: Secret,
}

impl Default for Management {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9100)), token: Secret::default() }
    }
}

/// `[database]`: where accounts, sessions and revocations are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// A URL that begins with `sqlite:`, `postgres://` or `postgresql://`, or empty for the file `kickout.db` in
    /// `data_dir`.
    pub url: Secret,
}

impl Database {
    /// Whether it is a PostgreSQL server, which any number of nodes share.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        SERVERS.iter().any(|scheme| self.url.expose().starts_with(scheme))
    }
}

/// How the URL of a PostgreSQL server may begin.
pub(super) const SERVERS: [&str; 2] = ["postgres://", "postgresql://"];

/// `[redis]`: the blocklist that nodes share, and the channel by which they tell each other of revocations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redis {
    /// A URL that begins with `redis://`, `rediss://` or `unix://`, or empty for none.
    pub url: Secret,
    /// How the server is set up.
    pub mode: RedisMode,
    /// What all keys and channels of this deployment begin with: 1 to 64 characters.
    pub prefix: String,
    /// How long one answer may take before it is done without: 10ms to 5s.
    pub timeout: Span,
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            url: Secret::default(),
            mode: RedisMode::default(),
            prefix: "kickout".to_owned(),
            timeout: Span::from_millis(250),
        }
    }
}

/// How a Redis is set up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RedisMode {
    /// One server, or an address that always leads to the one in charge.
    #[default]
    Single,
    /// Redis Sentinel. Refused by this version.
    Sentinel,
    /// Redis Cluster. Refused by this version.
    Cluster,
}

/// `[node]`: this node among others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// What people call it, in logs and lists; empty for the host's name.
    pub name: String,
}

/// `[accounts]`: who may have an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accounts {
    /// Whether anybody may create an account.
    pub signup: bool,
}

impl Default for Accounts {
    fn default() -> Self {
        Self { signup: true }
    }
}

/// `[tokens]`: access tokens and the keys that sign them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// The `iss` claim: 1 to 255 bytes.
    pub issuer: String,
    /// The `aud` claim: 1 to 255 bytes.
    pub audience: String,
    /// The `client_id` claim (RFC 9068 §2.2): 1 to 255 bytes.
    pub client_id: String,
    /// How long an access token lives: 10s to 24h.
    pub access_ttl: Span,
    /// The algorithm of new signing keys.
    pub algorithm: Algorithm,
    /// How far a verifier's clock may differ from the issuer's: 0s to 60s.
    pub leeway: Span,
    /// How long a new key is published before it signs: 0s to 7d.
    pub key_lead: Span,
    /// How long a key signs before another one takes over: 0s (never) to 3650d, and not less than `key_lead` and
    /// `access_ttl` together.
    pub key_rotation: Span,
    /// 32 bytes in hexadecimal that encrypt signing keys and the server's secret, in the data folder and in PostgreSQL.
    pub key_encryption_key: Secret,
    /// How many tokens are remembered whose signature was verified, so that it is not verified again: 0 (none) to
    /// 1,000,000. Each takes 1 KiB at most, or several places.
    pub verified_cache: u32,
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            issuer: "kickout".to_owned(),
            audience: "kickout".to_owned(),
            client_id: "kickout".to_owned(),
            access_ttl: Span::from_mins(15),
            algorithm: Algorithm::default(),
            leeway: Span::from_secs(0),
            key_lead: Span::from_mins(10),
            key_rotation: Span::from_days(90),
            key_encryption_key: Secret::default(),
            verified_cache: 8192,
        }
    }
}

/// A signature algorithm, by its JOSE name (RFC 7518 §3.1, RFC 8037 §3.1).
///
/// A variant added here is accepted in the configuration and named in its error messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// Ed25519.
    #[default]
    EdDSA,
    /// ECDSA with P-256 and SHA-256.
    ES256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// HMAC with SHA-256, for one process alone.
    HS256,
}

/// `[sessions]`: logins and how long they last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// How long after it was replaced a refresh token still gets the one that has replaced it: 0s to 5m.
    pub refresh_grace: Span,
    /// A session ends when it was not refreshed for this long: 1m to 400d.
    pub idle: Span,
    /// A session ends this long after its login, used or not: `idle` to 400d.
    pub absolute: Span,
    /// The most sessions that one user has at once: 1 to 1000.
    pub max_per_user: usize,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            refresh_grace: Span::from_secs(10),
            idle: Span::from_days(14),
            absolute: Span::from_days(90),
            max_per_user: 50,
        }
    }
}

/// `[cookies]`: the cookies that carry the tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cookies {
    /// Whether the cookies travel with navigation from other sites.
    pub same_site: SameSite,
    /// The domain whose hosts all receive the cookies; empty for this host alone.
    pub domain: String,
    /// What a browser is told to clear when its user logs out (Clear-Site-Data).
    pub clear_site_data: Vec<SiteData>,
}

/// What a browser keeps of a site, by its name in Clear-Site-Data (W3C, §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SiteData {
    /// What it has cached of this origin.
    #[serde(rename = "cache")]
    Cache,
    /// All cookies of the registrable domain, those of other hosts and applications too.
    #[serde(rename = "cookies")]
    Cookies,
    /// What scripts of this origin have stored.
    #[serde(rename = "storage")]
    Storage,
    /// The pages of this origin that are open: they are loaded anew.
    #[serde(rename = "executionContexts")]
    ExecutionContexts,
}

impl SiteData {
    /// Its name in the header.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Cookies => "cookies",
            Self::Storage => "storage",
            Self::ExecutionContexts => "executionContexts",
        }
    }
}

/// The `SameSite` attribute of the cookies. `None` is not offered: it would leave CSRF protection to one line of
/// defence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SameSite {
    /// Sent when the user follows a link here, not with other requests from other sites.
    #[default]
    Lax,
    /// Never sent with a request that another site started.
    Strict,
}

/// `[verify]`: forward-auth for a proxy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verify {
    /// Which credentials count.
    pub accept: Accept,
}

/// The credentials that forward-auth looks at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accept {
    /// The access cookie; an `Authorization` header is the application's own business.
    Cookie,
    /// The `Authorization` header; cookies are ignored.
    Bearer,
    /// Either, but not both in one request.
    #[default]
    Both,
}

/// `[passwords]`: password rules, and the cost of hashing one with Argon2id (RFC 9106).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passwords {
    /// Memory of one hash, in KiB: 19 456 to 1 048 576.
    pub memory_kib: u32,
    /// Passes over that memory: 2 to 10.
    pub iterations: u32,
    /// Lanes of one hash: 1 to 16.
    pub parallelism: u32,
    /// The shortest new password, in characters: 8 to 128.
    pub min_chars: usize,
    /// Hashes computed at once: 1 to 64, or 0 for the number of processor cores.
    pub workers: usize,
    /// Hashes that wait for a worker; more are refused with 503: 1 to 10 000.
    pub queue: usize,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { memory_kib: 19_456, iterations: 2, parallelism: 1, min_chars: 15, workers: 0, queue: 64 }
    }
}

/// `[limits]`: how many tries accounts and addresses have; 0 is no limit. Each is 0 to 100 000.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Logins from one address in a minute.
    pub logins_per_address: u32,
    /// Wrong passwords from one address in an hour, for whichever account.
    pub wrong_per_address: u32,
    /// Wrong passwords for one account from one address in an hour.
    pub wrong_per_account: u32,
    /// Wrong passwords for one account in an hour, from wherever, until each address has a third of its tries there.
    pub wrong_before_slow: u32,
    /// Signups from one address in an hour.
    pub signups_per_address: u32,
    /// Signups for one name in an hour.
    pub signups_per_account: u32,
    /// Refreshes from one address in a minute.
    pub refreshes_per_address: u32,
    /// Refreshes of one session from one address in a minute.
    pub refreshes_per_session: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            logins_per_address: 100,
            wrong_per_address: 200,
            wrong_per_account: 10,
            wrong_before_slow: 100,
            signups_per_address: 60,
            signups_per_account: 20,
            refreshes_per_address: 3000,
            refreshes_per_session: 60,
        }
    }
}

/// `[revocation]`: how revocations are taken in and looked up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Revocation {
    /// How a request's credential is checked. All nodes of one database have the same.
    pub strategy: Strategy,
    /// Revocations that wait for their commit; more are refused with 503: 1 to 100 000.
    pub queue: usize,
    /// How long a node may trust its filter after its last renewal: 1s to 5m.
    pub lease: Span,
    /// How often a node looks for revocations that nobody has told it of: 20ms to 10s.
    pub pull: Span,
    /// What becomes of checks when the lease is over.
    pub on_stale: OnStale,
    /// How long checks may go on beyond the lease, where `serve_for` is the policy: 0s to 1h.
    pub serve_for: Span,
    /// The filter that most checks are answered from.
    pub filter: Filter,
}

impl Default for Revocation {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            queue: 4096,
            lease: Span::from_secs(10),
            pull: Span::from_millis(250),
            on_stale: OnStale::default(),
            serve_for: Span::from_secs(0),
            filter: Filter::default(),
        }
    }
}

/// How a request's credential is checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// From memory, by a filter, and exactly where that is not sure.
    #[default]
    Hybrid,
    /// From memory, by a set of all ids.
    Exact,
    /// Not at all.
    Stateless,
    /// By Redis, at every request.
    Redis,
    /// No token but an opaque session, looked up in Redis at every request.
    SessionRedis,
    /// No token but an opaque session, looked up in the database at every request.
    SessionSql,
}

impl Strategy {
    /// Its name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hybrid => "hybrid",
            Self::Exact => "exact",
            Self::Stateless => "stateless",
            Self::Redis => "redis",
            Self::SessionRedis => "session-redis",
            Self::SessionSql => "session-sql",
        }
    }

    /// Whether checks cannot be answered without Redis.
    #[must_use]
    pub const fn needs_redis(self) -> bool {
        matches!(self, Self::Redis | Self::SessionRedis)
    }
}

/// What a node does with checks when its lease is over: it cannot know what was revoked since.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnStale {
    /// It answers 503.
    #[default]
    Deny,
    /// It asks the database at each check.
    Ask,
    /// It goes on for `revocation.serve_for`.
    ServeFor,
}

/// `[revocation.filter]`: the filter that most checks are answered from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Filter {
    /// Live revocations that the filter is built for: 1000 to 50 000 000. More still work, with more false positives.
    pub capacity: usize,
    /// The share of checks that find a hit where none is and ask the exact set, at the design load:
    /// 0.000001 to 0.1.
    pub false_positives: f64,
}

impl Default for Filter {
    fn default() -> Self {
        Self { capacity: 100_000, false_positives: 0.001 }
    }
}

/// `[log]`: what is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// The form of a line.
    pub format: LogFormat,
    /// Directives of [`tracing_subscriber::EnvFilter`], such as `info` or `warn,kickout=debug`.
    pub filter: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::default(), filter: "info".to_owned() }
    }
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
}
