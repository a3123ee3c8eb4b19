//! The exact look of one node (R7): what it knows, a Redis that loses what it likes, and the ledger.
//!
//! Two tokens have the same bits in the filter, so each is a "maybe" when either is in it. The node's lease is valid all
//! the time: that is the other model's. A receipt is given when the node has applied the commit.

use stateright::{Model, Property};

use crate::world::{Bits, bit, bits};

/// One rule, read in another way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// A miss in Redis means "not revoked".
    MissTrusted,
    /// What was found "not revoked" stays so.
    RememberedForGood,
    /// What was applied is read after the look.
    AsOfAfterLook,
    /// What was known before a load counts after it.
    KnownOverLoads,
    /// Any server answers that has as many transactions.
    ByNumber,
    /// What a server must have is read before what is applied.
    AskedOfBefore,
}

/// The model.
#[derive(Debug, Clone, Default)]
pub struct Exact {
    /// How often the ledger loses its last commit, and the node loads again.
    pub losses: u8,
    /// Whether there is a Redis. Without one it is asked in vain, as one that has lost everything.
    pub has_redis: bool,
    /// Whether two checks may look at once.
    pub two_looks: bool,
    /// Whether the server that was replaced still answers looks.
    pub zombie: bool,
    pub wrong: Option<Wrong>,
}

/// As of when an answer is the whole truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct AsOf {
    load: u8,
    seq: u8,
}

/// What was applied, in order: a digit for each.
pub type History = u8;

/// A check that the filter was not sure of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Look {
    token: u8,
    /// It began after the receipt.
    is_covered: bool,
    has_asked_redis: bool,
    as_of: Option<AsOf>,
    /// The history that the server must have that answers.
    has: Option<History>,
    /// Whether the ledger names the token.
    found: Option<bool>,
}

/// Everything.
#[expect(clippy::struct_excessive_bools, reason = "what has happened, for what must be seen")]
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct State {
    /// Tokens in the order of their commits.
    ledger: Vec<u8>,
    /// What the server had, or has, that was replaced.
    old: Option<Vec<u8>>,
    /// What the node has applied, in order.
    applied: Vec<u8>,
    loads: u8,
    is_loading: bool,
    touched: [u8; 2],
    known: [Option<(bool, AsOf)>; 2],
    looks: [Option<Look>; 2],
    redis: Bits,
    replica: Bits,
    receipts: Bits,
    losses: u8,
    is_broken: bool,
    /// A check has asked a Redis that lacks what was revoked.
    has_missed: bool,
    /// A look that was remembered has answered.
    has_known: bool,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Commit(u8),
    /// The node takes in the next commit.
    Apply,
    Receipt(u8),
    /// The writer tells Redis.
    Tell(u8),
    /// The replica takes what Redis has.
    Replicate,
    /// The replica takes over, with what it has.
    FailOver,
    Flush,
    /// The ledger loses its last commit.
    Lose,
    /// Another server takes over, with everything.
    Replace,
    Load,
    Begin(u8),
    AskRedis(usize),
    ReadAsOf(usize),
    ReadHas(usize),
    AskLedger(usize),
    AskZombie(usize),
    Conclude(usize),
}

impl Model for Exact {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State { losses: self.losses, ..State::default() }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Step>) {
        for token in 0..2 {
            actions.extend([Step::Commit(token), Step::Receipt(token), Step::Begin(token)]);
            if self.has_redis {
                actions.push(Step::Tell(token));
            }
        }
        actions.extend([Step::Apply, Step::Lose, Step::Load]);
        if self.has_redis {
            actions.extend([Step::Replicate, Step::FailOver, Step::Flush]);
        }
        if self.zombie {
            actions.push(Step::Replace);
        }
        for (i, _) in state.looks.iter().enumerate().filter(|(_, look)| look.is_some()) {
            actions.extend([
                Step::AskRedis(i),
                Step::ReadAsOf(i),
                Step::ReadHas(i),
                Step::AskLedger(i),
                Step::Conclude(i),
            ]);
            if self.zombie {
                actions.push(Step::AskZombie(i));
            }
        }
    }

    fn next_state(&self, before: &State, step: Step) -> Option<State> {
        let mut state = before.clone();
        self.step(&mut state, step)?;
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties =
            vec![Property::always("P1: after its receipt every check denies", |_: &Self, state: &State| {
                !state.is_broken
            })];
        if self.wrong.is_none() {
            properties.extend([
                Property::sometimes("a Redis without it is asked after the receipt", |_: &Self, state: &State| {
                    state.has_missed
                }),
                Property::sometimes("what is known answers", |_: &Self, state: &State| state.has_known),
                Property::sometimes("two are revoked", |_: &Self, state: &State| state.receipts == 3),
            ]);
        }
        properties
    }
}

impl Exact {
    fn step(&self, state: &mut State, step: Step) -> Option<()> {
        match step {
            Step::Commit(token) => (!state.ledger.contains(&token)).then(|| state.ledger.push(token))?,
            Step::Apply => {
                let next = *state.ledger.get(state.applied.len()).filter(|_| !state.is_loading)?;
                state.applied.push(next);
                state.touched[usize::from(next)] = number(&state.applied);
            }
            Step::Receipt(token) => {
                let is_applied = !state.is_loading && state.applied.contains(&token) && state.ledger.contains(&token);
                is_applied.then(|| state.receipts |= bit(token))?;
            }
            Step::Tell(token) => state.ledger.contains(&token).then(|| state.redis |= bit(token))?,
            Step::Replicate => state.replica = state.redis,
            Step::FailOver => state.redis = state.replica,
            Step::Flush => state.redis = 0,
            Step::Lose => {
                state.losses = state.losses.checked_sub(1)?;
                state.old = Some(state.ledger.clone());
                let lost = state.ledger.pop()?;
                // The receipt is void; an alarm says so.
                state.receipts &= !bit(lost);
                for look in state.looks.iter_mut().flatten().filter(|look| look.token == lost) {
                    look.is_covered = false;
                }
                // The other model shows that the node notices.
                state.is_loading = true;
            }
            Step::Replace => {
                state.losses = state.losses.checked_sub(1)?;
                state.old = Some(state.ledger.clone());
            }
            Step::Load => {
                state.is_loading.then_some(())?;
                state.is_loading = false;
                state.applied.clone_from(&state.ledger);
                state.loads += 1;
                if self.wrong != Some(Wrong::KnownOverLoads) {
                    state.known = [None, None];
                }
            }
            Step::Begin(token) => self.begin(state, token)?,
            Step::AskRedis(i) => self.ask_redis(state, i)?,
            Step::ReadAsOf(i) => {
                let as_of = as_of(state);
                let is_early = self.wrong != Some(Wrong::AsOfAfterLook);
                let look = state.looks[i].as_mut().filter(|look| look.has_asked_redis && look.as_of.is_none())?;
                let is_next = self.wrong != Some(Wrong::AskedOfBefore) || look.has.is_some();
                (is_next && look.found.is_none() == is_early).then(|| look.as_of = Some(as_of))?;
            }
            Step::ReadHas(i) => {
                let has = history(&state.applied);
                let is_early = matches!(self.wrong, Some(Wrong::AsOfAfterLook | Wrong::AskedOfBefore));
                let look = state.looks[i].as_mut().filter(|look| look.has_asked_redis && look.has.is_none())?;
                (look.as_of.is_none() == is_early).then(|| look.has = Some(has))?;
            }
            Step::AskLedger(i) => {
                let ledger = state.ledger.clone();
                self.ask(state, i, &ledger)?;
            }
            Step::AskZombie(i) => {
                let old = state.old.clone()?;
                self.ask(state, i, &old)?;
            }
            Step::Conclude(i) => {
                let Look { token, is_covered, as_of: Some(as_of), found: Some(found), .. } = state.looks[i]? else {
                    return None;
                };
                state.known[usize::from(token)] = Some((found, as_of));
                state.is_broken |= is_covered && !found;
                state.looks[i] = None;
            }
        }
        Some(())
    }

    /// A check begins: the filter, then what is known.
    fn begin(&self, state: &mut State, token: u8) -> Option<()> {
        let is_covered = state.receipts & bit(token) != 0;
        let at_once = if self.two_looks { 2 } else { 1 };
        let i = state.looks[..at_once].iter().position(Option::is_none).filter(|_| !state.is_loading)?;
        if state.applied.is_empty() {
            state.is_broken |= is_covered;
            return Some(());
        }
        if let Some((is_dead, as_of)) = state.known[usize::from(token)] {
            let is_untouched = state.touched[usize::from(token)] <= as_of.seq;
            let counts = match self.wrong {
                Some(Wrong::RememberedForGood) => true,
                Some(Wrong::KnownOverLoads) => is_untouched,
                _ => is_untouched && state.loads == as_of.load,
            };
            if is_dead || counts {
                state.has_known |= !is_dead;
                state.is_broken |= !is_dead && is_covered;
                return Some(());
            }
        }
        state.looks[i] = Some(Look { token, is_covered, has_asked_redis: false, as_of: None, has: None, found: None });
        Some(())
    }

    fn ask_redis(&self, state: &mut State, i: usize) -> Option<()> {
        let look = state.looks[i].filter(|look| !look.has_asked_redis)?;
        if bits(state.redis).any(|token| token == look.token) {
            state.known[usize::from(look.token)] = Some((true, as_of(state)));
            state.looks[i] = None;
            return Some(());
        }
        state.has_missed |= look.is_covered;
        state.looks[i] = Some(Look { has_asked_redis: true, ..look });
        if self.wrong == Some(Wrong::MissTrusted) {
            state.is_broken |= look.is_covered;
            state.looks[i] = None;
        }
        Some(())
    }

    /// A server answers, if it has what the node has applied.
    fn ask(&self, state: &mut State, i: usize, server: &[u8]) -> Option<()> {
        let is_early = self.wrong != Some(Wrong::AsOfAfterLook);
        let look = state.looks[i].as_mut().filter(|look| look.has_asked_redis && look.found.is_none())?;
        let has = look.has.filter(|_| look.as_of.is_some() == is_early)?;
        let stood = |n: usize| match self.wrong {
            Some(Wrong::ByNumber) => length(has) == n,
            _ => history(&server[..n]) == has,
        };
        (0..=server.len()).any(stood).then_some(())?;
        look.found = Some(server.contains(&look.token));
        Some(())
    }
}

fn history(applied: &[u8]) -> History {
    applied.iter().fold(0, |history, token| 3 * history + token + 1)
}

fn length(history: History) -> usize {
    if history == 0 { 0 } else { 1 + length(history / 3) }
}

fn as_of(state: &State) -> AsOf {
    AsOf { load: state.loads, seq: number(&state.applied) }
}

fn number(applied: &[u8]) -> u8 {
    u8::try_from(applied.len()).unwrap_or(u8::MAX)
}

/// One node and a Redis.
pub fn redis() -> Exact {
    Exact { has_redis: true, ..Exact::default() }
}

/// The ledger loses a commit.
pub fn lost() -> Exact {
    Exact { losses: 1, ..Exact::default() }
}

/// A server is replaced, with or without its last commit, and answers looks as before.
pub fn replaced() -> Exact {
    Exact { zombie: true, ..lost() }
}
