//! Checks of the way from results to every output, with made-up results: a benchmark has no tests of its own.

use super::{
    compare::compared,
    figures::{ARMS, AXES, Compared, EMPTY, HYBRID, MIN_ROUNDS, Metric, figure},
    losses::{Comparison, Outcome, comparisons},
    old,
    report::{as_html, as_markdown, parse},
    results::{Cell, Results},
    sample::sample,
};
use crate::Failure;

/// All of them; the first that fails is told.
pub(crate) fn self_check() -> Result<(), Failure> {
    let results = parse(&serde_json::to_string(&sample())?)?;
    let (words, page) = (as_markdown(&results), as_html(&results)?);
    complete(&words, &page)?;
    alone(&page)?;
    figures_only(&words, &page)?;
    verdicts(&results, &words)?;
    forms(&results)?;
    losses(&results)?;
    comparing(&results)?;
    holes(&results)
}

/// Whether a run that has just been made can be read and told.
pub(crate) fn readable(results: &Results) -> Result<(), Failure> {
    let again = parse(&serde_json::to_string(results)?)?;
    let (words, page) = (as_markdown(&again), as_html(&again)?);
    alone(&page)?;
    figures_only(&words, &page)?;
    let told = |cell: &Cell| words.contains(&format!("`{}`", cell.arm));
    ensure(again.load.iter().all(told), "somebody who was measured is not told")
}

fn ensure(holds: bool, what: &str) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(format!("the report is wrong: {what}").into()) }
}

/// Everybody, every axis, every plot, every section.
fn complete(words: &str, page: &str) -> Result<(), Failure> {
    for arm in ARMS {
        ensure(words.contains(&format!("| `{arm}` |")), &format!("{arm} is in no table"))?;
        ensure(page.contains(&format!("<td><code>{arm}</code></td>")), &format!("{arm} is in no table of the page"))?;
        ensure(page.contains(&format!("</svg>{arm}</li>")), &format!("{arm} is in no legend"))?;
    }
    for axis in &AXES {
        ensure(words.contains(&format!("\n### {}\n", axis.title)), &format!("the axis {} is missing", axis.name))?;
    }
    for id in ["latency", "cpu-live", "cpu-distance", "p99-distance", "refusal", "memory"] {
        let Some((_, after)) = page.split_once(&format!("<figure id=\"{id}\">")) else {
            return ensure(false, &format!("the plot {id} is missing"));
        };
        let figure = after.split("</figure>").next().unwrap_or_default();
        for part in ["<h3>", "role=\"img\" aria-label=\"", "class=\"legend\"", "<text", "<table>", "viewBox"] {
            ensure(figure.contains(part), &format!("the plot {id} has no {part}"))?;
        }
    }
    let (refusal, _) = page.split_once("<figure id=\"memory\">").unwrap_or_default();
    let (_, refusal) = refusal.split_once("<figure id=\"refusal\">").unwrap_or_default();
    ensure(refusal.contains(">\nuntil expiry\n<"), "the drawing does not say until expiry")?;
    for section in [
        "The old comparison table, measured",
        "Which one should you use?",
        "Where Kickout loses",
        "At the base",
        "What rivals could be given",
        "From an act to its refusal",
        "What is asked of the stores",
        "Bytes",
        "A store that is gone",
        "Memory",
        "Who was measured",
    ] {
        ensure(words.contains(&format!("\n## {section}\n")), &format!("the section {section} is missing"))?;
    }
    for text in [words, page] {
        ensure(text.contains("until expiry: 900 s"), "a token that lives until it expires is not told")?;
        ensure(!text.contains("ot measured in this run"), "something that was measured is told as missing")?;
    }
    ensure(page.contains("&lt;warn&gt; &amp; &quot;more&quot;") && !page.contains("<warn>"), "the page is not escaped")
}

/// The page asks nobody for anything.
fn alone(page: &str) -> Result<(), Failure> {
    for outside in ["http:", "https:", "//", "src=", "href=", "url(", "@import", "<script", "<link", "<iframe"] {
        ensure(!page.contains(outside), &format!("the page has {outside}"))?;
    }
    Ok(())
}

/// No value that is none.
fn figures_only(words: &str, page: &str) -> Result<(), Failure> {
    for text in [words, page] {
        let mut pieces = text.split(|c: char| !c.is_ascii_alphanumeric());
        ensure(!pieces.any(|piece| matches!(piece, "NaN" | "inf" | "Infinity")), "it has a figure that is none")?;
    }
    Ok(())
}

/// The line of a table that begins with these cells, in a section.
fn line<'a>(words: &'a str, section: &str, begins: &str) -> Option<&'a str> {
    let (_, after) = words.split_once(&format!("\n## {section}\n"))?;
    after.lines().find(|line| line.starts_with(begins))
}

/// A spread on both sides is not resolved, one on one side is, and too few rounds never are.
fn verdicts(results: &Results, words: &str) -> Result<(), Failure> {
    let row = |words: &str, arm: &str| {
        let line = line(words, "At the base", &format!("| `{arm}` |")).unwrap_or_default().to_owned();
        line.split(" | ").nth(2).unwrap_or_default().to_owned()
    };
    ensure(row(words, HYBRID).ends_with("not resolved"), "a ratio on both sides of 1 is told as resolved")?;
    ensure(row(words, "redis").starts_with("1.532 (1.532 – 1.532)"), "a ratio is not that of its figures")?;
    ensure(!row(words, "redis").contains("not resolved"), "a ratio on one side of 1 is told as not resolved")?;
    ensure(words.contains("not resolved on this machine"), "no legend")?;
    let mut few = results.clone();
    few.load.iter_mut().for_each(|cell| cell.rounds.truncate(MIN_ROUNDS - 1));
    ensure(row(&as_markdown(&few), "redis").ends_with("not resolved"), "too few rounds are told as resolved")
}

/// Another form is refused, and says so; what is no figure cannot be kept.
fn forms(results: &Results) -> Result<(), Failure> {
    let mut other = serde_json::to_value(results)?;
    other["schema"] = 99.into();
    let refused = parse(&other.to_string()).err().map(|error| error.to_string()).unwrap_or_default();
    ensure(refused.contains("form 99") && refused.contains("form 1"), "an unknown form is not refused")?;
    ensure(parse("{}").is_err() && parse("[").is_err(), "what is no result is not refused")?;
    let mut none = results.clone();
    none.took_seconds = f64::NAN;
    ensure(parse(&serde_json::to_string(&none)?).is_err(), "a figure that is none is read")
}

/// Who is faster than ours is told, and who is not, is not.
fn losses(results: &Results) -> Result<(), Failure> {
    let cost = |results: &Results, rival: &str| -> Option<Outcome> {
        let meant =
            |one: &Comparison| one.rival == rival && one.axis == "base" && one.what.starts_with("CPU per request");
        comparisons(results).into_iter().find(meant).map(|one| one.outcome)
    };
    ensure(cost(results, "exact") == Some(Outcome::Lost), "a faster exact set is no loss")?;
    ensure(cost(results, "redis") == Some(Outcome::Won), "a slower look-up is no win")?;
    ensure(
        cost(results, "stateless") == Some(Outcome::NotResolved),
        "what is not resolved is told as a win or a loss",
    )?;
    ensure(cost(results, EMPTY).is_none(), "the empty handler is told as a rival")?;
    let lost = |results: &Results| {
        line(&as_markdown(results), "Where Kickout loses", "| CPU per request, µs | `exact` | base;").is_some()
    };
    let words = as_markdown(results);
    ensure(words.contains("From 10 000 000 live revocations on it costs more"), "the crossover is not told")?;
    ensure(lost(results), "a faster exact set is not in the list of losses")?;
    let mut slower = results.clone();
    for round in slower.load.iter_mut().filter(|cell| cell.arm == "exact").flat_map(|cell| &mut cell.rounds) {
        round.cpu_us *= 3.0;
    }
    ensure(!lost(&slower), "a slower exact set is in the list of losses")?;
    let words = as_markdown(&slower);
    ensure(
        words.contains("It costs more with every number of live revocations"),
        "advice does not follow the figures",
    )?;
    let short = old::short_table(results);
    ensure(short.lines().count() <= 10, "the short table is not short")?;
    ensure(ARMS[..7].iter().all(|arm| short.contains(&format!("`{arm}`"))), "somebody is not in the short table")
}

/// Two runs beside each other.
fn comparing(results: &Results) -> Result<(), Failure> {
    let same = compared(results, results);
    ensure(same.contains("plan are the same") && !same.contains("apart**"), "a run differs from itself")?;
    let mut other = results.clone();
    "f00d".clone_into(&mut other.machine.commit);
    other.plan.rounds += 1;
    other.load.pop();
    for round in other.load.iter_mut().take(1).flat_map(|cell| &mut cell.rounds) {
        round.cpu_us *= 2.0;
    }
    let told = compared(results, &other);
    let (head, cells) = told.split_once("| where |").unwrap_or_default();
    ensure(head.contains("→ f00d") && head.contains("rounds: 5 → 6"), "differences are not told first")?;
    ensure(cells.contains("| 2.000 | **apart** |"), "a doubled figure is not told")?;
    ensure(cells.contains("only in the first"), "a cell of one run only is not told")
}

/// A run that has measured less still has a report, and says what is missing.
fn holes(results: &Results) -> Result<(), Failure> {
    let mut few = results.clone();
    few.load.retain(|cell| cell.axis == "base" && cell.arm != EMPTY);
    few.store_use.clear();
    few.memory.clear();
    for round in few.load.iter_mut().flat_map(|cell| &mut cell.rounds) {
        round.cpu_us = 0.0;
        round.closed = None;
    }
    figures_only(&as_markdown(&few), &as_html(&few)?)?;
    let nothing = few.load.first().and_then(|cell| Compared::ratio(cell, cell, Metric::Cpu));
    ensure(nothing.is_none(), "nothing is told as a ratio to nothing")?;
    ensure(figure(f64::NAN) == "–" && figure(f64::INFINITY) == "–", "a figure that is none is told")?;
    let mut none = results.clone();
    none.load.clear();
    none.sweep.clear();
    none.revoking.clear();
    none.bytes.clear();
    none.outages.clear();
    for results in [&few, &none] {
        let words = as_markdown(results);
        ensure(words.contains("ot measured in this run"), "what is missing is not told")?;
        figures_only(&words, &as_html(results)?)?;
    }
    Ok(())
}
