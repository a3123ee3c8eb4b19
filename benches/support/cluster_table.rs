//! The tables of a run, from its results.

use std::fmt::{Result, Write as _};

use super::{cluster_report::Report, latencies::Percentiles, profile::Profile, rounds::Spread};

/// The results as Markdown.
pub(crate) fn markdown(report: &Report) -> String {
    let mut text = String::from("# A cluster on one PostgreSQL\n\n");
    // Writing into a string does not fail.
    let _ = header(&mut text, report)
        .and_then(|()| aims(&mut text, report))
        .and_then(|()| propagation(&mut text, report))
        .and_then(|()| capacity(&mut text, report))
        .and_then(|()| bulk(&mut text, report))
        .and_then(|()| bounds(&mut text, report))
        .and_then(|()| ready(&mut text, report))
        .and_then(|()| report.profiles.iter().try_for_each(|profile| where_time_goes(&mut text, profile)));
    text
}

fn header(text: &mut String, report: &Report) -> Result {
    let servers = &report.servers;
    report.machine.head(text, "cluster", "--table", report.took_seconds)?;
    let redis = servers.redis.as_deref().unwrap_or("none");
    writeln!(
        text,
        "- PostgreSQL {} as shipped (fsync on) but for {}, its files on {}; Redis {redis}; all of it on this one \
         machine, over loopback",
        servers.postgresql,
        servers.postgresql_settings.join(", "),
        servers.file_system
    )?;
    writeln!(
        text,
        "- {} rounds, windows of {:.1} s; the nodes' settings are those that are shipped",
        report.plan.rounds, report.plan.window_seconds
    )?;
    writeln!(
        text,
        "- Spreads are median (lowest – highest) over the rounds; percentiles are over all rounds together"
    )?;
    report.missing.iter().try_for_each(|what| writeln!(text, "- Not measured: {what}"))
}

fn aims(text: &mut String, report: &Report) -> Result {
    writeln!(text, "\n## Aims\n\n| what | aim | found | |\n|---|---:|---:|---|")?;
    for aim in report.aims() {
        let verdict = if aim.is_met { "met" } else { "**missed**" };
        writeln!(text, "| {} | {} | {} | {verdict} |", aim.what, aim.wanted, aim.found)?;
    }
    Ok(())
}

fn propagation(text: &mut String, report: &Report) -> Result {
    writeln!(
        text,
        "\n## One logout at a time\n\nMilliseconds: p50 / p90 / p99 / max. *Commit*: from the call to the acknowledged \
         commit. *Applied*: from there until another node has applied it, each other node counted; nodes are looked at \
         every 0.1 ms. *Receipt*: from the call to the complete receipt. With `pull` every push is lost.\n"
    )?;
    writeln!(text, "| nodes | with | logouts | commit | applied elsewhere | receipt | receipt's p50 by rounds |")?;
    writeln!(text, "|---:|---|---:|---:|---:|---:|---:|")?;
    for row in &report.propagation {
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} |",
            row.nodes,
            row.with.name(),
            row.receipt_ms.count,
            percentiles(&row.commit_ms),
            row.applied_ms.as_ref().map_or_else(|| "–".to_owned(), percentiles),
            percentiles(&row.receipt_ms),
            spread(&row.receipt_p50_ms, 1)
        )?;
    }
    Ok(())
}

fn capacity(text: &mut String, report: &Report) -> Result {
    writeln!(
        text,
        "\n## Many logouts at once\n\nA closed loop; complete receipts only. Processor time per logout: of the nodes \
         and the callers, which are one process here; of PostgreSQL; of Redis.\n"
    )?;
    writeln!(
        text,
        "| nodes | with | at once | per second | receipt, ms: p50 / p90 / p99 / max | nodes, µs | PostgreSQL, µs | Redis, µs |"
    )?;
    writeln!(text, "|---:|---|---:|---:|---:|---:|---:|---:|")?;
    for row in &report.capacity {
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            row.nodes,
            row.with.name(),
            row.concurrency,
            spread(&row.per_second, 0),
            percentiles(&row.receipt_ms),
            spread(&row.process_us, 0),
            spread(&row.postgres_us, 0),
            row.redis_us.as_ref().map_or_else(|| "–".to_owned(), |us| spread(us, 0))
        )?;
    }
    Ok(())
}

fn bounds(text: &mut String, report: &Report) -> Result {
    let bounds = &report.bounds;
    writeln!(text, "\n## What bounds them\n\n| what | |\n|---|---:|")?;
    writeln!(
        text,
        "| commits of one row, one after the other on one connection, per second | {} |",
        spread(&bounds.commits_per_second, 0)
    )?;
    writeln!(text, "| such a commit, ms: p50 / p90 / p99 / max | {} |", percentiles(&bounds.commit_ms))?;
    writeln!(text, "| turns of callers that call nothing, per second | {} |", spread(&bounds.idle_turns_per_second, 0))
}

fn bulk(text: &mut String, report: &Report) -> Result {
    writeln!(text, "\n## Many ids in one call\n\nFrom the call to its complete receipt.\n")?;
    writeln!(text, "| nodes | with | ids | seconds | ids per second |\n|---:|---|---:|---:|---:|")?;
    for row in &report.bulk {
        let (seconds, rate) = (spread(&row.seconds, 2), spread(&row.per_second, 0));
        writeln!(text, "| {} | {} | {} | {seconds} | {rate} |", row.nodes, row.with.name(), row.ids)?;
    }
    Ok(())
}

fn ready(text: &mut String, report: &Report) -> Result {
    writeln!(
        text,
        "\n## From start to ready\n\nMilliseconds. *Open*: from opening the database to everything put together. \
         *Ready*: from there to the first answer. The database's files are in the system's page cache.\n"
    )?;
    writeln!(text, "| database | live | open | ready |\n|---|---:|---:|---:|")?;
    for row in &report.ready {
        let (open, ready) = (spread(&row.open_ms, 0), spread(&row.load_ms, 0));
        writeln!(text, "| {} | {} | {open} | {ready} |", row.database.name(), row.rows)?;
    }
    Ok(())
}

fn where_time_goes(text: &mut String, profile: &Profile) -> Result {
    writeln!(
        text,
        "\n## Where the time goes, {} at once with {}\n\nOne window of {} logouts on a server that counts its \
         statements, which costs some of the throughput: {:.2} statements per logout, each a way there and back. \
         Times are the server's own, without parsing, planning and that way.\n",
        profile.concurrency,
        profile.with.name(),
        profile.logouts,
        profile.calls_per_logout
    )?;
    writeln!(text, "| statement | per logout | µs each | µs per logout |\n|---|---:|---:|---:|")?;
    for row in &profile.statements {
        let statement = row.text.replace('|', "\\|");
        writeln!(
            text,
            "| `{statement}` | {:.3} | {:.1} | {:.1} |",
            row.calls_per_logout, row.mean_us, row.us_per_logout
        )?;
    }
    writeln!(text, "\n| the nodes' connections that are not idle | at a time |\n|---|---:|")?;
    profile.waits.iter().try_for_each(|wait| writeln!(text, "| {} | {:.2} |", wait.what, wait.connections))
}

fn spread(spread: &Spread, digits: usize) -> String {
    format!("{:.digits$} ({:.digits$} – {:.digits$})", spread.median, spread.low, spread.high)
}

fn percentiles(of: &Percentiles) -> String {
    format!("{:.1} / {:.1} / {:.1} / {:.1}", of.p50, of.p90, of.p99, of.max)
}
