//! What each key takes: the one table of types and ranges, and the rules between keys.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use figment::{error::Kind, value::Value};
use ipnet::IpNet;
use serde::de::DeserializeOwned;
use tracing_subscriber::EnvFilter;

use crate::clock::MAX_LEEWAY;

use super::{
    browsers,
    problems::{shown, whole},
    sections::{Accept, Algorithm, Config, LogFormat, OnStale, RedisMode, SERVERS, SameSite, SiteData, Strategy},
    values::{Origin, Span, parse_network},
};

/// What one key takes.
#[derive(Debug)]
pub(super) enum Rule {
    /// A whole number, both ends included.
    Whole(u64, u64),
    /// A number, both ends included.
    Fraction(f64, f64),
    /// A duration, both ends included.
    Time(Span, Span),
    /// True or false.
    Flag,
    /// A claim of every token: 1 to 255 bytes.
    Claim,
    /// The path of a directory.
    Directory,
    /// The path of a file, or nothing.
    File,
    /// An IP address and a port.
    Address,
    /// A list of web origins.
    Origins,
    /// A list of addresses and networks.
    Networks,
    /// One of the names that an enum has for serde.
    Choice(fn() -> &'static [&'static str]),
    /// A list of such names.
    Choices(fn() -> &'static [&'static str]),
    /// A bearer token, or nothing. Its value is never shown.
    Token,
    /// The database's URL, or nothing. Its value is never shown, since a URL may hold a password.
    DatabaseUrl,
    /// A Redis's URL, or nothing. Its value is never shown.
    RedisUrl,
    /// A key of 32 bytes in hexadecimal, or nothing. Its value is never shown.
    Key,
    /// What keys in Redis begin with.
    Prefix,
    /// A node's name, or nothing.
    Name,
    /// A cookie's domain, or nothing.
    Domain,
    /// Log directives.
    Directives,
}

const fn secs(secs: u64) -> Span {
    Span::from_secs(secs)
}

const fn days(days: u64) -> Span {
    Span::from_days(days)
}

/// How a database's URL may begin.
const DATABASES: [&str; 3] = ["sqlite:", SERVERS[0], SERVERS[1]];

/// How a Redis's URL may begin.
const REDISES: [&str; 3] = ["redis://", "rediss://", "unix://"];

/// Every key and what it takes. A test holds it against the default configuration, in both directions.
pub(super) static RULES: [(&str, Rule); 66] = [
    ("data_dir", Rule::Directory),
    ("http.listen", Rule::Address),
    ("http.tls_certificate", Rule::File),
    ("http.tls_key", Rule::File),
    // The list that browsers are shipped with asks for a year; two are what its form takes as well.
    ("http.hsts", Rule::Time(secs(0), days(730))),
    ("http.hsts_proxied", Rule::Flag),
    ("http.allowed_origins", Rule::Origins),
    ("http.trusted_proxies", Rule::Networks),
    ("http.body_limit", Rule::Whole(1024, 1 << 20)),
    ("http.request_timeout", Rule::Time(secs(1), secs(300))),
    ("http.header_timeout", Rule::Time(secs(1), secs(60))),
    ("http.drain_timeout", Rule::Time(secs(0), secs(600))),
    ("http.max_requests", Rule::Whole(1, 100_000)),
    ("http.max_connections", Rule::Whole(16, 100_000)),
    ("http.write_timeout", Rule::Time(secs(1), secs(300))),
    ("management.listen", Rule::Address),
    ("management.token", Rule::Token),
    ("database.url", Rule::DatabaseUrl),
    ("redis.url", Rule::RedisUrl),
    ("redis.mode", Rule::Choice(choices::<RedisMode>)),
    ("redis.prefix", Rule::Prefix),
    ("redis.timeout", Rule::Time(Span::from_millis(10), secs(5))),
    ("node.name", Rule::Name),
    ("accounts.signup", Rule::Flag),
    ("tokens.issuer", Rule::Claim),
    ("tokens.audience", Rule::Claim),
    ("tokens.client_id", Rule::Claim),
    ("tokens.access_ttl", Rule::Time(secs(10), days(1))),
    ("tokens.algorithm", Rule::Choice(choices::<Algorithm>)),
    ("tokens.leeway", Rule::Time(secs(0), secs(MAX_LEEWAY.as_secs()))),
    ("tokens.key_lead", Rule::Time(secs(0), days(7))),
    ("tokens.key_rotation", Rule::Time(secs(0), days(3650))),
    ("tokens.key_encryption_key", Rule::Key),
    ("tokens.verified_cache", Rule::Whole(0, 1_000_000)),
    ("sessions.refresh_grace", Rule::Time(secs(0), secs(300))),
    ("sessions.idle", Rule::Time(secs(60), days(400))),
    // A browser keeps no cookie longer than 400 days (RFC 6265bis).
    ("sessions.absolute", Rule::Time(secs(60), days(400))),
    ("sessions.max_per_user", Rule::Whole(1, 1000)),
    ("cookies.same_site", Rule::Choice(choices::<SameSite>)),
    ("cookies.domain", Rule::Domain),
    ("cookies.clear_site_data", Rule::Choices(choices::<SiteData>)),
    ("verify.accept", Rule::Choice(choices::<Accept>)),
    // OWASP's least Argon2id: 19 MiB and 2 passes.
    ("passwords.memory_kib", Rule::Whole(19_456, 1 << 20)),
    ("passwords.iterations", Rule::Whole(2, 10)),
    ("passwords.parallelism", Rule::Whole(1, 16)),
    ("passwords.min_chars", Rule::Whole(8, 128)),
    ("passwords.workers", Rule::Whole(0, 64)),
    ("passwords.queue", Rule::Whole(1, 10_000)),
    ("limits.logins_per_address", Rule::Whole(0, 100_000)),
    ("limits.wrong_per_address", Rule::Whole(0, 100_000)),
    ("limits.wrong_per_account", Rule::Whole(0, 100_000)),
    ("limits.wrong_before_slow", Rule::Whole(0, 100_000)),
    ("limits.signups_per_address", Rule::Whole(0, 100_000)),
    ("limits.signups_per_account", Rule::Whole(0, 100_000)),
    ("limits.refreshes_per_address", Rule::Whole(0, 100_000)),
    ("limits.refreshes_per_session", Rule::Whole(0, 100_000)),
    ("revocation.strategy", Rule::Choice(choices::<Strategy>)),
    ("revocation.queue", Rule::Whole(1, 100_000)),
    ("revocation.lease", Rule::Time(secs(1), secs(300))),
    ("revocation.pull", Rule::Time(Span::from_millis(20), secs(10))),
    ("revocation.on_stale", Rule::Choice(choices::<OnStale>)),
    ("revocation.serve_for", Rule::Time(secs(0), secs(3600))),
    ("revocation.filter.capacity", Rule::Whole(1000, 50_000_000)),
    ("revocation.filter.false_positives", Rule::Fraction(0.000_001, 0.1)),
    ("log.format", Rule::Choice(choices::<LogFormat>)),
    ("log.filter", Rule::Directives),
];

/// The shortest `management.token`, in characters: 16 random ones are out of reach of guessing over a network.
const TOKEN_CHARS: usize = 16;

/// The longest claim, in bytes as a token writes it. Three take 3 × 255 × 4/3 = 1020 of a cookie's 4096 bytes.
const CLAIM_BYTES: usize = 255;

/// What begins every key in Redis, in characters.
const PREFIX_CHARS: usize = 64;

/// A node's name, in characters: a host name's label has 63.
const NAME_CHARS: usize = 64;

fn is_word(text: &str, chars: usize) -> bool {
    text.len() <= chars && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// Whether digits of a key say the same byte each time, like 64 zeros: somebody's placeholder.
fn is_one_byte(text: &str) -> bool {
    text.len() == 64 && text.as_bytes().chunks(2).all(|byte| byte.eq_ignore_ascii_case(&text.as_bytes()[..2]))
}

/// The names that an enum has for serde, in order.
fn choices<T: DeserializeOwned>() -> &'static [&'static str] {
    match Value::from("").deserialize::<T>().map_err(|error| error.kind) {
        Err(Kind::UnknownVariant(_, names)) => names,
        _ => &[],
    }
}

/// Whether the key is a secret, which may come from a file of its own: `<key>_file`.
pub(super) fn is_secret(key: &str) -> bool {
    Rule::of(key).is_some_and(Rule::hides_value)
}

impl Rule {
    /// The rule of a key, or `None` if there is no such key.
    pub(super) fn of(key: &str) -> Option<&'static Self> {
        RULES.iter().find_map(|(name, rule)| (*name == key).then_some(rule))
    }

    const fn hides_value(&self) -> bool {
        matches!(self, Self::Token | Self::DatabaseUrl | Self::RedisUrl | Self::Key)
    }

    /// What is wrong with the value; nothing if it is good.
    pub(super) fn faults(&self, value: &Value) -> Vec<String> {
        let list = match self {
            Self::Origins | Self::Networks | Self::Choices(_) => value.as_array(),
            _ => None,
        };
        let items = list.unwrap_or(std::slice::from_ref(value));
        let fault = |item: &Value| {
            let reason = self.reason(item, list.is_some())?;
            Some(if self.hides_value() { format!("the value {reason}") } else { format!("{} {reason}", shown(item)) })
        };
        items.iter().filter_map(fault).collect()
    }

    /// Why the value, or one item of the list, is no good. `None`: it is good.
    fn reason(&self, value: &Value, is_item: bool) -> Option<String> {
        let text = value.as_str();
        let unless = |is_good: bool, reason: &str| (!is_good).then(|| reason.to_owned());
        match self {
            Self::Whole(min, max) => match whole(value) {
                Some(number) => unless((i128::from(*min)..=i128::from(*max)).contains(&number), "is out of range"),
                None => Some("is not a whole number".to_owned()),
            },
            Self::Fraction(min, max) => match number(value) {
                Some(number) => unless((*min..=*max).contains(&number), "is out of range"),
                None => Some("is not a number".to_owned()),
            },
            Self::Flag => unless(value.to_bool().is_some(), "is neither true nor false"),
            Self::Origins | Self::Networks | Self::Choices(_) if !is_item => Some("is not a list".to_owned()),
            _ => match text {
                None => Some("is not a text".to_owned()),
                Some(text) => self.text_reason(text),
            },
        }
    }

    /// Why a text is no good for a key that takes one.
    fn text_reason(&self, text: &str) -> Option<String> {
        let unless = |is_good: bool, reason: &str| (!is_good).then(|| reason.to_owned());
        match self {
            Self::Time(min, max) => match text.parse::<Span>() {
                Ok(span) => unless((*min..=*max).contains(&span), "is out of range"),
                Err(_) => Some("is not a duration".to_owned()),
            },
            Self::Claim if text.is_empty() => Some("is empty".to_owned()),
            Self::Claim if text.contains(char::is_control) => Some("has a control character".to_owned()),
            Self::Claim => unless(claim_bytes(text) <= CLAIM_BYTES, "is too long"),
            Self::Directory => unless(!text.is_empty() && !text.contains('\0'), "is not a path"),
            Self::File => unless(!text.contains('\0'), "is not a path"),
            Self::Address => unless(text.parse::<SocketAddr>().is_ok(), "is not an IP address with a port"),
            Self::Origins => text.parse::<Origin>().err().map(|error| error.to_string()),
            Self::Networks => unless(parse_network(text).is_some(), "is not an IP address or network"),
            Self::Choice(names) | Self::Choices(names) => unless(names().contains(&text), "is not one of the choices"),
            Self::Token if text.is_empty() => None,
            Self::Token if text.chars().count() < TOKEN_CHARS => Some("is too short".to_owned()),
            Self::Token => unless(
                text.chars().all(|c| c.is_ascii_graphic()),
                "has a character that an Authorization header does not carry",
            ),
            Self::DatabaseUrl => unless(
                text.is_empty() || DATABASES.iter().any(|scheme| text.starts_with(scheme)),
                "begins with none of sqlite:, postgres:// and postgresql://",
            ),
            Self::RedisUrl => unless(
                text.is_empty() || REDISES.iter().any(|scheme| text.starts_with(scheme)),
                "begins with none of redis://, rediss:// and unix://",
            ),
            Self::Key if is_one_byte(text) => Some("is one byte over and over, which anybody guesses".to_owned()),
            Self::Key => unless(
                text.is_empty() || (text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())),
                "is not 64 hexadecimal digits",
            ),
            Self::Prefix => unless(is_word(text, PREFIX_CHARS) && !text.is_empty(), "is not a word"),
            Self::Name => unless(is_word(text, NAME_CHARS), "is not a word"),
            Self::Domain => browsers::domain_reason(text),
            Self::Directives => directives_reason(text),
            Self::Whole(..) | Self::Fraction(..) | Self::Flag => None,
        }
    }

    /// The range, if there is one, as it is written in messages and in the default file.
    pub(super) fn range(&self) -> Option<String> {
        match self {
            Self::Whole(min, max) => Some(format!("{min} to {max}")),
            Self::Fraction(min, max) => Some(format!("{min} to {max}")),
            Self::Time(min, max) => Some(format!("{min} to {max}")),
            Self::Choice(names) | Self::Choices(names) => Some(names().join(", ")),
            _ => None,
        }
    }

    /// What to write instead.
    pub(super) fn remedy(&self) -> String {
        let range = self.range().unwrap_or_default();
        let remedy = match self {
            Self::Whole(..) => return format!("Write a whole number from {range}"),
            Self::Fraction(..) => return format!("Write a number from {range}"),
            Self::Time(..) => {
                return format!(
                    "Write a duration from {range}: a whole number and one unit of ms, s, m, h or d, like \"15m\""
                );
            }
            Self::Claim => return format!("Write 1 to {CLAIM_BYTES} bytes: letters outside ASCII take two to four"),
            Self::Choice(_) => return format!("Choose from: {range}"),
            Self::Choices(_) => return format!("List some of: {range}"),
            Self::Token => {
                return format!("Use {TOKEN_CHARS} or more letters, digits and signs without spaces, best random ones");
            }
            Self::Flag => "Write true or false",
            Self::Directory => "Write the path of a directory, like \"/var/lib/kickout\"",
            Self::File => "Write the path of a file, or nothing",
            Self::Address => "Write an address and a port, like \"127.0.0.1:8080\" or \"[::1]:8080\"",
            Self::Origins => "List origins as scheme://host or scheme://host:port, like \"https://app.example.com\"",
            Self::Networks => "List addresses or networks, like \"10.0.0.7\" or \"10.0.0.0/8\"",
            Self::DatabaseUrl => {
                "Write a URL like sqlite:/srv/kickout.db or postgres://kickout@db.example.com/kickout, or nothing for \
                 kickout.db in data_dir"
            }
            Self::RedisUrl => {
                "Write a URL like redis://redis.example.com, or rediss://user:password@redis.example.com:6380 for TLS, \
                 or nothing to do without"
            }
            Self::Key => "Make one with: openssl rand -hex 32",
            Self::Prefix => "Write 1 to 64 of the characters a-z A-Z 0-9 . _ -",
            Self::Name => "Write at most 64 of the characters a-z A-Z 0-9 . _ -, or nothing for the host's name",
            Self::Domain => "Write a domain like \"example.com\", or leave it empty for this host alone",
            Self::Directives => {
                "Write a level (error, warn, info, debug, trace), or directives like \"warn,kickout=debug\""
            }
        };
        remedy.to_owned()
    }
}

/// The value as a number; whole ones count too.
#[expect(clippy::cast_precision_loss, reason = "a number that large is out of every range here, exact or not")]
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Num(..) => value.to_f64().or_else(|| whole(value).map(|number| number as f64)),
        _ => None,
    }
}

/// How long a claim is in a token: JSON escapes quotation marks and backslashes.
fn claim_bytes(text: &str) -> usize {
    text.len() + text.matches(['"', '\\']).count()
}

/// Beyond what the parser refuses: a misspelt level is a good directive to it (everything of the target `wran`), and
/// would silence the whole log.
fn directives_reason(text: &str) -> Option<String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    if text.trim().is_empty() {
        return Some("is empty".to_owned());
    }
    if let Err(error) = EnvFilter::builder().parse(text) {
        return Some(format!("is not understood: {error}"));
    }
    let words = text.split(',').map(|word| word.trim().to_ascii_lowercase());
    for word in words.filter(|word| !LEVELS.contains(&word.as_str())) {
        let near = LEVELS.iter().find(|level| strsim::damerau_levenshtein(&word, level) == 1);
        if let Some(level) = near {
            return Some(format!("has the target {word:?}, which looks like the level {level} misspelt"));
        }
    }
    None
}

/// A rule between keys that is broken.
#[derive(Debug)]
pub(super) struct Conflict {
    /// The keys it is about; the problem is told at the first of them that was set.
    pub keys: &'static [&'static str],
    pub wrong: String,
    pub remedy: String,
}

/// Checks the rules between keys.
pub(super) fn conflicts(config: &Config) -> Vec<Conflict> {
    let mut conflicts = Vec::new();
    let sessions = &config.sessions;
    if sessions.absolute < sessions.idle {
        conflicts.push(Conflict {
            keys: &["sessions.absolute", "sessions.idle"],
            wrong: format!(
                "sessions.absolute ({}) is shorter than sessions.idle ({})",
                sessions.absolute, sessions.idle
            ),
            remedy: "Raise sessions.absolute or lower sessions.idle".to_owned(),
        });
    }
    let (http, management) = (config.http.listen, config.management.listen);
    if collide(http, management) {
        conflicts.push(Conflict {
            keys: &["management.listen", "http.listen"],
            wrong: format!("http.listen ({http}) and management.listen ({management}) need the same port"),
            remedy: "Give them two different ports".to_owned(),
        });
    }
    if !management.ip().is_loopback() && config.management.token.is_empty() {
        conflicts.push(Conflict {
            keys: &["management.listen", "management.token"],
            wrong: format!("{management} can be reached from other machines, and management.token is not set"),
            remedy: format!("Set management.token ({TOKEN_CHARS} or more characters), or listen on 127.0.0.1"),
        });
    }
    let tokens = &config.tokens;
    let least = tokens.access_ttl.duration() + tokens.key_lead.duration();
    if tokens.key_rotation != secs(0) && tokens.key_rotation.duration() < least {
        // Keys that are made faster than they stop verifying pile up until there is no room for another.
        conflicts.push(Conflict {
            keys: &["tokens.key_rotation", "tokens.key_lead", "tokens.access_ttl"],
            wrong: format!(
                "tokens.key_rotation ({}) is shorter than tokens.key_lead ({}) and tokens.access_ttl ({}) together",
                tokens.key_rotation, tokens.key_lead, tokens.access_ttl
            ),
            remedy: "Raise tokens.key_rotation, or write 0s to rotate by hand with `kickout keys generate`".to_owned(),
        });
    }
    browsers::conflicts(config, &mut conflicts);
    cluster_conflicts(config, &mut conflicts);
    conflicts
}

/// What several nodes need, and what this version does not do.
fn cluster_conflicts(config: &Config, conflicts: &mut Vec<Conflict>) {
    let is_shared = config.database.is_shared();
    if is_shared && config.tokens.key_encryption_key.is_empty() {
        conflicts.push(Conflict {
            keys: &["tokens.key_encryption_key", "database.url"],
            wrong: "nodes share their signing keys through PostgreSQL, and tokens.key_encryption_key, which encrypts \
                    them there, is not set"
                .to_owned(),
            remedy: "Make a key with `openssl rand -hex 32`, and give the same one to every node".to_owned(),
        });
    }
    if is_shared && config.tokens.key_lead < secs(60) {
        conflicts.push(Conflict {
            keys: &["tokens.key_lead", "database.url"],
            wrong: format!(
                "tokens.key_lead ({}) is shorter than it may take until every node has a new key",
                config.tokens.key_lead
            ),
            remedy: "Write 1m or more".to_owned(),
        });
    }
    if is_shared && config.tokens.algorithm == Algorithm::HS256 {
        conflicts.push(Conflict {
            keys: &["tokens.algorithm", "database.url"],
            wrong: "tokens.algorithm is HS256, whose keys are secrets of one node, and nodes share PostgreSQL"
                .to_owned(),
            remedy: "Choose EdDSA, ES256 or RS256".to_owned(),
        });
    }
    let revocation = &config.revocation;
    if revocation.on_stale == OnStale::ServeFor && revocation.serve_for == secs(0) {
        conflicts.push(Conflict {
            keys: &["revocation.on_stale", "revocation.serve_for"],
            wrong: "revocation.on_stale is serve_for, and revocation.serve_for is 0s".to_owned(),
            remedy: "Set revocation.serve_for to how long checks may go on, like \"60s\", or choose deny".to_owned(),
        });
    }
    if revocation.strategy.needs_redis() && config.redis.url.is_empty() {
        let strategy = revocation.strategy.name();
        conflicts.push(Conflict {
            keys: &["revocation.strategy", "redis.url"],
            wrong: format!(
                "revocation.strategy is {strategy}, which asks Redis at every request, and redis.url is not set"
            ),
            remedy: "Set redis.url to a Redis of your own, or choose hybrid, which needs none".to_owned(),
        });
    }
    if config.redis.mode != RedisMode::Single {
        let mode = if config.redis.mode == RedisMode::Sentinel { "sentinel" } else { "cluster" };
        conflicts.push(Conflict {
            keys: &["redis.mode"],
            wrong: format!("redis.mode is {mode}, which this version does not do"),
            remedy: "Use single with the address of one server. Nothing is lost with that server: revocations are \
                     kept in the database, and go on by it while Redis is away"
                .to_owned(),
        });
    }
}

/// Whether the system cannot listen on both addresses.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    // `::` takes IPv4 connections too.
    let covers = |a: IpAddr, b: IpAddr| a.is_unspecified() && (a.is_ipv6() || b.is_ipv4());
    a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || covers(a.ip(), b.ip()) || covers(b.ip(), a.ip()))
}

/// What is allowed and has a price, each a sentence or two with what to do.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    browsers::warnings(config, &mut warnings);
    if !config.management.listen.ip().is_loopback() {
        warnings.push(format!(
            "management.listen is {}: metrics and management.token cross the network unencrypted. Keep it within a \
             private network.",
            config.management.listen
        ));
    }
    for network in config.http.trusted_proxies.iter().filter(|network| is_too_wide(network)) {
        warnings.push(format!(
            "http.trusted_proxies has {network}: any client can then make up its address, host and origin. List the \
             addresses of your proxies only."
        ));
    }
    warnings.extend(unlimited(config));
    if config.passwords.min_chars < 15 {
        warnings.push(format!(
            "passwords.min_chars is {}: NIST SP 800-63B-4 asks for 15 or more where a password is the only factor. \
             Raise it to 15.",
            config.passwords.min_chars
        ));
    }
    let revocation = &config.revocation;
    let hold = revocation.lease.duration() + revocation.serve_for.duration();
    if config.database.is_shared() && hold + hold / 4 + Duration::from_secs(1) > config.http.request_timeout.duration()
    {
        warnings.push(format!(
            "revocation.lease and revocation.serve_for ({:?} together): the first logouts after a node has died, and those after \
             PostgreSQL was restarted, wait for a quarter more, and http.request_timeout ({}) ends before. They are answered \
             with 202 then, which says that they are recorded and not in force everywhere yet.",
            hold, config.http.request_timeout
        ));
    }
    if config.sessions.idle <= config.tokens.access_ttl {
        warnings.push(format!(
            "sessions.idle ({}) is not longer than tokens.access_ttl ({}): a session can end before its first \
             refresh. Raise sessions.idle or lower tokens.access_ttl.",
            config.sessions.idle, config.tokens.access_ttl
        ));
    }
    warnings
}

/// Whether a network has more than anybody's proxies: more than a /8, the largest that is given to one owner, or of IPv6
/// more than a /16, unless it is private (RFC 4193) or a link's own.
fn is_too_wide(network: &IpNet) -> bool {
    match network {
        IpNet::V4(network) => network.prefix_len() < 8,
        IpNet::V6(network) => {
            let address = network.network();
            let is_own = (address.is_unique_local() && network.prefix_len() >= 7)
                || (address.is_unicast_link_local() && network.prefix_len() >= 10);
            network.prefix_len() < 16 && !is_own
        }
    }
}

/// The limits that are switched off.
fn unlimited(config: &Config) -> Option<String> {
    let limits = Value::serialize(&config.limits).ok()?.into_dict()?;
    let off = limits.iter().filter(|(_, limit)| whole(limit) == Some(0));
    let names: Vec<String> = off.map(|(name, _)| format!("limits.{name}")).collect();
    let verb = if names.len() == 1 { "is" } else { "are" };
    (!names.is_empty()).then(|| {
        format!(
            "{} {verb} 0, which is no limit: whoever guesses or floods there is not slowed down. Write a number, or see \
             to it that something in front of Kickout limits them.",
            names.join(", ")
        )
    })
}
