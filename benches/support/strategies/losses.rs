//! Where Kickout loses, where it wins, and where neither can be told: every figure that it has in common with a rival.

use super::{
    document::{Block, Table, heading, text},
    figures::{
        ASKING, AXES, Bite, Compared, EMPTY, HYBRID, MIN_ROUNDS, Metric, Verdict, arms, base, beside, count, figure,
        grouped, mib, nodes, spread,
    },
    results::{Results, Revoking},
};
use crate::support::rounds::Spread;

/// One figure of ours beside one of a rival.
#[derive(Debug, Clone)]
pub(crate) struct Comparison {
    pub(crate) what: String,
    /// Where it was measured: on which axis, and there.
    pub(crate) axis: String,
    pub(crate) value: String,
    pub(crate) rival: String,
    /// Ours, and the rival's.
    pub(crate) told: String,
    /// How far the rival's is from ours, whichever way; only to find the farthest of one kind.
    apart: f64,
    pub(crate) outcome: Outcome,
}

/// Who is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Our whole spread.
    Won,
    /// The rival's whole spread.
    Lost,
    Same,
    NotResolved,
}

/// A single measurement of a size is no spread; less than this share apart is the same.
const SAME: f64 = 0.05;

/// Less than this apart, of operations, is what counting adds.
const SAME_OPERATIONS: f64 = 0.01;

/// The lists.
pub(crate) fn sections(results: &Results) -> Vec<Block> {
    let all = comparisons(results);
    let lost: Vec<&Comparison> = all.iter().filter(|one| one.outcome == Outcome::Lost).collect();
    let mut blocks = vec![
        heading("Where Kickout loses"),
        text(
            "Every figure of this run in which the whole spread of another strategy is better than that of `hybrid`; ratios \
             are the rival's figure to ours, round by round. Sizes and operations were measured once each, and stand here if \
             they are clearly apart. The empty handler is no rival.",
        ),
    ];
    blocks.push(if lost.is_empty() { text("Nowhere in this run.") } else { Block::Table(listed(&lost)) });
    blocks.push(text("All figures that `hybrid` has in common with each rival:"));
    blocks.push(Block::Table(score(&all)));
    blocks
}

/// A row for each figure and rival: all places where it lost, and the worst of them.
fn listed(lost: &[&Comparison]) -> Table {
    let mut table = Table::new(["figure", "better", "where", "by how much at the most: ours, theirs"]);
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for one in lost {
        let row = (one.what.as_str(), one.rival.as_str());
        if seen.contains(&row) {
            continue;
        }
        seen.push(row);
        let alike: Vec<&&Comparison> =
            lost.iter().filter(|other| (other.what.as_str(), other.rival.as_str()) == row).collect();
        let worst = alike.iter().max_by(|a, b| a.apart.total_cmp(&b.apart));
        let told = worst.map_or_else(String::new, |worst| format!("{}: {}", worst.at(), worst.told));
        table.row([one.what.clone(), format!("`{}`", one.rival), places(&alike), told]);
    }
    table
}

/// Each axis once, with its values.
fn places(alike: &[&&Comparison]) -> String {
    let mut told: Vec<String> = Vec::new();
    let mut last = "";
    for one in alike {
        match told.last_mut().filter(|_| one.axis == last) {
            Some(place) => {
                place.push_str(", ");
                place.push_str(&one.value);
            }
            None => told.push(one.at()),
        }
        last = &one.axis;
    }
    told.join("; ")
}

impl Comparison {
    fn at(&self) -> String {
        format!("{} {}", self.axis, self.value).trim().to_owned()
    }
}

fn score(all: &[Comparison]) -> Table {
    let mut table =
        Table::new(["beside", "#`hybrid` better", "#`hybrid` worse", "#the same", "#not resolved on this machine"]);
    let mut rivals: Vec<&str> = Vec::new();
    for one in all {
        if !rivals.contains(&one.rival.as_str()) {
            rivals.push(&one.rival);
        }
    }
    for rival in rivals {
        let of = |outcome| all.iter().filter(|one| one.rival == rival && one.outcome == outcome).count().to_string();
        table.row([
            format!("`{rival}`"),
            of(Outcome::Won),
            of(Outcome::Lost),
            of(Outcome::Same),
            of(Outcome::NotResolved),
        ]);
    }
    table
}

/// All of them.
pub(crate) fn comparisons(results: &Results) -> Vec<Comparison> {
    let rivals = || arms(results, |arm| arm != HYBRID && arm != EMPTY);
    let mut all = Vec::new();
    for rival in rivals() {
        load(&mut all, results, rival);
        revoking(&mut all, results, rival);
        store_use(&mut all, results, rival);
        bytes(&mut all, results, rival);
        outages(&mut all, results, rival);
        memory(&mut all, results, rival);
    }
    all
}

fn load(all: &mut Vec<Comparison>, results: &Results, rival: &str) {
    let on_axes = AXES.iter().flat_map(|axis| {
        let own = results.load.iter().filter(|cell| cell.axis == axis.name && cell.arm == HYBRID);
        own.map(move |cell| (axis.short, axis.label(&cell.point), cell))
    });
    let at_base = base(results, HYBRID).map(|cell| ("base", String::new(), cell));
    for (axis, value, ours) in at_base.into_iter().chain(on_axes) {
        let Some(theirs) = beside(results, ours, rival) else { continue };
        // What makes the distance shares a core with the generator: they would be told apart by that.
        let is_bounded = ours.point.redis_delay_ms > 0.0 && ASKING.contains(&rival);
        for metric in Metric::ALL.into_iter().filter(|metric| *metric != Metric::Capacity || !is_bounded) {
            let figures = (spread(ours, metric), spread(theirs, metric), Compared::ratio(theirs, ours, metric));
            let (Some(own), Some(other), Some(ratio)) = figures else { continue };
            let outcome = match (ratio.verdict, metric.is_better_when_more()) {
                (Verdict::NotResolved, _) => Outcome::NotResolved,
                (Verdict::Less, false) | (Verdict::More, true) => Outcome::Lost,
                (Verdict::More, false) | (Verdict::Less, true) => Outcome::Won,
            };
            all.push(Comparison {
                what: metric.name().to_owned(),
                axis: axis.to_owned(),
                value: value.clone(),
                rival: rival.to_owned(),
                told: format!("{}, {}; ratio {ratio}", figure(own.median), figure(other.median)),
                apart: ratio.spread.median.ln().abs(),
                outcome,
            });
        }
    }
}

fn revoking(all: &mut Vec<Comparison>, results: &Results, rival: &str) {
    for ours in results.revoking.iter().filter(|row| row.arm == HYBRID) {
        let mut theirs = results.revoking.iter().filter(|row| row.arm == rival && row.nodes == ours.nodes);
        let Some(theirs) = theirs.find(|row| row.act == ours.act) else { continue };
        let mut push = |what: &str, own: &Bite, other: &Bite| {
            let (outcome, apart) = sooner(own, other);
            all.push(Comparison {
                what: what.to_owned(),
                axis: ours.act.clone(),
                value: format!("on {}", nodes(ours.nodes)),
                rival: rival.to_owned(),
                told: format!("{own}, {other}"),
                apart,
                outcome,
            });
        };
        push("time until a revocation bites", &Bite::of(ours), &Bite::of(theirs));
        // A receipt that promises nothing is no better for being there sooner.
        if ours.complete && theirs.complete && !ours.receipt_ms.is_empty() && !theirs.receipt_ms.is_empty() {
            let receipt = |row: &Revoking| Bite::After(Spread::of(row.receipt_ms.clone()));
            push("time until a complete receipt", &receipt(ours), &receipt(theirs));
        }
    }
}

/// Whose whole spread is sooner, and by what factor. These are no rounds, so nothing is paired.
fn sooner(own: &Bite, other: &Bite) -> (Outcome, f64) {
    let (Bite::After(own), Bite::After(other)) = (own, other) else {
        return match (own, other) {
            (Bite::After(_), _) => (Outcome::Won, f64::INFINITY),
            (_, Bite::After(_)) => (Outcome::Lost, f64::INFINITY),
            _ => (Outcome::Same, 0.0),
        };
    };
    let outcome = match own.rounds.len().min(other.rounds.len()) {
        few if few < MIN_ROUNDS => Outcome::NotResolved,
        _ if other.high < own.low => Outcome::Lost,
        _ if other.low > own.high => Outcome::Won,
        _ => Outcome::NotResolved,
    };
    (outcome, (other.median / own.median).ln().abs())
}

/// Two sizes or counts of which less is better.
fn single(what: &str, (axis, value): (&str, String), rival: &str, both: (f64, f64), same: f64) -> Comparison {
    let (ours, theirs) = both;
    let outcome = match theirs - ours {
        apart if apart.abs() <= same => Outcome::Same,
        apart if apart < 0.0 => Outcome::Lost,
        apart if apart > 0.0 => Outcome::Won,
        _ => Outcome::NotResolved,
    };
    Comparison {
        what: what.to_owned(),
        axis: axis.to_owned(),
        value,
        rival: rival.to_owned(),
        told: format!("{}, {}", figure(ours), figure(theirs)),
        apart: (ours - theirs).abs(),
        outcome,
    }
}

fn store_use(all: &mut Vec<Comparison>, results: &Results, rival: &str) {
    for ours in results.store_use.iter().filter(|row| row.arm == HYBRID) {
        let Some(theirs) = results.store_use.iter().find(|row| row.arm == rival && row.nodes == ours.nodes) else {
            continue;
        };
        let both = [
            ("Redis commands per request", ours.redis_per_request, theirs.redis_per_request),
            ("SQL transactions per request", ours.sql_per_request, theirs.sql_per_request),
            ("Redis commands per second, idle", ours.redis_idle_per_second, theirs.redis_idle_per_second),
            ("SQL transactions per second, idle", ours.sql_idle_per_second, theirs.sql_idle_per_second),
        ];
        for (what, own, other) in both {
            // Idle, a tenth of one per second comes and goes with the window.
            let same = if what.ends_with("idle") { (own * SAME).max(0.1) } else { SAME_OPERATIONS };
            all.push(single(what, ("on", nodes(ours.nodes)), rival, (own, other), same));
        }
    }
}

fn bytes(all: &mut Vec<Comparison>, results: &Results, rival: &str) {
    let of = |arm: &str| results.bytes.iter().find(|row| row.arm == arm);
    let (Some(ours), Some(theirs)) = (of(HYBRID), of(rival)) else { return };
    let (own, other) = (count(ours.client_bytes_per_request), count(theirs.client_bytes_per_request));
    all.push(single("client's bytes", ("each request", String::new()), rival, (own, other), 0.0));
    let both = [
        ("bytes in SQL", ours.sql_bytes_per_login, theirs.sql_bytes_per_login),
        ("bytes in Redis", ours.redis_bytes_per_login, theirs.redis_bytes_per_login),
        ("bytes in the node", ours.node_bytes_per_login, theirs.node_bytes_per_login),
    ];
    for (what, own, other) in both {
        all.push(single(what, ("each login", String::new()), rival, (own, other), (own.abs() * SAME).max(1.0)));
    }
}

fn outages(all: &mut Vec<Comparison>, results: &Results, rival: &str) {
    for ours in results.outages.iter().filter(|row| row.arm == HYBRID) {
        let Some(theirs) = results.outages.iter().find(|row| row.arm == rival && row.store == ours.store) else {
            continue;
        };
        let axis = format!("{} away", ours.store);
        let mut push = |what: &str, seconds: f64, (own, other): (u16, u16), is_better: fn(u16) -> bool| {
            let outcome = match (is_better(own), is_better(other)) {
                (true, false) => Outcome::Won,
                (false, true) => Outcome::Lost,
                _ => Outcome::Same,
            };
            all.push(Comparison {
                what: what.to_owned(),
                axis: axis.clone(),
                value: format!("for {} s", figure(seconds)),
                rival: rival.to_owned(),
                told: format!("status {own}, {other}"),
                apart: 0.0,
                outcome,
            });
        };
        for ((seconds, own), (_, other)) in ours.valid.iter().zip(&theirs.valid) {
            push("a valid request is let pass", *seconds, (*own, *other), |status| (200..300).contains(&status));
        }
        for ((seconds, own), (_, other)) in ours.revoked.iter().zip(&theirs.revoked) {
            push("a revoked token is not let pass", *seconds, (*own, *other), |status| !(200..300).contains(&status));
        }
        let logouts = (f64::from(ours.logout), f64::from(theirs.logout));
        let failed = |status: f64| if (200.0..400.0).contains(&status) { 0.0 } else { 1.0 };
        let mut logout = single("a logout is answered", (&axis, String::new()), rival, logouts, 0.0);
        logout.outcome = match failed(logouts.1) - failed(logouts.0) {
            apart if apart < 0.0 => Outcome::Lost,
            apart if apart > 0.0 => Outcome::Won,
            _ => Outcome::Same,
        };
        all.push(logout);
    }
}

fn memory(all: &mut Vec<Comparison>, results: &Results, rival: &str) {
    for ours in results.memory.iter().filter(|row| row.arm == HYBRID) {
        let Some(theirs) = results.memory.iter().find(|row| row.arm == rival && row.live == ours.live) else {
            continue;
        };
        let both = [
            ("node's memory, MiB", mib(ours.resident_bytes), mib(theirs.resident_bytes)),
            ("Redis's memory, MiB", mib(ours.redis_bytes), mib(theirs.redis_bytes)),
        ];
        for (what, own, other) in both {
            all.push(single(what, ("live revocations", grouped(ours.live)), rival, (own, other), own * SAME));
        }
    }
}
