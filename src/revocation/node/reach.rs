//! How far a revocation has come: what nodes have said, what their rows say, and the writer's wait (R3).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use super::super::lease::{Authority, Member, Nodes, wait};
use crate::{
    clock::{BootInstant, Clock},
    database::DatabaseError,
    ids::{LedgerId, NodeId, Seq},
};

/// A writer reads the table of nodes again at least so often while it waits, and at first after this. What it waits for
/// is mostly said by the nodes themselves; the table tells of those that left, and of words that were lost.
const LONGEST_LOOK: Duration = Duration::from_millis(250);
const FIRST_LOOK: Duration = Duration::from_millis(20);

/// Acknowledgements kept at most: far more nodes than the design is for.
const MAX_HEARD: usize = 4096;

/// On how many nodes a revocation is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// Nodes that have applied it.
    pub nodes: u32,
    /// Nodes that there are.
    pub of: u32,
    /// No node can answer from before it any more.
    pub is_complete: bool,
}

/// The nodes as a renewal has found them.
#[derive(Debug, Clone, Default)]
struct View {
    members: Vec<Member>,
    /// The ledger's head before the members were read: each revocation up to it was committed before.
    head: Seq,
    is_settled: bool,
}

/// What is known of all nodes.
#[derive(Debug)]
pub(super) struct Reaches {
    ledger: LedgerId,
    /// By node: the last number that it said it has applied in this ledger's life.
    heard: Mutex<HashMap<NodeId, Seq>>,
    /// Somebody has acknowledged something.
    acks: Notify,
    view: Mutex<View>,
    /// The table of nodes as it was last read for a writer, and when that was begun: waits share it.
    table: tokio::sync::Mutex<Option<(BootInstant, Arc<[Member]>)>>,
}

impl Reaches {
    pub(super) fn new(ledger: LedgerId) -> Self {
        Self {
            ledger,
            heard: Mutex::default(),
            acks: Notify::new(),
            view: Mutex::default(),
            table: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn hear(&self, id: NodeId, ledger: LedgerId, seq: Seq) {
        if ledger != self.ledger {
            return;
        }
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.len() >= MAX_HEARD {
            heard.clear();
        }
        let entry = heard.entry(id).or_insert(seq);
        *entry = (*entry).max(seq);
        drop(heard);
        self.acks.notify_waiters();
    }

    /// What was heard of a history that has gone another way says nothing of this one.
    pub(super) fn forget(&self) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clear();
        *self.view.lock().unwrap_or_else(PoisonError::into_inner) = View::default();
    }

    fn has(&self, member: &Member, seq: Seq) -> bool {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        member.applied >= seq || heard.get(&member.id).is_some_and(|&applied| applied >= seq)
    }

    fn count(&self, members: &[Member], seq: Seq, is_complete: bool) -> Reach {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let nodes = members.iter().filter(|member| self.has(member, seq)).count();
        Reach { nodes: count(nodes), of: count(members.len()), is_complete }
    }

    pub(super) fn saw(&self, members: Vec<Member>, head: Seq, is_settled: bool) {
        *self.view.lock().unwrap_or_else(PoisonError::into_inner) = View { members, head, is_settled };
    }

    /// How many nodes there were at the last renewal.
    pub(super) fn members(&self) -> usize {
        self.view.lock().unwrap_or_else(PoisonError::into_inner).members.len()
    }

    /// The ledger's head at the last renewal.
    pub(super) fn head(&self) -> Seq {
        self.view.lock().unwrap_or_else(PoisonError::into_inner).head
    }

    /// How far a revocation has come, from memory. Complete only if the nodes were read after it was committed, on a
    /// settled server, and each of them has it: that is rule R3 (a) for all.
    pub(super) fn now(&self, seq: Seq) -> Reach {
        let view = self.view.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let is_complete = view.is_settled
            && view.head >= seq
            && !view.members.is_empty()
            && view.members.iter().all(|member| self.has(member, seq));
        self.count(&view.members, seq, is_complete)
    }

    /// Waits until no node can answer from before `seq`: each has applied it, or is gone, or must have stopped.
    /// `committed` was read after the commit was acknowledged.
    pub(super) async fn reached(
        &self,
        nodes: &Nodes,
        clock: &Clock,
        seq: Seq,
        committed: BootInstant,
        authority: Authority,
    ) -> Reach {
        let mut look = FIRST_LOOK;
        // Afresh, and after the commit: a row that was read before could have been renewed since. One such list is
        // enough: whoever is not in it registers after the commit, and loads before it answers anything.
        let mut members: Option<Vec<Member>> = None;
        let mut next = clock.boottime();
        loop {
            let acks = self.acks.notified();
            if clock.boottime() >= next {
                let longest = (committed + wait(authority.max_hold)).since(clock.boottime());
                let since = if members.is_some() { next } else { committed };
                match tokio::time::timeout(longest.max(FIRST_LOOK), self.table(nodes, clock, since)).await {
                    Ok(Ok(found)) => members = Some(narrowed(members, &found)),
                    Ok(Err(error)) => tracing::warn!(%error, "the nodes could not be read"),
                    Err(_) => tracing::warn!("the nodes could not be read in time"),
                }
                next = clock.boottime() + look;
                look = (look * 2).min(LONGEST_LOOK);
            }
            let now = clock.boottime();
            let Some(over) = self.last_over(members.as_deref(), seq, committed, authority).filter(|&over| over > now)
            else {
                return self.count(members.as_deref().unwrap_or_default(), seq, true);
            };
            tokio::select! {
                () = acks => {}
                () = tokio::time::sleep(next.min(over).since(now)) => {}
            }
        }
    }

    /// The table of nodes, read at `since` or later; many waits need one reading.
    async fn table(&self, nodes: &Nodes, clock: &Clock, since: BootInstant) -> Result<Arc<[Member]>, DatabaseError> {
        let mut table = self.table.lock().await;
        if let Some((at, members)) = table.as_ref()
            && *at >= since
        {
            return Ok(Arc::clone(members));
        }
        let at = clock.boottime();
        let members: Arc<[Member]> = nodes.members().await?.into();
        *table = Some((at, Arc::clone(&members)));
        Ok(members)
    }

    /// When the last node that matters has certainly stopped; `None` if there is none to wait for.
    fn last_over(
        &self,
        members: Option<&[Member]>,
        seq: Seq,
        committed: BootInstant,
        authority: Authority,
    ) -> Option<BootInstant> {
        match members {
            // Nobody can be left out: all holds there ever were must be over. So too while a new server is in charge,
            // whose rows may be older than what was heard.
            Some(members) if authority.is_settled => {
                let pending = members.iter().filter(|member| !self.has(member, seq));
                pending.map(|member| committed + wait(member.hold)).max()
            }
            _ => Some(committed + wait(authority.max_hold)),
        }
    }
}

/// The nodes that are still to be considered: those of the first reading that are there still. Who has come later loads
/// what was committed before.
fn narrowed(first: Option<Vec<Member>>, found: &[Member]) -> Vec<Member> {
    let Some(first) = first else { return found.to_vec() };
    found.iter().filter(|member| first.iter().any(|known| known.id == member.id)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member() -> Member {
        Member {
            id: NodeId::random(),
            beat: 1,
            applied: Seq(3),
            hold: Duration::from_secs(1),
            name: String::new(),
            kin: String::new(),
        }
    }

    #[test]
    fn an_acknowledgement_speaks_for_its_node_and_for_this_ledger_alone() {
        let (ledger, one, other) = (LedgerId::random(), member(), member());
        let reaches = Reaches::new(ledger);
        assert!(reaches.has(&one, Seq(3)) && !reaches.has(&one, Seq(4)), "its row says so");
        reaches.hear(one.id, LedgerId::random(), Seq(9));
        assert!(!reaches.has(&one, Seq(4)), "another life of the ledger");
        reaches.hear(one.id, ledger, Seq(5));
        reaches.hear(one.id, ledger, Seq(4));
        assert!(reaches.has(&one, Seq(5)) && !reaches.has(&one, Seq(6)), "what it has applied stays applied");
        assert!(!reaches.has(&other, Seq(4)), "another node");
        let members = [one, other];
        assert_eq!(reaches.count(&members, Seq(5), false), Reach { nodes: 1, of: 2, is_complete: false });
        reaches.forget();
        assert!(!reaches.has(&members[0], Seq(4)), "of a history that has gone another way");
    }
}
