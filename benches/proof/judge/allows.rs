//! What was allowed and should not have been: P1, P3, P4, P5, and the rules of refreshes.

use std::collections::HashMap;

use crate::history::{Answer, Asked, Event, Moment, Session, Token, User};

use super::{
    Findings, Promise,
    cover::{Cover, Entry, Found, Scope, earlier},
    facts::{Act, CLOCK_SLACK, Facts, Given, SECOND, Span, is_of},
    names::ms,
};

/// What binds in one era.
struct Bound {
    /// In force everywhere since.
    in_force: Cover,
    /// Committed since.
    recorded: Cover,
}

struct Allows<'f> {
    facts: &'f Facts<'f>,
    eras: Vec<Bound>,
    /// Where an event is hearsay: it says that something is dead, and did not end it.
    hearsay: Vec<bool>,
    /// By node and token: the first answer that said that it is dead, or that it has expired.
    said: HashMap<(u8, Token, bool), Vec<Found>>,
}

/// Looks at everything that was allowed.
pub(super) fn check(facts: &Facts<'_>, acts: &[Act], findings: &mut Findings) {
    let allows = Allows::of(facts, acts);
    for (index, event) in facts.history.events.iter().enumerate() {
        match (event.asked, &event.answer) {
            (Asked::Check { token }, Answer::Allowed) => allows.check(index, event, token, findings),
            (Asked::Refresh { user, session, .. }, Answer::Issued { session: given, .. }) => {
                if facts.is_certain_reuse(event) {
                    findings.accuse(Promise::Refresh, &[index], "a ticket that was replaced long ago was taken");
                } else if *given == session {
                    allows.grant(index, event, user, session, findings);
                }
            }
            (
                Asked::EndAll { user, keep: Some(session) } | Asked::Password { user, keep: session },
                Answer::Issued { .. },
            ) => allows.grant(index, event, user, session, findings),
            _ => {}
        }
    }
    tickets(facts, findings);
}

impl<'f> Allows<'f> {
    fn of(facts: &'f Facts<'f>, acts: &[Act]) -> Self {
        let mut hearsay = vec![false; facts.history.events.len()];
        for act in acts {
            hearsay[act.event] = act.is_hearsay;
        }
        let mut said: HashMap<(u8, Token, bool), Vec<Found>> = HashMap::new();
        let mut heard = Vec::new();
        for (event, it) in facts.history.events.iter().enumerate() {
            let (Asked::Check { token }, Some(problem)) = (it.asked, it.answer.problem()) else { continue };
            let is_ended = problem == "session-ended";
            if !is_ended && problem != "token-expired" {
                continue;
            }
            let known = said.entry((it.node, token, is_ended)).or_default();
            let is_lost = |last: &Found| facts.is_lost(Span { began: last.at, ended: last.at }, it.ended);
            if known.last().is_none_or(is_lost) {
                known.push(Found { at: it.ended, event });
                hearsay[event] = true;
                if is_ended {
                    heard.push((Scope::Token(token), event, it.span()));
                }
            }
        }
        let era = |era: usize| {
            let binding = acts.iter().filter(|act| act.is_recorded && !facts.is_lost_by(act.effect, era));
            let entry = |act: &Act| {
                let until =
                    if matches!(act.scope, Scope::User(_) | Scope::Roles(_)) { act.effect.began } else { Moment::MAX };
                (act.scope, Entry { until, at: act.effect.ended, keep: act.keep, event: act.event })
            };
            let said = heard
                .iter()
                .filter(|(_, _, span)| !facts.is_lost_by(*span, era))
                .map(|&(scope, event, span)| (scope, Entry { until: Moment::MAX, at: span.ended, keep: None, event }));
            Bound {
                in_force: Cover::of(binding.clone().filter(|act| act.is_complete).map(entry)),
                recorded: Cover::of(binding.map(entry).chain(said)),
            }
        };
        let eras = (0..facts.eras()).map(era).collect();
        Self { facts, eras, hearsay, said }
    }

    fn bound(&self, event: &Event) -> &Bound {
        &self.eras[self.facts.losses_until(event.ended)]
    }

    /// Whether something was acknowledged before everything was started again, and is asked for after that.
    fn is_before_restart(&self, found: Found, event: &Event) -> bool {
        self.facts.history.restarted.is_some_and(|restarted| found.at < restarted && restarted <= event.began)
    }

    fn check(&self, index: usize, event: &Event, token: Token, findings: &mut Findings) {
        let Some(&given) = self.facts.tokens.get(&token) else {
            findings.accuse(Promise::Answers, &[index], "a token was allowed that nobody was given");
            return;
        };
        if self.outlives(index, event, given, findings) {
            return;
        }
        let bound = self.bound(event);
        let mut accuse = |promise, found: Found, what: String| {
            findings.accuse(promise, &[given.event, found.event, index], what);
        };
        let in_force = self.covering(&bound.in_force, token, given).filter(|found| found.at < event.began);
        if let Some(found) = in_force {
            let late = ms(event.began - found.at);
            if self.is_before_restart(found, event) {
                accuse(Promise::P3, found, "allowed after everything was started again, against a receipt".to_owned());
            } else {
                accuse(Promise::P1, found, format!("allowed by a check invoked {late:.1} ms after the receipt"));
            }
            return;
        }
        if let Some(found) = self.said_dead(event, token, given) {
            accuse(Promise::P5, found, "allowed by a node that had said that it is dead".to_owned());
            return;
        }
        let recorded = self.covering(&bound.recorded, token, given).filter(|found| found.at < event.began);
        if let Some(found) = recorded {
            if self.is_before_restart(found, event) {
                let what = "allowed after everything was started again, against an acknowledgement".to_owned();
                accuse(Promise::P3, found, what);
                return;
            }
            if event.began > found.at + self.facts.hold + CLOCK_SLACK {
                let late = ms(event.began - found.at);
                let promise = if self.hearsay[found.event] { Promise::P5 } else { Promise::P4 };
                accuse(
                    promise,
                    found,
                    format!("allowed {late:.1} ms after it was known to be dead, and the hold is over"),
                );
                return;
            }
        }
        self.fences(index, event, given, findings);
    }

    /// Nothing that was given before outlives the ledger.
    fn outlives(&self, index: usize, event: &Event, given: Given, findings: &mut Findings) -> bool {
        let fault = self.facts.ended_everything(given.span, event.began);
        if let Some(fault) = fault {
            let what = format!("{} was granted that {} has ended, as everything", event.asked.name(), fault.name);
            findings.accuse(Promise::P3, &[given.event, index], what);
        }
        fault.is_some()
    }

    /// The earliest of what covers an access token.
    fn covering(&self, cover: &Cover, token: Token, given: Given) -> Option<Found> {
        let opened = self.facts.sessions.get(&given.session).map_or(given.span, |session| session.span);
        earlier(
            cover.of_session(given.user, given.session, opened.ended),
            cover.of_token(given.user, token, given.span.ended),
        )
    }

    /// What the same node had said of this token before.
    fn said_dead(&self, event: &Event, token: Token, given: Given) -> Option<Found> {
        let facts = self.facts;
        [true, false].into_iter().find_map(|is_ended| {
            let said = self.said.get(&(event.node, token, is_ended))?;
            let is_moved = !is_ended && facts.is_clock_moved(event.ended);
            said.iter().copied().find(|found| {
                let span = Span { began: found.at, ended: found.at };
                !is_moved
                    && found.at < event.began
                    && !facts.is_lost(span, event.ended)
                    && given.span.ended <= event.ended
            })
        })
    }

    /// A node that cannot renew stops when its hold is over, and a token ends by itself.
    fn fences(&self, index: usize, event: &Event, given: Given, findings: &mut Findings) {
        let facts = self.facts;
        if !facts.history.cluster.is_embedded {
            // A fault that has begun to end may be over already.
            let is_cut = facts.history.faults.iter().find(|fault| {
                let last = fault.in_force + facts.hold + CLOCK_SLACK;
                fault.permits.cuts_ledger
                    && is_of(fault, event.node)
                    && event.began > last
                    && event.ended < fault.healing
            });
            if let Some(fault) = is_cut {
                let since = ms(event.began - fault.in_force);
                let what = format!("allowed {since:.1} ms after {} had cut the node off; its hold is over", fault.name);
                findings.accuse(Promise::P4, &[given.event, index], what);
                return;
            }
        }
        let longest = given.span.ended + facts.ttl.1 + facts.ttl.1 / 10 + 2 * SECOND;
        if event.began > longest + facts.moved(event.ended) {
            findings.accuse(Promise::P5, &[given.event, index], "allowed long after it has expired");
        }
    }

    /// New credentials of a session that lives on. They are written where acts are recorded, so every receipt binds.
    fn grant(&self, index: usize, event: &Event, user: User, session: Session, findings: &mut Findings) {
        let Some(&opened) = self.facts.sessions.get(&session) else { return };
        if self.outlives(index, event, opened, findings) {
            return;
        }
        let recorded = self.bound(event).recorded.of_session(user, session, opened.span.ended);
        let Some(found) = recorded.filter(|found| found.at < event.began) else { return };
        let (promise, what) = if self.is_before_restart(found, event) {
            (Promise::P3, "given new credentials after everything was started again, against an acknowledgement")
        } else if self.hearsay[found.event] {
            (Promise::P5, "given new credentials after it was said to be over")
        } else {
            (Promise::P1, "given new credentials after its end was acknowledged")
        };
        findings.accuse(promise, &[opened.event, found.event, index], format!("a session was {what}"));
    }
}

/// Each family goes forward.
fn tickets(facts: &Facts<'_>, findings: &mut Findings) {
    for (&session, family) in &facts.families {
        for (before, after) in family.forks() {
            // What a loss takes back may be done again, and otherwise.
            if !facts.may_be_unknown(session, facts.history.events[after].ended) {
                findings.accuse(Promise::Refresh, &[before, after], "one ticket has got two successors");
            }
        }
    }
    for (index, event) in facts.history.events.iter().enumerate() {
        let Answer::Issued { session, ticket: Some(ticket), .. } = event.answer else { continue };
        let replaced = facts.families.get(&session).and_then(|family| family.replaced(ticket));
        let Some(replaced) = replaced.filter(|replaced| replaced.at < event.began) else { continue };
        if !facts.is_lost(Span { began: replaced.at, ended: replaced.at }, event.ended) {
            let what = "a ticket was given out that another one had replaced before";
            findings.accuse(Promise::Refresh, &[replaced.event, index], what);
        }
    }
}
