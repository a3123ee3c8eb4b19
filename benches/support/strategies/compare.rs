//! Two runs beside each other.

use std::path::Path;

use super::{
    document::{Block, Table, markdown, text},
    figures::{Axis, Metric, ranged, spread},
    report,
    results::{Cell, Results},
};
use crate::Failure;

/// What has changed from one file of results to another, as text.
pub(crate) fn compare(a: &Path, b: &Path) -> Result<String, Failure> {
    Ok(compared(&report::load(a)?, &report::load(b)?))
}

/// The same of results.
pub(crate) fn compared(a: &Results, b: &Results) -> String {
    let mut blocks = vec![Block::Heading(1, "Two runs of the comparison".to_owned())];
    let differences = differences(a, b);
    if differences.is_empty() {
        blocks.push(text("Machine, commit, versions and plan are the same."));
    } else {
        blocks.push(text("**They differ in more than their figures**; what follows compares all of that at once:"));
        blocks.push(Block::List(differences));
    }
    blocks.push(text(
        "Ratio of the medians, the second run to the first. Runs are not interleaved: a spread that does not overlap says \
         that something has changed, and the machine's hour is something.",
    ));
    let cells = cells(a, b);
    blocks.push(if cells.rows.is_empty() { text("They have no cell in common.") } else { Block::Table(cells) });
    blocks.extend(only(a, b));
    markdown(&blocks)
}

fn differences(a: &Results, b: &Results) -> Vec<String> {
    let (one, other) = (&a.machine, &b.machine);
    let plan = |results: &Results| {
        let plan = &results.plan;
        [
            ("rounds", plan.rounds.to_string()),
            ("window, s", plan.window_seconds.to_string()),
            ("open rate, requests per second", plan.open_rate.to_string()),
            ("connections", plan.connections.to_string()),
            ("users", plan.users.to_string()),
            ("devices per user", plan.devices_per_user.to_string()),
            ("Zipf exponent", plan.zipf_exponent.to_string()),
            ("pinning", plan.pinning.clone()),
            ("seed", results.seed.to_string()),
        ]
    };
    let mut all = vec![
        ("commit".to_owned(), one.commit.clone(), other.commit.clone()),
        ("processor".to_owned(), one.cpu.clone(), other.cpu.clone()),
        ("cores".to_owned(), one.cores.to_string(), other.cores.to_string()),
        ("L2".to_owned(), one.l2_cache.clone(), other.l2_cache.clone()),
        ("Linux".to_owned(), one.kernel.clone(), other.kernel.clone()),
        ("compiler".to_owned(), one.rustc.clone(), other.rustc.clone()),
        ("optimised".to_owned(), one.is_optimised.to_string(), other.is_optimised.to_string()),
        ("PostgreSQL".to_owned(), a.postgres.clone(), b.postgres.clone()),
        ("Redis".to_owned(), a.redis.clone(), b.redis.clone()),
    ];
    let mut names: Vec<&String> = one.crates.keys().chain(other.crates.keys()).collect();
    names.sort();
    names.dedup();
    let version = |of: &std::collections::BTreeMap<String, String>, name: &str| {
        of.get(name).cloned().unwrap_or_else(|| "none".to_owned())
    };
    all.extend(names.into_iter().map(|name| (name.clone(), version(&one.crates, name), version(&other.crates, name))));
    let plans = plan(a).into_iter().zip(plan(b));
    all.extend(plans.map(|((name, one), (_, other))| (name.to_owned(), one, other)));
    for arm in &a.arms {
        let Some(same) = b.arms.iter().find(|same| same.name == arm.name) else { continue };
        all.push((format!("`{}`", arm.name), arm.configuration.join(", "), same.configuration.join(", ")));
    }
    let differ = all.into_iter().filter(|(_, one, other)| one != other);
    differ.map(|(what, one, other)| format!("{what}: {one} → {other}")).collect()
}

/// The same arm at the same point of the same axis.
fn counterpart<'a>(results: &'a Results, cell: &Cell) -> Option<&'a Cell> {
    let same = |other: &&Cell| other.arm == cell.arm && other.axis == cell.axis && other.point == cell.point;
    results.load.iter().find(same)
}

/// By what a cell is called.
fn place(cell: &Cell) -> String {
    Axis::named(&cell.axis)
        .map_or_else(|| cell.axis.clone(), |axis| format!("{} {}", axis.short, axis.label(&cell.point)))
}

fn cells(a: &Results, b: &Results) -> Table {
    let mut table = Table::new(["where", "strategy", "figure", "#first", "#second", "#ratio", "spreads"]);
    for one in &a.load {
        let Some(other) = counterpart(b, one) else { continue };
        for metric in [Metric::Cpu, Metric::P50, Metric::P99, Metric::Capacity] {
            let (Some(first), Some(second)) = (spread(one, metric), spread(other, metric)) else { continue };
            let is_apart = first.high < second.low || second.high < first.low;
            table.row([
                place(one),
                format!("`{}`", one.arm),
                metric.name().to_owned(),
                ranged(&first),
                ranged(&second),
                ratio(first.median, second.median),
                if is_apart { "**apart**".to_owned() } else { "overlap".to_owned() },
            ]);
        }
    }
    table
}

fn ratio(first: f64, second: f64) -> String {
    let ratio = second / first;
    if ratio.is_finite() { format!("{ratio:.3}") } else { "–".to_owned() }
}

/// What only one of them has.
fn only(a: &Results, b: &Results) -> Option<Block> {
    let missing = |of: &Results, than: &Results, which: &str| {
        let cells = of.load.iter().filter(|cell| counterpart(than, cell).is_none());
        cells.map(|cell| format!("only in the {which}: `{}`, {}", cell.arm, place(cell))).collect::<Vec<_>>()
    };
    let all = [missing(a, b, "first"), missing(b, a, "second")].concat();
    (!all.is_empty()).then_some(Block::List(all))
}
