//! What a history measures, kept so that episodes can be added up.
//!
//! Everything that depends on faults is kept by what was in force: the names of the faults, joined by ` + `, or
//! [`NONE`] or [`AFTER`].

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::history::{Answer, Asked, Event, Fault, Moment};

use super::{
    cover::{Cover, Entry, Found, Scope, earlier},
    facts::{Act, Facts, Given, STARVED, Span, is_of},
    names::ms,
    past::Past,
    refusals::Blame,
    shown::has_complete_receipt,
    spread::Spread,
    waits,
};

/// No fault, and none just before.
pub(crate) const NONE: &str = "none";

/// No fault, but one had been healed just before: what it permits is not over.
pub(crate) const AFTER: &str = "just healed";

/// Counts and times of one history, or of several.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// By what was asked and what was answered.
    pub(crate) operations: BTreeMap<String, BTreeMap<String, u64>>,
    /// How often each fault was put in force.
    pub(crate) faults: BTreeMap<String, u64>,
    /// How often the machine itself did not run for a while.
    pub(crate) starved: u64,
    /// How long clients have asked, and for how much of it that excuses what P2 and P6 do not permit.
    #[serde(default)]
    pub(crate) lasted_ms: f64,
    #[serde(default)]
    pub(crate) starved_ms: f64,
    /// By what was in force.
    pub(crate) under: BTreeMap<String, Under>,
    /// Checks of tokens that a complete receipt covered when they were invoked; all must have been refused.
    pub(crate) checks_after_receipt: u64,
    /// Complete receipts.
    #[serde(default)]
    pub(crate) complete_receipts: u64,
    /// Complete receipts that no fault makes slow.
    #[serde(default)]
    pub(crate) plain_receipts: u64,
    /// Those of them that took longer than a second by the service's own account. One is not a broken promise; many say
    /// that acknowledgements do nothing and that every receipt waits for leases to end.
    pub(crate) slow_receipts: u64,
}

/// What was measured while something was in force.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Under {
    /// Complete receipts that met it, from the question to the answer as the client saw them.
    pub(crate) receipts: Spread,
    /// The longest time, in milliseconds, from the invocation of an act to the last check that was invoked after that and
    /// allowed a token that it ends. Promised is only that there is none after the receipt.
    pub(crate) staleness_ms: f64,
    /// Checks past the lease of living tokens, and those of them that were refused, as all that were answered must have
    /// been.
    #[serde(default)]
    pub(crate) past: u64,
    #[serde(default)]
    pub(crate) past_refused: u64,
    /// At the nodes that it was done to (all, if it was done to a store).
    pub(crate) faulty: Availability,
    /// At the others.
    pub(crate) healthy: Availability,
}

/// How checks of tokens fared that nobody had taken back.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Availability {
    pub(crate) checks: u64,
    pub(crate) allowed: u64,
    /// Answered by 503: "I do not know".
    pub(crate) unknown: u64,
    /// The longest time without an allow at one node, from the first check that was not allowed to the answer of the next
    /// that was; and the sum of these times over all nodes.
    pub(crate) longest_away_ms: f64,
    pub(crate) away_ms: f64,
}

impl Figures {
    pub(super) fn of(facts: &Facts<'_>, acts: &[Act], blame: &Blame) -> Self {
        let mut figures = Self::default();
        for event in &facts.history.events {
            let answers = figures.operations.entry(event.asked.name().to_owned()).or_default();
            *answers.entry(event.answer.name().to_owned()).or_default() += 1;
            figures.receipt(facts, event);
        }
        for fault in &facts.history.faults {
            if fault.name == STARVED {
                figures.starved += 1;
            } else {
                *figures.faults.entry(fault.name.clone()).or_default() += 1;
            }
        }
        figures.starvation(facts);
        figures.staleness(facts, acts);
        figures.availability(facts, blame);
        for past in Past::all(facts, blame) {
            let under = figures.under(&past.fault.name);
            under.past += past.checks;
            under.past_refused += past.refused;
        }
        figures
    }

    fn starvation(&mut self, facts: &Facts<'_>) {
        let history = facts.history;
        let began = history.events.iter().map(|event| event.began).min().unwrap_or(0);
        let ended = history.events.iter().map(|event| event.ended).max().unwrap_or(0);
        let mut spans: Vec<(Moment, Moment)> = history
            .faults
            .iter()
            .filter(|fault| fault.name == STARVED)
            .map(|fault| (fault.began.max(began), facts.recovered(fault).min(ended)))
            .collect();
        spans.sort_unstable();
        let (mut excused, mut until) = (0, 0);
        for (from, to) in spans {
            excused += to.saturating_sub(from.max(until));
            until = until.max(to);
        }
        self.lasted_ms = ms(ended - began);
        self.starved_ms = ms(excused);
    }

    /// For which part of the time the machine excuses what P2 and P6 do not permit.
    pub(crate) fn starved_share(&self) -> f64 {
        if self.lasted_ms > 0.0 { self.starved_ms / self.lasted_ms } else { 0.0 }
    }

    /// Whether so many receipts were slow that acknowledgements cannot be what ends the waits.
    pub(crate) const fn are_receipts_slow(&self) -> bool {
        waits::are_too_many(self.slow_receipts, self.plain_receipts, 1)
    }

    fn under(&mut self, name: &str) -> &mut Under {
        if !self.under.contains_key(name) {
            self.under.insert(name.to_owned(), Under::default());
        }
        self.under.entry(name.to_owned()).or_default()
    }

    fn receipt(&mut self, facts: &Facts<'_>, event: &Event) {
        if !has_complete_receipt(event) {
            return;
        }
        self.complete_receipts += 1;
        let took = event.ended - event.began;
        self.under(&met_by(facts, event.span())).receipts.note(took);
        self.plain_receipts += u64::from(waits::is_plain(facts, event));
        self.slow_receipts += u64::from(waits::is_plain(facts, event) && waits::is_slow(event));
    }

    pub(super) fn staleness(&mut self, facts: &Facts<'_>, acts: &[Act]) {
        let settled =
            |act: &&Act| act.is_recorded && !act.is_hearsay && !facts.is_lost_by(act.effect, facts.eras() - 1);
        let cover = |at: fn(&Act) -> Moment, is_wanted: fn(&Act) -> bool| {
            let entry = |act: &Act| {
                let until =
                    if matches!(act.scope, Scope::User(_) | Scope::Roles(_)) { act.effect.began } else { Moment::MAX };
                (act.scope, Entry { until, at: at(act), keep: act.keep, event: act.event })
            };
            Cover::of(acts.iter().filter(settled).filter(|act| is_wanted(act)).map(entry))
        };
        let invoked = cover(|act| act.effect.began, |_| true);
        let in_force = cover(|act| act.effect.ended, |act| act.is_complete);
        for event in &facts.history.events {
            let Asked::Check { token } = event.asked else { continue };
            let Some(&given) = facts.tokens.get(&token) else { continue };
            let find = |cover: &Cover| covering(facts, cover, token, given).filter(|found| found.at < event.began);
            self.checks_after_receipt += u64::from(find(&in_force).is_some());
            if event.answer != Answer::Allowed {
                continue;
            }
            if let Some(found) = find(&invoked) {
                let span = Span { began: found.at, ended: event.began };
                let under = self.under(&met_by(facts, span));
                under.staleness_ms = under.staleness_ms.max(ms(event.began - found.at));
            }
        }
    }

    fn availability(&mut self, facts: &Facts<'_>, blame: &Blame) {
        let mut by_node: HashMap<u8, Vec<&Event>> = HashMap::new();
        for event in &facts.history.events {
            let Asked::Check { token } = event.asked else { continue };
            let living = facts.tokens.get(&token).filter(|given| blame.is_living(facts, token, **given, event.ended));
            if living.is_some() {
                by_node.entry(event.node).or_default().push(event);
            }
        }
        for (node, mut checks) in by_node {
            checks.sort_by_key(|event| event.began);
            let mut away: Option<Moment> = None;
            for (place, event) in checks.iter().enumerate() {
                let is_allowed = event.answer == Answer::Allowed;
                let it = self.at(facts, node, event.began);
                it.checks += 1;
                it.allowed += u64::from(is_allowed);
                it.unknown += u64::from(event.answer == Answer::Unavailable);
                if !is_allowed && away.is_none() {
                    away = Some(event.began);
                }
                if (is_allowed || place + 1 == checks.len())
                    && let Some(since) = away.take()
                {
                    let took = ms(event.ended.saturating_sub(since));
                    let it = self.at(facts, node, since);
                    it.longest_away_ms = it.longest_away_ms.max(took);
                    it.away_ms += took;
                }
            }
        }
    }

    /// The figures of a node at a moment.
    fn at(&mut self, facts: &Facts<'_>, node: u8, moment: Moment) -> &mut Availability {
        let span = Span { began: moment, ended: moment };
        let name = met_by(facts, span);
        let is_faulty = |fault: &Fault| is_of(fault, node) && fault.began <= moment && moment <= fault.healed;
        let faulty = facts.history.faults.iter().filter(|fault| fault.name != STARVED).any(is_faulty);
        let under = self.under(&name);
        if faulty { &mut under.faulty } else { &mut under.healthy }
    }

    /// Adds another history's.
    pub(crate) fn add(&mut self, other: &Self) {
        for (asked, answers) in &other.operations {
            let known = self.operations.entry(asked.clone()).or_default();
            for (answer, count) in answers {
                *known.entry(answer.clone()).or_default() += count;
            }
        }
        for (fault, count) in &other.faults {
            *self.faults.entry(fault.clone()).or_default() += count;
        }
        for (name, under) in &other.under {
            self.under(name).add(under);
        }
        self.starved += other.starved;
        self.checks_after_receipt += other.checks_after_receipt;
        self.lasted_ms += other.lasted_ms;
        self.starved_ms += other.starved_ms;
        self.plain_receipts += other.plain_receipts;
        self.complete_receipts += other.complete_receipts;
        self.slow_receipts += other.slow_receipts;
    }

    /// How many operations there are.
    pub(crate) fn count(&self) -> u64 {
        self.operations.values().flat_map(BTreeMap::values).sum()
    }
}

impl Under {
    pub(crate) fn add(&mut self, other: &Self) {
        self.receipts.add(&other.receipts);
        self.staleness_ms = self.staleness_ms.max(other.staleness_ms);
        self.past += other.past;
        self.past_refused += other.past_refused;
        self.faulty.add(other.faulty);
        self.healthy.add(other.healthy);
    }
}

impl Availability {
    fn add(&mut self, other: Self) {
        self.checks += other.checks;
        self.allowed += other.allowed;
        self.unknown += other.unknown;
        self.longest_away_ms = self.longest_away_ms.max(other.longest_away_ms);
        self.away_ms += other.away_ms;
    }
}

/// The names of the faults that something met; of none, whether one had just been healed.
fn met_by(facts: &Facts<'_>, span: Span) -> String {
    let mut faults = facts.history.faults.iter().filter(|fault| fault.name != STARVED);
    let met = faults.clone().filter(|fault| span.began <= fault.healed && span.ended >= fault.began);
    let mut names: Vec<&str> = met.map(|fault| fault.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    if !names.is_empty() {
        return names.join(" + ");
    }
    let is_after = faults.any(|fault| span.began >= fault.healed && span.began <= facts.recovered(fault));
    if is_after { AFTER } else { NONE }.to_owned()
}

/// The earliest of what covers an access token.
fn covering(facts: &Facts<'_>, cover: &Cover, token: crate::history::Token, given: Given) -> Option<Found> {
    let opened = facts.sessions.get(&given.session).map_or(given.span, |session| session.span);
    earlier(
        cover.of_session(given.user, given.session, opened.ended),
        cover.of_token(given.user, token, given.span.ended),
    )
}
