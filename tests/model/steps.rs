//! The model: which steps there are, and what must hold after each.

use stateright::{Model, Property};

use crate::{
    config::{Age, Config},
    node,
    revocation::node::look,
    rules::Misreading,
    tidy,
    world::{By, Check, Phase, Renewal, Step, World, bit, bits},
    writer,
};

/// One step of anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Time passes, for everybody.
    Tick,
    Load(usize),
    Register(usize),
    /// A whole renewal.
    Renew(usize),
    ReadTime(usize),
    Ask(usize),
    AskLate(usize),
    GiveUp(usize),
    ReadBeat(usize),
    Apply(usize),
    Extend(usize),
    Acknowledge(usize),
    Hear(usize, u8),
    Look(usize),
    Expel(usize),
    Settle(usize),
    Leave(usize, bool),
    Stop(usize),
    Crash(usize),
    Restart(usize),
    BuryLiving(usize),
    Mend(usize),
    Reload(usize),
    /// A task reads the clock for the checks.
    Coarse(usize),
    Begin(usize),
    Commit(usize),
    Committed(usize),
    IsGone(usize),
    Answer(usize),
    AskProgress(usize, usize),
    Progress(usize, usize),
    /// A standby, or a backup, takes what there is now. What comes later it does not have.
    Copy,
    /// It takes over, or is restored.
    FailOver,
    /// The server is started again.
    RestartServer,
    BeginCheck(u8),
    ReadClock,
    ReadLease,
    ReadFilter,
}

const NODE_STEPS: [fn(usize) -> Action; 22] = [
    Action::Load,
    Action::Register,
    Action::Renew,
    Action::ReadTime,
    Action::Ask,
    Action::AskLate,
    Action::GiveUp,
    Action::ReadBeat,
    Action::Apply,
    Action::Extend,
    Action::Acknowledge,
    Action::Look,
    Action::Expel,
    Action::Settle,
    Action::Stop,
    Action::Crash,
    Action::Restart,
    Action::BuryLiving,
    Action::Mend,
    Action::Coarse,
    Action::Reload,
    |n| Action::Leave(n, true),
];

const REQUEST_STEPS: [fn(usize) -> Action; 5] =
    [Action::Begin, Action::Commit, Action::Committed, Action::IsGone, Action::Answer];

impl Model for Config {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        actions.push(Action::Tick);
        for n in 0..self.nodes.len() {
            actions.extend(NODE_STEPS.iter().map(|step| step(n)));
            if self.losses {
                actions.push(Action::Leave(n, false));
            }
            actions.extend(bits(world.pushed).map(|mark| Action::Hear(n, mark)));
        }
        for r in 0..self.requests.len() {
            actions.extend(REQUEST_STEPS.iter().map(|step| step(r)));
        }
        if let Some(n) = self.progress {
            let r = self.requests.len() - 1;
            actions.extend([Action::AskProgress(r, n), Action::Progress(r, n)]);
        }
        if self.failovers > 0 {
            actions.extend([Action::Copy, Action::FailOver]);
        }
        if self.restarts > 0 {
            actions.push(Action::RestartServer);
        }
        if self.slow_checks.is_some() {
            actions.extend(bits(world.receipts).map(Action::BeginCheck));
            actions.extend([Action::ReadClock, Action::ReadLease, Action::ReadFilter]);
        }
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        if !self.may(before, action) {
            return None;
        }
        let mut world = before.clone();
        self.step(&mut world, action)?;
        tidy::tidy(&mut world, self, has_beats(action));
        (world != *before).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always("P1: after its receipt every check denies", |config: &Self, world: &World| {
                !world.is_broken
                    && (0..world.nodes.len()).all(|n| bits(world.receipts).all(|token| !config.allows(world, n, token)))
            }),
            Property::always("P2: after the longest wait a receipt is given", |config: &Self, world: &World| {
                (0..world.requests.len()).all(|r| match world.requests[r] {
                    Step::Waiting { at, .. } if at >= config.over() => writer::reached(world, r, config).is_some(),
                    _ => true,
                })
            }),
            Property::always("P4: nothing is allowed beyond the hold", |config: &Self, world: &World| {
                let proven = |n: usize| world.nodes[n].proof.is_some_and(|t0| config.is_valid(n, t0, 0));
                (0..world.nodes.len()).all(|n| !config.allows_any(world, n) || proven(n))
            }),
        ];
        if self.wrong.is_none() {
            properties.extend(self.sights());
        }
        properties
    }
}

impl Config {
    /// What cannot be: not even tried, since a world is copied for each try.
    fn may(&self, world: &World, action: Action) -> bool {
        match action {
            Action::Tick => world.check.and_then(|check| check.read).is_none_or(|read| read < self.over()),
            Action::Hear(n, mark) => {
                let node = &world.nodes[n];
                self.pushes && node.follows() && world.seq(mark) > world.seq(node.at)
            }
            Action::Begin(r) => world.requests[r] == Step::Idle && writer::is_early(self),
            Action::Commit(r) => match world.requests[r] {
                Step::Begun { .. } => true,
                Step::Idle => {
                    let is_next = r == 0 || !self.in_turn || world.requests[r - 1] != Step::Idle;
                    is_next && !writer::is_early(self)
                }
                _ => false,
            },
            Action::Committed(r) | Action::IsGone(r) => matches!(world.requests[r], Step::Committed { .. }),
            Action::Answer(r) => writer::reached(world, r, self).is_some(),
            Action::AskProgress(..) => !self.is(Misreading::ProgressByMemory),
            Action::Progress(r, _) => matches!(world.requests[r], Step::Waiting { .. }),
            Action::Copy => world.standby.is_none() && world.left.failovers > 0 && !self.is_copied,
            Action::FailOver => world.standby.is_some(),
            Action::BeginCheck(_) => world.check.is_none(),
            Action::ReadClock | Action::ReadLease | Action::ReadFilter => world.check.is_some(),
            Action::RestartServer => world.left.restarts > 0,
            Action::Load(n)
            | Action::Register(n)
            | Action::Renew(n)
            | Action::ReadTime(n)
            | Action::Ask(n)
            | Action::AskLate(n)
            | Action::GiveUp(n)
            | Action::ReadBeat(n)
            | Action::Apply(n)
            | Action::Extend(n)
            | Action::Acknowledge(n)
            | Action::Look(n)
            | Action::Expel(n)
            | Action::Settle(n)
            | Action::Leave(n, _)
            | Action::Stop(n)
            | Action::Crash(n)
            | Action::Restart(n)
            | Action::BuryLiving(n)
            | Action::Mend(n)
            | Action::Reload(n)
            | Action::Coarse(n) => self.may_node(world, n, action),
        }
    }

    fn may_node(&self, world: &World, n: usize, action: Action) -> bool {
        let (who, node) = (&self.nodes[n], &world.nodes[n]);
        let is_live = node.phase == Phase::Live;
        let rests = is_live && node.renewal == Renewal::None;
        match action {
            Action::Load(_) => node.phase == Phase::Cold && (!who.renews || node.incarnation < self.incarnations),
            Action::Register(_) => node.phase == Phase::Loaded && who.renews,
            Action::Reload(_) => !who.renews,
            Action::Renew(_) => rests && !who.fine,
            Action::ReadTime(_) => rests && who.fine && node.is_certain,
            Action::ReadBeat(_) => rests && !node.is_certain,
            Action::Ask(_) => matches!(node.renewal, Renewal::Asking { .. }),
            Action::GiveUp(_) => {
                self.losses && matches!(node.renewal, Renewal::Asking { .. } | Renewal::Answered { .. })
            }
            Action::Apply(_) => matches!(node.renewal, Renewal::Answered { .. } | Renewal::Refused),
            Action::Extend(_) => matches!(node.renewal, Renewal::Applied { .. }),
            Action::Acknowledge(_) => is_live && self.acks,
            Action::AskLate(_) => node.late.is_some(),
            Action::Look(_) => rests && node.news.is_some(),
            Action::Expel(_) => node.doomed.is_some(),
            Action::Settle(_) => node.settles.is_some(),
            Action::Leave(_, _) => matches!(node.phase, Phase::Leaving(_)),
            Action::Stop(_) => is_live && world.left.stops > 0,
            Action::Crash(_) => node.phase != Phase::Off && world.left.crashes > 0,
            Action::Restart(_) => node.phase == Phase::Off && who.renews,
            Action::Mend(_) => node.phase == Phase::Cold && node::lost(world, n) != 0,
            Action::BuryLiving(_) => is_live && self.is(Misreading::BuryTheLiving),
            Action::Coarse(_) => self.is(Misreading::CoarseClock),
            _ => true,
        }
    }

    fn step(&self, world: &mut World, action: Action) -> Option<()> {
        match action {
            Action::Tick => tidy::tick(world, self),
            Action::Load(n) => node::load(world, n, self)?,
            Action::Register(n) => node::register(world, n, self)?,
            Action::Renew(n) => node::renew_whole(world, n, self)?,
            Action::ReadTime(n) => node::read_time(world, n)?,
            Action::Ask(n) => node::ask(world, n, self)?,
            Action::AskLate(n) => node::ask_late(world, n, self)?,
            Action::GiveUp(n) => node::give_up(world, n)?,
            Action::ReadBeat(n) => node::read_beat(world, n)?,
            Action::Apply(n) => node::apply(world, n, self)?,
            Action::Extend(n) => node::extend(world, n, self)?,
            Action::Acknowledge(n) => node::acknowledge(world, n, self)?,
            Action::Hear(n, mark) => node::hear(world, n, mark, self)?,
            Action::Look(n) => look::look(world, n, self)?,
            Action::Expel(n) => node::expel(world, n, self)?,
            Action::Settle(n) => node::settle(world, n)?,
            Action::Leave(n, is_heard) => node::leave(world, n, is_heard)?,
            Action::Stop(n) => node::stop(world, n, self)?,
            Action::Crash(n) => node::crash(world, n, self)?,
            Action::Restart(n) => node::restart(world, n)?,
            Action::BuryLiving(n) => node::bury_living(world, n, self)?,
            Action::Mend(n) => node::mend(world, n)?,
            Action::Reload(n) => node::reload(world, n)?,
            Action::Coarse(n) => world.nodes[n].coarse = 0,
            Action::Begin(r) => writer::begin(world, r, self)?,
            Action::Commit(r) => writer::commit(world, r, self)?,
            Action::Committed(r) => writer::committed(world, r, self)?,
            Action::IsGone(r) => writer::is_gone(world, r)?,
            Action::Answer(r) => writer::answer(world, r, self)?,
            Action::AskProgress(r, n) => writer::ask(world, r, n, self)?,
            Action::Progress(r, n) => writer::progress(world, r, n, self)?,
            Action::Copy => copy(world)?,
            Action::FailOver => self.fail_over(world)?,
            Action::RestartServer => restart_server(world)?,
            Action::BeginCheck(token) => {
                let check = Check { token, read: None, is_valid: None, is_in: None };
                world.check = world.check.is_none().then_some(check);
                world.check?;
            }
            Action::ReadClock => self.check(world)?.read = Some(0),
            Action::ReadLease => self.read_lease(world)?,
            Action::ReadFilter => self.read_filter(world)?,
        }
        Some(())
    }

    fn fail_over(&self, world: &mut World) -> Option<()> {
        world.left.failovers = world.left.failovers.checked_sub(1)?;
        let server = world.ledger.server + 1;
        world.ledger = world.standby.take()?;
        if !self.is(Misreading::SameServer) {
            world.ledger.server = server;
        }
        cut_off(world);
        // Receipts for rows that are gone are void; an alarm says so.
        world.receipts &= world.tokens(&world.ledger);
        if !self.late_news {
            // What the old server has committed nobody hears of any more.
            world.pushed &= world.ledger.commits;
            for step in &mut world.requests {
                if let Step::Committed { commit, .. } = step
                    && world.ledger.commits & bit(*commit) == 0
                {
                    *step = Step::Dead;
                }
            }
        }
        Some(())
    }

    /// The check that is under way, if its next step is one that has not been taken.
    fn check<'a>(&self, world: &'a mut World) -> Option<&'a mut Check> {
        let is_first = self.is(Misreading::FilterBeforeLease);
        world.check.as_mut().filter(|check| check.read.is_none() && (!is_first || check.is_in.is_some()))
    }

    fn read_lease(&self, world: &mut World) -> Option<()> {
        let check = world.check.filter(|check| check.is_valid.is_none())?;
        let n = self.slow_checks?;
        let read = check.read?;
        let node = &world.nodes[n];
        let is_valid = node.follows() && node.lease.is_some_and(|t0| self.is_valid(n, t0, read));
        world.check = is_valid.then_some(Check { is_valid: Some(true), ..check });
        conclude(world);
        Some(())
    }

    fn read_filter(&self, world: &mut World) -> Option<()> {
        let check = world.check.filter(|check| check.is_in.is_none())?;
        if check.is_valid.is_none() && !self.is(Misreading::FilterBeforeLease) {
            return None;
        }
        let is_in = world.nodes[self.slow_checks?].filter & bit(check.token) != 0;
        world.check = (!is_in).then_some(Check { is_in: Some(false), ..check });
        conclude(world);
        Some(())
    }

    /// Whether a check that is one step would let anything pass now.
    fn allows_any(&self, world: &World, n: usize) -> bool {
        let node = &world.nodes[n];
        let read: Age = if self.is(Misreading::CoarseClock) { node.coarse } else { 0 };
        let is_fenced = !self.is(Misreading::NoFencing);
        node.phase != Phase::Off
            && node.follows()
            && node.lease.is_some_and(|t0| !is_fenced || self.is_valid(n, t0, read))
    }

    /// Whether a check that is one step would let this token pass now.
    fn allows(&self, world: &World, n: usize, token: u8) -> bool {
        self.allows_any(world, n) && world.nodes[n].filter & bit(token) == 0
    }

    /// What must be seen at least once, so that the model is not empty.
    fn sights(&self) -> Vec<Property<Self>> {
        let mut sights = vec![
            Property::sometimes("a check allows before the receipt", |config: &Self, world: &World| {
                let is_late = |r: &Step| matches!(r, Step::Waiting { .. });
                world.requests.iter().any(is_late) && (0..world.nodes.len()).any(|n| config.allows(world, n, 0))
            }),
            Property::sometimes("a receipt by acknowledgements", |_: &Self, world: &World| {
                world.requests[0] == Step::Answered(By::Acknowledged)
            }),
            Property::sometimes("a receipt by waiting", |_: &Self, world: &World| {
                world.requests[0] == Step::Answered(By::Waited)
            }),
            Property::sometimes("a check finds the lease over", |config: &Self, world: &World| {
                let node = &world.nodes[world.nodes.len() - 1];
                node.lease.is_some() && !config.allows_any(world, world.nodes.len() - 1)
            }),
        ];
        let renewing = self.nodes.iter().filter(|who| who.renews).count();
        if self.nodes.iter().any(|who| who.looks && who.renews) && renewing > 1 {
            sights.push(Property::sometimes("a receipt by a row that vanished", |_: &Self, world: &World| {
                world.requests[0] == Step::Answered(By::Vanished)
            }));
            sights.push(Property::sometimes("a living node is expelled", |_: &Self, world: &World| {
                (0..world.nodes.len()).any(|n| writer::is_expelled(world, n))
            }));
        }
        if self.incarnations > 1 {
            sights.push(Property::sometimes("a node allows under a second id", |config: &Self, world: &World| {
                (0..world.nodes.len()).any(|n| world.nodes[n].incarnation > 1 && config.allows_any(world, n))
            }));
        }
        if self.requests.len() > 1 && self.requests[0].token == self.requests[1].token {
            sights.push(Property::sometimes("what was revoked already is answered", |_: &Self, world: &World| {
                matches!(world.requests[1], Step::Answered(_)) && world.commits.len() == 1
            }));
        }
        if self.crashes > 0 {
            sights
                .push(Property::sometimes("a writer crashes between commit and answer", |_: &Self, world: &World| {
                    world.requests[0] == Step::Dead && world.find(0).is_some()
                }));
        }
        if self.failovers > 0 {
            sights.push(Property::sometimes("a receipt's row is lost", |_: &Self, world: &World| {
                matches!(world.requests[0], Step::Answered(_)) && world.find(0).is_none()
            }));
        }
        if self.failovers + self.restarts > 0 {
            sights.push(Property::sometimes("a new server settles", |_: &Self, world: &World| {
                world.ledger.server > 1 && world.ledger.is_settled()
            }));
        }
        sights
    }
}

/// Whether a step may change which beats there are.
const fn has_beats(action: Action) -> bool {
    !matches!(
        action,
        Action::Tick
            | Action::Load(_)
            | Action::Acknowledge(_)
            | Action::Hear(..)
            | Action::Commit(_)
            | Action::Committed(_)
            | Action::Answer(_)
            | Action::ReadTime(_)
            | Action::BeginCheck(_)
            | Action::ReadClock
            | Action::ReadLease
            | Action::ReadFilter
    )
}

/// The check that has found the lease valid and its token not in the filter allows.
fn conclude(world: &mut World) {
    if let Some(Check { is_valid: Some(true), is_in: Some(false), .. }) = world.check {
        world.check = None;
        world.is_broken = true;
    }
}

fn copy(world: &mut World) -> Option<()> {
    if world.left.failovers == 0 || world.standby.is_some() {
        return None;
    }
    world.standby = Some(world.ledger.clone());
    Some(())
}

fn restart_server(world: &mut World) -> Option<()> {
    world.left.restarts = world.left.restarts.checked_sub(1)?;
    world.ledger.server += 1;
    cut_off(world);
    Some(())
}

/// Connections end with their server: what was asked on them is never done.
fn cut_off(world: &mut World) {
    for node in &mut world.nodes {
        node.late = None;
        if let Renewal::Asking { .. } = node.renewal {
            (node.renewal, node.is_certain) = (Renewal::None, false);
        }
    }
}
