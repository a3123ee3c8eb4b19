//! The points that are measured, and one of them: all candidates alive at once, in turn.

use std::{sync::Arc, time::Duration};

use kickout::clock::Clock;

use super::{
    super::rounds::float,
    arms::Kind,
    arrivals::Arrivals,
    load::{Generator, Mix},
    point::Point,
    process::{Node, cpu_ns},
    results::{self, Cell, Closed, Round},
    stage::{Distance, Ground, Stage, Stages},
    workload::{Draw, Host},
};
use crate::Failure;

/// Requests per second of the open loop: half of what the slowest candidate bears, sessions in PostgreSQL 1 ms away. Near
/// its limit waiting for a connection would be all that is seen of it.
pub(crate) const RATE: u64 = 500;

/// The same where the stores are [far](FAR_MS).
const FAR_RATE: u64 = 100;

/// In milliseconds.
const FAR_MS: f64 = 2.0;

/// Connections: the knee of the sweep for stores that are not far.
pub(crate) const CONNECTIONS: usize = 64;

/// How long a node is watched while nobody asks.
const IDLE: Duration = Duration::from_millis(300);

/// Until the connections of the turn before are closed everywhere.
const SETTLE: Duration = Duration::from_millis(100);

/// Fresh tokens for a closed loop: more requests per second than a node on one core answers.
const MOST_PER_SECOND: f64 = 30_000.0;

/// Of fewer looks into the cache the share of hits says little.
const ENOUGH_LOOKS: f64 = 1000.0;

/// From so many live revocations on there are only those who keep them.
const HUGE: u64 = 5_000_000;

/// A point, who is there, and how much is measured.
#[derive(Debug, Clone)]
struct Place {
    axis: &'static str,
    point: Point,
    kinds: Vec<Kind>,
    /// The open loop takes so long.
    open: Duration,
    /// The closed loop takes so long, if there is one.
    closed: Option<Duration>,
}

impl Place {
    /// Requests per second of the open loop, the same for all who are there.
    fn rate(&self) -> u64 {
        if self.point.redis_delay_ms > FAR_MS { FAR_RATE } else { RATE }
    }
}

/// Everything that load shows.
pub(crate) async fn measure(
    ground: &mut Ground<'_>,
    stages: &mut Stages,
    progress: &mut dyn FnMut(&str) -> Result<(), Failure>,
) -> Result<(Vec<Cell>, Vec<results::Arm>), Failure> {
    let (mut cells, mut arms) = (Vec::new(), Vec::new());
    let base = base(ground.scope.is_smoke);
    for place in places(ground) {
        for kind in &place.kinds {
            stages.of(ground, *kind, &place.point.algorithm, place.point.live).await?;
        }
        let measured =
            Box::pin(at(ground, stages, &place)).await.map_err(|error| format!("{}: {error}", place.axis))?;
        if place.axis == "base" {
            let near = Distance::new(ground, Duration::ZERO)?;
            for kind in &place.kinds {
                let stage = stages.get(*kind, &place.point.algorithm, place.point.live)?;
                arms.push(stage.setup(ground, &near, None)?.described());
            }
        }
        let checked: u64 = measured.iter().flat_map(|cell| &cell.rounds).map(|round| round.checked).sum();
        cells.extend(measured);
        progress(&format!("load, {}: every verdict was right, of {checked}", named(&place, &base)))?;
        if place.point.live > base.live {
            stages.forget(ground, place.point.live).await?;
        }
    }
    Ok((cells, arms))
}

/// What differs from the base.
fn named(place: &Place, base: &Point) -> String {
    let Point { algorithm, cache_hit_rate, live, arriving_per_second, revoked_share, redis_delay_ms, nodes } =
        &place.point;
    let value = match place.axis {
        "live" => live.to_string(),
        "redis_delay" => format!("{redis_delay_ms} ms"),
        "cache" => cache_hit_rate.to_string(),
        "algorithm" => algorithm.clone(),
        "arriving" => arriving_per_second.to_string(),
        "revoked" => revoked_share.to_string(),
        "nodes" => nodes.to_string(),
        _ => format!("{} live, {} ms", base.live, base.redis_delay_ms),
    };
    format!("{} {value}", place.axis)
}

fn base(is_smoke: bool) -> Point {
    let base = Point::default();
    // A large ledger is nothing that a check of the answers needs.
    if is_smoke { Point { live: 1000, ..base } } else { base }
}

/// The base, then one axis at a time.
fn places(ground: &Ground<'_>) -> Vec<Place> {
    use Kind::{Exact, Hybrid, Redis, SessionRedis, SessionSql, Stateless, TowerSessions};
    let (scope, base) = (ground.scope, base(ground.scope.is_smoke));
    let place = |axis: &'static str, point: Point, kinds: &[Kind], is_closed: bool| Place {
        axis,
        point,
        kinds: kinds.to_vec(),
        open: if axis == "base" { scope.window } else { scope.window / 2 },
        closed: is_closed.then_some(scope.window / 4),
    };
    let mut places = vec![place("base", base.clone(), &Kind::ALL, true)];
    if scope.is_smoke {
        // One axis that needs what the base does not: several nodes, and revocations meanwhile.
        let point = Point { nodes: 2, arriving_per_second: 20, revoked_share: 0.5, redis_delay_ms: 0.0, ..base };
        places.push(place("nodes", point, &[Hybrid], false));
        return places;
    }
    for live in scope.live.iter().copied().filter(|live| *live != base.live && *live < HUGE) {
        places.push(place("live", Point { live, ..base.clone() }, &[Stateless, Hybrid, Exact, Redis], true));
    }
    for redis_delay_ms in [0.0, 1.0, 5.0] {
        let kinds = [Hybrid, Redis, SessionRedis, SessionSql, TowerSessions];
        places.push(place("redis_delay", Point { redis_delay_ms, ..base.clone() }, &kinds, true));
    }
    for cache_hit_rate in [0.0, 0.5] {
        let kinds = [Stateless, Hybrid, Exact, Redis];
        places.push(place("cache", Point { cache_hit_rate, ..base.clone() }, &kinds, false));
    }
    for algorithm in ["ES256", "RS256", "HS256"] {
        let point = Point { algorithm: algorithm.to_owned(), ..base.clone() };
        places.push(place("algorithm", point, &[Stateless, Hybrid], false));
    }
    for arriving_per_second in [10, 1000] {
        let kinds = [Hybrid, Exact, Redis, SessionRedis];
        places.push(place("arriving", Point { arriving_per_second, ..base.clone() }, &kinds, false));
    }
    for revoked_share in [0.0, 0.5] {
        let kinds = [Stateless, Hybrid, Exact, Redis, SessionRedis, SessionSql];
        places.push(place("revoked", Point { revoked_share, ..base.clone() }, &kinds, false));
    }
    for nodes in [2, 4] {
        let kinds = [Stateless, Hybrid, Redis, SessionRedis, SessionSql];
        places.push(place("nodes", Point { nodes, ..base.clone() }, &kinds, true));
    }
    // Last, as it fills the machine.
    for live in scope.live.iter().copied().filter(|live| *live >= HUGE) {
        places.push(place("live", Point { live, ..base.clone() }, &[Hybrid, Exact, Redis], true));
    }
    places.retain(|place| scope.axes.is_empty() || scope.axes.iter().any(|axis| axis == place.axis));
    places
}

/// A candidate at a point: its nodes, and what they are asked.
struct Running<'a> {
    stage: &'a Stage,
    nodes: Vec<Node>,
    /// Takes sessions back meanwhile, where that is wanted.
    arrivals: Option<(Host, Arrivals)>,
    rounds: Vec<Round>,
}

/// All candidates of a point, round by round.
async fn at(ground: &Ground<'_>, stages: &Stages, place: &Place) -> Result<Vec<Cell>, Failure> {
    let point = &place.point;
    let distance = Distance::new(ground, Duration::from_secs_f64(point.redis_delay_ms / 1e3))?;
    let mut running = Vec::with_capacity(place.kinds.len());
    for kind in &place.kinds {
        let stage = stages.get(*kind, &point.algorithm, point.live)?;
        let started = start(ground, stage, place, &distance).await;
        running.push(started.map_err(|error| format!("{}: {error}", kind.name()))?);
    }
    for round in 0..ground.scope.rounds {
        let idle = idle(&running).await?;
        for turn in 0..running.len() {
            // Nobody always goes first, and nobody always follows the same one.
            let i = (round + turn) % running.len();
            let taken = running[i].turn(ground, place, round).await;
            let mut taken = taken.map_err(|error| format!("{}: {error}", running[i].stage.kind.name()))?;
            taken.idle_us_per_second = idle[i];
            running[i].rounds.push(taken);
        }
    }
    let mut cells = Vec::with_capacity(running.len());
    for Running { stage, nodes, arrivals, rounds } in running {
        for node in nodes {
            node.stop().await?;
        }
        if let Some((host, _)) = arrivals {
            host.stop().await?;
        }
        let (arm, axis) = (stage.kind.name().to_owned(), place.axis.to_owned());
        cells.push(Cell { arm, axis, point: point.clone(), rounds });
    }
    Ok(cells)
}

/// Starts a candidate's nodes, and shows them every credential once.
async fn start<'a>(
    ground: &Ground<'_>,
    stage: &'a Stage,
    place: &Place,
    distance: &Distance,
) -> Result<Running<'a>, Failure> {
    let point = &place.point;
    let near = Distance::new(ground, Duration::ZERO)?;
    let arrivals = if point.arriving_per_second > 0 && stage.kind.is_kickout() {
        let host = Host::start(&stage.setup(ground, &near, None)?).await?;
        let wanted = place.open.mul_f64(float(point.arriving_per_second) * float(ground.scope.rounds as u64));
        let arrivals = Arrivals::prepare(&host, point.arriving_per_second, wanted.as_secs_f64()).await?;
        Some((host, arrivals))
    } else {
        None
    };
    let cache = (point.cache_hit_rate == 0.0).then_some(0);
    let setup = stage.setup(ground, distance, cache)?;
    let mut nodes = Vec::new();
    for _ in 0..if stage.kind.is_kickout() { point.nodes } else { 1 } {
        nodes.push(Node::start(&setup, &ground.scope.pins).await?);
    }
    let mut running = Running { stage, nodes, arrivals, rounds: Vec::new() };
    let mix = running.mix(ground, place, 0, 0)?;
    let mut generator = running.connect(&mix)?;
    tokio::task::spawn_blocking(move || generator.once(&mix)).await??;
    running.rounds.clear();
    Ok(running)
}

/// What nodes take when nobody asks, in microseconds per second; all watched at once.
async fn idle(running: &[Running<'_>]) -> Result<Vec<f64>, Failure> {
    tokio::time::sleep(SETTLE).await;
    let all = || running.iter().map(Running::cpu_ns).collect::<Result<Vec<u64>, Failure>>();
    let (begun, before) = (Clock::System.boottime(), all()?);
    tokio::time::sleep(IDLE).await;
    let (seconds, after) = (Clock::System.boottime().since(begun).as_secs_f64(), all()?);
    let taken = after.iter().zip(before);
    Ok(taken.map(|(after, before)| float(after.saturating_sub(before)) / 1e3 / seconds).collect())
}

impl Running<'_> {
    fn cpu_ns(&self) -> Result<u64, Failure> {
        self.nodes.iter().map(Node::cpu_ns).sum()
    }

    /// What is asked at a point, with so many fresh tokens.
    fn mix(&self, ground: &Ground<'_>, place: &Place, round: usize, fresh: usize) -> Result<Mix, Failure> {
        // All candidates of a round are asked the same.
        let seed = ground.scope.seed.wrapping_add(round as u64);
        let mut draw = Draw::new(seed, ground.crowd.users, ground.crowd.devices)?;
        let mut mix = self.stage.mix(self.stage.stock(fresh, &mut draw), seed);
        mix.revoked_share = if mix.stock.revoked.is_empty() { 0.0 } else { place.point.revoked_share };
        // Those that were taken back were shown before.
        let share = (1.0 - place.point.cache_hit_rate) / (1.0 - mix.revoked_share);
        mix.fresh_share = if fresh > 0 { share.min(1.0) } else { 0.0 };
        Ok(mix)
    }

    fn connect(&self, mix: &Mix) -> Result<Generator, Failure> {
        let nodes: Vec<_> = self.nodes.iter().map(|node| node.public).collect();
        Generator::connect(&nodes, CONNECTIONS, &mix.stock.live[0])
    }

    /// Tokens that are fresh at the right share of requests, for both loops. Without a cache all are as good as fresh.
    fn fresh(&self, place: &Place, rate: u64) -> usize {
        let share = 1.0 - place.point.cache_hit_rate;
        if !self.stage.can_be_fresh() || place.point.cache_hit_rate == 0.0 {
            return 0;
        }
        let closed = place.closed.unwrap_or_default().as_secs_f64() * MOST_PER_SECOND;
        let requests = place.open.as_secs_f64().mul_add(float(rate), closed);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "thousands")]
        let count = (requests * share * 1.5) as usize + 1;
        count
    }

    /// One turn: the open loop, then the closed one, with processor time read around each.
    async fn turn(&mut self, ground: &Ground<'_>, place: &Place, round: usize) -> Result<Round, Failure> {
        let rate = place.rate();
        let mix = self.mix(ground, place, round, self.fresh(place, rate))?;
        let mut generator = self.connect(&mix)?;
        let looks = self.looks().await?;
        if let Some((host, arrivals)) = &mut self.arrivals {
            arrivals.begin(host, place.open);
        }
        let pids: Arc<[u32]> = self.nodes.iter().map(Node::pid).collect();
        let (open, closed) = (place.open, place.closed);
        let asking = tokio::task::spawn_blocking(move || {
            let cpu = || pids.iter().map(|pid| cpu_ns(*pid)).sum::<Result<u64, Failure>>();
            let before = cpu()?;
            let opened = generator.open(&mix, rate, open)?;
            let between = cpu()?;
            let closed = closed.map(|window| generator.closed(&mix, window)).transpose()?;
            Ok::<_, Failure>((opened, between - before, closed, cpu()? - between))
        });
        let (opened, open_ns, closed, closed_ns) = asking.await??;
        if let Some((_, arrivals)) = &mut self.arrivals {
            arrivals.end().await?;
        }
        let per_request = |ns: u64, requests: u64| float(ns) / 1e3 / float(requests.max(1));
        let resident_bytes = self.nodes.iter().map(Node::resident_bytes).sum::<Result<u64, Failure>>()?;
        let measured_hit_rate = self.hit_rate(place, looks).await?;
        Ok(Round {
            cpu_us: per_request(open_ns, opened.requests),
            idle_us_per_second: 0.0,
            checked: opened.requests + closed.as_ref().map_or(0, |brought| brought.requests),
            refused: opened.refused + closed.as_ref().map_or(0, |brought| brought.refused),
            open: opened.open(rate),
            closed: closed.map(|brought| Closed {
                connections: CONNECTIONS,
                per_second: brought.per_second(),
                cpu_us: per_request(closed_ns, brought.requests),
            }),
            resident_bytes,
            measured_hit_rate,
        })
    }

    /// The share of tokens that nodes knew since they had looked so often; where they count, it is the point's.
    async fn hit_rate(&self, place: &Place, before: Option<(f64, f64)>) -> Result<Option<f64>, Failure> {
        let (Some((hits, all)), Some((more_hits, more))) = (before, self.looks().await?) else { return Ok(None) };
        let looks = more - all;
        if looks == 0.0 || !self.stage.kind.has_jwts() {
            return Ok(None);
        }
        let (rate, wanted) = ((more_hits - hits) / looks, place.point.cache_hit_rate);
        if looks > ENOUGH_LOOKS && (rate - wanted).abs() > 0.05 {
            return Err(format!("nodes knew {rate} of the tokens, and should know {wanted}").into());
        }
        Ok(Some(rate))
    }

    /// How often tokens were found in the cache of verified ones, and how often they were looked for, so far.
    async fn looks(&self) -> Result<Option<(f64, f64)>, Failure> {
        const LOOKS: &str = "kickout_token_cache_looks_total";
        let (mut hits, mut all) = (0.0, None);
        for node in &self.nodes {
            hits += node.metric(LOOKS, "outcome=\"hit\"").await?.unwrap_or(0.0);
            all = node.metric(LOOKS, "").await?.map(|more| all.unwrap_or(0.0) + more);
        }
        Ok(all.map(|all| (hits, all)))
    }
}
