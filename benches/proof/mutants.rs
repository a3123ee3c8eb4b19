//! Rules broken on purpose: each patch of `tests/mutants/` is built in a copy of the tree, and something must notice.
//!
//! ```text
//! cargo bench --profile dev --bench proof -- mutants                                    all; an hour or two on two cores
//! cargo bench --profile dev --bench proof -- mutants --only a,b --into FILE             these again, into older results
//! cargo bench --profile dev --bench proof -- mutants --report FILE                      the table of results
//! ```
//!
//! First every check that is to notice something is run on the code as it is, and must pass: what fails anyway has
//! noticed nothing. Then, for each patch: it must apply; it must compile, since a compiler's error says nothing of a
//! promise; and each of the checks that it names must fail, by its own words. A run that does not end has noticed nothing,
//! unless the patch says that it has.
//!
//! The copy is under `target/mutants`, with a folder for builds of its own that is kept: a mutant costs one build of this
//! crate and of the binaries that look at it.

mod report;
mod workshop;

use std::{collections::HashMap, path::PathBuf, time::Duration};

use clap::Args;
use kickout::clock::Clock;
use serde::{Deserialize, Serialize};

use crate::{
    Failure,
    command::{read, say, tell, write},
    machine::Machine,
    support::mutants::{Catcher, Patch, patches},
};

use self::workshop::{Ended, Workshop};

/// Where the patches are.
const FOLDER: &str = "tests/mutants";

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only these, by their names; separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// How often each is to be noticed.
    #[arg(long, default_value_t = 1)]
    times: u32,
    /// Results of an earlier run, in which those of this one replace their like.
    #[arg(long)]
    into: Option<PathBuf>,
    /// Prints these results as a table, and runs nothing.
    #[arg(long, conflicts_with_all = ["only", "into"])]
    report: Option<PathBuf>,
}

/// Results.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    machine: Machine,
    mutants: Vec<Row>,
}

/// What became of one mutant.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Row {
    name: String,
    rule: String,
    breaks: String,
    outcome: Outcome,
    /// What has noticed it; else, what was to and has not.
    caught_by: String,
    /// In whose words.
    says: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    build_seconds: f64,
    run_seconds: f64,
    commit: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Caught,
    Survived,
    OutOfTime,
    DoesNotBuild,
    DoesNotApply,
}

impl Outcome {
    const fn words(self) -> &'static str {
        match self {
            Self::Caught => "caught",
            Self::Survived => "SURVIVED",
            Self::OutOfTime => "OUT OF TIME",
            Self::DoesNotBuild => "DOES NOT BUILD",
            Self::DoesNotApply => "DOES NOT APPLY",
        }
    }
}

/// Runs it.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    if let Some(file) = &options.report {
        return say(&report::markdown(&read(file)?));
    }
    let chosen = choose(&options.only)?;
    let clock = Clock::System;
    let mut report = match &options.into {
        Some(file) if file.exists() => read(file)?,
        _ => Report { machine: Machine::look(&clock), mutants: Vec::new() },
    };
    let commit = Machine::look(&clock).commit;
    let file = options.into.clone().unwrap_or_else(|| PathBuf::from("target/bench/mutants.json"));
    let workshop = Workshop::open(clock)?;
    is_sound(&workshop, &chosen)?;
    let mut survivors = Vec::new();
    for (i, patch) in chosen.iter().enumerate() {
        tell(&format!("{} of {}: {}", i + 1, chosen.len(), patch.name))?;
        let row = examine(&workshop, patch, options.times, &commit)?;
        tell(&format!("{}, {:.0} s: {}", row.outcome.words(), row.build_seconds + row.run_seconds, row.says))?;
        if row.outcome != Outcome::Caught {
            survivors.push(format!("{} ({})", row.name, row.outcome.words()));
        }
        report.mutants.retain(|other| other.name != row.name);
        report.mutants.push(row);
        report.mutants.sort_by(|a, b| a.name.cmp(&b.name));
        // What was found stays found, however this run ends.
        write(&file, &report)?;
    }
    say(&format!("{} mutants, {} not caught; {}", chosen.len(), survivors.len(), file.display()))?;
    if survivors.is_empty() { Ok(()) } else { Err(format!("not caught: {}", survivors.join(", ")).into()) }
}

/// The patches of these names, or all.
fn choose(names: &[String]) -> Result<Vec<Patch>, Failure> {
    let mut all = patches(FOLDER.as_ref())?;
    if let Some(unknown) = names.iter().find(|name| all.iter().all(|patch| patch.name != **name)) {
        return Err(format!("{FOLDER} has no {unknown}.patch").into());
    }
    all.retain(|patch| names.is_empty() || names.contains(&patch.name));
    Ok(all)
}

/// Runs each check on the code as it is. All must pass.
fn is_sound(workshop: &Workshop, chosen: &[Patch]) -> Result<(), Failure> {
    let mut passed: HashMap<&Catcher, Duration> = HashMap::new();
    for catcher in chosen.iter().flat_map(|patch| &patch.catchers) {
        if passed.contains_key(catcher) {
            continue;
        }
        tell(&format!("as it is: {catcher}"))?;
        let binary = workshop.build(catcher.suite)?.map_err(|error| format!("as it is, it does not build: {error}"))?;
        let run = workshop.check(catcher, &binary, "as-it-is")?;
        match run.ended {
            Ended::Passed => passed.insert(catcher, run.took),
            other => return Err(format!("{catcher} notices something in the code as it is: {other:?}").into()),
        };
    }
    Ok(())
}

/// Breaks the rule, and looks who notices.
fn examine(workshop: &Workshop, patch: &Patch, times: u32, commit: &str) -> Result<Row, Failure> {
    let names: Vec<String> = patch.catchers.iter().map(ToString::to_string).collect();
    let mut row = Row {
        name: patch.name.clone(),
        rule: patch.rule.clone(),
        breaks: patch.breaks.clone(),
        outcome: Outcome::Survived,
        caught_by: names.join(", "),
        says: "it passed".to_owned(),
        model: patch.model.clone(),
        build_seconds: 0.0,
        run_seconds: 0.0,
        commit: commit.to_owned(),
    };
    if let Err(error) = workshop.apply(patch)? {
        return Ok(Row { outcome: Outcome::DoesNotApply, says: error, ..row });
    }
    let mut said = Vec::new();
    'catchers: for catcher in &patch.catchers {
        row.caught_by = catcher.to_string();
        let began = workshop.clock.boottime();
        let binary = workshop.build(catcher.suite)?;
        row.build_seconds += workshop.clock.boottime().since(began).as_secs_f64();
        let binary = match binary {
            Ok(binary) => binary,
            Err(error) => {
                row = Row { outcome: Outcome::DoesNotBuild, says: error, ..row };
                break;
            }
        };
        for _ in 0..times.max(1) {
            let run = workshop.check(catcher, &binary, &patch.name)?;
            row.run_seconds += run.took.as_secs_f64();
            let (outcome, says) = match run.ended {
                Ended::Passed => (Outcome::Survived, "it passed".to_owned()),
                Ended::Failed(says) => (Outcome::Caught, says),
                Ended::OutOfTime if patch.may_hang => (Outcome::Caught, "it does not end".to_owned()),
                Ended::OutOfTime => (Outcome::OutOfTime, "it does not end".to_owned()),
            };
            (row.outcome, row.says) = (outcome, says);
            if outcome != Outcome::Caught {
                break 'catchers;
            }
        }
        said.push(row.says.clone());
    }
    workshop.restore()?;
    // Each of them has noticed.
    if row.outcome == Outcome::Caught {
        (row.caught_by, row.says) = (names.join(", "), said.join(" | "));
    }
    Ok(row)
}
