//! Readings of the protocol that are wrong, each of which somebody could fall for.

/// One rule, read in another way. The model does what ships, but for the one that is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misreading {
    /// R3: the writer's clock is read before its commit is acknowledged.
    ClockBeforeCommit,
    /// R3: the nodes are read before the commit.
    NodesBeforeCommit,
    /// R3: the nodes are those that were seen some time ago.
    NodesCached,
    /// R3: what was revoked already is answered without a wait.
    AlreadyAtOnce,
    /// R3: a dead node is waited for as long as it holds by its own clock.
    NoDrift,
    /// R3: a fifth for clocks of different rates, and no margin.
    TooLittleDrift,
    /// R3: a writer waits for its own hold and not for that of the others.
    OwnHold,
    /// R3: the longest hold is what `head` says, which may be an older one than the nodes know.
    ForgottenHold,
    /// R3: rows and acknowledgements count on a server that has just taken over.
    EarlyAnswers,
    /// R3: how far a revocation has come is told of nodes that were read before it was committed.
    ProgressOfBefore,
    /// R3: how far a revocation has come is told of nodes as the last renewal has found them.
    ProgressByMemory,
    /// R3: what nodes say counts by its number.
    AcksByNumber,
    /// R3: what was judged by a history counts after the load that ends it.
    WordsOutliveLoads,
    /// R3: a node that says nothing is waited for until it does.
    WaitForAll,
    /// R2: numbers are drawn before the commit and not in its order.
    SerialNumbers,
    /// R4: the lease counts from the answer.
    LeaseFromReply,
    /// R4: the lease is extended before everything up to the head is applied.
    PublishBehindHead,
    /// R4: a row is acknowledged when it has come, and applied after.
    AcknowledgeFirst,
    /// R4: the row says what the node has applied, whatever the server that answers has of it.
    RowUnjudged,
    /// R4: a row that comes is applied, whatever is missing before it.
    JumpOverHole,
    /// R4: a row of a kind that is not known is passed over.
    SkipUnknown,
    /// R4: only numbers are compared, and no tags.
    NoTags,
    /// R5: a registration gives the first lease.
    LeaseByRegistration,
    /// R5: the hold is raised, and the row says so later.
    HoldRaisedFirst,
    /// R5: a node that begins anew takes the id that it had.
    IdReused,
    /// R6: a check does not ask the lease once it was given.
    NoFencing,
    /// R6: a task reads the clock for the checks.
    CoarseClock,
    /// R6: a check asks the filter and then the lease.
    FilterBeforeLease,
    /// R8: a node that has stood still is removed at whatever beat it is by then.
    ExpelAnyBeat,
    /// R8: nodes are removed after their hold, without the quarter for clocks of different rates.
    ExpelTooEarly,
    /// R8: nodes are removed on a server that has just taken over, too.
    ExpelUnsettled,
    /// R8: a stopping node removes its row and then ends its lease.
    LeaveFirst,
    /// R8: a note of a row counts in a copy of the folder, whose first owner lives.
    BuryTheLiving,
    /// Failover: a server that has lost rows looks like the one before.
    SameServer,
    /// Failover: a new server counts as settled when it is first seen.
    SettleAtOnce,
}
