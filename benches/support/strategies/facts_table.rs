//! The tables of what is no load: how soon a revocation bites, what is asked of the stores, bytes, outages, memory.

use super::{
    document::{Block, Table, heading, or_dash, text},
    figures::{Bite, figure, grouped, lifetime, mib, ranged},
    results::{Outage, Results},
};
use crate::support::rounds::Spread;

/// Every one that was measured.
pub(crate) fn tables(results: &Results) -> Vec<Block> {
    [revoking(results), store_use(results), bytes(results), outages(results), memory(results)].concat()
}

fn revoking(results: &Results) -> Vec<Block> {
    let mut table = Table::new([
        "strategy",
        "#nodes",
        "act",
        "#refused everywhere after",
        "#receipt after, ms",
        "receipt says",
        "#accepted after it",
    ]);
    for row in &results.revoking {
        let says = match (row.complete, row.in_force_after_s) {
            (true, _) => "complete".to_owned(),
            (false, Some(seconds)) => format!("in force after {} s", figure(seconds)),
            (false, None) => "not complete".to_owned(),
        };
        let receipt = (!row.receipt_ms.is_empty()).then(|| ranged(&Spread::of(row.receipt_ms.clone())));
        table.row([
            format!("`{}`", row.arm),
            row.nodes.to_string(),
            row.act.clone(),
            Bite::of(row).to_string(),
            or_dash(receipt),
            says,
            grouped(row.accepted_after_receipt),
        ]);
    }
    let words = format!(
        "From sending the act at one node to the first refusal on the last one; median (lowest – highest) over the acts. \
         *Accepted after it*: requests sent after the receipt that were let pass. {}",
        lifetime(results).unwrap_or_default()
    );
    section("From an act to its refusal", words.trim_end(), table)
}

fn store_use(results: &Results) -> Vec<Block> {
    let mut table = Table::new([
        "strategy",
        "#nodes",
        "#requests",
        "#Redis, per request",
        "#SQL, per request",
        "#Redis, idle, per second",
        "#SQL, idle, per second",
    ]);
    for row in &results.store_use {
        table.row([
            format!("`{}`", row.arm),
            row.nodes.to_string(),
            grouped(row.requests),
            counted(row.redis_per_request),
            counted(row.sql_per_request),
            figure(row.redis_idle_per_second),
            figure(row.sql_idle_per_second),
        ]);
    }
    section(
        "What is asked of the stores",
        "Commands of Redis and transactions of SQL for valid requests, as the servers count them. *Idle*: of all nodes \
         together when nobody asks, which is taken off.",
        table,
    )
}

fn bytes(results: &Results) -> Vec<Block> {
    let mut table = Table::new([
        "strategy",
        "what decides is in",
        "#client, per request",
        "#SQL, per login",
        "#Redis, per login",
        "#node, per login",
        "#logins",
    ]);
    for row in &results.bytes {
        table.row([
            format!("`{}`", row.arm),
            row.state.clone(),
            grouped(row.client_bytes_per_request),
            figure(row.sql_bytes_per_login),
            figure(row.redis_bytes_per_login),
            figure(row.node_bytes_per_login),
            grouped(row.logins),
        ]);
    }
    section("Bytes", "The client's are those of the `Cookie` header.", table)
}

fn outages(results: &Results) -> Vec<Block> {
    let mut table =
        Table::new(["strategy", "away", "valid request", "revoked before", "logout meanwhile", "revoked, store back"]);
    for row in &results.outages {
        table.row([
            format!("`{}`", row.arm),
            row.store.clone(),
            statuses(&row.valid),
            revoked(row),
            answered(row.logout),
            or_dash(row.revoked_after_return.map(answered)),
        ]);
    }
    section(
        "A store that is gone",
        "Statuses as they were seen, and from how many seconds after the store was stopped. Redis comes back empty. The \
         lease is shorter there than as shipped, so that its end is seen: `benches/support/strategies/outages.rs` says by \
         how much.",
        table,
    )
}

/// Operations per request; what is taken off for the idle time may be a little too much.
pub(crate) fn counted(operations: f64) -> String {
    figure((operations * 100.0).round().max(0.0) / 100.0)
}

/// What was answered, and since when; a status of 0 is no answer.
pub(crate) fn statuses(seen: &[(f64, u16)]) -> String {
    let mut told: Vec<String> = Vec::new();
    let mut last = None;
    for (seconds, status) in seen {
        match last {
            Some(same) if same == *status => continue,
            Some(_) => told.push(format!("{} from {} s", answered(*status), figure(*seconds))),
            None => told.push(answered(*status)),
        }
        last = Some(*status);
    }
    if told.is_empty() { "–".to_owned() } else { told.join(", ") }
}

/// One status.
pub(crate) fn answered(status: u16) -> String {
    if status == 0 { "no answer".to_owned() } else { status.to_string() }
}

/// The same of a token that was taken back; one that was let pass stands out.
pub(crate) fn revoked(row: &Outage) -> String {
    let told = statuses(&row.revoked);
    if row.revoked.iter().any(|(_, status)| (200..300).contains(status)) {
        format!("**accepted**: {told}")
    } else {
        told
    }
}

fn memory(results: &Results) -> Vec<Block> {
    let mut table = Table::new(["strategy", "#live revocations", "#node, MiB", "#Redis, MiB"]);
    for row in &results.memory {
        table.row([
            format!("`{}`", row.arm),
            grouped(row.live),
            figure(mib(row.resident_bytes)),
            figure(mib(row.redis_bytes)),
        ]);
    }
    section("Memory", "Resident size of a node's process, and what Redis says that it uses.", table)
}

fn section(title: &str, words: &str, table: Table) -> Vec<Block> {
    let shown = if table.rows.is_empty() { text("Not measured in this run.") } else { Block::Table(table) };
    vec![heading(title), text(words), shown]
}
