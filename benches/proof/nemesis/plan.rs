//! What is to happen in an episode: it follows from the seed and the episode's number, and from nothing else.
//!
//! First every fault alone, then pairs for as long as the run lasts. Which node is hit, how long, and what the cluster
//! is like is drawn.

use std::{fmt, str::FromStr, time::Duration};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde::Serialize;

use super::net::Loss;

/// A fault, as the table of results names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A node is killed, and started again in place a while later.
    Kill,
    /// A node stands still for parts of a lease, over and over.
    StopShort,
    /// A node stands still for one or two leases.
    Stop,
    /// A node stands still for up to five leases.
    StopLong,
    /// The network between nodes and a store.
    Link(Store, Form),
    /// A node's whole network: between it and its stores, and between it and its clients.
    Network(Loss),
    /// `FLUSHALL`, over and over.
    RedisFlush,
    /// Redis is killed and comes back empty.
    RedisEmpty,
    /// A replica that lags takes over.
    RedisFailover,
    /// Redis has no memory left, under each policy in turn.
    RedisEvict,
    /// `DEBUG SLEEP`.
    RedisSleep,
    /// PostgreSQL takes no connection, and ends those that there are.
    SqlConnections,
    /// Whatever touches sessions waits for a lock, until every pool is empty.
    SqlPool,
    /// PostgreSQL is stopped and started.
    PostgresStop,
    /// All processes of PostgreSQL are killed.
    PostgresKill,
    /// PostgreSQL comes back with what it had a while ago.
    PostgresRestore,
    /// The same, and the operator says so: whatever was issued before is dead.
    PostgresAnew,
    /// PostgreSQL's wall clock goes forward by an hour.
    SqlClockAhead,
    /// PostgreSQL's wall clock goes back by an hour.
    SqlClockBack,
    /// A node's wall clock goes forward and back by an hour.
    NodeClock,
    /// Nodes are restarted one after the other with a shorter `tokens.access_ttl`.
    TtlLowered,
}

/// What a node speaks with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Store {
    Sql,
    Redis,
    Both,
}

/// How a network fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Form {
    /// Connections are reset.
    Cut,
    /// One way: answers arrive, requests do not.
    RequestsLost,
    /// The other way.
    AnswersLost,
    /// Nothing arrives and nothing ends.
    BlackHole,
    /// A few bytes at a time.
    Drip,
    /// Everything takes longer.
    Delay,
}

const FORMS: [(Form, &str); 6] = [
    (Form::Cut, "cut"),
    (Form::RequestsLost, "requests-lost"),
    (Form::AnswersLost, "answers-lost"),
    (Form::BlackHole, "black-hole"),
    (Form::Drip, "drip"),
    (Form::Delay, "delay"),
];

const STORES: [(Store, &str); 3] = [(Store::Sql, "sql"), (Store::Redis, "redis"), (Store::Both, "stores")];

const OTHERS: [(Kind, &str); 23] = [
    (Kind::Kill, "kill-9"),
    (Kind::StopShort, "sigstop-short"),
    (Kind::Stop, "sigstop"),
    (Kind::StopLong, "sigstop-long"),
    (Kind::Network(Loss::Down), "net-down"),
    (Kind::Network(Loss::Deaf), "net-deaf"),
    (Kind::Network(Loss::Mute), "net-mute"),
    (Kind::Network(Loss::Both), "net-black-hole"),
    (Kind::RedisFlush, "redis-flush"),
    (Kind::RedisEmpty, "redis-empty"),
    (Kind::RedisFailover, "redis-failover"),
    (Kind::RedisEvict, "redis-evict"),
    (Kind::RedisSleep, "redis-sleep"),
    (Kind::SqlConnections, "sql-connections"),
    (Kind::SqlPool, "sql-pool"),
    (Kind::PostgresStop, "postgres-stop"),
    (Kind::PostgresKill, "postgres-kill-9"),
    (Kind::PostgresRestore, "postgres-restore"),
    (Kind::PostgresAnew, "postgres-restored"),
    (Kind::SqlClockAhead, "sql-clock-ahead"),
    (Kind::SqlClockBack, "sql-clock-back"),
    (Kind::NodeClock, "node-clock"),
    (Kind::TtlLowered, "access-ttl-lowered"),
];

/// What two faults cannot both have hold of at once: the second begins when the first is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    /// The processes of some nodes.
    Nodes,
    /// The networks of some nodes.
    Links,
    Redis,
    Postgres,
    All,
}

impl Kind {
    /// All of them, in the order of the first episodes.
    pub(super) fn all() -> Vec<Self> {
        let links = STORES.iter().flat_map(|&(store, _)| FORMS.iter().map(move |&(form, _)| Self::Link(store, form)));
        OTHERS.iter().map(|&(kind, _)| kind).chain(links).collect()
    }

    /// Whether it is about a Redis.
    fn needs_redis(self) -> bool {
        matches!(
            self,
            Self::Link(Store::Redis | Store::Both, _)
                | Self::RedisFlush
                | Self::RedisEmpty
                | Self::RedisFailover
                | Self::RedisEvict
                | Self::RedisSleep
        )
    }

    /// Whether every node that it hits must stop allowing when its hold is over: none of them can renew, and clients
    /// still reach them.
    pub(super) const fn fences(self) -> bool {
        matches!(
            self,
            Self::Link(Store::Sql | Store::Both, Form::Cut | Form::RequestsLost | Form::AnswersLost | Form::BlackHole)
                | Self::SqlConnections
                | Self::PostgresStop
                | Self::PostgresKill
        )
    }

    /// Whether it can be one of two.
    fn pairs(self) -> bool {
        self != Self::TtlLowered
    }

    /// Whether the clock of the ledger itself steps.
    pub(super) fn steps_ledger(self) -> bool {
        matches!(self, Self::SqlClockAhead | Self::SqlClockBack)
    }

    const fn holds(self) -> Hold {
        match self {
            Self::Kill | Self::StopShort | Self::Stop | Self::StopLong | Self::NodeClock => Hold::Nodes,
            Self::Link(..) | Self::Network(_) => Hold::Links,
            Self::RedisFlush | Self::RedisEmpty | Self::RedisFailover | Self::RedisEvict | Self::RedisSleep => {
                Hold::Redis
            }
            Self::SqlConnections
            | Self::SqlPool
            | Self::PostgresStop
            | Self::PostgresKill
            | Self::PostgresRestore
            | Self::PostgresAnew
            | Self::SqlClockAhead
            | Self::SqlClockBack => Hold::Postgres,
            Self::TtlLowered => Hold::All,
        }
    }

    /// Whether it is done to some nodes and not to a store.
    const fn has_victims(self) -> bool {
        matches!(self.holds(), Hold::Nodes | Hold::Links)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Link(store, form) = self {
            let store = STORES.iter().find(|(other, _)| other == store).map_or("", |(_, name)| name);
            let form = FORMS.iter().find(|(other, _)| other == form).map_or("", |(_, name)| name);
            return write!(f, "{store}-{form}");
        }
        f.write_str(OTHERS.iter().find(|(other, _)| other == self).map_or("", |(_, name)| name))
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::all().into_iter().find(|kind| kind.to_string() == text).ok_or_else(|| {
            let names: Vec<String> = Self::all().iter().map(ToString::to_string).collect();
            format!("the faults are {}", names.join(", "))
        })
    }
}

impl Serialize for Kind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What a node does when its lease is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OnStale {
    Deny,
    Ask,
    ServeFor,
}

/// What the cluster is to be.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Shape {
    pub(super) nodes: u8,
    pub(super) lease: Duration,
    pub(super) on_stale: OnStale,
    pub(super) serve_for: Duration,
    pub(super) has_redis: bool,
    pub(super) refresh_grace: Duration,
    pub(super) access_ttl: Duration,
    pub(super) lowered_access_ttl: Option<Duration>,
    /// A filter of many false positives, so that exact looks are many too.
    pub(super) has_coarse_filter: bool,
    /// Whether tickets are used more than once.
    pub(super) reuses: bool,
}

impl Shape {
    /// How long a node may go on after a renewal.
    pub(super) fn hold(&self) -> Duration {
        self.lease + self.serve_for
    }
}

/// One fault of an episode.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Planned {
    pub(super) kind: Kind,
    /// The nodes that it hits.
    pub(super) victims: Vec<u8>,
    /// How long after the load is there.
    pub(super) starts: Duration,
    /// For how long it is in force.
    pub(super) lasts: Duration,
    /// Whether it waits for the one before to be over.
    pub(super) waits: bool,
}

/// An episode before it happens.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) episode: u32,
    pub(super) shape: Shape,
    pub(super) faults: Vec<Planned>,
    /// The form of seconds: less of everything.
    pub(super) is_brief: bool,
}

/// A source of numbers that follows from the seed, the episode and a purpose.
pub(super) fn dice(seed: u64, episode: u32, purpose: u64) -> StdRng {
    // The golden ratio and another odd number: neighbours shall have nothing in common.
    let mixed = seed
        ^ u64::from(episode).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ purpose.wrapping_mul(0xd1b5_4a32_d192_ed03);
    StdRng::seed_from_u64(mixed)
}

/// What happens in an episode. `kinds` are the faults that the run is about.
pub(super) fn plan(seed: u64, episode: u32, kinds: &[Kind]) -> Plan {
    let mut dice = dice(seed, episode, 0);
    let chosen = usize::try_from(episode).ok().and_then(|at| kinds.get(at).copied());
    let chosen = chosen.map_or_else(|| pair(&mut dice, kinds), |kind| vec![kind]);
    let shape = shape(&mut dice, &chosen);
    let is_single = chosen.len() == 1;
    let mut faults: Vec<Planned> = Vec::new();
    for kind in chosen {
        let next = planned(&mut dice, kind, &shape, (faults.first(), is_single));
        faults.push(next);
    }
    Plan { seed, episode, shape, faults, is_brief: false }
}

/// The form of seconds: one node stands still, another one is cut off, and Redis is flushed meanwhile. Leases are long
/// enough for a machine that has a lot to do beside.
pub(super) fn brief(seed: u64) -> Plan {
    let drawn = shape(&mut dice(seed, 0, 0), &[Kind::RedisFlush]);
    let lease = Duration::from_secs(3);
    let shape = Shape { nodes: 3, lease, on_stale: OnStale::Deny, serve_for: Duration::ZERO, ..drawn };
    let fault = |kind, victims: &[u8], starts| {
        let starts = Duration::from_millis(starts);
        Planned { kind, victims: victims.to_vec(), starts, lasts: lease + lease / 8, waits: false }
    };
    let cut = Kind::Link(Store::Sql, Form::BlackHole);
    let faults = vec![fault(Kind::Stop, &[1], 0), fault(cut, &[2], 300), fault(Kind::RedisFlush, &[], 100)];
    Plan { seed, episode: 0, shape, faults, is_brief: true }
}

fn pair(dice: &mut StdRng, kinds: &[Kind]) -> Vec<Kind> {
    let fit: Vec<Kind> = kinds.iter().copied().filter(|kind| kind.pairs()).collect();
    if fit.len() < 2 {
        return kinds.first().copied().into_iter().collect();
    }
    let first = dice.random_range(0..fit.len());
    let second = (first + dice.random_range(1..fit.len())) % fit.len();
    vec![fit[first], fit[second]]
}

fn shape(dice: &mut StdRng, kinds: &[Kind]) -> Shape {
    let on_stale = [OnStale::Deny, OnStale::Deny, OnStale::Deny, OnStale::Ask, OnStale::ServeFor];
    let on_stale = on_stale[dice.random_range(0..on_stale.len())];
    let serve_for = Duration::from_secs(if on_stale == OnStale::ServeFor { 2 } else { 0 });
    let lowers = kinds.contains(&Kind::TtlLowered);
    // Tokens end by themselves, and what is kept of them goes, while faults are in force. Where nodes are to stop, or
    // the clock of the ledger to step, they have to live.
    let is_fit = !lowers && !kinds.iter().any(|kind| kind.fences() || kind.steps_ledger());
    let is_short = dice.random_bool(0.25) && is_fit;
    let long = [900, 3 * 3600][dice.random_range(0..2)];
    Shape {
        nodes: [3, 3, 3, 2, 4][dice.random_range(0..5)],
        lease: Duration::from_secs([2, 2, 3][dice.random_range(0..3)]),
        on_stale,
        serve_for,
        has_redis: kinds.iter().any(|kind| kind.needs_redis()) || dice.random_bool(0.7),
        refresh_grace: Duration::from_secs(2),
        // Longer than a step of the ledger's clock, so that a token outlives it, or shorter, so that none does; and
        // short where it is to be lowered.
        access_ttl: Duration::from_secs(match (lowers, is_short) {
            (true, _) => 40,
            (_, true) => 12,
            _ => long,
        }),
        lowered_access_ttl: lowers.then(|| Duration::from_secs(10)),
        has_coarse_filter: dice.random_bool(0.5),
        reuses: !kinds.iter().any(|kind| kind.steps_ledger()),
    }
}

/// `is_single`: there is no other fault, so what this one is to show must be seen.
fn planned(dice: &mut StdRng, kind: Kind, shape: &Shape, (before, is_single): (Option<&Planned>, bool)) -> Planned {
    let hold = shape.hold();
    let mut waits = before.is_some_and(|before| before.kind.holds() == kind.holds() && !kind.has_victims());
    let mut free: Vec<u8> = (0..shape.nodes).collect();
    // Two faults do not pull at the same process, nor at the same network.
    if let Some(before) = before.filter(|before| before.kind.holds() == kind.holds()) {
        free.retain(|node| !before.victims.contains(node));
        if free.is_empty() {
            (free, waits) = ((0..shape.nodes).collect(), true);
        }
    }
    let is_first = before.is_none();
    let victims = if kind.has_victims() {
        let most = match kind {
            // Often all nodes: then nobody is left who goes on.
            Kind::Link(..) | Kind::Network(_) if is_first && dice.random_bool(0.3) => usize::from(shape.nodes),
            _ => 1,
        };
        (0..most.min(free.len())).map(|_| free.swap_remove(dice.random_range(0..free.len()))).collect()
    } else {
        Vec::new()
    };
    let tenths = match kind {
        Kind::StopShort => 20,
        Kind::Stop => dice.random_range(10..21),
        Kind::StopLong => dice.random_range(30..51),
        Kind::Link(..)
        | Kind::Network(_)
        | Kind::PostgresStop
        | Kind::PostgresKill
        | Kind::SqlConnections
        | Kind::SqlPool => {
            // One that is over before the hold is shows nothing of what happens when the hold is over.
            if is_single { [15, 25][dice.random_range(0..2)] } else { [4, 15, 25][dice.random_range(0..3)] }
        }
        // Until leases end, a server that has come back lets no receipt be complete early.
        Kind::PostgresRestore | Kind::PostgresAnew if is_single => dice.random_range(25..31),
        _ => dice.random_range(12..22),
    };
    let unit = if matches!(kind, Kind::StopShort | Kind::Stop | Kind::StopLong) { shape.lease } else { hold };
    let starts = if is_first { 0 } else { dice.random_range(0..u64::try_from(hold.as_millis()).unwrap_or(2000)) };
    Planned { kind, victims, starts: Duration::from_millis(starts), lasts: unit * tenths / 10, waits }
}
