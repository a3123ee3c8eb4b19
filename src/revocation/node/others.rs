//! What a node sees of the others: who has certainly stopped, and whether a new server has been in charge for long enough.

use std::{collections::HashMap, time::Duration};

use super::super::lease::{Member, Renewal, wait};
use crate::{clock::BootInstant, ids::NodeId};

/// What this node itself has seen of others: since when each stands at the same beat.
#[derive(Debug, Default)]
pub(super) struct Others {
    seen: HashMap<NodeId, (i64, BootInstant)>,
    /// Which server was first seen in charge when, without being settled.
    unsettled_since: Option<(String, BootInstant)>,
}

impl Others {
    /// Notes what is there, and returns those that have stood still for longer than they can hold. On a server that
    /// is not settled nobody is: their renewals may be lost.
    pub(super) fn see<'a>(
        &mut self,
        members: &'a [Member],
        me: NodeId,
        now: BootInstant,
        is_settled: bool,
    ) -> Vec<&'a Member> {
        if !is_settled {
            self.seen.clear();
        }
        self.seen.retain(|id, _| members.iter().any(|member| member.id == *id));
        let mut dead = Vec::new();
        for member in members.iter().filter(|member| member.id != me) {
            let seen = self.seen.entry(member.id).or_insert((member.beat, now));
            if seen.0 != member.beat {
                *seen = (member.beat, now);
            }
            if is_settled && now.since(seen.1) >= wait(member.hold) {
                dead.push(member);
            }
        }
        dead
    }

    /// Whether a server that is not settled has been seen in charge for longer than anybody can hold.
    pub(super) fn has_settled(&mut self, renewal: &Renewal, longest: Duration, now: BootInstant) -> bool {
        if renewal.is_settled {
            self.unsettled_since = None;
            return false;
        }
        let since = self.unsettled_since.take().filter(|(server, _)| *server == renewal.server);
        let since = since.unwrap_or_else(|| (renewal.server.clone(), now));
        // A restored head may have forgotten how long a hold there was; the longest that this node knows of counts too.
        let is_over = now.since(since.1) >= wait(renewal.max_hold.max(longest));
        self.unsettled_since = Some(since);
        is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Timestamp,
        ids::{Generation, LedgerId, Seq},
        revocation::feed::{Cursor, Tag},
    };

    const HOLD: Duration = Duration::from_secs(10);
    const TICK: Duration = Duration::from_nanos(1);
    const START: BootInstant = BootInstant::from_nanos(1_000_000_000);

    fn just_before(after: Duration) -> Duration {
        after.saturating_sub(TICK)
    }

    fn member(beat: i64) -> Member {
        let (name, kin) = (String::new(), String::new());
        Member { id: uuid::Uuid::from_u128(1).into(), beat, applied: Seq(0), hold: HOLD, name, kin }
    }

    fn renewal(server: &str, is_settled: bool, max_hold: Duration) -> Renewal {
        Renewal {
            ledger: LedgerId::random(),
            head: Cursor { seq: Seq(0), tag: Tag(0) },
            has_been_there: true,
            floor: Generation(0),
            time: Timestamp::from_millis(0),
            server: server.to_owned(),
            is_known_server: true,
            is_settled,
            max_hold,
            batches: Vec::new(),
        }
    }

    /// A node that sees another one at these beats, on a server that is settled or not; whether it then is dead.
    fn sees(sightings: &[(Duration, i64, bool)]) -> Vec<bool> {
        let (mut others, me) = (Others::default(), NodeId::random());
        let see =
            |&(after, beat, is_settled): &_| !others.see(&[member(beat)], me, START + after, is_settled).is_empty();
        sightings.iter().map(see).collect()
    }

    #[test]
    fn a_node_is_dead_when_one_beat_was_seen_for_the_wait_and_not_a_moment_sooner() {
        let (start, over) = (Duration::ZERO, wait(HOLD));
        assert_eq!(sees(&[(start, 3, true), (just_before(over), 3, true), (over, 3, true)]), [false, false, true]);
        assert_eq!(
            sees(&[(start, 3, true), (over, 4, true), (just_before(2 * over), 4, true)]),
            [false; 3],
            "it has renewed"
        );
        assert_eq!(sees(&[(start, 3, true), (over, 4, true), (2 * over, 4, true)]), [false, false, true]);
    }

    #[test]
    fn nobody_is_dead_by_what_was_seen_before_a_server_was_settled() {
        let (start, over) = (Duration::ZERO, wait(HOLD));
        assert_eq!(sees(&[(start, 3, false), (over, 3, false)]), [false; 2]);
        assert_eq!(sees(&[(start, 3, true), (over / 2, 3, false), (over, 3, true)]), [false; 3]);
        let settled = over / 2 + TICK;
        assert_eq!(sees(&[(over / 2, 3, false), (settled, 3, true), (settled + over, 3, true)]), [false, false, true]);
    }

    #[test]
    fn a_node_is_not_dead_to_itself() {
        let mut others = Others::default();
        for after in [Duration::ZERO, 2 * wait(HOLD)] {
            assert!(others.see(&[member(3)], member(3).id, START + after, true).is_empty());
        }
    }

    #[test]
    fn a_server_has_settled_when_the_longest_hold_is_over_that_anybody_knows_of() {
        for (max_hold, own) in [(HOLD, Duration::ZERO), (Duration::ZERO, HOLD)] {
            let mut others = Others::default();
            let mut after = |after, server, is_settled| {
                others.has_settled(&renewal(server, is_settled, max_hold), own, START + after)
            };
            let over = wait(HOLD);
            assert!(!after(Duration::ZERO, "one", false));
            assert!(!after(just_before(over), "one", false));
            assert!(after(over, "one", false), "also again, if that could not be noted");
            assert!(after(over + TICK, "one", false));
            assert!(!after(2 * over, "another", false), "it is not the one that was seen");
            assert!(!after(just_before(3 * over), "another", false));
            assert!(after(3 * over, "another", false));
            assert!(!after(4 * over, "another", true), "there is nothing to settle");
            assert!(!after(5 * over, "another", false), "and begins anew");
        }
    }
}
