//! Histories of a perfect service, and the same with one event changed to what may not be.

use std::{collections::BTreeMap, ops::Range};

use rand::{SeedableRng, rngs::StdRng, seq::IteratorRandom};

use crate::{
    Failure,
    history::{Answer, Asked, Event, Fault, History, Session, Ticket, Token},
};

use super::{
    facts::{Facts, SECOND, is_of},
    judge, names,
    refusals::Blame,
    simulator::{self, denied},
    waits,
};

/// How long each history goes on before everything is started again.
const UNTIL: u64 = 40 * SECOND;

/// One way of being wrong: changes one event, and says which; `None` if this history has none that could be changed so.
type Mutation = fn(&mut History, &Facts<'_>, &Blame, &mut StdRng) -> Option<usize>;

/// All of them.
const MUTATIONS: [(&str, Mutation); 20] = [
    ("a dead token is allowed", revive),
    ("a dead token is allowed at the end", revive_at_the_end),
    ("a node that is cut off allows", overstay),
    ("a living token is refused", refuse),
    ("a living token has expired", expire),
    ("a living token is called invalid", disown),
    ("a living token is not known", shrug),
    ("a check is not answered", hush),
    ("an answer is strange", babble),
    ("a receipt is late", delay),
    ("a dead session is refreshed", renew),
    ("a refresh gives another successor", fork),
    ("a refresh brings the credentials of another session", mistake),
    ("a login brings the session of another user", share),
    ("a token comes a second time", repeat),
    ("a receipt says itself that it was late", drag),
    ("somebody banned logs in", admit),
    ("nobody banned is refused", repel),
    ("an operator is refused as a session that is over", depose),
    ("a session that lives is refused as over when it asks for an act", rebuff),
];

/// How often each could be tried.
pub(super) type Tried = BTreeMap<&'static str, u32>;

/// Makes up a history for each seed, and judges it as it is and with each change.
///
/// # Errors
/// A history that was judged wrongly.
pub(super) fn check(seeds: Range<u64>) -> Result<Tried, Failure> {
    let mut tried = MUTATIONS.iter().map(|&(name, _)| (name, 0)).collect();
    for seed in seeds {
        let history = simulator::history(seed, UNTIL);
        let findings = judge(&history);
        if !findings.is_clean() {
            let told = findings.tell(&history);
            return Err(format!("the judge blames a perfect service, seed {seed}:\n{told}").into());
        }
        change(&history, seed, &mut tried)?;
    }
    Ok(tried)
}

/// Judges a clean history with each change. What a loss leaves open no change can decide: such a history is passed over.
///
/// # Errors
/// A change that was not found.
pub(super) fn change(history: &History, seed: u64, tried: &mut Tried) -> Result<(), Failure> {
    let facts = Facts::of(history);
    if facts.eras() > 1 {
        return Ok(());
    }
    let blame = Blame::of(&facts.acts());
    let mut rng = StdRng::seed_from_u64(seed);
    for (name, mutation) in MUTATIONS {
        let mut changed = history.clone();
        let Some(event) = mutation(&mut changed, &facts, &blame, &mut rng) else { continue };
        *tried.entry(name).or_default() += 1;
        if judge(&changed).is_clean() {
            let line = names::event(&changed, event, &changed.events[event]);
            return Err(format!("the judge does not see that {name}, seed {seed}: {line}").into());
        }
    }
    Ok(())
}

/// One of the events that fit.
fn pick(history: &History, rng: &mut StdRng, fits: impl Fn(&Event) -> bool) -> Option<usize> {
    history.events.iter().enumerate().filter(|(_, event)| fits(event)).map(|(index, _)| index).choose(rng)
}

fn answer(history: &mut History, event: Option<usize>, answer: Answer) -> Option<usize> {
    history.events[event?].answer = answer;
    event
}

/// Whether no fault has anything to do with it.
fn is_quiet(facts: &Facts<'_>, event: &Event) -> bool {
    facts.met(event).next().is_none()
}

/// An allow of a token that nobody may have ended.
fn living(history: &History, facts: &Facts<'_>, blame: &Blame, rng: &mut StdRng) -> Option<usize> {
    pick(history, rng, |event| {
        let Asked::Check { token } = event.asked else { return false };
        let is_living = |given| blame.is_living(facts, token, given, event.ended);
        event.answer == Answer::Allowed && facts.tokens.get(&token).copied().is_some_and(is_living)
    })
}

/// A check by the node that had refused it before.
fn refused_before(event: &Event, all: &[Event]) -> bool {
    let is_dead = |it: &Event| it.answer == denied("session-ended");
    is_dead(event)
        && all
            .iter()
            .any(|it| it.asked == event.asked && it.node == event.node && is_dead(it) && it.ended < event.began)
}

fn revive(history: &mut History, _: &Facts<'_>, _: &Blame, rng: &mut StdRng) -> Option<usize> {
    let event = pick(history, rng, |event| refused_before(event, &history.events));
    answer(history, event, Answer::Allowed)
}

fn revive_at_the_end(history: &mut History, facts: &Facts<'_>, _: &Blame, rng: &mut StdRng) -> Option<usize> {
    let receipts = |session| {
        let named = move |it: &&Event| matches!(it.asked, Asked::EndSession { session: of, .. } if of == session);
        history.events.iter().filter(named).any(|it| it.answer.receipt().is_some())
    };
    let event = pick(history, rng, |event| {
        let Asked::Check { token } = event.asked else { return false };
        let is_ended = facts.tokens.get(&token).is_some_and(|given| receipts(given.session));
        is_ended && history.restarted.is_some_and(|restarted| restarted < event.began)
    });
    answer(history, event, Answer::Allowed)
}

fn overstay(history: &mut History, facts: &Facts<'_>, _: &Blame, rng: &mut StdRng) -> Option<usize> {
    let event = pick(history, rng, |event| {
        let is_over =
            |fault: &Fault| event.began > fault.in_force + facts.hold + SECOND / 2 && event.ended < fault.healing;
        let cuts = |fault: &&Fault| fault.permits.cuts_ledger && is_of(fault, event.node);
        let mut faults = history.faults.iter().filter(cuts);
        matches!(event.asked, Asked::Check { .. }) && faults.any(is_over)
    });
    answer(history, event, Answer::Allowed)
}

fn refuse(history: &mut History, facts: &Facts<'_>, blame: &Blame, rng: &mut StdRng) -> Option<usize> {
    let event = living(history, facts, blame, rng);
    answer(history, event, denied("session-ended"))
}

fn expire(history: &mut History, facts: &Facts<'_>, blame: &Blame, rng: &mut StdRng) -> Option<usize> {
    let event = living(history, facts, blame, rng);
    answer(history, event, denied("token-expired"))
}

fn disown(history: &mut History, facts: &Facts<'_>, blame: &Blame, rng: &mut StdRng) -> Option<usize> {
    let event = living(history, facts, blame, rng);
    let Asked::Check { token } = history.events[event?].asked else { return None };
    let is_known = facts.tokens.get(&token).is_some_and(|given| !facts.may_be_of_the_future(given.span));
    answer(history, event.filter(|_| is_known), denied("token-invalid"))
}

fn shrug(history: &mut History, facts: &Facts<'_>, _: &Blame, rng: &mut StdRng) -> Option<usize> {
    let event = pick(history, rng, |event| is_quiet(facts, event));
    answer(history, event, Answer::Unavailable)
}

fn hush(history: &mut History, facts: &Facts<'_>, _: &Blame, rng: &mut StdRng) -> Option<usize> {
    let event = pick(history, rng, |event| matches!(event.asked, Asked::Check { .. }) && is_quiet(facts, event));
    answer(history, event, Answer::Lost)
}

fn babble(history: &mut History, _: &Facts<'_>, _: &Blame, rng: &mut StdRng) -> Option<usize> {
    let event = pick(history, rng, |_| true);
    answer(history, event, Answer::Strange { what: "418".to_owned() })
}

fn delay(history: &mut History, facts: &Facts<'_>, _: &Blame, rng: &mut StdRng) -> Option<usize> {
    let event = pick(history, rng, |event| {
        let is_complete = event.answer.receipt().is_some_and(|receipt| receipt.is_complete);
        is_complete && is_quiet(facts, event)
    })?;
    let over = history.faults.iter().map(|fault| facts.recovered(fault)).max().unwrap_or(0);
    let it = &mut history.events[event];
    it.ended = over.max(it.began) + waits::bound(facts) + waits::SLACK + SECOND;
    Some(event)
}

fn renew(history: &mut History, _: &Facts<'_>, _: &Blame, rng: &mut StdRng) -> Option<usize> {
    let certain = |event: &Event, of: Session| {
        let is_end = |it: &Event| matches!(it.asked, Asked::EndSession { session, .. } if session == of);
        let acts = || history.events.iter().filter(|it| is_end(it) && it.answer.receipt().is_some());
        acts().any(|it| it.ended < event.began)
    };
    let event = pick(history, rng, |event| match event.asked {
        Asked::Refresh { session, .. } => event.answer == denied("session-ended") && certain(event, session),
        _ => false,
    });
    let Asked::Refresh { session, ticket, .. } = history.events[event?].asked else { return None };
    answer(history, event, Answer::Issued { session, token: Token(u32::MAX), ticket: Some(ticket), receipt: None })
}

fn fork(history: &mut History, _: &Facts<'_>, _: &Blame, rng: &mut StdRng) -> Option<usize> {
    let shares = |event: &Event, ticket: Ticket| {
        let same = |it: &&Event| matches!(it.asked, Asked::Refresh { ticket: of, .. } if of == ticket);
        let issued = history.events.iter().filter(same).filter(|it| matches!(it.answer, Answer::Issued { .. }));
        // Nobody has used the successor: so nothing but that one may come.
        let is_used = |next: Ticket| {
            history.events.iter().any(|it| matches!(it.asked, Asked::Refresh { ticket, .. } if ticket == next))
        };
        let Answer::Issued { ticket: Some(next), .. } = event.answer else { return false };
        issued.count() > 1 && !is_used(next)
    };
    let event = pick(history, rng, |event| match event.asked {
        Asked::Refresh { ticket, .. } => shares(event, ticket),
        _ => false,
    });
    let Answer::Issued { session, token, receipt, .. } = history.events[event?].answer else { return None };
    answer(history, event, Answer::Issued { session, token, ticket: Some(Ticket(u32::MAX)), receipt })
}

fn mistake(history: &mut History, _: &Facts<'_>, _: &Blame, rng: &mut StdRng) -> Option<usize> {
    let event = pick(history, rng, |event| {
        matches!((event.asked, &event.answer), (Asked::Refresh { .. }, Answer::Issued { .. }))
    });
    let (of, last) = (event?, history.events.iter().map(|event| &event.answer));
    let Answer::Issued { session: own, token, ticket, receipt } = history.events[of].answer else { return None };
    let session = last.filter_map(issued_to).filter(|session| *session != own).choose(rng)?;
    answer(history, event, Answer::Issued { session, token, ticket, receipt })
}

const fn issued_to(answer: &Answer) -> Option<Session> {
    match *answer {
        Answer::Issued { session, .. } => Some(session),
        _ => None,
    }
}

/// A login, and another one of somebody else that was answered before.
fn two_logins(history: &History, rng: &mut StdRng) -> Option<(usize, usize)> {
    let is_login = |event: &Event| matches!((event.asked, &event.answer), (Asked::LogIn { .. }, Answer::Issued { .. }));
    let later = pick(history, rng, is_login)?;
    let asked = history.events[later].asked;
    let earlier = history.events[..later].iter().enumerate();
    let earlier = earlier.filter(|(_, event)| is_login(event) && event.asked != asked).map(|(index, _)| index);
    Some((earlier.choose(rng)?, later))
}

fn share(history: &mut History, _: &Facts<'_>, _: &Blame, rng: &mut StdRng) -> Option<usize> {
    let (earlier, later) = two_logins(history, rng)?;
    let session = issued_to(&history.events[earlier].answer)?;
    let Answer::Issued { token, ticket, receipt, .. } = history.events[later].answer else { return None };
    answer(history, Some(later), Answer::Issued { session, token, ticket, receipt })
}

fn repeat(history: &mut History, _: &Facts<'_>, _: &Blame, rng: &mut StdRng) -> Option<usize> {
    let (earlier, later) = two_logins(history, rng)?;
    let Answer::Issued { token, .. } = history.events[earlier].answer else { return None };
    let Answer::Issued { session, ticket, receipt, .. } = history.events[later].answer else { return None };
    answer(history, Some(later), Answer::Issued { session, token, ticket, receipt })
}

/// In time by the client's clock, as far as the slack of a machine goes, and late by the service's own.
fn drag(history: &mut History, facts: &Facts<'_>, _: &Blame, rng: &mut StdRng) -> Option<usize> {
    let took = waits::bound(facts) + waits::OWN_SLACK + SECOND + SECOND / 10;
    let asked = |event: &Event| Event { began: event.ended.saturating_sub(took), ..event.clone() };
    let event = pick(history, rng, |event| {
        matches!(event.answer, Answer::Receipt(receipt) if receipt.is_complete) && is_quiet(facts, &asked(event))
    })?;
    let it = &mut history.events[event];
    *it = asked(it);
    if let Answer::Receipt(receipt) = &mut it.answer {
        receipt.elapsed_ms = names::ms(took);
    }
    Some(event)
}

fn admit(history: &mut History, _: &Facts<'_>, _: &Blame, rng: &mut StdRng) -> Option<usize> {
    let is_banned = |event: &Event| {
        let user = event.asked.user();
        let acts = || history.events.iter().filter(move |it| it.asked.user() == user && it.began < event.ended);
        let bans = acts().filter(|it| matches!(it.asked, Asked::Ban { .. }) && it.answer.receipt().is_some());
        let last = bans.filter(|it| it.ended < event.began).map(|it| it.began).max();
        // Whatever has lifted one was over before; and nothing is open.
        let mut lifts = acts().filter(|it| matches!(it.asked, Asked::Unban { .. }));
        last.is_some_and(|ban| lifts.all(|it| it.answer == Answer::Allowed && it.ended < ban))
    };
    let event = pick(history, rng, |event| {
        matches!(event.asked, Asked::LogIn { .. }) && event.answer == denied("account-banned") && is_banned(event)
    });
    let (session, token) = (Session(u32::MAX), Token(u32::MAX));
    answer(history, event, Answer::Issued { session, token, ticket: Some(Ticket(u32::MAX)), receipt: None })
}

fn repel(history: &mut History, _: &Facts<'_>, _: &Blame, rng: &mut StdRng) -> Option<usize> {
    let is_ban = |it: &Event, event: &Event| {
        matches!(it.asked, Asked::Ban { .. }) && it.asked.user() == event.asked.user() && it.began < event.ended
    };
    let event = pick(history, rng, |event| {
        let is_free = !history.events.iter().any(|it| is_ban(it, event));
        matches!(event.asked, Asked::LogIn { .. }) && matches!(event.answer, Answer::Issued { .. }) && is_free
    });
    answer(history, event, denied("account-banned"))
}

fn depose(history: &mut History, _: &Facts<'_>, _: &Blame, rng: &mut StdRng) -> Option<usize> {
    let event = pick(history, rng, |event| {
        matches!(event.asked, Asked::EndToken { .. } | Asked::Ban { .. } | Asked::Unban { .. } | Asked::Roles { .. })
    });
    answer(history, event, denied("session-ended"))
}

fn rebuff(history: &mut History, facts: &Facts<'_>, blame: &Blame, rng: &mut StdRng) -> Option<usize> {
    let event = pick(history, rng, |event| match event.asked {
        Asked::EndAll { user, keep: Some(session) } | Asked::Password { user, keep: session } => {
            !blame.may_end(facts, user, session, event.ended)
        }
        _ => false,
    });
    answer(history, event, denied("session-ended"))
}
