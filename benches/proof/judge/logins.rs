//! Logins: who may, who may not, and who must be told so.

use std::collections::HashMap;

use crate::history::{Answer, Asked, Event, Moment, User};

use super::{
    Findings, Promise,
    facts::{Facts, SECOND, Span},
};

/// What decides about the logins of each user.
#[derive(Debug)]
pub(super) struct Accounts(HashMap<User, Account>);

/// What decides about those of one.
#[derive(Debug, Default)]
struct Account {
    /// Bans, with their receipts or not.
    bans: Vec<Done>,
    /// Bans that were acknowledged, by their ends; with each the one that began last so far.
    certain: Vec<(Moment, Done)>,
    /// Ends of bans.
    lifted: Vec<Done>,
    /// Changes of the password.
    passwords: Vec<Done>,
    /// Everything else that may change the account, with logins.
    others: Vec<Span>,
}

#[derive(Debug, Clone, Copy)]
struct Done {
    effect: Span,
    is_certain: bool,
    event: usize,
}

/// Looks at every login.
pub(super) fn check(facts: &Facts<'_>, Accounts(accounts): &Accounts, findings: &mut Findings) {
    for (index, event) in facts.history.events.iter().enumerate() {
        let Asked::LogIn { user } = event.asked else { continue };
        let Some(account) = accounts.get(&user) else { continue };
        match &event.answer {
            Answer::Issued { .. } => {
                if let Some(ban) = account.ban_against(facts, event) {
                    findings.accuse(Promise::P1, &[ban, index], "a login under a ban that was acknowledged");
                }
            }
            Answer::Denied { problem } => {
                let is_excused = match problem.as_str() {
                    "account-banned" => account.may_be_banned(facts, event),
                    "credentials-invalid" => account.may_have_another_password(facts, event),
                    "conflict" => account.others.iter().filter(|other| other.meets(event)).count() > 1,
                    _ => false,
                };
                if !is_excused {
                    findings.accuse(
                        Promise::P6,
                        &[index],
                        format!("a login was refused by {problem} without a reason"),
                    );
                }
            }
            _ => {}
        }
    }
}

impl Accounts {
    pub(super) fn of(facts: &Facts<'_>) -> Self {
        Self(gather(facts))
    }

    /// Whether whoever asks may be banned.
    pub(super) fn may_be_banned(&self, facts: &Facts<'_>, event: &Event) -> bool {
        self.of_user(event).is_some_and(|account| account.may_be_banned(facts, event))
    }

    /// Whether whoever asks may not have the password that their client knows.
    pub(super) fn may_have_another_password(&self, facts: &Facts<'_>, event: &Event) -> bool {
        self.of_user(event).is_some_and(|account| account.may_have_another_password(facts, event))
    }

    fn of_user(&self, event: &Event) -> Option<&Account> {
        self.0.get(&event.asked.user()?)
    }
}

fn gather(facts: &Facts<'_>) -> HashMap<User, Account> {
    let mut accounts: HashMap<User, Account> = HashMap::new();
    for (event, it) in facts.history.events.iter().enumerate() {
        let (Some(user), Some(effect)) = (it.asked.user(), facts.effect(it)) else {
            // A login that was refused may have got in the way of another, as it counts tries.
            continue;
        };
        let account = accounts.entry(user).or_default();
        let is_certain = matches!(it.answer, Answer::Allowed | Answer::Issued { .. } | Answer::Receipt(_));
        let done = Done { effect, is_certain, event };
        account.others.push(effect);
        match it.asked {
            Asked::Ban { .. } => account.bans.push(done),
            Asked::Unban { .. } => account.lifted.push(done),
            Asked::Password { .. } => account.passwords.push(done),
            _ => {}
        }
    }
    for account in accounts.values_mut() {
        let mut certain: Vec<Done> = account.bans.iter().copied().filter(|ban| ban.is_certain).collect();
        certain.sort_by_key(|ban| ban.effect.ended);
        for ban in certain {
            let best = account.certain.last().map(|(_, best)| *best);
            let best = best.filter(|best| best.effect.began >= ban.effect.began).unwrap_or(ban);
            account.certain.push((ban.effect.ended, best));
        }
    }
    accounts
}

impl Account {
    /// The ban that a login must have met.
    fn ban_against(&self, facts: &Facts<'_>, event: &Event) -> Option<usize> {
        let before = self.certain.partition_point(|(ended, _)| *ended < event.began);
        let (_, ban) = *self.certain.get(before.checked_sub(1)?)?;
        // Whatever may have lifted it after it may have begun.
        let may_lift = |lifted: &Done| lifted.effect.ended > ban.effect.began && lifted.effect.began < event.ended;
        (!self.lifted.iter().any(may_lift) && !facts.is_lost(ban.effect, event.ended)).then_some(ban.event)
    }

    /// Whether a ban may have been in force. A loss may have taken back what has lifted it.
    fn may_be_banned(&self, facts: &Facts<'_>, event: &Event) -> bool {
        let bans = self.bans.iter().filter(|ban| ban.effect.began < event.ended);
        // If the ban that may have come last was certainly lifted, then every other one was.
        bans.max_by_key(|ban| ban.effect.ended).is_some_and(|ban| {
            let is_lifted = |lifted: &Done| {
                let is_after = lifted.effect.began > ban.effect.ended && lifted.effect.ended < event.began;
                lifted.is_certain && is_after && !facts.is_lost(lifted.effect, event.ended)
            };
            !self.lifted.iter().any(is_lifted)
        })
    }

    /// Whether the password may be another one than the client knows.
    fn may_have_another_password(&self, facts: &Facts<'_>, event: &Event) -> bool {
        self.passwords.iter().any(|change| change.may_meet(facts, event))
    }
}

impl Done {
    /// Whether a login may have come with the password of before: whoever logs in has heard of a change a moment later.
    /// Of a change that was not answered, or that a loss may have taken back, nobody knows which password holds.
    fn may_meet(&self, facts: &Facts<'_>, event: &Event) -> bool {
        let is_open = !self.is_certain || facts.is_lost(self.effect, event.ended);
        self.effect.began < event.ended && (is_open || self.effect.ended + SECOND > event.began)
    }
}

impl Span {
    /// Whether it overlaps an event.
    fn meets(&self, event: &Event) -> bool {
        self.began < event.ended && self.ended > event.began
    }
}
