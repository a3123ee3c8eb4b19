//! What there is at one moment: nodes, the ledger, requests, and what is on its way.

use kickout::{
    ids::{LedgerId, Seq},
    revocation::feed::{Batch, Cursor, Link, Tag},
};
use uuid::Uuid;

use crate::config::{Age, Begin, Config};

/// A commit's tag: its number among all commits there ever were, in this history or another. 0: nothing yet.
pub type Mark = u8;

/// A set of tokens, of commits or of row ids, as bits.
pub type Bits = u16;

/// A row's id: whose it is, and of which registration.
pub type Id = u8;

/// Registrations of one node at most.
pub const INCARNATIONS: u8 = 3;

/// One committed transaction: it revokes one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Commit {
    pub seq: u8,
    pub prev: Mark,
    pub token: u8,
}

/// A row of `nodes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Row {
    pub id: Id,
    pub beat: u8,
    pub applied: u8,
    pub hold: u16,
}

/// The ledger, as one server has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ledger {
    /// The commits that are there.
    pub commits: Bits,
    pub rows: Vec<Row>,
    /// Which server this is.
    pub server: u8,
    /// Which one `head` knows.
    pub known: u8,
    pub settled: bool,
    pub max_hold: u16,
}

impl Ledger {
    pub fn row(&self, id: Id) -> Option<&Row> {
        self.rows.iter().find(|row| row.id == id)
    }

    /// Whether acknowledgements and vanished rows count.
    pub fn is_settled(&self) -> bool {
        self.settled && self.known == self.server
    }

    pub fn ids(&self) -> Bits {
        self.rows.iter().map(|row| bit(row.id)).sum()
    }
}

/// How far a node's process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// There is no process.
    Off,
    /// It has to load.
    Cold,
    /// It has loaded, and has no row.
    Loaded,
    /// It has a row.
    Live,
    /// Its lease is ended, and its row is to go. Whether the process ends with that.
    Leaving(bool),
}

/// What a renewal has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Found {
    pub head: Mark,
    /// Rows past the cursor.
    pub rows: Bits,
    pub server: u8,
    pub is_known: bool,
    pub is_settled: bool,
    pub max_hold: u16,
}

/// A renewal under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Renewal {
    None,
    /// `t0` is read, and the statement is on its way.
    Asking {
        t0: Age,
        cursor: Mark,
    },
    /// The statement has run, and its answer is on its way.
    Answered {
        t0: Age,
        cursor: Mark,
        found: Found,
    },
    /// It has found no row to renew.
    Refused,
    /// What it brought is applied.
    Applied {
        t0: Age,
        found: Found,
    },
}

/// What a node has seen of another: since when it stands at this beat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seen {
    pub id: Id,
    pub beat: u8,
    pub since: Age,
}

/// The nodes as a look has found them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct View {
    pub ids: Bits,
    pub head: u8,
    pub is_settled: bool,
}

/// Head and rows, as one statement has found them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Asked {
    /// Of which request's revocation it was asked.
    pub request: usize,
    pub head: Mark,
    pub is_settled: bool,
    /// By row: whose it is, and what it says is applied.
    pub rows: Vec<(Id, u8)>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node {
    pub phase: Phase,
    /// How often it has registered.
    pub incarnation: u8,
    /// Where it stands in the history.
    pub at: Mark,
    /// Tokens in its filter.
    pub filter: Bits,
    /// Commits that it has applied and could give back.
    pub recent: Bits,
    /// From when its lease counts.
    pub lease: Option<Age>,
    /// From when a right one would: before its last renewal was asked for.
    pub proof: Option<Age>,
    pub beat: u8,
    /// Whether the last renewal's answer was heard.
    pub is_certain: bool,
    pub renewal: Renewal,
    /// A renewal that was given up, and is still on its way: the beat it names, and where the node stood.
    pub late: Option<(u8, Mark)>,
    /// What the last renewal has said to whoever looks after the others.
    pub news: Option<Found>,
    pub seen: Vec<Seen>,
    /// Rows that it is about to expel, at this beat.
    pub doomed: Option<(Id, u8)>,
    /// A server that is not settled, and since when it was seen.
    pub unsettled: Option<(u8, Age)>,
    /// A server that it is about to call settled.
    pub settles: Option<u8>,
    pub view: Option<View>,
    /// Where its history has stood, since its last load. Only who judges what others say needs it.
    pub history: Bits,
    /// By row id: numbers that count whatever the history is by now.
    pub heard: [u8; 9],
    /// What it has read for somebody who asks how far a revocation has come.
    pub asked: Option<Asked>,
    /// When the clock was read that all checks use, where a task reads it.
    pub coarse: Age,
}

/// A request to revoke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Nobody has asked yet.
    Idle,
    /// It has begun; what a writer that reads too early has read.
    Begun {
        at: Age,
        ids: Bits,
        seq: u8,
    },
    /// It is committed, and the writer does not know yet.
    Committed {
        commit: Mark,
        /// Where the ledger stood with it.
        head: Mark,
        is_settled: bool,
        max_hold: u16,
        at: Age,
        ids: Bits,
        is_new: bool,
    },
    /// The writer waits for the nodes.
    Waiting {
        commit: Mark,
        head: Mark,
        is_settled: bool,
        max_hold: u16,
        at: Age,
        ids: Bits,
    },
    Answered(By),
    /// Nobody will be answered.
    Dead,
}

/// A check that began after the receipt for its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Check {
    pub token: u8,
    /// When it has read the clock.
    pub read: Option<Age>,
    /// Whether it has found the lease valid.
    pub is_valid: Option<bool>,
    /// Whether the filter had its token.
    pub is_in: Option<bool>,
}

/// What is left of what may go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Left {
    pub crashes: u8,
    pub stops: u8,
    pub failovers: u8,
    pub restarts: u8,
    /// Burials of the living.
    pub burials: u8,
}

/// What a receipt has waited for last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum By {
    Acknowledged,
    Vanished,
    Waited,
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    pub nodes: Vec<Node>,
    pub ledger: Ledger,
    /// What a standby, or a backup, has.
    pub standby: Option<Ledger>,
    pub commits: Vec<Commit>,
    pub requests: Vec<Step>,
    /// Commits that were pushed.
    pub pushed: Bits,
    /// By row id: where its node has said that it stands.
    pub said: [Bits; 9],
    /// Tokens for which a receipt was given that stands.
    pub receipts: Bits,
    pub check: Option<Check>,
    /// A check that began after a receipt has allowed.
    pub is_broken: bool,
    pub left: Left,
}

pub fn bit(n: u8) -> Bits {
    1 << n
}

pub fn id(node: usize, incarnation: u8) -> Id {
    u8::try_from(node).unwrap_or(0) * INCARNATIONS + incarnation - 1
}

pub fn bits(set: Bits) -> impl Iterator<Item = u8> {
    (0..16).filter(move |&n| set & bit(n) != 0)
}

impl Node {
    /// Whether it has loaded a history and follows it.
    pub fn follows(&self) -> bool {
        matches!(self.phase, Phase::Loaded | Phase::Live)
    }

    /// From here on no check is answered.
    pub fn over(&mut self, phase: Phase) {
        self.phase = phase;
        self.lease = None;
        self.proof = None;
        self.renewal = Renewal::None;
        self.news = None;
        self.seen.clear();
        self.doomed = None;
        self.unsettled = None;
        self.settles = None;
        self.view = None;
        self.beat = 0;
        self.is_certain = true;
    }
}

impl World {
    pub fn new(config: &Config) -> Self {
        let ledger = Ledger { commits: 0, rows: Vec::new(), server: 1, known: 1, settled: true, max_hold: 0 };
        let node = Node {
            phase: Phase::Off,
            incarnation: 0,
            at: 0,
            filter: 0,
            recent: 0,
            lease: None,
            proof: None,
            beat: 0,
            is_certain: true,
            renewal: Renewal::None,
            late: None,
            news: None,
            seen: Vec::new(),
            doomed: None,
            unsettled: None,
            settles: None,
            view: None,
            history: 0,
            heard: [0; 9],
            asked: None,
            coarse: 0,
        };
        let mut world = Self {
            nodes: vec![node; config.nodes.len()],
            ledger,
            standby: None,
            commits: Vec::new(),
            requests: vec![Step::Idle; config.requests.len()],
            pushed: 0,
            said: [0; 9],
            receipts: 0,
            check: None,
            is_broken: false,
            left: Left {
                crashes: config.crashes,
                stops: config.stops,
                failovers: config.failovers,
                restarts: config.restarts,
                burials: 1,
            },
        };
        for (n, who) in config.nodes.iter().enumerate() {
            match who.begin {
                // It follows the ledger, and has no row.
                Begin::Live if !who.renews => world.nodes[n].phase = Phase::Loaded,
                Begin::Cold => world.nodes[n].phase = Phase::Cold,
                Begin::Live => world.register(n, config),
            }
            world.nodes[n].history = bit(0);
        }
        if config.is_copied {
            world.standby = Some(world.ledger.clone());
        }
        world
    }

    /// A row for a node that has loaded.
    pub fn register(&mut self, n: usize, config: &Config) {
        let node = &mut self.nodes[n];
        node.phase = Phase::Live;
        if node.incarnation == 0 || !config.is(crate::rules::Misreading::IdReused) {
            node.incarnation += 1;
        }
        (node.beat, node.is_certain) = (0, true);
        let id = id(n, node.incarnation);
        let hold = if config.is(crate::rules::Misreading::HoldRaisedFirst) {
            crate::config::HOLD
        } else {
            config.nodes[n].hold
        };
        self.ledger.max_hold = self.ledger.max_hold.max(hold);
        self.ledger.rows.push(Row { id, beat: 0, applied: 0, hold });
        self.ledger.rows.sort_unstable_by_key(|row| row.id);
    }

    /// Whether a ledger's history has stood there: it stands there, or what came next names that tag.
    pub fn has_stood(&self, ledger: &Ledger, at: Mark) -> bool {
        let is_next = |&mark: &Mark| {
            let next = &self.commits[usize::from(mark) - 1];
            next.seq == self.seq(at) + 1 && next.prev == at
        };
        self.head(ledger) == at || bits(ledger.commits).any(|mark| is_next(&mark))
    }

    /// The number up to which a node knows that another has applied what it has itself, by what that one has said.
    pub fn heard(&self, n: usize, id: Id, config: &Config) -> u8 {
        let (node, said) = (&self.nodes[n], self.said[usize::from(id)]);
        let counts = if config.is(crate::rules::Misreading::AcksByNumber) { said } else { said & node.history };
        bits(counts).map(|mark| self.seq(mark)).fold(node.heard[usize::from(id)], u8::max)
    }

    /// Whether what a node has heard may be counted for what a ledger had when it stood there.
    pub fn is_ours(&self, n: usize, at: Mark, config: &Config) -> bool {
        self.nodes[n].history & bit(at) != 0 || config.is(crate::rules::Misreading::AcksByNumber)
    }

    /// The number of a commit.
    pub fn seq(&self, mark: Mark) -> u8 {
        if mark == 0 { 0 } else { self.commits[usize::from(mark) - 1].seq }
    }

    fn cursor(&self, mark: Mark) -> Cursor {
        Cursor { seq: Seq(i64::from(self.seq(mark))), tag: Tag(i64::from(mark)) }
    }

    /// How a commit fits where a node stands, by the very code that ships.
    pub fn link(&self, mark: Mark, at: Mark) -> Link {
        let ledger = LedgerId::from(Uuid::from_u128(1));
        let prev = Tag(i64::from(self.commits[usize::from(mark) - 1].prev));
        Batch { ledger, prev, cursor: self.cursor(mark), rows: Vec::new() }.link(ledger, self.cursor(at))
    }

    /// Commits in the order of their numbers.
    pub fn in_order(&self, set: Bits) -> Vec<Mark> {
        let mut marks: Vec<Mark> = bits(set).collect();
        marks.sort_unstable_by_key(|&mark| self.seq(mark));
        marks
    }

    /// The last commit of a ledger, as `head` has it.
    pub fn head(&self, ledger: &Ledger) -> Mark {
        bits(ledger.commits).max_by_key(|&mark| self.seq(mark)).unwrap_or(0)
    }

    pub fn token(&self, mark: Mark) -> Bits {
        bit(self.commits[usize::from(mark) - 1].token)
    }

    /// Tokens that the ledger names.
    pub fn tokens(&self, ledger: &Ledger) -> Bits {
        bits(ledger.commits).fold(0, |tokens, mark| tokens | self.token(mark))
    }

    /// The commit of a token in the ledger that is in charge.
    pub fn find(&self, token: u8) -> Option<Mark> {
        bits(self.ledger.commits).find(|&mark| self.token(mark) == bit(token))
    }

    /// Commits a revocation, as the last one.
    pub fn commit(&mut self, token: u8) -> Mark {
        let prev = self.head(&self.ledger);
        self.commit_as(token, self.seq(prev) + 1, prev)
    }

    pub fn commit_as(&mut self, token: u8, seq: u8, prev: Mark) -> Mark {
        self.commits.push(Commit { seq, prev, token });
        let mark = u8::try_from(self.commits.len()).unwrap_or(u8::MAX);
        self.ledger.commits |= bit(mark);
        mark
    }
}
