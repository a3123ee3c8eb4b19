//! The table of a run, from its results.

use std::fmt::Write as _;

use super::{
    filter_crates::FilterCrates,
    report::{Report, Size},
    rounds::{Spread, Timed, float},
    speed::Ratio,
};

/// The results as Markdown.
pub(crate) fn markdown(report: &Report) -> String {
    let mut text = String::from("# Micro-benchmarks\n\n");
    // Writing into a string does not fail.
    let _ = header(&mut text, report)
        .and_then(|()| accuracy(&mut text, &report.sizes))
        .and_then(|()| memory(&mut text, &report.sizes))
        .and_then(|()| speed(&mut text, &report.sizes))
        .and_then(|()| ready(&mut text, &report.sizes))
        .and_then(|()| tokens(&mut text, report))
        .and_then(|()| revoked_keys(&mut text, &report.sizes))
        .and_then(|()| filter_crates(&mut text, &report.filter_crates));
    text
}

fn header(text: &mut String, report: &Report) -> std::fmt::Result {
    report.machine.head(text, "micro", "--table", report.took_seconds)?;
    writeln!(
        text,
        "- Seed {}; {} rounds; target {} false positives per check, design load = live revocations",
        report.plan.seed,
        report.plan.rounds,
        percent(report.plan.target)
    )?;
    writeln!(text, "- Figures are median (lowest – highest) over the rounds")
}

fn accuracy(text: &mut String, sizes: &[Size]) -> std::fmt::Result {
    writeln!(text, "\n## False positives per check\n")?;
    writeln!(text, "| live | filter | checks | found | per check | 95 % interval | by theory | of the target |")?;
    writeln!(text, "|---:|---|---:|---:|---:|---|---:|---:|")?;
    for size in sizes {
        for row in &size.accuracy {
            writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} – {} | {} | {:.2} |",
                grouped(size.entries),
                row.state.name(),
                grouped(row.checks),
                grouped(row.false_positives),
                percent(row.rate),
                percent(row.low),
                percent(row.high),
                percent(row.expected),
                row.rate / row.target
            )?;
        }
    }
    Ok(())
}

fn memory(text: &mut String, sizes: &[Size]) -> std::fmt::Result {
    writeln!(text, "\n## Bytes per live entry\n")?;
    writeln!(
        text,
        "The filter's own figure includes 64 KiB for entries that wait to be merged. Theory: 1.44 · \
         log2(1/p) bits for each entry that there is room for, p per probe. Resident: of a process that \
         holds nothing else; peak: with the copy that a merge makes.\n"
    )?;
    writeln!(text, "| live | what | theory | own | resident | peak |")?;
    writeln!(text, "|---:|---|---:|---:|---:|---:|")?;
    for size in sizes {
        for row in &size.memory {
            let theory = row.theory_bytes.map_or_else(|| "–".to_owned(), |bytes| format!("{bytes:.2}"));
            writeln!(
                text,
                "| {} | {} | {theory} | {:.2} | {:.2} | {:.2} |",
                grouped(size.entries),
                row.kind.name(),
                row.own_bytes,
                row.resident_bytes,
                row.peak_bytes
            )?;
        }
    }
    Ok(())
}

fn speed(text: &mut String, sizes: &[Size]) -> std::fmt::Result {
    writeln!(text, "\n## Nanoseconds per check\n")?;
    writeln!(
        text,
        "One thread. The exact sets are bare: no clock, no state, no metrics, no verdict. The pools of ids \
         are read by every candidate; the first line is what that alone takes. In the rounds the candidates take the \
         cache from each other, as other work does in a service; the checks of ids never seen run alone, so their \
         filter stays in the cache, and each false positive costs them a look into the ledger.\n"
    )?;
    writeln!(text, "| live | what | ns |\n|---:|---|---:|")?;
    for size in sizes {
        timed(text, size.entries, &size.timed, 1)?;
        for row in &size.first_sight {
            let (state, share) = (row.state.name(), format!("{} in {}", row.false_positives, grouped(row.checks)));
            writeln!(
                text,
                "| {} | check, {state}, miss, ids never seen ({share} looked up) | {} |",
                grouped(size.entries),
                spread(&row.ns, 1)
            )?;
        }
    }
    writeln!(text, "\n## The same as ratios, round by round\n")?;
    writeln!(text, "| live | of | to | ratio |\n|---:|---|---|---:|")?;
    for size in sizes {
        for row in &size.ratios {
            ratio(text, size.entries, row)?;
        }
    }
    Ok(())
}

fn ready(text: &mut String, sizes: &[Size]) -> std::fmt::Result {
    writeln!(text, "\n## Starting and writing\n")?;
    writeln!(
        text,
        "Time to ready: from opening the database file to answering checks, the file in the system's page \
         cache. A row is recorded with its share of a durable commit (256 rows share one), applied with its \
         share of the merges. A look is one exact answer from the ledger; its figures are over single \
         looks.\n"
    )?;
    writeln!(
        text,
        "| live | ready, ms | record, µs a row | apply, ns a row | file, bytes a row | insert, ns an entry \
         | merge, µs | look, µs |"
    )?;
    writeln!(text, "|---:|---:|---:|---:|---:|---:|---:|---:|")?;
    for size in sizes {
        let ready = Spread::of(size.ready_seconds.rounds.iter().map(|seconds| seconds * 1e3).collect());
        let recording = &size.recording;
        writeln!(
            text,
            "| {} | {} | {:.1} | {:.0} | {:.0} | {} | {} | {} |",
            grouped(size.entries),
            spread(&ready, 1),
            recording.record_us,
            recording.apply_ns,
            recording.file_bytes,
            spread(&size.insert.amortised_ns, 0),
            spread(&size.insert.merge_us, 0),
            spread(&size.look_us, 0)
        )?;
    }
    Ok(())
}

fn tokens(text: &mut String, report: &Report) -> std::fmt::Result {
    let Some(tokens) = &report.tokens else { return Ok(()) };
    writeln!(text, "\n## What revocation adds to a stateless check ({})\n", tokens.algorithm)?;
    writeln!(text, "| live | what | ns |\n|---:|---|---:|")?;
    timed(text, tokens.entries, &tokens.timed, 0)?;
    writeln!(text, "\n| live | of | to | ratio |\n|---:|---|---|---:|")?;
    tokens.ratios.iter().try_for_each(|row| ratio(text, tokens.entries, row))
}

fn revoked_keys(text: &mut String, sizes: &[Size]) -> std::fmt::Result {
    let measured = || sizes.iter().filter_map(|size| Some((size.entries, size.revoked_keys.as_ref()?)));
    if measured().next().is_none() {
        return Ok(());
    }
    writeln!(text, "\n## What revoked signing keys add to a check\n")?;
    writeln!(text, "In rounds of their own, each node with a filter of its own. No key, no look.\n")?;
    writeln!(text, "| live | what | ns |\n|---:|---|---:|")?;
    for (entries, found) in measured() {
        timed(text, entries, &found.timed, 1)?;
    }
    writeln!(text, "\n| live | of | to | ratio |\n|---:|---|---|---:|")?;
    measured().try_for_each(|(entries, found)| ratio(text, entries, &found.ratio))
}

fn filter_crates(text: &mut String, sizes: &[FilterCrates]) -> std::fmt::Result {
    if sizes.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n## What the filter's crate costs\n")?;
    writeln!(
        text,
        "The crates without the product around them; a check asks for three ids in each generation. Every filter is \
         made for the same target, each structure is behind a swapped pointer, and one thread asks. fastbloom \
         computes an id's hash once for both generations; bloomfilter cannot. Loaded: one generation with room for \
         half as much again. Two full: two generations at their design load, of which only one is still of use; the \
         hits are in the older one. The exact set holds as many entries as are live. A hit ends its check at the \
         first id; a filter is asked for all three, since the product wants to know which. Bytes are those of bits \
         and slots.\n"
    )?;
    writeln!(
        text,
        "| live | what | bytes an entry | by theory | checks | false positives | 95 % interval per check \
         | of the target |"
    )?;
    writeln!(text, "|---:|---|---:|---:|---:|---:|---|---:|")?;
    for size in sizes {
        for row in &size.kept {
            let theory = row.theory_bytes.map_or_else(|| "–".to_owned(), |bytes| format!("{bytes:.2}"));
            writeln!(
                text,
                "| {} | {} | {:.2} | {theory} | {} | {} | {} – {} | {:.2} |",
                grouped(size.entries),
                row.name,
                row.bytes,
                grouped(row.checks),
                grouped(row.false_positives),
                percent(row.low),
                percent(row.high),
                float(row.false_positives) / float(row.checks) / row.target
            )?;
        }
    }
    writeln!(text, "\nNanoseconds per check; of a build, per entry: made, filled to its design load and freed.\n")?;
    writeln!(text, "| live | what | ns |\n|---:|---|---:|")?;
    for size in sizes {
        timed(text, size.entries, &size.checks, 1)?;
        timed(text, size.entries, &size.builds, 1)?;
    }
    writeln!(text, "\n| live | of | to | ratio |\n|---:|---|---|---:|")?;
    sizes.iter().try_for_each(|size| size.ratios.iter().try_for_each(|row| ratio(text, size.entries, row)))
}

fn timed(text: &mut String, entries: u64, rows: &[Timed], digits: usize) -> std::fmt::Result {
    rows.iter()
        .try_for_each(|row| writeln!(text, "| {} | {} | {} |", grouped(entries), row.name, spread(&row.ns, digits)))
}

fn ratio(text: &mut String, entries: u64, row: &Ratio) -> std::fmt::Result {
    writeln!(text, "| {} | {} | {} | {} |", grouped(entries), row.of, row.to, spread(&row.rounds, 3))
}

fn spread(spread: &Spread, digits: usize) -> String {
    format!("{:.digits$} ({:.digits$} – {:.digits$})", spread.median, spread.low, spread.high)
}

fn percent(share: f64) -> String {
    format!("{:.4} %", share * 100.0)
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}
