//! The steps of a node: those of `src/revocation/node.rs`, `sync.rs` and `published.rs`.

use kickout::revocation::feed::Link;

use crate::{
    config::Config,
    revocation::node::look::look,
    rules::Misreading,
    world::{Found, INCARNATIONS, Id, Mark, Node, Phase, Renewal, World, bit, bits, id},
};

/// Loads: the head, then all pages. Nothing is applied meanwhile, so it is one step, at the end of the last page.
pub fn load(world: &mut World, n: usize, config: &Config) -> Option<()> {
    let node = &world.nodes[n];
    if node.phase != Phase::Cold || lost(world, n) != 0 || node.incarnation >= INCARNATIONS {
        return None;
    }
    let (at, filter) = (world.head(&world.ledger), world.tokens(&world.ledger));
    if config.is(Misreading::WordsOutliveLoads) {
        for row in 0..9 {
            world.nodes[n].heard[usize::from(row)] = world.heard(n, row, config);
        }
    }
    let node = &mut world.nodes[n];
    (node.phase, node.at, node.filter, node.recent) = (Phase::Loaded, at, filter, 0);
    // What was heard before is judged anew, or not at all.
    node.history = bit(at);
    Some(())
}

/// Takes a row, after the load.
pub fn register(world: &mut World, n: usize, config: &Config) -> Option<()> {
    let node = &world.nodes[n];
    if node.phase != Phase::Loaded || node.incarnation >= config.incarnations {
        return None;
    }
    world.register(n, config);
    if config.is(Misreading::LeaseByRegistration) {
        world.nodes[n].lease = Some(0);
    }
    Some(())
}

fn is_at_rest(node: &Node) -> bool {
    node.phase == Phase::Live && node.renewal == Renewal::None
}

/// A renewal without any time in between, and the look that follows it.
pub fn renew_whole(world: &mut World, n: usize, config: &Config) -> Option<()> {
    if !world.nodes[n].is_certain {
        return None;
    }
    read_time(world, n)?;
    ask(world, n, config)?;
    apply(world, n, config)?;
    if world.nodes[n].phase == Phase::Live {
        extend(world, n, config)?;
    }
    if world.nodes[n].news.is_some() {
        look(world, n, config)?;
    }
    Some(())
}

/// Reads the clock, before a renewal is asked for.
pub fn read_time(world: &mut World, n: usize) -> Option<()> {
    let node = &mut world.nodes[n];
    if !is_at_rest(node) || !node.is_certain || node.news.is_some() {
        return None;
    }
    node.renewal = Renewal::Asking { t0: 0, cursor: node.at };
    Some(())
}

/// The statement runs, in the ledger.
pub fn ask(world: &mut World, n: usize, config: &Config) -> Option<()> {
    let node = &world.nodes[n];
    let Renewal::Asking { t0, cursor } = node.renewal else { return None };
    let (id, beat, applied) = (id(n, node.incarnation), node.beat, world.seq(cursor));
    let is_renewed = renew(world, id, beat, cursor, config);
    let ledger = &world.ledger;
    let past = |&mark: &u8| world.seq(mark) > applied;
    let found = Found {
        head: world.head(ledger),
        rows: bits(ledger.commits).filter(past).map(bit).sum(),
        server: ledger.server,
        is_known: ledger.known == ledger.server,
        is_settled: ledger.is_settled(),
        max_hold: ledger.max_hold,
    };
    world.nodes[n].renewal = if is_renewed { Renewal::Answered { t0, cursor, found } } else { Renewal::Refused };
    Some(())
}

/// `UPDATE … WHERE id = me AND beat = mine`. The row says that all is applied up to where the node stands, if this server's
/// history has stood there.
fn renew(world: &mut World, id: Id, beat: u8, at: Mark, config: &Config) -> bool {
    let is_ours = world.has_stood(&world.ledger, at) || config.is(Misreading::RowUnjudged);
    let applied = if is_ours { world.seq(at) } else { 0 };
    let row = world.ledger.rows.iter_mut().find(|row| row.id == id && row.beat == beat);
    let Some(row) = row else { return false };
    (row.beat, row.applied) = (beat + 1, applied);
    true
}

/// The request or its answer is lost, or late: the node gives it up.
pub fn give_up(world: &mut World, n: usize) -> Option<()> {
    let node = &world.nodes[n];
    let late = match node.renewal {
        Renewal::Asking { cursor, .. } => Some((node.beat, cursor)),
        Renewal::Answered { .. } | Renewal::Refused => None,
        Renewal::None | Renewal::Applied { .. } => return None,
    };
    let node = &mut world.nodes[n];
    (node.renewal, node.is_certain) = (Renewal::None, false);
    node.late = late.or(node.late);
    Some(())
}

/// What was given up arrives after all.
pub fn ask_late(world: &mut World, n: usize, config: &Config) -> Option<()> {
    let (beat, at) = world.nodes[n].late.take()?;
    renew(world, id(n, world.nodes[n].incarnation), beat, at, config);
    Some(())
}

/// After a lost answer: at which beat is the row?
pub fn read_beat(world: &mut World, n: usize) -> Option<()> {
    let node = &world.nodes[n];
    if !is_at_rest(node) || node.is_certain {
        return None;
    }
    let beat = world.ledger.row(id(n, node.incarnation)).map(|row| row.beat);
    let node = &mut world.nodes[n];
    match beat.filter(|&beat| beat == node.beat || beat == node.beat + 1) {
        Some(beat) => (node.beat, node.is_certain) = (beat, true),
        None => node.over(Phase::Cold),
    }
    Some(())
}

/// Takes in what a renewal has brought.
pub fn apply(world: &mut World, n: usize, config: &Config) -> Option<()> {
    let (t0, cursor, found) = match world.nodes[n].renewal {
        Renewal::Answered { t0, cursor, found } => (t0, cursor, found),
        Renewal::Refused => {
            world.nodes[n].over(Phase::Cold);
            return Some(());
        }
        Renewal::None | Renewal::Asking { .. } | Renewal::Applied { .. } => return None,
    };
    world.nodes[n].beat += 1;
    let (head, stood) = (world.seq(found.head), world.seq(cursor));
    let has_tags = !config.is(Misreading::NoTags);
    if has_tags && (head < stood || (head == stood && found.head != cursor)) {
        world.nodes[n].over(Phase::Leaving(false));
        return Some(());
    }
    if !found.is_known && world.ledger.known != world.ledger.server {
        world.ledger.settled = false;
        world.ledger.known = world.ledger.server;
    }
    if !config.is(Misreading::PublishBehindHead) {
        for mark in world.in_order(found.rows) {
            if take(world, n, mark, config) == Link::Gap {
                world.nodes[n].over(Phase::Leaving(false));
                return Some(());
            }
        }
    }
    world.nodes[n].renewal = Renewal::Applied { t0, found };
    Some(())
}

/// Takes in one commit, if it is the next one.
fn take(world: &mut World, n: usize, mark: u8, config: &Config) -> Link {
    let at = world.nodes[n].at;
    let link = match config.wrong {
        Some(Misreading::SerialNumbers | Misreading::JumpOverHole) => {
            if world.seq(mark) > world.seq(at) {
                Link::Next
            } else {
                Link::Known
            }
        }
        Some(Misreading::NoTags) => match world.seq(mark).checked_sub(world.seq(at)) {
            Some(1) => Link::Next,
            Some(0) | None => Link::Known,
            Some(_) => Link::Gap,
        },
        _ => world.link(mark, at),
    };
    if link == Link::Next {
        let token = if config.is(Misreading::SkipUnknown) { 0 } else { world.token(mark) };
        let node = &mut world.nodes[n];
        node.filter |= token;
        node.at = mark;
        if config.judges(n) {
            node.history |= bit(mark);
        }
        if config.failovers > 0 {
            node.recent |= bit(mark);
        }
    }
    link
}

/// Extends the lease, if everything up to the head is applied.
pub fn extend(world: &mut World, n: usize, config: &Config) -> Option<()> {
    let Renewal::Applied { t0, found } = world.nodes[n].renewal else { return None };
    let at = world.nodes[n].at;
    let is_reached = world.seq(at) > world.seq(found.head) || at == found.head;
    let is_wrong = matches!(config.wrong, Some(Misreading::PublishBehindHead | Misreading::NoTags));
    let looks = config.nodes[n].looks;
    let node = &mut world.nodes[n];
    if !is_reached && !is_wrong {
        node.over(Phase::Leaving(false));
        return Some(());
    }
    let from = if config.is(Misreading::LeaseFromReply) { 0 } else { t0 };
    node.lease = Some(node.lease.map_or(from, |lease| lease.min(from)));
    node.proof = Some(node.proof.map_or(t0, |proof| proof.min(t0)));
    node.renewal = Renewal::None;
    node.news = looks.then_some(found);
    Some(())
}

/// Says what is applied.
pub fn acknowledge(world: &mut World, n: usize, config: &Config) -> Option<()> {
    let node = &world.nodes[n];
    if node.phase != Phase::Live {
        return None;
    }
    let mut at = node.at;
    if let (true, Renewal::Answered { found, .. }) = (config.is(Misreading::AcknowledgeFirst), node.renewal) {
        at = found.head;
    }
    let said = &mut world.said[usize::from(id(n, node.incarnation))];
    // That it stands at the beginning says nothing.
    if at == 0 || *said & bit(at) != 0 {
        return None;
    }
    *said |= bit(at);
    Some(())
}

/// A node without a row, whose renewals hang, finds that the ledger has gone another way, or does not.
pub fn reload(world: &mut World, n: usize) -> Option<()> {
    let node = &world.nodes[n];
    if node.phase != Phase::Loaded || world.has_stood(&world.ledger, node.at) {
        return None;
    }
    world.nodes[n].over(Phase::Cold);
    Some(())
}

/// Hears a commit that was pushed, or that a pull has found.
pub fn hear(world: &mut World, n: usize, mark: u8, config: &Config) -> Option<()> {
    if !world.nodes[n].follows() || take(world, n, mark, config) != Link::Next {
        return None;
    }
    Some(())
}

/// `DELETE … WHERE id = x AND beat = b`, on a settled server.
pub fn expel(world: &mut World, n: usize, config: &Config) -> Option<()> {
    let (id, beat) = world.nodes[n].doomed.take()?;
    if world.ledger.is_settled() || config.is(Misreading::ExpelUnsettled) {
        let any = config.is(Misreading::ExpelAnyBeat);
        world.ledger.rows.retain(|row| row.id != id || (row.beat != beat && !any));
    }
    Some(())
}

/// Calls the server settled, if it still is that one.
pub fn settle(world: &mut World, n: usize) -> Option<()> {
    let server = world.nodes[n].settles.take()?;
    if world.ledger.server == server && world.ledger.known == server {
        world.ledger.settled = true;
    }
    Some(())
}

/// Removes its own row, when its lease is ended; or cannot.
pub fn leave(world: &mut World, n: usize, is_heard: bool) -> Option<()> {
    let Phase::Leaving(ends) = world.nodes[n].phase else { return None };
    if is_heard {
        let id = id(n, world.nodes[n].incarnation);
        world.ledger.rows.retain(|row| row.id != id);
    }
    world.nodes[n].phase = if ends { Phase::Off } else { Phase::Cold };
    Some(())
}

/// The process is told to stop.
pub fn stop(world: &mut World, n: usize, config: &Config) -> Option<()> {
    if world.left.stops == 0 || world.nodes[n].phase != Phase::Live {
        return None;
    }
    world.left.stops -= 1;
    if config.is(Misreading::LeaveFirst) {
        let id = id(n, world.nodes[n].incarnation);
        world.ledger.rows.retain(|row| row.id != id);
        world.nodes[n].renewal = Renewal::None;
    } else {
        world.nodes[n].over(Phase::Leaving(true));
    }
    Some(())
}

/// `kill -9`. What was asked for by it nobody is answered.
pub fn crash(world: &mut World, n: usize, config: &Config) -> Option<()> {
    if world.left.crashes == 0 || world.nodes[n].phase == Phase::Off {
        return None;
    }
    world.left.crashes -= 1;
    let node = &mut world.nodes[n];
    node.over(Phase::Off);
    (node.at, node.filter, node.recent, node.late, node.history, node.heard) = (0, 0, 0, None, 0, [0; 9]);
    for (request, step) in config.requests.iter().zip(&mut world.requests) {
        use crate::world::Step;
        if request.node == n && matches!(step, Step::Begun { .. } | Step::Committed { .. } | Step::Waiting { .. }) {
            *step = Step::Dead;
        }
    }
    Some(())
}

/// Starts again in the same folder: what had a row by its note is dead.
pub fn restart(world: &mut World, n: usize) -> Option<()> {
    if world.nodes[n].phase != Phase::Off {
        return None;
    }
    bury(world, n);
    world.nodes[n].phase = Phase::Cold;
    Some(())
}

fn bury(world: &mut World, n: usize) {
    if world.nodes[n].incarnation > 0 {
        let id = id(n, world.nodes[n].incarnation);
        world.ledger.rows.retain(|row| row.id != id);
    }
}

/// A process starts in a copy of a folder, and takes the note for its own.
pub fn bury_living(world: &mut World, n: usize, config: &Config) -> Option<()> {
    if !config.is(Misreading::BuryTheLiving) || world.left.burials == 0 || world.nodes[n].phase != Phase::Live {
        return None;
    }
    world.left.burials -= 1;
    bury(world, n);
    Some(())
}

/// Commits that it has applied and that the ledger lacks.
pub fn lost(world: &World, n: usize) -> u16 {
    world.nodes[n].recent & !world.ledger.commits
}

/// Gives back what the ledger has lost.
pub fn mend(world: &mut World, n: usize) -> Option<()> {
    if world.nodes[n].phase != Phase::Cold || lost(world, n) == 0 {
        return None;
    }
    for mark in bits(lost(world, n)) {
        let token = world.commits[usize::from(mark) - 1].token;
        if world.find(token).is_none() {
            world.commit(token);
        }
    }
    world.nodes[n].recent = 0;
    Some(())
}
