//! The table that sessions and JWTs are always compared by, with figures in it; and a short form of it.

use std::fmt::Write as _;

use super::{
    document::{Block, Column, Table, heading, markdown, or_dash, text},
    facts_table::{answered, counted, revoked, statuses},
    figures::{
        ACTS, Bite, Compared, EMPTY, HYBRID, Metric, arms, base, beside, figure, grouped, lifetime, nodes, ranged,
        revoking, spread,
    },
    results::{Bytes, Outage, Results, StoreUse},
};

/// Whom it compares, and as what.
const COLUMNS: [(&str, &str); 5] = [
    ("session-redis", "session in Redis"),
    ("session-sql", "session in SQL"),
    ("stateless", "stateless JWT"),
    ("redis", "JWT with a Redis blocklist"),
    (HYBRID, "Kickout (`hybrid`)"),
];

/// The table.
pub(crate) fn table(results: &Results) -> Vec<Block> {
    let mut table = Table {
        columns: std::iter::once("")
            .chain(COLUMNS.map(|(_, head)| head))
            .map(|head| Column { head: head.to_owned(), is_figure: false })
            .collect(),
        rows: Vec::new(),
    };
    let mut row = |what: &str, cell: &dyn Fn(&str) -> Option<String>| {
        table.row(std::iter::once(what.to_owned()).chain(COLUMNS.map(|(arm, _)| or_dash(cell(arm)))));
    };
    row("what decides is in", &|arm| bytes(results, arm).map(|row| row.state.clone()));
    row("client, bytes per request", &|arm| bytes(results, arm).map(|row| grouped(row.client_bytes_per_request)));
    row("server, bytes per login", &|arm| bytes(results, arm).map(kept));
    for (act, what) in ACTS.into_iter().zip(["one session taken back", "all devices of a user", "a banned user"]) {
        row(what, &|arm| {
            let row = revoking(results, arm, act)?;
            Some(format!("{}, {}", Bite::of(row), nodes(row.nodes)))
        });
    }
    row("CPU per request, µs", &|arm| spread(base(results, arm)?, Metric::Cpu).as_ref().map(ranged));
    row("latency p50 / p99, µs", &|arm| {
        let median = |metric| spread(base(results, arm)?, metric).map(|spread| figure(spread.median));
        Some(format!("{} / {}", median(Metric::P50)?, median(Metric::P99)?))
    });
    for (store, what) in [("redis", "Redis is away"), ("sql", "SQL is away")] {
        row(what, &|arm| outage(results, arm, store).map(away));
    }
    row("asked of the stores per request", &|arm| asked(results, arm));
    vec![
        heading("The old comparison table, measured"),
        text(format!(
            "Times to take back are from the act to the refusal on the last node, of as many nodes as were measured; \
             costs are at the base. {}",
            lifetime(results).unwrap_or_default()
        )),
        Block::Table(table),
    ]
}

fn bytes<'a>(results: &'a Results, arm: &str) -> Option<&'a Bytes> {
    results.bytes.iter().find(|row| row.arm == arm)
}

fn kept(row: &Bytes) -> String {
    format!(
        "{} in SQL, {} in Redis, {} in the node",
        figure(row.sql_bytes_per_login),
        figure(row.redis_bytes_per_login),
        figure(row.node_bytes_per_login)
    )
}

fn outage<'a>(results: &'a Results, arm: &str, store: &str) -> Option<&'a Outage> {
    results.outages.iter().find(|row| row.arm == arm && row.store == store)
}

fn away(row: &Outage) -> String {
    format!("valid {}; revoked {}; logout {}", statuses(&row.valid), revoked(row), answered(row.logout))
}

/// By how many nodes there are; told once if that changes nothing.
fn asked(results: &Results, arm: &str) -> Option<String> {
    let mut rows: Vec<&StoreUse> = results.store_use.iter().filter(|row| row.arm == arm).collect();
    rows.sort_by_key(|row| row.nodes);
    let mut told: Vec<(String, Vec<String>)> = Vec::new();
    for row in rows {
        let (redis, sql) = (counted(row.redis_per_request), counted(row.sql_per_request));
        let (what, on) = (format!("{redis} of Redis, {sql} of SQL"), row.nodes.to_string());
        match told.last_mut().filter(|(same, _)| *same == what) {
            Some((_, nodes)) => nodes.push(on),
            None => told.push((what, vec![on])),
        }
    }
    let told: Vec<String> = told.into_iter().map(|(what, on)| format!("{what} on {} node(s)", on.join(", "))).collect();
    (!told.is_empty()).then(|| told.join("; "))
}

/// What the README shows: at most ten lines.
pub(crate) fn short_table(results: &Results) -> String {
    let mut table = Table::new([
        "strategy",
        "#CPU per request, µs",
        "#added p99, µs",
        "#a session is taken back",
        "#stores asked per request",
        "#client bytes",
    ]);
    for arm in arms(results, |arm| arm != EMPTY && base(results, arm).is_some()).into_iter().take(8) {
        let Some(cell) = base(results, arm) else { continue };
        let added = beside(results, cell, EMPTY).and_then(|empty| Compared::difference(cell, empty, Metric::P99));
        let used = results.store_use.iter().filter(|row| row.arm == arm).max_by_key(|row| row.nodes);
        let bite = revoking(results, arm, ACTS[0]).map(|row| {
            let mut told = String::new();
            // Writing into a string does not fail.
            let _ = match Bite::of(row) {
                Bite::After(ms) => write!(told, "{} ms", figure(ms.median)),
                other => write!(told, "{other}"),
            };
            told
        });
        table.row([
            format!("`{arm}`"),
            or_dash(spread(cell, Metric::Cpu).as_ref().map(ranged)),
            or_dash(added),
            or_dash(bite),
            or_dash(used.map(|row| counted(row.redis_per_request + row.sql_per_request))),
            or_dash(bytes(results, arm).map(|row| grouped(row.client_bytes_per_request))),
        ]);
    }
    markdown(&[Block::Table(table)])
}
