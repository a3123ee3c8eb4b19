//! What a node sees of the others: the very file that ships, `node/others.rs`, asked again at each look.

use std::time::Duration;

use kickout::{
    clock::Timestamp,
    ids::{Generation, LedgerId, NodeId, Seq},
    revocation::{
        feed::{Cursor, Tag},
        lease::{Member, Renewal as Brought},
    },
};
use uuid::Uuid;

use super::others::Others;
use crate::{
    config::{Config, ms},
    rules::Misreading,
    world::{INCARNATIONS, Id, Phase, Renewal, Row, Seen, View, World, id},
};

/// Looks who has stood still, and whether a server has settled. This is the code that ships.
pub fn look(world: &mut World, n: usize, config: &Config) -> Option<()> {
    let node = &world.nodes[n];
    if node.phase != Phase::Live || node.renewal != Renewal::None {
        return None;
    }
    let found = node.news?;
    let now = config.instant(n, 0);
    let me = id(n, node.incarnation);
    let is_settled = found.is_settled || config.is(Misreading::ExpelUnsettled);
    let mut others = remembering(world, n, config);
    let members: Vec<Member> = world.ledger.rows.iter().copied().map(of_row).collect();
    let dead = others.see(&members, node_id(me), now, is_settled);
    let dead = dead.first().map(|member| (row_id(member.id), u8::try_from(member.beat).unwrap_or(0)));
    let dead = dead.or_else(|| early(world, n, config).filter(|_| is_settled));
    let own = ms(config.nodes[n].hold);
    let mut settles = others.has_settled(&brought(found.server, found.is_settled, found.max_hold), own, now);
    settles |= config.is(Misreading::SettleAtOnce) && !found.is_settled;

    // As `see` has noted it.
    let noted = |row: &Row| node.seen.iter().find(|seen| seen.id == row.id && seen.beat == row.beat);
    let entry = |row: &Row| {
        let known = noted(row).filter(|_| is_settled).copied();
        known.unwrap_or(Seen { id: row.id, beat: row.beat, since: 0 })
    };
    let rows = world.ledger.rows.iter().filter(|row| row.id != me);
    let seen: Vec<Seen> = rows.map(entry).collect();
    let unsettled = if found.is_settled {
        None
    } else {
        node.unsettled.filter(|(server, _)| *server == found.server).or(Some((found.server, 0)))
    };
    let view = View { ids: world.ledger.ids(), head: world.seq(found.head), is_settled: found.is_settled };
    let node = &mut world.nodes[n];
    (node.news, node.seen, node.unsettled) = (None, seen, unsettled);
    node.doomed = dead.or(node.doomed);
    node.settles = settles.then_some(found.server);
    if config.is(Misreading::ProgressByMemory) || config.is(Misreading::NodesCached) {
        node.view = Some(view);
    }
    Some(())
}

/// What the node had noted, told again to the code that ships.
fn remembering(world: &World, n: usize, config: &Config) -> Others {
    let node = &world.nodes[n];
    let mut others = Others::default();
    let mut seen = node.seen.clone();
    seen.sort_unstable_by_key(|seen| std::cmp::Reverse(seen.since));
    for (i, last) in seen.iter().enumerate() {
        let members: Vec<Member> = seen[..=i].iter().map(|seen| member(seen.id, seen.beat, config)).collect();
        others.see(&members, node_id(id(n, node.incarnation)), config.instant(n, last.since), true);
    }
    if let Some((server, since)) = node.unsettled {
        others.has_settled(&brought(server, false, 0), Duration::ZERO, config.instant(n, since));
    }
    others
}

/// Whom a node that expels too early would expel.
fn early(world: &World, n: usize, config: &Config) -> Option<(Id, u8)> {
    let is_over = |seen: &&Seen| {
        let row = world.ledger.row(seen.id);
        config.elapsed(n, seen.since) >= ms(crate::config::HOLD) && row.is_some_and(|row| row.beat == seen.beat)
    };
    let seen = world.nodes[n].seen.iter().find(is_over).filter(|_| config.is(Misreading::ExpelTooEarly));
    seen.map(|seen| (seen.id, seen.beat))
}

fn node_id(id: Id) -> NodeId {
    Uuid::from_u128(u128::from(id) + 1).into()
}

fn row_id(id: NodeId) -> Id {
    u8::try_from(id.uuid().as_u128() - 1).unwrap_or(0)
}

fn of_row(row: Row) -> Member {
    Member {
        id: node_id(row.id),
        beat: i64::from(row.beat),
        applied: Seq(i64::from(row.applied)),
        hold: ms(row.hold),
        name: String::new(),
        kin: String::new(),
    }
}

fn member(id: Id, beat: u8, config: &Config) -> Member {
    of_row(Row { id, beat, applied: 0, hold: config.nodes[usize::from(id / INCARNATIONS)].hold })
}

fn brought(server: u8, is_settled: bool, max_hold: u16) -> Brought {
    Brought {
        ledger: LedgerId::from(Uuid::from_u128(1)),
        head: Cursor { seq: Seq(0), tag: Tag(0) },
        has_been_there: true,
        floor: Generation(0),
        time: Timestamp::from_millis(0),
        server: server.to_string(),
        is_known_server: true,
        is_settled,
        max_hold: ms(max_hold),
        batches: Vec::new(),
    }
}
