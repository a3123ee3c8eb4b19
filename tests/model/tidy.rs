//! Time, and what makes one state of two that nobody can tell apart.

use crate::{
    config::{Age, Config},
    world::{Ledger, Node, Phase, Renewal, Step, World, bit},
};

/// Time passes.
pub fn tick(world: &mut World, config: &Config) {
    let oldest = config.oldest();
    let older = |age: &mut Age| *age = (*age + 1).min(oldest);
    for node in &mut world.nodes {
        node.lease.iter_mut().for_each(older);
        node.proof.iter_mut().for_each(older);
        match &mut node.renewal {
            Renewal::Asking { t0, .. } | Renewal::Answered { t0, .. } | Renewal::Applied { t0, .. } => older(t0),
            Renewal::None | Renewal::Refused => {}
        }
        node.seen.iter_mut().for_each(|seen| older(&mut seen.since));
        if let Some((_, since)) = &mut node.unsettled {
            older(since);
        }
        if config.is(crate::rules::Misreading::CoarseClock) {
            older(&mut node.coarse);
        }
    }
    for step in &mut world.requests {
        match step {
            Step::Begun { at, .. } | Step::Committed { at, .. } | Step::Waiting { at, .. } => older(at),
            Step::Idle | Step::Answered(_) | Step::Dead => {}
        }
    }
    if let Some(read) = world.check.as_mut().and_then(|check| check.read.as_mut()) {
        older(read);
    }
}

/// Forgets what nobody asks for any more.
pub fn tidy(world: &mut World, config: &Config, has_beats: bool) {
    let is_over = |step: &Step| matches!(step, Step::Answered(_) | Step::Dead);
    for (n, node) in world.nodes.iter_mut().enumerate() {
        let mut own = config
            .requests
            .iter()
            .zip(&world.requests)
            .filter(|(request, _)| config.progress == Some(n) || request.node == n);
        if own.all(|(_, step)| is_over(step)) {
            // It judges nothing any more.
            (node.history, node.heard) = (0, [0; 9]);
        }
        if node.phase == Phase::Off {
            node.coarse = 0;
        }
        if node.asked.as_ref().is_some_and(|asked| is_over(&world.requests[asked.request])) {
            node.asked = None;
        }
        if !node.follows() && config.slow_checks.is_none() {
            // A load replaces it. A check that is under way may still ask it.
            (node.at, node.filter) = (0, 0);
        }
    }
    for step in &mut world.requests {
        match step {
            // Only who reads too early needs what was read then.
            Step::Committed { at, ids, .. } if config.wrong.is_none() => (*at, *ids) = (0, 0),
            Step::Waiting { is_settled: false, ids, head, .. } => (*ids, *head) = (0, 0),
            _ => {}
        }
    }
    let known = world.ledger.ids() | world.standby.as_ref().map_or(0, Ledger::ids);
    let viewed = world.nodes.iter().filter_map(|node| node.view).fold(0, |ids, view| ids | view.ids);
    let asked = world.nodes.iter().filter_map(|node| node.asked.as_ref()).flat_map(|asked| &asked.rows);
    let viewed = asked.fold(viewed, |ids, &(id, _)| ids | bit(id));
    for id in 0..9 {
        if (known | viewed) & bit(id) == 0 && !config.is(crate::rules::Misreading::IdReused) {
            world.said[usize::from(id)] = 0;
        }
    }
    if !has_beats {
        return;
    }
    let ids: Vec<u8> = (0..9).filter(|&id| known & bit(id) != 0).collect();
    for id in ids {
        beats(world, id);
    }
}

/// What of a beat anybody asks is whether it is the same, or one higher. So only the order of the different beats that are
/// there, and which follow each other, is kept.
fn beats(world: &mut World, id: u8) {
    let is_row = |beat: u8, world: &World| {
        let standby = world.standby.as_ref().and_then(|ledger| ledger.row(id));
        [world.ledger.row(id), standby].into_iter().flatten().any(|row| row.beat == beat)
    };
    // A beat that no row has any more is seen as new when the node looks again: as if it had never looked.
    for n in 0..world.nodes.len() {
        let mut seen = std::mem::take(&mut world.nodes[n].seen);
        seen.retain(|seen| seen.id != id || is_row(seen.beat, world) || follows(world, id, seen.beat));
        world.nodes[n].seen = seen;
    }
    let mut all = Vec::new();
    each(world, id, &mut |beat| all.push(*beat));
    all.sort_unstable();
    all.dedup();
    let (mut from, mut to) = (0, 0);
    let mut map = [0_u8; 256];
    for (i, &beat) in all.iter().enumerate() {
        to = if i == 0 { 0 } else { to + (beat - from).min(2) };
        from = beat;
        map[usize::from(beat)] = to;
    }
    each(world, id, &mut |beat| *beat = map[usize::from(*beat)]);
}

/// Whether a row can come to this beat again: one that a server has lost, and whose node renews from before it.
fn follows(world: &World, id: u8, beat: u8) -> bool {
    let standby = world.standby.as_ref().and_then(|ledger| ledger.row(id));
    [world.ledger.row(id), standby].into_iter().flatten().any(|row| row.beat < beat)
}

/// All places where a beat of this row is.
fn each(world: &mut World, id: u8, of: &mut dyn FnMut(&mut u8)) {
    let standby = world.standby.iter_mut().flat_map(|ledger| &mut ledger.rows);
    for row in world.ledger.rows.iter_mut().chain(standby).filter(|row| row.id == id) {
        of(&mut row.beat);
    }
    let (owner, incarnation) = (usize::from(id / crate::world::INCARNATIONS), id % crate::world::INCARNATIONS + 1);
    let is_mine = |node: &Node| node.incarnation == incarnation;
    if is_mine(&world.nodes[owner]) {
        let node = &mut world.nodes[owner];
        of(&mut node.beat);
        if let Some((beat, _)) = &mut node.late {
            of(beat);
        }
    }
    for node in &mut world.nodes {
        node.seen.iter_mut().filter(|seen| seen.id == id).for_each(|seen| of(&mut seen.beat));
        if let Some((doomed, beat)) = &mut node.doomed
            && *doomed == id
        {
            of(beat);
        }
    }
}
