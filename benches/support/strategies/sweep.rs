//! Whether those who ask a store for each request are given what they need: connections, and requests at once.
//!
//! A closed loop at each step, at no distance and at 1 ms. A node of Kickout has no knob here: its pools are as shipped,
//! and each of its connections to Redis carries one request at a time or many, as its strategy has it. The peer's pool
//! is ours to choose.

use std::time::Duration;

use super::{
    arms::Kind,
    load::Generator,
    peers::{CHOSEN_POOL, POOL},
    point::Point,
    process::Node,
    results::Swept,
    run_load::CONNECTIONS,
    stage::{Distance, Ground, Stage, Stages},
    workload::Draw,
};
use crate::Failure;

/// Round trips, in milliseconds.
const DISTANCES: [f64; 2] = [0.0, 1.0];

const REQUESTS: [usize; 5] = [1, 4, 16, 64, 256];

const POOLS: [u64; 5] = [1, 2, 4, 8, 16];

/// How long a step takes in a round.
const STEP: Duration = Duration::from_millis(300);

/// A step: a running node and how much it is asked.
struct Step {
    node: usize,
    connections: usize,
    swept: Swept,
}

pub(crate) async fn measure(
    ground: &mut Ground<'_>,
    stages: &mut Stages,
    progress: &mut dyn FnMut(&str) -> Result<(), Failure>,
) -> Result<Vec<Swept>, Failure> {
    let point = Point::default();
    let rivals = [Kind::Redis, Kind::SessionRedis, Kind::SessionSql, Kind::TowerSessions];
    for kind in &rivals {
        stages.of(ground, *kind, &point.algorithm, point.live).await?;
    }
    let mut found = Vec::new();
    for delay_ms in DISTANCES {
        let distance = Distance::new(ground, Duration::from_secs_f64(delay_ms / 1e3))?;
        for kind in &rivals {
            let stage = stages.get(*kind, &point.algorithm, point.live)?;
            found.extend(of(ground, stage, &distance, delay_ms).await?);
            progress(&format!("sweep, {} at {delay_ms} ms: every verdict was right", kind.name()))?;
        }
    }
    Ok(found)
}

/// All steps of one rival at one distance, in turn, round by round.
async fn of(ground: &Ground<'_>, stage: &Stage, distance: &Distance, delay_ms: f64) -> Result<Vec<Swept>, Failure> {
    let is_peer = stage.kind == Kind::TowerSessions;
    let pools: &[u64] = if is_peer { &POOLS } else { &[0] };
    let mut nodes = Vec::new();
    for pool in pools {
        let mut setup = stage.setup(ground, distance, None)?;
        if is_peer {
            setup.more.push((POOL.to_owned(), pool.to_string()));
        }
        nodes.push(Node::start(&setup, &ground.scope.pins).await?);
    }
    let swept = |knob: &str, value: u64, is_chosen| Swept {
        arm: stage.kind.name().to_owned(),
        knob: knob.to_owned(),
        value,
        redis_delay_ms: delay_ms,
        per_second: Vec::new(),
        p99_us: Vec::new(),
        is_chosen,
    };
    let chosen = if is_peer { POOLS.iter().position(|pool| *pool == CHOSEN_POOL).unwrap_or(0) } else { 0 };
    let mut steps: Vec<Step> = Vec::new();
    for connections in REQUESTS {
        let swept = swept("concurrent requests", connections as u64, connections == CONNECTIONS);
        steps.push(Step { node: chosen, connections, swept });
    }
    for (node, pool) in POOLS.iter().enumerate().take(if is_peer { POOLS.len() } else { 0 }) {
        let swept = swept("pool size", *pool, *pool == CHOSEN_POOL);
        steps.push(Step { node, connections: CONNECTIONS, swept });
    }
    for round in 0..ground.scope.rounds {
        let count = steps.len();
        for turn in 0..count {
            let step = &mut steps[(round + turn) % count];
            let seed = ground.scope.seed.wrapping_add(round as u64);
            let mut draw = Draw::new(seed, ground.crowd.users, ground.crowd.devices)?;
            let mix = stage.mix(stage.stock(0, &mut draw), seed);
            let mut generator = Generator::connect(&[nodes[step.node].public], step.connections, &mix.stock.live[0])?;
            let step_window = STEP.min(ground.scope.window);
            let brought = tokio::task::spawn_blocking(move || generator.closed(&mix, step_window)).await??;
            step.swept.per_second.push(brought.per_second());
            step.swept.p99_us.push(brought.quantile_us(0.99));
        }
    }
    for node in nodes {
        node.stop().await?;
    }
    Ok(steps.into_iter().map(|step| step.swept).collect())
}
