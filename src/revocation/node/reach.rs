//! How far a revocation has come: what nodes have said, what their rows say, and the writer's wait (R3).
//!
//! A number alone says nothing across a failover that has lost rows: the server that follows gives the same numbers to
//! others. So a node says where it stands by number *and* tag, and its word counts once this node's own history has stood
//! there; and it counts for a revocation only once this node's own history has stood where the ledger did when that was
//! committed. What a node's row says was compared in the statement that wrote it ([`Nodes::renew`]).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use super::super::{
    feed::Cursor,
    lease::{Authority, Member, Nodes, Standing, wait},
    sync::Replica,
};
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
    /// The ledger's head before the members were read.
    head: Seq,
}

/// What is known of all nodes.
#[derive(Debug)]
pub(super) struct Reaches {
    /// Whose history says what of what is heard is true.
    replica: Arc<Replica>,
    heard: Mutex<Heard>,
    /// Somebody has acknowledged something.
    acks: Notify,
    view: Mutex<View>,
    /// Held by whoever asks how far a revocation of the past has come.
    asking: tokio::sync::Mutex<()>,
    /// The longest hold that this node knows of: its own, or what a renewal has told. A restored head may have forgotten it.
    longest: Mutex<Duration>,
    /// The table of nodes as it was last read for a writer, and when that was begun: waits share it.
    table: tokio::sync::Mutex<Option<(BootInstant, Arc<[Member]>)>>,
}

/// What nodes have said, by node.
#[derive(Debug, Default)]
struct Heard {
    /// The last number that it has applied, of the history that this node has.
    applied: HashMap<NodeId, Seq>,
    /// The last thing it said that this node cannot judge: it has not come that far, or the history is another one.
    open: HashMap<NodeId, Cursor>,
}

impl Heard {
    fn note(&mut self, id: NodeId, seq: Seq) {
        let entry = self.applied.entry(id).or_insert(seq);
        *entry = (*entry).max(seq);
    }
}

impl Reaches {
    pub(super) fn new(replica: Arc<Replica>, own: Duration) -> Self {
        Self {
            replica,
            heard: Mutex::default(),
            acks: Notify::new(),
            view: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
            longest: Mutex::new(own),
            table: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn hear(&self, id: NodeId, ledger: LedgerId, at: Cursor) {
        if ledger != self.replica.ledger() {
            return;
        }
        let mut heard = self.heard();
        if heard.applied.len() + heard.open.len() >= MAX_HEARD {
            *heard = Heard::default();
        }
        if !self.replica.has(at) {
            // Two ways lead here, and one may be slower.
            let open = heard.open.entry(id).or_insert(at);
            if open.seq < at.seq {
                *open = at;
            }
            return;
        }
        heard.note(id, at.seq);
        drop(heard);
        self.acks.notify_waiters();
    }

    /// This node has come further: what could not be judged may be now.
    pub(super) fn came_further(&self) {
        let mut heard = self.heard();
        let ripe: Vec<_> =
            heard.open.iter().filter(|(_, at)| self.replica.has(**at)).map(|(&id, &at)| (id, at)).collect();
        for (id, at) in ripe {
            heard.open.remove(&id);
            heard.note(id, at.seq);
        }
        drop(heard);
        self.acks.notify_waiters();
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was heard of a history that has gone another way says nothing of this one.
    pub(super) fn forget(&self) {
        *self.heard() = Heard::default();
        *self.view() = View::default();
    }

    /// Whether a node has applied a number: its row says so, or it has said so itself, if that `is_ours` to judge.
    fn has(&self, member: &Member, seq: Seq, is_ours: bool) -> bool {
        let has_said = || self.heard().applied.get(&member.id).is_some_and(|&applied| applied >= seq);
        member.applied >= seq || is_ours && has_said()
    }

    fn count(&self, members: &[Member], seq: Seq, is_complete: bool) -> Reach {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let nodes = members.iter().filter(|member| self.has(member, seq, true)).count();
        Reach { nodes: count(nodes), of: count(members.len()), is_complete }
    }

    pub(super) fn saw(&self, members: Vec<Member>, head: Seq) {
        *self.view() = View { members, head };
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in the longest hold that a ledger knows of.
    pub(super) fn saw_hold(&self, hold: Duration) {
        let mut longest = self.longest.lock().unwrap_or_else(PoisonError::into_inner);
        *longest = hold.max(*longest);
    }

    /// The longest hold that this node has ever known of.
    pub(super) fn longest_hold(&self) -> Duration {
        *self.longest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many nodes there were at the last renewal.
    pub(super) fn members(&self) -> usize {
        self.view().members.len()
    }

    /// The ledger's head at the last renewal.
    pub(super) fn head(&self) -> Seq {
        self.view().head
    }

    /// On how many nodes a revocation is in force, as far as memory tells. Whether on all, it does not say.
    pub(super) fn so_far(&self, seq: Seq) -> Reach {
        let members = self.view().members.clone();
        self.count(&members, seq, false)
    }

    /// How far a revocation of the past has come. Complete if the nodes, read now from a settled server, all have it: that
    /// is rule R3 (a) for all. Read now, since what a renewal has found before may be of a server that is gone.
    ///
    /// Anybody may ask this, so only one at a time does: whoever comes meanwhile, or asks for too long, is told what memory
    /// tells.
    pub(super) async fn now(&self, nodes: &Nodes, seq: Seq, within: Duration) -> Result<Reach, DatabaseError> {
        let Ok(_one) = self.asking.try_lock() else { return Ok(self.so_far(seq)) };
        let Ok(standing) = tokio::time::timeout(within, nodes.standing(within)).await else {
            return Ok(self.so_far(seq));
        };
        let Standing { head, is_settled, members } = standing?;
        let is_ours = self.replica.has(head);
        let is_complete = is_settled
            && head.seq >= seq
            && !members.is_empty()
            && members.iter().all(|member| self.has(member, seq, is_ours));
        Ok(self.count(&members, seq, is_complete))
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
        // A node may still hold for as long as a head once said that was restored to an earlier state since.
        let authority = Authority { max_hold: authority.max_hold.max(self.longest_hold()), ..authority };
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
                // Else only their rows count, and this node is soon where the ledger was, or stops.
                let is_ours = self.replica.has(authority.at);
                let pending = members.iter().filter(|member| !self.has(member, seq, is_ours));
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
    use super::{
        super::super::{
            Target,
            feed::{Batch, Link, Row, Tag},
            filter::Settings,
        },
        *,
    };
    use crate::{clock::Timestamp, ids::TokenId};

    const HOLD: Duration = Duration::from_secs(1);

    fn member() -> Member {
        Member { id: NodeId::random(), beat: 1, applied: Seq(2), hold: HOLD, name: String::new(), kin: String::new() }
    }

    fn at(seq: i64, tag: i64) -> Cursor {
        Cursor { seq: Seq(seq), tag: Tag(tag) }
    }

    /// A node's history: each transaction's tag is ten times its number, up to the fourth.
    fn replica(ledger: LedgerId) -> Arc<Replica> {
        let settings = Settings { capacity: 10, false_positives: 0.01 };
        let replica = Replica::new(ledger, settings, Timestamp::default()).leased();
        replica.published.end_load(at(0, 0));
        (1..=4).for_each(|seq| follow(&replica, seq));
        Arc::new(replica)
    }

    fn follow(replica: &Replica, seq: i64) {
        let row = Row { target: Target::Token(TokenId::random()), floor: None, until: Timestamp::default() };
        let (prev, cursor) = (Tag(10 * (seq - 1)), at(seq, 10 * seq));
        let batch = Batch { ledger: replica.ledger(), prev, cursor, rows: vec![row] };
        assert_eq!(replica.apply(&batch), Link::Next);
    }

    #[test]
    fn an_acknowledgement_speaks_for_its_node_and_for_this_ledger_alone() {
        let (ledger, one, other) = (LedgerId::random(), member(), member());
        let reaches = Reaches::new(replica(ledger), HOLD);
        let has = |member: &Member, seq| reaches.has(member, Seq(seq), true);
        assert!(has(&one, 2) && !has(&one, 3), "its row says so");
        reaches.hear(one.id, LedgerId::random(), at(4, 40));
        assert!(!has(&one, 3), "another life of the ledger");
        reaches.hear(one.id, ledger, at(4, 40));
        reaches.hear(one.id, ledger, at(3, 30));
        assert!(has(&one, 4) && !has(&one, 5), "what it has applied stays applied");
        assert!(!has(&other, 3), "another node");
        assert!(!reaches.has(&one, Seq(3), false), "where this node's own history is not the ledger's");
        assert!(reaches.has(&one, Seq(2), false), "what its row says was compared there");
        let members = [one, other];
        assert_eq!(reaches.count(&members, Seq(4), false), Reach { nodes: 1, of: 2, is_complete: false });
        reaches.forget();
        assert!(!has(&members[0], 3), "of a history that has gone another way");
    }

    #[test]
    fn an_acknowledgement_of_a_history_that_was_lost_says_nothing_and_one_that_is_ahead_counts_in_time() {
        let (ledger, one) = (LedgerId::random(), member());
        let replica = replica(ledger);
        let reaches = Reaches::new(Arc::clone(&replica), HOLD);
        let has = |seq| reaches.has(&one, Seq(seq), true);
        reaches.hear(one.id, ledger, at(4, 41));
        reaches.came_further();
        assert!(!has(3), "the same number of another history");
        reaches.hear(one.id, ledger, at(6, 60));
        follow(&replica, 5);
        reaches.came_further();
        assert!(!has(5), "nobody can tell yet whether that is this history");
        follow(&replica, 6);
        reaches.came_further();
        assert!(has(6));
    }

    #[test]
    fn a_settled_server_is_believed_of_nodes_whose_history_goes_on_from_its_head() {
        let (ledger, one) = (LedgerId::random(), member());
        let reaches = Reaches::new(replica(ledger), HOLD);
        reaches.hear(one.id, ledger, at(4, 40));
        let (members, committed) = ([one], BootInstant::from_nanos(7));
        let over = |authority_at, is_settled| {
            let authority = Authority { is_settled, max_hold: Duration::from_secs(9), at: authority_at };
            reaches.last_over(Some(&members), Seq(4), committed, authority)
        };
        assert_eq!(over(at(4, 40), true), None, "it has it");
        assert_eq!(over(at(4, 41), true), Some(committed + wait(members[0].hold)), "not this fourth one");
        assert_eq!(over(at(4, 40), false), Some(committed + wait(Duration::from_secs(9))));
    }

    #[test]
    fn a_writer_waits_for_the_hold_of_each_that_has_not_said_so_and_for_the_longest_of_all_when_words_do_not_count() {
        let ledger = LedgerId::random();
        let reaches = Reaches::new(replica(ledger), HOLD);
        let (long, longest, committed) = (3 * HOLD, 5 * HOLD, BootInstant::from_nanos(7));
        let holding = |applied, hold| Member { applied: Seq(applied), hold, ..member() };
        let over = |members: Option<&[Member]>, is_settled| {
            let authority = Authority { is_settled, max_hold: longest, at: at(4, 40) };
            reaches.last_over(members, Seq(4), committed, authority)
        };
        let all = [holding(0, long), holding(3, HOLD), holding(4, long)];
        reaches.hear(all[0].id, ledger, at(4, 40));
        assert_eq!(over(Some(&all), true), Some(committed + wait(HOLD)), "the other two have it");
        let all = [holding(3, HOLD), holding(3, long)];
        assert_eq!(over(Some(&all), true), Some(committed + wait(long)));
        assert_eq!(over(Some(&[]), true), None);
        assert_eq!(over(Some(&[]), false), Some(committed + wait(longest)), "rows may be missing");
        assert_eq!(over(Some(&[holding(4, HOLD)]), false), Some(committed + wait(longest)));
        assert_eq!(over(None, true), Some(committed + wait(longest)), "the nodes could not be read");
    }

    #[test]
    fn whoever_is_gone_is_not_waited_for_and_whoever_has_come_since_neither() {
        let (one, two, three) = (member(), member(), member());
        let first = narrowed(None, &[one, two.clone()]);
        assert_eq!(first.len(), 2);
        let renewed = Member { applied: Seq(7), ..two };
        assert_eq!(narrowed(Some(first), &[renewed.clone(), three]), [renewed], "as it is now");
    }
}
