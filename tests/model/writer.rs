//! The steps of a request to revoke: those of `src/revocation/{revoker,ledger}.rs` and `node/reach.rs`.

use crate::{
    config::Config,
    rules::Misreading,
    world::{Asked, By, Id, Phase, Step, World, bit, bits, id},
};

/// A writer that reads too early has begun.
pub fn begin(world: &mut World, r: usize, config: &Config) -> Option<()> {
    if is_off(world, r, config) {
        return None;
    }
    // A number from a sequence: every one that has begun has drawn one.
    let drawn = |step: &Step| matches!(step, Step::Begun { .. });
    let seq = world.commits.len() + world.requests.iter().filter(|step| drawn(step)).count() + 1;
    let seq = u8::try_from(seq).unwrap_or(u8::MAX);
    world.requests[r] = Step::Begun { at: 0, ids: world.ledger.ids(), seq };
    Some(())
}

/// Whether a writer reads anything before its commit.
pub fn is_early(config: &Config) -> bool {
    let early = [Misreading::ClockBeforeCommit, Misreading::NodesBeforeCommit, Misreading::SerialNumbers];
    early.iter().any(|&early| config.is(early))
}

fn is_off(world: &World, r: usize, config: &Config) -> bool {
    world.nodes[config.requests[r].node].phase == Phase::Off
}

/// The transaction: it finds the token revoked, or revokes it as its last step, and commits.
pub fn commit(world: &mut World, r: usize, config: &Config) -> Option<()> {
    if is_off(world, r, config) {
        return None;
    }
    let token = config.requests[r].token;
    let (at, ids, seq) = match world.requests[r] {
        Step::Begun { at, ids, seq } => (at, ids, seq),
        Step::Idle => (0, 0, 0),
        _ => return None,
    };
    let found = world.find(token);
    let commit = match found {
        Some(mark) => mark,
        None if config.is(Misreading::SerialNumbers) => world.commit_as(token, seq.max(1), 0),
        None => world.commit(token),
    };
    let is_settled = world.ledger.is_settled() || config.is(Misreading::EarlyAnswers);
    let (head, max_hold) = (world.head(&world.ledger), world.ledger.max_hold);
    world.requests[r] = Step::Committed { commit, head, is_settled, max_hold, at, ids, is_new: found.is_none() };
    Some(())
}

/// The writer hears that it is committed, or reads it on another connection. It applies it and tells others, and reads the
/// clock and the nodes.
pub fn committed(world: &mut World, r: usize, config: &Config) -> Option<()> {
    let Step::Committed { commit, head, is_settled, max_hold, at, ids, is_new } = world.requests[r] else {
        return None;
    };
    let n = config.requests[r].node;
    if is_new {
        // Its own node takes it in; what does not fit is found by a pull.
        let _ = crate::node::hear(world, n, commit, config);
        world.pushed |= bit(commit);
    }
    let at = if config.is(Misreading::ClockBeforeCommit) { at } else { 0 };
    let ids = match config.wrong {
        Some(Misreading::NodesBeforeCommit) => ids,
        Some(Misreading::NodesCached) => world.nodes[n].view.map_or(world.ledger.ids(), |view| view.ids),
        _ => world.ledger.ids(),
    };
    world.requests[r] = Step::Waiting { commit, head, is_settled, max_hold, at, ids };
    if config.is(Misreading::AlreadyAtOnce) && !is_new {
        receive(world, r, By::Acknowledged);
    }
    Some(())
}

/// Why it need not be waited for longer, if so: every row of the first reading acknowledges it, or is gone, or is over.
pub fn reached(world: &World, r: usize, config: &Config) -> Option<By> {
    let Step::Waiting { commit, head, is_settled, max_hold, at, ids } = world.requests[r] else { return None };
    let n = config.requests[r].node;
    // A restored head may have forgotten how long a hold there was.
    let own = if config.is(Misreading::ForgottenHold) { 0 } else { config.nodes[n].hold };
    if config.has_waited(n, at, max_hold.max(own)) {
        return Some(By::Waited);
    }
    if !is_settled {
        return None;
    }
    let (seq, is_ours) = (world.seq(commit), world.is_ours(n, head, config));
    let mut by = if ids == world.ledger.ids() { By::Acknowledged } else { By::Vanished };
    for row in world.ledger.rows.iter().filter(|row| ids & bit(row.id) != 0) {
        if row.applied >= seq || is_ours && world.heard(n, row.id, config) >= seq {
            continue;
        }
        if !config.has_waited(n, at, row.hold) {
            return None;
        }
        by = By::Waited;
    }
    Some(by)
}

/// It is answered.
pub fn answer(world: &mut World, r: usize, config: &Config) -> Option<()> {
    let by = reached(world, r, config)?;
    receive(world, r, by);
    Some(())
}

fn receive(world: &mut World, r: usize, by: By) {
    if let Step::Waiting { commit, .. } | Step::Committed { commit, .. } = world.requests[r] {
        give(world, commit);
    }
    world.requests[r] = Step::Answered(by);
}

/// A receipt: from here on every check denies its token. That the ledger has lost a commit is told by alarms.
fn give(world: &mut World, commit: u8) {
    if world.ledger.commits & bit(commit) != 0 {
        world.receipts |= world.token(commit);
    }
}

/// Somebody asks a node how far a revocation has come, which was recorded by any: `GET /v1/revocations/{seq}`. It reads the
/// head and the rows, in one statement.
pub fn ask(world: &mut World, r: usize, n: usize, config: &Config) -> Option<()> {
    let is_early = config.is(Misreading::ProgressOfBefore);
    if world.nodes[n].phase == Phase::Off || !is_early && !matches!(world.requests[r], Step::Waiting { .. }) {
        return None;
    }
    let ledger = &world.ledger;
    let rows = ledger.rows.iter().map(|row| (row.id, row.applied)).collect();
    let asked = Asked { request: r, head: world.head(ledger), is_settled: ledger.is_settled(), rows };
    world.nodes[n].asked = Some(asked);
    Some(())
}

/// It tells what it has found, and heard since.
pub fn progress(world: &mut World, r: usize, n: usize, config: &Config) -> Option<()> {
    let Step::Waiting { commit, .. } = world.requests[r] else { return None };
    if config.is(Misreading::ProgressByMemory) {
        return remembered(world, commit, n, config);
    }
    let seq = world.seq(commit);
    let Asked { request, head, is_settled, rows } = world.nodes[n].asked.take()?;
    if request != r || !is_settled || rows.is_empty() {
        return None;
    }
    if world.seq(head) < seq && !config.is(Misreading::ProgressOfBefore) {
        return None;
    }
    let is_ours = world.is_ours(n, head, config);
    let has = |&(id, applied): &(Id, u8)| applied >= seq || is_ours && world.heard(n, id, config) >= seq;
    rows.iter().all(has).then(|| give(world, commit))
}

/// It tells what its last renewal has found, and what it has heard since.
fn remembered(world: &mut World, commit: u8, n: usize, config: &Config) -> Option<()> {
    let (node, seq) = (&world.nodes[n], world.seq(commit));
    let view = node.view.filter(|view| view.is_settled && view.ids != 0 && view.head >= seq)?;
    let is_live = node.phase == Phase::Live && node.lease.is_some_and(|t0| config.is_valid(n, t0, 0));
    let has = |id: Id| {
        let row = world.ledger.row(id).is_some_and(|row| row.applied >= seq);
        row || world.heard(n, id, config) >= seq
    };
    (is_live && bits(view.ids).all(has)).then(|| give(world, commit))
}

/// What the ledger does not have any more was never committed, for whoever asks it.
pub fn is_gone(world: &mut World, r: usize) -> Option<()> {
    let Step::Committed { commit, .. } = world.requests[r] else { return None };
    if world.ledger.commits & bit(commit) != 0 {
        return None;
    }
    world.requests[r] = Step::Dead;
    Some(())
}

/// Whether a row is a living node's, for what a model is to show.
pub fn is_expelled(world: &World, n: usize) -> bool {
    let node = &world.nodes[n];
    node.phase == Phase::Live && world.ledger.row(id(n, node.incarnation)).is_none()
}
