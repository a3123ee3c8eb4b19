//! What is done to a cluster, when it was in force, and what it permits.
//!
//! What is permitted is what the product's own table of faults says: a node that is killed, stopped or cut off from SQL
//! may not know, or not answer; without SQL nobody acts, and nodes stop at their hold; whatever becomes of Redis
//! permits nothing. What takes back a fault is part of it: it is over when the node is ready again.

mod stores;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kickout::clock::Clock;
use rustix::process::Signal;
use tokio::{
    sync::watch,
    task::{JoinSet, block_in_place},
    time::{Instant, sleep},
};

use super::{
    clock::Wall,
    moment,
    net::{Loss, Net},
    plan::{Form, Kind, Plan, Planned, Store},
    world::World,
};
use crate::{
    history::{Fault, Permits},
    support::{chaos::Mode, postgres},
};

/// The whole cluster, and what has been done to it so far.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) world: Arc<World>,
    /// The wall clock that is moved: PostgreSQL's, or a node's.
    pub(super) wall: Mutex<Option<Wall>>,
    /// Whether there is one fault and no other that could hide what it does.
    is_alone: bool,
    faults: Mutex<Vec<Fault>>,
    troubles: Mutex<Vec<String>>,
    /// What faults have not shown that they should have.
    doubts: Mutex<Vec<String>>,
    /// Whether clients shall ask for all they can.
    pub(super) rush: watch::Sender<bool>,
}

/// A node that does not act for a while.
const AWAY: Permits = Permits {
    unknown_checks: true,
    no_answers: true,
    refused_acts: true,
    slow_receipts: true,
    cuts_ledger: false,
    loses_since: None,
    ends_everything: false,
    moves_clock: false,
};

/// A node, or all of them, without SQL.
const NO_LEDGER: Permits = Permits { no_answers: false, cuts_ledger: true, ..AWAY };

/// SQL that may be too slow to renew, and may not be.
const SLOW_LEDGER: Permits = Permits { cuts_ledger: false, ..NO_LEDGER };

/// How far a clock may be from where it was put, in seconds: an answer takes time.
const CLOCK_SLACK: u64 = 60;

/// How long a node may take to say that its clock was moved: it says so when it renews.
const CLOCK_SEEN: Duration = Duration::from_secs(10);

/// The last of all faults, in each episode.
pub(super) const EVERYTHING: &str = "kill-everything";

impl Scene {
    pub(super) fn new(world: Arc<World>, wall: Option<Wall>, plan: &Plan) -> Self {
        let is_alone = plan.faults.len() == 1;
        Self {
            world,
            wall: Mutex::new(wall),
            is_alone,
            faults: Mutex::default(),
            troubles: Mutex::default(),
            doubts: Mutex::default(),
            rush: watch::Sender::new(false),
        }
    }

    /// All faults of a plan, from the first one's beginning to the last one's end.
    pub(super) async fn suffers(self: &Arc<Self>, plan: &Plan) {
        let mut tasks = JoinSet::new();
        let (over, is_over) = watch::channel(false);
        let mut first = Some(over);
        for planned in plan.faults.clone() {
            let (scene, over, mut is_over) = (Arc::clone(self), first.take(), is_over.clone());
            tasks.spawn(async move {
                sleep(planned.starts).await;
                if planned.waits {
                    // Its sender may be gone already: then it is over as well.
                    let _ = is_over.wait_for(|over| *over).await;
                }
                Box::pin(scene.inflict(&planned)).await;
                if let Some(over) = over {
                    over.send_replace(true);
                }
            });
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                self.trouble(format!("a fault could not be done: {error}"));
            }
        }
    }

    /// What was done, in the order of beginning.
    pub(super) fn faults(&self) -> Vec<Fault> {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner).clone();
        faults.sort_by_key(|fault| fault.began);
        faults
    }

    pub(super) fn note(&self, fault: Fault) {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
    }

    pub(super) fn trouble(&self, trouble: String) {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).push(trouble);
    }

    pub(super) fn troubles(&self) -> Vec<String> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A fault has not bitten. Beside another one, that may be why.
    pub(super) fn doubt(&self, doubt: String) {
        if self.is_alone {
            self.doubts.lock().unwrap_or_else(PoisonError::into_inner).push(doubt);
        }
    }

    pub(super) fn doubts(&self) -> Vec<String> {
        self.doubts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Every process is killed, whoever is at work, and started again. When none ran any more.
    pub(super) async fn kills_everything(&self) -> u64 {
        let mut dead = 0;
        let kill = async {
            self.world.kill_everything();
            dead = moment();
        };
        let start = async {
            if let Err(why) = self.world.start_everything().await {
                self.trouble(why);
            }
        };
        self.during((EVERYTHING, &[], AWAY), kill, std::future::ready(()), Box::pin(start)).await;
        dead
    }

    async fn inflict(&self, planned: &Planned) {
        let &Planned { kind, lasts, .. } = planned;
        match kind {
            Kind::Kill => self.kills(planned).await,
            Kind::StopShort => self.stops_shortly(planned).await,
            Kind::Stop | Kind::StopLong => self.stops(planned, lasts).await,
            Kind::Link(store, form) => self.breaks_link(planned, store, form).await,
            Kind::Network(loss) => self.loses_packets(planned, loss).await,
            Kind::RedisFlush => self.flushes(lasts).await,
            Kind::RedisEmpty => self.empties(lasts).await,
            Kind::RedisFailover => self.fails_over(lasts).await,
            Kind::RedisEvict => self.evicts(lasts).await,
            Kind::RedisSleep => self.sends_to_sleep(lasts).await,
            Kind::SqlConnections => Box::pin(self.takes_connections(lasts)).await,
            Kind::SqlPool => self.locks(lasts).await,
            Kind::PostgresStop => self.stops_postgres(lasts).await,
            Kind::PostgresKill => self.kills_postgres(lasts).await,
            Kind::PostgresRestore => Box::pin(self.restores(lasts)).await,
            Kind::PostgresAnew => Box::pin(self.begins_anew(lasts)).await,
            Kind::SqlClockAhead => self.moves_clock(planned, &[3600], true).await,
            Kind::SqlClockBack => self.moves_clock(planned, &[-3600], true).await,
            Kind::NodeClock => self.moves_clock(planned, &[3600, -3600], false).await,
            Kind::TtlLowered => self.lowers_ttl().await,
        }
    }

    /// One fault: its beginning, its time, its end, and a note of it all.
    async fn during(
        &self,
        (name, nodes, permits): (&str, &[u8], Permits),
        comes: impl Future<Output = ()>,
        lasts: impl Future<Output = ()>,
        goes: impl Future<Output = ()>,
    ) {
        let began = moment();
        comes.await;
        let in_force = moment();
        lasts.await;
        let healing = moment();
        goes.await;
        let healed = moment();
        let (name, nodes) = (name.to_owned(), nodes.to_vec());
        self.note(Fault { name, nodes, began, in_force, healing, healed, permits });
    }

    pub(super) async fn is_back(&self, number: u8) {
        let node = self.world.node(number);
        let back = match node.revive().await {
            Ok(()) => self.world.is_ready_in_time(node).await,
            Err(why) => Err(why),
        };
        if let Err(why) = back {
            self.trouble(why);
        }
    }

    async fn kills(&self, planned: &Planned) {
        let world = &self.world;
        let victims = &planned.victims;
        let kill = async {
            for &victim in victims {
                world.node(victim).kill();
            }
        };
        let revive = async {
            for &victim in victims {
                Box::pin(self.is_back(victim)).await;
            }
        };
        self.during((&planned.kind.to_string(), victims, AWAY), kill, sleep(planned.lasts), revive).await;
    }

    async fn stops(&self, planned: &Planned, lasts: Duration) {
        let signal = async |signal| {
            for &victim in &planned.victims {
                self.world.node(victim).signal(signal);
            }
        };
        // A process that stands still renews nothing.
        let permits = Permits { cuts_ledger: true, ..AWAY };
        let what = (&*planned.kind.to_string(), &*planned.victims, permits);
        self.during(what, signal(Signal::STOP), sleep(lasts), signal(Signal::CONT)).await;
    }

    /// From a tenth of the lease to all of it, one after the other.
    async fn stops_shortly(&self, planned: &Planned) {
        let lease = self.world.shape.lease;
        for tenths in [1, 3, 5, 7, 9, 10] {
            self.stops(planned, lease * tenths / 10).await;
            sleep(lease / 5).await;
        }
    }

    async fn breaks_link(&self, planned: &Planned, store: Store, form: Form) {
        let mode = match form {
            Form::Cut => Mode::Cut,
            Form::RequestsLost => Mode::OneWay,
            Form::AnswersLost => Mode::HalfOpen,
            Form::BlackHole => Mode::BlackHole,
            Form::Drip => Mode::Drip { bytes: 64, every: Duration::from_millis(20) },
            Form::Delay => Mode::Delay(Duration::from_millis(50)),
        };
        let permits = match (store, form) {
            (Store::Redis, _) => Permits::NOTHING,
            (_, Form::Delay) => Permits { slow_receipts: true, ..Permits::NOTHING },
            (_, Form::Drip) => SLOW_LEDGER,
            _ => NO_LEDGER,
        };
        let set = async |mode| {
            for &victim in &planned.victims {
                let node = self.world.node(victim);
                let sql = node.sql.as_ref().filter(|_| store != Store::Redis);
                let redis = node.redis.as_ref().filter(|_| store != Store::Sql);
                sql.into_iter().chain(redis).for_each(|network| network.set(mode));
            }
        };
        let what = (&*planned.kind.to_string(), &*planned.victims, permits);
        self.during(what, set(mode), sleep(planned.lasts), set(Mode::Pass)).await;
    }

    async fn loses_packets(&self, planned: &Planned, loss: Loss) {
        let each = async |act: &(dyn Fn(&Net) -> Result<(), String> + Sync)| {
            for &victim in &planned.victims {
                let done = self.world.node(victim).net.as_ref().map_or(Ok(()), |net| block_in_place(|| act(net)));
                if let Err(why) = done {
                    self.trouble(why);
                }
            }
        };
        let permits = Permits { cuts_ledger: true, ..AWAY };
        let what = (&*planned.kind.to_string(), &*planned.victims, permits);
        self.during(what, each(&|net| net.loses(loss)), sleep(planned.lasts), each(&Net::works)).await;
    }

    /// The wall clock of PostgreSQL or of a node, to each of these distances from the truth.
    async fn moves_clock(&self, planned: &Planned, seconds: &[i64], is_ledger: bool) {
        let moves = async |seconds: i64| {
            if let Err(error) = self.sets_clock(seconds) {
                self.trouble(error.to_string());
            } else if is_ledger && !Box::pin(self.is_ledger_off_by(seconds)).await {
                self.trouble(format!("the clock of the ledger is not {seconds} seconds off"));
            } else if !is_ledger && self.is_alone {
                for &victim in &planned.victims {
                    if !Box::pin(self.is_node_off_by(victim, seconds)).await {
                        self.doubt(format!("the clock of node {victim} is not {seconds} seconds off"));
                    }
                }
            }
        };
        for &seconds in seconds {
            // PostgreSQL times its own limits by the wall clock: one that runs while it is moved is over at once, and ends
            // whatever transaction it was for.
            let permits = Permits { moves_clock: is_ledger, refused_acts: is_ledger, ..Permits::NOTHING };
            let what = (&*planned.kind.to_string(), &*planned.victims, permits);
            self.during(what, moves(seconds), sleep(planned.lasts), moves(0)).await;
        }
    }

    fn sets_clock(&self, seconds: i64) -> std::io::Result<()> {
        let mut wall = self.wall.lock().unwrap_or_else(PoisonError::into_inner);
        wall.as_mut().map_or(Ok(()), |wall| wall.moves(seconds))
    }

    /// Whether the clock of the ledger shows that it was moved.
    async fn is_ledger_off_by(&self, seconds: i64) -> bool {
        let now = "SELECT extract(epoch FROM clock_timestamp())::bigint";
        let said = postgres::number(&self.world.server.url("postgres"), now).await;
        said.abs_diff(Clock::System.wall().as_secs() + seconds) < CLOCK_SLACK
    }

    /// Whether a node shows that its wall clock was moved: it says how far the ledger's is ahead of its own.
    async fn is_node_off_by(&self, victim: u8, seconds: i64) -> bool {
        let since = moment();
        while Duration::from_nanos(moment() - since) < CLOCK_SEEN {
            let lead = self.world.metric::<f64>(self.world.node(victim), "kickout_ledger_clock_lead_seconds").await;
            let expected = Duration::from_secs(seconds.unsigned_abs()).as_secs_f64().copysign(if seconds > 0 {
                -1.0
            } else {
                1.0
            });
            let slack = Duration::from_secs(CLOCK_SLACK).as_secs_f64();
            if lead.is_some_and(|lead| (lead - expected).abs() < slack) {
                return true;
            }
            sleep(Duration::from_millis(100)).await;
        }
        false
    }

    /// Nodes are restarted in turn with another life of tokens; then it takes as long as the new life and more.
    async fn lowers_ttl(&self) {
        let Some(lowered) = self.world.shape.lowered_access_ttl else { return };
        let name = Kind::TtlLowered.to_string();
        let restarts = async {
            for node in self.world.nodes() {
                node.set("TOKENS__ACCESS_TTL", &format!("{}s", lowered.as_secs()));
                let restart = async {
                    node.stop().await;
                    Box::pin(self.is_back(node.number)).await;
                };
                let at_once = std::future::ready(());
                self.during((&name, &[node.number], AWAY), restart, at_once, std::future::ready(())).await;
            }
        };
        let end = Instant::now() + lowered + lowered / 2;
        let lasts = tokio::time::sleep_until(end);
        self.during((&name, &[], Permits::NOTHING), restarts, lasts, std::future::ready(())).await;
    }
}
