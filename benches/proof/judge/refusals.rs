//! What was refused and should not have been: P6, and sessions that are gone.

use std::collections::HashMap;

use crate::history::{Answer, Asked, Event, Moment, Session, User};

use super::{
    Findings, Promise,
    cover::{Cover, Entry, Found, Scope},
    facts::{Act, Facts, Given, Span},
};

/// What may be the reason of a refusal.
#[derive(Debug)]
pub(super) struct Blame {
    ends: Cover,
    takes: Cover,
    /// The first two acts of each user.
    first: HashMap<User, [Option<Found>; 2]>,
}

impl Blame {
    pub(super) fn of(facts: &Facts<'_>, acts: &[Act]) -> Self {
        let real = acts.iter().filter(|act| !act.is_hearsay);
        let entry = |act: &Act| {
            let until =
                if matches!(act.scope, Scope::User(_) | Scope::Roles(_)) { act.effect.ended } else { Moment::MAX };
            (act.scope, Entry { until, at: act.effect.began, keep: act.keep, event: act.event })
        };
        let is_take = |act: &&Act| matches!(act.scope, Scope::Roles(_) | Scope::Token(_));
        let mut first: HashMap<User, [Option<Found>; 2]> = HashMap::new();
        let mut note = |user, found: Found| {
            let known = first.entry(user).or_default();
            if known[0].is_none_or(|first| found.at < first.at) {
                *known = [Some(found), known[0]];
            } else if known[1].is_none_or(|second| found.at < second.at) {
                known[1] = Some(found);
            }
        };
        for act in real.clone() {
            note(act.user, Found { at: act.effect.began, event: act.event });
        }
        for (event, it) in facts.history.events.iter().enumerate() {
            if let (Asked::Unban { user }, Some(effect)) = (it.asked, facts.effect(it)) {
                note(user, Found { at: effect.began, event });
            }
        }
        Self {
            ends: Cover::of(real.clone().filter(|act| !is_take(act)).map(entry)),
            takes: Cover::of(real.filter(is_take).map(entry)),
            first,
        }
    }

    /// Whether a session may have been ended by then.
    pub(super) fn may_end(&self, facts: &Facts<'_>, user: User, session: Session, by: Moment) -> bool {
        let opened = facts.sessions.get(&session).map_or(0, |opened| opened.span.began);
        self.ends.of_session(user, session, opened).is_some_and(|found| found.at <= by)
    }

    /// Whether an access token may have been ended by then, its session alive.
    fn may_take(&self, token: crate::history::Token, given: Given, by: Moment) -> bool {
        self.takes.of_token(given.user, token, given.span.began).is_some_and(|found| found.at <= by)
    }

    /// Whether nothing but a fault of the service can make a check of this token fail.
    pub(super) fn is_living(&self, facts: &Facts<'_>, token: crate::history::Token, given: Given, by: Moment) -> bool {
        !self.may_end(facts, given.user, given.session, by)
            && !self.may_take(token, given, by)
            && !facts.may_be_expired(given.span, by)
            && !facts.may_be_gone(given.span, by)
    }

    /// Whether anything but this event may have changed something of a user by then.
    fn may_change(&self, user: User, but: usize, by: Moment) -> bool {
        let acts = self.first.get(&user).copied().unwrap_or_default();
        acts.into_iter().flatten().any(|found| found.event != but && found.at <= by)
    }
}

/// Looks at everything that was refused.
pub(super) fn check(facts: &Facts<'_>, blame: &Blame, findings: &mut Findings) {
    for (index, event) in facts.history.events.iter().enumerate() {
        if !event.fits() {
            findings.accuse(Promise::Answers, &[index], "an answer that does not belong to what was asked");
            continue;
        }
        if let Answer::Strange { what } = &event.answer {
            findings.accuse(Promise::Answers, &[index], format!("the contract has no such answer: {what}"));
            continue;
        }
        let Answer::Denied { problem } = &event.answer else { continue };
        match event.asked {
            Asked::Check { token } => {
                let Some(&given) = facts.tokens.get(&token) else { continue };
                let is_excused = match problem.as_str() {
                    "session-ended" => blame.may_end(facts, given.user, given.session, event.ended),
                    "token-expired" => {
                        facts.may_be_expired(given.span, event.ended) || blame.may_take(token, given, event.ended)
                    }
                    "token-invalid" => facts.may_be_of_the_future(given.span),
                    _ => false,
                };
                if !is_excused && !facts.may_be_gone(given.span, event.ended) && !is_session_gone(facts, given, event) {
                    accuse(facts, event, &[given.event, index], format!("a token was refused by {problem}"), findings);
                }
            }
            Asked::Refresh { user, session, .. } => {
                let Some(&opened) = facts.sessions.get(&session) else { continue };
                let is_excused = match problem.as_str() {
                    "session-ended" => {
                        blame.may_end(facts, user, session, event.ended) || facts.may_be_reuse(event, event.ended)
                    }
                    "conflict" => is_met(facts, event, index, session),
                    _ => false,
                };
                if !is_excused && !is_session_gone(facts, opened, event) && facts.losses_until(event.ended) == 0 {
                    accuse(
                        facts,
                        event,
                        &[opened.event, index],
                        format!("a refresh was refused by {problem}"),
                        findings,
                    );
                }
            }
            Asked::LogIn { .. } => {}
            _ => act(facts, blame, index, event, problem, findings),
        }
    }
}

/// An act is refused if its caller's credentials are dead, or what it names is gone, or somebody was faster.
fn act(facts: &Facts<'_>, blame: &Blame, index: usize, event: &Event, problem: &str, findings: &mut Findings) {
    let Some(user) = event.asked.user() else { return };
    let start = facts.history.events.first().map_or(0, |first| first.began);
    // Commands spell them with the other dash.
    let problem = &*problem.replace('_', "-");
    let is_known = [
        "session-ended",
        "token-expired",
        "credentials-invalid",
        "password-wrong",
        "account-banned",
        "conflict",
        "not-found",
    ];
    // Whose ledger is another one now, nobody knows their token any more.
    let is_unknown = problem == "token-invalid" && facts.may_be_gone(Span { began: start, ended: start }, event.ended);
    let is_excused = is_unknown
        || is_known.contains(&problem)
            && (blame.may_change(user, index, event.ended)
                || facts.losses_until(event.ended) > 0
                || facts.may_be_gone(Span { began: start, ended: start }, event.ended)
                || (problem == "token-expired"
                    && facts.may_be_expired(Span { began: start, ended: start }, event.ended)));
    if !is_excused {
        findings.accuse(Promise::P6, &[index], format!("an act was refused by {problem} without a reason"));
    }
}

/// Whether the session itself may be gone with the login, by a loss that a fault states.
fn is_session_gone(facts: &Facts<'_>, given: Given, event: &Event) -> bool {
    let opened = facts.sessions.get(&given.session).map_or(given.span, |opened| opened.span);
    facts.may_be_gone(opened, event.ended)
}

/// Whether something else of this session or its user happened at the same time.
fn is_met(facts: &Facts<'_>, event: &Event, index: usize, session: Session) -> bool {
    let user = event.asked.user();
    facts.history.events.iter().enumerate().any(|(other, it)| {
        let is_near = match it.asked {
            Asked::Refresh { session: of, .. } => of == session,
            asked => asked.user() == user,
        };
        let effect = facts.effect(it).unwrap_or(it.span());
        is_near && other != index && effect.began < event.ended && effect.ended > event.began
    })
}

fn accuse(facts: &Facts<'_>, event: &Event, events: &[usize], what: String, findings: &mut Findings) {
    let is_after = facts.history.restarted.is_some_and(|restarted| restarted <= event.began);
    let promise = if is_after { Promise::P3 } else { Promise::P6 };
    findings.accuse(promise, events, what + ", and no act may be the reason");
}
