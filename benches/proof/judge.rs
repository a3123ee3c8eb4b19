//! What a history may not hold: the promises, said once, as checks.
//!
//! The judge sees invocations and answers on one clock and nothing else. It accuses only where no order of what happened
//! in between could excuse the answer: an act covers what was issued, answer and all, before it was invoked; what
//! overlaps may have gone either way; what was not answered may have happened, and may happen for a while yet.
//!
//! | promise | what breaks it |
//! |---|---|
//! | P1 | an allow, or new credentials, invoked after a complete receipt that covers them; new credentials after any receipt; a login under a ban |
//! | P2 | a receipt, or no answer at all, later than `1.25 × hold + 250 ms`, counted from the end of the faults that refuse acts; many that take a second though no fault makes them |
//! | P3 | the same as P1 after everything was killed and started again, complete or not; a session acknowledged and gone then, or its ticket; what was issued before the operator began a new ledger |
//! | P4 | an allow by a node later than its hold after its ledger was cut, or anywhere later than that after an act was acknowledged |
//! | P5 | an allow of what was said to be dead: by the same node, or by any a hold later; of what must have expired |
//! | P6 | a refusal without an act that may be its reason; a 503, or no answer, that no fault excuses; a node that is cut off and stops long before its hold is over |
//! | refresh | a ticket with two successors, one that is current again, or one that is used long after it was replaced |
//! | answers | an answer that the contract does not have; credentials of another session than the one that asked, or of another user |
//!
//! What excuses lasts for a while after a fault ([`facts::recovery`]), an unanswered act for [`facts::LATE`]. A loss that a fault
//! states (a restore from a backup) ends an era: acts that may be lost bind nobody in the next one. What was opened after
//! it is judged like everything else.
//!
//! A checker that cannot fail is worthless: [`self_check`] shows it histories of a perfect service, which it must pass,
//! and the same with one event changed to what may not be, each of which it must find.

mod allows;
mod cases;
mod cover;
mod early;
mod facts;
mod family;
mod figures;
mod logins;
mod mutations;
mod names;
mod owners;
mod past;
mod reading;
mod refusals;
pub(crate) mod report;
pub(crate) mod results;
mod shown;
mod simulator;
mod spread;
mod waits;

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    path::PathBuf,
};

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::{Failure, command, history::History};

use self::{facts::Facts, results::Results};
pub(crate) use self::{
    facts::recovery,
    figures::Figures,
    shown::{LEAST, LEAST_IN_BRIEF, Shown},
};

/// Violations of one promise that are kept; the others are counted.
const KEPT: usize = 20;

/// A promise, as the table above has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Promise {
    P1,
    P2,
    P3,
    P4,
    P5,
    P6,
    Refresh,
    Answers,
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::P1 => "P1",
            Self::P2 => "P2",
            Self::P3 => "P3",
            Self::P4 => "P4",
            Self::P5 => "P5",
            Self::P6 => "P6",
            Self::Refresh => "refresh",
            Self::Answers => "answers",
        })
    }
}

/// A promise that was broken.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Violation {
    pub(crate) promise: Promise,
    /// In a sentence.
    pub(crate) what: String,
    /// The events that contradict each other: places in the history.
    pub(crate) events: Vec<usize>,
}

/// What the judge has found.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Findings {
    /// The first of each promise.
    pub(crate) violations: Vec<Violation>,
    /// All of them, counted.
    pub(crate) broken: BTreeMap<Promise, u64>,
    pub(crate) figures: Figures,
}

impl Findings {
    /// Whether no promise was broken.
    pub(crate) fn is_clean(&self) -> bool {
        self.broken.is_empty()
    }

    /// What was broken, with the events, for a terminal.
    pub(crate) fn tell(&self, history: &History) -> String {
        let mut text = String::new();
        for (promise, count) in &self.broken {
            // Writing into a string does not fail.
            let _ = writeln!(text, "{promise}: {count} times");
        }
        for violation in &self.violations {
            let _ = writeln!(text, "{}: {}", violation.promise, violation.what);
            for &index in &violation.events {
                let Some(event) = history.events.get(index) else { continue };
                let _ = writeln!(text, "  {}", names::event(history, index, event));
            }
        }
        text
    }

    fn accuse(&mut self, promise: Promise, events: &[usize], what: impl Into<String>) {
        let count = self.broken.entry(promise).or_default();
        *count += 1;
        if *count <= KEPT as u64 {
            self.violations.push(Violation { promise, what: what.into(), events: events.to_vec() });
        }
    }
}

/// Judges a history.
pub(crate) fn judge(history: &History) -> Findings {
    let facts = Facts::of(history);
    let acts = facts.acts();
    let mut findings = Findings::default();
    allows::check(&facts, &acts, &mut findings);
    let blame = refusals::Blame::of(&acts);
    let accounts = logins::Accounts::of(&facts);
    logins::check(&facts, &accounts, &mut findings);
    owners::check(&facts, &mut findings);
    refusals::check(&facts, &blame, &accounts, &mut findings);
    early::check(&facts, &blame, &mut findings);
    waits::check(&facts, &mut findings);
    findings.figures = figures::Figures::of(&facts, &acts, &blame);
    findings
}

/// Shows the judge what it must pass and what it must find.
///
/// # Errors
/// What it judged wrongly.
pub(crate) fn self_check() -> Result<(), Failure> {
    cases::check()?;
    mutations::check(0..1).map(drop)
}

/// What to judge again.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Histories that were kept.
    histories: Vec<PathBuf>,
    /// Shows the judge so many made-up histories of a perfect service, and each with single events changed; so the kept
    /// ones that are clean.
    #[arg(long, value_name = "HISTORIES")]
    self_check: Option<u64>,
    /// Prints the report of a run of the nemesis.
    #[arg(long)]
    report: Option<PathBuf>,
}

/// Judges kept histories again.
///
/// # Errors
/// A history with a broken promise; a self-check that failed; a file that cannot be read.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    if let Some(file) = &options.report {
        return command::say(&report::report(&command::read::<Results>(file)?)?);
    }
    self_check()?;
    let mut tried = mutations::check(1..options.self_check.unwrap_or(1))?;
    let mut broken = 0;
    for file in &options.histories {
        let history: History = command::read(file)?;
        let findings = judge(&history);
        broken += usize::from(!findings.is_clean());
        if findings.is_clean() && options.self_check.is_some() {
            mutations::change(&history, history.seed, &mut tried)?;
        }
        let verdict = if findings.is_clean() { "clean" } else { "broken" };
        command::say(&format!("{}: {verdict}\n{}", file.display(), findings.tell(&history)))?;
    }
    for (name, tried) in tried.iter().filter(|_| options.self_check.is_some()) {
        command::say(&format!("{tried:>5} × {name}: found"))?;
    }
    if broken == 0 { Ok(()) } else { Err(format!("{broken} histories with broken promises").into()) }
}
