//! Made-up results, complete in form, for checking what is made of results. Nothing in them was measured.

use super::{
    super::machine::Machine,
    figures::{ACTS, ARMS, ASKING, count},
    point::Point,
    results::{
        Arm, Bytes, Cell, Closed, Memory, Open, Outage, Plan, Results, Revoking, Round, SCHEMA, StoreUse, Swept,
    },
};

/// What the rounds of a strategy are times its middle: with its neighbours' on both sides.
const JITTER: [f64; 5] = [0.98, 1.03, 0.99, 1.02, 1.0];

/// Processor time and latency of a strategy, in microseconds.
fn middle(arm: &str) -> (f64, f64) {
    match arm {
        "stateless" | "hybrid" => (62.0, 180.0),
        "exact" => (56.0, 170.0),
        "redis" => (95.0, 560.0),
        "session-redis" => (52.0, 510.0),
        "session-sql" => (120.0, 900.0),
        "tower-sessions" => (75.0, 700.0),
        _ => (18.0, 90.0),
    }
}

/// A run that has measured everything: `hybrid` is not to be told from `stateless`, and `exact` is faster.
pub(crate) fn sample() -> Results {
    Results {
        schema: SCHEMA,
        machine: machine(),
        redis: "7.0.15".to_owned(),
        postgres: "15.18".to_owned(),
        again: vec![super::results::Again {
            parts: vec!["bytes".to_owned()],
            commit: "0000000".to_owned(),
            date: "2026-01-01".to_owned(),
            took_seconds: 1.0,
        }],
        took_seconds: 600.0,
        seed: 1,
        plan: Plan {
            rounds: JITTER.len(),
            window_seconds: 2.0,
            open_rate: 1000,
            connections: 16,
            users: 1000,
            devices_per_user: 3,
            zipf_exponent: 1.1,
            pinning: "the node on core 0, everything else on core 1".to_owned(),
        },
        arms: ARMS.iter().map(|arm| configured(arm)).collect(),
        load: load(),
        sweep: sweep(),
        revoking: revoking(),
        store_use: store_use(),
        bytes: bytes(),
        outages: outages(),
        memory: memory(),
    }
}

fn machine() -> Machine {
    Machine {
        commit: "0000000000000000000000000000000000000000".to_owned(),
        date: "2026-01-01T00:00:00Z".to_owned(),
        cpu: "made up".to_owned(),
        cores: 2,
        l2_cache: "1024K".to_owned(),
        kernel: "6".to_owned(),
        rustc: "rustc 1".to_owned(),
        is_optimised: true,
        load_average: "0.00 0.00 0.00".to_owned(),
        crates: [("axum", "0.8.0"), ("tokio", "1.0.0")]
            .map(|(name, version)| (name.to_owned(), version.to_owned()))
            .into(),
    }
}

fn configured(arm: &str) -> Arm {
    // A value that a page has to escape.
    let configuration = vec![format!("revocation.strategy = {arm}"), "log.filter = <warn> & \"more\"".to_owned()];
    Arm { name: arm.to_owned(), configuration }
}

/// A cell; `scale` is what the point makes of processor time, `distance` what it adds to latency.
fn cell(arm: &str, axis: &str, point: Point, scale: f64, distance: f64) -> Cell {
    let (cpu, latency) = middle(arm);
    // Ours wavers the other way round than everybody else, so some ratios are on both sides.
    let waver = |i: usize| if arm == "hybrid" { JITTER[JITTER.len() - 1 - i] } else { JITTER[i] };
    let round = |i| {
        let (cpu_us, p50_us) = (cpu * scale * waver(i), (latency + distance) * waver(i));
        Round {
            cpu_us,
            idle_us_per_second: 150.0,
            open: Open {
                rate: 1000,
                achieved: 999.5,
                p50_us,
                p90_us: p50_us * 1.4,
                p99_us: p50_us * 3.0,
                p999_us: p50_us * 9.0,
                max_us: p50_us * 20.0,
            },
            closed: Some(Closed { connections: 16, per_second: 1e6 / cpu_us, cpu_us: cpu_us * 0.8 }),
            checked: 2000,
            refused: 20,
            resident_bytes: 30 << 20,
            measured_hit_rate: Some(point.cache_hit_rate),
        }
    };
    let rounds = (0..JITTER.len()).map(round).collect();
    Cell { arm: arm.to_owned(), axis: axis.to_owned(), point, rounds }
}

fn asks(arm: &str) -> bool {
    ASKING.contains(&arm)
}

fn load() -> Vec<Cell> {
    let base = Point::default;
    let mut cells = Vec::new();
    for arm in ARMS {
        let away = |delay: f64| if asks(arm) { delay * 1000.0 } else { 0.0 };
        cells.push(cell(arm, "base", base(), 1.0, away(0.25)));
        for live in [0, 1_000_000, 10_000_000] {
            // With very many the exact set falls out of the cache.
            let scale = if arm == "exact" && live > 1_000_000 { 1.4 } else { 1.0 };
            cells.push(cell(arm, "live", Point { live, ..base() }, scale, away(0.25)));
        }
        for redis_delay_ms in [0.0, 1.0, 5.0] {
            cells.push(cell(arm, "redis_delay", Point { redis_delay_ms, ..base() }, 1.0, away(redis_delay_ms)));
        }
        for nodes in [2, 4] {
            cells.push(cell(arm, "nodes", Point { nodes, ..base() }, 1.1, away(0.25)));
        }
    }
    for arm in ["stateless", "hybrid"] {
        for (cache_hit_rate, scale) in [(0.0, 1.6), (0.5, 1.3)] {
            cells.push(cell(arm, "cache", Point { cache_hit_rate, ..base() }, scale, 0.0));
        }
        for (algorithm, scale) in [("ES256", 1.2), ("RS256", 0.8), ("HS256", 0.5)] {
            let point = Point { algorithm: algorithm.to_owned(), ..base() };
            cells.push(cell(arm, "algorithm", point, scale, 0.0));
        }
        for arriving_per_second in [10, 1000] {
            cells.push(cell(arm, "arriving", Point { arriving_per_second, ..base() }, 1.1, 0.0));
        }
        for revoked_share in [0.0, 0.5] {
            cells.push(cell(arm, "revoked", Point { revoked_share, ..base() }, 1.05, 0.0));
        }
    }
    cells
}

fn sweep() -> Vec<Swept> {
    let step = |value: u64| Swept {
        arm: "session-redis".to_owned(),
        knob: "concurrent requests".to_owned(),
        value,
        redis_delay_ms: 1.0,
        per_second: vec![900.0 * count(value.min(16)); 3],
        p99_us: vec![1500.0; 3],
        is_chosen: value == 16,
    };
    [1, 4, 16, 64].map(step).to_vec()
}

fn revoking() -> Vec<Revoking> {
    let mut rows = Vec::new();
    for (arm, nodes) in ARMS[..7].iter().flat_map(|arm| [1, 2, 4].map(|nodes| (*arm, nodes))) {
        for act in ACTS {
            let waits = arm == "stateless";
            let refused = |ms| if waits { None } else { Some(ms) };
            rows.push(Revoking {
                arm: arm.to_owned(),
                nodes,
                act: act.to_owned(),
                refused_ms: [1.9, 2.0, 2.1, 2.4, 3.0].map(|ms| refused(ms * middle(arm).0 / 60.0)).to_vec(),
                receipt_ms: vec![2.0, 2.2, 2.3, 2.5, 3.4],
                complete: !waits,
                in_force_after_s: waits.then_some(900.0),
                accepted_after_receipt: if waits { 40 } else { 0 },
            });
        }
    }
    rows
}

fn store_use() -> Vec<StoreUse> {
    let row = |(arm, nodes): (&str, u32)| StoreUse {
        arm: arm.to_owned(),
        nodes,
        requests: 2000,
        redis_per_request: if asks(arm) && arm != "session-sql" { 1.0 } else { 0.0 },
        sql_per_request: if arm == "session-sql" { 1.0 } else { 0.0 },
        redis_idle_per_second: 0.5,
        sql_idle_per_second: if arm == "hybrid" { 4.3 * f64::from(nodes) } else { 0.1 },
    };
    ARMS[..7].iter().flat_map(|arm| [1, 2, 4].map(|nodes| (*arm, nodes))).map(row).collect()
}

fn bytes() -> Vec<Bytes> {
    let row = |arm: &&str| {
        let is_session = arm.contains("session");
        Bytes {
            arm: (*arm).to_owned(),
            state: if is_session { "the store" } else { "the token" }.to_owned(),
            client_bytes_per_request: if is_session { 70 } else { 520 },
            logins: 5000,
            sql_bytes_per_login: 610.0,
            redis_bytes_per_login: if is_session { 180.0 } else { 0.0 },
            node_bytes_per_login: 0.0,
        }
    };
    ARMS[..7].iter().map(row).collect()
}

fn outages() -> Vec<Outage> {
    let row = |(arm, store): (&str, &str)| {
        let fails = asks(arm) && (store == "sql") == (arm == "session-sql");
        let late = if store == "sql" && arm == "hybrid" { 503 } else { 200 };
        let valid = if fails { [503; 3] } else { [200, 200, late] };
        let revoked = match (fails, arm) {
            (true, _) => [503; 3],
            (false, "stateless") => [200; 3],
            (false, _) => [401; 3],
        };
        let seen = |statuses: [u16; 3]| [0.2, 2.0, 5.0].into_iter().zip(statuses).collect();
        Outage {
            arm: arm.to_owned(),
            store: store.to_owned(),
            valid: seen(valid),
            revoked: seen(revoked),
            logout: if store == "sql" { 503 } else { 200 },
            revoked_after_return: Some(401),
            valid_after_return: Some(200),
        }
    };
    ARMS[..7].iter().flat_map(|arm| ["redis", "sql"].map(|store| (*arm, store))).map(row).collect()
}

fn memory() -> Vec<Memory> {
    let row = |(arm, live): (&str, u64)| {
        let each = match arm {
            "hybrid" => 4,
            "exact" => 40,
            _ => 0,
        };
        let (resident_bytes, redis_bytes) = ((25 << 20) + live * each, (1 << 20) + live * 90);
        Memory { arm: arm.to_owned(), live, resident_bytes, redis_bytes }
    };
    let sizes = [0, 10_000, 1_000_000, 10_000_000];
    ["hybrid", "exact", "redis"].into_iter().flat_map(|arm| sizes.map(|live| (arm, live))).map(row).collect()
}
