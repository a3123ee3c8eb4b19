//! The tables of the load: at the base, along each axis, and of the sweeps.

use super::{
    document::{Block, Table, heading, or_dash, text},
    figures::{
        AXES, Axis, Compared, EMPTY, MIN_ROUNDS, Metric, SHIPPED_TTL_SECONDS, arms, base, beside, count, figure,
        grouped, nodes, percent, ranged, spread,
    },
    point::Point,
    results::{Arm, Cell, Results},
};
use crate::support::rounds::Spread;

/// Of which code, on what, and how.
pub(crate) fn head(results: &Results) -> Vec<Block> {
    let mut head = String::new();
    // Writing into a string does not fail.
    let _ = results.machine.head(&mut head, "strategies", "--report", results.took_seconds);
    let (items, words): (Vec<&str>, Vec<&str>) =
        head.lines().filter(|line| !line.is_empty()).partition(|line| line.starts_with("- "));
    let mut items: Vec<String> = items.into_iter().map(|line| line.trim_start_matches("- ").to_owned()).collect();
    items.extend(results.again.iter().map(|again| {
        let (parts, seconds) = (again.parts.join(", "), again.took_seconds);
        format!("Measured again, or besides: {parts}; commit {}; {}; {seconds:.0} s", again.commit, again.date)
    }));
    let plan = &results.plan;
    items.extend([
        format!("PostgreSQL {}; Redis {}; all of it on this one machine", results.postgres, results.redis),
        format!(
            "Seed {}; {} rounds, windows of {} s at the base and of half of that elsewhere; open loop {} requests per second for each; closed loop \
             {} connections",
            results.seed,
            plan.rounds,
            figure(plan.window_seconds),
            grouped(plan.open_rate),
            plan.connections
        ),
        format!(
            "{} users with {} devices each, drawn by Zipf with exponent {}; {}",
            grouped(plan.users),
            plan.devices_per_user,
            plan.zipf_exponent,
            plan.pinning
        ),
        format!("{} answers checked, each of them right: a wrong one ends the run", grouped(checked(results))),
        "Figures are median (lowest – highest) over the rounds; ratios and differences are of two arms in the same round"
            .to_owned(),
        format!(
            "*Not resolved*: not resolved on this machine, since the spread is on both sides of equality, or since there \
             are fewer than {MIN_ROUNDS} rounds"
        ),
    ]);
    words.into_iter().map(text).chain([Block::List(items)]).collect()
}

fn checked(results: &Results) -> u64 {
    results.load.iter().flat_map(|cell| &cell.rounds).map(|round| round.checked).sum()
}

/// Everybody at the base.
pub(crate) fn base_tables(results: &Results) -> Vec<Block> {
    let measured = arms(results, |arm| base(results, arm).is_some());
    let Some(first) = measured.first().and_then(|arm| base(results, arm)) else {
        return vec![heading("At the base"), text("Not measured in this run.")];
    };
    let mut cost = Table::new([
        "strategy",
        "#CPU per request, µs",
        "#to `stateless`",
        "#to the empty handler",
        "#requests per second",
        "#share of the ceiling",
        "#CPU per request in the closed loop, µs",
    ]);
    let mut latency =
        Table::new(["strategy", "#p50, µs", "#p99, µs", "#p99.9, µs", "#added p50", "#added p99", "#added p99.9"]);
    for arm in measured {
        let Some(cell) = base(results, arm) else { continue };
        let to = |other: &str, metric| beside(results, cell, other).and_then(|to| Compared::ratio(cell, to, metric));
        let added = |metric| beside(results, cell, EMPTY).and_then(|to| Compared::difference(cell, to, metric));
        let own = |metric| or_dash(spread(cell, metric).as_ref().map(ranged));
        let unless = |same: &str, told: Option<Compared>| if arm == same { "–".to_owned() } else { or_dash(told) };
        let there = cell.rounds.iter().map(|round| round.closed.as_ref().map(|closed| closed.cpu_us));
        let there: Option<Vec<f64>> = there.collect();
        cost.row([
            format!("`{arm}`"),
            own(Metric::Cpu),
            unless("stateless", to("stateless", Metric::Cpu)),
            unless(EMPTY, to(EMPTY, Metric::Cpu)),
            own(Metric::Capacity),
            unless(EMPTY, to(EMPTY, Metric::Capacity)),
            or_dash(there.map(|there| ranged(&Spread::of(there)))),
        ]);
        latency.row([
            format!("`{arm}`"),
            own(Metric::P50),
            own(Metric::P99),
            own(Metric::P999),
            unless(EMPTY, added(Metric::P50)),
            unless(EMPTY, added(Metric::P99)),
            unless(EMPTY, added(Metric::P999)),
        ]);
    }
    vec![
        heading("At the base"),
        text(format!("The base: {}.", described(&first.point))),
        text(
            "Processor time is the node's own, user and system, in the open loop; the closed loop's stands beside its \
             capacity. The empty handler answers without looking at anything: it is the ceiling, and what the generator \
             takes is in it. Requests per second of those who ask a store are to be read where it is at no distance, in the \
             next section: what makes the distance shares a core with the generator.",
        ),
        Block::Table(cost),
        text("Latency in the open loop, counted from when a request was due. *Added*: over the empty handler, µs."),
        Block::Table(latency),
    ]
}

/// A point in words.
pub(crate) fn described(point: &Point) -> String {
    format!(
        "{}; {} of requests with a token verified lately; {} live revocations, {} more per second; {} of requests revoked; \
         {} ms more to the stores and back; {}",
        point.algorithm,
        percent(point.cache_hit_rate),
        grouped(point.live),
        grouped(point.arriving_per_second),
        percent(point.revoked_share),
        point.redis_delay_ms,
        nodes(point.nodes)
    )
}

/// One table for each axis that was measured.
pub(crate) fn axis_tables(results: &Results) -> Vec<Block> {
    let mut blocks = vec![
        heading("One axis at a time"),
        text(
            "Everything else is as at the base, whose cells stand in these tables too, though they were measured at another \
             time; ratios are of one time only. The last column shows what the verified-token cache found, as the node \
             counts it. HS256 keys are not shared through PostgreSQL, so that node has SQLite.",
        ),
    ];
    let measured = |axis: &&Axis| !axis.points(results).is_empty();
    if !AXES.iter().any(|axis| measured(&axis)) {
        return vec![heading("One axis at a time"), text("Not measured in this run.")];
    }
    for axis in AXES.iter().filter(measured) {
        let points = axis.points(results);
        blocks.push(Block::Heading(3, axis.title.to_owned()));
        if axis.name == "live" {
            blocks.push(text(scale(&points)));
        }
        blocks.push(Block::Table(along(results, axis, &points)));
    }
    blocks
}

/// What it takes to have so many.
fn scale(points: &[&Point]) -> String {
    let most = points.last().map_or(0, |point| point.live);
    format!(
        "Live revocations are their rate times the lifetime of an access token. With one of 15 minutes, as shipped, {} of \
         them are {} revocations per second, day and night.",
        grouped(most),
        figure(count(most) / SHIPPED_TTL_SECONDS)
    )
}

fn along(results: &Results, axis: &Axis, points: &[&Point]) -> Table {
    let mut table = Table::new([
        format!("#{}", axis.column),
        "strategy".to_owned(),
        "#CPU per request, µs".to_owned(),
        "#to `stateless`".to_owned(),
        "#p50, µs".to_owned(),
        "#p99, µs".to_owned(),
        "#requests per second".to_owned(),
        format!("#{}", Metric::Resident.name()),
        "#found in the cache".to_owned(),
    ]);
    for point in points {
        for arm in axis.arms(results) {
            let Some(cell) = axis.cell(results, arm, point) else { continue };
            let own = |metric| or_dash(spread(cell, metric).as_ref().map(ranged));
            let stateless = beside(results, cell, "stateless").filter(|_| arm != "stateless");
            table.row([
                axis.label(point),
                format!("`{arm}`"),
                own(Metric::Cpu),
                or_dash(stateless.and_then(|to| Compared::ratio(cell, to, Metric::Cpu))),
                own(Metric::P50),
                own(Metric::P99),
                own(Metric::Capacity),
                own(Metric::Resident),
                found(cell),
            ]);
        }
    }
    table
}

fn found(cell: &Cell) -> String {
    let rates: Option<Vec<f64>> = cell.rounds.iter().map(|round| round.measured_hit_rate).collect();
    or_dash(rates.filter(|rates| !rates.is_empty()).map(|rates| percent(Spread::of(rates).median)))
}

/// Why rivals are set up as they are.
pub(crate) fn sweep_table(results: &Results) -> Vec<Block> {
    if results.sweep.is_empty() {
        return Vec::new();
    }
    let mut table = Table::new([
        "strategy",
        "what was turned",
        "#to",
        "#more to the stores, ms",
        "#requests per second",
        "#p99, µs",
        "",
    ]);
    for step in &results.sweep {
        table.row([
            format!("`{}`", step.arm),
            step.knob.clone(),
            grouped(step.value),
            format!("{}", step.redis_delay_ms),
            ranged(&Spread::of(step.per_second.clone())),
            ranged(&Spread::of(step.p99_us.clone())),
            if step.is_chosen { "**used**".to_owned() } else { String::new() },
        ]);
    }
    vec![
        heading("What rivals could be given"),
        text("A rival that waits for its store does more with more at once, up to a knee; what is used stands at it."),
        Block::Table(table),
    ]
}

/// With which configuration.
pub(crate) fn configurations(results: &Results) -> Vec<Block> {
    let told = |arm: &Arm| {
        let lines: Vec<String> = arm.configuration.iter().map(|line| format!("`{line}`")).collect();
        let lines = if lines.is_empty() { "as it is shipped".to_owned() } else { lines.join(", ") };
        format!("`{}`: {lines}", arm.name)
    };
    vec![heading("Who was measured"), Block::List(results.arms.iter().map(told).collect())]
}
