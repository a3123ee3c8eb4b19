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
