//! Which plots a report has, from its results.

use super::{
    chart::{Chart, Dot, Series},
    figures::{ACTS, Axis, Bite, Metric, arms, base, grouped, mib, revoking, spread},
    results::{Cell, Memory, Results},
};

/// Every plot; one without values is left out.
pub(crate) fn plots(results: &Results) -> Vec<Chart> {
    let charts = [
        Some(percentiles(results)),
        along(results, "live", Metric::Cpu, ("cpu-live", "Processor time against live revocations")),
        along(
            results,
            "redis_delay",
            Metric::Cpu,
            ("cpu-distance", "Processor time against the distance to the stores"),
        ),
        along(results, "redis_delay", Metric::P99, ("p99-distance", "Latency against the distance to the stores")),
        Some(refusals(results)),
        Some(memory(results)),
    ];
    let shows = |chart: &Chart| chart.series.iter().flat_map(|series| &series.dots).any(Option::is_some);
    charts.into_iter().flatten().filter(shows).collect()
}

fn series(arm: &str, dots: Vec<Option<Dot>>) -> Series {
    Series { arm: arm.to_owned(), name: arm.to_owned(), is_hollow: false, dots }
}

fn dot(cell: &Cell, metric: Metric) -> Option<Dot> {
    spread(cell, metric).as_ref().map(Dot::of)
}

fn percentiles(results: &Results) -> Chart {
    let shown = [(Metric::P50, "p50"), (Metric::P90, "p90"), (Metric::P99, "p99"), (Metric::P999, "p99.9")];
    let dots = |arm: &str| shown.map(|(metric, _)| base(results, arm).and_then(|cell| dot(cell, metric))).to_vec();
    Chart {
        id: "latency",
        title: "Latency at the base".to_owned(),
        x: "percentile",
        y: "latency, µs",
        note: "open loop, counted from when a request was due; bars from the lowest to the highest round".to_owned(),
        is_logarithmic: true,
        has_lines: true,
        names: shown.map(|(_, name)| name.to_owned()).to_vec(),
        series: arms(results, |arm| base(results, arm).is_some())
            .into_iter()
            .map(|arm| series(arm, dots(arm)))
            .collect(),
    }
}

fn along(results: &Results, axis: &str, metric: Metric, (id, title): (&'static str, &str)) -> Option<Chart> {
    let axis = Axis::named(axis)?;
    let points = axis.points(results);
    let cells = |arm: &str| points.iter().map(|point| axis.cell(results, arm, point)).collect::<Vec<_>>();
    let dots = |arm: &str| cells(arm).into_iter().map(|cell| cell.and_then(|cell| dot(cell, metric))).collect();
    Some(Chart {
        id,
        title: title.to_owned(),
        x: axis.column,
        y: metric.name(),
        note: "everything else as at the base; bars from the lowest to the highest round".to_owned(),
        is_logarithmic: metric != Metric::Cpu,
        has_lines: true,
        names: points.iter().map(|point| axis.label(point)).collect(),
        series: axis.arms(results).into_iter().map(|arm| series(arm, dots(arm))).collect(),
    })
}

fn refusals(results: &Results) -> Chart {
    let dots = |arm: &str| {
        let dot = |act: &str| match Bite::of(revoking(results, arm, act)?) {
            Bite::After(ms) => Some(Dot::of(&ms)),
            // Where it is at the latest.
            bite @ Bite::AtExpiry(Some(seconds)) => {
                Some(Dot { instead: Some(bite.to_string()), ..Dot::single(seconds * 1e3) })
            }
            Bite::AtExpiry(None) | Bite::Partly { .. } => None,
        };
        ACTS.map(dot).to_vec()
    };
    let is_watched = |arm: &str| ACTS.iter().any(|act| revoking(results, arm, act).is_some());
    Chart {
        id: "refusal",
        title: "From an act to its refusal".to_owned(),
        x: "act",
        y: "until refused everywhere, ms",
        note: "to the refusal on the last of the most nodes that were measured; a hollow mark stands where the token expires"
            .to_owned(),
        is_logarithmic: true,
        has_lines: false,
        names: ACTS.map(str::to_owned).to_vec(),
        series: arms(results, is_watched).into_iter().map(|arm| series(arm, dots(arm))).collect(),
    }
}

fn memory(results: &Results) -> Chart {
    let mut live: Vec<u64> = results.memory.iter().map(|row| row.live).collect();
    live.sort_unstable();
    live.dedup();
    let dots = |arm: &str, of: fn(&Memory) -> u64| {
        let at = |live: &u64| results.memory.iter().find(|row| row.arm == arm && row.live == *live);
        let dot = |live| at(live).map(of).filter(|bytes| *bytes > 0).map(|bytes| Dot::single(mib(bytes)));
        live.iter().map(dot).collect::<Vec<_>>()
    };
    let mut all = Vec::new();
    for arm in arms(results, |arm| results.memory.iter().any(|row| row.arm == arm)) {
        let named = |what: &str| format!("{arm}, {what}");
        all.push(Series { name: named("node"), ..series(arm, dots(arm, |row| row.resident_bytes)) });
        let store = dots(arm, |row| row.redis_bytes);
        if store.iter().any(Option::is_some) {
            all.push(Series { name: named("Redis"), is_hollow: true, ..series(arm, store) });
        }
    }
    Chart {
        id: "memory",
        title: "Memory against live revocations".to_owned(),
        x: "live revocations",
        y: "memory, MiB",
        note: "filled: resident size of a node's process; hollow: what Redis says that it uses".to_owned(),
        is_logarithmic: true,
        has_lines: true,
        names: live.iter().map(|live| grouped(*live)).collect(),
        series: all,
    }
}
