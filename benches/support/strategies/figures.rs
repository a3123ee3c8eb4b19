//! Figures out of results: which cell is meant, what its rounds say, and whether two of them differ.

use super::{
    super::rounds::Spread,
    point::Point,
    results::{Cell, Results, Revoking, Round},
};

/// A comparison with fewer rounds resolves nothing.
pub(crate) const MIN_ROUNDS: usize = 5;

/// Who stands in tables and plots, in this order.
pub(crate) const ARMS: [&str; 8] =
    ["stateless", "hybrid", "exact", "redis", "session-redis", "session-sql", "tower-sessions", EMPTY];

/// Those who ask a store for each request.
pub(crate) const ASKING: [&str; 4] = ["redis", "session-redis", "session-sql", "tower-sessions"];

/// Ours.
pub(crate) const HYBRID: &str = "hybrid";

/// The ceiling: it checks nothing.
pub(crate) const EMPTY: &str = "empty handler";

/// How long an access token lives as shipped.
pub(crate) const SHIPPED_TTL_SECONDS: f64 = 900.0;

/// How to read "until expiry", if tokens live longer or shorter in the run than as shipped.
pub(crate) fn lifetime(results: &Results) -> Option<String> {
    let lines = results.arms.iter().filter(|arm| arm.name == "stateless").flat_map(|arm| &arm.configuration);
    let told = lines.filter_map(|line| line.split_once(" = ")).find(|(key, _)| *key == "tokens.access_ttl")?;
    (told.1 != "15m").then(|| {
        format!("Access tokens live {} in this run, so that none expires meanwhile, and 15 minutes as shipped.", told.1)
    })
}

/// A figure of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metric {
    Cpu,
    P50,
    P90,
    P99,
    P999,
    Max,
    Capacity,
    /// Of the closed loop.
    ClosedCpu,
    Idle,
    Resident,
}

impl Metric {
    pub(crate) const ALL: [Self; 10] = [
        Self::Cpu,
        Self::P50,
        Self::P90,
        Self::P99,
        Self::P999,
        Self::Max,
        Self::Capacity,
        Self::ClosedCpu,
        Self::Idle,
        Self::Resident,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "CPU per request, µs",
            Self::P50 => "latency p50, µs",
            Self::P90 => "latency p90, µs",
            Self::P99 => "latency p99, µs",
            Self::P999 => "latency p99.9, µs",
            Self::Max => "longest latency, µs",
            Self::Capacity => "requests per second",
            Self::ClosedCpu => "CPU per request in the closed loop, µs",
            Self::Idle => "CPU when nobody asks, µs per second",
            Self::Resident => "resident, MiB",
        }
    }

    pub(crate) const fn is_better_when_more(self) -> bool {
        matches!(self, Self::Capacity)
    }

    pub(crate) fn of(self, round: &Round) -> Option<f64> {
        match self {
            Self::Cpu => Some(round.cpu_us),
            Self::P50 => Some(round.open.p50_us),
            Self::P90 => Some(round.open.p90_us),
            Self::P99 => Some(round.open.p99_us),
            Self::P999 => Some(round.open.p999_us),
            Self::Max => Some(round.open.max_us),
            Self::Capacity => round.closed.as_ref().map(|closed| closed.per_second),
            Self::ClosedCpu => round.closed.as_ref().map(|closed| closed.cpu_us),
            Self::Idle => Some(round.idle_us_per_second),
            Self::Resident => Some(mib(round.resident_bytes)),
        }
    }
}

/// Where a cell stands, by the one value that its axis varies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Axis {
    /// As the results call it.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// The head of the column that holds the value.
    pub(crate) column: &'static str,
    /// What values begin with where they stand in a sentence.
    pub(crate) short: &'static str,
    value: fn(&Point) -> f64,
    label: fn(&Point) -> String,
}

/// Every axis.
pub(crate) const AXES: [Axis; 7] = [
    Axis {
        name: "live",
        title: "Live revocations",
        column: "live revocations",
        short: "live:",
        value: |point| count(point.live),
        label: |point| grouped(point.live),
    },
    Axis {
        name: "redis_delay",
        title: "Distance to the stores",
        column: "round trip beyond loopback, ms",
        short: "ms to the stores:",
        value: |point| point.redis_delay_ms,
        label: |point| format!("{}", point.redis_delay_ms),
    },
    Axis {
        name: "cache",
        title: "Tokens verified lately",
        column: "share verified lately",
        short: "verified lately:",
        value: |point| point.cache_hit_rate,
        label: |point| percent(point.cache_hit_rate),
    },
    Axis {
        name: "algorithm",
        title: "Signature",
        column: "algorithm",
        short: "signature:",
        value: |point| {
            let at = ["EdDSA", "ES256", "RS256", "HS256"].iter().position(|name| *name == point.algorithm);
            number(at.unwrap_or(usize::MAX))
        },
        label: |point| point.algorithm.clone(),
    },
    Axis {
        name: "arriving",
        title: "Revocations that arrive meanwhile",
        column: "revocations per second",
        short: "arriving per second:",
        value: |point| count(point.arriving_per_second),
        label: |point| grouped(point.arriving_per_second),
    },
    Axis {
        name: "revoked",
        title: "Requests with a token that was taken back",
        column: "share revoked",
        short: "revoked:",
        value: |point| point.revoked_share,
        label: |point| percent(point.revoked_share),
    },
    Axis {
        name: "nodes",
        title: "Nodes",
        column: "nodes",
        short: "nodes:",
        value: |point| f64::from(point.nodes),
        label: |point| point.nodes.to_string(),
    },
];

impl Axis {
    /// The axis that is called so.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        AXES.iter().find(|axis| axis.name == name)
    }

    pub(crate) fn label(&self, point: &Point) -> String {
        (self.label)(point)
    }

    /// The values on it, in order. The base is a value of every axis that has any.
    pub(crate) fn points<'a>(&self, results: &'a Results) -> Vec<&'a Point> {
        let cells = || results.load.iter();
        if !cells().any(|cell| cell.axis == self.name) {
            return Vec::new();
        }
        let on = |cell: &&Cell| cell.axis == self.name || cell.axis == "base";
        let mut points: Vec<&Point> = cells().filter(on).map(|cell| &cell.point).collect();
        points.sort_by(|a, b| (self.value)(a).total_cmp(&(self.value)(b)));
        points.dedup_by(|a, b| self.label(a) == self.label(b));
        points
    }

    /// Who was measured along it.
    pub(crate) fn arms<'a>(&self, results: &'a Results) -> Vec<&'a str> {
        arms(results, |arm| results.load.iter().any(|cell| cell.axis == self.name && cell.arm == arm))
    }

    /// An arm's cell at a value: the axis's own, or else the base's where that has the value.
    pub(crate) fn cell<'a>(&self, results: &'a Results, arm: &str, point: &Point) -> Option<&'a Cell> {
        let find = |axis: &str| {
            let meant =
                |cell: &&Cell| cell.axis == axis && cell.arm == arm && self.label(&cell.point) == self.label(point);
            results.load.iter().find(meant)
        };
        find(self.name).or_else(|| find("base"))
    }
}

/// An arm's cell at the base.
pub(crate) fn base<'a>(results: &'a Results, arm: &str) -> Option<&'a Cell> {
    results.load.iter().find(|cell| cell.axis == "base" && cell.arm == arm)
}

/// Another arm's cell of the same rounds.
pub(crate) fn beside<'a>(results: &'a Results, cell: &Cell, arm: &str) -> Option<&'a Cell> {
    let label = |of: &Cell| Axis::named(&cell.axis).map(|axis| axis.label(&of.point));
    results.load.iter().find(|other| other.arm == arm && other.axis == cell.axis && label(other) == label(cell))
}

/// A metric over a cell's rounds, if each has it.
pub(crate) fn spread(cell: &Cell, metric: Metric) -> Option<Spread> {
    let rounds: Option<Vec<f64>> = cell.rounds.iter().map(|round| metric.of(round)).collect();
    usable(rounds?)
}

/// What a comparison comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The whole spread is below.
    Less,
    /// The whole spread is above.
    More,
    /// It is on both sides, or there are too few rounds.
    NotResolved,
}

/// Two arms, round by round.
#[derive(Debug, Clone)]
pub(crate) struct Compared {
    pub(crate) spread: Spread,
    pub(crate) verdict: Verdict,
    is_ratio: bool,
}

impl Compared {
    fn around(middle: f64, rounds: Vec<f64>) -> Option<Self> {
        let spread = usable(rounds)?;
        let verdict = match &spread {
            few if few.rounds.len() < MIN_ROUNDS => Verdict::NotResolved,
            all if all.low > middle => Verdict::More,
            all if all.high < middle => Verdict::Less,
            _ => Verdict::NotResolved,
        };
        Some(Self { spread, verdict, is_ratio: middle > 0.0 })
    }

    /// How many times as much one takes as the other.
    pub(crate) fn ratio(of: &Cell, to: &Cell, metric: Metric) -> Option<Self> {
        Self::around(1.0, pairs(of, to, metric)?.into_iter().map(|(of, to)| of / to).collect())
    }

    /// What one takes more than the other.
    pub(crate) fn difference(of: &Cell, to: &Cell, metric: Metric) -> Option<Self> {
        Self::around(0.0, pairs(of, to, metric)?.into_iter().map(|(of, to)| of - to).collect())
    }

    /// Median, lowest and highest. Ratios are about 1, where the third decimal still tells something.
    pub(crate) fn figures(&self) -> String {
        if self.is_ratio && self.spread.high < 10.0 { with_decimals(&self.spread, 3) } else { ranged(&self.spread) }
    }
}

impl std::fmt::Display for Compared {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str(&self.figures())?;
        if self.verdict == Verdict::NotResolved { to.write_str(", not resolved") } else { Ok(()) }
    }
}

fn pairs(of: &Cell, to: &Cell, metric: Metric) -> Option<Vec<(f64, f64)>> {
    of.rounds.iter().zip(&to.rounds).map(|(of, to)| Some((metric.of(of)?, metric.of(to)?))).collect()
}

/// `None` where a figure is missing or is none.
fn usable(rounds: Vec<f64>) -> Option<Spread> {
    let is_usable = !rounds.is_empty() && rounds.iter().all(|figure| figure.is_finite());
    is_usable.then(|| Spread::of(rounds))
}

/// When a revoked credential was refused.
#[derive(Debug, Clone)]
pub(crate) enum Bite {
    /// Each time, after milliseconds.
    After(Spread),
    /// Not while watched; when it expires at the latest, so many seconds after the act.
    AtExpiry(Option<f64>),
    /// Not each time.
    Partly { refused: usize, of: usize },
}

impl Bite {
    pub(crate) fn of(row: &Revoking) -> Self {
        let seen: Vec<f64> = row.refused_ms.iter().copied().flatten().collect();
        let (refused, of) = (seen.len(), row.refused_ms.len());
        match usable(seen) {
            None => Self::AtExpiry(row.in_force_after_s),
            Some(spread) if refused == of => Self::After(spread),
            Some(_) => Self::Partly { refused, of },
        }
    }
}

impl std::fmt::Display for Bite {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::After(ms) => write!(to, "{} ms", ranged(ms)),
            Self::AtExpiry(Some(seconds)) => write!(to, "until expiry: {} s", figure(*seconds)),
            Self::AtExpiry(None) => write!(to, "until expiry"),
            Self::Partly { refused, of } => write!(to, "refused in {refused} of {of} only"),
        }
    }
}

/// The acts of revocation.
pub(crate) const ACTS: [&str; 3] = ["session", "all devices", "ban"];

/// The most nodes on which an arm's act was watched.
pub(crate) fn revoking<'a>(results: &'a Results, arm: &str, act: &str) -> Option<&'a Revoking> {
    results.revoking.iter().filter(|row| row.arm == arm && row.act == act).max_by_key(|row| row.nodes)
}

/// The arms that pass, in the order of [`ARMS`]; those that are not listed there come last.
pub(crate) fn arms(results: &Results, passes: impl Fn(&str) -> bool) -> Vec<&str> {
    let others = results.arms.iter().map(|arm| arm.name.as_str()).filter(|name| !ARMS.contains(name));
    ARMS.into_iter().chain(others).filter(|name| passes(name)).collect()
}

/// Median, lowest and highest, with as many decimals each.
pub(crate) fn ranged(spread: &Spread) -> String {
    let most = spread.low.abs().max(spread.high.abs());
    with_decimals(spread, decimals(spread.median.abs().max(most / 10.0)))
}

fn with_decimals(spread: &Spread, decimals: usize) -> String {
    let [median, low, high] = [spread.median, spread.low, spread.high].map(|value| rounded(value, decimals));
    format!("{median} ({low} – {high})")
}

/// Three digits that mean something, or a whole number; a dash for what is no figure.
pub(crate) fn figure(value: f64) -> String {
    let is_whole = value.fract().abs() < f64::EPSILON;
    rounded(value, if is_whole { 0 } else { decimals(value.abs()) })
}

/// How many decimals leave three digits.
fn decimals(size: f64) -> usize {
    match size {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 => 2,
        size if size >= 0.09995 => 3,
        _ => 4,
    }
}

fn rounded(value: f64, decimals: usize) -> String {
    match value.abs() {
        size if !size.is_finite() => "–".to_owned(),
        size if size >= 999.5 && decimals == 0 => apart(&format!("{value:.0}")),
        _ => format!("{value:.decimals$}"),
    }
}

/// Bytes in MiB.
pub(crate) fn mib(bytes: u64) -> f64 {
    count(bytes) / f64::from(1 << 20)
}

/// A number with its thousands apart.
pub(crate) fn grouped(number: u64) -> String {
    apart(&number.to_string())
}

/// A share of one.
pub(crate) fn percent(share: f64) -> String {
    format!("{} %", figure(share * 100.0))
}

fn apart(number: &str) -> String {
    let (sign, digits) = number.strip_prefix('-').map_or(("", number), |digits| ("-", digits));
    let mut text = String::from(sign);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// So many nodes.
pub(crate) fn nodes(count: u32) -> String {
    if count == 1 { "1 node".to_owned() } else { format!("{count} nodes") }
}

/// A place in a list as a number to compute with.
pub(crate) fn number(place: usize) -> f64 {
    f64::from(u32::try_from(place).unwrap_or(u32::MAX))
}

/// A count as a number to compute with.
pub(crate) use super::super::rounds::float as count;
