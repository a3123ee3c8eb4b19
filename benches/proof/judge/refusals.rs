//! What was refused and should not have been: P6, and sessions that are gone.

use std::collections::HashMap;

use crate::history::{Answer, Asked, Event, Moment, Session, Token, User};

use super::{
    Findings, Promise,
    cover::{Cover, Entry, Scope},
    facts::{Act, Facts, Given, Span},
    logins::Accounts,
};

/// What may be the reason of a refusal.
#[derive(Debug)]
pub(super) struct Blame {
    ends: Cover,
    takes: Cover,
    /// By user: since when any session may have been ended, and any access token by itself.
    since: HashMap<User, Since>,
}

/// Nobody knows which of a user's sessions has asked for some acts: then whatever may have met any of them counts.
#[derive(Debug, Clone, Copy)]
struct Since {
    ended: Moment,
    taken: Moment,
}

impl Blame {
    pub(super) fn of(acts: &[Act]) -> Self {
        let real = acts.iter().filter(|act| !act.is_hearsay);
        let entry = |act: &Act| {
            let until =
                if matches!(act.scope, Scope::User(_) | Scope::Roles(_)) { act.effect.ended } else { Moment::MAX };
            (act.scope, Entry { until, at: act.effect.began, keep: act.keep, event: act.event })
        };
        let is_take = |act: &&Act| matches!(act.scope, Scope::Roles(_) | Scope::Token(_));
        let mut since: HashMap<User, Since> = HashMap::new();
        for act in real.clone() {
            let known = since.entry(act.user).or_insert(Since { ended: Moment::MAX, taken: Moment::MAX });
            let first = if is_take(&act) { &mut known.taken } else { &mut known.ended };
            *first = act.effect.began.min(*first);
        }
        Self {
            ends: Cover::of(real.clone().filter(|act| !is_take(act)).map(entry)),
            takes: Cover::of(real.filter(is_take).map(entry)),
            since,
        }
    }

    /// Whether a session may have been ended by then.
    pub(super) fn may_end(&self, facts: &Facts<'_>, user: User, session: Session, by: Moment) -> bool {
        let opened = facts.sessions.get(&session).map_or(0, |opened| opened.span.began);
        self.ends.of_session(user, session, opened).is_some_and(|found| found.at <= by)
    }

    /// Whether an access token may have been ended by then, its session alive.
    fn may_take(&self, token: Token, given: Given, by: Moment) -> bool {
        self.takes.of_token(given.user, token, given.span.began).is_some_and(|found| found.at <= by)
    }

    /// Whether nothing but a fault of the service can make a check of this token fail.
    pub(super) fn is_living(&self, facts: &Facts<'_>, token: Token, given: Given, by: Moment) -> bool {
        !self.may_end(facts, given.user, given.session, by)
            && !self.may_take(token, given, by)
            && !facts.may_be_expired(given.span, by)
            && !facts.may_be_gone(given.span, by)
    }

    /// Whether some session of a user may have been ended by then.
    fn may_end_any(&self, user: User, by: Moment) -> bool {
        self.since.get(&user).is_some_and(|since| since.ended <= by)
    }

    /// Whether some access token of a session may have been ended by then, and the session not.
    fn may_take_of(&self, facts: &Facts<'_>, session: Session, by: Moment) -> bool {
        let mut tokens = facts.tokens.iter().filter(|(_, given)| given.session == session);
        tokens.any(|(&token, &given)| self.may_take(token, given, by))
    }

    /// Whether some access token of a user may have been ended by then, its session alive.
    fn may_take_any(&self, user: User, by: Moment) -> bool {
        self.since.get(&user).is_some_and(|since| since.taken <= by)
    }
}

/// Looks at everything that was refused.
pub(super) fn check(facts: &Facts<'_>, blame: &Blame, accounts: &Accounts, findings: &mut Findings) {
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
                    "conflict" => is_met(facts, event, index, (user, Some(session))),
                    _ => false,
                };
                let is_gone = is_session_gone(facts, opened, event) || facts.may_be_unknown(session, event.ended);
                if !is_excused && !is_gone {
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
            _ => {
                if !may_be_refused(facts, (blame, accounts), index, event, problem) {
                    let what = format!("an act was refused by {problem} without a reason");
                    findings.accuse(Promise::P6, &[index], what);
                }
            }
        }
    }
}

/// An act is refused if its caller's credentials are dead, or what it names is gone, or somebody was faster.
fn may_be_refused(
    facts: &Facts<'_>,
    (blame, accounts): (&Blame, &Accounts),
    index: usize,
    event: &Event,
    problem: &str,
) -> bool {
    let Some(user) = event.asked.user() else { return true };
    let by = event.ended;
    let caller = Caller::of(facts, event);
    match problem {
        "conflict" => is_met(facts, event, index, (user, None)),
        "not-found" => match event.asked {
            Asked::EndSession { session, .. } | Asked::EndToken { session, .. } => {
                blame.may_end(facts, user, session, by) || facts.may_be_unknown(session, by)
            }
            _ => false,
        },
        "account-banned" => caller.has_session() && accounts.may_be_banned(facts, event),
        "password-wrong" | "credentials-invalid" => {
            matches!(event.asked, Asked::Password { .. }) && accounts.may_have_another_password(facts, event)
        }
        "session-ended" => match caller {
            Caller::Operator => false,
            Caller::Known(session, _) => blame.may_end(facts, user, session, by) || caller.may_be_lost(facts, by),
            Caller::Unknown(_) => blame.may_end_any(user, by) || caller.may_be_lost(facts, by),
        },
        "token-expired" => match caller {
            Caller::Operator => false,
            Caller::Known(session, opened) => facts.may_be_expired(opened, by) || blame.may_take_of(facts, session, by),
            Caller::Unknown(first) => facts.may_be_expired(first, by) || blame.may_take_any(user, by),
        },
        // Whose ledger is another one now, nobody knows their token any more; nor does who has not heard of the time yet.
        "token-invalid" => caller.may_be_lost(facts, by) || caller.may_be_of_the_future(facts, user, by),
        _ => false,
    }
}

/// Who asks for an act.
#[derive(Debug, Clone, Copy)]
enum Caller {
    /// Who manages the service: no session, no password.
    Operator,
    /// This session, and when it was opened.
    Known(Session, Span),
    /// One of the user's, of which the first was opened then; or an operator.
    Unknown(Span),
}

impl Caller {
    fn of(facts: &Facts<'_>, event: &Event) -> Self {
        let user = event.asked.user();
        let of_user = facts.sessions.values().filter(|given| Some(given.user) == user).map(|given| given.span);
        let first = || of_user.min_by_key(|span| span.began).unwrap_or(event.span());
        match event.asked {
            Asked::EndToken { .. } | Asked::Ban { .. } | Asked::Unban { .. } | Asked::Roles { .. } => Self::Operator,
            Asked::EndAll { keep: Some(session), .. } | Asked::Password { keep: session, .. } => {
                Self::Known(session, facts.sessions.get(&session).map_or_else(first, |opened| opened.span))
            }
            _ => Self::Unknown(first()),
        }
    }

    const fn has_session(self) -> bool {
        !matches!(self, Self::Operator)
    }

    /// Whether its access token may be one of the future.
    fn may_be_of_the_future(self, facts: &Facts<'_>, user: User, by: Moment) -> bool {
        let is_its = |given: &Given| match self {
            Self::Operator => false,
            Self::Known(session, _) => given.session == session,
            Self::Unknown(_) => given.user == user,
        };
        let mut tokens = facts.tokens.values().filter(|given| given.span.began < by && is_its(given));
        tokens.any(|given| facts.may_be_of_the_future(given.span))
    }

    /// Whether the session may be gone with a ledger.
    fn may_be_lost(self, facts: &Facts<'_>, by: Moment) -> bool {
        match self {
            Self::Operator => false,
            Self::Known(session, opened) => facts.may_be_gone(opened, by) || facts.may_be_unknown(session, by),
            Self::Unknown(first) => facts.may_be_gone(first, by) || facts.has_lost(first, by),
        }
    }
}

/// Whether the session itself may be gone with the login, by a loss that a fault states.
fn is_session_gone(facts: &Facts<'_>, given: Given, event: &Event) -> bool {
    let opened = facts.sessions.get(&given.session).map_or(given.span, |opened| opened.span);
    facts.may_be_gone(opened, event.ended)
}

/// Whether something else of this user happened at the same time; where it is about a session, not a refresh of another.
fn is_met(facts: &Facts<'_>, event: &Event, index: usize, (user, session): (User, Option<Session>)) -> bool {
    facts.history.events.iter().enumerate().any(|(other, it)| {
        let is_near = match it.asked {
            Asked::Refresh { session: of, .. } if session.is_some() => session == Some(of),
            asked => asked.user() == Some(user),
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
