//! Which strategy is for whom, as far as the figures of a run tell.

use super::{
    document::{Block, heading, text},
    facts_table::{revoked, statuses},
    figures::{
        ACTS, Axis, Bite, Compared, HYBRID, Metric, Verdict, base, beside, count, figure, grouped, lifetime, mib,
        nodes, ranged, revoking, spread,
    },
    point::Point,
    results::{Bytes, Cell, Memory, Results},
};

/// A look-up that adds this much to the 99th percentile is worth a sentence, in microseconds.
const NOTICED_US: f64 = 1000.0;

/// The section.
pub(crate) fn section(results: &Results) -> Vec<Block> {
    let answers = [
        ("Is `stateless` enough?", stateless(results)),
        ("Is a plain session better?", sessions(results)),
        ("Is it enough to ask a blocklist in Redis each time?", look_up(results)),
        ("Is an exact set in memory as good as the filter?", exact(results)),
        ("What does a cache of verified tokens change?", cache(results)),
    ];
    let mut blocks = vec![
        heading("Which one should you use?"),
        text(
            "Computed from this run, on this machine; each sentence names its figures, and where they do not tell, it says \
             so. Ratios are of processor time per request, at the base if nothing else is said.",
        ),
    ];
    for (question, sentences) in answers {
        blocks.push(Block::Heading(3, question.to_owned()));
        blocks.push(Block::List(sentences));
    }
    blocks
}

fn missing(what: &str) -> String {
    format!("{what}: not measured in this run.")
}

/// An arm's figure beside ours at the base.
fn at_base(results: &Results, arm: &str, metric: Metric) -> Option<Compared> {
    Compared::ratio(base(results, arm)?, base(results, HYBRID)?, metric)
}

/// Whether one takes less or more than ours, in words.
fn takes(arm: &str, told: &Compared, where_: &str) -> String {
    let than = match told.verdict {
        Verdict::Less => "takes less processor time per request than",
        Verdict::More => "takes more processor time per request than",
        Verdict::NotResolved => {
            return format!(
                "Whether `{arm}` or `{HYBRID}` takes more processor time per request is not resolved on this machine \
                 {where_} (ratio {}).",
                told.figures()
            );
        }
    };
    format!("`{arm}` {than} `{HYBRID}` {where_} (ratio {}).", told.figures())
}

fn stateless(results: &Results) -> Vec<String> {
    let saves = at_base(results, "stateless", Metric::Cpu)
        .map_or_else(|| missing("What it saves"), |told| takes("stateless", &told, "at the base"));
    let acts = ACTS.iter().filter_map(|act| revoking(results, "stateless", act));
    let longest = acts.filter_map(|row| match Bite::of(row) {
        Bite::AtExpiry(seconds) => seconds,
        _ => None,
    });
    let waits = longest.max_by(f64::total_cmp).map_or_else(
        || missing("How long a token that was taken back is still let pass"),
        |seconds| {
            format!(
                "It is enough where a token that was taken back may be let pass until it expires: up to {} s here. {}",
                figure(seconds),
                lifetime(results).unwrap_or_default()
            )
        },
    );
    vec![saves, waits.trim_end().to_owned()]
}

fn bytes<'a>(results: &'a Results, arm: &str) -> Option<&'a Bytes> {
    results.bytes.iter().find(|row| row.arm == arm)
}

fn sessions(results: &Results) -> Vec<String> {
    let mut sentences = Vec::new();
    for arm in ["session-redis", "session-sql"] {
        let Some(cost) = at_base(results, arm, Metric::Cpu) else {
            sentences.push(missing(&format!("`{arm}`")));
            continue;
        };
        sentences.push(takes(arm, &cost, "at the base"));
        sentences.push(slower(results, arm));
        if let (Some(own), Some(theirs)) = (bytes(results, HYBRID), bytes(results, arm)) {
            let (own, theirs) = (own.client_bytes_per_request, theirs.client_bytes_per_request);
            sentences.push(format!(
                "`{arm}` sends {} bytes of cookies with each request, `{HYBRID}` {}.",
                grouped(theirs),
                grouped(own)
            ));
        }
        sentences.push(bites(results, arm));
    }
    sentences.extend(alone(results));
    sentences
}

/// Whether one node beside its store is better off with a plain session.
fn alone(results: &Results) -> Option<String> {
    let nearest = along(results, Axis::named("redis_delay")?, "session-redis").into_iter().next();
    let (point, theirs, own) = nearest.or_else(|| {
        let theirs = base(results, "session-redis")?;
        Some((&theirs.point, theirs, beside(results, theirs, HYBRID)?))
    })?;
    let cost = Compared::ratio(theirs, own, Metric::Cpu).filter(|_| point.nodes == 1)?;
    let advice = match cost.verdict {
        Verdict::Less => "a plain session is the better choice: one delete takes it back at once, and it costs less",
        Verdict::NotResolved => {
            "a plain session is as good as this run can tell, and simpler: one delete takes it back at once"
        }
        Verdict::More => "a plain session costs more; it stays the simpler choice where that does not matter",
    };
    let place = format!("With one node and {} ms more than loopback to its store", point.redis_delay_ms);
    Some(format!("{place}, {advice} (ratio {cost})."))
}

/// How soon one session's end bites, beside ours.
fn bites(results: &Results, arm: &str) -> String {
    let rows = (revoking(results, HYBRID, ACTS[0]), revoking(results, arm, ACTS[0]));
    let (Some(own), Some(theirs)) = rows else {
        return missing(&format!("How soon a logout bites with `{arm}`"));
    };
    format!(
        "A logout bites on the last of {} after {} with `{arm}`, and of {} after {} with `{HYBRID}`.",
        nodes(theirs.nodes),
        Bite::of(theirs),
        nodes(own.nodes),
        Bite::of(own)
    )
}

/// The cells of one arm and of ours along an axis, value by value.
fn along<'a>(results: &'a Results, axis: &Axis, arm: &str) -> Vec<(&'a Point, &'a Cell, &'a Cell)> {
    let both = |point: &'a Point| {
        let theirs = axis.cell(results, arm, point)?;
        Some((point, theirs, beside(results, theirs, HYBRID)?))
    };
    axis.points(results).into_iter().filter_map(both).collect()
}

/// From which distance on an arm that asks its store is slower than ours.
fn slower(results: &Results, arm: &str) -> String {
    let Some(axis) = Axis::named("redis_delay") else { return missing("The distance") };
    let added = |(point, theirs, own): (&Point, &Cell, &Cell)| {
        Some((point.redis_delay_ms, Compared::difference(theirs, own, Metric::P99)?))
    };
    let added: Vec<(f64, Compared)> = along(results, axis, arm).into_iter().filter_map(added).collect();
    let Some((farthest, last)) = added.last() else {
        return missing(&format!("What the distance to its store adds to `{arm}`"));
    };
    // The spread has to be beyond the bound here, and at every greater distance.
    let beyond = |bound: f64| {
        let is_within = |(_, told): &(f64, Compared)| told.verdict != Verdict::More || told.spread.low <= bound;
        added.get(added.iter().rposition(is_within).map_or(0, |last| last + 1))
    };
    match (beyond(NOTICED_US), beyond(0.0)) {
        (Some((delay, told)), _) => format!(
            "From {delay} ms more to the store on, a look-up per request by `{arm}` costs more than {} ms in the 99th percentile \
             beside `{HYBRID}`: {} µs more there.",
            figure(NOTICED_US / 1e3),
            told.figures()
        ),
        (None, Some((delay, told))) => format!(
            "From {delay} ms more to the store on `{arm}` is slower than `{HYBRID}` in the 99th percentile, by {} µs there; up to \
             {farthest} ms, the most that was measured, it is nowhere shown to be more than {} ms.",
            told.figures(),
            figure(NOTICED_US / 1e3)
        ),
        (None, None) => format!(
            "Whether a look-up per request by `{arm}` makes the 99th percentile worse than `{HYBRID}`'s is not resolved on \
             this machine, up to {farthest} ms more to the store ({} µs more there).",
            last.figures()
        ),
    }
}

fn look_up(results: &Results) -> Vec<String> {
    let mut sentences = vec![
        at_base(results, "redis", Metric::Cpu)
            .map_or_else(|| missing("What it costs"), |told| takes("redis", &told, "at the base")),
        slower(results, "redis"),
        bites(results, "redis"),
    ];
    for arm in ["redis", HYBRID] {
        let away = results.outages.iter().find(|row| row.arm == arm && row.store == "redis");
        sentences.push(away.map_or_else(
            || missing(&format!("`{arm}` without Redis")),
            |row| {
                format!(
                    "Without Redis `{arm}` answers a valid request with {}, and a revoked one with {}.",
                    statuses(&row.valid),
                    revoked(row)
                )
            },
        ));
    }
    sentences
}

fn exact(results: &Results) -> Vec<String> {
    let Some(axis) = Axis::named("live") else { return Vec::new() };
    let told =
        |(point, theirs, own): (&Point, &Cell, &Cell)| Some((point.live, Compared::ratio(theirs, own, Metric::Cpu)?));
    let told: Vec<(u64, Compared)> = along(results, axis, "exact").into_iter().filter_map(told).collect();
    let Some((most, _)) = told.last() else {
        return vec![missing("`exact` against live revocations"), room(results)];
    };
    let all: Vec<String> = told.iter().map(|(live, told)| format!("{}: {told}", grouped(*live))).collect();
    vec![
        format!("Processor time per request, `exact` to `{HYBRID}`, by live revocations: {}.", all.join("; ")),
        crossover(&told, *most),
        room(results),
    ]
}

/// From how many live revocations on the exact set costs more; only where it then stays so.
fn crossover(told: &[(u64, Compared)], most: u64) -> String {
    let is = |verdict| move |(_, told): &&(u64, Compared)| told.verdict == verdict;
    let named =
        |verdict| told.iter().filter(is(verdict)).map(|(live, _)| grouped(*live)).collect::<Vec<_>>().join(", ");
    let (more, less) = (named(Verdict::More), named(Verdict::Less));
    let saves = if less.is_empty() { String::new() } else { format!(" It costs less with {less}.") };
    let from = told.iter().rposition(|(_, told)| told.verdict != Verdict::More).map_or(0, |last| last + 1);
    match (told.get(from), from) {
        (Some(_), 0) => "It costs more with every number of live revocations that was measured.".to_owned(),
        (Some((live, _)), _) => format!(
            "From {} live revocations on it costs more; up to {} it does not, as far as is resolved.{saves}",
            grouped(*live),
            grouped(told[from - 1].0)
        ),
        (None, _) if !more.is_empty() => format!(
            "It costs more with {more}, and yet not with the most: a number from which on it does is not resolved on this \
             machine.{saves}"
        ),
        (None, _) if !less.is_empty() => {
            format!("Up to {}, the most that was measured, it is nowhere shown to cost more.{saves}", grouped(most))
        }
        (None, _) => format!(
            "No difference is resolved on this machine up to {} live revocations, the most that was measured.",
            grouped(most)
        ),
    }
}

/// What each one's memory is with the most that both were given.
fn room(results: &Results) -> String {
    let of = |arm: &str, live: u64| results.memory.iter().find(|row| row.arm == arm && row.live == live);
    let mut sizes: Vec<u64> = results.memory.iter().filter(|row| row.arm == "exact").map(|row| row.live).collect();
    sizes.sort_unstable();
    let both = |live: u64| Some((live, of("exact", live)?, of(HYBRID, live)?));
    let Some((live, theirs, own)) = sizes.iter().rev().copied().find_map(both) else {
        return missing("Memory of both");
    };
    let entry = |arm: &str, full: &Memory| {
        let bare = of(arm, 0)?;
        (live > 0).then(|| (count(full.resident_bytes) - count(bare.resident_bytes)) / count(live))
    };
    let each = entry("exact", theirs).zip(entry(HYBRID, own)).map_or_else(String::new, |(theirs, own)| {
        format!(", {} and {} bytes for each revocation over a node without any", figure(theirs), figure(own))
    });
    format!(
        "With {} live revocations a node with `exact` holds {} MiB, and with `{HYBRID}` {} MiB{each}.",
        grouped(live),
        figure(mib(theirs.resident_bytes)),
        figure(mib(own.resident_bytes))
    )
}

fn cache(results: &Results) -> Vec<String> {
    let told = Axis::named("cache").and_then(|axis| {
        let points = axis.points(results);
        let cell = |point: &&Point| axis.cell(results, HYBRID, point);
        let (first, last) = (points.first()?, points.last()?);
        let (cold, warm) = (spread(cell(first)?, Metric::Cpu)?, spread(cell(last)?, Metric::Cpu)?);
        if axis.label(first) == axis.label(last) {
            return None;
        }
        let apart = if warm.high < cold.low || warm.low > cold.high {
            "the spreads do not overlap"
        } else {
            "the spreads overlap, so a difference is not resolved on this machine"
        };
        Some(format!(
            "With {} of requests verified lately `{HYBRID}` takes {} µs of processor time per request, with {} {} µs; they \
             were not measured in the same rounds, and {apart}.",
            axis.label(first),
            ranged(&cold),
            axis.label(last),
            ranged(&warm)
        ))
    });
    vec![told.unwrap_or_else(|| missing("The share of tokens verified lately"))]
}
